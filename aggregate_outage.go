package main

import (
	"slices"
	"strings"
	"time"
)

const (
	// shownFor is how long an incident stays on the page after it ended.
	shownFor = 14 * 24 * time.Hour

	// keptFor is how long it is kept.
	keptFor = keptDays * 24 * time.Hour

	// keptIncidents is how many incidents that ended are kept; pruneAfter
	// more may come before they are looked through.
	keptIncidents = 1000
	pruneAfter    = 250
)

// An incident is a stretch of time in which a node was dead, long enough to
// be told.
type incident struct {
	id       string // stable, for feeds
	service  *Service
	node     *Node
	start    time.Time
	end      time.Time        // zero while it lasts
	reason   string           // for operators alone: it may name the replica
	ack      *acknowledgement // nil: nobody takes care of it
	tellings []telling        // which channels were told of it; never changed in place
}

// An acknowledgement says that somebody takes care of an outage. It is for
// operators alone, and never changed.
type acknowledgement struct {
	by, text string
	at       time.Time
	until    time.Time // no reminders until then
}

// A telling says when a channel was told that an outage began, and when each of
// its recipients that did accepted the message.
type telling struct {
	channel  string
	at       time.Time
	accepted time.Time // by the first recipient; zero: by none yet
}

// length is how long the incident took, or has lasted by now.
func (in *incident) length(now time.Time) time.Duration {
	if !in.end.IsZero() {
		now = in.end
	}
	return max(now.Sub(in.start), 0)
}

// An outage is an incident that may still be too short to report, or one that
// is over.
type outage struct {
	incident
	unkept bool
}

// outages are the incidents that are kept.
type outages struct {
	all     []*outage // by start
	pruned  int       // how many were left when it was last pruned
	changed bool      // what is shown is no longer true
	reveal  time.Time // when an outage becomes an incident; zero: none will

	shown, kept []incident // newest first: of 14 days, and all
	anyUnkept   bool       // whether any of all changed since it was kept
}

// acknowledge notes that somebody takes care of an outage that goes on; nil
// lifts that.
func (st *state) acknowledge(id string, a *acknowledgement, now time.Time, done chan<- error) {
	i := slices.IndexFunc(st.history.all, func(out *outage) bool { return out.id == id })
	if i < 0 {
		done <- notFound("no outage %q", id)
		return
	}
	out := st.history.all[i]
	if !out.end.IsZero() {
		done <- &eventError{errConflict, "this outage is over"}
		return
	}
	e := logEvent{Time: now, Kind: "ack", Service: out.service.ID, Node: out.node.ID, Outage: id, Result: "no longer acknowledged"}
	if a != nil {
		e.Result, e.Text = "acknowledged", strings.TrimPrefix(strings.TrimSuffix(a.by+": "+a.text, ": "), ": ")
	}
	st.eventLog.add(e)
	out.ack, st.history.changed, st.dirty = a, true, true
	if ns := st.nodes[out.node]; ns != nil {
		st.touch(ns)
		if a != nil {
			st.alerter.acknowledged(ns, out, st, now)
		}
	}
	st.keep(record{Incident: newIncidentRecord(&out.incident)}, done)
}

// toldOf notes when a channel is told of an outage.
func (o *outages) toldOf(out *outage, channel string, now time.Time) {
	if out.toldTo(channel) {
		return
	}
	// The id is a part of its config's text, which is not to stay for as long as the
	// outage is kept.
	t := telling{channel: strings.Clone(channel), at: now}
	out.tellings = append(out.tellings[:len(out.tellings):len(out.tellings)], t)
	out.unkept, o.anyUnkept, o.changed = true, true, true
}

// toldTo reports whether a channel was told of the outage; there may be none.
func (out *outage) toldTo(channel string) bool {
	return out != nil && slices.ContainsFunc(out.tellings, func(t telling) bool { return t.channel == channel })
}

// An accepted is an event: a recipient of a channel has accepted a message
// about outages.
type accepted struct {
	channel string
	outages []string  // ids, as the channel knows them
	nodes   []nodeKey // of these
	told    time.Time // when the channel was told
	at      time.Time
}

func (a accepted) apply(st *state, _ time.Time) {
	st.history.acceptedBy(a)
	st.dirty = true
}

