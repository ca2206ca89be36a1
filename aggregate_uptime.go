package main

import (
	"iter"
	"math"
	"slices"
	"time"
)

const (
	// keptDays is for how many days, today among them, a node's past is kept
	// day by day.
	keptDays = 90

	// keptMonths is for how many months it is kept by month: for ever.
	keptMonths = 12 * 100
)

// A date is a day of the calendar, counted from 1 January 1970.
type date int32

// dateOf returns the date that a clock in t's zone shows at t.
func dateOf(t time.Time) date {
	y, m, d := t.Date()
	return date(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / (24 * 60 * 60))
}

// noon is within the date in UTC and says its year, month and day.
func (d date) noon() time.Time { return time.Unix(int64(d)*24*60*60+12*60*60, 0).UTC() }

// String returns the date as 2026-03-01.
func (d date) String() string { return d.noon().Format(time.DateOnly) }

// month returns the first day of the date's month.
func (d date) month() date { return d - date(d.noon().Day()) + 1 }

// start returns the first moment of the date in a zone. That need not be
// midnight: where clocks change at that hour there may be none, or two.
func (d date) start(zone *time.Location) time.Time {
	y, m, day := d.noon().Date()
	t := time.Date(y, m, day, 0, 0, 0, 0, zone)
	if dateOf(t) < d { // as yet the day before, by an hour that is left out or repeated
		return t.Add(24*time.Hour - clock(t))
	}
	if before := t.Add(-1); dateOf(before) == d { // the second midnight of two
		return before.Add(-clock(before))
	}
	return t
}

// clock returns the time of day.
func clock(t time.Time) time.Duration {
	h, m, s := t.Clock()
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second + time.Duration(t.Nanosecond())
}

// A sum says for how long a node had each status within a day or a month.
type sum struct {
	from  date // the day, or the first one of the month
	parts [4]time.Duration
}

// maintained is what a node is in a sum during a maintenance: neither up nor
// down, and not unknown either.
const maintained status = 3

// any reports whether there is something in the sum.
func (s *sum) any() bool { return s.total()+s.parts[maintained] > 0 }

// total is for how long the node is known to have been up or down.
func (s *sum) total() time.Duration { return s.parts[healthy] + s.parts[sick] + s.parts[dead] }

// A closedSum is a sum to the millisecond.
type closedSum struct {
	from date
	ms   [4]uint32 // a month has less than 2^32 of them
}

func (s *sum) close() closedSum {
	c := closedSum{from: s.from}
	for i, d := range s.parts {
		c.ms[i] = uint32(min(d.Round(time.Millisecond).Milliseconds(), math.MaxUint32))
	}
	return c
}

func (c *closedSum) open() sum {
	s := sum{from: c.from}
	for i, ms := range c.ms {
		s.parts[i] = time.Duration(ms) * time.Millisecond
	}
	return s
}

// compare orders by date.
func (c closedSum) compare(d date) int { return int(c.from) - int(d) }

// sumRuns are sums by date; those with nothing in them are left out. Successive
// days that are the same are kept as one run: most of the 90 days of most nodes
// are.
type sumRuns []sumRun

type sumRun struct {
	closedSum       // of the first day
	days      int32 // how many there are
}

// runsOf returns sums that are in the order of their dates as runs.
func runsOf(sums []closedSum) (l sumRuns) {
	for _, c := range sums {
		l.add(c)
	}
	return l
}

// add appends a sum that comes after all others.
func (l *sumRuns) add(c closedSum) {
	if n := len(*l); n > 0 {
		if last := &(*l)[n-1]; last.ms == c.ms && last.from+date(last.days) == c.from {
			last.days++
			return
		}
	}
	*l = append(*l, sumRun{c, 1})
}

// pop drops the last sum and returns it.
func (l *sumRuns) pop() closedSum {
	end := len(*l) - 1
	last := &(*l)[end]
	last.days--
	c := closedSum{last.from + date(last.days), last.ms}
	if last.days == 0 {
		*l = (*l)[:end]
	}
	return c
}

// set puts a sum in the place of the one with its date, in as many steps as
// there are later ones.
func (l *sumRuns) set(c closedSum) {
	var later []closedSum
	for end := len(*l) - 1; end >= 0 && (*l)[end].from+date((*l)[end].days) > c.from; end = len(*l) - 1 {
		last := l.pop()
		if last.from == c.from {
			break
		}
		later = append(later, last)
	}
	l.add(c)
	for _, next := range slices.Backward(later) {
		l.add(next)
	}
}

