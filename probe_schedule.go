package main

import (
	"container/heap"
	"container/list"
	"context"
	"slices"
	"time"
)

// A cadence says how often a replica is checked.
type cadence struct {
	interval  time.Duration
	retries   int // further checks after one that came back dead
	retryWait time.Duration
}

// An entry is one replica's place in the schedule. The schedule owns it, but
// while a check runs the worker may set again and verdict.
type entry struct {
	cadence
	replica *replica
	order   int           // of two entries that are due together, the lower goes first
	phase   time.Duration // its place in the interval, in (0, interval]
	due     time.Time     // when it is to be checked next
	turn    time.Time     // when its turn after the one being served is

	fresh   bool          // it has not been checked yet
	tries   int           // checks made this turn, of which only the last counts
	waited  time.Duration // how long they waited for a slot
	again   bool          // the last one was dead and there is a retry left
	verdict verdict       // of the last one
	slow    bool          // the last turn took longer than the interval
	hangs   bool          // the last check was parked
	gone    bool          // it is no longer in the config

	started time.Time          // when its check began
	stop    context.CancelFunc // ends its check; nil: nothing does
	running bool
	slot    *list.Element // in schedule.held; nil while it is parked or waits
}

// A schedule decides which replica is checked when. A new one is due at once;
// from then on each keeps its own time in its interval, however long checks
// take: it never drifts, and a check that overran is followed by the next one
// on the grid. A replica is either waiting or being checked, never both, so it
// is never checked twice at a time. Retries go before everything else, so that
// a death is known soon even while the first round is going on.
//
// A check holds one of width slots. One that has held its slot for parkAfter
// while others wait is parked: it goes on without a slot, so that targets
// that hang do not starve the rest. At most parkMost checks are parked, and of
// those at most three quarters were parked the time before: where even that
// many hang, the others still keep their turn.
//
// It has no clock and no goroutine: it belongs to its pool.
type schedule struct {
	width     int
	parkAfter time.Duration
	parkMost  int

	begin   time.Time // the grid of each interval starts here
	entries []*entry
	byKey   map[replicaKey]*entry
	queues  [queueCount]entryHeap
	held    list.List // of *entry: checks that hold a slot, the oldest first
	parked  int       // checks that do not

	overruns   int64    // turns that were missed, until taken
	missed     int      // those missed because no slot was free
	outlasting []string // replicas whose checks have begun to outlast their interval
}

// Entries wait in one of these queues, of which the earlier goes first.
const (
	queueRetry        = iota
	queueHangingRetry // the check before was parked
	queueTurn
	queueHangingTurn
	queueCount
)

// The limits on parked checks: enough for a farm of dead targets, few enough
// for the memory of a small box.
const (
	pollParkMost    = 4096
	scriptParkAfter = 10 * time.Second
	scriptParkMost  = 64
)

// pollLimits returns how many poll checks may hold a slot and how many may be
// parked beside them, of those that the config wants in parallel, when this
// process may have so many files open; 0 is not known. A quarter of the files is
// left to visitors, channels and the disk, and a check can take two: it asks two
// questions of a name server, or tries two addresses.
func pollLimits(wanted int, files uint64) (width, parkMost int) {
	if files == 0 {
		files = 1024
	}
	files -= min(files, max(files/4, 64))
	most := int(min(max(files/2, 2), 1<<20))
	width = min(wanted, max(most/2, 1))
	return width, min(pollParkMost, most-width)
}

// pollParkAfter returns how long a poll check holds its slot while others wait:
// not longer than to make a full round of checks that all hang take a quarter
// of the interval. What takes longer than that, or than 50 ms, spends its time
// waiting for the network.
func pollParkAfter(width int, rate float64) time.Duration {
	const least, most = time.Millisecond, 50 * time.Millisecond
	return time.Duration(min(max(float64(width)/(4*rate)*float64(time.Second), float64(least)), float64(most)))
}

// rate is how many checks a second the cadences ask for.
func (s *schedule) rate() (sum float64) {
	for _, e := range s.entries {
		sum += 1 / e.interval.Seconds()
	}
	return sum
}

// adopt makes all the replicas to check. Those that are known and are checked
// in the same way keep their place, their tries and their running check; others
// are due at once. A replica with another interval than before takes a new
// place. It returns the entries that are gone.
func (s *schedule) adopt(all []*replica, of func(*Node) cadence, now time.Time) (gone []*entry) {
	if s.begin.IsZero() {
		s.begin = now
	}
	known := s.byKey
	s.byKey = make(map[replicaKey]*entry, len(all))
	s.entries = make([]*entry, 0, len(all))
	kept := make(map[time.Duration][]time.Duration) // places taken, by interval
	homeless := make(map[time.Duration][]*entry)    // without a place, by interval
	for i, r := range all {
		key, c := r.key(), of(r.node)
		e := known[key]
		if e == nil || !r.sameCheck(e.replica) {
			e = &entry{fresh: true, due: now}
		} else {
			delete(known, key)
		}
		if e.interval == c.interval {
			kept[c.interval] = append(kept[c.interval], e.phase)
		} else {
			homeless[c.interval] = append(homeless[c.interval], e)
		}
		e.cadence, e.replica, e.order = c, r, i
		s.byKey[key] = e
		s.entries = append(s.entries, e)
	}
	for _, e := range known {
		e.gone = true
		gone = append(gone, e)
	}
	for interval, entries := range homeless {
		ticks := ticksOf(interval, len(kept[interval])+len(entries), s.width)
		for i, phase := range spread(kept[interval], len(entries), interval) {
			s.place(entries[i], gather(phase, interval, ticks), now)
		}
	}
	s.requeue()
	return gone
}

