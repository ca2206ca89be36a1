package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vigil/notify"
)

// statuses describes a snapshot as "page service[node(replica...)...]...".
func statuses(s *snapshot) string {
	out := s.status.String()
	for _, service := range s.services {
		out += " " + service.status.String() + "["
		for i, node := range service.nodes {
			if i > 0 {
				out += " "
			}
			out += node.status.String() + "("
			for k, r := range node.replicas.all() {
				if k > 0 {
					out += " "
				}
				if !r.checked {
					out += "?"
				}
				out += r.status.String()
			}
			out += ")"
		}
		out += "]"
	}
	return out
}

func TestSnapshot(t *testing.T) {
	p := newPlay(alertConfig(Alerting{}))
	first := p.st.snapshot(p.now)
	if got, want := statuses(first), "healthy healthy[healthy(?healthy) healthy(?healthy) healthy(?healthy)]"; got != want || first.checked {
		t.Errorf("before the first check: %s (checked %v)\nwant %s", got, first.checked, want)
	}
	p.at(time.Second, "a=healthy", "b=sick", "c=healthy")
	second := p.st.snapshot(p.now)
	if got, want := statuses(second), "sick sick[healthy(healthy) sick(sick) healthy(healthy)]"; got != want || !second.checked {
		t.Errorf("after the first round: %s (checked %v)\nwant %s", got, second.checked, want)
	}
	if p.st.dirty {
		t.Error("dirty after the snapshot was taken")
	}
	p.at(2*time.Second, "c=dead")
	third := p.st.snapshot(p.now)
	if got, want := statuses(third), "dead dead[healthy(healthy) sick(sick) dead(dead)]"; got != want {
		t.Errorf("after a death: %s\nwant %s", got, want)
	}
	if statuses(second) == statuses(third) || second.seq+1 != third.seq {
		t.Error("a published snapshot changed")
	}
	if third.services[0].nodes[0] != second.services[0].nodes[0] {
		t.Error("a node that did not change was copied")
	}
	if r := third.services[0].nodes[2].replicas.at(0); !r.since.Equal(p.now) {
		t.Errorf("since %v, want %v", r.since, p.now)
	}
	p.at(time.Minute, "c=dead")
	fourth := p.st.snapshot(p.now)
	if r := fourth.services[0].nodes[2].replicas.at(0); !r.since.Equal(p.begin.Add(2 * time.Second)) {
		t.Errorf("since %v, want when it died", r.since)
	}
}

// What a snapshot shows is what the state knew, whatever comes and goes, and
// stays so when the state goes on.
func TestSnapshotShares(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	conf := &Config{Services: []*Service{{ID: "s", Nodes: []*Node{{ID: "a", Mode: modePush}, {ID: "b", Mode: modePush}}}}}
	now := time.Unix(1e9, 0)
	st := newState(conf, now)
	known := func() string {
		out := ""
		for ns := range st.allNodes() {
			for _, r := range ns.replicas {
				out += fmt.Sprintln(ns.conf.ID, *r.show())
			}
		}
		return out
	}
	shown := func(s *snapshot) string {
		out := ""
		for _, nv := range s.services[0].nodes {
			for _, r := range nv.replicas.all() {
				out += fmt.Sprintln(nv.conf.ID, *r)
			}
		}
		return out
	}
	var last *snapshot
	var lastShown string
	for i := range 5000 {
		now = now.Add(time.Second)
		ns := st.services[0].nodes[rnd.IntN(2)]
		switch id := fmt.Sprint(rnd.IntN(8)); {
		case i%1000 == 999:
			copied := *conf
			copied.Services = []*Service{{ID: "s", Nodes: []*Node{{ID: "b", Mode: modePush}, {ID: "a", Mode: modePush}}}}
			st.reload(&copied, now)
		case ns.byID[id] == nil:
			st.addReplica(ns, id)
		case rnd.IntN(4) == 0:
			st.dropReplica(ns.byID[id], now)
		default:
			ns.byID[id].latency = time.Duration(i)
			st.set(ns.byID[id], status(rnd.IntN(3)), fmt.Sprint(i), now)
		}
		if rnd.IntN(3) > 0 {
			continue
		}
		if last != nil && shown(last) != lastShown {
			t.Fatalf("after step %d the snapshot before it shows\n%s\nnot\n%s", i, shown(last), lastShown)
		}
		last = st.snapshot(now)
		if lastShown = shown(last); lastShown != known() {
			t.Fatalf("after step %d a snapshot shows\n%s\nnot\n%s", i, lastShown, known())
		}
	}
}

