package main

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"

	"vigil/notify"
)

// name is how the files call the replica.
func (r *replicaState) name() replicaName {
	return replicaName{r.node.service.conf.ID, r.node.conf.ID, r.id}
}

// record is what is known of the replica of that name.
func (r *replicaView) record(name replicaName) record {
	rec := &replicaRecord{
		replicaName: name,
		Status:      r.status.String(),
		Reason:      r.reason,
		Since:       utc(r.since),
		Grace:       r.grace.Seconds(),
	}
	if r.load != nil {
		rec.Load = &loadRecord{CPU: r.load.cpu, RAM: r.load.ram}
		if r.load.queue {
			rec.Load.Ready, rec.Load.Unacked = &r.load.ready, &r.load.unacked
		}
	}
	if r.job != nil {
		rec.Unchecked = !r.checked
		rec.Job = r.job.record(r.deadline)
	}
	return record{Replica: rec}
}

// toldDown is since when the connection is down, if a notice said so; else the
// zero time.
func (c *connectionState) toldDown() time.Time {
	if !c.told {
		return time.Time{}
	}
	return utc(c.down)
}

// records yields all that must survive, except pending deliveries, which the
// store knows itself. Another goroutine may run through it while the state
// changes: most of it is shared with the snapshots.
func (st *state) records(now time.Time) iter.Seq[record] {
	alive := utc(now)
	first := append(st.alerter.records(), record{Alive: &alive})
	for _, s := range slices.Concat(st.made, st.pastMaintenances) {
		first = append(first, record{Quiet: s.record()})
	}
	if st.alerter.muted.After(now) {
		first = append(first, muted(st.alerter.muted))
	}
	for _, a := range st.announcements {
		if at, over := a.ended(now); !over || now.Sub(at) < keptAnnouncements {
			first = append(first, announced(a))
		}
	}
	snap := st.snapshot(now)
	st.dirty = true // not published yet
	past := st.history.records(st, now)
	return chain(slices.Values(first), snap.records(), past)
}

