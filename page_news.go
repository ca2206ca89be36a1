package main

import (
	"cmp"
	"hash/maphash"
	"html/template"
	"slices"
	"strings"
	"time"
)

// A noteView is a card of what people wrote: an incident, maintenance, or an
// announcement.
type noteView struct {
	ID, State string // an element's id, and the class of the card
	Icon      string // a class for the mark, where it is not the state's
	Kind      string
	When      template.HTML
	Title     string
	Text      []textPart    // instead of updates
	Affects   template.HTML // links to what it is about
	Updates   []updateView  // newest first
}

type updateView struct {
	Word string
	At   template.HTML
	Text []textPart
}

// A textPart is a piece of text that people wrote, or an address in it.
type textPart struct {
	Text string
	Link template.URL
}

// maxHits is how many services and nodes a note names.
const maxHits = 12

// about returns what an announcement is about: the nodes, and links to them, or
// to a service that is chosen as a whole. About everything there are none.
func (s *snapshot) about(match []string) (nodes map[*Node]*nodeView, hits []labelLink) {
	nodes = make(map[*Node]*nodeView)
	for _, sv := range s.services {
		whole := slices.Contains(match, sv.conf.ID)
		if whole {
			hits = append(hits, labelLink{steady(sv.conf.Label), template.URL("#" + anchor(sv.conf))})
		}
		for _, nv := range sv.nodes {
			switch {
			case whole, slices.ContainsFunc(match, func(m string) bool { return m == "*" }):
			case slices.ContainsFunc(match, func(m string) bool { return selector(m).matches(sv.conf.ID, nv.conf.ID) }):
				hits = append(hits, labelLink{steady(nv.conf.Label), template.URL("#" + nodePath(sv.conf, nv.conf))})
			default:
				continue
			}
			nodes[nv.conf] = nv
		}
	}
	return nodes, hits[:min(len(hits), maxHits)]
}

// updates returns what an announcement says as a log, newest first; nil where
// it says one thing only.
func (l *language) updates(a *announcement, now time.Time) (all []updateView) {
	if len(a.updates) == 0 && a.state == "" {
		return nil
	}
	first := a.state // as nothing changed it
	for _, u := range a.updates {
		if u.state != "" {
			first = ""
		}
		all = append(all, updateView{l.stateWord(u.state, ""), l.moment(u.at, now), linked(u.text)})
	}
	slices.Reverse(all)
	for i := range all { // an update without a state
		all[i].Word = cmp.Or(all[i].Word, l.words["update"])
	}
	if first == "" && a.incident {
		first = "investigating"
	}
	return append(all, updateView{l.stateWord(first, l.words["announcement"]), l.moment(a.at, now), a.body()})
}

// body returns what an announcement says besides its title. A short one has the
// title as its text, too; it is shown where it has a link, as titles have none.
func (a *announcement) body() []textPart {
	if a.text == a.title && !strings.Contains(a.text, "://") {
		return nil
	}
	return linked(a.text)
}

// affects returns "Affects" with links to what a note is about.
func (l *language) affects(hits []labelLink) template.HTML {
	var list template.HTML
	for i, h := range hits {
		if i > 0 {
			list += ", "
		}
		list += `<a href="` + template.HTML(template.HTMLEscapeString(string(h.Link))) + `"><bdi>` +
			template.HTML(template.HTMLEscapeString(h.Label)) + `</bdi></a>`
	}
	if list == "" {
		return ""
	}
	return l.html("affects", "list", list)
}

// stateWord is the word for the state of an announcement.
func (l *language) stateWord(state, none string) string {
	if !slices.Contains(announcementStates, state) {
		return none
	}
	return l.words[state]
}

