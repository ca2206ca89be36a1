package main

import (
	"container/heap"
	"slices"
	"time"
)

// spread returns n places in an interval, as far from each other and from
// those taken as can be.
func spread(taken []time.Duration, n int, interval time.Duration) []time.Duration {
	places := make([]time.Duration, n)
	if len(taken) == 0 {
		for i := range n {
			places[i] = fraction(interval, i+1, n)
		}
		return places
	}
	slices.Sort(taken)
	gaps := make(gapHeap, len(taken))
	for i, place := range taken {
		gaps[i] = gap{from: place, length: taken[(i+1)%len(taken)] - place, parts: 1}
	}
	gaps[len(taken)-1].length += interval
	heap.Init(&gaps)
	for range n {
		gaps[0].parts++
		heap.Fix(&gaps, 0)
	}
	places = places[:0]
	for _, g := range gaps {
		for i := 1; i < g.parts; i++ {
			place := g.from + fraction(g.length, i, g.parts)
			if place > interval {
				place -= interval
			}
			places = append(places, place)
		}
	}
	return places
}

// fraction returns i n-ths of d, in two steps, as d times a great many may
// overflow.
func fraction(d time.Duration, i, n int) time.Duration {
	return d/time.Duration(n)*time.Duration(i) + d%time.Duration(n)*time.Duration(i)/time.Duration(n)
}

// A gap is the free time between two places of an interval, to be divided into
// equal parts.
type gap struct {
	from, length time.Duration
	parts        int
}

// gapHeap is a heap of gaps, the one with the longest parts on top.
type gapHeap []gap

func (h gapHeap) Len() int { return len(h) }
func (h gapHeap) Less(i, j int) bool {
	return h[i].length/time.Duration(h[i].parts) > h[j].length/time.Duration(h[j].parts)
}
func (h gapHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *gapHeap) Push(x any)   { *h = append(*h, x.(gap)) }
func (h *gapHeap) Pop() any     { panic("gaps are only divided") }

// A check that starts alone wakes the process for itself, which costs more than
// the check. So starts are gathered at ticks: a check starts at most one tick
// after the place that an even spread would give it, and keeps that time to the
// nanosecond, as the interval is a whole number of ticks. A tick is at most a
// 40th of the interval and 250 ms, which nobody notices, and starts 24 checks at
// most, so that they do not slow each other down; where no more than those run at
// once, because the parallelism is lower, 64. Where checks are so rare that hardly
// two would share a tick there are none. First checks, retries and orders do not
// wait for ticks.
const (
	tickMost   = 250 * time.Millisecond
	tickShare  = 40
	tickBurst  = 24
	tickNarrow = 64
)

// ticksOf returns into how many ticks an interval with n replicas is divided, of
// which width are checked at once; 0 for none.
func ticksOf(interval time.Duration, n, width int) int {
	most, burst := min(tickMost, interval/tickShare), time.Duration(tickBurst)
	if width <= tickBurst {
		burst = tickNarrow
	}
	if n > 0 {
		most = min(most, interval/time.Duration(n)*burst)
	}
	if most <= 0 || int(interval/most) > n/2 {
		return 0
	}
	return int((interval + most - 1) / most)
}

// gather returns the tick that follows a place in an interval.
func gather(place, interval time.Duration, ticks int) time.Duration {
	if ticks == 0 {
		return place
	}
	length := interval / time.Duration(ticks)
	i := int((place + length - 1) / length)
	return fraction(interval, min(i, ticks), ticks)
}
