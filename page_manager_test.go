package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
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
	if code, body := publish("One more"); code != 507 || body != fault("100 announcements are published, which is the most: delete one first") {
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

func FuzzAnnouncement(f *testing.F) {
	f.Add([]byte(`{"title":"Maintenance","text":"From 10:00\nto 11:00"}`))
	f.Add([]byte(`{"title":"\ud800","text":"\u202e"}`))
	f.Add([]byte(`{"reminders_seconds":1e3}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if left, err := parseIgnore(body); err == nil && (left < 0 || left > maxMute*time.Second || left%time.Second != 0) {
			t.Errorf("no reminders for %v", left)
		}
		a, err := parseAnnouncement(body)
		if err != nil {
			if refusalOf(err).code != http.StatusBadRequest {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if strings.TrimSpace(a.title) == "" || strings.TrimSpace(a.text) == "" || len(a.text) > maxText || strings.ContainsAny(a.title+a.text, "\x00\x1b") {
			t.Errorf("accepted %q, %q", a.title, a.text)
		}
	})
}