// requeue puts all entries that are not being checked into their queues.
func (s *schedule) requeue() {
	s.queues = [queueCount]entryHeap{}
	for _, e := range s.entries {
		if !e.running {
			s.push(e)
		}
	}
}

// hurry makes the entries that match due now, and returns them with those that
// are being checked. Their turns stay where they are.
func (s *schedule) hurry(match func(*replica) bool, now time.Time) (hurried []*entry) {
	for _, e := range s.entries {
		if !match(e.replica) {
			continue
		}
		hurried = append(hurried, e)
		if !e.running && e.due.After(now) {
			if e.tries == 0 {
				e.turn = e.due
			}
			e.due = now
		}
	}
	s.requeue()
	return hurried
}

// place gives an entry a place in its interval, which its next check waits for
// unless it is due before.
func (s *schedule) place(e *entry, phase time.Duration, now time.Time) {
	e.phase = phase
	e.turn = s.begin.Add(phase)
	if passed := now.Sub(e.turn); passed >= 0 {
		e.turn = e.turn.Add((passed/e.interval + 1) * e.interval)
	}
	if e.due.After(e.turn) && e.tries == 0 {
		e.due, e.turn = e.turn, e.turn.Add(e.interval)
	}
}

// take returns the next entry to check and gives it a slot; nil when none is
// due or no slot is free.
func (s *schedule) take(now time.Time) *entry {
	due := s.nextDue(now)
	if due == nil || !s.makeRoom(now) {
		return nil
	}
	e := heap.Pop(due).(*entry)
	e.waited += now.Sub(e.due)
	e.started, e.running = now, true
	e.slot = s.held.PushBack(e)
	return e
}

// nextDue returns the queue of which the top is to be checked next; nil when
// nothing is due.
func (s *schedule) nextDue(now time.Time) *entryHeap {
	for i := range s.queues {
		if q := &s.queues[i]; s.open(i) && len(*q) > 0 && !(*q)[0].due.After(now) {
			return q
		}
	}
	return nil
}

// open reports whether entries of a queue may be checked: while many checks are
// parked, no more of those that hung before begin.
func (s *schedule) open(queue int) bool {
	return queue == queueRetry || queue == queueTurn || s.parked < max(s.parkMost*3/4, 1)
}

// push puts an entry into its queue.
func (s *schedule) push(e *entry) {
	queue := queueTurn
	if e.tries > 0 {
		queue = queueRetry
	}
	if e.hangs {
		queue++
	}
	heap.Push(&s.queues[queue], e)
}

// makeRoom reports whether a slot is free, parking the oldest check if it must
// and may.
func (s *schedule) makeRoom(now time.Time) bool {
	if s.held.Len() < s.width {
		return true
	}
	e := s.oldest()
	if s.parked >= s.parkMost || now.Sub(e.started) < s.parkAfter {
		return false
	}
	s.leaveSlot(e)
	s.parked++
	return true
}

// oldest returns the check that has held its slot for longest. There must be one.
func (s *schedule) oldest() *entry { return s.held.Front().Value.(*entry) }

func (s *schedule) leaveSlot(e *entry) {
	s.held.Remove(e.slot)
	e.slot = nil
}

// put takes back an entry whose check has ended, and reports whether its verdict
// counts.
func (s *schedule) put(e *entry, now time.Time) bool {
	e.running = false
	if e.hangs = e.slot == nil; e.hangs {
		s.parked--
	} else {
		s.leaveSlot(e)
	}
	if e.gone {
		return false
	}
	if e.again {
		e.again = false
		e.tries++
		e.due = now.Add(e.retryWait)
		s.push(e)
		return false
	}
	s.nextTurn(e, now)
	s.push(e)
	return true
}

// nextTurn makes an entry due at its next turn after now. Turns before that
// were missed; but the first check, which began at no turn, counts for the turn
// it ran into.
func (s *schedule) nextTurn(e *entry, now time.Time) {
	missed := time.Duration(0)
	if late := now.Sub(e.turn); late >= 0 {
		missed = late/e.interval + 1
	}
	slow := missed > 0 && now.Sub(e.turn) >= e.waited // even if it had not waited for slots
	e.due = e.turn.Add(missed * e.interval)
	e.turn = e.due.Add(e.interval)
	if e.fresh && missed > 0 {
		missed--
	}
	s.overruns += int64(missed)
	switch {
	case missed > 0 && !slow:
		s.missed += int(missed)
	case missed > 0 && !e.slow:
		s.outlasting = append(s.outlasting, e.replica.path())
	}
	e.slow = slow
	e.fresh, e.tries, e.waited = false, 0, 0
}

