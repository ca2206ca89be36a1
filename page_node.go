package main

import (
	"cmp"
	"html"
	"html/template"
	"strconv"
	"strings"
	"time"
)

const (
	maxSquares  = 100 // a node with more replicas shows counts and the unhealthy ones
	maxBadDays  = 10  // days that the history's details list
	historyDays = keptDays
)

// state is what the page shows for the node.
func (nv *nodeView) state() string {
	known := func(r *replicaView) bool { return r.state() != statePending }
	if nv.status != healthy || nv.replicas.has(known) {
		return nv.status.String()
	}
	return statePending
}

// state is what the page shows for the replica.
func (r *replicaView) state() string {
	if !r.checked && !r.stale {
		return statePending
	}
	return r.status.String()
}

// old reports whether the state is the last known one and may have changed.
func (r *replicaView) old() bool {
	return r.state() != statePending && (r.stale || r.uncertain)
}

// A rowView is what node.html sees.
type rowView struct {
	ID, Label, State, Word string
	Link                   template.URL
	LinkLabel              string
	Note                   string        // instead of squares, when there are none
	Counts                 string        // instead of the healthy ones, when there are too many
	Squares                template.HTML // one <li> for each replica
	History                *pastView
}

// set makes v the row of a node. The squares are appended to a buffer, which
// it returns.
func (v *rowView) set(sv *serviceView, nv *nodeView, past *pastView, zone *time.Location, squares []byte) []byte {
	state := nv.state()
	word, note, counts := stateWord(state), "", ""
	switch {
	case nv.replicas.len() > maxSquares:
		counts = countStates(nv.replicas)
	case nv.replicas.len() > 0:
	case nv.conf.Mode == modePush || nv.conf.Mode == modeLocal:
		word, note = "no reports yet", "Waiting for the first report."
	default:
		word, note = "nothing to check", "There is nothing to check."
	}
	shown := 0
	for i, r := range nv.replicas.all() {
		if counts != "" && (r.state() == stateHealthy || shown == maxSquares) {
			continue
		}
		shown++
		squares = appendSquare(squares, nv.conf, r, i+1, zone)
	}
	*v = rowView{
		ID:        elementID("n", sv.conf.ID, nv.conf.ID),
		Label:     steady(nv.conf.Label),
		State:     state,
		Word:      word,
		Link:      link(nv.conf.LinkURL),
		LinkLabel: cmp.Or(steady(nv.conf.LinkLabel), "More about it"),
		Note:      note,
		Counts:    counts,
		Squares:   template.HTML(squares),
		History:   past,
	}
	return squares
}

// countStates returns "1,204 healthy, 3 dead".
func countStates(replicas viewList) string {
	n := make(map[string]int)
	for _, r := range replicas.all() {
		n[r.state()]++
	}
	var parts []string
	for _, s := range [...]string{stateHealthy, stateSick, stateDead, statePending} {
		if n[s] > 0 {
			parts = append(parts, thousands(n[s])+" "+stateWord(s))
		}
	}
	return strings.Join(parts, ", ")
}

// appendSquare adds a replica's square: its number, its state as a class, what
// may be said of it as lines "key: value", and for the script since when. Pages
// hold thousands of them, so they are written here and not by a template.
func appendSquare(b []byte, n *Node, r *replicaView, number int, zone *time.Location) []byte {
	state := r.state()
	b = append(b, `<li><button type="button" class="r `...)
	b = append(b, state...)
	if r.old() {
		b = append(b, " stale"...)
	}
	b = append(b, `" title="`...)
	b = appendDetail(b, n, r, number)
	if !r.since.IsZero() && state != statePending {
		b = append(b, "\nSince: "...)
		b = r.since.In(zone).AppendFormat(b, minuteForm)
		b = append(b, `" data-t="`...)
		b = strconv.AppendInt(b, r.since.Unix(), 10)
	}
	b = append(b, `">`...)
	b = strconv.AppendInt(b, int64(number), 10)
	if state != stateHealthy { // the colour says it, but not to everybody
		b = append(b, `<span class="v"> `...)
		b = append(b, stateWord(state)...)
		b = append(b, "</span>"...)
	}
	return append(b, "</button></li>"...)
}

// appendDetail says what may be said of a replica in public, escaped for an
// attribute: never its reason, and its id only where the node reveals it.
func appendDetail(b []byte, n *Node, r *replicaView, number int) []byte {
	b = append(b, "Replica "...)
	b = strconv.AppendInt(b, int64(number), 10)
	b = append(b, ": "...)
	b = append(b, stateWord(r.state())...)
	if r.old() {
		b = append(b, ", as last known"...)
	}
	if n.RevealReplicaName {
		b = append(b, "\nName: "...)
		b = append(b, html.EscapeString(isolate(strings.ReplaceAll(r.id, "\n", " ")))...)
	}
	b = append(b, "\nMode: "...)
	b = append(b, n.Mode.String()...)
	if r.latency > 0 && r.checked {
		b = append(b, "\nLatency: "...)
		b = append(b, milliseconds(r.latency)...)
	}
	if l := r.load; l != nil {
		b = append(b, "\nCPU load: "...)
		b = append(b, loadPercent(l.cpu)...)
		b = append(b, "\nRAM load: "...)
		b = append(b, loadPercent(l.ram)...)
		if l.queue {
			b = append(b, "\nReady: "...)
			b = append(b, thousands(int(l.ready))...)
			b = append(b, "\nUnacked: "...)
			b = append(b, thousands(int(l.unacked))...)
		}
	}
	return b
}

