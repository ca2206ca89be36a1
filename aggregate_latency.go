package main

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"time"
)

// A packedLatency is a latency in 16 bits: to the microsecond below 2 ms, then
// to a thousandth of itself. 0 is none. Packed ones are ordered as they are.
type packedLatency uint16

func packLatency(d time.Duration) packedLatency {
	us := uint64(min(max(d.Round(time.Microsecond)/time.Microsecond, 1), 1<<52)) // a century
	shift := max(bits.Len64(us)-11, 0)
	if shift > 0 {
		us += 1 << (shift - 1)
	}
	return packedLatency(uint64(shift)<<10 + us>>shift)
}

func (l packedLatency) unpack() time.Duration {
	shift := max(int(l>>10)-1, 0)
	return time.Duration(int64(l)-int64(shift)<<10) << shift * time.Microsecond
}

// A latencySpread is the median and the worst of some latencies; zero when there were
// none. Of an even number the median is the lower one in the middle.
type latencySpread struct{ median, worst packedLatency }

// merge returns s with what an earlier program, or the same one before its
// clock was set back, measured at the time of s.
func (s latencySpread) merge(before latencySpread) latencySpread {
	if s == (latencySpread{}) {
		return before
	}
	return latencySpread{s.median, max(s.worst, before.worst)}
}

// spreadOf returns the median of the medians and the worst of all. Each counts
// the same, however many latencies it is of.
func spreadOf(all []latencySpread) (s latencySpread) {
	var buf [keptQuarters]packedLatency
	medians := buf[:0]
	for _, one := range all {
		if one != (latencySpread{}) {
			medians = append(medians, one.median)
			s.worst = max(s.worst, one.worst)
		}
	}
	if n := len(medians); n > 0 {
		slices.Sort(medians)
		s.median = medians[(n-1)/2]
	}
	return s
}

// A quarter is a quarter of an hour, counted from 1 January 1970 in UTC. Days
// begin with one in all zones.
type quarter int32

const quarterLength = 15 * time.Minute

func quarterOf(t time.Time) quarter {
	return quarter(min(max(t.Unix(), 0)/int64(quarterLength/time.Second), math.MaxInt32-1))
}

func (q quarter) start() time.Time { return time.Unix(int64(q)*int64(quarterLength/time.Second), 0) }

const (
	// shownQuarters are 24 hours.
	shownQuarters = 96

	// keptQuarters are the longest day, on which clocks are put back.
	keptQuarters = 100

	// maxStrays is how many quarters that come long before the newest are
	// left out: a clock that is wrong for a while, as after the start of a
	// machine without a battery, must not replace what is kept. After that
	// it is the newest one that was wrong.
	maxStrays = 4
)

// A latencyPast is how long the checks of a node took: for each of the last
// quarters, and for each of the last days. It is never changed after it was
// published.
type latencyPast struct {
	quarters [keptQuarters]latencySpread // by the quarter modulo their number
	days     [keptDays]latencySpread     // by the date modulo their number
	quarter  quarter                     // the newest one
	day      date
}

// with returns the past with the spread of a quarter that is over, or as far as
// it is, and of its day up to then.
func (p *latencyPast) with(q quarter, s latencySpread, zone *time.Location) *latencyPast {
	next := new(latencyPast)
	if p != nil {
		*next = *p
	}
	slot := slotOf(next.quarters[:], &next.quarter, q)
	*slot = s.merge(*slot)

	day := dateOf(q.start().In(zone))
	first, end := quarterOf(day.start(zone)), quarterOf((day + 1).start(zone))
	var buf [keptQuarters]latencySpread
	all := buf[:0]
	for i := max(first, end-keptQuarters); i < end; i++ {
		all = append(all, next.at(i))
	}
	*slotOf(next.days[:], &next.day, day) = spreadOf(all)
	return next
}

// slotOf returns the place of number n, not negative, in a row of the last
// spreads, of which the newest is given. What is too far from n is cleared.
func slotOf[T ~int32](row []latencySpread, newest *T, n T) *latencySpread {
	size := int64(len(row))
	switch ahead := int64(n) - int64(*newest); {
	case ahead >= size || ahead <= -size:
		clear(row)
		*newest = n
	case ahead > 0:
		for i := int64(*newest) + 1; i <= int64(n); i++ {
			row[i%size] = latencySpread{}
		}
		*newest = n
	}
	return &row[int64(n)%size]
}

// inRow returns the spread of number n; zero when it is not known.
func inRow[T ~int32](row []latencySpread, newest, n T) latencySpread {
	if size := int64(len(row)); n >= 0 && n <= newest && int64(n) > int64(newest)-size {
		return row[int64(n)%size]
	}
	return latencySpread{}
}

func (p *latencyPast) at(q quarter) latencySpread {
	if p == nil {
		return latencySpread{}
	}
	return inRow(p.quarters[:], p.quarter, q)
}

func (p *latencyPast) on(d date) latencySpread {
	if p == nil {
		return latencySpread{}
	}
	return inRow(p.days[:], p.day, d)
}

// latencySample is how many latencies of a quarter are held at most.
const latencySample = 80

// A latencyWindow gathers the latencies of the running quarter. It holds all of
// them or, of more than latencySample, as many that chance picks, so that its
// size is bounded and the median an estimate then.
type latencyWindow struct {
	quarter quarter
	count   uint32
	worst   packedLatency
	held    uint8
	strays  uint8
	sample  [latencySample]packedLatency // the first held ones, sorted
}

