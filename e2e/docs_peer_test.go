//go:build peer

package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// proxied is what the servers of docs/running.md stand in front of. The node's id
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

// documentFence returns the nth block of a language of a document.
func documentFence(t *testing.T, document, language string, n int) string {
	t.Helper()
	for _, f := range fences(t, document) {
		if f.language == language {
			if n == 0 {
				return f.text
			}
			n--
		}
	}
	t.Fatalf("%s has no %d blocks of %s", document, n+1, language)
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

// startNginx runs nginx with a config for its http block.
func startNginx(t *testing.T, config string) {
	t.Helper()
	dir := t.TempDir()
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

func TestPeerNginxOfDocuments(t *testing.T) {
	installPeer(t, "nginx-light", "openssl")
	run := func(t *testing.T, vigil, config string) {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "status.pem"), filepath.Join(dir, "status.key")
		if out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
			"-subj", "/CN=status.example.com", "-days", "2", "-keyout", key, "-out", cert).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		startNginx(t, strings.NewReplacer("127.0.0.1:8080", vigil, "/etc/ssl/status.pem", cert, "/etc/ssl/status.key", key).Replace(config))
	}
	t.Run("tls", func(t *testing.T) {
		r := startVigil(t, proxied)
		address := freeAddress(t)
		config := strings.Replace(documentFence(t, "docs/running.md", "nginx", 0), "listen 443 ssl", "listen "+address+" ssl", 1)
		run(t, hostPort(t, r.url), config)
		checkProxy(t, "https://"+address+"/")
	})
	t.Run("path", func(t *testing.T) {
		r := startVigil(t, strings.Replace(proxied, "[branding]", "path_prefix = \"/status\"\n[branding]", 1))
		address := freeAddress(t)
		run(t, hostPort(t, r.url), "server {\nlisten "+address+";\n"+documentFence(t, "docs/running.md", "nginx", 1)+"}\n")
		checkProxy(t, "http://"+address+"/status/")
	})
	t.Run("stripped", func(t *testing.T) {
		r := startVigil(t, proxied)
		address := freeAddress(t)
		run(t, hostPort(t, r.url), "server {\nlisten "+address+";\n"+documentFence(t, "docs/page.md", "nginx", 0)+"}\n")
		checkStripped(t, "http://"+address+"/status/")
	})
}

// checkStripped uses the page through a proxy that strips its path and says
// itself who may read the answers.
func checkStripped(t *testing.T, page string) {
	t.Helper()
	get := func(route string) (header http.Header, body string) {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			resp, err := http.Get(page + route)
			said := fmt.Sprint(err)
			if err == nil {
				text, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					return resp.Header, string(text)
				}
				said = resp.Status
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %s", route, said)
			}
		}
	}
	header, body := get("status/text")
	if got := header.Values("Access-Control-Allow-Origin"); body != "healthy" || len(got) != 1 || got[0] != "https://www.example.com" {
		t.Errorf("%s, for %q", body, got)
	}
	_, body = get("")
	assets := regexp.MustCompile(` (?:href|src)="([^"]*assets/[^"]*)"`).FindAllStringSubmatch(body, -1)
	if len(assets) == 0 {
		t.Errorf("no assets in\n%s", body)
	}
	for _, m := range assets {
		if strings.HasPrefix(m[1], "/") {
			t.Errorf("%s does not hold under a path", m[1])
			continue
		}
		get(m[1])
	}
}

// The cache of the page on scaling asks for all visitors, hands through what is
// not for it, turns to the second Vigil, and shows what it has for a while when
// there is none.
func TestPeerCacheOfScaling(t *testing.T) {
	installPeer(t, "nginx-light")
	first := startVigil(t, strings.Replace(proxied, "Acme Status", "First", 1))
	second := startVigil(t, strings.Replace(proxied, "Acme Status", "Second", 1))
	address := freeAddress(t)
	startNginx(t, strings.NewReplacer(
		"/var/cache/nginx/status", filepath.Join(t.TempDir(), "cache"),
		"listen 80;", "listen "+address+";",
		"status-a.example.com:8080", hostPort(t, first.url),
		"status-b.example.com:8080", hostPort(t, second.url),
	).Replace(documentFence(t, "docs/scaling.md", "nginx", 0)))

	client := &http.Client{Timeout: 10 * time.Second}
	get := func(method, route string, fields ...string) (code int, cached, body string) {
		req, err := http.NewRequest(method, "http://"+address+route, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(fields); i += 2 {
			req.Header.Set(fields[i], fields[i+1])
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, "", err.Error()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, resp.Header.Get("X-Cache"), string(text)
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				code, cached, body := get("GET", "/")
				t.Fatalf("%s: the page is %d %s %.200s", what, code, cached, body)
			}
		}
	}
	shows := func(page string, states ...string) func() bool {
		return func() bool {
			code, cached, body := get("GET", "/")
			return code == http.StatusOK && strings.Contains(body, "<title>Checking all systems | "+page+"</title>") && slices.Contains(states, cached)
		}
	}
	until("served", shows("First", "MISS", "HIT", "STALE", "UPDATING"))
	hits := 0
	for range 100 {
		if _, cached, _ := get("GET", "/"); cached == "HIT" || cached == "STALE" || cached == "UPDATING" {
			hits++
		}
	}
	if hits < 90 {
		t.Errorf("%d of 100 requests were answered by the cache", hits)
	}
	for range 3 {
		if code, cached, body := get("GET", "/status/text"); code != http.StatusOK || body != "healthy" || cached != "MISS" {
			t.Errorf("/status/text: %d %s %s", code, cached, body)
		}
		if code, cached, _ := get("GET", "/manager/announcements/"); code != http.StatusUnauthorized && code != http.StatusForbidden && code != http.StatusNotFound || cached == "HIT" {
			t.Errorf("the Manager API: %d %s", code, cached)
		}
	}
	first.stop(os.Interrupt)
	until("the second one", shows("Second", "MISS", "HIT", "STALE", "UPDATING", "EXPIRED"))
	second.stop(os.Interrupt)
	time.Sleep(7 * time.Second) // over stale-while-revalidate
	until("none", shows("Second", "STALE"))
	if code, _, _ := get("GET", "/status/text"); code != http.StatusBadGateway && code != http.StatusGatewayTimeout {
		t.Errorf("/status/text without any Vigil: %d", code)
	}
}

