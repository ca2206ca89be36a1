package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vigil/notify"
)

// A life is a play with restarts: what the state keeps goes into lines, and
// the next one is restored from them.
type life struct {
	*play
	t    *testing.T
	conf *Config
	disk *disk
}

func newLife(t *testing.T, conf *Config) *life {
	l := &life{play: newPlay(conf), t: t, conf: conf}
	l.st.keepFor([]notify.Target{{Key: "slack", Channel: "slack"}, {Key: "pager", Channel: "slack", RemindersOnly: true}})
	l.disk, _ = openDisk(t, newMemFolder())
	return l
}

// save stores what is kept by now.
func (l *life) save() {
	l.t.Helper()
	b, any := l.st.pendingBatch(l.now, false)
	if !any {
		return
	}
	if out := l.disk.do(job{records: b.records, whole: b.whole}); out.err != nil || out.whole != nil || out.dropped != nil {
		l.t.Fatalf("%+v", out)
	}
}

// restart kills the program and starts it again after a while.
func (l *life) restart(down time.Duration) *restored {
	l.t.Helper()
	l.now = l.now.Add(down)
	disk, im := openDisk(l.t, l.disk.dir)
	im.rewind(l.now)
	st := newState(l.conf, l.now)
	st.keepFor(l.st.ledger.targets)
	st.restore(im, l.now)
	l.st, l.disk, l.replicas = st, disk, replicas(l.conf.Services)
	return im
}

// until lets time pass and keeps alerts as the aggregator does.
func (l *life) until(at time.Duration) {
	l.t.Helper()
	end := l.begin.Add(at)
	for {
		l.st.expire(l.now)
		for a, ok := l.st.alerter.due(l.st, l.now); ok; a, ok = l.st.alerter.due(l.st, l.now) {
			l.st.keepAlert(a)
			l.alerts = append(l.alerts, l.describe(a))
		}
		l.save()
		next, _ := l.st.wake(l.now)
		if next.After(end) {
			break
		}
		l.now = next
	}
	l.now = end
}

// at is a step at a time since the beginning: results like "a=dead", "restart"
// or "restart=1h", "report=b=dead", "connection=down", or "save" for what is kept in between.
func (l *life) at(at time.Duration, steps ...string) {
	l.t.Helper()
	l.until(at)
	for _, step := range steps {
		name, value, _ := strings.Cut(step, "=")
		switch name {
		case "restart":
			down, err := time.ParseDuration(value)
			if err != nil {
				l.t.Fatal(err)
			}
			l.restart(down)
		case "report":
			id, word, _ := strings.Cut(value, "=")
			for ns := range l.st.allNodes() {
				if ns.conf.Mode != modeLocal {
					continue
				}
				s := status(slices.Index(statusNames[:], word))
				rep := report{replica: id, interval: time.Minute, health: s}
				(&healthReport{node: ns.conf, report: rep}).apply(l.st, l.now)
			}
		case "connection":
			connectionReport{value == "down"}.apply(l.st, l.now)
		default:
			l.play.st = l.st
			s := status(slices.Index(statusNames[:], value))
			l.st.applyResult(result{replica: l.replicas[name[0]-'a'], status: s, reason: "was " + value, at: l.now}, l.now)
		}
		l.save()
	}
}

// localConfig is one service with the nodes a, b, c and a local one, d.
func localConfig(alerting Alerting) *Config {
	conf := alertConfig(alerting)
	conf.Metrics.LocalDelayDead = 40 * time.Second
	service := conf.Services[0]
	service.Nodes = append(service.Nodes, &Node{ID: "d", Mode: modeLocal})
	return conf
}

