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
	down    []timeSpan // of outages
	brief   bool
}

// A timeSpan is a time in which something was as it was.
type timeSpan struct{ from, to time.Time }

// merged returns spans in their order, and as one what overlaps.
func merged(all []timeSpan) (list []timeSpan) {
	slices.SortFunc(all, func(a, b timeSpan) int { return a.from.Compare(b.from) })
	for _, s := range all {
		if last := len(list) - 1; last >= 0 && !s.from.After(list[last].to) {
			if s.to.After(list[last].to) {
				list[last].to = s.to
			}
			continue
		}
		list = append(list, s)
	}
	return list
}

// overlap returns how much of merged spans lies between two times.
func overlap(all []timeSpan, from, to time.Time) (length time.Duration) {
	for _, s := range all {
		if s.from.Before(from) {
			s.from = from
		}
		if s.to.After(to) {
			s.to = to
		}
		length += max(0, s.to.Sub(s.from))
	}
	return length
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
		down:    []timeSpan{{in.start, in.start.Add(in.length(now))}},
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
	Calm          string       // instead of all that, or what is not known beside it
}

// newHistoryView returns the past by month, newest first, as far back as
// anything is known. Outages are known one by one for 90 days.
func newHistoryView(lang *language, base string, s *snapshot) (months []monthView) {
	now, zone := s.at, s.at.Location()
	today := dateOf(now)
	byDay, ongoing := make(map[date][]entryView), make(map[date][]*entryView)
	var all []*entryView
	add := func(e entryView) {
		d := dateOf(e.at.In(zone))
		byDay[d], all = append(byDay[d], e), append(all, &e)
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
	first, listed := firstKnown(s, today), s.firstListed(today)
	for d := range byDay {
		first = min(first, d)
	}
	for month := today.month(); month >= first.month(); month = (month - 1).month() {
		m := monthView{
			ID:   month.noon().Format("2006-01"),
			Name: lang.month(month),
		}
		next := (month + 31).month()
		m.addDays(lang, byDay, ongoing, max(month, first), min(next-1, today), listed)
		if month < listed {
			m.Sum = lang.downtime(downtimeIn(s, month))
		} else {
			m.sum(lang, all, month.start(zone), next.start(zone))
		}
		months = append(months, m)
	}
	return months
}

// firstListed returns the day from which on all outages are kept. Those of 90
// days are, but for the oldest when there are very many.
func (s *snapshot) firstListed(today date) date {
	first, over := today-keptDays+1, 0
	var oldest *incident
	for i := range s.pastIncidents {
		if in := &s.pastIncidents[i]; !in.end.IsZero() {
			over, oldest = over+1, in
		}
	}
	if over >= keptIncidents {
		first = max(first, dateOf(oldest.start.In(s.at.Location()))+1)
	}
	return min(first, today)
}

// downtime returns "5 min of downtime in all".
func (l *language) downtime(length time.Duration) string {
	if length == 0 {
		return l.words["no_downtime"]
	}
	return l.say("downtime", "length", l.length(length))
}

// sum says how many outages there were in a month, and how long they took within
// it. Those that began before or went on after it are among them.
func (m *monthView) sum(lang *language, entries []*entryView, from, to time.Time) {
	outages, brief, down := 0, 0, time.Duration(0)
	for _, e := range entries {
		switch length := overlap(e.down, from, to); {
		case length == 0:
		case e.brief:
			brief++
		default:
			outages++
			down += length
		}
	}
	m.Count, m.Sum = lang.words["none"], lang.words["no_downtime"]
	switch {
	case outages > 0:
		m.Count, m.Sum = lang.number(outages), lang.count("outages_count", outages, "length", lang.length(down))
	case brief > 0:
		m.Sum = lang.count("brief", brief)
	}
}

// firstKnown returns the first day of which anything is known of some node.
func firstKnown(s *snapshot, today date) date {
	first := today
	for _, sv := range s.services {
		for _, nv := range sv.nodes {
			if nv.history == nil {
				continue
			}
			known := today
			for sum := range nv.history.months.all() {
				known = min(known, sum.from)
				break
			}
			for sum := range nv.history.days.all() {
				// A month begins before the first day that is known of it.
				if whole := sum.from > today-keptDays+1; sum.from < known || whole && sum.from.month() == known {
					known = sum.from
				}
				break
			}
			first = min(first, known)
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

// addDays adds the days from last back to first. Of those before listed, not all
// outages are kept.
func (m *monthView) addDays(lang *language, byDay map[date][]entryView, ongoing map[date][]*entryView, first, last, listed date) {
	for d := last; d >= first; d-- {
		entries, calmly := byDay[d], ""
		if d < listed {
			calmly = lang.words["no_details"]
		}
		if len(entries) == 0 {
			calm := d // the first day of a run
			for calm > first && calm != listed && len(byDay[calm-1]) == 0 && slices.Equal(ongoing[calm-1], ongoing[d]) {
				calm--
			}
			v := dateView{Name: lang.days(calm, d), Calm: calmly}
			if v.addOngoing(lang, ongoing[d]); v.Ongoing == nil && d >= listed {
				v.Calm = lang.words["nothing"]
			}
			m.Days = append(m.Days, v)
			d = calm
			continue
		}
		v := dateView{Name: lang.days(d, d), Weekday: lang.name("weekdays", int(d.noon().Weekday())), Calm: calmly}
		v.addOngoing(lang, ongoing[d])
		for _, e := range entries {
			if e.brief {
				v.Brief = append(v.Brief, e)
				continue
			}
			v.Entries = append(v.Entries, e)
		}
		if n := len(v.Brief); n > 0 {
			v.BriefText = lang.count("brief", n)
		}
		m.Days = append(m.Days, v)
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
