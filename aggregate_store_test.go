package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vigil/notify"
)

// A runningStore is a store at work on a folder in memory, inside of a
// synctest bubble. Asked for all that is known, it is told whole.
type runningStore struct {
	*store
	dir  *memFolder
	log  *bytes.Buffer
	stop func()
}

func runStore(t *testing.T, dir *memFolder, whole ...record) *runningStore {
	t.Helper()
	r := &runningStore{dir: dir, log: new(bytes.Buffer)}
	r.store = newStore(nil, slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})))
	if _, err := r.open(dir); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan event)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.run(ctx, events); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() { // the aggregator, as far as it matters here
		for {
			select {
			case <-events:
				r.put(batch{whole: slices.Values(whole)})
			case <-ctx.Done():
				return
			}
		}
	})
	r.stop = func() { cancel(); wg.Wait() }
	return r
}

// send hands a note over and returns its reply.
func (r *runningStore) send(id string) <-chan error {
	reply := make(chan error, 1)
	r.put(batch{records: []record{note(id)}, replies: []chan<- error{reply}})
	return reply
}

// saved is what a program that starts now would read.
func (r *runningStore) saved(t *testing.T) []string {
	t.Helper()
	synctest.Wait()
	im, err := readFolder(r.dir.killed(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	return ids(im.restored)
}

func TestStoreGroupsWhatComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := newMemFolder()
		r := runStore(t, dir)
		synctest.Wait()
		if err := <-r.send("first"); err != nil {
			t.Fatal(err)
		}
		before := dir.calls
		resume := dir.hang("")
		var replies []<-chan error
		for i := range 1000 {
			replies = append(replies, r.send(fmt.Sprint(i)))
		}
		resume()
		for _, reply := range replies {
			if err := <-reply; err != nil {
				t.Fatal(err)
			}
		}
		if n := dir.calls - before; n > 4 {
			t.Errorf("%d calls for a thousand records that came together: %v", n, dir.log[before:])
		}
		r.stop()
		if got := len(r.saved(t)); got != 1001 {
			t.Errorf("%d of 1001 records saved", got)
		}
		if r.log.Len() > 0 {
			t.Errorf("log: %s", r.log)
		}
	})
}

func TestStoreSaysThatTheDiskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := newMemFolder()
		r := runStore(t, dir, note("whole"))
		synctest.Wait()
		dir.fail(func(_ int, op string) error {
			if op == "write" {
				return errFake
			}
			return nil
		})
		want := "done, but not saved, so a restart may undo it: fake fault"
		for i := range 3 {
			if err := <-r.send(fmt.Sprint(i)); err == nil || err.Error() != want {
				t.Errorf("answer %v, want %s", err, want)
			}
			time.Sleep(time.Minute + time.Second)
		}
		dir.fail(nil)
		time.Sleep(retryMost + time.Second)
		if got, want := r.saved(t), []string{"whole", "0", "1", "2"}; !slices.Equal(got, want) {
			t.Errorf("after the disk was back: %v, want %v", got, want)
		}
		if err := <-r.send("4"); err != nil {
			t.Error(err)
		}
		r.stop()
		if got, want := r.log.String(), `level=ERROR msg="storage failing, continuing in memory" err="fake fault"
level=INFO msg="storage works again" after=3m32s
`; got != want {
			t.Errorf("log:\n%swant:\n%s", got, want)
		}
	})
}

// A disk that hangs costs those who wait five seconds and nobody else a
// moment. What is too much is dropped, and all is written anew.
func TestStoreSurvivesADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := newMemFolder()
		r := runStore(t, dir, note("slow"), note("whole"))
		synctest.Wait()
		resume := dir.hang("")
		begin := time.Now()
		reply := r.send("slow")
		later := r.send("behind it")
		for _, reply := range []<-chan error{reply, later} {
			if err := <-reply; err == nil || !strings.HasSuffix(err.Error(), "the disk has not answered in 5s") {
				t.Errorf("answer %v", err)
			}
		}
		if d := time.Since(begin); d != ackTime {
			t.Errorf("answered after %v, want %v", d, ackTime)
		}
		for range 3 * maxUnsaved / 1000 {
			r.put(batch{records: slices.Repeat([]record{note("many")}, 1000)})
		}
		time.Sleep(time.Hour)
		resume()
		synctest.Wait()
		if got, want := r.saved(t), []string{"slow", "whole"}; !slices.Equal(got, want) {
			t.Errorf("after the disk was back: %v, want %v", got, want)
		}
		if err := <-r.send("now"); err != nil {
			t.Error(err)
		}
		r.stop()
		if got := r.saved(t); !slices.Contains(got, "now") {
			t.Errorf("at the end: %v", got)
		}
		if got, want := r.log.String(), `level=ERROR msg="storage failing, continuing in memory" err="the disk has not answered in 5s"
level=INFO msg="storage works again" after=1h0m5s
`; got != want {
			t.Errorf("log:\n%swant:\n%s", got, want)
		}
	})
}

