package main

import (
	"iter"
	"slices"
	"time"
)

// name is how the files call the replica.
func (r *replicaState) name() replicaName {
	return replicaName{r.node.service.conf.ID, r.node.conf.ID, r.id}
}

// record is what is known of the replica of that name.
func (v *replicaView) record(name replicaName) record {
	rec := &replicaRecord{
		replicaName: name,
		Status:      v.status.String(),
		Reason:      v.reason,
		Since:       utc(v.since),
		Grace:       v.grace.Seconds(),
	}
	if v.load != nil {
		rec.Load = &loadRecord{CPU: v.load.cpu, RAM: v.load.ram}
		if v.load.queue {
			rec.Load.Ready, rec.Load.Unacked = &v.load.ready, &v.load.unacked
		}
	}
	return record{Replica: rec}
}

// toldNow is what people know.
func (a *alerter) toldNow() *toldRecord {
	told := &toldRecord{Page: a.toldDead, Reminders: a.reminders, Next: utc(a.reminder), Line: a.line.toldDown()}
	for r := range a.told {
		told.Dead = append(told.Dead, r.path())
	}
	slices.Sort(told.Dead)
	return told
}

// toldDown is since when people take the monitor's own connection for down; the
// zero time when they do not.
func (l *lineState) toldDown() time.Time {
	if !l.told {
		return time.Time{}
	}
	return utc(l.down)
}

// records yields all that must survive, but for what is still to be delivered,
// which the store knows itself. It may be run through on another goroutine,
// while the state goes on: most of it is what the page is made of, too.
func (st *state) records(now time.Time) iter.Seq[record] {
	alive := utc(now)
	first := []record{{Told: st.alerter.toldNow()}, {Alive: &alive}}
	if st.alerter.muted.After(now) {
		first = append(first, muted(st.alerter.muted))
	}
	snap := st.snapshot(now)
	st.dirty = true // it was not taken for the board
	past := st.history.records(st, now)
	return chain(slices.Values(first), snap.records(), past)
}

// records yields the announcements, and the replicas of which something is
// known.
func (s *snapshot) records() iter.Seq[record] {
	return func(yield func(record) bool) {
		for _, a := range s.announcements {
			if !yield(announced(a)) {
				return
			}
		}
		for _, service := range s.services {
			for _, node := range service.nodes {
				for _, r := range node.replicas.all() {
					if r.checked && !yield(r.record(replicaName{service.conf.ID, node.conf.ID, r.id})) {
						return
					}
				}
			}
		}
	}
}

// chain yields one sequence after the other.
func chain(all ...iter.Seq[record]) iter.Seq[record] {
	return func(yield func(record) bool) {
		for _, seq := range all {
			for rec := range seq {
				if !yield(rec) {
					return
				}
			}
		}
	}
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
	if !im.told.Line.IsZero() {
		a.line = lineState{down: im.told.Line, told: true}
		st.trustLine(now)
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
