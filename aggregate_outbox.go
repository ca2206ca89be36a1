package main

import (
	"context"
	"time"

	"vigil/notify"
)

// saveTime is how long an alert waits for the disk at most.
const saveTime = 300 * time.Millisecond

// A sending is an alert on its way out. It is saved before it is sent, so that
// a program that is killed in between neither forgets it nor tells it again
// without saying so. But a slow disk must not keep people in the dark.
type sending struct {
	alert notify.Alert
	saved <-chan error // nil when that is over, one way or the other
	by    time.Time    // when it is sent all the same
}

// saved returns where the alert at the front waits, or nil.
func (a *aggregator) saved() <-chan error {
	if len(a.outbox) == 0 {
		return nil
	}
	return a.outbox[0].saved
}

// release lets the alert at the front go: it is saved, or cannot be, which the
// store has said.
func (a *aggregator) release() {
	a.outbox[0].saved, a.hasty = nil, false
}

// send sends the alerts that wait no longer. One that is not sent when ctx ends
// is sent by the next program, as it is saved.
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
				if !a.hasty {
					a.log.Warn("alert sent before it was saved: the disk is slow", "limit", saveTime)
				}
				a.hasty = true
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