// What is dropped while a state is written is not in it: another one follows.
func TestStoreDropsDuringAState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := newMemFolder()
		r := runStore(t, dir, note("whole"))
		synctest.Wait()
		states := func() (n int) {
			for _, call := range dir.log {
				if strings.HasPrefix(call, "rename state") {
					n++
				}
			}
			return n
		}
		before := states()
		resume := dir.hang("rename")
		r.put(batch{whole: notes("before")})
		synctest.Wait()
		for range maxUnsaved/1000 + 1 {
			r.put(batch{records: slices.Repeat([]record{note("many")}, 1000)})
		}
		resume()
		synctest.Wait()
		if n := states() - before; n != 2 {
			t.Errorf("%d states written, want another one with what was dropped", n)
		}
		r.stop()
	})
}

func TestStoreIsBounded(t *testing.T) {
	s := newStore(new(disk), quiet)
	reply := make(chan error, 1)
	s.add(batch{records: []record{note("a")}, replies: []chan<- error{reply}, whole: notes()}, time.Now())
	s.wanted = false
	for range maxUnsaved {
		s.noteDelivery(note("b"))
	}
	if len(s.unsaved) != 0 || s.whole != nil || !s.wanted {
		t.Errorf("%d records wait, whole %v, wanted %v", len(s.unsaved), s.whole, s.wanted)
	}
	select {
	case err := <-reply:
		if err == nil {
			t.Error("acknowledged what was dropped")
		}
	default:
		t.Error("no answer to what was dropped")
	}
}

func TestStoreStopsWithoutTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := newMemFolder()
		r := runStore(t, dir)
		synctest.Wait()
		resume := dir.hang("")
		reply := r.send("lost")
		begin := time.Now()
		r.stop()
		if d := time.Since(begin); d != lastTime {
			t.Errorf("stopped after %v, want %v", d, lastTime)
		}
		if err := <-reply; err == nil {
			t.Error("acknowledged what was not saved")
		}
		if got, want := r.log.String(), "level=ERROR msg=\"stopped before all was saved\" records=1\n"; got != want {
			t.Errorf("log:\n%swant:\n%s", got, want)
		}
		if err := <-r.send("too late"); err == nil {
			t.Error("acknowledged after the end")
		}
		resume()
	})
}

func TestStoreSavesAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := newMemFolder()
		r := runStore(t, dir)
		synctest.Wait()
		for i := range 100 {
			r.put(batch{records: []record{note(fmt.Sprint(i))}})
		}
		r.stop()
		if got := len(r.saved(t)); got != 100 {
			t.Errorf("%d of 100 saved", got)
		}
	})
}

// An alert is saved before it is sent; but it is sent in time even if the disk
// hangs. If that takes writes, a kill does not lose the alert all the same,
// whatever the disk is at.
func TestAlertsAreSavedFirst(t *testing.T) {
	for _, op := range []string{"nothing", "", "sync", "syncdir", "rename"} {
		t.Run("disk hangs at "+op, func(t *testing.T) {
			hangs := op != "nothing"
			synctest.Test(t, func(t *testing.T) {
				conf := alertConfig(Alerting{})
				begin := time.Now()
				st := newState(conf, begin)
				st.keepFor([]notify.Target{{Key: "slack", Channel: "slack"}})
				dir := newMemFolder()
				var log bytes.Buffer
				s := newStore(nil, slog.New(slog.NewTextHandler(&log, nil)))
				if _, err := s.open(dir); err != nil {
					t.Fatal(err)
				}
				events, alerts := make(chan event, eventBuffer), make(chan notify.Alert)
				ctx, cancel := context.WithCancel(t.Context())
				sctx, stop := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() { s.run(sctx, events) })
				wg.Go(func() {
					(&aggregator{state: st, events: events, alerts: alerts, snaps: newSnapshots(st.snapshot(begin)), log: s.log, store: s}).run(ctx)
				})
				time.Sleep(time.Minute)
				resume := func() {}
				if hangs {
					resume = dir.hang(op)
				}
				if op == "syncdir" || op == "rename" {
					events <- wholeState{} // a new journal and a new state file
					synctest.Wait()
				}
				s.put(batch{records: slices.Repeat([]record{note("much else")}, 2000)})
				synctest.Wait()
				died := time.Now()
				events <- result{replica: replicas(conf.Services)[0], status: dead, at: died}
				a := <-alerts
				wait := time.Since(died) - gatherQuiet
				synctest.Wait()
				im, err := readFolder(dir.killed(), quiet)
				switch {
				case err != nil:
					t.Fatal(err)
				case !hangs && (wait != 0 || len(im.backlog["slack"]) != 1 || im.backlog["slack"][0].ID != a.ID || !im.backlog["slack"][0].Time.Equal(a.Time)):
					t.Errorf("sent after %v, with %v saved", wait, im.backlog)
				case hangs && op != "" && (wait != saveTime || len(im.backlog["slack"]) != 1 || im.backlog["slack"][0].ID != a.ID):
					t.Errorf("sent after %v, with %v written", wait, im.backlog)
				case op == "" && (wait != saveTime || len(im.backlog) != 0):
					t.Errorf("sent after %v, with %v saved", wait, im.backlog)
				}
				if said := strings.Count(log.String(), "alert sent before it was saved"); said != 0 != hangs {
					t.Errorf("log: %s", log.String())
				}
				resume()
				cancel()
				if _, open := <-alerts; open {
					t.Error("told twice")
				}
				stop()
				wg.Wait()
			})
		})
	}
}

