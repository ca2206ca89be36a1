package main

import (
	"bytes"
	"compress/gzip"
	"maps"
	"net/http"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A scrape serves /metrics for Prometheus, with the Manager token: the state of
// what is monitored and of the program itself. Its labels are services and
// nodes by their ids, never replicas, so that their number is bounded. It only
// reads counters; nothing waits for it.
type scrape struct {
	snaps      *snapshots
	throttle   *throttle
	guard      *guard // of all requests
	meters     *meters
	page       *page
	reporter   *reporterAPI
	aggregator *aggregator
	store      *store
	events     <-chan event
	rabbit     *rabbit
	deadman    *deadman // may be nil
	mirror     *mirror  // may be nil
}

var scrapeType = []string{"text/plain; version=0.0.4; charset=utf-8"}

func (s *scrape) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := s.throttle.judge(r, s.admit(r)); err != nil {
		respond(w, nil, err)
		return
	}
	h := w.Header()
	h["Content-Type"] = scrapeType
	h["X-Content-Type-Options"] = nosniff
	h["Cache-Control"] = noStore
	h["Vary"] = varyValue
	if r.Method == http.MethodHead {
		return
	}
	text := s.text(time.Now())
	if len(text) < packAbove || !acceptsGzip(r.Header["Accept-Encoding"]) {
		h.Set("Content-Length", strconv.Itoa(len(text)))
		w.Write(text)
		return
	}
	h["Content-Encoding"] = gzipValue
	zw, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level exists
	zw.Write(text)
	zw.Close()
}

// admit returns nil or the refusal of a request.
func (s *scrape) admit(r *http.Request) error {
	path, err := segments(r.URL)
	if err != nil {
		return err
	}
	if len(path) > 1 {
		return errNoRoute
	}
	if err := allow(r, readMethod[0]); err != nil {
		return err
	}
	g := newTokenCheck("Manager", "server.manager_token", s.snaps.load().conf.Server.ManagerToken)
	return g.authorize(r)
}

// text returns all metrics.
func (s *scrape) text(now time.Time) []byte {
	x := new(metricText)
	snap := s.snaps.load()
	x.monitored(snap)
	s.checks(x)
	s.requests(x)
	s.alerts(x)
	s.calls(x, snap)
	s.copies(x, snap)
	s.heartbeats(x, snap)
	s.stored(x, snap, now)
	s.program(x)
	x.process()
	x.runtime()
	return x.b
}

// monitored writes what the page shows.
func (x *metricText) monitored(snap *snapshot) {
	x.metric("vigil_status", "gauge", "Status of the page: 0 healthy, 1 sick, 2 dead.", float64(snap.status))
	x.family("vigil_node_status", "gauge", "Status of a node: 0 healthy, 1 sick, 2 dead.")
	for sv, nv := range snap.nodes() {
		x.sample(float64(nv.status), "service", sv.conf.ID, "node", nv.conf.ID)
	}
	x.family("vigil_replicas", "gauge", "Replicas of a node by status. Unchecked ones were neither checked nor heard of yet.")
	for sv, nv := range snap.nodes() {
		var n tally
		unchecked := 0
		for _, r := range nv.replicas.all() {
			if r.state() == stateWait {
				unchecked++
			} else {
				n[r.status]++
			}
		}
		for s, count := range n {
			x.sample(float64(count), "service", sv.conf.ID, "node", nv.conf.ID, "status", statusNames[s])
		}
		x.sample(float64(unchecked), "service", sv.conf.ID, "node", nv.conf.ID, "status", "unchecked")
	}
	x.metric("vigil_connection_up", "gauge", "Whether the monitor's own connection works, as far as it is known.", oneIf(snap.connectionDown.IsZero()))
	lasting := 0
	for i := range snap.incidents {
		if snap.incidents[i].end.IsZero() {
			lasting++
		}
	}
	x.metric("vigil_incidents", "gauge", "Incidents that last.", float64(lasting))
}

