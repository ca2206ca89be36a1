package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestHistoryReport(t *testing.T) {
	conf := alertConfig(Alerting{})
	conf.Services[0].Label = "Web"
	for _, n := range conf.Services[0].Nodes {
		n.Label = "Node " + n.ID
	}
	conf.Services[0].Nodes = conf.Services[0].Nodes[:2]
	conf.Metrics.PollInterval = 100 * time.Hour
	p := newPlay(conf) // at noon
	p.at(time.Hour, "a=healthy")
	p.at(11*time.Hour, "a=dead")
	p.at(13*time.Hour, "a=sick")
	p.at(14*time.Hour, "a=dead")
	p.until(p.begin.Add(14*time.Hour + 90*time.Second + 250*time.Millisecond))
	snap := p.st.snapshot(p.now)
	for i := range snap.pastIncidents {
		snap.pastIncidents[i].id = string(rune('A' + i))
	}
	got, err := json.MarshalIndent(newHistoryReport(snap, p.now), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
 "page": {
  "name": "Status",
  "url": "https://status.example/"
 },
 "time": "2026-03-02T02:01:30Z",
 "probes": [
  {
   "name": "Web",
   "nodes": [
    {
     "name": "Node a",
     "status": "dead",
     "uptime": {
      "today": 0.4938...,
      "7d": 0.8445...,
      "30d": 0.8445...,
      "90d": 0.8445...
     },
     "days": [
      {
       "date": "2026-03-01",
       "healthy": 36000,
       "sick": 0,
       "dead": 3600,
       "unknown": 46800
      },
      {
       "date": "2026-03-02",
       "healthy": 0,
       "sick": 3600,
       "dead": 3690.25,
       "unknown": 0
      }
     ],
     "months": [
      {
       "date": "2026-03",
       "healthy": 36000,
       "sick": 3600,
       "dead": 7290.25,
       "unknown": 46800
      }
     ]
    },
    {
     "name": "Node b",
     "status": "healthy",
     "uptime": {
      "today": null,
      "7d": null,
      "30d": null,
      "90d": null
     },
     "days": [],
     "months": []
    }
   ]
  }
 ],
 "incidents": [
  {
   "id": "A",
   "probe": "Web",
   "node": "Node a",
   "start": "2026-03-02T02:00:00Z",
   "end": null,
   "seconds": 90.25
  },
  {
   "id": "B",
   "probe": "Web",
   "node": "Node a",
   "start": "2026-03-01T23:00:00Z",
   "end": "2026-03-02T01:00:00Z",
   "seconds": 7200
  }
 ]
}`
	if got := cutShares(string(got)); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// cutShares cuts the uptimes to four decimals.
func cutShares(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		if i := strings.Index(line, ": 0."); i >= 0 && len(line) > i+12 {
			rest := strings.TrimLeft(line[i+8:], "0123456789")
			line = line[:i+8] + "..." + rest
		}
		out = append(out, line)
	}
	return strings.Join(out, "")
}

// The answer is one document for all who ask within some seconds. It tells
// nothing of targets or why they are dead.
func TestHistoryRoute(t *testing.T) {
	conf := alertConfig(Alerting{})
	p := newPlay(conf)
	p.st.settle(result{replica: p.replicas[0], status: dead, reason: "secret: 10.0.0.1 refused"}, p.now)
	p.until(p.now.Add(2 * time.Second))
	b := newBoard(p.st.snapshot(p.now))
	pg, err := newPage(b, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	handler := pg.handler(nil)
	get := func(method string, fields ...string) *http.Response {
		r := httptest.NewRequest(method, "/status/history", nil)
		for i := 0; i < len(fields); i += 2 {
			r.Header.Set(fields[i], fields[i+1])
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Result()
	}
	first := get("GET")
	body, err := io.ReadAll(first.Body)
	if err != nil || first.StatusCode != http.StatusOK || first.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%v %s: %v", first.StatusCode, first.Header, err)
	}
	var rep historyReport
	if err := json.Unmarshal(body, &rep); err != nil || len(rep.Probes) != 1 || len(rep.Incidents) != 1 {
		t.Errorf("%s: %v", body, err)
	}
	for _, secret := range []string{"secret", "10.0.0.1", "tcp:", ":80"} {
		if strings.Contains(string(body), secret) {
			t.Errorf("it says %q: %s", secret, body)
		}
	}
	tag := first.Header.Get("ETag")
	if again := get("GET", "If-None-Match", tag); tag == "" || again.StatusCode != http.StatusNotModified {
		t.Errorf("asked again with %q: %d", tag, again.StatusCode)
	}
	if zipped := get("GET", "Accept-Encoding", "gzip"); zipped.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("not compressed: %v", zipped.Header)
	}
	if refused := get("POST"); refused.StatusCode != http.StatusMethodNotAllowed || refused.Header.Get("Allow") == "" {
		t.Errorf("POST: %d", refused.StatusCode)
	}
}
