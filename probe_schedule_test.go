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
}

// runPool runs p on n replicas for some time inside a synctest bubble. Each
// check takes as long, and comes out as, probe says.
func runPool(t *testing.T, p *pool, n int, run time.Duration, probe func(r *replica, try int) (time.Duration, status)) *poolLog {
	t.Helper()
	pl := &poolLog{starts: map[int][]time.Duration{}, running: map[int]int{}, results: map[int][]result{}}
	begin := time.Now()
	events := make(chan event)
	all := 0
	p.log = slog.New(slog.DiscardHandler)
	p.events = events
	p.probe = func(ctx context.Context, r *replica) result {
		pl.mu.Lock()
		pl.starts[r.ordinal] = append(pl.starts[r.ordinal], time.Since(begin))
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
		return result{replica: r, status: s, at: time.Now()}
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
	if err := p.run(ctx, pollReplicas(n)); err != nil {
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
		p := newPollPool(testMetrics(), nil, nil, nil)
		const n = 60
		pl := runPool(t, p, n, 10*time.Minute+time.Millisecond, func(*replica, int) (time.Duration, status) {
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
		if p.schedule.overruns != 0 {
			t.Errorf("%d overruns", p.schedule.overruns)
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
				pl := runPool(t, newPollPool(m, nil, nil, nil), 1, 50*time.Second, func(_ *replica, try int) (time.Duration, status) {
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
		pl := runPool(t, newPollPool(m, nil, nil, nil), 3, 20*time.Second, func(r *replica, _ int) (time.Duration, status) {
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

// Half of 200 targets accept and never answer; with 16 checks at once the
// other half keep their time.
func TestScheduleHungTargets(t *testing.T) {
	for _, width := range []int{4, 16} {
		synctest.Test(t, func(t *testing.T) {
			m := testMetrics()
			m.PollParallelism = width
			p := newPollPool(m, nil, nil, nil)
			pl := runPool(t, p, 200, 20*time.Minute, func(r *replica, _ int) (time.Duration, status) {
				if r.ordinal%2 == 0 {
					return m.PollDelayDead, dead
				}
				return time.Millisecond, healthy
			})
			var worst time.Duration
			for i := 1; i < 200; i += 2 {
				starts := append(pl.starts[i], 20*time.Minute)
				for k := 1; k < len(starts); k++ {
					worst = max(worst, starts[k]-starts[k-1])
				}
			}
			if limit := m.PollInterval * 11 / 10; worst > limit {
				t.Errorf("width %d: a healthy target was not checked for %v, want at most %v", width, worst, limit)
			}
			if most := width + p.schedule.parkMost; pl.most > most {
				t.Errorf("width %d: %d checks at once, want at most %d", width, pl.most, most)
			}
		})
	}
}

func TestScheduleWidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := testMetrics()
		m.PollParallelism = 5
		pl := runPool(t, newPollPool(m, nil, nil, nil), 100, 3*time.Minute, func(*replica, int) (time.Duration, status) {
			return 400 * time.Millisecond, healthy
		})
		if pl.most != 5 {
			t.Errorf("%d checks at once, want 5", pl.most)
		}
	})
}

func TestScheduleParkingHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPollPool(testMetrics(), nil, nil, nil)
		p.schedule.width, p.schedule.parkMost = 2, 3
		pl := runPool(t, p, 50, 30*time.Second, func(*replica, int) (time.Duration, status) {
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
		p := newPollPool(testMetrics(), nil, nil, nil)
		pl := runPool(t, p, 1, 5*time.Minute+30*time.Second, func(_ *replica, try int) (time.Duration, status) {
			if try == 2 {
				return 150 * time.Second, healthy
			}
			return 0, healthy
		})
		want := []time.Duration{0, time.Minute, 4 * time.Minute, 5 * time.Minute}
		if got := pl.starts[0]; !slices.Equal(got, want) {
			t.Errorf("checks at %v, want %v", got, want)
		}
		if p.schedule.overruns != 2 {
			t.Errorf("%d overruns, want 2", p.schedule.overruns)
		}
	})
}

// The checks of the first round come at once and end when they end: none of
// them missed its turn because of that.
func TestScheduleFirstRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPollPool(testMetrics(), nil, nil, nil)
		runPool(t, p, 100, 10*time.Minute, func(*replica, int) (time.Duration, status) { return 2 * time.Second, healthy })
		if p.schedule.overruns != 0 {
			t.Errorf("%d overruns", p.schedule.overruns)
		}
	})
}

// What a stop cuts short is not reported, and run leaves no goroutine behind
// (the bubble would not end).
func TestPoolStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pl := runPool(t, newPollPool(testMetrics(), nil, nil, nil), 40, 100*time.Millisecond, func(*replica, int) (time.Duration, status) {
			return time.Hour, dead
		})
		if len(pl.starts) != 16 || len(pl.results) != 0 {
			t.Errorf("%d checks began and %d were reported, want 16 and none", len(pl.starts), len(pl.results))
		}
	})
}

func TestPoolContainsPanic(t *testing.T) {
	var log bytes.Buffer
	var none []status
	p := newPollPool(testMetrics(), func(context.Context, *replica) result { return result{status: none[0]} },
		nil, slog.New(slog.NewTextHandler(&log, nil)))
	res := p.check(t.Context(), pollReplicas(1)[0])
	if res.status != dead || res.reason != "the probe failed, see the log" || res.replica == nil {
		t.Errorf("result %+v", res)
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
