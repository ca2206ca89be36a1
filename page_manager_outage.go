package main

import (
	"slices"
	"strings"
	"time"
)

// A managerOutage is an outage as operators read it.
type managerOutage struct {
	ID              string               `json:"id"`
	Service         string               `json:"service"`
	ServiceLabel    string               `json:"service_label"`
	Node            string               `json:"node"`
	Label           string               `json:"label"`
	Start           time.Time            `json:"start"`
	End             *time.Time           `json:"end"`
	Seconds         int64                `json:"seconds"`
	Reason          string               `json:"reason"`
	Replicas        []outageReplica      `json:"replicas"` // dead now
	Acknowledgement *acknowledgementJSON `json:"acknowledgement"`
	Alerts          []alertedJSON        `json:"alerts"`
	Updates         []outageUpdate       `json:"updates"` // oldest first
}

type outageReplica struct {
	ID     string `json:"id"`
	Label  string `json:"label"`
	Reason string `json:"reason"`
}

type acknowledgementJSON struct {
	By    string    `json:"by"`
	Text  string    `json:"text"`
	At    time.Time `json:"at"`
	Until time.Time `json:"until"`
}

// An alertedJSON says when a channel got an alert about the outage.
type alertedJSON struct {
	Channel  string     `json:"channel"`
	At       time.Time  `json:"at"`
	Accepted *time.Time `json:"accepted"`
}

// An outageUpdate is what people wrote of the outage.
type outageUpdate struct {
	Time  time.Time `json:"time"`
	Title string    `json:"title"`
	State *string   `json:"state"`
	Text  string    `json:"text"`
}

// past returns the outages as they are now, newest first, and the announcements.
func (m *managerAPI) past(c *managerCall) (all []incident, notes []announcement, err error) {
	err = m.call(c.r, func(st *state, _ time.Time, done chan<- error) {
		for _, out := range slices.Backward(st.history.all) {
			all = append(all, out.incident)
		}
		notes = slices.Clone(st.announcements)
		done <- nil
	})
	return all, notes, err
}

// outages lists the open ones and those of 90 days, newest first.
func (m *managerAPI) outages(c *managerCall) (any, error) {
	selected, err := c.selectors()
	if err != nil {
		return nil, err
	}
	all, notes, err := m.past(c)
	if err != nil {
		return nil, err
	}
	list := []managerOutage{}
	for i := range all {
		if in := &all[i]; selected.matches(in.service.ID, in.node.ID) {
			list = append(list, newManagerOutage(in, m.snaps.load(), notes, time.Now()))
		}
	}
	return list, nil
}

// outage answers with one of them.
func (m *managerAPI) outage(c *managerCall) (any, error) {
	all, notes, err := m.past(c)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(in incident) bool { return in.id == c.id })
	if i < 0 {
		return nil, notFound("no outage %q", c.id)
	}
	return newManagerOutage(&all[i], m.snaps.load(), notes, time.Now()), nil
}

func newManagerOutage(in *incident, snap *snapshot, notes []announcement, now time.Time) managerOutage {
	v := managerOutage{
		ID: in.id, Service: in.service.ID, ServiceLabel: in.service.Label, Node: in.node.ID, Label: in.node.Label,
		Start: inSecond(in.start), End: timeOrNil(in.end), Seconds: int64(in.length(now) / time.Second), Reason: in.reason,
		Replicas: []outageReplica{}, Alerts: []alertedJSON{}, Updates: []outageUpdate{},
	}
	if a := in.ack; a != nil {
		v.Acknowledgement = &acknowledgementJSON{a.by, a.text, inSecond(a.at), inSecond(a.until)}
	}
	for _, t := range in.tellings {
		v.Alerts = append(v.Alerts, alertedJSON{t.channel, inSecond(t.at), timeOrNil(t.accepted)})
	}
	if in.end.IsZero() {
		v.Replicas = deadReplicas(snap, in)
	}
	for i := range notes {
		v.Updates = append(v.Updates, updatesOf(&notes[i], in, now)...)
	}
	return v
}

// deadReplicas returns what is dead of the node of an outage.
func deadReplicas(snap *snapshot, in *incident) []outageReplica {
	list := []outageReplica{}
	_, nv := snap.node(in.service.ID, in.node.ID)
	if nv == nil {
		return list
	}
	for _, r := range nv.replicas.all() {
		if r.status == dead {
			list = append(list, outageReplica{r.id, nv.conf.Labels[r.id], r.reason})
		}
	}
	return list
}

