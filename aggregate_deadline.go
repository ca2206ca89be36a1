package main

import (
	"container/heap"
	"fmt"
	"time"
)

// deadlineHeap holds the push and local replicas that are alive, the earliest
// deadline on top: each dies in the second when its deadline passes, and no
// replicas are scanned.
//
// A report only postpones a deadline. So the entry stays where it is, and is
// updated when its old time comes: a report costs the heap nothing, however
// many replicas there are.
type deadlineHeap []deadlineEntry

// A deadlineEntry says that nothing is due for a replica before a time. The
// time is copied here so that ordering the heap does not read the replicas,
// which are scattered in memory.
type deadlineEntry struct {
	at      time.Time
	replica *replicaState
}

// next returns when something may be due.
func (h deadlineHeap) next() (time.Time, bool) {
	if len(h) == 0 {
		return time.Time{}, false
	}
	return h[0].at, true
}

// set gives the replica a new deadline.
func (h *deadlineHeap) set(r *replicaState, at time.Time) {
	sooner := at.Before(r.deadline)
	r.deadline = at
	switch {
	case r.heaped == 0:
		heap.Push(h, deadlineEntry{at, r})
	case sooner:
		h.move(r)
	}
}

// move puts the replica where its deadline says.
func (h *deadlineHeap) move(r *replicaState) {
	(*h)[r.heaped-1].at = r.deadline
	heap.Fix(h, r.heaped-1)
}

// remove takes the replica's deadline away.
func (h *deadlineHeap) remove(r *replicaState) {
	if r.heaped > 0 {
		heap.Remove(h, r.heaped-1)
	}
}

func (h deadlineHeap) Len() int           { return len(h) }
func (h deadlineHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h deadlineHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].replica.heaped, h[j].replica.heaped = i+1, j+1
}

func (h *deadlineHeap) Push(x any) {
	e := x.(deadlineEntry)
	*h = append(*h, e)
	e.replica.heaped = len(*h)
}

func (h *deadlineHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = deadlineEntry{}
	*h = old[:len(old)-1]
	e.replica.heaped = 0
	return e
}

// expire does everything that is due by now, except alerts: it checks the clock
// and marks the replicas whose deadline has passed.
func (st *state) expire(now time.Time) {
	st.history.tick(st, now)
	st.endAnnouncements(now)
	if !st.quietDue.IsZero() && !now.Before(st.quietDue) {
		st.replan(now)
	}
	for {
		at, ok := st.deadlines.next()
		if !ok || now.Before(at) {
			return
		}
		r := st.deadlines[0].replica
		if now.Before(r.deadline) {
			st.deadlines.move(r)
			continue
		}
		st.deadlines.remove(r)
		st.markOverdue(r, now)
	}
}

// With connectivity targets, a missed deadline of a push or local replica
// counts only if the monitor's own connection works: otherwise the reports of
// all replicas may be lost at once. So the connection is checked first, and the
// replica is overdue until the answer comes.
//
// If the connection was down, overdue replicas keep their status, marked
// uncertain, until it works again. Then every replica whose report was due in
// the meantime gets a full deadline again.

// due returns when the replica should report at the latest. Its deadline is
// later, by the delay that the config allows.
func (st *state) due(r *replicaState) time.Time {
	m := st.metrics(r.node)
	if hb := r.node.conf.Heartbeat; hb != nil {
		return r.deadline.Add(-hb.Grace)
	}
	if r.node.conf.Mode == modeLocal {
		return r.deadline.Add(-m.LocalDelayDead)
	}
	return r.deadline.Add(-m.PushDelayDead)
}

// markOverdue notes that the replica's deadline has passed.
func (st *state) markOverdue(r *replicaState, now time.Time) {
	if len(st.conf.Connectivity) == 0 {
		st.set(r, dead, r.lateReason(), now)
		return
	}
	r.overdue = true
	if due := st.due(r); len(st.overdue) == 0 || due.Before(st.overdueSince) {
		st.overdueSince = due
	}
	st.overdue = append(st.overdue, r)
}

// confirmOverdue takes the answer about the connection for these replicas: if
// it is certain that it works, they are dead. Replicas that reported or were
// dropped meanwhile are no longer overdue.
func (st *state) confirmOverdue(asked []*replicaState, sure bool, now time.Time) {
	for _, r := range asked {
		switch {
		case !r.overdue:
		case sure:
			r.overdue = false
			st.set(r, dead, r.lateReason(), now)
		default:
			st.markUncertain(r, now)
			if st.alerter.connection.down.IsZero() { // it works again; if not, the new deadline asks again
				st.extend(r, now)
			}
		}
	}
}

// extend gives the replica a full deadline again.
func (st *state) extend(r *replicaState, now time.Time) {
	grace := r.grace
	if hb := r.node.conf.Heartbeat; hb != nil {
		grace = hb.Grace
	}
	st.await(r, now.Add(grace))
}

// await sets the deadline by which the replica is to report.
func (st *state) await(r *replicaState, deadline time.Time) {
	r.overdue = false
	st.deadlines.set(r, deadline)
}

// extendOverdue extends the deadlines of all replicas that should have reported
// while the monitor's own connection was down. Of a job, only a deadline that
// passed in that time moves, by that long.
func (st *state) extendOverdue(down, now time.Time) {
	for ns := range st.allNodes() {
		if ns.byID == nil && ns.conf.Heartbeat == nil {
			continue
		}
		for _, r := range ns.replicas {
			switch {
			case r.job != nil && (r.overdue || r.heaped > 0):
				st.postpone(r, down, now)
				if r.overdue {
					st.extend(r, now)
				}
			case r.overdue || r.heaped > 0 && st.due(r).Before(now):
				st.extend(r, now)
			}
		}
	}
}

