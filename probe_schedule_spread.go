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

// Each check that starts alone wakes the process for itself, which costs more
// than the check. So places in the interval are gathered into beats: a check
// starts at most one beat after the place that an even spread would give it, and
// from then on keeps its time to the nanosecond, as a beat is a whole part of
// the interval. A beat is at most a 40th of the interval and 100 ms, so nobody
// sees the difference, and brings 24 checks at most, so that they do not make
// each other slow. Where checks are so rare that a beat would hardly bring two
// together there are none. First checks, retries and orders wait for no beat.
const (
	beatMost  = 100 * time.Millisecond
	beatShare = 40
	beatBurst = 24
)

// beatsOf returns into how many beats an interval with n replicas is divided;
// 0 stands for none.
func beatsOf(interval time.Duration, n int) int {
	most := min(beatMost, interval/beatShare)
	if n > 0 {
		most = min(most, interval/time.Duration(n)*beatBurst)
	}
	if most <= 0 || int(interval/most) > n/2 {
		return 0
	}
	return int((interval + most - 1) / most)
}

// gather returns the beat that follows a place in an interval.
func gather(place, interval time.Duration, beats int) time.Duration {
	if beats == 0 {
		return place
	}
	length := interval / time.Duration(beats)
	i := int((place + length - 1) / length)
	return fraction(interval, min(i, beats), beats)
}