// updatesOf returns the texts of an announcement, if it is about the node of an
// outage and was published or open during it.
func updatesOf(a *announcement, in *incident, now time.Time) (list []outageUpdate) {
	about := slices.ContainsFunc(a.match, func(s string) bool { return selector(s).matches(in.service.ID, in.node.ID) })
	end := in.end
	if end.IsZero() {
		end = now
	}
	over, ended := a.ended(now)
	if !about || a.at.After(end) || ended && over.Before(in.start) {
		return nil
	}
	list = append(list, outageUpdate{inSecond(a.at), a.title, nil, a.text})
	for _, u := range a.updates {
		list = append(list, outageUpdate{inSecond(u.at), a.title, textOrNil(u.state), u.text})
	}
	return list
}

// acknowledge records that somebody takes care of an outage: it ends its
// reminders, or suspends them for the given time.
func (m *managerAPI) acknowledge(c *managerCall) (any, error) {
	var b struct {
		By      *string  `json:"by"`
		Text    *string  `json:"text"`
		Seconds *float64 `json:"seconds"`
	}
	if err := c.decode(&b, decodeStrict); err != nil {
		return nil, err
	}
	var a acknowledgement
	var err error
	if b.By != nil && *b.By != "" {
		if a.by, err = checkLine("by", *b.By); err != nil {
			return nil, err
		}
	}
	if a.text, err = checkText("text", b.Text); err != nil {
		return nil, err
	}
	lasts, err := checkSeconds("seconds", b.Seconds)
	if err != nil {
		return nil, err
	}
	return nil, m.call(c.r, func(st *state, now time.Time, done chan<- error) {
		a.at, a.until = now, now.Add(lasts)
		st.acknowledge(c.id, &a, now, done)
	})
}

// unacknowledge removes the acknowledgement.
func (m *managerAPI) unacknowledge(c *managerCall) (any, error) {
	return nil, m.call(c.r, func(st *state, now time.Time, done chan<- error) { st.acknowledge(c.id, nil, now, done) })
}

// A quietBody is a maintenance or a silence as operators write it.
type quietBody struct {
	Title     *string    `json:"title"`
	Text      *string    `json:"text"`
	Selectors []string   `json:"selectors"`
	Start     *time.Time `json:"start"`
	End       *time.Time `json:"end"`
}

type maintenanceJSON struct {
	ID        string    `json:"id"`
	Title     string    `json:"title"`
	Text      string    `json:"text"`
	Selectors selectors `json:"selectors"`
	Start     time.Time `json:"start"`
	End       time.Time `json:"end"`
	Running   bool      `json:"running"`
}

type silenceJSON struct {
	ID        string    `json:"id"`
	Text      string    `json:"text"`
	Selectors selectors `json:"selectors"`
	Start     time.Time `json:"start"`
	End       time.Time `json:"end"`
}

// quietTimes returns the silences, or the maintenances, by their start.
func (m *managerAPI) quietTimes(c *managerCall, silence bool) (list []*quietTime, err error) {
	err = m.call(c.r, func(st *state, now time.Time, done chan<- error) {
		for _, q := range st.quietTimes {
			if q.silence == silence && now.Before(q.end) {
				list = append(list, q)
			}
		}
		done <- nil
	})
	return list, err
}

// maintenances lists the running and the planned ones.
func (m *managerAPI) maintenances(c *managerCall) (any, error) {
	all, err := m.quietTimes(c, false)
	if err != nil {
		return nil, err
	}
	list := []maintenanceJSON{}
	for _, q := range all {
		list = append(list, maintenanceJSON{q.id, q.title, q.text, q.selectors, inSecond(q.start), inSecond(q.end), q.running(time.Now())})
	}
	return list, nil
}

// plan begins or plans a maintenance and answers with its id.
func (m *managerAPI) plan(c *managerCall) (any, error) {
	var b quietBody
	if err := c.decode(&b, decodeStrict); err != nil {
		return nil, err
	}
	q, err := b.maintenance(c.conf, time.Now())
	if err != nil {
		return nil, err
	}
	return m.addQuiet(c, q)
}

