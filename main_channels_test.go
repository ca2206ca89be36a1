package main

import (
	"os"
	"strings"
	"testing"

	"vigil/notify"
)

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
