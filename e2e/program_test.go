package e2e

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/net/icmp"
)

func TestEndToEnd(t *testing.T) {
	t.Parallel()
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

// The sample, moved to a free port, comes up healthy.
func TestSampleComesUpHealthy(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	sample := strings.ReplaceAll(read(t, "config.cfg"), "127.0.0.1:8080", address)
	if !icmpPermitted(t) {
		sample = strings.ReplaceAll(sample, `"icmp://127.0.0.1"`, "")
	}
	r := startVigil(t, sample)
	r.waitFor("", "healthy and checked", func(page string) bool {
		return strings.Contains(page, "All systems operational") && !strings.Contains(page, "not checked yet")
	})
	if got := r.get("status/text"); got != "healthy" {
		t.Errorf("status %q", got)
	}
	r.stop(os.Interrupt)
}

// icmpPermitted reports whether this user may send pings.
func icmpPermitted(t *testing.T) bool {
	t.Helper()
	for _, network := range []string{"udp4", "ip4:icmp"} {
		if conn, err := icmp.ListenPacket(network, "127.0.0.1"); err == nil {
			conn.Close()
			return true
		}
	}
	return false
}

// A program whose log nobody reads any more goes on, and stops cleanly. What it
// runs does not notice.
func TestLogWithoutReader(t *testing.T) {
	t.Parallel()
	hook := newHook(t)
	dir := t.TempDir()
	config := testPlan{hook: hook, inMemory: true, metrics: "script_interval = 1", nodes: planNode("pipe", "Pipe", "script",
		`scripts = ["yes 2>&1 | head -n 1; test $(sh -c 'kill -s PIPE $$; echo alive' | wc -c) = 0"]`)}
	if err := os.WriteFile(filepath.Join(dir, "config.cfg"), []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(vigil)
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

// The running program answers, with a config or the sample.
func TestHealthOfProgram(t *testing.T) {
	t.Parallel()
	r := startVigil(t, "[server]\nlog_level = \"info\"\ninet = \"127.0.0.1:0\"\n[branding]\npage_url = \"http://a.example\"\n[storage]\npath = \"\"\n")
	out, err := exec.Command(vigil, "health", "-url", r.url).CombinedOutput()
	if want := "Vigil serves " + r.url + ", its status is healthy\n"; err != nil || string(out) != want {
		t.Errorf("%v: got %q, want %q", err, out, want)
	}
}
