package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const manageToken = "manage me"

func TestManagerAPI(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	const tok = manageToken
	const ignored = "/manager/prober/alerts/ignored/"
	badSeconds := fault("reminders_seconds is not a whole number from 0 to 31536000, or null")
	rig.table(t, []apiRow{
		{"no announcements", "GET", "/manager/announcements/", tok, "", 200, "[]\n"},
		{"no title", "POST", "/manager/announcement/", tok, `{"text":"x"}`, 400, fault("title is missing or empty")},
		{"empty title", "POST", "/manager/announcement/", tok, `{"title":" ","text":"x"}`, 400, fault("title is missing or empty")},
		{"no text", "POST", "/manager/announcement", tok, `{"title":"x","text":null}`, 400, fault("text is missing or empty")},
		{"empty text", "POST", "/manager/announcement", tok, `{"title":"x","text":""}`, 400, fault("text is missing or empty")},
		{"long title", "POST", "/manager/announcement", tok, `{"title":"` + strings.Repeat("ü", 257) + `","text":"x"}`, 400, fault("title is longer than 256 characters")},
		{"long text", "POST", "/manager/announcement", tok, `{"title":"x","text":"` + strings.Repeat("x", 16385) + `"}`, 400, fault("text is longer than 16384 bytes")},
		{"control character", "POST", "/manager/announcement", tok, `{"title":"a\nb","text":"x"}`, 400, fault("title contains control characters")},
		{"control character in the text", "POST", "/manager/announcement", tok, `{"title":"a","text":"x\u0000"}`, 400, fault("text contains control characters other than tabs and line ends")},
		{"not JSON", "POST", "/manager/announcement", tok, `title=x`, 400, fault("invalid JSON: invalid character 'i' in literal true (expecting 'r')")},
		{"wrong type", "POST", "/manager/announcement", tok, `{"title":["x"],"text":"y"}`, 400, fault("wrong type for title: array")},
		{"too large", "POST", "/manager/announcement", tok, strings.Repeat(" ", maxRequest+1), 413, fault("the body is over 65536 bytes")},
		{"retract nothing", "DELETE", "/manager/announcement/nope/", tok, "", 404, fault(`no announcement \"nope\"`)},
		{"no alerts", "GET", "/manager/prober/alerts/", tok, "", 200, `{"dead":[],"sick":[]}` + "\n"},
		{"nothing ignored", "GET", ignored, tok, "", 200, `{"reminders_seconds":null}` + "\n"},
		{"negative", "PUT", ignored, tok, `{"reminders_seconds":-1}`, 400, badSeconds},
		{"fraction", "PUT", ignored, tok, `{"reminders_seconds":1.5}`, 400, badSeconds},
		{"more than a year", "PUT", ignored, tok, `{"reminders_seconds":31536001}`, 400, badSeconds},
		{"huge", "PUT", ignored, tok, `{"reminders_seconds":1e999}`, 400, badSeconds},
		{"text", "PUT", ignored, tok, `{"reminders_seconds":"600"}`, 400, badSeconds},
		{"missing", "PUT", ignored, tok, `{}`, 400, badSeconds},
		{"still nothing ignored", "GET", "/manager/prober/alerts/ignored", tok, "", 200, `{"reminders_seconds":null}` + "\n"},
		{"ignore", "PUT", ignored, tok, `{"reminders_seconds":600}`, 200, ""},
		{"ignored", "GET", ignored, tok, "", 200, `{"reminders_seconds":600}` + "\n"},
		{"lift with null", "PUT", ignored, tok, `{"reminders_seconds":null}`, 200, ""},
		{"lifted", "GET", ignored, tok, "", 200, `{"reminders_seconds":null}` + "\n"},
		{"ignore for a year", "PUT", ignored, tok, `{"reminders_seconds":31536000.0}`, 200, ""},
		{"lift with 0", "PUT", ignored, tok, `{"reminders_seconds":0}`, 200, ""},
		{"lifted again", "GET", ignored, tok, "", 200, `{"reminders_seconds":null}` + "\n"},
		{"unknown route", "GET", "/manager/nope/", tok, "", 404, fault("no such route: PROTOCOL.md lists them")},
		{"no route", "GET", "/manager/", tok, "", 404, fault("no such route: PROTOCOL.md lists them")},
	})
	for _, path := range []string{"/manager/announcements/", "/manager/prober/alerts/", ignored} {
		if resp, body := rig.do(t, "HEAD", path, tok, ""); resp.StatusCode != 200 || body != "" {
			t.Errorf("HEAD %s: %d %q", path, resp.StatusCode, body)
		}
	}
}

