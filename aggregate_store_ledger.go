package main

import (
	"time"

	"vigil/notify"
)

const (
	// ledgerBeat is how often what changes all the time is kept. It leaves the
	// disk some of the 10 s that may be lost of the past.
	ledgerBeat = 8 * time.Second

	// laterBurst is how many reports are kept at a beat, so that what is
	// written has a bound that does not grow with the number of replicas. The
	// others' turn comes at the next ones.
	laterBurst = 1000
)

// A ledger gathers what must survive until the store takes it. It belongs to
// the aggregator's goroutine, so that keeping something costs an append and no
// I/O. Without a ledger a state forgets all when it ends.
type ledger struct {
	targets []notify.Target // that alerts are for
	records []record
	replies []chan<- error
	later   []*replicaState // whose last report is not kept yet
	beat    time.Time       // the last one
	whole   bool            // the store wants all that is known
}

// keepFor has the state keep what must survive from now on, alerts with these
// targets. As the config may be another one than before, all of it is written
// anew.
func (st *state) keepFor(targets []notify.Target) {
	if st.ledger == nil {
		st.ledger = new(ledger)
	}
	st.ledger.targets = targets
	st.keepWhole()
}

// keep notes a record for the store. When reply is not nil it must have
// capacity 1: it gets nil as soon as this record and those before it are on
// the disk, for good, or an error when that fails or takes longer than 5 s.
// Then what was changed holds for now, but is not sure to survive. A state
// that keeps nothing answers nil at once.
//
// An event of the Manager API thus changes the state, keeps the record with its
// own reply channel, and whoever sent it waits there:
//
//	st.announcements = append(st.announcements, a)
//	st.keep(announced(a), ev.reply)
func (st *state) keep(rec record, reply chan<- error) {
	if st.ledger == nil {
		if reply != nil {
			reply <- nil
		}
		return
	}
	st.ledger.records = append(st.ledger.records, rec)
	if reply != nil {
		st.ledger.replies = append(st.ledger.replies, reply)
	}
}

// keepAlert keeps an alert that is about to be sent, with all that people then
// know, and returns where it is told how that went.
func (st *state) keepAlert(a notify.Alert) <-chan error {
	saved := make(chan error, 1)
	rec := &alertRecord{Alert: a, Next: utc(st.alerter.reminder), Sent: st.alerter.reminders, Line: st.alerter.line.toldDown()}
	rec.Alert.Time = a.Time.UTC() // to the nanosecond: ids of messages are made of it
	if st.ledger != nil {
		for _, t := range st.ledger.targets {
			if t.Wants(a) {
				rec.Targets = append(rec.Targets, t.Name)
			}
		}
	}
	st.keep(record{Alert: rec}, saved)
	return saved
}

// keepLater has the last report of a replica kept, but not each one.
func (st *state) keepLater(r *replicaState) {
	if st.ledger != nil && !r.unkept {
		r.unkept = true
		st.ledger.later = append(st.ledger.later, r)
	}
}

// keepWhole has the store write everything anew: after this, what is not known
// any more is not in the files either.
func (st *state) keepWhole() {
	if st.ledger != nil {
		st.ledger.whole = true
	}
}

func (wholeState) apply(st *state, _ time.Time) { st.keepWhole() }

// wakeLedger returns when something is to be kept without any event.
func (st *state) wakeLedger() (time.Time, bool) {
	if st.ledger == nil {
		return time.Time{}, false
	}
	return st.ledger.beat.Add(ledgerBeat), true
}

// settleLedger returns what is to be stored now. At the end it is all there
// is.
func (st *state) settleLedger(now time.Time, end bool) (b batch, any bool) {
	l := st.ledger
	if l == nil {
		return b, false
	}
	if end || now.Sub(l.beat) >= ledgerBeat {
		l.beat = now
		n := len(l.later)
		if !end {
			n = min(n, laterBurst)
		}
		for _, r := range l.later[:n] {
			if r.unkept {
				st.keepReplica(r)
			}
		}
		l.later = append(l.later[:0], l.later[n:]...)
		if end {
			st.history.keep(st, now)
		}
		alive := utc(now)
		st.keep(record{Alive: &alive}, nil)
	}
	b = batch{records: l.records, replies: l.replies}
	if l.whole {
		b.whole = st.records(now)
	}
	l.records, l.replies, l.whole = nil, nil, false
	return b, len(b.records) > 0 || b.whole != nil
}

// keepReplica keeps what is known of a replica.
func (st *state) keepReplica(r *replicaState) {
	r.unkept = false
	if st.ledger != nil {
		st.keep(r.show().record(r.name()), nil)
	}
}

// utc is a time as the files have it, to the millisecond. The zero time stays
// that.
func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
