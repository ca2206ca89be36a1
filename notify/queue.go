package notify

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// maxQueue is how many alerts wait for one target.
	maxQueue = 64

	// The first wait before another try doubles up to the longest; patience is
	// how long one alert is tried, in all queues that it goes through.
	firstWait   = 2 * time.Second
	longestWait = 5 * time.Minute
	patience    = time.Hour

	// refusalPatience is how long a rejection that looks permanent is retried.
	refusalPatience = 10 * time.Minute

	// repeatWait is the shortest wait before a message that was handed over is
	// repeated: it probably arrived.
	repeatWait = 30 * time.Second
)

// A queue brings alerts to one target in their order. Its fields but in and
// count belong to the goroutine of run.
type queue struct {
	target  Target
	journal Journal
	log     *slog.Logger
	in      chan Alert   // closed by the dispatcher, which alone sends
	handing *atomic.Bool // another queue goes on with what is left
	left    chan leftover
	count   counters

	before <-chan leftover // what the queue before this one leaves; nil: no more

	backlog []Alert    // oldest first; the first one is being tried
	trying  chan error // the result of the try that is under way; else nil
	tries   int        // of the first one, since the queue began
	last    time.Time  // when the last try began
	hold    time.Time  // no try before that: the service asked for a pause

	posted    posted           // for a target that forgets
	postAgain <-chan time.Time // when that is due; nil for other targets
	posting   chan error       // the result of posting it, while that is under way
}

func newQueue(t Target, journal Journal, handing *atomic.Bool, log *slog.Logger) *queue {
	return &queue{target: t, journal: journal, log: log, handing: handing, in: make(chan Alert), left: make(chan leftover, 1)}
}

// A leftover is the rest that a queue did not deliver.
type leftover struct {
	alerts []Alert
	hold   time.Time // no try before that
}

// leave hands over the rest. The next queue waits before its first try, so that
// reloads do not shorten the wait between two tries.
func (q *queue) leave() {
	hold := q.hold
	if next := q.last.Add(firstWait); q.tries > 0 && next.After(hold) {
		hold = next
	}
	q.left <- leftover{q.backlog, hold}
}

// restore queues alerts that the journal already has, and drops those that the
// target no longer wants.
func (q *queue) restore(alerts []Alert) {
	for _, a := range alerts {
		if q.target.Wants(a) {
			q.add(a)
		} else {
			q.journal.Done(q.target.Key, a.ID)
		}
	}
}

// inherit puts the alerts left by the earlier queue in front of newer ones.
func (q *queue) inherit(l leftover) {
	newer := q.backlog
	q.backlog, q.before, q.hold = nil, nil, l.hold
	q.count.queued.Add(-int64(len(newer)))
	q.restore(l.alerts)
	for _, a := range newer {
		q.add(a)
	}
}

// run delivers until the queue is closed, then makes a last round or leaves
// that to another queue. ctx ends the deliveries.
func (q *queue) run(ctx context.Context) {
	defer q.leave()
	var wait <-chan time.Time // until the next try; nil when it is due
	if q.target.forgets {
		q.postAgain = time.After(0)
	}
	for {
		if len(q.backlog) > 0 && q.trying == nil && wait == nil && q.before == nil && q.posting == nil {
			q.try(ctx)
		}
		select {
		case l := <-q.before:
			q.inherit(l)
			wait = after(time.Until(q.hold))
		case a, open := <-q.in:
			if !open {
				q.finish(ctx)
				return
			}
			q.journal.Queued(q.target.Key, a)
			if q.target.forgets {
				q.posted.add(q.target.own(a))
			}
			if q.add(a) {
				wait = after(time.Until(q.hold))
			}
		case err := <-q.trying:
			q.trying = nil
			wait = after(q.finishTry(err))
		case <-wait:
			wait = nil
		case <-q.postAgain:
			q.postAgain = time.After(postEvery)
			q.post(ctx)
		case err := <-q.posting:
			q.posting = nil
			if err != nil {
				q.log.Debug("posting open outages again failed", "err", err)
			}
		}
	}
}

// post sends a target that forgets the open outages, unless an alert is on its
// way there, which names them too.
func (q *queue) post(ctx context.Context) {
	a, ok := q.posted.again(time.Now())
	if !ok || q.trying != nil || len(q.backlog) > 0 || q.before != nil || q.posting != nil {
		return
	}
	result := make(chan error, 1)
	q.posting = result
	go func() { result <- q.target.Deliver(ctx, a) }()
}

