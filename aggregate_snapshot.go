package main

import (
	"iter"
	"slices"
	"sync/atomic"
	"time"
)

// A snapshot is what readers see of the state. It is never changed after it
// was published; parts that did not change are shared with the one before.
type snapshot struct {
	conf           *Config
	at             time.Time // when it was taken
	seq            uint64    // grows by one with each snapshot
	status         status    // the page's status
	checked        bool      // whether every poll and script replica was checked once
	connectionDown time.Time // since when the monitor's own connection is down; zero: it works
	services       []*serviceView
	crowded        bool // few more replicas that report are taken

	announcements     []announcement // those that go on, oldest first
	pastAnnouncements []announcement // those that ended in the last 90 days, newest first

	quietTimes    []*quietTime // maintenances and silences, running and planned, by start
	maintained    []*quietTime // maintenances that ended in the last 90 days, by end
	incidents     []incident   // newest first, the last 14 days
	pastIncidents []incident   // newest first, the last 90 days with those above
}

// nodes returns each node with its service, in the order of the config.
func (s *snapshot) nodes() iter.Seq2[*serviceView, *nodeView] {
	return func(yield func(*serviceView, *nodeView) bool) {
		for _, sv := range s.services {
			for _, nv := range sv.nodes {
				if !yield(sv, nv) {
					return
				}
			}
		}
	}
}

// A serviceView is one service of a snapshot.
type serviceView struct {
	conf   *Service
	status status
	nodes  []*nodeView
}

// A nodeView is one node of a snapshot.
type nodeView struct {
	conf        *Node
	status      status
	checked     bool       // what is known of its replicas decides its status
	outage      string     // id of the outage that goes on; "" when there is none
	maintenance *quietTime // the running one; nil when there is none
	silence     *quietTime // not for visitors
	cause       *Node      // a dead node that this one, which is not well, depends on; or nil
	replicas    viewList
	history     *nodeHistory  // never nil in what the state publishes
	quarter     quarter       // the running one, or the last that something was measured in
	latency     latencySpread // of that, so far
}

// A viewList is the replicas of a node, in pages that are full but for the last
// one: so a snapshot in which one of very many changed has a new page of its
// own, and shares the others.
type viewList [][]*replicaView

const viewPage = 256

func (l viewList) len() int {
	if len(l) == 0 {
		return 0
	}
	return (len(l)-1)*viewPage + len(l[len(l)-1])
}

func (l viewList) at(i int) *replicaView { return l[i/viewPage][i%viewPage] }

// all yields the replicas with their places.
func (l viewList) all() iter.Seq2[int, *replicaView] {
	return func(yield func(int, *replicaView) bool) {
		for k, page := range l {
			for i, v := range page {
				if !yield(k*viewPage+i, v) {
					return
				}
			}
		}
	}
}

// has reports whether some replica is as asked.
func (l viewList) has(is func(*replicaView) bool) bool {
	return slices.ContainsFunc(l, func(page []*replicaView) bool { return slices.ContainsFunc(page, is) })
}

// A replicaView is one replica of a snapshot.
type replicaView struct {
	id        string
	status    status
	checked   bool          // false: not checked yet; counts as healthy
	stale     bool          // known from before a restart, not checked since
	uncertain bool          // known from before the monitor's own connection went down
	last      int64         // when it was last checked or reported, in Unix milliseconds; 0: unknown
	latency   time.Duration // of a poll or script replica; 0 when unknown
	since     time.Time     // when it took this status
	reason    string
	grace     time.Duration // of a push or local replica: from a report to the deadline
	load      *replicaLoad  // what a push replica reported; else nil
	job       *jobState     // of a heartbeat; nil before its first ping
	deadline  time.Time     // of a heartbeat: when it is dead without a ping
}

// replicaLoad is what a push replica reported, and its queue's depth.
type replicaLoad struct {
	cpu, ram       float64
	queue          bool // whether ready and unacked are known
	ready, unacked int64
}

// snapshots hands the newest snapshot to any number of readers.
type snapshots struct {
	current atomic.Pointer[snapshot]
	shown   atomic.Pointer[snapshot] // what visitors may see of the current one
	hide    publicView               // of publish
	changed chan struct{}            // capacity 1: a token when there is a newer one
}

// newSnapshots returns snapshots of which s is the first, so that there always
// is one.
func newSnapshots(s *snapshot) *snapshots {
	ss := &snapshots{changed: make(chan struct{}, 1)}
	ss.publish(s)
	return ss
}

// publish makes s the newest snapshot. Only the aggregator calls it.
func (ss *snapshots) publish(s *snapshot) {
	ss.shown.Store(ss.hide.of(s))
	ss.current.Store(s)
	select {
	case ss.changed <- struct{}{}:
	default:
	}
}

// load returns the newest snapshot, never nil.
func (ss *snapshots) load() *snapshot { return ss.current.Load() }

// public returns the newest snapshot without what is hidden from visitors.
func (ss *snapshots) public() *snapshot { return ss.shown.Load() }

