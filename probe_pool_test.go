package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A reloadRig runs probes inside a synctest bubble through one config after
// the other, and records what they do. A check takes as long, and comes out as,
// the id of its node says.
type reloadRig struct {
	probes *probes
	life   context.Context

	mu      sync.Mutex
	begin   time.Time
	starts  map[string][]time.Duration // by node
	stopped map[string]int             // checks that were cut short
	results map[string][]string
}

func newReloadRig(t *testing.T, life context.Context) *reloadRig {
	events := make(chan event)
	rig := &reloadRig{probes: newProbes(events, slog.New(slog.DiscardHandler)), life: life, begin: time.Now(),
		starts: map[string][]time.Duration{}, stopped: map[string]int{}, results: map[string][]string{}}
	go func() {
		for {
			select {
			case ev := <-events:
				res := ev.(result)
				rig.mu.Lock()
				rig.results[res.replica.node.ID] = append(rig.results[res.replica.node.ID],
					fmt.Sprintf("%v %v", time.Since(rig.begin), res.status))
				rig.mu.Unlock()
			case <-life.Done():
				return
			}
		}
	}()
	return rig
}

func (rig *reloadRig) check(ctx context.Context, r *replica) verdict {
	id := r.node.ID
	rig.mu.Lock()
	rig.starts[id] = append(rig.starts[id], time.Since(rig.begin))
	rig.mu.Unlock()
	took, s := time.Millisecond, healthy
	switch id {
	case "hung":
		took, s = 10*time.Second, dead
	case "script":
		took = 90 * time.Second
	}
	select {
	case <-time.After(took):
	case <-ctx.Done():
		rig.mu.Lock()
		rig.stopped[id]++
		rig.mu.Unlock()
	}
	return verdict{status: s}
}

// run runs the probes of a config for some time, with nodes of these ids.
func (rig *reloadRig) run(t *testing.T, m Metrics, d time.Duration, ids ...string) {
	service := &Service{ID: "web"}
	for _, id := range ids {
		n := &Node{ID: id, Mode: modePoll, Targets: []Target{{Raw: "tcp://" + id + ":80"}}}
		if id == "script" {
			n = &Node{ID: id, Mode: modeScript, Scripts: []string{"true"}}
		}
		service.Nodes = append(service.Nodes, n)
	}
	all := replicas([]*Service{service})
	now := time.Now()
	rig.probes.poll.adoptPoll(m, ofMode(all, modePoll), rig.check, now)
	rig.probes.script.adoptScript(m, ofMode(all, modeScript), rig.check, now)
	ctx, cancel := context.WithTimeout(rig.life, d)
	defer cancel()
	if err := rig.probes.run(rig.life, ctx.Done()); err != nil {
		t.Error(err)
	}
	synctest.Wait()
}

// end ends what still runs.
func (rig *reloadRig) end(t *testing.T, stop context.CancelFunc) {
	stop()
	rig.probes.run(rig.life, nil)
}

// A reload changes nothing for what both configs have: 40 of them, 20 s apart.
func TestReloadKeepsSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life, stop := context.WithCancel(t.Context())
		rig := newReloadRig(t, life)
		m := testMetrics()
		m.PollInterval, m.ScriptInterval = 2*time.Minute, 5*time.Minute
		for range 40 {
			rig.run(t, m, 20*time.Second, "hung", "good", "script")
		}
		// Of two poll replicas one has its turn at 60 s of each 120 s, the other
		// at 120 s, and the script at 300 s of each 300 s. A death is known after
		// 10 s, 2 s and 10 s more.
		var hung []string
		for _, at := range []time.Duration{0, 60, 180, 300, 420, 540, 660, 780} {
			if at += 22; at < 800 {
				hung = append(hung, fmt.Sprintf("%v dead", at*time.Second))
			}
		}
		if got := rig.results["hung"]; !slices.Equal(got, hung) {
			t.Errorf("results of the target that hangs:\n\t%q\nwant:\n\t%q", got, hung)
		}
		if got, want := rig.starts["good"], []time.Duration{0, 2 * time.Minute, 4 * time.Minute, 6 * time.Minute, 8 * time.Minute, 10 * time.Minute, 12 * time.Minute}; !slices.Equal(got, want) {
			t.Errorf("good target checked at %v, want %v", got, want)
		}
		if got, want := rig.starts["script"], []time.Duration{0, 5 * time.Minute, 10 * time.Minute}; !slices.Equal(got, want) {
			t.Errorf("script run at %v, want %v", got, want)
		}
		if len(rig.stopped) > 0 {
			t.Errorf("checks cut short: %v", rig.stopped)
		}
		rig.end(t, stop)
	})
}

