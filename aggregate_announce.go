package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// An announcement is a public note by the operators. Snapshots share it, so it
// is replaced and never changed.
type announcement struct {
	id       string // UUID v4
	title    string
	text     string
	at       time.Time
	incident bool      // an incident, else a notice
	match    []string  // selectors of the services and nodes it is about; none: the whole page
	state    string    // one of announcementStates, or ""
	until    time.Time // when it ends by itself; zero: never
	updates  []announcementUpdate
	revision int // grows by one with each change
}

// An announcementUpdate is what became known later.
type announcementUpdate struct {
	at    time.Time
	state string // "" when it did not change
	text  string
}

// stateResolved ends an announcement.
const stateResolved = "resolved"

var announcementStates = []string{"investigating", "identified", "monitoring", stateResolved}

// ended returns when the announcement ended, and whether it has.
func (a *announcement) ended(now time.Time) (time.Time, bool) {
	if a.state == stateResolved {
		at := a.at
		for _, u := range a.updates {
			if u.state == stateResolved {
				at = u.at
			}
		}
		return at, true
	}
	return a.until, !a.until.IsZero() && !now.Before(a.until)
}

const (
	// maxAnnouncements is how many announcements the page shows at once, and
	// maxKeptAnnouncements how many there are with those that ended.
	maxAnnouncements     = 100
	maxKeptAnnouncements = 1000

	// keptAnnouncements is how long an announcement is kept after its end.
	keptAnnouncements = 90 * 24 * time.Hour

	// maxUpdates and maxUpdateText bound the updates of one announcement:
	// their number and the bytes of all their texts.
	maxUpdates    = 100
	maxUpdateText = 64 << 10
)

// splitAnnouncements returns the announcements that go on, oldest first, and
// those that ended within keptAnnouncements, newest first.
func (st *state) splitAnnouncements(now time.Time) (current, past []announcement) {
	for _, a := range st.announcements {
		at, over := a.ended(now)
		switch {
		case !over:
			current = append(current, a)
		case now.Sub(at) < keptAnnouncements:
			past = append(past, a)
		}
	}
	slices.Reverse(past)
	return current, past
}

// announcementsEnd returns when the next announcement ends by itself.
func (st *state) announcementsEnd(now time.Time) (next time.Time, ok bool) {
	for i := range st.announcements {
		if a := &st.announcements[i]; a.until.After(now) && (!ok || a.until.Before(next)) {
			next, ok = a.until, true
		}
	}
	return next, ok
}

// endAnnouncements has the page shown anew when an announcement has ended.
func (st *state) endAnnouncements(now time.Time) {
	if !st.announcementsDue.IsZero() && !now.Before(st.announcementsDue) {
		st.dirty = true
		st.announcementsDue, _ = st.announcementsEnd(now)
	}
}

// announce publishes an announcement.
func (st *state) announce(a announcement, done chan<- error) {
	current, _ := st.splitAnnouncements(a.at)
	if len(current) >= maxAnnouncements {
		done <- full("%d announcements are published, the maximum: delete one first", maxAnnouncements)
		return
	}
	if len(st.announcements) >= maxKeptAnnouncements {
		st.announcements = slices.DeleteFunc(slices.Clone(st.announcements), func(old announcement) bool {
			at, over := old.ended(a.at)
			return over && a.at.Sub(at) >= keptAnnouncements
		})
	}
	if len(st.announcements) >= maxKeptAnnouncements {
		done <- full("%d announcements are kept, the maximum: delete some", maxKeptAnnouncements)
		return
	}
	a.revision = 1
	st.announcements = append(st.announcements, a)
	st.keepAnnouncement(a, a.at, done)
}

// keepAnnouncement saves an announcement that is new or has changed.
func (st *state) keepAnnouncement(a announcement, now time.Time, done chan<- error) {
	st.dirty = true
	st.announcementsDue, _ = st.announcementsEnd(now)
	st.keep(announced(a), done)
}

// announcementAt returns the place of an announcement, or -1 and sends the
// error.
func (st *state) announcementAt(id string, done chan<- error) int {
	i := slices.IndexFunc(st.announcements, func(a announcement) bool { return a.id == id })
	if i < 0 {
		done <- notFound("no announcement %q", id)
	}
	return i
}

