package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A month by hand, in a zone whose clocks change in it: March 2026 in Berlin
// has 31 days less an hour, October an hour more.
func TestSLA(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(month, day, hour, minute int) time.Time {
		return time.Date(2026, time.Month(month), day, hour, minute, 0, 0, berlin)
	}
	h := &nodeHistory{}
	for _, turn := range []struct {
		at     time.Time
		status status
		known  bool
	}{
		{at(2, 20, 0, 0), healthy, true},
		{at(3, 1, 0, 10), dead, true},                                      // 10 min up
		{at(3, 1, 0, 40), sick, true},                                      // 30 min down
		{at(3, 1, 1, 0), maintained, true},                                 // 20 min up
		{at(3, 1, 2, 0), healthy, false},                                   // 60 min of maintenance
		{at(3, 2, 2, 0), healthy, true},                                    // a day unknown
		{at(3, 29, 1, 59), dead, true},                                     // clocks change at 2
		{at(3, 29, 3, 0).Add(20 * time.Second), healthy, true},             // 1 min 20 s down
		{at(10, 1, 0, 0), healthy, true},                                   //
		{at(10, 25, 2, 30).Add(time.Hour), dead, true},                     // the second 2:30
		{at(10, 25, 2, 30).Add(time.Hour + 90*time.Minute), healthy, true}, // 90 min down
	} {
		h = h.become(turn.status, turn.known, turn.at)
	}
	node := &Node{ID: "n", Label: "N"}
	service := &Service{ID: "s", Label: "S", Nodes: []*Node{node}, Target: 99.9}
	snap := &snapshot{conf: &Config{Services: []*Service{service}},
		services: []*serviceView{{conf: service, nodes: []*nodeView{{conf: node, history: h}}}},
		pastIncidents: []incident{
			{service: service, node: node, start: at(10, 25, 2, 30).Add(time.Hour), end: at(10, 25, 2, 30).Add(150 * time.Minute)},
			{service: service, node: node, start: at(9, 30, 23, 50), end: at(10, 1, 0, 5)},
			{service: service, node: &Node{ID: "m"}, start: at(10, 2, 0, 0)},
		}}
	now := at(11, 10, 12, 0)
	show := func(month string) string {
		m, err := parseSLAMonth(month, now)
		if err != nil {
			t.Fatal(err)
		}
		rep := newSLAReport(snap, m, now)
		n := rep.Services[0].Nodes[0]
		sum := n.Minutes.Up + n.Minutes.Down + n.Minutes.Maintenance + n.Minutes.Unknown
		if length := int64(rep.To.Sub(rep.From) / time.Minute); sum != length {
			t.Errorf("%s: %+v add up to %d, not %d", month, n.Minutes, sum, length)
		}
		text, _ := json.Marshal(n)
		return fmt.Sprintf("%s %v %s", rep.Month, *rep.Services[0].BudgetLeft, strings.TrimPrefix(string(text), `{"id":"n","label":"N",`))
	}
	const march = 31*24*60 - 60
	for month, want := range map[string]string{
		// Up: all but 30 min and 80 s down, 60 min of maintenance, a day unknown.
		"2026-03": fmt.Sprintf(`2026-03 %v "minutes":{"up":%d,"down":31,"maintenance":60,"unknown":1440},"outages":null,"longest_seconds":null,"availability":%v,"availability_with_maintenance":%v}`,
			13.2, march-31-60-1440, (march-1440-60-31-1.0/3)/(march-1440-60), (march-1440-60-31-1.0/3)/(march-1440)),
		"2026-01": `2026-01 44.6 "minutes":{"up":0,"down":0,"maintenance":0,"unknown":44640},"outages":null,"longest_seconds":null,"availability":null,"availability_with_maintenance":null}`,
		"2026-10": fmt.Sprintf(`2026-10 %v "minutes":{"up":%d,"down":90,"maintenance":0,"unknown":0},"outages":2,"longest_seconds":5400,"availability":%v,"availability_with_maintenance":%[3]v}`,
			-45.3, 31*24*60+60-90, (31*24*60+60-90.0)/(31*24*60+60)),
		"": `2026-11 43.2 "minutes":{"up":13680,"down":0,"maintenance":0,"unknown":0},"outages":0,"longest_seconds":0,"availability":1,"availability_with_maintenance":1}`,
	} {
		if got := show(month); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", month, got, want)
		}
	}
	// Never up, and both halves of a minute are rounded up.
	never := sum{}
	never.parts[dead], never.parts[maintained] = 30*time.Second, 90*time.Minute+30*time.Second
	if n := newSLANode(node, never, 91*time.Minute); n.Minutes != (slaMinutes{Down: 1, Maintenance: 90}) {
		t.Errorf("91 minutes without any up: %+v", n.Minutes)
	}
	for _, month := range []string{"2026-13", "2026-12", "2027-01", "2019-01", "0001-01", "11", "2026-11-01", "99999-01"} {
		if _, err := parseSLAMonth(month, now); err == nil {
			t.Errorf("%s is a month", month)
		}
	}
}