// newAnnouncementView returns an announcement as a card. One of an incident
// takes the state of the nodes that it is about.
func newAnnouncementView(lang *language, s *snapshot, a *announcement, lasting map[*Node]*incident) noteView {
	v := noteView{
		ID:      elementID("a", a.id),
		State:   "news",
		Kind:    lang.words["announcement"],
		When:    lang.moment(a.at, s.at),
		Title:   steady(a.title),
		Updates: lang.updates(a, s.at),
	}
	if v.Updates == nil {
		v.Text = a.body()
	}
	nodes, hits := s.about(a.match)
	v.Affects = lang.affects(hits)
	if !a.incident {
		return v
	}
	v.Kind = lang.words["incident"]
	worst, since := healthy, time.Time{}
	for n, nv := range nodes {
		ill := nv.ill() // as the banner has it
		if ill == healthy || ill < worst {
			continue
		}
		t, _ := nv.since(lasting[n])
		if ill > worst || !t.IsZero() && (since.IsZero() || t.Before(since)) {
			since = t
		}
		worst = ill
	}
	if worst != healthy {
		v.State = worst.state()
		if !since.IsZero() {
			key := map[status]string{sick: "degraded_for", dead: "down_for"}[worst]
			v.Kind = lang.say(key, "length", lang.length(max(0, s.at.Sub(since))))
			v.When = lang.html("since", "time", lang.moment(since, s.at))
		}
	}
	return v
}

// addNotes adds what people wrote: incidents, and announcements, newest first.
// It returns the nodes that incidents are about.
func (v *pageView) addNotes(s *snapshot, lasting map[*Node]*incident) map[*Node]bool {
	covered := make(map[*Node]bool)
	for i := range s.announcements {
		a := &s.announcements[len(s.announcements)-1-i]
		note := newAnnouncementView(v.lang, s, a, lasting)
		if !a.incident {
			v.Announcements = append(v.Announcements, note)
			continue
		}
		v.Incidents = append(v.Incidents, note)
		nodes, _ := s.about(a.match)
		for n := range nodes {
			covered[n] = true
		}
	}
	slices.SortStableFunc(v.Incidents, func(a, b noteView) int { return cmp.Compare(rank(b.State), rank(a.State)) })
	return covered
}

// maxMaintenances is how many maintenances the page shows.
const maxMaintenances = 10

// addMaintenances adds those that run or are planned, of nodes that are shown.
func (v *pageView) addMaintenances(s *snapshot) {
	for _, m := range s.maintenances() {
		if len(v.Maintenances) == maxMaintenances {
			return
		}
		_, hits := s.about(m.match())
		note := noteView{
			ID:      elementID("m", m.id),
			State:   "maint",
			Kind:    v.lang.words["planned_maintenance"],
			Icon:    "plan",
			When:    v.lang.span(m.start, m.end, s.at, weekdayTimeForm),
			Title:   cmp.Or(steady(m.title), v.lang.words["running_maintenance"]),
			Text:    linked(m.text),
			Affects: v.lang.affects(hits),
		}
		if m.running(s.at) {
			note.Kind, note.Icon = v.lang.words["running_maintenance"], ""
			note.When = v.lang.html("until", "time", v.lang.moment(m.end, s.at))
		}
		v.Maintenances = append(v.Maintenances, note)
	}
}

// maintenances returns those that visitors may know of: some node that they are
// for is shown.
func (s *snapshot) maintenances() (shown []*quietTime) {
	for _, q := range s.quietTimes {
		if !q.silence && s.at.Before(q.end) && s.shows(q) {
			shown = append(shown, q)
		}
	}
	return shown
}

// pastMaintenances returns those of the last 90 days that visitors may know of.
func (s *snapshot) pastMaintenances() (shown []*quietTime) {
	for _, q := range s.maintained {
		if s.shows(q) {
			shown = append(shown, q)
		}
	}
	return shown
}

// shows reports whether some node of a maintenance is shown.
func (s *snapshot) shows(q *quietTime) bool {
	nodes, _ := s.about(q.match())
	return len(nodes) > 0
}

// newMaintainedView returns a maintenance that is over as an entry of the
// history.
func newMaintainedView(lang *language, base string, s *snapshot, q *quietTime) entryView {
	v := entryView{
		ID:   q.id,
		Node: cmp.Or(steady(q.title), lang.words["running_maintenance"]),
		Kind: `<i class="m maint" aria-hidden="true"></i>`,
		Link: template.URL(base + "history#" + q.id),
		Text: lang.words["running_maintenance"],
		Span: lang.span(q.start, q.end, s.at, timeForm),
		Said: linked(q.text),
		at:   q.start,
		end:  q.end,
	}
	_, hits := s.about(q.match())
	v.Service = names(hits)
	return v
}

