package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// bigState is a state of so many nodes with three replicas each, after years.
func bigState(nodes int, now time.Time) *state {
	conf := &Config{Metrics: Metrics{PollInterval: time.Hour}}
	im := newRestored()
	today := dateOf(now)
	for i := range nodes {
		if i%3 == 0 {
			conf.Services = append(conf.Services, &Service{ID: fmt.Sprintf("service-%d", i/3)})
		}
		service := conf.Services[len(conf.Services)-1]
		node := &Node{ID: fmt.Sprintf("node-%d", i)}
		for k := range 3 {
			node.Targets = append(node.Targets, Target{Raw: fmt.Sprintf("https://user:password@edge-%d-%d.example.net:8443/health?full=1", i, k)})
		}
		service.Nodes = append(service.Nodes, node)
		past := &pastRecord{Service: service.ID, Node: node.ID, Status: "healthy", Since: now}
		const day = 24 * 60 * 60 * 1000
		for d := range keptDays {
			past.Days.add(closedSum{today - date(keptDays-d), [4]uint32{day - 7_200_000 - uint32(i), 3_600_000, 3_600_000 + uint32(i)}})
		}
		for m := range 36 {
			first := dateOf(now.AddDate(0, -m, 1-now.Day()))
			past.Months.set(closedSum{first, [4]uint32{30*day - 7_200_000, 3_600_000, 3_600_000}})
		}
		im.apply(record{Past: past})
		if i < keptIncidents {
			im.apply(record{Incident: &incidentRecord{
				ID: fmt.Sprintf("INCIDENT%018d", i), Service: service.ID, Node: node.ID,
				Start: now.Add(-time.Hour), End: now.Add(-time.Minute), Reason: "no answer in 10 s",
			}})
		}
	}
	st := newState(conf, now)
	st.restore(im, now)
	for _, r := range replicas(conf.Services) {
		st.applyResult(result{replica: r, status: sick, reason: "HTTP 503", at: now}, now)
	}
	return st
}

// What 1,000 nodes have gathered in years stays under 64 MiB: a journal at its
// largest, the state, and the next one that is being written.
func TestStoreSize(t *testing.T) {
	now := time.Date(2026, 3, 31, 12, 0, 0, 0, time.Local)
	d, _ := openDisk(t, newMemFolder())
	if out := d.do(job{whole: bigState(1000, now).records(now)}); out.err != nil || out.whole != nil {
		t.Fatalf("%+v", out)
	}
	const most = 64 << 20
	if size := 2*d.state + max(compactSize, d.state/2); size > most {
		t.Errorf("the folder may take %d bytes, a state %d", size, d.state)
	}
	t.Logf("state: %d bytes", d.state)
}

// BenchmarkStoreStart reads the folder of a program with 1,000 nodes and 3,000
// replicas, the journal being as long as it gets. The contract asks for
// 200 ms.
func BenchmarkStoreStart(b *testing.B) {
	now := time.Date(2026, 3, 31, 12, 0, 0, 0, time.Local)
	big := bigState(1000, now)
	whole := slices.Collect(big.records(now))
	dir := newMemFolder()
	d := &disk{dir: dir, used: true}
	if out := d.do(job{whole: slices.Values(whole)}); out.err != nil || out.whole != nil {
		b.Fatalf("%+v", out)
	}
	var recs []record
	for _, r := range big.own {
		recs = append(recs, r.show().record(r.name()))
	}
	for d.grown < d.state/2 {
		if out := d.do(job{records: recs}); out.err != nil {
			b.Fatal(out.err)
		}
	}
	for b.Loop() {
		im, err := readFolder(dir, quiet)
		if err != nil {
			b.Fatal(err)
		}
		newState(big.conf, now).restore(im.restored, now)
	}
	b.ReportMetric(float64(d.state+d.grown)/(1<<20), "MiB")
}

// BenchmarkStoreWhole is what a new state costs the aggregator, which gathers
// it, and who writes it.
func BenchmarkStoreWhole(b *testing.B) {
	now := time.Date(2026, 3, 31, 12, 0, 0, 0, time.Local)
	big := bigState(1000, now)
	b.Run("gather", func(b *testing.B) {
		for b.Loop() {
			big.records(now)
		}
	})
	b.Run("write", func(b *testing.B) {
		d := &disk{dir: newMemFolder(), used: true}
		for b.Loop() {
			if out := d.do(job{whole: big.records(now)}); out.whole != nil {
				b.Fatal(out.whole)
			}
		}
	})
}

// BenchmarkJournal measures what a Manager call waits for, from the hand-over
// of its record to the answer that it is on the disk for good, beside a bare
// write and sync of the same bytes, in turns.
func BenchmarkJournal(b *testing.B) {
	dir := b.TempDir()
	s, _, err := openStore(Storage{Path: filepath.Join(dir, "data"), Set: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	events := make(chan event)
	var wg sync.WaitGroup
	wg.Go(func() { s.run(ctx, events) })
	wg.Go(func() {
		for {
			select {
			case <-events: // it asks for all that is known, which is nothing
				s.put(batch{whole: notes()})
			case <-ctx.Done():
				return
			}
		}
	})
	defer wg.Wait()
	defer cancel()

	file, err := os.Create(filepath.Join(dir, "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	rec := announced(announcement{id: newUUID(), title: "Maintenance", text: "The database moves on Sunday.", at: time.Now()})
	lines := newLineWriter()
	if err := lines.add(&rec); err != nil {
		b.Fatal(err)
	}
	line := bytes.Clone(lines.buf.Bytes())

	var ours, bare time.Duration
	reply := make(chan error, 1)
	for b.Loop() {
		start := time.Now()
		s.put(batch{records: []record{rec}, replies: []chan<- error{reply}})
		if err := <-reply; err != nil {
			b.Fatal(err)
		}
		ours += time.Since(start)

		start = time.Now()
		if _, err := file.Write(line); err != nil {
			b.Fatal(err)
		}
		if err := file.Sync(); err != nil {
			b.Fatal(err)
		}
		bare += time.Since(start)
	}
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "us/call")
	b.ReportMetric(float64(bare.Microseconds())/float64(b.N), "us/bare")
	b.ReportMetric(float64(ours)/float64(bare), "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkLedger shows that what is handed to the store follows what changed,
// and has a bound: a batch in which one of very many replicas reported, and one
// in which all did.
func BenchmarkLedger(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		for _, reporting := range []int{1, n} {
			b.Run(fmt.Sprintf("%d-of-%d", reporting, n), func(b *testing.B) {
				conf := crowd(n, modePush)
				now := time.Now()
				st := newState(conf, now)
				st.ledger = &ledger{}
				var all []*replicaState
				for ns := range st.allNodes() {
					for i := range 10 {
						all = append(all, st.addReplica(ns, fmt.Sprint(i)))
					}
				}
				for _, r := range all {
					st.set(r, healthy, "", now)
				}
				st.pendingBatch(now, true)
				records := 0
				b.ReportAllocs()
				for b.Loop() {
					now = now.Add(ledgerInterval)
					for _, r := range all[:reporting] {
						st.keepLater(r)
					}
					batch, _ := st.pendingBatch(now, false)
					records += len(batch.records)
				}
				b.ReportMetric(float64(records)/float64(b.N), "records/batch")
			})
		}
	}
}
