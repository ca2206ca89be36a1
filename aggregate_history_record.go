package main

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
	"time"
)

// A pastRecord is what changed in a node's past: it replaces the days and
// months that it names, and what the node has been since.
type pastRecord struct {
	Service string     `json:"service"`
	Node    string     `json:"node"`
	Days    sumRecords `json:"days,omitempty"`
	Months  sumRecords `json:"months,omitempty"`
	Status  string     `json:"status,omitempty"` // "" is not known
	Since   time.Time  `json:"since"`

	Latency *latencyRecord `json:"latency,omitempty"`
}

// A sumRecord is the first day of a day or month, counted from 1 January 1970,
// and the milliseconds for which the node was healthy, sick, dead and under
// maintenance. Version 1.0 wrote all but the last.
type sumRecord [5]int64

type sumRecords []sumRecord

// UnmarshalJSON reads the records. They are most of what a start reads, and
// package json takes several times as long for them.
func (recs *sumRecords) UnmarshalJSON(text []byte) error {
	*recs = make(sumRecords, 0, max(bytes.Count(text, []byte("["))-1, 0))
	var rec sumRecord
	depth, i, digits := 0, 0, 0
	for _, c := range text {
		switch {
		case c >= '0' && c <= '9' && depth == 2 && i < len(rec) && digits < 18:
			rec[i] = 10*rec[i] + int64(c-'0')
			digits++
		case c == '[':
			depth++
		case c == ',' && depth == 2:
			i, digits = i+1, 0
		case c == ',':
		case c == ']' && depth == 2:
			*recs = append(*recs, rec)
			rec, i, digits = sumRecord{}, 0, 0
			depth--
		case c == ']':
			depth--
		default: // not as this program writes them
			return json.Unmarshal(text, (*[]sumRecord)(recs))
		}
	}
	return nil
}

// An incidentRecord is an incident, with labels to show should its node not be
// in the config any more.
type incidentRecord struct {
	ID           string          `json:"id"`
	Service      string          `json:"service"`
	Node         string          `json:"node"`
	ServiceLabel string          `json:"service_label,omitempty"`
	NodeLabel    string          `json:"node_label,omitempty"`
	Start        time.Time       `json:"start"`
	End          time.Time       `json:"end,omitzero"`
	Reason       string          `json:"reason,omitempty"`
	Hidden       bool            `json:"hidden,omitempty"` // its node is
	Ack          *ackRecord      `json:"ack,omitempty"`
	Told         []tellingRecord `json:"told,omitempty"`
}

type ackRecord struct {
	By    string    `json:"by"`
	Text  string    `json:"text,omitempty"`
	At    time.Time `json:"at"`
	Until time.Time `json:"until"`
}

type tellingRecord struct {
	Channel  string    `json:"channel"`
	At       time.Time `json:"at"`
	Accepted time.Time `json:"accepted,omitzero"`
}

// pastNames are the words for what a node has been.
var pastNames = [...]string{"healthy", "sick", "dead", "maintenance"}

// keep has the store keep what changed since the last time.
func (h *history) keep(st *state, now time.Time) {
	h.keptAt = now
	if st.ledger == nil {
		return // as in a replay
	}
	for _, ns := range h.unkept {
		t := &ns.track
		st.keep(record{Past: newPastRecord(ns.key(), t.past, t.kept, t.keptQuarter)}, nil)
		t.unkept, t.kept = false, t.past.days.current.from
		if l := t.past.latency; l != nil {
			t.keptQuarter = l.quarter
		}
	}
	h.unkept = h.unkept[:0]
	if !h.anyUnkept {
		return
	}
	h.anyUnkept = false
	for _, out := range h.all {
		switch {
		case !out.unkept:
		case out.young(now):
			h.anyUnkept = true // not an incident yet
		default:
			out.unkept = false
			st.keep(record{Incident: newIncidentRecord(&out.incident)}, nil)
		}
	}
}

