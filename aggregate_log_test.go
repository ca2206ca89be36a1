package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// newTestLog returns a log of events in a folder of its own.
func newTestLog(t *testing.T, out *bytes.Buffer) *eventLog {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	log := slog.New(slog.NewTextHandler(out, nil))
	return &eventLog{root: root, log: log, in: make(chan *logEvent, eventQueue), readers: make(chan struct{}, eventReaders)}
}

// turned is a node's change.
func turned(at time.Time, node, from, to, reason string) logEvent {
	return logEvent{Time: at, Kind: "transition", Service: "web", Node: node, From: from, To: to, Reason: reason}
}

// nodesSince reads the log back.
func nodesSince(t *testing.T, l *eventLog, since time.Time) (nodes []string, damaged int) {
	t.Helper()
	damaged, err := l.read(t.Context(), since, func(e logEvent) bool {
		nodes = append(nodes, e.Node)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return nodes, damaged
}

func TestEventLog(t *testing.T) {
	var out bytes.Buffer
	l := newTestLog(t, &out)
	begin := time.Date(2026, 11, 26, 23, 59, 58, 0, time.UTC)
	l.write([]logEvent{turned(begin, "a", "healthy", "dead", "HTTP 503"), turned(begin.Add(time.Second), "b", "unknown", "healthy", "")})
	l.write([]logEvent{turned(begin.Add(3*time.Second), "c", "healthy", "sick", "slow: 6 s"), {Time: begin.Add(4 * time.Second), Kind: "stop"}})
	l.close()
	if got, damaged := nodesSince(t, l, time.Time{}); !slices.Equal(got, []string{"a", "b", "c", ""}) || damaged > 0 {
		t.Errorf("read %q, %d damaged", got, damaged)
	}
	if got, _ := nodesSince(t, l, begin.Add(time.Second)); !slices.Equal(got, []string{"b", "c", ""}) {
		t.Errorf("read %q since the second event", got)
	}
	// The day before is compressed, and the program's log has each change.
	names, err := filepath.Glob(filepath.Join(l.root.Name(), "*"))
	if err != nil || len(names) != 2 || filepath.Base(names[0]) != "2026-11-26.ndjson.gz" || filepath.Base(names[1]) != "2026-11-27.ndjson" {
		t.Errorf("files %q, %v", names, err)
	}
	for _, want := range []string{
		`level=INFO msg="node changed" node=web:a from=healthy to=dead reason="HTTP 503"`,
		`level=INFO msg="node changed" node=web:c from=healthy to=sick reason="slow: 6 s"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is missing in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "web:b") {
		t.Errorf("a first check that is well is logged:\n%s", &out)
	}
}

// An event that comes late, or after the clock was set back, finds its day again.
func TestEventLogGoesBack(t *testing.T) {
	l := newTestLog(t, new(bytes.Buffer))
	midnight := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
	for i, at := range []time.Duration{-time.Hour, time.Minute, -time.Second, 2 * time.Minute, -20 * time.Hour, 3 * time.Minute} {
		l.write([]logEvent{turned(midnight.Add(at), string(rune('a'+i)), "healthy", "dead", "")})
	}
	l.write([]logEvent{turned(midnight.Add(4*time.Minute), "h", "", "", ""), turned(midnight.Add(-time.Minute), "g", "", "", "")})
	l.close()
	if got, damaged := nodesSince(t, l, time.Time{}); strings.Join(got, "") != "acegbdfh" || damaged > 0 {
		t.Errorf("read %q, %d damaged", got, damaged)
	}
}

// What a kill or another program left in a file costs no more than itself.
func TestEventLogDamage(t *testing.T) {
	l := newTestLog(t, new(bytes.Buffer))
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	l.write([]logEvent{turned(now, "a", "healthy", "dead", "")})
	l.close()
	file, err := l.root.OpenFile("2026-11-26.ndjson", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("\x00", 3*maxEventLine) // what a power cut may leave
	if _, err := file.WriteString("\n\x00\n{}\n" + long + "\n{\"time\":\"2026-11-26T12:00:01Z\",\"kind\":\"tran"); err != nil {
		t.Fatal(err)
	}
	file.Close()
	for name, text := range map[string]string{"2026-11-25.ndjson.gz": "no gzip", "2026-11-24.ndjson": "{\"vigil_events\":99}\n", "notes.txt": "mine"} {
		if err := l.root.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.write([]logEvent{turned(now.Add(time.Minute), "b", "dead", "healthy", "")})
	l.file.Close() // so that what comes next cannot be written
	l.write([]logEvent{turned(now.Add(2*time.Minute), "c", "healthy", "dead", "")})
	l.write([]logEvent{turned(now.Add(3*time.Minute), "d", "dead", "healthy", "")})
	if got, damaged := nodesSince(t, l, time.Time{}); !slices.Equal(got, []string{"a", "b", "d"}) || damaged != 6 || l.dropped.Load() != 1 {
		t.Errorf("read %q, %d damaged, %d dropped, want a, b, d, 6 and 1", got, damaged, l.dropped.Load())
	}
	if _, err := l.root.Stat("notes.txt"); err != nil {
		t.Error(err)
	}
}

// Links among the files are not followed, wherever they lead, and keep no other day
// from being written.
func TestEventLogPlantedLinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege there")
	}
	out := new(bytes.Buffer)
	l := newTestLog(t, out)
	outside := filepath.Join(t.TempDir(), "victim")
	inside := filepath.Join(l.root.Name(), "notes.txt")
	for _, victim := range []string{outside, inside} {
		if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	day := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	l.write([]logEvent{turned(day, "a", "healthy", "dead", "")})
	for name, victim := range map[string]string{
		"2026-11-25.ndjson": "notes.txt", "2026-11-26.ndjson.tmp": "notes.txt", "2026-11-27.ndjson": outside,
	} {
		if err := os.Symlink(victim, filepath.Join(l.root.Name(), name)); err != nil {
			t.Fatal(err)
		}
	}
	l.write([]logEvent{turned(day.AddDate(0, 0, 1), "b", "healthy", "dead", "")})
	if !strings.Contains(out.String(), "log of events not written") {
		t.Errorf("the link is not reported: %s", out)
	}
	l.write([]logEvent{turned(day.AddDate(0, 0, 2), "c", "healthy", "dead", "")})
	l.close()
	if got, damaged := nodesSince(t, l, time.Time{}); !slices.Equal(got, []string{"a", "c"}) || damaged > 0 {
		t.Errorf("read %q, %d damaged", got, damaged)
	}
	if _, err := l.root.Stat("2026-11-26.ndjson.gz"); err != nil {
		t.Errorf("the day before is not compressed: %v", err)
	}
	for _, victim := range []string{outside, inside} {
		if text, err := os.ReadFile(victim); err != nil || string(text) != "precious" {
			t.Errorf("%s is %q, %v", victim, text, err)
		}
	}
}

// Days that are too old, and those over the limit of all, go.
func TestEventLogLimits(t *testing.T) {
	l := newTestLog(t, new(bytes.Buffer))
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for days, size := range map[int]int64{1: eventBytes - eventDayBytes - 100, 2: 200, 89: 10, 90: 10} {
		name := now.AddDate(0, 0, -days).Format(time.DateOnly) + ".ndjson.gz"
		if err := l.root.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(l.root.Name(), name), size); err != nil {
			t.Fatal(err)
		}
	}
	l.write([]logEvent{turned(now, "a", "healthy", "dead", "")})
	days, err := l.days()
	if err != nil || len(days) != 2 || days[0].day != "2026-11-25" {
		t.Errorf("left are %q, %v", days, err)
	}
	l.size = eventDayBytes
	l.write([]logEvent{turned(now, "b", "healthy", "dead", "")})
	if got, _ := nodesSince(t, l, now); !slices.Equal(got, []string{"a"}) || l.dropped.Load() != 1 {
		t.Errorf("a full day has %q, %d dropped", got, l.dropped.Load())
	}
}

// Replicas of a node that has several are in the log, in its node's words, and
// leave room for everything else.
func TestEventLogReplicas(t *testing.T) {
	p := newPlay(alertConfig(Alerting{}))
	l := newTestLog(t, new(bytes.Buffer))
	p.st.eventLog = l
	lines := func() (all []string) {
		for len(l.in) > 0 {
			e := <-l.in
			all = append(all, strings.TrimSpace(e.Kind+" "+e.Service+":"+e.Node+" "+e.Replica+" "+e.From+"-"+e.To+" "+e.Reason+e.Result+" "+e.Text))
		}
		return all
	}
	ns := p.st.services[0].nodes[0]
	for len(ns.replicas) < 2 {
		p.st.addReplica(ns, "second")
	}
	for _, r := range ns.replicas {
		p.st.set(r, healthy, "", p.now)
	}
	lines()
	r := ns.replicas[1]
	p.st.set(r, dead, "HTTP 503", p.now)
	p.st.set(r, dead, "HTTP 502", p.now)
	name := ns.service.conf.ID + ":" + ns.conf.ID
	want := "replica " + name + " " + r.id + " healthy-dead HTTP 503"
	if got := lines(); !slices.Contains(got, want) || strings.Contains(strings.Join(got, "\n"), "502") {
		t.Errorf("got %q, want %q", got, want)
	}
	// During a maintenance nothing is noted but that.
	p.st.plan(&quietTime{id: "m", title: "Work", selectors: selectors{"*"}, start: p.now, end: p.now.Add(time.Hour)}, p.now, make(chan error, 1))
	p.st.set(r, healthy, "", p.now)
	if got := lines(); len(got) == 0 || got[0] != "maintenance :  - began Work" || slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "replica") }) {
		t.Errorf("got %q", got)
	}
	p.st.replan(p.now.Add(2 * time.Hour))
	if got := lines(); len(got) == 0 || got[0] != "maintenance :  - ended Work" {
		t.Errorf("got %q", got)
	}

	for range eventQueue {
		l.add(logEvent{Kind: "replica"})
	}
	if len(l.in) > eventQueue/2+1 {
		t.Errorf("replicas have %d places of %d", len(l.in), eventQueue)
	}
	lines()
	now := time.Now()
	l.write([]logEvent{turned(now, "a", "healthy", "dead", "")})
	l.size = eventDayBytes/2 + 1
	l.write([]logEvent{{Time: now, Kind: "replica", Service: "web", Node: "b"}, turned(now, "c", "healthy", "dead", ""), {Time: now, Kind: "replica", Service: "web", Node: "d"}})
	if got, damaged := nodesSince(t, l, now.Add(-time.Second)); !slices.Equal(got, []string{"a", "c"}) || damaged > 0 {
		t.Errorf("a day that is half full has %q", got)
	}
}

// Nobody waits for a log that is not written.
func TestEventLogNeverWaits(t *testing.T) {
	l := newTestLog(t, new(bytes.Buffer))
	for range eventQueue + 10 {
		l.add(logEvent{Time: time.Now(), Kind: "stop"})
	}
	if n := l.dropped.Load(); n != 10 {
		t.Errorf("%d dropped, want 10", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.run(ctx); err != nil || len(l.in) > 0 {
		t.Errorf("%d are left at the end: %v", len(l.in), err)
	}
	var none *eventLog
	none.add(logEvent{})
	if _, err := none.read(t.Context(), time.Time{}, nil); !errors.Is(err, errNoEvents) {
		t.Error(err)
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add("{\"vigil_events\":1}\n{\"time\":\"2026-11-26T12:00:01Z\",\"kind\":\"stop\"}\n")
	f.Add("{\"kind\":1}\n\n[]")
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		damaged, more, err := readEvents(t.Context(), strings.NewReader(text), time.Time{}, func(e logEvent) bool {
			if e.Kind == "" || e.Time.IsZero() {
				t.Errorf("yields %+v", e)
			}
			n++
			return true
		})
		if lines := strings.Count(text, "\n") + 1; n+damaged > lines || !more && err == nil {
			t.Errorf("%d events and %d damaged of %d lines, %v, %v", n, damaged, lines, more, err)
		}
	})
}

func BenchmarkEventLog(b *testing.B) {
	l := &eventLog{in: make(chan *logEvent, eventQueue)}
	e := turned(time.Now(), "a", "healthy", "dead", "HTTP 503")
	for i := range b.N {
		l.add(e)
		if i%eventQueue == eventQueue-1 {
			for len(l.in) > 0 {
				<-l.in
			}
		}
	}
}

// Each kind of event has its row in PROTOCOL.md.
func TestEventsAreDocumented(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	protocol, found := read(t, "PROTOCOL.md"), 0
	for _, name := range sources {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, m := range regexp.MustCompile(`logEvent\{.*Kind: "(\w+)"`).FindAllStringSubmatch(read(t, name), -1) {
			if found++; !strings.Contains(protocol, "`"+m[1]+"`") {
				t.Errorf("PROTOCOL.md does not describe the event %s of %s", m[1], name)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d events are found", found)
	}
}
