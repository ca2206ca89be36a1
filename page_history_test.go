package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	var text, got bytes.Buffer
	if err := writeHistory(&text, snap, p.now); err != nil {
		t.Fatal(err)
	}
	if err := json.Indent(&got, text.Bytes(), "", " "); err != nil {
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
	if got := cutShares(got.String()); got != want {
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
	p.st.applyResult(result{replica: p.replicas[0], status: dead, reason: "secret: 10.0.0.1 refused"}, p.now)
	p.until(p.now.Add(2 * time.Second))
	b := newSnapshots(p.st.snapshot(p.now))
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
	var rep struct{ Probes, Incidents []any }
	if err := json.Unmarshal(body, &rep); err != nil || len(rep.Probes) != 1 || len(rep.Incidents) != 1 {
		t.Errorf("%s: %v", body, err)
	}
	for _, secret := range []string{"secret", "10.0.0.1", "tcp:", ":80\""} {
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

// A long answer is kept in gzip alone. Who does not take that gets the same,
// unpacked, but not too many do at a time.
func TestLongHistory(t *testing.T) {
	now := time.Now()
	pg := newTestPage(t, bigState(300, now).snapshot(now))
	handler := pg.handler(nil)
	get := func(method string, fields ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/status/history", nil)
		for i := 0; i < len(fields); i += 2 {
			r.Header.Set(fields[i], fields[i+1])
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	if _, err := pg.makeHistory(); err != nil {
		t.Fatal(err)
	}
	answer := pg.history.answer.Load()
	answer.stale = now.Add(time.Hour)

	plain, zipped, head := get("GET"), get("GET", "Accept-Encoding", "gzip"), get("HEAD")
	zr, err := gzip.NewReader(zipped.Body)
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := io.ReadAll(zr)
	if err != nil || !bytes.Equal(unzipped, plain.Body.Bytes()) || !json.Valid(unzipped) {
		t.Errorf("%d bytes unpacked by the client, %d by the server: %v", len(unzipped), plain.Body.Len(), err)
	}
	if n := plain.Body.Len(); n <= historyPlain || len(answer.packed.body) > n/4 || answer.plain.body != nil {
		t.Errorf("of %d bytes, %d are kept packed and %d plain", n, len(answer.packed.body), len(answer.plain.body))
	}
	if want := strconv.Itoa(len(unzipped)); plain.Header().Get("Content-Length") != want || head.Header().Get("Content-Length") != want || head.Body.Len() > 0 {
		t.Errorf("lengths %q and %q, want %s; HEAD got %d bytes", plain.Header()["Content-Length"], head.Header()["Content-Length"], want, head.Body.Len())
	}
	for _, w := range []*httptest.ResponseRecorder{plain, zipped} {
		if again := get("GET", "If-None-Match", w.Header().Get("ETag")); again.Code != http.StatusNotModified {
			t.Errorf("asked again with %q: %d", w.Header().Get("ETag"), again.Code)
		}
	}

	slow := &slowWriter{proceed: make(chan struct{})}
	var waiting sync.WaitGroup
	for range historyUnpacking {
		slow.writing.Add(1)
		waiting.Go(func() { handler.ServeHTTP(slow.answer(), httptest.NewRequest("GET", "/status/history", nil)) })
	}
	slow.writing.Wait()
	if w := get("GET"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Header().Get("ETag")+w.Header().Get("Cache-Control") != "" {
		t.Errorf("one too many: %d %v", w.Code, w.Header())
	}
	if w := get("GET", "Accept-Encoding", "gzip"); w.Code != http.StatusOK {
		t.Errorf("with gzip meanwhile: %d", w.Code)
	}
	close(slow.proceed)
	waiting.Wait()
	if w := get("GET"); w.Code != http.StatusOK || w.Body.Len() != len(unzipped) {
		t.Errorf("afterwards: %d, %d bytes", w.Code, w.Body.Len())
	}
}

// A slowWriter hands out answers that nobody reads until proceed is closed.
type slowWriter struct {
	writing sync.WaitGroup // ends when all are being written
	proceed chan struct{}
}

func (s *slowWriter) answer() http.ResponseWriter {
	return &slowAnswer{ResponseWriter: httptest.NewRecorder(), home: s}
}

type slowAnswer struct {
	http.ResponseWriter
	home  *slowWriter
	begun bool
}

func (a *slowAnswer) Write(p []byte) (int, error) {
	if !a.begun {
		a.begun = true
		a.home.writing.Done()
	}
	<-a.home.proceed
	return a.ResponseWriter.Write(p)
}

// BenchmarkHistory makes the answer for 10,000 nodes with all the past that is
// kept, and says how much of the heap that takes at its most.
func BenchmarkHistory(b *testing.B) {
	now := time.Now()
	s := bigState(10_000, now).snapshot(now)
	var cache historyCache
	most := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	runtime.GC()
	before, peak := most(), uint64(0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				peak = max(peak, most())
			}
		}
	}()
	var r *reply
	for b.Loop() {
		var err error
		if r, err = cache.newReply(s, now); err != nil {
			b.Fatal(err)
		}
	}
	close(stop)
	<-stopped
	length, _ := strconv.Atoi(r.plain.length[0])
	b.ReportMetric(float64(length)/(1<<20), "plain-MiB")
	b.ReportMetric(float64(len(r.packed.body))/(1<<20), "packed-MiB")
	b.ReportMetric(float64(before)/(1<<20), "before-MiB")
	b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
}

// Maintenance that is over is told of in the history, and its feed entry leads
// there.
func TestPastMaintenance(t *testing.T) {
	s := healthySample()
	s.maintained = []*quietTime{{
		id: "m1", title: "Move of the shop", text: "See https://acme.example/move.", selectors: selectors{"id-Website"},
		start: sampleTime.Add(-27 * time.Hour), end: sampleTime.Add(-26 * time.Hour),
	}}
	h := newTestPage(t, s).handler(nil)
	page := body(t, get(h, "GET", "/history"))
	_, entry, _ := strings.Cut(page, `<article class="entry" id="m1">`)
	entry, _, _ = strings.Cut(entry, "</article>")
	for _, want := range []string{
		`class="m maint"`, "Move of the shop", `<bdi class="soft">Website</bdi>`, "<b>Maintenance</b>",
		`>11:05</time> to <time`, `>12:05</time>`, `<a href="https://acme.example/move" rel="nofollow noopener">`,
	} {
		if !strings.Contains(entry, want) {
			t.Errorf("no %s in\n%s", want, entry)
		}
	}
	if !strings.Contains(page, "No downtime") {
		t.Error("maintenance counts as an outage")
	}
	feed := body(t, get(h, "GET", "/feed.atom"))
	for _, want := range []string{"Maintenance: Move of the shop", `href="https://status.acme.example/history#m1"`} {
		if !strings.Contains(feed, want) {
			t.Errorf("no %s in the feed\n%s", want, feed)
		}
	}
}

// What was resolved is among the last days, be it an incident or a notice; a
// notice that ended by itself is in the history alone.
func TestResolvedOnThePage(t *testing.T) {
	s := healthySample()
	at := sampleTime.Add(-5 * time.Hour)
	s.pastAnnouncements = []announcement{
		{id: "r1", title: "Slow mail", text: "t", at: at, incident: true, state: stateResolved},
		{id: "r2", title: "Office moves", text: "t", at: at, state: stateResolved},
		{id: "r3", title: "Holiday hours", text: "t", at: at, until: sampleTime.Add(-time.Hour)},
	}
	h := newTestPage(t, s).handler(nil)
	page, history := body(t, get(h, "GET", "/")), body(t, get(h, "GET", "/history"))
	_, past, _ := strings.Cut(page, `id="past"`)
	for title, want := range map[string]bool{"Slow mail": true, "Office moves": true, "Holiday hours": false} {
		if strings.Contains(past, title) != want {
			t.Errorf("%s: on the page %v", title, !want)
		}
		if !strings.Contains(history, title) {
			t.Errorf("%s is not in the history", title)
		}
	}
}

// An announcement whose text is its title says it once, now and in the history.
func TestShortAnnouncements(t *testing.T) {
	s := healthySample()
	at := sampleTime.Add(-5 * time.Hour)
	s.announcements = []announcement{{id: "a1", title: "Slow mail", text: "Slow mail", at: at}, {id: "a2", title: "See https://a.example/", text: "See https://a.example/", at: at}}
	s.pastAnnouncements = []announcement{{id: "a3", title: "Slow shop", text: "Slow shop", at: at, incident: true, state: stateResolved}}
	h := newTestPage(t, s).handler(nil)
	main := regexp.MustCompile(`(?s)<main.*</main>`)
	for path, want := range map[string]map[string]int{
		"/":        {"Slow mail": 1, `<a href="https://a.example/"`: 1, "Slow shop": 1},
		"/history": {"Slow shop": 1},
	} {
		text := main.FindString(body(t, get(h, "GET", path)))
		for said, n := range want {
			if got := strings.Count(text, said); got != n {
				t.Errorf("%s says %q %d times, want %d\n%s", path, said, got, n, text)
			}
		}
	}
}

// What was hidden stays so when the config no longer has it, also what
// happened before it was.
func TestPastOfHiddenNode(t *testing.T) {
	l := newLife(t, alertConfig(Alerting{BackoffLimit: 3}))
	l.at(0, "a=healthy", "b=healthy", "c=healthy")
	l.at(time.Minute, "a=dead")
	l.at(5*time.Minute, "a=healthy")
	l.until(6 * time.Minute)
	public := func() int {
		return len(new(publicView).of(l.st.snapshot(l.now)).pastIncidents)
	}
	if n := public(); n != 1 {
		t.Fatalf("%d outages to be seen", n)
	}
	nodes := l.conf.Services[0].Nodes
	nodes[0].Hidden = true
	l.restart(time.Minute)
	l.until(8 * time.Minute)
	if n := public(); n != 0 {
		t.Errorf("%d outages to be seen of a node that was hidden after them", n)
	}
	l.conf.Services[0].Nodes = nodes[1:]
	l.restart(time.Minute)
	l.until(10 * time.Minute)
	if n := public(); n != 0 || len(l.st.snapshot(l.now).pastIncidents) != 1 {
		t.Errorf("%d outages to be seen of a hidden node that is gone", n)
	}
}

// A day on which nothing began says what went on, and not that there was
// nothing; days with the same of it are one run.
func TestHistoryOfLongOutages(t *testing.T) {
	s := healthySample()
	day := func(n int) time.Time { return sampleTime.AddDate(0, 0, -n) }
	sv := s.services[0]
	add := func(id string, start, end time.Time) {
		s.pastIncidents = append(s.pastIncidents, incident{id: id, service: sv.conf, node: sv.nodes[0].conf, start: start, end: end})
	}
	add("open", day(2), time.Time{})
	add("short", day(10), day(7))
	for i := range maxOngoing + 5 {
		add(fmt.Sprint("many", i), day(16).Add(time.Duration(i)*time.Second), day(14))
	}
	add("brief", day(30), day(30).Add(briefly/2))
	var got []string
	lang := builtInLanguages(t)[english]
	for _, m := range newHistoryView(lang, "", s)[:1] {
		for _, d := range m.Days {
			line := d.Name + ":"
			for _, e := range d.Entries {
				line += " +" + e.ID
			}
			for _, e := range d.Ongoing[:min(len(d.Ongoing), 2)] {
				line += " " + e.ID
			}
			got = append(got, strings.TrimSuffix(line+" "+d.More+d.Calm, " "))
		}
	}
	want := []string{
		"19 to 20 November: open", "18 November: +open", "14 to 17 November: Nothing to report.", "11 to 13 November: short",
		"10 November: +short", "7 to 9 November: Nothing to report.", "5 to 6 November: many24 many23 and 5 more",
	}
	if !slices.Equal(got[:len(want)], want) {
		t.Errorf("days\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	const lists = `<a href="#open"><bdi>Front pages</bdi></a> <bdi>Website</bdi>: continued from the day before</p>`
	if text := body(t, get(newTestPage(t, s).handler(nil), "GET", "/history")); !strings.Contains(text, lists) {
		t.Errorf("no %s in\n%s", lists, text)
	}
}