// started reports whether anything is known of the node's past.
func (h *nodeHistory) started() bool {
	return h != nil && (h.known || len(h.days.closed) > 0 || h.days.current.total() > 0)
}

// The 90 days are drawn on a grid barFoot high. A bad day stands out at the top,
// a dead one more than a sick one, so that colour is not all that tells them
// from the good ones.
const (
	barFoot  = 20
	barGood  = 6 // where good days begin, from the top
	barSick  = 3
	barLeast = 7 // so that a short outage is not overlooked
)

// A pastView is a node's 90 days.
type pastView struct {
	Bars                   template.HTML
	Uptime, Window, Detail string
}

// newPastView draws the days: a bar for each that is known, and over it
// one from the top that is the longer the longer things were bad. It is nil
// while nothing is known.
func newPastView(h *nodeHistory, now time.Time) *pastView {
	var good, weak, bad, none [historyDays]int // where bars end; 0 for no bar
	for x := range none {
		none[x] = barFoot
	}
	var up, known time.Duration
	days := 0
	var lines []string // oldest first
	for ago, s := range h.recent(historyDays, now) {
		x, whole := historyDays-1-ago, s.total()
		days = max(days, ago+1)
		known += whole
		up += whole - s.parts[dead]
		none[x], good[x] = 0, barFoot
		bad[x] = barHeight(s.parts[dead], whole)
		if weak[x] = barHeight(s.parts[sick], whole); weak[x] > 0 {
			weak[x] = min(barFoot, weak[x]+max(bad[x], barSick)) // behind the dead one
		}
		if weak[x]+bad[x] > 0 {
			lines = append(lines, "\n"+s.from.noon().Format("2 Jan")+": "+badTimes(s))
		}
	}
	var bars []byte
	bars = appendBars(bars, "u", barGood, &none)
	bars = appendBars(bars, "h", barGood, &good)
	bars = appendBars(bars, "s", barSick, &weak)
	bars = appendBars(bars, "d", 0, &bad)
	if known == 0 {
		return nil
	}
	share, window := percent(float64(up)/float64(known)), historyWindow(days)
	detail := "Uptime: " + share + ", " + window // lines "key: value"
	for i := len(lines) - 1; i >= max(0, len(lines)-maxBadDays); i-- {
		detail += lines[i]
	}
	return &pastView{template.HTML(bars), share, window, detail}
}

// barHeight returns the height that stands for a part of the known time of
// a day.
func barHeight(part, known time.Duration) int {
	if part <= 0 {
		return 0
	}
	return max(barLeast, int((barFoot*part+known-1)/known))
}

// appendBars adds a path with the bars of one class, from top to where each
// ends, equal neighbours as one; the style sheet cuts them into days.
func appendBars(b []byte, class string, top int, ends *[historyDays]int) []byte {
	drawn := false
	for x := 0; x < historyDays; {
		end := x + 1
		for end < historyDays && ends[end] == ends[x] {
			end++
		}
		if ends[x] > 0 {
			if !drawn {
				drawn = true
				b = append(b, `<path class="`...)
				b = append(b, class...)
				b = append(b, `" d="`...)
			}
			b = append(b, 'M')
			b = strconv.AppendInt(b, int64(x), 10)
			b = append(b, ' ')
			b = strconv.AppendInt(b, int64(top), 10)
			b = append(b, 'H')
			b = strconv.AppendInt(b, int64(end), 10)
			b = append(b, 'V')
			b = strconv.AppendInt(b, int64(ends[x]), 10)
			b = append(b, 'H')
			b = strconv.AppendInt(b, int64(x), 10)
			b = append(b, 'z')
		}
		x = end
	}
	if drawn {
		b = append(b, `"/>`...)
	}
	return b
}

// historyWindow names the time over which an uptime was measured.
func historyWindow(days int) string {
	if days <= 1 {
		return "today"
	}
	return "last " + strconv.Itoa(days) + " days"
}

// badTimes returns "dead for 12 min, sick for 3 min".
func badTimes(s sum) string {
	var parts []string
	if s.parts[dead] > 0 {
		parts = append(parts, "dead for "+length(s.parts[dead]))
	}
	if s.parts[sick] > 0 {
		parts = append(parts, "sick for "+length(s.parts[sick]))
	}
	return strings.Join(parts, ", ")
}
