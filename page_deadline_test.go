package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

// Only deadlines that somebody waits for are passed on, and only when they are
// not what is in force anyway.
func TestDeadline(t *testing.T) {
	begin := time.Now()
	var got []string
	pass := func(at time.Time) error {
		switch {
		case at.IsZero():
			got = append(got, "none")
		case at.Before(begin):
			got = append(got, "past")
		default:
			got = append(got, fmt.Sprint(at.Sub(begin)))
		}
		return nil
	}
	var d deadline
	set := func(s float64) { d.set(begin.Add(time.Duration(s*float64(time.Second))), pass) }
	never := func() { d.set(time.Time{}, pass) }
	past := func() { d.set(time.Unix(1, 0), pass) }
	wait := func() {
		if d.enter(pass) != nil {
			got = append(got, "over")
		}
		d.leave()
	}
	for _, step := range []struct {
		do   func()
		want []string
	}{
		{func() { wait() }, nil},                                        // none is what a new one has
		{func() { set(10) }, nil},                                       // nobody waits
		{func() { wait() }, []string{"10s"}},                            // now somebody does
		{func() { set(10.9); wait() }, nil},                             // close enough
		{func() { set(9.5); wait() }, nil},                              //
		{func() { set(11.5); wait() }, []string{"11.5s"}},               // not close enough
		{func() { set(30); never() }, nil},                              // replaced before anybody waits
		{func() { wait() }, []string{"none"}},                           //
		{func() { d.enter(pass); set(5); d.leave() }, []string{"5s"}},   // somebody waits already
		{func() { d.enter(pass); past(); d.leave() }, []string{"past"}}, // to wake who waits
		{func() { never(); set(75) }, nil},                              //
		{func() { wait() }, []string{"1m15s"}},                          //
		{func() { past(); wait() }, []string{"over"}},                   // whoever comes later fails at once
		{func() { wait() }, []string{"over"}},                           //
		{func() { set(75.5); wait() }, nil},                             // and that cost nothing
	} {
		got = nil
		step.do()
		if !slices.Equal(got, step.want) {
			t.Errorf("passed on %q, want %q", got, step.want)
		}
	}
}

// A connection's deadlines do what they should, however late they are set.
func TestConnDeadlines(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := newLimitListener(inner, 10)
	defer ln.Close()
	client, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	// read reads until the deadline and returns how long that took.
	read := func() time.Duration {
		start := time.Now()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		return time.Since(start)
	}
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if d := read(); d < 30*time.Millisecond || d > 5*time.Second {
		t.Errorf("the deadline took %v", d)
	}
	c.SetReadDeadline(time.Time{})
	woken := make(chan time.Duration)
	go func() { woken <- read() }()
	for r := &c.(*conn).reads; ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		waiting := r.inside
		r.mu.Unlock()
		if waiting {
			break
		}
	}
	c.SetReadDeadline(time.Unix(1, 0))
	<-woken

	c.SetDeadline(time.Now().Add(50 * time.Millisecond))
	big := make([]byte, 64<<20) // more than the kernel takes
	if _, err := c.Write(big); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
}
