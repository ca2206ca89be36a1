package main

import (
	"reflect"
	"slices"
	"time"

	"vigil/notify"
)

// Changes close together go into one alert: it waits until gatherQuiet has
// passed without another change, but no longer than gatherMost. A status that
// reverts within that time is not reported.
const (
	gatherQuiet = 200 * time.Millisecond
	gatherMost  = time.Second
)

// An alerter decides when each channel is told what. It belongs to the state
// and, like it, takes time as an argument.
type alerter struct {
	conf     Alerting
	page     notify.Page
	channels []*channel // in the order of the config

	looks  []*nodeState // nodes to look at: something about them changed
	timers timerHeap    // nodes to look at later

	restored   bool // nothing was checked since a restart
	started    bool // the start-up notification was sent, or is not wanted
	connection connectionState
	machine    connectionState // the same of this machine, which may be short of something
	shortage   string          // of what
	mirror     connectionState // the same of the copy of the page, which may be out of date
	outdated   string          // why
	muted      time.Time       // no reminders until then
	acks       []notify.Alert  // about acknowledgements, to be sent
}

// A channel remembers what one channel of the config was told, so that every
// outage it was told of is also reported as over, and nothing is reported
// twice.
type channel struct {
	id     string
	conf   notify.Channel
	routes []Route   // those that lead to it
	all    bool      // it is told of every node, as there are no routes
	since  time.Time // when it or its routes came into force during a run; zero: at the start

	told   map[nodeKey]*told
	ready  map[nodeKey]bool // nodes with news for it
	first  time.Time        // when the oldest and
	last   time.Time        // the newest of that became ready; zero: nothing waits
	starts bool             // the start-up notification is due

	reminders int       // sent since something told is down
	reminder  time.Time // when the next one is due; zero: none is
	rule      Reminders // for the next reminder
}

// A told is what a channel knows of a node.
type told struct {
	id       string // of the outage
	status   status // sick or dead
	down     bool   // it was told to be dead
	min      status // of the routes that it was told by
	since    time.Time
	dead     int              // replicas, at most at a time
	replicas []notify.Replica // some of those that were not healthy
	labels   [2]string        // of service and node
}

// maxToldReplicas is how many replicas are remembered for the message that an
// outage is over.
const maxToldReplicas = 20

func newAlerter() alerter { return alerter{} }

// notifyPage is the page that alerts link to.
func notifyPage(conf *Config) notify.Page {
	return notify.Page{Title: conf.Branding.PageTitle, URL: conf.Branding.PageURL}
}

// configure takes over the channels and routes of a config. Channels that it
// still has keep what they were told.
func (a *alerter) configure(st *state, now time.Time) {
	conf := st.conf
	a.conf, a.page = conf.Alerting, notifyPage(conf)
	first := a.channels == nil
	old := make(map[string]*channel)
	for _, c := range a.channels {
		old[c.id] = c
	}
	a.channels = make([]*channel, 0, len(conf.Notify.Channels))
	for _, set := range conf.Notify.Channels {
		id := set.ID
		c := old[id]
		if c == nil {
			c = &channel{id: id, told: make(map[nodeKey]*told), ready: make(map[nodeKey]bool)}
		}
		routes := routesOf(conf, id)
		if !first && !reflect.DeepEqual(routes, c.routes) {
			c.since = now
		}
		c.conf, c.routes, c.all = set, routes, len(conf.Routes) == 0
		a.channels = append(a.channels, c)
	}
	a.looks, a.timers = nil, nil
	for ns := range st.allNodes() {
		ns.alert.looked = false
		a.look(ns)
	}
	for _, c := range a.channels {
		for key, known := range c.told {
			if ns := st.byKey[key]; ns != nil {
				known.labels = [2]string{ns.service.conf.Label, ns.conf.Label}
			} else {
				c.news(key, now)
			}
		}
		for key := range c.ready {
			if st.byKey[key] == nil && c.told[key] == nil {
				c.noNews(key)
			}
		}
		c.remind(now)
	}
}

// routesOf returns the routes that name a channel. Without routes in the
// config, every channel gets alerts about every node.
func routesOf(conf *Config, id string) (routes []Route) {
	if len(conf.Routes) == 0 {
		return []Route{{Match: selectors{"*"}, MinStatus: dead, Reminders: conf.Alerting.reminders()}}
	}
	for _, r := range conf.Routes {
		if slices.Contains(r.To, id) {
			routes = append(routes, r)
		}
	}
	return routes
}

