package main

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

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