func TestRestarts(t *testing.T) {
	type step struct {
		at    time.Duration
		steps []string
	}
	const s, ms, m, h = time.Second, time.Millisecond, time.Minute, time.Hour
	allHealthy := step{0, []string{"a=healthy", "b=healthy", "c=healthy"}}
	again := func(at time.Duration) step { return step{at, []string{"a=healthy", "b=healthy", "c=healthy"}} }
	quiet := Alerting{BackoffLimit: 3}
	loud := Alerting{BackoffLimit: 3, Startup: true}
	reminding := Alerting{BackoffLimit: 3, ReminderInterval: 5 * time.Minute}
	tests := []struct {
		name     string
		alerting Alerting
		steps    []step
		until    time.Duration
		want     []string
	}{
		{"nothing happened", quiet, []step{allHealthy, {m, []string{"restart=1m"}}, again(3 * m)}, h, nil},
		{"an outage goes on", quiet, []step{
			allHealthy, {m, []string{"a=dead"}}, {2 * m, []string{"restart=1m"}},
			{3*m + s, []string{"a=dead", "b=healthy", "c=healthy"}}, {4 * m, []string{"a=dead"}}, {5 * m, []string{"a=healthy"}},
		}, h, []string{"1m0.2s changed dead +a(was dead)", "5m0.2s changed healthy -a"}},
		{"an outage goes on through many restarts", quiet, []step{
			allHealthy, {m, []string{"a=dead"}}, {2 * m, []string{"restart=1m"}}, {4 * m, []string{"restart=1s"}},
			{5 * m, []string{"a=dead", "restart=1s"}}, {6 * m, []string{"a=dead", "b=healthy", "c=healthy"}}, {7 * m, []string{"a=healthy"}},
		}, h, []string{"1m0.2s changed dead +a(was dead)", "7m0.2s changed healthy -a"}},
		{"an outage ended while down", quiet, []step{
			allHealthy, {m, []string{"a=dead"}}, {2 * m, []string{"restart=1m"}}, again(3*m + s),
		}, h, []string{"1m0.2s changed dead +a(was dead)", "3m1.2s changed healthy -a"}},
		{"an outage began while down", quiet, []step{
			allHealthy, {m, []string{"restart=1h"}}, {h + 2*m, []string{"a=healthy", "b=dead", "c=healthy"}},
		}, 2 * h, []string{"1h2m0.2s changed dead +b(was dead)"}},
		{"one ended and another began while down", quiet, []step{
			allHealthy, {m, []string{"a=dead"}}, {2 * m, []string{"restart=1m"}},
			{3*m + s, []string{"a=healthy", "b=dead", "c=healthy"}},
		}, h, []string{"1m0.2s changed dead +a(was dead)", "3m1.2s changed dead -a +b(was dead)"}},
		{"killed before it could tell", quiet, []step{
			allHealthy, {m, []string{"a=dead"}}, {m + 100*ms, []string{"restart=1m"}},
			{3 * m, []string{"a=dead", "b=healthy", "c=healthy"}},
		}, h, []string{"3m0.2s changed dead +a(was dead)"}},
		{"killed before it could tell, over when it was back", quiet, []step{
			allHealthy, {m, []string{"a=dead"}}, {m + 100*ms, []string{"restart=1m"}}, again(3 * m),
		}, h, nil},
		{"killed before it could tell that all is well", quiet, []step{
			allHealthy, {m, []string{"a=dead"}}, {2 * m, []string{"a=healthy"}}, {2*m + 100*ms, []string{"restart=1m"}}, again(4 * m),
		}, h, []string{"1m0.2s changed dead +a(was dead)", "4m0.2s changed healthy -a"}},
		{"startup is told again, with the truth", loud, []step{
			allHealthy, {m, []string{"a=dead"}}, {2 * m, []string{"restart=1m"}},
			{3*m + s, []string{"a=dead", "b=healthy"}}, {3*m + 2*s, []string{"c=healthy"}},
		}, h, []string{"0s startup healthy", "1m0.2s changed dead +a(was dead)", "3m2s startup dead a(was dead)"}},
		{"reminders go on, and wait for the truth", reminding, []step{
			allHealthy, {m, []string{"a=dead"}}, {7 * m, []string{"restart=10m"}},
			{18 * m, []string{"a=dead", "b=healthy", "c=healthy"}},
		}, 24 * m, []string{"1m0.2s changed dead +a(was dead)", "6m0.2s reminder dead #1 a(was dead)", "18m0s reminder dead #2 a(was dead)", "23m0s reminder dead #3 a(was dead)"}},
		{"no reminder of what ended while down", reminding, []step{
			allHealthy, {m, []string{"a=dead"}}, {7 * m, []string{"restart=10m"}}, again(18 * m),
		}, h, []string{"1m0.2s changed dead +a(was dead)", "6m0.2s reminder dead #1 a(was dead)", "18m0.2s changed healthy -a"}},
		{"a silence lasts", reminding, []step{
			allHealthy, {m, []string{"a=dead"}}, {2 * m, []string{"mute=20m", "restart=1m"}}, {3*m + s, []string{"a=dead", "b=healthy", "c=healthy"}},
		}, 23 * m, []string{"1m0.2s changed dead +a(was dead)", "22m0s reminder dead #1 a(was dead)"}},
		{"a clock that is set back delays no reminder", reminding, []step{
			allHealthy, {m, []string{"a=dead"}}, {6*m + s, []string{"restart=-2h"}},
			{6*m + 10*s - 2*h, []string{"a=dead", "b=healthy", "c=healthy"}}, {20*m - 2*h, []string{"a=healthy"}},
		}, 21*m - 2*h, []string{"1m0.2s changed dead +a(was dead)", "6m0.2s reminder dead #1 a(was dead)", "-1h48m59s reminder dead #2 a(was dead)", "-1h43m59s reminder dead #3 a(was dead)", "-1h39m59.8s changed healthy -a"}},
		{"nor does it make a silence longer", reminding, []step{
			allHealthy, {m, []string{"a=dead"}}, {6*m + s, []string{"mute=20m"}}, {6*m + 2*s, []string{"restart=-2h"}}, {6*m + 10*s - 2*h, []string{"a=dead", "b=healthy", "c=healthy"}},
		}, 30*m - 2*h, []string{"1m0.2s changed dead +a(was dead)", "6m0.2s reminder dead #1 a(was dead)", "-1h33m57.2s reminder dead #2 a(was dead)"}},
		{"who reports gets all its time anew", quiet, []step{
			allHealthy, {m, []string{"report=x=healthy"}}, {2 * m, []string{"restart=1h"}}, again(h + 2*m),
		}, 2 * h, []string{"1h3m40.2s changed dead +d(no report in 1m40s)"}},
		{"who reports in that time never was dead", quiet, []step{
			allHealthy, {m, []string{"report=x=healthy"}}, {2 * m, []string{"restart=1h"}}, again(h + 2*m), {h + 3*m, []string{"report=x=healthy"}},
		}, h + 4*m, nil},
		{"the dead stay dead until they report", quiet, []step{
			allHealthy, {m, []string{"report=x=healthy"}}, {3 * m, []string{"restart=1h"}}, again(h + 3*m), {2 * h, []string{"report=x=healthy"}},
		}, 2*h + m, []string{"2m40.2s changed dead +d(no report in 1m40s)", "2h0m0.2s changed healthy -d"}},
		{"a local node died and nobody was told", quiet, []step{
			allHealthy, {m, []string{"report=x=dead", "restart=1m"}}, again(2 * m),
		}, 3 * m, []string{"2m0.2s changed dead +d(reported dead)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLife(t, localConfig(tt.alerting))
			for _, step := range tt.steps {
				for _, one := range step.steps {
					if value, ok := strings.CutPrefix(one, "mute="); ok {
						d, err := time.ParseDuration(value)
						if err != nil {
							t.Fatal(err)
						}
						l.until(step.at)
						l.st.mute(l.now.Add(d), make(chan error, 1))
						continue
					}
					l.at(step.at, one)
				}
			}
			l.until(tt.until)
			if !slices.Equal(l.alerts, tt.want) {
				t.Errorf("alerts:\n\t%s\nwant:\n\t%s", strings.Join(l.alerts, "\n\t"), strings.Join(tt.want, "\n\t"))
			}
		})
	}
}

