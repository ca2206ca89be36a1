package main

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestFeedGolden(t *testing.T) {
	mixed, told := newTestPage(t, mixedSample()), newTestPage(t, toldSample())
	for name, c := range map[string]struct {
		page  *page
		route string
	}{"feed": {mixed, "/feed.atom"}, "feed.service": {mixed, "/feed/id-Mail.atom"}, "feed.told": {told, "/feed.atom"}} {
		got := body(t, get(c.page.handler(nil), "GET", c.route))
		golden(t, "page/"+name+".xml", []byte(strings.ReplaceAll(got, "><", ">\n<")))
	}
}

// A reader knows an entry again, and sees that it changed, when an incident
// ends.
func TestFeedEntryStays(t *testing.T) {
	s := mixedSample()
	lang := newTestPage(t, s).now.Load().site.lang
	before := newFeed(lang, s, nil)
	s.incidents[0].end = sampleTime
	after := newFeed(lang, s, nil)
	find := func(f *atomFeed, id string) *atomEntry {
		for i := range f.Entries {
			if f.Entries[i].ID == id {
				return &f.Entries[i]
			}
		}
		t.Fatalf("no entry %s", id)
		return nil
	}
	const id = "tag:status.acme.example,2026-11-20:incident/i3"
	a, b := find(before, id), find(after, id)
	if a.Title != "Front pages: down" || b.Title != "Front pages: down for 1 h 1 min" {
		t.Errorf("titles %q and %q", a.Title, b.Title)
	}
	if b.Updated != sampleTime.Format(time.RFC3339) || a.Published != b.Published {
		t.Errorf("updated %s, published %s and %s", b.Updated, a.Published, b.Published)
	}
	if before.ID != after.ID || after.Updated != b.Updated {
		t.Errorf("feed: %s, updated %s", after.ID, after.Updated)
	}
}

func TestFeedIsBounded(t *testing.T) {
	s := healthySample()
	in := incident{service: s.services[0].conf, node: s.services[0].nodes[0].conf, start: sampleTime.Add(-time.Hour), end: sampleTime}
	for range 3 * maxEntries {
		s.incidents = append(s.incidents, in)
	}
	var f atomFeed
	if err := xml.Unmarshal([]byte(body(t, get(newTestPage(t, s).handler(nil), "GET", "/feed.atom"))), &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Entries) != maxEntries {
		t.Errorf("%d entries, want %d", len(f.Entries), maxEntries)
	}
	page := string(newTestPage(t, s).now.Load().page.plain.body)
	if got := strings.Count(page, `<span class="len">`); got != maxRecent {
		t.Errorf("%d outages on the page, want %d", got, maxRecent)
	}
	if !strings.Contains(page, "and 280 more") {
		t.Error("the page does not say how many it left out")
	}
}

// The feed without anything to tell is one all the same.
func TestFeedEmpty(t *testing.T) {
	s := emptySample()
	s.conf.Branding = Branding{}
	golden(t, "page/feed.empty.xml", []byte(strings.ReplaceAll(body(t, get(newTestPage(t, s).handler(nil), "GET", "/feed.atom")), "><", ">\n<")))
}

func TestBadges(t *testing.T) {
	s := newSampler().service("Web <shop>", node("Front & pages", modePoll, polled("x", sick, 1)).past(90, map[int]time.Duration{3: time.Hour}, nil)).snapshot
	var all bytes.Buffer
	p := newTestPage(t, s)
	for _, target := range []string{
		"/badge/color", "/badge/icon", "/badge/uptime", "/badge/color/id-Web%20%3Cshop%3E",
		"/badge/icon/id-Web%20%3Cshop%3E/id-Front%20&%20pages", "/badge/uptime/id-Web%20%3Cshop%3E/id-Front%20&%20pages",
	} {
		all.WriteString("<!-- " + target + " -->\n" + body(t, get(p.handler(nil), "GET", target)) + "\n")
	}
	s = newSampler().service("New", node("New", modePush)).snapshot
	all.WriteString("<!-- nothing known -->\n" + body(t, get(newTestPage(t, s).handler(nil), "GET", "/badge/uptime/id-New")) + "\n")
	for _, s := range []*snapshot{startingSample(), maintainedSample()} {
		h := newTestPage(t, s).handler(nil)
		for _, target := range []string{"/badge/color", "/badge/icon"} {
			all.WriteString("<!-- " + target + " -->\n" + body(t, get(h, "GET", target)) + "\n")
		}
	}
	golden(t, "page/badges.svg.txt", all.Bytes())
}