func TestOpenStore(t *testing.T) {
	here := t.TempDir()
	file := filepath.Join(here, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(here, "new", "data")
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))

	s, im, err := openStore(Storage{Path: folder, Set: true}, logger)
	if err != nil {
		t.Fatal(err)
	}
	if s.disk == nil || len(im.replicas) > 0 || log.Len() > 0 {
		t.Errorf("a new folder: disk %v, %d replicas, log %s", s.disk, len(im.replicas), &log)
	}
	_, _, err = openStore(Storage{Path: folder}, logger)
	want := fmt.Sprintf("storage folder %q: in use by process %d; stop that one, or set storage.path to another folder", folder, os.Getpid())
	if err == nil || err.Error() != want {
		t.Errorf("twice: error %v\nwant %s", err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.run(ctx, nil); err != nil {
		t.Error(err)
	}
	if s, _, err = openStore(Storage{Path: folder, Set: true}, logger); err != nil {
		t.Errorf("once more after the end: %v", err)
	} else if err := s.run(ctx, nil); err != nil {
		t.Error(err)
	}
	if runtime.GOOS != "windows" {
		if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("folder %v, %v", info.Mode(), err)
		}
	}

	newer := filepath.Join(here, "newer")
	lines := newLineWriter()
	if err := lines.add(&record{Head: &headRecord{"journal", storeFormat + 1, 1, time.Now(), ""}}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(newer, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(newer, journalName(1)), lines.buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	want = fmt.Sprintf("storage folder %q: journal-000001.jsonl: written by a newer program: format 2, this one knows up to 1; run the newer program, or set storage.path to another folder", newer)
	for _, set := range []bool{true, false} {
		if _, _, err := openStore(Storage{Path: newer, Set: set}, logger); err == nil || err.Error() != want {
			t.Errorf("a newer folder: error %v\nwant %s", err, want)
		}
	}

	if s, _, err := openStore(Storage{}, logger); err != nil || s.disk != nil || log.Len() > 0 {
		t.Errorf("memory only: %v, log %s", err, &log)
	}
	inTheWay := filepath.Join(file, "data")
	if _, _, err := openStore(Storage{Path: inTheWay, Set: true}, logger); err == nil ||
		!strings.HasPrefix(err.Error(), fmt.Sprintf("storage folder %q: ", inTheWay)) || log.Len() > 0 {
		t.Errorf("an unwritable folder that is configured: %v, log %s", err, &log)
	}
	if s, _, err := openStore(Storage{Path: inTheWay}, logger); err != nil || s.disk != nil ||
		!strings.Contains(log.String(), "storage folder cannot be used, nothing will survive a restart") {
		t.Errorf("an unwritable default folder: %v, log %s", err, &log)
	}
}

// A store without a folder books deliveries all the same, for a reload.
func TestStoreInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, err := openStore(Storage{}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.run(ctx, nil) }()
		reply := make(chan error, 1)
		s.put(batch{records: []record{note("a")}, replies: []chan<- error{reply}})
		if err := <-reply; err != nil {
			t.Error(err)
		}
		s.Queued("slack", notify.Alert{ID: "1"})
		if got, want := backlogLines(s.undelivered()), "slack: 1 merged 0 repeat"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if s.undelivered() != nil {
			t.Error("answers after its end")
		}
	})
}

// Errors that are not of permissions pass: a disk that is full at the start is
// one that may have room later.
func TestStoreOpensOnAFullDisk(t *testing.T) {
	dir := newMemFolder()
	dir.fault = func(_ int, op string) error {
		if op == "write" {
			return errFake
		}
		return nil
	}
	if _, err := newStore(nil, quiet).open(dir); err != nil {
		t.Error(err)
	}
	dir.fault = func(_ int, op string) error {
		if op == "create" {
			return &os.PathError{Op: "open", Path: "x", Err: os.ErrPermission}
		}
		return nil
	}
	if _, err := newStore(nil, quiet).open(dir); !errors.Is(err, os.ErrPermission) {
		t.Errorf("error %v, want one of permissions", err)
	}
}
