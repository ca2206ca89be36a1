package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// movingVersions is how many minor versions of the Rust Vigil there are: 1.0 to
// 1.29.
const movingVersions = 30

// movingConfig returns the sample of the minor version 1.N of the Rust Vigil, as
// it would be for us: the lines of the newest one that are not marked as of
// other versions. The real ones are looked at by TestPeerMovingSamples.
func movingConfig(t *testing.T, name string, minor int) string {
	t.Helper()
	text, err := os.ReadFile("testdata/moving/" + name)
	if err != nil {
		t.Fatal(err)
	}
	mark := regexp.MustCompile(` #(\d+)(?:-(\d+))?$`)
	var b strings.Builder
	for line := range strings.SplitSeq(string(text), "\n") {
		if m := mark.FindStringSubmatch(line); m != nil {
			since, _ := strconv.Atoi(m[1])
			until, err := strconv.Atoi(m[2])
			if since > minor || err == nil && until < minor {
				continue
			}
			line = strings.TrimSuffix(line, m[0])
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// checkMoving returns what "vigil check" says of a config without an
// environment, and whether it is taken.
func checkMoving(t *testing.T, text string) (says string, taken bool) {
	t.Helper()
	cmd := exec.Command(vigil, "check", "-c", "config.cfg")
	cmd.Dir, cmd.Env = t.TempDir(), []string{"PATH=" + os.Getenv("PATH")}
	if err := os.WriteFile(filepath.Join(cmd.Dir, "config.cfg"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// movingTable returns the rows of the table under a heading of docs/moving.md,
// with their cells.
func movingTable(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile("docs/moving.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	_, section, _ = strings.Cut(section, "\n|---")
	_, section, _ = strings.Cut(section, "\n")
	for line := range strings.SplitSeq(section, "\n") {
		if !strings.HasPrefix(line, "| ") {
			break
		}
		rows = append(rows, strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "| "), " |"), " | "))
	}
	return rows
}

// movingSays returns what docs/moving.md tells that vigil check says of the
// sample of 1.N, sorted, with what becomes of the file before each problem.
func movingSays(t *testing.T, minor int) (all []string) {
	t.Helper()
	for _, row := range movingTable(t, "What `vigil check` says of the other Vigil's samples") {
		var since, until int
		if n, _ := fmt.Sscanf(row[0], "1.%d to 1.%d", &since, &until); n == 1 {
			until = since
		}
		if since <= minor && minor <= until {
			all = append(all, row[1]+" "+strings.Trim(row[2], "`"))
		}
	}
	slices.Sort(all)
	return all
}

// Every config of a Rust Vigil is taken as it is. What is said of them is in
// docs/moving.md.
func TestMovingFromEachVersion(t *testing.T) {
	t.Parallel()
	for minor := range movingVersions {
		t.Run(fmt.Sprintf("1.%d", minor), func(t *testing.T) {
			told := movingSays(t, minor)
			says, taken := checkMoving(t, movingConfig(t, "server.cfg", minor))
			if !taken {
				t.Fatal(says)
			}
			_, warnings, _ := strings.Cut(says, " warning")
			warnings, _, _ = strings.Cut(warnings, " note")
			for _, m := range regexp.MustCompile(`(?m)^config\.cfg:\d+: (.*)$`).FindAllStringSubmatch(warnings, -1) {
				if !slices.Contains(told, "taken "+m[1]) {
					t.Errorf("docs/moving.md does not tell of %s", m[1])
				}
			}
			for part, since := range map[string]int{
				"email to ": 0, "slack by ": 0, " 2 services ": 0,
				"RabbitMQ": 1, "twilio to ": 4, "webhook at ": 10,
			} {
				if strings.Contains(says, part) != (minor >= since) {
					t.Errorf("%q since 1.%d, but it is read as\n%s", part, since, says)
				}
			}
		})
	}
}

// The newest one has every channel that there is, so that none is forgotten.
func TestMovingKnowsAllKeys(t *testing.T) {
	says, _ := checkMoving(t, movingConfig(t, "server.cfg", movingVersions-1))
	for _, part := range []string{
		"email to", "twilio to", "slack by", "zulip to", "telegram to", "pushover to", "gotify at", "xmpp to",
		"matrix to", "webex to", "webhook at", "MCP on", "again up to 2 times", "reminders after", "growing by",
	} {
		if !strings.Contains(says, part) {
			t.Errorf("no %q in\n%s", part, says)
		}
	}
}

// The agent takes the sample of each Vigil Local and reports its replicas by
// the names that they have there.
func TestMovingVigilLocal(t *testing.T) {
	t.Parallel()
	for minor, id := range []string{"0", "0", "0", "server-1:0"} {
		t.Run(fmt.Sprintf("1.%d", minor), func(t *testing.T) {
			t.Parallel()
			reported := make(chan string, 100)
			master := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var report struct{ Replica string }
				if err := json.NewDecoder(r.Body).Decode(&report); err != nil {
					t.Error(err)
				}
				reported <- r.URL.Path + " " + report.Replica
			}))
			defer master.Close()
			config := strings.NewReplacer("https://status.example.com", master.URL, "192.168.1.1", "127.0.0.2").
				Replace(movingConfig(t, "local.cfg", minor))
			agent := startIn(t, t.TempDir(), config, `reporting.*endpoint=([^ ]+)`, "local")
			missing := map[string]bool{
				"/reporter/internal/gateway/ icmp://127.0.0.1": true,
				"/reporter/internal/gateway/ icmp://127.0.0.2": true,
				"/reporter/internal/capacity/ " + id:           true,
			}
			for deadline := time.After(30 * time.Second); len(missing) > 0; {
				select {
				case got := <-reported:
					delete(missing, got)
				case <-deadline:
					t.Fatalf("not reported: %v", missing)
				}
			}
			if strings.Contains(agent.logged(), "odd in the config") {
				t.Error("the agent finds something odd")
			}
		})
	}
}

// What cannot be taken over says what to change to what, as docs/moving.md has
// it: the change is in the first cell of the row, what is said in the second.
func TestMovingSaysWhatToChange(t *testing.T) {
	rows := movingTable(t, "What is a mistake here and was none there")
	if len(rows) != 7 {
		t.Errorf("%d rows", len(rows))
	}
	text := movingConfig(t, "server.cfg", movingVersions-1)
	for _, row := range rows {
		line := strings.Trim(row[0], "`")
		key, _, _ := strings.Cut(line, " = ")
		t.Run(line, func(t *testing.T) {
			there := regexp.MustCompile(`(?m)^` + key + ` = .*$`)
			if n := len(there.FindAllString(text, -1)); n != 1 {
				t.Fatalf("%s is in the sample %d times", key, n)
			}
			want := strings.Trim(row[1], "`")
			says, taken := checkMoving(t, there.ReplaceAllLiteralString(text, line))
			_, says, _ = strings.Cut("\n"+says, "\nconfig.cfg:") // the first mistake, or the warnings
			found := regexp.MustCompile(`(?m)^(?:config\.cfg:)?\d+: ` + regexp.QuoteMeta(want) + `$`).MatchString(says)
			if warned := strings.HasSuffix(row[2], "a warning only"); !found || taken != warned {
				t.Errorf("got %s, want %s", says, want)
			}
		})
	}
}