func TestPeerCaddyOfDocuments(t *testing.T) {
	installPeer(t, "caddy")
	r := startVigil(t, proxied)
	dir, address := t.TempDir(), freeAddress(t)
	// For a local address Caddy signs the certificate itself.
	_, port, _ := strings.Cut(address, ":")
	config := strings.NewReplacer("status.example.com", "https://localhost:"+port, "127.0.0.1:8080", hostPort(t, r.url)).
		Replace(documentFence(t, "docs/running.md", "caddyfile", 0))
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
	checks := [][]string{
		{"check", "config", "--syntax-only", "packaging/prometheus/prometheus.yml"},
		{"check", "rules", "packaging/prometheus/vigil.rules.yml"},
	}
	var asking strings.Builder
	for _, document := range []string{"PROTOCOL.md", "docs/scaling.md"} {
		for i, f := range fences(t, document) {
			if f.language != "yaml" {
				continue
			}
			file := filepath.Join(t.TempDir(), fmt.Sprint(i, ".yml"))
			if err := os.WriteFile(file, []byte(f.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(f.text, "groups:") {
				asking.WriteString(f.text)
				checks = append(checks, []string{"check", "rules", file})
			} else {
				checks = append(checks, []string{"check", "config", "--syntax-only", file})
			}
		}
	}
	if len(checks) != 5 {
		t.Errorf("%d files to check, want 5", len(checks))
	}
	for _, args := range checks {
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
	asked := regexp.MustCompile(`vigil_[a-z_]+`).FindAllString(string(rules)+asking.String(), -1)
	if len(asked) < 4 {
		t.Errorf("the rules ask for %q only", asked)
	}
	for _, name := range asked {
		if !strings.Contains(string(metrics), `"`+strings.TrimSuffix(name, "_bucket")+`"`) {
			t.Errorf("there is no metric %s", name)
		}
	}
}

// The dashboard's queries are good for Prometheus, and the manifest and the
// compose file for the programs that they are for.
func TestPeerManifests(t *testing.T) {
	installPeer(t, "prometheus", "docker-compose", "python3-venv")
	rules := "groups:\n- name: dashboard\n  rules:\n"
	for i, query := range dashboardQueries(t) {
		query = strings.ReplaceAll(query, "$__rate_interval", "1m")
		rules += fmt.Sprintf("  - record: panel%d\n    expr: %q\n", i, query)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rules.yml"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("promtool", "check", "rules", filepath.Join(dir, "rules.yml")).CombinedOutput(); err != nil {
		t.Errorf("the dashboard's queries: %v\n%s", err, out)
	}
	if out, err := exec.Command("docker-compose", "-f", "packaging/compose.yaml", "config", "--quiet").CombinedOutput(); err != nil {
		t.Errorf("packaging/compose.yaml: %v\n%s", err, out)
	}
	// This package has the schemas of Kubernetes' API in it.
	install(t, dir, nil, "python3", "-m", "venv", "venv")
	install(t, ".", nil, filepath.Join(dir, "venv/bin/pip"), "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", "testdata/peers/kubernetes.txt")
	for _, release := range []string{"1.28", "1.37"} {
		if out, err := exec.Command(filepath.Join(dir, "venv/bin/kubernetes-validate"), "--strict", "-k", release,
			"packaging/kubernetes/vigil.yaml").CombinedOutput(); err != nil {
			t.Errorf("Kubernetes %s: %v\n%s", release, err, out)
		}
	}
}