func TestAnnouncements(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	publish := func(title string) (int, string) {
		resp, body := rig.do(t, "POST", "/manager/announcement/", manageToken, `{"title":"`+title+`","text":"Some\ntext"}`)
		return resp.StatusCode, body
	}
	form := regexp.MustCompile(`^\{"id":"([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})"\}\n$`)
	var ids []string
	for i := range maxAnnouncements {
		code, body := publish(fmt.Sprint("No. ", i))
		m := form.FindStringSubmatch(body)
		if code != 200 || m == nil {
			t.Fatalf("%d %s", code, body)
		}
		ids = append(ids, m[1])
	}
	if code, body := publish("One more"); code != 507 || body != fault("100 announcements are published, the maximum: delete one first") {
		t.Errorf("one more: %d %s", code, body)
	}
	before := rig.until(t, "all are shown", func(s *snapshot) bool { return len(s.announcements) == maxAnnouncements })
	if resp, body := rig.do(t, "DELETE", "/manager/announcement/"+ids[1]+"/", manageToken, ""); resp.StatusCode != 200 || body != "" {
		t.Errorf("delete: %d %s", resp.StatusCode, body)
	}
	if resp, _ := rig.do(t, "DELETE", "/manager/announcement/"+ids[1]+"/", manageToken, ""); resp.StatusCode != 404 {
		t.Errorf("delete again: %d", resp.StatusCode)
	}
	_, body := rig.do(t, "GET", "/manager/announcements/", manageToken, "")
	var list []announcementTitle
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list) != maxAnnouncements-1 ||
		list[0] != (announcementTitle{ids[0], "No. 0"}) || list[1] != (announcementTitle{ids[2], "No. 2"}) {
		t.Errorf("list: %v %s", err, body)
	}
	after := rig.until(t, "one is gone", func(s *snapshot) bool { return len(s.announcements) == maxAnnouncements-1 })
	if before.announcements[1].title != "No. 1" || after.announcements[1].title != "No. 2" || after.announcements[1].text != "Some\ntext" {
		t.Error("a published list changed")
	}
}

func TestManagerAlerts(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	start := time.Now().Truncate(time.Second)
	for _, row := range []struct{ path, body string }{
		{"/reporter/web/jobs/", `{"replica":"b","interval":60,"load":{"cpu":1.5,"ram":0}}`},
		{"/reporter/web/jobs/", `{"replica":"a","interval":60,"load":{"cpu":0,"ram":0}}`},
		{"/reporter/web/far/", `{"replica":"tcp://<x>","interval":60,"health":"dead"}`},
	} {
		if resp, body := rig.do(t, "POST", row.path, "tok/en+secret", row.body); resp.StatusCode != 200 {
			t.Fatal(body)
		}
	}
	rig.until(t, "all are shown", func(s *snapshot) bool { return s.status == dead && s.services[0].nodes[1].status == sick })
	resp, body := rig.do(t, "GET", "/manager/prober/alerts/", manageToken, "")
	var list alertList
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Dead) != 1 || len(list.Sick) != 1 {
		t.Fatalf("%v %s", err, body)
	}
	for _, got := range []*alertEntry{&list.Dead[0], &list.Sick[0]} {
		if got.Since.Before(start) || got.Since.After(time.Now()) {
			t.Errorf("since %v", got.Since)
		}
		got.Since = time.Time{}
	}
	if want := (alertEntry{"web", "far", "tcp://<x>", "reported dead", time.Time{}}); list.Dead[0] != want {
		t.Errorf("dead: %+v\nwant  %+v", list.Dead[0], want)
	}
	if want := (alertEntry{"web", "jobs", "b", "cpu 1.50 over 0.90", time.Time{}}); list.Sick[0] != want {
		t.Errorf("sick: %+v\nwant  %+v", list.Sick[0], want)
	}
	if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("header %v", resp.Header)
	}
}

