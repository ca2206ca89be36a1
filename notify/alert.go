// Package notify tells people. It turns one Alert into a message per channel
// and delivers it to each target on a queue of its own, so that no target
// waits for another.
package notify

import (
	"context"
	"time"
)

// Status is the page's status, in the words that are used on the wire.
type Status string

const (
	Healthy Status = "healthy"
	Sick    Status = "sick"
	Dead    Status = "dead"
)

// Kind is why an alert is sent, in the webhook's words.
type Kind string

const (
	Startup  Kind = "startup"
	Changed  Kind = "changed"
	Reminder Kind = "reminder"
)

// An Alert is everything that a channel may say. It is a value: nobody changes
// it once it is sent, so one Alert is shared by all channels.
type Alert struct {
	ID        string // unique; the same over all tries of one notification
	Kind      Kind
	Status    Status
	Time      time.Time // when it happened, in the zone to show it in
	Dead      []Replica // what is dead now, in the order of the config
	Recovered []string  // paths that came back since the last notification
	Note      string    // one further sentence, e.g. on the monitor's own line; may be empty
	Page      Page

	Reminders int  // for a Reminder: which one it is, from 1
	Escalate  bool // the n-th reminder is urgent for the first n targets of a channel only
	Merged    int  // how many earlier alerts, not delivered in time, it stands for too
	Test      bool // a test message, to be marked as one
}

// A Replica is a dead replica.
type Replica struct {
	Path   string // service:node:replica
	Reason string // one short line; may be empty
}

// Page is the status page that alerts link to.
type Page struct {
	Title string
	URL   string
}

// Urgent reports whether the target of that rank, from 0, is to be woken.
func (a Alert) Urgent(rank int) bool {
	return a.Kind == Reminder && (!a.Escalate || rank < a.Reminders)
}

// A Notifier delivers one alert to one recipient, once. It does not retry and
// it honours ctx. An error that wraps a *PermanentError must not be tried
// again; one that wraps a *RetryError says when to.
type Notifier interface {
	Notify(ctx context.Context, a Alert) error
}

// A Target is one recipient of one channel and the rules for when it is used.
type Target struct {
	Name          string // for logs and files: "slack", "pushover#2"; unique, no secret
	Channel       string // "slack", "pushover"
	RemindersOnly bool
	Notifier
}
