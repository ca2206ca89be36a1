package main

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkSchedule shows what it takes to find the next check, give it a slot
// and take it back, with few and with very many replicas.
func BenchmarkSchedule(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := schedule{interval: 10 * time.Second, width: 64, parkAfter: time.Second, parkMost: 1024}
			now := time.Now()
			s.add(pollReplicas(n), now)
			step := s.interval / time.Duration(n)
			var running []*entry
			b.ReportAllocs()
			for b.Loop() {
				e := s.take(now)
				for e == nil {
					now = now.Add(step)
					e = s.take(now)
				}
				if running = append(running, e); len(running) == 16 {
					for _, e := range running {
						s.put(e, now)
					}
					running = running[:0]
				}
			}
			if s.overruns > 0 {
				b.Errorf("%d overruns", s.overruns)
			}
		})
	}
}