// names returns the labels of links, with commas between them.
func names(hits []labelLink) string {
	var all []string
	for _, h := range hits {
		all = append(all, h.Label)
	}
	return strings.Join(all, ", ")
}

// rank orders states by how urgent they are.
func rank(state string) int {
	return slices.Index([]string{stateWait, stateOK, "news", "maint", stateWarn, stateDown}, state)
}

// newPastNote returns an announcement that ended as an entry of the history.
// The outages that it is about are part of it.
func newPastNote(lang *language, base string, s *snapshot, a *announcement, outages []*incident) entryView {
	now, zone := s.at, s.at.Location()
	end, _ := a.ended(now)
	v := entryView{
		ID:      a.id,
		Node:    steady(a.title),
		Kind:    `<i class="m news" aria-hidden="true"></i>`,
		Link:    template.URL(base + "history#" + a.id),
		Day:     lang.element(a.at.In(zone), dateForm),
		Text:    lang.words["announcement"],
		Span:    lang.moment(a.at, now),
		Updates: lang.updates(a, now),
	}
	if v.Updates == nil {
		v.Said = a.body()
	}
	v.at = a.at
	_, hits := s.about(a.match)
	v.Service = names(hits)
	if !a.incident {
		return v
	}
	v.Text, v.Length = lang.words["incident"], lang.length(max(0, end.Sub(a.at)))
	v.Span, v.end = lang.span(a.at, end, now, timeForm), end
	for _, in := range outages {
		v.Anchors = append(v.Anchors, in.id)
		v.down = append(v.down, timeSpan{in.start, in.end})
	}
	if len(outages) > 0 {
		v.down = merged(v.down)
		first, last := v.down[0].from, v.down[len(v.down)-1].to
		length := overlap(v.down, first, last) // between two of them all was well
		v.Kind = drawKind(length)
		v.Length = lang.length(length)
		v.Text = lang.say("was_down", "length", v.Length)
		v.Span = lang.span(first, last, now, timeForm)
		v.Day = lang.element(first.In(zone), dateForm)
		v.at, v.end = first, last
	}
	return v
}

// grouped returns the outages that past announcements of incidents are about,
// by the announcement's id: those of their nodes that overlap their time.
func (s *snapshot) grouped() (by map[string][]*incident, taken map[string]bool) {
	by, taken = make(map[string][]*incident), make(map[string]bool)
	for i := range s.pastAnnouncements {
		a := &s.pastAnnouncements[i]
		end, _ := a.ended(s.at)
		if !a.incident || len(a.match) == 0 {
			continue
		}
		nodes, _ := s.about(a.match)
		for k := range s.pastIncidents {
			in := &s.pastIncidents[k]
			if nodes[in.node] == nil || taken[in.id] || in.end.IsZero() || in.start.After(end) || in.end.Before(a.at) {
				continue
			}
			taken[in.id] = true
			by[a.id] = append(by[a.id], in)
		}
	}
	return by, taken
}

// outlook is a hash of all in a snapshot that a copy must show soon. Latencies
// and the time can wait.
func (s *snapshot) outlook() uint64 {
	var h maphash.Hash
	h.SetSeed(outlookSeed)
	yes := func(is ...bool) {
		for _, b := range is {
			h.WriteByte(byte(oneIf(b)))
		}
	}
	yes(s.checked, s.connectionDown.IsZero())
	for _, sv := range s.services {
		for _, nv := range sv.nodes {
			yes(nv.checked, nv.maintenance != nil, nv.cause != nil)
			for _, r := range nv.replicas.all() {
				h.WriteByte(byte(r.status))
				yes(r.checked, r.stale, r.uncertain)
			}
			h.WriteByte(byte(nv.status))
		}
	}
	for _, list := range [...][]announcement{s.announcements, s.pastAnnouncements} {
		for i := range list {
			h.WriteString(list[i].id)
			maphash.WriteComparable(&h, list[i].revision)
		}
		h.WriteByte(0)
	}
	for i := range s.pastIncidents {
		h.WriteString(s.pastIncidents[i].id)
		yes(s.pastIncidents[i].end.IsZero())
	}
	for _, q := range s.maintenances() {
		h.WriteString(q.id)
		yes(q.running(s.at))
	}
	return h.Sum64()
}

var outlookSeed = maphash.MakeSeed()
