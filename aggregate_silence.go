package main

import "time"

// With connectivity targets, the time of a push or local replica that is up
// says something only when the monitor's own connection works: else reports
// may be on their way in vain, of all replicas at once. So the line is asked,
// and the replica is silent until it has said.
//
// When the connection was down, the silent keep their status, in doubt, until
// it works again. Then all whose report was due in the meantime get their
// whole time anew.

// due returns when the replica was to report, at the latest; its deadline is
// some patience later.
func (r *replicaState) due(m *Metrics) time.Time {
	if r.node.conf.Mode == modeLocal {
		return r.deadline.Add(-m.LocalDelayDead)
	}
	return r.deadline.Add(-m.PushDelayDead)
}

// overdue notes that the replica's time is up.
func (st *state) overdue(r *replicaState, now time.Time) {
	if len(st.conf.Connectivity) == 0 {
		st.set(r, dead, "no report in "+r.grace.String(), now)
		return
	}
	r.silent = true
	if due := r.due(&st.conf.Metrics); len(st.silent) == 0 || due.Before(st.silentFrom) {
		st.silentFrom = due
	}
	st.silent = append(st.silent, r)
}

// hear books whether the time that was up says something of these replicas.
// Those who reported or were forgotten meanwhile are not silent any more.
func (st *state) hear(asked []*replicaState, sure bool, now time.Time) {
	for _, r := range asked {
		switch {
		case !r.silent:
		case sure:
			r.silent = false
			st.set(r, dead, "no report in "+r.grace.String(), now)
		default:
			st.doubt(r, now)
			if st.alerter.line.down.IsZero() { // it works again, or else it will be asked again
				st.renew(r, now)
			}
		}
	}
}

// renew gives the replica its whole time anew.
func (st *state) renew(r *replicaState, now time.Time) {
	st.await(r, now.Add(r.grace))
}

// await sets the deadline by which the replica is to report.
func (st *state) await(r *replicaState, deadline time.Time) {
	r.silent = false
	st.deadlines.set(r, deadline)
}

// renewSilent does so for all who should have reported while the monitor's
// own connection was down.
func (st *state) renewSilent(now time.Time) {
	for ns := range st.allNodes() {
		if ns.byID == nil {
			continue
		}
		for _, r := range ns.replicas {
			if r.silent || r.heaped > 0 && r.due(&st.conf.Metrics).Before(now) {
				st.renew(r, now)
			}
		}
	}
}

// askAnew makes the silent those whose time is just up, for a line that was
// not asked yet.
func (st *state) askAnew() {
	for ns := range st.allNodes() {
		for _, r := range ns.replicas {
			if r.silent {
				st.await(r, r.deadline)
			}
		}
	}
	st.silent = nil
}