// editAnnouncement replaces what an announcement says. The revision is the one
// that the editor saw: when another change came in between, the edit fails.
func (st *state) editAnnouncement(a announcement, now time.Time, done chan<- error) {
	i := st.announcementAt(a.id, done)
	if i < 0 {
		return
	}
	old := st.announcements[i]
	if a.revision != old.revision {
		done <- &eventError{errConflict, "somebody else has changed this announcement: read it again"}
		return
	}
	a.at, a.updates, a.revision = old.at, old.updates, old.revision+1
	// The end has its time, and a state that an update has is changed by a later one.
	stated := slices.ContainsFunc(a.updates, func(u announcementUpdate) bool { return u.state != "" })
	if a.state != old.state && (a.state == stateResolved || a.state != "" && stated) {
		a.updates = append(slices.Clone(a.updates), announcementUpdate{at: now, state: a.state})
	}
	st.replaceAnnouncement(i, a, now, done)
}

// updateAnnouncement adds an update to an announcement.
func (st *state) updateAnnouncement(id string, u announcementUpdate, done chan<- error) {
	i := st.announcementAt(id, done)
	if i < 0 {
		return
	}
	a := st.announcements[i]
	size := len(u.text)
	for _, old := range a.updates {
		size += len(old.text)
	}
	if len(a.updates) >= maxUpdates || size > maxUpdateText {
		done <- full("an announcement has at most %d updates with %d bytes of text", maxUpdates, maxUpdateText)
		return
	}
	if u.state != "" {
		a.state = u.state
	}
	a.updates = append(slices.Clone(a.updates), u)
	a.revision++
	st.replaceAnnouncement(i, a, u.at, done)
}

func (st *state) replaceAnnouncement(i int, a announcement, now time.Time, done chan<- error) {
	st.announcements = slices.Clone(st.announcements) // snapshots share the old list
	st.announcements[i] = a
	st.keepAnnouncement(a, now, done)
}

// retract removes an announcement.
func (st *state) retract(id string, done chan<- error) {
	i := st.announcementAt(id, done)
	if i < 0 {
		return
	}
	st.announcements = slices.Concat(st.announcements[:i], st.announcements[i+1:])
	st.dirty = true
	st.keep(retracted(id), done)
}

// An announcementRecord is an announcement as it is saved. Older programs left
// out all that is omitted when empty.
type announcementRecord struct {
	ID       string         `json:"id"`
	Title    string         `json:"title"`
	Text     string         `json:"text"`
	At       time.Time      `json:"at"`
	Incident bool           `json:"incident,omitempty"`
	Match    []string       `json:"selectors,omitempty"`
	State    string         `json:"state,omitempty"`
	Until    time.Time      `json:"until,omitzero"`
	Updates  []updateRecord `json:"updates,omitempty"`
	Revision int            `json:"revision,omitempty"` // none: 1
}

type updateRecord struct {
	At    time.Time `json:"at"`
	State string    `json:"state,omitempty"`
	Text  string    `json:"text,omitempty"`
}

// announced is the record of an announcement.
func announced(a announcement) record {
	rec := announcementRecord{ID: a.id, Title: a.title, Text: a.text, At: utc(a.at), Incident: a.incident,
		Match: a.match, State: a.state, Until: utc(a.until)}
	if a.revision > 1 {
		rec.Revision = a.revision
	}
	for _, u := range a.updates {
		rec.Updates = append(rec.Updates, updateRecord{utc(u.at), u.state, u.text})
	}
	return record{Announcement: &rec}
}

// restored returns the announcement that was saved.
func (rec *announcementRecord) restored() announcement {
	a := announcement{id: rec.ID, title: rec.Title, text: rec.Text, at: rec.At.Local(), incident: rec.Incident,
		match: rec.Match, state: rec.State, until: rec.Until, revision: max(rec.Revision, 1)}
	if !a.until.IsZero() {
		a.until = a.until.Local()
	}
	for _, u := range rec.Updates {
		a.updates = append(a.updates, announcementUpdate{u.At.Local(), u.State, u.Text})
	}
	return a
}

// A quietTime is a time in which nobody is told of some nodes: a maintenance, which
// the page shows, or a silence, which it does not. It is never changed.
type quietTime struct {
	id        string // UUID, or config-N of the config's N-th maintenance
	title     string // of a maintenance
	text      string
	selectors selectors
	start     time.Time
	end       time.Time
	made      time.Time // by an operator; zero: of the config, or by an older program
	silence   bool
	config    bool // made of a window of the config
}

// running reports whether now is within it.
func (s *quietTime) running(now time.Time) bool { return !now.Before(s.start) && now.Before(s.end) }

