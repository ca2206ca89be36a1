package notify

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of what one message holds, in characters and lines. Services have
// narrower ones of their own.
const (
	maxTitle  = 100
	maxPath   = 256
	maxReason = 160
	maxNote   = 300
	maxListed = 100
)

// lateAfter is the delay from which on a message says that it is late.
const lateAfter = time.Minute

// A style is how a channel writes a text: what it escapes, how it sets things
// off and how much it takes. The words are the same for all.
type style struct {
	text   func(string) string // makes a piece of text harmless
	path   func(string) string // the same for a replica's path
	strong func(string) string // sets off what text returned
	link   func(string) string // the page's address
	size   func(string) int    // in the unit in which the service counts
	limit  int                 // of the whole body in that unit; 0 is none
}

// plainStyle is the style of channels that show text as it is.
func plainStyle(limit int, size func(string) int) style {
	same := func(s string) string { return s }
	return style{text: same, path: same, strong: same, link: same, size: size, limit: limit}
}

// plainText is the whole message as plain text, headline first. now is when it
// is sent.
func plainText(a Alert, now time.Time) string {
	return plainStyle(0, utf8.RuneCountInString).message(a, now)
}

// headline says in one line what happened to which page.
func headline(a Alert) string {
	title := clip(cmp.Or(oneLine(a.Page.Title), "Status page"), maxTitle)
	var line string
	switch a.Kind {
	case Startup:
		line = fmt.Sprintf("%s started up: %s", title, a.Status)
	case Reminder:
		line = fmt.Sprintf("%s is still %s", title, a.Status)
	case Notice:
		line = fmt.Sprintf("%s, a notice on the monitor itself: %s", title, a.Status)
	default:
		line = fmt.Sprintf("%s changed: %s", title, a.Status)
	}
	if a.Test {
		return "TEST: " + line
	}
	return line
}

// summary is the headline with the first dead replica, for where people see
// one line only.
func summary(a Alert) string {
	line := headline(a)
	if len(a.Dead) == 0 {
		return line
	}
	line += ", " + clip(oneLine(a.Dead[0].Path), maxPath)
	if more := len(a.Dead) - 1; more > 0 {
		line += fmt.Sprintf(" and %d more", more)
	}
	return line
}

// message is headline and body.
func (s style) message(a Alert, now time.Time) string {
	head := s.strong(s.text(headline(a))) + "\n\n"
	if s.limit > 0 {
		s.limit = max(1, s.limit-s.size(head))
	}
	return head + s.body(a, now)
}

// body is what follows the headline: what is dead first, then what came back,
// then time and link. Lists are cut to the limit, the rest stays whole.
func (s style) body(a Alert, now time.Time) string {
	tail := s.tail(a, now)
	room := s.limit - s.size(tail)
	back := len(a.Recovered) > 0
	if back { // at least its heading must find room
		room -= s.size(s.recovered(a, 0) + "\n\n")
	}
	var b strings.Builder
	if len(a.Dead) > 0 {
		list := s.dead(a, room-s.size("\n\n")) + "\n\n"
		room -= s.size(list)
		b.WriteString(list)
	}
	if back {
		b.WriteString(s.recovered(a, room+s.size(s.recovered(a, 0))) + "\n\n")
	}
	b.WriteString(tail)
	return b.String()
}

// dead lists the dead replicas with their reasons, as far as there is room.
func (s style) dead(a Alert, room int) string {
	return s.list(len(a.Dead), "dead", room, func(i int) string {
		line := s.path(clip(oneLine(a.Dead[i].Path), maxPath))
		if reason := clip(oneLine(a.Dead[i].Reason), maxReason); reason != "" {
			line += " (" + s.text(reason) + ")"
		}
		return line
	})
}

// recovered lists the replicas that came back, as far as there is room.
func (s style) recovered(a Alert, room int) string {
	return s.list(len(a.Recovered), "recovered", room, func(i int) string {
		return s.path(clip(oneLine(a.Recovered[i]), maxPath))
	})
}

// list is a heading that counts n replicas and as many lines under it as fit
// into the room, with the number of those left out.
func (s style) list(n int, what string, room int, line func(int) string) string {
	heading := fmt.Sprintf("%d replicas %s", n, what)
	if n == 1 {
		heading = "1 replica " + what
	}
	var b strings.Builder
	b.WriteString(heading + ":")
	used := s.size(b.String())
	for i := range n {
		more := fmt.Sprintf("\n- and %d more", n-i)
		item := "\n- " + line(i)
		need := s.size(item)
		if i < n-1 {
			need += s.size(more)
		}
		if i == maxListed || s.limit > 0 && used+need > room {
			if i == 0 {
				return heading
			}
			b.WriteString(more)
			break
		}
		b.WriteString(item)
		used += s.size(item)
	}
	return b.String()
}

// tail is the last lines of a body: notes, time and link.
func (s style) tail(a Alert, now time.Time) string {
	var lines []string
	for _, note := range notes(a) {
		lines = append(lines, s.text(note), "")
	}
	lines = append(lines, "Time: "+clock(a, now))
	// A link is no use in part, and must not drive out the rest.
	if url := oneLine(a.Page.URL); url != "" && (s.limit == 0 || s.size(s.link(url)) <= s.limit/2) {
		lines = append(lines, "Page: "+s.link(url))
	}
	return strings.Join(lines, "\n")
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
		list = append(list, "This may be a repeat: the monitor was restarted before it knew whether this had arrived.")
	}
	switch {
	case a.Merged == 1:
		list = append(list, "This stands for an earlier notification too, which was still waiting.")
	case a.Merged > 1:
		list = append(list, fmt.Sprintf("This stands for %d earlier notifications too, which were still waiting.", a.Merged))
	}
	return list
}

// clock is the time of the alert as people read it, with a word on how late
// the message is.
func clock(a Alert, now time.Time) string {
	at := a.Time.Format("15:04:05 UTC-0700")
	if late := lateness(a, now); late > 0 {
		return at + ", sent " + span(late) + " late"
	}
	return at
}

// lateness is how long after the event the message is sent; 0 when that is not
// worth a word.
func lateness(a Alert, now time.Time) time.Duration {
	if late := now.Sub(a.Time); late >= lateAfter {
		return late
	}
	return 0
}

// span is a duration of at least a minute in the two units that matter.
func span(d time.Duration) string {
	days, hours, minutes := int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60
	switch {
	case days > 0 && hours > 0:
		return fmt.Sprintf("%d d %d h", days, hours)
	case days > 0:
		return fmt.Sprintf("%d d", days)
	case hours > 0 && minutes > 0:
		return fmt.Sprintf("%d h %d min", hours, minutes)
	case hours > 0:
		return fmt.Sprintf("%d h", hours)
	}
	return fmt.Sprintf("%d min", minutes)
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

// oneLine makes a label safe to stand in a line of text: no control
// characters, no line ends, and nothing that turns the writing direction of
// what follows.
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

// clip cuts s to at most n characters, of which the last three then are dots.
func clip(s string, n int) string {
	if len(s) <= n || utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-3]) + "..."
}

// size in bytes, for services that count these.
func byteCount(s string) int { return len(s) }
