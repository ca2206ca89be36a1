package main

import (
	"slices"
	"time"

	"vigil/notify"
)

// restored is what the files say, before it is known what of it the config
// still has.
type restored struct {
	announcements []announcementRecord // oldest first
	muted         time.Time
	replicas      []*replicaRecord // as they became known; nil where one is gone
	index         map[replicaName]int
	told          toldRecord
	backlog       backlog
	history       history   // as far as it is kept
	alive         time.Time // until when the program is known to have run
}

func newRestored() *restored {
	return &restored{
		index:   make(map[replicaName]int),
		history: history{gone: make(map[nodeKey]*nodeHistory)},
		backlog: make(backlog),
	}
}

// apply books one record. Booking it again later does no harm.
func (im *restored) apply(rec record) {
	im.backlog.apply(rec)
	switch {
	case rec.Announcement != nil:
		a := *rec.Announcement
		if i := im.announcement(a.ID); i >= 0 {
			im.announcements[i] = a
		} else {
			im.announcements = append(im.announcements, a)
		}
	case rec.Retracted != "":
		if i := im.announcement(rec.Retracted); i >= 0 {
			im.announcements = slices.Delete(im.announcements, i, i+1)
		}
	case rec.Muted != nil:
		im.muted = *rec.Muted
	case rec.Replica != nil:
		if i, ok := im.index[rec.Replica.replicaName]; ok {
			im.replicas[i] = rec.Replica
		} else {
			im.index[rec.Replica.replicaName] = len(im.replicas)
			im.replicas = append(im.replicas, rec.Replica)
		}
	case rec.Gone != nil:
		if i, ok := im.index[*rec.Gone]; ok {
			im.replicas[i] = nil
			delete(im.index, *rec.Gone)
		}
		path := rec.Gone.path()
		im.told.Dead = slices.DeleteFunc(im.told.Dead, func(p string) bool { return p == path })
	case rec.Told != nil:
		im.told = *rec.Told
	case rec.Alert != nil:
		im.told = rec.Alert.told()
	case rec.Alive != nil:
		im.alive = *rec.Alive
	case rec.Past != nil:
		im.history.restorePast(rec.Past)
	case rec.Incident != nil:
		im.history.restoreIncident(rec.Incident)
	}
}

// rewind makes good for a clock that was set back by more than the program did
// not run: what was known to lie ahead is not to come hours late, and what has
// begun did so by now. When the clock was set forward nobody can know.
func (im *restored) rewind(now time.Time) {
	by := now.Sub(im.alive)
	if by >= 0 || im.alive.IsZero() {
		return
	}
	move := func(t *time.Time) {
		if !t.IsZero() {
			*t = t.Add(by)
		}
	}
	for _, t := range []*time.Time{&im.alive, &im.muted, &im.told.Next, &im.told.Line} {
		move(t)
	}
	for _, rec := range im.replicas {
		if rec != nil {
			move(&rec.Since)
		}
	}
	for _, past := range im.history.gone {
		move(&past.since)
	}
	for _, out := range im.history.all {
		if out.end.IsZero() {
			move(&out.start)
		}
	}
}

func (im *restored) announcement(id string) int {
	return slices.IndexFunc(im.announcements, func(a announcementRecord) bool { return a.ID == id })
}

// A backlog is what each target is still to be told, oldest first.
type backlog map[string][]notify.Alert

// apply books a record, if it is about deliveries.
func (b backlog) apply(rec record) {
	switch {
	case rec.Alert != nil:
		for _, target := range rec.Alert.Targets {
			b.queue(target, rec.Alert.Alert)
		}
	case rec.Queued != nil:
		b.queue(rec.Queued.Target, rec.Queued.Alert)
	case rec.Done != nil:
		left := slices.DeleteFunc(b[rec.Done.Target], func(a notify.Alert) bool { return a.ID == rec.Done.Alert })
		if b[rec.Done.Target] = left; len(left) == 0 {
			delete(b, rec.Done.Target)
		}
	}
}

// queue appends the alert, or replaces the one with its id.
func (b backlog) queue(target string, a notify.Alert) {
	if i := b.find(target, a.ID); i >= 0 {
		b[target][i] = a
	} else {
		b[target] = append(b[target], a)
	}
}

func (b backlog) find(target, id string) int {
	return slices.IndexFunc(b[target], func(a notify.Alert) bool { return a.ID == id })
}

// records returns the backlog as records.
func (b backlog) records() (recs []record) {
	for target, alerts := range b {
		for _, a := range alerts {
			recs = append(recs, record{Queued: &queuedRecord{target, a}})
		}
	}
	return recs
}

// postpone moves the first tries by how long the program did not run: in that
// time nobody tried. It also makes good for a clock that was set meanwhile.
func (b backlog) postpone(by time.Duration) {
	for _, alerts := range b {
		for i := range alerts {
			if a := &alerts[i]; !a.Tried.IsZero() {
				a.Tried = a.Tried.Add(by)
			}
		}
	}
}

// again returns the alerts to queue once more after an interruption. As a
// queue keeps its order, only the first one can have been under way.
func (b backlog) again() map[string][]notify.Alert {
	all := make(map[string][]notify.Alert, len(b))
	for target, alerts := range b {
		alerts = slices.Clone(alerts)
		for i := range alerts {
			alerts[i].Time = alerts[i].Time.Local()
		}
		alerts[0].Repeat = true
		all[target] = alerts
	}
	return all
}
