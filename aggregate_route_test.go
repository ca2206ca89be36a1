package main

import (
	"fmt"
	"testing"
	"time"
)

// routeConfig is alertConfig with the channels team and boss and these routes.
func routeConfig(routes ...Route) *Config {
	conf := alertConfig(Alerting{BackoffLimit: 3})
	conf.Notify = channels("team", "boss")
	for i := range routes {
		if routes[i].Match == nil {
			routes[i].Match = selectors{"*"}
		}
		if routes[i].BackoffLimit == 0 {
			routes[i].BackoffLimit = 3
		}
	}
	conf.Routes = routes
	return conf
}

func TestAlertsByRoute(t *testing.T) {
	const s, m = time.Second, time.Minute
	begin := func(routes ...Route) *play {
		p := newPlay(routeConfig(routes...))
		p.at(0, "a=healthy", "b=healthy", "c=healthy")
		return p
	}
	team, boss := []string{"team"}, []string{"boss"}

	p := begin(Route{Match: selectors{"web:a"}, To: team, MinStatus: dead}, Route{Match: selectors{"web:b"}, To: boss, MinStatus: dead})
	p.at(m, "a=dead", "c=dead")
	p.at(2*m, "b=dead")
	p.at(3*m, "a=healthy", "b=healthy", "c=healthy")
	p.until(p.begin.Add(4 * m))
	p.expect(t, "each hears of its own nodes", "1m0.2s changed dead +a", "2m0.2s changed dead +b", "3m0.2s changed healthy -a", "3m0.2s changed healthy -b")

	p = begin(Route{To: team, MinStatus: dead}, Route{To: boss, MinStatus: dead, After: 15 * m})
	p.at(m, "a=dead")
	p.at(10*m, "b=dead")
	p.at(20*m, "b=healthy")
	p.at(30*m, "a=healthy")
	p.until(p.begin.Add(40 * m))
	p.expect(t, "escalation after 15 min", "1m0.2s changed dead +a", "10m0.2s changed dead a +b", "16m0.2s changed dead +a",
		"20m0.2s changed dead a -b", "30m0.2s changed healthy -a", "30m0.2s changed healthy -a")

	p = begin(Route{To: team, MinStatus: dead, RecoverAfter: m})
	p.at(m, "a=dead")
	p.at(2*m, "a=healthy")
	p.at(2*m+30*s, "a=dead")
	p.at(3*m, "a=sick")
	p.at(3*m+50*s, "a=healthy")
	p.until(p.begin.Add(10 * m))
	p.expect(t, "flapping", "1m0.2s changed dead +a", "4m0.2s changed healthy -a")

	p = begin(Route{To: team, MinStatus: sick}, Route{To: boss, MinStatus: dead})
	p.at(m, "a=sick")
	p.at(2*m, "a=dead")
	p.at(3*m, "a=sick")
	p.at(4*m, "a=healthy")
	p.until(p.begin.Add(5 * m))
	p.expect(t, "being sick is told, too", "1m0.2s changed sick +a?", "2m0.2s changed dead +a", "2m0.2s changed dead +a",
		"3m0.2s changed sick a?", "3m0.2s changed healthy -a", "4m0.2s changed healthy -a")

	p = begin(Route{To: team, MinStatus: sick})
	for day := range 5 {
		p.until(p.begin.Add(m + time.Duration(day)*24*time.Hour))
		p.st.applyResult(result{replica: p.replicas[0], status: sick, reason: fmt.Sprintf("certificate of a.example ends in %d d", 9-day), at: p.now}, p.now)
	}
	p.until(p.now.Add(m))
	p.expect(t, "a certificate that ends sooner each day is told once", "1m0.2s changed sick +a?(certificate of a.example ends in 9 d)")

	reminding := Route{To: team, MinStatus: dead, Reminders: Reminders{ReminderInterval: 5 * m}}
	p = begin(reminding, Route{To: boss, MinStatus: dead, Reminders: Reminders{ReminderInterval: 8 * m}})
	p.at(m, "a=dead")
	p.until(p.begin.Add(12 * m))
	p.expect(t, "reminders of their own", "1m0.2s changed dead +a", "1m0.2s changed dead +a", "6m0.2s reminder dead #1 a",
		"9m0.2s reminder dead #1 a", "11m0.2s reminder dead #2 a")

	// Who was told that a node is sick is told that it died, also after a reload; and
	// at the end, what is true, also after a restart.
	degraded := Route{To: team, MinStatus: sick}
	p = begin(degraded)
	p.at(m, "a=sick", "b=sick")
	p.reload(2*m, routeConfig(degraded, Route{Match: selectors{"web:c"}, To: team, MinStatus: dead}))
	p.at(3*m, "a=dead")
	p.until(p.begin.Add(4 * m))
	p.expect(t, "dead after a reload", "1m0.2s changed sick +a? +b?", "3m0.2s changed dead +a b?")
	if since := p.last.Outages[0].Since.Sub(p.begin); since != 3*m {
		t.Errorf("dead since %v", since)
	}
	p.at(5*m, "a=sick")
	p.until(p.begin.Add(6 * m))
	p.alerts = nil
	for key, known := range p.st.alerter.channels[0].told {
		*known = *known.record("team", key, "").told()
	}
	p.at(7*m, "a=healthy", "b=healthy")
	p.until(p.begin.Add(8 * m))
	p.expect(t, "the end", "7m0.2s changed healthy -a -b")
	if a, b := p.last.Outages[0], p.last.Outages[1]; a.Degraded || !b.Degraded || a.Until.Sub(a.Since) != 4*m || b.Until.Sub(b.Since) != 6*m {
		t.Errorf("told of the end: %+v", p.last.Outages)
	}

	// A route that comes during an outage, and one that goes.
	p = begin(Route{To: team, MinStatus: dead})
	p.at(m, "a=dead")
	p.reload(2*m, routeConfig(Route{To: team, MinStatus: dead}, Route{To: boss, MinStatus: dead}))
	p.reload(3*m, routeConfig(Route{Match: selectors{"web:b"}, To: []string{"team", "boss"}, MinStatus: dead}))
	p.at(4*m, "c=dead")
	p.at(5*m, "a=healthy", "b=healthy", "c=healthy")
	p.until(p.begin.Add(6 * m))
	p.expect(t, "routes that change", "1m0.2s changed dead +a", "2m0.2s changed dead a", "5m0.2s changed healthy -a", "5m0.2s changed healthy -a")
}