// checks writes how the probes keep up.
func (s *scrape) checks(x *metricText) {
	pools := []struct {
		mode  string
		meter *poolMeter
	}{{"poll", &s.meters.poll}, {"script", &s.meters.script}}
	x.family("vigil_probe_duration_seconds", "histogram", "Time that checks took, each try on its own.")
	for _, p := range pools {
		x.histogram(&p.meter.took, "mode", p.mode)
	}
	x.family("vigil_probe_overruns_total", "counter", "Checks that missed their turn.")
	for _, p := range pools {
		x.sample(float64(p.meter.overruns.Load()), "mode", p.mode)
	}
	x.family("vigil_certificate_expiry_seconds", "gauge", "Time until the first certificate of a node's targets ends, negative when it has.")
	now, ends := time.Now(), s.meters.poll.certs.byNode()
	for _, key := range slices.SortedFunc(maps.Keys(ends), nodeKey.compare) {
		x.sample(ends[key].Sub(now).Seconds(), "service", key.service, "node", key.node)
	}
	x.family("vigil_probe_inconclusive_total", "counter", "Checks that do not count because the monitor's own connection was down, it did not run for a while, or its machine was short of something.")
	for i, name := range causeNames {
		x.sample(float64(s.meters.inconclusive[i].Load()), "cause", name)
	}
	x.family("vigil_probe_parked", "gauge", "Checks that hang and go on without a slot.")
	for _, p := range pools {
		x.sample(float64(p.meter.parked.Load()), "mode", p.mode)
	}
}

// requests writes what visitors and reporters ask for.
func (s *scrape) requests(x *metricText) {
	x.family("vigil_http_requests_total", "counter", "Requests by route.")
	for i, name := range routeNames {
		x.sample(float64(s.page.routes[i].Load()), "route", name)
	}
	x.family("vigil_reports_total", "counter", "Requests to the Reporter API by the status code of the answer.")
	for code := range s.reporter.answers {
		if n := s.reporter.answers[code].Load(); n > 0 || code == http.StatusOK {
			x.sample(float64(n), "code", strconv.Itoa(code))
		}
	}
	x.metric("vigil_http_unread_dropped_total", "counter", "Connections closed because too much waited for clients that do not read.", float64(s.guard.unread.dropped.Load()))
	x.metric("vigil_wrong_tokens_total", "counter", "Requests with a wrong token, to all that take one.", float64(s.throttle.wrong.Load()))
}

// calls writes whether the dead-man's switch calls.
func (s *scrape) calls(x *metricText, snap *snapshot) {
	if snap.conf.Deadman == nil || s.deadman == nil {
		return
	}
	x.metric("vigil_deadman_held", "gauge", "Whether calls of the dead-man's switch are held back; the log says why.", oneIf(s.deadman.holding.Load()))
	x.metric("vigil_deadman_calls_total", "counter", "Calls of the dead-man's switch that were accepted.", float64(s.deadman.calls.Load()))
}

// copies writes how the copy of the page for other servers fares.
func (s *scrape) copies(x *metricText, snap *snapshot) {
	if snap.conf.Mirror == nil || s.mirror == nil {
		return
	}
	steps := []struct {
		name    string
		trouble *trouble
	}{{"write", &s.mirror.copying}, {"command", &s.mirror.sending}}
	if len(snap.conf.Mirror.Command) == 0 {
		steps = steps[:1]
	}
	x.family("vigil_mirror_last_success_seconds", "gauge", "When the copy of the page was last written, and when its command last succeeded, in Unix time; 0: not yet.")
	for _, step := range steps {
		x.sample(float64(step.trouble.success.Load()), "step", step.name)
	}
	x.family("vigil_mirror_failures_total", "counter", "Copies of the page that could not be written, and runs of the command that failed.")
	for _, step := range steps {
		x.sample(float64(step.trouble.faults.Load()), "step", step.name)
	}
}