// acceptedBy notes that a recipient of a channel has accepted a message about
// outages. The first one counts. A channel that is told of degraded nodes, too,
// knows a node's second outage by the id of the first when the node was degraded
// between them.
func (o *outages) acceptedBy(a accepted) {
	ids, nodes := make(map[string]bool, len(a.outages)), make(map[nodeKey]bool, len(a.nodes))
	for i, id := range a.outages {
		ids[id], nodes[a.nodes[i]] = true, true
	}
	for _, out := range o.all {
		if !ids[out.id] && !nodes[nodeKey{out.service.ID, out.node.ID}] {
			continue
		}
		for i, t := range out.tellings {
			if t.channel == a.channel && t.accepted.IsZero() && (ids[out.id] || utc(t.at).Equal(utc(a.told))) {
				out.tellings = slices.Clone(out.tellings) // snapshots share the old ones
				out.tellings[i].accepted = a.at
				out.unkept, o.anyUnkept, o.changed = true, true, true
			}
		}
	}
}

// open begins an outage.
func (o *outages) open(ns *nodeState, reason string, now time.Time) *outage {
	id := ns.alert.id
	if ns.alert.used { // by an earlier one, since the node was last healthy
		id = newUUID()
	}
	ns.alert.used = true
	out := &outage{incident: incident{
		id: id, service: ns.service.conf, node: ns.conf, start: now, reason: reason,
	}, unkept: true}
	o.all = append(o.all, out)
	o.changed, o.anyUnkept = true, true
	return out
}

// young reports whether an outage is none yet: it has just begun, and nobody was
// told of it or acknowledged it.
func (out *outage) young(now time.Time) bool {
	return out.end.IsZero() && now.Sub(out.start) < gatherQuiet && out.ack == nil && len(out.tellings) == 0
}

// close ends an outage. One that was over before anybody was told of it was
// no incident.
func (o *outages) close(out *outage, now time.Time) {
	o.changed = true
	if out.young(now) {
		o.all = slices.DeleteFunc(o.all, func(other *outage) bool { return other == out })
		return
	}
	out.end, out.unkept = now, true
	o.anyUnkept = true
	if len(o.all) > o.pruned+pruneAfter {
		o.prune(now)
	}
}

// prune drops what is too old, and the oldest of what is too much. Those that
// last stay: there are no more of them than nodes.
func (o *outages) prune(now time.Time) {
	over := -keptIncidents
	for _, out := range o.all {
		if !out.end.IsZero() {
			over++
		}
	}
	o.changed = true
	o.all = slices.DeleteFunc(o.all, func(out *outage) bool {
		if out.end.IsZero() || over <= 0 && now.Sub(out.end) <= keptFor {
			return false
		}
		over--
		return true
	})
	o.pruned = max(len(o.all), keptIncidents)
}

// shift keeps the outages that last as long as they are, when the wall clock
// was moved.
func (o *outages) shift(now time.Time) {
	for _, out := range o.all {
		if out.end.IsZero() {
			out.start, out.unkept = now.Add(out.start.Sub(now)), true
			o.changed, o.anyUnkept = true, true
		}
	}
	o.sort()
}

func (o *outages) sort() {
	slices.SortStableFunc(o.all, func(a, b *outage) int { return a.start.Compare(b.start) })
}

// reveals reports whether an outage became an incident by now.
func (o *outages) reveals(now time.Time) bool {
	if o.reveal.IsZero() || now.Before(o.reveal) {
		return false
	}
	o.reveal, o.changed = time.Time{}, true
	return true
}

// list returns the incidents that are shown and those that are kept, newest
// first. It makes new lists when something changed.
func (o *outages) list(now time.Time) (shown, kept []incident) {
	if !o.changed {
		return o.shown, o.kept
	}
	o.changed, o.reveal = false, time.Time{}
	o.kept = make([]incident, 0, len(o.all))
	o.shown = nil
	for _, out := range slices.Backward(o.all) {
		if out.young(now) {
			o.reveal = out.start.Add(gatherQuiet) // the last one is the earliest
			continue
		}
		o.kept = append(o.kept, out.incident)
		if out.end.IsZero() || now.Sub(out.end) <= shownFor {
			o.shown = append(o.shown, out.incident)
		}
	}
	return o.shown, o.kept
}