func TestSLARoutes(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	p, err := newPage(rig.snaps, rig.reporter.throttle.log)
	if err != nil {
		t.Fatal(err)
	}
	h := p.handler(nil)
	res := get(h, "GET", "/status/sla")
	var rep slaReport
	if err := json.Unmarshal([]byte(body(t, res)), &rep); err != nil || len(rep.Services) != 3 || len(rep.Services[0].Nodes) != 4 || rep.Month != time.Now().Format("2006-01") {
		t.Errorf("%v %+v", err, rep)
	}
	if again := get(h, "GET", "/status/sla/?month="+rep.Month, "If-None-Match: "+res.Header.Get("Etag")); again.StatusCode != http.StatusNotModified {
		t.Errorf("asked again: %s", again.Status)
	}
	if bad := get(h, "GET", "/status/sla?month=2026-1x"); bad.StatusCode != 400 || body(t, bad) != fault(`month \"2026-1x\" is not one like 2026-11`) {
		t.Errorf("a wrong month: %s", bad.Status)
	}
	resp, text := rig.do(t, "GET", "/manager/sla/?month="+rep.Month+"&selector=jobs", manageToken, "")
	if err := json.Unmarshal([]byte(text), &rep); err != nil || resp.StatusCode != 200 || len(rep.Services) != 1 || rep.Services[0].ID != "jobs" {
		t.Errorf("%v %s", err, text)
	}
}

// One node in numbers: the latency has its place, outages of the last 24 hours
// are named without their reason, and no address of a replica is.
func TestNodeReport(t *testing.T) {
	s := mixedSample()
	web := s.services[0].conf
	s.incidents = append(s.incidents, incident{id: "i4", service: web, node: web.Nodes[0], start: sampleTime.Add(-16 * time.Hour), end: sampleTime.Add(-15*time.Hour - 20*time.Minute), reason: "secret reason"})
	h := newTestPage(t, s).handler(nil)
	res := get(h, "GET", "/status/node/id-Website/id-Front%20pages")
	text := body(t, res)
	for _, secret := range []string{"internal", "secret"} {
		if strings.Contains(text, secret) {
			t.Errorf("it has %q", secret)
		}
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(text), "", " "); err != nil {
		t.Fatal(err)
	}
	lists := regexp.MustCompile(`\[[^\[\]{}]+\]`)
	golden(t, "page/node.json", lists.ReplaceAllFunc(indented.Bytes(), func(list []byte) []byte { // one line each
		return bytes.Join(bytes.Fields(list), []byte(" "))
	}))
	if again := get(h, "GET", "/status/node/id-Website/id-Front%20pages/", "If-None-Match: "+res.Header.Get("Etag")); again.StatusCode != http.StatusNotModified {
		t.Errorf("asked again: %s", again.Status)
	}
	for route, want := range map[string]string{
		"/status/node/id-Workers/id-Fleet": `"latency":null}`, // its replicas report themselves
		"/status/node/id-Mail/id-Inbound":  `"uptime":{"24h":null,"7d":null,"30d":null,"90d":null},"outages":[],"latency":{"median_ms":null,"worst_ms":null,"quarters":{"from":"2026-11-19T14:15:00Z","median_ms":[null,`,
	} {
		if text := body(t, get(h, "GET", route)); !strings.Contains(text, want) {
			t.Errorf("%s: %s", route, text)
		}
	}
	for _, route := range []string{"/status/node", "/status/node/id-Website", "/status/node/id-Website/nope", "/status/node/nope/id-Front%20pages", "/status/node/id-Website/id-Front%20pages/x", "/status/node/id-Website/id-Front%20pages%00"} {
		if res := get(h, "GET", route); res.StatusCode != 404 {
			t.Errorf("%s: %s, want 404", route, res.Status)
		}
	}
}

