package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vigil/notify"
)

// A connectionScript says when the connection is down, in a bubble's time.
type connectionScript struct {
	begin time.Time
	downs [][2]time.Duration
	slow  time.Duration // how long a target takes to answer

	mu    sync.Mutex
	asked []time.Duration
}

func (s *connectionScript) down() bool {
	at := time.Since(s.begin)
	return slices.ContainsFunc(s.downs, func(d [2]time.Duration) bool { return d[0] <= at && at < d[1] })
}

// reach is asked for "good", which answers over a connection that works, and
// for "bad", which never does.
func (s *connectionScript) reach(ctx context.Context, t *Target) error {
	if t.Raw == "good" {
		s.mu.Lock()
		s.asked = append(s.asked, time.Since(s.begin))
		s.mu.Unlock()
	}
	wait, err := s.slow, error(nil)
	switch {
	case t.Raw == "bad":
		wait, err = time.Millisecond, errors.New("bad: connection refused")
	case s.down():
		wait, err = connectionLimit, errors.New("good: no answer in 5 s")
	}
	select {
	case <-time.After(wait):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runConnectivity runs a connectivity along the script inside a bubble, and use beside it.
// It returns the log and the line's reports, each with its time.
func runConnectivity(t *testing.T, s *connectionScript, use func(ctx context.Context, l *connectivity)) (log string, reports []string) {
	t.Helper()
	var text bytes.Buffer
	events := make(chan event)
	l := newConnectivity(events, slog.New(slog.NewTextHandler(&text, nil)))
	l.adopt([]Target{{Raw: "bad"}, {Raw: "good"}}, s.reach)
	s.begin = time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.run(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case ev := <-events:
				word := " up"
				if ev.(connectionReport).down {
					word = " down"
				}
				reports = append(reports, time.Since(s.begin).String()+word)
			}
		}
	})
	use(ctx, l)
	cancel()
	wg.Wait()
	return regexp.MustCompile(`time=\S+ `).ReplaceAllString(text.String(), ""), reports
}

// A reload that cuts off the report of a change loses neither the change nor the
// answers that depend on it.
func TestConnectivityReportCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := make(chan event)
		l := newConnectivity(events, slog.New(slog.DiscardHandler))
		l.adopt([]Target{{Raw: "bad"}}, func(context.Context, *Target) error { return errors.New("connection refused") })
		l.known = true
		answer := make(chan bool, 1)
		run := func(hear bool) {
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := l.run(ctx); err != nil {
					t.Error(err)
				}
			})
			if hear {
				select {
				case ev := <-events:
					if !ev.(connectionReport).down {
						t.Errorf("reported %+v", ev)
					}
				case <-time.After(time.Minute):
					t.Error("not reported")
				}
			} else {
				l.questions <- question{time.Now(), answer}
				synctest.Wait() // the report waits for the aggregator
			}
			synctest.Wait()
			cancel()
			wg.Wait()
		}
		run(false)
		run(true)
		select {
		case sure := <-answer:
			if sure {
				t.Error("a check counts that found a connection down")
			}
		default:
			t.Error("no answer")
		}
	})
}

