package main

import (
	"html/template"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	fewSquares  = 4   // more of them shrink on a phone
	someSquares = 12  // more of them shrink everywhere
	maxSquares  = 100 // more of them are counted, but for those that are not well
)

// state is what the page shows for the node.
func (nv *nodeView) state() string {
	if nv.maintenance != nil {
		return stateMaint
	}
	known := func(r *replicaView) bool { return r.state() != stateWait }
	if nv.status != healthy || nv.replicas.has(known) {
		return nv.status.state()
	}
	return stateWait
}

// state is what the page shows for the replica.
func (r *replicaView) state() string {
	if !r.checked && !r.stale {
		return stateWait
	}
	return r.status.state()
}

// old reports whether the state is the last known one and may have changed.
func (r *replicaView) old() bool {
	return r.state() != stateWait && (r.stale || r.uncertain)
}

// A rowView is what node.html sees.
type rowView struct {
	ID, Label, State string
	Word             template.HTML // where the node is not well
	Link             template.URL  // of the node's page
	Squares          template.HTML
	Days             template.HTML // what is in the SVG
	DaysLabel, Up    string
	Full             bool // there was no downtime at all
	Opened           *openedView
}

// set makes v the row of a node. The squares are appended to a buffer, which
// it returns.
func (v *rowView) set(lang *language, base string, sv *serviceView, nv *nodeView, in *incident, now time.Time, squares []byte) []byte {
	*v = rowView{
		ID:    nodePath(sv.conf, nv.conf),
		Label: steady(nv.conf.Label),
		State: nv.state(),
		Link:  template.URL(base + nodePath(sv.conf, nv.conf)),
	}
	switch v.State {
	case stateDown, stateWarn:
		word := lang.words[stateWords[v.State]]
		if since, _ := nv.since(in); !since.IsZero() {
			key := map[string]string{stateDown: "row_down_for", stateWarn: "row_degraded_for"}[v.State]
			word = lang.say(key, "length", lang.length(max(0, now.Sub(since))))
		}
		if n := nv.replicas.states()[stateDown]; n > 0 && nv.conf.Needed != (Needed{}) {
			word += ", " + lang.count("some_down_short", n, "all", nv.replicas.len())
		}
		if nv.cause != nil && !nv.cause.Hidden {
			word += ", " + lang.say("because_of", "node", isolate(nv.cause.Label))
		}
		v.Word = template.HTML(template.HTMLEscapeString(word))
	case stateMaint:
		v.Word = lang.html("row_maintenance_until", "time", lang.moment(nv.maintenance.end, now))
	case stateWait:
		v.Word = lang.html(nv.waitsFor())
	}
	squares = lang.appendSquares(squares, nv)
	v.Squares = template.HTML(squares)
	return squares
}

// setDays adds the 90 days to the row.
func (v *rowView) setDays(lang *language, past *drawnPast) {
	v.Days, v.DaysLabel = past.drawing, past.label
	v.Up, v.Full = lang.uptimeText(past.share, past.known)
}

// waitsFor returns the word for a node of which nothing is known.
func (nv *nodeView) waitsFor() string {
	switch {
	case nv.conf.Mode == modeHeartbeat:
		return "no_pings"
	case nv.replicas.len() > 0:
		return "unchecked"
	case nv.conf.Mode == modePush || nv.conf.Mode == modeLocal:
		return "no_reports"
	}
	return "no_instances"
}

// appendSquares adds the list of replicas, where it says more than the row
// does. Pages hold thousands of them, so they are written here and not by
// a template.
func (l *language) appendSquares(b []byte, nv *nodeView) []byte {
	n, state := nv.replicas.len(), nv.state()
	if n == 0 || n == 1 && (state == stateOK || state == stateWait) && len(nv.conf.Labels) == 0 {
		return b
	}
	b = append(b, `<ul class="rs`...)
	switch {
	case n > someSquares:
		b = append(b, " many"...)
	case n > fewSquares:
		b = append(b, " some"...)
	}
	b = append(b, `" aria-label="`...)
	b = append(b, template.HTMLEscapeString(l.words["instances"])...)
	b = append(b, `">`...)
	if n > maxSquares {
		b = append(b, `<li class="sum">`...)
		b = append(b, template.HTMLEscapeString(l.tally(nv.replicas))...)
		return append(b, "</li></ul>"...)
	}
	for i, r := range nv.replicas.all() {
		b = l.appendSquare(b, nv.conf, r, i+1, state)
	}
	return append(b, "</ul>"...)
}

