package main

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "5m": 5 * time.Minute, "2h30m": 150 * time.Minute, "1d": 24 * time.Hour,
		"1d12h": 36 * time.Hour, "500ms": 500 * time.Millisecond, "1.5h": 90 * time.Minute, "0s": 0,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
		if back, err := parseDuration(writeDuration(want)); want > 0 && (err != nil || back != want) {
			t.Errorf("%v is written as %q and read as %v, %v", want, writeDuration(want), back, err)
		}
	}
	for _, text := range []string{"", "5", "-5m", "d", "1w", "h1", "5 m", "36501d", "999999999h", "1h2d"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
}

func TestParseTime(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 28, 21, 30, 0, 0, berlin) // the clocks change in the coming night
	for _, tt := range []struct {
		text string
		past bool
		want string
	}{
		{"22:00", false, "2026-03-28T22:00:00+01:00"},
		{"21:00", false, "2026-03-29T21:00:00+02:00"},
		{"22:00", true, "2026-03-27T22:00:00+01:00"},
		{"21:00", true, "2026-03-28T21:00:00+01:00"},
		{"2026-11-26T22:00:00Z", false, "2026-11-26T22:00:00Z"},
	} {
		got, err := parseTime(tt.text, now, tt.past)
		if err != nil || got.Format(time.RFC3339) != tt.want {
			t.Errorf("%q is %v, %v, want %s", tt.text, got, err, tt.want)
		}
	}
	for _, text := range []string{"", "25:00", "22", "22:60", "tomorrow", "2026-11-26"} {
		if got, err := parseTime(text, now, false); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
	for text, want := range map[string]string{"90m": "2026-03-28T20:00:00+01:00", "1d": "2026-03-27T21:30:00+01:00", "20:00": "2026-03-28T20:00:00+01:00"} {
		if got, err := parseSince(text, now); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("since %q is %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"soon", "2027-01-01T00:00:00Z"} {
		if got, err := parseSince(text, now); err == nil {
			t.Errorf("since %q is %v, want an error", text, got)
		}
	}
}

// The forms in which flags, the config and commands may be given.
func TestArguments(t *testing.T) {
	t.Chdir(t.TempDir())
	config := "[branding]\npage_url = \"http://127.0.0.1/\"\n[storage]\npath = \"\"\n"
	for _, name := range []string{"my.cfg", "hannel"} {
		if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args string
		code int
		want string // in what is printed
	}{
		{"check -cmy.cfg", 0, "my.cfg: valid"},
		{"check --config my.cfg -strict", 0, "my.cfg: valid"},
		{"check -c=my.cfg", 0, "my.cfg: valid"},
		{"check -channel", 0, "hannel: valid"},
		{"check -c=", 2, "vigil check: invalid value \"\" for flag -c: want the name of a file (see 'vigil check -h')\n"},
		{"status --config=", 2, "want the name of a file"},
		{"announce -update= Fixed", 2, "vigil announce: invalid value \"\" for flag -update: want an id (see 'vigil announce -h')\n"},
		{"announce -remove= Fixed", 2, "-remove: want an id"},
		{"maintenance web -for 1h -at= Backup", 2, "-at: want a time"},
		{"silence -end= web", 2, "-end: want an id"},
		{"status -url=", 2, "-url: want a URL"},
		{"health -url=", 2, "-url: want a URL"},
		{"notify -to=", 2, "-to: want a channel or recipient"},
		{"notify -channel=", 2, "-channel: want a channel or recipient"},
		{"replay -c my.cfg -data=", 2, "-data: want a folder"},
		{"sla -month=", 2, "-month: want a month"},
		{"check -c none.cfg", 1, "none.cfg: cannot be read"},
		{"check -strikt", 2, "vigil check: unknown flag -strikt; did you mean -strict? (see 'vigil check -h')\n"},
		{"check -- -strict", 2, `vigil check: unexpected argument "-strict"`},
		{"check -confgi my.cfg", 2, "unknown flag -confgi; did you mean -config?"},
		{"chekc", 2, "vigil: unknown command \"chekc\"; did you mean \"check\"? (see 'vigil -h')\n"},
		{"frobnicate", 2, "vigil: unknown command \"frobnicate\" (see 'vigil -h')\n"},
		{"-V", 0, "vigil " + version},
		{"local -V", 0, "vigil " + version},
		{"help check", 0, "usage: vigil check"},
	} {
		var out bytes.Buffer
		if code := run(t.Context(), strings.Fields(tt.args), &out, &out); code != tt.code || !strings.Contains(out.String(), tt.want) {
			t.Errorf("vigil %s: exit code %d, want %d:\n%swant\n%s", tt.args, code, tt.code, &out, tt.want)
		}
	}
}

func TestCompletions(t *testing.T) {
	t.Chdir(t.TempDir())
	config := func(name, service string) {
		t.Helper()
		text := "[branding]\npage_url = \"http://127.0.0.1/\"\n[[probe.service]]\nid = \"" + service + "\"\nlabel = \"A\"\n" +
			"[[probe.service.node]]\nid = \"core\"\nlabel = \"C\"\nmode = \"push\"\n[[probe.service.node]]\nid = \"with space\"\nlabel = \"C\"\nmode = \"push\"\n"
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config("config.cfg", "web")
	config("other.cfg", "db")
	for _, tt := range []struct {
		line string // without the program's name
		want string
	}{
		{"che", "check"},
		{"re", "reload replay report"},
		{"help co", "completion"},
		{"-", "--config --version -V -c -debug-addr -log-format"},
		{"check -", "--config -c -probe -strict"},
		{"check -c ", ":files"},
		{"init -o ", ":files"},
		{"init -title ", ""},
		{"notify -status ", "dead healthy sick"},
		{"-log-format ", "json text"},
		{"completion ", "bash fish zsh"},
		{"nonsense ", ""},
		{"announce -service ", "web web:core"},
		{"announce -edit x -re", "-remove -revision"},
		{"announce -edit x -state i", "identified investigating"},
	} {
		got := completions(t.Context(), strings.Split(tt.line, " "))
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%q can go on with %q, want %q", tt.line, got, tt.want)
		}
	}
	for path, want := range map[string][]string{
		"":          {"web", "web:core"},
		"other.cfg": {"db", "db:core"},
		"none.cfg":  nil,
	} {
		if got := selectorWords(t.Context(), path); !slices.Equal(got, want) {
			t.Errorf("selectors of %q are %q, want %q", path, got, want)
		}
	}
	if got := configOf([]string{"status", "-c", "other.cfg"}); got != "other.cfg" {
		t.Errorf("the config is %q", got)
	}
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var out bytes.Buffer
		if code := run(t.Context(), []string{"completion", shell}, &out, io.Discard); code != 0 || !strings.Contains(out.String(), "completion -words") {
			t.Errorf("%s: exit code %d\n%s", shell, code, &out)
		}
	}
	var errs bytes.Buffer
	want := "vigil completion: want the name of a shell: bash, zsh or fish (see 'vigil completion -h')\n"
	if code := run(t.Context(), []string{"completion", "csh"}, io.Discard, &errs); code != exitUsage || errs.String() != want {
		t.Errorf("exit code %d, %swant\n%s", code, &errs, want)
	}
}

// A password in a URL on the command line is in no message.
func TestFlagsKeepPasswords(t *testing.T) {
	t.Setenv("VIGIL_MANAGER_TOKEN", "manage")
	t.Setenv("VIGIL_TOKEN", "report")
	for _, args := range []string{
		"status -url https://u:s3cret@127.0.0.1:1/", "status -url https://u:s3cret@", "health -url http://u:s3cret@127.0.0.1:1/",
		"health -url ftp://u:s3cret@a/", "init -o - -url ftp://u:s3cret@a/", "init -o - -target ftp://u:s3cret@a/",
		"probe ftp://u:s3cret@a/", "probe tcp://u:s3cret@a:1", "probe http://u:s3cret@127.0.0.1:1/", "report -url https://u:s3cret@a/ -service a -node b",
	} {
		var out bytes.Buffer
		code := run(t.Context(), strings.Fields(args), &out, &out)
		if code == exitOK || strings.Contains(out.String(), "s3cret") || !strings.Contains(out.String(), "://***@") {
			t.Errorf("vigil %s: exit code %d\n%s", args, code, &out)
		}
	}
}
