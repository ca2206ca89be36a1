//go:build peer

package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// peerConfig is a config of push nodes; the verbs are for thresholds of CPU and
// RAM, more of the server, plugins and more of the node.
const peerConfig = `
[server]
log_level = "info"
inet = "127.0.0.1:0"
reporter_token = "tok/en+secret"
manager_token = "manage"
mcp_server = true
[branding]
page_title = "Acme Status"
page_url = "https://status.example.net/"
company_name = "Acme"
[metrics]
push_delay_dead = 1
push_system_cpu_sick_above = %v
push_system_ram_sick_above = %v
[storage]
path = ""
%s
[[probe.service]]
id = "relay eu"
label = "Relay"
[[probe.service.node]]
id = "socket client"
label = "Socket client"
mode = "push"
%s`

// npmFolder returns a folder with the packages that the folder's lock file has,
// held to its checksums. Peers that cannot be had fail the test.
func npmFolder(t *testing.T, locked string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json"} {
		writeFile(t, dir, name, read(t, filepath.Join(locked, name)))
	}
	install(t, dir, nil, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	return dir
}

// nodeScript returns a script of testdata ready to run in the folder.
func nodeScript(t *testing.T, dir, script string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := filepath.Abs(script)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", append([]string{path}, args...)...)
	cmd.Dir = dir
	return cmd
}

