package main

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// badEnv is the environment of the bad configs.
var badEnv = map[string]string{"WORD": "s3cret", "ZERO": "0", "EMPTY": "", "LINES": "s3cret\n\n", "BINARY": "s3\xffcret"}

const problemsFile = "testdata/config/problems.txt"

// TestProblems reads every bad config of a golden file and compares, word for
// word, what is said of it.
func TestProblems(t *testing.T) {
	testProblems(t, problemsFile, saidOf)
}

// testProblems compares what said says of each config in a golden file with
// what stands there.
func testProblems(t *testing.T, file string, said func(text string, whole bool) string) {
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(golden), "=== ")
	anew := parts[0]
	for _, part := range parts[1:] {
		name, text, _ := strings.Cut(part, "\n")
		text, want, _ := strings.Cut(text, "---\n")
		want = strings.TrimSpace(want)
		whole := strings.HasPrefix(name, "whole file: ")
		t.Run(name, func(t *testing.T) {
			got := said(text, whole)
			if got != want && !*update {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if strings.Contains(got, "s3") {
				t.Errorf("a secret is in\n%s", got)
			}
			anew += "=== " + name + "\n" + text + "---\n" + got + "\n\n"
		})
	}
	if *update {
		if err := os.WriteFile(file, []byte(anew), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// saidOf returns all problems of a config, a line each.
func saidOf(text string, whole bool) string {
	if !whole {
		text += "\n[branding]\npage_url = \"https://s.example\"\n"
	}
	_, warnings, err := parseConfig(strings.NewReader(text), "config.cfg", environ(badEnv))
	return wordsOf(warnings, err)
}

// wordsOf returns an error of a config and its warnings, a line each.
func wordsOf(warnings []problem, err error) string {
	var said []string
	if err != nil {
		said = append(said, err.Error())
	}
	for _, w := range warnings {
		kind := "warning "
		if w.note {
			kind = "note "
		}
		said = append(said, kind+w.Error())
	}
	return strings.Join(said, "\n")
}

func TestNearest(t *testing.T) {
	words := []string{"replicas", "reveal_replica_name", "id", "inet", "label", "mode"}
	for _, test := range []struct{ wrong, want string }{
		{"replica", "replicas"},
		{"Replicas", "replicas"},
		{"rpelicas", "replicas"},
		{"replcas", "replicas"},
		{"labels", "label"},
		{"mdoe", "mode"},
		{"ip", "id"},
		{"", ""},
		{"x", ""},
		{"timeout", ""},
		{strings.Repeat("replicas", 1000), ""},
	} {
		if got := nearest(test.wrong, words); got != test.want {
			t.Errorf("nearest(%q) = %q, want %q", test.wrong, got, test.want)
		}
	}
}
