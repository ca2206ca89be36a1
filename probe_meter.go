package main

import (
	"sync/atomic"
	"time"
)

// meterBounds are the upper bounds of a histogram's buckets: from what a
// snapshot takes to what a script may.
var meterBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second, 60 * time.Second,
}

// A histogram counts durations by their length. It may be used by any number
// of goroutines; the zero value is empty.
type histogram struct {
	counts [len(meterBounds) + 1]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(meterBounds) && d > meterBounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// A poolMeter is what a pool tells of its work. It outlives the pool, so that
// the figures do not start anew with a reload.
type poolMeter struct {
	took     histogram    // of each check, those that are repeated included
	overruns atomic.Int64 // checks that missed their turn
	panics   atomic.Int64 // checks that panicked
	parked   atomic.Int64 // checks that go on without a slot now
}
