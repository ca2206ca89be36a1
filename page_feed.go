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
	XMLName xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
	ID      string      `xml:"id"`
	Title   string      `xml:"title"`
	Updated string      `xml:"updated"`
	Author  string      `xml:"author>name"`
	Links   []atomLink  `xml:"link"`
	Entries []atomEntry `xml:"entry"`
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

var feedFields = []field{
	newField("Content-Type", "application/atom+xml; charset=utf-8"),
	newField("Cache-Control", "public, max-age=60"),
	newField("X-Content-Type-Options", "nosniff"),
	newField("Access-Control-Allow-Origin", "*"),
}

// serviceFeed serves the feed of the service whose id stands before ".atom";
// nil when there is none.
func (p *page) serviceFeed(name string) http.HandlerFunc {
	id, ok := strings.CutSuffix(name, ".atom")
	if !ok {
		return nil
	}
	for _, sv := range p.board.load().services {
		if sv.conf.ID == id {
			return p.feed(sv.conf)
		}
	}
	return nil
}

// feed serves the announcements and incidents of a service, or of the whole
// page when it is nil.
func (p *page) feed(service *Service) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := xml.Marshal(newFeed(p.board.load(), service))
		if err != nil {
			http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
			return
		}
		newReply(append([]byte(xml.Header), body...), feedFields).serve(w, r)
	}
}

// newFeed returns a feed whose ids stay the same as long as the page's
// address does. Announcements speak of the whole page, so every feed has them.
func newFeed(s *snapshot, service *Service) *atomFeed {
	b := s.conf.Branding
	title := cmp.Or(steady(b.PageTitle), "Status Page")
	f := &atomFeed{Title: title, Author: cmp.Or(steady(b.CompanyName), title)}
	authority := "localhost"
	if u, err := url.Parse(b.PageURL); err == nil && u.Host != "" {
		authority = u.Hostname()
	}
	path := "feed.atom"
	if service != nil {
		f.Title = isolate(service.Label) + " | " + title
		path = "feed/" + url.PathEscape(service.ID) + ".atom"
	}
	f.ID = "tag:" + authority + ",2026:" + path // RFC 4151
	tag := func(kind, id string, at time.Time) string {
		return "tag:" + authority + "," + at.UTC().Format(time.DateOnly) + ":" + kind + "/" + url.PathEscape(id)
	}
	var home *atomLink
	if b.PageURL != "" {
		home = &atomLink{Rel: "alternate", Type: "text/html", Href: b.PageURL}
		self := strings.TrimSuffix(b.PageURL, "/") + "/" + path
		f.Links = []atomLink{*home, {Rel: "self", Type: "application/atom+xml", Href: self}}
	}
	for _, a := range s.announcements {
		at := a.at.UTC().Format(time.RFC3339)
		f.Entries = append(f.Entries, atomEntry{
			ID: tag("announcement", a.id, a.at), Title: steady(a.title), Content: steady(a.text),
			Published: at, Updated: at, Link: home, updated: a.at,
		})
	}
	for i := range s.incidents {
		in := &s.incidents[i]
		if service == nil || in.service.ID == service.ID {
			e := newIncidentEntry(in, s.at.Location())
			e.ID, e.Link = tag("incident", in.id, in.start), home
			f.Entries = append(f.Entries, e)
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

// newIncidentEntry tells of an incident, without its reason: that is for
// operators. Its end is an update of the same entry.
func newIncidentEntry(in *incident, zone *time.Location) atomEntry {
	start := in.start.In(zone).Format(minuteForm)
	e := atomEntry{
		Published: in.start.UTC().Format(time.RFC3339),
		updated:   in.start,
	}
	what := isolate(in.node.Label) + " (" + isolate(in.service.Label) + ")"
	if in.end.IsZero() {
		e.Title = what + " is down"
		e.Content = what + " has been down since " + start + "."
	} else {
		e.updated = in.end
		lasted := length(in.end.Sub(in.start))
		e.Title = what + " was down for " + lasted
		e.Content = what + " was down from " + start + " to " + in.end.In(zone).Format(minuteForm) + ", for " + lasted + "."
	}
	e.Updated = e.updated.UTC().Format(time.RFC3339)
	return e
}
