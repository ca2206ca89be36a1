package main

import (
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// What docs/moving.md says that is different here is so: each row of its tables
// has a test, and each test a row.
func TestMovingDifferences(t *testing.T) {
	tests := map[string]func(*testing.T){
		"Program":                          movingProgram,
		"XMPP":                             movingXMPP,
		"Log":                              movingLog,
		"`log_level` not set":              movingLogLevel,
		"Start":                            movingStart,
		"Page before the first check":      movingFirstPage,
		"Restart":                          movingRestart,
		"A change":                         movingChange,
		"Second outage during a first one": movingSecondOutage,
		"Dead replicas in alerts":          movingReasons,
		"Time in alerts":                   movingTime,
		"Failed delivery":                  movingDelivery,
		"Checks":                           movingChecks,
		"Hanging targets":                  movingHanging,
		"`poll_retry`":                     movingRetry,
		"`poll_delay_dead`, `poll_delay_sick` not set":                       movingDelays,
		"`push_system_cpu_sick_above`, `push_system_ram_sick_above` not set": movingLoads,
		"`tcp://` with a name of several addresses":                          movingAddresses,
		"`ssh://`":                                  movingSSH,
		"`http_body_healthy_match`":                 movingBody,
		"Scripts":                                   movingScripts,
		"Pings without the right to send them":      movingPings,
		"RabbitMQ that cannot be asked":             movingRabbitMQ,
		"`server.workers`":                          movingWorkers,
		"`assets.path`":                             movingAssets,
		"`manager_token`, `reporter_token` not set": movingTokens,
		"Wrong tokens":                              movingWrongTokens,
		"A wrong method":                            movingMethods,
		"Wrong config":                              movingMistakes,
		"Changing the config":                       movingReload,
		"Server away":                               movingServerAway,
		"`poll_retry` of the agent":                 movingAgentRetry,
		"Keys of the agent":                         movingAgentKeys,
	}
	rows := append(movingTable(t, "What is different, and why"), movingTable(t, "Vigil Local")...)
	for _, row := range rows {
		test := tests[row[0]]
		if test == nil {
			t.Errorf("no test of the row %q", row[0])
			continue
		}
		delete(tests, row[0])
		t.Run(strings.ReplaceAll(row[0], "`", ""), test)
	}
	for name := range tests {
		t.Errorf("no row %q", name)
	}
}

// movingLeast is a config of one push node, for a program that is started.
const movingLeast = `
[server]
log_level = "info"
inet = "127.0.0.1:0"
manager_token = "manage"
reporter_token = "report"
[branding]
page_url = "https://status.example.com/"
[metrics]
push_delay_dead = 1
[[probe.service]]
id = "app"
label = "App"
[[probe.service.node]]
id = "jobs"
label = "Jobs"
mode = "push"
`

// movingRead reads a config that has what must be there, and these lines.
func movingRead(t *testing.T, lines string) *Config {
	t.Helper()
	c, problems, err := parseMoving("[branding]\npage_url = \"https://s.example/\"\n" + lines)
	if err != nil || slices.ContainsFunc(problems, func(p problem) bool { return !p.note }) {
		t.Fatal(err, problems)
	}
	return c
}

// call sends a request with a token and returns status and body.
func (r *running) call(method, path, token, body string) (*http.Response, string) {
	r.t.Helper()
	req, err := http.NewRequest(method, strings.TrimSuffix(r.url, "/")+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if token != "" {
		req.SetBasicAuth("", token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(text)
}

// movingPlay returns the alerts of three nodes that all were healthy at first.
func movingPlay(alerting Alerting, steps func(p *play)) string {
	p := newPlay(alertConfig(alerting))
	steps(p)
	p.until(p.begin.Add(time.Hour))
	return strings.Join(p.alerts, "\n")
}

func wantAlerts(t *testing.T, got string, want ...string) {
	t.Helper()
	if got != strings.Join(want, "\n") {
		t.Errorf("alerts\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// One file, in an empty folder, serves all of the page, and links to nothing.
func movingProgram(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "vigil")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if runtime.GOOS == "linux" {
		f, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if libraries, err := f.ImportedLibraries(); err != nil || len(libraries) > 0 {
			t.Errorf("it needs %q, %v", libraries, err)
		}
	}
	r := startVigil(t, movingLeast+"[storage]\npath = \"\"\n")
	for _, route := range []string{"", "assets/app.css", "robots.txt", "badge/icon"} {
		if r.get(route) == "" {
			t.Errorf("nothing at /%s", route)
		}
	}
}

func movingXMPP(t *testing.T) {
	c := movingRead(t, "[notify.xmpp]\nfrom = \"a@example.com\"\nto = \"b@example.com\"\nxmpp_password = \"p\"\n")
	if len(c.Notify.Targets("1")) != 1 {
		t.Error("there is no channel")
	}
	// TestXMPP in package notify has servers that offer no TLS.
}

func movingLog(t *testing.T) {
	path, err := buildVigil()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.cfg"), []byte(movingLeast), 0o600); err != nil {
		t.Fatal(err)
	}
	for format, want := range map[string]string{"text": " level=INFO msg=", "json": `"level":"INFO","msg":`} {
		cmd := exec.Command(path, "-log-format", format)
		cmd.Dir = dir
		var out strings.Builder
		log := &lockedBuffer{}
		cmd.Stdout, cmd.Stderr = &out, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(20 * time.Second); !strings.Contains(log.String(), "serving") && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if out.String() != "" || !strings.Contains(log.String(), want) {
			t.Errorf("%s: standard output %q, standard error %q", format, &out, log)
		}
	}
}

func movingLogLevel(t *testing.T) {
	if c := movingRead(t, ""); c.Server.LogLevel != "error" {
		t.Error(c.Server.LogLevel)
	}
}

func movingStart(t *testing.T) {
	wantAlerts(t, movingPlay(Alerting{Startup: true}, func(p *play) {
		p.at(0, "a=healthy", "b=healthy")
		p.at(3*time.Second, "c=dead")
	}), "3s startup dead c")
}

func movingFirstPage(t *testing.T) {
	now := time.Now()
	conf := alertConfig(Alerting{})
	page := body(t, get(newTestPage(t, newState(conf, now).snapshot(now)).handler(nil), "GET", "/"))
	if strings.Count(page, "not checked yet") < 3 || strings.Contains(page, `class="r healthy"`) {
		t.Error(page)
	}
}

func movingRestart(t *testing.T) {
	dir, hook := t.TempDir(), newHook(t)
	const ready = `serving the status page.*url"?[=:]"?([^" ]+)`
	config := movingLeast + fmt.Sprintf("[notify]\nstartup_notification = false\n[notify.webhook]\nhook_url = %q\n", hook.URL)
	r := startIn(t, dir, config, ready)
	r.call("POST", "/manager/announcement/", "manage", `{"title":"Work tonight","text":"From ten on"}`)
	r.call("POST", "/reporter/app/jobs/", "report", `{"replica":"one","interval":0,"load":{"cpu":0,"ram":0}}`)
	hook.next(t, "changed", "dead")
	r.stop(os.Interrupt)
	r = startIn(t, dir, "", ready)
	if _, list := r.call("GET", "/manager/announcements/", "manage", ""); !strings.Contains(list, `"title":"Work tonight"`) {
		t.Errorf("announcements %s", list)
	}
	if _, list := r.call("GET", "/manager/prober/alerts/", "manage", ""); !strings.Contains(list, `"replica":"one"`) {
		t.Errorf("alerts %s", list)
	}
	r.call("POST", "/reporter/app/jobs/", "report", `{"replica":"one","interval":600,"load":{"cpu":0,"ram":0}}`)
	hook.next(t, "changed", "healthy") // and not dead once more
}

func movingChange(t *testing.T) {
	wantAlerts(t, movingPlay(Alerting{}, func(p *play) {
		p.at(0, "a=healthy", "b=healthy", "c=healthy")
		p.at(time.Minute, "a=dead")
		p.at(time.Minute+900*time.Millisecond, "b=dead")
	}), "1m1s changed dead a b")
}

func movingSecondOutage(t *testing.T) {
	wantAlerts(t, movingPlay(Alerting{}, func(p *play) {
		p.at(0, "a=healthy", "b=healthy", "c=healthy")
		p.at(time.Minute, "a=dead")
		p.at(2*time.Minute, "b=dead")
	}), "1m1s changed dead a", "2m1s changed dead a b")
}

func movingReasons(t *testing.T) {
	wantAlerts(t, movingPlay(Alerting{}, func(p *play) {
		p.at(0, "a=healthy", "b=healthy", "c=healthy")
		p.st.applyResult(result{replica: p.replicas[0], status: dead, reason: "connection refused", at: p.now}, p.now)
		p.at(time.Minute, "b=dead", "a=healthy")
	}), "1s changed dead a(connection refused)", "1m1s changed dead b -a")
}

func movingTime(t *testing.T) {
	t.Setenv("TZ", "Asia/Kolkata")
	hook := newHook(t)
	startVigil(t, movingLeast+fmt.Sprintf("[storage]\npath = \"\"\n[notify.webhook]\nhook_url = %q\n", hook.URL))
	if call := hook.next(t, "startup", "healthy"); !strings.HasSuffix(call.Time, " UTC+0530") {
		t.Errorf("time %q", call.Time)
	}
}

// While one channel hangs, another one delivers, and the first is tried again.
func movingDelivery(t *testing.T) {
	var tries atomic.Int32
	release, done, other := make(chan struct{}), make(chan struct{}), make(chan struct{})
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch tries.Add(1) {
		case 1:
			<-release
			w.WriteHeader(http.StatusBadGateway)
		case 2:
			close(done)
		}
	}))
	defer first.Close()
	second := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "ok")
		close(other)
	}))
	defer second.Close()
	free := sync.OnceFunc(func() { close(release) })
	defer free()
	startVigil(t, movingLeast+fmt.Sprintf("[storage]\npath = \"\"\n[notify.webhook]\nhook_url = %q\n[notify.slack]\nhook_url = %q\n", first.URL, second.URL))
	for _, c := range []chan struct{}{other, done} {
		select {
		case <-c:
		case <-time.After(20 * time.Second):
			t.Fatalf("not delivered, after %d tries of the first", tries.Load())
		}
		free()
	}
}

