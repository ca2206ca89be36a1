package main

import (
	"container/heap"
	"time"
)

// A nodeLevel is a node's status as far as alerts are concerned: what is not
// known leaves it as it was.
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
			l.since[min], l.below[min] = now, time.Time{}
		case s < min && l.below[min].IsZero():
			l.since[min], l.below[min] = time.Time{}, now
		}
	}
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