// The time left counts down, and the silence reaches the alerter.
func TestIgnoredCountsDown(t *testing.T) {
	p := newPlay(apiConfig())
	done := make(chan error, 1)
	until := p.now.Add(10 * time.Minute)
	p.st.mute(until, done)
	if err := <-done; err != nil || !p.st.alerter.muted.Equal(until) {
		t.Errorf("muted until %v (%v), want %v", p.st.alerter.muted, err, until)
	}
}

// parseAnnouncement reads a body as the API does.
func parseAnnouncement(body []byte) (announcement, error) {
	var b announcementBody
	if err := decodeJSON(body, &b); err != nil {
		return announcement{}, err
	}
	return b.announcement(apiConfig(), time.Now())
}

// Announcements of version 2.0: their fields, edits and updates.
func TestAnnouncementEdits(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	const post, tok = "/manager/announcement/", manageToken
	rig.table(t, []apiRow{
		{"type", "POST", post, tok, `{"title":"a","text":"b","type":"party"}`, 400, fault(`type \"party\" is not one of: notice, incident`)},
		{"state", "POST", post, tok, `{"title":"a","text":"b","state":"over"}`, 400, fault(`state \"over\" is not one of: investigating, identified, monitoring, resolved`)},
		{"selector", "POST", post, tok, `{"title":"a","text":"b","selectors":["web:core","wob"]}`, 400,
			fault(`selector \"wob\" selects no service and no node; allowed: \"*\", a service's id, or service:node; did you mean \"web\"?`)},
		{"selectors", "POST", post, tok, `{"title":"a","text":"b","selectors":[` + strings.Repeat(`"*",`, 100) + `"*"]}`, 400, fault("more than 100 selectors")},
		{"past", "POST", post, tok, `{"title":"a","text":"b","until":"2020-01-01T00:00:00Z"}`, 400, fault("until is not a time within the next 366 days")},
		{"far", "POST", post, tok, `{"title":"a","text":"b","until":"2120-01-01T00:00:00Z"}`, 400, fault("until is not a time within the next 366 days")},
		{"edit nothing", "PUT", post + "x/", tok, `{"title":"a","text":"b","revision":1}`, 404, fault(`no announcement \"x\"`)},
		{"update nothing", "POST", post + "x/update/", tok, `{"text":"b"}`, 404, fault(`no announcement \"x\"`)},
		{"read nothing", "GET", post + "x/", tok, "", 404, fault(`no announcement \"x\"`)},
		{"no revision", "PUT", post + "x/", tok, `{"title":"a","text":"b"}`, 400, fault("revision is missing: that of the announcement as you have read it")},
		{"typo", "PUT", post + "x/", tok, `{"title":"a","text":"b","revision":1,"untill":null}`, 400, fault(`unknown field \"untill\"`)},
		{"typo in an update", "POST", post + "x/update/", tok, `{"text":"b","stat":"resolved"}`, 400, fault(`unknown field \"stat\"`)},
		{"empty update", "POST", post + "x/update/", tok, `{"state":"resolved"}`, 400, fault("text is missing or empty")},
		{"wrong method", "POST", post + "x/", tok, `{}`, 405, fault("method not allowed: GET, HEAD, PUT, DELETE only")},
	})
	_, body := rig.do(t, "POST", post, tok, `{"title":"Down","text":"We look.","type":"incident","selectors":["web:jobs"],"state":"investigating","more":1}`)
	id := strings.Split(body, `"`)[3]
	at := post + id + "/"
	read := func(want string) {
		t.Helper()
		_, body := rig.do(t, "GET", at, tok, "")
		if got := regexp.MustCompile(`"\d{4}-[^"]*"`).ReplaceAllString(body, "TIME"); got != want+"\n" {
			t.Errorf("got  %swant %s", got, want)
		}
	}
	read(`{"id":"` + id + `","title":"Down","text":"We look.","type":"incident","selectors":["web:jobs"],"state":"investigating","until":null,"published":TIME,"updates":[],"revision":1}`)
	rig.table(t, []apiRow{
		{"update", "POST", at + "update/", tok, `{"text":"Found.","state":"identified"}`, 200, ""},
		{"the second editor", "PUT", at, tok, `{"title":"Up","text":"x","revision":1}`, 409, fault("somebody else has changed this announcement: read it again")},
		{"edit", "PUT", at, tok, `{"title":"Up","text":"x","state":"monitoring","revision":2}`, 200, ""},
	})
	read(`{"id":"` + id + `","title":"Up","text":"x","type":"notice","selectors":[],"state":"monitoring","until":null,"published":TIME,"updates":[{"time":TIME,"state":"identified","text":"Found."},{"time":TIME,"state":"monitoring","text":""}],"revision":3}`)
	if resp, body := rig.do(t, "POST", at+"update/", tok, `{"text":"Over.","state":"resolved"}`); resp.StatusCode != 200 {
		t.Fatal(body)
	}
	s := rig.until(t, "it is over", func(s *snapshot) bool { return len(s.announcements) == 0 && len(s.pastAnnouncements) == 1 })
	if a := s.pastAnnouncements[0]; len(a.updates) != 3 || a.state != "resolved" || a.title != "Up" {
		t.Errorf("%+v", a)
	}
	for range maxUpdates - 3 {
		if resp, body := rig.do(t, "POST", at+"update/", tok, `{"text":"More."}`); resp.StatusCode != 200 {
			t.Fatal(body)
		}
	}
	// One that has ended can be corrected, and stays ended.
	_, body = rig.do(t, "POST", post, tok, `{"title":"Shut","text":"b","until":"`+time.Now().Add(500*time.Millisecond).Format(time.RFC3339Nano)+`"}`)
	past := post + strings.Split(body, `"`)[3] + "/"
	rig.until(t, "it has ended", func(s *snapshot) bool { return len(s.announcements) == 0 && len(s.pastAnnouncements) == 2 })
	_, body = rig.do(t, "GET", past, tok, "")
	_, until, _ := strings.Cut(body, `"until":`)
	until, _, _ = strings.Cut(until, ",")
	rig.table(t, []apiRow{
		{"edit of the past", "PUT", past, tok, `{"title":"Closed","text":"b","revision":1,"until":` + until + `}`, 200, ""},
		{"another past", "PUT", past, tok, `{"title":"Closed","text":"b","revision":2,"until":"2020-01-01T00:00:00Z"}`, 400, fault("until is not a time within the next 366 days")},
	})
	rig.until(t, "it is corrected", func(s *snapshot) bool {
		return len(s.announcements) == 0 && slices.ContainsFunc(s.pastAnnouncements, func(a announcement) bool { return a.title == "Closed" })
	})
	rig.table(t, []apiRow{{"too many updates", "POST", at + "update/", tok, `{"text":"More."}`, 507, fault("an announcement has at most 100 updates with 65536 bytes of text")}})
}

