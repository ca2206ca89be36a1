package main

import (
	"cmp"
	"container/heap"
	"crypto/rand"
	"maps"
	"slices"
	"time"

	"vigil/notify"
)

// tell composes an alert of everything that the channel has not been told yet
// and everything that is still down, and records that the channel was told.
func (c *channel) tell(a *alerter, st *state, kind notify.Kind, now time.Time) notify.Alert {
	alert := notify.Alert{
		ID:       rand.Text(),
		Channel:  c.id,
		Kind:     kind,
		Time:     now,
		Page:     a.page,
		Escalate: a.conf.Escalate,
	}
	if !a.connection.down.IsZero() {
		alert.Note = a.connection.downNote(now)
	}
	keys := maps.Clone(c.ready)
	for key := range c.told {
		if !keys[key] {
			keys[key] = false // those without news, too
		}
	}
	for _, key := range st.inOrder(keys) {
		ns := st.byKey[key]
		switch {
		case kind == notify.Reminder && !st.noReminders(ns, now).IsZero():
		case ns == nil:
			alert.Outages = append(alert.Outages, c.gone(st, key, alert.ID, now))
		case keys[key] && c.over(ns, key):
			alert.Outages = append(alert.Outages, c.ended(st, ns, alert.ID))
		case keys[key]:
			isNew := c.told[key] == nil || c.told[key].status < ns.alert.status
			alert.Outages = append(alert.Outages, c.began(st, ns, alert.ID, isNew, now))
		default:
			alert.Outages = append(alert.Outages, c.told[key].outage(st, ns))
		}
	}
	if !c.conf.RemindersOnly || kind == notify.Reminder {
		st.noteTold(c, alert, now)
	}
	clear(c.ready)
	c.first, c.last = time.Time{}, time.Time{}
	alert.Status = c.status(st, kind)
	c.remind(now)
	switch {
	case kind == notify.Reminder:
		alert.Reminders = c.reminders
	case !c.reminder.IsZero() && !c.reminder.After(now): // it was put off
		c.reminder = now.Add(c.reminderWait())
	}
	return alert.Trim()
}

// noteTold notes for each outage that goes on that the channel is told of it.
func (st *state) noteTold(c *channel, alert notify.Alert, now time.Time) {
	for _, o := range alert.Outages {
		ns := st.byKey[nodeKey{o.Service, o.Node}]
		if ns != nil && ns.track.outage != nil && !o.Over && o.Status == notify.Dead {
			st.history.toldOf(ns.track.outage, c.id, now)
		}
	}
}

// status is the worst of what the channel was told of and, where it is told
// of all nodes, of the page.
func (c *channel) status(st *state, kind notify.Kind) notify.Status {
	worst := healthy
	for _, known := range c.told {
		worst = max(worst, known.status)
	}
	switch {
	case c.all:
		worst = max(worst, st.nodeTally.worst())
	case kind == notify.Startup: // also of what is not told yet
		for ns := range st.allNodes() {
			if ns.maintenance == nil && slices.ContainsFunc(c.routes, func(r Route) bool {
				return r.Match.matches(ns.service.conf.ID, ns.conf.ID)
			}) {
				worst = max(worst, ns.worst)
			}
		}
	}
	return notify.Status(worst.String())
}

// inOrder returns the keys in the order of the config, those that it no longer
// has at the end.
func (st *state) inOrder(keys map[nodeKey]bool) []nodeKey {
	place := func(key nodeKey) int {
		if ns := st.byKey[key]; ns != nil {
			return ns.place
		}
		return len(st.byKey)
	}
	return slices.SortedFunc(maps.Keys(keys), func(a, b nodeKey) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a.service, b.service), cmp.Compare(a.node, b.node))
	})
}

// began records that the channel was told of the node's status.
func (c *channel) began(st *state, ns *nodeState, alert string, isNew bool, now time.Time) notify.Outage {
	key, l := ns.key(), &ns.alert
	known := c.told[key]
	first := known == nil
	if first {
		known = &told{id: l.id, labels: [2]string{ns.service.conf.Label, ns.conf.Label}}
		if out := ns.track.outage; out != nil && l.status == dead {
			known.id = out.id
		}
		c.told[key] = known
	}
	if known.since.IsZero() || isNew { // the channel may know it as sick
		if known.since = l.since[l.status]; ns.track.outage != nil && l.status == dead {
			known.since = ns.track.outage.start
		}
	}
	known.status = l.status
	known.down = known.down || l.status == dead
	known.min, _ = c.least(key)
	known.dead = max(known.dead, ns.tally[dead])
	o := known.outage(st, ns)
	known.replicas = o.Replicas[:min(len(o.Replicas), maxToldReplicas)]
	st.keep(record{Heard: known.record(c.id, key, alert)}, nil)
	// What began before the channel or its routes came into force is not new.
	o.New = isNew && !known.since.Before(c.since)
	o.First = first && !o.New
	return o
}