// recheckOverdue makes the overdue replicas due again, to be confirmed by a
// connectivity that has not been asked about them yet.
func (st *state) recheckOverdue() {
	for ns := range st.allNodes() {
		for _, r := range ns.replicas {
			if r.overdue {
				st.await(r, r.deadline)
			}
		}
	}
	st.overdue = nil
}

// connectionTellAfter is how long the monitor's own connection is down before a
// notice is sent. It may arrive later, over that same connection.
const connectionTellAfter = time.Minute

// A connectionState is what is known of the monitor's own connection, and what
// people were told of it. The zero connectionState is a connection that works.
type connectionState struct {
	down time.Time     // since when it is down; zero: it works
	told bool          // people were told that it is
	back time.Duration // how long it was down, which they are still to be told; else 0
}

// A connectionReport is an event: the monitor's own connection is down, or works.
type connectionReport struct{ down bool }

func (c connectionReport) apply(st *state, now time.Time) {
	since := st.alerter.connection.down
	if !st.alerter.connection.turn(c.down, now) {
		return
	}
	if !c.down {
		st.extendOverdue(since, now)
	}
	st.dirty = true
}

// turn notes that it is down, or works again, and reports whether that is new.
func (c *connectionState) turn(down bool, now time.Time) bool {
	switch {
	case down == !c.down.IsZero():
		return false
	case down:
		*c = connectionState{down: now, told: c.back > 0}
	case c.told:
		*c = connectionState{back: max(now.Sub(c.down), 1)}
	default:
		*c = connectionState{}
	}
	return true
}

// A machineReport is an event: this machine is short of something, or "", when
// it no longer is. If that lasts, a notice is sent.
type machineReport struct{ shortage string }

func (m machineReport) apply(st *state, now time.Time) {
	st.alerter.machine.turn(m.shortage != "", now)
	if m.shortage != "" {
		st.alerter.shortage = m.shortage
	}
}

// machineNote returns the text of a notice about a shortage, and notes that it
// was sent.
func (a *alerter) machineNote(now time.Time) string {
	if d := a.machine.back; d > 0 {
		a.machine.back = 0
		return fmt.Sprintf("The monitor's own machine works as usual again after %s (%s).", d.Round(time.Second), a.shortage)
	}
	a.machine.told = true
	return fmt.Sprintf("The monitor's own machine has been short of something since %s: %s. What it cannot check keeps its last known status.",
		a.machine.down.In(now.Location()).Format("15:04:05 UTC-0700"), a.shortage)
}

// A mirrorReport is an event: the copy of the page has not been brought up to
// date since then, or, without a fault, it is again.
type mirrorReport struct {
	since time.Time
	fault string
}

func (m mirrorReport) apply(st *state, now time.Time) {
	if m.fault == "" {
		st.alerter.mirror.turn(false, now)
		return
	}
	st.alerter.mirror.turn(true, m.since)
	st.alerter.outdated = m.fault
}

// mirrorNote returns the text of a notice about the copy, and notes that it was
// sent.
func (a *alerter) mirrorNote(now time.Time) string {
	if d := a.mirror.back; d > 0 {
		a.mirror.back = 0
		return fmt.Sprintf("The copy of the status page is up to date again after %s.", d.Round(time.Second))
	}
	a.mirror.told = true
	return fmt.Sprintf("The copy of the status page has not been brought up to date since %s: %s",
		a.mirror.down.In(now.Location()).Format("15:04:05 UTC-0700"), a.outdated)
}

// assumeConnected ends failures of what the config no longer has, connectivity
// targets or a copy: nothing would end them later.
func (st *state) assumeConnected(now time.Time) {
	if st.conf.Mirror == nil {
		st.alerter.mirror = connectionState{}
	}
	if len(st.conf.Connectivity) == 0 {
		connectionReport{down: false}.apply(st, now)
	}
}

// due reports whether a notice is due.
func (c *connectionState) due(now time.Time) bool {
	at, ok := c.wake()
	return c.back > 0 || ok && !now.Before(at)
}

// wake returns when a notice is due that the connection is down.
func (c *connectionState) wake() (time.Time, bool) {
	return c.down.Add(connectionTellAfter), !c.down.IsZero() && !c.told
}

// note returns the text of a notice about the connection, and notes that it was
// sent.
func (c *connectionState) note(now time.Time) string {
	switch {
	case c.back > 0:
		d := c.back
		c.back = 0
		return fmt.Sprintf("The monitor's own connection works again after %s. What it could not reach is being checked.",
			d.Round(time.Second))
	case !c.down.IsZero():
		c.told = true
		return c.downNote(now)
	}
	return ""
}

// downNote says that the connection is down.
func (c *connectionState) downNote(now time.Time) string {
	return fmt.Sprintf("The monitor's own connection has been down since %s: what it cannot reach keeps its last known status.",
		c.down.In(now.Location()).Format("15:04:05 UTC-0700"))
}

// An inconclusive is an event: a check came back dead while the monitor's own
// connection was down, which says nothing of the replica.
//
// The replica keeps its status, but the time counts as unknown from now until
// a check says something again. One that was not checked yet stays so: the
// first round ends when all were. The start-up notification does not wait for
// that when the connection stays down, but goes out as the one that says so.
type inconclusive struct{ replica *replica }

func (i inconclusive) apply(st *state, now time.Time) {
	r := st.own[i.replica.ordinal]
	r.node.track.checkedAt = now
	st.markUncertain(r, now)
}

// markUncertain notes that the replica's status is not known from now on.
func (st *state) markUncertain(r *replicaState, now time.Time) {
	if !r.fresh() {
		return
	}
	r.node.track.fresh[r.status]--
	r.uncertain = true
	st.touchReplica(r)
	st.observe(r.node, "", now)
}
