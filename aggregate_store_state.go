package main

import (
	"slices"
	"time"
)

// name is how the files call the replica.
func (r *replicaState) name() replicaName {
	return replicaName{r.node.service.conf.ID, r.node.conf.ID, r.id}
}

// record is what is known of the replica.
func (r *replicaState) record() *replicaRecord {
	rec := &replicaRecord{
		replicaName: r.name(),
		Status:      r.status.String(),
		Reason:      r.reason,
		Since:       utc(r.since),
		Grace:       r.grace.Seconds(),
	}
	if r.load != nil {
		rec.Load = &loadRecord{CPU: r.load.cpu, RAM: r.load.ram}
		if r.load.queue {
			ready, unacked := r.load.ready, r.load.unacked
			rec.Load.Ready, rec.Load.Unacked = &ready, &unacked
		}
	}
	return rec
}

// records returns all that must survive, but for what is still to be
// delivered, which the store knows itself.
func (st *state) records(now time.Time) []record {
	a := &st.alerter
	told := &toldRecord{Page: a.toldDead, Reminders: a.reminders, Next: utc(a.reminder)}
	for r := range a.told {
		told.Dead = append(told.Dead, r.path())
	}
	slices.Sort(told.Dead)
	alive := utc(now)
	recs := []record{{Told: told}, {Alive: &alive}}
	if a.muted.After(now) {
		recs = append(recs, muted(a.muted))
	}
	for _, a := range st.announcements {
		recs = append(recs, announced(a))
	}
	for ns := range st.allNodes() {
		for _, r := range ns.replicas {
			if r.checked {
				recs = append(recs, record{Replica: r.record()})
			}
		}
	}
	return slices.AppendSeq(recs, st.history.records(st, now))
}

// restore makes a new state go on where an earlier program ended. What the
// config no longer has is left out. All that is taken up counts as stale until
// it is checked again, and nobody is told of it before that.
func (st *state) restore(im *restored, now time.Time) {
	for _, a := range im.announcements {
		st.announcements = append(st.announcements, announcement{a.ID, a.Title, a.Text, a.At.Local()})
	}
	nodes := make(map[nodeKey]*nodeState)
	for ns := range st.allNodes() {
		nodes[ns.key()] = ns
		if ns.byID != nil {
			continue
		}
		for _, r := range ns.replicas {
			if i, ok := im.index[r.name()]; ok {
				st.restoreReplica(r, im.replicas[i], now)
			}
		}
	}
	for _, rec := range im.replicas {
		if rec == nil {
			continue
		}
		ns := nodes[nodeKey{rec.Service, rec.Node}]
		if ns != nil && ns.byID != nil && ns.byID[rec.ID] == nil {
			st.restoreReplica(st.addReplica(ns, rec.ID), rec, now)
		}
	}
	st.alerter.restore(st, im, now)
	st.history.restore(st, im, now)
}

// restoreReplica gives a replica the status that it had.
func (st *state) restoreReplica(r *replicaState, rec *replicaRecord, now time.Time) {
	s := slices.Index(statusNames[:], rec.Status)
	if s < 0 {
		return
	}
	st.count(r.node, r.status, -1)
	r.status = status(s)
	st.count(r.node, r.status, +1)
	r.checked, r.stale = true, true
	st.touchReplica(r)
	r.reason, r.since = rec.Reason, rec.Since.Local()
	if r.node.byID == nil {
		return
	}
	if l := rec.Load; l != nil {
		r.load = &replicaLoad{cpu: l.CPU, ram: l.RAM}
		if l.Ready != nil && l.Unacked != nil {
			r.load.queue, r.load.ready, r.load.unacked = true, *l.Ready, *l.Unacked
		}
	}
	// That this program did not listen for a while is no fault of those who
	// report: they get all their time anew. The dead stay dead until they do.
	r.grace = time.Duration(rec.Grace * float64(time.Second))
	if r.status != dead {
		st.deadlines.set(r, now.Add(r.grace))
	}
}

// restore takes up what people were told.
func (a *alerter) restore(st *state, im *restored, now time.Time) {
	told := make(map[string]bool, len(im.told.Dead))
	for _, path := range im.told.Dead {
		told[path] = true
	}
	for ns := range st.allNodes() {
		for _, r := range ns.replicas {
			isDead := r.status == dead
			if len(told) > 0 && told[r.path()] {
				a.told[r] = true
				if !isDead {
					a.back[r] = true
				}
			} else if isDead && ns.byID != nil {
				// It died just before the program did. No check will find out
				// again, as it would with other nodes.
				a.fresh[r] = true
			}
		}
	}
	a.toldDead, a.muted = im.told.Page, im.muted
	a.reminders, a.reminder = im.told.Reminders, im.told.Next
	switch {
	case a.conf.ReminderInterval == 0 || !a.toldDead:
		a.reminders, a.reminder = 0, time.Time{}
	case a.reminder.IsZero():
		a.reminder = now.Add(a.reminderWait())
	}
	a.restored = true
	if st.waiting == 0 {
		a.roundDone(now)
	}
}

// restore takes up the past.
func (h *history) restore(st *state, im *restored, now time.Time) {
	h.gone, h.all = im.history.gone, im.history.all
	alive := im.alive
	if alive.IsZero() || alive.After(now) {
		alive = now
	}
	h.resume(st, alive, now)
}
