package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// mirrorEvery is how old the copy gets while nothing changes. With the time
	// that writing takes, a minute does not pass.
	mirrorEvery = 50 * time.Second

	// mirrorShare keeps copying to a fifth of one core while changes never end.
	// 300 nodes have 1,700 files, which take half a second.
	mirrorShare = 5

	// mirrorRetry is the wait after a copy that could not be written.
	mirrorRetry = 10 * time.Second

	// mirrorLate is the age at which a copy says that it is out of date, apart
	// from what the command takes.
	mirrorLate = 3 * time.Minute

	// mirrorTell is how long the copy or the command fails before people are
	// told, and mirrorSlow how long writing takes before it is logged.
	mirrorTell, mirrorSlow = 5 * time.Minute, 30 * time.Second
)

// A mirror keeps a copy of the page in a folder, for other web servers, and runs
// the command that brings it to one. The copy is the page that visitors get, but
// with relative links, and it says when it was made.
type mirror struct {
	page   *page // which is copied
	events chan<- event
	log    *slog.Logger

	conf     *Mirror
	folder   *mirrorFolder
	source   *site     // of the page that was copied last
	site     *site     // of the copy
	renderer *renderer // of the copy
	outlook  uint64    // of the snapshot that was copied last
	next     time.Time // there is no other copy before
	renew    time.Time // there is one then, even if nothing has changed

	ended   chan error // capacity 1: what came of the command
	running bool       // the command is
	unsent  bool       // there is a copy that the command has not seen
	send    time.Time  // the command is not run before
	copying trouble
	sending trouble
	told    bool // the aggregator knows of trouble
}

func newMirror(p *page, events chan<- event, log *slog.Logger) *mirror {
	return &mirror{page: p, events: events, log: log, ended: make(chan error, 1),
		copying: trouble{failing: "copy of the page not written, will retry", works: "copy of the page is written again"},
		sending: trouble{failing: "mirror.command failed, will retry", works: "mirror.command succeeds again"}}
}

// run keeps the copy up to date until ctx ends, which is no error and ends the
// command.
func (m *mirror) run(ctx context.Context) error {
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			if m.running {
				<-m.ended
			}
			return nil
		case <-m.page.rendered:
		case err := <-m.ended:
			m.running = false
			if m.conf == nil || ctx.Err() != nil {
				break
			}
			if m.sending.note(m.log, err, time.Now()); err != nil {
				m.unsent, m.send = true, time.Now().Add(min(m.conf.Interval, time.Minute))
			}
		case <-due.C:
		}
		due.Reset(m.turn(ctx))
		m.report(ctx, time.Now())
	}
}

// turn does what is due and returns how long to wait for more.
func (m *mirror) turn(ctx context.Context) time.Duration {
	if ctx.Err() != nil {
		return 0 // a write that was left alone may go on
	}
	now := m.page.now.Load()
	conf := now.snap.conf.Mirror
	if conf == nil {
		m.conf, m.folder, m.source, m.site, m.renderer = nil, nil, nil, nil, nil
		m.copying.since, m.sending.since, m.told = time.Time{}, time.Time{}, false
		return time.Hour // a reload ends the wait
	}
	if m.conf == nil || m.conf.Path != conf.Path {
		m.folder, m.next, m.send = &mirrorFolder{path: conf.Path}, time.Time{}, time.Time{}
		m.renew = m.next
		m.log.Info("keeping a copy of the page", "folder", conf.Path)
	}
	m.conf = conf
	wait := m.wait(now)
	if wait <= 0 {
		m.copy(ctx, now)
		return m.turn(ctx)
	}
	if !m.unsent || m.running || len(conf.Command) == 0 {
		return wait
	}
	if first := time.Until(m.send); first > 0 {
		return min(wait, first)
	}
	m.running, m.unsent, m.send = true, false, time.Now().Add(conf.Interval)
	go func() { m.ended <- runCommand(ctx, conf.Command, conf.Timeout) }()
	return wait
}

// report tells the aggregator of trouble that lasts, and of its end.
func (m *mirror) report(ctx context.Context, now time.Time) {
	var r mirrorReport
	for _, t := range [...]*trouble{&m.sending, &m.copying} {
		if !t.since.IsZero() && now.Sub(t.since) >= mirrorTell {
			r = mirrorReport{t.since, t.last.Error()}
		}
	}
	if lasts := r.fault != ""; m.conf != nil && lasts != m.told && send(ctx, m.events, r) == nil {
		m.told = lasts
	}
}

// wait returns how long the copy stays as it is.
func (m *mirror) wait(now *rendering) time.Duration {
	if now.site == m.source && now.snap.outlook() == m.outlook && m.renew.After(m.next) {
		return time.Until(m.renew)
	}
	return time.Until(m.next)
}