// appendSquare adds a replica's square: its number, its state as a class where
// that is not the node's, and what may be said of it in lines.
func (l *language) appendSquare(b []byte, n *Node, r *replicaView, number int, nodeState string) []byte {
	state := r.state()
	b = append(b, "<li"...)
	class := ""
	if state != nodeState || state != stateOK {
		class = state
	}
	if r.old() {
		class = strings.TrimSpace(class + " stale")
	}
	if class != "" {
		b = append(b, ` class="`...)
		b = append(b, class...)
		b = append(b, '"')
	}
	b = append(b, ` title="`...)
	for i, line := range l.details(n, r, number) {
		if i > 0 {
			b = append(b, '\n')
		}
		b = append(b, template.HTMLEscapeString(line)...)
	}
	b = append(b, `">`...)
	b = append(b, template.HTMLEscapeString(n.replicaName(r, number))...)
	if state != stateOK || r.old() { // the colour says it, but not to everybody
		b = append(b, `<span class="v"> `...)
		b = append(b, template.HTMLEscapeString(l.word(r))...)
		b = append(b, "</span>"...)
	}
	return append(b, "</li>"...)
}

// replicaName is what visitors call a replica: its label, or its number.
func (n *Node) replicaName(r *replicaView, number int) string {
	if label := n.Labels[r.id]; label != "" {
		return isolate(label)
	}
	return strconv.Itoa(number)
}

// word is a replica's state in words.
func (l *language) word(r *replicaView) string {
	word := l.words[stateWords[r.state()]]
	if r.old() {
		return l.say("last_known", "state", word)
	}
	return word
}

// details says what may be said of a replica in public, in lines: its id and
// reason only where the node reveals them.
func (l *language) details(n *Node, r *replicaView, number int) []string {
	lines := []string{l.say("instance", "name", n.replicaName(r, number)) + ": " + l.word(r)}
	return append(lines, l.figures(n, r)...)
}

// figures are the lines of details below the state.
func (l *language) figures(n *Node, r *replicaView) (lines []string) {
	if r.latency > 0 && r.checked && r.status != dead {
		lines = append(lines, l.say("answered", "latency", l.milliseconds(r.latency)))
	}
	if load := r.load; load != nil {
		lines = append(lines, l.say("cpu", "load", l.load(load.cpu)), l.say("ram", "load", l.load(load.ram)))
		if load.queue {
			lines = append(lines, l.count("queue_ready", int(load.ready)), l.count("queue_unacked", int(load.unacked)))
		}
	}
	if n.RevealReplicaName {
		lines = append(lines, l.say("replica_name", "name", isolate(strings.ReplaceAll(r.id, "\n", " "))))
		if r.reason != "" && r.status != healthy {
			lines = append(lines, l.say("reason", "reason", isolate(strings.ReplaceAll(r.reason, "\n", " "))))
		}
	}
	return lines
}

// states returns how many replicas are in each state.
func (l viewList) states() map[string]int {
	n := make(map[string]int)
	for _, r := range l.all() {
		n[r.state()]++
	}
	return n
}

// tally returns "1,204 operational, 3 down".
func (l *language) tally(replicas viewList) string {
	n := replicas.states()
	var parts []string
	for _, state := range [...]string{stateOK, stateWarn, stateDown, stateWait} {
		if n[state] > 0 {
			parts = append(parts, l.number(n[state])+"\u00a0"+l.words[stateWords[state]])
		}
	}
	return strings.Join(parts, ", ")
}

// started reports whether anything is known of the node's past.
func (h *nodeHistory) started() bool {
	return h != nil && (h.known || len(h.days.closed) > 0 || h.days.current.total() > 0)
}

