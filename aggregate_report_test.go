package main

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"vigil/notify"
)

// pushState is a state with one push node, and what sends reports to it.
func pushState(t *testing.T) (st *state, send, drop func(id string)) {
	conf := &Config{Services: []*Service{{ID: "s", Nodes: []*Node{{ID: "n", Mode: modePush}}}}}
	conf.Metrics = Metrics{PushDelayDead: time.Minute, CPUSickAbove: 0.9, RAMSickAbove: 0.9}
	node, now := conf.Services[0].Nodes[0], time.Now()
	st = newState(conf, now)
	st.keepFor([]notify.Target{{Name: "slack"}})
	send = func(id string) {
		rep := report{replica: id, interval: time.Minute, load: &replicaLoad{cpu: 0.1, ram: 0.1}}
		(&loadReport{node: node, report: rep}).apply(st, now)
	}
	drop = func(id string) {
		done := make(chan error, 1)
		(&flush{node, [2]string{id, id}, done}).apply(st, now)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	return st, send, drop
}

// However many names come and go, nothing of those that went is kept.
func TestFlushedReplicasAreForgotten(t *testing.T) {
	st, send, drop := pushState(t)
	send("stays")
	for i := range 20_000 {
		id := fmt.Sprint("host-", i)
		send(id)
		send(id)
		drop(id)
		if i%1000 == 0 {
			st.pendingBatch(time.Now(), false)
			st.snapshot(time.Now())
		}
	}
	st.pendingBatch(time.Now(), false)
	st.snapshot(time.Now())
	if n := len(st.ledger.later); n > 1 {
		t.Errorf("%d replicas wait to be kept", n)
	}
	ns := st.services[0].nodes[0]
	if len(ns.replicas) != 1 || len(ns.byID) != 1 || len(ns.changed) != 0 || len(st.deadlines) != 1 {
		t.Errorf("%d replicas, %d ids, %d changed, %d deadlines", len(ns.replicas), len(ns.byID), len(ns.changed), len(st.deadlines))
	}
}

// The views follow the replicas, in whatever order these come and go.
func TestViewsFollowFlushes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	st, send, drop := pushState(t)
	ns := st.services[0].nodes[0]
	for range 300 {
		for range rng.IntN(600) {
			send(fmt.Sprint(rng.IntN(2000)))
		}
		for range rng.IntN(600) {
			if len(ns.replicas) > 0 {
				drop(ns.replicas[rng.IntN(len(ns.replicas))].id)
			}
		}
		views := st.snapshot(time.Now()).services[0].nodes[0].replicas
		if views.len() != len(ns.replicas) {
			t.Fatalf("%d views of %d replicas", views.len(), len(ns.replicas))
		}
		for i, v := range views.all() {
			if r := ns.replicas[i]; r.index != i || v.id != r.id || ns.byID[r.id] != r {
				t.Fatalf("place %d: view of %s, replica %s with index %d", i, v.id, r.id, r.index)
			}
		}
	}
}

// Flushing one of very many changes as many pages of views as one of few.
func TestFlushCostsTheSameAmongMany(t *testing.T) {
	st, send, drop := pushState(t)
	for i := range 100_000 {
		send(fmt.Sprint(i))
	}
	before := st.snapshot(time.Now()).services[0].nodes[0].replicas
	drop("17")
	after := st.snapshot(time.Now()).services[0].nodes[0].replicas
	changed := 0
	for i := range after {
		if after[i][0] != before[i][0] || &after[i][0] != &before[i][0] {
			changed++
		}
	}
	if changed > 2 {
		t.Errorf("%d of %d pages are new", changed, len(after))
	}
}
