package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A wire stands between agents and their master, and notes what passes.
type wire struct {
	*httptest.Server
	mu     sync.Mutex
	passed []passage
}

// A passage is a request that the master answered with 200.
type passage struct {
	at   time.Time
	path string
}

func newWire(t *testing.T, master string) *wire {
	u, err := url.Parse(master)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) },
		ModifyResponse: func(resp *http.Response) error {
			if resp.StatusCode == http.StatusOK {
				w.mu.Lock()
				defer w.mu.Unlock()
				r := resp.Request
				w.passed = append(w.passed, passage{time.Now(), r.URL.Path})
			}
			return nil
		},
		ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusBadGateway) },
	}
	w.Server = httptest.NewServer(proxy)
	t.Cleanup(w.Close)
	return w
}

// last returns the last passage of a node's path after a time.
func (w *wire) last(path string, after time.Time) (p passage, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, q := range w.passed {
		if q.path == path && q.at.After(after) {
			p, ok = q, true
		}
	}
	return p, ok
}

// first waits for the first passage of a node's path after a time.
func (w *wire) first(t *testing.T, path string, after time.Time) passage {
	t.Helper()
	var p passage
	await(t, func() (ok bool) { p, ok = w.last(path, after); return ok }, "something for %s", path)
	return p
}

// nodes returns the nodes of a /status/report with their replicas, sorted.
func nodes(t *testing.T, body string) string {
	var report struct {
		Probes []struct {
			Nodes []struct {
				Name     string
				Replicas []string
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &report); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range report.Probes {
		for _, n := range p.Nodes {
			slices.Sort(n.Replicas)
			all = append(all, fmt.Sprint(n.Name, n.Replicas))
		}
	}
	return strings.Join(all, " ")
}

// waitForNodes waits until the nodes and their replicas are as said.
func (r *running) waitForNodes(want string) {
	r.t.Helper()
	r.waitFor("status/report", want, func(body string) bool { return nodes(r.t, body) == want })
}

// Two programs: a monitor with two local nodes, and the agent that reports on
// them, through all that may happen to either.
func TestLocalEndToEnd(t *testing.T) {
	t.Parallel()
	env := []string{"VIGIL_TOKEN=t0ken with a space"}
	inet := freeAddress(t)
	config := fmt.Sprintf(`
[server]
inet = %q
log_level = "info"
reporter_token = "${VIGIL_TOKEN}"
[branding]
page_url = "https://status.example.com/"
[metrics]
local_delay_dead = 2
[[probe.service]]
id = "lan"
label = "LAN"
[[probe.service.node]]
id = "gate/way 1"
label = "Gate"
mode = "local"
[[probe.service.node]]
id = "disk"
label = "Disk"
mode = "local"
[[probe.service.node]]
id = "web"
label = "Web"
mode = "push"
`, inet)
	home := t.TempDir()
	master := startWith(t, env, home, config, serving)
	wire := newWire(t, master.url)

	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	address := target.Addr().String()
	gate := fmt.Sprintf(`
[server]
log_level = "info"
[report]
endpoint = "%s/"
token = "${VIGIL_TOKEN}"
[metrics]
interval = 1
poll_retry = 0
[[probe.service]]
id = "lan"
[[probe.service.node]]
id = "gate/way 1"
mode = "poll"
replicas = ["tcp://%s"]
`, wire.URL, address)
	const disk = `
[[probe.service.node]]
id = "disk"
mode = "script"
scripts = ["exit $(cat status)", "exit 0"]
`
	const unknown = `
[[probe.service.node]]
id = "web"
mode = "script"
scripts = ["exit 0"]
`
	den := t.TempDir()
	set := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(den, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const reporting = `reporting.*endpoint=([^ ]+)`
	const gatePath, diskPath = "/reporter/lan/gate/way 1/", "/reporter/lan/disk/"
	set("status", "0")
	agent := startWith(t, env, den, gate+disk+unknown, reporting, "local")
	master.waitForNodes("Gate[healthy] Disk[healthy healthy] Web[]")

	// What a check finds is on the page at once.
	set("status", "1")
	master.waitForNodes("Gate[healthy] Disk[healthy sick] Web[]")
	set("status", "2")
	master.waitForNodes("Gate[healthy] Disk[dead healthy] Web[]")
	set("status", "0")
	target.Close()
	master.waitForNodes("Gate[dead] Disk[healthy healthy] Web[]")
	if target, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	defer target.Close() // or it would be closed when nothing refers to it
	master.waitForNodes("Gate[healthy] Disk[healthy healthy] Web[]")
	if want := `err="HTTP 412: health reports are for local nodes: \"web\" is a push node"`; strings.Count(agent.logged(), want) != 1 {
		t.Errorf("the agent's log does not have once: %s", want)
	}

	// A broken config changes nothing; a good one takes the script node away,
	// which is flushed, and the log says so.
	agent.reload("[report]\ntoken = 1\n", `problem="config.cfg:2: report.token: is an integer; allowed: a string"`)
	wire.first(t, diskPath, time.Now())
	agent.reload(gate, `msg="config reloaded" replicas=1`)
	master.waitForNodes("Gate[healthy] Disk[] Web[]")

	// The master goes away and comes back; the next report is there within the
	// interval.
	master.stop(syscall.SIGTERM)
	if n := strings.Count(agent.logged(), "first report accepted"); n != 1 {
		t.Errorf("the agent says %d times that its reports are accepted", n)
	}
	agent.waitForLog("", "master unreachable")
	master = startWith(t, env, home, "", serving)
	up := time.Now()
	wire.first(t, gatePath, up)
	master.waitForNodes("Gate[healthy] Disk[] Web[]")
	for _, want := range []string{`msg="master unreachable, reports wait"`, `msg="master accepts reports again"`} {
		if strings.Count(agent.logged(), want) != 1 {
			t.Errorf("the agent's log does not have once: %s", want)
		}
	}

	// The agent is killed: its replica is dead when interval and delay are over.
	agent.cmd.Process.Kill()
	<-agent.done
	last, ok := wire.last(gatePath, up)
	if !ok {
		t.Fatal("no report")
	}
	master.waitFor("status/text", "dead", func(body string) bool { return body == "dead" })
	if took := time.Since(last.at); took < 2*time.Second {
		t.Errorf("dead %v after the last report already, want 3 s", took)
	}

	// Another one starts and stops: nothing is flushed.
	agent = startWith(t, env, den, gate, reporting, "local", "-c", "config.cfg")
	master.waitForNodes("Gate[healthy] Disk[] Web[]")
	agent.stop(syscall.SIGTERM)
	master.waitForNodes("Gate[dead] Disk[] Web[]")
	if strings.Contains(agent.logged()+master.logged(), "t0ken") {
		t.Error("the token is in a log")
	}

	// A host reports its load, and is flushed when it is stopped.
	host := startWith(t, env, den, "", `reporting this host.*url=([^ ]+)`, "report", "-url", wire.URL,
		"-service", "lan", "-node", "web", "-interval", "1", "-cpu", "0.95", "-ram", "0.5", "-flush")
	master.waitForNodes("Gate[dead] Disk[] Web[sick]")
	host.stop(os.Interrupt)
	master.waitForNodes("Gate[dead] Disk[] Web[]")
	master.stop(syscall.SIGTERM)
}

func TestLocalUsage(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bad.cfg"), []byte("[report]\nendpoint = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"bad.cfg", 2, "", "vigil local: unexpected argument \"bad.cfg\" (see 'vigil local -h')\n"},
		{"-log-format xml", 2, "", "vigil local: -log-format \"xml\": want text or json (see 'vigil local -h')\n"},
		{"", 1, "", "config.cfg: cannot be read: no such file or directory; name an existing file with -c\n"},
		{"--config bad.cfg", 1, "", "bad.cfg:1: report.token: is missing; allowed: any non-empty text\n" +
			"bad.cfg:2: report.endpoint: is an integer; allowed: a string\n"},
	} {
		t.Run(test.args, func(t *testing.T) {
			cmd := exec.Command(vigil, append([]string{"local"}, strings.Fields(test.args)...)...)
			cmd.Dir = dir
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			cmd.Run()
			code := cmd.ProcessState.ExitCode()
			if code != test.code || stdout.String() != test.stdout || stderr.String() != test.stderr {
				t.Errorf("exit status %d, stdout\n%s\nstderr\n%s", code, &stdout, &stderr)
			}
		})
	}
}