// after is a channel that fires then, or nil for at once.
func after(d time.Duration) <-chan time.Time {
	if d <= 0 {
		return nil
	}
	return time.After(d)
}

// try starts one try of the oldest alert.
func (q *queue) try(ctx context.Context) {
	q.last = time.Now()
	if q.backlog[0].Tried.IsZero() {
		q.backlog[0].Tried = q.last
	}
	q.tries++
	result := make(chan error, 1)
	q.trying = result
	a := q.backlog[0]
	go func() { result <- q.target.Deliver(ctx, a) }()
}

// finishTry handles the result of a try and returns how long to wait before
// the next one.
func (q *queue) finishTry(err error) time.Duration {
	a := &q.backlog[0]
	switch {
	case err == nil:
		q.count.delivered.Add(1)
		if q.tries > 1 {
			q.log.Info("delivered after retries", "alert", a.ID, "attempts", q.tries)
		}
		q.end(nil)
		return 0
	case isFinal(err):
		q.count.refused.Add(1)
		q.log.Error("delivery refused, will not retry", "alert", a.ID, "attempts", q.tries, "err", err)
		q.end(err)
		return 0
	}
	q.count.failed.Add(1)
	if crash, ok := errors.AsType[*panicError](err); ok {
		q.count.panics.Add(1)
		if q.tries == 1 {
			q.log.Error("notifier panicked", "err", err, "stack", crash.stack)
		}
	}
	wait := min(firstWait<<min(q.tries-1, 16), longestWait)
	q.hold = time.Time{}
	if retry, ok := errors.AsType[*RetryError](err); ok {
		wait = max(wait, min(retry.After, patience))
		q.hold = time.Now().Add(min(retry.After, patience))
	}
	refused := isPermanent(err)
	firstRefusal := refused && a.Refused.IsZero()
	if firstRefusal {
		a.Refused = time.Now()
	}
	if isUnconfirmed(err) {
		q.markSent()
		wait = max(wait, repeatWait)
	} else if q.tries == 1 || firstRefusal {
		q.journal.Queued(q.target.Key, *a)
	}

	left := patience - time.Since(a.Tried)
	if refused {
		left = min(left, refusalPatience-time.Since(a.Refused))
	}
	switch {
	case left <= 0 && refused:
		q.count.refused.Add(1)
		q.log.Error("delivery still refused, giving up", "alert", a.ID, "attempts", q.tries, "err", err)
		q.end(err)
		return time.Until(q.hold)
	case left <= 0:
		q.count.givenUp.Add(1)
		q.log.Error("delivery failed, giving up", "alert", a.ID, "attempts", q.tries, "err", err)
		q.end(err)
		return time.Until(q.hold)
	case q.dropSent(), q.mergeReminders(0):
		return time.Until(q.hold)
	}
	wait = min(wait, left)
	switch attrs := []any{"alert", a.ID, "attempts", q.tries, "wait", wait, "err", err}; {
	case firstRefusal:
		q.log.Error("delivery refused, will retry for 10 minutes", attrs...)
	case q.tries == 1:
		q.log.Warn("delivery failed, will retry", attrs...)
	default:
		q.log.Debug("delivery failed, will retry", attrs...)
	}
	return wait
}

// markSent notes that the oldest alert was handed over without a verdict: from
// now on it is a repeat.
func (q *queue) markSent() {
	q.backlog[0].Sent, q.backlog[0].Repeat = true, true
	q.journal.Queued(q.target.Key, q.backlog[0])
}

// dropSent drops the oldest alert when it was handed over and a newer one
// follows, which says what of it is still true. It reports whether it did.
func (q *queue) dropSent() bool {
	if q.trying != nil || len(q.backlog) < 2 || !q.backlog[0].Sent {
		return false
	}
	q.log.Info("not repeating an unconfirmed delivery, a newer alert follows", "alert", q.backlog[0].ID)
	q.pop()
	return true
}

// finish waits for the try under way. Unless another queue follows, it then
// tries the rest once more.
func (q *queue) finish(ctx context.Context) {
	if q.before != nil {
		q.inherit(<-q.before) // that one is at its end, too
	}
	if q.handing.Load() {
		if q.trying != nil {
			q.conclude(ctx)
		}
		q.count.queued.Add(-int64(len(q.backlog)))
		return
	}
	q.drain(ctx)
	if n := len(q.backlog); n > 0 {
		q.log.Warn("stopped with undelivered alerts", "alerts", n)
	}
}

