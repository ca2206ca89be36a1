package notify

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// grace is how long deliveries may go on once the program is to end.
const grace = 5 * time.Second

// A Journal remembers what is still to be delivered. Its methods are called
// from several goroutines and return at once: a slow disk must not hold up an
// alert.
type Journal interface {
	// Queued records that the target is to get the alert. It replaces a queued
	// alert with the same id.
	Queued(target string, a Alert)
	// Done records that the target has the alert, doesn't want it, or will never
	// get it.
	Done(target, alertID string)
}

// A Journal may also be a ResultLog: then it learns how each delivery ended.
type ResultLog interface {
	// Result says that the target has accepted the alert or, with an error,
	// that it will not get it. It must not wait.
	Result(t Target, a Alert, err error)
}

// noJournal is for a program that saves nothing.
type noJournal struct{}

func (noJournal) Queued(string, Alert) {}
func (noJournal) Done(string, string)  {}

// A Dispatcher delivers every alert to every target that wants it. Each target
// has its own queue and goroutine.
type Dispatcher struct {
	queues  []*queue
	gone    []*queue // of the dispatcher before, of targets that there are no more
	handing atomic.Bool
	before  atomic.Pointer[Dispatcher] // the one that this one follows, until it has ended
	ending  chan struct{}              // closed when the program is to end
	ended   chan struct{}              // closed when Run returns
	endOnce sync.Once
	journal Journal
	log     *slog.Logger
}

// NewDispatcher returns a dispatcher for the targets, whose names are unique.
// The journal may be nil.
func NewDispatcher(targets []Target, journal Journal, log *slog.Logger) *Dispatcher {
	if journal == nil {
		journal = noJournal{}
	}
	d := &Dispatcher{ending: make(chan struct{}), ended: make(chan struct{}), journal: journal, log: log}
	for _, t := range targets {
		d.queues = append(d.queues, newQueue(t, journal, &d.handing, log.With("target", t.Name)))
	}
	return d
}

// Restore queues alerts, oldest first, that a recipient did not get in an
// earlier run. Alerts of a recipient that is no longer configured are given
// up. It must not be called after Run.
func (d *Dispatcher) Restore(key string, alerts []Alert) {
	i := targetOf(d.targets(), key)
	if i < 0 {
		d.giveUp(key, key, alerts)
		return
	}
	q := d.queues[i]
	if q.target.Key != key { // from here on it has its new key
		for _, a := range alerts {
			d.journal.Queued(q.target.Key, a)
			d.journal.Done(key, a.ID)
		}
	}
	q.restore(alerts)
}

// Told lists the ongoing outages that a channel was told of, in an earlier run
// or before a reload. It must be called before Run.
func (d *Dispatcher) Told(channel string, page Page, outages []Outage) {
	for _, q := range d.queues {
		if q.target.Channel == channel && q.target.forgets {
			q.posted.add(Alert{Page: page, Outages: outages})
		}
	}
}

func (d *Dispatcher) targets() []Target {
	var list []Target
	for _, q := range d.queues {
		list = append(list, q.target)
	}
	return list
}

// giveUp drops the alerts of a recipient that is no longer configured.
func (d *Dispatcher) giveUp(key, name string, alerts []Alert) {
	for _, a := range alerts {
		d.journal.Done(key, a.ID)
	}
	if len(alerts) > 0 {
		d.log.Warn("gave up alerts of a recipient that is no longer configured",
			"target", name, "alerts", len(alerts))
	}
}

// HandOver announces that another dispatcher follows this one. Once its alerts
// end, this one only finishes the deliveries under way and leaves the rest to
// the other.
func (d *Dispatcher) HandOver() { d.handing.Store(true) }

// Follow makes d take over the alerts that an earlier dispatcher does not
// deliver. Each target takes over as soon as its own earlier queue has ended,
// so no target waits for another. It must be called before Run.
func (d *Dispatcher) Follow(before *Dispatcher) {
	d.before.Store(before)
	for _, old := range before.queues {
		i := slices.IndexFunc(d.queues, func(q *queue) bool { return q.target.Key == old.target.Key })
		if i >= 0 {
			d.queues[i].before = old.left
		} else {
			d.gone = append(d.gone, old)
		}
	}
}

