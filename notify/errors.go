package notify

import "time"

// A PermanentError says that a delivery was refused for good: trying it again
// cannot help. Everything that does not wrap one is worth another try.
type PermanentError struct{ Err error }

func (e *PermanentError) Error() string { return e.Err.Error() }
func (e *PermanentError) Unwrap() error { return e.Err }

// A RetryError says that a delivery failed and how long the service wants to be
// left alone before the next try. The queue's own waits count where they are
// longer.
type RetryError struct {
	Err   error
	After time.Duration
}

func (e *RetryError) Error() string { return e.Err.Error() }
func (e *RetryError) Unwrap() error { return e.Err }
