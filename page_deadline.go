package main

import (
	"sync"
	"time"
)

// A deadline keeps the deadline of a connection's reads or writes from being
// set over and over. Package net/http sets them six times for each request,
// to a little later than the last time, or to something that the next one
// replaces before anybody waits for it, and each time a timer is moved; that
// was a tenth of a small request. So one is passed on only when somebody reads
// or writes, and only when it is farther than deadlineSlack from the one in
// force.
//
// It may be used by several goroutines: who waits for a connection's next
// request is woken by another one that sets a deadline in the past.
type deadline struct {
	mu     sync.Mutex
	wanted time.Time
	force  time.Time // the one in force
	inside bool      // somebody is reading or writing
}

// deadlineSlack is by how much a deadline may be off.
const deadlineSlack = time.Second

// set takes a deadline. The pass function sets that of the connection itself.
func (d *deadline) set(t time.Time, pass func(time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	if !d.inside {
		return nil
	}
	d.force = t
	return pass(t)
}

// enter is called before a read or a write and leave after it. What pass
// returns there, the read or write returns, too.
func (d *deadline) enter(pass func(time.Time) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inside = true
	if d.wanted.IsZero() != d.force.IsZero() || d.wanted.Sub(d.force).Abs() > deadlineSlack {
		d.force = d.wanted
		_ = pass(d.wanted)
	}
}

func (d *deadline) leave() {
	d.mu.Lock()
	d.inside = false
	d.mu.Unlock()
}
