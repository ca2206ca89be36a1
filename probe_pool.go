package main

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// A pool checks the replicas of one mode: a schedule says which is due, and
// workers check them. It outlives configs: a reload pauses it, gives it the
// replicas of the new config and runs it again, while checks under way go on.
type pool struct {
	name         string // "poll" or "script", for the log
	schedule     schedule
	probe        prober        // of the config in force
	connectivity *connectivity // what dead verdicts depend on; nil: they always count
	machine      *machine      // what failed checks depend on; nil: they always count
	events       chan<- event
	log          *slog.Logger
	meter        *poolMeter
	stops        bool // a check that is no longer wanted is stopped

	tasks    chan task
	finished chan *entry
	workers  sync.WaitGroup
	idle     int
	ended    bool      // no worker takes tasks any more
	unsent   []unsent  // results that wait for the aggregator, oldest first
	reported time.Time // when missed turns were last logged
	asked    chan *order
	orders   []*order // that are not done
}

// A task is one check to be made by a worker, which may not look at what
// another config changes meanwhile. A task without an entry ends the worker.
type task struct {
	entry   *entry
	replica *replica
	probe   prober
	last    bool // a dead verdict is not followed by a retry
	began   time.Time
	ctx     context.Context // of this check alone; nil: that of the worker
}

// An unsent is a verdict that the aggregator has not received.
type unsent struct {
	entry   *entry
	verdict verdict
}

const (
	// maxUnsent is how many results may wait for the aggregator before no
	// further check begins.
	maxUnsent = 256

	// startGap is the shortest time to wait for the next check: a wake-up for
	// each of thousands a second costs more than the check.
	startGap = time.Millisecond

	// reportGap is the least time between two log lines about missed turns.
	reportGap = time.Minute
)

// newPool returns a pool without replicas.
func newPool(name string, events chan<- event, log *slog.Logger) *pool {
	return &pool{
		name: name, events: events, log: log, meter: new(poolMeter),
		tasks: make(chan task), finished: make(chan *entry, 64), asked: make(chan *order),
	}
}

// adoptPoll makes p check poll replicas as m has it.
func (p *pool) adoptPoll(m Metrics, all []*replica, probe prober, now time.Time) {
	p.probe = probe
	files := openFileLimit()
	p.schedule.width, p.schedule.parkMost = pollLimits(m.PollParallelism, files)
	if p.schedule.width < m.PollParallelism {
		p.log.Warn("poll_parallelism is more than the limit of open files allows: raise that limit",
			"poll_parallelism", m.PollParallelism, "used", p.schedule.width, "files", files)
	}
	p.adopt(all, func(n *Node) cadence {
		m := n.metrics(&m)
		return cadence{m.PollInterval, m.RetryCount, m.RetryWait}
	}, now)
	p.schedule.parkAfter = pollParkAfter(p.schedule.width, p.schedule.rate())
}

// adoptScript makes p run scripts as m has it. A script is not retried: it
// knows best what is worth a second look.
func (p *pool) adoptScript(m Metrics, all []*replica, probe prober, now time.Time) {
	p.probe = probe
	p.schedule.width = m.ScriptParallelism
	p.schedule.parkAfter = scriptParkAfter
	p.schedule.parkMost = scriptParkMost
	p.stops = true
	p.adopt(all, func(n *Node) cadence { return cadence{interval: n.metrics(&m).ScriptInterval} }, now)
}

func (p *pool) adopt(all []*replica, of func(*Node) cadence, now time.Time) {
	for _, e := range p.schedule.adopt(all, of, now) {
		if e.stop != nil {
			e.stop()
		}
	}
	p.meter.certs.keep(p.schedule.byKey)
	p.unsent = slices.DeleteFunc(p.unsent, func(u unsent) bool { return u.entry.gone })
	for _, o := range p.orders {
		maps.DeleteFunc(o.pending, func(e *entry, _ bool) bool { return e.gone })
	}
	p.fillOrders()
}

// An order asks for checks at once of the replicas that match, not only when it
// is their turn.
type order struct {
	match func(*replica) bool
	done  chan<- []result // of capacity 1: takes what the checks found; nil: nobody waits

	pending map[*entry]bool
	results []result
}

// accept makes the replicas that an order asks for due now. A check that runs
// already is as good as a new one.
func (p *pool) accept(o *order, now time.Time) {
	o.pending = make(map[*entry]bool)
	for _, e := range p.schedule.hurry(o.match, now) {
		o.pending[e] = true
	}
	if o.done != nil {
		p.orders = append(p.orders, o)
		p.fillOrders()
	}
}

