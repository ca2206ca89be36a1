//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

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
// and has a bound: a beat in which one of very many replicas reported, and one
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
				b.ReportMetric(float64(records)/float64(b.N), "records/beat")
			})
		}
	}
}
