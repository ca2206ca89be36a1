package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// stallAfter is how long this process must not have run for checks of that
	// time to say nothing. The clock is looked at more often than that.
	stallAfter = 2 * time.Second
	lookEvery  = time.Second

	// shortageOver is how long a shortage must not have shown to be over.
	shortageOver = 2 * time.Minute
)

// A shortage is something that this machine ran out of.
type shortage struct {
	errno  syscall.Errno
	what   string
	remedy string
	cause  cause
}

// A cause is why a check says nothing of its target, as the metrics name it.
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

// An inconclusiveMeter counts checks that say nothing of their target.
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

// A machine keeps watch over the trouble of this machine, which says nothing of
// what is monitored: a time in which this process did not run, because the
// machine slept or the process was stopped or starved, and shortages. Any
// goroutine may use it.
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

// run looks at the clock until ctx ends.
func (m *machine) run(ctx context.Context) error {
	m.mu.Lock()
	m.looked = time.Now() // nobody looked before, or during a reload
	m.mu.Unlock()
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

// tell tells the aggregator of a shortage that is new, or over.
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
// for a shortage, says nothing of its target because of this machine.
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

// note notes that a shortage showed. The first time is logged.
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
