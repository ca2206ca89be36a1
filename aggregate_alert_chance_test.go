package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vigil/notify"
)

// What a random life must keep to. It is worked out from what was found when,
// not from what the alerter remembers.

// A level is what is known of a node.
type level struct {
	status  status
	since   [3]time.Time // since when it is at least sick, and dead; zero: it is not
	below   [3]time.Time // since when it is not
	earlier [3]time.Time // since when it was so before, when it was not for less than historyInterval
	changed time.Time
	back    time.Time // when it was last dead, in this run
	quiet   time.Time // when it was last under a maintenance or silence
	isQuiet bool
	unknown time.Time // when nothing was last known of it
	mode    mode      // in which it was found
	moved   bool      // it has had another one since, so a restart forgets what was found
}

// tell writes a line of the life's story.
func (c *chance) tell(format string, args ...any) {
	c.story = append(c.story, fmt.Sprintf("%12s ", c.now.Format("15:04:05.000"))+fmt.Sprintf(format, args...))
}

// fault notes that the life breaks a rule.
func (c *chance) fault(format string, args ...any) {
	c.tell("FAULT "+format, args...)
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

// level is what is known of a node.
func (c *chance) level(key nodeKey) *level {
	l := c.levels[key]
	if l == nil {
		l = &level{below: [3]time.Time{{}, c.now, c.now}}
		c.levels[key] = l
	}
	return l
}

// found notes that a node is found to have a status.
func (c *chance) found(key nodeKey, s status) {
	l := c.level(key)
	for _, least := range []status{sick, dead} {
		switch {
		case s < least && l.below[least].IsZero():
			l.earlier[least] = l.since[least]
			l.since[least], l.below[least] = time.Time{}, c.now
		case s >= least && l.since[least].IsZero():
			if c.now.Sub(l.below[least]) >= historyInterval {
				l.earlier[least] = time.Time{}
			}
			l.since[least], l.below[least] = c.now, time.Time{}
		}
	}
	if s != l.status {
		if l.status == dead {
			if !l.moved {
				l.back = c.now
			}
			delete(c.acked, key)
		}
		l.mode, l.moved = c.st.byKey[key].conf.Mode, false
		l.changed = c.now
		c.tell("%v is %v", key, s)
	}
	l.status = s
}

// observe notes what is known of nodes that report, and which nodes are quiet.
func (c *chance) observe() {
	for key, ns := range c.st.byKey {
		if m := ns.conf.Mode; (m == modePush || m == modeHeartbeat) && (ns.alert.known || ns.worst > c.level(key).status) {
			c.found(key, ns.worst)
		} else if ns.worst != dead && m != modePoll {
			delete(c.acked, key)
		}
		l, quiet := c.level(key), c.isQuiet(key)
		if c.unknown(ns) {
			l.unknown = c.now
		}
		if quiet || l.isQuiet {
			l.quiet = c.now
		}
		l.isQuiet = quiet
	}
}

// unknown reports whether nothing needs to be known of the node. What does not
// report any more is dead without another check.
func (c *chance) unknown(ns *nodeState) bool {
	l := c.level(ns.key())
	return !ns.alert.known && (ns.conf.Mode == modePoll || l.status == healthy || l.moved)
}

// isQuiet reports whether a maintenance or a silence covers the node.
func (c *chance) isQuiet(key nodeKey) bool {
	for _, q := range c.quiet {
		if q.running(c.now) && q.selectors.matches(key.service, key.node) {
			return true
		}
	}
	for _, w := range c.conf.Maintenance {
		if w.Selectors.matches(key.service, key.node) && !c.now.Before(w.Start) && c.now.Before(w.Start.Add(w.Duration)) {
			return true
		}
	}
	return false
}

// isDown reports whether a node is known to be dead.
func (c *chance) isDown(key nodeKey) bool {
	return c.st.byKey[key].alert.known && c.level(key).status == dead
}

// routed reports whether a channel is told of a node.
func (c *chance) routed(id string, key nodeKey) bool {
	return slices.ContainsFunc(routesOf(c.conf, id), func(r Route) bool { return r.Match.matches(key.service, key.node) })
}

// terms returns from which status on a channel is told of a node that it was
// told of, and how long that must have been better before it is told again.
func (c *chance) terms(id string, key nodeKey, known *told) (least status, after time.Duration) {
	if !c.routed(id, key) {
		return known.min, 0
	}
	least = dead
	for _, r := range routesOf(c.conf, id) {
		if r.Match.matches(key.service, key.node) {
			least, after = min(least, r.MinStatus), max(after, r.RecoverAfter)
		}
	}
	return least, after
}

// parents returns the nodes that a node depends on, also by way of others.
func (c *chance) parents(key nodeKey) map[nodeKey]bool {
	all := make(map[nodeKey]bool)
	keys := make(map[*Node]nodeKey)
	for _, s := range c.conf.Services {
		for _, n := range s.Nodes {
			keys[n] = nodeKey{s.ID, n.ID}
		}
	}
	var add func(n *Node)
	add = func(n *Node) {
		for _, p := range n.DependsOn {
			all[keys[p]] = true
			add(p)
		}
	}
	add(c.st.byKey[key].conf)
	return all
}

// hear checks a message against all that the channel was told before.
func (c *chance) hear(id string, a notify.Alert) {
	known := c.heard[id]
	if known == nil {
		known = make(map[nodeKey]notify.Outage)
		c.heard[id] = known
	}
	var said []string
	for _, o := range a.Outages {
		key := nodeKey{o.Service, o.Node}
		was, had := known[key]
		said = append(said, fmt.Sprintf("%s:%s new=%v over=%v gone=%v %s", o.Service, o.Node, o.New, o.Over, o.Gone, o.Status))
		switch {
		case o.Over && !had && !a.Repeat:
			c.fault("%s hears of the end of %v, of which it was not told", id, key)
		case o.New && had && !a.Repeat && !(was.Status == notify.Sick && o.Status == notify.Dead):
			c.fault("%s hears of the beginning of %v twice", id, key)
		case had && o.ID != was.ID && !a.Repeat:
			c.fault("%s hears of %v as another outage", id, key)
		case !o.Over && !had && a.Kind == notify.Reminder:
			c.fault("%s hears %s of %v, of which it was not told", id, a.Kind, key)
		case o.Over && had && o.Degraded != was.Degraded && !a.Repeat:
			c.fault("%s hears that %v was never down: %v", id, key, o.Degraded)
		}
		if !o.Over { // what is true so far
			o.Degraded = o.Status == notify.Sick && (!had || was.Degraded)
		}
		if o.Over {
			delete(known, key)
		} else {
			known[key] = o
		}
	}
	c.tell("%s hears %s %s repeat=%v: %s", id, a.Kind, a.Status, a.Repeat, strings.Join(said, ", "))
}

// decided checks a message at the time when it is decided: whether it is
// allowed to say what the channel was not told before, and what it says it of.
func (c *chance) decided(a notify.Alert, before map[nodeKey]*told) {
	c.tell("to tell %s: %s of %d outages", a.Channel, a.Kind, len(a.Outages))
	if a.Kind == notify.Reminder && c.now.Before(c.muted) {
		c.fault("%s is reminded although reminders are suspended", a.Channel)
	}
	for _, o := range a.Outages {
		key := nodeKey{o.Service, o.Node}
		known := before[key]
		switch ns := c.st.byKey[key]; {
		case o.Gone != (ns == nil):
			c.fault("%s hears that %v is gone: %v", a.Channel, key, o.Gone)
		case o.NodeLabel != c.labels[key]:
			c.fault("%s hears of %v as %q, not %q", a.Channel, key, o.NodeLabel, c.labels[key])
		case ns == nil:
		case a.Kind == notify.Acknowledged && known == nil:
			c.fault("%s hears that %v is acknowledged", a.Channel, key)
		case a.Kind == notify.Reminder && (c.isQuiet(key) || c.now.Before(c.acked[key])):
			c.fault("%s is reminded of %v, which is quiet or acknowledged", a.Channel, key)
		case o.Over && known != nil:
			least, after := c.terms(a.Channel, key, known)
			if below := c.level(key).below[least]; below.IsZero() || c.now.Sub(below) < after {
				c.fault("%s hears too soon that %v is over", a.Channel, key)
			}
		case known == nil:
			c.begins(a.Channel, key)
		}
		if o.Over {
			continue
		}
		s := map[notify.Status]status{notify.Sick: sick, notify.Dead: dead}[o.Status]
		worse := known == nil || known.status < s
		if since := c.level(key).since[s]; o.New && !worse || !o.New && worse && since.After(c.settled) {
			c.fault("%s hears of %v, %s since %v, as new: %v", a.Channel, key, o.Status, since, o.New)
		}
	}
}

// copied is a copy of what a channel was told.
func copied(all map[nodeKey]*told) map[nodeKey]*told {
	copies := make(map[nodeKey]*told, len(all))
	for key, known := range all {
		one := *known
		copies[key] = &one
	}
	return copies
}

// begins checks that a channel may be told now that a node is not well.
func (c *chance) begins(id string, key nodeKey) {
	l, allowed := c.level(key), false
	for _, r := range routesOf(c.conf, id) {
		since, earlier := l.since[r.MinStatus], l.earlier[r.MinStatus]
		if lost := c.started.Sub(since); lost >= 0 && lost < historyInterval && !earlier.IsZero() {
			since = earlier // a kill lost the moment in between
		}
		allowed = allowed || r.Match.matches(key.service, key.node) && !since.IsZero() && c.now.Sub(since) >= r.After
	}
	if !allowed {
		c.fault("no route tells %s of %v now", id, key)
	}
	if c.isQuiet(key) {
		c.fault("%s hears of %v during a maintenance", id, key)
	}
	turn := chancePoll
	if c.st.byKey[key].conf.Mode != modePoll {
		turn = chanceReport + chanceDelay
	}
	died := l.since[dead]
	if died.IsZero() {
		died = l.since[sick]
	}
	unheard := false // whether some cause is none that the channel hears of
	var held []string
	for p := range c.parents(key) {
		pl, truth := c.level(p), c.truth[p]
		switch {
		case !c.routed(id, p):
			unheard = unheard || c.isDown(p)
		case c.isDown(p):
			c.fault("%s hears of %v although it hears of %v", id, key, p)
		case !pl.back.IsZero() && pl.status != dead && c.now.Sub(pl.back) < turn:
			held = append(held, fmt.Sprintf("%v is back for %v", p, c.now.Sub(pl.back)))
		case c.st.byKey[p].conf.Mode == modePoll && truth.status == dead && !truth.since.After(died):
			held = append(held, fmt.Sprintf("%v is dead and was not checked", p))
		}
	}
	if len(held) > 0 && !unheard {
		c.fault("%s hears of %v although %s", id, key, held[0])
	}
}

// settle checks that each channel knows what it must: nothing waits for longer
// than its route says.
func (c *chance) settle() {
	c.observe()
	if c.st.waiting > 0 {
		return
	}
	for _, ch := range c.st.alerter.channels {
		for key, ns := range c.st.byKey {
			l, known := c.level(key), ch.told[key]
			if c.unknown(ns) {
				continue
			}
			past := func(t time.Time, d time.Duration) bool {
				return min(c.now.Sub(t), c.now.Sub(c.settled), c.now.Sub(l.unknown)) > d+chanceSlack
			}
			if known != nil {
				if least, after := c.terms(ch.id, key, known); l.status < least && past(l.below[least], after) {
					c.fault("%s is not told that %v is over", ch.id, key)
				}
				continue
			}
			held := time.Duration(0) // what a parent holds up at most
			parents := c.parents(key)
			if len(parents) > 0 {
				held = 6 * time.Second // for its check
			}
			quiet := !l.quiet.IsZero() && !past(l.quiet, held)
			for p := range parents {
				quiet = quiet || c.isDown(p) || !past(c.level(p).changed, chanceReport+chanceDelay)
			}
			for _, r := range routesOf(c.conf, ch.id) {
				if since := l.since[r.MinStatus]; !quiet && r.Match.matches(key.service, key.node) && !since.IsZero() && past(since, r.After+held) {
					c.fault("%s is not told of %v", ch.id, key)
				}
			}
		}
	}
}

// tellNodes writes down the nodes of the config and how they are called.
func (c *chance) tellNodes() {
	for _, s := range c.conf.Services {
		for _, n := range s.Nodes {
			c.labels[nodeKey{s.ID, n.ID}] = n.Label
			on := ""
			for _, p := range n.DependsOn {
				on += " on " + p.ID
			}
			c.tell("node %s:%s %v%s", s.ID, n.ID, n.Mode, on)
		}
	}
	for _, w := range c.conf.Maintenance {
		c.tell("maintenance of %v from %v for %v", w.Selectors, w.Start.Format("15:04:05"), w.Duration)
	}
}

// Lives in which there was a fault once: a parent that had died of silence before
// a kill, one whose mode a reload changed, and a heartbeat that was dead at a
// restart and back before the first round was done.
func TestAlertsOverKnownLives(t *testing.T) {
	for _, seed := range []uint64{3734058892233805194, 418580657539181270, 3000657333740662466} {
		if c := live(seed); len(c.faults) > 0 {
			t.Errorf("seed %d: %s\n%s", seed, c.faults[0], strings.Join(c.story, "\n"))
		}
	}
}