func TestConnectivity(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	type asking struct{ began, at time.Duration }
	tests := []struct {
		name    string
		downs   [][2]time.Duration
		asks    []asking
		sure    []bool
		checks  []time.Duration // when the targets were asked
		reports []string
		log     string
	}{
		{"works", nil,
			[]asking{{0, 10 * s}, {19 * s, 20 * s}}, []bool{true, true},
			[]time.Duration{0, 10 * s, 20 * s},
			[]string{"50ms up"}, ""},
		{"down and up again", [][2]time.Duration{{8 * s, 30 * s}},
			// The second one began while the line was known to be down, and the
			// third before it was known to be up.
			[]asking{{0, 10 * s}, {15 * s, 16 * s}, {29 * s, 40 * s}, {36 * s, 41 * s}}, []bool{false, false, false, true},
			[]time.Duration{0, 10 * s, 20 * s, 30 * s, 41 * s},
			[]string{"50ms up", "15s down", "30.05s up"},
			`level=WARN msg="own connection is down: no connectivity target answers, so failed checks and missing reports do not count" targets=2 err="good: no answer in 5 s"` + "\n" +
				`level=INFO msg="own connection works again" down=15s` + "\n"},
		{"down from the start", [][2]time.Duration{{0, 7 * s}},
			[]asking{{0, 1 * s}, {0, 20 * s}, {19 * s, 21 * s}}, []bool{false, false, true},
			[]time.Duration{0, 10 * s, 21 * s},
			[]string{"5s down", "10.05s up"},
			`level=WARN msg="own connection is down: no connectivity target answers, so failed checks and missing reports do not count" targets=2 err="good: no answer in 5 s"` + "\n" +
				`level=INFO msg="own connection works again" down=5s` + "\n"},
		{"one check for all", nil,
			[]asking{{9 * s, 10 * s}, {9 * s, 10 * s}, {9 * s, 10 * s}, {9 * s, 10*s + 100*ms}, {9 * s, 10*s + 200*ms}}, []bool{true, true, true, true, true},
			[]time.Duration{0, 10 * s, 10*s + 250*ms},
			[]string{"50ms up"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				script := &connectionScript{downs: tt.downs, slow: 50 * ms}
				sure := make([]bool, len(tt.asks))
				log, reports := runConnectivity(t, script, func(ctx context.Context, l *connectivity) {
					var wg sync.WaitGroup
					for i, a := range tt.asks {
						wg.Go(func() {
							time.Sleep(a.at)
							sure[i] = l.confirms(ctx, script.begin.Add(a.began))
						})
					}
					wg.Wait()
				})
				if !slices.Equal(sure, tt.sure) {
					t.Errorf("results counted: %v, want %v", sure, tt.sure)
				}
				if !slices.Equal(script.asked, tt.checks) {
					t.Errorf("targets were asked at %v, want %v", script.asked, tt.checks)
				}
				if !slices.Equal(reports, tt.reports) {
					t.Errorf("reports %q, want %q", reports, tt.reports)
				}
				if log != tt.log {
					t.Errorf("log:\n%swant:\n%s", log, tt.log)
				}
			})
		})
	}
}

// However long the line is down, and however many replicas are asked about,
// it is checked at its own pace.
func TestConnectivityIsPolite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := &connectionScript{downs: [][2]time.Duration{{time.Minute, 5 * time.Minute}}, slow: 20 * time.Millisecond}
		runConnectivity(t, script, func(ctx context.Context, l *connectivity) {
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					for time.Since(script.begin) < 5*time.Minute {
						l.confirms(ctx, time.Now())
						time.Sleep(40 * time.Millisecond)
					}
				})
			}
			wg.Wait()
		})
		for i := 1; i < len(script.asked); i++ {
			gap := script.asked[i] - script.asked[i-1]
			if least := connectionGap; gap < least || script.asked[i-1] > time.Minute+connectionGap && gap < connectionRecheck {
				t.Fatalf("asked %v after the time before, at %v", gap, script.asked[i])
			}
		}
		if n := len(script.asked); n < 200+20 {
			t.Errorf("asked %d times only", n)
		}
	})
}

func TestConnectivityPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var none []error
		l := newConnectivity(nil, slog.New(slog.DiscardHandler))
		l.adopt([]Target{{Raw: "tcp://a:1"}}, func(context.Context, *Target) error { return none[1] })
		const want = "tcp://a:1: the probe failed: runtime error: index out of range [1] with length 0"
		if err := l.check(t.Context()); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if n := l.panics.Load(); n != 1 {
			t.Errorf("%d panics counted, want 1", n)
		}
	})
}

