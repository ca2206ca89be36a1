package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pollReplicas returns n replicas of one poll node.
func pollReplicas(n int) []*replica {
	node := &Node{ID: "node", Mode: modePoll}
	for i := range n {
		node.Targets = append(node.Targets, Target{Raw: fmt.Sprintf("tcp://10.0.0.1:%d", i+1)})
	}
	return replicas([]*Service{{ID: "service", Nodes: []*Node{node}}})
}

// poolLog records when the checks of a pool began and ended, and what it
// reported.
type poolLog struct {
	mu      sync.Mutex
	starts  map[int][]time.Duration // by ordinal, since the beginning
	running map[int]int
	most    int // checks that ran at once
	results map[int][]result
	begin   time.Time
}

// newTestPool returns a pool for poll replicas.
func newTestPool(m Metrics, all []*replica, probe prober, events chan<- event) *pool {
	p := newPool("poll", events, slog.New(slog.DiscardHandler))
	p.adoptPoll(m, all, probe, time.Now())
	return p
}

// runPool runs p, whose replicas are those of one node, for some time inside a
// synctest bubble. Each check takes as long, and comes out as, probe says.
func runPool(t *testing.T, p *pool, run time.Duration, probe func(r *replica, try int) (time.Duration, status)) *poolLog {
	t.Helper()
	pl := &poolLog{starts: map[int][]time.Duration{}, running: map[int]int{}, results: map[int][]result{}}
	pl.begin = time.Now()
	events := make(chan event)
	all := 0
	p.events = events
	p.probe = func(ctx context.Context, r *replica) verdict {
		pl.mu.Lock()
		pl.starts[r.ordinal] = append(pl.starts[r.ordinal], time.Since(pl.begin))
		took, s := probe(r, len(pl.starts[r.ordinal]))
		if pl.running[r.ordinal]++; pl.running[r.ordinal] > 1 {
			t.Errorf("replica %d is checked twice at a time", r.ordinal)
		}
		all++
		pl.most = max(pl.most, all)
		pl.mu.Unlock()
		select {
		case <-time.After(took):
		case <-ctx.Done():
		}
		pl.mu.Lock()
		pl.running[r.ordinal]--
		all--
		pl.mu.Unlock()
		return verdict{status: s}
	}
	ctx, cancel := context.WithTimeout(t.Context(), run)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case ev := <-events:
				res := ev.(result)
				pl.results[res.replica.ordinal] = append(pl.results[res.replica.ordinal], res)
			case <-ctx.Done():
				return
			}
		}
	})
	if err := p.run(ctx, nil); err != nil {
		t.Errorf("run: %v", err)
	}
	wg.Wait()
	return pl
}

func testMetrics() Metrics {
	return Metrics{
		PollInterval: time.Minute, PollParallelism: 16, RetryCount: 1, RetryWait: 2 * time.Second,
		PollDelayDead: 10 * time.Second, PollDelaySick: 5 * time.Second,
		ScriptInterval: 5 * time.Minute, ScriptParallelism: 2,
	}
}

func TestScheduleSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 60
		p := newTestPool(testMetrics(), pollReplicas(n), nil, nil)
		pl := runPool(t, p, 10*time.Minute+time.Millisecond, func(*replica, int) (time.Duration, status) {
			return 3 * time.Millisecond, healthy
		})
		perSecond := map[time.Duration]int{}
		for i := range n {
			starts := pl.starts[i]
			if starts[0] > time.Second {
				t.Errorf("replica %d: first check after %v, want at once", i, starts[0])
			}
			if len(starts) != 11 {
				t.Errorf("replica %d was checked %d times in 10 minutes, want 11", i, len(starts))
			}
			for k, at := range starts[1:] {
				want := time.Duration(i+1)*time.Second + time.Duration(k)*time.Minute
				if at != want {
					t.Errorf("replica %d, turn %d: at %v, want %v", i, k+1, at, want)
				}
				perSecond[at.Truncate(time.Second)]++
			}
		}
		for at, count := range perSecond {
			if count != 1 {
				t.Errorf("%d checks at %v, want them spread", count, at)
			}
		}
		if p.meter.overruns.Load() != 0 {
			t.Errorf("%d overruns", p.meter.overruns.Load())
		}
	})
}

