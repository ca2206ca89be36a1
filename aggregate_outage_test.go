package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// tell writes incidents as "node start-end reason", times since begin.
func tell(incidents []incident, begin time.Time) string {
	var out []string
	for _, in := range incidents {
		end := "now"
		if !in.end.IsZero() {
			end = in.end.Sub(begin).String()
		}
		line := fmt.Sprintf("%s %v-%s", in.node.ID, in.start.Sub(begin), end)
		if in.reason != "" {
			line += " " + in.reason
		}
		out = append(out, line)
	}
	return strings.Join(out, ", ")
}

func TestIncidents(t *testing.T) {
	const s, ms, d = time.Second, time.Millisecond, 24 * time.Hour
	type step struct {
		at   time.Duration
		step string
	}
	tests := []struct {
		name  string
		steps []step
		until time.Duration
		want  string
	}{
		{"sick is none", []step{{0, "a=sick"}, {9 * s, "a=healthy"}}, 20 * s, ""},
		{"not shown before it is told", []step{{0, "a=dead"}}, 199 * ms, ""},
		{"then it is", []step{{0, "a=dead"}}, 200 * ms, "a 0s-now"},
		{"over before it is told", []step{{0, "a=dead"}, {199 * ms, "a=healthy"}}, 20 * s, ""},
		{"over just after that", []step{{0, "a=dead"}, {200 * ms, "a=healthy"}}, 20 * s, "a 0s-200ms"},
		{"sick ends it", []step{{0, "a=dead"}, {5 * s, "a=dead"}, {9 * s, "a=sick"}}, 20 * s, "a 0s-9s"},
		{"newest first", []step{{0, "a=dead"}, {5 * s, "b=dead"}, {6 * s, "a=healthy"}, {8 * s, "a=dead"}}, 20 * s,
			"a 8s-now, b 5s-now, a 0s-6s"},
		{"shown for 14 days", []step{{0, "a=dead"}, {5 * s, "a=healthy"}}, 5*s + 14*d, "a 0s-5s"},
		{"and no longer", []step{{0, "a=dead"}, {5 * s, "a=healthy"}}, 15 * d, ""},
		{"unless it lasts", []step{{0, "a=dead"}}, 20 * d, "a 0s-now"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlay(alertConfig(Alerting{}))
			for _, s := range tt.steps {
				p.at(s.at, s.step)
				p.st.snapshot(p.now)
			}
			p.until(p.begin.Add(tt.until))
			if got := tell(p.st.snapshot(p.now).incidents, p.begin); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// What is kept goes back 90 days, and does not grow without bound; what lasts
// is always among it.
func TestIncidentsKept(t *testing.T) {
	p := newPlay(alertConfig(Alerting{}))
	p.at(0, "b=dead")
	for i := range time.Duration(100) {
		p.at(i*24*time.Hour+time.Hour, "a=dead")
		p.at(i*24*time.Hour+2*time.Hour, "a=healthy")
	}
	snap := p.st.snapshot(p.now)
	if n, kept := len(snap.incidents), len(snap.pastIncidents); n != 15+1 || kept != 91+1 {
		t.Errorf("%d shown, %d kept", n, kept)
	}
	if last := snap.incidents[len(snap.incidents)-1]; last.node.ID != "b" {
		t.Errorf("the oldest one is of %s", last.node.ID)
	}
	day := p.now.Sub(p.begin)
	for i := range time.Duration(2 * keptIncidents) {
		p.at(day+i*4*time.Second, "c=dead")
		p.at(day+i*4*time.Second+2*time.Second, "c=healthy")
	}
	if n := len(p.st.snapshot(p.now).pastIncidents); n < keptIncidents+1 || n > keptIncidents+pruneAfter+1 {
		t.Errorf("%d kept", n)
	}
}

// An outage outlives the program. It ends with the check that finds its node
// alive, or with its node.
func TestIncidentRestart(t *testing.T) {
	const s, h = time.Second, time.Hour
	tests := []struct {
		name  string
		steps []string // after the restart, at 10s
		nodes int      // in the config after the restart
		want  string
		known string // of node a
	}{
		{"not checked yet", nil, 3, "b 5s-now, a 1s-now", "03-01 0s/0s/5s, up 0s of 5s"},
		{"still dead", []string{"a=dead"}, 3, "b 5s-now, a 1s-now", "03-01 0s/0s/15s, up 0s of 15s"},
		{"back", []string{"a=healthy", "b=sick"}, 3, "b 5s-1h0m10s, a 1s-1h0m10s", "03-01 10s/0s/5s, up 10s of 15s"},
		{"gone", nil, 1, "b 5s-6s, a 1s-now", "03-01 0s/0s/5s, up 0s of 5s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlay(alertConfig(Alerting{}))
			p.st.ledger = new(ledger)
			p.at(1*s, "a=dead")
			p.at(5*s, "b=dead")
			p.until(p.begin.Add(6 * s))
			ids := func(in incident) string { return in.id }
			before := mapped(p.st.snapshot(p.now).incidents, ids)
			p.st.history.keep(p.st, p.now)
			lines := marshal(t, p.st.ledger.records...)
			alive := p.now

			conf := alertConfig(Alerting{})
			conf.Services[0].Nodes = conf.Services[0].Nodes[:tt.nodes]
			p.now = p.begin.Add(h)
			p.st = reborn(t, conf, lines, map[string]status{"web:a:tcp://a:80": dead, "web:b:tcp://b:80": dead}, alive, p.now)
			p.replicas = replicas(conf.Services)
			p.at(h+10*s, tt.steps...)
			p.at(h + 20*s)
			p.st.snapshot(p.now)
			snap := p.st.snapshot(p.now)
			if got := tell(snap.incidents, p.begin); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if got := p.st.services[0].nodes[0].track.past.days90(p.now); got != tt.known {
				t.Errorf("%q, want %q", got, tt.known)
			}
			if after := mapped(snap.incidents, ids); len(before) != 2 || !slices.Equal(before, after) {
				t.Errorf("ids %q became %q", before, after)
			}
		})
	}
}

func mapped[T, U any](list []T, f func(T) U) (out []U) {
	for _, v := range list {
		out = append(out, f(v))
	}
	return out
}

// Records that contradict each other or the clock do no harm.
func TestIncidentRecordsOdd(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	st := newState(alertConfig(Alerting{}), now)
	rec := func(id string, start, end time.Duration) {
		r := &incidentRecord{ID: id, Service: "web", Node: "a", Start: now.Add(start)}
		if end != 0 {
			r.End = now.Add(end)
		}
		st.history.restoreIncident(r)
	}
	rec("3", time.Hour, 0)             // begins in the future
	rec("2", -time.Hour, -2*time.Hour) // ends before it began
	rec("1", -3*time.Hour, 0)          // of two that last
	rec("1", -4*time.Hour, 0)          // the same again
	st.history.resume(st, now.Add(-time.Minute), now)
	if got, want := tell(st.snapshot(now.Add(time.Second)).incidents, now), "a 0s-0s, a -1h0m0s--1h0m0s, a -4h0m0s-now"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
