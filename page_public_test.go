package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// hiddenSample has a hidden node in a service that is shown, and a hidden
// service. Both are down.
func hiddenSample() *snapshot {
	s := newSampler().
		service("Website",
			node("Front pages", modePoll, polled("https://a.example/", healthy, 23)).past(90, nil, nil),
			node("Xenolith", modePoll, polled("https://xenolith.example/", dead, 4)).past(90, map[int]time.Duration{3: time.Hour}, nil)).
		service("Xenolith vault", node("Xenolith door", modePoll, polled("https://xenolith-2.example/", dead, 4))).
		snapshot
	web, vault := s.services[0].conf, s.services[1].conf
	web.Nodes[1].Hidden, vault.Hidden, vault.Nodes[0].Hidden = true, true, true
	gone := &Node{ID: "xenolith-gone", Label: "Xenolith of old", Hidden: true}
	quiet := func(id, title string, silence bool, on ...selector) *quietTime {
		return &quietTime{id: id, title: title, selectors: on, start: sampleTime.Add(-time.Hour), end: sampleTime.Add(time.Hour), silence: silence}
	}
	s.quietTimes = []*quietTime{
		quiet("q1", "Xenolith work", false, "id-Xenolith vault"),
		quiet("q2", "Xenolith work", false, "id-Website:id-Xenolith"),
		quiet("q3", "Xenolith silence", true, "*"),
	}
	over := func(on selector) *quietTime {
		return &quietTime{id: "over", title: "Xenolith work", selectors: selectors{on}, start: sampleTime.Add(-3 * time.Hour), end: sampleTime.Add(-2 * time.Hour)}
	}
	s.maintained = []*quietTime{over("id-Xenolith vault"), over("id-Website:id-Xenolith"), over("id-Website:xenolith-gone")}
	s.services[0].nodes[0].cause = web.Nodes[1]
	s.incidents = []incident{
		{id: "h1", service: web, node: web.Nodes[1], start: sampleTime.Add(-time.Hour)},
		{id: "h2", service: vault, node: vault.Nodes[0], start: sampleTime.Add(-3 * time.Hour), end: sampleTime.Add(-2 * time.Hour)},
		{id: "h3", service: web, node: gone, start: sampleTime.Add(-3 * time.Hour), end: sampleTime.Add(-2 * time.Hour)},
	}
	return s
}

// hiddenRoutes are public routes, with every first segment that there is.
var hiddenRoutes = []string{
	"/", "/history", "/embed", "/embed/id-Website", "/node/id-Website/id-Front%20pages",
	"/feed.atom", "/feed/id-Website.atom", "/status/text", "/status/report", "/status/history", "/status/sla", "/status/sla?month=2026-10", "/status/node/id-Website/id-Front%20pages",
	"/badge/color", "/badge/icon", "/badge/uptime", "/badge/color/id-Website", "/badge/icon/id-Website", "/badge/uptime/id-Website",
	"/badge/uptime/id-Website/id-Front%20pages", "/robots.txt", "/favicon.ico", "/assets/icon.svg",
}