// The counters of the tree must always say what a walk over it would.
func TestTallies(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	conf := &Config{}
	for s := range 3 {
		service := &Service{ID: fmt.Sprint(s)}
		for n := range 4 {
			service.Nodes = append(service.Nodes, &Node{ID: fmt.Sprint(n), Mode: modePush})
		}
		conf.Services = append(conf.Services, service)
	}
	now := time.Unix(1e9, 0)
	st := newState(conf, now)
	for range 5000 {
		now = now.Add(time.Second)
		ns := st.services[rnd.IntN(3)].nodes[rnd.IntN(4)]
		switch id := fmt.Sprint(rnd.IntN(6)); {
		case ns.byID[id] == nil:
			st.addReplica(ns, id)
		case rnd.IntN(3) == 0:
			st.dropReplica(ns.byID[id], now)
		default:
			st.set(ns.byID[id], status(rnd.IntN(3)), "", now)
		}
		all := healthy
		for _, ss := range st.services {
			service := healthy
			for _, ns := range ss.nodes {
				node := healthy
				for i, r := range ns.replicas {
					node = max(node, r.status)
					if r.index != i || ns.byID[r.id] != r {
						t.Fatalf("replica %s is not where it says", r.path())
					}
				}
				if len(ns.byID) != len(ns.replicas) || ns.worst != node {
					t.Fatalf("node is %v by its counters, %v by its replicas", ns.worst, node)
				}
				service = max(service, node)
			}
			if ss.nodeTally.worst() != service {
				t.Fatalf("service is %v by its counters, %v by its nodes", ss.nodeTally.worst(), service)
			}
			all = max(all, service)
		}
		if st.nodeTally.worst() != all {
			t.Fatalf("page is %v by its counters, %v by its services", st.nodeTally.worst(), all)
		}
	}
}

// Hours of outages through scheduler, workers and aggregator: every outage is
// told once, a second after it is found, and so is its end.
func TestPipelineThroughHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := alertConfig(Alerting{Startup: true, ReminderInterval: 20 * time.Minute, BackoffLimit: 3})
		conf.Metrics = testMetrics()
		begin := time.Now()
		// b is dead for 50 minutes of every two hours.
		out := func() bool {
			phase := time.Since(begin) % (2 * time.Hour)
			return phase >= time.Hour && phase < time.Hour+50*time.Minute
		}
		probe := func(_ context.Context, r *replica) verdict {
			s := healthy
			if r.node.ID == "b" && out() {
				s = dead
			}
			return verdict{status: s, latency: time.Millisecond}
		}
		log := slog.New(slog.DiscardHandler)
		events := make(chan event, eventBuffer)
		alerts := make(chan notify.Alert)
		st := newState(conf, begin)
		b := newSnapshots(st.snapshot(begin))
		ctx, cancel := context.WithTimeout(t.Context(), 48*time.Hour)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := newTestPool(conf.Metrics, replicas(conf.Services), probe, events).run(ctx, nil); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := (&aggregator{state: st, events: events, alerts: alerts, snaps: b, log: log}).run(ctx); err != nil {
				t.Error(err)
			}
		})
		var got []string
		for a := range alerts {
			got = append(got, fmt.Sprintf("%v %s %s %d", a.Time.Sub(begin), a.Kind, a.Status, a.Reminders))
			if shown := b.load().status.String(); shown != string(a.Status) {
				t.Errorf("the page shows %s while %s is told", shown, a.Status)
			}
		}
		wg.Wait()

		// b is replica 2 of 3: checked 40 s into each minute. A dead result
		// counts after its retry, 2 s later; then deaths are gathered for 200 ms.
		want := []string{"0s startup healthy 0"}
		for day := time.Duration(0); day < 48*time.Hour; day += 2 * time.Hour {
			died := day + time.Hour + 40*time.Second + 2*time.Second + gatherQuiet
			want = append(want,
				fmt.Sprintf("%v changed dead 0", died),
				fmt.Sprintf("%v reminder dead 1", died+20*time.Minute),
				fmt.Sprintf("%v reminder dead 2", died+40*time.Minute),
				fmt.Sprintf("%v changed healthy 0", day+time.Hour+50*time.Minute+40*time.Second+gatherQuiet))
		}
		if !slices.Equal(got, want) {
			t.Errorf("alerts:\n%v\nwant:\n%v", got, want)
		}
	})
}