// An openedView is what opened.html sees: what a row shows when it is opened.
type openedView struct {
	lang      *language
	Ups       []factView
	Outages   []outageLine
	More      string // how many further outages
	Instances []instanceView
	Others    string // how many further instances
	Days      []factView
	Link      template.URL
	LinkLabel string

	Report        template.URL // of the latency, where there is one
	Script, Sheet template.URL // that draw it
}

// setLatency has the script draw how long the checks of the node took.
func (v *openedView) setLatency(s shell, sv *serviceView, nv *nodeView) {
	if nv.hasLatency() {
		v.Report, v.Script, v.Sheet = s.Route("status/"+nodePath(sv.conf, nv.conf)), s.Asset("chart.js"), s.Asset("chart.css")
	}
}

// hasLatency reports whether Vigil does the checks of the node, and so knows how
// long they take.
func (nv *nodeView) hasLatency() bool {
	return nv.conf.Mode == modePoll || nv.conf.Mode == modeScript
}

// chartWords are the words that the chart needs.
var chartWords = strings.Fields(`latency_24h median worst loading latency_failed latency_none latency_table latency_chart
	hour down no_data from_to milliseconds`)

// Words returns what the chart says, as JSON.
func (v *openedView) Words() (string, error) { return v.lang.json(chartWords) }

// T returns a word of the page's language.
func (v *openedView) T(key string) string { return v.lang.words[key] }

type factView struct{ Name, What, Value string }

type outageLine struct {
	Kind   template.HTML // a day's drawing
	Link   template.URL
	Span   template.HTML
	Length string
}

type instanceView struct {
	State, Name, Word, Latency string
	Lines                      []template.HTML
}

const (
	maxListed    = 20  // outages of a node
	maxInstances = 200 // replicas of a node
)

// newOpenedView returns what is shown of an opened node, which was under
// maintenance in some spans.
func newOpenedView(lang *language, base string, nv *nodeView, incidents []*incident, kept []timeSpan, now time.Time) *openedView {
	v := &openedView{
		lang:      lang,
		Link:      link(nv.conf.LinkURL),
		LinkLabel: steady(nv.conf.LinkLabel),
	}
	if v.LinkLabel == "" {
		v.LinkLabel = lang.words["learn_more"]
	}
	d := newDays(nv.history, incidents, now)
	share, known := lastDay(&d, incidents, kept, now)
	text, _ := lang.uptimeText(share, known)
	v.Ups = append(v.Ups, factView{Name: lang.count("hours", 24), Value: text})
	for _, n := range []int{7, 30, historyDays} {
		text, _ := lang.uptimeText(d.uptime(n))
		v.Ups = append(v.Ups, factView{Name: lang.count("days", n), Value: text})
	}
	for _, in := range incidents[:min(len(incidents), maxListed)] {
		v.Outages = append(v.Outages, newOutageLine(lang, base, in, now))
	}
	if more := len(incidents) - maxListed; more > 0 {
		v.More = lang.count("more", more)
	}
	today := dateOf(now)
	for i := historyDays - 1; i >= 0; i-- {
		day := (today - date(historyDays-1-i)).noon()
		name := lang.say("weekday_date", "weekday", lang.name("weekdays_short", int(day.Weekday())), "date", lang.time(day, dateForm))
		if d.down[i] > 0 {
			v.Days = append(v.Days, factView{name, lang.words["down"], lang.length(d.down[i])})
		}
		if d.weak[i] > 0 {
			v.Days = append(v.Days, factView{name, lang.words["degraded"], lang.length(d.weak[i])})
		}
		if d.kept[i] > 0 {
			v.Days = append(v.Days, factView{name, lang.words["maintenance"], lang.length(d.kept[i])})
		}
	}
	v.addInstances(nv, now)
	return v
}

