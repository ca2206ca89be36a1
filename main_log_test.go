package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vigil/notify"
)

// writeEvents writes a log of events into a storage folder.
func writeEvents(t testing.TB, events []logEvent) (folder string) {
	t.Helper()
	folder = t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, eventFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(filepath.Join(folder, eventFolder))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	l := &eventLog{root: root, log: slog.New(slog.DiscardHandler)}
	for i := 0; i < len(events); i += 512 {
		l.write(events[i:min(i+512, len(events))])
	}
	l.close()
	return folder
}

const replayConfig = `
[branding]
page_title = "Acme"
page_url = "https://status.example.com/"
[notify]
reminder_interval = 600
[[notify.webhook]]
id = "day"
hook_url = "http://127.0.0.1:1/"
[[notify.webhook]]
id = "night"
hook_url = "http://127.0.0.1:2/"
[[notify.route]]
match = ["web:shop"]
to = ["day"]
[[notify.route]]
match = ["web:jobs"]
to = ["night"]
after = 120
[storage]
path = ""
[[probe.service]]
id = "web"
label = "Web"
[[probe.service.node]]
id = "shop"
label = "Shop"
mode = "poll"
replicas = ["tcp://127.0.0.1:1", "tcp://127.0.0.1:2"]
[[probe.service.node]]
id = "jobs"
label = "Jobs"
mode = "push"
`

func TestReplay(t *testing.T) {
	begin := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
	at := func(d time.Duration) time.Time { return begin.Add(d) }
	folder := writeEvents(t, []logEvent{
		{Time: at(0), Kind: "start"},
		turned(at(time.Minute), "shop", "healthy", "dead", "HTTP 503"),
		{Time: at(61 * time.Second), Kind: "alert", Channel: "email", Type: "changed"},
		turned(at(26*time.Minute), "shop", "dead", "healthy", ""), // told, two reminders, told
		turned(at(30*time.Minute), "jobs", "healthy", "dead", "no report in 50 s"),
		{Time: at(30 * time.Minute), Kind: "alert", Channel: "email", Type: "changed"},
		turned(at(31*time.Minute), "jobs", "dead", "healthy", ""), // back before its route's time
		{Time: at(31 * time.Minute), Kind: "alert", Channel: "email", Type: "changed"},
		turned(at(60*time.Minute), "jobs", "healthy", "dead", "no report in 50 s"), // told after 2 min
		turned(at(65*time.Minute), "jobs", "dead", "unknown", ""),                  // nobody is told of that
		turned(at(66*time.Minute), "jobs", "unknown", "healthy", ""),
		turned(at(70*time.Minute), "gone", "healthy", "dead", ""), // a node of the past
		{Time: at(70 * time.Minute), Kind: "alert", Channel: "email", Type: "startup"},
		{Time: at(71 * time.Minute), Kind: "alert", Type: "notice"}, // to all channels, about Vigil itself
		{Time: at(72 * time.Minute), Kind: "alert", Channel: "pager", Type: "acknowledged"},
	})
	config := filepath.Join(t.TempDir(), "new.cfg")
	if err := os.WriteFile(config, []byte(replayConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"replay", "-c", config, "-data", folder, "-since", "2d", "-show"}, &out, &errs)
	if code != 0 || errs.String() != "note: the config has no node web:gone\n" {
		t.Fatalf("exit code %d\n%s", code, &errs)
	}
	text := out.String()
	if !strings.HasPrefix(text, "3 messages then, 6 with this config.\n\nCHANNEL  THEN  NOW\nday      0     4\nemail    3     0\nnight    0     2\n\n") {
		t.Errorf("it prints\n%s", text)
	}
	for _, want := range []string{"  day    [Acme] DOWN: Web > Shop (HTTP 503)\n", "reminder 2", "  day    [Acme] UP: Web > Shop (was down 25 min)\n",
		at(62*time.Minute).Local().Format("15:04:05") + "  night  [Acme] DOWN: Web > Jobs (no report in 50 s)\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}

	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "vigil replay: -c is missing: the config to try (see 'vigil replay -h')\n"},
		{"-c " + config, 1, "vigil replay: storage.path is empty: name the storage folder with -data\n"},
		{"-c " + config + " -data " + t.TempDir(), 1, "has no log of events that can be read: no such file or directory; name another folder with -data\n"},
		{"-c " + config + " -since soon", 2, `vigil replay: -since "soon": want a duration like 90m or 7d`},
	} {
		var errs bytes.Buffer
		if code := run(t.Context(), append([]string{"replay"}, strings.Fields(tt.args)...), io.Discard, &errs); code != tt.code || !strings.Contains(errs.String(), tt.want) {
			t.Errorf("vigil replay %s: exit code %d, %swant\n%s", tt.args, code, &errs, tt.want)
		}
	}
}