// An announcement ends by itself, and the page is shown anew then. A restart
// forgets nothing of it.
func TestAnnouncementEnds(t *testing.T) {
	p := newPlay(apiConfig())
	done := make(chan error, 2)
	a := announcement{id: "1", title: "a", text: "b", at: p.now, until: p.now.Add(90 * time.Second), match: []string{"web"}}
	p.st.announce(a, done)
	p.st.updateAnnouncement("1", announcementUpdate{at: p.now, text: "c"}, done)
	if s := p.st.snapshot(p.now); len(s.announcements) != 1 || len(s.pastAnnouncements) != 0 {
		t.Fatalf("%+v", s.announcements)
	}
	if at, _ := p.st.wake(p.now); at.After(a.until) {
		t.Errorf("nothing is due before %v", at)
	}
	p.st.expire(a.until.Add(-time.Millisecond))
	p.st.dirty = false
	p.st.expire(a.until)
	if s := p.st.snapshot(a.until); !p.st.last.at.Equal(a.until) || len(s.announcements) != 0 || len(s.pastAnnouncements) != 1 {
		t.Errorf("%+v", s.announcements)
	}
	if s := p.st.snapshot(a.until.Add(keptAnnouncements)); len(s.pastAnnouncements) != 0 {
		t.Error("it is kept for ever")
	}
	rec := announced(p.st.announcements[0])
	back := rec.Announcement.restored()
	if got, want := fmt.Sprint(announced(back).Announcement), fmt.Sprint(rec.Announcement); got != want {
		t.Errorf("restored %s\nwant     %s", got, want)
	}
}