// records yields all that the history knows now, also of nodes that are no
// longer in the config. It may be run through on another goroutine, while the
// state goes on.
func (h *history) records(st *state, now time.Time) iter.Seq[record] {
	type named struct {
		key  nodeKey
		past *nodeHistory // never changed
	}
	var pasts []named
	for ns := range st.allNodes() {
		pasts = append(pasts, named{ns.key(), ns.track.past})
	}
	for key, past := range h.gone {
		pasts = append(pasts, named{key, past})
	}
	var incidents []record
	for _, out := range h.all {
		if !out.young(now) {
			incidents = append(incidents, record{Incident: newIncidentRecord(&out.incident)})
		}
	}
	return func(yield func(record) bool) {
		for _, n := range pasts {
			if !yield(record{Past: newPastRecord(n.key, n.past, 0, 0)}) {
				return
			}
		}
		for _, rec := range incidents {
			if !yield(rec) {
				return
			}
		}
	}
}

// newPastRecord is the record of a past without the days that were over before
// a date, and their months, and without the latency before a quarter. One day
// more does no harm: a clock that is put back a little at midnight books on the
// day before.
func newPastRecord(key nodeKey, past *nodeHistory, from date, fromQuarter quarter) *pastRecord {
	rec := &pastRecord{Service: key.service, Node: key.node, Since: past.since.UTC()}
	if past.known {
		rec.Status = pastNames[past.status]
	}
	from = max(from-1, 0)
	rec.Days = past.days.records(from)
	rec.Months = past.months.records(from.month())
	rec.Latency = past.latency.record(fromQuarter)
	return rec
}

// records are those of the sums that do not lie before a date.
func (l *sumRow) records(from date) (recs sumRecords) {
	for s := range l.all() {
		if s.from >= from {
			c := s.close()
			recs = append(recs, sumRecord{int64(c.from), int64(c.ms[healthy]), int64(c.ms[sick]), int64(c.ms[dead]), int64(c.ms[maintained])})
		}
	}
	return recs
}

func newIncidentRecord(in *incident) *incidentRecord {
	rec := &incidentRecord{
		ID:           in.id,
		Service:      in.service.ID,
		Node:         in.node.ID,
		ServiceLabel: in.service.Label,
		NodeLabel:    in.node.Label,
		Start:        in.start.UTC(),
		Reason:       in.reason,
		Hidden:       in.node.Hidden,
	}
	if a := in.ack; a != nil {
		rec.Ack = &ackRecord{a.by, a.text, utc(a.at), utc(a.until)}
	}
	for _, t := range in.tellings {
		rec.Told = append(rec.Told, tellingRecord{t.channel, utc(t.at), utc(t.accepted)})
	}
	if !in.end.IsZero() {
		// By the monotonic clock, which a file cannot hold.
		rec.End = rec.Start.Add(in.end.Sub(in.start))
	}
	return rec
}

// restorePast takes up what a record says of a node. Records must come in the
// order in which they were kept; resume follows the last one.
func (h *history) restorePast(rec *pastRecord) {
	key := nodeKey{rec.Service, rec.Node}
	past := &nodeHistory{since: rec.Since}
	if before := h.gone[key]; before != nil {
		past.days, past.months, past.latency = before.days, before.months, before.latency
	}
	past.days.restore(rec.Days)
	past.months.restore(rec.Months)
	past.latency = past.latency.restore(rec.Latency)
	if i := slices.Index(pastNames[:], rec.Status); i >= 0 {
		past.status, past.known = status(i), true
	}
	h.gone[key] = past
}

// restore puts sums in the place of those with the same date.
func (l *sumRow) restore(recs []sumRecord) {
	l.closed = slices.Grow(l.closed, len(recs))
	for _, rec := range recs {
		c := closedSum{from: date(rec[0])}
		for i := range c.ms {
			c.ms[i] = uint32(rec[1+i])
		}
		i, found := slices.BinarySearchFunc(l.closed, c.from, closedSum.compare)
		if found {
			l.closed[i] = c
		} else {
			l.closed = slices.Insert(l.closed, i, c)
		}
	}
}