// parentCheckMost is how long an alert about a node waits at most for a check
// of the nodes that it depends on.
const parentCheckMost = 30 * time.Second

// linkDependencies finds the node states that each node depends on, also by
// way of others, and those that depend on it.
func (st *state) linkDependencies() {
	var parents func(n *Node, seen map[*Node]bool)
	parents = func(n *Node, seen map[*Node]bool) {
		for _, other := range n.DependsOn {
			if !seen[other] {
				seen[other] = true
				parents(other, seen)
			}
		}
	}
	for ns := range st.allNodes() {
		if len(ns.conf.DependsOn) == 0 {
			continue
		}
		seen := make(map[*Node]bool)
		parents(ns.conf, seen)
		for n := range seen {
			if parent := st.nodes[n]; parent != nil && parent != ns {
				ns.parents = append(ns.parents, parent)
				parent.dependents = append(parent.dependents, ns)
			}
		}
	}
}

// isDown reports whether the node is known to be dead.
func (ns *nodeState) isDown() bool { return ns.alert.known && ns.alert.status == dead }

// cause returns a dead node that the node depends on, or nil.
func (ns *nodeState) cause() *nodeState {
	for _, parent := range ns.parents {
		if parent.isDown() {
			return parent
		}
	}
	return nil
}

// waitsForParent reports whether a node's beginnings are held back because of
// a node that it depends on: while that one is dead, for an interval of its
// own once it is back, and until it was checked after the node died. It asks
// for that check.
func (st *state) waitsForParent(ns *nodeState, now time.Time) (waits bool, until time.Time) {
	if len(ns.parents) == 0 || ns.alert.status == healthy {
		return false, until
	}
	if ns.cause() != nil {
		return true, until // look again when it is back
	}
	later := func(t time.Time) {
		if t.After(now) {
			waits = true
			if t.After(until) {
				until = t
			}
		}
	}
	died := ns.alert.since[dead]
	if died.IsZero() {
		died = ns.alert.since[sick]
	}
	for _, parent := range ns.parents {
		if back := parent.alert.below[dead]; parent.wasDown && !back.IsZero() {
			later(st.turn(ns, back))
		}
		limit := st.checkLimit(parent)
		if limit == 0 || parent.alert.known && !parent.track.checkedAt.Before(died) {
			continue
		}
		if parent.asked.Before(died) {
			parent.asked = now
			st.checks = append(st.checks, parent.conf)
		}
		later(parent.asked.Add(limit))
	}
	return waits, until
}

// hearsOfParent reports whether the channel is told of a node that this node
// depends on: of a dead one, if there is any. Otherwise the channel must be
// told of the node itself.
func (c *channel) hearsOfParent(ns *nodeState) bool {
	cause := ns.cause() != nil
	for _, parent := range ns.parents {
		if cause && !parent.isDown() {
			continue
		}
		for _, r := range c.routes {
			if r.Match.matches(parent.service.conf.ID, parent.conf.ID) {
				return true
			}
		}
	}
	return false
}

// turn returns by when a node has had a check, a report or a ping since a time.
func (st *state) turn(ns *nodeState, since time.Time) time.Time {
	m := st.metrics(ns)
	switch ns.conf.Mode {
	case modePoll:
		return since.Add(m.PollInterval)
	case modeScript:
		return since.Add(m.ScriptInterval)
	case modeHeartbeat:
		return ns.conf.Heartbeat.due(since).Add(ns.conf.Heartbeat.Grace)
	}
	return since.Add(ns.grace)
}

// checkLimit is how long a check of a node with its retries may take; 0 when
// this process cannot check it.
func (st *state) checkLimit(ns *nodeState) time.Duration {
	m := st.metrics(ns)
	switch ns.conf.Mode {
	case modePoll:
		return min(time.Duration(m.RetryCount+1)*(m.PollDelayDead+m.RetryWait)+time.Second, parentCheckMost)
	case modeScript:
		return min(m.ScriptInterval, parentCheckMost)
	}
	return 0
}

// lookAtDependents has the alerter look at the nodes that depend on one that
// was checked or has changed.
func (st *state) lookAtDependents(ns *nodeState) {
	for _, child := range ns.dependents {
		if child.alert.status != healthy {
			st.alerter.look(child)
			st.touch(child)
		}
	}
}
