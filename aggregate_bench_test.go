//go:build unix

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// A crowdPlay is a state of many replicas that are checked, or report, again
// and again.
type crowdPlay struct {
	st    *state
	now   time.Time
	own   []*replica // of a poll play, in the order of their checks
	hosts []int32    // of a push play, in the order of their reports
	next  int
	batch int // events between two snapshots

	latency time.Duration // the least one of a check; 0: none has any
}

// newCrowdPlay has each replica checked, or report, once. Nodes may have an
// interval of their own.
func newCrowdPlay(n int, m mode, own bool) *crowdPlay {
	// An interval of 10 s and ten snapshots a second make a hundredth of all
	// replicas change from one to the next.
	p := &crowdPlay{now: time.Now(), batch: n / 100, latency: time.Millisecond}
	conf := crowd(n, m)
	for _, node := range conf.nodes() {
		if own {
			node.Metrics = new(Metrics)
			*node.Metrics = conf.Metrics
			node.Metrics.PollInterval += time.Duration(len(node.ID)) * time.Second
		}
	}
	p.st = newState(conf, p.now)
	p.own = replicas(conf.Services)
	if m == modePush {
		rnd := rand.New(rand.NewPCG(1, 2))
		for _, i := range rnd.Perm(n) { // hosts report in no order
			p.hosts = append(p.hosts, int32(i))
		}
	}
	p.run(n)
	return p
}

// event returns the next event, as new as one from a worker or a handler.
func (p *crowdPlay) event() event {
	if p.hosts == nil {
		return result{replica: p.own[p.next], latency: time.Duration(1+p.next%97) * p.latency}
	}
	host := int(p.hosts[p.next])
	services := p.st.conf.Services
	return &loadReport{
		node: services[host/30].Nodes[host/10%3],
		report: report{
			replica:  "host-" + strconv.Itoa(host) + ".example.net",
			interval: 30 * time.Second,
			load:     &replicaLoad{cpu: 0.2, ram: 0.4},
		},
	}
}

// run applies n events and takes the snapshots between them.
func (p *crowdPlay) run(n int) {
	for range n {
		p.event().apply(p.st, p.now)
		if p.next++; p.next == 100*p.batch {
			p.next = 0
		}
		if p.next%p.batch == 0 {
			p.now = p.now.Add(100 * time.Millisecond)
			p.st.expire(p.now)
			p.st.snapshot(p.now)
		}
	}
}

