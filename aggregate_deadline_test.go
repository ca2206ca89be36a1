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
		b := newSnapshots(st.snapshot(script.begin))
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
			(&aggregator{state: st, events: events, alerts: alerts, snaps: b, log: log, confirm: l.asked()}).run(ctx)
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
			b := newSnapshots(st.snapshot(begin))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			l := newConnectivity(events, log)
			l.adopt(conf.Connectivity, func(context.Context, *Target) error { return nil })
			m := newMachine(events, log)
			var wg sync.WaitGroup
			wg.Go(func() { l.run(ctx) })
			wg.Go(func() { m.run(ctx) })
			wg.Go(func() {
				(&aggregator{state: st, events: events, alerts: alerts, snaps: b, log: log, confirm: l.asked(), machine: m}).run(ctx)
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

func TestLineAlerts(t *testing.T) {
	type step struct {
		at    time.Duration
		steps []string
	}
	const s, m, h = time.Second, time.Minute, time.Hour
	const since = " | The monitor's own connection has been down since 12:01:00 UTC+0000: what it cannot reach keeps its last known status."
	const again = " | The monitor's own connection works again after "
	const checks = ". What it could not reach is being checked."
	allHealthy := step{0, []string{"a=healthy", "b=healthy", "c=healthy"}}
	quiet := Alerting{BackoffLimit: 3}
	tests := []struct {
		name     string
		alerting Alerting
		steps    []step
		want     []string
	}{
		{"a short one is not told", quiet, []step{
			allHealthy, {m, []string{"connection=down", "a=?"}}, {m + 59*s, []string{"connection=up"}}, {3 * m, []string{"a=healthy"}},
		}, nil},
		{"one that lasts is told once, and so is its end", quiet, []step{
			allHealthy, {m, []string{"connection=down", "a=?", "b=?", "c=?"}}, {5 * m, []string{"a=?", "connection=down"}}, {13 * m, []string{"connection=up", "connection=up"}},
		}, []string{"2m0s notice healthy" + since, "13m0s notice healthy" + again + "12m0s" + checks}},
		{"what died before stays dead", quiet, []step{
			allHealthy, {30 * s, []string{"a=dead"}}, {m, []string{"connection=down"}}, {90 * s, []string{"a=?", "b=?"}}, {3 * m, []string{"connection=up", "a=dead", "b=healthy"}},
		}, []string{"30.2s changed dead +a", "2m0s notice dead" + since, "3m0s notice dead" + again + "2m0s" + checks}},
		{"what else is told names the cause", quiet, []step{
			allHealthy, {m, []string{"connection=down"}}, {m + 10*s, []string{"a=dead"}}, {2 * m, []string{"connection=up", "a=healthy"}},
		}, []string{"1m10.2s changed dead +a" + since, "2m0s notice dead" + since, "2m0s notice healthy" + again + "1m0s" + checks, "2m0.2s changed healthy -a"}},
		{"reminders go on and name the cause", Alerting{BackoffLimit: 3, ReminderInterval: 2 * m}, []step{
			allHealthy, {30 * s, []string{"a=dead"}}, {m, []string{"connection=down", "a=?"}}, {3 * m, []string{"connection=up"}}, {4 * m, []string{"a=healthy"}},
		}, []string{"30.2s changed dead +a", "2m0s notice dead" + since, "2m30.2s reminder dead #1 a" + since, "3m0s notice dead" + again + "2m0s" + checks, "4m0.2s changed healthy -a"}},
		{"down again before its end was told", quiet, []step{
			allHealthy, {m, []string{"connection=down"}}, {3 * m, []string{"a=dead", "connection=up", "connection=down"}}, {5 * m, []string{"connection=up"}},
		}, []string{"2m0s notice healthy" + since, "3m0.2s changed dead +a" + strings.Replace(since, ":01:", ":03:", 1), "5m0s notice dead" + again + "2m0s" + checks}},
		{"a start without a connection", Alerting{BackoffLimit: 3, Startup: true}, []step{
			{m, []string{"connection=down", "a=healthy", "b=?", "c=?"}}, {4 * m, []string{"connection=up", "b=healthy", "c=healthy"}},
		}, []string{"2m0s startup healthy" + since, "4m0s notice healthy" + again + "3m0s" + checks}},
		{"a start that had to wait for its connection", Alerting{BackoffLimit: 3, Startup: true}, []step{
			{m, []string{"connection=down", "a=healthy", "b=?", "c=?"}}, {m + 10*s, []string{"connection=up"}}, {90 * s, []string{"b=healthy", "c=dead"}},
		}, []string{"1m30s startup dead +c"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlay(alertConfig(tt.alerting))
			for _, step := range tt.steps {
				p.at(step.at, step.steps...)
			}
			p.until(p.begin.Add(h))
			if !slices.Equal(p.alerts, tt.want) {
				t.Errorf("alerts:\n\t%s\nwant:\n\t%s", strings.Join(p.alerts, "\n\t"), strings.Join(tt.want, "\n\t"))
			}
		})
	}
}

// While checks are inconclusive, a replica keeps its status, and the time
// counts as unknown.
func TestInconclusive(t *testing.T) {
	conf := alertConfig(Alerting{})
	conf.Metrics.PollInterval = 20 * time.Minute
	p := newPlay(conf)
	past := func(node int) (up, known time.Duration) {
		return p.st.snapshot(p.now).services[0].nodes[node].history.uptime(1, p.now)
	}
	wantPast := func(node int, wantUp, wantKnown time.Duration) {
		t.Helper()
		if up, known := past(node); up != wantUp || known != wantKnown {
			t.Errorf("at %v, node %d was up for %v of %v, want %v of %v", p.now.Sub(p.begin), node, up, known, wantUp, wantKnown)
		}
	}
	const m = time.Minute
	p.at(0, "a=healthy", "b=dead", "connection=up")
	p.at(10*m, "connection=down", "a=?", "b=?", "c=?")
	down := p.st.snapshot(p.now)
	if got, want := statuses(down), "dead dead[healthy(healthy) dead(dead) healthy(?healthy)]"; got != want || down.checked {
		t.Errorf("statuses %s (checked %v)\nwant %s", got, down.checked, want)
	}
	if !down.connectionDown.Equal(p.begin.Add(10 * m)) {
		t.Errorf("line down since %v, want for 10 min after %v", down.connectionDown, p.begin)
	}
	for i, want := range []bool{true, true, false} {
		if r := down.services[0].nodes[i].replicas.at(0); r.uncertain != want {
			t.Errorf("replica %d in doubt: %v, want %v", i, r.uncertain, want)
		}
	}
	p.at(30*m, "a=?", "b=?", "c=?")
	wantPast(0, 10*m, 10*m)
	wantPast(1, 0, 10*m)
	p.at(40*m, "connection=up", "a=healthy", "b=dead", "c=healthy")
	p.at(50*m, "b=healthy")
	up := p.st.snapshot(p.now)
	if got, want := statuses(up), "healthy healthy[healthy(healthy) healthy(healthy) healthy(healthy)]"; got != want || !up.checked || !up.connectionDown.IsZero() {
		t.Errorf("statuses %s (checked %v, line down %v)\nwant %s", got, up.checked, up.connectionDown, want)
	}
	if r := up.services[0].nodes[0].replicas.at(0); r.uncertain {
		t.Error("in doubt in spite of a good check")
	}
	wantPast(0, 20*m, 20*m)
	wantPast(1, 0, 20*m)
	wantPast(2, 10*m, 10*m)
	if n := len(up.incidents); n != 1 || !up.incidents[0].start.Equal(p.begin) || !up.incidents[0].end.Equal(p.now) {
		t.Errorf("incidents %+v, want one over all the time", up.incidents)
	}
}

// A config without connectivity targets takes the connection for one that
// works; with them, what is known of it goes on.
func TestLineReload(t *testing.T) {
	conf := alertConfig(Alerting{BackoffLimit: 3})
	conf.Connectivity = []Target{{Raw: "tcp://c:1"}}
	p := newPlay(conf)
	p.at(0, "a=healthy", "b=healthy", "c=healthy")
	p.at(time.Minute, "connection=down", "a=?")
	p.until(p.begin.Add(3 * time.Minute))

	with := *conf
	p.st.reload(&with, p.now)
	if snap := p.st.snapshot(p.now); snap.connectionDown.IsZero() || !snap.services[0].nodes[0].replicas.at(0).uncertain {
		t.Errorf("forgot that the line is down (since %v)", snap.connectionDown)
	}
	without := with
	without.Connectivity = nil
	p.st.reload(&without, p.now)
	if snap := p.st.snapshot(p.now); !snap.connectionDown.IsZero() {
		t.Error("the line is down for ever")
	}
	p.until(p.begin.Add(time.Hour))
	if n := len(p.alerts); n != 2 || !strings.HasPrefix(p.alerts[1], "3m0s notice healthy | The monitor's own connection works again after 2m0s.") {
		t.Errorf("alerts %q", p.alerts)
	}
}

// A shortage of this machine is told when it lasts for a minute, and so is its
// end; one that passes is not.
func TestShortageNotice(t *testing.T) {
	p := newPlay(alertConfig(Alerting{Startup: true}))
	const s = time.Second
	p.at(0, "a=healthy", "b=healthy", "c=healthy")
	p.at(2 * s)
	before := len(p.alerts)
	report := func(at time.Duration, shortage string) {
		p.at(at)
		machineReport{shortage}.apply(p.st, p.now)
		p.at(at)
	}
	report(10*s, "no memory left; buy some")
	report(50*s, "")
	p.at(200 * s)
	if len(p.alerts) != before {
		t.Errorf("a short shortage was told: %q", p.alerts[before:])
	}
	report(300*s, "no memory left; buy some")
	p.at(359 * s)
	if len(p.alerts) != before {
		t.Errorf("told too early: %q", p.alerts[before:])
	}
	p.at(361 * s)
	report(400*s, "")
	p.at(500 * s)
	said := strings.Join(p.alerts[before:], "\n")
	if len(p.alerts) != before+2 || !strings.Contains(said, "notice") {
		t.Errorf("told: %q", p.alerts[before:])
	}
}
