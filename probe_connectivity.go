package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lineLimit is how long one target has to answer. It leaves time for two
	// repetitions of a lost packet.
	lineLimit = 5 * time.Second

	// lineGap is the least time between two checks of the line, however many
	// replicas die together. It is what an alert may come later for it.
	lineGap = 250 * time.Millisecond

	// lineRecheck is how often a line that is down is checked.
	lineRecheck = 5 * time.Second
)

// A line finds out whether the monitor's own connection works: whether any of
// the connectivity targets answers. It asks them when a check came back dead or
// a report did not come, and while none answers.
type line struct {
	targets []Target
	reach   func(context.Context, *Target) error // gets an answer of one target
	doubts  chan doubt
	events  chan<- event
	log     *slog.Logger
	panics  *atomic.Int64

	// Of the goroutine in run:
	known bool      // whether there was a check
	down  bool      // what the last one said
	since time.Time // since when that is so
}

// A doubt asks whether a check that came back dead, or a report that did not
// come, says something about its replica.
type doubt struct {
	began time.Time   // when the check began, or the report was due
	sure  chan<- bool // capacity 1
}

// newLine returns the line that the targets tell about; nil when there are
// none, which is a line that always works.
func newLine(targets []Target, reach func(context.Context, *Target) error, events chan<- event, log *slog.Logger) *line {
	if len(targets) == 0 {
		return nil
	}
	return &line{targets: targets, reach: reach, doubts: make(chan doubt), events: events, log: log, panics: new(atomic.Int64)}
}

// asked returns where doubts are taken; nil where nobody may ask.
func (l *line) asked() chan<- doubt {
	if l == nil {
		return nil
	}
	return l.doubts
}

// bears reports whether a check that began then and has just come back dead
// counts: whether a target answered after it, and the line was not known to be
// down at any time during it.
func (l *line) bears(ctx context.Context, began time.Time) bool {
	if l == nil {
		return true
	}
	sure := make(chan bool, 1)
	select {
	case l.doubts <- doubt{began, sure}:
	case <-ctx.Done():
		return false
	}
	select {
	case yes := <-sure:
		return yes
	case <-ctx.Done():
		return false
	}
}

// run checks the line once, then when there are doubts and while it is down,
// until ctx ends. All doubts share one check at a time.
func (l *line) run(ctx context.Context) error {
	if l == nil {
		return nil
	}
	var (
		open    []doubt // those that wait for a check to end
		busy    bool
		next    = time.Now()
		results = make(chan error, 1)
		timer   = time.NewTimer(0)
		checks  sync.WaitGroup
	)
	defer checks.Wait()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case d := <-l.doubts:
			if l.down || d.began.Before(l.since) {
				d.sure <- false
				continue
			}
			if open = append(open, d); !busy {
				timer.Reset(time.Until(next))
			}
		case <-timer.C:
			busy = true
			next = time.Now().Add(lineGap)
			checks.Go(func() { results <- l.check(ctx) })
		case err := <-results:
			if ctx.Err() != nil {
				return nil
			}
			busy = false
			l.book(ctx, err, time.Now())
			for _, d := range open {
				d.sure <- !l.down
			}
			clear(open)
			open = open[:0]
			if l.down {
				timer.Reset(lineRecheck)
			}
		}
	}
}

// check asks all targets at once and returns nil as soon as one answers, else
// the error of the one that took longest.
func (l *line) check(ctx context.Context) (err error) {
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan error, len(l.targets))
	for i := range l.targets {
		asking.Go(func() { answers <- l.ask(ctx, &l.targets[i]) })
	}
	for range l.targets {
		if err = <-answers; err == nil {
			return nil
		}
	}
	return err
}

// ask turns a panic into a target that does not answer.
func (l *line) ask(ctx context.Context, t *Target) (err error) {
	defer func() {
		if v := recover(); v != nil {
			l.panics.Add(1)
			logPanic(l.log, "connectivity check panicked", v, "target", t.Raw)
			err = fmt.Errorf("%s: the probe failed: %s", t.Raw, panicText(v))
		}
	}()
	return l.reach(ctx, t)
}

// book takes note of a check, and tells the aggregator and the log when it
// said something new.
func (l *line) book(ctx context.Context, err error, now time.Time) {
	if down := err != nil; down != l.down || !l.known {
		switch {
		case down:
			l.log.Warn("own connection is down: no connectivity target answers, so failed checks and missing reports do not count",
				"targets", len(l.targets), "err", err)
		case l.known:
			l.log.Info("own connection works again", "down", now.Sub(l.since).Round(time.Second))
		}
		// What began before the first check may be believed once that was good.
		if l.known || down {
			l.since = now
		}
		l.known, l.down = true, down
		select {
		case l.events <- connectionReport{down}:
		case <-ctx.Done():
		}
	}
}