// An opened node names what draws its latency, wherever the page is, and says
// nothing of it to those without scripts. What reports itself has none.
func TestOpenedNodeHasLatency(t *testing.T) {
	figure := regexp.MustCompile(`<figure class="lat" data-json="([^"]+)" data-script="([^"]+)" data-sheet="([^"]+)" data-words="[^"]+" hidden></figure>`)
	for _, prefix := range []string{"", "/my status"} {
		s := mixedSample()
		s.conf.Server.PathPrefix = prefix
		h := newTestPage(t, s).handler(nil)
		base := url.URL{Path: prefix + "/node/id-Website/id-Front pages"}
		found := figure.FindStringSubmatch(body(t, get(h, "GET", base.String())))
		if found == nil {
			t.Fatalf("%q: an opened node has no latency", prefix)
		}
		for i, kind := range []string{"application/json", "text/javascript; charset=utf-8", "text/css; charset=utf-8"} {
			u, err := base.Parse(found[1+i])
			if err != nil {
				t.Fatal(err)
			}
			if res := get(h, "GET", u.String()); res.StatusCode != 200 || res.Header.Get("Content-Type") != kind {
				t.Errorf("%q: %s: %s, %s", prefix, u, res.Status, res.Header.Get("Content-Type"))
			}
		}
		if got := body(t, get(h, "GET", (&url.URL{Path: prefix + "/node/id-Workers/id-Fleet"}).String())); strings.Contains(got, `"lat"`) {
			t.Errorf("%q: a push node has a latency", prefix)
		}
	}
}

// An outage may go on in a maintenance, whose time counts neither as up nor as
// down: not in the last 24 hours, nor in what a day says.
func TestOutageUnderMaintenance(t *testing.T) {
	s := healthySample()
	sv, nv := s.services[0], s.services[0].nodes[0]
	at := func(hours int) time.Time { return sampleTime.Add(time.Duration(hours) * time.Hour) }
	s.incidents = []incident{{id: "i", service: sv.conf, node: nv.conf, start: at(-6), end: at(-2)}}
	s.maintained = []*quietTime{
		{id: "m", title: "Repair", selectors: selectors{"id-Website"}, start: at(-5), end: at(-2)},
		{id: "n", title: "Repair of the disks", selectors: selectors{"*"}, start: at(-4), end: at(-3)},
	}
	parts := &nv.history.days.current.parts
	parts[dead], parts[maintained] = time.Hour, 3*time.Hour
	parts[healthy] -= 4 * time.Hour
	h := newTestPage(t, s).handler(nil)
	var rep nodeReport
	text := body(t, get(h, "GET", "/status/node/id-Website/id-Front%20pages"))
	if err := json.Unmarshal([]byte(text), &rep); err != nil || rep.Uptime.Hours24 == nil || *rep.Uptime.Hours24 != 20.0/21 {
		t.Errorf("of 21 hours, one was down: %s, %v", text, err)
	}
	if page := body(t, get(h, "GET", "/node/id-Website/id-Front%20pages")); !strings.Contains(page, "<dd>95.23%</dd>") {
		t.Errorf("no 95.23%% in\n%s", page)
	}
	if page := body(t, get(h, "GET", "/")); !strings.Contains(page, `data-t="485+240 d60 m180"`) {
		t.Errorf("what is said of today is not the hour in\n%s", page)
	}
	var d days
	d.kept[3], d.outages[3] = 24*time.Hour, "<0+1440>"
	if got := string(d.appendDetail(nil, 3)); got != "m1440" {
		t.Errorf("a day under maintenance: %s", got)
	}
}
