package main

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"time"
)

// state is all that is known of what is monitored. Only the aggregator's
// goroutine touches it; it has no clock: time comes with each call. Costs
// follow what changes: a result moves counters up the tree, whatever the
// number of replicas.
type state struct {
	conf      *Config
	services  []*serviceState
	nodes     map[*Node]*nodeState // those of earlier configs, too
	byKey     map[nodeKey]*nodeState
	own       []*replicaState // those that this process checks, by ordinal
	tally     tally           // of all replicas
	nodeTally tally           // of all nodes
	waiting   int             // replicas of own that were not checked yet

	deadlines        deadlineHeap
	overdue          []*replicaState // the connection must be checked for them
	overdueSince     time.Time       // since when one of them should have reported
	alerter          alerter
	announcements    []announcement // oldest first
	announcementsDue time.Time      // when the next one ends by itself; zero: none does
	history          history

	made       []*quietTime // maintenances and silences that operators made
	quietTimes []*quietTime // all that are not over, by start; never changed in place
	quietDue   time.Time    // when one begins or ends; zero: none does
	quietNow   []*quietTime // those that run, as the log of events has them
	checks     []*Node      // to be checked at once

	pastMaintenances []*quietTime // of the last 90 days, in the order of their ends; never changed in place

	dirty         bool            // there is something to publish
	dirtyServices []*serviceState // those that changed since the last snapshot
	dirtyNodes    []*nodeState
	views         []*serviceView // as last published; never changed in place
	last          *snapshot

	ledger   *ledger   // what is to survive; nil: nothing is
	eventLog *eventLog // may be nil
}

type serviceState struct {
	conf      *Service
	nodes     []*nodeState
	nodeTally tally // of its nodes
	index     int   // in state.services
	dirty     bool
}

type nodeState struct {
	conf      *Node
	service   *serviceState
	replicas  []*replicaState
	byID      map[string]*replicaState // of push and local nodes
	queue     queueDepth               // of a push node
	tally     tally
	worst     status        // of the replicas together
	grace     time.Duration // the longest of its push or local replicas
	unchecked int           // replicas of which nothing is known; they count as healthy
	track     nodeTrack
	alert     nodeLevel
	logged    string // the status that the log of events has; "" is unknown
	index     int    // in service.nodes
	place     int    // among all nodes

	maintenance *quietTime // the running one; nil when there is none
	silence     *quietTime
	parents     []*nodeState // what it depends on
	dependents  []*nodeState // what depends on it
	wasDown     bool         // it was dead at some time
	asked       time.Time    // when a check was last asked for because of a dependent

	view    *nodeView
	dirty   bool
	views   viewList        // by index, as last published; never changed in place
	changed []*replicaState // since then
}

type replicaState struct {
	node      *nodeState
	id        string
	index     int // in node.replicas
	status    status
	checked   bool  // a result or report has come
	stale     bool  // what is known is from before a restart
	uncertain bool  // nothing is known since the monitor's own connection went down
	last      int64 // when the last result or report came, in Unix milliseconds; 0: none did
	latency   time.Duration
	reason    string
	since     time.Time
	load      *replicaLoad
	job       *jobState // of a heartbeat; nil before its first ping
	later     int       // 1 + its index in ledger.later; 0: not in it
	changed   bool      // it is in node.changed

	// Of push and local replicas:
	grace    time.Duration // from a report to the deadline
	deadline time.Time     // when it is dead unless it reports again
	heaped   int           // 1 + its index in state.deadlines; 0: not in it
	overdue  bool          // its deadline has passed, and the connection is being checked
}

// path is how the replica is called on the wire.
func (r *replicaState) path() string {
	return r.node.service.conf.ID + ":" + r.node.conf.ID + ":" + r.id
}

// A tally counts replicas by status.
type tally [3]int

// worst is the status of the worst of them; none are healthy.
func (t *tally) worst() status {
	switch {
	case t[dead] > 0:
		return dead
	case t[sick] > 0:
		return sick
	}
	return healthy
}

func (t *tally) total() int { return t[healthy] + t[sick] + t[dead] }

// status is what a node's status is by the tally of some or all of its
// replicas, and whether these decide it, whatever the others are: with fewer
// alive than it needs a node is dead, with any that is not well it is sick.
func (ns *nodeState) status(t tally) (s status, decided bool) {
	total := ns.tally.total()
	needed := ns.conf.Needed.of(total)
	switch {
	case t[dead] > total-needed:
		return dead, true
	case t[dead] > 0 || t[sick] > 0:
		s = sick
	}
	return s, t[healthy]+t[sick] >= needed
}

// checked is the tally of the replicas of which something is known, if only
// from before a restart.
func (ns *nodeState) checked() tally {
	t := ns.tally
	t[healthy] -= ns.unchecked
	return t
}