func TestScheduleRetries(t *testing.T) {
	tests := []struct {
		name   string
		count  int
		wait   time.Duration
		deads  int // checks that come back dead at first
		starts []time.Duration
		result status
	}{
		{"healthy", 1, 2 * time.Second, 0, []time.Duration{0}, healthy},
		{"back at the retry", 1, 2 * time.Second, 1, []time.Duration{0, 2 * time.Second}, healthy},
		{"dead", 1, 2 * time.Second, 2, []time.Duration{0, 2 * time.Second}, dead},
		{"three retries", 3, 500 * time.Millisecond, 9,
			[]time.Duration{0, 500 * time.Millisecond, time.Second, 1500 * time.Millisecond}, dead},
		{"back at the third", 3, 500 * time.Millisecond, 3,
			[]time.Duration{0, 500 * time.Millisecond, time.Second, 1500 * time.Millisecond}, healthy},
		{"none", 0, 0, 9, []time.Duration{0}, dead},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := testMetrics()
				m.RetryCount, m.RetryWait = tt.count, tt.wait
				pl := runPool(t, newTestPool(m, pollReplicas(1), nil, nil), 50*time.Second, func(_ *replica, try int) (time.Duration, status) {
					if try <= tt.deads {
						return 0, dead
					}
					return 0, healthy
				})
				if !slices.Equal(pl.starts[0], tt.starts) {
					t.Errorf("checks at %v, want %v", pl.starts[0], tt.starts)
				}
				if len(pl.results[0]) != 1 || pl.results[0][0].status != tt.result {
					t.Errorf("results %v, want one %v", pl.results[0], tt.result)
				}
			})
		})
	}
}

// A replica that waits for its retry holds no worker: with a single one, the
// others are checked meanwhile.
func TestScheduleRetryHoldsNoWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := testMetrics()
		m.PollParallelism, m.RetryWait = 1, 30*time.Second
		pl := runPool(t, newTestPool(m, pollReplicas(3), nil, nil), 20*time.Second, func(r *replica, _ int) (time.Duration, status) {
			if r.ordinal == 0 {
				return 0, dead
			}
			return 0, healthy
		})
		if pl.starts[1][0] != 0 || pl.starts[2][0] != 0 {
			t.Errorf("checks at %v, want the others at once", pl.starts)
		}
	})
}

// Targets that hang do not delay the others, at the default parallelism too,
// and the first death is known as early as if there were no others.
func TestScheduleHungTargets(t *testing.T) {
	for _, tt := range []struct {
		width, each int // so many hang, and so many do not
		interval    time.Duration
	}{
		{4, 100, time.Minute},
		{16, 100, time.Minute},
		{4, 300, 10 * time.Second},
		{4, 1000, 2 * time.Minute},
	} {
		t.Run(fmt.Sprintf("%d of %d at %v, width %d", tt.each, 2*tt.each, tt.interval, tt.width), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := testMetrics()
				m.PollParallelism, m.PollInterval = tt.width, tt.interval
				p := newTestPool(m, pollReplicas(2*tt.each), nil, nil)
				run := 10 * tt.interval
				pl := runPool(t, p, run, func(r *replica, _ int) (time.Duration, status) {
					if r.ordinal%2 == 0 {
						return m.PollDelayDead, dead
					}
					return time.Millisecond, healthy
				})
				var worst, lastFirst time.Duration
				firstDeath := run
				for i := range 2 * tt.each {
					if i%2 == 0 {
						firstDeath = min(firstDeath, pl.results[i][0].at.Sub(pl.begin))
						continue
					}
					starts := append(pl.starts[i], run)
					lastFirst = max(lastFirst, starts[0])
					for k := 1; k < len(starts); k++ {
						worst = max(worst, starts[k]-starts[k-1])
					}
				}
				if limit := tt.interval * 11 / 10; worst > limit {
					t.Errorf("a healthy target was not checked for %v, want at most %v", worst, limit)
				}
				if limit := tt.interval / 2; lastFirst > limit {
					t.Errorf("the last first check of a healthy target came after %v, want at most %v", lastFirst, limit)
				}
				if limit := 2*m.PollDelayDead + m.RetryWait + 2*time.Second; firstDeath > limit {
					t.Errorf("the first death was known after %v, want at most %v", firstDeath, limit)
				}
				if most := tt.width + p.schedule.parkMost; pl.most > most {
					t.Errorf("%d checks at once, want at most %d", pl.most, most)
				}
			})
		})
	}
}

func TestScheduleWidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := testMetrics()
		m.PollParallelism = 5
		pl := runPool(t, newTestPool(m, pollReplicas(100), nil, nil), 3*time.Minute, func(*replica, int) (time.Duration, status) {
			return 40 * time.Millisecond, healthy
		})
		if pl.most != 5 {
			t.Errorf("%d checks at once, want 5", pl.most)
		}
	})
}

func TestScheduleParkingHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestPool(testMetrics(), pollReplicas(50), nil, nil)
		p.schedule.width, p.schedule.parkMost = 2, 3
		pl := runPool(t, p, 30*time.Second, func(*replica, int) (time.Duration, status) {
			return 20 * time.Second, healthy
		})
		if pl.most != 5 {
			t.Errorf("%d checks at once, want 5", pl.most)
		}
	})
}

// A check that takes longer than its interval is not joined by a second one,
// and the next one is on the grid again.
func TestScheduleOverrun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p := newTestPool(testMetrics(), pollReplicas(1), nil, nil)
		p.log = slog.New(slog.NewTextHandler(&log, nil))
		pl := runPool(t, p, 5*time.Minute+30*time.Second, func(_ *replica, try int) (time.Duration, status) {
			if try == 2 {
				return 150 * time.Second, healthy
			}
			return 0, healthy
		})
		want := []time.Duration{0, time.Minute, 4 * time.Minute, 5 * time.Minute}
		if got := pl.starts[0]; !slices.Equal(got, want) {
			t.Errorf("checks at %v, want %v", got, want)
		}
		if p.meter.overruns.Load() != 2 {
			t.Errorf("%d overruns, want 2", p.meter.overruns.Load())
		}
		// That is the check's own fault, and not the parallelism's.
		if s := log.String(); strings.Count(s, "checks take longer than their interval") != 1 ||
			!strings.Contains(s, "replicas=service:node:tcp://10.0.0.1:1") || strings.Contains(s, "missed their turn") {
			t.Errorf("log:\n%s", s)
		}
	})
}

// The checks of the first round come at once and end when they end: none of
// them missed its turn because of that.
func TestScheduleFirstRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestPool(testMetrics(), pollReplicas(100), nil, nil)
		runPool(t, p, 10*time.Minute, func(*replica, int) (time.Duration, status) { return 2 * time.Second, healthy })
		if p.meter.overruns.Load() != 0 {
			t.Errorf("%d overruns", p.meter.overruns.Load())
		}
	})
}

// What a stop cuts short is not reported, and run leaves no goroutine behind
// (the bubble would not end).
func TestPoolStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pl := runPool(t, newTestPool(testMetrics(), pollReplicas(40), nil, nil), 40*time.Millisecond, func(*replica, int) (time.Duration, status) {
			return time.Hour, dead
		})
		if len(pl.starts) != 16 || len(pl.results) != 0 {
			t.Errorf("%d checks began and %d were reported, want 16 and none", len(pl.starts), len(pl.results))
		}
	})
}

// A pool that is run again after its end has nothing left to do: that is how a
// stop during a reload looks.
func TestPoolRunAfterStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := newTestPool(testMetrics(), pollReplicas(3), func(ctx context.Context, _ *replica) verdict {
			<-ctx.Done()
			return verdict{}
		}, nil)
		pause := make(chan struct{})
		time.AfterFunc(time.Second, func() { close(pause) })
		p.run(ctx, pause)
		cancel()
		for range 3 {
			p.run(ctx, pause)
		}
	})
}

func TestPoolContainsPanic(t *testing.T) {
	var log bytes.Buffer
	var none []status
	p := newPool("poll", nil, slog.New(slog.NewTextHandler(&log, nil)))
	v := p.check(task{ctx: t.Context(), replica: pollReplicas(1)[0],
		probe: func(context.Context, *replica) verdict { return verdict{status: none[0]} }})
	if v.status != dead || v.reason != "the probe failed, see the log" {
		t.Errorf("verdict %+v", v)
	}
	if n := p.meter.panics.Load(); n != 1 {
		t.Errorf("%d panics counted, want 1", n)
	}
	for _, want := range []string{"probe panicked", "service:node", "index out of range", "TestPoolContainsPanic"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %q:\n%s", want, log.String())
		}
	}
}

// BenchmarkSchedule shows what it takes to find the next check, give it a slot
// and take it back, with few and with very many replicas.
func BenchmarkSchedule(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			const interval = 10 * time.Second
			s := schedule{width: 64, parkAfter: time.Second, parkMost: 1024}
			now := time.Now()
			s.adopt(pollReplicas(n), func(*Node) cadence { return cadence{interval: interval} }, now)
			step := interval / time.Duration(n)
			var running []*entry
			b.ReportAllocs()
			for b.Loop() {
				e := s.take(now)
				for e == nil {
					now = now.Add(step)
					e = s.take(now)
				}
				if running = append(running, e); len(running) == 16 {
					for _, e := range running {
						s.put(e, now)
					}
					running = running[:0]
				}
			}
			if s.overruns > 0 {
				b.Errorf("%d overruns", s.overruns)
			}
		})
	}
}