// Run delivers until alerts is closed or ctx is cancelled. After HandOver,
// deliveries under way may take as long as they need. Otherwise they and what
// is queued, which is tried once more, have 5 s. Undelivered returns the rest.
// It returns nil.
func (d *Dispatcher) Run(ctx context.Context, alerts <-chan Alert) error {
	defer close(d.ended)
	deliveries, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var wg sync.WaitGroup
	for _, q := range d.queues {
		wg.Go(func() { q.run(deliveries) })
	}
	gone := d.gone
	d.gone = nil // it would keep all earlier dispatchers
	for _, old := range gone {
		wg.Go(func() { d.giveUp(old.target.Key, old.target.Name, (<-old.left).alerts) })
	}
	if before := d.before.Load(); before != nil {
		wg.Go(func() {
			<-before.ended
			d.before.Store(nil)
		})
	}
	d.fanOut(ctx, alerts)
	for _, q := range d.queues {
		close(q.in)
	}
	if !d.handing.Load() {
		d.end()
	}
	finished := make(chan struct{})
	go func() {
		wg.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-d.ending:
		defer time.AfterFunc(grace, cancel).Stop()
		<-finished
	}
	return nil
}

// end gives deliveries under way 5 s from now, those of earlier dispatchers
// included.
func (d *Dispatcher) end() {
	d.endOnce.Do(func() { close(d.ending) })
	if before := d.before.Load(); before != nil {
		before.end()
	}
}

// fanOut hands alerts over until there are no more. A queue always takes what
// it is given at once.
func (d *Dispatcher) fanOut(ctx context.Context, alerts <-chan Alert) {
	give := func(a Alert) {
		for _, q := range d.queues {
			if q.target.Wants(a) {
				q.in <- a
			} else {
				d.journal.Done(q.target.Key, a.ID)
			}
		}
		d.note(a)
	}
	for {
		select {
		case a, open := <-alerts:
			if !open {
				return
			}
			give(a)
		case <-ctx.Done():
			for { // what was sent before the end still counts
				select {
				case a, open := <-alerts:
					if !open {
						return
					}
					give(a)
				default:
					return
				}
			}
		}
	}
}

// note logs an alert. That may be the only trace of it when no recipient can be
// reached.
func (d *Dispatcher) note(a Alert) {
	level := slog.LevelInfo
	attrs := []any{"alert", a.ID, "kind", a.Kind, "status", a.Status}
	if a.Channel != "" {
		attrs = append(attrs, "channel", a.Channel)
	}
	if dead := a.dead(); len(dead) > 0 {
		level = slog.LevelWarn
		attrs = append(attrs, "dead", len(dead)+a.MoreDead, "nodes", nodesOf(a))
	}
	if n := len(a.recovered()); n > 0 {
		attrs = append(attrs, "recovered", n)
	}
	d.log.Log(context.Background(), level, "notification", attrs...)
}

// nodesOf names a few of the nodes that are down and counts the others.
func nodesOf(a Alert) string {
	const most = 5
	var names []string
	more, last := a.MoreDown, ""
	add := func(name string) {
		switch {
		case name == last:
		case len(names) < most:
			names = append(names, name)
		default:
			more++
		}
		last = name
	}
	for _, o := range a.Outages {
		if !o.Over {
			add(o.Service + ":" + o.Node)
		}
	}
	if len(a.Outages) == 0 {
		for _, r := range a.Dead { // those of a node are adjacent
			add(r.Node)
		}
	}
	s := strings.Join(names, ", ")
	if more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// Undelivered returns, by target, the alerts that are still to be delivered,
// oldest first. It must not be called before Run returned.
func (d *Dispatcher) Undelivered() map[string][]Alert {
	left := make(map[string][]Alert)
	for _, q := range d.queues {
		if len(q.backlog) > 0 {
			left[q.target.Key] = q.backlog
		}
	}
	return left
}

// TargetStats is what became of a target's alerts since the start.
type TargetStats struct {
	Target  string
	Channel string

	Delivered uint64 // alerts that the target has
	Failed    uint64 // tries that failed and were to be repeated
	Panics    uint64 // those of them that were faults in the notifier
	Refused   uint64 // alerts given up because the service rejects them
	GivenUp   uint64 // alerts given up after an hour of tries
	Merged    uint64 // alerts that became part of a newer one
	Queued    int64  // alerts waiting now, those under way included
}

// counters are the numbers of TargetStats while they move.
type counters struct {
	delivered, failed, panics, refused, givenUp, merged atomic.Uint64
	queued                                              atomic.Int64
}

// Stats returns the numbers of all targets. It may be called at any time.
func (d *Dispatcher) Stats() []TargetStats {
	stats := make([]TargetStats, 0, len(d.queues))
	for _, q := range d.queues {
		stats = append(stats, TargetStats{
			Target:    q.target.Name,
			Channel:   q.target.Channel,
			Delivered: q.count.delivered.Load(),
			Failed:    q.count.failed.Load(),
			Panics:    q.count.panics.Load(),
			Refused:   q.count.refused.Load(),
			GivenUp:   q.count.givenUp.Load(),
			Merged:    q.count.merged.Load(),
			Queued:    q.count.queued.Load(),
		})
	}
	return stats
}