// heartbeats writes when jobs last reported.
func (s *scrape) heartbeats(x *metricText, snap *snapshot) {
	started := false
	for sv, nv := range snap.nodes() {
		if nv.conf.Mode != modeHeartbeat || nv.replicas.at(0).job == nil || nv.replicas.at(0).job.last.IsZero() {
			continue
		}
		if !started {
			x.family("vigil_heartbeat_last_seconds", "gauge", "When a heartbeat's job last ended a run, in Unix time.")
			started = true
		}
		x.sample(float64(nv.replicas.at(0).job.last.Unix()), "service", sv.conf.ID, "node", nv.conf.ID)
	}
}

// alerts writes what became of alerts.
func (s *scrape) alerts(x *metricText) {
	channels := s.meters.deliveries.read()
	names := slices.Sorted(maps.Keys(channels))
	x.family("vigil_deliveries_total", "counter",
		"Alerts by what became of them, one for each recipient. Those retried are tries that failed and were to be repeated.")
	for _, name := range names {
		c := channels[name]
		for _, result := range [...]struct {
			name  string
			count uint64
		}{{"delivered", c.delivered}, {"retried", c.retried}, {"refused", c.refused}, {"given_up", c.givenUp}, {"merged", c.merged}} {
			x.sample(float64(result.count), "channel", name, "result", result.name)
		}
	}
	x.family("vigil_delivery_queue", "gauge", "Alerts that wait to be delivered, those under way included.")
	for _, name := range names {
		x.sample(float64(channels[name].queued), "channel", name)
	}
}

// stored writes how the state reaches the page and the disk.
func (s *scrape) stored(x *metricText, snap *snapshot, now time.Time) {
	x.family("vigil_snapshot_duration_seconds", "histogram", "Time that snapshots of the state took.")
	x.histogram(&s.aggregator.took)
	x.metric("vigil_snapshot_age_seconds", "gauge", "Time since the newest snapshot; one is taken when something changed.", now.Sub(snap.at).Seconds())
	x.family("vigil_render_duration_seconds", "histogram", "Time that renderings of the page took.")
	x.histogram(&s.page.took)
	x.family("vigil_alert_delivery_seconds", "histogram", "Time from an alert until a recipient accepted it.")
	x.histogram(&s.store.meter.delivery)
	x.family("vigil_journal_duration_seconds", "histogram", "Time that it took to write to the disk and sync.")
	x.histogram(&s.store.meter.took)
	x.metric("vigil_journal_failures_total", "counter", "Writes to the disk that failed.", float64(s.store.meter.faults.Load()))
	if snap.conf.Storage.Path != "" {
		x.metric("vigil_storage_writable", "gauge", "Whether the storage folder takes what must survive.", oneIf(!s.store.meter.failing.Load()))
	}
	x.family("vigil_queue_length", "gauge", "What waits within the program: events for the aggregator, alerts for the disk, records for the disk, queues to be asked for.")
	x.sample(float64(len(s.events)), "queue", "events")
	x.sample(float64(s.aggregator.queued.Load()), "queue", "alerts")
	x.sample(float64(s.store.meter.waiting.Load()), "queue", "records")
	x.sample(float64(len(s.rabbit.asks)), "queue", "rabbitmq")
}

