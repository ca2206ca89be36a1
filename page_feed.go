package main

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// maxEntries bounds a feed; the newest stay.
const maxEntries = 100

// An atomFeed is a feed of RFC 4287.
type atomFeed struct {
	XMLName  xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
	Lang     string      `xml:"xml:lang,attr"`
	ID       string      `xml:"id"`
	Title    string      `xml:"title"`
	Subtitle string      `xml:"subtitle"`
	Updated  string      `xml:"updated"`
	Author   string      `xml:"author>name"`
	Links    []atomLink  `xml:"link"`
	Entries  []atomEntry `xml:"entry"`
}

type atomLink struct {
	Rel  string `xml:"rel,attr"`
	Type string `xml:"type,attr,omitempty"`
	Href string `xml:"href,attr"`
}

type atomEntry struct {
	ID        string    `xml:"id"`
	Title     string    `xml:"title"`
	Published string    `xml:"published"`
	Updated   string    `xml:"updated"`
	Link      *atomLink `xml:"link"`
	Content   string    `xml:"content"`

	updated time.Time
}

// feedFields are those of feeds. Browsers show feeds only when they are plain
// XML by their type.
var feedFields, readFeedFields = newFeedFields("application/atom+xml"), newFeedFields("application/xml")

func newFeedFields(kind string) []field {
	return []field{
		newField("Content-Type", kind+"; charset=utf-8"),
		newField("Cache-Control", "public, max-age=60"),
		newField("X-Content-Type-Options", "nosniff"),
		newField("Access-Control-Allow-Origin", "*"),
		newField("Vary", "Accept"),
	}
}

// serviceFeed serves the feed of a service, whose id precedes ".atom"; nil when
// there is none.
func (p *page) serviceFeed(now *rendering, name string) http.HandlerFunc {
	id, ok := strings.CutSuffix(name, ".atom")
	if !ok {
		return nil
	}
	for _, sv := range now.snap.services {
		if sv.conf.ID == id {
			return p.feed(now, sv.conf)
		}
	}
	return nil
}

// feed serves the announcements and outages of a service, or of the whole page
// when it is nil.
func (p *page) feed(now *rendering, service *Service) http.HandlerFunc {
	key := "feed"
	if service != nil {
		key += " " + service.ID
	}
	return func(w http.ResponseWriter, r *http.Request) {
		key, fields := key, feedFields
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			key, fields = "read "+key, readFeedFields
		}
		made, err := p.cache.get(key, now.snap, func() (*reply, error) {
			f := newFeed(now.site.lang, now.snap, service)
			body, err := xml.Marshal(f)
			return now.site.reply(append([]byte(feedHead(now.site, service)), body...), fields), err
		})
		if err != nil {
			http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
			return
		}
		made.serve(w, r)
	}
}

// feedHead precedes a feed. Browsers show the feed readably by its style sheet;
// feed readers ignore it.
func feedHead(st *site, service *Service) string {
	base := st.base
	if base == "" && service != nil {
		base = "../"
	}
	href := string(newShell(st, st.lang, base).Asset("feed.css"))
	return xml.Header + `<?xml-stylesheet type="text/css" href="` + xmlText(href) + "\"?>\n"
}

// A feedWriter makes the entries of one feed.
type feedWriter struct {
	lang      *language
	snap      *snapshot
	authority string    // of the entries' ids
	home      *atomLink // nil where the page's address is not known
}

