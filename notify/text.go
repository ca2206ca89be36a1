package notify

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of what one message holds, in characters and items.
const (
	maxSubject = 120
	maxTitle   = 40
	maxName    = 80
	maxLabel   = 256
	maxReason  = 160
	maxNote    = 300
	maxListed  = 100 // outages, and replicas over all of them
)

// lateAfter is the delay from which on a message says that it is late.
const lateAfter = time.Minute

// A text is what an alert says, before a channel gives it its form. All
// channels say the same.
type text struct {
	subject string // the first line, at most 120 characters
	mood    Status // what the message is about, for its colour
	lines   []line // one for each outage, news first
	down    int    // outages that the lines leave out: those that began or go on
	back    int    // and those that ended
	notes   []string
	when    string // date, time and zone
	late    string // how late it is sent; may be empty
	link    string // to the node, or to the page; may be empty
}

// A line is what a message says of one outage.
type line struct {
	over     bool
	mark     string   // DOWN, DEGRADED, BACK, GONE or STILL
	status   Status   // for its colour
	name     string   // "Website > Shop"
	id       string   // "web:shop", for commands
	what     string   // "2 of 3: no answer in 3 s"; may be empty
	when     string   // "since 13:20:40"
	replicas []string // each of them, where what does not say it all
	link     string
}

// newText words an alert. now is when it is sent.
func newText(a Alert, now time.Time) text {
	outages := slices.Clone(a.outages())
	slices.SortStableFunc(outages, func(x, y Outage) int { return cmp.Compare(rank(x), rank(y)) })
	t := text{down: a.MoreDown, back: a.MoreOver, notes: notes(a), when: timestamp(a.Time), link: a.Page.link(outages)}
	if late := lateness(a, now); late > 0 {
		t.late = "sent " + span(late) + " late"
		t.when += ", " + t.late
	}
	replicas := maxListed
	for i, o := range outages {
		if i >= maxListed {
			t.leaveOut(o.Over)
			continue
		}
		l := newLine(o, a)
		l.replicas = l.replicas[:min(len(l.replicas), replicas)]
		replicas -= len(l.replicas)
		t.lines = append(t.lines, l)
	}
	t.subject, t.mood = subject(a, outages)
	return t
}

// leaveOut counts an outage that has no line.
func (t *text) leaveOut(over bool) {
	if over {
		t.back++
	} else {
		t.down++
	}
}

// sms is all that fits into a text message.
func (t text) sms() string {
	if t.late == "" {
		return t.subject
	}
	end := ", " + t.late
	return clip(t.subject, maxSubject-len(end)) + end
}

// rank orders outages: those that began, those that ended, those that go on.
func rank(o Outage) int {
	switch {
	case o.Over:
		return 2
	case !o.New:
		return 3
	case o.Status == Sick:
		return 1
	}
	return 0
}

// newLine words one outage.
func newLine(o Outage, a Alert) line {
	l := line{over: o.Over, status: o.Status, name: o.name(), id: oneLine(o.Service + ":" + o.Node), link: a.Page.link([]Outage{o})}
	switch {
	case o.Gone:
		l.mark, l.what, l.status = "GONE", "no longer monitored", Sick
	case o.Over && o.Status == Sick:
		l.mark, l.what = "BACK", "degraded"
	case o.Over:
		l.mark, l.status = "BACK", Healthy
	case o.New && o.Status == Sick:
		l.mark = "DEGRADED"
	case o.New:
		l.mark = "DOWN"
	default:
		l.mark = "STILL"
		if o.Status == Sick {
			l.what = "degraded: "
		}
	}
	if !o.Over {
		what, replicas := o.reasons()
		l.what, l.replicas = strings.TrimSuffix(l.what+what, ": "), replicas
	}
	switch {
	case o.Since.IsZero():
	case o.Over:
		l.when = o.lasted()
	case o.New:
		l.when = "since " + clockSince(o.Since, a.Time)
	default:
		l.when = "for " + span(a.Time.Sub(o.Since))
	}
	if o.Depending > 0 && !o.Over {
		l.when = strings.TrimPrefix(l.when+", "+o.depending(), ", ")
	}
	return l
}