// newState returns the state of a config of which nothing was checked yet.
func newState(conf *Config, now time.Time) *state {
	st := &state{alerter: newAlerter()}
	st.build(conf, now)
	st.alerter.configure(st, now)
	st.alerter.begin(st, now)
	st.history.begin(st, now)
	st.replan(now)
	return st
}

// reload makes st the state of another config. What both have keeps its
// status, its deadline, its past and what people were told of it; the rest is
// forgotten or new.
func (st *state) reload(conf *Config, now time.Time) {
	before := slices.Collect(st.allNodes())
	st.build(conf, now)
	st.recheckOverdue()
	st.assumeConnected(now)
	st.history.reload(st, before, now)
	st.replan(now)
	st.alerter.configure(st, now)
	if st.waiting == 0 { // what was to be checked first is gone
		st.alerter.roundDone(st, now)
	}
}

// build builds the tree of conf from what there is and what is new.
func (st *state) build(conf *Config, now time.Time) {
	old := make(map[nodeKey]*nodeState)
	for ns := range st.allNodes() {
		old[ns.key()] = ns
	}
	st.conf = conf
	st.services, st.own = nil, nil
	st.dirtyServices, st.dirtyNodes, st.views = nil, nil, nil
	st.nodes = make(map[*Node]*nodeState)
	st.byKey = make(map[nodeKey]*nodeState)
	st.tally, st.nodeTally, st.waiting = tally{}, tally{}, 0
	for i, service := range conf.Services {
		ss := &serviceState{conf: service, index: i, dirty: true}
		st.dirtyServices = append(st.dirtyServices, ss)
		for k, node := range service.Nodes {
			ns := &nodeState{conf: node, service: ss, index: k, place: len(st.byKey)}
			ss.nodes = append(ss.nodes, ns)
			st.nodes[node], st.byKey[ns.key()] = ns, ns
			ss.nodeTally[healthy]++
			st.nodeTally[healthy]++
			st.touch(ns)
			st.buildNode(ns, old[ns.key()], now)
		}
		st.services = append(st.services, ss)
	}
	st.linkDependencies()
	for _, ns := range old {
		for _, r := range ns.replicas {
			if r.node == ns {
				st.forget(r, now)
			}
		}
	}
	for _, r := range st.own {
		if !r.checked || r.stale {
			st.waiting++
		}
	}
	st.dirty = true
}

// buildNode fills a new node with its replicas, those of the old one, which
// may be nil, where they go on.
func (st *state) buildNode(ns, old *nodeState, now time.Time) {
	known := make(map[string]*replicaState)
	if old != nil {
		ns.maintenance, ns.silence, ns.wasDown = old.maintenance, old.silence, old.wasDown
		ns.alert, ns.logged = old.alert, old.logged
		ns.alert.timer = time.Time{}
	}
	if old != nil && old.conf.Mode == ns.conf.Mode {
		ns.asked = old.asked
		if old.conf.RabbitMQQueue == ns.conf.RabbitMQQueue {
			ns.queue = old.queue
		}
		// Events that are under way may still name the old config's node.
		st.nodes[old.conf] = ns
		for _, r := range old.replicas {
			known[r.id] = r
		}
	}
	add := func(id string) {
		r := known[id]
		if r == nil {
			r = &replicaState{id: id}
		}
		delete(known, id)
		st.add(ns, r)
	}
	switch ns.conf.Mode {
	case modePush, modeLocal:
		ns.byID = make(map[string]*replicaState)
		if len(known) > 0 {
			for _, r := range old.replicas {
				add(r.id)
			}
		}
	case modeHeartbeat:
		add(jobID)
		st.buildJob(ns, old)
	default:
		for i := range ns.conf.Targets {
			add(ns.conf.Targets[i].Raw)
		}
		for i := range ns.conf.Scripts {
			add(strconv.Itoa(i))
		}
		st.own = append(st.own, ns.replicas...)
	}
}

// addReplica adds a replica that is healthy until something else is known.
func (st *state) addReplica(ns *nodeState, id string) *replicaState {
	r := &replicaState{id: id}
	st.add(ns, r)
	return r
}

func (st *state) add(ns *nodeState, r *replicaState) {
	r.node, r.index = ns, len(ns.replicas)
	ns.replicas = append(ns.replicas, r)
	if ns.byID != nil {
		ns.byID[r.id] = r
	}
	ns.grace = max(ns.grace, r.grace)
	st.count(ns, r.status, +1)
	if !r.checked {
		ns.unchecked++
	}
	r.changed = false // it may be noted with the node of another config
	st.touchReplica(r)
}

// dropReplica removes a replica from its node. The last one takes its place,
// so that this costs the same however many there are.
func (st *state) dropReplica(r *replicaState, now time.Time) {
	ns := r.node
	end := len(ns.replicas) - 1
	if last := ns.replicas[end]; last != r {
		ns.replicas[r.index], last.index = last, r.index
		st.touchReplica(last)
	}
	ns.replicas[end] = nil
	ns.replicas = ns.replicas[:end]
	r.changed = false
	delete(ns.byID, r.id)
	st.count(ns, r.status, -1)
	if !r.checked {
		ns.unchecked--
	}
	if r.fresh() {
		ns.track.fresh[r.status]--
	}
	st.touch(ns)
	st.forget(r, now)
	st.observe(ns, "", now)
}

