//go:build peer

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The commands of PROTOCOL.md, with curl, on the config of PROTOCOL.md, answer
// what it says.
func TestPeerProtocol(t *testing.T) {
	text, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	config := regexp.MustCompile("(?s)```toml\n(.*?)```").FindStringSubmatch(string(text))[1]
	r := startVigil(t, strings.Replace(config, `inet = "127.0.0.1:8080"`, "inet = \"127.0.0.1:0\"\nlog_level = \"info\"", 1))
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".curlrc"), []byte("silent\nshow-error\nmax-time = 10\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	uuid := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
	moment := regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)"`)
	documented := uuid.FindString(string(text))
	actual := documented
	run := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for _, step := range strings.Split("\n"+strings.TrimSuffix(block[1], "\n"), "\n$ ")[1:] {
			command, want, _ := strings.Cut(step, "\n")
			if strings.HasPrefix(command, "VIGIL=") {
				continue
			}
			cmd := exec.Command("sh", "-c", strings.ReplaceAll(command, documented, actual))
			cmd.Env = append(os.Environ(), "HOME="+home, "VIGIL="+strings.TrimSuffix(r.url, "/"))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v", command, err)
			}
			if id := uuid.FindString(string(out)); id != "" {
				actual = id
			}
			got := strings.ReplaceAll(strings.TrimSuffix(string(out), "\n"), actual, documented)
			if moment.ReplaceAllString(got, "TIME") != moment.ReplaceAllString(want, "TIME") {
				t.Errorf("%s\nanswers %s\nnot     %s", command, got, want)
			}
			run++
		}
	}
	if run < 20 {
		t.Errorf("only %d commands were found", run)
	}
}
