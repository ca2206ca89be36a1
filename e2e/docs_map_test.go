package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The files and functions in CONTRIBUTING's tables of steps exist, and so does
// every other file that it names. Its table of files names every source.
func TestMapOfFiles(t *testing.T) {
	text := read(t, "CONTRIBUTING.md")
	steps := regexp.MustCompile("(?m)^\\| [^|]+ \\| `([^`|]+\\.go)` \\| `(\\w+)` \\|$").FindAllStringSubmatch(text, -1)
	if len(steps) < 20 {
		t.Errorf("only %d steps", len(steps))
	}
	for _, step := range steps {
		file, function := step[1], step[2]
		source, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if !regexp.MustCompile(`(?m)^func (\([^)]+\) )?` + function + `(\[.*?\])?\(`).Match(source) {
			t.Errorf("%s has no function %s: update the table in CONTRIBUTING.md", file, function)
		}
	}
	for _, m := range regexp.MustCompile("`([\\w./*-]+\\.(?:go|md|cfg|sh))`").FindAllStringSubmatch(text, -1) {
		name := m[1]
		if strings.Contains(name, "NAME") {
			continue
		}
		if found, err := filepath.Glob(name); err != nil || len(found) == 0 {
			t.Errorf("CONTRIBUTING.md names %s, which does not exist", name)
		}
	}
	_, table, _ := strings.Cut(text, "\n| files | contents |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	rooms := regexp.MustCompile("`([\\w*]+\\.go)`").FindAllStringSubmatch(table, -1)
	for _, source := range sources {
		if !strings.HasSuffix(source, "_test.go") && !slices.ContainsFunc(rooms, func(m []string) bool {
			ok, _ := filepath.Match(m[1], source)
			return ok
		}) {
			t.Errorf("CONTRIBUTING.md has no place for %s", source)
		}
	}
	for _, m := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(text, -1) {
		if !strings.Contains(testSources(t), "\nfunc "+m[1]+"(") {
			t.Errorf("CONTRIBUTING.md names %s, which does not exist", m[1])
		}
	}
}

// A reader finds each document: the README links to all of docs/.
func TestDocumentsAreLinked(t *testing.T) {
	files, err := filepath.Glob("docs/*")
	if err != nil {
		t.Fatal(err)
	}
	readme := read(t, "README.md")
	for _, file := range files {
		if !strings.Contains(readme, "("+filepath.ToSlash(file)+")") {
			t.Errorf("the README has no link to %s", file)
		}
	}
	if n := strings.Count(readme, "\n"); n > 220 {
		t.Errorf("the README has %d lines: more than a stranger reads", n)
	}
}