// newFeed returns a feed whose ids stay the same as long as the page's address
// does. Announcements are about the whole page, so every feed has them.
func newFeed(lang *language, s *snapshot, service *Service) *atomFeed {
	b := s.conf.Branding
	title := cmp.Or(steady(b.PageTitle), "Status Page")
	f := &atomFeed{Lang: lang.tag, Title: title, Subtitle: lang.words["feed_note"], Author: cmp.Or(steady(b.CompanyName), title)}
	fw := feedWriter{lang: lang, snap: s, authority: "localhost"}
	if u, err := url.Parse(b.PageURL); err == nil && u.Host != "" {
		fw.authority = u.Hostname()
	}
	path := "feed.atom"
	if service != nil {
		f.Title = isolate(service.Label) + " | " + title
		path = "feed/" + url.PathEscape(service.ID) + ".atom"
	}
	f.ID = "tag:" + fw.authority + ",2026:" + path // RFC 4151
	if b.PageURL != "" {
		fw.home = &atomLink{Rel: "alternate", Type: "text/html", Href: b.PageURL}
		f.Links = []atomLink{*fw.home, {Rel: "self", Type: "application/atom+xml", Href: fw.address(path)}}
	}
	for _, list := range [...][]announcement{s.announcements, s.pastAnnouncements} {
		for i := range list {
			if a := &list[i]; service == nil || len(a.match) == 0 || fw.concerns(a, service) {
				f.Entries = append(f.Entries, fw.announcement(a))
			}
		}
	}
	for _, m := range slices.Concat(s.maintenances(), s.pastMaintenances()) {
		if m.start.Sub(s.at) > maintenanceNotice {
			continue
		}
		if service == nil || slices.ContainsFunc(service.Nodes, func(n *Node) bool { return !n.Hidden && m.selectors.matches(service.ID, n.ID) }) {
			f.Entries = append(f.Entries, fw.maintenance(m))
		}
	}
	for i := range s.incidents {
		if in := &s.incidents[i]; service == nil || in.service.ID == service.ID {
			f.Entries = append(f.Entries, fw.incident(in))
		}
	}
	slices.SortStableFunc(f.Entries, func(a, b atomEntry) int { return b.updated.Compare(a.updated) })
	f.Entries = f.Entries[:min(len(f.Entries), maxEntries)]
	updated := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC) // a feed must have one
	if len(f.Entries) > 0 {
		updated = f.Entries[0].updated
	}
	f.Updated = updated.UTC().Format(time.RFC3339)
	return f
}

// address returns the address of one of the page's routes.
func (fw *feedWriter) address(path string) string {
	return strings.TrimSuffix(fw.home.Href, "/") + "/" + path
}

// tag returns an entry's id.
func (fw *feedWriter) tag(kind, id string, at time.Time) string {
	return "tag:" + fw.authority + "," + at.UTC().Format(time.DateOnly) + ":" + kind + "/" + url.PathEscape(id)
}

// concerns reports whether an announcement is about some node of a service.
func (fw *feedWriter) concerns(a *announcement, service *Service) bool {
	return slices.ContainsFunc(a.match, func(m string) bool {
		return m == service.ID || slices.ContainsFunc(service.Nodes, func(n *Node) bool { return selector(m).matches(service.ID, n.ID) })
	})
}

// announcement returns the entry of an announcement; its updates are part of
// it, newest first.
func (fw *feedWriter) announcement(a *announcement) atomEntry {
	lang, zone := fw.lang, fw.snap.at.Location()
	e := atomEntry{
		ID:        fw.tag("announcement", a.id, a.at),
		Title:     steady(a.title),
		Content:   steady(a.text),
		Published: a.at.UTC().Format(time.RFC3339),
		Link:      fw.home,
		updated:   a.at,
	}
	if fw.home != nil {
		place := "#" + elementID("a", a.id)
		if _, over := a.ended(fw.snap.at); over {
			place = "history#" + a.id
		}
		e.Link = &atomLink{Rel: "alternate", Type: "text/html", Href: fw.address(place)}
	}
	for _, u := range a.updates {
		word := lang.stateWord(u.state, lang.words["update"])
		at := u.at.In(zone)
		e.Content = word + ", " + lang.time(at, dateTimeForm) + at.Format(" MST") + "\n" + steady(u.text) + "\n\n" + e.Content
		e.updated = u.at
	}
	e.Updated = e.updated.UTC().Format(time.RFC3339)
	return e
}

// maintenanceNotice is how long before its start a maintenance is in feeds.
const maintenanceNotice = 7 * 24 * time.Hour

// maintenance returns the entry of a maintenance that runs or is planned. Its
// start is an update of the same entry. Readers take what is dated before their
// last look for old, so it is not older than the maintenance's plan.
func (fw *feedWriter) maintenance(m *quietTime) atomEntry {
	lang, zone := fw.lang, fw.snap.at.Location()
	published := m.start.Add(-maintenanceNotice)
	if m.made.After(published) {
		published = m.made
	}
	e := atomEntry{
		ID:      fw.tag("maintenance", m.lastingID(), m.start),
		Title:   lang.say("service_state", "service", lang.words["planned_maintenance"], "state", cmp.Or(steady(m.title), lang.words["running_maintenance"])),
		Link:    fw.home,
		updated: published,
	}
	if !fw.snap.at.Before(m.start) {
		if m.start.After(published) {
			e.updated = m.start
		}
		e.Title = lang.say("service_state", "service", lang.words["running_maintenance"], "state", cmp.Or(steady(m.title), lang.words["running_maintenance"]))
	}
	moment := func(t time.Time) string { return lang.time(t.In(zone), weekdayTimeForm) + t.In(zone).Format(" MST") }
	e.Content = lang.say("from_to", "from", moment(m.start), "to", moment(m.end))
	if m.text != "" {
		e.Content += "\n" + steady(m.text)
	}
	if fw.home != nil {
		place := "#" + elementID("m", m.id)
		if !fw.snap.at.Before(m.end) {
			place = "history#" + m.id
		}
		e.Link = &atomLink{Rel: "alternate", Type: "text/html", Href: fw.address(place)}
	}
	e.Updated = e.updated.UTC().Format(time.RFC3339)
	e.Published = published.UTC().Format(time.RFC3339)
	return e
}

