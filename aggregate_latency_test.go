package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// A latency in 16 bits keeps the order, and what it is to a thousandth.
func TestPackedLatency(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	var before time.Duration
	var packed packedLatency
	for range 200_000 {
		d := time.Duration(math.Exp(rnd.Float64() * math.Log(float64(100*time.Hour))))
		l := packLatency(d)
		got := l.unpack()
		if off := (got - d).Abs(); d >= time.Microsecond && off > max(d/1000, time.Microsecond/2) {
			t.Fatalf("%v became %v", d, got)
		}
		if packLatency(got) != l {
			t.Fatalf("%v became %v, and that something else", d, got)
		}
		if before < d && packed > l || before > d && packed < l {
			t.Fatalf("%v and %v changed places", before, d)
		}
		before, packed = d, l
	}
	for d, want := range map[time.Duration]time.Duration{
		-time.Second:           time.Microsecond,
		0:                      time.Microsecond,
		1499 * time.Nanosecond: time.Microsecond,
		1234567:                1235 * time.Microsecond,
	} {
		if got := packLatency(d).unpack(); got != want {
			t.Errorf("%v became %v, want %v", d, got, want)
		}
	}
	if got := packLatency(math.MaxInt64).unpack(); got < 100*365*24*time.Hour {
		t.Errorf("the longest became %v", got)
	}
}

// The median is that of the sorted latencies as long as all are held. Of more
// it is near it, also when those of two replicas take turns.
func TestLatencyMedian(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	series := map[string]func(int) float64{
		"by chance": func(int) float64 { return rnd.Float64() },
		"rising":    func(i int) float64 { return float64(i) },
		"falling":   func(i int) float64 { return float64(-i) },
		"equal":     func(int) float64 { return 0 },
		"in turns":  func(i int) float64 { return float64(i%2) + rnd.Float64()/10 },
		"of eight":  func(i int) float64 { return float64(i%8) + rnd.Float64()/10 },
	}
	for name, next := range series {
		for _, n := range []int{1, 2, 3, 10, latencySample - 1, latencySample, latencySample + 1, 1000, 20_000} {
			w := new(latencyWindow)
			var all []packedLatency
			for i := range n {
				l := packedLatency(30_000 + next(i)*float64(20_000)/float64(n))
				w.add(l)
				all = append(all, l)
			}
			slices.Sort(all)
			got := w.spread()
			if got.worst != all[n-1] {
				t.Errorf("%s, %d: worst %v, want %v", name, n, got.worst, all[n-1])
			}
			if want := all[(n-1)/2]; n <= latencySample && got.median != want {
				t.Errorf("%s, %d: median %v, want %v", name, n, got.median, want)
			}
			if low, high := all[n/4], all[3*n/4]; n > latencySample && (got.median < low || got.median > high) {
				t.Errorf("%s, %d: median %v, want one from %v to %v", name, n, got.median, low, high)
			}
			if !slices.IsSorted(w.sample[:w.held]) || int(w.held) != min(n, latencySample) {
				t.Fatalf("%s, %d: %d in %v", name, n, w.held, w.sample)
			}
		}
	}
}

// measuredQuarter is what was measured in a quarter, the plain way.
type measuredQuarter struct {
	part  []packedLatency // by the last program that measured anything
	worst packedLatency
}

func (m *measuredQuarter) spread() latencySpread {
	if m == nil || len(m.part) == 0 {
		return latencySpread{}
	}
	all := slices.Sorted(slices.Values(m.part))
	return latencySpread{all[(len(all)-1)/2], m.worst}
}

