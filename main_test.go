package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"vigil/notify"
)

func TestUsage(t *testing.T) {
	tests := []struct {
		args           []string
		code           int
		stdout, stderr string // what they begin with
	}{
		{[]string{"-h"}, 0, "usage: vigil [-c config.cfg]", ""},
		{[]string{"help"}, 0, "usage: vigil [-c config.cfg]", ""},
		{[]string{"help", "check"}, 0, "usage: vigil check", ""},
		{[]string{"help", "serve"}, 2, "", `vigil: unknown command "serve"`},
		{[]string{"--version"}, 0, "vigil " + version, ""},
		{[]string{"version"}, 0, "vigil " + version, ""},
		{[]string{"version", "-h"}, 0, "usage: vigil version", ""},
		{[]string{"version", "now"}, 2, "", `vigil version: unexpected argument "now" (see 'vigil version -h')`},
		{[]string{"serve"}, 2, "", `vigil: unknown command "serve"`},
		{[]string{"-x"}, 2, "", "vigil: unknown flag -x"},
		{[]string{"-c"}, 2, "", "vigil: flag needs an argument: -c"},
		{[]string{"-log-format", "xml"}, 2, "", `vigil: -log-format "xml": want text or json`},
		{[]string{"-c", "testdata/none.cfg"}, 1, "", "testdata/none.cfg: cannot be read: no such file or directory"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(context.Background(), tt.args, &stdout, &stderr); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, out := range []struct{ name, got, want string }{{"stdout", stdout.String(), tt.stdout}, {"stderr", stderr.String(), tt.stderr}} {
				if !strings.HasPrefix(out.got, out.want) || out.want == "" && out.got != "" {
					t.Errorf("%s:\n%s\nwant it to begin with:\n%s", out.name, out.got, out.want)
				}
			}
		})
	}
}

// A command whose output is cut off fails, unless its reader wants no more.
func TestOutput(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
		want string
	}{
		{&fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}, 1, "vigil init: cannot write the output: no space left on device\n"},
		{&fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}, 0, ""},
		{nil, 0, ""},
	} {
		var stderr bytes.Buffer
		code := run(t.Context(), []string{"init", "-o", "-"}, failingWriter{tt.err}, &stderr)
		if code != tt.code || stderr.String() != tt.want {
			t.Errorf("%v: exit code %d, %q, want %d, %q", tt.err, code, &stderr, tt.code, tt.want)
		}
	}
}

// A failingWriter writes nothing, with that error.
type failingWriter struct{ err error }

func (w failingWriter) Write(p []byte) (int, error) { return len(p), w.err }

func TestUnreadable(t *testing.T) {
	err := unreadable("config.cfg", &fs.PathError{Op: "open", Path: "config.cfg", Err: fs.ErrPermission})
	if want := fmt.Sprintf("config.cfg: cannot be read: permission denied; Vigil runs as user %d, who must be allowed to read it and to enter its folder", os.Getuid()); err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// read returns the text of a file.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every kind of channel has a table in the sample and in docs/channels.md.
func TestEveryChannel(t *testing.T) {
	c, _ := readTestdata(t, "testdata/config/full.cfg", fullEnv)
	targets := make(map[string]bool)
	for _, target := range c.Notify.Targets(version) {
		targets[target.Channel] = true
	}
	sample, document := read(t, "config.cfg"), read(t, "docs/channels.md")
	for _, kind := range notify.Kinds() {
		for where, there := range map[string]bool{
			"testdata/config/full.cfg": targets[kind],
			"config.cfg":               strings.Contains(sample, "#[notify."+kind+"]"),
			"docs/channels.md":         strings.Contains(document, "\n[notify."+kind+"]"),
		} {
			if !there {
				t.Errorf("%s is not in %s", kind, where)
			}
		}
	}
	if n := len(notify.Kinds()); n < 11 || len(targets) != n {
		t.Errorf("%d kinds, with targets of %d", n, len(targets))
	}
}

// What can be polled is told wherever people look for it.
func TestTargetForms(t *testing.T) {
	forms := strings.Split(strings.ReplaceAll(targetForms, " or ", ", "), ", ")
	if len(forms) < 5 {
		t.Errorf("%d forms", len(forms))
	}
	for _, form := range forms {
		scheme, _, _ := strings.Cut(form, "://")
		raw := strings.NewReplacer("host", "example.com", "port", "1").Replace(form)
		if _, err := parseTarget(raw); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
		for where, text := range map[string]string{"config.cfg": sampleConfig, "README.md": read(t, "README.md"), "vigil init -h": initUsage} {
			if !strings.Contains(text, scheme+"://") {
				t.Errorf("%s does not tell of %s://", where, scheme)
			}
		}
	}
	if _, err := parseTarget("gopher://example.com:1"); err == nil {
		t.Error("gopher is taken")
	}
}
