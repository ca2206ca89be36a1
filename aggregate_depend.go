package main

import "time"

// parentCheckMost is how long an alert about a node waits at most for a check
// of the nodes that it depends on.
const parentCheckMost = 30 * time.Second

// linkDependencies finds the node states that each node depends on, also by
// way of others, and those that depend on it.
func (st *state) linkDependencies() {
	var parents func(n *Node, seen map[*Node]bool)
	parents = func(n *Node, seen map[*Node]bool) {
		for _, other := range n.DependsOn {
			if !seen[other] {
				seen[other] = true
				parents(other, seen)
			}
		}
	}
	for ns := range st.allNodes() {
		if len(ns.conf.DependsOn) == 0 {
			continue
		}
		seen := make(map[*Node]bool)
		parents(ns.conf, seen)
		for n := range seen {
			if parent := st.nodes[n]; parent != nil && parent != ns {
				ns.parents = append(ns.parents, parent)
				parent.dependents = append(parent.dependents, ns)
			}
		}
	}
}

// isDown reports whether the node is known to be dead.
func (ns *nodeState) isDown() bool { return ns.alert.known && ns.alert.status == dead }

// cause returns a dead node that the node depends on, or nil.
func (ns *nodeState) cause() *nodeState {
	for _, parent := range ns.parents {
		if parent.isDown() {
			return parent
		}
	}
	return nil
}

// waitsForParent reports whether a node's beginnings are held back because of
// a node that it depends on: while that one is dead, for an interval of its
// own once it is back, and until it was checked after the node died. It asks
// for that check.
func (st *state) waitsForParent(ns *nodeState, now time.Time) (waits bool, until time.Time) {
	if len(ns.parents) == 0 || ns.alert.status == healthy {
		return false, until
	}
	if ns.cause() != nil {
		return true, until // look again when it is back
	}
	later := func(t time.Time) {
		if t.After(now) {
			waits = true
			if t.After(until) {
				until = t
			}
		}
	}
	died := ns.alert.since[dead]
	if died.IsZero() {
		died = ns.alert.since[sick]
	}
	for _, parent := range ns.parents {
		if back := parent.alert.below[dead]; parent.wasDown && !back.IsZero() {
			later(back.Add(st.interval(ns)))
		}
		limit := st.checkLimit(parent)
		if limit == 0 || !parent.track.checkedAt.Before(died) {
			continue
		}
		if parent.asked.Before(died) {
			parent.asked = now
			st.checks = append(st.checks, parent.conf)
		}
		later(died.Add(limit))
	}
	return waits, until
}

// hearsOfParent reports whether the channel is told of a node that the node
// depends on: of a dead one, where there is any. Else it must hear of the node
// itself.
func (c *channel) hearsOfParent(ns *nodeState) bool {
	cause := ns.cause() != nil
	for _, parent := range ns.parents {
		if cause && !parent.isDown() {
			continue
		}
		for _, r := range c.routes {
			if r.Match.matches(parent.service.conf.ID, parent.conf.ID) {
				return true
			}
		}
	}
	return false
}

// interval is the time between two checks or reports of a node.
func (st *state) interval(ns *nodeState) time.Duration {
	m := st.metrics(ns)
	switch ns.conf.Mode {
	case modePoll:
		return m.PollInterval
	case modeScript:
		return m.ScriptInterval
	case modeLocal:
		return m.LocalDelayDead
	}
	return m.PushDelayDead
}

// checkLimit is how long a check of a node with its retries may take; 0 when
// this process cannot check it.
func (st *state) checkLimit(ns *nodeState) time.Duration {
	m := st.metrics(ns)
	switch ns.conf.Mode {
	case modePoll:
		return min(time.Duration(m.RetryCount+1)*(m.PollDelayDead+m.RetryWait)+time.Second, parentCheckMost)
	case modeScript:
		return min(m.ScriptInterval, parentCheckMost)
	}
	return 0
}

// lookAtDependents has the alerter look at the nodes that depend on one that
// was checked or has changed.
func (st *state) lookAtDependents(ns *nodeState) {
	for _, child := range ns.dependents {
		if child.alert.status != healthy {
			st.alerter.look(child)
			st.touch(child)
		}
	}
}
