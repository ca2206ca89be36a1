package main

import (
	"errors"
	"testing"
	"time"
)

// heartbeatConfig has one heartbeat node.
func heartbeatConfig(hb Heartbeat) *Config {
	hb.Token = "0123456789abcdef"
	return &Config{Services: []*Service{{ID: "jobs", Nodes: []*Node{{ID: "backup", Mode: modeHeartbeat, Heartbeat: &hb}}}}}
}

// A jobPlay is a state with a heartbeat node, and a clock.
type jobPlay struct {
	t   *testing.T
	st  *state
	now time.Time
}

func (p *jobPlay) node() *Node          { return p.st.conf.Services[0].Nodes[0] }
func (p *jobPlay) job() *replicaState   { return p.st.services[0].nodes[0].replicas[0] }
func (p *jobPlay) pass(d time.Duration) { p.now = p.now.Add(d); p.st.expire(p.now) }

func (p *jobPlay) ping(ev ping) {
	p.t.Helper()
	done := make(chan error, 1)
	ev.node, ev.done = p.node(), done
	ev.apply(p.st, p.now)
	if err := <-done; err != nil {
		p.t.Error(err)
	}
}

func (p *jobPlay) want(s status, checked bool, reason string) {
	p.t.Helper()
	if r := p.job(); r.status != s || r.checked != checked || r.reason != reason {
		p.t.Errorf("%v: %v, checked %v, %q; want %v, %v, %q", p.now.Format(time.TimeOnly), r.status, r.checked, r.reason, s, checked, reason)
	}
}

// restart lets a new state go on after a while where this one ends.
func (p *jobPlay) restart(down time.Duration) {
	im := newRestored()
	for rec := range p.st.records(p.now) {
		im.apply(rec)
	}
	p.now = p.now.Add(down)
	p.st = newState(p.st.conf, p.now)
	p.st.restore(im, p.now)
	p.st.expire(p.now)
}

func newJobPlay(t *testing.T, conf *Config) *jobPlay {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	return &jobPlay{t, newState(conf, now), now}
}

func TestHeartbeatInterval(t *testing.T) {
	p := newJobPlay(t, heartbeatConfig(Heartbeat{Interval: 10 * minute, Grace: 2 * minute}))
	p.want(healthy, false, "")
	p.pass(24 * time.Hour)
	p.want(healthy, false, "") // not checked yet before the first ping
	p.ping(ping{})
	p.want(healthy, true, "")
	p.pass(12*minute - 1)
	p.want(healthy, true, "")
	p.pass(1)
	p.want(dead, true, "no ping within 120 s of when it was due")
	p.ping(ping{reason: "3 files"})
	p.want(healthy, true, "3 files")
	p.ping(ping{exit: 3})
	p.want(dead, true, "exit status 3")
	p.ping(ping{exit: failed})
	p.want(dead, true, "the job reported a failure")
	p.ping(ping{exit: failed, reason: "disk full"})
	p.want(dead, true, "disk full")
	p.pass(12 * minute)
	p.want(dead, true, "no ping within 120 s of when it was due")
}

