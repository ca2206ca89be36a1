package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vigil/notify"
)

// silenceConfig is one local node, with or without connectivity targets.
func silenceConfig(connectivity bool) *Config {
	conf := alertConfig(Alerting{BackoffLimit: 1})
	conf.Services[0].Nodes = []*Node{{ID: "d", Mode: modeLocal}}
	conf.Metrics.LocalDelayDead = 40 * time.Second
	if connectivity {
		conf.Connectivity = []Target{{Raw: "good"}, {Raw: "bad"}}
	}
	return conf
}

func (st *state) hearHealthy(id string, interval time.Duration, now time.Time) {
	node := st.services[0].nodes[0].conf
	(&healthReport{node: node, report: report{replica: id, interval: interval, health: healthy}}).apply(st, now)
}

// Through aggregator and line: who falls silent because the monitor's own
// connection is down does not die of it, and everybody else does in time.
func TestSilenceThroughHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const m, h = time.Minute, time.Hour
		conf := silenceConfig(true)
		script := &connectionScript{begin: time.Now(), slow: 10 * time.Millisecond, downs: [][2]time.Duration{{h, h + 20*m}}}
		log := slog.New(slog.DiscardHandler)
		events := make(chan event, eventBuffer)
		alerts := make(chan notify.Alert)
		st := newState(conf, script.begin)
		b := newBoard(st.snapshot(script.begin))
		ctx, cancel := context.WithTimeout(t.Context(), 2*h)
		defer cancel()
		l := newConnectivity(events, log)
		l.adopt(conf.Connectivity, script.reach)
		report := func(id string, interval time.Duration) {
			events <- &healthReport{node: conf.Services[0].Nodes[0], report: report{replica: id, interval: interval, health: healthy}}
		}
		var wg sync.WaitGroup
		wg.Go(func() { l.run(ctx) })
		wg.Go(func() {
			(&aggregator{state: st, events: events, alerts: alerts, board: b, log: log, confirm: l.asked()}).run(ctx)
		})
		wg.Go(func() {
			for minute := range 120 {
				at := time.Duration(minute) * m
				select {
				case <-time.After(time.Until(script.begin.Add(at))):
				case <-ctx.Done():
					return
				}
				report("near", m) // over another way than the one that goes down
				if !script.down() {
					report("far", m)
				}
				if at < 30*m {
					report("early", m)
				}
				if at < h+5*m {
					report("meanwhile", m)
				}
				if at == 30*m {
					report("hourly", h)
				}
			}
		})
		var got []string
		for a := range alerts {
			s := a.Time.Sub(script.begin).Truncate(time.Second).String() + " " + string(a.Kind)
			for _, o := range a.Outages {
				for _, r := range o.Replicas {
					s += " " + strings.TrimPrefix(r.Path, "web:d:")
				}
			}
			if a.Note != "" {
				s += " +"
			}
			got = append(got, s)
		}
		wg.Wait()
		want := []string{
			"30m40s changed early",                    // last heard of at 29 min, and 100 s are its time
			"1h1m45s notice +",                        // asked at 1 h 40 s for "far", and sure 5 s later
			"1h20m0s notice +",                        // and "far" reports again
			"1h21m40s changed early meanwhile",        // 100 s after that
			"1h30m40s changed early meanwhile hourly", // which nothing kept from reporting in time
		}
		if !slices.Equal(got, want) {
			t.Errorf("alerts:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
		if s := statuses(b.load()); s != "dead dead[dead(healthy healthy dead dead dead)]" {
			t.Errorf("statuses %s", s)
		}
	})
}