// openOutages lists, by channel, the outages that it got alerts of and that go
// on. With reminders_only those are the ones that it was reminded of.
func (st *state) openOutages() map[string][]notify.Outage {
	open := make(map[string][]notify.Outage)
	for _, c := range st.alerter.channels {
		for key, known := range c.told {
			ns := st.byKey[key]
			if ns == nil || c.conf.RemindersOnly && !ns.track.outage.toldTo(c.id) {
				continue
			}
			open[c.id] = append(open[c.id], known.outage(st, ns))
		}
	}
	return open
}

// ended records that the channel was told that the node's outage is over.
func (c *channel) ended(st *state, ns *nodeState, alert string) notify.Outage {
	key := ns.key()
	known := c.told[key]
	o := known.outage(st, ns)
	o.Status = notify.Status(ns.alert.status.String())
	o.Replicas, o.Over, o.Degraded, o.Until = known.replicas, true, !known.down, ns.alert.below[known.status]
	c.forget(st, key, alert)
	return o
}

// gone records that the channel was told that a node is no longer monitored.
func (c *channel) gone(st *state, key nodeKey, alert string, now time.Time) notify.Outage {
	known := c.told[key]
	o := notify.Outage{ID: known.id, Service: key.service, Node: key.node, ServiceLabel: known.labels[0], NodeLabel: known.labels[1],
		Status: notify.Status(known.status.String()), Since: known.since, Until: now, Over: true, Gone: true, Degraded: !known.down,
		Replicas: known.replicas}
	c.forget(st, key, alert)
	return o
}

func (c *channel) forget(st *state, key nodeKey, alert string) {
	delete(c.told, key)
	st.keep(record{Heard: &heardRecord{Channel: c.id, Service: key.service, Node: key.node, Over: true, Alert: alert}}, nil)
}

// outage is what is said of an outage that goes on.
func (t *told) outage(st *state, ns *nodeState) notify.Outage {
	s := t.status // which may have changed since, but not for the channel
	o := notify.Outage{
		ID:           t.id,
		Service:      ns.service.conf.ID,
		Node:         ns.conf.ID,
		ServiceLabel: ns.service.conf.Label,
		NodeLabel:    ns.conf.Label,
		Status:       notify.Status(s.String()),
		Since:        t.since,
		Instances:    len(ns.replicas),
		Depending:    len(ns.dependents),
	}
	node := o.Service + ":" + o.Node
	for _, r := range ns.replicas {
		if len(o.Replicas) == maxToldListed || ns.tally[dead]+ns.tally[sick] == len(o.Replicas) {
			break
		}
		if r.status == dead || r.status == sick && s == sick {
			o.Replicas = append(o.Replicas, notify.Replica{Path: r.path(), Label: ns.conf.Labels[r.id], Reason: r.reason, Node: node})
		}
	}
	return o
}

// maxToldListed is how many replicas of a node are listed in an alert at most.
const maxToldListed = 1000

// acknowledged sends an acknowledgement to the channels that keep incidents of
// their own.
func (a *alerter) acknowledged(ns *nodeState, out *outage, st *state, now time.Time) {
	for _, c := range a.channels {
		known := c.told[ns.key()]
		if known == nil || c.conf.RemindersOnly && !out.toldTo(c.id) {
			continue
		}
		note := "Acknowledged"
		if out.ack.by != "" {
			note += " by " + out.ack.by
		}
		if out.ack.text != "" {
			note += ": " + out.ack.text
		}
		alert := notify.Alert{ID: rand.Text(), Channel: c.id, Kind: notify.Acknowledged, Status: notify.Dead,
			Time: now, Note: note, Page: a.page, Outages: []notify.Outage{known.outage(st, ns)}}
		if c.conf.Wants(alert) {
			a.acks = append(a.acks, alert)
		}
	}
}

// notice sends all channels a notice about the monitor's own connection or
// machine, or about the copy of the page.
func (a *alerter) notice(st *state, note string, now time.Time) notify.Alert {
	return notify.Alert{
		ID:     rand.Text(),
		Kind:   notify.Notice,
		Status: notify.Status(st.nodeTally.worst().String()),
		Time:   now,
		Note:   note,
		Page:   a.page,
	}
}

// maxEventNodes is how many nodes one line of the log of events names.
const maxEventNodes = 100

