package main

import (
	"html/template"
	"strconv"
	"strings"
	"time"
)

const historyDays = keptDays

// A dayKind is how a day is drawn. The worst of a day decides.
type dayKind uint8

const (
	dayUnknown dayKind = iota
	dayWell
	dayMaintenance
	dayDegraded
	dayBrief // down, for 10 minutes at most
	dayDown  // down, for an hour at most
	dayLong
	dayKinds
)

// dayShapes are the ids of the shapes that stand for a kind in the page's SVG.
var dayShapes = [dayKinds]string{dayMaintenance: "dm", dayDegraded: "ds", dayBrief: "da", dayDown: "db", dayLong: "dc"}

// Days are a node's last 90, oldest first.
type days struct {
	down, weak [historyDays]time.Duration
	kept       [historyDays]time.Duration // in maintenance
	known      [historyDays]time.Duration
	outages    [historyDays]string // as data-t has them
}

// newDays returns the days of a node with these incidents.
func newDays(h *nodeHistory, incidents []*incident, now time.Time) (d days) {
	if h == nil {
		return d
	}
	for ago, s := range h.recent(historyDays, now) {
		i := historyDays - 1 - ago
		d.down[i], d.weak[i], d.kept[i], d.known[i] = s.parts[dead], s.parts[sick], s.parts[maintained], s.total()
	}
	for _, in := range incidents {
		d.addIncident(in, now)
	}
	return d
}

// maxOutages is how many outages of one day are listed.
const maxOutages = 6

// addIncident notes on each day that the incident touched when, within the day:
// "430+260" is from minute 430 for 260 minutes, "40s" is less than a minute.
// It starts with < where it went on from the day before, and ends with > where
// it goes on.
func (d *days) addIncident(in *incident, now time.Time) {
	zone, end := now.Location(), in.end
	if end.IsZero() {
		end = now
	}
	first, today := dateOf(in.start.In(zone)), dateOf(now)
	for day := max(first, today-historyDays+1); day <= min(dateOf(end.In(zone)), today); day++ {
		i := historyDays - 1 - int(today-day)
		if strings.Count(d.outages[i], "+") >= maxOutages {
			continue
		}
		start, next := day.start(zone), (day + 1).start(zone)
		from, to := in.start, end
		var b strings.Builder
		if from.Before(start) {
			from = start
			b.WriteByte('<')
		}
		goesOn := to.After(next)
		if goesOn {
			to = next
		}
		b.WriteString(strconv.Itoa(int(from.Sub(start)/time.Minute)) + "+")
		if long := to.Sub(from); long < time.Minute {
			b.WriteString(strconv.Itoa(int(long/time.Second)) + "s")
		} else {
			b.WriteString(strconv.Itoa(int(long / time.Minute)))
		}
		if goesOn {
			b.WriteByte('>')
		}
		if d.outages[i] != "" {
			d.outages[i] = " " + d.outages[i]
		}
		d.outages[i] = b.String() + d.outages[i] // incidents come newest first
	}
}

// kind returns how day i is drawn.
func (d *days) kind(i int) dayKind {
	switch down := d.down[i]; {
	case down > time.Hour:
		return dayLong
	case down > 10*time.Minute:
		return dayDown
	case down > 0:
		return dayBrief
	case d.weak[i] > 0:
		return dayDegraded
	case d.kept[i] > 0:
		return dayMaintenance
	case d.known[i] > 0:
		return dayWell
	}
	return dayUnknown
}

// uptime returns the share of the known time of the last n days in which the
// node was not down; known is false where nothing is known.
func (d *days) uptime(n int) (share float64, known bool) {
	var down, all time.Duration
	for i := historyDays - n; i < historyDays; i++ {
		down += d.down[i]
		all += d.known[i]
	}
	if all == 0 {
		return 0, false
	}
	return float64(all-down) / float64(all), true
}

