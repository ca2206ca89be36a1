package main

import (
	"container/heap"
	"time"
)

// deadlineHeap holds the push and local replicas that are alive, the one
// whose deadline comes first on top: each dies at the second when its time is
// up, without a sweep over all of them.
type deadlineHeap []*replicaState

// next returns the first deadline.
func (h deadlineHeap) next() (time.Time, bool) {
	if len(h) == 0 {
		return time.Time{}, false
	}
	return h[0].deadline, true
}

// set gives the replica a new deadline.
func (h *deadlineHeap) set(r *replicaState, at time.Time) {
	r.deadline = at
	if r.heaped > 0 {
		heap.Fix(h, r.heaped-1)
	} else {
		heap.Push(h, r)
	}
}

// remove takes the replica's deadline away.
func (h *deadlineHeap) remove(r *replicaState) {
	if r.heaped > 0 {
		heap.Remove(h, r.heaped-1)
	}
}

func (h deadlineHeap) Len() int           { return len(h) }
func (h deadlineHeap) Less(i, j int) bool { return h[i].deadline.Before(h[j].deadline) }
func (h deadlineHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heaped, h[j].heaped = i+1, j+1
}

func (h *deadlineHeap) Push(x any) {
	r := x.(*replicaState)
	*h = append(*h, r)
	r.heaped = len(*h)
}

func (h *deadlineHeap) Pop() any {
	old := *h
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	r.heaped = 0
	return r
}

// expire does what is due by now without any event, but for alerts: it looks
// at the clock and makes those replicas dead whose time is up.
func (st *state) expire(now time.Time) {
	st.history.tick(st, now)
	for {
		at, ok := st.deadlines.next()
		if !ok || now.Before(at) {
			return
		}
		r := st.deadlines[0]
		st.deadlines.remove(r)
		st.set(r, dead, "no report in "+r.grace.String(), now)
	}
}
