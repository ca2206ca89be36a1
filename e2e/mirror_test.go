package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mirrorConfig has a mirror and that many nodes.
func mirrorConfig(nodes int, mirror string) string {
	var b strings.Builder
	b.WriteString(`
[server]
log_level = "info"
inet = "127.0.0.1:0"
manager_token = "manager"
[branding]
page_title = "Acme Status"
page_url = "https://status.example.com/"
[storage]
path = ""
[mirror]
` + mirror + `
[[probe.service]]
id = "web"
label = "Web"
`)
	for i := range nodes {
		fmt.Fprintf(&b, "[[probe.service.node]]\nid = \"n%d\"\nlabel = \"Node %d\"\nmode = \"push\"\n", i, i)
	}
	return b.String()
}

// copied returns the files of a copy, each of which must be whole, and the list
// of them.
func copied(t *testing.T, folder string) (files, listed []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(folder, name)
		switch base := filepath.Base(name); {
		case base == ".vigil-mirror":
			return json.Unmarshal(text, &listed)
		case base == ".vigil-mirror.tmp":
			return nil
		case strings.HasSuffix(base, ".html") && !strings.HasSuffix(strings.TrimSpace(string(text)), "</html>"),
			strings.HasSuffix(base, ".json") && !json.Valid(text),
			strings.HasSuffix(base, ".atom") && !strings.HasSuffix(string(text), "</feed>"),
			strings.HasSuffix(base, ".svg") && !strings.HasSuffix(strings.TrimSpace(string(text)), "</svg>"),
			len(text) == 0:
			t.Errorf("%s is not whole: %d bytes", rel, len(text))
		}
		files = append(files, rel)
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
	slices.Sort(files)
	return files, listed
}

// A program that is killed while it writes leaves no half file, and none that
// its next run does not know.
func TestMirrorSurvivesKills(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder := filepath.Join(dir, "copy")
	most := 0
	for i := range 12 {
		nodes := 150 - 10*(i%3) // of changing number, so that files come and go
		r := startIn(t, dir, mirrorConfig(nodes, `path = "copy"`), serving)
		time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond) // any moment will do
		r.cmd.Process.Signal(syscall.SIGKILL)
		<-r.done
		files, listed := copied(t, folder)
		most = max(most, len(files))
		for _, name := range files {
			if !slices.Contains(listed, name) {
				t.Fatalf("run %d: %s is in no list", i, name)
			}
		}
	}
	r := startIn(t, dir, mirrorConfig(3, `path = "copy"`), serving)
	await(t, func() bool {
		files, listed := copied(t, folder)
		_, err := os.Stat(filepath.Join(folder, ".vigil-mirror.tmp"))
		return os.IsNotExist(err) && len(files) < 100 && slices.Equal(files, listed)
	}, "only the last copy is there, of at most %d files", most)
	r.stop(syscall.SIGTERM)
}

// A reload moves the copy and changes its command; a config whose folder is not
// free is refused. The command's output and end are told.
func TestMirrorReloads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := startIn(t, dir, mirrorConfig(2, `path = "one"`+"\n"+`command = "echo no space left; exit 4"`+"\n"+"interval = 1"), serving)
	r.waitForLog("", `mirror.command failed, will retry" err="exit status 4: no space left"`)
	if err := os.MkdirAll(filepath.Join(dir, "taken"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "taken", "index.html"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	reload := func(mirror, said string) {
		t.Helper()
		before := r.logged()
		if err := os.WriteFile(filepath.Join(dir, "config.cfg"), []byte(mirrorConfig(2, mirror)), 0o600); err != nil {
			t.Fatal(err)
		}
		r.cmd.Process.Signal(syscall.SIGHUP)
		r.waitForLog(before, said)
	}
	reload(`path = "taken"`, `mirror.path: \"taken\" cannot be used (it holds \"index.html\", which Vigil has not put there)`)
	reload(`path = "two"`+"\n"+`command = ["sh", "-c", "cp -R two three"]`, "sections=mirror")
	await(t, func() bool { _, err := os.Stat(filepath.Join(dir, "three", "index.html")); return err == nil }, "the command ran")
	reload("", "mirror.path: is missing")
	if text, err := os.ReadFile(filepath.Join(dir, "taken", "index.html")); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
	if files, _ := copied(t, filepath.Join(dir, "one")); len(files) == 0 {
		t.Error("the first copy is gone")
	}
	r.stop(syscall.SIGTERM)
}
