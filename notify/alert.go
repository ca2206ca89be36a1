// Package notify sends alerts. It turns one Alert into a message per channel
// and delivers it to each recipient on a queue of its own, so that no
// recipient waits for another.
package notify

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Status is the status of the page or of a node, in the words that are used on
// the wire.
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

	// A Notice is about the monitor itself, not about what it watches. Its Note
	// is the message.
	Notice Kind = "notice"

	// Acknowledged says that somebody takes care of the Outages listed. Only
	// channels that keep incidents of their own, such as PagerDuty, get it.
	Acknowledged Kind = "acknowledged"
)

// An Alert is everything that a channel may say. It is a value: nobody changes
// it once it is sent. Its JSON is how it survives a restart, not what any
// channel sends.
type Alert struct {
	ID      string    `json:"id"`                // unique; the same over all tries of one notification
	Channel string    `json:"channel,omitempty"` // id of the channel that it is for; "": all channels
	Kind    Kind      `json:"kind"`
	Status  Status    `json:"status"` // the worst of what the channel is told of
	Time    time.Time `json:"time"`   // when it happened, in the zone to show it in

	// Outages are those that began (New), all others that the channel was told
	// of and that go on, and those that ended (Over), in the order of the config.
	Outages []Outage `json:"outages,omitempty"`

	// What Outages and their Replicas leave out, see Trim.
	MoreDown int `json:"more_down,omitempty"` // outages that began or go on
	MoreOver int `json:"more_over,omitempty"` // outages that ended
	MoreDead int `json:"more_dead,omitempty"` // dead replicas

	// Dead and Recovered are what alerts of earlier versions hold in place of
	// Outages. They are ignored where there are Outages.
	Dead      []Replica `json:"dead,omitempty"`
	Recovered []string  `json:"recovered,omitempty"` // paths of replicas

	Note string `json:"note,omitempty"` // one further sentence, e.g. about the monitor's own connection; may be empty
	Page Page   `json:"page"`

	Reminders int  `json:"reminders,omitempty"` // for a Reminder: which one it is, from 1
	Escalate  bool `json:"escalate,omitempty"`  // the n-th reminder is urgent for the first n recipients of a channel only
	Merged    int  `json:"merged,omitempty"`    // how many earlier undelivered alerts it replaces
	Repeat    bool `json:"repeat,omitempty"`    // it may have arrived already
	Test      bool `json:"test,omitempty"`      // a test message, to be marked as one

	// What became of it in the queue of its one target, in this run or an
	// earlier one.
	Tried   time.Time `json:"tried,omitzero"`   // when the first try began; zero: there was none
	Refused time.Time `json:"refused,omitzero"` // when it was first refused
	Sent    bool      `json:"sent,omitempty"`   // it was handed over and not confirmed
}

// An Outage is one node's time of being down, or degraded for channels that
// want to know. Texts show the labels, or the ids if there are none.
type Outage struct {
	ID           string `json:"id"` // unique; the same from its beginning to its end
	Service      string `json:"service"`
	Node         string `json:"node"`
	ServiceLabel string `json:"service_label,omitempty"`
	NodeLabel    string `json:"node_label,omitempty"`

	Status Status    `json:"status"`          // of the node now: Dead or Sick while it goes on
	Since  time.Time `json:"since"`           // when it began
	Until  time.Time `json:"until,omitzero"`  // when it ended; zero while it goes on
	New    bool      `json:"new,omitempty"`   // this channel is told of it for the first time, and it just began
	First  bool      `json:"first,omitempty"` // this channel is told of it for the first time, though it began earlier
	Over   bool      `json:"over,omitempty"`  // it ended, for this channel: Status may still be Sick
	Gone   bool      `json:"gone,omitempty"`  // with Over: the node is no longer monitored

	Degraded bool `json:"degraded,omitempty"` // with Over: it was degraded and never down, as far as this channel was told

	// Replicas are the dead ones (the sick ones when the node is sick) or, when
	// it is Over, those that were dead.
	Replicas  []Replica `json:"replicas,omitempty"`
	Instances int       `json:"instances,omitempty"` // how many replicas the node has
	Depending int       `json:"depending,omitempty"` // how many nodes depend on this one and are not told of
}

// A Replica is one of a node's replicas that is not well.
type Replica struct {
	Path   string `json:"path"`             // service:node:replica
	Label  string `json:"label,omitempty"`  // what people call it; may be empty
	Reason string `json:"reason,omitempty"` // one short line; may be empty
	Node   string `json:"-"`                // service:node, for the log: a path may hold a password
}

