package main

import (
	"strings"
	"testing"
)

// environ returns a getenv over fixed variables.
func environ(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

func TestSampleConfig(t *testing.T) {
	env := environ(map[string]string{"VIGIL_MANAGER_TOKEN": "m", "VIGIL_REPORTER_TOKEN": "r"})
	c, warnings, err := parseConfig(strings.NewReader(sampleConfig), "", env)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Error(w)
	}
	if c.Path != "" || c.Server.ManagerToken != "m" || c.Server.ReporterToken != "r" {
		t.Errorf("path %q, tokens %q %q", c.Path, string(c.Server.ManagerToken), string(c.Server.ReporterToken))
	}
}
