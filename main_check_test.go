package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// check runs "vigil check" and returns its exit status and output.
func check(args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = runCheck(context.Background(), args, &out, &err)
	return status, out.String(), err.String()
}

// withoutProxies runs a test in an environment that names no proxy.
func withoutProxies(t *testing.T) {
	t.Helper()
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "REQUEST_METHOD"} {
		t.Setenv(name, "")
	}
}

func TestCheckPlans(t *testing.T) {
	withoutProxies(t)
	for name, value := range map[string]string{
		"MANAGER_TOKEN": "s3cret", "REPORTER_TOKEN": "7", "MCP": "true", "REGION": "eu",
		"RAM": "0.75", "SCRIPT_INTERVAL": "30", "SMTP_PORT": "2525",
	} {
		t.Setenv(name, value)
	}
	t.Setenv("VIGIL_MANAGER_TOKEN", "s3cret")
	t.Setenv("VIGIL_REPORTER_TOKEN", "") // restored at the end
	os.Unsetenv("VIGIL_REPORTER_TOKEN")
	for _, test := range []struct{ golden, config string }{
		{"check.full.txt", "testdata/config/full.cfg"},
		{"check.wild.txt", "testdata/config/wild.cfg"},
		{"check.sample.txt", "config.cfg"},
		{"check.routes.txt", "testdata/config/routes.cfg"},
	} {
		t.Run(test.golden, func(t *testing.T) {
			status, got, stderr := check("-c", test.config)
			if status != 0 || stderr != "" {
				t.Errorf("exit status %d, stderr %q", status, stderr)
			}
			here, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			got = strings.ReplaceAll(got, here, "/here")
			got = regexp.MustCompile(`, which cannot be written \(.*`).ReplaceAllString(got, "")
			file := filepath.Join("testdata/config", test.golden)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			for _, secret := range []string{"s3cret", "pass", "t10", "t11", "rabbit$", "u1"} {
				if strings.Contains(got, secret) {
					t.Errorf("the secret %q is in\n%s", secret, got)
				}
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("good.cfg", "[branding]\npage_url = \"https://s.example\"\n")
	write("odd.cfg", "[branding]\npage_url = \"https://s.example\"\npage_titel = \"x\"\n")
	write("noted.cfg", "[branding]\npage_url = \"https://s.example\"\n[server]\nmanager_token = \"${VIGIL_TEST_NOT_SET}\"\n")
	write("bad.cfg", "[branding]\npage_titel = \"x\"\n[server]\nlog_level = 1\n")
	write("dressed.cfg", "[branding]\npage_url = \"https://s.example\"\nlanguage = \"sv\"\n[assets]\npath = \"own\"\n")
	if err := os.MkdirAll("own/templates/words", 0o755); err != nil {
		t.Fatal(err)
	}
	write("own/templates/words/sv.toml", "down_for = \"Nere i {time}\"\n")

	const odd = "odd.cfg:3: branding.page_titel: is not a known key and is ignored; did you mean \"page_title\"?\n"
	const bad = "bad.cfg:1: branding.page_url: is missing; allowed: an http:// or https:// URL, like https://status.example.com\n" +
		"bad.cfg:4: server.log_level: is an integer; allowed: a string\n"
	for _, test := range []struct {
		args   string
		status int
		stdout string // its end
		stderr string
	}{
		{"-c good.cfg", 0, "\n\ngood.cfg: valid\n", ""},
		{"--config good.cfg -strict", 0, "\n\ngood.cfg: valid\n", ""},
		{"-config=odd.cfg", 0, "\n\nodd.cfg: valid, with 1 warning\n", ""},
		{"-strict -c odd.cfg", 1, "", odd},
		{"-strict -c noted.cfg", 0, "\n\nnoted.cfg: valid\n", ""},
		{"-c bad.cfg", 1, "", bad + "\n1 warning:\nbad.cfg:2: branding.page_titel: is not a known key and is ignored; did you mean \"page_title\"?\n"},
		{"-c dressed.cfg", 1, "", "assets: words/sv.toml: down_for: \"Nere i {time}\" has the placeholders [{time}]; needed: [{length}]\n"},
		{"-c none.cfg", 1, "", "none.cfg: cannot be read: no such file or directory; 'vigil init -o none.cfg' writes one to start from\n"},
		{"-h", 0, checkUsage, ""},
		{"--help", 0, checkUsage, ""},
		{"good.cfg", 2, "", "vigil check: unexpected argument \"good.cfg\" (see 'vigil check -h')\n"},
		{"-x", 2, "", "vigil check: unknown flag -x (see 'vigil check -h')\n"},
		{"-c", 2, "", "vigil check: flag needs an argument: -c (see 'vigil check -h')\n"},
	} {
		t.Run(test.args, func(t *testing.T) {
			status, stdout, stderr := check(strings.Fields(test.args)...)
			if status != test.status {
				t.Errorf("exit status %d, want %d", status, test.status)
			}
			if !strings.HasSuffix(stdout, test.stdout) || (test.stdout == "") != (stdout == "") {
				t.Errorf("stdout\n%s\nwant at its end\n%s", stdout, test.stdout)
			}
			if stderr != test.stderr {
				t.Errorf("stderr\n%s\nwant\n%s", stderr, test.stderr)
			}
		})
	}
	for file, begin := range map[string]string{
		"odd.cfg":   "1 warning:\n" + odd + "\n",
		"noted.cfg": "1 note:\nnoted.cfg:4: server.manager_token: the environment variable VIGIL_TEST_NOT_SET is not set, so the Manager API is off\n\n",
	} {
		if _, stdout, _ := check("-c", file); !strings.HasPrefix(stdout, begin) {
			t.Errorf("%s: got\n%s\nwant at its start\n%s", file, stdout, begin)
		}
	}
	_, stdout, _ := check()
	if want := "There is no config.cfg here, so this is the sample that is built in.\n"; !strings.HasPrefix(stdout, want) {
		t.Errorf("got\n%s\nwant at its start\n%s", stdout, want)
	}
}

func TestDescribeRetry(t *testing.T) {
	for want, m := range map[string]Metrics{
		"at the next interval":        {},
		"at once":                     {RetryCount: 1},
		"after 2 s":                   {RetryCount: 1, RetryWait: 2 * time.Second},
		"up to 3 times, 500 ms apart": {RetryCount: 3, RetryWait: 500 * time.Millisecond},
	} {
		if got := m.describeRetry(); got != want {
			t.Errorf("%+v: %q, want %q", m, got, want)
		}
	}
}

// Maintenances are listed with the time of the next one, and those that are
// over say so: a wrong year is easily written.
func TestCheckMaintenance(t *testing.T) {
	text := "[branding]\npage_url = \"https://s.example\"\n[[probe.service]]\nid = \"web\"\nlabel = \"Web\"\n"
	for _, keys := range []string{
		"title = \"Past\"\nstart = 2025-12-01T22:00:00\ntimezone = \"Europe/Paris\"",
		"title = \"Once\"\nselectors = [\"web\"]\nstart = 2026-12-01T22:00:00\ntimezone = \"UTC\"",
		"title = \"Nightly\"\nstart = 2025-12-01T22:00:00\nrepeat = \"daily\"\ntimezone = \"UTC\"",
	} {
		text += "[[maintenance]]\nduration = 3600\n" + keys + "\n"
	}
	c, _, err := parseConfig(strings.NewReader(text), "", environ(nil))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	printPlan(&out, c, time.Date(2026, 11, 27, 3, 0, 0, 0, time.UTC))
	const want = `
maintenance "Past" of *, over since 2025-12-01 23:00 CET: it does not repeat
maintenance "Once" of web, from 2026-12-01 22:00 UTC to 2026-12-01 23:00 UTC
maintenance "Nightly" of *, daily, from 2026-11-27 22:00 UTC to 2026-11-27 23:00 UTC
`
	if !strings.Contains(out.String(), want) {
		t.Errorf("got\n%s\nwant in it%s", &out, want)
	}
}

func TestCheckHeartbeats(t *testing.T) {
	text := "[branding]\npage_url = \"https://s.example\"\n[[probe.service]]\nid = \"jobs\"\nlabel = \"Jobs\"\n"
	for _, id := range []string{"backup", "cleaning"} {
		text += fmt.Sprintf("[[probe.service.node]]\nid = %q\nlabel = \"L\"\nmode = \"heartbeat\"\ntoken = \"%[1]s-0123456789\"\ninterval = 60\ngrace = 5\n", id)
	}
	c, _, err := parseConfig(strings.NewReader(text), "", environ(nil))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	printPlan(&out, c, time.Now())
	if want := "\n  heartbeat 2 nodes, dead when a ping is overdue\n"; !strings.Contains(out.String(), want) {
		t.Errorf("got\n%s\nwant in it%s", &out, want)
	}
}

// The proxy of each node is named, without its user and password.
func TestCheckProxies(t *testing.T) {
	withoutProxies(t)
	t.Setenv("HTTPS_PROXY", "http://user:s3cret@secure.example:3128")
	t.Setenv("http_proxy", "plain.example")
	t.Setenv("NO_PROXY", "direct.example")
	text := "[branding]\npage_url = \"https://s.example\"\n[[probe.service]]\nid = \"a\"\nlabel = \"A\"\n"
	for id, rest := range map[string]string{
		"both":   `replicas = ["https://x.example", "http://x.example", "https://y.example"]`,
		"direct": `replicas = ["https://direct.example", "tcp://x.example:443"]`,
		"none":   "replicas = [\"https://x.example\"]\nhttp_proxy = \"\"",
		"own":    "replicas = [\"https://direct.example\"]\nhttp_proxy = \"socks5://user:s3cret@own.example:1080\"",
		"tls":    "replicas = [\"tls://x.example:443\"]\nhttp_proxy = \"http://own.example\"",
	} {
		text += fmt.Sprintf("[[probe.service.node]]\nid = %q\nlabel = \"L\"\nmode = \"poll\"\n%s\n", id, rest)
	}
	c, _, err := parseConfig(strings.NewReader(text), "config.cfg", environ(nil))
	if err != nil {
		t.Fatal(err)
	}
	nodes := c.Services[0].Nodes
	slices.SortFunc(nodes, func(a, b *Node) int { return strings.Compare(a.ID, b.ID) })
	for method, want := range map[string]string{
		"": "through a proxy\n" +
			"  a:both  http://secure.example:3128 of the environment, http://plain.example of the environment\n" +
			"  a:own   socks5://own.example:1080 of http_proxy\n",
		"GET": "through a proxy\n" + // as for a CGI script
			"  a:both  http://secure.example:3128 of the environment, none, every check fails: refusing to use HTTP_PROXY value in CGI environment; see golang.org/s/cgihttpproxy\n" +
			"  a:own   socks5://own.example:1080 of http_proxy\n",
	} {
		t.Setenv("REQUEST_METHOD", method)
		var out bytes.Buffer
		if printProxies(&out, c); out.String() != want {
			t.Errorf("got\n%s\nwant\n%s", &out, want)
		}
	}
}

// A folder that cannot be written is told before it costs anything.
func TestCheckStorage(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for storage, want := range map[Storage]string{
		{}:                             "none: everything is forgotten at the end",
		{Path: "new/folder"}:           "/new/folder",
		{Path: "file"}:                 "/file, which cannot be written (not a directory): everything is forgotten at the end",
		{Path: "file/data", Set: true}: "/file/data, which cannot be written (not a directory): Vigil would not start",
	} {
		if got := storage.describe(); !strings.HasSuffix(got, want) {
			t.Errorf("%+v: got %s, want %s", storage, got, want)
		}
	}
	left, err := os.ReadDir(".")
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := errors.Join(os.Mkdir("open", 0o700), os.Chmod("open", 0o770)); err != nil {
		t.Fatal(err)
	}
	storage := Storage{Path: "open"}
	if got, want := storage.describe(), "/open, which other users can write to (-rwxrwx---)"; !strings.HasSuffix(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}