// Nothing public has anything of what is hidden, and the general state is that
// of the rest.
func TestHiddenNodes(t *testing.T) {
	s := hiddenSample()
	s.pastIncidents, s.conf.Server.MCP = s.incidents, true
	s.conf.Branding.Language = "auto"
	b := newSnapshots(s)
	p := newTestPage(t, s)
	p.snaps = b
	h := p.handler(map[string]http.Handler{"mcp": newMCP(b, "1")})
	hasHidden := func(what, text string) {
		t.Helper()
		for _, word := range []string{"enolith", `"h1"`, "#h2", `"status":"dead"`, "down for"} {
			if strings.Contains(text, word) {
				t.Errorf("%s has %q:\n%s", what, word, text)
			}
		}
	}
	for _, route := range hiddenRoutes {
		res := get(h, "GET", route)
		text := body(t, res)
		if res.StatusCode != 200 {
			t.Errorf("%s: %s", route, res.Status)
		}
		hasHidden(route, text)
	}
	if got := body(t, get(h, "GET", "/status/text")); got != "healthy" {
		t.Errorf("general status %s, want healthy", got)
	}
	if got := body(t, get(h, "GET", "/")); !strings.Contains(got, "All systems operational") {
		t.Error("the page is not well")
	}
	// What is hidden is answered like what does not exist.
	for _, route := range []string{
		"/status/node/id-Website/id-Xenolith", "/status/node/id-Xenolith%20vault/id-Xenolith%20door",
		"/node/id-Website/id-Xenolith", "/node/id-Xenolith%20vault/id-Xenolith%20door", "/embed/id-Xenolith%20vault",
		"/feed/id-Xenolith%20vault.atom", "/badge/icon/id-Xenolith%20vault", "/badge/icon/id-Website/id-Xenolith",
		"/badge/color/id-Website/id-Xenolith", "/badge/uptime/id-Website/id-Xenolith",
	} {
		res, none := get(h, "GET", route), get(h, "GET", strings.ReplaceAll(route, "Xenolith", "Nothing"))
		if got, want := body(t, res), body(t, none); res.StatusCode != 404 || none.StatusCode != 404 || got != want {
			t.Errorf("%s: %s %q, want %q", route, res.Status, got, want)
		}
	}
	for _, tool := range mcpToolList {
		for _, arguments := range []string{`{}`, `{"service":"Website"}`, `{"service":"Xenolith vault"}`} {
			r := httptest.NewRequest("POST", "/mcp/probes", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool.name+`","arguments":`+arguments+`}}`))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Accept", "application/json, text/event-stream")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			text, err := io.ReadAll(w.Result().Body)
			if err != nil {
				t.Fatal(err)
			}
			if unknown := strings.Contains(string(text), "unknown service: Xenolith vault"); unknown != strings.Contains(arguments, "vault") && tool.name != "get_report" {
				t.Errorf("%s %s: %s", tool.name, arguments, text)
			}
			hasHidden(tool.name, strings.ReplaceAll(string(text), "unknown service: Xenolith vault", ""))
		}
	}
	if b.load().status != dead {
		t.Error("what operators see is well")
	}
}

// hiddenRoutes has each route that page_routes.go knows.
func TestHiddenRoutesAreAll(t *testing.T) {
	source := read(t, "page_routes.go")
	walked := strings.Join(hiddenRoutes, "/ ") + "/ "
	found := 0
	for _, m := range regexp.MustCompile(`(?:case |rest\[0\] == |, )"/?([a-z./]+)"`).FindAllStringSubmatch(source[:strings.Index(source, "// rootFile serves")], -1) {
		found++
		if name := strings.TrimSuffix(m[1], "/"); name != "" && !strings.Contains(walked, "/"+name+"/") && !strings.Contains(walked, "/"+name+"?") {
			t.Errorf("/%s is not walked", m[1])
		}
	}
	if found < 15 {
		t.Errorf("only %d routes are found", found)
	}
}

// What did not change keeps its pointers, by which the page knows it again.
func TestHiddenNodesAreShared(t *testing.T) {
	s := hiddenSample()
	b := newSnapshots(s)
	before := b.public()
	next := *s
	b.publish(&next)
	if after := b.public(); after == before || after.services[0] != before.services[0] {
		t.Error("a service that did not change is another one")
	}
	next.conf = brandedConfig()
	next.incidents, next.pastIncidents = nil, nil
	b.publish(&next)
	if b.public() != &next {
		t.Error("a config that hides nothing has a view of its own")
	}
}

// Visitors read labels in place of numbers.
func TestLabelsOnThePage(t *testing.T) {
	s := newSampler().service("Website",
		node("Front pages", modePoll, polled("https://a.example/", healthy, 23), polled("https://b.example/", healthy, 23)),
		node("Shop", modePoll, polled("https://c.example/", healthy, 23))).snapshot
	s.services[0].conf.Nodes[0].Labels = map[string]string{"https://a.example/": "fra"}
	s.services[0].conf.Nodes[1].Labels = map[string]string{"https://c.example/": `<b>"`}
	h := newTestPage(t, s).handler(nil)
	page := body(t, get(h, "GET", "/"))
	for _, want := range []string{`title="Instance fra: operational`, `>fra</li>`, `title="Instance 2: operational`, `>2</li>`, `>&lt;b&gt;&#34;</li>`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s on the page", want)
		}
	}
	if got := body(t, get(h, "GET", "/node/id-Website/id-Front%20pages")); !strings.Contains(got, "</i>fra</td>") {
		t.Error("no label on the node's page")
	}
}

