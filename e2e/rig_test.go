package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// vigil is the program under test, built once, and version what it calls itself.
var vigil, version string

// wrongTokens is how many wrong tokens an address may send in a minute.
const wrongTokens = 10

var update = flag.Bool("update", false, "write the golden files anew")

// TestMain builds the program and runs the tests in the project's root folder,
// so that they name documents and testdata as a reader would.
func TestMain(m *testing.M) {
	// Most of these tests wait for seconds that the program takes on purpose.
	flag.Set("test.parallel", "8")
	flag.Parse()
	if err := os.Chdir(".."); err != nil {
		log.Fatal(err)
	}
	noteSources()
	dir, err := os.MkdirTemp("", "vigil-e2e-")
	if err != nil {
		log.Fatal(err)
	}
	code := 1
	if err := build(dir); err != nil {
		log.Print(err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// build builds the program into the folder.
func build(dir string) error {
	vigil = filepath.Join(dir, "vigil")
	if err := goBuild("-o", vigil); err != nil {
		return err
	}
	out, err := exec.Command(vigil, "version").Output()
	if err != nil {
		return fmt.Errorf("vigil version: %w", err)
	}
	text, _ := strings.CutPrefix(string(out), "vigil ")
	version, _, _ = strings.Cut(text, ",")
	return nil
}

// goBuild builds the program as a release is built, which the documents do, too.
func goBuild(flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-ldflags=-s -w"}, flags...), ".")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

// noteSources reads the folders that the program is built from. The go command
// takes note of that, and does not reuse an old result of these tests when one
// of the files has changed.
func noteSources() {
	for _, root := range []string{".", "notify", "templates", "assets"} {
		filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if root == "." && path != "." && d.IsDir() {
				return fs.SkipDir
			}
			return err
		})
	}
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

// serving matches the line of the log, in either format, that tells the URL.
const serving = `serving the status page.*url"?[=:]"?([^" ]+)`

// startVigil runs the program on a config in a fresh folder and waits until it
// serves. The config needs log_level = "info", and is best served at 127.0.0.1:0.
func startVigil(t *testing.T, config string, args ...string) *running {
	t.Helper()
	return startIn(t, t.TempDir(), config, serving, args...)
}

// startIn runs the program on a config in a folder and waits until its log
// matches ready, the first group of which is the URL.
func startIn(t *testing.T, dir, config, ready string, args ...string) *running {
	t.Helper()
	return startWith(t, nil, dir, config, ready, args...)
}

// startWith is startIn with more environment variables.
func startWith(t *testing.T, env []string, dir, config, ready string, args ...string) *running {
	t.Helper()
	if config != "" {
		if err := os.WriteFile(filepath.Join(dir, "config.cfg"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := &running{t: t, cmd: exec.Command(vigil, args...), done: make(chan struct{})}
	r.cmd.Dir, r.cmd.Env = dir, append(os.Environ(), env...)
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
	url := make(chan string, 1)
	go func() {
		defer close(r.done)
		address := regexp.MustCompile(ready)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			r.mu.Lock()
			fmt.Fprintln(&r.log, lines.Text())
			r.mu.Unlock()
			if m := address.FindStringSubmatch(lines.Text()); m != nil {
				select {
				case url <- m[1]:
				default: // it serves elsewhere after a reload
				}
			}
		}
		r.cmd.Wait()
	}()
	select {
	case r.url = <-url:
	case <-r.done:
		t.Fatal("the program ended at once")
	case <-time.After(time.Minute):
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

// await polls until ok. The limit is for a program that hangs: it says nothing
// of how fast a machine should be that runs other things, too.
func await(t *testing.T, ok func() bool, format string, args ...any) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: "+format, args...)
		}
	}
}

// waitFor polls until the route's body satisfies ok.
func (r *running) waitFor(route string, what string, ok func(body string) bool) {
	r.t.Helper()
	await(r.t, func() bool { return ok(r.get(route)) }, "%s is %s", route, what)
}

// waitForLog waits until the log holds the text behind what it had before.
func (r *running) waitForLog(before, text string) {
	r.t.Helper()
	await(r.t, func() bool { return strings.Contains(r.logged()[len(before):], text) }, "%q in the log", text)
}

// stop sends a signal and waits for a clean end.
func (r *running) stop(sig os.Signal) {
	r.t.Helper()
	r.cmd.Process.Signal(sig)
	select {
	case <-r.done:
	case <-time.After(time.Minute):
		r.t.Fatalf("the program does not stop on %v", sig)
	}
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		r.t.Errorf("exit code %d after %v, want 0", code, sig)
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
	case <-time.After(time.Minute):
		t.Fatalf("no webhook for %s %s", kind, status)
	}
	panic("not reached")
}

// A lockedBuffer may be written to while it is read.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// read returns the text of a file.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// listening serves connections until the test ends and returns the address.
func listening(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return ln.Addr().String()
}

// freeAddress returns a loopback address on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))
}

// freePort returns a port of 127.0.0.1 that nobody listens on. It lies below
// those that the kernel gives to clients, so that it stays free.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20_000 + rand.IntN(12_000)
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// hostPort is the address of a URL.
func hostPort(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// A testPlan is a config for a test of the whole program: one service, web,
// whose nodes are checked every second, and a hook that is told. The texts
// without another meaning are further lines of the table of that name.
type testPlan struct {
	inet     string // "": any free port
	title    string // of the page; "": Example Status
	label    string // of the service; "": Web
	hook     *hook
	inMemory bool
	nodes    string

	server, metrics, notify string
}

func (p testPlan) String() string {
	var b strings.Builder
	inet, title, label := p.inet, p.title, p.label
	if inet == "" {
		inet = "127.0.0.1:0"
	}
	if title == "" {
		title = "Example Status"
	}
	if label == "" {
		label = "Web"
	}
	fmt.Fprintf(&b, "[server]\nlog_level = \"info\"\ninet = %q\n%s\n", inet, p.server)
	fmt.Fprintf(&b, "[branding]\npage_title = %q\npage_url = \"https://status.example.com/\"\n", title)
	fmt.Fprintf(&b, "[metrics]\npoll_interval = 1\npoll_retry = 1\n%s\n", p.metrics)
	fmt.Fprintf(&b, "[notify]\n%s\n[notify.webhook]\nhook_url = %q\n", p.notify, p.hook.URL)
	if p.inMemory {
		b.WriteString("[storage]\npath = \"\"\n")
	}
	fmt.Fprintf(&b, "[[probe.service]]\nid = \"web\"\nlabel = %q\n%s", label, p.nodes)
	return b.String()
}

// planNode is a node of a testPlan. The text is further lines of it.
func planNode(id, label, mode, text string) string {
	return fmt.Sprintf("[[probe.service.node]]\nid = %q\nlabel = %q\nmode = %q\n%s\n", id, label, mode, text)
}

// polledNode is a poll node with one replica.
func polledNode(id, label, replica string) string {
	return planNode(id, label, "poll", fmt.Sprintf("replicas = [%q]", replica))
}

// pushedNode is a push node.
func pushedNode(id, label string) string { return planNode(id, label, "push", "") }