func movingDelays(t *testing.T) {
	if m := movingRead(t, "").Metrics; m.PollDelayDead != 10*time.Second || m.PollDelaySick != 5*time.Second {
		t.Error(m.PollDelayDead, m.PollDelaySick)
	}
}

func movingLoads(t *testing.T) {
	if m := movingRead(t, "").Metrics; m.CPUSickAbove != 0.90 || m.RAMSickAbove != 0.90 {
		t.Error(m.CPUSickAbove, m.RAMSickAbove)
	}
}

func movingWorkers(t *testing.T) { movingRead(t, "[server]\nworkers = 64\n") }

// The folder of the other Vigil stays where it is.
func movingAssets(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"templates/index.tera":                `{{ config.page_title | escape }} {% if x %}`,
		"public/robots.txt":                   "User-agent: none\n",
		"images/badges/icon-dead-large.svg":   "<svg/>",
		"stylesheets/index.css":               "old {}",
		"fonts/open_sans/open_sans_bold.woff": "font",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := startVigil(t, movingLeast+fmt.Sprintf("[storage]\npath = \"\"\n[assets]\npath = %q\n", dir))
	for route, want := range map[string]string{
		"":           "<!DOCTYPE html>",
		"robots.txt": "User-agent: none\n",
		"assets/images/badges/icon-dead-large.svg": "<svg/>",
		"assets/stylesheets/index.css":             "old {}",
		"assets/app.css":                           ":root",
	} {
		if got := r.get(route); !strings.Contains(got, want) {
			t.Errorf("/%s is %q", route, got)
		}
	}
	if !strings.Contains(r.logged(), "file=templates/index.tera") {
		t.Error("nothing is said of index.tera")
	}
}