// What people were told of the monitor's own connection is known after a
// restart: they are not told again that it is down, and hear when it works.
func TestLineRestarts(t *testing.T) {
	type step struct {
		at    time.Duration
		steps []string
	}
	const m = time.Minute
	const down = "2m0s notice healthy | The monitor's own connection has been down since 12:01:00 UTC+0000: what it cannot reach keeps its last known status."
	again := func(at, after time.Duration) string {
		return fmt.Sprintf("%v notice healthy | The monitor's own connection works again after %v. What it could not reach is being checked.", at, after)
	}
	begin := []step{{0, []string{"a=healthy", "b=healthy", "c=healthy", "connection=up"}}, {m, []string{"connection=down"}}}
	for _, tt := range []struct {
		name    string
		steps   []step
		removed bool // the targets, before the last step
		want    []string
	}{
		{"it works again", []step{{5 * m, []string{"restart=2m"}}, {8 * m, []string{"connection=up"}}}, false, []string{down, again(8*m, 7*m)}},
		{"it is still down", []step{{5 * m, []string{"restart=2m"}}, {8 * m, []string{"connection=down"}}, {9 * m, []string{"restart=1m"}}, {11 * m, []string{"connection=up"}}},
			false, []string{down, again(11*m, 10*m)}},
		{"nobody was told", []step{{m + 30*time.Second, []string{"restart=2m"}}, {4 * m, []string{"connection=up"}}}, false, nil},
		{"its end was told", []step{{5 * m, []string{"connection=up"}}, {6 * m, []string{"restart=1m"}}, {8 * m, []string{"connection=up"}}}, false, []string{down, again(5*m, 4*m)}},
		{"nothing tells any more", []step{{5 * m, []string{"restart=2m"}}}, true, []string{down, again(7*m, 6*m)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conf := alertConfig(Alerting{BackoffLimit: 3})
			conf.Connectivity = []Target{{Raw: "tcp://c:1"}}
			l := newLife(t, conf)
			steps := append(slices.Clone(begin), tt.steps...)
			for i, step := range steps {
				if tt.removed && i == len(steps)-1 {
					l.until(step.at)
					conf.Connectivity = nil
				}
				l.at(step.at, step.steps...)
			}
			l.until(time.Hour)
			if !slices.Equal(l.alerts, tt.want) {
				t.Errorf("alerts:\n\t%s\nwant:\n\t%s", strings.Join(l.alerts, "\n\t"), strings.Join(tt.want, "\n\t"))
			}
		})
	}
}

