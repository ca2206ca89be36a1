package e2e

import (
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const metricsConfig = `
[server]
log_level = "info"
inet = "127.0.0.1:0"
manager_token = "manage me"
reporter_token = "report"
[branding]
page_url = "https://status.example.net/"
[storage]
path = ""
[metrics]
poll_interval = 1
[[probe.service]]
id = "web"
label = "Web"
[[probe.service.node]]
id = "core"
label = "Core"
mode = "poll"
replicas = ["tcp://127.0.0.1:1"]
[[probe.service.node]]
id = "jobs"
label = "Jobs"
mode = "push"
`

// The figures of the program as a whole, and those that outlive a reload.
func TestMetricsOfProgram(t *testing.T) {
	t.Parallel()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	r := startVigil(t, metricsConfig+polledNode("shop", "Shop", secure.URL)+"tls_verify = false\n")
	samples := func() map[string]float64 {
		t.Helper()
		req, err := http.NewRequest("GET", r.url+"metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("", "manage me")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s %v", resp.StatusCode, body, err)
		}
		all := make(map[string]float64)
		for line := range strings.Lines(string(body)) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "#") {
				continue
			}
			end := strings.LastIndexByte(line, ' ')
			if all[line[:max(end, 0)]], err = strconv.ParseFloat(line[end+1:], 64); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
		return all
	}
	// until polls until the samples are as wanted.
	until := func(what string, ok func(map[string]float64) bool) {
		t.Helper()
		await(t, func() bool { return ok(samples()) }, "%s", what)
	}
	const checks = `vigil_probe_duration_seconds_count{mode="poll"}`
	until("a check is counted and the replica dead", func(s map[string]float64) bool {
		return s[checks] >= 1 && s[`vigil_replicas{service="web",node="core",status="dead"}`] == 1
	})
	const expiry = `vigil_certificate_expiry_seconds{service="web",node="shop"}`
	until("a certificate is seen", func(s map[string]float64) bool { return s[expiry] != 0 })
	if got, want := samples()[expiry], time.Until(secure.Certificate().NotAfter).Seconds(); math.Abs(got-want) > 3600 {
		t.Errorf("%v s until the certificate ends, want %v", got, want)
	}
	if _, ok := samples()[`vigil_certificate_expiry_seconds{service="web",node="core"}`]; ok {
		t.Error("a TCP target has a certificate")
	}
	r.get("")
	if s := samples(); s[`vigil_http_requests_total{route="page"}`] != 1 || s["vigil_status"] != 2 ||
		s[`vigil_queue_length{queue="events"}`] > 1 || s["go_goroutines"] < 5 || s["vigil_snapshot_duration_seconds_count"] < 1 {
		t.Errorf("samples are %v", s)
	}
	before := samples()[checks]
	r.cmd.Process.Signal(syscall.SIGHUP)
	until("the reload is counted", func(s map[string]float64) bool {
		return s[`vigil_config_reloads_total{result="good"}`] == 1
	})
	if after := samples()[checks]; after < before {
		t.Errorf("%v checks counted after a reload, %v before", after, before)
	}
	r.stop(os.Interrupt)
}

func TestDebugAddress(t *testing.T) {
	t.Parallel()
	r := startIn(t, t.TempDir(), metricsConfig, `serving profiles.*url=(\S+)`, "-debug-addr", "127.0.0.1:0")
	if body := r.get("goroutine?debug=1"); !strings.Contains(body, "goroutine profile") {
		t.Errorf("the goroutines are %q", body)
	}
	if body := r.get(""); !strings.Contains(body, "heap?debug=1") {
		t.Errorf("the profiles are %q", body)
	}
	for _, name := range []string{"profile?seconds=1", "heap", "allocs"} {
		if body := r.get(name); !strings.HasPrefix(body, "\x1f\x8b") { // gzip, as pprof wants it
			t.Errorf("%s is %.40q", name, body)
		}
	}
	r.waitForLog("", "serving the status page")
	page := regexp.MustCompile(`serving the status page" url=(\S+)`).FindStringSubmatch(r.logged())[1]
	resp, err := http.Get(page + "debug/pprof/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("the page's own address answers %s to a request for profiles", resp.Status)
	}
	r.stop(os.Interrupt)

	cmd := exec.Command(vigil, "-debug-addr", "nowhere")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if want := `-debug-addr "nowhere": listen tcp: address nowhere: missing port in address`; err == nil || !strings.Contains(string(out), want) {
		t.Errorf("%v %s, want %s", err, out, want)
	}
}