func (m *managerAPI) addQuiet(c *managerCall, q *quietTime) (any, error) {
	q.id = newUUID()
	err := m.call(c.r, func(st *state, now time.Time, done chan<- error) { st.plan(q, now, done) })
	if err != nil {
		return nil, err
	}
	return map[string]string{"id": q.id}, nil
}

// maintenance checks the body and returns what it says, without an id.
func (b *quietBody) maintenance(conf *Config, now time.Time) (*quietTime, error) {
	q := &quietTime{start: now}
	var err error
	if q.title, err = checkTitle(b.Title); err != nil {
		return nil, err
	}
	if b.Text != nil && *b.Text != "" {
		if q.text, err = checkText("text", b.Text); err != nil {
			return nil, err
		}
	}
	if q.selectors, err = someSelectors(conf, b.Selectors); err != nil {
		return nil, err
	}
	if b.Start != nil && b.Start.After(now) {
		q.start = b.Start.Local()
	}
	switch {
	case b.End == nil:
		return nil, invalid("end is missing: a time like 2026-11-26T22:00:00Z")
	case !b.End.After(now):
		return nil, invalid("end %s has passed", b.End.Format(time.RFC3339))
	case !b.End.After(q.start):
		return nil, invalid("end %s is not after start %s", b.End.Format(time.RFC3339), b.Start.Format(time.RFC3339))
	case b.End.After(now.Add(maxAhead)):
		return nil, invalid("end is more than 366 days ahead")
	}
	q.end = b.End.Local()
	return q, nil
}

// endMaintenance ends a running maintenance and cancels a planned one.
func (m *managerAPI) endMaintenance(c *managerCall) (any, error) {
	return nil, m.call(c.r, func(st *state, now time.Time, done chan<- error) { st.endQuiet(c.id, false, now, done) })
}

// silences lists the running ones.
func (m *managerAPI) silences(c *managerCall) (any, error) {
	all, err := m.quietTimes(c, true)
	if err != nil {
		return nil, err
	}
	list := []silenceJSON{}
	for _, q := range all {
		list = append(list, silenceJSON{q.id, q.text, q.selectors, inSecond(q.start), inSecond(q.end)})
	}
	return list, nil
}

// silence begins a silence and answers with its id.
func (m *managerAPI) silence(c *managerCall) (any, error) {
	var b silenceBody
	if err := c.decode(&b, decodeStrict); err != nil {
		return nil, err
	}
	q, err := b.silence(c.conf, time.Now())
	if err != nil {
		return nil, err
	}
	return m.addQuiet(c, q)
}

type silenceBody struct {
	Selectors []string `json:"selectors"`
	Seconds   *float64 `json:"seconds"`
	Text      *string  `json:"text"`
}

// silence checks the body and returns what it says, without an id.
func (b *silenceBody) silence(conf *Config, now time.Time) (*quietTime, error) {
	q := &quietTime{start: now, silence: true}
	var err error
	if q.selectors, err = someSelectors(conf, b.Selectors); err != nil {
		return nil, err
	}
	if q.text, err = checkText("text", b.Text); err != nil {
		return nil, err
	}
	lasts, err := checkSeconds("seconds", b.Seconds)
	q.end = now.Add(lasts)
	return q, err
}

// endSilence ends a silence.
func (m *managerAPI) endSilence(c *managerCall) (any, error) {
	return nil, m.call(c.r, func(st *state, now time.Time, done chan<- error) { st.endQuiet(c.id, true, now, done) })
}

// someSelectors checks selectors, of which there must be one.
func someSelectors(conf *Config, all []string) (selectors, error) {
	if len(all) == 0 {
		return nil, invalid(`selectors is missing or empty: a list of "service", "service:node" or "*"`)
	}
	return checkSelectors(conf, all)
}

// checkSeconds checks a length of time, which is required.
func checkSeconds(field string, s *float64) (time.Duration, error) {
	if s == nil || *s < 1 || *s > maxMute || *s != float64(int64(*s)) {
		return 0, invalid("%s is not a whole number from 1 to %d", field, maxMute)
	}
	return time.Duration(*s) * time.Second, nil
}

// checkLine checks a short text on one line.
func checkLine(field, s string) (string, error) {
	if _, err := checkTitle(&s); err != nil {
		return "", invalid("%s", strings.Replace(err.Error(), "title", field, 1))
	}
	return s, nil
}
