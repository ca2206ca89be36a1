package main

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"vigil/notify"
)

// newTestScrape returns a scrape of a state in which much has happened.
func newTestScrape(t testing.TB) *scrape {
	t.Helper()
	conf := apiConfig()
	hostile := &Node{ID: "a\"b\\c\nd\xff", Mode: modePoll, Targets: []Target{{Raw: "tcp://10.0.0.1:80"}, {Raw: "tcp://10.0.0.2:80"}}}
	conf.Services = append(conf.Services, &Service{ID: "odd", Nodes: []*Node{hostile, {ID: "empty", Mode: modePush}}})
	now := time.Now()
	st := newState(conf, now)
	for i, r := range st.own {
		if i < len(st.own)-1 {
			st.set(r, status(i%3), "", now)
		}
	}
	st.addReplica(st.services[0].nodes[1], "secret-host.internal")
	b := newSnapshots(st.snapshot(now))
	p, err := newPage(b, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := &scrape{
		snaps:      b,
		throttle:   newThrottle(slog.New(slog.DiscardHandler)),
		guard:      &guard{unread: newUnreadAnswers(maxUnread)},
		meters:     new(meters),
		page:       p,
		reporter:   newReporterAPI(b, nil, nil, nil),
		aggregator: new(aggregator),
		store:      newStore(nil, slog.New(slog.DiscardHandler)),
		events:     make(chan event, 4),
		rabbit:     newRabbit(make(chan *reportedNode, 4), nil, slog.New(slog.DiscardHandler)),
	}
	s.rabbit.panics.Add(1)
	s.meters.deliveries.past = map[string]deliveryCounts{"broken": {retried: 1, panics: 1}}
	s.meters.begin(now)
	for _, d := range []time.Duration{0, time.Millisecond, 3 * time.Millisecond, time.Minute, time.Hour} {
		s.meters.poll.took.observe(d)
	}
	s.reporter.answers.count(nil)
	s.reporter.answers.count(nil)
	s.reporter.answers.count(errNoRoute)
	s.reporter.answers.count(errors.New("unforeseen"))
	s.meters.reloads.took(false, now)
	return s
}

// A scrapedFamily is one family of metrics as it was read back.
type scrapedFamily struct {
	help, kind string
	samples    map[string]float64 // by name and labels
}

var sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (\S+)$`)

// readMetrics parses the text format strictly: each family has help and type
// before its samples, which follow at once and are unique.
func readMetrics(t *testing.T, text string) map[string]*scrapedFamily {
	t.Helper()
	families := make(map[string]*scrapedFamily)
	var name string
	var now *scrapedFamily
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			var help string
			name, help, _ = strings.Cut(rest, " ")
			if families[name] != nil || help == "" {
				t.Errorf("family %s comes twice or has no help", name)
			}
			now = &scrapedFamily{help: help, samples: make(map[string]float64)}
			families[name] = now
			continue
		}
		if kind, ok := strings.CutPrefix(line, "# TYPE "+name+" "); ok && now.kind == "" && len(now.samples) == 0 {
			now.kind = kind
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil || now == nil || now.kind == "" {
			t.Fatalf("line %q", line)
		}
		base := m[1]
		if now.kind == "histogram" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				base = strings.TrimSuffix(base, suffix)
			}
		}
		value, err := strconv.ParseFloat(m[3], 64)
		key := m[1] + m[2]
		if _, twice := now.samples[key]; twice || base != name || err != nil {
			t.Errorf("sample %q of family %s", line, name)
		}
		now.samples[key] = value
	}
	return families
}

func TestMetrics(t *testing.T) {
	s := newTestScrape(t)
	text := string(s.text(time.Now()))
	families := readMetrics(t, text)
	for name, f := range families {
		if f.kind == "counter" != strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a %s", name, f.kind)
		}
	}
	const odd = `{service="odd",node="a\"b\\c\nd` + "\ufffd" + `",status=`
	for _, want := range []struct {
		family, sample string
		value          float64
	}{
		{"vigil_status", "vigil_status", 2},
		{"vigil_node_status", `vigil_node_status{service="web",node="core"}`, 0},
		{"vigil_node_status", `vigil_node_status{service="web",node="disk"}`, 1},
		{"vigil_replicas", `vigil_replicas{service="web",node="jobs",status="unchecked"}`, 1},
		{"vigil_replicas", `vigil_replicas{service="web",node="jobs",status="healthy"}`, 0},
		{"vigil_replicas", "vigil_replicas" + odd + `"dead"}`, 1},
		{"vigil_replicas", "vigil_replicas" + odd + `"unchecked"}`, 1},
		{"vigil_replicas", `vigil_replicas{service="odd",node="empty",status="healthy"}`, 0},
		{"vigil_connection_up", "vigil_connection_up", 1},
		{"vigil_probe_duration_seconds", `vigil_probe_duration_seconds_bucket{mode="poll",le="0.0001"}`, 1},
		{"vigil_probe_duration_seconds", `vigil_probe_duration_seconds_bucket{mode="poll",le="0.001"}`, 2},
		{"vigil_probe_duration_seconds", `vigil_probe_duration_seconds_bucket{mode="poll",le="0.005"}`, 3},
		{"vigil_probe_duration_seconds", `vigil_probe_duration_seconds_bucket{mode="poll",le="60"}`, 4},
		{"vigil_probe_duration_seconds", `vigil_probe_duration_seconds_bucket{mode="poll",le="+Inf"}`, 5},
		{"vigil_probe_duration_seconds", `vigil_probe_duration_seconds_count{mode="poll"}`, 5},
		{"vigil_probe_duration_seconds", `vigil_probe_duration_seconds_sum{mode="poll"}`, 3660.004},
		{"vigil_probe_duration_seconds", `vigil_probe_duration_seconds_count{mode="script"}`, 0},
		{"vigil_reports_total", `vigil_reports_total{code="200"}`, 2},
		{"vigil_reports_total", `vigil_reports_total{code="404"}`, 1},
		{"vigil_reports_total", `vigil_reports_total{code="500"}`, 1},
		{"vigil_config_reloads_total", `vigil_config_reloads_total{result="refused"}`, 1},
		{"vigil_config_last_reload_successful", "vigil_config_last_reload_successful", 0},
		{"vigil_panics_total", `vigil_panics_total{part="poll"}`, 0},
		{"vigil_panics_total", `vigil_panics_total{part="connectivity"}`, 0},
		{"vigil_panics_total", `vigil_panics_total{part="queue"}`, 1},
		{"vigil_panics_total", `vigil_panics_total{part="delivery"}`, 1},
		{"vigil_deliveries_total", `vigil_deliveries_total{channel="broken",result="delivered"}`, 0},
		{"vigil_delivery_queue", `vigil_delivery_queue{channel="broken"}`, 0},
		{"vigil_queue_length", `vigil_queue_length{queue="rabbitmq"}`, 0},
	} {
		f := families[want.family]
		if f == nil {
			t.Errorf("no family %s", want.family)
			continue
		}
		if got, ok := f.samples[want.sample]; !ok || got != want.value {
			t.Errorf("%s is %v (there: %v), want %v", want.sample, got, ok, want.value)
		}
	}
	for _, name := range []string{"go_goroutines", "go_memstats_heap_alloc_bytes", "vigil_build_info"} {
		if f := families[name]; f == nil || len(f.samples) != 1 {
			t.Errorf("no %s", name)
		}
	}
	if strings.Contains(text, "secret-host") || strings.Contains(text, "10.0.0.1") {
		t.Error("a replica's id is among the metrics")
	}
}

// The labels of samples are of a known set, and their number follows services
// and nodes: ten times the replicas make not one sample more.
func TestMetricsBounded(t *testing.T) {
	names := func(replicas int) (samples, labels []string) {
		s := newTestScrape(t)
		conf := apiConfig()
		now := time.Now()
		st := newState(conf, now)
		for i := range replicas {
			st.set(st.addReplica(st.services[0].nodes[1], fmt.Sprintf("secret-%d.internal", i)), status(i%3), "secret reason", now)
		}
		s.snaps.publish(st.snapshot(now))
		text := string(s.text(now))
		if strings.Contains(text, "secret") {
			t.Error("a replica's id or reason is among the metrics")
		}
		for _, f := range readMetrics(t, text) {
			for sample := range f.samples {
				samples = append(samples, sample)
				for _, m := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(sample, -1) {
					labels = append(labels, m[1])
				}
			}
		}
		slices.Sort(samples)
		slices.Sort(labels)
		return samples, slices.Compact(labels)
	}
	few, labels := names(10)
	many, _ := names(1000)
	if !slices.Equal(few, many) {
		t.Errorf("%d samples with 10 replicas, %d with 1000", len(few), len(many))
	}
	want := []string{"cause", "channel", "code", "commit", "goversion", "le", "mode", "node", "part", "queue", "result", "route", "service", "status", "version"}
	if !slices.Equal(labels, want) {
		t.Errorf("labels %q, want %q", labels, want)
	}
}

func TestMetricsAccess(t *testing.T) {
	s := newTestScrape(t)
	h := s.page.handler(map[string]http.Handler{"metrics": s})
	for _, test := range []struct {
		method, path, password string
		code                   int
	}{
		{"GET", "/metrics", "manage me", 200},
		{"HEAD", "/metrics/", "manage me", 200},
		{"GET", "/metrics/more", "manage me", 404},
		{"POST", "/metrics", "manage me", 405},
		{"GET", "/metrics", "tok/en+secret", 403},
		{"GET", "/metrics", "", 401},
	} {
		r := httptest.NewRequest(test.method, test.path, nil)
		if test.password != "" {
			r.SetBasicAuth("prometheus", test.password)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != test.code {
			t.Errorf("%s %s with %q: %d, want %d", test.method, test.path, test.password, w.Code, test.code)
		}
		if got := w.Header().Get("Content-Type"); test.code == 200 && got != "text/plain; version=0.0.4; charset=utf-8" {
			t.Errorf("%s %s is %q", test.method, test.path, got)
		}
		if (w.Body.Len() > 0) == (test.method == "HEAD") {
			t.Errorf("%s %s: %d bytes", test.method, test.path, w.Body.Len())
		}
	}

	r := httptest.NewRequest("GET", "/metrics", nil)
	r.SetBasicAuth("", "manage me")
	r.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	zr, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	requests := readMetrics(t, string(text))["vigil_http_requests_total"].samples
	if got := requests[`vigil_http_requests_total{route="metrics"}`]; got != 7 {
		t.Errorf("%v requests counted, want 7", got)
	}
}

// What became of alerts is counted over all dispatchers, also those of configs
// that are no longer in force.
func TestDeliveryMeter(t *testing.T) {
	fail := errors.New("no")
	send := func(channel string, results ...error) *notify.Dispatcher {
		i := 0
		d := notify.NewDispatcher([]notify.Target{{Key: channel, Name: channel, Channel: channel, Notifier: notifierFunc(
			func(context.Context, notify.Alert) error { i++; return results[i-1] })}}, nil, slog.New(slog.DiscardHandler))
		return d
	}
	run := func(d *notify.Dispatcher, alerts int) {
		c := make(chan notify.Alert, alerts)
		for i := range alerts {
			c <- notify.Alert{ID: fmt.Sprint(i), Kind: notify.Changed}
		}
		close(c)
		if err := d.Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	var m deliveryMeter
	first := send("slack", nil, nil)
	second := send("slack", nil, &notify.FinalError{Err: fail})
	third := send("email", fail, fail)
	m.begin(first)
	run(first, 2)
	m.begin(second)
	m.end(first)
	faulty := send("xmpp") // it has no result to give
	m.begin(third)
	m.begin(faulty)
	run(faulty, 1)
	m.end(faulty)
	run(second, 2)
	run(third, 1)
	m.end(second)
	got := m.read()
	want := map[string]deliveryCounts{
		"slack": {delivered: 3, refused: 1},
		"email": {retried: 1, queued: 1},
		"xmpp":  {retried: 1, panics: 1},
	}
	for _, channel := range []string{"email", "xmpp"} {
		if c := got[channel]; c.retried == 2 { // it is tried once more as the dispatcher ends
			c.retried, c.panics = 1, c.panics/2
			got[channel] = c
		}
	}
	for channel, c := range want {
		if got[channel] != c {
			t.Errorf("%s: %+v, want %+v", channel, got[channel], c)
		}
	}
	if len(got) != len(want) || len(m.live) != 1 || !slices.Contains(m.live, third) {
		t.Errorf("%+v, %d at work", got, len(m.live))
	}
}

type notifierFunc func(context.Context, notify.Alert) error

func (f notifierFunc) Notify(ctx context.Context, a notify.Alert) error { return f(ctx, a) }

func FuzzMetricLabel(f *testing.F) {
	for _, s := range []string{"", "plain", `"`, `\`, "\n", "\xff", "ü", `a\nb`, "\r\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, label string) {
		x := new(metricText)
		x.family("m", "gauge", "Help.")
		x.sample(1, "label", label)
		line := strings.TrimPrefix(string(x.b), "# HELP m Help.\n# TYPE m gauge\n")
		if !sampleLine.MatchString(strings.TrimSuffix(line, "\n")) {
			t.Errorf("%q becomes %q", label, line)
		}
		value := strings.TrimSuffix(strings.TrimPrefix(line, `m{label="`), "\"} 1\n")
		back := strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n").Replace(value)
		if back != strings.ToValidUTF8(label, "\ufffd") {
			t.Errorf("%q is read back as %q", label, back)
		}
	})
}

// BenchmarkScrape shows that a scrape of very many nodes and replicas is over
// soon.
func BenchmarkScrape(b *testing.B) {
	s := newTestScrape(b)
	now := time.Now()
	s.snaps.publish(newState(crowd(100_000, modePoll), now).snapshot(now))
	for b.Loop() {
		b.SetBytes(int64(len(s.text(now))))
	}
}

// Each metric has its row in PROTOCOL.md.
func TestMetricsAreDocumented(t *testing.T) {
	protocol, found := read(t, "PROTOCOL.md"), 0
	for _, m := range regexp.MustCompile(`\.family\("(\w+)"`).FindAllStringSubmatch(read(t, "page_metrics.go"), -1) {
		if found++; !strings.Contains(protocol, "`"+m[1]+"`") {
			t.Errorf("PROTOCOL.md does not describe %s", m[1])
		}
	}
	if found < 20 {
		t.Errorf("only %d metrics are found", found)
	}
}