// fullState is a state in which everything has a value that must survive.
func fullState(t *testing.T) *life {
	conf := localConfig(Alerting{BackoffLimit: 3, ReminderInterval: 5 * time.Minute})
	conf.Services[0].Nodes = append(conf.Services[0].Nodes, &Node{ID: "e:\u00e9/\"<&", Mode: modePush})
	conf.Metrics = Metrics{PollInterval: time.Hour, PushDelayDead: time.Hour, LocalDelayDead: time.Hour, CPUSickAbove: 0.9, RAMSickAbove: 0.4}
	l := newLife(t, conf)
	l.at(0, "a=healthy", "b=healthy", "c=healthy", "report=x=healthy", "report=y=sick")
	done := make(chan error, 4)
	l.st.announce(announcement{id: "f7b5fe6c", title: "Works <tonight>", text: "Two\nlines.", at: l.now}, done)
	l.st.announce(announcement{id: "aa02", title: "Later", text: "\u00fc", at: l.now.Add(time.Second)}, done)
	e := conf.Services[0].Nodes[4]
	rep := report{replica: "host 1", interval: 30 * time.Second, load: &replicaLoad{cpu: 0.25, ram: 0.5, queue: true, ready: 3, unacked: 4}}
	(&loadReport{node: e, report: rep}).apply(l.st, l.now)
	l.at(time.Minute, "a=dead")
	l.until(9 * time.Minute)
	l.st.mute(l.now.Add(time.Hour), done)
	b := l.st.services[0].nodes[1]
	for i, latency := range []time.Duration{1500 * time.Microsecond, 40 * time.Millisecond, 30 * time.Millisecond} {
		l.st.measure(b, result{latency: latency}, l.now.Add(time.Duration(i/2-1)*2*quarterLength))
	}
	l.st.bookLatency(b, l.now)
	return l
}

