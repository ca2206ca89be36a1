package main

import (
	"fmt"
	"reflect"
	"time"
)

// maxReported is how many push and local replicas are known at most, over all
// nodes: anybody with the token could fill the memory otherwise.
const maxReported = 150_000

// crowdedFrom is the number of replicas from which on a report waits for the
// aggregator to accept its replica. The margin is more than can be added
// between two snapshots.
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
		st.renew(r, rep.interval+st.metrics(r.node).PushDelayDead, now)
		st.judge(r, now)
	}
	tellSender(rep.done, err)
}

// tellSender answers the sender of an event, if it waits.
func tellSender(done chan<- error, err error) {
	if done != nil {
		done <- err
	}
}

// reporting returns the replica with that id, and adds it if it is new.
func (st *state) reporting(node *Node, m mode, id string) (*replicaState, error) {
	ns := st.nodes[node]
	if ns == nil || ns.conf.Mode != m { // a reload came in between
		return nil, notFound("node %q has just been removed", node.ID)
	}
	if r := ns.byID[id]; r != nil {
		return r, nil
	}
	if st.reported() >= maxReported {
		return nil, full("%d replicas report already, no more are accepted: flush some", maxReported)
	}
	return st.addReplica(ns, id), nil
}

// renew notes a report of a replica, which is alive for grace from now on.
func (st *state) renew(r *replicaState, grace time.Duration, now time.Time) {
	r.grace, r.last = grace, now.UnixMilli()
	r.node.grace = max(r.node.grace, grace)
	st.extend(r, now)
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
		st.renew(r, rep.interval+st.metrics(r.node).LocalDelayDead, now)
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

// jobID is the id of a heartbeat node's one replica.
const jobID = "job"

// A jobState is what is known of a heartbeat node's job. It is never changed in
// place, because views share it.
type jobState struct {
	last    time.Time     // the last ping that ended a run
	due     time.Time     // when the next one is due; it is late a grace later
	started time.Time     // of the run that goes on; zero: none is known to
	took    time.Duration // of the last run; 0: its start is not known
}

// A ping is an event: a heartbeat's job started, or ended with an exit status.
type ping struct {
	node   *Node
	start  bool
	exit   int    // of an end; 0 is success
	reason string // what the job said of it; may be empty
	done   chan<- error
}

func (p *ping) apply(st *state, now time.Time) {
	ns := st.nodes[p.node]
	if ns == nil || ns.conf.Heartbeat == nil { // a reload came in between
		p.done <- notFound("node %q has just been removed", p.node.ID)
		return
	}
	r, hb := ns.replicas[0], ns.conf.Heartbeat
	var j jobState
	if r.job != nil {
		j = *r.job
	}
	r.job = &j
	r.last = now.UnixMilli()
	st.touchReplica(r)
	if p.start {
		j.started = now
		if hb.MaxRun > 0 {
			st.await(r, now.Add(hb.MaxRun))
		}
	} else {
		j.took = 0
		if !j.started.IsZero() {
			j.took = max(now.Sub(j.started), 1)
		}
		j.started, j.last, j.due = time.Time{}, now, hb.due(now)
		st.await(r, j.due.Add(hb.Grace))
		st.set(r, p.status(), p.text(), now)
	}
	st.keptReplica(r)
	st.keep(r.show().record(r.name()), p.done) // the job may believe it once it is on disk
}

func (p *ping) status() status {
	if p.exit == 0 {
		return healthy
	}
	return dead
}

// text is the reason that the ping gives its node.
func (p *ping) text() string {
	switch {
	case p.exit == 0 || p.reason != "":
		return p.reason
	case p.exit == failed:
		return "the job reported a failure"
	}
	return fmt.Sprintf("exit status %d", p.exit)
}

// failed is the exit of a job that says no more than that it failed.
const failed = -1

// jobDeadline is when a heartbeat is dead without a ping; zero when nothing is
// due.
func (r *replicaState) jobDeadline() time.Time {
	if r.job == nil || r.heaped == 0 && !r.overdue {
		return time.Time{}
	}
	return r.deadline
}

// lateReason says why a replica is dead whose deadline has passed.
func (r *replicaState) lateReason() string {
	hb := r.node.conf.Heartbeat
	switch {
	case hb == nil || r.job == nil:
		return "no report in " + r.grace.String()
	case !r.job.started.IsZero() && hb.MaxRun > 0:
		return "still running after " + seconds(hb.MaxRun)
	}
	return "no ping within " + seconds(hb.Grace) + " of when it was due"
}

// postpone moves the deadline of a job by a time in which no ping could come,
// if it passed in that time.
func (st *state) postpone(r *replicaState, from, to time.Time) {
	if r.job != nil && !r.deadline.Before(from) && r.deadline.Before(to) {
		st.await(r, r.deadline.Add(to.Sub(from)))
	}
}

// buildJob takes over the job of a node of the config before, by the rules of
// the new one.
func (st *state) buildJob(ns, old *nodeState) {
	r, hb := ns.replicas[0], ns.conf.Heartbeat
	if r.job == nil || old == nil || reflect.DeepEqual(old.conf.Heartbeat, hb) {
		return
	}
	j := *r.job
	r.job = &j
	switch {
	case !j.started.IsZero() && hb.MaxRun > 0:
		st.await(r, j.started.Add(hb.MaxRun))
	case !j.last.IsZero():
		j.due = hb.due(j.last)
		st.await(r, j.due.Add(hb.Grace))
	}
}

// A jobRecord is what is kept of a heartbeat's job.
type jobRecord struct {
	Last     time.Time `json:"last,omitzero"`
	Due      time.Time `json:"due,omitzero"`
	Started  time.Time `json:"started,omitzero"`
	Took     float64   `json:"took,omitempty"` // seconds
	Deadline time.Time `json:"deadline,omitzero"`
}

func (j *jobState) record(deadline time.Time) *jobRecord {
	return &jobRecord{utc(j.last), utc(j.due), utc(j.started), j.took.Seconds(), utc(deadline)}
}

// restoreJob takes up a job where an earlier program left it; was is the status
// that it had. No ping could come from alive, when that program ended, until now.
func (st *state) restoreJob(r *replicaState, rec *jobRecord, was string, alive, now time.Time) {
	if rec == nil || r.node.conf.Heartbeat == nil {
		return
	}
	r.job = &jobState{rec.Last.Local(), rec.Due.Local(), rec.Started.Local(), time.Duration(rec.Took * float64(time.Second))}
	for _, t := range []*time.Time{&r.job.last, &r.job.due, &r.job.started} {
		if t.Unix() <= 0 {
			*t = time.Time{}
		}
	}
	switch {
	case rec.Deadline.After(alive):
		st.await(r, rec.Deadline)
		st.postpone(r, alive, now)
	case !rec.Deadline.IsZero() && was != dead.String(): // nobody knew yet whether that was the connection's fault
		st.extend(r, now)
	}
}
