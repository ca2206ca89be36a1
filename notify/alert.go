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

// Kind is why an alert is sent. The first three are the webhook's words.
type Kind string

const (
	Startup  Kind = "startup"
	Changed  Kind = "changed"
	Reminder Kind = "reminder"

	// A Notice has something to say of the monitor, not of what it watches. It
	// is what its Note says.
	Notice Kind = "notice"
)

// An Alert is everything that a channel may say. It is a value: nobody changes
// it once it is sent, so one Alert is shared by all channels. Its JSON is how
// it outlives a restart, not what any channel sends.
type Alert struct {
	ID        string    `json:"id"` // unique; the same over all tries of one notification
	Kind      Kind      `json:"kind"`
	Status    Status    `json:"status"`
	Time      time.Time `json:"time"`                // when it happened, in the zone to show it in
	Dead      []Replica `json:"dead,omitempty"`      // what is dead now, in the order of the config
	Recovered []string  `json:"recovered,omitempty"` // paths that came back since the last notification
	Note      string    `json:"note,omitempty"`      // one further sentence, e.g. on the monitor's own line; may be empty
	Page      Page      `json:"page"`

	Reminders int  `json:"reminders,omitempty"` // for a Reminder: which one it is, from 1
	Escalate  bool `json:"escalate,omitempty"`  // the n-th reminder is urgent for the first n targets of a channel only
	Merged    int  `json:"merged,omitempty"`    // how many earlier alerts, not delivered in time, it stands for too
	Repeat    bool `json:"repeat,omitempty"`    // it may have been sent already, before a restart
	Test      bool `json:"test,omitempty"`      // a test message, to be marked as one

	// Tried is when the first try began to bring it to the one target in whose
	// queue it is, in this run or one before; zero: there was none.
	Tried time.Time `json:"tried,omitzero"`
}

// A Replica is a dead replica.
type Replica struct {
	Path   string `json:"path"`             // service:node:replica
	Reason string `json:"reason,omitempty"` // one short line; may be empty
	Node   string `json:"-"`                // service:node, for the log: a path may hold a password
}

// Page is the status page that alerts link to.
type Page struct {
	Title string `json:"title,omitempty"`
	URL   string `json:"url,omitempty"`
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

	// turn, when set, is shared by targets that are served one after another.
	turn chan struct{}
}
