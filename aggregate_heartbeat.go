package main

import (
	"fmt"
	"reflect"
	"time"
)

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

// lateReason says why a replica is dead whose time is up.
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

// restoreJob takes up a job where an earlier program left it. No ping could
// come from alive, when that ended, until now.
func (st *state) restoreJob(r *replicaState, rec *jobRecord, alive, now time.Time) {
	if rec == nil || r.node.conf.Heartbeat == nil {
		return
	}
	r.job = &jobState{rec.Last.Local(), rec.Due.Local(), rec.Started.Local(), time.Duration(rec.Took * float64(time.Second))}
	for _, t := range []*time.Time{&r.job.last, &r.job.due, &r.job.started} {
		if t.Unix() <= 0 {
			*t = time.Time{}
		}
	}
	if rec.Deadline.After(alive) {
		st.await(r, rec.Deadline)
		st.postpone(r, alive, now)
	}
}