// snapshot returns a snapshot of the state. It shares with the last one
// whatever did not change.
func (st *state) snapshot(now time.Time) *snapshot {
	for _, ns := range st.dirtyNodes {
		ns.view = ns.show()
		ns.dirty = false
	}
	st.dirtyNodes = st.dirtyNodes[:0]
	services := make([]*serviceView, len(st.services))
	copy(services, st.views)
	for _, ss := range st.dirtyServices {
		services[ss.index] = ss.show()
		ss.dirty = false
	}
	st.dirtyServices, st.views = st.dirtyServices[:0], services
	snap := &snapshot{
		conf:           st.conf,
		at:             now,
		status:         st.nodeTally.worst(),
		checked:        st.waiting == 0,
		crowded:        st.reported() >= crowdedFrom,
		connectionDown: st.alerter.connection.down,
		services:       services,
	}
	snap.announcements, snap.pastAnnouncements = st.splitAnnouncements(now)
	snap.quietTimes, snap.maintained = st.quietTimes, st.pastMaintenances
	snap.incidents, snap.pastIncidents = st.history.list(now)
	if st.last != nil {
		snap.seq = st.last.seq + 1
	}
	st.last, st.dirty = snap, false
	return snap
}

func (ss *serviceState) show() *serviceView {
	v := &serviceView{conf: ss.conf, status: ss.nodeTally.worst(), nodes: make([]*nodeView, len(ss.nodes))}
	for i, ns := range ss.nodes {
		v.nodes[i] = ns.view
	}
	return v
}

// show returns the node as it is now. Replicas that did not change are shared
// with the last view, so that one among very many costs little more than it
// does among few.
func (ns *nodeState) show() *nodeView {
	count := len(ns.replicas)
	if len(ns.changed) > 0 || count != ns.views.len() {
		views := make(viewList, (count+viewPage-1)/viewPage)
		copy(views, ns.views)
		if last := len(views) - 1; last >= 0 && len(views[last]) > count-last*viewPage {
			views[last] = views[last][:count-last*viewPage] // fewer than before
		}
		fresh := make([]bool, len(views)) // pages that nobody else has
		for _, r := range ns.changed {
			if !r.changed {
				continue // dropped since
			}
			k := r.index / viewPage
			if !fresh[k] {
				page := make([]*replicaView, min(viewPage, count-k*viewPage))
				copy(page, views[k])
				views[k], fresh[k] = page, true
			}
			views[k][r.index%viewPage] = r.show()
			r.changed = false
		}
		clear(ns.changed)
		ns.views, ns.changed = views, ns.changed[:0]
	}
	_, checked := ns.status(ns.checked())
	outageID := ""
	if out := ns.track.outage; out != nil {
		outageID = out.id
	}
	var cause *Node
	if ns.worst != healthy {
		if parent := ns.cause(); parent != nil {
			cause = parent.conf
		}
	}
	v := &nodeView{
		conf:        ns.conf,
		status:      ns.worst,
		checked:     checked,
		outage:      outageID,
		maintenance: ns.maintenance,
		silence:     ns.silence,
		cause:       cause,
		replicas:    ns.views,
		history:     ns.track.past,
	}
	if w := ns.track.latency; w != nil {
		v.quarter, v.latency = w.quarter, w.spread()
	}
	return v
}

func (r *replicaState) show() *replicaView {
	return &replicaView{
		id:        r.id,
		status:    r.status,
		checked:   r.checked,
		stale:     r.stale,
		uncertain: r.uncertain,
		last:      r.last,
		latency:   r.latency,
		since:     r.since,
		reason:    r.reason,
		grace:     r.grace,
		load:      r.load,
		job:       r.job,
		deadline:  r.jobDeadline(),
	}
}

// A publicView makes of each snapshot what visitors may see of it: without
// hidden services and nodes. What did not change is shared with the one before.
type publicView struct {
	services map[*Service]publicService
}

// A publicService is a service, and what it is without its hidden nodes.
type publicService struct{ whole, shown *serviceView }

// of returns the public part of s: s itself when its config hides nothing.
func (p *publicView) of(s *snapshot) *snapshot {
	hidden := func(in incident) bool { return in.node.Hidden }
	if !hidesAny(s.conf) && !slices.ContainsFunc(s.pastIncidents, hidden) {
		return s
	}
	shown := *s
	shown.services, shown.status = nil, healthy
	before := p.services
	p.services = make(map[*Service]publicService)
	for _, sv := range s.services {
		if sv.conf.Hidden {
			continue
		}
		part := before[sv.conf]
		if part.whole != sv {
			part = publicService{sv, sv.withoutHidden()}
		}
		p.services[sv.conf] = part
		shown.services = append(shown.services, part.shown)
		shown.status = max(shown.status, part.shown.status)
	}
	shown.incidents = slices.DeleteFunc(slices.Clone(s.incidents), hidden)
	shown.pastIncidents = slices.DeleteFunc(slices.Clone(s.pastIncidents), hidden)
	return &shown
}

// hidesAny reports whether a node of the config is hidden. Past incidents may be
// of hidden nodes that are gone.
func hidesAny(c *Config) bool {
	return slices.ContainsFunc(c.Services, func(sv *Service) bool {
		return sv.Hidden || slices.ContainsFunc(sv.Nodes, func(n *Node) bool { return n.Hidden })
	})
}

// withoutHidden returns the service with the nodes that are not hidden, and as
// bad as the worst of those.
func (sv *serviceView) withoutHidden() *serviceView {
	if !slices.ContainsFunc(sv.nodes, func(nv *nodeView) bool { return nv.conf.Hidden }) {
		return sv
	}
	shown := &serviceView{conf: sv.conf}
	for _, nv := range sv.nodes {
		if !nv.conf.Hidden {
			shown.nodes = append(shown.nodes, nv)
			shown.status = max(shown.status, nv.status)
		}
	}
	return shown
}
