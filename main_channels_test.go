package main

import (
	"os"
	"reflect"
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

// A channel is known wherever channels are: it is read from its table, has a
// target and a line of "vigil check", and stands in the sample and the README.
func TestEveryChannel(t *testing.T) {
	c, _ := readTestdata(t, "testdata/config/full.cfg", fullEnv)
	told := "\n" + strings.Join(channels(&c.Notify), "\n")
	targets := make(map[string]bool)
	for _, target := range c.Notify.Targets(version) {
		targets[target.Channel] = true
	}
	sample, readme := read(t, "config.cfg"), read(t, "README.md")
	config := reflect.TypeFor[notify.Config]()
	n := 0
	for i := range config.NumField() {
		if config.Field(i).Type.Kind() != reflect.Pointer {
			continue
		}
		n++
		name := strings.ToLower(config.Field(i).Name)
		if reflect.ValueOf(c.Notify).Field(i).IsNil() {
			t.Errorf("%s: config_notify.go does not read it, or testdata/config/full.cfg lacks it", name)
			continue
		}
		for where, there := range map[string]bool{
			"notify/target.go": targets[name],
			"main_check.go":    strings.Contains(told, "\n"+name+" "),
			"config.cfg":       strings.Contains(sample, "#[notify."+name+"]"),
			"README.md":        strings.Contains(readme, "\n[notify."+name+"]"),
		} {
			if !there {
				t.Errorf("%s is not in %s", name, where)
			}
		}
	}
	if n < 11 || len(targets) != n {
		t.Errorf("%d channels, with targets of %d", n, len(targets))
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