// incident returns the entry of an incident, without its reason: that is for
// operators. Its end is an update of the same entry.
func (fw *feedWriter) incident(in *incident) atomEntry {
	lang, zone := fw.lang, fw.snap.at.Location()
	e := atomEntry{
		ID:        fw.tag("incident", in.id, in.start),
		Link:      fw.home,
		Published: in.start.UTC().Format(time.RFC3339),
		updated:   in.start,
	}
	if fw.home != nil {
		e.Link = &atomLink{Rel: "alternate", Type: "text/html", Href: fw.address("history#" + in.id)}
	}
	moment := func(t time.Time) string { return lang.time(t.In(zone), dateTimeForm) + t.In(zone).Format(" MST") }
	state := lang.words["down"]
	e.Content = lang.say("since", "time", moment(in.start))
	if !in.end.IsZero() {
		e.updated = in.end
		state = lang.say("row_was_down", "length", lang.length(in.end.Sub(in.start)))
		e.Content = lang.say("from_to", "from", moment(in.start), "to", moment(in.end))
	}
	e.Title = lang.say("service_state", "service", isolate(in.node.Label), "state", state)
	e.Content = lang.say("service_state", "service", isolate(in.service.Label), "state", e.Content)
	e.Updated = e.updated.UTC().Format(time.RFC3339)
	return e
}

// A badgeLook is how badges show a state. The colours are those of app.css; the
// sign says the state without colour, in a box of 20 x 20.
type badgeLook struct{ name, fill, ink, sign string }

var badgeLooks = map[string]badgeLook{
	stateOK:    {"healthy", "#15803d", "#fff", `<path d="M5.5 10.5l3 3 6-6.5"/>`},
	stateWarn:  {"sick", "#d97706", "#1f1100", `<path d="M10 5.5v5.5M10 14v.5"/>`},
	stateDown:  {"dead", "#c92a2a", "#fff", `<path d="M6.25 6.25l7.5 7.5M13.75 6.25l-7.5 7.5"/>`},
	stateMaint: {"maintenance", "#2563c9", "#fff", `<path d="M6 14l5-5M11 5.5a3 3 0 1 0 3.5 3.5l-2 .5-1.5-1.5z"/>`},
	stateWait:  {"checking", "#515c69", "#fff", `<path d="M5.5 10v.1M10 10v.1M14.5 10v.1"/>`},
}

// A subject is what a badge is about: the page, a service or a node.
type subject struct {
	label   string
	state   string
	nodes   []*nodeView
	at      time.Time
	service bool
}

// find returns the subject that these ids name: none for the page, one for a
// service, two for a node.
func (s *snapshot) find(ids []string) (subject, bool) {
	if len(ids) == 0 {
		sub := subject{label: s.conf.Branding.PageTitle, state: s.state(), at: s.at}
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
			return subject{sv.conf.Label, sv.state(), sv.nodes, s.at, true}, true
		}
		for _, nv := range sv.nodes {
			if len(ids) == 2 && nv.conf.ID == ids[1] {
				return subject{nv.conf.Label, nv.state(), []*nodeView{nv}, s.at, false}, true
			}
		}
	}
	return subject{}, false
}

var badgeFields = []field{
	newField("Content-Type", svgType[0]),
	newField("Cache-Control", noStore[0]),
	newField("X-Content-Type-Options", nosniff[0]),
	newField("Access-Control-Allow-Origin", anyOrigin[0]),
}

