package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A quietTime is a time in which nobody is told of some nodes: a maintenance, which
// the page shows, or a silence, which it does not. It is never changed.
type quietTime struct {
	id        string // UUID, or config-N of the config's N-th maintenance
	title     string // of a maintenance
	text      string
	selectors selectors
	start     time.Time
	end       time.Time
	silence   bool
}

// running reports whether now is within it.
func (s *quietTime) running(now time.Time) bool { return !now.Before(s.start) && now.Before(s.end) }

// match returns the selectors as strings.
func (s *quietTime) match() (match []string) {
	for _, sel := range s.selectors {
		match = append(match, string(sel))
	}
	return match
}

// maxQuietTimes is how many maintenances and silences operators may have made that
// are not over.
const maxQuietTimes = 1000

// replan finds out which times there are and which nodes are in one. It is due
// when one is added or removed, begins or ends.
func (st *state) replan(now time.Time) {
	st.made = slices.DeleteFunc(slices.Clone(st.made), func(s *quietTime) bool { return !now.Before(s.end) })
	times := slices.Clone(st.made)
	for i := range st.conf.Maintenance {
		w := &st.conf.Maintenance[i]
		if start, end, ok := w.next(now); ok {
			times = append(times, &quietTime{id: fmt.Sprintf("config-%d", i+1), title: w.Title, text: w.Text,
				selectors: w.Selectors, start: start, end: end})
		}
	}
	slices.SortStableFunc(times, func(a, b *quietTime) int { return cmp.Compare(a.start.UnixNano(), b.start.UnixNano()) })
	st.quietTimes, st.quietDue, st.dirty = times, time.Time{}, true

	var running []*quietTime
	for _, s := range times {
		next := s.end
		if s.running(now) {
			running = append(running, s)
		} else {
			next = s.start
		}
		if st.quietDue.IsZero() || next.Before(st.quietDue) {
			st.quietDue = next
		}
	}
	for ns := range st.allNodes() {
		var maintenance, silence *quietTime // the ones that end last
		for _, s := range running {
			last := &maintenance
			if s.silence {
				last = &silence
			}
			if (*last == nil || s.end.After((*last).end)) && s.selectors.matches(ns.service.conf.ID, ns.conf.ID) {
				*last = s
			}
		}
		if ns.maintenance != maintenance || ns.silence != silence {
			ns.maintenance, ns.silence = maintenance, silence
			st.touch(ns)
			st.observe(ns, "", now)
		}
	}
}

// plan adds a maintenance or a silence.
func (st *state) plan(s *quietTime, now time.Time, done chan<- error) {
	if len(st.made) >= maxQuietTimes {
		done <- full("%d maintenances and silences are planned, the maximum: end some first", maxQuietTimes)
		return
	}
	st.made = append(st.made, s)
	st.replan(now)
	st.keep(record{Quiet: s.record()}, done)
}

// endQuiet ends a running maintenance or silence, or cancels a planned one.
func (st *state) endQuiet(id string, silence bool, now time.Time, done chan<- error) {
	i := slices.IndexFunc(st.made, func(s *quietTime) bool { return s.id == id && s.silence == silence })
	if i >= 0 {
		st.made = slices.Concat(st.made[:i], st.made[i+1:])
		st.replan(now)
		st.keep(record{Quiet: &quietRecord{ID: id, Gone: true}}, done)
		return
	}
	if slices.ContainsFunc(st.quietTimes, func(s *quietTime) bool { return s.id == id && s.silence == silence }) {
		done <- &eventError{errConflict, "this maintenance is in the config file: change it there"}
		return
	}
	kind := "maintenance"
	if silence {
		kind = "silence"
	}
	done <- notFound("no %s %q", kind, id)
}

// noReminders returns until when nobody is to be reminded of the node; the
// zero time is no such time.
func (st *state) noReminders(ns *nodeState, now time.Time) (until time.Time) {
	if ns == nil {
		return until
	}
	later := func(t time.Time) {
		if t.After(now) && t.After(until) {
			until = t
		}
	}
	for _, s := range []*quietTime{ns.maintenance, ns.silence} {
		if s != nil {
			later(s.end)
		}
	}
	if out := ns.track.outage; out != nil && out.ack != nil {
		later(out.ack.until)
	}
	return until
}

// A quietRecord is a maintenance or a silence that an operator made.
type quietRecord struct {
	ID        string    `json:"id"`
	Title     string    `json:"title,omitempty"`
	Text      string    `json:"text,omitempty"`
	Selectors []string  `json:"selectors,omitempty"`
	Start     time.Time `json:"start,omitzero"`
	End       time.Time `json:"end,omitzero"`
	Silence   bool      `json:"silence,omitempty"`
	Gone      bool      `json:"gone,omitempty"`
}

func (s *quietTime) record() *quietRecord {
	return &quietRecord{
		ID: s.id, Title: s.title, Text: s.text, Selectors: s.match(),
		Start: utc(s.start), End: utc(s.end), Silence: s.silence,
	}
}

func (rec *quietRecord) quietTime() *quietTime {
	s := &quietTime{id: rec.ID, title: rec.Title, text: rec.Text, start: rec.Start.Local(), end: rec.End.Local(), silence: rec.Silence}
	for _, sel := range rec.Selectors {
		s.selectors = append(s.selectors, selector(sel))
	}
	return s
}
