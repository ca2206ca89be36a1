package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// initialise runs "vigil init" and returns its exit code and output.
func initialise(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(context.Background(), append([]string{"init"}, args...), &out, &err)
	return code, out.String(), err.String()
}

// parseInit parses what init wrote; it may not even have a warning. Notes are
// on tokens that the environment does not have.
func parseInit(t *testing.T, text string) *Config {
	t.Helper()
	c, problems, err := parseConfig(strings.NewReader(text), "config.cfg", func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, p := range problems {
		if !p.note {
			t.Error(p)
		}
	}
	return c
}

func TestInit(t *testing.T) {
	t.Chdir(t.TempDir())
	code, stdout, stderr := initialise()
	if want := "Wrote config.cfg. Now:\n\n  vigil check   says what it does\n  vigil         does it\n"; code != 0 || stdout != want || stderr != "" {
		t.Fatalf("exit code %d\n%s%s\nwant\n%s", code, stdout, stderr, want)
	}
	text, err := os.ReadFile("config.cfg")
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != sampleConfig {
		t.Error("without flags it is not the sample")
	}
	parseInit(t, string(text))

	// A file that exists stays as it is.
	code, stdout, stderr = initialise("-title", "Other")
	if want := "vigil init: config.cfg exists and is left as it is: move it away, or name another file with -o\n"; code != 1 || stdout != "" || stderr != want {
		t.Errorf("exit code %d, %q, want %q", code, stderr, want)
	}
	if again, _ := os.ReadFile("config.cfg"); !bytes.Equal(again, text) {
		t.Error("init changed a file that existed")
	}

	code, stdout, _ = initialise("-o", "other.cfg")
	if want := "Wrote other.cfg. Now:\n\n  vigil check -c other.cfg   says what it does\n  vigil -c other.cfg         does it\n"; code != 0 || stdout != want {
		t.Errorf("exit code %d\n%s\nwant\n%s", code, stdout, want)
	}
	code, _, stderr = initialise("-o", "none/config.cfg")
	if want := "vigil init: none/config.cfg cannot be written: no such file or directory; go to a folder of yours, or name a file in one with -o\n"; code != 1 || stderr != want {
		t.Errorf("exit code %d, %q, want %q", code, stderr, want)
	}
}

func TestInitFlags(t *testing.T) {
	title := "\"Acme\" \\ Söhne\nStatus"
	code, text, stderr := initialise("-o", "-", "-title", title, "-url", "https://status.example.com/",
		"-target", "https://www.example.com/health?a=1", "-target", "tcp://db.example.com:5432",
		"-target", "icmp://[2001:db8::1]", "-target", "http://www.example.com:8080/", "-target", "http://www-example-com-2/")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	c := parseInit(t, text)
	if c.Branding.PageTitle != title || c.Branding.CompanyName != title || c.Branding.PageURL != "https://status.example.com/" {
		t.Errorf("branding %+v", c.Branding)
	}
	if len(c.Services) != 1 || c.Services[0].ID != "main" {
		t.Fatalf("%d services", len(c.Services))
	}
	want := []struct{ id, label, target string }{
		{"www-example-com", "www.example.com", "https://www.example.com/health?a=1"},
		{"db-example-com", "db.example.com", "tcp://db.example.com:5432"},
		{"2001-db8--1", "2001:db8::1", "icmp://[2001:db8::1]"},
		{"www-example-com-2", "www.example.com:8080", "http://www.example.com:8080/"},
		{"www-example-com-2-2", "www-example-com-2", "http://www-example-com-2/"},
	}
	for i, n := range c.Services[0].Nodes {
		if n.ID != want[i].id || n.Label != want[i].label || len(n.Targets) != 1 || n.Targets[0].Raw != want[i].target {
			t.Errorf("node %q %q %+v, want %+v", n.ID, n.Label, n.Targets, want[i])
		}
	}
	for _, part := range []string{"# Serve everything under this path", "#[notify.email]", "#rabbitmq_queue = \"jobs\""} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in it", part)
		}
	}
}

