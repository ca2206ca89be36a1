//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A mirrorRig is a mirror of a page, turned by hand.
type mirrorRig struct {
	*mirror
	t      *testing.T
	folder string
	log    *bytes.Buffer
}

func newMirrorRig(t *testing.T, s *snapshot) *mirrorRig {
	t.Helper()
	parent, err := os.MkdirTemp("", "mirror")
	if err != nil {
		t.Fatal(err)
	}
	// A copy that is being written when its mirror ends is not waited for.
	t.Cleanup(func() { awaitMirror(t, "the end of writing", func() bool { return os.RemoveAll(parent) == nil }) })
	dir := filepath.Join(parent, "copy")
	s.conf.Mirror = &Mirror{Path: dir, Interval: time.Minute, Timeout: time.Minute}
	log := new(bytes.Buffer)
	return &mirrorRig{newMirror(newTestPage(t, s), make(chan event, 8), slog.New(slog.NewTextHandler(log, nil))), t, dir, log}
}

// show makes s what the page shows.
func (r *mirrorRig) show(s *snapshot) {
	r.t.Helper()
	s.conf.Mirror = r.page.now.Load().snap.conf.Mirror
	if err := r.page.refresh(s); err != nil {
		r.t.Fatal(err)
	}
}

// now makes a copy at once.
func (r *mirrorRig) now() {
	r.t.Helper()
	r.next, r.renew = time.Time{}, time.Time{}
	r.turn(r.t.Context())
}