// name is what people call the node.
func (o Outage) name() string {
	service := clip(oneLine(cmp.Or(o.ServiceLabel, o.Service)), maxName)
	node := clip(oneLine(cmp.Or(o.NodeLabel, o.Node)), maxName)
	if service == node || node == "" {
		return service
	}
	return service + " > " + node
}

func (o Outage) depending() string {
	if o.Depending == 1 {
		return "and 1 node that depends on it"
	}
	return fmt.Sprintf("and %d nodes that depend on it", o.Depending)
}

// reasons says what is wrong with an outage's replicas in one line and, where
// there are several, lists them.
func (o Outage) reasons() (what string, list []string) {
	first := ""
	same := true
	for i, r := range o.Replicas {
		reason := clip(oneLine(r.Reason), maxReason)
		if i == 0 {
			first = reason
		}
		same = same && reason == first
		list = append(list, strings.TrimSuffix(o.replicaName(r)+": "+reason, ": "))
	}
	switch n := len(o.Replicas); {
	case n == 0:
		return "", nil
	case n == 1 && o.Instances == 1 && o.Replicas[0].Label == "":
		return first, nil
	case n == 1:
		return list[0], nil
	case o.Instances == 0:
		what = fmt.Sprintf("%d instances", n)
	default:
		what = fmt.Sprintf("%d of %d", n, o.Instances)
	}
	if same && first != "" {
		what += ": " + first
	} else if first != "" {
		what += ": " + first + " and others"
	}
	return what, list
}

// replicaName is a replica's label, or its id.
func (o Outage) replicaName(r Replica) string {
	id := strings.TrimPrefix(r.Path, o.Service+":"+o.Node+":")
	return clip(oneLine(cmp.Or(r.Label, id)), maxLabel)
}

// Subject returns the first line of the message on an alert.
func Subject(a Alert) string {
	text, _ := subject(a, a.outages())
	return text
}

// subject is the first line of a message, which a locked phone shows, and its
// mood.
func subject(a Alert, outages []Outage) (string, Status) {
	var down, sick, over, still, degraded []Outage // began as down or sick, ended, or go on as dead or sick
	gone := true                                   // all that are over
	for _, o := range outages {
		switch {
		case o.Over:
			over = append(over, o)
			gone = gone && o.Gone
		case (!o.New || a.Kind == Reminder) && o.Status == Sick:
			degraded = append(degraded, o)
		case !o.New || a.Kind == Reminder:
			still = append(still, o)
		case o.Status == Sick:
			sick = append(sick, o)
		default:
			down = append(down, o)
		}
	}
	word := "down"
	if len(still) == 0 && len(degraded) > 0 {
		still, word = degraded, "degraded"
	}
	title := "[" + clip(cmp.Or(oneLine(a.Page.Title), "Status page"), maxTitle) + "] "
	if a.Test {
		title += "TEST: "
	}
	if a.Kind == Startup {
		title += "STARTED, "
	}
	end := ""
	if a.Kind == Reminder && a.Reminders > 0 {
		end = fmt.Sprintf(", reminder %d", a.Reminders)
	}
	if a.Repeat {
		end += " (repeat)"
	}
	put := func(word string, names []string, rest string) string {
		room := maxSubject - utf8.RuneCountInString(title+word+": "+rest+end)
		return title + word + ": " + fit(names, room) + rest + end
	}
	back := also(". Back: ", namesOf(over, a.MoreOver, Outage.name), 40)
	switch {
	case a.Kind == Notice:
		return put("NOTICE", []string{clip(oneLine(a.Note), maxSubject)}, ""), a.Status
	case len(down) > 0:
		return put("DOWN", namesOf(down, a.MoreDown, Outage.nameAndReason), back), Dead
	case len(sick) > 0:
		return put("DEGRADED", namesOf(sick, a.MoreDown, Outage.nameAndReason), back), Sick
	case len(over) > 0:
		what, mood := "UP", a.Status
		if gone {
			what = "NO LONGER MONITORED"
		}
		if len(still) > 0 {
			mood = Sick
		}
		rest := also(". Still "+word+": ", namesOf(still, a.MoreDown, Outage.name), 45)
		return put(what, namesOf(over, a.MoreOver, Outage.nameAndTime), rest), mood
	case len(still) > 0:
		var longest time.Time
		for _, o := range still {
			if longest.IsZero() || o.Since.Before(longest) && !o.Since.IsZero() {
				longest = o.Since
			}
		}
		what := "STILL " + strings.ToUpper(word)
		if !longest.IsZero() {
			what += " for " + span(a.Time.Sub(longest))
		}
		return put(what, namesOf(still, a.MoreDown, Outage.nameAndReason), ""), a.Status
	}
	word = map[Status]string{Dead: "DOWN", Sick: "DEGRADED"}[a.Status]
	return clip(title+cmp.Or(word, "UP")+end, maxSubject), a.Status
}

