package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"
)

// badgeColours are the status colours, those of app.css, with what can be
// read on them.
var badgeColours = [...]struct{ fill, sign string }{
	healthy: {"#15803d", "#fff"},
	sick:    {"#f08c00", "#241400"},
	dead:    {"#c92a2a", "#fff"},
}

// badgeSigns say the status without colour, in a box of 24 x 24.
var badgeSigns = [...]string{
	healthy: `<path d="M6.5 12.5l3.7 3.7 7.3-8"/>`,
	sick:    `<path d="M12 6.5v7M12 17v.5"/>`,
	dead:    `<path d="M7.5 7.5l9 9M16.5 7.5l-9 9"/>`,
}

// A subject is what a badge speaks of: the page, a service or a node.
type subject struct {
	label  string
	status status
	nodes  []*nodeView
	at     time.Time
}

// find returns the subject that these ids name: none for the page, one for a
// service, two for a node.
func (s *snapshot) find(ids []string) (subject, bool) {
	if len(ids) == 0 {
		sub := subject{label: s.conf.Branding.PageTitle, status: s.status, at: s.at}
		for _, sv := range s.services {
			sub.nodes = append(sub.nodes, sv.nodes...)
		}
		return sub, true
	}
	for _, sv := range s.services {
		if sv.conf.ID != ids[0] {
			continue
		}
		if len(ids) == 1 {
			return subject{sv.conf.Label, sv.status, sv.nodes, s.at}, true
		}
		for _, nv := range sv.nodes {
			if len(ids) == 2 && nv.conf.ID == ids[1] {
				return subject{nv.conf.Label, nv.status, []*nodeView{nv}, s.at}, true
			}
		}
	}
	return subject{}, false
}

// badge returns what serves a badge of a kind for what the ids name; nil when
// there is no such kind or thing.
func (p *page) badge(kind string, ids []string) http.HandlerFunc {
	var draw func(subject) []byte
	switch kind {
	case "color":
		draw = colourBadge
	case "icon":
		draw = iconBadge
	case "uptime":
		draw = uptimeBadge
	default:
		return nil
	}
	sub, ok := p.board.load().find(ids)
	if !ok {
		return nil
	}
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Content-Type"] = svgType
		h["Cache-Control"] = noStore
		h["X-Content-Type-Options"] = nosniff
		h["Access-Control-Allow-Origin"] = anyOrigin
		w.Write(draw(sub))
	}
}

// colourBadge is a small square in the status colour.
func colourBadge(sub subject) []byte {
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10" viewBox="0 0 10 10" role="img">`+
		`<title>%s</title><rect width="10" height="10" rx="2" fill="%s"/></svg>`,
		xmlText(sub.label+": "+sub.status.String()), badgeColours[sub.status].fill)
}

// iconBadge is a sign in the status colour.
func iconBadge(sub subject) []byte {
	c := badgeColours[sub.status]
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" width="24" height="24" viewBox="0 0 24 24" role="img">`+
		`<title>%s</title><rect width="24" height="24" rx="6" fill="%s"/>`+
		`<g fill="none" stroke="%s" stroke-width="2.6" stroke-linecap="round" stroke-linejoin="round">%s</g></svg>`,
		xmlText(sub.label+": "+sub.status.String()), c.fill, c.sign, badgeSigns[sub.status])
}

// uptimeBadge is a label with the share of the known time that was not dead.
func uptimeBadge(sub subject) []byte {
	value, level := "unknown", healthy
	fill, ink := "#5c6470", "#fff"
	window := "uptime"
	if share, days, ok := uptime(sub.nodes, sub.at); ok {
		value = percent(share)
		window = "uptime, " + historyWindow(days)
		switch {
		case share < 0.99:
			level = dead
		case share < 0.999:
			level = sick
		}
		fill, ink = badgeColours[level].fill, badgeColours[level].sign
	}
	left := clip(sub.label, 40) + " " + window
	a, b := textWidth(left)+14, textWidth(value)+14
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="20" viewBox="0 0 %[1]d 20" role="img">`+
		`<title>%[2]s</title><clipPath id="c"><rect width="%[1]d" height="20" rx="4"/></clipPath>`+
		`<g clip-path="url(#c)"><path fill="#30363f" d="M0 0h%[3]dv20H0z"/><path fill="%[4]s" d="M%[3]d 0h%[5]dv20H%[3]dz"/></g>`+
		`<g font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">`+
		`<text x="7" y="14" fill="#fff" textLength="%[6]d">%[7]s</text>`+
		`<text x="%[8]d" y="14" fill="%[9]s" textLength="%[10]d">%[11]s</text></g></svg>`,
		a+b, xmlText(left+": "+value), a, fill, b, a-14, xmlText(left), a+7, ink, b-14, xmlText(value))
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

// clip cuts s to n runes, with a mark where it was cut.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:n-1]) + "…"
}

// textWidth estimates how wide s is in Verdana at 11 px; the text is set to
// that width exactly.
func textWidth(s string) int {
	tenths := 0
	for _, r := range s {
		switch {
		case r == ' ' || r == '.' || r == ',' || r == 'i' || r == 'l' || r == 'j' || r == 'I':
			tenths += 40
		case r == 'm' || r == 'w' || r == 'M' || r == 'W' || r == '%':
			tenths += 105
		case r >= 0x1100:
			tenths += 115
		case r >= 'A' && r <= 'Z':
			tenths += 78
		default:
			tenths += 66
		}
	}
	return max(tenths/10, 1)
}

// xmlText escapes s for XML; what XML cannot hold at all is replaced.
func xmlText(s string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(isolate(s))) // a Buffer takes everything
	return b.String()
}