func movingTokens(t *testing.T) {
	config := strings.NewReplacer("manager_token = \"manage\"\n", "", "reporter_token = \"report\"\n", "").Replace(movingLeast)
	r := startVigil(t, config+"[storage]\npath = \"\"\n")
	for path, want := range map[string]string{
		"/manager/announcements/": "the Manager API is switched off: set server.manager_token in the config to use it",
		"/reporter/app/jobs/":     "the Reporter API is switched off: set server.reporter_token in the config to use it",
	} {
		method := "GET"
		if strings.HasPrefix(path, "/reporter") {
			method = "POST"
		}
		resp, text := r.call(method, path, "any", "")
		if resp.StatusCode != 403 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, text)
		}
	}
}

func movingWrongTokens(t *testing.T) {
	r := startVigil(t, movingLeast+"[storage]\npath = \"\"\n")
	for i := range 12 {
		want := 403
		if i >= 10 {
			want = 429
		}
		if resp, text := r.call("GET", "/manager/announcements/", "guess", ""); resp.StatusCode != want {
			t.Fatalf("guess %d: %d %s", i+1, resp.StatusCode, text)
		}
	}
}

func movingMethods(t *testing.T) {
	r := startVigil(t, movingLeast+"[storage]\npath = \"\"\n")
	for request, allow := range map[string]string{
		"POST /": "GET, HEAD", "DELETE /status/text": "GET, HEAD", "GET /reporter/app/jobs/": "POST",
		"POST /reporter/app/jobs/one/": "DELETE", "PATCH /manager/announcement/": "POST",
	} {
		method, path, _ := strings.Cut(request, " ")
		if resp, _ := r.call(method, path, "manage", ""); resp.StatusCode != 405 || resp.Header.Get("Allow") != allow {
			t.Errorf("%s: %d, Allow %q, want %q", request, resp.StatusCode, resp.Header.Get("Allow"), allow)
		}
	}
}