// namesOf says something of each outage, and has an empty place for those that
// no subject has room for.
func namesOf(list []Outage, more int, say func(Outage) string) []string {
	const most = 60
	names := make([]string, len(list)+more)
	for i := range min(len(list), most) {
		names[i] = say(list[i])
	}
	return names
}

func (o Outage) nameAndReason() string {
	s := o.name()
	if len(o.Replicas) > 0 && o.Replicas[0].Reason != "" {
		s += " (" + clip(oneLine(o.Replicas[0].Reason), 60) + ")"
	}
	if o.Depending > 0 {
		s += " " + o.depending()
	}
	return s
}

func (o Outage) nameAndTime() string {
	switch {
	case o.Since.IsZero():
		return o.name()
	case o.Status == Sick && !o.Gone:
		return o.name() + " (degraded, " + o.lasted() + ")"
	}
	return o.name() + " (" + o.lasted() + ")"
}

// lasted is how long an outage that is over took.
func (o Outage) lasted() string {
	word := "was down "
	if o.Degraded {
		word = "was degraded "
	}
	return word + span(o.Until.Sub(o.Since))
}

// also is a second clause of a subject, at most so long; "" without names.
func also(word string, names []string, most int) string {
	if len(names) == 0 {
		return ""
	}
	return word + fit(names, most-utf8.RuneCountInString(word))
}

// fit lists names in at most so many characters and counts the rest. The first
// one is always there, cut where need be.
func fit(names []string, room int) string {
	s := ""
	for i, name := range names {
		rest := ""
		if left := len(names) - i - 1; left > 0 {
			rest = fmt.Sprintf(" and %d more", left)
		}
		next := s + ", " + name
		if i == 0 {
			next = clip(name, max(room-utf8.RuneCountInString(rest), 8))
		}
		if i > 0 && utf8.RuneCountInString(next+rest) > room {
			return fmt.Sprintf("%s and %d more", s, len(names)-i)
		}
		s = next
	}
	return s
}

// link leads to the node on the page when all outages are of one service, else
// to the page. A service's id may hold anything.
func (p Page) link(outages []Outage) string {
	base, _, _ := strings.Cut(oneLine(p.URL), "#")
	if base == "" || len(outages) == 0 {
		return base
	}
	for _, o := range outages {
		if o.Service != outages[0].Service {
			return base
		}
	}
	return base + "#probe-" + url.PathEscape(outages[0].Service)
}

// notes are the further sentences of an alert.
func notes(a Alert) []string {
	var list []string
	if a.Test {
		list = append(list, "This is a test message. Nothing happened.")
	}
	if note := clip(oneLine(a.Note), maxNote); note != "" {
		list = append(list, note)
	}
	if a.Repeat {
		list = append(list, "This may be a repeat: the first delivery was not confirmed.")
	}
	switch {
	case a.Merged == 1:
		list = append(list, "This also stands for an earlier message that could not be delivered.")
	case a.Merged > 1:
		list = append(list, fmt.Sprintf("This also stands for %d earlier messages that could not be delivered.", a.Merged))
	}
	return list
}