// uptime returns the subject's uptime, and over how many days. That of a service
// is that of its worst node, as on the page.
func (sub *subject) uptime() (share float64, days int, ok bool) {
	if !sub.service {
		return uptime(sub.nodes, sub.at)
	}
	for _, nv := range sub.nodes {
		if part, n, known := uptime([]*nodeView{nv}, sub.at); known && (!ok || part < share) {
			share, days, ok = part, n, true
		}
	}
	return share, days, ok
}

// uptime returns the share of the known time of all these nodes that was not
// dead, and over how many days; ok is false when nothing is known.
func uptime(nodes []*nodeView, now time.Time) (share float64, days int, ok bool) {
	var known, up time.Duration
	for _, nv := range nodes {
		if nv.history == nil {
			continue
		}
		for ago, s := range nv.history.recent(historyDays, now) {
			known += s.total()
			up += s.total() - s.parts[dead]
			days = max(days, ago+1)
		}
	}
	if known == 0 {
		return 0, 0, false
	}
	return float64(up) / float64(known), days, true
}

// An outline is what is kept of a node's days, or of the worst of a service's
// nodes: the kind of each, and the uptime of all.
type outline struct {
	kinds [historyDays]dayKind
	share float64
	known bool
}

func (d *days) outline() (o outline) {
	for i := range o.kinds {
		o.kinds[i] = d.kind(i)
	}
	o.share, o.known = d.uptime(historyDays)
	return o
}

// add makes o no better than one more node.
func (o *outline) add(node *outline) {
	if node.known && (!o.known || node.share < o.share) {
		o.share, o.known = node.share, true
	}
	for i, kind := range node.kinds {
		o.kinds[i] = max(o.kinds[i], kind)
	}
}

// have adds the kinds that occur.
func (o *outline) have(kinds *[dayKinds]bool) {
	for _, kind := range o.kinds {
		kinds[kind] = true
	}
}

// uptimeText returns a share in words, and whether it is all of the time.
func (l *language) uptimeText(share float64, known bool) (text string, full bool) {
	if !known {
		return "\u2013", false
	}
	return l.percent(share), share >= 1
}

// drawing returns the days as what is in an SVG of 90 x 24: runs of days that
// are well, or unknown, as one dashed line each, and a shape for each other
// day. With details there is what the script says of each of those.
func (o *outline) drawing(details *days) template.HTML {
	var well, unknown []byte
	rest := make([]byte, 0, 1<<10) // enough for most
	for i := 0; i < historyDays; {
		end := i + 1
		base := o.kinds[i] == dayUnknown // the others are drawn on the line of days that are well
		for end < historyDays && (o.kinds[end] == dayUnknown) == base {
			end++
		}
		if base {
			unknown = appendLine(unknown, i, 20, end-i)
		} else {
			well = appendLine(well, i, 12, end-i)
		}
		for ; i < end; i++ {
			if shape := dayShapes[o.kinds[i]]; shape != "" {
				rest = append(rest, `<use x="`...) // this order compresses best
				rest = strconv.AppendInt(rest, int64(i), 10)
				rest = append(rest, `" href="#`+shape...)
				if details != nil {
					rest = append(rest, `" data-t="`...)
					rest = details.appendDetail(rest, i)
				}
				rest = append(rest, `"/>`...)
			}
		}
	}
	b := make([]byte, 0, 64+len(well)+len(unknown)+len(rest))
	for _, line := range []struct{ class, path []byte }{{[]byte("pw"), well}, {[]byte("pu"), unknown}} {
		if line.path != nil {
			b = append(b, `<path class="`...)
			b = append(append(b, line.class...), `" d="`...)
			b = append(append(b, line.path...), `"/>`...)
		}
	}
	return template.HTML(append(b, rest...))
}

func appendLine(b []byte, x, y, n int) []byte {
	b = strconv.AppendInt(append(b, 'M'), int64(x), 10)
	b = strconv.AppendInt(append(b, ' '), int64(y), 10)
	return strconv.AppendInt(append(b, 'h'), int64(n), 10)
}

