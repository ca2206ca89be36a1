//go:build peer

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// installPeer installs Debian packages that are missing.
func installPeer(t *testing.T, packages ...string) {
	t.Helper()
	if out, err := exec.Command("testdata/peers/install.sh", packages...).CombinedOutput(); err != nil {
		t.Fatalf("install.sh: %v\n%s", err, out)
	}
}

func TestPeerPromtool(t *testing.T) {
	installPeer(t, "prometheus")
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = bytes.NewReader(newTestScrape(t).text(time.Now()))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// A real Prometheus scrapes, with the token as its password, and is asked for
// what it has.
func TestPeerPrometheus(t *testing.T) {
	installPeer(t, "prometheus")
	s := newTestScrape(t)
	vigil := httptest.NewServer(s.page.handler(map[string]http.Handler{"metrics": s}))
	defer vigil.Close()
	dir := t.TempDir()
	config := fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: vigil
    basic_auth: {username: prometheus, password: manage me}
    static_configs: [{targets: [%q]}]
`, strings.TrimPrefix(vigil.URL, "http://"))
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	cmd := exec.Command("prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	}()

	// query returns the labels and the value of each series.
	query := func(q string) map[string]string {
		resp, err := http.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(q))
		if err != nil {
			return nil // it is not up yet
		}
		defer resp.Body.Close()
		var answer struct {
			Data struct {
				Result []struct {
					Metric map[string]string
					Value  [2]any
				}
			}
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			return nil
		}
		series := make(map[string]string)
		for _, r := range answer.Data.Result {
			delete(r.Metric, "instance")
			delete(r.Metric, "job")
			series[fmt.Sprint(r.Metric)] = fmt.Sprint(r.Value[1])
		}
		return series
	}
	deadline := time.Now().Add(time.Minute)
	for len(query("up == 1")) == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("no scrape succeeded: %v", query("up"))
		}
		time.Sleep(200 * time.Millisecond)
	}
	for q, want := range map[string]string{
		`vigil_status`: "map[map[__name__:vigil_status]:2]",
		`vigil_replicas{service="odd",node=~"(?s)a.*",status="dead"}`:               "map[map[__name__:vigil_replicas node:a\"b\\c\nd\ufffd service:odd status:dead]:1]",
		`histogram_quantile(0.5, vigil_probe_duration_seconds_bucket{mode="poll"})`: "map[map[mode:poll]:0.00375]",
		`count(vigil_node_status)`: "map[map[]:11]",
	} {
		if got := fmt.Sprint(query(q)); got != want {
			t.Errorf("%s is\n%s, want\n%s", q, got, want)
		}
	}
}
