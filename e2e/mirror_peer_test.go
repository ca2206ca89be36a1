//go:build peer

package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The copy of docs/running.md: rsync brings it to the folder of a real nginx with
// the documented config, where all routes work, and a real browser sees a change,
// that the copy is out of date, and that it no longer is.
func TestPeerMirror(t *testing.T) {
	installPeer(t, "nginx-light", "rsync", "chromium")
	work := t.TempDir()
	folder, remote := filepath.Join(work, "folder"), filepath.Join(work, "remote")
	if err := os.Chmod(work, 0o755); err != nil {
		t.Fatal(err)
	}
	table := ""
	for _, f := range fences(t, "docs/running.md") {
		if f.language == "toml" && strings.Contains(f.text, "[mirror]") {
			table = strings.NewReplacer("mirror@web.example.com:/srv/status", remote, "/srv/status", folder, "interval = 60", "interval = 1").Replace(f.text)
		}
	}
	config := strings.Replace(proxied, "[branding]", "[branding]\nlanguage = \"en\"", 1) + table
	dir := t.TempDir()
	r := startIn(t, dir, config, serving)
	report := func(cpu string) {
		req, err := http.NewRequest("POST", r.url+"reporter/web/jobs%2Fnightly/", strings.NewReader(`{"replica":"a","interval":3600,"load":{"cpu":`+cpu+`,"ram":0.1}}`))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("", "secret")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusOK {
			t.Fatalf("a report: %s", resp.Status)
		}
	}
	report("0.1")
	await(t, func() bool { _, err := os.Stat(filepath.Join(remote, "index.html")); return err == nil }, "rsync has brought the copy")

	address := freeAddress(t)
	server := ""
	for _, f := range fences(t, "docs/running.md") {
		if f.language == "nginx" && strings.Contains(f.text, "try_files") {
			server = strings.NewReplacer("/srv/status", remote, "listen 80;", "listen "+address+";").Replace(f.text)
		}
	}
	startNginx(t, "include /etc/nginx/mime.types;\n"+server)
	site := "http://" + address + "/"
	get := func(route string) (code int, kind, body string) {
		resp, err := http.Get(site + route)
		if err != nil {
			return 0, "", err.Error()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, resp.Header.Get("Content-Type"), string(text)
	}
	await(t, func() bool { code, _, body := get("status/text"); return code == 200 && body == "healthy" }, "nginx serves the copy")
	for route, kind := range map[string]string{
		"": "text/html", "history": "text/html", "history/": "text/html", "embed": "text/html", "embed/web": "text/html",
		"node/web/jobs%2Fnightly": "text/html", "badge/icon": "image/svg+xml", "badge/uptime/web": "image/svg+xml",
		"badge/color/web/jobs%2Fnightly": "image/svg+xml", "status/report": "application/json", "status/text": "text/plain",
		"feed.atom": "application/atom+xml", "feed/web.atom": "application/atom+xml", "robots.txt": "text/plain",
		"assets/app.css": "text/css", "favicon.ico": "image/svg+xml", "assets/app.js": "javascript",
	} {
		if code, got, body := get(route); code != http.StatusOK || !strings.Contains(got, kind) {
			t.Errorf("%q: %d %s %.100s", route, code, got, body)
		}
	}
	if _, _, body := get("status/report"); !json.Valid([]byte(body)) {
		t.Errorf("the report: %s", body)
	}
	for _, route := range []string{".vigil-mirror", "manager/announcements/"} {
		if code, _, _ := get(route); code != http.StatusNotFound {
			t.Errorf("%s: %d", route, code)
		}
	}
	// All that pages link to is there, also where nginx has redirected to.
	link := regexp.MustCompile(`(?:href|src)="([^"#:]+)"`)
	for _, route := range []string{"", "history", "embed", "node/web/jobs%2Fnightly"} {
		resp, err := http.Get(site + route)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			to, err := resp.Request.URL.Parse(m[1])
			if err != nil {
				t.Error(err)
				continue
			}
			if code, _, _ := get(strings.TrimPrefix(to.String(), site)); code != http.StatusOK {
				t.Errorf("%q links to %q, which is %s: %d", route, m[1], to, code)
			}
		}
	}

	browser := nodeScript(t, npmFolder(t, "testdata/browser"), "testdata/browser/mirror.mjs", site)
	script, err := os.ReadFile("testdata/browser/mirror.mjs")
	if err != nil {
		t.Fatal(err)
	}
	// Modules are found from where the script is.
	browser.Args[1] = filepath.Join(browser.Dir, "mirror.mjs")
	if err := os.WriteFile(browser.Args[1], script, 0o644); err != nil {
		t.Fatal(err)
	}
	stdin, err := browser.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := browser.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	faults := &lockedBuffer{}
	browser.Stderr = faults
	if err := browser.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(4*time.Minute, func() { browser.Process.Kill() })
	defer timer.Stop()
	done := false
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		t.Log(lines.Text())
		switch lines.Text() {
		case "READY the change":
			report("3.5")
		case "READY the end of Vigil":
			r.stop(syscall.SIGTERM)
			age(t, remote)
		case "READY the next Vigil":
			r = startIn(t, dir, config, serving)
		case "DONE":
			done = true
		}
		io.WriteString(stdin, "\n")
	}
	if err := browser.Wait(); err != nil || !done {
		t.Errorf("%v\n%s", err, faults)
	}
}

// age makes a copy an hour older, as if nothing had come since.
func age(t *testing.T, folder string) {
	t.Helper()
	made := regexp.MustCompile(`data-made="([^"]*)"`)
	pages := 0
	err := filepath.WalkDir(folder, func(name string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(name) != ".html" {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		m := made.FindSubmatch(text)
		if m == nil {
			t.Errorf("%s does not say when it was made", name)
			return nil
		}
		at, err := time.Parse(time.RFC3339, string(m[1]))
		if err != nil {
			return err
		}
		pages++
		old := strings.Replace(string(text), string(m[1]), at.Add(-time.Hour).Format(time.RFC3339), 1)
		if err := os.WriteFile(name+".new", []byte(old), 0o644); err != nil {
			return err
		}
		return os.Rename(name+".new", name)
	})
	if err != nil || pages < 4 {
		t.Errorf("%d pages, %v", pages, err)
	}
}
