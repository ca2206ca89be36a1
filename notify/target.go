package notify

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

// deliveryLimit bounds one try of one delivery, over all its steps.
const deliveryLimit = 5 * time.Minute

// Wants reports whether the target is to get the alert.
func (t Target) Wants(a Alert) bool {
	return (a.Channel == "" || a.Channel == t.Channel) && wants(a, t.RemindersOnly, t.incidents)
}

// Wants reports whether the channel's recipients get an alert for it.
func (c Channel) Wants(a Alert) bool {
	return wants(a, c.RemindersOnly, kindOf(c.Kind).incidents)
}

// wants reports whether an alert is for a channel that gets reminders only, or
// keeps incidents of its own.
func wants(a Alert, remindersOnly, incidents bool) bool {
	switch {
	case a.Kind == Acknowledged && !incidents:
		return false
	case !remindersOnly, a.Kind == Reminder, a.Kind == Acknowledged, a.Test:
		return true
	}
	return incidents && slices.ContainsFunc(a.Outages, func(o Outage) bool { return o.Over })
}

// Deliver makes one try. It ends with ctx or after 5 min, not counting the time
// it waits for its turn. A panic comes back as an error.
func (t Target) Deliver(ctx context.Context, a Alert) (err error) {
	if t.turn != nil {
		select {
		case t.turn <- struct{}{}:
			defer func() { <-t.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	a = t.own(a)
	ctx, cancel := context.WithTimeout(ctx, deliveryLimit)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError(v)
		}
	}()
	return t.Notify(ctx, a)
}

// own returns the alert as the target gets it. With reminders_only, an alert of
// changes only closes incidents.
func (t Target) own(a Alert) Alert {
	if t.RemindersOnly && a.Kind != Reminder && a.Kind != Acknowledged && !a.Test {
		a.Outages = slices.DeleteFunc(slices.Clone(a.Outages), func(o Outage) bool { return !o.Over })
	}
	return a
}

// A panicError is a bug in a notifier. It counts as a temporary failure.
type panicError struct {
	what  string
	stack string
}

func (e *panicError) Error() string { return "the notifier panicked: " + e.what }

// newPanicError quotes errors of the runtime. Of other values it names only the
// type, because they may hold secrets.
func newPanicError(v any) *panicError {
	what := fmt.Sprintf("%T", v)
	if fault, ok := v.(runtime.Error); ok {
		what = fault.Error()
	}
	return &panicError{what, string(debug.Stack())}
}

// A PermanentError is a rejection that looks permanent, such as a wrong token
// or an unknown room. A deploy or a proxy can answer the same for a moment, so
// the queue retries it for 10 minutes.
type PermanentError struct{ Err error }

func (e *PermanentError) Error() string { return e.Err.Error() }
func (e *PermanentError) Unwrap() error { return e.Err }

// A FinalError must not be retried: the service blocks senders that repeat
// what it has refused, or the message cannot be written at all.
type FinalError struct{ Err error }

func (e *FinalError) Error() string { return e.Err.Error() }
func (e *FinalError) Unwrap() error { return e.Err }

// An UnconfirmedError says that the message was handed over and no verdict
// came. It probably arrived.
type UnconfirmedError struct{ Err error }

func (e *UnconfirmedError) Error() string { return "sent, but not confirmed: " + e.Err.Error() }
func (e *UnconfirmedError) Unwrap() error { return e.Err }

// A RetryError says that a delivery failed and how long to wait before the next
// try. The queue's own wait applies if it is longer.
type RetryError struct {
	Err   error
	After time.Duration
}

func (e *RetryError) Error() string { return e.Err.Error() }
func (e *RetryError) Unwrap() error { return e.Err }

func isPermanent(err error) bool {
	_, ok := errors.AsType[*PermanentError](err)
	return ok || isFinal(err)
}

func isFinal(err error) bool {
	_, ok := errors.AsType[*FinalError](err)
	return ok
}

func isUnconfirmed(err error) bool {
	_, ok := errors.AsType[*UnconfirmedError](err)
	return ok
}
