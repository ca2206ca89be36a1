package main

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

const (
	// historyInterval is how often the history looks at the clock, at least, and
	// how often, at most, what changed is kept.
	historyInterval = 5 * time.Second

	// maxPause is how long the process may go without a look at the clock
	// before that counts as time in which it did not run.
	maxPause = time.Minute

	// maxSkew is how far the wall clock may leave the monotonic one between
	// two looks before that counts as a step; slewing stays far below.
	maxSkew = 2 * time.Second

	// redrawEvery is how often dead nodes are drawn anew, and how old a page
	// can look on which nothing happens.
	redrawEvery = time.Minute

	// sweepEvery is how often nodes are looked through for those that are not
	// checked any more. What is booked does not depend on it.
	sweepEvery = 5 * time.Minute

	// keptNodes is how many nodes that are no longer in the config keep their
	// past, so that taking one out by mistake loses nothing.
	keptNodes = 1000
)

// A history is the part of the state that deals with the past. Its cost depends
// on changes only: a node's running span needs no updates, so a node whose
// status stays the same costs something once a day.
type history struct {
	ticked   time.Time // the last look at the clock
	redrawn  time.Time
	swept    time.Time
	midnight time.Time // the next one, by the wall clock

	outages
	gone map[nodeKey]*nodeHistory // of nodes that are not in the config

	places map[string]int // while files are read: where an outage is in all, by id

	unkept []*nodeState // those whose past changed since it was last kept
	keptAt time.Time
}

// A nodeKey says which node it is, from one config to the next.
type nodeKey struct{ service, node string }

func (ns *nodeState) key() nodeKey { return nodeKey{ns.service.conf.ID, ns.conf.ID} }

// compare orders keys by service and node.
func (k nodeKey) compare(other nodeKey) int {
	return cmp.Or(cmp.Compare(k.service, other.service), cmp.Compare(k.node, other.node))
}

// A nodeTrack is what the history needs to know of a node.
type nodeTrack struct {
	fresh     tally // of replicas with a status that this process found out
	past      *nodeHistory
	outage    *outage   // the one that lasts; nil when there is none
	checkedAt time.Time // when a check last gave a result
	lapsed    bool      // checks give no results any more

	latency *latencyWindow // of the checks of this quarter of an hour; may be nil

	unkept      bool
	kept        date    // days before this one did not change since they were kept
	keptQuarter quarter // nor did the latency of quarters before this one
}

// fresh reports whether this process found out the replica's status, and it
// still holds as far as the monitor can see.
func (r *replicaState) fresh() bool { return r.checked && !r.stale && !r.uncertain }

// condition is the node's status as far as its history is concerned: the
// worst of its fresh replicas. It is not known before one is; nor while one
// that was dead before a restart keeps an outage open.
func (ns *nodeState) condition() (s status, known bool) {
	t := &ns.track
	if ns.maintenance != nil {
		return maintained, true
	}
	if t.lapsed || t.fresh == (tally{}) {
		return healthy, false
	}
	s, _ = ns.status(t.fresh)
	return s, s == dead || ns.worst != dead
}

// begin starts the history of a state whose nodes have none.
func (h *history) begin(st *state, now time.Time) {
	h.ticked, h.redrawn, h.swept, h.keptAt = now, now, now, now
	h.midnight = (dateOf(now) + 1).start(now.Location())
	h.gone = make(map[nodeKey]*nodeHistory)
	h.enlist(st, now)
}

// enlist gives a past to nodes that have none yet: their own, when they were
// in an earlier config.
func (h *history) enlist(st *state, now time.Time) {
	for ns := range st.allNodes() {
		if ns.track.past != nil {
			continue
		}
		key := ns.key()
		if ns.track.past = h.gone[key]; ns.track.past == nil {
			ns.track.past = &nodeHistory{since: now}
		}
		delete(h.gone, key)
	}
}

// reload carries everything over to the nodes of a new config, which the state
// has already. Before are the nodes of the old one. It finds out anew which
// replicas are fresh.
func (h *history) reload(st *state, before []*nodeState, now time.Time) {
	old := make(map[nodeKey]*nodeState, len(before))
	for _, ns := range before {
		old[ns.key()] = ns
	}
	for ns := range st.allNodes() {
		key := ns.key()
		if was := old[key]; was != nil {
			ns.track = was.track
			delete(old, key)
		}
		ns.track.fresh = tally{}
		for _, r := range ns.replicas {
			if r.fresh() {
				ns.track.fresh[r.status]++
			}
		}
	}
	for key, ns := range old {
		st.bookLatency(ns, now)
		h.retire(st, key, ns.track.past, now)
	}
	h.unkept = nil
	h.enlist(st, now)
	for ns := range st.allNodes() {
		ns.track.unkept = false
		st.rewrite(ns, ns.track.past)
	}
	h.attach(st, now, now)
	for ns := range st.allNodes() {
		st.observe(ns, "", now)
	}
}

// retire puts away the past of a node that is no longer in the config.
func (h *history) retire(st *state, key nodeKey, past *nodeHistory, now time.Time) {
	past = past.become(healthy, false, now)
	h.gone[key] = past
	st.keep(record{Past: newPastRecord(key, past, 0, 0)}, nil)
	h.forget()
}