// program writes about the program as a whole.
func (s *scrape) program(x *metricText) {
	m := s.meters
	x.family("vigil_config_reloads_total", "counter", "Reloads of the config since the start.")
	x.sample(float64(m.reloads.good.Load()), "result", "good")
	x.sample(float64(m.reloads.bad.Load()), "result", "refused")
	x.metric("vigil_config_last_reload_successful", "gauge", "Whether the config in force is the one that was read last.", oneIf(!m.reloads.refused.Load()))
	x.metric("vigil_config_last_reload_success_timestamp_seconds", "gauge", "When the config in force was read.", float64(m.reloads.last.Load()))
	x.family("vigil_panics_total", "counter", "Faults that were contained, by the part of the program.")
	x.sample(float64(m.poll.panics.Load()), "part", "poll")
	x.sample(float64(m.script.panics.Load()), "part", "script")
	x.sample(float64(m.connectivityPanics.Load()), "part", "connectivity")
	x.sample(float64(s.rabbit.panics.Load()), "part", "queue")
	x.sample(float64(m.deliveries.panics()), "part", "delivery")
	x.sample(float64(s.aggregator.panics.Load()), "part", "event")
	x.sample(float64(s.guard.panics.Load()), "part", "request")
	x.sample(float64(s.page.panics.Load()), "part", "page")
	commit, _ := buildCommit()
	x.family("vigil_build_info", "gauge", "What the program was built from.")
	x.sample(1, "version", version, "commit", commit, "goversion", runtime.Version())
	x.metric("process_start_time_seconds", "gauge", "When the program started, in Unix seconds.", float64(m.started.UnixNano())/1e9)
}

// runtime writes about the Go runtime, under the usual names of Go programs in
// Prometheus, where there are any.
func (x *metricText) runtime() {
	families := []struct{ name, kind, help, source string }{
		{"go_goroutines", "gauge", "Goroutines that exist.", "/sched/goroutines:goroutines"},
		{"go_gomaxprocs", "gauge", "Threads that run Go code at once.", "/sched/gomaxprocs:threads"},
		{"go_memstats_heap_alloc_bytes", "gauge", "Memory of objects, dead ones that were not swept included.", "/memory/classes/heap/objects:bytes"},
		{"go_memstats_heap_objects", "gauge", "Objects in the heap.", "/gc/heap/objects:objects"},
		{"go_memstats_alloc_bytes_total", "counter", "Memory allocated for objects since the start.", "/gc/heap/allocs:bytes"},
		{"go_memstats_next_gc_bytes", "gauge", "Size of the heap at which the next collection ends.", "/gc/heap/goal:bytes"},
		{"go_memstats_sys_bytes", "gauge", "Memory obtained from the system.", "/memory/classes/total:bytes"},
		{"go_memstats_heap_released_bytes", "gauge", "Of that, memory given back.", "/memory/classes/heap/released:bytes"},
		{"go_gc_cycles_total", "counter", "Garbage collections.", "/gc/cycles/total:gc-cycles"},
		{"go_gc_cpu_seconds_total", "counter", "Processor time of garbage collections, by the runtime's estimate.", "/cpu/classes/gc/total:cpu-seconds"},
	}
	samples := make([]metrics.Sample, len(families))
	for i := range families {
		samples[i].Name = families[i].source
	}
	metrics.Read(samples)
	for i, f := range families {
		switch v := samples[i].Value; v.Kind() {
		case metrics.KindUint64:
			x.metric(f.name, f.kind, f.help, float64(v.Uint64()))
		case metrics.KindFloat64:
			x.metric(f.name, f.kind, f.help, v.Float64())
		}
	}
}

// oneIf is a condition as a sample.
func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// A metricText is written in the text format of Prometheus, version 0.0.4.
// https://prometheus.io/docs/instrumenting/exposition_formats/
type metricText struct {
	b    []byte
	name string // of the family being written
}

// family begins a family of samples; all of its samples follow at once.
func (x *metricText) family(name, kind, help string) {
	x.name = name
	x.b = append(x.b, "# HELP "+name+" "+help+"\n# TYPE "+name+" "+kind+"\n"...)
}

// sample adds a sample of the family. Labels are names and values by turns.
func (x *metricText) sample(value float64, labels ...string) { x.add("", value, labels...) }

func (x *metricText) add(suffix string, value float64, labels ...string) {
	x.b = append(x.b, x.name...)
	x.b = append(x.b, suffix...)
	for i := 0; i < len(labels); i += 2 {
		if i == 0 {
			x.b = append(x.b, '{')
		} else {
			x.b = append(x.b, ',')
		}
		x.b = append(x.b, labels[i]...)
		x.b = append(x.b, `="`...)
		x.b = appendLabel(x.b, labels[i+1])
		x.b = append(x.b, '"')
	}
	if len(labels) > 0 {
		x.b = append(x.b, '}')
	}
	x.b = append(x.b, ' ')
	x.b = strconv.AppendFloat(x.b, value, 'g', -1, 64)
	x.b = append(x.b, '\n')
}

