package main

import (
	"fmt"
	"time"
)

// lineTellAfter is how long the monitor's own connection is down before people
// are told. They may hear of it later, over that same connection.
const lineTellAfter = time.Minute

// A lineState is what is known of the monitor's own connection, and what
// people were told of it. The zero lineState is a connection that works.
type lineState struct {
	down time.Time     // since when it is down; zero: it works
	told bool          // people were told that it is
	back time.Duration // how long it was down, which they are still to be told; else 0
}

// A lineReport is an event: the monitor's own connection is down, or works.
type lineReport struct{ down bool }

func (l lineReport) apply(st *state, now time.Time) {
	line := &st.alerter.line
	switch {
	case l.down == !line.down.IsZero():
		return
	case l.down:
		*line = lineState{down: now, told: line.back > 0}
	case line.told:
		*line = lineState{back: max(now.Sub(line.down), 1)}
	default:
		*line = lineState{}
	}
	if !l.down {
		st.renewSilent(now)
	}
	st.dirty = true
}

// trustLine takes the connection for one that works when the config has no
// targets to tell: nobody would say so later.
func (st *state) trustLine(now time.Time) {
	if len(st.conf.Connectivity) == 0 {
		lineReport{down: false}.apply(st, now)
	}
}

// due reports whether people have to be told something by now.
func (l *lineState) due(now time.Time) bool {
	at, ok := l.wake()
	return l.back > 0 || ok && !now.Before(at)
}

// wake returns when they have to be told that the connection is down.
func (l *lineState) wake() (time.Time, bool) {
	return l.down.Add(lineTellAfter), !l.down.IsZero() && !l.told
}

// note is what an alert says of the connection, which may be nothing, and
// takes people to know it.
func (l *lineState) note(now time.Time) string {
	switch {
	case l.back > 0:
		d := l.back
		l.back = 0
		return fmt.Sprintf("The monitor's own connection works again after %s. What it could not reach is being checked.",
			d.Round(time.Second))
	case !l.down.IsZero():
		l.told = true
		return fmt.Sprintf("The monitor's own connection has been down since %s: what it cannot reach keeps its last known status.",
			l.down.In(now.Location()).Format("15:04:05 UTC-0700"))
	}
	return ""
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
	r.node.track.settled = now
	st.doubt(r, now)
}

// doubt notes that nothing is known of the replica from now on.
func (st *state) doubt(r *replicaState, now time.Time) {
	if !r.fresh() {
		return
	}
	r.node.track.fresh[r.status]--
	r.doubt = true
	st.touchReplica(r)
	st.observe(r.node, "", now)
}