func (r *mirrorRig) read(name string) string {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.folder, name))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// files returns all files in the folder but the list.
func (r *mirrorRig) files() (names []string) {
	r.t.Helper()
	err := filepath.WalkDir(r.folder, func(name string, e fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(r.folder, name); err == nil && !e.IsDir() && rel != mirrorList {
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return names
}

// mirrored is a page under a prefix, with a hidden node and odd ids.
func mirrored() *snapshot {
	s := mixedSample()
	s.conf.Server.PathPrefix = "/status"
	s.services[0].nodes[1].conf.ID = "a/b c?d#e%2F"
	s.services[0].nodes[2].conf.ID = ".."
	s.services[1].nodes[0].conf.Hidden = true
	return new(publicView).of(s)
}

var linkOf = regexp.MustCompile(`(?:href|src|data-json|data-script|data-sheet)="([^"]*)"`)

// Everything that a page of the copy links to is in the copy, and what is in it
// is what the page serves.
func TestMirrorIsWhole(t *testing.T) {
	s := mirrored()
	r := newMirrorRig(t, s)
	r.now()
	files := r.files()
	for _, want := range []string{"index.html", "embed/index.html", "embed/" + s.services[0].conf.ID + "/index.html", "history/index.html",
		"badge/icon.svg", "badge/color.svg", "badge/uptime.svg", "badge/icon/" + s.services[0].conf.ID + ".svg", "feed.atom",
		"feed/" + s.services[0].conf.ID + ".atom", "status/text.txt", "status/report.json", "robots.txt", "assets/app.js",
		"node/" + s.services[0].conf.ID + "/a/b c?d#e%2F/index.html", "status/node/" + s.services[0].conf.ID + "/a/b c?d#e%2F.json"} {
		if !slices.Contains(files, want) {
			t.Errorf("no %s in %q", want, files)
		}
	}
	pages := 0
	for _, name := range files {
		text := r.read(name)
		if strings.Contains(text, "Fleet") || strings.Contains(text, "secret reason") {
			t.Errorf("%s shows what is hidden", name)
		}
		info, err := os.Stat(filepath.Join(r.folder, name))
		if err != nil || info.Mode() != 0o644 || strings.HasSuffix(name, ".tmp") {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
		if path.Ext(name) != ".html" {
			continue
		}
		pages++
		if !strings.HasSuffix(text, "</html>\n") && !strings.HasSuffix(text, "</html>") || !strings.Contains(text, `data-made="`) {
			t.Errorf("%s is not whole, or does not say when it was made", name)
		}
		here := url.URL{Path: "/" + strings.TrimSuffix(name, "index.html")}
		for _, m := range linkOf.FindAllStringSubmatch(text, -1) {
			u, err := url.Parse(strings.ReplaceAll(m[1], "&#43;", "+"))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if u.Host != "" || u.Path == "" || strings.Contains(m[1], "node/"+s.services[0].conf.ID+"/..") {
				continue
			}
			if strings.HasPrefix(m[1], "/") {
				t.Errorf("%s links to %s, which is not relative", name, m[1])
			}
			to := strings.TrimPrefix(here.ResolveReference(u).Path, "/")
			if !slices.Contains(files, to) && !slices.Contains(files, path.Join(to, "index.html")) {
				t.Errorf("%s links to %s, which is %q and not in the copy", name, m[1], to)
			}
		}
	}
	if pages < 8 {
		t.Errorf("%d pages", pages)
	}
	for route, file := range map[string]string{"/status/report": "status/report.json", "/status/text": "status/text.txt",
		"/badge/icon": "badge/icon.svg", "/assets/app.css": "assets/app.css"} {
		w := httptest.NewRecorder()
		r.page.handler(nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/status"+route, nil))
		if got := r.read(file); got != w.Body.String() {
			t.Errorf("%s is %q, but %s serves %q", file, got, route, w.Body)
		}
	}
	if served := string(r.page.now.Load().page.plain.body); strings.Contains(served, "data-made") || !strings.Contains(served, `"/status/assets/`) {
		t.Error("the page itself has become a copy")
	}
}

// Files whose content stays are not written again, those that are gone are
// removed, and whatever else is in the folder stays.
func TestMirrorWritesChanges(t *testing.T) {
	s := healthySample()
	r := newMirrorRig(t, s)
	r.now()
	stat := func(name string) os.FileInfo {
		info, err := os.Lstat(filepath.Join(r.folder, name))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	css, page := stat("assets/app.css"), stat("index.html")
	own := filepath.Join(r.folder, ".well-known", "x")
	for _, name := range []string{own, filepath.Join(r.folder, "history", "mine.txt")} {
		os.MkdirAll(filepath.Dir(name), 0o755)
		if err := os.WriteFile(name, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(r.folder, "robots.txt"), []byte("somebody's"), 0o644); err != nil {
		t.Fatal(err)
	}
	gone := "node/" + s.services[0].conf.ID + "/" + s.services[0].nodes[0].conf.ID + "/index.html"
	stat(gone)
	r.show(emptySample())
	r.now()
	if !os.SameFile(css, stat("assets/app.css")) {
		t.Error("the style sheet was written again")
	}
	if os.SameFile(page, stat("index.html")) {
		t.Error("the page was written in place")
	}
	if strings.Contains(r.read("robots.txt"), "somebody's") {
		t.Error("a file that somebody has changed stays so")
	}
	if _, err := os.Stat(filepath.Join(r.folder, "node")); !os.IsNotExist(err) {
		t.Errorf("the pages of nodes that are gone: %v", err)
	}
	if r.read(".well-known/x") != "mine" || r.read("history/mine.txt") != "mine" {
		t.Error("a file of others is gone")
	}
	// The next run of the program knows what the last one has written.
	r.show(healthySample())
	r.now()
	again := newMirror(r.page, r.events, r.mirror.log)
	r.show(emptySample())
	again.turn(t.Context())
	if _, err := os.Stat(filepath.Join(r.folder, gone)); !os.IsNotExist(err) {
		t.Errorf("after a restart: %v", err)
	}
	if r.log.Len() > 0 && strings.Contains(r.log.String(), "ERROR") {
		t.Error(r.log)
	}
}

// A change is copied at once, at most once a second; without one the copy is
// made anew within a minute. A copy that fails is made again.
func TestMirrorTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newMirrorRig(t, healthySample())
		if wait := r.turn(t.Context()); wait != mirrorEvery {
			t.Errorf("the first copy is renewed after %v", wait)
		}
		first := r.read("index.html")
		time.Sleep(100 * time.Millisecond)
		later := *r.page.now.Load().snap
		later.at = later.at.Add(time.Second)
		r.show(&later)
		if wait := r.turn(t.Context()); wait < mirrorEvery-time.Second || r.read("index.html") != first {
			t.Errorf("nothing but the time has changed, and the next copy comes after %v", wait)
		}
		told := later
		told.announcements = []announcement{{id: "new", title: "Read this", text: "Now.", at: later.at, revision: 1}}
		r.show(&told)
		wait := r.turn(t.Context())
		if wait <= 0 || wait > time.Second {
			t.Errorf("a change is copied after %v", wait)
		}
		time.Sleep(wait)
		r.turn(t.Context())
		if !strings.Contains(r.read("index.html"), "Read this") {
			t.Error("the change is not in the copy")
		}
		time.Sleep(mirrorEvery)
		before := r.read("index.html")
		r.turn(t.Context())
		if r.read("index.html") == before {
			t.Error("the copy is not renewed")
		}
		if err := os.RemoveAll(r.folder); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.folder, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(mirrorEvery)
		if wait := r.turn(t.Context()); wait < mirrorRetry || wait > time.Minute || !strings.Contains(r.log.String(), "copy of the page not written, will retry") {
			t.Errorf("a failed copy is made again after %v, log:\n%s", wait, r.log)
		}
		if err := os.Remove(r.folder); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		r.turn(t.Context())
		if r.read("status/text.txt") != "healthy" || !strings.Contains(r.log.String(), "copy of the page is written again") || r.copying.faults.Load() != 1 {
			t.Errorf("%d faults, log:\n%s", r.copying.faults.Load(), r.log)
		}
	})
}

// What visitors must see soon is a change, what grows all the time is none.
func TestOutlook(t *testing.T) {
	replica := func(s *snapshot) *replicaView { return s.services[0].nodes[0].replicas.at(0) }
	before := toldSample().outlook()
	for name, test := range map[string]struct {
		change func(s *snapshot)
		counts bool
	}{
		"nothing":      {func(s *snapshot) {}, false},
		"time":         {func(s *snapshot) { s.at = s.at.Add(time.Second) }, false},
		"latency":      {func(s *snapshot) { replica(s).latency++ }, false},
		"status":       {func(s *snapshot) { replica(s).status = sick }, true},
		"first check":  {func(s *snapshot) { replica(s).checked = !replica(s).checked }, true},
		"node":         {func(s *snapshot) { s.services[0].nodes[0].status = healthy }, true},
		"maintenance":  {func(s *snapshot) { s.services[0].nodes[0].maintenance = new(quietTime) }, true},
		"connection":   {func(s *snapshot) { s.connectionDown = s.at }, true},
		"edit":         {func(s *snapshot) { s.announcements[0].revision++ }, true},
		"announcement": {func(s *snapshot) { s.announcements = s.announcements[1:] }, true},
		"planned": {func(s *snapshot) {
			s.quietTimes = append(s.quietTimes, &quietTime{id: "q", selectors: selectors{"*"}, start: s.at.Add(time.Hour), end: s.at.Add(2 * time.Hour)})
		}, true},
		"outage": {func(s *snapshot) { s.pastIncidents = append(s.pastIncidents, incident{id: "i9"}) }, true},
	} {
		s := toldSample()
		if test.change(s); (s.outlook() != before) != test.counts {
			t.Errorf("%s: want a change: %v", name, test.counts)
		}
	}
}

// A folder with others' files is not used, and no link in it is followed.
func TestMirrorStaysInItsFolder(t *testing.T) {
	elsewhere := t.TempDir()
	keep := filepath.Join(elsewhere, "app.css")
	check := func(t *testing.T) {
		t.Helper()
		entries, _ := os.ReadDir(elsewhere)
		if text, err := os.ReadFile(keep); err != nil || string(text) != "keep" || len(entries) != 1 {
			t.Errorf("outside: %q, %v, %v", text, err, entries)
		}
	}
	if err := os.WriteFile(keep, []byte("keep"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		prepare func(folder string) error
		say     string
	}{
		"a file of others": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "index.html"), []byte("mine"), 0o644) }, `it holds \"index.html\", which Vigil has not put there`},
		"a damaged list":   {func(dir string) error { return os.WriteFile(filepath.Join(dir, mirrorList), []byte(`["x`), 0o644) }, "damaged"},
		"a list as a link": {func(dir string) error { return os.Symlink(keep, filepath.Join(dir, mirrorList)) }, "not a regular file"},
		"a list of outside": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, mirrorList), fmt.Appendf(nil, `["../%s/app.css", %q, "assets/../../x", ".", ""]`, filepath.Base(elsewhere), keep), 0o644)
		}, ""},
		"a folder as a link": {func(dir string) error {
			return cmpErr(os.WriteFile(filepath.Join(dir, mirrorList), []byte(`["assets/app.css", "assets/gone.css"]`), 0o644), os.Symlink(elsewhere, filepath.Join(dir, "assets")))
		}, "assets is not a folder"},
		"a file as a link": {func(dir string) error {
			return cmpErr(os.WriteFile(filepath.Join(dir, mirrorList), []byte(`[]`), 0o644), os.Symlink(keep, filepath.Join(dir, "robots.txt")), os.Symlink(keep, filepath.Join(dir, mirrorTemp)))
		}, ""},
		"a pipe": {func(dir string) error {
			return cmpErr(os.WriteFile(filepath.Join(dir, mirrorList), []byte(`[]`), 0o644), syscall.Mkfifo(filepath.Join(dir, "robots.txt"), 0o644))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newMirrorRig(t, healthySample())
			if err := cmpErr(os.Mkdir(r.folder, 0o755), test.prepare(r.folder)); err != nil {
				t.Fatal(err)
			}
			r.now()
			check(t)
			failed := strings.Contains(r.log.String(), "ERROR")
			if failed != (test.say != "") || !strings.Contains(r.log.String(), test.say) {
				t.Errorf("log:\n%s", r.log)
			}
			if test.say == "" && r.read("robots.txt") == "keep" {
				t.Error("the link is still there")
			}
		})
	}
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Two ids that lead to one file, or through one, do not fight for it.
func TestMirrorFilesAreUnique(t *testing.T) {
	s := newSampler().
		service("A", node("B", modePush), node("C", modePush)).
		service("A/B", node("C", modePush)).
		snapshot
	s.services[0].conf.ID, s.services[1].conf.ID = "a", "a/b"
	s.services[0].nodes[0].conf.ID, s.services[0].nodes[1].conf.ID, s.services[1].nodes[0].conf.ID = "b/c", "index.html", "c"
	r := newMirrorRig(t, s)
	r.now()
	r.now()
	if strings.Contains(r.log.String(), "ERROR") {
		t.Error(r.log)
	}
	if text := r.read("node/a/b/c/index.html"); !strings.Contains(text, ">B<") {
		t.Error("the later one of two has the file")
	}
	var listed []string
	if err := json.Unmarshal([]byte(r.read(mirrorList)), &listed); err != nil || !slices.Equal(listed, slices.Sorted(slices.Values(r.files()))) {
		t.Errorf("the list is %q, %v; the files are %q", listed, err, r.files())
	}
}

