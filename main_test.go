package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// builtIn is the folder of the program once it was built.
var builtIn string

// buildVigil builds the program once for all tests that run it as a whole.
var buildVigil = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "vigil-test")
	if err != nil {
		return "", err
	}
	builtIn = dir
	path := filepath.Join(dir, "vigil")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	if os.Getenv(envFakeDNS) != "" {
		os.Exit(runAmongFakes())
	}
	code := m.Run()
	if builtIn != "" {
		os.RemoveAll(builtIn)
	}
	os.Exit(code)
}

// A running is the program running as a whole in a folder of its own.
type running struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string // of the page
	done chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

// startVigil runs the program on a config in a fresh folder and waits until it
// serves. "PORT" in the config's server.inet is best 127.0.0.1:0.
func startVigil(t *testing.T, config string, args ...string) *running {
	t.Helper()
	return startIn(t, t.TempDir(), config, `serving the status page.*url"?[=:]"?([^" ]+)`, args...)
}

// startIn runs the program on a config in a folder and waits until its log
// matches ready, the first group of which is the URL.
func startIn(t *testing.T, dir, config, ready string, args ...string) *running {
	t.Helper()
	path, err := buildVigil()
	if err != nil {
		t.Fatal(err)
	}
	if config != "" {
		if err := os.WriteFile(filepath.Join(dir, "config.cfg"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := &running{t: t, cmd: exec.Command(path, args...), done: make(chan struct{})}
	r.cmd.Dir = dir
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		<-r.done
		if t.Failed() {
			t.Logf("log of the program:\n%s", r.logged())
		}
	})
	serving := make(chan string, 1)
	go func() {
		defer close(r.done)
		address := regexp.MustCompile(ready)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			r.mu.Lock()
			fmt.Fprintln(&r.log, lines.Text())
			r.mu.Unlock()
			if m := address.FindStringSubmatch(lines.Text()); m != nil {
				serving <- m[1]
			}
		}
		r.cmd.Wait()
	}()
	select {
	case r.url = <-serving:
	case <-r.done:
		t.Fatal("the program ended at once")
	case <-time.After(20 * time.Second):
		t.Fatal("the program does not get ready")
	}
	return r
}

func (r *running) logged() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// get returns the body of a route.
func (r *running) get(route string) string {
	r.t.Helper()
	resp, err := http.Get(r.url + route)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(body)
}

// waitFor polls until the route's body satisfies ok.
func (r *running) waitFor(route string, what string, ok func(body string) bool) {
	r.t.Helper()
	var body string
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if body = r.get(route); ok(body) {
			return
		}
	}
	r.t.Fatalf("%s does not come to be %s; it says:\n%s", route, what, body)
}

// waitForLog waits until the log holds the text behind what it had before.
func (r *running) waitForLog(before, text string) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(r.logged()[len(before):], text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("the log does not come to hold %q", text)
		}
	}
}

// stop sends a signal and waits for a clean end.
func (r *running) stop(sig os.Signal) {
	r.t.Helper()
	start := time.Now()
	r.cmd.Process.Signal(sig)
	select {
	case <-r.done:
	case <-time.After(12 * time.Second):
		r.t.Fatalf("the program does not stop on %v", sig)
	}
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		r.t.Errorf("exit code %d after %v, want 0", code, sig)
	}
	if took := time.Since(start); took > 10*time.Second {
		r.t.Errorf("stopping took %v, want at most 10 s", took)
	}
}

// hook is a webhook receiver.
type hook struct {
	*httptest.Server
	calls chan hookCall
}

type hookCall struct {
	Type     string
	Status   string
	Time     string
	Replicas []string
	Page     struct{ Title, URL string }
	at       time.Time
}

func newHook(t *testing.T) *hook {
	h := &hook{calls: make(chan hookCall, 1000)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := hookCall{at: time.Now()}
		if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
			t.Errorf("webhook: %v", err)
		}
		h.calls <- call
	}))
	t.Cleanup(h.Close)
	return h
}