// A badge is drawn once for a snapshot, and not sent to whom has it.
func TestBadgeKept(t *testing.T) {
	p := newTestPage(t, deadSample())
	h := p.handler(nil)
	for _, route := range []string{"/badge/color", "/badge/icon", "/badge/uptime"} {
		first := get(h, "GET", route)
		tag := first.Header.Get("Etag")
		if again := get(h, "GET", route, "If-None-Match: "+tag); tag == "" || again.StatusCode != http.StatusNotModified ||
			again.Header.Get("Cache-Control") != first.Header.Get("Cache-Control") {
			t.Errorf("%s: tag %q, then %s with %q", route, tag, again.Status, again.Header)
		}
	}
	if n := len(p.cache.entries); n != 3 {
		t.Errorf("%d answers are kept", n)
	}
}

// The page for what does not exist is made once, whatever is asked for.
func TestMissingKept(t *testing.T) {
	p := newTestPage(t, deadSample())
	for _, route := range []string{"/nope", "/none", "/nothing", "/badge/none"} {
		if res := get(p.handler(nil), "GET", route, "Accept: text/html"); res.StatusCode != http.StatusNotFound || !strings.Contains(body(t, res), "<html") {
			t.Errorf("%s: %s", route, res.Status)
		}
	}
	if n := len(p.cache.entries); n != 2 { // at two depths
		t.Errorf("%d answers are kept", n)
	}
}

// A badge is of the newest state, not of the last rendering's.
func TestCurrentStatus(t *testing.T) {
	s, down := healthySample(), deadSample()
	p := newTestPage(t, s)
	down.conf = s.conf
	p.snaps = newSnapshots(s)
	p.snaps.publish(down)
	h := p.handler(nil)
	if got := body(t, get(h, "GET", "/status/text")); got != "dead" {
		t.Errorf("/status/text: %s", got)
	}
	if got := get(h, "GET", "/badge/color"); !bytes.Contains([]byte(body(t, got)), []byte(badgeLooks[stateDown].fill)) {
		t.Error("/badge/color is not that of dead")
	}
}

// A maintenance is one entry from its plan to its end, and not dated before its
// plan, as readers would take it for old.
func TestFeedMaintenanceStays(t *testing.T) {
	const m = time.Minute
	conf := alertConfig(Alerting{BackoffLimit: 3})
	begin := newPlay(conf).begin
	conf.Maintenance = []Window{{Title: "Nightly", Selectors: selectors{"web:c"}, Start: begin.Add(30 * m), Duration: 10 * m}}
	p := newPlay(conf)
	p.until(begin.Add(5 * m))
	plan := &quietTime{id: "planned", title: "Disks", selectors: selectors{"*"}, start: begin.Add(20 * m), end: begin.Add(35 * m)}
	if err := answered(t, func(done chan<- error) { p.st.plan(plan, p.now, done) }); err != nil {
		t.Fatal(err)
	}
	first := make(map[string]atomEntry)
	for _, at := range []time.Duration{6 * m, 32 * m, 50 * m} {
		p.until(begin.Add(at))
		for _, e := range newFeed(builtInLanguages(t)[english], p.st.snapshot(p.now), nil).Entries {
			if before, known := first[e.ID]; known && before.Published != e.Published {
				t.Errorf("%s: published %s, then %s", e.ID, before.Published, e.Published)
			} else if !known {
				first[e.ID] = e
			}
		}
	}
	if len(first) != 2 {
		t.Errorf("%d entries for two maintenances: %v", len(first), first)
	}
	want := begin.Add(5 * m).Format(time.RFC3339)
	if e := first["tag:status.example,2026-03-01:maintenance/planned"]; e.Published != want || e.Updated != want {
		t.Errorf("published %s, updated %s, want %s", e.Published, e.Updated, want)
	}
}

// The uptime of a service is that of its worst node, on badges as on the page.
func TestUptimeBadgeOfService(t *testing.T) {
	h := newTestPage(t, healthySample()).handler(nil)
	for route, want := range map[string]string{"/badge/uptime/id-Website": "99.98%", "/badge/uptime/id-Website/id-Front%20pages": "100%"} {
		if got := body(t, get(h, "GET", route)); !strings.Contains(got, ">"+want+"<") {
			t.Errorf("%s: no %s in %s", route, want, got)
		}
	}
}
