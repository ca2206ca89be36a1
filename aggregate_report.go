package main

import (
	"fmt"
	"time"
)

// maxReported is how many push and local replicas are known at most, over all
// nodes: whoever has the token could fill the memory otherwise.
const maxReported = 150_000

// crowdedFrom is the number from which on a report waits for the answer whether
// its replica is taken. The rest is more than can come between two snapshots.
const crowdedFrom = maxReported - 15_000

// A loadReport is an event: a push replica told its load.
type loadReport struct {
	node *Node
	report
	done chan<- error // capacity 1; nil: nobody waits
}

func (rep *loadReport) apply(st *state, now time.Time) {
	r, err := st.reporting(rep.node, modePush, rep.replica)
	if err == nil {
		r.load = rep.load.with(r.node.queue)
		r.grace = rep.interval + st.metrics(r.node).PushDelayDead
		r.last = now.UnixMilli()
		st.extend(r, now)
		st.judge(r, now)
	}
	tellSender(rep.done, err)
}

// tellSender tells the sender of an event, if it waits.
func tellSender(done chan<- error, err error) {
	if done != nil {
		done <- err
	}
}

// reporting returns the replica of that id, a new one if it is not known yet.
func (st *state) reporting(node *Node, m mode, id string) (*replicaState, error) {
	ns := st.nodes[node]
	if ns == nil || ns.conf.Mode != m { // a reload came in between
		return nil, notFound("node %q has just been removed", node.ID)
	}
	if r := ns.byID[id]; r != nil {
		return r, nil
	}
	if st.reported() >= maxReported {
		return nil, full("%d replicas report already, no more are taken: flush some", maxReported)
	}
	return st.addReplica(ns, id), nil
}

// reported counts the push and local replicas.
func (st *state) reported() int {
	return st.tally[healthy] + st.tally[sick] + st.tally[dead] - len(st.own)
}

// judge gives a push replica that is in time with its reports the status that
// its load calls for, or else its node's queue.
func (st *state) judge(r *replicaState, now time.Time) {
	m, load := st.metrics(r.node), r.load
	switch {
	case load.cpu > m.CPUSickAbove:
		st.set(r, sick, fmt.Sprintf("cpu %.2f over %.2f", load.cpu, m.CPUSickAbove), now)
	case load.ram > m.RAMSickAbove:
		st.set(r, sick, fmt.Sprintf("ram %.2f over %.2f", load.ram, m.RAMSickAbove), now)
	default:
		st.set(r, r.node.queue.status, r.node.queue.reason, now)
	}
}

// A healthReport is an event: an agent told the status of a local replica.
type healthReport struct {
	node *Node
	report
	done chan<- error // capacity 1; nil: nobody waits
}

func (rep *healthReport) apply(st *state, now time.Time) {
	r, err := st.reporting(rep.node, modeLocal, rep.replica)
	if err == nil {
		r.grace = rep.interval + st.metrics(r.node).LocalDelayDead
		r.last = now.UnixMilli()
		st.extend(r, now)
		reason := ""
		if rep.health != healthy {
			reason = "reported " + rep.health.String()
		}
		st.set(r, rep.health, reason, now)
	}
	tellSender(rep.done, err)
}

// A queueReport is an event: a node's queue was looked at.
type queueReport struct {
	node  *Node
	depth queueDepth
}

func (rep *queueReport) apply(st *state, now time.Time) {
	ns := st.nodes[rep.node]
	if ns == nil || ns.conf.Mode != modePush || ns.queue == rep.depth {
		return
	}
	ns.queue = rep.depth
	for _, r := range ns.replicas {
		if r.load == nil {
			continue
		}
		r.load = r.load.with(ns.queue)
		st.touchReplica(r)
		if r.heaped > 0 { // else it is overdue, and dead of that
			st.judge(r, now)
		}
	}
}

// A flush is an event: a replica that reported is to be forgotten. Its id is
// the first of the two that is known.
type flush struct {
	node *Node
	ids  [2]string
	done chan<- error // capacity 1
}

func (f *flush) apply(st *state, now time.Time) {
	if ns := st.nodes[f.node]; ns != nil {
		for _, id := range f.ids {
			if r := ns.byID[id]; r != nil {
				st.dropReplica(r, now)
				f.done <- nil
				return
			}
		}
	}
	f.done <- notFound("no replica %q of node %q", f.ids[0], f.node.ID)
}