// begin starts the alerter of a fresh state.
func (a *alerter) begin(st *state, now time.Time) {
	a.started = !a.conf.Startup
	if st.waiting == 0 {
		a.roundDone(st, now)
	}
}

// roundDone notes that every replica was checked: now the general state is
// known.
func (a *alerter) roundDone(st *state, now time.Time) {
	if a.restored {
		a.restored = false
		for ns := range st.allNodes() {
			st.observe(ns, "", now)
		}
	}
	for _, c := range a.channels {
		c.starts = c.starts || !a.started
		if len(c.ready) > 0 && c.first.IsZero() { // held back until now
			c.first, c.last = now, now
		}
	}
	a.started = true
}

// due returns from when on there is news of the node for the channel, if there
// is any. Beginnings are held back during a maintenance, for example.
func (c *channel) due(ns *nodeState, key nodeKey, held bool) (at time.Time, ok bool) {
	l, known := &ns.alert, c.told[key]
	if !l.known {
		return at, false
	}
	// begins finds out since when some route tells of that status.
	begins := func(s status) (at time.Time, ok bool) {
		for _, r := range c.routes {
			since := l.since[max(s, r.MinStatus)]
			if !since.IsZero() && r.Match.matches(key.service, key.node) {
				if t := since.Add(r.After); !ok || t.Before(at) {
					at, ok = t, true
				}
			}
		}
		return at, ok
	}
	if known == nil {
		if held {
			return at, false
		}
		return begins(healthy)
	}
	least, recoverAfter := c.least(key)
	switch {
	case l.status < least: // it is over
		return l.below[least].Add(recoverAfter), true
	case l.status < known.status: // sick where it was dead
		return l.below[known.status].Add(recoverAfter), true
	case held:
		return at, false
	case l.status > known.status:
		return begins(l.status)
	}
	return at, l.status == dead && grew(known.dead, ns.tally[dead])
}

// least returns the lowest status of a node that the channel is told of, and
// how long the node must have been better before that is told. Without a route
// any more it is what it was told by.
func (c *channel) least(key nodeKey) (least status, recoverAfter time.Duration) {
	least, matched := dead, false
	for _, r := range c.routes {
		if r.Match.matches(key.service, key.node) {
			least, recoverAfter, matched = min(least, r.MinStatus), max(recoverAfter, r.RecoverAfter), true
		}
	}
	if known := c.told[key]; known != nil && !matched {
		least = known.min
	}
	return least, recoverAfter
}

// grew reports whether more replicas are dead than a channel was told, by
// enough to be worth a message: each one of few, a multitude of many.
func grew(told, now int) bool { return now > told && (now <= 10 || now >= 2*told) }

func (c *channel) news(key nodeKey, now time.Time) {
	if !c.ready[key] {
		c.ready[key] = true
		c.last = now
		if c.first.IsZero() {
			c.first = now
		}
	}
}

func (c *channel) noNews(key nodeKey) {
	delete(c.ready, key)
	if len(c.ready) == 0 {
		c.first, c.last = time.Time{}, time.Time{}
	}
}

// gathered returns when the news is to be sent.
func (c *channel) gathered() time.Time {
	quiet, most := c.last.Add(gatherQuiet), c.first.Add(gatherMost)
	if most.Before(quiet) {
		return most
	}
	return quiet
}

// due returns the next alert to send now, if any, and records it as sent.
func (a *alerter) due(st *state, now time.Time) (notify.Alert, bool) {
	a.review(st, now)
	if a.connection.due(now) {
		if a.started {
			return a.notice(st, a.connection.note(now), now), true
		}
		// The rest will stay unknown for long.
		a.connection.told, a.started = true, true
		for _, c := range a.channels {
			c.starts = true
		}
	}
	if a.started && a.machine.due(now) {
		return a.notice(st, a.machineNote(now), now), true
	}
	if a.started && a.mirror.due(now) {
		return a.notice(st, a.mirrorNote(now), now), true
	}
	if len(a.acks) > 0 {
		alert := a.acks[0]
		a.acks = a.acks[1:]
		return alert, true
	}
	for _, c := range a.channels {
		for alert, ok := c.next(a, st, now); ok; alert, ok = c.next(a, st, now) {
			if c.conf.Wants(alert) {
				return alert, true
			}
			st.keepAlert(alert) // and with it when the reminder is due
		}
	}
	return notify.Alert{}, false
}

