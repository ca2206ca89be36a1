package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// stallAfter is how long this process must have been stopped for checks of
	// that time to be inconclusive. The clock is read more often than that.
	stallAfter = 2 * time.Second
	lookEvery  = time.Second

	// shortageOver is how long a shortage must not have occurred to be over.
	shortageOver = 2 * time.Minute
)

// A shortage is something that this machine ran out of.
type shortage struct {
	errno  syscall.Errno
	what   string
	remedy string
	cause  cause
}

// A cause is why a check is inconclusive, as the metrics name it.
type cause int

const (
	causeConnection cause = iota
	causeStall
	causeFiles
	causeSystemFiles
	causeBuffers
	causeMemory
	causePorts
	causeProcesses
	causeCount
)

var causeNames = [causeCount]string{"connection", "stall", "files", "system_files", "buffers", "memory", "ports", "processes"}

// An inconclusiveMeter counts inconclusive checks.
type inconclusiveMeter [causeCount]atomic.Int64

// shortages are the errors of the system that say nothing of a target. EAGAIN
// is one only where a process could not be started: elsewhere it means "later".
var shortages = []shortage{
	{syscall.EMFILE, "no file descriptors left", "raise the limit of open files (ulimit -n, LimitNOFILE=) or lower the parallelism", causeFiles},
	{syscall.ENFILE, "no file descriptors left on this machine", "raise fs.file-max", causeSystemFiles},
	{syscall.ENOBUFS, "no buffer space left", "give this machine more memory, or raise net.core.wmem_max", causeBuffers},
	{syscall.ENOMEM, "no memory left", "give this machine more memory", causeMemory},
	{syscall.EADDRNOTAVAIL, "no local port or address left", "widen net.ipv4.ip_local_port_range, or lower the parallelism", causePorts},
	{syscall.EAGAIN, "no processes left", "raise the limit of processes (ulimit -u, TasksMax=) or lower script_parallelism", causeProcesses},
}

// shortageOf returns the shortage that made err, or nil. Starting a process is
// where EAGAIN counts.
func shortageOf(err error, starting bool) *shortage {
	errno, ok := errors.AsType[syscall.Errno](err)
	dns, isDNS := errors.AsType[*net.DNSError](err)
	for i := range shortages {
		s := &shortages[i]
		switch {
		case s.errno == syscall.EAGAIN && !starting:
		case ok && errno == s.errno,
			isDNS && strings.HasSuffix(dns.Err, s.errno.Error()): // package net keeps the text alone
			return s
		}
	}
	return nil
}

// A machine detects trouble of this machine, which makes checks inconclusive:
// shortages, and times in which this process did not run because the machine
// slept or the process was stopped or starved. Any goroutine may use it.
type machine struct {
	log    *slog.Logger
	events chan<- event
	meter  *inconclusiveMeter

	mu      sync.Mutex
	looked  time.Time // when the clock was last looked at
	stalled period
	short   *shortage // goes on; nil: none
	shown   time.Time // when it last did
	told    *shortage // what the aggregator knows of; nil: none
}

// A period is the time between two others.
type period struct{ from, to time.Time }

func newMachine(events chan<- event, log *slog.Logger) *machine {
	return &machine{log: log, events: events, meter: new(inconclusiveMeter), looked: time.Now()}
}

// begin looks at the clock for the first time after a start or a reload, during
// which nobody did.
func (m *machine) begin(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looked = now
}