// Months of checks with restarts, kills and reloads, in a zone with a day
// of 25 hours: the latency is what the plain way of counting says.
func TestLatencyYear(t *testing.T) {
	t.Parallel()
	for name, days := range map[string]int{"Europe/Berlin": 100, "Asia/Kathmandu": 10, "Australia/Lord_Howe": 10} {
		zone := location(t, name)
		rnd := rand.New(rand.NewPCG(5, 6))
		conf := yearConfig()
		conf.Services[0].Nodes = conf.Services[0].Nodes[2:3] // with three replicas
		begin := time.Date(2025, 9, 28, 17, 30, 0, 0, zone)
		now := begin
		st := newState(conf, now)
		st.ledger = new(ledger)
		plain := make(map[quarter]*measuredQuarter)
		var lines [][]byte
		later := false // another program than before measures
		for now.Sub(begin) < time.Duration(days)*24*time.Hour {
			next := now.Add(time.Duration(rnd.ExpFloat64() * float64(4*time.Minute))).Round(time.Millisecond)
			for ; now.Before(next); now = now.Add(min(50*time.Second, next.Sub(now))) {
				st.expire(now)
			}
			switch rnd.IntN(400) {
			case 0, 1: // ends, is killed, or writes everything anew first
				alive := now
				switch rnd.IntN(3) {
				case 0:
					st.bookLatencies(now)
					st.history.keep(st, now)
					lines = append(lines, marshal(t, st.ledger.records...)...)
				case 1:
					st.history.keep(st, now)
					lines = append(lines, marshal(t, st.ledger.records...)...)
					delete(plain, quarterOf(now))
					if w := st.services[0].nodes[0].track.latency; w != nil {
						delete(plain, w.quarter)
					}
				default:
					st.bookLatencies(now)
					lines = marshal(t, slices.Collect(st.history.records(st, now))...)
				}
				now = now.Add(time.Duration(rnd.Int64N(int64(3 * time.Hour)))).Round(time.Millisecond)
				st = reborn(t, conf, lines, nil, alive, now)
				later = true
			case 2:
				conf = yearConfig()
				conf.Services[0].Nodes = conf.Services[0].Nodes[2:3]
				st.reload(conf, now)
			default:
				res := result{replica: replicas(conf.Services)[rnd.IntN(3)], status: status(max(0, rnd.IntN(6)-3))}
				res.latency = time.Duration(math.Exp(rnd.NormFloat64()) * float64(50*time.Millisecond))
				st.applyResult(res, now)
				if res.status == dead {
					continue
				}
				q := quarterOf(now)
				if plain[q] == nil {
					plain[q] = new(measuredQuarter)
				}
				if later {
					plain[q].part, later = nil, false
				}
				plain[q].part = append(plain[q].part, packLatency(res.latency))
				plain[q].worst = max(plain[q].worst, packLatency(res.latency))
			}
			if rnd.IntN(400) > 0 || later {
				continue
			}
			nv := st.snapshot(now).services[0].nodes[0]
			first, hours := nv.latencyHours(now)
			for i, got := range hours {
				if want := plain[first+quarter(i)].spread(); got != want {
					t.Fatalf("%s: %v: quarter %v: %v, want %v", name, now, (first + quarter(i)).start().In(zone), got, want)
				}
			}
			day, days := nv.latencyDays(now)
			for i, got := range days[:keptDays-1] {
				var all []latencySpread
				for q := quarterOf((day + date(i)).start(zone)); q < quarterOf((day + date(i) + 1).start(zone)); q++ {
					all = append(all, plain[q].spread())
				}
				if want := spreadOf(all); got != want {
					t.Fatalf("%s: %v: day %v: %v, want %v", name, now, day+date(i), got, want)
				}
			}
		}
	}
}

// latencies returns what is shown of the last 24 hours, as "-2: 10ms 30ms" for
// two quarters before the present one.
func latencies(nv *nodeView, now time.Time) (shown []string) {
	_, all := nv.latencyHours(now)
	for i, s := range all {
		if s != (latencySpread{}) {
			shown = append(shown, fmt.Sprintf("%d: %v %v", i-shownQuarters+1, s.median.unpack(), s.worst.unpack()))
		}
	}
	return shown
}

