package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Whatever the bodies of version 2.0 say, what is accepted is in bounds.
func FuzzManagerBodies(f *testing.F) {
	f.Add([]byte(`{"title":"a","selectors":["web"],"end":"2026-03-01T13:00:00Z","start":"2026-03-01T12:30:00Z"}`))
	f.Add([]byte(`{"selectors":["*"],"seconds":1e3,"text":"x"}`))
	f.Add([]byte(`{"selectors":["web:core"],"seconds":-0,"text":"\ud800"}`))
	conf, now := apiConfig(), sampleTime
	f.Fuzz(func(t *testing.T, body []byte) {
		check := func(q *quietTime, err error) {
			if err != nil {
				if refusalOf(err).code != http.StatusBadRequest {
					t.Fatalf("refused with %v", err)
				}
				return
			}
			if len(q.selectors) == 0 || len(q.selectors) > maxSelectors || q.start.Before(now) || !q.end.After(q.start) || q.end.After(now.Add(maxAhead)) ||
				len(q.text) > maxText || strings.ContainsAny(q.title+q.text, "\x00\x1b") {
				t.Errorf("accepted %+v", q)
			}
		}
		var b quietBody
		if err := decodeStrict(body, &b); err == nil {
			check(b.maintenance(conf, now))
		}
		var s silenceBody
		if err := decodeStrict(body, &s); err == nil {
			check(s.silence(conf, now))
		}
	})
}

// Each route that takes a body refuses what is wrong with it, and changes nothing
// then. What it accepts leaves the lists within their bounds.
func FuzzManagerRoutes(f *testing.F) {
	rig, ctx := newAPIRig(f, apiConfig()), f.Context()
	ask := func(t testing.TB, method, path string, body []byte) (code int, answer string) {
		r := httptest.NewRequestWithContext(ctx, method, path, bytes.NewReader(body))
		r.SetBasicAuth("", manageToken)
		w := httptest.NewRecorder()
		rig.Config.Handler.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	var made struct{ ID string }
	_, answer := ask(f, "POST", "/manager/announcement/", []byte(`{"title":"a","text":"b"}`))
	if err := json.Unmarshal([]byte(answer), &made); err != nil {
		f.Fatalf("%v %s", err, answer)
	}
	if resp, body := rig.do(f, "POST", "/reporter/web/far/", "tok/en+secret", `{"replica":"a","interval":600,"health":"dead"}`); resp.StatusCode != 200 {
		f.Fatal(body)
	}
	outage := rig.until(f, "an outage", func(s *snapshot) bool { return s.services[0].nodes[3].outage != "" }).services[0].nodes[3].outage
	routes := [...]struct{ method, path string }{
		{"POST", "/manager/announcement/"},
		{"PUT", "/manager/announcement/" + made.ID + "/"},
		{"POST", "/manager/announcement/" + made.ID + "/update/"},
		{"PUT", "/manager/outage/" + outage + "/ack/"},
		{"POST", "/manager/maintenances/"},
		{"POST", "/manager/silences/"},
		{"PUT", "/manager/prober/alerts/ignored/"},
		{"POST", "/manager/check/"},
	}
	for i, body := range []string{`{"title":"a","text":"b","type":"incident","selectors":["web"],"state":"resolved","until":"2026-03-01T13:00:00Z"}`,
		`{"title":"a","text":"b","revision":1}`, `{"state":"monitoring","text":"more"}`, `{"by":"Ada","text":"on it","seconds":60}`,
		`{"title":"a","selectors":["*"],"start":"2026-03-01T12:30:00Z","end":"2026-03-01T13:00:00Z"}`, `{"selectors":["web:core"],"seconds":60,"text":"x"}`,
		`{"reminders_seconds":1e3}`, `{"selector":"web"}`} {
		f.Add(uint8(i), []byte(body))
		f.Add(uint8(i), []byte(`[`+body+`]`))
		f.Add(uint8(i), []byte(strings.Replace(body, ":", ":null,\"odd\":", 1)))
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		route := routes[int(which)%len(routes)]
		code, answer := ask(t, route.method, route.path, body)
		switch code {
		case http.StatusOK:
			if answer != "" && !json.Valid([]byte(answer)) {
				t.Errorf("%s %s answers %q", route.method, route.path, answer)
			}
		case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusInsufficientStorage:
			var fault struct{ Error string }
			if err := json.Unmarshal([]byte(answer), &fault); err != nil || fault.Error == "" || strings.ContainsAny(fault.Error, "\n\x00\x1b") {
				t.Errorf("%s %s refuses %q with %q", route.method, route.path, body, answer)
			}
		default:
			t.Errorf("%s %s with %q: %d %s", route.method, route.path, body, code, answer)
		}
		s := rig.snaps.load()
		if len(s.announcements) > maxAnnouncements || len(s.announcements)+len(s.pastAnnouncements) > maxKeptAnnouncements || len(s.quietTimes) > maxQuietTimes {
			t.Errorf("%d and %d announcements, %d maintenances and silences", len(s.announcements), len(s.pastAnnouncements), len(s.quietTimes))
		}
	})
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

// Each route of the Manager API is described in PROTOCOL.md.
func TestManagerRoutesAreDocumented(t *testing.T) {
	protocol := read(t, "PROTOCOL.md")
	for _, route := range managerRoutes {
		call := route.method + " /manager/" + strings.ReplaceAll(strings.Join(route.path, "/"), "*", "<id>") + "/"
		if !strings.Contains(protocol, "`"+call) {
			t.Errorf("PROTOCOL.md does not describe %s", call)
		}
	}
}
