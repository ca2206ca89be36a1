package main

import (
	"html/template"
	"slices"
	"strconv"
	"time"
)

const (
	recentDays = 14
	maxRecent  = 20 // outages on the page itself
	maxOngoing = 20 // outages of earlier days in a run of days
	briefly    = time.Minute
)

// A recentView is what the page shows of the last days.
type recentView struct {
	Head  string
	Lines []entryView // newest first
	More  string      // how many further ones
	Brief string      // how many that took less than a minute
}

// An entryView is one outage in a list. Its reason is not shown: it may name
// hosts.
type entryView struct {
	ID, Node, Service string
	Kind              template.HTML // drawn like a day
	Link              template.URL
	Day               template.HTML // in the visitor's zone, like the times
	Text, Length      string
	Span              template.HTML
	Said              []textPart   // of an announcement
	Updates           []updateView // in place of that
	Anchors           []string     // ids of the outages that it is about

	at, end time.Time
	length  time.Duration // of an outage; 0 for what is none
	brief   bool
}

func newEntryView(lang *language, base string, in *incident, now time.Time) entryView {
	zone := now.Location()
	v := entryView{
		ID:      in.id,
		Node:    steady(in.node.Label),
		Service: steady(in.service.Label),
		Kind:    drawKind(in.length(now)),
		Link:    template.URL(base + "history#" + in.id),
		Day:     lang.element(in.start.In(zone), dateForm),
		Length:  lang.length(in.length(now)),
		at:      in.start,
		end:     in.start.Add(in.length(now)),
		length:  in.length(now),
		brief:   !in.end.IsZero() && in.length(now) < briefly,
	}
	v.Text = lang.say("was_down", "length", v.Length)
	if in.end.IsZero() {
		v.Span = lang.html("since", "time", lang.moment(in.start, now))
	} else {
		v.Span = lang.span(in.start, in.end, now, timeForm)
	}
	return v
}

// newRecentView returns the outages of the last days that are over; nil where
// there is nothing to look back on.
func newRecentView(lang *language, base string, s *snapshot) *recentView {
	v := &recentView{Head: lang.count("last_days", recentDays)}
	watched, brief := len(s.incidents) > 0, 0
	outages, taken := s.grouped()
	for i := range s.incidents {
		in := &s.incidents[i]
		switch {
		case in.end.IsZero() || taken[in.id]:
		case in.length(s.at) < briefly:
			brief++
		default:
			v.Lines = append(v.Lines, newEntryView(lang, base, in, s.at))
		}
	}
	for i := range s.pastAnnouncements {
		a := &s.pastAnnouncements[i]
		if end, _ := a.ended(s.at); (a.incident || a.state == stateResolved) && s.at.Sub(end) <= recentDays*24*time.Hour {
			v.Lines = append(v.Lines, newPastNote(lang, base, s, a, outages[a.id]))
		}
	}
	slices.SortStableFunc(v.Lines, func(a, b entryView) int { return b.at.Compare(a.at) })
	more := max(0, len(v.Lines)-maxRecent)
	v.Lines = v.Lines[:len(v.Lines)-more]
	for i := range v.Lines {
		v.Lines[i].ID = elementID("p", v.Lines[i].ID)
	}
	for _, sv := range s.services {
		watched = watched || slices.ContainsFunc(sv.nodes, func(nv *nodeView) bool { return nv.history.started() })
	}
	if !watched {
		return nil
	}
	if more > 0 {
		v.More = lang.count("more", more)
	}
	if brief > 0 {
		v.Brief = lang.count("brief", brief)
	}
	return v
}

// A monthView is a month of the history.
type monthView struct {
	ID, Name, Count, Sum string
	Days                 []dateView // newest first
}

// A dateView is a day on which something began, or a run of days on which
// nothing did.
type dateView struct {
	Name, Weekday string
	Entries       []entryView
	Brief         []entryView // those under a minute, folded
	BriefText     string
	Ongoing       []*entryView // what began on an earlier day
	More          string       // how many further ones
	Calm          string       // instead of all that
}

