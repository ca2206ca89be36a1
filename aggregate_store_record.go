package main

import (
	"time"

	"vigil/notify"
)

// A record is one thing that must survive, as one line of a file. Exactly one
// field is set. A later record about the same thing replaces an earlier one,
// so that reading a record twice does no harm.
type record struct {
	Announcement *announcementRecord `json:"announcement,omitempty"`
	Retracted    string              `json:"retracted,omitempty"` // id of an announcement
	Muted        *time.Time          `json:"muted,omitempty"`     // no reminders until then
	Replica      *replicaRecord      `json:"replica,omitempty"`
	Gone         *replicaName        `json:"gone,omitempty"`   // a replica that was forgotten
	Told         *toldRecord         `json:"told,omitempty"`   // what people know
	Alert        *alertRecord        `json:"alert,omitempty"`  // an alert, about to be sent
	Queued       *queuedRecord       `json:"queued,omitempty"` // it waits for one target
	Done         *doneRecord         `json:"done,omitempty"`   // it waits for it no longer
	Alive        *time.Time          `json:"alive,omitempty"`  // the program ran until then
	Past         *pastRecord         `json:"past,omitempty"`   // a node's past, or what changed in it
	Incident     *incidentRecord     `json:"incident,omitempty"`

	Head *headRecord `json:"vigil,omitempty"` // the first line of a file
	End  *endRecord  `json:"end,omitempty"`   // the last line of a state file
}

// storeFormat is the version of the files' format. It grows when an older
// program could not make sense of them.
const storeFormat = 1

// A headRecord says what a file is.
type headRecord struct {
	File       string    `json:"file"` // "state" or "journal"
	Format     int       `json:"format"`
	Generation int       `json:"generation"`
	Written    time.Time `json:"written"`
}

// An endRecord says that a file is whole when it has that many lines before.
type endRecord struct {
	Lines int `json:"lines"`
}

// replicaName is how a file names a replica: a path would not do, as ids may
// hold colons.
type replicaName struct {
	Service string `json:"service"`
	Node    string `json:"node"`
	ID      string `json:"id"`
}

func (n replicaName) path() string { return n.Service + ":" + n.Node + ":" + n.ID }

// A replicaRecord is the last status of a replica and, of push and local ones,
// the last report.
type replicaRecord struct {
	replicaName
	Status string      `json:"status"`
	Reason string      `json:"reason,omitempty"`
	Since  time.Time   `json:"since"`
	Grace  float64     `json:"grace,omitempty"` // seconds from a report to the deadline
	Load   *loadRecord `json:"load,omitempty"`
}

type loadRecord struct {
	CPU     float64 `json:"cpu"`
	RAM     float64 `json:"ram"`
	Ready   *int64  `json:"ready,omitempty"` // nil: not known
	Unacked *int64  `json:"unacked,omitempty"`
}

type announcementRecord struct {
	ID    string    `json:"id"`
	Title string    `json:"title"`
	Text  string    `json:"text"`
	At    time.Time `json:"at"`
}

// A toldRecord is what people were last told.
type toldRecord struct {
	Page      bool      `json:"page,omitempty"`      // that the page is dead
	Dead      []string  `json:"dead,omitempty"`      // paths they take for dead
	Reminders int       `json:"reminders,omitempty"` // sent since the page died
	Next      time.Time `json:"next,omitzero"`       // when the next one is due
	Line      time.Time `json:"line,omitzero"`       // since when the monitor's own connection is down
}

// An alertRecord is an alert that is pending for its targets from then on, and
// known to people.
type alertRecord struct {
	Alert   notify.Alert `json:"alert"`
	Targets []string     `json:"targets"`
	Next    time.Time    `json:"next,omitzero"`  // when a reminder is due
	Sent    int          `json:"sent,omitempty"` // reminders sent since the page died
	Line    time.Time    `json:"line,omitzero"`
}

// told is what people know by the alert.
func (r *alertRecord) told() toldRecord {
	t := toldRecord{Page: r.Alert.Status == notify.Dead, Reminders: r.Sent, Next: r.Next, Line: r.Line}
	for _, d := range r.Alert.Dead {
		t.Dead = append(t.Dead, d.Path)
	}
	return t
}

type queuedRecord struct {
	Target string       `json:"target"`
	Alert  notify.Alert `json:"alert"`
}

type doneRecord struct {
	Target string `json:"target"`
	Alert  string `json:"alert"` // its id
}

// announced is the record of an announcement.
func announced(a announcement) record {
	return record{Announcement: &announcementRecord{a.id, a.title, a.text, utc(a.at)}}
}

// retracted is the record that an announcement was taken back.
func retracted(id string) record { return record{Retracted: id} }

// muted is the record of a time of silence; the zero time lifts it.
func muted(until time.Time) record {
	until = utc(until)
	return record{Muted: &until}
}
