package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

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