// Through pool and aggregator: nobody dies while the monitor's own connection
// is down, and who is dead afterwards is.
func TestConnectivityThroughHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := alertConfig(Alerting{Startup: true, BackoffLimit: 1})
		conf.Metrics = testMetrics()
		script := &connectionScript{begin: time.Now(), slow: 10 * time.Millisecond,
			downs: [][2]time.Duration{{time.Hour, time.Hour + 20*time.Minute}}}
		probe := func(ctx context.Context, r *replica) verdict {
			s := healthy
			if script.down() || r.node.ID == "b" && time.Since(script.begin) > time.Hour {
				s = dead
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			return verdict{status: s}
		}
		log := slog.New(slog.DiscardHandler)
		events := make(chan event, eventBuffer)
		alerts := make(chan notify.Alert)
		st := newState(conf, script.begin)
		b := newSnapshots(st.snapshot(script.begin))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		p := newTestPool(conf.Metrics, replicas(conf.Services), probe, events)
		p.connectivity = newConnectivity(events, log)
		p.connectivity.adopt([]Target{{Raw: "good"}, {Raw: "bad"}}, script.reach)
		var wg sync.WaitGroup
		wg.Go(func() { p.run(ctx, nil) })
		wg.Go(func() { p.connectivity.run(ctx) })
		wg.Go(func() { (&aggregator{state: st, events: events, alerts: alerts, snaps: b, log: log}).run(ctx) })
		var got []string
		for a := range alerts {
			s := a.Time.Sub(script.begin).Truncate(time.Second).String() + " " + string(a.Kind) + " " + string(a.Status)
			for _, o := range a.Outages {
				s += " " + o.Replicas[0].Path
			}
			if a.Note != "" {
				s += " +"
			}
			got = append(got, s)
		}
		wg.Wait()
		// Replicas are checked at 20 s, 40 s and 60 s of each minute, twice when
		// dead. The first result that is in doubt comes at 1 h 4 s; 5 s later
		// the connection is known to be down.
		want := []string{"1s startup healthy", "1h1m9s notice healthy +", "1h20m4s notice healthy +", "1h20m44s changed dead web:b:tcp://b:80"}
		if !slices.Equal(got, want) {
			t.Errorf("alerts:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
		if s := statuses(b.load()); s != "dead dead[healthy(healthy) dead(dead) healthy(healthy)]" {
			t.Errorf("statuses %s", s)
		}
	})
}

// With real sockets: a replica that refuses connections is dead when a
// connectivity target answers, and nothing is said of it when none does.
func TestConnectivityOverSockets(t *testing.T) {
	t.Parallel()
	open, shut := listening(t, func(net.Conn) {}), closedPort(t)
	m := pollMetrics()
	m.PollInterval, m.PollParallelism = time.Hour, 2
	for _, tt := range []struct {
		name    string
		targets []string
		down    bool
	}{
		{"one answers", []string{"tcp://" + shut, "tcp://" + open}, false},
		{"none answers", []string{"tcp://" + shut, "http://me:secret@" + shut + "/"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := testPoller(t, m)
			var targets []Target
			for _, raw := range tt.targets {
				target, err := parseTarget(raw)
				if err != nil {
					t.Fatal(err)
				}
				targets = append(targets, target)
			}
			var text bytes.Buffer
			log := slog.New(slog.NewTextHandler(&text, nil))
			events := make(chan event)
			pool := newTestPool(m, []*replica{pollReplica(t, "tcp://"+open, Node{}), pollReplica(t, "tcp://"+shut, Node{})}, p.check, events)
			pool.connectivity = newConnectivity(events, log)
			pool.connectivity.adopt(targets, p.reach)
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { pool.connectivity.run(ctx) })
			wg.Go(func() { pool.run(ctx, nil) })
			var line, alive, refused event
			for range 3 {
				switch ev := (<-events).(type) {
				case connectionReport:
					line = ev
				case inconclusive:
					refused = ev
				case result:
					if ev.status == dead {
						refused = ev
					} else {
						alive = ev
					}
				}
			}
			cancel()
			wg.Wait()
			if line != (connectionReport{tt.down}) || alive == nil {
				t.Errorf("line %+v, the replica that answers %+v", line, alive)
			}
			if _, silent := refused.(inconclusive); silent != tt.down {
				t.Errorf("the replica that refuses: %+v", refused)
			}
			if tt.down != strings.Contains(text.String(), "connection refused") || strings.Contains(text.String(), "secret") {
				t.Errorf("log:\n%s", text.String())
			}
		})
	}
}