// A heartbeat says when its job reported, and when it is due again.
func TestHeartbeatOnThePage(t *testing.T) {
	late, fresh := polled(jobID, dead, 0), &replicaView{id: jobID}
	late.job = &jobState{last: sampleTime.Add(-26 * time.Hour), due: sampleTime.Add(-2 * time.Hour), took: 90 * time.Second}
	s := newSampler().service("Jobs", node("Backup", modeHeartbeat, late), node("Cleaning", modeHeartbeat, fresh)).snapshot
	h := newTestPage(t, s).handler(nil)
	if page := body(t, get(h, "GET", "/")); !strings.Contains(page, "no ping yet") {
		t.Error("a heartbeat without a ping does not say so")
	}
	opened := body(t, get(h, "GET", "/node/id-Jobs/id-Backup"))
	for _, want := range []string{`Last ping <time datetime="2026-11-19T12:05Z"`, `Next one due <time datetime="2026-11-20T12:05Z"`, "Took 1 min"} {
		if !strings.Contains(opened, want) {
			t.Errorf("no %s in\n%s", want, opened)
		}
	}
}

// A month says what is true of it, also when an outage is of two months, when
// only brief ones were, and when not all are kept. An old announcement that ended
// lately changes nothing of that.
func TestMonthsOfHistory(t *testing.T) {
	s := healthySample()
	on := func(month time.Month, day, hour int) time.Time {
		return time.Date(2026, month, day, hour, 0, 0, 0, time.UTC)
	}
	sv := s.services[0]
	add := func(id string, start, end time.Time) {
		s.pastIncidents = append(s.pastIncidents, incident{id: id, service: sv.conf, node: sv.nodes[0].conf, start: start, end: end})
	}
	add("long", on(10, 31, 20), on(11, 2, 4))
	add("brief", on(9, 10, 8), on(9, 10, 8).Add(briefly/2))
	s.pastAnnouncements = []announcement{{id: "old", title: "Holiday hours", text: "t", at: on(6, 10, 9), until: on(11, 15, 9)}}
	months := &sv.nodes[1].history.months
	for month, down := range map[time.Month]time.Duration{7: 30 * time.Minute, 8: 2 * time.Hour} {
		months.closed.set((&sum{from: dateOf(on(month, 1, 0)), parts: [4]time.Duration{healthy: time.Hour, dead: down}}).close())
	}
	var got []string
	view := newHistoryView(builtInLanguages(t)[english], "", s)
	for _, m := range view {
		got = append(got, m.Name+": "+m.Count+", "+m.Sum)
	}
	want := []string{
		"November 2026: 1, 1 outage, 1 d 4 h in all", "October 2026: 1, 1 outage, 4 h in all",
		"September 2026: none, 1 brief interruption, under a minute", "August 2026: , 2 h of downtime in all",
		"July 2026: , 30 min of downtime in all", "June 2026: , No downtime",
	}
	if !slices.Equal(got, want) {
		t.Errorf("months\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	got = nil
	for _, m := range view[len(view)-3:] {
		for _, d := range m.Days {
			for _, e := range d.Entries {
				d.Name += " +" + e.ID
			}
			got = append(got, d.Name+": "+d.Calm)
		}
	}
	const lost = ": Details of single outages are not kept that long."
	want = []string{"23 to 31 August: Nothing to report.", "1 to 22 August" + lost, "1 to 31 July" + lost, "11 to 30 June" + lost, "10 June +old" + lost}
	if !slices.Equal(got, want) {
		t.Errorf("days\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}

	// The month in which all began has no days before that.
	young := newSampler().service("W", node("N", modePoll, polled("x", healthy, 1)).past(60, nil, nil)).snapshot
	for _, month := range []time.Month{9, 10} {
		young.services[0].nodes[0].history.months.closed.set((&sum{from: dateOf(on(month, 1, 0)), parts: [4]time.Duration{healthy: time.Hour}}).close())
	}
	if got, want := firstKnown(young, dateOf(sampleTime)), dateOf(on(9, 22, 0)); got != want {
		t.Errorf("first known is %v, want %v", got, want)
	}

	// Of very many outages, the oldest are not kept either.
	s.pastIncidents = nil
	for i := range keptIncidents {
		at := on(11, 19, 8).Add(-time.Duration(i) * time.Hour)
		add("flap", at, at.Add(2*time.Minute))
	}
	if got, want := s.firstListed(dateOf(s.at)), dateOf(on(10, 9, 0)); got != want {
		t.Errorf("outages are listed from %v, want %v", got, want)
	}
}

// An incident with several outages was down for as long as one of them went on.
func TestIncidentOfOutages(t *testing.T) {
	s := healthySample()
	sv := s.services[0]
	at := func(hour, minute int) time.Time { return time.Date(2026, 11, 18, hour, minute, 0, 0, time.UTC) }
	for _, o := range []struct {
		node     int
		from, to time.Time
	}{{0, at(11, 0), at(11, 2)}, {1, at(10, 3), at(10, 6)}, {0, at(10, 0), at(10, 5)}} {
		s.incidents = append(s.incidents, incident{id: "o" + o.from.Format("1504"), service: sv.conf, node: sv.nodes[o.node].conf, start: o.from, end: o.to})
	}
	s.pastAnnouncements = []announcement{{id: "n", title: "Orders fail", text: "t", at: at(10, 4), incident: true, match: []string{sv.conf.ID},
		state: stateResolved, updates: []announcementUpdate{{at: at(12, 0), state: stateResolved, text: "u"}}}}
	page := body(t, get(newTestPage(t, s).handler(nil), "GET", "/history"))
	_, entry, _ := strings.Cut(page, `id="n">`)
	entry, _, _ = strings.Cut(entry, "</article>")
	for _, want := range []string{"<b>Down for 8 min</b>", `>10:00</time> to <time`, `>11:02</time>`, `id="o1100"`} {
		if !strings.Contains(entry, want) {
			t.Errorf("no %s in\n%s", want, entry)
		}
	}
	if !strings.Contains(page, "1 outage, 8 min in all") {
		t.Error("the month does not say the same")
	}
}

// While a node is under maintenance, an incident about it is not down: the
// banner says so neither.
func TestIncidentUnderMaintenance(t *testing.T) {
	s := maintainedSample()
	s.announcements = []announcement{{id: "n", title: "Mail is late", text: "t", at: sampleTime.Add(-time.Hour), incident: true, match: []string{"id-Mail"}}}
	page := body(t, get(newTestPage(t, s).handler(nil), "GET", "/"))
	for text, want := range map[string]bool{"Maintenance, all else operational": true, "<b>Incident</b>": true, "<b>Down for": false} {
		if strings.Contains(page, text) != want {
			t.Errorf("%q on the page: %v", text, !want)
		}
	}
}

// A node that needs few of its replicas is degraded since one of them is dead, and
// says so.
func TestDegradedByDeadReplica(t *testing.T) {
	nv := node("Shop", modePoll, polled("tcp://a.internal:80", healthy, 3), polled("tcp://b.internal:80", dead, 4))
	nv.status, nv.conf.Needed = sick, Needed{Count: 1}
	s := newSampler().service("Website", nv).snapshot
	s.services[0].status, s.status = sick, sick
	page := body(t, get(newTestPage(t, s).handler(nil), "GET", "/"))
	for _, want := range []string{"Degraded for 1 d 2 h", "degraded for 1 d 2 h, 1 of 2 down"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q on the page", want)
		}
	}
}

// What says since when the monitor is offline names the day if it is another.
func TestOfflineForDays(t *testing.T) {
	for ago, want := range map[time.Duration]string{time.Hour: "13:05 UTC", 26 * time.Hour: "19 Nov, 12:05 UTC"} {
		s := offlineSample()
		s.connectionDown = sampleTime.Add(-ago)
		page := body(t, get(newTestPage(t, s).handler(nil), "GET", "/"))
		if want = "<title>Monitoring is offline since " + want + " | "; !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
}

// The parts of a page are there only when there is something in them, and have
// names and addresses of their own.
func TestPartsOfThePage(t *testing.T) {
	for well, lists := range []int{0, 1, 2, 2} {
		s := newSampler()
		for i := range foldAbove + 1 {
			r := polled("x", dead, 1)
			if i < well {
				r = polled("x", healthy, 1)
			}
			s = s.service(fmt.Sprint("S", i), node("n", modePoll, r))
		}
		page := body(t, get(newTestPage(t, s.snapshot).handler(nil), "GET", "/"))
		if got := strings.Count(page, `class="card list cq"`); got != lists {
			t.Errorf("%d lists of %d services", got, well)
		}
	}
	s := healthySample()
	s.conf.Branding.IconURL = "./assets/icon.png"
	h := newTestPage(t, s).handler(nil)
	if page := body(t, get(h, "GET", "/")); !strings.Contains(page, `<meta property="og:image" content="https://status.acme.example/assets/icon.png">`) {
		t.Error("those who show a link to the page do not find its icon")
	}
	if page := body(t, get(h, "GET", "/node/id-Website/id-Shop")); !strings.Contains(page, "<title>Shop: operational | Acme Status</title>") {
		t.Error("the title of a node's page does not say which it is")
	}
	s = wordySample()
	hebrew := s.services[1].conf
	if page := body(t, get(newTestPage(t, s).handler(nil), "GET", "/embed/"+escapeAll(hebrew.ID))); !strings.Contains(page, "</i>\u2068"+hebrew.Label+"\u2069: degraded</a>") {
		t.Errorf("a label turns round what stands beside it:\n%s", page)
	}
}
