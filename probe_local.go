package main

import "time"

// A healthReport is an event: an agent told the status of a local replica.
type healthReport struct {
	node *Node
	parsedReport
	done chan<- error // capacity 1; nil: nobody waits
}

func (rep *healthReport) apply(st *state, now time.Time) {
	r, err := st.reporting(rep.node, modeLocal, rep.replica)
	if err == nil {
		r.grace = rep.interval + st.conf.Metrics.LocalDelayDead
		st.renew(r, now)
		reason := ""
		if rep.health != healthy {
			reason = "reported " + rep.health.String()
		}
		st.set(r, rep.health, reason, now)
	}
	tellSender(rep.done, err)
}