func TestManagerStatus(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	for _, row := range []struct{ path, body string }{
		{"/reporter/web/jobs/", `{"replica":"b","interval":60,"load":{"cpu":1.5,"ram":0}}`},
		{"/reporter/web/far/", `{"replica":"tcp://<x>","interval":60,"health":"dead"}`},
	} {
		if resp, body := rig.do(t, "POST", row.path, "tok/en+secret", row.body); resp.StatusCode != 200 {
			t.Fatal(body)
		}
	}
	rig.until(t, "both are shown", func(s *snapshot) bool { return s.status == dead && s.services[0].nodes[1].status == sick })
	times := regexp.MustCompile(`"\d{4}-[^"]*"`)
	ask := func(query, want string) {
		t.Helper()
		_, body := rig.do(t, "GET", "/manager/status/"+query, manageToken, "")
		if got := times.ReplaceAllString(body, "TIME"); got != want {
			t.Errorf("%s\ngot  %swant %s", query, got, want)
		}
	}
	const head = `{"status":"dead","at":TIME,"nodes":[`
	const quiet = `"outage":null,"acknowledged":false,"maintenance":null,"silence":null,"cause":null,`
	const jobs = `{"service":"web","service_label":"Web","node":"jobs","label":"Jobs","mode":"push","status":"sick","checked":true,"since":TIME,"reason":"cpu 1.50 over 0.90",` + quiet +
		`"replicas":[{"id":"b","label":"","status":"sick","checked":true,"since":TIME,"reason":"cpu 1.50 over 0.90","latency_ms":null,"load":{"cpu":1.5,"ram":0},"last":TIME,"next":TIME}]}` + "\n"
	const core = `{"service":"web","service_label":"Web","node":"core","label":"Core","mode":"poll","status":"healthy","checked":false,"since":null,"reason":"",` + quiet +
		`"replicas":[{"id":"tcp://192.0.2.1:80","label":"","status":"healthy","checked":false,"since":null,"reason":"","latency_ms":null,"last":null,"next":null}]}` + "\n"
	ask("?selector=web:jobs", head+jobs+"]}\n")
	ask("?selector=web%3Ajobs&selector=web:core", head+core+","+jobs+"]}\n")
	_, body := rig.do(t, "GET", "/manager/status/", manageToken, "")
	var all struct {
		Nodes []struct{ Service, Node string }
	}
	if err := json.Unmarshal([]byte(body), &all); err != nil || len(all.Nodes) != 9 {
		t.Errorf("%v, %d nodes", err, len(all.Nodes))
	}
	rig.table(t, []apiRow{
		{"unknown", "GET", "/manager/status/?selector=web:corr", manageToken, "", 400, fault(`selector \"web:corr\" selects no service and no node; allowed: \"*\", a service's id, or service:node; did you mean \"web:core\"?`)},
		{"bad query", "GET", "/manager/status/?selector=%zz", manageToken, "", 400, fault("the query is not well percent-encoded")},
	})
}

