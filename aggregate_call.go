package main

import (
	"net/http"
	"slices"
	"time"
)

// maxAnnouncements is how many announcements the page shows at once.
const maxAnnouncements = 100

// A call is an event whose sender waits for the answer: it changes the state,
// or reads what no snapshot shows. What it does ends with one error, or nil,
// on done, at once or when what it changed is stored.
type call struct {
	do   func(st *state, now time.Time, done chan<- error)
	done chan<- error // capacity 1
}

func (c *call) apply(st *state, now time.Time) { c.do(st, now, c.done) }

// announce publishes an announcement.
func (st *state) announce(a announcement, done chan<- error) {
	if len(st.announcements) >= maxAnnouncements {
		done <- refuse(http.StatusConflict, "%d announcements are published, which is the most: delete one first", maxAnnouncements)
		return
	}
	st.announcements = append(st.announcements, a)
	st.dirty = true
	st.keep(announced(a), done)
}

// retract takes an announcement back.
func (st *state) retract(id string, done chan<- error) {
	i := slices.IndexFunc(st.announcements, func(a announcement) bool { return a.id == id })
	if i < 0 {
		done <- refuse(http.StatusNotFound, "no announcement %q", id)
		return
	}
	// Snapshots share the old list.
	st.announcements = slices.Concat(st.announcements[:i], st.announcements[i+1:])
	st.dirty = true
	st.keep(retracted(id), done)
}

// mute keeps reminders back until then; the zero time lifts that.
func (st *state) mute(until time.Time, done chan<- error) {
	st.alerter.muted = until
	st.keep(muted(until), done)
}