// Each node has its own interval and retries, spread evenly among those of the
// same interval.
func TestScheduleOwnIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := testMetrics()
		fast, slow := m, m
		fast.PollInterval, fast.RetryCount = 10*time.Second, 0
		slow.PollInterval, slow.RetryCount, slow.RetryWait = 5*time.Minute, 2, time.Second
		var nodes []*Node
		for i, own := range []*Metrics{nil, &fast, &slow, &fast, nil} {
			nodes = append(nodes, &Node{ID: fmt.Sprint(i), Metrics: own, Targets: []Target{{Raw: "tcp://a:1"}}})
		}
		p := newTestPool(m, replicas([]*Service{{ID: "web", Nodes: nodes}}), nil, nil)
		pl := runPool(t, p, 10*time.Minute+time.Millisecond, func(*replica, int) (time.Duration, status) { return 0, dead })
		every := func(first, interval time.Duration, tries int, wait time.Duration) (all []time.Duration) {
			for at := first; at <= 10*time.Minute; at += interval {
				for try := range tries {
					if at := at + time.Duration(try)*wait; at <= 10*time.Minute {
						all = append(all, at)
					}
				}
			}
			return all
		}
		const s = time.Second
		for i, want := range [][]time.Duration{
			append([]time.Duration{0, 2 * s}, every(30*s, 60*s, 2, 2*s)...),
			append([]time.Duration{0}, every(5*s, 10*s, 1, 0)...),
			append([]time.Duration{0, s, 2 * s}, every(300*s, 300*s, 3, s)...),
			append([]time.Duration{0}, every(10*s, 10*s, 1, 0)...),
			append([]time.Duration{0, 2 * s}, every(60*s, 60*s, 2, 2*s)...),
		} {
			if !slices.Equal(pl.starts[i], want) {
				t.Errorf("node %d checked at %v, want %v", i, pl.starts[i], want)
			}
		}
	})
}

// Dense checks start together, and all the same come evenly and in their own
// time.
func TestScheduleGathers(t *testing.T) {
	for _, tt := range []struct {
		n, width int
		interval time.Duration
		ticks    int // 0: none
	}{
		{60, 60, time.Minute, 0},
		{2000, 2000, 10 * time.Second, 84},
		{2000, 24, 10 * time.Second, 40},
		{2000, 4, time.Minute, 240},
		{10_000, 64, 10 * time.Second, 417},
		{10_000, 4, 10 * time.Second, 157},
		{500, 500, 2 * time.Second, 40},
		{3, 3, time.Second, 0},
		{1000, 1000, time.Second, 42},
		{1, 4, time.Second, 0},
		{70, 70, 2 * time.Second, 0},
	} {
		ticks := ticksOf(tt.interval, tt.n, tt.width)
		if ticks != tt.ticks {
			t.Errorf("%d in %v, %d at once: %d ticks, want %d", tt.n, tt.interval, tt.width, ticks, tt.ticks)
		}
		if ticks == 0 || tt.width < tt.n { // those that are narrow delay the first round
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			m := testMetrics()
			m.PollInterval, m.PollParallelism = tt.interval, tt.n // the first round delays nothing
			p := newTestPool(m, pollReplicas(tt.n), nil, nil)
			p.schedule.width = tt.n
			pl := runPool(t, p, 4*tt.interval, func(*replica, int) (time.Duration, status) { return time.Millisecond, healthy })
			together := make(map[time.Duration]int)
			for i := range tt.n {
				starts := pl.starts[i]
				for k := 2; k < len(starts); k++ {
					if gap := starts[k] - starts[k-1]; gap != tt.interval {
						t.Fatalf("replica %d of %d: %v between checks", i, tt.n, gap)
					}
				}
				even := fraction(tt.interval, i+1, tt.n)
				if late := starts[1] - even; late < 0 || late > tt.interval/40 || late > 250*time.Millisecond {
					t.Fatalf("replica %d of %d: %v after its place", i, tt.n, late)
				}
				together[starts[1]]++
			}
			if len(together) > tt.ticks {
				t.Errorf("%d of %d: starts at %d times, want %d", tt.n, tt.n, len(together), tt.ticks)
			}
			for at, n := range together {
				if n > tickBurst+1 {
					t.Errorf("%d: %d checks at %v", tt.n, n, at)
				}
			}
			if n := p.meter.overruns.Load(); n > 0 {
				t.Errorf("%d overruns", n)
			}
		})
	}
}
