package main

import (
	"os"
	"sync"
	"time"
)

// A deadline keeps the deadline of a connection's reads or writes from being
// set over and over. Package net/http sets them six times for each request,
// to a little later than the last time, or to something that the next one
// replaces before anybody waits for it, and each time a timer is moved; that
// was a tenth of a small request. So one is passed on only when somebody reads
// or writes, and only when it is farther than deadlineSlack from the one in
// force. Who begins to read when the deadline has passed is told so at once:
// that is how package net/http ends the reading ahead of each request.
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

// enter is called before a read or a write and leave after it. The error, if
// any, is what that has to return: the deadline has passed, or pass failed.
func (d *deadline) enter(pass func(time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inside = true
	none := d.wanted.IsZero()
	if none == d.force.IsZero() && d.wanted.Sub(d.force).Abs() <= deadlineSlack {
		return nil
	}
	if !none && time.Until(d.wanted) <= 0 {
		return os.ErrDeadlineExceeded
	}
	d.force = d.wanted
	return pass(d.wanted)
}

func (d *deadline) leave() {
	d.mu.Lock()
	d.inside = false
	d.mu.Unlock()
}