// The files are read by programs to come, so what they look like is held fast.
func TestStoreFormat(t *testing.T) {
	l := fullState(t)
	var text []byte
	w := newLineWriter()
	a := notify.Alert{ID: "ID-1", Kind: notify.Changed, Status: notify.Dead, Time: l.now, Dead: []notify.Replica{{Path: "web:a:tcp://a:80", Reason: "was dead"}},
		Recovered: []string{"web:b:tcp://b:80"}, Page: l.st.alerter.page}
	for _, rec := range append(slices.Collect(l.st.records(l.now)),
		retracted("aa02"),
		record{Gone: &replicaName{"web", "d", "y"}},
		record{Alert: &alertRecord{Alert: a, Targets: []string{"slack", "pager"}, Next: l.now.Add(time.Hour), Sent: 2}},
		record{Queued: &queuedRecord{"slack", a}},
		record{Done: &doneRecord{"slack", "ID-1"}},
		record{Head: &headRecord{"state", storeFormat, 7, l.now, ""}},
		record{End: &endRecord{12}},
	) {
		if rec.Incident != nil {
			rec.Incident.ID = "RANDOM"
		}
		if rec.Heard != nil {
			rec.Heard.ID = "RANDOM"
		}
		if err := w.add(&rec); err != nil {
			t.Fatal(err)
		}
	}
	text = w.buf.Bytes()
	golden := filepath.Join("testdata", "store", "records.jsonl")
	if *update {
		if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != string(want) {
		t.Errorf("records:\n%s\nwant:\n%s", text, want)
	}
}

// The files of version 1.0, when all channels were told the same, are
// understood: nobody is told again, and all hear of the end.
func TestFilesOfVersion1(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "store", "records-1.0.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, alerted := range []bool{false, true} {
		l := newLife(t, localConfig(Alerting{BackoffLimit: 3, ReminderInterval: 5 * time.Minute}))
		l.conf.Notify = channels("slack", "email")
		dir := newMemFolder()
		lines := strings.SplitAfter(string(data), "\n")
		if !alerted {
			lines = append(lines[:2:2], lines[3:6]...) // the state alone, with reminders wanted
		}
		dir.put(journalName(1), []byte(strings.Join(lines, "")))
		l.disk, _ = openDisk(t, dir)
		l.now = l.begin.Add(10 * time.Minute)
		l.restart(time.Minute)
		l.at(11*time.Minute, "a=dead", "b=healthy", "c=healthy")
		l.at(12*time.Minute, "a=healthy")
		l.until(20 * time.Minute)
		want := []string{"11m1s reminder dead #2 a(was dead)", "11m1s reminder dead #2 a(was dead)"}
		if alerted {
			want = nil // the next one is due later
		}
		want = append(want, "12m0.2s changed healthy -a", "12m0.2s changed healthy -a")
		if !slices.Equal(l.alerts, want) {
			t.Errorf("alerts:\n\t%s\nwant:\n\t%s", strings.Join(l.alerts, "\n\t"), strings.Join(want, "\n\t"))
		}
	}
}

// What was restored says the same of itself as what was stored.
func TestRestoreIsComplete(t *testing.T) {
	lines := func(st *state, now time.Time) []string {
		w := newLineWriter()
		for rec := range st.records(now) {
			if err := w.add(&rec); err != nil {
				t.Fatal(err)
			}
		}
		return slices.Sorted(strings.Lines(w.buf.String()))
	}
	for _, compacted := range []bool{false, true} {
		l := fullState(t)
		if compacted {
			l.st.keepWhole()
		}
		l.now = l.now.Add(ledgerInterval)
		l.st.expire(l.now)
		l.save()
		before := l.st
		im := l.restart(0)
		for ns := range l.st.allNodes() {
			for _, r := range ns.replicas {
				if !r.stale || !r.checked {
					t.Errorf("%s is not known from before", r.path())
				}
			}
		}
		got, want := lines(l.st, l.now), lines(before, l.now)
		// Nobody knows what the nodes were since the last batch.
		past := func(line string) bool { return strings.Contains(line, `,"past":`) }
		if n := len(slices.DeleteFunc(slices.Clone(got), past)); n < 8 {
			t.Errorf("only %d records", n)
		}
		got, want = slices.DeleteFunc(got, past), slices.DeleteFunc(want, past)
		if !slices.Equal(got, want) {
			t.Errorf("compacted %v: restored:\n%s\nwant:\n%s", compacted, strings.Join(got, ""), strings.Join(want, ""))
		}
		if targets := slices.Sorted(maps.Keys(im.backlog)); !compacted && !slices.Equal(targets, []string{"pager", "slack"}) {
			t.Errorf("something waits for %v", targets)
		}
	}
}