// request sends one request with the token and returns status and body.
func (r *running) request(method, path, token, body string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequest(method, strings.TrimSuffix(r.url, "/")+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.SetBasicAuth("", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// alert waits until the Manager API's list of alerts contains what it says.
func (r *running) alert(want string) {
	r.t.Helper()
	got := ""
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, got = r.request("GET", "/manager/prober/alerts/", "manage", ""); strings.Contains(got, want) {
			return
		}
	}
	r.t.Fatalf("alerts are %s\nwant %s", got, want)
}

// The library that Node.js apps report with: healthy, sick of their load, dead
// when the app has gone, forgotten when it is flushed.
func TestPeerReporter(t *testing.T) {
	dir := npmFolder(t, "testdata/api")
	idle := startVigil(t, fmt.Sprintf(peerConfig, 1000, 10, "", ""))
	busy := startVigil(t, fmt.Sprintf(peerConfig, 1000, 0.0001, "", ""))
	for _, r := range []*running{idle, busy} {
		cmd := nodeScript(t, dir, "testdata/api/report.mjs", r.url, "socket client")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			cmd.Process.Kill()
			cmd.Wait()
			if t.Failed() {
				t.Logf("reporter: %s", &out)
			}
		}()
		// The library reports 10 s after its start for the first time.
		defer r.alert(`"dead":[{"probe":"relay eu","node":"socket client","replica":"host/one","reason":"no report in 2s"`)
		defer cmd.Process.Kill()
	}
	const replica = `{"name":"Socket client","status":"%s","replicas":["%[1]s"]}`
	busy.waitFor("status/report", "sick", func(body string) bool { return strings.Contains(body, fmt.Sprintf(replica, "sick")) })
	busy.alert(`"sick":[{"probe":"relay eu","node":"socket client","replica":"host/one","reason":"ram `)
	idle.waitFor("status/report", "healthy", func(body string) bool { return strings.Contains(body, fmt.Sprintf(replica, "healthy")) })
	if code, body := idle.request("DELETE", "/reporter/relay%20eu/socket%20client/host%2Fone/", "tok/en+secret", ""); code != 200 || body != "" {
		t.Errorf("flush: %d %s", code, body)
	}
}

// A rabbitmq is a real RabbitMQ.
type rabbitmq struct {
	t   *testing.T
	dir string
	api string // URL
	uri string // of AMQP
	pid int
}

// startRabbitMQ runs the script of testdata/peers until the test ends.
func startRabbitMQ(t *testing.T) *rabbitmq {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("peer tests install and start servers, and have to run as root")
	}
	// Not t.TempDir, which the server's own user cannot enter.
	dir, err := os.MkdirTemp("", "vigil-peer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	q := &rabbitmq{t: t, dir: dir}
	cmd := exec.Command("testdata/peers/rabbitmq.sh", dir)
	cmd.Env = os.Environ()
	for _, name := range []string{"AMQP", "API", "DIST", "EPMD"} {
		port := freePort(t)
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", name, port))
		switch name {
		case "AMQP":
			q.uri = fmt.Sprintf("amqp://vigil:pass-vigil@127.0.0.1:%d/%%2F", port)
		case "API":
			q.api = fmt.Sprintf("http://127.0.0.1:%d", port)
		}
	}
	var log bytes.Buffer
	cmd.Stderr = &log
	stdin, err := cmd.StdinPipe() // the script stops when it ends
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		stuck := time.AfterFunc(time.Minute, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		defer stuck.Stop()
		io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); err != nil {
			t.Errorf("rabbitmq.sh: %v", err)
		}
		if t.Failed() {
			t.Logf("rabbitmq.sh:\n%s", &log)
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	ready, pid, _ := strings.Cut(strings.TrimSpace(line), " ")
	if q.pid, _ = strconv.Atoi(pid); ready != "ready" || q.pid == 0 {
		t.Fatalf("rabbitmq.sh did not start: %q, %v", line, err)
	}
	return q
}

// call does something through the server's HTTP API.
func (q *rabbitmq) call(method, path, body string) {
	q.t.Helper()
	req, err := http.NewRequest(method, q.api+"/api"+path, strings.NewReader(body))
	if err != nil {
		q.t.Fatal(err)
	}
	req.SetBasicAuth("vigil", "pass-vigil")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		q.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode/100 != 2 || strings.Contains(string(text), `"routed":false`) {
		q.t.Fatalf("%s %s: %s %s", method, path, resp.Status, text)
	}
}

// publish puts n messages into the queue.
func (q *rabbitmq) publish(n int) {
	q.t.Helper()
	for range n {
		q.call("POST", "/exchanges/%2F/amq.default/publish", `{"properties":{},"routing_key":"mail/out","payload":"m","payload_encoding":"string"}`)
	}
}

// hold has a consumer take n messages and never acknowledge them.
func (q *rabbitmq) hold(n int) (release func()) {
	q.t.Helper()
	cmd := exec.Command("amqp-consume", "-u", q.uri, "-q", "mail/out", "-p", strconv.Itoa(n), "sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		q.t.Fatal(err)
	}
	release = func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	}
	q.t.Cleanup(release)
	return release
}

// A queue's depth, as RabbitMQ counts it, through all that it may mean.
func TestPeerRabbitMQ(t *testing.T) {
	q := startRabbitMQ(t)
	plugin := fmt.Sprintf(`
[plugins.rabbitmq]
api_url = %q
auth_username = "vigil"
auth_password = "pass-vigil"
virtualhost = "/"
queue_ready_healthy_below = 3
queue_ready_dead_above = 6
queue_nack_healthy_below = 100
queue_nack_dead_above = 200
queue_loaded_retry_delay = 50
`, q.api)
	r := startVigil(t, fmt.Sprintf(peerConfig, 1000, 10, plugin, `
rabbitmq_queue = "mail/out"
rabbitmq_queue_nack_healthy_below = 2
rabbitmq_queue_nack_dead_above = 4
`))
	// RabbitMQ's own counts lag some seconds behind: report until it is so.
	until := func(what string, ok func(alerts string) bool) {
		t.Helper()
		alerts := ""
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if code, body := r.request("POST", "/reporter/relay%20eu/socket%20client/", "tok/en+secret", `{"replica":"one","interval":60,"load":{"cpu":0,"ram":0}}`); code != 200 {
				t.Fatal(code, body)
			}
			if _, alerts = r.request("GET", "/manager/prober/alerts/", "manage", ""); ok(alerts) {
				return
			}
		}
		t.Fatalf("%s: alerts are %s\nlog: %s", what, alerts, r.logged())
	}
	alert := func(want string) func(string) bool {
		return func(alerts string) bool { return strings.Contains(alerts, want) }
	}
	none := alert(`{"dead":[],"sick":[]}`)
	logged := func(want string) func(string) bool {
		return func(alerts string) bool { return none(alerts) && strings.Contains(r.logged(), want) }
	}

	until("a queue that is not there", logged("HTTP 404"))
	q.call("PUT", "/queues/%2F/mail%2Fout", `{"durable":true}`)
	until("a queue without counts", logged("answer without counts"))
	until("an empty queue", logged("rabbitmq queue known again"))
	q.publish(3)
	until("loaded, ready", alert(`"reason":"queue loaded: 3 ready"`))
	q.publish(4)
	until("stalled, ready", alert(`"reason":"queue stalled: 7 ready"`))
	release := q.hold(5)
	until("stalled, unacked", alert(`"reason":"queue stalled: 5 unacked"`))
	release()
	release = q.hold(2)
	until("loaded, ready before unacked", alert(`"reason":"queue loaded: 5 ready"`))
	release()
	until("stalled again", alert(`"reason":"queue stalled: 7 ready"`))
	q.call("DELETE", "/queues/%2F/mail%2Fout/contents", "")
	until("drained", none)

	// A server that hangs, as one that is down, changes nothing.
	q.publish(3)
	until("loaded again", alert(`"reason":"queue loaded: 3 ready"`))
	syscall.Kill(q.pid, syscall.SIGSTOP)
	defer syscall.Kill(q.pid, syscall.SIGCONT)
	until("a server that hangs", func(alerts string) bool {
		return strings.Contains(r.logged(), "Client.Timeout exceeded") && strings.Contains(alerts, `"reason":"queue loaded: 3 ready"`)
	})
	if strings.Contains(r.logged(), "pass-vigil") {
		t.Error("the password is in the log")
	}
}