// Replicas that die one after the other are told one after the other, as they
// were; a config on whose terms one of them is enough tells of the last one.
func TestReplayOfReplicas(t *testing.T) {
	begin := time.Now().Add(-time.Hour).Truncate(time.Second)
	event := func(d time.Duration, kind, node, replica, from, to string) logEvent {
		return logEvent{Time: begin.Add(d), Kind: kind, Service: "web", Node: node, Replica: replica, From: from, To: to, Reason: "HTTP 503"}
	}
	const one, two = "tcp://127.0.0.1:1", "tcp://127.0.0.1:2"
	folder := writeEvents(t, []logEvent{
		event(time.Minute, "replica", "shop", one, "healthy", "dead"),
		event(time.Minute, "transition", "shop", "", "healthy", "dead"),
		event(2*time.Minute, "replica", "shop", two, "healthy", "dead"),
		event(2*time.Minute, "replica", "shop", "tcp://gone:1", "healthy", "dead"),
		event(3*time.Minute, "replica", "shop", one, "dead", "healthy"),
		event(4*time.Minute, "replica", "shop", two, "dead", "healthy"),
		event(4*time.Minute, "transition", "shop", "", "dead", "healthy"),
		// An old line, without those of replicas.
		event(10*time.Minute, "transition", "shop", "", "healthy", "dead"),
		event(11*time.Minute, "transition", "shop", "", "dead", "healthy"),
		// Reporters are known once they change.
		event(20*time.Minute, "replica", "jobs", "a", "healthy", "dead"),
		event(20*time.Minute, "transition", "jobs", "", "healthy", "dead"),
		event(21*time.Minute, "replica", "jobs", "b", "healthy", "dead"),
		event(22*time.Minute, "replica", "jobs", "b", "dead", "healthy"),
		event(23*time.Minute, "replica", "jobs", "a", "dead", "healthy"),
		event(23*time.Minute, "transition", "jobs", "", "dead", "healthy"),
	})
	config := func(terms string) string {
		return "[branding]\npage_title = \"Acme\"\npage_url = \"https://s.example/\"\n[storage]\npath = \"\"\n" +
			"[notify.webhook]\nhook_url = \"http://127.0.0.1:1/\"\n[[probe.service]]\nid = \"web\"\nlabel = \"Web\"\n" +
			"[[probe.service.node]]\nid = \"shop\"\nlabel = \"Shop\"\nmode = \"poll\"\nreplicas = [\"" + one + "\", \"" + two + "\"]\n" + terms +
			"[[probe.service.node]]\nid = \"jobs\"\nlabel = \"Jobs\"\nmode = \"push\"\n"
	}
	for _, tt := range []struct {
		terms string
		want  []string // subjects
	}{
		{"", []string{"DOWN: Web > Shop", "STILL DOWN for 1 min: Web > Shop", "UP: Web > Shop (was down 3 min)", "DOWN: Web > Shop", "UP: Web > Shop", "DOWN: Web > Jobs", "STILL DOWN for 1 min: Web > Jobs", "UP: Web > Jobs"}},
		{"replicas_needed = 1\n", []string{"2m0s [Acme] DOWN: Web > Shop", "UP: Web > Shop (degraded, was down 1 min)", "DOWN: Web > Shop", "UP: Web > Shop", "DOWN: Web > Jobs", "STILL DOWN for 1 min: Web > Jobs", "UP: Web > Jobs"}},
	} {
		path := filepath.Join(t.TempDir(), "new.cfg")
		if err := os.WriteFile(path, []byte(config(tt.terms)), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"replay", "-c", path, "-data", folder, "-since", "2h", "-json"}, &out, &errs); code != 0 {
			t.Fatalf("exit code %d\n%s", code, &errs)
		}
		var told struct{ Messages []replayedMessage }
		if err := json.Unmarshal(out.Bytes(), &told); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range told.Messages {
			got = append(got, fmt.Sprintf("%v %s", m.Time.Sub(begin).Truncate(time.Minute), m.Subject))
		}
		ok := len(got) == len(tt.want)
		for i := range min(len(got), len(tt.want)) {
			ok = ok && strings.Contains(got[i], tt.want[i])
		}
		if !ok {
			t.Errorf("%q: it tells\n%s\nwant\n%s", tt.terms, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
		}
	}
}