// copy makes the copy anew.
func (m *mirror) copy(ctx context.Context, now *rendering) {
	began := time.Now()
	slow := time.AfterFunc(mirrorSlow, func() {
		m.log.Error("writing the copy of the page takes long: is the disk hanging?", "folder", m.folder.path, "after", mirrorSlow)
	})
	_, err := interruptible(ctx, func() (any, error) { return nil, m.write(now, began) })
	slow.Stop()
	if ctx.Err() != nil {
		return
	}
	ended := time.Now()
	pause := max(renderEvery, mirrorShare*ended.Sub(began))
	if m.copying.note(m.log, err, ended); err != nil {
		m.next = ended.Add(max(pause, mirrorRetry))
		m.renew = m.next
		return
	}
	m.outlook, m.unsent = now.snap.outlook(), true
	m.next, m.renew = ended.Add(pause), ended.Add(mirrorEvery)
}

// write renders all of the copy and writes what has changed.
func (m *mirror) write(now *rendering, made time.Time) (err error) {
	defer func() {
		if v := recover(); v != nil {
			logPanic(m.log, "copying the page panicked", v)
			m.source = nil // the renderer may be broken
			err = errors.New("there is a fault in it")
		}
	}()
	if m.source != now.site {
		st := *now.site
		st.prefix, st.base, st.auto = "", "", false
		st.late = mirrorLate
		if len(m.conf.Command) > 0 {
			st.late += m.conf.Interval + m.conf.Timeout
		}
		m.source, m.site, m.renderer = now.site, &st, newRenderer(&st, st.lang)
	}
	m.site.made = made
	b := new(snapshots)
	b.shown.Store(now.snap)
	b.current.Store(now.snap)
	p := &page{snaps: b, log: m.log, renderer: m.renderer}
	if err := p.refresh(now.snap); err != nil {
		return err
	}
	return m.folder.write(copyRoutes(m.site, now.snap), func(r copyRoute) ([]byte, error) { return r.body(p.handler(nil)) })
}

// A copyRoute is a route of the page, percent-encoded and without its first
// slash, and the file that a copy has for it.
type copyRoute struct{ route, file string }

// copyRoutes returns all routes of a copy, assets first, so that a page never
// needs one that is not there yet. Of two with the same file, the first stays.
// Ids that cannot be the name of a file, like "..", are left out.
func copyRoutes(st *site, s *snapshot) (all []copyRoute) {
	taken := make(map[string]bool) // true for a file, false for a folder
	add := func(segments ...string) {
		file := copyFile(strings.Join(segments, "/"))
		_, used := taken[file]
		for dir := path.Dir(file); dir != "."; dir = path.Dir(dir) {
			used = used || taken[dir]
		}
		if used || !canBeFile(file) {
			return
		}
		for dir := path.Dir(file); dir != "."; dir = path.Dir(dir) {
			taken[dir] = false
		}
		taken[file] = true
		for i := range segments {
			segments[i] = url.PathEscape(segments[i])
		}
		all = append(all, copyRoute{strings.Join(segments, "/"), file})
	}
	for _, name := range slices.Sorted(maps.Keys(st.assets)) {
		add(append([]string{"assets"}, strings.Split(name, "/")...)...)
		if name == "robots.txt" || name == "favicon.ico" {
			add(name)
		}
	}
	badges := func(ids ...string) {
		for _, kind := range [...]string{"color", "icon", "uptime"} {
			add(append([]string{"badge", kind}, ids...)...)
		}
	}
	for _, sv := range s.services {
		for _, nv := range sv.nodes {
			add("node", sv.conf.ID, nv.conf.ID)
			add("status", "node", sv.conf.ID, nv.conf.ID)
			badges(sv.conf.ID, nv.conf.ID)
		}
		add("embed", sv.conf.ID)
		add("feed", sv.conf.ID+".atom")
		badges(sv.conf.ID)
	}
	badges()
	add("embed")
	add("feed.atom")
	add("history")
	add("status", "report")
	add("status", "text")
	add("")
	return all
}

// body returns what the handler answers. A page is asked for by the path of its
// folder, so that its links lead out of that.
func (r copyRoute) body(h http.Handler) ([]byte, error) {
	route := "/" + r.route
	if strings.HasSuffix(r.file, "index.html") && r.route != "" {
		route += "/"
	}
	u, err := url.Parse(route)
	if err != nil {
		return nil, err
	}
	answer := copyAnswer{header: make(http.Header), code: http.StatusOK}
	h.ServeHTTP(&answer, &http.Request{Method: http.MethodGet, URL: u, Header: make(http.Header)})
	if answer.code != http.StatusOK {
		return nil, fmt.Errorf("%s: HTTP %d", route, answer.code)
	}
	return answer.body.Bytes(), nil
}

// A copyAnswer is an http.ResponseWriter that keeps the answer.
type copyAnswer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (a *copyAnswer) Header() http.Header         { return a.header }
func (a *copyAnswer) Write(p []byte) (int, error) { return a.body.Write(p) }
func (a *copyAnswer) WriteHeader(code int)        { a.code = code }

// A mirrorFolder is the folder of a copy. Only what a mirror has written there
// is ever replaced or removed, and no link in it is followed.
type mirrorFolder struct {
	path string
	last map[string]writtenFile // as this process wrote them
}

