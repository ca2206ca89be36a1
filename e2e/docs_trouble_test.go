package e2e

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// madeElsewhere are troubles that take another user, a disk that fails, an hour
// or a server of another kind: other tests make them and read the log.
var madeElsewhere = []string{
	"ICMP not permitted",
	"storage failing, continuing in memory",
	"other users can write to the storage folder",
	"file of another storage folder ignored",
	"delivery still refused, giving up",
	"delivery failed, giving up",
	"rabbitmq queue not known",
	"checks take longer than their interval",
	"this machine is short of something",
	"this process did not run for a while",
	"cannot accept connections",
	"master unreachable, reports wait",
	"master rejects reports",
	"master rejects this node",
	"report failed, will retry",
}

// testSources is the text of all other tests.
func testSources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range []string{"*_test.go", "notify/*_test.go", "e2e/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if file != filepath.Join("e2e", "docs_trouble_test.go") {
				all.WriteString(read(t, file))
			}
		}
	}
	return all.String()
}

// What docs/troubleshooting.md tells to look for in the log is what the log says when there
// is that trouble.
func TestDocumentedTrouble(t *testing.T) {
	t.Parallel()
	refusal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer refusal.Close()
	stranger := httptest.NewUnstartedServer(nil)
	stranger.Config.ErrorLog = log.New(io.Discard, "", 0) // it is refused all the time
	stranger.StartTLS()
	defer stranger.Close()
	config := strings.NewReplacer("REFUSAL", refusal.URL, "STRANGER", stranger.URL, "SHUT", freeAddress(t)).Replace(`
[server]
log_level = "info"
inet = "127.0.0.1:0"
manager_token = "secret"
reporter_token = "${A_VARIABLE_THAT_IS_NOT_SET}"
[branding]
page_url = "https://status.example.com/"
page_titel = "Acme Status"
[metrics]
script_interval = 1
script_parallelism = 1
[notify.webhook]
hook_url = "REFUSAL"
[notify.gotify]
app_url = "STRANGER"
app_token = "x"
[notify.matrix]
homeserver_url = "https://matrix.example.com"
room_id = "!abc123:matrix.example.com"
username = "vigil"
password = "x"
[probe]
connectivity = ["tcp://SHUT"]
[[probe.service]]
id = "web"
label = "Web"
[[probe.service.node]]
id = "slow"
label = "Slow"
mode = "script"
scripts = ["sleep 0.8", "sleep 0.8; exit 2"]
`)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data", "journal-000001.jsonl"), []byte("what the power left of it\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := startIn(t, dir, config, `serving the status page.*url=(\S+)`)
	for range wrongTokens + 1 {
		req, err := http.NewRequest("GET", r.url+"manager/announcements/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("", "wrong")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if err := os.WriteFile(filepath.Join(dir, "config.cfg"), []byte(config+"="), 0o600); err != nil {
		t.Fatal(err)
	}
	r.cmd.Process.Signal(syscall.SIGHUP)

	// Beside it, what does not start, and what starts without its folder.
	elsewhere := t.TempDir()
	if err := os.WriteFile(filepath.Join(elsewhere, "data"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	without := startIn(t, elsewhere, strings.Replace(config, `"info"`, `"warn"`, 1), `(storage folder cannot be used)`)
	said := without.logged()
	taken := strings.Replace(config, "127.0.0.1:0", hostPort(t, r.url), 1)
	for name, text := range map[string]string{"taken.cfg": strings.Replace(taken, "[probe]", "[storage]\npath = \"\"\n[probe]", 1), "second.cfg": config} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"taken.cfg", "second.cfg", "none.cfg"} {
		cmd := exec.Command(vigil, "-c", file)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("%s: it runs", file)
		}
		said += string(out)
	}

	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(read(t, "docs/troubleshooting.md"), -1)
	if len(rows) < 20 {
		t.Errorf("%d log lines in the table", len(rows))
	}
	tests := testSources(t)
	for _, row := range rows {
		if slices.Contains(madeElsewhere, row[1]) {
			if !strings.Contains(tests, row[1]) {
				t.Errorf("no test reads %q in the log", row[1])
			}
			continue
		}
		await(t, func() bool { return strings.Contains(said+r.logged(), row[1]) }, "%q in the log", row[1])
	}
}