// forget ends what waits for a replica that is no longer monitored.
func (st *state) forget(r *replicaState, now time.Time) {
	gone := r.name()
	r.overdue = false
	st.keptReplica(r)
	st.keep(record{Gone: &gone}, nil)
	st.deadlines.remove(r)
}

func (st *state) count(ns *nodeState, s status, by int) {
	ns.tally[s] += by
	st.tally[s] += by
	if worst, _ := ns.status(ns.tally); worst != ns.worst {
		for _, t := range []*tally{&ns.service.nodeTally, &st.nodeTally} {
			t[ns.worst]--
			t[worst]++
		}
		ns.worst = worst
	}
}

// metrics returns a node's own values, or else the config's.
func (st *state) metrics(ns *nodeState) *Metrics {
	return cmp.Or(ns.conf.Metrics, &st.conf.Metrics)
}

// allNodes yields the nodes in the order of the config.
func (st *state) allNodes() iter.Seq[*nodeState] {
	return func(yield func(*nodeState) bool) {
		for _, ss := range st.services {
			for _, ns := range ss.nodes {
				if !yield(ns) {
					return
				}
			}
		}
	}
}

// touch notes that the next snapshot must show the node again.
func (st *state) touch(ns *nodeState) {
	st.dirty = true
	if !ns.dirty {
		ns.dirty = true
		st.dirtyNodes = append(st.dirtyNodes, ns)
		if ss := ns.service; !ss.dirty {
			ss.dirty = true
			st.dirtyServices = append(st.dirtyServices, ss)
		}
	}
}

// touchReplica notes that the next snapshot must show the replica again. It
// must be called after a change of anything that a replicaView shows.
func (st *state) touchReplica(r *replicaState) {
	st.touch(r.node)
	if !r.changed {
		r.changed = true
		r.node.changed = append(r.node.changed, r)
	}
}

// set gives the replica a status and the reason for it.
func (st *state) set(r *replicaState, s status, reason string, now time.Time) {
	st.touchReplica(r)
	said := r.reason
	r.reason = reason
	from, fresh, known := r.status, r.fresh(), r.checked
	r.checked, r.stale, r.uncertain, r.status = true, false, false, s
	if !known {
		r.node.unchecked--
	}
	if !known || from != s {
		r.since = now
		st.keepReplica(r)
	} else if reason != said || r.node.byID != nil {
		st.keepLater(r)
	}
	if from != s {
		st.logReplica(r, from)
	}
	if from == s && fresh && !r.node.track.lapsed {
		return
	}
	if fresh {
		r.node.track.fresh[from]--
	}
	r.node.track.fresh[s]++
	r.node.track.lapsed = false
	if from != s {
		st.count(r.node, from, -1)
		st.count(r.node, s, +1)
	}
	st.observe(r.node, reason, now)
}

// logReplica notes a change of one replica's status. Of a node's only one, the
// node's own tells as much; during a maintenance nothing is noted.
func (st *state) logReplica(r *replicaState, from status) {
	if ns := r.node; len(ns.replicas) > 1 && ns.maintenance == nil {
		st.eventLog.add(logEvent{Time: r.since, Kind: "replica", Service: ns.service.conf.ID, Node: ns.conf.ID,
			Replica: r.id, From: from.String(), To: r.status.String(), Reason: r.reason})
	}
}

// applyResult takes the result of a check.
func (st *state) applyResult(res result, now time.Time) {
	r := st.own[res.replica.ordinal]
	if !r.checked || r.stale {
		st.waiting--
	}
	r.last, r.latency = now.UnixMilli(), res.latency
	r.node.track.checkedAt = now
	st.measure(r.node, res, now)
	defer st.lookAtDependents(r.node)
	st.set(r, res.status, res.reason, now)
	if st.waiting == 0 {
		st.alerter.roundDone(st, now)
	}
}

// wake returns when something is due without any event: a deadline, an alert,
// or a look at the clock.
func (st *state) wake(now time.Time) (time.Time, bool) {
	at, ok := st.alerter.wake(st, now)
	if d, has := st.deadlines.next(); has && (!ok || d.Before(at)) {
		at, ok = d, true
	}
	if t := st.announcementsDue; !t.IsZero() && (!ok || t.Before(at)) {
		at, ok = t, true
	}
	if !st.quietDue.IsZero() && (!ok || st.quietDue.Before(at)) {
		at, ok = st.quietDue, true
	}
	if t := st.history.wake(); !ok || t.Before(at) {
		at = t
	}
	return at, true
}