// run looks at the clock until ctx ends.
func (m *machine) run(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for n := 0; ; n++ {
		m.look(time.Now())
		m.tell(ctx)
		if os.Getpid() == 1 && n%10 == 0 {
			reapOrphans() // of whatever runs in this container
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// look notes a stall or the end of a shortage.
func (m *machine) look(now time.Time) {
	m.stall(now)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.short != nil && now.Sub(m.shown) >= shortageOver {
		m.log.Info("this machine is no longer short of anything", "shortage", m.short.what)
		m.short = nil
	}
}

// tell sends the aggregator a shortage that is new, or over.
func (m *machine) tell(ctx context.Context) {
	m.mu.Lock()
	now, before := m.short, m.told
	m.mu.Unlock()
	if now == before {
		return
	}
	report := machineReport{}
	if now != nil {
		report.shortage = now.what + "; " + now.remedy
	}
	select {
	case m.events <- report:
		m.mu.Lock()
		m.told = now
		m.mu.Unlock()
	case <-ctx.Done():
	}
}

// stall returns the last time in which this process did not run. Now is just
// read from the clock. A nil machine always runs.
func (m *machine) stall(now time.Time) period {
	if m == nil {
		return period{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	// The monotonic clock stands still while the machine sleeps, the other one
	// does not.
	gap := max(now.Sub(m.looked), now.Round(0).Sub(m.looked.Round(0)))
	if gap > stallAfter {
		m.stalled = period{m.looked, now}
		m.log.Warn("this process did not run for a while: failed checks and missing reports of that time do not count",
			"seconds", int(gap.Seconds()))
	}
	if now.After(m.looked) {
		m.looked = now
	}
	return m.stalled
}

// excuses reports whether a check that began then and has just failed, maybe
// for a shortage, is inconclusive because of this machine.
func (m *machine) excuses(began, now time.Time, s *shortage) bool {
	switch {
	case m == nil:
		return false
	case s != nil:
		m.note(s, now)
		return true
	case m.stall(now).to.After(began):
		m.meter[causeStall].Add(1)
		return true
	}
	return false
}

// note records a shortage. The first time is logged.
func (m *machine) note(s *shortage, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.meter[s.cause].Add(1)
	m.shown = now
	if m.short == s {
		return
	}
	m.short = s
	m.log.Error("this machine is short of something: checks that fail for it do not count",
		"shortage", s.what, "err", s.errno.Error(), "remedy", s.remedy)
}

const (
	// connectionLimit is how long one target has to answer. It leaves time for
	// two repetitions of a lost packet.
	connectionLimit = 5 * time.Second

	// connectionGap is the least time between two checks of the connection,
	// however many replicas die together. It is what an alert may come later for
	// it.
	connectionGap = 250 * time.Millisecond

	// connectionRecheck is how often a connection that is down is checked.
	connectionRecheck = 5 * time.Second
)

// A connectivity finds out whether the monitor's own connection works: whether
// any of the connectivity targets answers. It asks them when a check failed or
// a report did not come, and while none answers. Without targets the connection
// counts as working. It outlives configs, as pools do.
type connectivity struct {
	targets   []Target
	reach     func(context.Context, *Target) error // gets an answer of one target
	questions chan question
	events    chan<- event
	log       *slog.Logger
	panics    *atomic.Int64
	meter     *inconclusiveMeter

	// Of the goroutine in run:
	open  []question // they wait for a check to end
	known bool       // there was a check
	down  bool       // what the last one said
	since time.Time  // since when that is so
}

// A question asks whether a failed check or a missing report counts, as the
// monitor's own connection worked.
type question struct {
	began  time.Time   // when the check began, or the report was due
	answer chan<- bool // capacity 1
}

// newConnectivity returns a connectivity without targets.
func newConnectivity(events chan<- event, log *slog.Logger) *connectivity {
	return &connectivity{questions: make(chan question), events: events, log: log, panics: new(atomic.Int64), meter: new(inconclusiveMeter)}
}

// adopt makes it ask other targets by reach. While they stay the same, what is
// known of the connection stays, too. It must not be running.
func (c *connectivity) adopt(targets []Target, reach func(context.Context, *Target) error) {
	same := slices.EqualFunc(targets, c.targets, func(a, b Target) bool { return a.Raw == b.Raw })
	c.targets, c.reach = targets, reach
	if !same {
		c.known, c.down, c.since = false, false, time.Time{}
	}
}

// asked returns where questions are taken; nil where nobody needs to ask.
func (c *connectivity) asked() chan<- question {
	if len(c.targets) == 0 {
		return nil
	}
	return c.questions
}

// confirms reports whether a check that began then and has just come back dead
// counts: whether a target answered after it, and the connection was not known
// to be down at any time during it.
func (c *connectivity) confirms(ctx context.Context, began time.Time) bool {
	if c == nil {
		return true
	}
	answer := make(chan bool, 1)
	select {
	case c.questions <- question{began, answer}:
	case <-ctx.Done():
		return false
	}
	select {
	case yes := <-answer:
		if !yes {
			c.meter[causeConnection].Add(1)
		}
		return yes
	case <-ctx.Done():
		return false
	}
}

// run answers questions and checks the connection: once at first, then when
// there are questions and while it is down. All questions share one check at a
// time. It returns when ctx ends; the next run takes what was left open.
func (c *connectivity) run(ctx context.Context) error {
	var (
		busy    bool
		next    = time.Now()
		results = make(chan error, 1)
		timer   = time.NewTimer(0)
		checks  sync.WaitGroup
	)
	defer checks.Wait()
	defer timer.Stop()
	if len(c.targets) == 0 || c.known && !c.down && len(c.open) == 0 {
		timer.Stop()
	}
	if len(c.targets) == 0 {
		c.answerOpen()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case q := <-c.questions:
			switch {
			case len(c.targets) == 0:
				q.answer <- true
			case c.down || q.began.Before(c.since):
				q.answer <- false
			default:
				if c.open = append(c.open, q); !busy {
					timer.Reset(time.Until(next))
				}
			}
		case <-timer.C:
			busy = true
			next = time.Now().Add(connectionGap)
			checks.Go(func() { results <- c.check(ctx) })
		case err := <-results:
			if ctx.Err() != nil {
				return nil
			}
			busy = false
			c.record(ctx, err, time.Now())
			if ctx.Err() != nil {
				return nil
			}
			c.answerOpen()
			if c.down {
				timer.Reset(connectionRecheck)
			}
		}
	}
}

// answerOpen answers the open questions by what is known now.
func (c *connectivity) answerOpen() {
	for _, q := range c.open {
		q.answer <- !c.down
	}
	clear(c.open)
	c.open = c.open[:0]
}

// check asks all targets at once and returns nil as soon as one answers, else
// the error of the one that took longest.
func (c *connectivity) check(ctx context.Context) (err error) {
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan error, len(c.targets))
	for i := range c.targets {
		asking.Go(func() { answers <- c.ask(ctx, &c.targets[i]) })
	}
	for range c.targets {
		if err = <-answers; err == nil {
			return nil
		}
	}
	return err
}

// ask asks one target. A panic counts as no answer.
func (c *connectivity) ask(ctx context.Context, t *Target) (err error) {
	defer func() {
		if v := recover(); v != nil {
			c.panics.Add(1)
			logPanic(c.log, "connectivity check panicked", v, "target", t.Raw)
			err = fmt.Errorf("%s: the probe failed: %s", t.Raw, panicText(v))
		}
	}()
	return c.reach(ctx, t)
}

// record records the outcome of a check, and reports a change to the aggregator
// and the log. What the end of ctx cuts short, the next run finds out again.
func (c *connectivity) record(ctx context.Context, err error, now time.Time) {
	if down := err != nil; down != c.down || !c.known {
		select {
		case c.events <- connectionReport{down}:
		case <-ctx.Done():
			return
		}
		switch {
		case down:
			c.log.Warn("own connection is down: no connectivity target answers, so failed checks and missing reports do not count",
				"targets", len(c.targets), "err", err)
		case c.known:
			c.log.Info("own connection works again", "down", now.Sub(c.since).Round(time.Second))
		}
		// What began before the first check may be believed once that was good.
		if c.known || down {
			c.since = now
		}
		c.known, c.down = true, down
	}
}