// Which results count, and when they are shown.
func TestLatency(t *testing.T) {
	conf := yearConfig()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	st := newState(conf, now)
	all := replicas(conf.Services)
	check := func(after time.Duration, s status, latency time.Duration) {
		now = now.Add(after)
		st.applyResult(result{replica: all[0], status: s, latency: latency}, now)
	}
	expect := func(want ...string) {
		t.Helper()
		before := latencies(st.snapshot(now).services[0].nodes[1], now)
		if len(before) > 0 {
			t.Errorf("another node has %v", before)
		}
		if got := latencies(st.snapshot(now).services[0].nodes[0], now); !slices.Equal(got, want) {
			t.Errorf("%v: %q, want %q", now, got, want)
		}
	}
	const ms, m, h = time.Millisecond, time.Minute, time.Hour
	expect()
	check(m, dead, 9*ms)
	expect()
	check(m, healthy, 1*ms)
	expect("0: 1ms 1ms")
	check(m, sick, 3*ms)
	check(m, healthy, 2*ms)
	expect("0: 2ms 3ms")
	check(m, dead, 99*ms)
	check(m, healthy, 0)
	expect("0: 2ms 3ms")
	check(15*m, dead, 1*ms)
	expect("-1: 2ms 3ms")
	check(30*m, healthy, 7*ms)
	expect("-3: 2ms 3ms", "0: 7ms 7ms")
	now = now.Add(23 * h)
	expect("-95: 2ms 3ms", "-92: 7ms 7ms")
	now = now.Add(h)
	expect()
	check(0, healthy, 5*ms)
	expect("0: 5ms 5ms")
	check(-h, healthy, 6*ms) // the clock was set back
	expect("-95: 2ms 3ms", "-92: 7ms 7ms", "0: 6ms 6ms")
	now = now.Add(h)
	expect("-4: 6ms 6ms", "0: 5ms 5ms")

	_, days := st.snapshot(now).services[0].nodes[0].latencyDays(now)
	if got := days[keptDays-2].worst.unpack(); got != 7*ms {
		t.Errorf("worst of yesterday: %v, want 7ms", got)
	}
}

// A clock that is wrong for a while costs nothing but that while; one that was
// wrong, and is right now, at most an hour.
func TestLatencyClock(t *testing.T) {
	conf := yearConfig()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	st := newState(conf, now)
	all := replicas(conf.Services)
	check := func(at time.Time) []string {
		st.applyResult(result{replica: all[0], latency: time.Millisecond}, at)
		return latencies(st.snapshot(at).services[0].nodes[0], at)
	}
	for i := range 20 {
		check(now.Add(time.Duration(i) * quarterLength))
	}
	wrong := time.Date(1970, 1, 1, 0, 10, 0, 0, time.UTC)
	check(wrong)
	check(wrong.Add(20 * time.Minute))
	now = now.Add(6 * time.Hour)
	if got := check(now); len(got) != 21 {
		t.Errorf("%d quarters after a clock of 1970, want 21", len(got))
	}
	ahead := now.AddDate(10, 0, 0)
	check(ahead)
	check(ahead.Add(20 * time.Minute))
	for i := range 12 {
		now = now.Add(quarterLength)
		check(now)
		if got := check(now); i == 11 && len(got) < 12-maxStrays {
			t.Errorf("%d of 12 quarters after a clock of %d", len(got), ahead.Year())
		}
	}
}

