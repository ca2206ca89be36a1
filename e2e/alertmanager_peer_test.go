//go:build peer

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// alertmanagerModule is held by go.mod to the last release that holds its page.
const alertmanagerModule = "github.com/prometheus/alertmanager/cmd/alertmanager"

// buildAlertmanager returns the program, which stays in the user's cache folder.
func buildAlertmanager(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "vigil-peer", "bin-0.31.1")
	program := filepath.Join(dir, "alertmanager")
	if _, err := os.Stat(program); err == nil {
		return program
	}
	cmd := exec.Command("go", "build", "-mod=readonly", "-o", program, alertmanagerModule)
	cmd.Dir = "testdata/tools/alertmanager"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("NOT CHECKED: Alertmanager cannot be built: %v\n%s", err, out)
	}
	return program
}

// An alertSink is who Alertmanager notifies.
type alertSink struct {
	*httptest.Server
	mu  sync.Mutex
	got []string // "firing VigilNodeDown shop"
}

func newAlertSink(t *testing.T) *alertSink {
	s := new(alertSink)
	s.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m struct {
			Alerts []struct {
				Status string
				Labels map[string]string
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, a := range m.Alerts {
			s.got = append(s.got, a.Status+" "+a.Labels["alertname"]+" "+a.Labels["node"])
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// told is what it was told of a node.
func (s *alertSink) told(node string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, one := range s.got {
		if strings.HasSuffix(one, " "+node) {
			list = append(list, one)
		}
	}
	return strings.Join(list, ", ")
}

// startAlertmanagers starts a cluster of two and returns their addresses. The
// second waits for the first for a peer-timeout before it notifies; were that
// not shorter than the group_interval, the first could go on to the end of an
// alert meanwhile, and the second would notify of its beginning once more.
func startAlertmanagers(t *testing.T, sink string) []string {
	t.Helper()
	program, dir := buildAlertmanager(t), t.TempDir()
	config := filepath.Join(dir, "am.yml")
	text := fmt.Sprintf(`global: {resolve_timeout: 20s}
route: {receiver: sink, group_by: ['...'], group_wait: 1s, group_interval: 4s, repeat_interval: 1h}
receivers: [{name: sink, webhook_configs: [{url: '%s', send_resolved: true}]}]
`, sink)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	web := []string{freeAddress(t), freeAddress(t)}
	gossip := []string{freeAddress(t), freeAddress(t)}
	for i := range web {
		log := new(lockedBuffer)
		cmd := exec.Command(program, "--config.file="+config, "--storage.path="+filepath.Join(dir, fmt.Sprint(i)),
			"--web.listen-address="+web[i], "--cluster.listen-address="+gossip[i], "--cluster.advertise-address="+gossip[i],
			"--cluster.peer="+gossip[1-i], "--cluster.settle-timeout=3s", "--cluster.peer-timeout=2s")
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
			if t.Failed() {
				t.Logf("Alertmanager %d:\n%s", i, log)
			}
		})
	}
	for _, address := range web {
		await(t, func() bool {
			resp, err := http.Get("http://" + address + "/api/v2/status")
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			var m struct {
				Cluster struct {
					Status string
					Peers  []any
				}
			}
			return json.NewDecoder(resp.Body).Decode(&m) == nil && m.Cluster.Status == "ready" && len(m.Cluster.Peers) == 2
		}, "the Alertmanager at %s is ready", address)
	}
	return web
}

// Two Vigils that watch the same node and post to both members of a cluster of
// Alertmanagers: people are notified once of its death, and once of its return.
// Of another node, which only one Vigil sees down, they are notified once, too.
func TestPeerAlertmanager(t *testing.T) {
	sink := newAlertSink(t)
	members := startAlertmanagers(t, sink.URL)
	target := freeAddress(t)
	ln, err := net.Listen("tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`[server]
log_level = "info"
inet = "127.0.0.1:0"
[branding]
page_title = "Acme Status"
page_url = "https://status.example.com/"
[metrics]
poll_interval = 1
poll_retry = 1
[notify]
startup_notification = false
[notify.alertmanager]
urls = ["http://%s", "http://%s/"]
[[probe.service]]
id = "web"
label = "Website"
`, members[0], members[1]) + polledNode("shop", "Shop", "tcp://"+target)
	near := listening(t, func(net.Conn) {})
	for _, far := range []struct{ address, status string }{{near, "healthy"}, {freeAddress(t), "dead"}} {
		r := startVigil(t, config+polledNode("far", "Far", "tcp://"+far.address))
		r.waitFor("/status/text", far.status, func(s string) bool { return s == far.status })
	}
	await(t, func() bool { return sink.told("far") != "" }, "people are notified of what one Vigil sees")
	begin := time.Now()
	ln.Close()
	const down, back = "firing VigilNodeDown shop", "firing VigilNodeDown shop, resolved VigilNodeDown shop"
	await(t, func() bool { return sink.told("shop") != "" }, "people are notified")
	time.Sleep(8 * time.Second) // for what must not come
	if got := sink.told("shop"); got != down {
		t.Fatalf("people were told %q, want %q", got, down)
	}
	if ln, err = net.Listen("tcp", target); err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	await(t, func() bool { return strings.Contains(sink.told("shop"), "resolved") }, "people are notified of the end")
	time.Sleep(8 * time.Second)
	if got := sink.told("shop"); got != back {
		t.Errorf("people were told %q, want %q", got, back)
	}
	time.Sleep(time.Until(begin.Add(80 * time.Second))) // until both have posted again
	if got := sink.told("far"); got != "firing VigilNodeDown far" {
		t.Errorf("people were told %q of what one Vigil sees", got)
	}
}