// A reload moves the copy, stops it and starts it.
func TestMirrorReload(t *testing.T) {
	r := newMirrorRig(t, healthySample())
	r.now()
	move := func(conf *Mirror) {
		t.Helper()
		s := deadSample()
		s.conf.Mirror = conf
		if err := r.page.refresh(s); err != nil {
			t.Fatal(err)
		}
		r.turn(t.Context())
	}
	old := r.folder
	r.folder = filepath.Join(t.TempDir(), "other")
	move(&Mirror{Path: r.folder})
	if r.read("status/text.txt") != "dead" {
		t.Error("nothing in the new folder")
	}
	if text, err := os.ReadFile(filepath.Join(old, "status/text.txt")); err != nil || string(text) != "healthy" {
		t.Errorf("in the old folder: %s, %v", text, err)
	}
	move(nil)
	if err := os.RemoveAll(r.folder); err != nil {
		t.Fatal(err)
	}
	r.turn(t.Context())
	if _, err := os.Stat(r.folder); err == nil {
		t.Error("a copy is made that the config no longer has")
	}
	move(&Mirror{Path: r.folder})
	r.read("index.html")
}

// Trouble that lasts is told to the aggregator, and its end.
func TestMirrorTellsTrouble(t *testing.T) {
	r := newMirrorRig(t, healthySample())
	events := make(chan event, 8)
	r.events = events
	r.now()
	begin := time.Now()
	r.sending.note(r.mirror.log, fmt.Errorf("exit status 1"), begin)
	r.report(t.Context(), begin.Add(mirrorTell-time.Second))
	r.report(t.Context(), begin.Add(mirrorTell))
	r.report(t.Context(), begin.Add(2*mirrorTell))
	r.sending.note(r.mirror.log, nil, begin.Add(3*mirrorTell))
	r.report(t.Context(), begin.Add(3*mirrorTell))
	close(events)
	var got []event
	for ev := range events {
		got = append(got, ev)
	}
	if want := []event{mirrorReport{begin, "exit status 1"}, mirrorReport{}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// People get a notice of it, and one when it is over.
func TestMirrorNotice(t *testing.T) {
	conf := alertConfig(Alerting{Startup: true})
	conf.Mirror = &Mirror{Path: "/srv/status"}
	p := newPlay(conf)
	const s = time.Second
	p.at(0, "a=healthy", "b=healthy", "c=healthy")
	p.at(2 * s)
	before := len(p.alerts)
	p.at(400 * s)
	mirrorReport{p.now.Add(-mirrorTell), "exit status 1: bucket is full"}.apply(p.st, p.now)
	p.at(400 * s)
	p.at(500 * s)
	mirrorReport{}.apply(p.st, p.now)
	p.at(500 * s)
	p.at(600 * s)
	said := strings.Join(p.alerts[before:], "\n")
	if len(p.alerts) != before+2 || !strings.Contains(said, "The copy of the status page has not been brought up to date since ") ||
		!strings.Contains(said, ": exit status 1: bucket is full") || !strings.Contains(said, "is up to date again after 6m40s.") {
		t.Errorf("told: %q", p.alerts[before:])
	}
}