// logAlert notes that a channel is told.
func (st *state) logAlert(a notify.Alert) {
	e := logEvent{Time: a.Time, Kind: "alert", Alert: a.ID, Channel: a.Channel, Type: string(a.Kind), Status: string(a.Status)}
	// What is news; a reminder, or the first message to a new channel, has none.
	news := slices.ContainsFunc(a.Outages, func(o notify.Outage) bool { return o.New || o.Over })
	for _, o := range a.Outages {
		if (o.New || o.Over || !news) && len(e.Nodes) < maxEventNodes {
			e.Nodes = append(e.Nodes, o.Service+":"+o.Node)
		}
	}
	st.eventLog.add(e)
}

// A nodeLevel is a node's status for alerts: while the status is unknown, the
// last known one stays.
type nodeLevel struct {
	known  bool
	status status
	id     string       // of the time in which it is not healthy
	used   bool         // an outage has that id
	since  [3]time.Time // of sick and dead: since when it is at least that; zero: it is not
	below  [3]time.Time // since when it is not; zero: it is, or never was known
	looked bool         // it is in alerter.looks
	timer  time.Time    // the earliest one in alerter.timers; zero: none
}

// relevel finds out the node's level and has the alerter look at it when that
// changed.
func (st *state) relevel(ns *nodeState, now time.Time) {
	s, known := ns.status(ns.track.fresh)
	if s == healthy && ns.tally[healthy] < ns.tally.total() {
		known = false // a replica that was not well is yet to be checked, and enough others are
	}
	if !known && ns.byID != nil && !st.alerter.restored {
		// No check will find out about replicas that reported to an earlier
		// program, and the next report may be long in coming.
		s, known = ns.status(ns.checked())
	}
	l := &ns.alert
	was := ns.isDown()
	defer func() {
		if down := ns.isDown(); down != was {
			ns.wasDown = ns.wasDown || down
			st.lookAtDependents(ns)
		}
	}()
	l.known = known
	st.alerter.look(ns)
	if !known {
		return
	}
	l.status = s
	if s == healthy {
		l.id, l.used = "", false
	} else if l.id == "" {
		l.id = newUUID()
	}
	for _, min := range []status{sick, dead} {
		switch {
		case s >= min && l.since[min].IsZero():
			l.since[min] = now
			if l.below[min].IsZero() { // it may be so since before a restart
				l.since[min] = ns.lasts(min, now)
			}
			l.below[min] = time.Time{}
		case s < min && l.below[min].IsZero():
			l.since[min], l.below[min] = time.Time{}, now
		}
	}
}

// lasts returns since when a node is at least sick, or dead, as far as files
// say: since its outage began, or, as an outage is a time of being dead, since
// the first of its replicas became what it is.
func (ns *nodeState) lasts(min status, now time.Time) time.Time {
	if out := ns.track.outage; out != nil && out.start.Before(now) {
		return out.start
	}
	if min == sick {
		for _, r := range ns.replicas {
			if r.checked && r.status >= min && r.since.Before(now) {
				now = r.since
			}
		}
	}
	return now
}

// look has the alerter look at a node before the next alert.
func (a *alerter) look(ns *nodeState) {
	if !ns.alert.looked {
		ns.alert.looked = true
		a.looks = append(a.looks, ns)
	}
}

// lookAt has it look at a node at some time.
func (a *alerter) lookAt(ns *nodeState, at time.Time) {
	if t := ns.alert.timer; t.IsZero() || at.Before(t) {
		ns.alert.timer = at
		heap.Push(&a.timers, timer{at, ns})
	}
}

// review looks at all nodes that it is time to look at.
func (a *alerter) review(st *state, now time.Time) {
	for len(a.timers) > 0 && !now.Before(a.timers[0].at) {
		t := heap.Pop(&a.timers).(timer)
		if !now.Before(t.ns.alert.timer) {
			t.ns.alert.timer = time.Time{}
		}
		a.look(t.ns)
	}
	for len(a.looks) > 0 { // a look may cause another
		looks := a.looks
		a.looks = nil
		for _, ns := range looks {
			ns.alert.looked = false
			key := ns.key()
			quiet := ns.maintenance != nil || ns.silence != nil // replan looks at it again
			waits, until := st.waitsForParent(ns, now)
			if waits && !until.IsZero() {
				a.lookAt(ns, until)
			}
			for _, c := range a.channels {
				switch at, ok := c.due(ns, key, quiet || waits && c.hearsOfParent(ns)); {
				case !ok:
					c.noNews(key)
				case now.Before(at):
					c.noNews(key)
					a.lookAt(ns, at)
				default:
					c.news(key, now)
				}
			}
		}
	}
}

// A timer says when to look at a node.
type timer struct {
	at time.Time
	ns *nodeState
}

type timerHeap []timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)        { *h = append(*h, x.(timer)) }
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = timer{}
	*h = old[:len(old)-1]
	return t
}