// forget drops the oldest of the pasts that no node of the config has.
func (h *history) forget() {
	over := len(h.gone) - keptNodes
	if over <= 0 {
		return
	}
	keys := slices.SortedFunc(maps.Keys(h.gone), func(a, b nodeKey) int {
		return h.gone[a].since.Compare(h.gone[b].since)
	})
	for _, key := range keys[:over] {
		delete(h.gone, key)
	}
}

// observe notes that a node may have another condition than before. The reason
// is why one of its replicas is what it is.
func (st *state) observe(ns *nodeState, reason string, now time.Time) {
	st.history.tick(st, now)
	t := &ns.track
	if s, known := ns.condition(); known != t.past.known || s != t.past.status {
		st.rewrite(ns, t.past.become(s, known, now))
	}
	st.relevel(ns, now)
	switch l := &ns.alert; {
	case t.outage == nil && l.known && l.status == dead && ns.maintenance == nil:
		t.outage = st.history.open(ns, reason, now)
	case t.outage != nil && ns.isOver():
		st.history.close(t.outage, now)
		t.outage = nil
	}
	st.logTransition(ns, now)
}

// isOver reports whether an outage of the node is over, if there was one.
func (ns *nodeState) isOver() bool {
	s, decided := ns.status(ns.checked())
	return decided && s != dead
}

// rewrite gives the node another past.
func (st *state) rewrite(ns *nodeState, past *nodeHistory) {
	ns.track.past = past
	st.touch(ns)
	if !ns.track.unkept {
		ns.track.unkept = true
		st.history.unkept = append(st.history.unkept, ns)
	}
}

// wake returns when the history wants to look at the clock again.
func (h *history) wake() time.Time {
	at := h.ticked.Add(historyInterval)
	if !h.reveal.IsZero() && h.reveal.Before(at) {
		return h.reveal
	}
	return at
}

// tick looks at the clock.
func (h *history) tick(st *state, now time.Time) {
	last := h.ticked
	h.ticked = now
	gap := now.Sub(last)
	skew := now.Round(0).Sub(last.Round(0)) - gap
	if gap > maxPause || skew.Abs() > maxSkew {
		h.skip(st, last, now)
	}
	if !now.Before(h.midnight) {
		h.fold(st, now)
	}
	if h.reveals(now) {
		st.dirty = true
	}
	if now.Sub(h.redrawn) >= redrawEvery {
		h.redraw(st, now)
	}
	if now.Sub(h.swept) >= sweepEvery {
		h.sweep(st, now)
	}
	if now.Sub(h.keptAt) >= historyInterval {
		h.keep(st, now)
	}
}

// skip leaves out the time between two looks at the clock: the process did
// not run, or the wall clock was moved and says something else from now on.
func (h *history) skip(st *state, last, now time.Time) {
	for ns := range st.allNodes() {
		past := ns.track.past.advance(last)
		past.since = now
		st.rewrite(ns, &past)
		ns.track.kept, ns.track.keptQuarter = 0, 0 // from now on, times may be booked that come before them
	}
	h.shift(now)
	h.midnight = (dateOf(now) + 1).start(now.Location())
}

// fold books the day that is over, so that no span has more than one to
// cross, and has everything drawn anew under the new date.
func (h *history) fold(st *state, now time.Time) {
	for ns := range st.allNodes() {
		past := ns.track.past.advance(now)
		st.rewrite(ns, &past)
	}
	h.prune(now)
	h.midnight = (dateOf(now) + 1).start(now.Location())
}

// redraw has those nodes drawn anew that are dead: a push node that is gives
// no other cause while the figures grow. Where nothing happens at all, what is
// shown still holds, and that is to be seen of its time.
func (h *history) redraw(st *state, now time.Time) {
	h.redrawn = now
	st.dirty = true
	for _, out := range h.all {
		if out.end.IsZero() {
			st.touch(st.nodes[out.node])
		}
	}
}

// sweep finds the nodes that are not checked any more, because checks hang or
// the machine has no network: their status is unknown since their last result.
func (h *history) sweep(st *state, now time.Time) {
	h.swept = now
	for ns := range st.allNodes() {
		t := &ns.track
		if limit := st.metrics(ns).lapse(ns.conf.Mode); limit > 0 && t.past.known && ns.maintenance == nil && now.Sub(t.checkedAt) > limit {
			t.lapsed = true
			st.rewrite(ns, t.past.become(healthy, false, t.checkedAt))
		}
	}
}

// lapse is how long after its last result a node of that mode counts as not
// checked; 0 when it is not this process that checks it. It allows for one
// round that is late, with all its retries.
func (m *Metrics) lapse(mode mode) time.Duration {
	retries := time.Duration(m.RetryCount+1) * (m.PollDelayDead + m.RetryWait)
	switch mode {
	case modePoll:
		return 2*m.PollInterval + retries + time.Minute
	case modeScript:
		return 2*m.ScriptInterval + retries + time.Minute
	}
	return 0
}