// A reload keeps what both configs have: status, deadline, what was told.
func TestAdopt(t *testing.T) {
	conf := func(ids ...string) *Config {
		service := &Service{ID: "web"}
		for _, id := range ids {
			node := &Node{ID: id, Mode: modePoll, Targets: []Target{{Raw: "tcp://" + id + ":80"}}}
			if id == "push" {
				node = &Node{ID: id, Mode: modePush}
			}
			service.Nodes = append(service.Nodes, node)
		}
		return &Config{Services: []*Service{service}, Alerting: Alerting{BackoffLimit: 3}, Notify: channels("slack")}
	}
	p := newPlay(conf("a", "b", "c", "push"))
	p.at(0, "a=healthy", "b=dead", "c=dead")
	oldPush := p.st.conf.Services[0].Nodes[3]
	ns := p.st.nodes[oldPush]
	r := p.st.addReplica(ns, "worker")
	p.st.set(r, sick, "cpu 0.95 over 0.90", p.now)
	p.st.deadlines.set(r, p.now.Add(30*time.Second))
	p.until(p.begin.Add(2 * time.Second))

	// The order changes, a goes, c goes, d comes.
	next := conf("push", "b", "d")
	p.st.reload(next, p.now)
	p.replicas = replicas(next.Services)
	snap := p.st.snapshot(p.now)
	if got, want := statuses(snap), "dead dead[sick(sick) dead(dead) healthy(?healthy)]"; got != want {
		t.Errorf("after the reload: %s\nwant %s", got, want)
	}
	if snap.checked {
		t.Error("d was not checked, but the snapshot says that all were")
	}
	if p.st.nodes[oldPush] != p.st.services[0].nodes[0] {
		t.Error("a report that is under way for the old config's node would be lost")
	}
	p.at(3*time.Second, "b=dead") // ordinal 1 of the alphabet is d in the new order
	p.until(p.begin.Add(20 * time.Second))
	p.st.applyResult(result{replica: p.replicas[0], status: dead}, p.now)
	p.until(p.begin.Add(29 * time.Second))
	if s := p.st.services[0].nodes[0].worst; s != sick {
		t.Errorf("push is %v before its deadline, want sick", s)
	}
	p.until(p.begin.Add(31 * time.Second))
	if s := p.st.services[0].nodes[0].worst; s != dead {
		t.Errorf("push is %v after its deadline, want dead", s)
	}
	p.until(p.begin.Add(time.Minute))
	want := []string{
		"200ms changed dead +b +c",
		"2.2s changed dead b ~c",
		"3.2s changed dead b +d",
		"30.2s changed dead +push(no report in 0s) b d",
	}
	if !slices.Equal(p.alerts, want) {
		t.Errorf("alerts:\n%q\nwant:\n%q", p.alerts, want)
	}

	// What was dead goes: that all is well is told once the new node was checked.
	next = conf("a")
	p.st.reload(next, p.now)
	p.replicas = replicas(next.Services)
	p.at(2*time.Minute, "a=healthy")
	p.until(p.begin.Add(3 * time.Minute))
	if last := p.alerts[len(p.alerts)-1]; last != "2m0.2s changed healthy ~b ~d ~push" {
		t.Errorf("last alert %q", last)
	}
	if n := len(p.st.alerter.channels[0].told) + len(p.st.alerter.channels[0].ready) + len(p.st.alerter.timers) + len(p.st.deadlines); n != 0 {
		t.Errorf("%d leftovers of replicas that are gone", n)
	}
}

// brokenEvent is an event with a fault.
type brokenEvent struct{ none []status }

func (e brokenEvent) apply(*state, time.Time) { _ = e.none[3] }