// next returns the next call, which must be of that kind and status.
func (h *hook) next(t *testing.T, kind, status string) hookCall {
	t.Helper()
	select {
	case call := <-h.calls:
		if call.Type != kind || call.Status != status {
			t.Fatalf("webhook says %s %s, want %s %s", call.Type, call.Status, kind, status)
		}
		return call
	case <-time.After(15 * time.Second):
		t.Fatalf("no webhook for %s %s", kind, status)
	}
	panic("not reached")
}

func TestEndToEnd(t *testing.T) {
	var broken atomic.Bool
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer target.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	hook := newHook(t)

	// Where ICMP is not permitted to this user the node cannot be healthy;
	// then it is left out here (the probe's own tests cover that case).
	icmp := ""
	if icmpPermitted(t) {
		icmp = polledNode("icmp", "Loopback", "icmp://127.0.0.1")
	}
	r := startVigil(t, testPlan{
		hook: hook, inMemory: true,
		metrics: "poll_retry_wait = 200\nscript_interval = 1",
		notify:  "reminder_interval = 2",
		nodes: polledNode("http", "Front end", target.URL+"/") +
			polledNode("tcp", "Socket", "tcp://"+tcp.Addr().String()) +
			planNode("script", "Disk", "script", `scripts = ["exit 0"]`) + icmp,
	}.String())

	call := hook.next(t, "startup", "healthy")
	if len(call.Replicas) != 0 || call.Page.Title != "Example Status" || call.Page.URL != "https://status.example.com/" {
		t.Errorf("startup says %+v", call)
	}
	if !regexp.MustCompile(`^\d\d:\d\d:\d\d UTC[+-]\d{4}$`).MatchString(call.Time) {
		t.Errorf("time %q", call.Time)
	}
	r.waitFor("status/text", "healthy", func(s string) bool { return s == "healthy" })
	r.waitFor("", "a healthy page", func(s string) bool {
		return strings.Contains(s, "Front end") && strings.Contains(s, "Socket") && strings.Contains(s, "Disk")
	})
	if body := r.get(""); strings.Contains(body, target.URL) {
		t.Error("the page reveals a replica's URL")
	}

	broken.Store(true)
	call = hook.next(t, "changed", "dead")
	if want := []string{"web:http:" + target.URL + "/"}; !slices.Equal(call.Replicas, want) {
		t.Errorf("dead replicas %q, want %q", call.Replicas, want)
	}
	r.waitFor("status/text", "dead", func(s string) bool { return s == "dead" })
	var report struct {
		Health string
		Probes []struct {
			Nodes []struct {
				Name, Status string
				Replicas     []string
			}
		}
	}
	if err := json.Unmarshal([]byte(r.get("status/report")), &report); err != nil {
		t.Fatal(err)
	}
	if n := report.Probes[0].Nodes[0]; report.Health != "dead" || n.Status != "dead" || !slices.Equal(n.Replicas, []string{"dead"}) {
		t.Errorf("report %+v", report)
	}
	hook.next(t, "reminder", "dead")

	broken.Store(false)
	for call = range hook.calls {
		if call.Type != "reminder" {
			break
		}
	}
	if call.Type != "changed" || call.Status != "healthy" || len(call.Replicas) != 0 {
		t.Errorf("webhook says %+v, want changed healthy", call)
	}
	r.waitFor("status/text", "healthy", func(s string) bool { return s == "healthy" })
	r.stop(syscall.SIGTERM)
	if !strings.Contains(r.logged(), "msg=stopped") {
		t.Error("no word about the clean stop in the log")
	}
	if strings.Contains(r.logged(), hook.URL) {
		t.Error("the log shows the hook's URL")
	}
}