// BenchmarkGrowth shows what a result or a report costs the aggregator,
// snapshots and the collector included, with 1,000, 10,000 and 100,000 replicas,
// in turns. The metric "growth" is the cost with 100,000 over that with 1,000: of
// a result at most 1.3. Reports come in no order, as those of hosts do, and find
// next to nothing of very many replicas in the processor's caches: they cost a
// microsecond more, beside the twenty that their request takes.
func BenchmarkGrowth(b *testing.B) {
	for _, c := range []struct {
		name string
		mode mode
		own  bool
	}{{"result", modePoll, false}, {"own", modePoll, true}, {"report", modePush, false}} {
		b.Run(c.name, func(b *testing.B) {
			var plays []*crowdPlay
			sizes := []int{1000, 10_000, 100_000}
			for _, n := range sizes {
				plays = append(plays, newCrowdPlay(n, c.mode, c.own))
			}
			const round = 20_000
			spent := make([][]float64, len(plays)) // CPU time of an event in ns, of each round
			for b.Loop() {
				for i, p := range plays {
					before := cpuTime()
					p.run(round)
					spent[i] = append(spent[i], float64(cpuTime()-before)/round)
				}
			}
			for i, n := range sizes {
				slices.Sort(spent[i])
				b.ReportMetric(spent[i][len(spent[i])/2], fmt.Sprintf("cpu-ns/%s-of-%d", c.name, n))
			}
			small, large := spent[0], spent[2]
			b.ReportMetric(large[len(large)/2]/small[len(small)/2], "growth")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkLatency shows what the latency adds to the cost of a result, snapshots
// and the quarters of an hour that pass included. The metric "share" is the cost of
// a result with a latency over that of one without: at most 1.3.
func BenchmarkLatency(b *testing.B) {
	b.Run("result", func(b *testing.B) {
		with, without := newCrowdPlay(10_000, modePoll, false), newCrowdPlay(10_000, modePoll, false)
		without.latency = 0
		const round = 20_000
		var spent [2][]float64 // CPU time of a result in ns, of each round
		for b.Loop() {
			for i, p := range []*crowdPlay{with, without} {
				before := cpuTime()
				p.run(round)
				spent[i] = append(spent[i], float64(cpuTime()-before)/round)
			}
		}
		var median [2]float64
		for i := range spent {
			slices.Sort(spent[i])
			median[i] = spent[i][len(spent[i])/2]
		}
		b.ReportMetric(median[0], "cpu-ns/with")
		b.ReportMetric(median[1], "cpu-ns/without")
		b.ReportMetric(median[0]/median[1], "share")
		b.ReportMetric(0, "ns/op")
	})
}

// BenchmarkSnapshot shows that a snapshot costs what changed: one replica of a
// node with very many, one of a node among very many, and all of them.
func BenchmarkSnapshot(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		node := &Node{ID: "node", Mode: modePush}
		for name, conf := range map[string]*Config{
			"-in-one-node": {Services: []*Service{{ID: "service", Nodes: []*Node{node}}}},
			"":             crowd(n, modePush),
		} {
			play := func(b *testing.B, changing int) {
				now := time.Now()
				st := newState(conf, now)
				var all []*replicaState
				first := st.services[0].nodes[0]
				if len(st.nodes) == 1 {
					for i := range n {
						all = append(all, st.addReplica(first, strconv.Itoa(i)))
					}
				} else {
					for ns := range st.allNodes() {
						for i := range 10 {
							all = append(all, st.addReplica(ns, strconv.Itoa(i)))
						}
					}
				}
				st.snapshot(now)
				b.ReportAllocs()
				for b.Loop() {
					for _, r := range all[:changing] {
						st.touchReplica(r)
					}
					st.snapshot(now)
				}
			}
			b.Run(fmt.Sprintf("1-of-%d%s", n, name), func(b *testing.B) { play(b, 1) })
			b.Run(fmt.Sprintf("%d-of-%d%s", n, n, name), func(b *testing.B) { play(b, n) })
		}
	}
}

// BenchmarkAlert shows what it takes to decide an alert: of replicas that all
// die together, and of one that dies and comes back among very many.
func BenchmarkAlert(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		for _, dying := range []int{1, n / 10} {
			b.Run(fmt.Sprintf("%d-of-%d", dying, n), func(b *testing.B) {
				conf := crowd(n, modePoll)
				now := time.Now()
				st := newState(conf, now)
				own := replicas(conf.Services)
				for _, r := range own {
					st.applyResult(result{replica: r}, now)
				}
				b.ReportAllocs()
				for b.Loop() {
					for _, s := range []status{dead, healthy} {
						for _, r := range own[:dying] {
							st.applyResult(result{replica: r, status: s, reason: "connection refused"}, now)
						}
						st.alerter.due(st, now)
						now = now.Add(gatherMost)
						alert, ok := st.alerter.due(st, now)
						if !ok || len(alert.Outages)+alert.MoreDown+alert.MoreOver == 0 {
							b.Fatalf("alert %v of %d outages", ok, len(alert.Outages))
						}
					}
				}
			})
		}
	}
}

// BenchmarkTransition shows what a node's change costs the aggregator with the
// log of events and without it, in turns. The log is written by another
// goroutine, which the aggregator does not wait for.
func BenchmarkTransition(b *testing.B) {
	dir, err := openFolder(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer dir.close()
	l := newEventLog(newStore(&disk{dir: dir}, quiet), quiet)
	ctx, stop := context.WithCancel(b.Context())
	var writing sync.WaitGroup
	writing.Go(func() { l.run(ctx) })
	defer writing.Wait()
	defer stop()

	conf := crowd(10_000, modePoll)
	own := replicas(conf.Services)
	now := time.Now()
	var states [2]*state
	var spent [2][]float64 // ns of a change, of each round
	for i := range states {
		states[i] = newState(conf, now)
		for _, r := range own {
			states[i].applyResult(result{replica: r}, now)
		}
	}
	states[1].eventLog = l
	wanted := [...]status{dead, healthy}
	for turn := 0; b.Loop(); turn++ {
		for i, st := range states {
			begin := time.Now()
			for k := 0; k < len(own); k += 10 { // one of each node
				r := own[k]
				st.applyResult(result{replica: r, status: wanted[turn%2], reason: "HTTP 503"}, now)
			}
			spent[i] = append(spent[i], 10*float64(time.Since(begin))/float64(len(own)))
			for len(l.in) > 0 {
				time.Sleep(time.Millisecond)
			}
		}
		now = now.Add(time.Second)
	}
	for i, name := range []string{"without", "with"} {
		slices.Sort(spent[i])
		b.ReportMetric(spent[i][len(spent[i])/2], "ns/change-"+name+"-log")
	}
	b.ReportMetric(float64(l.dropped.Load()), "dropped")
	b.ReportMetric(0, "ns/op")
}