// next returns the channel's next alert.
func (c *channel) next(a *alerter, st *state, now time.Time) (notify.Alert, bool) {
	switch {
	case c.starts:
		c.starts = false
		return c.tell(a, st, notify.Startup, now), true
	case !c.first.IsZero():
		if now.Before(c.gathered()) {
			return notify.Alert{}, false
		}
		if c.allClear(st) && st.waiting > 0 {
			// Not everything is checked yet: roundDone sends it.
			c.first, c.last = time.Time{}, time.Time{}
			return notify.Alert{}, false
		}
		return c.tell(a, st, notify.Changed, now), true
	}
	if at, ok := c.nextReminder(a, st, now); ok && !now.Before(at) {
		c.reminders++
		c.reminder = now.Add(c.reminderWait())
		return c.tell(a, st, notify.Reminder, now), true
	}
	return notify.Alert{}, false
}

// allClear reports whether, after this alert, the channel knows of nothing that
// is down.
func (c *channel) allClear(st *state) bool {
	for key := range c.ready {
		if ns := st.byKey[key]; ns != nil && !c.over(ns, key) {
			return false // it goes on, or is new
		}
	}
	for key := range c.told {
		if !c.ready[key] {
			return false
		}
	}
	return true
}

// over reports whether the news of the node is that the outage that the
// channel was told of has ended.
func (c *channel) over(ns *nodeState, key nodeKey) bool {
	least, _ := c.least(key)
	return c.told[key] != nil && ns.alert.status < least
}

// wake returns when due will next have something.
func (a *alerter) wake(st *state, now time.Time) (at time.Time, ok bool) {
	sooner := func(t time.Time) {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	if len(a.timers) > 0 {
		sooner(a.timers[0].at)
	}
	if len(a.acks) > 0 {
		sooner(now)
	}
	if t, waits := a.connection.wake(); waits {
		sooner(t)
	}
	for _, c := range [...]*connectionState{&a.machine, &a.mirror} {
		if t, waits := c.wake(); waits && a.started {
			sooner(t)
		}
	}
	for _, c := range a.channels {
		if !c.first.IsZero() {
			sooner(c.gathered())
		} else if t, waits := c.nextReminder(a, st, now); waits {
			sooner(t)
		}
	}
	return at, ok
}

// nextReminder returns when the next reminder is due. It waits while there is
// news, and for the end of a time without reminders.
func (c *channel) nextReminder(a *alerter, st *state, now time.Time) (time.Time, bool) {
	if c.reminder.IsZero() || a.restored || len(c.ready) > 0 {
		return time.Time{}, false
	}
	at := c.reminder
	if a.muted.After(at) {
		at = a.muted
	}
	// It waits, too, while all that it would remind of is acknowledged or held
	// back.
	var end time.Time
	for key, known := range c.told {
		until := st.noReminders(st.byKey[key], now)
		if known.status == dead && !until.After(at) {
			return at, true
		}
		if known.status == dead && (end.IsZero() || until.Before(end)) {
			end = until
		}
	}
	return end, !end.IsZero()
}

// reminderWait is the time to the next reminder: interval x N^exponent, N
// being its number up to a limit.
func (c *channel) reminderWait() time.Duration {
	n := time.Duration(min(c.reminders+1, c.rule.BackoffLimit))
	wait := c.rule.ReminderInterval
	for range c.rule.BackoffExponent {
		wait *= n
	}
	return wait
}

// remind sets the reminders by what the channel was told: they begin when
// something is down and end when nothing is. The route with the shortest
// interval decides.
func (c *channel) remind(now time.Time) {
	c.rule = Reminders{}
	for _, r := range c.routes {
		every := r.ReminderInterval
		if every > 0 && (c.rule.ReminderInterval == 0 || every < c.rule.ReminderInterval) && c.isDown(r.Match) {
			c.rule = r.Reminders
		}
	}
	switch {
	case c.rule.ReminderInterval == 0:
		c.reminders, c.reminder = 0, time.Time{}
	case c.reminder.IsZero():
		c.reminders = 0
		c.reminder = now.Add(c.reminderWait())
	}
}

// isDown reports whether the channel was told that some such node is dead.
func (c *channel) isDown(match selectors) bool {
	for key, known := range c.told {
		if known.status == dead && match.matches(key.service, key.node) {
			return true
		}
	}
	return false
}