func (w *latencyWindow) add(l packedLatency) {
	w.worst = max(w.worst, l)
	w.count++
	if w.held == latencySample {
		i := scatter(w.count) % uint64(w.count)
		if i >= latencySample {
			return
		}
		copy(w.sample[i:], w.sample[i+1:])
		w.held--
	}
	i, _ := slices.BinarySearch(w.sample[:w.held], l)
	copy(w.sample[i+1:], w.sample[i:w.held])
	w.sample[i] = l
	w.held++
}

// scatter returns a number that looks like chance and is the same for the same
// n, so that a replay ends where the original did. It is the mixer of
// SplitMix64.
func scatter(n uint32) uint64 {
	x := uint64(n) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// spread is that of the quarter so far.
func (w *latencyWindow) spread() latencySpread {
	if w == nil || w.held == 0 {
		return latencySpread{}
	}
	return latencySpread{w.sample[(w.held-1)/2], w.worst}
}

// measure notes how long a check took. One that found its target dead counts
// for the time alone: how long that took says nothing of the target.
func (st *state) measure(ns *nodeState, res result, now time.Time) {
	w, q := ns.track.latency, quarterOf(now)
	if w != nil && w.quarter != q {
		st.bookLatency(ns, now)
		*w = latencyWindow{quarter: q, strays: w.strays}
	}
	if res.status == dead || res.latency <= 0 {
		return
	}
	if w == nil {
		w = &latencyWindow{quarter: q}
		ns.track.latency = w
	}
	w.add(packLatency(res.latency))
}

// bookLatency adds what was measured in the window's quarter to the node's past.
// The window stays as it is and may be booked again.
func (st *state) bookLatency(ns *nodeState, now time.Time) {
	w, past := ns.track.latency, *ns.track.past
	if w == nil || w.count == 0 {
		return
	}
	if p := past.latency; p != nil && int64(w.quarter) <= int64(p.quarter)-keptQuarters && w.strays < maxStrays {
		w.strays++
		return
	}
	w.strays = 0
	past.latency = past.latency.with(w.quarter, w.spread(), now.Location())
	st.rewrite(ns, &past)
}

// bookLatencies does so for all nodes when the program ends.
func (st *state) bookLatencies(now time.Time) {
	for ns := range st.allNodes() {
		st.bookLatency(ns, now)
	}
}

// latencyHours returns the spreads of the last 24 hours by quarters, the present
// one last.
func (nv *nodeView) latencyHours(now time.Time) (first quarter, all [shownQuarters]latencySpread) {
	first = quarterOf(now) - shownQuarters + 1
	for i := range all {
		q := first + quarter(i)
		all[i] = nv.history.latencyPast().at(q)
		if q == nv.quarter {
			all[i] = nv.latency.merge(all[i])
		}
	}
	return first, all
}

// latencyDays returns those of the last 90 days, today last, as far as its
// quarters are over.
func (nv *nodeView) latencyDays(now time.Time) (first date, all [keptDays]latencySpread) {
	first = dateOf(now) - keptDays + 1
	for i := range all {
		all[i] = nv.history.latencyPast().on(first + date(i))
	}
	return first, all
}

func (h *nodeHistory) latencyPast() *latencyPast {
	if h == nil {
		return nil
	}
	return h.latency
}

// A latencyRecord is what changed in the latency of a node: it replaces the
// quarters up to Quarter and the days up to Day, both counted from 1 January
// 1970. They are packed, because with all of them this is most of what is known
// of a node: two bytes for the median and two for the worst latency, the high
// one first, and zeros for times without any.
type latencyRecord struct {
	Quarter  quarter `json:"quarter"`
	Quarters []byte  `json:"quarters"`
	Day      date    `json:"day"`
	Days     []byte  `json:"days"`
}

// record returns the record of the quarters from one on and their days; nil
// when there are none.
func (p *latencyPast) record(from quarter) *latencyRecord {
	if p == nil || from > p.quarter {
		return nil
	}
	rec := &latencyRecord{Quarter: p.quarter, Day: p.day}
	for q := max(from, p.quarter-keptQuarters+1, 0); q <= p.quarter; q++ {
		rec.Quarters = p.at(q).appendTo(rec.Quarters)
	}
	// A day more does no harm, whatever the zone.
	for d := max(dateOf(from.start().UTC())-1, p.day-keptDays+1, 0); d <= p.day; d++ {
		rec.Days = p.on(d).appendTo(rec.Days)
	}
	return rec
}

// appendTo appends the packed spread; zeros come only after something else.
func (s latencySpread) appendTo(b []byte) []byte {
	if len(b) == 0 && s == (latencySpread{}) {
		return nil
	}
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, uint16(s.median)), uint16(s.worst))
}

// restore returns the past with what a record says. It may change p, which
// nobody else has yet.
func (p *latencyPast) restore(rec *latencyRecord) *latencyPast {
	if rec == nil {
		return p
	}
	if p == nil {
		p = new(latencyPast)
	}
	restoreRow(p.quarters[:], &p.quarter, rec.Quarter, rec.Quarters)
	restoreRow(p.days[:], &p.day, rec.Day, rec.Days)
	return p
}

// restoreRow puts packed spreads, of which the last has number n, in the place
// of those with the same number. What no program wrote is left out.
func restoreRow[T ~int32](row []latencySpread, newest *T, n T, packed []byte) {
	packed = packed[max(0, len(packed)/4-len(row))*4:]
	for first := n - T(len(packed)/4) + 1; len(packed) >= 4; first++ {
		s := latencySpread{packedLatency(binary.BigEndian.Uint16(packed)), packedLatency(binary.BigEndian.Uint16(packed[2:]))}
		packed = packed[4:]
		if n > 0 && n < math.MaxInt32 && first >= 0 && s.median > 0 && s.median <= s.worst {
			*slotOf(row, newest, first) = s
		}
	}
}
