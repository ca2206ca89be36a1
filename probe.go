package main

import (
	"context"
	"strconv"
	"time"
)

// status is the health of a replica. The order is that of badness: the status
// of several things together is their max.
type status uint8

const (
	healthy status = iota
	sick
	dead
)

var statusNames = [...]string{"healthy", "sick", "dead"}

// String returns the word that is used on the wire.
func (s status) String() string { return statusNames[s] }

// A replica is one target that this process checks itself: a URL of a poll
// node or a script of a script node. It is never changed.
type replica struct {
	service *Service
	node    *Node
	index   int    // in node.Targets or node.Scripts
	id      string // the URL as configured, or the script's index
	ordinal int    // among all replicas that the config has this process check
}

// target is the URL of a poll replica.
func (r *replica) target() *Target { return &r.node.Targets[r.index] }

// script is the source of a script replica.
func (r *replica) script() string { return r.node.Scripts[r.index] }

// replicas returns what the services have this process check itself, in the
// order of the config. An ordinal is an index into all of it.
func replicas(services []*Service) (all []*replica) {
	for _, s := range services {
		for _, n := range s.Nodes {
			prefix := ""
			if n.ReportPrefix != "" {
				prefix = n.ReportPrefix + ":"
			}
			for i := range n.Targets {
				all = append(all, &replica{s, n, i, prefix + n.Targets[i].Raw, len(all)})
			}
			for i := range n.Scripts {
				all = append(all, &replica{s, n, i, prefix + strconv.Itoa(i), len(all)})
			}
		}
	}
	return all
}

// ofMode returns those of all whose node has that mode.
func ofMode(all []*replica, m mode) (some []*replica) {
	for _, r := range all {
		if r.node.Mode == m {
			some = append(some, r)
		}
	}
	return some
}

// A result is the outcome of one check.
type result struct {
	replica *replica
	status  status
	latency time.Duration // until the answer, or until the check was given up
	reason  string        // one short line for operators; empty when healthy
	at      time.Time     // when the check ended
}

// A prober makes one check. It honours ctx, but takes its own time limit from
// the configuration; what it returns after ctx was cancelled is discarded.
type prober func(ctx context.Context, r *replica) result