// addInstances lists the replicas; of very many, those that are not well first.
func (v *openedView) addInstances(nv *nodeView, now time.Time) {
	add := func(i int, r *replicaView) {
		in := instanceView{State: r.state(), Name: nv.conf.replicaName(r, i+1), Word: v.lang.word(r)}
		lines := v.lang.figures(nv.conf, r)
		if r.latency > 0 && r.checked && r.status != dead {
			in.Latency, lines = v.lang.milliseconds(r.latency), lines[1:]
		}
		for _, line := range lines {
			in.Lines = append(in.Lines, template.HTML(template.HTMLEscapeString(line)))
		}
		if j := r.job; j != nil {
			if !j.last.IsZero() {
				in.Lines = append(in.Lines, v.lang.html("last_ping", "time", v.lang.moment(j.last, now)))
			}
			if !j.due.IsZero() {
				in.Lines = append(in.Lines, v.lang.html("next_ping", "time", v.lang.moment(j.due, now)))
			}
			if j.took > 0 {
				in.Lines = append(in.Lines, v.lang.html("run_took", "length", v.lang.length(j.took)))
			}
		}
		v.Instances = append(v.Instances, in)
	}
	n := nv.replicas.len()
	for i, r := range nv.replicas.all() {
		if n > maxInstances && r.status == healthy {
			continue
		}
		if len(v.Instances) == maxInstances {
			break
		}
		add(i, r)
	}
	if more := n - len(v.Instances); more > 0 {
		v.Others = v.lang.count("more", more)
	}
}

func newOutageLine(lang *language, base string, in *incident, now time.Time) outageLine {
	v := outageLine{
		Kind:   drawKind(in.length(now)),
		Link:   template.URL(base + "history#" + url.PathEscape(in.id)),
		Length: lang.length(in.length(now)),
	}
	if in.end.IsZero() {
		v.Span = lang.html("since", "time", lang.moment(in.start, now))
	} else {
		v.Span = lang.span(in.start, in.end, now, dateTimeForm)
	}
	return v
}

// drawKind returns an outage drawn as the days are.
func drawKind(length time.Duration) template.HTML {
	d := days{}
	d.down[0] = length
	return template.HTML(`<svg class="k" viewBox="0 0 1 24" preserveAspectRatio="none" aria-hidden="true"><path class="pw" d="M0 12h1"/><use href="#` +
		dayShapes[max(dayBrief, d.kind(0))] + `"/></svg>`)
}

// lastDay returns the uptime of the last 24 hours. As in that of days, time under
// maintenance counts neither as up nor as down, though an outage may go on in it.
func lastDay(d *days, incidents []*incident, kept []timeSpan, now time.Time) (share float64, known bool) {
	start := now.Add(-24 * time.Hour)
	all := min(24*time.Hour-overlap(kept, start, now), d.known[historyDays-1]+d.known[historyDays-2])
	if all <= 0 {
		return 0, false
	}
	var down time.Duration
	for _, in := range incidents {
		from, to := in.start, now
		if !in.end.IsZero() {
			to = in.end
		}
		if from.Before(start) {
			from = start
		}
		down += max(0, to.Sub(from)-overlap(kept, from, to))
	}
	return float64(max(0, all-down)) / float64(all), true
}

// maintenancesOf returns when a node was under maintenance, as far as that is
// known.
func (s *snapshot) maintenancesOf(sv *serviceView, nv *nodeView) []timeSpan {
	var all []timeSpan
	for _, q := range slices.Concat(s.maintained, s.quietTimes) {
		if !q.silence && q.start.Before(s.at) && q.selectors.matches(sv.conf.ID, nv.conf.ID) {
			to := q.end
			if to.After(s.at) {
				to = s.at
			}
			all = append(all, timeSpan{q.start, to})
		}
	}
	return merged(all)
}

// byNode returns the incidents of the last 90 days by node, newest first.
func (s *snapshot) byNode() map[*Node][]*incident {
	by := make(map[*Node][]*incident)
	for i := range s.pastIncidents {
		in := &s.pastIncidents[i]
		by[in.node] = append(by[in.node], in)
	}
	return by
}

// find returns the views of a node.
func (s *snapshot) node(service, node string) (*serviceView, *nodeView) {
	for _, sv := range s.services {
		if sv.conf.ID == service {
			if i := slices.IndexFunc(sv.nodes, func(nv *nodeView) bool { return nv.conf.ID == node }); i >= 0 {
				return sv, sv.nodes[i]
			}
		}
	}
	return nil, nil
}
