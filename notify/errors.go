package notify

import (
	"errors"
	"time"
)

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