// A password in a target is written as it was given, for this user's eyes only.
func TestInitPassword(t *testing.T) {
	name := filepath.Join(t.TempDir(), "config.cfg")
	const target = "https://ann:s3cret@www.example.com/"
	if code, said, stderr := initialise("-o", name, "-target", target); code != 0 || strings.Contains(said+stderr, "s3cret") {
		t.Fatalf("exit code %d: %s%s", code, said, stderr)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	n := parseInit(t, string(text)).Services[0].Nodes[0]
	if n.Targets[0].URL.String() != target || strings.Contains(n.Label, "ann") {
		t.Errorf("node %q %s, want %s", n.Label, n.Targets[0].URL, target)
	}
	if info, err := os.Stat(name); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestInitRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, tt := range []struct{ args, stderr string }{
		{"-target ftp://example.com", `vigil init: invalid value "ftp://example.com" for flag -target: it has a scheme that is not allowed; allowed: ` + targetForms + " (see 'vigil init -h')\n"},
		{"-target tcp://example.com", `vigil init: invalid value "tcp://example.com" for flag -target: it has no port; allowed: ` + targetForms + " (see 'vigil init -h')\n"},
		{"-url example.com", "vigil init: -url \"example.com\" has no scheme; allowed: an http:// or https:// URL (see 'vigil init -h')\n"},
		{"config.cfg", "vigil init: unexpected argument \"config.cfg\" (see 'vigil init -h')\n"},
	} {
		if code, stdout, stderr := initialise(strings.Fields(tt.args)...); code != 2 || stdout != "" || stderr != tt.stderr {
			t.Errorf("%s: exit code %d\n%s\nwant\n%s", tt.args, code, stderr, tt.stderr)
		}
	}
	if code, stdout, _ := initialise("-h"); code != 0 || stdout != initUsage {
		t.Errorf("-h: exit code %d, %q", code, stdout)
	}
	if _, err := os.Stat("config.cfg"); err == nil {
		t.Error("a refused init wrote a file")
	}
}

// Where there is no shell, the sample does without its script.
func TestSampleWithoutShell(t *testing.T) {
	if got := sampleFor("linux"); got != sampleConfig {
		t.Error("the sample is cut on Linux")
	}
	c := parseInit(t, sampleFor("windows"))
	var ids []string
	for _, s := range c.Services {
		for _, n := range s.Nodes {
			ids = append(ids, s.ID+":"+n.ID)
		}
	}
	if got, want := strings.Join(ids, " "), "vigil:page machine:loopback"; got != want {
		t.Errorf("nodes %s, want %s", got, want)
	}
}

// Visitors can tell the targets apart, and the title is not said twice.
func TestInitLabels(t *testing.T) {
	t.Chdir(t.TempDir())
	args := []string{"-title", "Acme Status", "-o", "-"}
	for _, raw := range []string{
		"tcp://127.0.0.1:22", "http://127.0.0.1/", "http://127.0.0.1/shop", "https://example.com/", "icmp://127.0.0.1",
		"tcp://10.0.0.1:80", "http://10.0.0.1:80", "http://10.0.0.1:80/?x=1", "https://user:pass@example.org/a", "https://user:pass@example.org/b",
	} {
		args = append(args, "-target", raw)
	}
	code, stdout, stderr := initialise(args...)
	if code != 0 {
		t.Fatal(stderr)
	}
	c := parseInit(t, stdout)
	var got []string
	for _, n := range c.Services[0].Nodes {
		got = append(got, n.Label)
	}
	want := []string{
		"127.0.0.1:22", "127.0.0.1 (http)", "127.0.0.1/shop", "example.com", "127.0.0.1 (icmp)",
		"10.0.0.1:80 (tcp)", "10.0.0.1:80 (http)", "10.0.0.1:80 (http) (2)", "example.org/a", "example.org/b",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if c.Branding.CompanyName != "Acme" || c.Branding.PageTitle != "Acme Status" {
		t.Errorf("%+v", c.Branding)
	}
	for title, want := range map[string]string{"Status": "Status", "Status Page": "Status Page", "ACME STATUS PAGE": "ACME", "Acme": "Acme"} {
		if got := owner(title); got != want {
			t.Errorf("%s is of %s", title, got)
		}
	}
}