// The latency of a node that is taken out of the config comes back with it, and
// what a program measured before it ended goes on in the next one.
func TestLatencySurvives(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	l := newLife(t, alertConfig(Alerting{}))
	shown := func() string { return fmt.Sprint(latencies(l.st.snapshot(l.now).services[0].nodes[0], l.now)) }
	check := func(at, latency time.Duration) {
		l.until(at)
		l.st.applyResult(result{replica: l.replicas[0], latency: latency}, l.now)
	}
	expect := func(want string) {
		t.Helper()
		if got := shown(); got != want {
			t.Errorf("%v: %s, want %s", l.now.Sub(l.begin), got, want)
		}
	}
	check(m, 2*time.Millisecond)
	check(2*m, 4*time.Millisecond)
	check(16*m, 8*time.Millisecond)
	l.until(16*m + 15*s)
	expect("[-1: 2ms 4ms 0: 8ms 8ms]")
	l.restart(s) // killed: the quarter under way is lost
	expect("[-1: 2ms 4ms]")
	check(18*m, 6*time.Millisecond)
	b, _ := l.st.pendingBatch(l.now, true) // stopped: it is not
	l.disk.do(job{records: b.records})
	l.restart(s)
	expect("[-1: 2ms 4ms 0: 6ms 6ms]")
	check(20*m, 5*time.Millisecond)
	expect("[-1: 2ms 4ms 0: 5ms 6ms]")
	l.until(20*m + 15*s)

	without := alertConfig(Alerting{})
	without.Services[0].Nodes = without.Services[0].Nodes[1:]
	l.st.reload(without, l.now)
	l.until(h)
	l.st.reload(alertConfig(Alerting{}), l.now)
	expect("[-4: 2ms 4ms -3: 5ms 6ms]")

	b, _ = l.st.pendingBatch(l.now, false)
	l.disk.do(job{records: b.records})
	l.st.keepWhole()
	l.save()
	l.restart(h)
	expect("[-8: 2ms 4ms -7: 5ms 6ms]")
}

// What no program wrote in a record is left out, and the rest of it is used.
func TestLatencyRecordNonsense(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: "", `{"quarter":-1,"quarters":"AAUABQ=="}`: "", `{"quarter":5,"quarters":"AAUA"}`: "",
		`{"quarter":5,"quarters":"AAYABQ=="}`: "", `{"quarter":2147483647,"quarters":"AAUABQ=="}`: "",
		`{"day":-2147483648,"days":"AAUABQ=="}`:                 "",
		`{"quarter":5,"quarters":"AAUABg=="}`:                   "5: 5µs 6µs",
		`{"quarter":5,"quarters":"AAUABgAAAAAABwAI"}`:           "3: 5µs 6µs, 5: 7µs 8µs",
		`{"quarter":1,"quarters":"AAUABgAAAAAABwAI"}`:           "1: 7µs 8µs", // what would be before 1970
		`{"quarter":5,"quarters":"AAUABgAGAAUABwAIAA==","x":1}`: "3: 5µs 6µs, 5: 7µs 8µs",
	} {
		var rec latencyRecord
		if err := json.Unmarshal([]byte(text), &rec); err != nil {
			t.Fatal(err)
		}
		p := (*latencyPast)(nil).restore(&rec)
		var got []string
		for q := range quarter(10) {
			if s := p.at(q); s != (latencySpread{}) {
				got = append(got, fmt.Sprintf("%d: %v %v", q, s.median.unpack(), s.worst.unpack()))
			}
		}
		if got := strings.Join(got, ", "); got != want {
			t.Errorf("%s became %s, want %s", text, got, want)
		}
		if p.record(0); p.day != 0 || p.quarter > 5 {
			t.Errorf("%s: newest are %d and %v", text, p.quarter, p.day)
		}
	}
}

// What is held of a node has a bound, and a result takes no memory.
func TestLatencyMemory(t *testing.T) {
	var v nodeView
	size := unsafe.Sizeof(latencyPast{}) + unsafe.Sizeof(latencyWindow{}) + unsafe.Sizeof(v.latency) + unsafe.Sizeof(v.quarter)
	if size > 1<<10 {
		t.Errorf("%d bytes of a node, want at most 1024", size)
	}
	conf := yearConfig()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	st := newState(conf, now)
	res := result{replica: replicas(conf.Services)[0], latency: time.Millisecond}
	st.applyResult(res, now)
	ns := st.services[0].nodes[0]
	n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Millisecond)
		st.measure(ns, res, now)
	})
	if n > 0 {
		t.Errorf("%v allocations of a result", n)
	}
}
