package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// dashboardQueries returns what the panels of the Grafana dashboard ask for.
func dashboardQueries(t *testing.T) []string {
	t.Helper()
	var dashboard struct {
		Title, UID    string
		SchemaVersion int
		Panels        []struct {
			ID      int
			Title   string
			Type    string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ RefID, Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "packaging/grafana/vigil.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.Title != "Vigil" || dashboard.UID != "vigil" || dashboard.SchemaVersion == 0 {
		t.Errorf("dashboard %q %q of schema %d", dashboard.Title, dashboard.UID, dashboard.SchemaVersion)
	}
	var queries []string
	ids := make(map[int]bool)
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.Title == "" || p.Type == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d %q: id used twice, or no title, type or query", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.GridPos.X < 0 || p.GridPos.W <= 0 || p.GridPos.X+p.GridPos.W > 24 || p.GridPos.H <= 0 {
			t.Errorf("panel %q lies at %+v, outside of the grid", p.Title, p.GridPos)
		}
		for _, target := range p.Targets {
			queries = append(queries, target.Expr)
		}
	}
	return queries
}

// Every metric that the Grafana dashboard shows is one that Vigil has.
func TestDashboardMetrics(t *testing.T) {
	t.Parallel()
	queries := dashboardQueries(t)
	config := strings.Replace(metricsConfig, "[storage]\npath = \"\"\n", "", 1)
	r := startVigil(t, config+"[notify.webhook]\nhook_url = \"http://127.0.0.1:1/\"\n")
	_, metrics := r.call("GET", "/metrics", "manage me", "")
	name := regexp.MustCompile(`\b(vigil|process|go)_[a-z_]+`)
	asked := 0
	for _, query := range queries {
		for _, metric := range name.FindAllString(query, -1) {
			asked++
			family := strings.TrimSuffix(metric, "_bucket")
			if !strings.Contains(metrics, "\n# TYPE "+family+" ") && !strings.HasPrefix(metrics, "# TYPE "+family+" ") {
				t.Errorf("%s: Vigil has no metric %s", query, family)
			}
		}
	}
	if asked < 15 {
		t.Errorf("the dashboard asks for %d metrics only", asked)
	}
}

// kubernetesText returns the indented text behind a line of the manifest.
func kubernetesText(t *testing.T, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(read(t, "packaging/kubernetes/vigil.yaml"), heading+"\n")
	if !ok {
		t.Fatalf("the manifest has no %q", heading)
	}
	indent := rest[:len(rest)-len(strings.TrimLeft(rest, " "))]
	var text strings.Builder
	for line := range strings.Lines(rest) {
		line, ok := strings.CutPrefix(line, indent)
		if !ok {
			break
		}
		text.WriteString(line)
	}
	return text.String()
}

// The manifest's config is good, and its second container has it read again
// after a change.
func TestKubernetesConfigIsReloaded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "config.cfg")
	config := strings.NewReplacer("[server]\n", "[server]\nlog_level = \"info\"\n", `"0.0.0.0:8080"`, `"127.0.0.1:0"`, `"/data"`, `""`,
		"http://shop.default.svc:8080/", "tcp://127.0.0.1:1").Replace(kubernetesText(t, "  config.cfg: |"))
	t.Run("check", func(t *testing.T) {
		if err := os.WriteFile(file, []byte(kubernetesText(t, "  config.cfg: |")), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(vigil, "check", "-strict", "-c", file)
		cmd.Env = append(os.Environ(), "VIGIL_MANAGER_TOKEN=manage")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})

	config = strings.Replace(config, "${VIGIL_MANAGER_TOKEN}", "manage", 1)
	r := startIn(t, dir, config, serving)
	address := fmt.Sprintf("inet = %q", hostPort(t, r.url))
	config = strings.Replace(config, `inet = "127.0.0.1:0"`, address, 1)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	script := strings.NewReplacer("/etc/vigil/config.cfg", file, "sleep 10", "sleep 0.1", "vigil reload", vigil+" reload").
		Replace(kubernetesText(t, "            - |"))
	loop := exec.Command("/bin/sh", "-c", script)
	if err := loop.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		loop.Process.Kill()
		loop.Wait()
	})
	// The loop takes the first content that it sees for what runs: change it until
	// it has seen another.
	for i := range 200 {
		changed := strings.Replace(config, "Acme Status", fmt.Sprint("Acme ", i), 1)
		if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if strings.Contains(r.get("status/report"), `"name":"Acme `) && !strings.Contains(r.get("status/report"), "Acme Status") {
			return
		}
	}
	t.Error("the changed config is not read")
}

// Whatever .ci/run downloads is held to a checksum: of go.sum, a lock file, a list
// of hashes, or Debian's signatures. So are the bases of the image.
func TestDownloadsArePinned(t *testing.T) {
	var sources []string
	for _, pattern := range []string{".ci/run", "dist.sh", "packaging/*", "testdata/peers/*.sh", "*_peer_test.go", "*/*_peer_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		sources = append(sources, files...)
	}
	spaced := strings.NewReplacer(`", "`, " ", `"`, " ") // as a shell would have it
	pinned := 0
	for _, file := range sources {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a folder
		}
		for i, line := range strings.Split(string(text), "\n") {
			line := spaced.Replace(line)
			for download, wants := range map[string]string{
				`\bgo (run|install|get) .*@`:        "nothing of that kind: testdata/tools has the modules",
				`\bgo tool (-modfile\S+ )?[a-z]`:    "-modfile=testdata/tools/go.mod",
				`\bnpm (install|i|add|ci)\b|\bnpx `: "npm ci",
				`\bpip\b\W*\binstall\b`:             "--require-hashes",
				`\bcargo,?\s+(install|build|run)\b`: "--locked",
				`\b(curl|wget) [^|]*https://`:       "nothing of that kind",
				`^FROM .*[:/]`:                      `^FROM \S+:\d+\.\d+\.\d+\S*@sha256:[0-9a-f]{64}( AS \w+)?$`,
			} {
				if !regexp.MustCompile(download).MatchString(line) {
					continue
				}
				if !regexp.MustCompile(wants).MatchString(line) {
					t.Errorf("%s:%d: %s\nwants %s", file, i+1, strings.TrimSpace(line), wants)
				}
				pinned++
			}
		}
	}
	if pinned < 12 {
		t.Errorf("only %d downloads are found", pinned)
	}
	for _, folder := range []string{"api", "browser", "mcp"} {
		var lock struct {
			Packages map[string]struct{ Integrity string }
		}
		if err := json.Unmarshal([]byte(read(t, "testdata/"+folder+"/package-lock.json")), &lock); err != nil || len(lock.Packages) < 2 {
			t.Errorf("%s: %v", folder, err)
		}
		for name, p := range lock.Packages {
			if name != "" && p.Integrity == "" {
				t.Errorf("%s: %s has no checksum", folder, name)
			}
		}
	}
}