// drain waits for the try under way and tries each of the others once. It stops
// at the first failure, because alerts must not overtake each other.
func (q *queue) drain(ctx context.Context) {
	for len(q.backlog) > 0 {
		if q.trying == nil {
			if time.Now().Before(q.hold) {
				return
			}
			q.try(ctx)
		}
		if !q.conclude(ctx) {
			return
		}
	}
}

// conclude waits for the try under way and reports whether the alert is
// finished. A try that was cut short by the end of ctx decides nothing.
func (q *queue) conclude(ctx context.Context) bool {
	var err error
	select {
	case err = <-q.trying:
	case <-ctx.Done():
		// A notifier honours ctx, so this is all but immediate.
		select {
		case err = <-q.trying:
		case <-time.After(time.Second):
			err = ctx.Err()
		}
	}
	q.trying = nil
	if err != nil && ctx.Err() != nil {
		if isUnconfirmed(err) {
			q.markSent()
		}
		return false
	}
	left := len(q.backlog)
	q.finishTry(err)
	return len(q.backlog) < left
}

// add appends an alert and keeps the queue within its bound. It reports
// whether the alert that waited for its next try made way.
//
// A reminder is merged into whatever newer alert follows it, and an alert that
// was handed over already is dropped. Changes are kept; when there are too
// many, the two oldest become one.
func (q *queue) add(a Alert) bool {
	tries := q.tries
	q.backlog = append(q.backlog, a)
	q.count.queued.Add(1)
	first := 0
	if q.trying != nil {
		first = 1
	}
	q.dropSent()
	q.mergeReminders(first)
	if len(q.backlog) > maxQueue {
		q.merge(1) // the first may be under way, or may have arrived in spite of an error
	}
	return q.tries < tries
}

// mergeReminders merges the reminders from index i on into what follows them
// and reports whether there were any.
func (q *queue) mergeReminders(i int) bool {
	before := len(q.backlog)
	for i < len(q.backlog)-1 {
		if q.backlog[i].Kind == Reminder {
			q.merge(i)
		} else {
			i++
		}
	}
	return len(q.backlog) < before
}

// merge makes the alert at index i part of the one that follows it.
func (q *queue) merge(i int) {
	older, newer := q.backlog[i], absorb(q.backlog[i+1], q.backlog[i])
	q.journal.Queued(q.target.Key, newer)
	q.backlog[i+1] = newer
	q.count.merged.Add(1)
	q.remove(i)
	q.log.Debug("merged an alert into a newer one", "alert", older.ID, "newer", newer.ID)
}

// end takes the oldest alert off, whose delivery has ended.
func (q *queue) end(err error) {
	if log, ok := q.journal.(ResultLog); ok {
		log.Result(q.target, q.backlog[0], err)
	}
	q.pop()
}

// pop takes the oldest alert off: it is delivered, or never will be.
func (q *queue) pop() { q.remove(0) }

func (q *queue) remove(i int) {
	q.journal.Done(q.target.Key, q.backlog[i].ID)
	q.backlog = slices.Delete(q.backlog, i, i+1)
	q.count.queued.Add(-1)
	if i == 0 {
		q.tries = 0
	}
}

// absorb returns the newer alert so that it replaces the older one too: it also
// names what began and what ended since the alert before both. It knows the
// ongoing outages itself. Neither alert is changed.
func absorb(newer, older Alert) Alert {
	newer.Outages = absorbOutages(newer.Outages, older.Outages)
	newer.MoreOver += older.MoreOver
	known := make(map[string]bool)
	for _, r := range newer.Dead {
		known[r.Path] = true
	}
	for _, path := range newer.Recovered {
		known[path] = true
	}
	var back []string
	for _, path := range older.Recovered {
		if !known[path] {
			back = append(back, path)
		}
	}
	newer.Recovered = append(back, newer.Recovered...)
	newer.Merged += older.Merged
	if older.Kind != Reminder {
		newer.Merged++
		newer.Kind = Changed
	}
	if newer.Note == "" {
		newer.Note = older.Note
	}
	return newer.Trim()
}

// absorbOutages returns the newer outages, with those that the older alert was
// to announce marked as new, and with those that it was to call over.
func absorbOutages(newer, older []Outage) []Outage {
	began := make(map[string]bool)
	known := make(map[string]bool)
	for _, o := range older {
		began[o.ID] = o.New && !o.Over
	}
	list := slices.Clone(newer)
	for i, o := range list {
		known[o.ID] = true
		if began[o.ID] && !o.Over {
			list[i].New = true
		}
	}
	for _, o := range older {
		if o.Over && !known[o.ID] {
			list = append(list, o)
		}
	}
	return list
}