// Maintenances, silences and acknowledgements: what each refuses, and what they
// do.
func TestManagerQuiet(t *testing.T) {
	t.Parallel() // an outage is shown after 5 s
	rig := newAPIRig(t, apiConfig())
	const tok, plans, silences = manageToken, "/manager/maintenances/", "/manager/silences/"
	end := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	seconds := fault("seconds is not a whole number from 1 to 31536000")
	rig.table(t, []apiRow{
		{"none", "GET", plans, tok, "", 200, "[]\n"},
		{"no silence", "GET", silences, tok, "", 200, "[]\n"},
		{"no outage", "GET", "/manager/outages/", tok, "", 200, "[]\n"},
		{"no title", "POST", plans, tok, `{"selectors":["web"],"end":"` + end + `"}`, 400, fault("title is missing or empty")},
		{"no selectors", "POST", plans, tok, `{"title":"a","end":"` + end + `"}`, 400, fault(`selectors is missing or empty: a list of \"service\", \"service:node\" or \"*\"`)},
		{"unknown selector", "POST", plans, tok, `{"title":"a","selectors":["wob"],"end":"` + end + `"}`, 400,
			fault(`selector \"wob\" selects no service and no node; allowed: \"*\", a service's id, or service:node; did you mean \"web\"?`)},
		{"no end", "POST", plans, tok, `{"title":"a","selectors":["web"]}`, 400, fault("end is missing: a time like 2026-11-26T22:00:00Z")},
		{"over", "POST", plans, tok, `{"title":"a","selectors":["web"],"end":"2020-01-01T00:00:00Z"}`, 400, fault("end 2020-01-01T00:00:00Z has passed")},
		{"far", "POST", plans, tok, `{"title":"a","selectors":["web"],"end":"2120-01-01T00:00:00Z"}`, 400, fault("end is more than 366 days ahead")},
		{"backwards", "POST", plans, tok, `{"title":"a","selectors":["web"],"start":"2120-01-01T00:00:00Z","end":"` + end + `"}`, 400, fault("end " + end + " is not after start 2120-01-01T00:00:00Z")},
		{"typo", "POST", plans, tok, `{"title":"a","selectors":["web"],"ende":"` + end + `"}`, 400, fault(`unknown field \"ende\"`)},
		{"not a time", "POST", plans, tok, `{"title":"a","selectors":["web"],"end":"22:00"}`, 400, fault(`invalid JSON: parsing time \"22:00\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"22:00\" as \"2006\"`)},
		{"no seconds", "POST", silences, tok, `{"selectors":["web"],"text":"x"}`, 400, seconds},
		{"half a second", "POST", silences, tok, `{"selectors":["web"],"text":"x","seconds":0.5}`, 400, seconds},
		{"too long", "POST", silences, tok, `{"selectors":["web"],"text":"x","seconds":31536001}`, 400, seconds},
		{"no reason", "POST", silences, tok, `{"selectors":["web"],"seconds":60}`, 400, fault("text is missing or empty")},
		{"end none", "DELETE", "/manager/maintenance/x/", tok, "", 404, fault(`no maintenance \"x\"`)},
		{"end no silence", "DELETE", "/manager/silence/x/", tok, "", 404, fault(`no silence \"x\"`)},
		{"unknown outage", "GET", "/manager/outage/x/", tok, "", 404, fault(`no outage \"x\"`)},
		{"ack unknown", "PUT", "/manager/outage/x/ack/", tok, `{"text":"a","seconds":60}`, 404, fault(`no outage \"x\"`)},
		{"ack without text", "PUT", "/manager/outage/x/ack/", tok, `{"seconds":60}`, 400, fault("text is missing or empty")},
		{"ack by lines", "PUT", "/manager/outage/x/ack/", tok, `{"by":"a\nb","text":"a","seconds":60}`, 400, fault("by contains control characters")},
		{"ack with a typo", "PUT", "/manager/outage/x/ack/", tok, `{"who":"a","text":"a","seconds":60}`, 400, fault(`unknown field \"who\"`)},
		{"unack unknown", "DELETE", "/manager/outage/x/ack/", tok, "", 404, fault(`no outage \"x\"`)},
	})

	node := func() managerNode {
		t.Helper()
		_, body := rig.do(t, "GET", "/manager/status/?selector=web:far", tok, "")
		var s struct{ Nodes []managerNode }
		if err := json.Unmarshal([]byte(body), &s); err != nil || len(s.Nodes) != 1 {
			t.Fatalf("%v %s", err, body)
		}
		return s.Nodes[0]
	}
	add := func(path, body string) string {
		t.Helper()
		resp, text := rig.do(t, "POST", path, tok, body)
		var made struct{ ID string }
		if err := json.Unmarshal([]byte(text), &made); err != nil || resp.StatusCode != 200 || made.ID == "" {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
		return made.ID
	}
	plan := add(plans, `{"title":"Switch","selectors":["web:far"],"end":"`+end+`"}`)
	silence := add(silences, `{"selectors":["web"],"seconds":60,"text":"Load test"}`)
	rig.until(t, "both run", func(s *snapshot) bool {
		nv := s.services[0].nodes[3]
		return nv.maintenance != nil && nv.silence != nil
	})
	if n := node(); *n.Maintenance != "Switch" || *n.Silence != "Load test" {
		t.Errorf("%+v", n)
	}
	_, body := rig.do(t, "GET", plans, tok, "")
	var list []maintenanceJSON
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list) != 1 || list[0].ID != plan || !list[0].Running || list[0].End.UTC().Format(time.RFC3339) != end {
		t.Errorf("%v %s", err, body)
	}
	for _, path := range []string{"/manager/maintenance/" + plan, "/manager/silence/" + silence} {
		if resp, body := rig.do(t, "DELETE", path, tok, ""); resp.StatusCode != 200 || body != "" {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	rig.until(t, "both ended", func(s *snapshot) bool {
		nv := s.services[0].nodes[3]
		return nv.maintenance == nil && nv.silence == nil
	})

	if resp, body := rig.do(t, "POST", "/reporter/web/far/", "tok/en+secret", `{"replica":"a","interval":600,"health":"dead"}`); resp.StatusCode != 200 {
		t.Fatal(body)
	}
	rig.until(t, "an outage", func(s *snapshot) bool { return s.services[0].nodes[3].outage != "" && len(s.pastIncidents) == 1 })
	id := *node().Outage
	add("/manager/announcement/", `{"title":"Down","text":"We look.","selectors":["web:far"],"type":"incident"}`)
	add("/manager/announcement/", `{"title":"Other","text":"No.","selectors":["web:jobs"]}`)
	if resp, body := rig.do(t, "PUT", "/manager/outage/"+id+"/ack/", tok, `{"by":"Ada","text":"On it","seconds":60}`); resp.StatusCode != 200 {
		t.Fatal(body)
	}
	rig.until(t, "it is acknowledged", func(s *snapshot) bool { return s.pastIncidents[0].ack != nil })
	if !node().Acknowledged {
		t.Error("the node's outage is not acknowledged")
	}
	read := func() (out managerOutage) {
		t.Helper()
		_, body := rig.do(t, "GET", "/manager/outage/"+id+"/", tok, "")
		if err := json.Unmarshal([]byte(body), &out); err != nil {
			t.Fatalf("%v %s", err, body)
		}
		return out
	}
	out := read()
	if a := out.Acknowledgement; a == nil || a.By != "Ada" || a.Text != "On it" || a.Until.Sub(a.At) != time.Minute || out.End != nil ||
		len(out.Replicas) != 1 || out.Replicas[0] != (outageReplica{"a", "", "reported dead"}) || len(out.Updates) != 1 || out.Updates[0].Title != "Down" {
		t.Errorf("%+v", out)
	}
	if _, body := rig.do(t, "GET", "/manager/outages/?selector=web:jobs", tok, ""); body != "[]\n" {
		t.Errorf("of other nodes: %s", body)
	}
	if resp, body := rig.do(t, "DELETE", "/manager/outage/"+id+"/ack/", tok, ""); resp.StatusCode != 200 || read().Acknowledgement != nil {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}