// Page is the status page that alerts link to.
type Page struct {
	Title string `json:"title,omitempty"`
	URL   string `json:"url,omitempty"`
}

// Bounds of one alert: of replicas over all outages, and of the characters of
// what it lists, so that its record stays under 256 KiB.
const (
	maxReplicas = 1000
	maxAlert    = 160 << 10
)

// Trim returns the alert within its bounds. It drops outages, those that go on
// first and those that ended last, as some services would take these for open
// for ever, and then replicas from the end of the list. It counts what it drops
// in MoreDead, MoreDown and MoreOver.
func (a Alert) Trim() Alert {
	room, replicas := maxAlert, maxReplicas
	outages := a.Outages
	kept := make([]bool, len(outages))
	for _, wanted := range []func(o Outage) bool{
		func(o Outage) bool { return o.Over },
		func(o Outage) bool { return !o.Over && (o.New || o.First) },
		func(o Outage) bool { return !o.Over && !o.New && !o.First },
	} {
		for i, o := range outages {
			if size := 100 + len(o.ID) + len(o.Service) + len(o.Node) + len(o.ServiceLabel) + len(o.NodeLabel); wanted(o) && size <= room {
				room, kept[i] = room-size, true
			}
		}
	}
	a.Outages = nil
	for i, o := range outages {
		if !kept[i] {
			if o.Over {
				a.MoreOver++
			} else {
				a.MoreDown++
				a.MoreDead += len(o.Replicas)
			}
			continue
		}
		n := 0
		for n < len(o.Replicas) && replicas > 0 {
			r := o.Replicas[n]
			size := 40 + len(r.Path) + len(r.Label) + len(r.Reason)
			if size > room {
				break
			}
			room, replicas, n = room-size, replicas-1, n+1
		}
		if !o.Over {
			a.MoreDead += len(o.Replicas) - n
		}
		o.Replicas = o.Replicas[:n:n]
		a.Outages = append(a.Outages, o)
	}
	return a
}

// outages returns the alert's outages. For an alert of an earlier version it
// derives them from the paths of replicas.
func (a Alert) outages() []Outage {
	if len(a.Outages) > 0 {
		return a.Outages
	}
	var list []Outage
	add := func(r Replica, over bool) {
		service, rest, _ := strings.Cut(r.Path, ":")
		node, _, _ := strings.Cut(rest, ":")
		i := slices.IndexFunc(list, func(o Outage) bool {
			return o.Service == service && o.Node == node && o.Over == over
		})
		if i < 0 {
			i = len(list)
			o := Outage{ID: service + ":" + node, Service: service, Node: node, Status: Dead, New: a.Kind == Changed}
			if over {
				o.Status, o.New, o.Over, o.Until = Healthy, false, true, a.Time
			}
			list = append(list, o)
		}
		list[i].Replicas = append(list[i].Replicas, r)
	}
	for _, r := range a.Dead {
		add(r, false)
	}
	for _, path := range a.Recovered {
		add(Replica{Path: path}, true)
	}
	return list
}

// dead lists the replicas of the outages that go on.
func (a Alert) dead() []Replica {
	if len(a.Outages) == 0 {
		return a.Dead
	}
	var list []Replica
	for _, o := range a.Outages {
		if !o.Over {
			list = append(list, o.Replicas...)
		}
	}
	return list
}

// recovered lists the paths of the replicas of the outages that ended.
func (a Alert) recovered() []string {
	if len(a.Outages) == 0 {
		return a.Recovered
	}
	var list []string
	for _, o := range a.Outages {
		if o.Over {
			for _, r := range o.Replicas {
				list = append(list, r.Path)
			}
		}
	}
	return list
}

// Urgent reports whether the recipient of that rank, from 0, is to be woken.
func (a Alert) Urgent(rank int) bool {
	return a.Kind == Reminder && (!a.Escalate || rank < a.Reminders)
}

// A Notifier delivers one alert to one recipient, once. It does not retry and
// it honours ctx. The type of an error says what to do next: see target.go.
type Notifier interface {
	Notify(ctx context.Context, a Alert) error
}

// A Target is one recipient of one channel and the rules for when it is used.
type Target struct {
	Key           string // identifies it in files, over reloads and restarts; unique, no secret
	Name          string // for people: "slack", "pushover#2"; no secret
	Channel       string // the channel's id: "slack", "db-team"
	RemindersOnly bool
	Notifier

	incidents bool          // see kind
	forgets   bool          // see kind
	turn      chan struct{} // shared by targets that are served one after another, or nil
}
