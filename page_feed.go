package main

import (
	"cmp"
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
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
			return newReply(append([]byte(feedHead(now.site, service)), body...), fields), err
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
	for _, m := range s.maintenances() {
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
// start is an update of the same entry.
func (fw *feedWriter) maintenance(m *quietTime) atomEntry {
	lang, zone := fw.lang, fw.snap.at.Location()
	e := atomEntry{
		ID:      fw.tag("maintenance", m.id, m.start),
		Title:   lang.say("service_state", "service", lang.words["planned_maintenance"], "state", cmp.Or(steady(m.title), lang.words["running_maintenance"])),
		Link:    fw.home,
		updated: m.start.Add(-maintenanceNotice),
	}
	if m.running(fw.snap.at) {
		e.updated = m.start
		e.Title = lang.say("service_state", "service", lang.words["running_maintenance"], "state", cmp.Or(steady(m.title), lang.words["running_maintenance"]))
	}
	moment := func(t time.Time) string { return lang.time(t.In(zone), weekdayTimeForm) + t.In(zone).Format(" MST") }
	e.Content = lang.say("from_to", "from", moment(m.start), "to", moment(m.end))
	if m.text != "" {
		e.Content += "\n" + steady(m.text)
	}
	if fw.home != nil {
		e.Link = &atomLink{Rel: "alternate", Type: "text/html", Href: fw.address("#" + elementID("m", m.id))}
	}
	e.Updated = e.updated.UTC().Format(time.RFC3339)
	e.Published = m.start.Add(-maintenanceNotice).UTC().Format(time.RFC3339)
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