func TestHeartbeatSchedule(t *testing.T) {
	daily, err := parseCron("30 2 * * *", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	p := newJobPlay(t, heartbeatConfig(Heartbeat{Schedule: daily, Grace: 30 * minute}))
	p.ping(ping{})
	if want := p.now.Add(14*time.Hour + 30*minute); !p.job().job.due.Equal(want) {
		t.Errorf("due at %v", p.job().job.due)
	}
	p.pass(15*time.Hour - 1)
	p.want(healthy, true, "")
	p.pass(1)
	p.want(dead, true, "no ping within 1800 s of when it was due")
}

func TestHeartbeatRun(t *testing.T) {
	p := newJobPlay(t, heartbeatConfig(Heartbeat{Interval: time.Hour, Grace: minute, MaxRun: 5 * minute}))
	p.ping(ping{start: true})
	p.want(healthy, false, "")
	p.pass(90 * time.Second)
	p.ping(ping{})
	p.want(healthy, true, "")
	if took := p.job().job.took; took != 90*time.Second {
		t.Errorf("took %v", took)
	}
	p.pass(time.Hour)
	p.ping(ping{start: true})
	p.pass(5*minute - 1)
	p.want(healthy, true, "") // longer than the grace, but it runs
	p.pass(1)
	p.want(dead, true, "still running after 300 s")
	p.pass(minute)
	p.ping(ping{})
	p.want(healthy, true, "")
	p.ping(ping{})
	if took := p.job().job.took; took != 0 {
		t.Errorf("a run without a start took %v", took)
	}
}

// Pings could not come while this program did not run.
func TestHeartbeatRestart(t *testing.T) {
	conf := heartbeatConfig(Heartbeat{Interval: 10 * minute, Grace: 2 * minute, MaxRun: 4 * minute})
	// A node that no round ever finishes for: jobs do not wait for it.
	conf.Services[0].Nodes = append(conf.Services[0].Nodes, &Node{ID: "disk", Mode: modePoll, Targets: []Target{{Raw: "tcp://disk:80"}}})
	p := newJobPlay(t, conf)
	p.restart(minute)
	p.want(healthy, false, "")

	p.ping(ping{reason: "fine"})
	p.pass(11 * minute)
	p.restart(30 * time.Second) // the deadline is in 30 s more
	p.want(healthy, true, "fine")
	if s, known := p.st.services[0].nodes[0].condition(); s != healthy || !known || !p.job().fresh() {
		t.Errorf("after a restart the history has %v, known %v", s, known)
	}
	p.pass(30*time.Second - 1)
	p.want(healthy, true, "fine")
	p.pass(1)
	p.want(dead, true, "no ping within 120 s of when it was due")
	p.restart(time.Hour)
	p.want(dead, true, "no ping within 120 s of when it was due")
	if n := p.st.services[0].nodes[0]; !n.alert.known || n.alert.status != dead {
		t.Errorf("after a restart the alerter has %+v", n.alert)
	}

	p.ping(ping{})
	p.pass(11 * minute)
	p.restart(time.Hour) // the deadline passed meanwhile: it moves by an hour
	p.want(healthy, true, "")
	p.pass(minute - 1)
	p.want(healthy, true, "")
	p.pass(1)
	p.want(dead, true, "no ping within 120 s of when it was due")

	p = newJobPlay(t, conf)
	p.ping(ping{start: true})
	p.restart(minute)
	p.want(healthy, false, "")
	p.pass(3 * minute)
	p.want(dead, true, "still running after 240 s")
}

// A reload keeps what is known of a job, and applies the new rules to it.
func TestHeartbeatReload(t *testing.T) {
	p := newJobPlay(t, heartbeatConfig(Heartbeat{Interval: 10 * minute, Grace: 2 * minute}))
	p.ping(ping{})
	p.pass(5 * minute)
	p.st.reload(heartbeatConfig(Heartbeat{Interval: 10 * minute, Grace: 2 * minute}), p.now)
	p.pass(6 * minute)
	p.want(healthy, true, "")
	p.st.reload(heartbeatConfig(Heartbeat{Interval: 20 * minute, Grace: 2 * minute}), p.now)
	p.pass(11*minute - 1)
	p.want(healthy, true, "")
	p.pass(1)
	p.want(dead, true, "no ping within 120 s of when it was due")

	done := make(chan error, 1)
	(&ping{node: &Node{ID: "gone"}, done: done}).apply(p.st, p.now)
	if err := <-done; !errors.Is(err, errNotFound) {
		t.Errorf("a ping of a removed node: %v", err)
	}
}

// While the monitor's own connection is down, no ping can come either.
func TestHeartbeatConnection(t *testing.T) {
	conf := heartbeatConfig(Heartbeat{Interval: 10 * minute, Grace: 2 * minute})
	conf.Connectivity = []Target{{Raw: "tcp://192.0.2.1:1"}}
	p := newJobPlay(t, conf)
	p.ping(ping{})
	p.pass(11 * minute)
	connectionReport{down: true}.apply(p.st, p.now)
	p.pass(30 * minute)
	p.st.confirmOverdue(p.st.overdue, false, p.now)
	p.want(healthy, true, "")
	connectionReport{down: false}.apply(p.st, p.now)
	p.pass(minute - 1)
	p.want(healthy, true, "")
	p.pass(1)
	p.pass(2 * minute)
	p.st.confirmOverdue(p.st.overdue, true, p.now)
	p.want(dead, true, "no ping within 120 s of when it was due")
}

// A job whose deadline passed while the connection was down is not forgotten by a
// restart in that time: it has another grace.
func TestHeartbeatRestartWithoutConnection(t *testing.T) {
	for _, ev := range []ping{{}, {start: true}} {
		conf := heartbeatConfig(Heartbeat{Interval: 10 * minute, Grace: 2 * minute, MaxRun: 12 * minute})
		conf.Connectivity = []Target{{Raw: "tcp://192.0.2.1:1"}}
		p := newJobPlay(t, conf)
		p.ping(ev)
		connectionReport{down: true}.apply(p.st, p.now)
		p.pass(30 * minute)
		p.st.confirmOverdue(p.st.overdue, false, p.now)
		p.restart(minute)
		p.want(healthy, !ev.start, "")
		p.pass(2*minute - 1)
		if len(p.st.overdue) != 0 {
			t.Error("overdue before its grace is over")
		}
		p.pass(1)
		p.st.confirmOverdue(p.st.overdue, true, p.now)
		p.want(dead, true, p.job().lateReason())
		p.restart(minute)
		p.pass(24 * time.Hour)
		p.want(dead, true, p.job().reason)
	}
}
