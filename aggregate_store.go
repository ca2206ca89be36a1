package main

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"vigil/notify"
)

// errStopped is the answer to those who hand something over too late.
var errStopped = errors.New("the program is stopping")

// A batch is what the aggregator hands over at once.
type batch struct {
	records []record
	replies []chan<- error   // of capacity 1; what they wait for is in records
	whole   iter.Seq[record] // when not nil, all that is known, records included
}

// A store keeps what must survive. It takes what it is given at once, however
// long the disk needs: one goroutine books and one, which may hang, writes.
// While that one writes, what comes gathers, and is written with one sync.
type store struct {
	disk *disk // nil: nothing survives the program
	log  *slog.Logger

	in      chan batch
	notes   chan record // of deliveries, from the goroutines of the dispatcher
	asks    chan chan<- map[string][]notify.Alert
	ended   chan struct{} // closed when run has returned
	backlog backlog
	meter   storeMeter

	unsaved []record         // not being written yet
	acks    []ack            // of these
	whole   iter.Seq[record] // for the next job
	wanted  bool             // a whole state is to be written
	asked   bool             // the aggregator knows

	writing  bool
	job      job
	promises []ack     // of the job under way
	began    time.Time // when that began

	trouble time.Time     // since when the disk fails; zero: it works
	wait    time.Duration // between the last try and the next
	retry   time.Time     // when the next one is due
}

// A storeMeter is what the store tells of its work.
type storeMeter struct {
	took    histogram     // of each job
	faults  atomic.Uint64 // jobs that failed
	waiting atomic.Int64  // records that are not written yet
}

// An ack is somebody who waits for the disk.
type ack struct {
	reply chan<- error
	by    time.Time
}

// openStore opens the folder and reads what it holds. A default folder that
// cannot be used is no error: nothing survives then. One that another process
// works in, or that a newer program has written, always is.
func openStore(conf Storage, log *slog.Logger) (*store, *restored, error) {
	s := newStore(nil, log)
	if conf.Path == "" {
		return s, newRestored(), nil
	}
	dir, err := openFolder(conf.Path)
	if err == nil {
		var im *restored
		if im, err = s.open(dir); err == nil {
			log.Info("opened the storage folder", "path", conf.Path,
				"replicas", len(im.index), "announcements", len(im.announcements))
			return s, im, nil
		}
		dir.close()
	}
	if !conf.Set && !errors.Is(err, errLocked) && !errors.Is(err, errNewer) {
		log.Warn("storage folder cannot be used, nothing will survive a restart", "path", conf.Path, "err", err)
		return newStore(nil, log), newRestored(), nil
	}
	remedy := ""
	switch {
	case errors.Is(err, errLocked):
		remedy = "; stop that one, or set storage.path to another folder"
	case errors.Is(err, errNewer):
		remedy = "; run the newer program, or set storage.path to another folder"
	case unwritable(err):
		remedy = "; let the user that runs Vigil write there, or set storage.path to another folder"
	}
	return nil, nil, fmt.Errorf("storage folder %q: %w%s", conf.Path, err, remedy)
}

// unwritable reports whether the fault is one of permissions or of what
// stands in the way.
func unwritable(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) ||
		errors.Is(err, syscall.ENOTDIR) || errors.Is(err, fs.ErrExist)
}

func newStore(d *disk, log *slog.Logger) *store {
	return &store{
		disk:    d,
		log:     log,
		in:      make(chan batch),
		notes:   make(chan record),
		asks:    make(chan chan<- map[string][]notify.Alert),
		ended:   make(chan struct{}),
		backlog: make(backlog),
		wanted:  d != nil,
	}
}

// open reads the folder and sees whether it can be written.
func (s *store) open(dir folder) (*restored, error) {
	im, err := readFolder(dir, s.log)
	if err != nil {
		return nil, err
	}
	s.disk = &disk{dir: dir, generation: im.generation, used: im.used, damaged: im.damaged}
	if err := s.disk.start(); unwritable(err) {
		return nil, err
	} // any other failure, like a full disk, may pass
	if !im.alive.IsZero() {
		im.backlog.postpone(time.Since(im.alive))
	}
	im.rewind(time.Now())
	s.backlog, s.wanted = im.backlog, true
	return im.restored, nil
}

// put hands a batch over. Without a store, or after its end, nothing survives.
func (s *store) put(b batch) {
	if s != nil {
		select {
		case s.in <- b:
			return
		case <-s.ended:
		}
	}
	for _, reply := range b.replies {
		reply <- unsaved(errStopped)
	}
}

// Queued implements notify.Journal.
func (s *store) Queued(target string, a notify.Alert) {
	s.note(record{Queued: &queuedRecord{target, a}})
}

// Done implements notify.Journal.
func (s *store) Done(target, alertID string) {
	s.note(record{Done: &doneRecord{target, alertID}})
}

func (s *store) note(rec record) {
	select {
	case s.notes <- rec:
	case <-s.ended:
	}
}

// undelivered returns what each target is still to be told, oldest first, as
// it is to be queued after an interruption. run must be running.
func (s *store) undelivered() map[string][]notify.Alert {
	answer := make(chan map[string][]notify.Alert, 1)
	select {
	case s.asks <- answer:
		return <-answer
	case <-s.ended:
		return nil
	}
}