// fillOrders answers the orders of which all checks are done.
func (p *pool) fillOrders() {
	p.orders = slices.DeleteFunc(p.orders, func(o *order) bool {
		if len(o.pending) == 0 {
			o.done <- o.results
		}
		return len(o.pending) == 0
	})
}

// run checks the replicas. It returns when ctx ends, once no check runs any
// more, or when pause is closed: then checks under way go on, and the next run
// takes their results. It is the only goroutine that touches the schedule.
// Workers are started as they are needed, and ended when there are more idle
// ones than slots, as after an outage with many parked checks.
func (p *pool) run(ctx context.Context, pause <-chan struct{}) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := time.Now()
		p.start(ctx, now)
		p.meter.parked.Store(int64(p.schedule.parked))
		p.meter.overruns.Add(p.schedule.takeOverruns())
		p.reportMissed(now)

		var due <-chan time.Time
		if at, ok := p.schedule.wake(); ok && len(p.unsent) < maxUnsent {
			timer.Reset(max(at.Sub(now), startGap))
			due = timer.C
		}
		var events chan<- event
		var next event
		if len(p.unsent) > 0 {
			events, next = p.events, p.unsent[0].event()
		}
		select {
		case <-ctx.Done():
		case <-pause:
			if ctx.Err() == nil {
				return nil
			}
		case <-due:
		case events <- next:
			p.unsent = p.unsent[1:]
		case o := <-p.asked:
			p.accept(o, time.Now())
		case e := <-p.finished:
			now = time.Now()
			p.take(e, now)
			for range len(p.finished) {
				p.take(<-p.finished, now)
			}
			p.flush()
		}
	}
	if !p.ended { // by the run before, if ctx ended just as that was paused
		p.ended = true
		close(p.tasks)
	}
	p.workers.Wait()
	return nil
}

// start hands what is due to workers and ends those that are idle for good.
func (p *pool) start(ctx context.Context, now time.Time) {
	for len(p.unsent) < maxUnsent {
		e := p.schedule.take(now)
		if e == nil {
			break
		}
		if p.idle == 0 {
			p.workers.Go(func() { p.work(ctx) })
			p.idle++
		}
		t := task{entry: e, replica: e.replica, probe: p.probe, last: e.tries >= e.retries, began: now}
		if p.stops {
			t.ctx, e.stop = context.WithCancel(ctx)
		}
		p.hand(ctx, t)
	}
	for p.idle > p.schedule.width {
		p.hand(ctx, task{})
	}
}

// hand gives a task to an idle worker.
func (p *pool) hand(ctx context.Context, t task) {
	select {
	case p.tasks <- t:
		p.idle--
	case <-ctx.Done():
	}
}

// take puts an entry whose check has ended back into the schedule.
func (p *pool) take(e *entry, now time.Time) {
	p.idle++
	v := e.verdict
	if e.stop != nil {
		e.stop()
	}
	if p.schedule.put(e, now) {
		p.meter.certs.note(e.replica.key(), v.expires)
		p.unsent = append(p.unsent, unsent{e, v})
		for _, o := range p.orders {
			if o.pending[e] {
				delete(o.pending, e)
				if res, ok := (unsent{e, v}).event().(result); ok {
					o.results = append(o.results, res)
				}
			}
		}
		p.fillOrders()
	}
}

// flush sends the results that the aggregator has room for.
func (p *pool) flush() {
	for len(p.unsent) > 0 {
		select {
		case p.events <- p.unsent[0].event():
			p.unsent = p.unsent[1:]
		default:
			return
		}
	}
}

// event returns the event for the aggregator.
func (u unsent) event() event {
	r, v := u.entry.replica, u.verdict
	if v.inconclusive {
		return inconclusive{r}
	}
	return result{replica: r, status: v.status, latency: v.latency, reason: v.reason, at: v.at}
}

// reportMissed logs missed turns, with the replicas that cause them.
func (p *pool) reportMissed(now time.Time) {
	if now.Sub(p.reported) < reportGap {
		return
	}
	missed, outlasting := p.schedule.takeMissed()
	if missed > 0 {
		p.log.Warn("checks missed their turn: raise the parallelism or the interval", "pool", p.name,
			"missed", missed, "parked", p.schedule.parked, "slow", summary(p.schedule.slowest()))
	}
	if len(outlasting) > 0 {
		p.log.Warn("checks take longer than their interval: raise it, or lower the time allowed or the retries",
			"pool", p.name, "replicas", summary(outlasting))
	}
	if missed > 0 || len(outlasting) > 0 {
		p.reported = now
	}
}