// lastingID returns an id that stays when it is over.
func (s *quietTime) lastingID() string {
	if !s.config {
		return s.id
	}
	return fmt.Sprintf("%s-%d", s.id, s.start.Unix())
}

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
	before := slices.Concat(st.quietTimes, st.made) // those of the files were not planned yet
	st.made = slices.DeleteFunc(slices.Clone(st.made), func(s *quietTime) bool { return !now.Before(s.end) })
	times := slices.Clone(st.made)
	for i := range st.conf.Maintenance {
		w := &st.conf.Maintenance[i]
		if start, end, ok := w.next(now); ok {
			times = append(times, &quietTime{id: fmt.Sprintf("config-%d", i+1), title: w.Title, text: w.Text,
				selectors: w.Selectors, start: start, end: end, config: true})
		}
	}
	slices.SortStableFunc(times, func(a, b *quietTime) int { return cmp.Compare(a.start.UnixNano(), b.start.UnixNano()) })
	st.quietTimes, st.quietDue, st.dirty = times, time.Time{}, true
	st.retire(before, now)

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
	st.logQuiet(running, now)
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

// retire adds to the past maintenances those that ran and do no longer. One of
// the config gets an id of its own, as the next one will have its present one.
func (st *state) retire(before []*quietTime, now time.Time) {
	past := slices.Clone(st.pastMaintenances)
	for _, s := range before {
		same := func(t *quietTime) bool {
			return t.start.Equal(s.start) && (t.id == s.id || t.title == s.title)
		}
		if s.silence || s.start.After(now) || slices.ContainsFunc(st.quietTimes, same) || slices.ContainsFunc(past, same) {
			continue
		}
		over := *s
		if now.Before(over.end) {
			over.end = now
		}
		if over.config {
			over.id, over.config = s.lastingID(), false
			st.keep(record{Quiet: over.record()}, nil)
		}
		past = append(past, &over)
	}
	past = slices.DeleteFunc(past, func(s *quietTime) bool { return now.Sub(s.end) >= keptAnnouncements })
	slices.SortStableFunc(past, func(a, b *quietTime) int { return a.end.Compare(b.end) })
	st.pastMaintenances = past[max(0, len(past)-maxQuietTimes):]
}

// logQuiet notes which maintenances and silences have begun and ended.
func (st *state) logQuiet(running []*quietTime, now time.Time) {
	note := func(some, others []*quietTime, result string) {
		for _, q := range some {
			if slices.ContainsFunc(others, func(o *quietTime) bool { return o.id == q.id && o.start.Equal(q.start) }) {
				continue
			}
			e := logEvent{Time: now, Kind: "maintenance", Result: result, Text: cmp.Or(q.title, q.text)}
			if q.silence {
				e.Kind = "silence"
			}
			for ns := range st.allNodes() {
				if len(e.Nodes) < maxEventNodes && q.selectors.matches(ns.service.conf.ID, ns.conf.ID) {
					e.Nodes = append(e.Nodes, ns.service.conf.ID+":"+ns.conf.ID)
				}
			}
			st.eventLog.add(e)
		}
	}
	note(st.quietNow, running, "ended")
	note(running, st.quietNow, "began")
	st.quietNow = running
}

// plan adds a maintenance or a silence.
func (st *state) plan(s *quietTime, now time.Time, done chan<- error) {
	if len(st.made) >= maxQuietTimes {
		done <- full("%d maintenances and silences are planned, the maximum: end some first", maxQuietTimes)
		return
	}
	s.made = now
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
		rec := &quietRecord{ID: id, Gone: true}
		if i := slices.IndexFunc(st.pastMaintenances, func(s *quietTime) bool { return s.id == id }); i >= 0 {
			rec = st.pastMaintenances[i].record() // it ran until now
		}
		st.keep(record{Quiet: rec}, done)
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
	Made      time.Time `json:"made,omitzero"`
	Silence   bool      `json:"silence,omitempty"`
	Gone      bool      `json:"gone,omitempty"`
}

func (s *quietTime) record() *quietRecord {
	return &quietRecord{
		ID: s.id, Title: s.title, Text: s.text, Selectors: s.match(),
		Start: utc(s.start), End: utc(s.end), Made: utc(s.made), Silence: s.silence,
	}
}

func (rec *quietRecord) quietTime() *quietTime {
	s := &quietTime{id: rec.ID, title: rec.Title, text: rec.Text, start: rec.Start.Local(), end: rec.End.Local(), silence: rec.Silence}
	for _, sel := range rec.Selectors {
		s.selectors = append(s.selectors, selector(sel))
	}
	if !rec.Made.IsZero() {
		s.made = rec.Made.Local()
	}
	return s
}
