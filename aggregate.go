package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"vigil/notify"
)

// An event is anything that may change the state: the result of a check, a
// report, a call of the Manager API. Events are applied on the aggregator's
// goroutine, one after the other, so they need no locks.
type event interface {
	apply(st *state, now time.Time)
}

// A result is an event of its own.
func (r result) apply(st *state, now time.Time) { st.applyResult(r, now) }

// A pulse is an event that changes nothing: its sender learns that events are
// applied. The channel has room for it.
type pulse chan<- struct{}

func (p pulse) apply(*state, time.Time) { p <- struct{}{} }

// Kinds of errors that events answer with. The edge decides what each means
// in its protocol.
var (
	errInvalid  = errors.New("invalid")
	errNotFound = errors.New("not found")
	errConflict = errors.New("conflict")
	errFull     = errors.New("full")
	errUnsaved  = errors.New("not saved")
)

// An eventError is the answer to an event that failed: one of the kinds above,
// and a text for the sender.
type eventError struct {
	kind error
	text string
}

func (e *eventError) Error() string { return e.text }
func (e *eventError) Unwrap() error { return e.kind }

func invalid(format string, args ...any) error {
	return &eventError{errInvalid, fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &eventError{errNotFound, fmt.Sprintf(format, args...)}
}

func full(format string, args ...any) error {
	return &eventError{errFull, fmt.Sprintf(format, args...)}
}

// An aggregator owns the state. Changes reach it as events; readers load the
// newest snapshot. It does no I/O and formats nothing, so
// nothing ever waits long for it.
type aggregator struct {
	state   *state
	events  <-chan event
	alerts  chan<- notify.Alert // closed when run returns
	snaps   *snapshots
	log     *slog.Logger
	store   *store          // takes what must survive; may be nil
	confirm chan<- question // asks whether the monitor's own connection works; nil: it does

	machine *machine  // knows when this process did not run; may be nil
	stalled time.Time // the end of the last such time that was dealt with

	check func([]*Node) // has these nodes checked at once, and returns immediately; may be nil

	panics atomic.Int64 // events that panicked since the start
	took   histogram    // of each snapshot
	queued atomic.Int64 // alerts in the outbox

	outbox      []sending // alerts that wait until they are saved, oldest first
	sentUnsaved bool      // the last alert was sent before it was saved
}

const (
	// publishGap is the least time between two snapshots.
	publishGap = 100 * time.Millisecond

	// eventBurst is how many waiting events are applied before alerts and
	// snapshot get their turn.
	eventBurst = 512

	// eventBuffer is the capacity of the events channel.
	eventBuffer = 512
)

// run applies events until ctx ends. The receiver of the alerts must receive
// until their channel is closed.
func (a *aggregator) run(ctx context.Context) error {
	defer close(a.alerts)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var published time.Time
	var asked []*replicaState // overdue, and waiting for the answer about the connection
	answer := make(chan bool, 1)
	for {
		var questions chan<- question
		var missing question
		if asked == nil && len(a.state.overdue) > 0 {
			questions, missing = a.confirm, question{a.state.overdueSince, answer}
		}
		select {
		case <-ctx.Done():
			a.finish()
			return nil
		case questions <- missing:
			asked, a.state.overdue = a.state.overdue, nil
		case sure := <-answer:
			a.state.confirmOverdue(asked, sure, time.Now())
			asked = nil
		case ev := <-a.events:
			a.apply(ev)
		case <-a.saved():
			a.release()
		case <-timer.C:
		}

		now := time.Now()
		if p := a.machine.stall(now); p.to.After(a.stalled) {
			// No report could be received in that time.
			a.state.extendOverdue(p.from, now)
			a.stalled = p.to
		}
		a.state.expire(now)
		for alert, ok := a.state.alerter.due(a.state, now); ok; alert, ok = a.state.alerter.due(a.state, now) {
			a.outbox = append(a.outbox, sending{alert, a.state.keepAlert(alert), now.Add(saveTime)})
			a.state.logAlert(alert)
		}
		if nodes := a.state.checks; len(nodes) > 0 {
			a.state.checks = nil
			if a.check != nil {
				a.check(nodes)
			}
		}
		if b, any := a.state.pendingBatch(now, false); any {
			a.store.put(b)
		}
		a.send(ctx, now)
		a.queued.Store(int64(len(a.outbox)))
		wake := a.wake(now)
		if a.state.dirty {
			if gap := published.Add(publishGap); !now.Before(gap) {
				begin := time.Now()
				a.snaps.publish(a.state.snapshot(now))
				a.took.observe(time.Since(begin))
				published = now
			} else if gap.Before(wake) {
				wake = gap
			}
		}
		timer.Reset(wake.Sub(now))
	}
}

// finish hands over what is left.
func (a *aggregator) finish() {
	if b, any := a.state.pendingBatch(time.Now(), true); any {
		a.store.put(b)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*saveTime)
	defer cancel()
	for len(a.outbox) > 0 && ctx.Err() == nil {
		select {
		case <-a.saved():
			a.release()
		case <-time.After(time.Until(a.outbox[0].by)):
		}
		a.send(ctx, time.Now())
	}
}

// wake returns when the next thing is due that no event brings.
func (a *aggregator) wake(now time.Time) time.Time {
	at, _ := a.state.wake(now) // there always is something
	if batch, ok := a.state.nextBatch(); ok && batch.Before(at) {
		at = batch
	}
	if len(a.outbox) > 0 && a.outbox[0].by.Before(at) {
		at = a.outbox[0].by
	}
	return at
}

// apply applies the event and those that wait behind it, so that the cost of
// what follows is shared by a burst.
func (a *aggregator) apply(ev event) {
	now := time.Now()
	a.applyOne(ev, now)
	for range eventBurst {
		select {
		case ev := <-a.events:
			a.applyOne(ev, now)
		default:
			return
		}
	}
}

// applyOne applies one event. If that panics, the event is dropped: changes
// made by then stay and its sender gets no answer, but everything else is still
// monitored.
func (a *aggregator) applyOne(ev event, now time.Time) {
	defer func() {
		if v := recover(); v != nil {
			a.panics.Add(1)
			logPanic(a.log, "event dropped: it panicked", v, "event", fmt.Sprintf("%T", ev))
		}
	}()
	ev.apply(a.state, now)
}

// A call is an event whose sender waits for the answer: it changes the state,
// or reads something that no snapshot shows. It ends with one error, or nil, on
// done: at once, or when the change is stored.
type call struct {
	do   func(st *state, now time.Time, done chan<- error)
	done chan<- error // capacity 1
}

func (c *call) apply(st *state, now time.Time) { c.do(st, now, c.done) }

// mute suspends reminders until then; the zero time resumes them.
func (st *state) mute(until time.Time, done chan<- error) {
	st.alerter.muted = until
	st.keep(muted(until), done)
}

// saveTime is how long an alert waits for the disk at most.
const saveTime = 300 * time.Millisecond

// A sending is an alert on its way out. It is saved before it is sent, so that
// a program that is killed in between neither loses it nor sends it twice
// without saying so. But a slow disk must not delay an alert for long.
type sending struct {
	alert notify.Alert
	saved <-chan error // nil once it is saved, or could not be
	by    time.Time    // when it is sent anyway
}

// saved returns the channel that the oldest alert waits for, or nil.
func (a *aggregator) saved() <-chan error {
	if len(a.outbox) == 0 {
		return nil
	}
	return a.outbox[0].saved
}

// release lets the oldest alert go: it is saved, or cannot be, which the store
// has logged.
func (a *aggregator) release() {
	a.outbox[0].saved, a.sentUnsaved = nil, false
}

// send sends the alerts that need not wait any longer. One that is not sent
// when ctx ends is saved, and the next run of the program sends it.
func (a *aggregator) send(ctx context.Context, now time.Time) {
	for len(a.outbox) > 0 {
		front := a.outbox[0]
		if front.saved != nil {
			select {
			case <-front.saved:
				a.release()
			default:
				if now.Before(front.by) {
					return
				}
				if !a.sentUnsaved {
					a.log.Warn("alert sent before it was saved: the disk is slow", "limit", saveTime)
				}
				a.sentUnsaved = true
			}
		}
		select {
		case a.alerts <- front.alert:
		case <-ctx.Done():
			return
		}
		a.outbox = a.outbox[1:]
	}
}
