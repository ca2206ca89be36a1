package main

import (
	"slices"
	"strings"
	"time"

	"vigil/notify"
)

// A record is one thing that must survive, as one line of a file. Exactly one
// field is set. A later record about the same thing replaces an earlier one,
// so that reading a record twice does no harm.
type record struct {
	Announcement *announcementRecord `json:"announcement,omitempty"`
	Retracted    string              `json:"retracted,omitempty"` // id of an announcement
	Quiet        *quietRecord        `json:"quiet,omitempty"`     // a maintenance or silence
	Muted        *time.Time          `json:"muted,omitempty"`     // no reminders until then
	Replica      *replicaRecord      `json:"replica,omitempty"`
	Gone         *replicaName        `json:"gone,omitempty"`    // a replica that was forgotten
	Told         *toldRecord         `json:"told,omitempty"`    // what everybody was told
	Channel      *channelRecord      `json:"channel,omitempty"` // a channel's reminders
	Heard        *heardRecord        `json:"heard,omitempty"`   // what one was told of a node
	Alert        *alertRecord        `json:"alert,omitempty"`   // an alert, about to be sent
	Queued       *queuedRecord       `json:"queued,omitempty"`  // it waits for one target
	Done         *doneRecord         `json:"done,omitempty"`    // it waits for it no longer
	Alive        *time.Time          `json:"alive,omitempty"`   // the program ran until then
	Past         *pastRecord         `json:"past,omitempty"`    // a node's past, or what changed in it
	Incident     *incidentRecord     `json:"incident,omitempty"`

	Head *headRecord `json:"vigil,omitempty"` // the first line of a file
	End  *endRecord  `json:"end,omitempty"`   // the last line of a state file
}

// urgent reports whether the record must not wait long for a slow disk: an alert
// is sent soon, saved or not.
func (rec record) urgent() bool { return rec.Alert != nil }

// storeFormat is the version of the files' format. It grows when an older
// program could not make sense of them.
const storeFormat = 1

