package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
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
