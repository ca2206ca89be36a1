package main

import (
	"context"
	"time"

	"vigil/notify"
)

// A replay feeds what an event log holds to the alerters of another config, with
// time as it was. It is the state of a running Vigil with another clock: what
// that would have told whom comes from the same code.
//
// The log has the status of nodes, not of replicas, so all replicas of a node
// have its status. What people did meanwhile, acknowledgements, silences and the
// like, is not repeated; the maintenances of the config are.
type replay struct {
	st     *state
	now    time.Time
	alerts []notify.Alert // as the config would have sent them, oldest first

	nodes       map[nodeKey]*nodeState
	transitions int              // that were fed
	unknown     map[nodeKey]bool // nodes of the log that the config does not have
	then        map[string]int   // messages of the log, by channel
}

// newReplay returns a replay of a config that begins with everything healthy.
func newReplay(conf *Config, begin time.Time) *replay {
	quiet := *conf
	quiet.Alerting.Startup = false // a replay is no start
	r := &replay{st: newState(&quiet, begin), now: begin, nodes: make(map[nodeKey]*nodeState),
		unknown: make(map[nodeKey]bool), then: make(map[string]int)}
	for ns := range r.st.allNodes() {
		r.nodes[ns.key()] = ns
		if len(ns.replicas) == 0 {
			r.st.addReplica(ns, "replay")
		}
		for _, rs := range ns.replicas {
			r.st.set(rs, healthy, "", begin)
		}
	}
	r.st.waiting = 0
	r.st.alerter.roundDone(r.st, begin)
	return r
}

// until lets time pass, stopping wherever the alerters or a maintenance of the
// config want it to.
func (r *replay) until(t time.Time) {
	for {
		if due := r.st.quietDue; !due.IsZero() && !r.now.Before(due) {
			r.st.replan(r.now)
		}
		for alert, ok := r.st.alerter.due(r.st, r.now); ok; alert, ok = r.st.alerter.due(r.st, r.now) {
			r.alerts = append(r.alerts, alert)
		}
		at, ok := r.st.alerter.wake(r.st, r.now)
		if due := r.st.quietDue; !due.IsZero() && (!ok || due.Before(at)) {
			at, ok = due, true
		}
		if !ok || at.After(t) {
			break
		}
		r.now = at
	}
	if t.After(r.now) {
		r.now = t
	}
}

// feed takes one event of the log.
func (r *replay) feed(e logEvent) {
	switch e.Kind {
	case "alert":
		if e.Type != string(notify.Startup) {
			r.then[e.Channel]++
		}
		return
	case "transition":
	default:
		return
	}
	s, ok := statusOf(e.To)
	if !ok {
		return // nobody is told of what is unknown
	}
	r.until(e.Time)
	ns := r.nodes[nodeKey{e.Service, e.Node}]
	if ns == nil {
		r.unknown[nodeKey{e.Service, e.Node}] = true
		return
	}
	r.transitions++
	for _, rs := range ns.replicas {
		r.st.set(rs, s, e.Reason, r.now)
	}
	r.until(r.now)
}

// statusOf returns the status of that name.
func statusOf(word string) (status, bool) {
	for s, name := range statusNames {
		if name == word {
			return status(s), true
		}
	}
	return 0, false
}

// run feeds all events of the log since the replay's beginning, and lets time
// pass until the end.
func (r *replay) run(ctx context.Context, l *eventLog, end time.Time) (damaged int, err error) {
	damaged, err = l.read(ctx, r.now, func(e logEvent) bool {
		r.feed(e)
		return true
	})
	r.until(end)
	return damaged, err
}