// records yields the replicas of which something is known.
func (s *snapshot) records() iter.Seq[record] {
	return func(yield func(record) bool) {
		for service, node := range s.nodes() {
			for _, r := range node.replicas.all() {
				if (r.checked || r.job != nil) && !yield(r.record(replicaName{service.conf.ID, node.conf.ID, r.id})) {
					return
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
		st.announcements = append(st.announcements, a.restored())
	}
	st.announcementsDue, _ = st.announcementsEnd(now)
	nodes := make(map[nodeKey]*nodeState)
	for ns := range st.allNodes() {
		nodes[ns.key()] = ns
		if ns.byID != nil {
			continue
		}
		for _, r := range ns.replicas {
			if i, ok := im.index[r.name()]; ok {
				st.restoreReplica(r, im.replicas[i], im.alive, now)
			}
		}
	}
	for _, rec := range im.replicas {
		if rec == nil {
			continue
		}
		ns := nodes[nodeKey{rec.Service, rec.Node}]
		if ns != nil && ns.byID != nil && ns.byID[rec.ID] == nil && rec.mode() == ns.conf.Mode {
			st.restoreReplica(st.addReplica(ns, rec.ID), rec, im.alive, now)
		}
	}
	for _, ns := range nodes {
		s, _ := ns.status(ns.checked())
		ns.wasDown = s == dead
	}
	for _, rec := range im.quiet {
		st.made = append(st.made, rec.quietTime())
	}
	slices.SortFunc(st.made, func(a, b *quietTime) int {
		return cmp.Or(a.start.Compare(b.start), strings.Compare(a.id, b.id))
	})
	st.history.restore(st, im, now)
	log := st.eventLog
	st.eventLog = nil // the log has what began before
	st.replan(now)
	st.eventLog = log
	st.alerter.restore(st, im, now)
}

// mode is the mode of a replica that reports. Any other one, which the node had
// when it was of another mode, would never report again: for it this is some
// other mode.
func (rec *replicaRecord) mode() mode {
	switch {
	case rec.Load != nil:
		return modePush
	case rec.Grace > 0:
		return modeLocal
	}
	return modePoll
}

// restoreReplica gives a replica the status that it had.
func (st *state) restoreReplica(r *replicaState, rec *replicaRecord, alive, now time.Time) {
	st.restoreJob(r, rec.Job, rec.Status, alive, now)
	s, ok := statusOf(rec.Status)
	if !ok || rec.Unchecked {
		return
	}
	st.count(r.node, r.status, -1)
	r.status = s
	st.count(r.node, r.status, +1)
	if !r.checked {
		r.node.unchecked--
	}
	r.checked, r.stale = true, true
	st.touchReplica(r)
	r.reason, r.since = rec.Reason, rec.Since.Local()
	if r.job != nil {
		// No check will find it out anew: it holds until the next ping or deadline.
		r.stale = false
		r.node.track.fresh[s]++
	}
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
	r.node.grace = max(r.node.grace, r.grace)
	if r.status != dead {
		st.deadlines.set(r, now.Add(r.grace))
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

// restored is what the files say, before it is known what of it the config
// still has.
type restored struct {
	announcements []announcementRecord // oldest first
	muted         time.Time
	quiet         map[string]quietRecord
	replicas      []*replicaRecord // as they became known; nil where one is gone
	index         map[replicaName]int
	told          toldRecord
	channels      map[string]*restoredChannel // nil: of version 1
	staged        map[string][]heardRecord    // by the alert whose record is to follow
	backlog       backlog
	past          map[string]bool // ids of alerts that were read, and of those that are delivered with their targets
	history       history         // as far as it is kept
	alive         time.Time       // until when the program is known to have run
}

func newRestored() *restored {
	return &restored{
		index:   make(map[replicaName]int),
		quiet:   make(map[string]quietRecord),
		staged:  make(map[string][]heardRecord),
		history: history{gone: make(map[nodeKey]*nodeHistory)},
		backlog: make(backlog),
		past:    make(map[string]bool),
	}
}

// isPast reports whether the record is the second copy of one about an alert that
// later ones followed. What was written ahead of its turn comes once more, and a
// power cut may leave only the beginning of that.
func (im *restored) isPast(rec record) bool {
	switch {
	case rec.Alert != nil:
		id := rec.Alert.Alert.ID
		was := im.past[id]
		im.past[id] = true
		return was
	case rec.Heard != nil:
		return rec.Heard.Alert != "" && im.past[rec.Heard.Alert]
	case rec.Queued != nil:
		return im.past[rec.Queued.Target+" "+rec.Queued.Alert.ID]
	case rec.Done != nil:
		im.past[rec.Done.Target+" "+rec.Done.Alert] = true
	}
	return false
}

// apply applies one record. Applying it again later does no harm, with all that
// followed it or without.
func (im *restored) apply(rec record) {
	if im.isPast(rec) {
		return
	}
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
	case rec.Quiet != nil && rec.Quiet.Gone:
		delete(im.quiet, rec.Quiet.ID)
	case rec.Quiet != nil:
		im.quiet[rec.Quiet.ID] = *rec.Quiet
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
	case rec.Told != nil:
		im.told = *rec.Told
	case rec.Channel != nil:
		im.channel(rec.Channel.ID).channelRecord = *rec.Channel
	case rec.Heard != nil && rec.Heard.Alert == "":
		im.addHeard(*rec.Heard)
	case rec.Heard != nil:
		im.staged[rec.Heard.Alert] = append(im.staged[rec.Heard.Alert], *rec.Heard)
	case rec.Alert != nil:
		im.alert(rec.Alert)
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
			if j := rec.Job; j != nil {
				for _, t := range []*time.Time{&j.Last, &j.Due, &j.Started, &j.Deadline} {
					move(t)
				}
			}
		}
	}
	for _, c := range im.channels {
		move(&c.Next)
		for key, rec := range c.heard {
			move(&rec.Since)
			c.heard[key] = rec
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

// apply applies a record, if it is about deliveries.
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
			a := &alerts[i]
			for _, t := range []*time.Time{&a.Tried, &a.Refused} {
				if !t.IsZero() {
					*t = t.Add(by)
				}
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
