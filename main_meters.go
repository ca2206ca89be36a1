package main

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"vigil/notify"
)

// Routes as requests are counted by them.
const (
	routePage = iota
	routeStatus
	routeAsset
	routeReporter
	routeManager
	routeMetrics
	routeMCP
	routeOther
	routeCount
)

var routeNames = [routeCount]string{"page", "status", "asset", "reporter", "manager", "metrics", "mcp", "other"}

// routeOf returns the route for the first segment of a path.
func routeOf(first string) int {
	switch first {
	case "status", "badge", "feed", "feed.atom", "embed":
		return routeStatus
	case "assets", "favicon.ico", "robots.txt":
		return routeAsset
	case "reporter", "ping":
		return routeReporter
	case "manager":
		return routeManager
	case "metrics":
		return routeMetrics
	case "mcp":
		return routeMCP
	}
	return routeOther
}

// answerCounts counts answers by their status code.
type answerCounts [600]atomic.Uint64

// count counts the answer that respond makes of err.
func (c *answerCounts) count(err error) {
	code := http.StatusOK
	if no := refusalOf(err); no != nil {
		code = no.code
	}
	c[code].Add(1)
}

// meters are the figures that outlive a pipeline, so that a reload does not
// reset them.
type meters struct {
	started            time.Time
	poll, script       poolMeter
	connectivityPanics atomic.Int64
	inconclusive       inconclusiveMeter
	deliveries         deliveryMeter
	reloads            reloadMeter
}

// begin notes that the program starts, with a config that is good.
func (m *meters) begin(now time.Time) {
	m.started = now
	m.reloads.last.Store(now.Unix())
}

// A reloadMeter counts the configs that were taken over and those refused.
type reloadMeter struct {
	good, bad atomic.Uint64
	last      atomic.Int64 // when a config was taken over last, in Unix seconds
	refused   atomic.Bool  // the last one was
}

// took notes that a config was taken over, or refused.
func (m *reloadMeter) took(good bool, now time.Time) {
	m.refused.Store(!good)
	if !good {
		m.bad.Add(1)
		return
	}
	m.good.Add(1)
	m.last.Store(now.Unix())
}

// A deliveryMeter adds up what became of alerts, over all dispatchers since
// the start: that of an earlier config may still be at work.
type deliveryMeter struct {
	mu   sync.Mutex
	live []*notify.Dispatcher
	past map[string]deliveryCounts // of those that have ended, by channel
}

// deliveryCounts are the numbers of one channel's targets together.
type deliveryCounts struct {
	delivered, retried, refused, givenUp, merged, panics uint64
	queued                                               int64
}

func (c *deliveryCounts) add(s notify.TargetStats) {
	c.delivered += s.Delivered
	c.retried += s.Failed
	c.refused += s.Refused
	c.givenUp += s.GivenUp
	c.merged += s.Merged
	c.panics += s.Panics
	c.queued += s.Queued
}

// begin takes the numbers of d into account until end.
func (m *deliveryMeter) begin(d *notify.Dispatcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live = append(m.live, d)
}

// end notes that d has ended. What it did still counts, but what waited in its
// queues now waits elsewhere.
func (m *deliveryMeter) end(d *notify.Dispatcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.past == nil {
		m.past = make(map[string]deliveryCounts)
	}
	for i, other := range m.live {
		if other != d {
			continue
		}
		m.live = append(m.live[:i], m.live[i+1:]...)
		for _, s := range d.Stats() {
			s.Queued = 0
			c := m.past[s.Channel]
			c.add(s)
			m.past[s.Channel] = c
		}
		return
	}
}

// read returns the numbers by channel.
func (m *deliveryMeter) read() map[string]deliveryCounts {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]deliveryCounts, len(m.past))
	for channel, c := range m.past {
		all[channel] = c
	}
	for _, d := range m.live {
		for _, s := range d.Stats() {
			c := all[s.Channel]
			c.add(s)
			all[s.Channel] = c
		}
	}
	return all
}

// panics returns how many deliveries were broken off by a fault.
func (m *deliveryMeter) panics() (n uint64) {
	for _, c := range m.read() {
		n += c.panics
	}
	return n
}

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

// A poolMeter counts the work of a pool. It outlives the pool, so that a reload
// does not reset the figures.
type poolMeter struct {
	took     histogram        // of each check, those that are repeated included
	overruns atomic.Int64     // checks that missed their turn
	panics   atomic.Int64     // checks that panicked
	certs    certificateMeter // when certificates end
	parked   atomic.Int64     // checks that go on without a slot now
}