// With replicas_needed a node is dead once too few replicas are alive. It is
// sick because of a dead one otherwise.
func TestReplicasNeeded(t *testing.T) {
	conf := alertConfig(Alerting{})
	node := conf.Services[0].Nodes[0]
	node.Targets = []Target{{Raw: "tcp://a:1"}, {Raw: "tcp://a:2"}, {Raw: "tcp://a:3"}}
	node.Needed = Needed{Count: 2}
	p := newPlay(conf)
	check := func(at time.Duration, i int, s status, want status, checked bool, since time.Duration) {
		t.Helper()
		p.until(p.begin.Add(at))
		p.st.applyResult(result{replica: p.replicas[i], status: s, at: p.now}, p.now)
		p.until(p.now.Add(time.Second))
		snap := p.st.snapshot(p.now)
		v := snap.services[0].nodes[0]
		if v.status != want || v.checked != checked {
			t.Errorf("after %v: %v, checked %v; want %v, %v", at, v.status, v.checked, want, checked)
		}
		switch began, of := v.since(lastingIncidents(snap)[v.conf]); {
		case began.Sub(p.begin) != since:
			t.Errorf("after %v: %v since %v, want %v", at, v.status, began.Sub(p.begin), since)
		case of == nil || (of.status == healthy) != (want == healthy):
			t.Errorf("after %v: %v because of %v", at, v.status, of)
		}
	}
	const m = time.Minute
	check(1*m, 0, healthy, healthy, false, 1*m)
	check(2*m, 1, dead, sick, false, 2*m)
	check(3*m, 2, healthy, sick, true, 2*m)
	check(4*m, 0, dead, dead, true, 4*m)
	check(5*m, 1, healthy, sick, true, 4*m)
	check(6*m, 0, healthy, healthy, true, 6*m)
	p.at(7*m, "b=healthy")
	p.st.applyResult(result{replica: p.replicas[3], at: p.now}, p.now)
	p.st.applyResult(result{replica: p.replicas[4], at: p.now}, p.now)
	p.until(p.begin.Add(8 * m))
	p.expect(t, "2 of 3", "4m0.2s changed dead +a", "7m0.2s changed healthy -a")
	if len(p.st.history.all) != 1 || p.st.history.all[0].end.Sub(p.st.history.all[0].start) != m {
		t.Errorf("%d outages", len(p.st.history.all))
	}

	// After a restart it is not healthy as long as a dead one was not checked.
	p.st = reborn(t, conf, nil, map[string]status{"web:a:tcp://a:1": healthy, "web:a:tcp://a:2": healthy, "web:a:tcp://a:3": dead}, p.now, p.now)
	level := &p.st.services[0].nodes[0].alert
	for i, s := range []status{healthy, healthy, dead} {
		p.st.applyResult(result{replica: replicas(conf.Services)[i], status: s, at: p.now}, p.now)
		if known := i == 2; level.known != known || level.known && level.status != sick {
			t.Errorf("after %d checks: known %v, %v", i+1, level.known, level.status)
		}
	}

	// One that reported before the restart and does so no more keeps nobody waiting.
	l := newLife(t, &Config{Services: []*Service{{ID: "web", Nodes: []*Node{{ID: "a", Mode: modeLocal, Needed: Needed{Count: 1}}}}}})
	says := func(id string, s status) {
		(&healthReport{node: l.conf.Services[0].Nodes[0], report: report{replica: id, interval: time.Hour, health: s}}).apply(l.st, l.now)
	}
	says("a", dead)
	says("b", dead)
	l.save()
	l.restart(time.Minute)
	says("b", healthy)
	if level := l.st.services[0].nodes[0].alert; !level.known || level.status != sick {
		t.Errorf("with a replica that is gone: known %v, %v", level.known, level.status)
	}
}
