package e2e

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
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// What docs/moving.md says that is different here is so: each row of its tables
// has a test, here or in main_moving_test.go, and each test a row.
func TestMovingDifferences(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*testing.T){
		"Program":         movingProgram,
		"Log":             movingLog,
		"Restart":         movingRestart,
		"Time in alerts":  movingTime,
		"Failed delivery": movingDelivery,
		"`assets.path`":   movingAssets,
		"`manager_token`, `reporter_token` not set": movingTokens,
		"Wrong tokens":        movingWrongTokens,
		"A wrong method":      movingMethods,
		"Changing the config": movingReload,

		"Statuses of both APIs":                          movingStatuses,
		"Classes of regular expressions":                 movingClasses,
		"Certificates with the host as common name only": movingCommonName,
		"Texts of alerts":                                movingTexts,
		"Gotify's priority":                              movingGotify,
		"A start into an outage":                         movingStart,
		"Announcements":                                  movingAnnouncements,
		"The page in a frame":                            movingFrames,
		"Scripts under systemd":                          movingSandbox,
		"Passwords in replica URLs":                      movingPasswords,
		"`Access-Control-Allow-Origin`":                  movingOrigins,
		"The user in the image":                          movingUser,
	}
	elsewhere := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^\t\t"(.*)":\s+moving\w+,$`).FindAllStringSubmatch(read(t, "main_moving_test.go"), -1) {
		elsewhere[m[1]] = true
	}
	for _, row := range append(movingTable(t, "What is different, and why"), movingTable(t, "Vigil Local")...) {
		switch test := tests[row[0]]; {
		case test != nil:
			t.Run(strings.ReplaceAll(row[0], "`", ""), func(t *testing.T) {
				t.Parallel()
				test(t)
			})
		case !elsewhere[row[0]]:
			t.Errorf("no test of the row %q", row[0])
		}
		delete(tests, row[0])
		delete(elsewhere, row[0])
	}
	for name := range tests {
		t.Errorf("no row %q", name)
	}
	for name := range elsewhere {
		t.Errorf("no row %q, which main_moving_test.go tests", name)
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

// One file, in an empty folder, serves all of the page, and links to nothing.
func movingProgram(t *testing.T) {
	if runtime.GOOS == "linux" {
		f, err := elf.Open(vigil)
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

func movingLog(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.cfg"), []byte(movingLeast), 0o600); err != nil {
		t.Fatal(err)
	}
	for format, want := range map[string]string{"text": " level=INFO msg=", "json": `"level":"INFO","msg":`} {
		cmd := exec.Command(vigil, "-log-format", format)
		cmd.Dir = dir
		var out strings.Builder
		log := &lockedBuffer{}
		cmd.Stdout, cmd.Stderr = &out, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		await(t, func() bool { return strings.Contains(log.String(), "serving") }, "serving")
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if out.String() != "" || !strings.Contains(log.String(), want) {
			t.Errorf("%s: standard output %q, standard error %q", format, &out, log)
		}
	}
}

func movingRestart(t *testing.T) {
	dir, hook := t.TempDir(), newHook(t)
	config := movingLeast + fmt.Sprintf("[notify]\nstartup_notification = false\n[notify.webhook]\nhook_url = %q\n", hook.URL)
	r := startIn(t, dir, config, serving)
	r.call("POST", "/manager/announcement/", "manage", `{"title":"Work tonight","text":"From ten on"}`)
	r.call("POST", "/reporter/app/jobs/", "report", `{"replica":"one","interval":0,"load":{"cpu":0,"ram":0}}`)
	hook.next(t, "changed", "dead")
	r.stop(os.Interrupt)
	r = startIn(t, dir, "", serving)
	if _, list := r.call("GET", "/manager/announcements/", "manage", ""); !strings.Contains(list, `"title":"Work tonight"`) {
		t.Errorf("announcements %s", list)
	}
	if _, list := r.call("GET", "/manager/prober/alerts/", "manage", ""); !strings.Contains(list, `"replica":"one"`) {
		t.Errorf("alerts %s", list)
	}
	r.call("POST", "/reporter/app/jobs/", "report", `{"replica":"one","interval":600,"load":{"cpu":0,"ram":0}}`)
	hook.next(t, "changed", "healthy") // and not dead once more
}

func movingTime(t *testing.T) {
	hook := newHook(t)
	startWith(t, []string{"TZ=Asia/Kolkata"}, t.TempDir(), movingLeast+fmt.Sprintf("[storage]\npath = \"\"\n[notify.webhook]\nhook_url = %q\n", hook.URL), serving)
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

func movingReload(t *testing.T) {
	dir := t.TempDir()
	r := startIn(t, dir, movingLeast+"[storage]\npath = \"\"\n", serving)
	change := func(from, to, log string) {
		t.Helper()
		config := strings.Replace(movingLeast+"[storage]\npath = \"\"\n", from, to, 1)
		if err := os.WriteFile(filepath.Join(dir, "config.cfg"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		r.cmd.Process.Signal(syscall.SIGHUP)
		r.waitForLog("", log)
	}
	label := func() string {
		var rep struct {
			Probes []struct{ Nodes []struct{ Name string } }
		}
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
	await(t, func() bool { return label() == "Work" }, "the node is Work")
}
