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
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	if out, err := exec.Command("go", "build", "-o", vigil, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	out, err := exec.Command(vigil, "version").Output()
	if err != nil {
		return fmt.Errorf("vigil version: %w", err)
	}
	text, _ := strings.CutPrefix(string(out), "vigil ")
	version, _, _ = strings.Cut(text, ",")
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
	if config != "" {
		if err := os.WriteFile(filepath.Join(dir, "config.cfg"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := &running{t: t, cmd: exec.Command(vigil, args...), done: make(chan struct{})}
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
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
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