// badge returns the handler for a badge of a kind for the subject with these
// ids; nil when there is no such kind or subject. It shows the newest snapshot,
// but after a reload the rendered one until that is of the same config.
func (p *page) badge(kind string, ids []string) http.HandlerFunc {
	if kind != "color" && kind != "icon" && kind != "uptime" {
		return nil
	}
	now, snap := p.now.Load(), p.snaps.public()
	if snap.conf != now.site.conf {
		snap = now.snap
	}
	if len(ids) > 0 {
		if _, ok := snap.find(ids); !ok {
			return nil
		}
	}
	return func(w http.ResponseWriter, r *http.Request) {
		key := "badge " + kind + " " + strings.Join(ids, "\x00")
		p.serveOf(w, r, snap, key, func() (*reply, error) {
			sub, _ := snap.find(ids)
			return now.site.reply(now.site.badge(kind, sub), badgeFields), nil
		})
	}
}

// badge draws a badge, unless the folder of assets has one.
func (st *site) badge(kind string, sub subject) []byte {
	if kind == "uptime" {
		return uptimeBadge(st.lang, sub)
	}
	look := badgeLooks[sub.state]
	if a := st.assets[badgeFile(kind, look)]; a != nil && st.own[badgeFile(kind, look)] {
		return a.plain.plain.body
	}
	title := sub.label + ": " + st.lang.words[stateWords[sub.state]]
	return look.draw(kind, title, 20)
}

// badgeFile is where the Rust Vigil has the picture of a badge.
func badgeFile(kind string, look badgeLook) string {
	return "images/badges/" + kind + "-" + look.name + "-default.svg"
}

// draw returns a square in the colour of the state, with its sign if kind is
// "icon".
func (look badgeLook) draw(kind, title string, size int) []byte {
	sign := ""
	if kind == "icon" {
		sign = `<g fill="none" stroke="` + look.ink + `" stroke-width="2.2" stroke-linecap="round" stroke-linejoin="round">` + look.sign + `</g>`
	}
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[1]d" viewBox="0 0 20 20" role="img">`+
		`<title>%[2]s</title><rect width="20" height="20" rx="4" fill="%[3]s"/>%[4]s</svg>`, size, xmlText(title), look.fill, sign)
}

// addBadgeFiles adds the pictures that the Rust Vigil has below images/badges,
// where other pages may show them.
func addBadgeFiles(files map[string][]byte) {
	add := func(name string, picture []byte) {
		if _, ok := files["assets/"+name]; !ok {
			files["assets/"+name] = picture
		}
	}
	for _, look := range badgeLooks {
		for _, kind := range [...]string{"color", "icon"} {
			add(badgeFile(kind, look), look.draw(kind, look.name, 20))
		}
		add("images/badges/"+look.name+"-small.svg", look.draw("icon", look.name, 16))
		add("images/badges/"+look.name+"-large.svg", look.draw("icon", look.name, 48))
	}
}

// uptimeBadge is a label with the share of the known time that was not down.
func uptimeBadge(lang *language, sub subject) []byte {
	value, look := lang.words["unknown"], badgeLooks[stateWait]
	window := lang.words["uptime"]
	if share, days, ok := sub.uptime(); ok {
		value, window = lang.percent(share), lang.say("badge_uptime", "window", lang.window(days))
		switch {
		case share < 0.99:
			look = badgeLooks[stateDown]
		case share < 0.999:
			look = badgeLooks[stateWarn]
		default:
			look = badgeLooks[stateOK]
		}
	}
	left := clip(sub.label, 40) + " " + window
	a, b := textWidth(left)+14, textWidth(value)+14
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="20" viewBox="0 0 %[1]d 20" role="img">`+
		`<title>%[2]s</title><clipPath id="c"><rect width="%[1]d" height="20" rx="4"/></clipPath>`+
		`<g clip-path="url(#c)"><path fill="#30363f" d="M0 0h%[3]dv20H0z"/><path fill="%[4]s" d="M%[3]d 0h%[5]dv20H%[3]dz"/></g>`+
		`<g font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">`+
		`<text x="7" y="14" fill="#fff" textLength="%[6]d">%[7]s</text>`+
		`<text x="%[8]d" y="14" fill="%[9]s" textLength="%[10]d">%[11]s</text></g></svg>`,
		a+b, xmlText(left+": "+value), a, look.fill, b, a-14, xmlText(left), a+7, look.ink, b-14, xmlText(value))
}

// window names the time over which an uptime was measured.
func (l *language) window(days int) string {
	if days <= 1 {
		return l.words["today"]
	}
	return l.count("days", days)
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
