package notify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A style is how a channel writes a text: what it escapes, how it sets things
// off and how much fits.
type style struct {
	text    func(string) string // makes words harmless
	label   func(string) string // the same for names and reasons, which hold anything
	strong  func(string) string // sets off what text returned
	link    func(string) string // an address
	size    func(string) int    // in the unit in which the service counts
	limit   int                 // of the whole body in that unit; 0 is none
	columns bool                // the reader's font has a fixed width
}

// plainStyle is the style of channels that show text as it is.
func plainStyle(limit int, size func(string) int) style {
	same := func(s string) string { return s }
	return style{text: same, label: same, strong: same, link: same, size: size, limit: limit}
}

// message is the subject and the body.
func (s style) message(t text) string {
	head := s.strong(s.text(t.subject)) + "\n\n"
	if s.limit > 0 {
		s.limit = max(1, s.limit-s.size(head))
	}
	return head + s.body(t)
}

// body is what follows the subject: the outages, then notes, time and link. The
// list is cut to the limit, the rest stays whole.
func (s style) body(t text) string {
	tail := s.tail(t)
	list := s.list(t, s.limit-s.size(tail)-s.size("\n\n"))
	if list == "" {
		return tail
	}
	return list + "\n\n" + tail
}

// list has a line for each outage, with its replicas below it, as far as there
// is room, and counts what is left out.
func (s style) list(t text, room int) string {
	var mark, name, what int // widths
	if s.columns {
		for _, l := range t.lines {
			mark = max(mark, len(l.mark))
			name = max(name, min(utf8.RuneCountInString(l.heading()), 40))
			what = max(what, min(utf8.RuneCountInString(l.what), 40))
		}
	}
	var b strings.Builder
	used := 0
	put := func(line string, reserve int) bool {
		if b.Len() > 0 {
			line = "\n" + line
		}
		if s.limit > 0 && used+s.size(line)+reserve > room {
			return false
		}
		used += s.size(line)
		b.WriteString(line)
		return true
	}
	const ending = "\nand 99999 more down, 99999 more back"
	for i, l := range t.lines {
		reserve := 0
		if i < len(t.lines)-1 || len(l.replicas)+t.down+t.back > 0 {
			reserve = s.size(ending)
		}
		if !put(s.line(l, mark, name, what), reserve) {
			for _, l := range t.lines[i:] {
				t.leaveOut(l.over)
			}
			break
		}
		for j, r := range l.replicas {
			if !put("  - "+s.label(r), reserve+s.size("\n  - and 99999 more")) {
				put(fmt.Sprintf("  - and %d more", len(l.replicas)-j), 0)
				break
			}
		}
	}
	switch {
	case t.down > 0 && t.back > 0:
		put(fmt.Sprintf("and %d more down, %d more back", t.down, t.back), 0)
	case t.down > 0:
		put(fmt.Sprintf("and %d more down", t.down), 0)
	case t.back > 0:
		put(fmt.Sprintf("and %d more back", t.back), 0)
	}
	return b.String()
}

// heading is the node's name, with its id where that differs.
func (l line) heading() string {
	if l.name == l.id || strings.EqualFold(strings.ReplaceAll(l.name, " > ", ":"), l.id) {
		return l.name
	}
	return l.name + " (" + l.id + ")"
}

// line is one outage: mark, name, what is wrong, and since when.
func (s style) line(l line, mark, name, what int) string {
	pad := func(shown, raw string, width int) string {
		return shown + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(raw)))
	}
	parts := []string{pad(l.mark, l.mark, mark), pad(s.label(l.heading()), l.heading(), name)}
	if l.what != "" || s.columns && l.when != "" && what > 0 {
		shown := ""
		if l.what != "" {
			shown = s.label(l.what)
		}
		parts = append(parts, pad(shown, l.what, what))
	}
	if l.when != "" {
		parts = append(parts, s.text(l.when))
	}
	return strings.TrimRight(strings.Join(parts, "  "), " ")
}

// tail is the last lines of a body: notes, time and link.
func (s style) tail(t text) string {
	var lines []string
	for _, note := range t.notes {
		lines = append(lines, s.text(note))
	}
	last := s.text(t.when)
	// Half a link is useless, and a long one must not displace the rest.
	if t.link != "" && (s.limit == 0 || s.size(s.link(t.link)) <= s.limit/2) {
		last += ", " + s.link(t.link)
	}
	return strings.Join(append(lines, last), "\n")
}

// lateness is how long after the event the message is sent; 0 when that is not
// worth a word.
func lateness(a Alert, now time.Time) time.Duration {
	if late := now.Sub(a.Time); late >= lateAfter {
		return late
	}
	return 0
}

// timestamp is a date, a time and its zone, as people read it.
func timestamp(t time.Time) string { return t.Format("2 Jan 2006 15:04:05 ") + zone(t) }

func zone(t time.Time) string {
	if _, offset := t.Zone(); offset == 0 {
		return "UTC"
	}
	return t.Format("UTC-0700")
}

// clockSince is a time of the last day without its date, in the zone of now.
func clockSince(t, now time.Time) string {
	t = t.In(now.Location())
	if now.Sub(t) < 12*time.Hour {
		return t.Format("15:04:05")
	}
	return t.Format("2 Jan 15:04")
}

// span is a duration in the two units that matter.
func span(d time.Duration) string {
	s := int(max(d, 0).Seconds())
	units := []string{"d", "h", "min", "s"}
	counts := []int{s / 86400, s / 3600 % 24, s / 60 % 60, s % 60}
	i := max(slices.IndexFunc(counts, func(n int) bool { return n > 0 }), 0)
	if s == 0 {
		i = len(counts) - 1
	}
	text := fmt.Sprintf("%d %s", counts[i], units[i])
	if i+1 < len(counts) && counts[i+1] > 0 {
		text += fmt.Sprintf(" %d %s", counts[i+1], units[i+1])
	}
	return text
}

// icon marks a status in plain text.
func (s Status) icon() string {
	switch s {
	case Dead:
		return "🔴"
	case Sick:
		return "🟠"
	}
	return "🟢"
}

// colour is the same for services that take one, as #rrggbb.
func (s Status) colour() string {
	return cmp.Or(map[Status]string{Dead: "#d92d20", Sick: "#dc8400"}[s], "#12873e")
}

// noMention keeps a name such as @everyone from ringing anybody: an invisible
// character follows each @.
func noMention(s string) string { return strings.ReplaceAll(s, "@", "@\u200b") }

// oneLine makes a label safe for a line of text: no control characters, no line
// ends, and nothing that turns the writing direction of what follows.
func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.In(r, unicode.Zl, unicode.Zp):
			return ' '
		case unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD")))
}

// clip cuts s to at most n characters; the last three are then dots.
func clip(s string, n int) string {
	if len(s) <= n || utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-3]) + "..."
}

// size in bytes, for services that count these.
func byteCount(s string) int { return len(s) }