// A headRecord says what a file is.
type headRecord struct {
	File       string    `json:"file"` // "state" or "journal"
	Format     int       `json:"format"`
	Generation int       `json:"generation"`
	Written    time.Time `json:"written"`
	Folder     string    `json:"folder,omitempty"` // identity of the storage folder
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

// A replicaRecord is the last status of a replica and, of push and local ones,
// the last report.
type replicaRecord struct {
	replicaName
	Status string      `json:"status"`
	Reason string      `json:"reason,omitempty"`
	Since  time.Time   `json:"since"`
	Grace  float64     `json:"grace,omitempty"` // seconds from a report to the deadline
	Load   *loadRecord `json:"load,omitempty"`
	Job    *jobRecord  `json:"job,omitempty"`

	Unchecked bool `json:"unchecked,omitempty"` // of a job that began and has not ended yet
}

type loadRecord struct {
	CPU     float64 `json:"cpu"`
	RAM     float64 `json:"ram"`
	Ready   *int64  `json:"ready,omitempty"` // nil: not known
	Unacked *int64  `json:"unacked,omitempty"`
}

type queuedRecord struct {
	Target string       `json:"target"`
	Alert  notify.Alert `json:"alert"`
}

type doneRecord struct {
	Target string `json:"target"`
	Alert  string `json:"alert"` // its id
}

// retracted is the record that an announcement was taken back.
func retracted(id string) record { return record{Retracted: id} }

// muted is the record of a time of silence; the zero time lifts it.
func muted(until time.Time) record {
	until = utc(until)
	return record{Muted: &until}
}

const (
	// ledgerInterval is how often what changes all the time is kept. It leaves the
	// disk some of the 10 s that may be lost of the past.
	ledgerInterval = 8 * time.Second

	// laterBurst is how many reports are kept in a batch, so that what is
	// written has a bound that does not grow with the number of replicas. The
	// others' turn comes at the next ones.
	laterBurst = 1000
)

// A ledger gathers records until the store takes them. It belongs to the
// aggregator's goroutine, so keeping a record costs an append and no I/O.
// Without a ledger the state is lost when the program ends.
type ledger struct {
	targets []notify.Target // that alerts are for
	records []record
	replies []chan<- error
	later   []*replicaState // whose last report is not kept yet
	batched time.Time       // when the last batch was
	whole   bool            // the store wants all that is known
}

// keepFor has the state keep what must survive from now on, alerts with these
// targets. As the config may be another one than before, all of it is written
// anew.
func (st *state) keepFor(targets []notify.Target) {
	if st.ledger == nil {
		st.ledger = new(ledger)
	}
	st.ledger.targets = targets
	st.keepWhole()
}

// keep notes a record for the store. When reply is not nil it must have
// capacity 1: it gets nil as soon as this record and those before it are on
// the disk, for good, or an error when that fails or takes longer than 5 s.
// Then what was changed holds for now, but is not sure to survive. A state
// that keeps nothing answers nil at once.
//
// An event of the Manager API changes the state and keeps the record with its
// own reply channel, on which its sender waits:
//
//	st.announcements = append(st.announcements, a)
//	st.keep(announced(a), ev.reply)
func (st *state) keep(rec record, reply chan<- error) {
	if st.ledger == nil {
		if reply != nil {
			reply <- nil
		}
		return
	}
	st.ledger.records = append(st.ledger.records, rec)
	if reply != nil {
		st.ledger.replies = append(st.ledger.replies, reply)
	}
}

// keepAlert keeps an alert that is about to be sent and returns the channel on
// which the result comes.
func (st *state) keepAlert(a notify.Alert) <-chan error {
	saved := make(chan error, 1)
	rec := &alertRecord{Alert: a, Line: st.alerter.connection.toldDown()}
	rec.Alert.Time = a.Time.UTC() // to the nanosecond: ids of messages are made of it
	for _, c := range st.alerter.channels {
		if c.id == a.Channel {
			rec.Next, rec.Sent = utc(c.reminder), c.reminders
		}
	}
	if st.ledger != nil {
		for _, t := range st.ledger.targets {
			if t.Wants(a) {
				rec.Targets = append(rec.Targets, t.Key)
			}
		}
	}
	st.keep(record{Alert: rec}, saved)
	return saved
}

// keepLater has the last report of a replica kept, but not each one.
func (st *state) keepLater(r *replicaState) {
	if st.ledger != nil && r.later == 0 {
		st.ledger.later = append(st.ledger.later, r)
		r.later = len(st.ledger.later)
	}
}

// keptReplica takes the replica off the list of those to keep later.
func (st *state) keptReplica(r *replicaState) {
	if r.later == 0 {
		return
	}
	l := st.ledger
	end := len(l.later) - 1
	last := l.later[end]
	l.later[r.later-1], last.later = last, r.later
	l.later[end] = nil
	l.later = l.later[:end]
	r.later = 0
}

// keepWhole has the store write everything anew: after this, what is not known
// any more is not in the files either.
func (st *state) keepWhole() {
	if st.ledger != nil {
		st.ledger.whole = true
	}
}

func (wholeState) apply(st *state, _ time.Time) { st.keepWhole() }

// nextBatch returns when something is to be kept without any event.
func (st *state) nextBatch() (time.Time, bool) {
	if st.ledger == nil {
		return time.Time{}, false
	}
	return st.ledger.batched.Add(ledgerInterval), true
}

// pendingBatch returns what is to be stored now. At the end it is all there
// is.
func (st *state) pendingBatch(now time.Time, end bool) (b batch, any bool) {
	l := st.ledger
	if l == nil {
		return b, false
	}
	if end || now.Sub(l.batched) >= ledgerInterval {
		l.batched = now
		n := len(l.later)
		if !end {
			n = min(n, laterBurst)
		}
		turn := slices.Clone(l.later[:n])
		l.later = slices.Delete(l.later, 0, n)
		for i, r := range l.later {
			r.later = i + 1
		}
		for _, r := range turn {
			r.later = 0
			st.keepReplica(r)
		}
		if end {
			st.bookLatencies(now)
			st.history.keep(st, now)
		}
		alive := utc(now)
		st.keep(record{Alive: &alive}, nil)
	}
	b = batch{records: l.records, replies: l.replies}
	if l.whole {
		b.whole = st.records(now)
	}
	l.records, l.replies, l.whole = nil, nil, false
	return b, len(b.records) > 0 || b.whole != nil
}

// keepReplica keeps what is known of a replica.
func (st *state) keepReplica(r *replicaState) {
	st.keptReplica(r)
	if st.ledger != nil {
		st.keep(r.show().record(r.name()), nil)
	}
}

// utc is a time as the files have it, to the millisecond. The zero time stays
// that.
func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// A toldRecord is what all channels were told. Version 1, which told all
// channels the same, wrote every field but Line.
type toldRecord struct {
	Page      bool      `json:"page,omitempty"`      // that the page is dead
	Dead      []string  `json:"dead,omitempty"`      // paths of replicas reported as dead
	Reminders int       `json:"reminders,omitempty"` // sent since the page died
	Next      time.Time `json:"next,omitzero"`       // when the next one is due
	Line      time.Time `json:"line,omitzero"`       // since when the monitor's own connection is down
}

// A channelRecord says that a channel exists and when it is next reminded.
type channelRecord struct {
	ID        string    `json:"id"`
	Reminders int       `json:"reminders,omitempty"` // sent since something it was told of is down
	Next      time.Time `json:"next,omitzero"`
}

// A heardRecord is what a channel was told of a node. With an alert, it counts
// only when the record of that alert follows: so both are kept, or neither.
type heardRecord struct {
	Channel  string    `json:"channel"`
	Service  string    `json:"service"`
	Node     string    `json:"node"`
	Over     bool      `json:"over,omitempty"` // it was told of the end
	ID       string    `json:"id,omitempty"`   // of the outage
	Status   string    `json:"status,omitempty"`
	Down     bool      `json:"down,omitempty"`  // it was told to be dead before that
	Least    string    `json:"least,omitempty"` // status that its routes told of
	Since    time.Time `json:"since,omitzero"`
	Dead     int       `json:"dead,omitempty"` // replicas
	Replicas []string  `json:"replicas,omitempty"`
	Labels   [2]string `json:"labels,omitzero"`
	Alert    string    `json:"alert,omitempty"` // id
}

// record is what the channel knows of a node, by an alert or in general.
func (t *told) record(channel string, key nodeKey, alert string) *heardRecord {
	rec := &heardRecord{Channel: channel, Service: key.service, Node: key.node, ID: t.id, Status: t.status.String(),
		Down: t.down && t.status != dead, Least: t.min.String(), Since: utc(t.since), Dead: t.dead, Labels: t.labels, Alert: alert}
	for _, r := range t.replicas {
		rec.Replicas = append(rec.Replicas, r.Path)
	}
	return rec
}

// An alertRecord is an alert that is pending for its targets from then on, and
// known to its channel.
type alertRecord struct {
	Alert   notify.Alert `json:"alert"`
	Targets []string     `json:"targets"`
	Next    time.Time    `json:"next,omitzero"`  // when a reminder is due
	Sent    int          `json:"sent,omitempty"` // reminders sent since something is down
	Line    time.Time    `json:"line,omitzero"`
}

// told is what everybody knows by an alert of version 1.
func (r *alertRecord) told() toldRecord {
	t := toldRecord{Page: r.Alert.Status == notify.Dead, Reminders: r.Sent, Next: r.Next, Line: r.Line}
	for _, d := range r.Alert.Dead {
		t.Dead = append(t.Dead, d.Path)
	}
	return t
}

// records returns what everybody and each channel was told.
func (a *alerter) records() []record {
	recs := []record{{Told: &toldRecord{Line: a.connection.toldDown()}}}
	for _, c := range a.channels {
		recs = append(recs, record{Channel: &channelRecord{c.id, c.reminders, utc(c.reminder)}})
		for key, known := range c.told {
			recs = append(recs, record{Heard: known.record(c.id, key, "")})
		}
	}
	return recs
}

// restore restores what all channels were told.
func (a *alerter) restore(st *state, im *restored, now time.Time) {
	a.muted = im.muted
	for _, c := range a.channels {
		c.restore(st, im, now)
		for key, known := range c.told {
			if ns := st.byKey[key]; ns != nil && known.status == dead {
				ns.wasDown = true // its replicas need not say so: one may have died of silence
			}
		}
	}
	if !im.told.Line.IsZero() {
		a.connection = connectionState{down: im.told.Line, told: true}
		st.assumeConnected(now)
	}
	a.restored = true
	a.configure(st, now)
	for ns := range st.allNodes() {
		if ns.conf.Mode == modeHeartbeat {
			st.relevel(ns, now) // no check will find it out
		}
	}
	if st.waiting == 0 {
		a.roundDone(st, now)
	}
}

// restore restores what the channel was told.
func (c *channel) restore(st *state, im *restored, now time.Time) {
	rec := im.channels[c.id]
	switch {
	case rec != nil:
		for key, heard := range rec.heard {
			c.told[key] = heard.told()
		}
		c.reminders, c.reminder = rec.Reminders, rec.Next
	case len(im.channels) > 0:
		c.since = now // it is new: older outages are reported as ongoing
	default:
		c.restoreOld(st, im)
		c.reminders, c.reminder = im.told.Reminders, im.told.Next
	}
	sent := c.reminders
	if c.remind(now); !c.reminder.IsZero() {
		c.reminders = sent
	}
}

// restoreOld restores what version 1 told all channels: which replicas are
// dead.
func (c *channel) restoreOld(st *state, im *restored) {
	dead := make(map[string]bool, len(im.told.Dead))
	for _, path := range im.told.Dead {
		dead[path] = true
	}
	if len(dead) == 0 {
		return
	}
	for ns := range st.allNodes() {
		for _, r := range ns.replicas {
			if path := r.path(); dead[path] {
				delete(dead, path)
				c.toldOld(ns.key(), ns.track.outage, notify.Replica{Path: path, Reason: r.reason})
			}
		}
	}
	for path := range dead { // of nodes that there are no more, or that lost the replica
		service, rest, _ := strings.Cut(path, ":")
		node, _, _ := strings.Cut(rest, ":")
		c.toldOld(nodeKey{service, node}, nil, notify.Replica{Path: path})
	}
}

func (c *channel) toldOld(key nodeKey, out *outage, r notify.Replica) {
	known := c.told[key]
	if known == nil {
		known = &told{id: newUUID(), status: dead, down: true, min: dead}
		if out != nil {
			known.id, known.since = out.id, out.start
		}
		c.told[key] = known
	}
	known.dead++
	if len(known.replicas) < maxToldReplicas {
		known.replicas = append(known.replicas, r)
	}
}

// told is what the record says.
func (rec *heardRecord) told() *told {
	t := &told{id: rec.ID, status: parseStatus(rec.Status), down: rec.Down || parseStatus(rec.Status) == dead,
		min: parseStatus(rec.Least), since: rec.Since.Local(), dead: rec.Dead, labels: rec.Labels}
	for _, path := range rec.Replicas {
		t.replicas = append(t.replicas, notify.Replica{Path: path, Node: rec.Service + ":" + rec.Node})
	}
	return t
}

// parseStatus reads a status of which a channel was told; what it does not
// know is dead.
func parseStatus(word string) status {
	if word == sick.String() {
		return sick
	}
	return dead
}

// A restoredChannel is what a channel was told.
type restoredChannel struct {
	channelRecord
	heard map[nodeKey]heardRecord
}

func (im *restored) channel(id string) *restoredChannel {
	if im.channels == nil {
		im.channels = make(map[string]*restoredChannel)
	}
	c := im.channels[id]
	if c == nil {
		c = &restoredChannel{channelRecord{ID: id}, make(map[nodeKey]heardRecord)}
		im.channels[id] = c
	}
	return c
}

// addHeard records what a channel was told of a node.
func (im *restored) addHeard(rec heardRecord) {
	c, key := im.channel(rec.Channel), nodeKey{rec.Service, rec.Node}
	if rec.Over {
		delete(c.heard, key)
	} else {
		c.heard[key] = rec
	}
}

// alert records what an alert told its channel.
func (im *restored) alert(rec *alertRecord) {
	switch a := &rec.Alert; {
	case a.Channel != "":
		c := im.channel(a.Channel)
		c.Reminders, c.Next = rec.Sent, rec.Next
		for _, heard := range im.staged[a.ID] {
			im.addHeard(heard)
		}
		delete(im.staged, a.ID)
	case im.channels != nil:
		im.told.Line = rec.Line
	default:
		im.told = rec.told()
	}
}