func movingMistakes(t *testing.T) {
	_, _, err := parseMoving("[branding]\npage_url = \"https://s.example/\"\n[metrics]\npoll_interval = 0\npoll_retry = \"2\"\n")
	const want = "config.cfg:4: metrics.poll_interval: 0 is out of range; allowed: an integer from 1 to 31536000 seconds\n" +
		"config.cfg:5: metrics.poll_retry: is a string; allowed: an integer from 0 to 31536000 seconds"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func movingReload(t *testing.T) {
	dir := t.TempDir()
	r := startIn(t, dir, movingLeast+"[storage]\npath = \"\"\n", `serving the status page.*url"?[=:]"?([^" ]+)`)
	change := func(from, to, log string) {
		t.Helper()
		config := strings.Replace(movingLeast+"[storage]\npath = \"\"\n", from, to, 1)
		if err := os.WriteFile(filepath.Join(dir, "config.cfg"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		r.cmd.Process.Signal(syscall.SIGHUP)
		for end := time.Now().Add(20 * time.Second); !strings.Contains(r.logged(), log); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the log does not say %q", log)
			}
		}
	}
	label := func() string {
		var rep report
		if err := json.Unmarshal([]byte(r.get("status/report")), &rep); err != nil {
			t.Fatal(err)
		}
		return rep.Probes[0].Nodes[0].Name
	}
	change(`mode = "push"`, `mode = "pull"`, `\"pull\" is unknown`)
	if got := label(); got != "Jobs" {
		t.Errorf("after a mistake the node is %q", got)
	}
	change(`label = "Jobs"`, `label = "Work"`, "config reloaded")
	if got := label(); got != "Work" {
		t.Errorf("the node is %q", got)
	}
}