// What the config no longer has is not restored, and after the next state file
// it is not in the files either.
func TestRestoreLeavesOutWhatIsGone(t *testing.T) {
	l := fullState(t)
	l.save()
	service := *l.conf.Services[0]
	service.Nodes = service.Nodes[1:4] // without a, which is dead, and e
	l.conf = &Config{Services: []*Service{&service}, Alerting: l.conf.Alerting, Notify: l.conf.Notify}
	l.restart(time.Minute)
	l.alerts = nil
	l.until(12 * time.Minute)
	for _, name := range []string{"a", "e"} {
		for ns := range l.st.allNodes() {
			if strings.HasPrefix(ns.conf.ID, name) {
				t.Errorf("node %s is there", ns.conf.ID)
			}
		}
	}
	l.st.applyResult(result{replica: l.replicas[0], status: healthy}, l.now)
	l.st.applyResult(result{replica: l.replicas[1], status: healthy}, l.now)
	l.until(13 * time.Minute)
	if want := []string{"12m0.2s changed sick ~a"}; !slices.Equal(l.alerts, want) {
		t.Errorf("alerts %q, want %q", l.alerts, want)
	}
	_, im := openDisk(t, l.disk.dir)
	for _, rec := range im.replicas {
		if rec != nil && rec.Node != "b" && rec.Node != "c" && rec.Node != "d" {
			t.Errorf("replica %v is in the files", rec.replicaName)
		}
	}
}

// How long an outage has lasted is known after a restart, also to a route that
// waits for that; and an outage that was over is not taken up again.
func TestOutagesThroughARestart(t *testing.T) {
	const s, m = time.Second, time.Minute
	conf := localConfig(Alerting{BackoffLimit: 3})
	conf.Routes = []Route{
		{Match: selectors{"web:a"}, To: []string{"slack"}, MinStatus: dead, After: 10 * m},
		{Match: selectors{"web:b"}, To: []string{"slack"}, MinStatus: sick, After: 10 * m},
	}
	l := newLife(t, conf)
	l.at(0, "a=healthy", "b=healthy", "c=healthy")
	l.at(m, "a=dead", "b=sick")
	l.at(5*m, "restart=1m", "a=dead", "b=sick", "c=healthy")
	l.until(20 * m)
	l.expect(t, "escalation", "11m0.2s changed dead +a(was dead) +b?(was sick)")

	l.at(21*m, "a=healthy", "b=healthy")
	l.at(21*m+s, "restart=1m") // too early for the end of the outage to be in the files
	l.at(23*m, "a=dead", "b=healthy", "c=healthy")
	l.until(40 * m)
	l.expect(t, "another outage", "21m0.2s changed healthy -a -b", "33m0.2s changed dead +a(was dead)")
}

// A replica is not taken up by a node that has another mode by now: it would
// never report.
func TestReplicasOfAnotherMode(t *testing.T) {
	for _, m := range []mode{modePush, modeLocal} {
		l := newLife(t, localConfig(Alerting{BackoffLimit: 3}))
		l.at(0, "a=dead", "b=healthy", "c=healthy", "report=x=healthy")
		l.conf = localConfig(Alerting{BackoffLimit: 3})
		for _, n := range l.conf.Services[0].Nodes {
			n.Mode, n.Targets = m, nil
		}
		l.restart(time.Minute)
		got := 0
		for ns := range l.st.allNodes() {
			got += len(ns.replicas)
		}
		if want := map[mode]int{modePush: 0, modeLocal: 1}[m]; got != want {
			t.Errorf("%v: %d replicas, want %d", m, got, want)
		}
	}
}