// all yields the sums one by one.
func (l sumRuns) all() iter.Seq[closedSum] {
	return func(yield func(closedSum) bool) {
		for _, run := range l {
			for range run.days {
				if !yield(run.closedSum) {
					return
				}
				run.from++
			}
		}
	}
}

// A sumRow is a row of sums. The closed ones are never changed in place, for
// snapshots share them.
type sumRow struct {
	closed  sumRuns
	current sum
}

// all yields all sums that have something in them, by date.
func (l sumRow) all() iter.Seq[sum] {
	return func(yield func(sum) bool) {
		pending := l.current.any()
		for c := range l.closed.all() {
			if pending && l.current.from < c.from {
				if pending = false; !yield(l.current) {
					return
				}
			}
			if !yield(c.open()) {
				return
			}
		}
		if pending {
			yield(l.current)
		}
	}
}

// turn makes the sum from d the current one. Of more others than keep, it
// drops those farthest from d: usually the oldest, but also what was booked
// under a clock that was wrong. As d itself may be that, a leap drops nothing
// until there are twice as many.
func (l *sumRow) turn(d date, keep int) {
	closed, next := slices.Collect(l.closed.all()), sum{from: d}
	if l.current.any() {
		i, _ := slices.BinarySearchFunc(closed, l.current.from, closedSum.compare)
		closed = slices.Insert(closed, i, l.current.close())
	}
	i, found := slices.BinarySearchFunc(closed, d, closedSum.compare)
	if found {
		next = closed[i].open()
		closed = slices.Delete(closed, i, i+1)
	}
	leap := (i == 0 || int(d-closed[i-1].from) > keep) && (i == len(closed) || int(closed[i].from-d) > keep)
	if len(closed) > keep && (!leap || len(closed) > 2*keep) {
		for len(closed) > keep {
			if last := len(closed) - 1; d-closed[0].from >= closed[last].from-d {
				closed = closed[1:]
			} else {
				closed = closed[:last]
			}
		}
	}
	*l = sumRow{runsOf(closed), next}
}

// A nodeHistory is a node's past: closed sums, and the status since then. It is
// never changed after it was published: its methods take the present time and
// count what has passed since.
type nodeHistory struct {
	days, months sumRow
	latency      *latencyPast // of its checks; nil when there was none
	known        bool         // whether the status since then is known
	status       status
	since        time.Time
}

// advance returns the history with all time up to now added. A span is as long
// as the monotonic clock says, and starts where the wall clock said it began.
func (h nodeHistory) advance(now time.Time) nodeHistory {
	if h.known {
		zone := now.Location()
		at, left := h.since.Round(0).In(zone), now.Sub(h.since)
		for left > 0 {
			d := dateOf(at)
			start, end := d.start(zone), (d + 1).start(zone)
			part := min(left, end.Sub(at))
			h.add(d, part, end.Sub(start))
			at, left = end, left-part
		}
	}
	h.since = now
	return h
}

// add adds a part of the running span to a date of that length. More than
// the length does not fit in, however the wall clock was moved.
func (h *nodeHistory) add(d date, part, length time.Duration) {
	if h.days.current.from != d {
		h.days.turn(d, keptDays-1)
	}
	if m := d.month(); h.months.current.from != m {
		h.months.turn(m, keptMonths)
	}
	if part = min(part, length-h.days.current.total()-h.days.current.parts[maintained]); part > 0 {
		h.days.current.parts[h.status] += part
		h.months.current.parts[h.status] += part
	}
}

// become returns the history of a node that has another status from now on.
func (h nodeHistory) become(s status, known bool, now time.Time) *nodeHistory {
	h = h.advance(now)
	h.status, h.known = s, known
	return &h
}

// recent yields what is known of the n days up to the present one, oldest
// first, each with how many days ago it was.
func (h *nodeHistory) recent(n int, now time.Time) iter.Seq2[int, sum] {
	return func(yield func(int, sum) bool) {
		today := dateOf(now)
		for s := range h.advance(now).days.all() {
			if ago := int(today - s.from); ago >= 0 && ago < n && !yield(ago, s) {
				return
			}
		}
	}
}

// uptime returns for how long, in the n days up to the present one, the node
// was known not to be dead, and for how long anything was known of it.
func (h *nodeHistory) uptime(n int, now time.Time) (up, known time.Duration) {
	for _, s := range h.recent(n, now) {
		up += s.parts[healthy] + s.parts[sick]
		known += s.total()
	}
	return up, known
}