// What is new is checked at once; what is gone is not heard of again, its
// script is stopped, and the figures of its pool do not stay.
func TestReloadChangesSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life, stop := context.WithCancel(t.Context())
		rig := newReloadRig(t, life)
		m := testMetrics()
		m.PollParallelism = 1
		rig.run(t, m, 5*time.Second, "hung", "good", "script")
		if n := rig.probes.poll.meter.parked.Load(); n != 1 {
			t.Errorf("%d checks parked, want 1", n)
		}
		rig.run(t, m, 40*time.Second, "good", "new")
		for node, want := range map[string][]time.Duration{
			"hung": {0}, "script": {0},
			"good": {50 * time.Millisecond}, // and at 60 s
			"new":  {5 * time.Second, 30 * time.Second},
		} {
			if got := rig.starts[node]; !slices.Equal(got, want) {
				t.Errorf("%s checked at %v, want %v", node, got, want)
			}
		}
		if len(rig.results["hung"]) > 0 || len(rig.results["script"]) > 0 || rig.stopped["script"] != 1 {
			t.Errorf("results %v, cut short %v", rig.results, rig.stopped)
		}
		if n := rig.probes.poll.meter.parked.Load(); n != 0 {
			t.Errorf("%d checks parked, want none", n)
		}
		// Twice as often: each takes a place in the new interval.
		m.PollInterval = 30 * time.Second
		rig.run(t, m, 60*time.Second, "good", "new")
		for node, want := range map[string]int{"good": 4, "new": 4} {
			starts := rig.starts[node]
			if len(starts) != want {
				t.Errorf("%s checked at %v, want %d times", node, starts, want)
			}
			for i := 1; i < len(starts); i++ {
				if gap := starts[i] - starts[i-1]; gap > time.Minute {
					t.Errorf("%s checked at %v", node, starts)
				}
			}
		}
		rig.end(t, stop)
	})
}

// Another script under the same index is another check.
func TestSameCheck(t *testing.T) {
	poll := func(n Node, raw string) *replica {
		n.Mode, n.Targets = modePoll, []Target{{Raw: raw}}
		return &replica{service: &Service{ID: "web"}, node: &n, id: raw}
	}
	script := func(text string) *replica {
		return &replica{service: &Service{ID: "web"}, node: &Node{Mode: modeScript, Scripts: []string{text}}, id: "0"}
	}
	for _, tt := range []struct {
		name     string
		old, new *replica
		same     bool
	}{
		{"nothing changed", poll(Node{}, "tcp://a:1"), poll(Node{}, "tcp://a:1"), true},
		{"label and link", poll(Node{Label: "A"}, "tcp://a:1"), poll(Node{Label: "B", LinkURL: "http://b/"}, "tcp://a:1"), true},
		{"method", poll(Node{}, "http://a/"), poll(Node{HTTPMethod: "GET"}, "http://a/"), false},
		{"headers", poll(Node{HTTPHeaders: map[string]string{"A": "1"}}, "http://a/"), poll(Node{HTTPHeaders: map[string]string{"A": "2"}}, "http://a/"), false},
		{"same script", script("true"), script("true"), true},
		{"other script", script("true"), script("false"), false},
		{"other mode", script("true"), poll(Node{}, "tcp://a:1"), false},
	} {
		if got := tt.new.sameCheck(tt.old); got != tt.same {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.same)
		}
	}
}

// Places of new replicas fill the largest gaps between the others.
func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		taken []time.Duration
		n     int
		want  []time.Duration
	}{
		{nil, 4, []time.Duration{15, 30, 45, 60}},
		{[]time.Duration{60}, 1, []time.Duration{30}},
		{[]time.Duration{10, 30}, 1, []time.Duration{50}},
		{[]time.Duration{10, 40}, 4, []time.Duration{20, 30, 50, 60}},
		{[]time.Duration{10, 20}, 3, []time.Duration{32, 45, 57}},
	} {
		got := spread(slices.Clone(tt.taken), tt.n, 60)
		slices.Sort(got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%d between %v: %v, want %v", tt.n, tt.taken, got, tt.want)
		}
	}
	if got := spread(nil, 1_000_000, 24*time.Hour); got[999_999] != 24*time.Hour || got[0] != 86400*time.Microsecond {
		t.Errorf("a million places: from %v to %v", got[0], got[999_999])
	}
}

// Checks that are asked for come at once, and turns stay where they are.
func TestCheckNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life, stop := context.WithCancel(t.Context())
		rig := newReloadRig(t, life)
		found := make(chan string, 10)
		ask := func(at time.Duration, node string) {
			time.Sleep(at - time.Since(rig.begin))
			results, err := rig.probes.checkNow(life, func(r *replica) bool { return r.node.ID == node || node == "*" })
			s := fmt.Sprintf("%v %v", time.Since(rig.begin), err)
			for _, res := range results {
				s += " " + res.replica.node.ID + "=" + res.status.String()
			}
			found <- s
		}
		go ask(70*time.Second, "good")
		go ask(75*time.Second, "hung")
		go ask(80*time.Second, "script") // it runs until 90 s
		go ask(95*time.Second, "none")
		go ask(110*time.Second, "*")
		m := testMetrics()
		m.PollInterval = 4 * time.Minute
		rig.run(t, m, 100*time.Second, "good", "hung", "script")
		rig.run(t, m, 400*time.Second, "good", "script", "hung") // a reload in between changes nothing
		var all []string
		for range len(found) {
			all = append(all, <-found)
		}
		want := []string{"1m10.001s <nil> good=healthy", "1m30s <nil> script=healthy", "1m35s <nil>",
			"1m37s <nil> hung=dead", "3m20s <nil> good=healthy hung=dead script=healthy"}
		if !slices.Equal(all, want) {
			t.Errorf("found\n\t%q\nwant\n\t%q", all, want)
		}
		const s = time.Second
		if got, want := rig.starts["good"], []time.Duration{0, 70 * s, 110 * s, 120 * s, 360 * s}; !slices.Equal(got, want) {
			t.Errorf("good checked at %v, want %v", got, want)
		}
		rig.end(t, stop)
	})
}