// takeOverruns returns how many turns were missed since it was last called.
func (s *schedule) takeOverruns() int64 {
	n := s.overruns
	s.overruns = 0
	return n
}

// takeMissed returns how many turns were missed because no slot was free since
// it was last called, and the replicas whose checks outlasted their interval.
func (s *schedule) takeMissed() (missed int, outlasting []string) {
	missed, outlasting = s.missed, s.outlasting
	s.missed, s.outlasting = 0, nil
	return missed, outlasting
}

// slowest returns the replicas whose checks have been running for longest.
func (s *schedule) slowest() (names []string) {
	const most = 3
	var running []*entry
	for _, e := range s.entries {
		if e.running {
			running = append(running, e)
		}
	}
	slices.SortFunc(running, func(a, b *entry) int { return a.started.Compare(b.started) })
	for _, e := range running[:min(most, len(running))] {
		names = append(names, e.replica.path())
	}
	return names
}

// wake returns when take may next have something, given that it has nothing
// now; false when that depends on the end of a check.
func (s *schedule) wake() (at time.Time, ok bool) {
	for i, q := range s.queues {
		if len(q) > 0 && s.open(i) && (!ok || q[0].due.Before(at)) {
			at, ok = q[0].due, true
		}
	}
	if !ok || s.held.Len() < s.width {
		return at, ok
	}
	if s.parked >= s.parkMost {
		return time.Time{}, false
	}
	if park := s.oldest().started.Add(s.parkAfter); park.After(at) {
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

// spread returns n places in an interval, as far from each other and from
// those taken as can be.
func spread(taken []time.Duration, n int, interval time.Duration) []time.Duration {
	places := make([]time.Duration, n)
	if len(taken) == 0 {
		for i := range n {
			places[i] = fraction(interval, i+1, n)
		}
		return places
	}
	slices.Sort(taken)
	gaps := make(gapHeap, len(taken))
	for i, place := range taken {
		gaps[i] = gap{from: place, length: taken[(i+1)%len(taken)] - place, parts: 1}
	}
	gaps[len(taken)-1].length += interval
	heap.Init(&gaps)
	for range n {
		gaps[0].parts++
		heap.Fix(&gaps, 0)
	}
	places = places[:0]
	for _, g := range gaps {
		for i := 1; i < g.parts; i++ {
			place := g.from + fraction(g.length, i, g.parts)
			if place > interval {
				place -= interval
			}
			places = append(places, place)
		}
	}
	return places
}

// fraction returns i n-ths of d, in two steps, as d times a great many may
// overflow.
func fraction(d time.Duration, i, n int) time.Duration {
	return d/time.Duration(n)*time.Duration(i) + d%time.Duration(n)*time.Duration(i)/time.Duration(n)
}

// A gap is the free time between two places of an interval, to be divided into
// equal parts.
type gap struct {
	from, length time.Duration
	parts        int
}

// gapHeap is a heap of gaps, the one with the longest parts on top.
type gapHeap []gap

func (h gapHeap) Len() int { return len(h) }
func (h gapHeap) Less(i, j int) bool {
	return h[i].length/time.Duration(h[i].parts) > h[j].length/time.Duration(h[j].parts)
}
func (h gapHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *gapHeap) Push(x any)   { *h = append(*h, x.(gap)) }
func (h *gapHeap) Pop() any     { panic("gaps are only divided") }

// A check that starts alone wakes the process for itself, which costs more than
// the check. So starts are gathered at ticks: a check starts at most one tick
// after the place that an even spread would give it, and keeps that time to the
// nanosecond, as the interval is a whole number of ticks. A tick is at most a
// 40th of the interval and 250 ms, which nobody notices, and starts 24 checks at
// most, so that they do not slow each other down; where no more than those run at
// once, because the parallelism is lower, 64. Where checks are so rare that hardly
// two would share a tick there are none. First checks, retries and orders do not
// wait for ticks.
const (
	tickMost   = 250 * time.Millisecond
	tickShare  = 40
	tickBurst  = 24
	tickNarrow = 64
)

// ticksOf returns into how many ticks an interval with n replicas is divided, of
// which width are checked at once; 0 for none.
func ticksOf(interval time.Duration, n, width int) int {
	most, burst := min(tickMost, interval/tickShare), time.Duration(tickBurst)
	if width <= tickBurst {
		burst = tickNarrow
	}
	if n > 0 {
		most = min(most, interval/time.Duration(n)*burst)
	}
	if most <= 0 || int(interval/most) > n/2 {
		return 0
	}
	return int((interval + most - 1) / most)
}

// gather returns the tick that follows a place in an interval.
func gather(place, interval time.Duration, ticks int) time.Duration {
	if ticks == 0 {
		return place
	}
	length := interval / time.Duration(ticks)
	i := int((place + length - 1) / length)
	return fraction(interval, min(i, ticks), ticks)
}