// newHistoryView returns the past by month, newest first, as far back as
// anything is known. Outages are known one by one for 90 days.
func newHistoryView(lang *language, base string, s *snapshot) (months []monthView) {
	now, zone := s.at, s.at.Location()
	today := dateOf(now)
	byDay, ongoing := make(map[date][]entryView), make(map[date][]*entryView)
	add := func(e entryView) {
		d := dateOf(e.at.In(zone))
		byDay[d] = append(byDay[d], e)
		if e.brief {
			return
		}
		for last := dateOf(e.end.In(zone)); d < last; {
			d++
			ongoing[d] = append(ongoing[d], &e)
		}
	}
	outages, taken := s.grouped()
	for i := range s.pastIncidents {
		if in := &s.pastIncidents[i]; !taken[in.id] {
			add(newEntryView(lang, base, in, now))
		}
	}
	for i := range s.pastAnnouncements {
		add(newPastNote(lang, base, s, &s.pastAnnouncements[i], outages[s.pastAnnouncements[i].id]))
	}
	for _, q := range s.pastMaintenances() {
		add(newMaintainedView(lang, base, s, q))
	}
	for _, entries := range byDay {
		slices.SortStableFunc(entries, func(a, b entryView) int { return b.at.Compare(a.at) })
	}
	for _, entries := range ongoing {
		slices.SortStableFunc(entries, func(a, b *entryView) int { return b.at.Compare(a.at) })
	}
	first := firstKnown(s, today)
	listed := today - keptDays // from here on, outages are kept
	for d := range byDay {
		first, listed = min(first, d), min(listed, d)
	}
	for month := today.month(); month >= first.month(); month = (month - 1).month() {
		m := monthView{
			ID:   month.noon().Format("2006-01"),
			Name: lang.month(month),
		}
		last := min((month+31).month()-1, today)
		if last < listed {
			m.Sum = lang.say("downtime", "length", lang.length(downtimeIn(s, month)))
			m.Days = []dateView{{Name: lang.days(month, last), Calm: lang.words["no_details"]}}
			months = append(months, m)
			continue
		}
		m.addDays(lang, byDay, ongoing, max(month, first), last)
		months = append(months, m)
	}
	return months
}

// firstKnown returns the first day of which anything is known of some node.
func firstKnown(s *snapshot, today date) date {
	first := today
	for _, sv := range s.services {
		for _, nv := range sv.nodes {
			if nv.history == nil {
				continue
			}
			for sum := range nv.history.months.all() {
				if sum.from < first && sum.from.month() != today.month() {
					first = sum.from
				}
				break
			}
			for sum := range nv.history.days.all() {
				if sum.from.month() == first.month() || sum.from < first {
					first = min(first, sum.from)
				}
				break
			}
		}
	}
	return first
}

// downtimeIn returns for how long nodes were down in a month, all together.
func downtimeIn(s *snapshot, month date) (down time.Duration) {
	for _, sv := range s.services {
		for _, nv := range sv.nodes {
			if nv.history == nil {
				continue
			}
			for sum := range nv.history.months.all() {
				if sum.from == month {
					down += sum.parts[dead]
				}
			}
		}
	}
	return down
}

// addDays adds the days from last back to first.
func (m *monthView) addDays(lang *language, byDay map[date][]entryView, ongoing map[date][]*entryView, first, last date) {
	outages, down := 0, time.Duration(0)
	for d := last; d >= first; d-- {
		entries := byDay[d]
		if len(entries) == 0 {
			calm := d // the first day of a run
			for calm > first && len(byDay[calm-1]) == 0 && slices.Equal(ongoing[calm-1], ongoing[d]) {
				calm--
			}
			v := dateView{Name: lang.days(calm, d)}
			if v.addOngoing(lang, ongoing[d]); v.Ongoing == nil {
				v.Calm = lang.words["nothing"]
			}
			m.Days = append(m.Days, v)
			d = calm
			continue
		}
		v := dateView{Name: lang.days(d, d), Weekday: lang.name("weekdays", int(d.noon().Weekday()))}
		v.addOngoing(lang, ongoing[d])
		for _, e := range entries {
			if e.brief {
				v.Brief = append(v.Brief, e)
				continue
			}
			v.Entries = append(v.Entries, e)
			if e.length > 0 {
				outages++
				down += e.length
			}
		}
		if n := len(v.Brief); n > 0 {
			v.BriefText = lang.count("brief", n)
		}
		m.Days = append(m.Days, v)
	}
	m.Count, m.Sum = lang.words["none"], lang.words["no_downtime"]
	if outages > 0 {
		m.Count, m.Sum = lang.number(outages), lang.count("outages_count", outages, "length", lang.length(down))
	}
}

// addOngoing adds what began on an earlier day.
func (v *dateView) addOngoing(lang *language, entries []*entryView) {
	v.Ongoing = entries[:min(len(entries), maxOngoing)]
	if more := len(entries) - len(v.Ongoing); more > 0 {
		v.More = lang.count("more", more)
	}
}

// month names a month with its year.
func (l *language) month(d date) string {
	day := d.noon()
	return l.say("month_year", "month", l.name("months_alone", int(day.Month())-1), "year", strconv.Itoa(day.Year()))
}

// days names a run of days of one month: "18 November", "19 to 21 November".
func (l *language) days(first, last date) string {
	if first == last {
		return l.date(last.noon(), "date_long", "months")
	}
	return l.say("date_span", "first", strconv.Itoa(first.noon().Day()), "last", strconv.Itoa(last.noon().Day()),
		"month", l.name("months", int(last.noon().Month())-1))
}