// By the config that was in force, a replay sends what was sent, when it was.
func TestReplayOfTheSameConfig(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		conf := alertConfig(Alerting{BackoffLimit: 3, ReminderInterval: 10 * time.Minute})
		conf.Metrics.PollInterval = time.Hour
		first := conf.Services[0].Nodes[0] // has two replicas, a and b
		first.Targets = append(first.Targets, Target{Raw: "tcp://a:81"})
		conf.Notify = channels("all", "late", "some")
		conf.Routes = []Route{
			{Match: selectors{"*"}, To: []string{"all"}, MinStatus: sick, Reminders: conf.Alerting.reminders()},
			{Match: selectors{"*"}, To: []string{"late"}, MinStatus: dead, After: 2 * time.Minute, RecoverAfter: time.Minute, Reminders: conf.Alerting.reminders()},
			{Match: selectors{"web:a"}, To: []string{"some"}, MinStatus: dead},
		}
		begin := newPlay(conf).begin
		conf.Maintenance = []Window{{Title: "Works", Selectors: selectors{"web:b"}, Start: begin.Add(time.Hour), Duration: 20 * time.Minute, Repeat: repeatDaily}}
		p := newPlay(conf)
		p.st.eventLog = newTestLog(t, new(bytes.Buffer))
		p.at(0, "a=healthy", "b=healthy", "c=healthy", "d=healthy")
		at := time.Minute
		for at < 3*time.Hour {
			p.at(at, "abcd"[rnd.IntN(4):][:1]+"="+statusNames[rnd.IntN(3)])
			at += time.Duration(rnd.IntN(200_000)) * time.Millisecond
		}
		p.at(4*time.Hour, "a=healthy", "b=healthy", "c=healthy", "d=healthy")
		p.until(p.begin.Add(5 * time.Hour))

		r := newReplay(conf, begin)
		for r.listed = true; len(p.st.eventLog.in) > 0; {
			r.feed(*<-p.st.eventLog.in)
		}
		r.until(p.now)
		message := func(at time.Time, channel, kind, subject string) string {
			return fmt.Sprintf("%v %s %s %s", at.Sub(begin), channel, kind, subject)
		}
		var then, now []string
		for _, a := range p.sent {
			then = append(then, message(a.Time, a.Channel, string(a.Kind), notify.Subject(a)))
		}
		for _, m := range r.messages {
			now = append(now, message(m.Time, m.Channel, m.Type, m.Subject))
		}
		if len(then) < 30 || !slices.Equal(then, now) {
			t.Errorf("seed %d: then\n%s\nnow\n%s", seed, strings.Join(then, "\n"), strings.Join(now, "\n"))
		}
	}
}

// A broken config is refused with all its faults.
func TestReplayOfBrokenConfig(t *testing.T) {
	config := filepath.Join(t.TempDir(), "new.cfg")
	if err := os.WriteFile(config, []byte("[metrics]\npoll_interval = 0\n[branding]\npage_url = 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"replay", "-c", config}, io.Discard, &errs); code != 1 || strings.Count(errs.String(), "new.cfg:") != 2 {
		t.Errorf("exit code %d\n%s", code, &errs)
	}
}

// A year of 100 nodes, each down once a day.
func BenchmarkReplayYear(b *testing.B) {
	var nodes strings.Builder
	for i := range 100 {
		nodes.WriteString("[[probe.service.node]]\nid = \"n" + string(rune('a'+i/26)) + string(rune('a'+i%26)) + "\"\nlabel = \"N\"\nmode = \"push\"\n")
	}
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	conf, _, err := parseConfig(strings.NewReader(replayConfig+nodes.String()), "new.cfg", os.LookupEnv)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r := newReplay(conf, begin)
		for day := range 365 {
			for i := range 100 {
				node := "n" + string(rune('a'+i/26)) + string(rune('a'+i%26))
				at := begin.Add(time.Duration(day)*24*time.Hour + time.Duration(i)*10*time.Minute)
				r.feed(turned(at, node, "healthy", "dead", "HTTP 503"))
				r.feed(turned(at.Add(5*time.Minute), node, "dead", "healthy", ""))
			}
		}
		if r.transitions != 73000 {
			b.Fatalf("%d transitions", r.transitions)
		}
	}
}