// metric adds a family of one sample.
func (x *metricText) metric(name, kind, help string, value float64) {
	x.family(name, kind, help)
	x.sample(value)
}

// histogram adds the samples of h, whose buckets are in seconds. What is
// counted meanwhile is in all of them or in none.
func (x *metricText) histogram(h *histogram, labels ...string) {
	total := uint64(0)
	for i := range h.counts {
		total += h.counts[i].Load()
		bound := "+Inf"
		if i < len(meterBounds) {
			bound = strconv.FormatFloat(meterBounds[i].Seconds(), 'g', -1, 64)
		}
		x.add("_bucket", float64(total), append(labels[:len(labels):len(labels)], "le", bound)...)
	}
	x.add("_sum", float64(h.sum.Load())/1e9, labels...)
	x.add("_count", float64(total), labels...)
}

// appendLabel adds a label's value, escaped. It has to be valid UTF-8.
func appendLabel(b []byte, value string) []byte {
	value = strings.ToValidUTF8(value, "\ufffd")
	for i := range len(value) {
		switch c := value[i]; c {
		case '\\', '"':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		default:
			b = append(b, c)
		}
	}
	return b
}

// process writes about the process under the usual names in Prometheus, on
// systems with Linux's /proc.
func (x *metricText) process() {
	// Fields of proc_pid_stat(5), from the third one on: what is before may
	// hold spaces.
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	field := func(n int) float64 {
		if n-3 >= len(fields) {
			return 0
		}
		v, _ := strconv.ParseFloat(fields[n-3], 64) // numbers, all of them
		return v
	}
	const ticks = 100 // a second, on all of Linux: USER_HZ
	x.metric("process_cpu_seconds_total", "counter", "Processor time of the program.", (field(14)+field(15))/ticks)
	x.metric("process_virtual_memory_bytes", "gauge", "Addresses that are mapped.", field(23))
	x.metric("process_resident_memory_bytes", "gauge", "Memory in use.", field(24)*float64(os.Getpagesize()))
	if files, err := os.ReadDir("/proc/self/fd"); err == nil {
		x.metric("process_open_fds", "gauge", "Files that are open.", float64(len(files)))
	}
	limits, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(limits)) {
		rest, ok := strings.CutPrefix(line, "Max open files")
		if !ok {
			continue
		}
		if most, err := strconv.ParseFloat(strings.Fields(rest)[0], 64); err == nil {
			x.metric("process_max_fds", "gauge", "Files that may be open.", most)
		}
	}
}

// Routes as requests are counted by them.
const (
	routePage = iota
	routeStatus
	routeAsset
	routeReporter
	routeManager
	routeMetrics
	routeMCP
	routeOther
	routeCount
)

var routeNames = [routeCount]string{"page", "status", "asset", "reporter", "manager", "metrics", "mcp", "other"}

// routeOf returns the route for the first segment of a path.
func routeOf(first string) int {
	switch first {
	case "status", "badge", "feed", "feed.atom", "embed":
		return routeStatus
	case "assets", "favicon.ico", "robots.txt":
		return routeAsset
	case "reporter", "ping":
		return routeReporter
	case "manager":
		return routeManager
	case "metrics":
		return routeMetrics
	case "mcp":
		return routeMCP
	}
	return routeOther
}

// answerCounts counts answers by their status code.
type answerCounts [600]atomic.Uint64

// count counts the answer that respond makes of err.
func (c *answerCounts) count(err error) {
	code := http.StatusOK
	if no := refusalOf(err); no != nil {
		code = no.code
	}
	c[code].Add(1)
}