// reopen makes the last sum of a row that was just read the current one. It
// mostly is, and so nothing is copied.
func (l *sumRow) reopen() {
	if last := len(l.closed) - 1; last >= 0 && !l.current.any() {
		l.current, l.closed = l.closed[last].open(), l.closed[:last]
	}
}

// restoreIncident takes up an incident, in the place of the one with its id.
func (h *history) restoreIncident(rec *incidentRecord) {
	out := &outage{incident: incident{
		id:      rec.ID,
		service: &Service{ID: rec.Service, Label: rec.ServiceLabel},
		node:    &Node{ID: rec.Node, Label: rec.NodeLabel, Hidden: rec.Hidden},
		start:   rec.Start,
		end:     rec.End,
		reason:  rec.Reason,
	}}
	if a := rec.Ack; a != nil {
		out.ack = &acknowledgement{a.By, a.Text, a.At.Local(), a.Until.Local()}
	}
	for _, t := range rec.Told {
		at := telling{channel: t.Channel, at: t.At.Local()}
		if !t.Accepted.IsZero() {
			at.accepted = t.Accepted.Local()
		}
		out.tellings = append(out.tellings, at)
	}
	if h.places == nil {
		h.places = make(map[string]int)
	}
	if i, known := h.places[rec.ID]; known {
		h.all[i] = out
		return
	}
	h.places[rec.ID] = len(h.all)
	h.all = append(h.all, out)
}

// resume goes on from what was restored, for a program that ran until alive
// and runs again now. What was in between is not known. An incident that
// lasted then lasts on until a check says otherwise.
func (h *history) resume(st *state, alive, now time.Time) {
	zone := now.Location()
	kept := make(map[nodeKey]date, len(h.gone)) // the files have the days before
	for key, past := range h.gone {
		kept[key] = dateOf(past.since.In(zone))
		// A span never has more than one midnight to cross. One that does was
		// begun by another clock.
		if alive.Sub(past.since) > 25*time.Hour+maxPause {
			past.known = false
		}
		past.days.reopen()
		past.months.reopen()
		h.gone[key] = past.become(healthy, false, alive.In(zone))
	}
	for ns := range st.allNodes() {
		ns.track = nodeTrack{fresh: ns.track.fresh, kept: kept[ns.key()]}
		if past := h.gone[ns.key()]; past != nil && past.latency != nil {
			ns.track.keptQuarter = past.latency.quarter
		}
	}
	h.enlist(st, now)
	h.forget()
	for ns := range st.allNodes() {
		s, known := ns.condition()
		st.rewrite(ns, ns.track.past.become(s, known, now)) // the file must not have it run on either
	}
	for _, out := range h.all {
		// Give these a monotonic reading, and keep clocks that were wrong
		// from making them last for ever, or less than nothing.
		if out.end.IsZero() {
			out.start = now.Add(-max(now.Sub(out.start), 0))
		} else if out.end.Before(out.start) {
			out.end = out.start
		}
	}
	h.sort()
	h.attach(st, alive, now)
	h.prune(now)
}

// attach ties the outages to the nodes of the config. Those that last end at
// the given time when their node is not among them, or is known to be back.
func (h *history) attach(st *state, end, now time.Time) {
	nodes := make(map[nodeKey]*nodeState)
	for ns := range st.allNodes() {
		nodes[ns.key()] = ns
		ns.track.outage = nil
	}
	for _, out := range h.all {
		ns := nodes[nodeKey{out.service.ID, out.node.ID}]
		if ns != nil {
			out.service, out.node = ns.service.conf, ns.conf
		}
		switch {
		case !out.end.IsZero():
		case ns == nil || ns.track.outage != nil || ns.isOver():
			out.end = end
			if end.Before(out.start) {
				out.end = out.start
			}
			out.unkept, h.anyUnkept = true, true
		default:
			ns.track.outage = out
		}
	}
	h.changed, st.dirty = true, true
}