// An event that panics is dropped, reported and counted; those around it are
// booked.
func TestAggregatorContainsPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := alertConfig(Alerting{})
		var text bytes.Buffer
		events := make(chan event, 4)
		st := newState(conf, time.Now())
		a := &aggregator{state: st, events: events, alerts: make(chan notify.Alert, 1),
			snaps: newSnapshots(st.snapshot(time.Now())), log: slog.New(slog.NewTextHandler(&text, nil))}
		all := replicas(conf.Services)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		events <- result{replica: all[0], status: sick}
		events <- brokenEvent{}
		events <- result{replica: all[1], status: sick}
		wg.Go(func() { a.run(ctx) })
		time.Sleep(time.Second)
		events <- brokenEvent{}
		events <- result{replica: all[2], status: sick}
		time.Sleep(time.Second)
		cancel()
		wg.Wait()
		if got, want := statuses(a.snaps.load()), "sick sick[sick(sick) sick(sick) sick(sick)]"; got != want {
			t.Errorf("statuses %s, want %s", got, want)
		}
		if n := a.panics.Load(); n != 2 {
			t.Errorf("%d panics counted, want 2", n)
		}
		for _, want := range []string{`level=ERROR msg="event dropped: it panicked" event=main.brokenEvent panic="runtime error: index out of range [3] with length 0"`, "aggregate_test.go"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("log lacks %s:\n%s", want, text.String())
			}
		}
	})
}

// crowd is a config of n replicas, ten to a node and three nodes to a service,
// as poll or push replicas.
func crowd(n int, m mode) *Config {
	conf := &Config{Metrics: Metrics{
		PollInterval: 10 * time.Second, PollDelayDead: 10 * time.Second, PushDelayDead: 20 * time.Second,
		CPUSickAbove: 0.9, RAMSickAbove: 0.9,
	}}
	const perNode = 10
	for i := range n / perNode {
		if i%3 == 0 {
			conf.Services = append(conf.Services, &Service{ID: fmt.Sprintf("service-%d", i)})
		}
		node := &Node{ID: fmt.Sprintf("node-%d", i), Mode: m}
		if m == modePoll {
			for k := range perNode {
				node.Targets = append(node.Targets, Target{Raw: fmt.Sprintf("tcp://host-%d-%d.example.net:80", i, k)})
			}
		}
		s := conf.Services[len(conf.Services)-1]
		s.Nodes = append(s.Nodes, node)
	}
	return conf
}

// A node of several pages shows each replica in its place, whatever changes,
// and leaves what was published before as it was.
func TestSnapshotPages(t *testing.T) {
	node := &Node{ID: "node", Mode: modePush}
	now := time.Now()
	st := newState(&Config{Services: []*Service{{ID: "service", Nodes: []*Node{node}}, {ID: "empty"}}}, now)
	ns := st.services[0].nodes[0]
	rnd := rand.New(rand.NewPCG(3, 4))
	text := func(v *snapshot) string {
		var b strings.Builder
		for i, r := range v.services[0].nodes[0].replicas.all() {
			fmt.Fprintf(&b, "%d %s %s\n", i, r.id, r.status)
		}
		return b.String()
	}
	last := st.snapshot(now)
	shown := text(last)
	for step := range 400 {
		switch n := len(ns.replicas); {
		case step < 100 || n == 0:
			for i := range rnd.IntN(30) {
				st.addReplica(ns, fmt.Sprintf("%d-%d", step, i))
			}
		case step%3 == 0:
			st.dropReplica(ns.replicas[rnd.IntN(n)], now)
		case step%50 == 1:
			for _, r := range slices.Backward(slices.Clone(ns.replicas[n/4:])) {
				st.dropReplica(r, now)
			}
		default:
			for range rnd.IntN(5) {
				st.set(ns.replicas[rnd.IntN(n)], status(rnd.IntN(3)), "", now)
			}
		}
		next := st.snapshot(now)
		var want strings.Builder
		for i, r := range ns.replicas {
			fmt.Fprintf(&want, "%d %s %s\n", i, r.id, r.status)
			if at := next.services[0].nodes[0].replicas.at(i); at.id != r.id {
				t.Fatalf("step %d: %s at %d, want %s", step, at.id, i, r.id)
			}
		}
		views := next.services[0].nodes[0].replicas
		if got := text(next); got != want.String() || views.len() != len(ns.replicas) || next.services[1] == nil {
			t.Fatalf("step %d: %d replicas shown, there are %d", step, views.len(), len(ns.replicas))
		}
		if text(last) != shown {
			t.Fatalf("step %d changed an older snapshot", step)
		}
		last, shown = next, text(next)
	}
}
