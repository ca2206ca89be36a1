package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

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
// any of the connectivity targets answers. It asks them when a check came back
// dead or a report did not come, and while none answers. Without targets the
// connection always works. It outlives configs, as pools do.
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

// A question asks whether a check that came back dead, or a report that did not
// come, says something about its replica.
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

// ask turns a panic into a target that does not answer.
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

// record notes the outcome of a check, and tells the aggregator and the log when
// it is new.
func (c *connectivity) record(ctx context.Context, err error, now time.Time) {
	if down := err != nil; down != c.down || !c.known {
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
		select {
		case c.events <- connectionReport{down}:
		case <-ctx.Done():
		}
	}
}