// work checks one replica after the other until it is given none or tasks is
// closed. A verdict that the end of ctx cut short says nothing and is dropped.
func (p *pool) work(ctx context.Context) {
	// Each check derives a context; from one of all workers they would take
	// turns at its lock.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for t := range p.tasks {
		e := t.entry
		if e == nil {
			return
		}
		if t.ctx == nil {
			t.ctx = ctx
		}
		v := p.check(t)
		if ctx.Err() != nil {
			return
		}
		p.meter.took.observe(v.latency)
		v.at = time.Now()
		switch {
		case v.status == healthy:
		case p.machine.excuses(t.began, v.at, v.short):
			v.inconclusive = true
		case v.status == dead && !t.last:
			e.again = true
		case v.status == dead:
			v.inconclusive = !p.connectivity.confirms(ctx, t.began)
		}
		e.verdict = v
		select {
		case p.finished <- e:
		case <-ctx.Done():
			return
		}
	}
}

// check makes one check and turns a panic in the probe into a dead verdict, so
// that a bug in one probe does not end the monitoring of everything else.
func (p *pool) check(t task) (v verdict) {
	defer func() {
		if cause := recover(); cause != nil {
			p.meter.panics.Add(1)
			logPanic(p.log, "probe panicked", cause, "pool", p.name, "node", t.replica.service.ID+":"+t.replica.node.ID)
			v = verdict{status: dead, reason: "the probe failed, see the log", latency: time.Since(t.began)}
		}
	}()
	return t.probe(t.ctx, t.replica)
}

// The probes of a process are all that checks replicas: they outlive configs,
// so that a reload changes nothing for what both configs have.
type probes struct {
	poll         *pool
	script       *pool
	connectivity *connectivity
	machine      *machine
	pinger       *pinger
}

// newProbes returns probes that send what they find out to events.
func newProbes(events chan<- event, log *slog.Logger) *probes {
	p := &probes{
		poll:         newPool("poll", events, log),
		script:       newPool("script", events, log),
		connectivity: newConnectivity(events, log),
		machine:      newMachine(events, log),
		pinger:       newPinger(log),
	}
	p.poll.connectivity = p.connectivity
	p.poll.machine, p.script.machine = p.machine, p.machine
	return p
}

// adopt makes p check the replicas of another config by its thresholds. It must
// not be running.
func (p *probes) adopt(m Metrics, services []*Service, targets []Target, poller *poller, scripter *scripter) {
	now := time.Now()
	all := replicas(services)
	p.poll.adoptPoll(m, ofMode(all, modePoll), poller.check, now)
	p.script.adoptScript(m, ofMode(all, modeScript), scripter.check, now)
	p.connectivity.adopt(targets, poller.reach)
	p.machine.begin(time.Now())
}

// run checks until ctx ends, once no check runs any more, or until pause is
// closed, while checks go on.
func (p *probes) run(ctx context.Context, pause <-chan struct{}) error {
	asking, stop := context.WithCancel(ctx)
	defer stop()
	var g errgroup.Group // without a context, which would end checks under way
	g.Go(func() error { return p.poll.run(ctx, pause) })
	g.Go(func() error { return p.script.run(ctx, pause) })
	g.Go(func() error { return p.connectivity.run(asking) })
	g.Go(func() error { return p.machine.run(asking) })
	g.Go(func() error {
		select {
		case <-pause:
		case <-ctx.Done():
		}
		stop()
		return nil
	})
	return g.Wait()
}

// checkNow checks all replicas that match at once, and returns what was found
// when all are done. What says nothing of a replica is left out.
func (p *probes) checkNow(ctx context.Context, match func(*replica) bool) (all []result, err error) {
	pools := [...]*pool{p.poll, p.script}
	done := make(chan []result, len(pools))
	for _, pool := range pools {
		select {
		case pool.asked <- &order{match: match, done: done}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	for range pools {
		select {
		case some := <-done:
			all = append(all, some...)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return all, nil
}

// close releases what the probes hold open between checks. No check may run.
func (p *probes) close() error { return p.pinger.close() }

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
