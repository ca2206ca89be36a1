package main

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"
)

// status is the health of a replica. The order is that of badness: the status
// of several things together is their max.
type status uint8

const (
	healthy status = iota
	sick
	dead
)

var statusNames = [...]string{"healthy", "sick", "dead"}

// String returns the word that is used on the wire.
func (s status) String() string { return statusNames[s] }

// A replica is one target that this process checks itself: a URL of a poll
// node or a script of a script node. It is never changed.
type replica struct {
	service *Service
	node    *Node
	index   int    // in node.Targets or node.Scripts
	id      string // the URL as configured, or the script's index
	ordinal int    // among all replicas that the config has this process check
}

// target is the URL of a poll replica.
func (r *replica) target() *Target { return &r.node.Targets[r.index] }

// script is the source of a script replica.
func (r *replica) script() string { return r.node.Scripts[r.index] }

// replicas returns what the services have this process check itself, in the
// order of the config. An ordinal is an index into all of it.
func replicas(services []*Service) (all []*replica) {
	for _, s := range services {
		for _, n := range s.Nodes {
			prefix := ""
			if n.ReportPrefix != "" {
				prefix = n.ReportPrefix + ":"
			}
			for i := range n.Targets {
				all = append(all, &replica{s, n, i, prefix + n.Targets[i].Raw, len(all)})
			}
			for i := range n.Scripts {
				all = append(all, &replica{s, n, i, prefix + strconv.Itoa(i), len(all)})
			}
		}
	}
	return all
}

// ofMode returns those of all whose node has that mode.
func ofMode(all []*replica, m mode) (some []*replica) {
	for _, r := range all {
		if r.node.Mode == m {
			some = append(some, r)
		}
	}
	return some
}

// A result is the outcome of one check.
type result struct {
	replica *replica
	status  status
	latency time.Duration // until the answer, or until the check was given up
	reason  string        // one short line for operators; empty when healthy
	at      time.Time     // when the check ended
}

// A prober makes one check. It honours ctx, but takes its own time limit from
// the configuration; what it returns after ctx was cancelled is discarded.
type prober func(ctx context.Context, r *replica) result

// A pool checks the replicas of one mode: a schedule says which is due, and
// workers check them.
type pool struct {
	name     string // "poll" or "script", for the log
	schedule schedule
	retries  int // further checks after one that came back dead
	probe    prober
	line     *line // what dead results depend on; nil: they always count
	events   chan<- event
	log      *slog.Logger

	meter *poolMeter
}

// The limits on parked checks: enough for a farm of dead targets, few enough
// for the memory and the descriptors of a small box.
const (
	pollParkAfter   = 500 * time.Millisecond
	pollParkMost    = 1024
	scriptParkAfter = 10 * time.Second
	scriptParkMost  = 64
)

// startGap is how long checks may wait for others to start with: a wake-up for
// each of thousands a second costs more than the check.
const startGap = time.Millisecond

// newPollPool returns the pool for poll replicas.
func newPollPool(m Metrics, probe prober, events chan<- event, log *slog.Logger) *pool {
	return &pool{
		name: "poll",
		schedule: schedule{
			interval:  m.PollInterval,
			width:     m.PollParallelism,
			parkAfter: pollParkAfter,
			parkMost:  max(pollParkMost, 16*m.PollParallelism),
			retryWait: m.RetryWait,
		},
		retries: m.RetryCount,
		probe:   probe,
		events:  events,
		log:     log,
		meter:   new(poolMeter),
	}
}

// newScriptPool returns the pool for script replicas. A script is not retried:
// it knows best what is worth a second look.
func newScriptPool(m Metrics, probe prober, events chan<- event, log *slog.Logger) *pool {
	return &pool{
		name: "script",
		schedule: schedule{
			interval:  m.ScriptInterval,
			width:     m.ScriptParallelism,
			parkAfter: scriptParkAfter,
			parkMost:  scriptParkMost,
		},
		probe:  probe,
		events: events,
		log:    log,
		meter:  new(poolMeter),
	}
}

// run checks the replicas until ctx ends, and returns once no check runs any
// more. It is the only goroutine that touches the schedule. Workers are
// started as they are needed, and sent home (with a nil job) when there are
// more idle ones than slots, as after an outage with many parked checks.
func (p *pool) run(ctx context.Context, replicas []*replica) error {
	if len(replicas) == 0 {
		return nil
	}
	var (
		jobs     = make(chan *entry)
		finished = make(chan *entry, p.schedule.width)
		workers  sync.WaitGroup
		idle     int
		timer    = time.NewTimer(0)
		counted  int // overruns that the meter has
		reported int
		report   = time.Now().Add(p.schedule.interval)
	)
	defer workers.Wait()
	defer close(jobs)
	defer timer.Stop()

	p.schedule.add(replicas, time.Now())
	for {
		now := time.Now()
		for e := p.schedule.take(now); e != nil; e = p.schedule.take(now) {
			if idle == 0 {
				workers.Go(func() { p.work(ctx, jobs, finished) })
				idle++
			}
			select {
			case jobs <- e:
				idle--
			case <-ctx.Done():
				return nil
			}
		}
		for idle > p.schedule.width {
			select {
			case jobs <- nil:
				idle--
			case <-ctx.Done():
				return nil
			}
		}
		p.meter.overruns.Add(int64(p.schedule.overruns - counted))
		counted = p.schedule.overruns
		p.meter.parked.Store(int64(p.schedule.parked))
		if n := p.schedule.overruns; n > reported && now.After(report) {
			p.log.Warn("checks missed their turn: raise the parallelism or the interval",
				"pool", p.name, "missed", n-reported, "parked", p.schedule.parked)
			reported, report = n, now.Add(p.schedule.interval)
		}

		var due <-chan time.Time
		if at, ok := p.schedule.wake(); ok {
			timer.Reset(max(at.Sub(now), startGap))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-due:
		case e := <-finished:
			now = time.Now()
			p.schedule.put(e, now)
			idle++
			for range len(finished) {
				p.schedule.put(<-finished, now)
				idle++
			}
		}
	}
}

// work checks one replica after the other until jobs is closed or brings nil.
// A dead result with a try left is kept back: only the last one counts. One
// that the end of ctx cut short says nothing and is dropped.
func (p *pool) work(ctx context.Context, jobs <-chan *entry, finished chan<- *entry) {
	// Each check derives a context; from one of all workers they would take
	// turns at its lock.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for e := range jobs {
		if e == nil {
			return
		}
		res := p.check(ctx, e.replica)
		if ctx.Err() != nil {
			return
		}
		p.meter.took.observe(res.latency)
		e.again = res.status == dead && e.tries < p.retries
		e.tries++
		if !e.again {
			var ev event = res
			if res.status == dead && !p.line.bears(ctx, e.started) {
				ev = inconclusive{e.replica}
			}
			if ctx.Err() != nil {
				return
			}
			select {
			case p.events <- ev:
			case <-ctx.Done():
				return
			}
		}
		select {
		case finished <- e:
		case <-ctx.Done():
			return
		}
	}
}

// check makes one check and turns a panic in the probe into a dead result, so
// that a bug in one probe does not end the monitoring of everything else.
func (p *pool) check(ctx context.Context, r *replica) (res result) {
	start := time.Now()
	defer func() {
		if v := recover(); v != nil {
			p.meter.panics.Add(1)
			logPanic(p.log, "probe panicked", v, "pool", p.name, "node", r.service.ID+":"+r.node.ID)
			res = result{replica: r, status: dead, reason: "the probe failed, see the log",
				latency: time.Since(start), at: time.Now()}
		}
	}()
	return p.probe(ctx, r)
}
