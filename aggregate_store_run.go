package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

const (
	// ackTime is how long the sender of a Manager call waits for the disk.
	ackTime = 5 * time.Second

	// lastTime is how long writing may take when the program stops.
	lastTime = 3 * time.Second

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

// run books and writes until ctx ends, which must be after the end of all who
// hand something over; then it writes what is left and gives the folder up.
// When it wants to write everything it sends an event to ask for that.
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
	for {
		var ask chan<- event
		if s.wanted && !s.asked && !s.writing && !time.Now().Before(s.retry) {
			ask = events
		}
		select {
		case b := <-s.in:
			s.take(b, time.Now())
		case rec := <-s.notes:
			s.book(rec)
		case answer := <-s.asks:
			answer <- s.backlog.again()
		case ask <- wholeState{}:
			s.asked = true
		case out := <-results:
			s.settle(out, time.Now())
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

// take books a batch.
func (s *store) take(b batch, now time.Time) {
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
}

// book books what the dispatcher says of a delivery.
func (s *store) book(rec record) {
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
	s.unsaved, s.whole, s.wanted = nil, nil, true
	answer(s.acks, unsaved(errDiskSlow))
	s.acks = nil
}

// unsaved is what is answered to a call that did what it should, but cannot
// vouch for it.
func unsaved(err error) error {
	if err == nil {
		return nil
	}
	return refuse(http.StatusInsufficientStorage, "done, but not saved, so that a restart may undo it: %v", err)
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
	}
	s.promises = s.acks
	s.unsaved, s.acks, s.whole = nil, nil, nil
	s.writing, s.began = true, now
	jobs <- s.job // of capacity 1, and the last one is done
}

// settle draws the conclusions from a job.
func (s *store) settle(out outcome, now time.Time) {
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
	if done.whole != nil {
		s.wanted = out.err != nil || out.whole != nil
	}
	s.wanted = s.wanted || out.due

	fault := cmp.Or(out.err, out.whole)
	switch {
	case fault == nil && !s.trouble.IsZero():
		s.log.Info("storage works again", "after", now.Sub(s.trouble).Round(time.Millisecond))
		s.trouble = time.Time{}
	case fault != nil && s.trouble.IsZero():
		s.log.Error("storage fails, going on without", "err", fault)
		s.trouble = now
	}
	if fault == nil {
		s.wait, s.retry = 0, time.Time{}
	} else {
		s.wait = min(max(2*s.wait, retryFirst), retryMost)
		s.retry = now.Add(s.wait)
	}
}

// expire gives those an answer who have waited long enough.
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
		s.log.Error("storage fails, going on without", "err", errDiskSlow)
		s.trouble = s.began
	}
}

// wake returns when something is due without anything coming in.
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
			s.settle(out, time.Now())
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

// work writes one job after the other, then gives the folder up.
func (d *disk) work(jobs <-chan job, results chan<- outcome) {
	defer close(results)
	for j := range jobs {
		out := d.do(j)
		out.due = d.due(time.Now())
		results <- out // of capacity 1, and there is one job at a time
	}
	d.stop()
	_ = d.dir.close()
}
