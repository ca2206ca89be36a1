package main

import (
	"fmt"
	"time"
)

// connectionTellAfter is how long the monitor's own connection is down before people
// are told. They may hear of it later, over that same connection.
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

func (l connectionReport) apply(st *state, now time.Time) {
	since := st.alerter.connection.down
	if !st.alerter.connection.turn(l.down, now) {
		return
	}
	if !l.down {
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
// it no longer is. People are told when that lasts.
type machineReport struct{ shortage string }

func (m machineReport) apply(st *state, now time.Time) {
	st.alerter.machine.turn(m.shortage != "", now)
	if m.shortage != "" {
		st.alerter.shortage = m.shortage
	}
}

// machineNote is what a notice says of a shortage, and takes people to know it.
func (a *alerter) machineNote(now time.Time) string {
	if d := a.machine.back; d > 0 {
		a.machine.back = 0
		return fmt.Sprintf("The monitor's own machine works as usual again after %s (%s).", d.Round(time.Second), a.shortage)
	}
	a.machine.told = true
	return fmt.Sprintf("The monitor's own machine has been short of something since %s: %s. What it cannot check keeps its last known status.",
		a.machine.down.In(now.Location()).Format("15:04:05 UTC-0700"), a.shortage)
}

// assumeConnected takes the connection for one that works when the config has no
// targets to tell: nobody would say so later.
func (st *state) assumeConnected(now time.Time) {
	if len(st.conf.Connectivity) == 0 {
		connectionReport{down: false}.apply(st, now)
	}
}

// due reports whether people have to be told something by now.
func (c *connectionState) due(now time.Time) bool {
	at, ok := c.wake()
	return c.back > 0 || ok && !now.Before(at)
}

// wake returns when they have to be told that the connection is down.
func (c *connectionState) wake() (time.Time, bool) {
	return c.down.Add(connectionTellAfter), !c.down.IsZero() && !c.told
}

// note is what a notice says of the connection, and takes people to know it.
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

// markUncertain notes that nothing is known of the replica from now on.
func (st *state) markUncertain(r *replicaState, now time.Time) {
	if !r.fresh() {
		return
	}
	r.node.track.fresh[r.status]--
	r.uncertain = true
	st.touchReplica(r)
	st.observe(r.node, "", now)
}
