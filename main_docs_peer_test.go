//go:build peer

package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// proxied is what the servers of the README stand in front of. The node's id
// has a slash in it, which a proxy must hand through as it is.
const proxied = `
[server]
log_level = "info"
inet = "127.0.0.1:0"
reporter_token = "secret"
[branding]
page_title = "Acme Status"
page_url = "https://status.example.com/"
[storage]
path = ""
[[probe.service]]
id = "web"
label = "Web"
[[probe.service.node]]
id = "jobs/nightly"
label = "Jobs"
mode = "push"
`

// readmeFence returns the nth block of a language of the README.
func readmeFence(t *testing.T, language string, n int) string {
	t.Helper()
	for _, f := range fences(t, "README.md") {
		if f.language == language {
			if n == 0 {
				return f.text
			}
			n--
		}
	}
	t.Fatalf("the README has no %d blocks of %s", n+1, language)
	return ""
}

// startProxy runs a web server in the foreground until the test ends.
func startProxy(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	log := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		if t.Failed() {
			t.Logf("log of the proxy:\n%s", log)
		}
	})
}

// checkProxy uses the page and the Reporter API through a proxy.
func checkProxy(t *testing.T, page string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // made for this test
	}}
	get := func(route string) (int, string) {
		resp, err := client.Get(page + route)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		code, body := get("status/text")
		if code == http.StatusOK && body == "healthy" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d %s", code, body)
		}
	}
	if code, body := get(""); code != http.StatusOK || !strings.Contains(body, "Acme Status") {
		t.Errorf("the page: %d %s", code, body)
	}
	req, err := http.NewRequest("POST", page+"reporter/web/jobs%2Fnightly/", strings.NewReader(`{"replica":"a","interval":30,"load":{"cpu":2,"ram":0.1}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("", "secret")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a report: %s", resp.Status)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, body := get("status/text"); body == "sick" {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("after the report the status is %s", body)
		}
	}
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

func TestPeerNginxOfReadme(t *testing.T) {
	installPeer(t, "nginx-light", "openssl")
	run := func(t *testing.T, vigil, config string) {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "status.pem"), filepath.Join(dir, "status.key")
		if out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
			"-subj", "/CN=status.example.com", "-days", "2", "-keyout", key, "-out", cert).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		config = strings.NewReplacer("127.0.0.1:8080", vigil, "/etc/ssl/status.pem", cert, "/etc/ssl/status.key", key).Replace(config)
		var paths strings.Builder
		for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			fmt.Fprintf(&paths, "%s_temp_path %s/%s;\n", name, dir, name)
		}
		file := filepath.Join(dir, "nginx.conf")
		text := fmt.Sprintf("pid %s/pid;\ndaemon off;\nmaster_process off;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n%s\n%s\n}\n", dir, &paths, config)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		startProxy(t, exec.Command("/usr/sbin/nginx", "-e", "stderr", "-c", file))
	}
	t.Run("tls", func(t *testing.T) {
		r := startVigil(t, proxied)
		address := freeAddress(t)
		config := strings.Replace(readmeFence(t, "nginx", 0), "listen 443 ssl", "listen "+address+" ssl", 1)
		run(t, hostPort(t, r.url), config)
		checkProxy(t, "https://"+address+"/")
	})
	t.Run("path", func(t *testing.T) {
		r := startVigil(t, strings.Replace(proxied, "[branding]", "path_prefix = \"/status\"\n[branding]", 1))
		address := freeAddress(t)
		run(t, hostPort(t, r.url), "server {\nlisten "+address+";\n"+readmeFence(t, "nginx", 1)+"}\n")
		checkProxy(t, "http://"+address+"/status/")
	})
}

func TestPeerCaddyOfReadme(t *testing.T) {
	installPeer(t, "caddy")
	r := startVigil(t, proxied)
	dir, address := t.TempDir(), freeAddress(t)
	// For a local address Caddy signs the certificate itself.
	_, port, _ := strings.Cut(address, ":")
	config := strings.NewReplacer("status.example.com", "https://localhost:"+port, "127.0.0.1:8080", hostPort(t, r.url)).
		Replace(readmeFence(t, "caddyfile", 0))
	config = "{\nadmin off\nskip_install_trust\nauto_https disable_redirects\n}\n" + config
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", file)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	startProxy(t, cmd)
	checkProxy(t, "https://localhost:"+port+"/")
}

// The scrape configs and the alert rules are good for Prometheus, and the rules
// ask for metrics that there are.
func TestPeerPrometheusOfPackage(t *testing.T) {
	installPeer(t, "prometheus")
	protocol := filepath.Join(t.TempDir(), "prometheus.yml")
	for _, f := range fences(t, "PROTOCOL.md") {
		if f.language == "yaml" {
			if err := os.WriteFile(protocol, []byte(f.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, args := range [][]string{
		{"check", "config", "--syntax-only", protocol},
		{"check", "config", "--syntax-only", "packaging/prometheus/prometheus.yml"},
		{"check", "rules", "packaging/prometheus/vigil.rules.yml"},
	} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", args[1], err, out)
		}
	}
	rules, err := os.ReadFile("packaging/prometheus/vigil.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := os.ReadFile("page_metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	asked := regexp.MustCompile(`vigil_[a-z_]+`).FindAllString(string(rules), -1)
	if len(asked) < 4 {
		t.Errorf("the rules ask for %q only", asked)
	}
	for _, name := range asked {
		if !strings.Contains(string(metrics), `"`+name+`"`) {
			t.Errorf("there is no metric %s", name)
		}
	}
}
