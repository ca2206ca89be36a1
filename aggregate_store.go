package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"vigil/notify"
)

// errStopped is the answer to a record that comes after the store has stopped.
var errStopped = errors.New("the program is stopping")

// A batch is a set of records that the aggregator hands over at once.
type batch struct {
	records []record
	replies []chan<- error   // of capacity 1; what they wait for is in records
	whole   iter.Seq[record] // when not nil, all that is known, records included
}

// A store saves the state. It accepts batches immediately, however slow the
// disk is: one goroutine queues them and another one, which may hang, writes.
// What arrives during a write is written next, with one sync.
type store struct {
	disk *disk // nil: nothing survives the program
	log  *slog.Logger

	in       chan batch
	notes    chan record   // of deliveries, from the goroutines of the dispatcher
	accepted chan accepted // of those that succeeded
	asks     chan chan<- map[string][]notify.Alert
	ended    chan struct{} // closed when run has returned
	backlog  backlog
	meter    storeMeter
	events   *eventLog // where the end of each delivery is noted; may be nil

	unsaved []record         // not being written yet
	ahead   int              // how many of these the disk was given to write ahead
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

// A storeMeter counts the work of the store for /metrics.
type storeMeter struct {
	took     histogram     // of each job
	faults   atomic.Uint64 // jobs that failed
	waiting  atomic.Int64  // records that are not written yet
	failing  atomic.Bool   // the folder cannot be written
	delivery histogram     // from an alert to its acceptance
}

// An ack is a sender that waits until its record is on the disk.
type ack struct {
	reply chan<- error
	by    time.Time
}

// openStore opens the folder and reads what it holds. A default folder that
// cannot be used is not an error: nothing survives then. One that another
// process works in, or that a newer program has written, always is.
func openStore(conf Storage, log *slog.Logger) (*store, *restored, error) {
	s := newStore(nil, log)
	if conf.Path == "" {
		return s, newRestored(), nil
	}
	path, err := filepath.Abs(conf.Path)
	if err != nil {
		path = conf.Path
	}
	dir, err := openFolder(path)
	if err == nil {
		if mode := othersWrite(path); mode != "" {
			log.Warn("other users can write to the storage folder: run chmod go-w on it", "path", path, "mode", mode)
		}
		var im *restored
		if im, err = s.open(dir); err == nil {
			log.Info("opened the storage folder", "path", path,
				"replicas", len(im.index), "announcements", len(im.announcements))
			return s, im, nil
		}
		dir.close()
	}
	if !conf.Set && !errors.Is(err, errLocked) && !errors.Is(err, errNewer) {
		log.Error("storage folder cannot be used, nothing will survive a restart", "path", path, "err", err)
		s = newStore(nil, log)
		s.meter.failing.Store(true)
		return s, newRestored(), nil
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
	return nil, nil, fmt.Errorf("storage folder %q: %w%s", path, err, remedy)
}

func newStore(d *disk, log *slog.Logger) *store {
	return &store{
		disk:     d,
		log:      log,
		in:       make(chan batch),
		notes:    make(chan record),
		accepted: make(chan accepted, 64),
		asks:     make(chan chan<- map[string][]notify.Alert),
		ended:    make(chan struct{}),
		backlog:  make(backlog),
		wanted:   d != nil,
	}
}

// open reads the folder and sees whether it can be written.
func (s *store) open(dir folder) (*restored, error) {
	im, err := readFolder(dir, s.log)
	if err != nil {
		return nil, err
	}
	s.disk = &disk{dir: dir, generation: im.generation, used: im.used, aside: im.aside, urgent: make(chan []record, 1)}
	if err := s.disk.append(nil); unwritable(err) {
		return nil, err
	} // any other failure, like a full disk, may pass
	if !im.alive.IsZero() {
		im.backlog.postpone(time.Since(im.alive))
	}
	im.rewind(time.Now())
	s.backlog, s.wanted = im.backlog, true
	return im.restored, nil
}

// put hands a batch over. Without a storage folder, or after the store has
// stopped, nothing is saved.
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

// Result notes in the log of events how a delivery ended.
func (s *store) Result(t notify.Target, a notify.Alert, err error) {
	e := logEvent{Time: time.Now(), Kind: "delivery", Alert: a.ID, Channel: t.Channel, Target: t.Name, Type: string(a.Kind), Result: "accepted"}
	if err != nil {
		e.Result, e.Reason = "given up", oneLine(err.Error())
	}
	s.events.add(e)
	if err != nil || a.Test {
		return
	}
	s.meter.delivery.observe(e.Time.Sub(a.Time))
	got := accepted{channel: t.Channel, told: a.Time, at: e.Time}
	for _, o := range a.Outages {
		if !o.Over {
			got.outages, got.nodes = append(got.outages, o.ID), append(got.nodes, nodeKey{o.Service, o.Node})
		}
	}
	select {
	case s.accepted <- got:
	default: // an outage then lacks the time, which the log of events has
	}
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

const (
	// ackTime is how long the sender of a Manager call waits for the disk.
	ackTime = 5 * time.Second

	// lastTime is how long writing may take when the program stops.
	lastTime = 3 * time.Second

	// maxAccepted is how many deliveries wait for the aggregator to note them.
	maxAccepted = 1000

	// maxUnsaved is how many records wait for a disk that does not answer.
	// Beyond that they are dropped, and all is written anew when it does.
	maxUnsaved = 1 << 16

	// After a failure the disk is tried again after retryFirst, then with
	// doubled waits up to retryMost, and whenever somebody waits for an answer.
	retryFirst = time.Second
	retryMost  = 30 * time.Second
)

var errDiskSlow = fmt.Errorf("the disk has not answered in %v", ackTime)

// wholeState is the event by which the store asks for all that is known.
type wholeState struct{}

// run queues and writes until ctx ends, which must be after all senders have
// ended; then it writes the rest and releases the folder. To write a whole
// state it sends an event that asks for it.
func (s *store) run(ctx context.Context, events chan<- event) error {
	defer close(s.ended)
	jobs := make(chan job, 1)
	results := make(chan outcome, 1)
	if s.disk != nil {
		// It ends with the jobs, or never if the disk never answers.
		go s.disk.work(jobs, results)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var delivered []accepted // for the aggregator
	for {
		var ask, tell chan<- event
		var told accepted
		if len(delivered) > 0 {
			tell, told = events, delivered[0]
		}
		if s.wanted && !s.asked && !s.writing && !time.Now().Before(s.retry) {
			ask = events
		}
		select {
		case b := <-s.in:
			s.add(b, time.Now())
		case rec := <-s.notes:
			s.noteDelivery(rec)
		case answer := <-s.asks:
			answer <- s.backlog.again()
		case ask <- wholeState{}:
			s.asked = true
		case a := <-s.accepted:
			if len(delivered) < maxAccepted {
				delivered = append(delivered, a)
			}
		case tell <- told:
			delivered = delivered[1:]
		case out := <-results:
			s.finishJob(out, time.Now())
		case <-timer.C:
		case <-ctx.Done():
			s.finish(jobs, results)
			return nil
		}
		now := time.Now()
		s.expire(now)
		s.begin(jobs, now)
		s.meter.waiting.Store(int64(len(s.unsaved) + len(s.job.records)))
		if wake, ok := s.wake(now); ok {
			timer.Reset(wake.Sub(now))
		}
	}
}

// add takes a batch.
func (s *store) add(b batch, now time.Time) {
	for _, rec := range b.records {
		s.backlog.apply(rec)
	}
	s.unsaved = append(s.unsaved, b.records...)
	for _, reply := range b.replies {
		s.acks = append(s.acks, ack{reply, now.Add(ackTime)})
	}
	if b.whole != nil {
		s.whole, s.asked = b.whole, false
	}
	s.bound()
	if s.writing && slices.ContainsFunc(b.records, record.urgent) {
		s.disk.urgent <- append(s.takeUrgent(), s.unsaved[s.ahead:]...)
		s.ahead = len(s.unsaved)
	}
}

// takeUrgent takes back the records that the disk has not written ahead yet.
func (s *store) takeUrgent() []record {
	select {
	case records := <-s.disk.urgent:
		return records
	default:
		return nil
	}
}

// noteDelivery records what the dispatcher reports of a delivery.
func (s *store) noteDelivery(rec record) {
	if q := rec.Queued; q != nil {
		if i := s.backlog.find(q.Target, q.Alert.ID); i >= 0 {
			known := s.backlog[q.Target][i]
			if known.Merged == q.Alert.Merged && len(known.Recovered) == len(q.Alert.Recovered) &&
				known.Tried.Equal(q.Alert.Tried) {
				return // the record of the alert said so already
			}
		}
	}
	s.backlog.apply(rec)
	s.unsaved = append(s.unsaved, rec)
	s.bound()
}

// bound drops what waits when it is too much.
func (s *store) bound() {
	if s.disk == nil || len(s.unsaved) <= maxUnsaved {
		return
	}
	s.unsaved, s.ahead, s.whole, s.wanted = nil, 0, nil, true
	answer(s.acks, unsaved(errDiskSlow))
	s.acks = nil
}

// unsaved is the answer to a call whose change may not have been saved.
func unsaved(err error) error {
	if err == nil {
		return nil
	}
	return &eventError{errUnsaved, fmt.Sprintf("done, but not saved, so a restart may undo it: %v", err)}
}

func answer(acks []ack, err error) {
	for _, a := range acks {
		a.reply <- err
	}
}

// begin starts a job if there is something to write.
func (s *store) begin(jobs chan<- job, now time.Time) {
	switch {
	case s.disk == nil:
		answer(s.acks, nil)
		s.unsaved, s.acks, s.whole = nil, nil, nil
		return
	case s.writing, len(s.unsaved) == 0 && s.whole == nil:
		return
	case now.Before(s.retry) && len(s.acks) == 0:
		return
	}
	s.job = job{records: s.unsaved}
	if s.whole != nil {
		s.job.whole = chain(s.whole, slices.Values(s.backlog.records()))
		s.wanted = false
	}
	s.promises = s.acks
	s.unsaved, s.ahead, s.acks, s.whole = nil, 0, nil, nil
	s.writing, s.began = true, now
	s.takeUrgent() // they are part of the job
	jobs <- s.job  // of capacity 1, and the last one is done
}

// finishJob handles the outcome of a job.
func (s *store) finishJob(out outcome, now time.Time) {
	done := s.job
	s.writing, s.job = false, job{}
	s.meter.took.observe(now.Sub(s.began))
	if out.err != nil || out.whole != nil {
		s.meter.faults.Add(1)
	}
	if out.err != nil {
		s.unsaved = append(done.records, s.unsaved...)
		s.bound()
	}
	answer(s.promises, unsaved(cmp.Or(out.err, out.dropped)))
	s.promises = nil
	if out.dropped != nil {
		s.log.Error("record not saved", "err", out.dropped)
	}
	// It may be wanted again, as records were dropped meanwhile.
	s.wanted = s.wanted || out.due || done.whole != nil && (out.err != nil || out.whole != nil)

	fault := cmp.Or(out.err, out.whole)
	switch {
	case fault == nil && !s.trouble.IsZero():
		s.meter.failing.Store(false)
		s.log.Info("storage works again", "after", now.Sub(s.trouble).Round(time.Millisecond))
		s.trouble = time.Time{}
	case fault != nil && s.trouble.IsZero():
		s.meter.failing.Store(true)
		s.log.Error("storage failing, continuing in memory", "err", fault)
		s.trouble = now
	}
	if fault == nil {
		s.wait, s.retry = 0, time.Time{}
	} else {
		s.wait = min(max(2*s.wait, retryFirst), retryMost)
		s.retry = now.Add(s.wait)
	}
}

// expire answers the senders that have waited long enough.
func (s *store) expire(now time.Time) {
	for _, acks := range []*[]ack{&s.promises, &s.acks} {
		n := 0
		for n < len(*acks) && !now.Before((*acks)[n].by) {
			n++
		}
		answer((*acks)[:n], unsaved(errDiskSlow))
		*acks = (*acks)[n:]
	}
	if s.writing && s.trouble.IsZero() && now.Sub(s.began) >= ackTime {
		s.meter.failing.Store(true)
		s.log.Error("storage failing, continuing in memory", "err", errDiskSlow)
		s.trouble = s.began
	}
}

// wake returns when the next thing is due that no message brings.
func (s *store) wake(now time.Time) (at time.Time, ok bool) {
	sooner := func(t time.Time) {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	for _, acks := range [][]ack{s.promises, s.acks} {
		if len(acks) > 0 {
			sooner(acks[0].by)
		}
	}
	switch {
	case s.writing && s.trouble.IsZero():
		sooner(s.began.Add(ackTime))
	case !s.writing && s.retry.After(now):
		sooner(s.retry)
	}
	return at, ok
}

// finish writes what is left, if the disk answers in time.
func (s *store) finish(jobs chan<- job, results <-chan outcome) {
	limit := time.NewTimer(lastTime)
	defer limit.Stop()
	s.retry = time.Time{}
	for range 2 { // the job under way, and what waits behind it
		s.begin(jobs, time.Now())
		if !s.writing {
			break
		}
		select {
		case out := <-results:
			s.finishJob(out, time.Now())
		case <-limit.C:
			limit.Reset(0)
		}
	}
	close(jobs)
	if n := len(s.unsaved) + len(s.job.records); n > 0 && s.disk != nil {
		s.log.Error("stopped before all was saved", "records", n)
	}
	answer(s.promises, unsaved(errStopped))
	answer(s.acks, unsaved(errStopped))
	if s.disk != nil {
		select {
		case <-results: // closed, as there is no job
		case <-limit.C:
		}
	}
}
