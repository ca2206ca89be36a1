package main

import (
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"vigil/notify"
)

// gatherTime is how long deaths are gathered into one alert; a status that
// went back within that time is not told at all.
const gatherTime = time.Second

// An alerter decides when people are told what. It remembers what they were
// told last, so that each outage is told once, whatever happens in between.
// It belongs to the state and, like it, takes time as an argument.
type alerter struct {
	conf Alerting
	page notify.Page

	told     map[*replicaState]bool // dead, as far as people know
	fresh    map[*replicaState]bool // dead, and nobody was told
	back     map[*replicaState]bool // of told: not dead any more
	toldDead bool                   // people take the page for dead

	restored bool // that is what an earlier program told; nothing was looked at since

	started    bool            // the start-up notification went out, or is not wanted
	starts     bool            // it is due
	connection connectionState // of the monitor's own connection
	gather     time.Time       // when what was gathered is told; zero: nothing was

	reminders int       // sent since the page died
	reminder  time.Time // when the next one is due; zero: none is
	muted     time.Time // no reminders until then
}

func newAlerter() alerter {
	return alerter{
		told:  make(map[*replicaState]bool),
		fresh: make(map[*replicaState]bool),
		back:  make(map[*replicaState]bool),
	}
}

// notifyPage is the page that alerts link to.
func notifyPage(conf *Config) notify.Page {
	return notify.Page{Title: conf.Branding.PageTitle, URL: conf.Branding.PageURL}
}

// begin starts the alerter of a fresh state.
func (a *alerter) begin(st *state, now time.Time) {
	a.started = !a.conf.Startup
	if st.waiting == 0 {
		a.roundDone(now)
	}
}

// roundDone notes that every replica was checked: from now on the page's
// status is a true one, and the start-up notification may say it.
func (a *alerter) roundDone(now time.Time) {
	if a.restored {
		a.restored = false
		if a.gather.IsZero() {
			a.gather = now // what people know may be wrong in spite of no change
		}
	}
	if !a.started {
		a.started, a.starts = true, true
		a.gather = now
	}
}

// turned notes that a replica's status changed.
func (a *alerter) turned(r *replicaState, from, to status, now time.Time) {
	switch {
	case to == dead && a.told[r]:
		delete(a.back, r)
	case to == dead:
		a.fresh[r] = true
	case from == dead && a.told[r]:
		a.back[r] = true
	case from == dead:
		delete(a.fresh, r)
	default:
		return // between healthy and sick nobody is told
	}
	if a.gather.IsZero() {
		a.gather = now.Add(gatherTime)
	}
}

// forget drops a replica that is no longer monitored. That it was dead is no
// longer true of the page, but it did not come back either.
func (a *alerter) forget(r *replicaState, now time.Time) {
	if r.status == dead && a.gather.IsZero() {
		a.gather = now.Add(gatherTime)
	}
	delete(a.told, r)
	delete(a.fresh, r)
	delete(a.back, r)
}

// due returns the next alert to send now, if any, and takes it for sent.
func (a *alerter) due(st *state, now time.Time) (notify.Alert, bool) {
	if !a.gather.IsZero() {
		if now.Before(a.gather) {
			return notify.Alert{}, false // a reminder waits for the truth, too
		}
		a.gather = time.Time{}
		died := st.tally[dead] > 0
		switch {
		case a.starts:
			a.starts = false
			return a.tell(st, notify.Startup, now), true
		case died != a.toldDead, died && len(a.fresh) > 0:
			return a.tell(st, notify.Changed, now), true
		}
	}
	if a.connection.due(now) {
		kind := notify.Notice
		if !a.started { // what is still unknown will be for long
			a.started, kind = true, notify.Startup
		}
		return a.tell(st, kind, now), true
	}
	if at, ok := a.nextReminder(); ok && !now.Before(at) {
		a.reminders++
		a.reminder = now.Add(a.reminderWait())
		return a.tell(st, notify.Reminder, now), true
	}
	return notify.Alert{}, false
}

// wake returns when due will next have something.
func (a *alerter) wake() (time.Time, bool) {
	if !a.gather.IsZero() {
		return a.gather, true
	}
	at, ok := a.nextReminder()
	if told, waits := a.connection.wake(); waits && (!ok || told.Before(at)) {
		return told, true
	}
	return at, ok
}

// nextReminder returns when the next reminder is due. One that falls into a
// time of silence comes when that is over.
func (a *alerter) nextReminder() (time.Time, bool) {
	if a.reminder.IsZero() || a.restored {
		return time.Time{}, false
	}
	if a.muted.After(a.reminder) {
		return a.muted, true
	}
	return a.reminder, true
}

// reminderWait is the time to the next reminder: interval x N^exponent, N
// being its number up to a limit.
func (a *alerter) reminderWait() time.Duration {
	n := time.Duration(min(a.reminders+1, a.conf.BackoffLimit))
	wait := a.conf.ReminderInterval
	for range a.conf.BackoffExponent {
		wait *= n
	}
	return wait
}

// tell composes the alert and takes people to know what it says.
func (a *alerter) tell(st *state, kind notify.Kind, now time.Time) notify.Alert {
	alert := notify.Alert{
		ID:       rand.Text(),
		Kind:     kind,
		Status:   notify.Status(st.tally.worst().String()),
		Time:     now,
		Note:     a.connection.note(now),
		Page:     a.page,
		Escalate: a.conf.Escalate,
	}
	for r := range a.back {
		alert.Recovered = append(alert.Recovered, r.path())
	}
	slices.SortFunc(alert.Recovered, strings.Compare)
	clear(a.told)
	clear(a.fresh)
	clear(a.back)
	var ns *nodeState
	node := ""
	for r := range st.dead() {
		if r.node != ns { // all of a node share the text
			ns = r.node
			node = ns.service.conf.ID + ":" + ns.conf.ID
		}
		a.told[r] = true
		alert.Dead = append(alert.Dead, notify.Replica{Path: r.path(), Reason: r.reason, Node: node})
	}

	died := len(alert.Dead) > 0
	switch {
	case !died || a.conf.ReminderInterval == 0:
		a.reminders, a.reminder = 0, time.Time{}
	case !a.toldDead:
		a.reminders = 0
		a.reminder = now.Add(a.reminderWait())
	}
	a.toldDead = died
	if kind == notify.Reminder {
		alert.Reminders = a.reminders
	}
	return alert
}
