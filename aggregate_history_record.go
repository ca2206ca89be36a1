package main

import (
	"bytes"
	"errors"
	"iter"
	"slices"
	"strconv"
	"time"
)

// A pastRecord is what changed in a node's past: it replaces the days and
// months that it names, and what the node has been since.
type pastRecord struct {
	Service string    `json:"service"`
	Node    string    `json:"node"`
	Status  string    `json:"status,omitempty"` // "" is not known
	Since   time.Time `json:"since"`

	Latency *latencyRecord `json:"latency,omitempty"`

	// Lists of sums are most of the text of a state. Package json would take
	// several times as long for them as appendSums and cutSums do.
	Days   sumRuns `json:"-"`
	Months sumRuns `json:"-"`
}

// appendSums adds the lists of sums, where there are any, as further fields of
// the record's text: for each sum the first day, counted from 1 January 1970,
// and the milliseconds for which the node was healthy, sick, dead and under
// maintenance.
func (rec *pastRecord) appendSums(text []byte) []byte {
	for _, list := range []struct {
		key  string
		sums sumRuns
	}{{"days", rec.Days}, {"months", rec.Months}} {
		separator := `,"` + list.key + `":[[`
		for c := range list.sums.all() {
			text = strconv.AppendInt(append(text, separator...), int64(c.from), 10)
			for _, ms := range c.ms {
				text = strconv.AppendUint(append(text, ','), uint64(ms), 10)
			}
			separator = "],["
		}
		if list.sums != nil {
			text = append(text, "]]"...)
		}
	}
	return text
}

var errSums = errors.New("a list of sums is not as this program writes it")

// cutSums takes the list of sums with that key out of the text of a record, and
// leaves an empty one. In version 1.0, sums had no maintenance.
func cutSums(text []byte, key string) (sums sumRuns, rest []byte, err error) {
	key = `"` + key + `":[` // not within a string, where quotes are escaped
	begin := bytes.Index(text, []byte(key+"["))
	if begin < 0 {
		return nil, text, nil
	}
	begin += len(key)
	sums = make(sumRuns, 0, 16) // enough for most
	var rec [5]uint64
	inside, i, digits := false, 0, 0
	for at, c := range text[begin:] {
		switch {
		case c >= '0' && c <= '9' && inside && digits < 10:
			rec[i] = 10*rec[i] + uint64(c-'0')
			digits++
		case c == ',' && inside && digits > 0 && i+1 < len(rec):
			i, digits = i+1, 0
		case c == ']' && inside && digits > 0:
			sums.set(closedSum{date(rec[0]), [4]uint32{uint32(rec[1]), uint32(rec[2]), uint32(rec[3]), uint32(rec[4])}})
			inside = false
		case c == '[' && !inside:
			rec, inside, i, digits = [5]uint64{}, true, 0, 0
		case c == ',' && !inside:
		case c == ']' && !inside:
			return sums, append(text[:begin], text[begin+at:]...), nil
		default:
			return nil, text, errSums
		}
	}
	return nil, text, errSums
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
	rec.Days = past.days.from(from)
	rec.Months = past.months.from(from.month())
	rec.Latency = past.latency.record(fromQuarter)
	return rec
}

// from returns the sums that do not lie before a date.
func (l *sumRow) from(d date) (sums sumRuns) {
	for s := range l.all() {
		if s.from >= d {
			sums.add(s.close())
		}
	}
	return sums
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

// restore puts sums in the place of those with the same date. It may change the
// row, which nobody else has yet.
func (l *sumRow) restore(sums sumRuns) {
	if l.closed == nil {
		l.closed = slices.Clone(sums)
		return
	}
	for c := range sums.all() {
		l.closed.set(c)
	}
}

// reopen makes the last sum of a row that was just read the current one.
func (l *sumRow) reopen() {
	if len(l.closed) > 0 && !l.current.any() {
		last := l.closed.pop()
		l.current = last.open()
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