type writtenFile struct {
	sum  [sha256.Size]byte
	info fs.FileInfo
}

// write writes the files of all routes, each whole, and removes those of routes
// that are gone. One that cannot be written does not keep the others from it.
func (f *mirrorFolder) write(routes []copyRoute, body func(copyRoute) ([]byte, error)) error {
	if err := os.MkdirAll(f.path, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(f.path)
	if err != nil {
		return err
	}
	defer root.Close()
	listed, err := readMirrorList(root)
	if err != nil {
		return err
	}
	wanted, all := make(map[string]bool), make(map[string]bool)
	for _, r := range routes {
		wanted[r.file], all[r.file] = true, true
	}
	for _, name := range listed {
		all[name] = true
	}
	// The list names files before they are written and until they are removed:
	// a kill in between leaves none that the next run does not know.
	if len(all) > len(listed) {
		if err := writeMirrorList(root, all); err != nil {
			return err
		}
	}
	if f.last == nil {
		f.last = make(map[string]writtenFile)
	}
	faults := 0
	for _, r := range routes {
		text, fault := body(r)
		if fault == nil {
			fault = f.put(root, r.file, text)
		}
		if fault != nil {
			faults++
			err = cmp.Or(err, fault)
		}
	}
	for name := range all {
		if !wanted[name] {
			removeCopied(root, name)
			delete(f.last, name)
		}
	}
	if faults > 0 {
		return fmt.Errorf("%d of %d files: %w", faults, len(routes), err)
	}
	if len(all) > len(wanted) {
		return writeMirrorList(root, wanted)
	}
	return nil
}

// put writes a file unless it is there as it was written last.
func (f *mirrorFolder) put(root *os.Root, name string, body []byte) error {
	sum := sha256.Sum256(body)
	if last, ok := f.last[name]; ok && last.sum == sum {
		info, err := root.Lstat(name)
		if err == nil && os.SameFile(info, last.info) && info.Size() == last.info.Size() && info.ModTime().Equal(last.info.ModTime()) {
			return nil
		}
	}
	delete(f.last, name)
	if err := makeFolders(root, path.Dir(name)); err != nil {
		return err
	}
	if err := replaceFile(root, name, body); err != nil {
		return err
	}
	info, err := root.Lstat(name)
	if err == nil {
		f.last[name] = writtenFile{sum, info}
	}
	return err
}

// replaceFile writes a file under another name first, so that it is always
// whole. Its permissions let another user's web server read it.
func replaceFile(root *os.Root, name string, body []byte) error {
	root.Remove(mirrorTemp)
	file, err := root.OpenFile(mirrorTemp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(body)
	err = errors.Join(err, file.Chmod(0o644), file.Close())
	if err == nil {
		err = root.Rename(mirrorTemp, name)
	}
	if err != nil {
		root.Remove(mirrorTemp)
	}
	return err
}

// makeFolders makes a folder with those above it. A link is not one.
func makeFolders(root *os.Root, dir string) error {
	if dir == "." {
		return nil
	}
	if err := makeFolders(root, path.Dir(dir)); err != nil {
		return err
	}
	info, err := root.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.Join(root.Mkdir(dir, 0o755), root.Chmod(dir, 0o755))
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s is not a folder", dir)
	}
	return err
}

// removeCopied removes a file, and the folders that it leaves empty.
func removeCopied(root *os.Root, name string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if info, err := root.Lstat(dir); err != nil || !info.IsDir() {
			return // a link leads elsewhere
		}
	}
	if info, err := root.Lstat(name); err != nil || info.IsDir() {
		return
	}
	root.Remove(name)
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if root.Remove(dir) != nil {
			return // it is not empty
		}
	}
}

// writeMirrorList writes the list of files that belong to the copy.
func writeMirrorList(root *os.Root, names map[string]bool) error {
	text, err := json.Marshal(slices.Sorted(maps.Keys(names)))
	if err != nil {
		return err
	}
	return replaceFile(root, mirrorList, append(text, '\n'))
}

// A trouble is something that fails again and again. It is logged when it
// begins, once an hour while it lasts, and when it is over.
type trouble struct {
	failing, works string // the log's words

	since time.Time // when it began; zero: there is none
	last  error
	said  time.Time // when it was last logged

	// For the metrics.
	faults  atomic.Uint64
	success atomic.Int64 // the last one, in Unix seconds; 0: none yet
}

func (t *trouble) note(log *slog.Logger, err error, now time.Time) {
	if err == nil {
		if t.success.Store(now.Unix()); !t.since.IsZero() {
			log.Info(t.works)
			t.since = time.Time{}
		}
		return
	}
	t.faults.Add(1)
	if t.since.IsZero() || now.Sub(t.said) >= time.Hour {
		log.Error(t.failing, "err", err)
		t.said = now
	}
	if t.last = err; t.since.IsZero() {
		t.since = now
	}
}