// appendDetail adds what is known of day i: its outages, and "d12" for as many
// minutes down when those are not their sum, "s95" for degraded, and "m60" for
// maintenance. An outage may go on in a maintenance, which is not down.
func (d *days) appendDetail(b []byte, i int) []byte {
	n := len(b)
	if d.down[i] > 0 || d.kept[i] == 0 {
		b = append(b, d.outages[i]...)
	}
	if d.down[i] > 0 && (d.outages[i] == "" || d.kept[i] > 0 || strings.Count(d.outages[i], "+") >= maxOutages) {
		b = appendMinutes(b, n, 'd', d.down[i])
	}
	if d.weak[i] > 0 {
		b = appendMinutes(b, n, 's', d.weak[i])
	}
	if d.kept[i] > 0 {
		b = appendMinutes(b, n, 'm', d.kept[i])
	}
	return b
}

func appendMinutes(b []byte, start int, kind byte, length time.Duration) []byte {
	if len(b) > start {
		b = append(b, ' ')
	}
	return strconv.AppendInt(append(b, kind), int64((length+time.Minute-1)/time.Minute), 10)
}

// label says for a screen reader what the drawing shows.
func (d *days) label(l *language) string {
	known, bad := 0, 0
	for i := range historyDays {
		if d.known[i] > 0 {
			known++
		}
		if d.down[i] > 0 {
			bad++
		}
	}
	switch {
	case known == 0:
		return l.words["days_unknown"]
	case bad == 0:
		return l.count("days_well", known)
	}
	return l.count("days_down", bad)
}

// legend explains the kinds of days that occur.
func (l *language) legend(have *[dayKinds]bool) template.HTML {
	var b strings.Builder
	item := func(drawing, text string) {
		if b.Len() > 0 {
			b.WriteByte(' ') // for those who read it without the style sheet
		}
		b.WriteString(`<span><svg class="k" viewBox="0 0 1 24" preserveAspectRatio="none" aria-hidden="true">` + drawing +
			`</svg>` + template.HTMLEscapeString(text) + `</span>`)
	}
	down := func(kind dayKind, text string) {
		if !have[kind] {
			return
		}
		if b.Len() == 0 {
			b.WriteString("<span>" + template.HTMLEscapeString(l.words["key_down"]) + "</span>")
		}
		item(`<path class="pw" d="M0 12h1"/><use href="#`+dayShapes[kind]+`"/>`, text)
	}
	down(dayBrief, "\u2264"+l.say("minutes", "n", 10))
	down(dayDown, ">"+l.say("minutes", "n", 10))
	down(dayLong, ">"+l.say("hours_short", "n", 1))
	if have[dayDegraded] {
		item(`<path class="pw" d="M0 12h1"/><use href="#ds"/>`, l.words["degraded"])
	}
	if have[dayMaintenance] {
		item(`<path class="pw" d="M0 12h1"/><use href="#dm"/>`, l.words["maintenance"])
	}
	if have[dayUnknown] {
		item(`<path class="pu" d="M0 20h1"/>`, l.words["no_data"])
	}
	return template.HTML(b.String())
}

// calendarStart says for the script which day the first of the 90 is, when it
// begins, and where clocks were changed: "64:60" is an hour later from day 64.
func calendarStart(now time.Time) (day, from, shift string) {
	zone := now.Location()
	first := dateOf(now) - historyDays + 1
	start := first.start(zone)
	var shifts []string
	last := time.Duration(0)
	for i := 1; i < historyDays; i++ {
		off := (first + date(i)).start(zone).Sub(start) - time.Duration(i)*24*time.Hour
		if off != last {
			shifts, last = append(shifts, strconv.Itoa(i)+":"+strconv.Itoa(int(off/time.Minute))), off
		}
	}
	return first.String(), start.UTC().Format("2006-01-02T15:04Z"), strings.Join(shifts, " ")
}