// Whatever happens to the silent while the line is asked ends their silence.
func TestSilenceEnds(t *testing.T) {
	const sure, unsure = true, false
	for _, tt := range []struct {
		name string
		then func(p *play)
		want string // the status at once, and two minutes later
	}{
		{"asked, and sure", func(p *play) { p.answer(sure) }, "dead dead"},
		{"asked, and unsure", func(p *play) { p.answer(unsure) }, "healthy? dead"}, // asked again, and sure
		{"the line is known to be down", func(p *play) { p.answer(unsure); p.at(p.now.Sub(p.begin), "connection=down") }, "healthy? dead"},
		{"known to be down before the answer", func(p *play) { p.at(p.now.Sub(p.begin), "connection=down"); p.answer(unsure) }, "healthy? healthy?"},
		{"down, then up", func(p *play) {
			p.at(p.now.Sub(p.begin), "connection=down")
			p.answer(unsure)
			p.at(p.now.Sub(p.begin), "connection=up")
		}, "healthy? dead"},
		{"it reports", func(p *play) { p.st.hearHealthy("x", 10*time.Minute, p.now); p.answer(sure) }, "healthy healthy"},
		{"it is forgotten", func(p *play) {
			p.st.dropReplica(p.st.services[0].nodes[0].byID["x"], p.now)
			p.answer(sure)
		}, " "},
		{"a reload", func(p *play) { p.st.reload(silenceConfig(true), p.now) }, "healthy dead"},
		{"a reload without targets", func(p *play) { p.st.reload(silenceConfig(false), p.now) }, "dead dead"},
		{"a reload without targets while down", func(p *play) {
			p.at(p.now.Sub(p.begin), "connection=down")
			p.answer(unsure)
			p.st.reload(silenceConfig(false), p.now)
		}, "healthy? dead"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlay(silenceConfig(true))
			p.st.hearHealthy("x", time.Minute, p.now)
			p.at(100 * time.Second)
			if len(p.st.overdue) != 1 || !p.st.overdueSince.Equal(p.begin.Add(time.Minute)) {
				t.Fatalf("silent: %+v, want one that was due after a minute", p.st.overdue)
			}
			tt.then(p)
			got := p.local()
			p.at(100*time.Second + 2*time.Minute)
			if len(p.st.overdue) > 0 {
				p.answer(sure)
			}
			if got += " " + p.local(); got != tt.want {
				t.Errorf("it is %q at once and later, want %q", got, tt.want)
			}
			if n := p.st.services[0].nodes[0].track.fresh; n[healthy]+n[sick]+n[dead] > len(p.st.services[0].nodes[0].replicas) || slices.Min(n[:]) < 0 {
				t.Errorf("fresh replicas: %v", n)
			}
		})
	}
}

// answer is the line's answer to the question about the silent.
func (p *play) answer(sure bool) {
	asked := p.st.overdue
	p.st.overdue = nil
	p.st.confirmOverdue(asked, sure, p.now)
}

// local is the status of the one local replica, with a mark when in doubt.
func (p *play) local() string {
	p.until(p.now)
	replicas := p.st.services[0].nodes[0].replicas
	if len(replicas) == 0 {
		return ""
	}
	mark := ""
	if replicas[0].uncertain {
		mark = "?"
	}
	return replicas[0].status.String() + mark
}

// A time in which this process did not run is nobody's silence, with and
// without connectivity targets.
func TestSilenceWhileStalled(t *testing.T) {
	for _, connected := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const s = time.Second
			conf := silenceConfig(connected)
			begin := time.Now()
			log := slog.New(slog.DiscardHandler)
			events := make(chan event, eventBuffer)
			alerts := make(chan notify.Alert, 100)
			st := newState(conf, begin)
			b := newBoard(st.snapshot(begin))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			l := newConnectivity(events, log)
			l.adopt(conf.Connectivity, func(context.Context, *Target) error { return nil })
			m := newMachine(events, log)
			var wg sync.WaitGroup
			wg.Go(func() { l.run(ctx) })
			wg.Go(func() { m.run(ctx) })
			wg.Go(func() {
				(&aggregator{state: st, events: events, alerts: alerts, board: b, log: log, confirm: l.asked(), machine: m}).run(ctx)
			})
			report := func() {
				events <- &healthReport{node: conf.Services[0].Nodes[0], report: report{replica: "a", interval: 30 * s, health: healthy}}
			}
			report()
			grace := 30*s + conf.Metrics.LocalDelayDead
			time.Sleep(grace - 500*time.Millisecond)
			// As if the process had been stopped for the last 20 s.
			m.mu.Lock()
			m.looked = time.Now().Add(-20 * s)
			m.mu.Unlock()
			time.Sleep(s)
			if r := b.load().services[0].nodes[0].replicas.at(0); r.status != healthy {
				t.Errorf("connected %v: %v after a stall", connected, r.status)
			}
			time.Sleep(grace + s)
			if r := b.load().services[0].nodes[0].replicas.at(0); r.status != dead {
				t.Errorf("connected %v: %v although no report came for long", connected, r.status)
			}
			cancel()
			wg.Wait()
		})
	}
}