// The sample, moved to a free port, must come up healthy within 5 s for
// whoever types "go run .".
func TestSampleComesUpHealthy(t *testing.T) {
	address := freeAddress(t)
	sample := strings.ReplaceAll(sampleConfig, "127.0.0.1:8080", address)
	if !icmpPermitted(t) {
		sample = strings.ReplaceAll(sample, `"icmp://127.0.0.1"`, "")
	}
	const limit = 5 * time.Second
	took := 2 * limit
	for try := 0; try < 3 && took > limit; try++ { // the machine may be busy with something else
		r := startVigil(t, sample)
		start := time.Now()
		r.waitFor("", "healthy and checked", func(page string) bool {
			return strings.Contains(page, "All systems are healthy") && !strings.Contains(page, "not checked yet")
		})
		took = time.Since(start)
		if got := r.get("status/text"); got != "healthy" {
			t.Errorf("status %q", got)
		}
		r.stop(os.Interrupt)
	}
	if took > limit {
		t.Errorf("healthy after %v, want %v at most", took, limit)
	}
}

func TestUsage(t *testing.T) {
	tests := []struct {
		args           []string
		code           int
		stdout, stderr string // what they begin with
	}{
		{[]string{"-h"}, 0, "usage: vigil [-c config.cfg]", ""},
		{[]string{"help"}, 0, "usage: vigil [-c config.cfg]", ""},
		{[]string{"help", "check"}, 0, "usage: vigil check", ""},
		{[]string{"help", "serve"}, 2, "", `vigil: unknown command "serve"`},
		{[]string{"--version"}, 0, "vigil " + version, ""},
		{[]string{"version"}, 0, "vigil " + version, ""},
		{[]string{"version", "-h"}, 0, "usage: vigil version", ""},
		{[]string{"version", "now"}, 2, "", `vigil version: unexpected argument "now" ('vigil version -h' tells more)`},
		{[]string{"serve"}, 2, "", `vigil: unknown command "serve"`},
		{[]string{"-x"}, 2, "", "vigil: flag provided but not defined: -x"},
		{[]string{"-c"}, 2, "", "vigil: flag needs an argument: -c"},
		{[]string{"-log-format", "xml"}, 2, "", `vigil: -log-format "xml": want text or json`},
		{[]string{"-c", "testdata/none.cfg"}, 1, "", "testdata/none.cfg: cannot be read: no such file or directory"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(context.Background(), tt.args, &stdout, &stderr); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, out := range []struct{ name, got, want string }{{"stdout", stdout.String(), tt.stdout}, {"stderr", stderr.String(), tt.stderr}} {
				if !strings.HasPrefix(out.got, out.want) || out.want == "" && out.got != "" {
					t.Errorf("%s:\n%s\nwant it to begin with:\n%s", out.name, out.got, out.want)
				}
			}
		})
	}
}

// icmpPermitted reports whether this user may send pings.
func icmpPermitted(t *testing.T) bool {
	t.Helper()
	e, err := openEchoer(false)
	if err != nil {
		return false
	}
	e.close()
	return true
}

// A program whose log nobody reads any more goes on, and stops cleanly. What it
// runs does not notice.
func TestLogWithoutReader(t *testing.T) {
	path, err := buildVigil()
	if err != nil {
		t.Fatal(err)
	}
	hook := newHook(t)
	dir := t.TempDir()
	config := testPlan{hook: hook, inMemory: true, metrics: "script_interval = 1", nodes: planNode("pipe", "Pipe", "script",
		`scripts = ["yes 2>&1 | head -n 1; test $(sh -c 'kill -s PIPE $$; echo alive' | wc -c) = 0"]`)}
	if err := os.WriteFile(filepath.Join(dir, "config.cfg"), []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	cmd.Dir = dir
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	url := ""
	for lines := bufio.NewScanner(stderr); url == "" && lines.Scan(); {
		_, url, _ = strings.Cut(lines.Text(), `"serving the status page" url=`)
	}
	stderr.Close()
	hook.next(t, "startup", "healthy") // the log has a line for it
	r := &running{t: t, url: strings.Fields(url)[0]}
	cmd.Process.Signal(syscall.SIGHUP) // and for this
	if s := r.get("status/text"); s != "healthy" {
		t.Errorf("status %q", s)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the end: %v", err)
	}
}
