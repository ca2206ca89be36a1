package main

import (
	"strings"
	"time"

	"vigil/notify"
)

// A toldRecord is what everybody was told. Of version 1, when all channels were
// told the same, are all fields but Line.
type toldRecord struct {
	Page      bool      `json:"page,omitempty"`      // that the page is dead
	Dead      []string  `json:"dead,omitempty"`      // paths they take for dead
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
		Least: t.min.String(), Since: utc(t.since), Dead: t.dead, Labels: t.labels, Alert: alert}
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

// restore takes up what people were told.
func (a *alerter) restore(st *state, im *restored, now time.Time) {
	a.muted = im.muted
	for _, c := range a.channels {
		c.restore(st, im, now)
	}
	if !im.told.Line.IsZero() {
		a.connection = connectionState{down: im.told.Line, told: true}
		st.assumeConnected(now)
	}
	a.restored = true
	a.configure(st, now)
	if st.waiting == 0 {
		a.roundDone(st, now)
	}
}

// restore takes up what the channel was told.
func (c *channel) restore(st *state, im *restored, now time.Time) {
	rec := im.channels[c.id]
	switch {
	case rec != nil:
		for key, heard := range rec.heard {
			c.told[key] = heard.told()
		}
		c.reminders, c.reminder = rec.Reminders, rec.Next
	case len(im.channels) > 0:
		c.since = now // it is new, and hears of older outages that they go on
	default:
		c.restoreOld(st, im)
		c.reminders, c.reminder = im.told.Reminders, im.told.Next
	}
	sent := c.reminders
	if c.remind(now); !c.reminder.IsZero() {
		c.reminders = sent
	}
}

// restoreOld takes up what all channels were told by version 1: which replicas
// are dead.
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
		known = &told{id: newUUID(), status: dead, min: dead}
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
	t := &told{id: rec.ID, status: parseStatus(rec.Status), min: parseStatus(rec.Least), since: rec.Since.Local(),
		dead: rec.Dead, labels: rec.Labels}
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

// hear takes up what a channel was told of a node.
func (im *restored) hear(rec heardRecord) {
	c, key := im.channel(rec.Channel), nodeKey{rec.Service, rec.Node}
	if rec.Over {
		delete(c.heard, key)
	} else {
		c.heard[key] = rec
	}
}

// alert takes up what people were told by an alert.
func (im *restored) alert(rec *alertRecord) {
	switch a := &rec.Alert; {
	case a.Channel != "":
		c := im.channel(a.Channel)
		c.Reminders, c.Next = rec.Sent, rec.Next
		for _, heard := range im.staged[a.ID] {
			im.hear(heard)
		}
		delete(im.staged, a.ID)
	case im.channels != nil:
		im.told.Line = rec.Line
	default:
		im.told = rec.told()
	}
}
