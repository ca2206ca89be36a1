package main

import (
	"container/heap"
	"time"
)

// An entry is one replica's place in the schedule. The schedule owns it, but
// while a check runs the worker may set tries and again.
type entry struct {
	replica *replica
	order   int           // of two entries that are due together, the lower goes first
	phase   time.Duration // its place in the interval, in (0, interval]
	turn    int64         // which of its turns that is, or was
	due     time.Time     // when it is to be checked next

	tries int  // checks made so far of which only the last will count
	again bool // the last one was dead and there is a try left

	started    time.Time // when its check began
	parked     bool
	prev, next *entry // its neighbours among the checks that hold a slot
}

// A schedule decides which replica is checked when. All are due at once at
// first; from then on each keeps its own time in the interval, spread evenly,
// however long checks take: it never drifts, and a check that overran is
// followed by the next one on the grid. A replica is either waiting in due or
// being checked, never both, so it is never checked twice at a time.
//
// A check holds one of width slots. One that has held its slot for parkAfter
// while others wait is parked: it goes on without a slot, so that targets
// that hang do not starve the rest. At most parkMost checks are parked.
//
// It has no clock and no goroutine: it belongs to its pool.
type schedule struct {
	interval  time.Duration
	width     int
	parkAfter time.Duration
	parkMost  int
	retryWait time.Duration

	begin    time.Time
	due      entryHeap
	slots    int    // checks that hold a slot
	parked   int    // checks that do not
	oldest   *entry // of those that hold a slot; they form a list by age
	newest   *entry
	overruns int // turns on the grid that were missed
}

// add puts the replicas into the schedule, all due now.
func (s *schedule) add(replicas []*replica, now time.Time) {
	s.begin = now
	s.due = make(entryHeap, len(replicas))
	for i, r := range replicas {
		// In two steps, as interval times a great many replicas may overflow.
		n := time.Duration(len(replicas))
		phase := s.interval/n*time.Duration(i+1) + s.interval%n*time.Duration(i+1)/n
		s.due[i] = &entry{replica: r, order: i, phase: phase, due: now}
	}
	heap.Init(&s.due)
}

// take returns the next entry to check and gives it a slot; nil when none is
// due or no slot is free.
func (s *schedule) take(now time.Time) *entry {
	if len(s.due) == 0 || s.due[0].due.After(now) || !s.makeRoom(now) {
		return nil
	}
	e := heap.Pop(&s.due).(*entry)
	e.started = now
	s.slots++
	e.prev, e.next = s.newest, nil
	if s.newest != nil {
		s.newest.next = e
	} else {
		s.oldest = e
	}
	s.newest = e
	return e
}

// makeRoom reports whether a slot is free, parking the oldest check if it has
// to and may.
func (s *schedule) makeRoom(now time.Time) bool {
	if s.slots < s.width {
		return true
	}
	if s.parked >= s.parkMost || now.Sub(s.oldest.started) < s.parkAfter {
		return false
	}
	e := s.oldest
	s.leaveSlot(e)
	e.parked = true
	s.parked++
	return true
}

func (s *schedule) leaveSlot(e *entry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		s.oldest = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		s.newest = e.prev
	}
	e.prev, e.next = nil, nil
	s.slots--
}

// put takes back an entry whose check has ended.
func (s *schedule) put(e *entry, now time.Time) {
	if e.parked {
		e.parked = false
		s.parked--
	} else {
		s.leaveSlot(e)
	}
	if e.again {
		e.again = false
		e.due = now.Add(s.retryWait)
	} else {
		e.tries = 0
		e.due = s.turn(e, now)
	}
	heap.Push(&s.due, e)
}

// turn returns when the entry's next turn is. The first round was turn 0; turn
// k is at its phase after k-1 intervals. What lies between the turn just
// served and the next one was missed.
func (s *schedule) turn(e *entry, now time.Time) time.Time {
	first := s.begin.Add(e.phase)
	passed := int64(0)
	if !now.Before(first) {
		passed = int64(now.Sub(first)/s.interval) + 1
	}
	// The first check comes at once, so it may end after the entry's first
	// place on the grid; then it stands for that turn, too.
	s.overruns += int(passed - max(e.turn, min(passed, 1)))
	e.turn = passed + 1
	return first.Add(time.Duration(passed) * s.interval)
}

// wake returns when take may next have something, given that it has nothing
// now; false when only the end of a check can tell.
func (s *schedule) wake() (time.Time, bool) {
	if len(s.due) == 0 {
		return time.Time{}, false
	}
	at := s.due[0].due
	if s.slots < s.width {
		return at, true
	}
	if s.parked >= s.parkMost {
		return time.Time{}, false
	}
	if park := s.oldest.started.Add(s.parkAfter); park.After(at) {
		at = park
	}
	return at, true
}

// entryHeap is a heap of entries, the one due first on top.
type entryHeap []*entry

func (h entryHeap) Len() int { return len(h) }
func (h entryHeap) Less(i, j int) bool {
	if h[i].due.Equal(h[j].due) {
		return h[i].order < h[j].order
	}
	return h[i].due.Before(h[j].due)
}
func (h entryHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *entryHeap) Push(x any)   { *h = append(*h, x.(*entry)) }
func (h *entryHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
