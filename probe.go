package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"reflect"
	"slices"
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

// path names the replica to people: "web:core:tcp://10.0.0.1:80".
func (r *replica) path() string { return r.service.ID + ":" + r.node.ID + ":" + r.id }

// A replicaKey identifies a replica across configs.
type replicaKey struct{ service, node, id string }

func (r *replica) key() replicaKey { return replicaKey{r.service.ID, r.node.ID, r.id} }

// sameCheck reports whether a check of old, the replica of the same key in
// another config, says the same as one of r: whether target or script and all
// settings of the request are the same.
func (r *replica) sameCheck(old *replica) bool {
	if r.node.Mode != old.node.Mode {
		return false
	}
	if r.node.Mode == modePoll && !reflect.DeepEqual(r.target(), old.target()) ||
		r.node.Mode == modeScript && r.script() != old.script() {
		return false
	}
	return sameTLS(&r.node.TLS, &old.node.TLS) && reflect.DeepEqual(requestOf(r.node), requestOf(old.node))
}

// sameTLS compares how two nodes speak TLS; when a certificate ends too soon is
// judged anew with each check.
func sameTLS(a, b *TLS) bool {
	return a.SkipVerify == b.SkipVerify && a.ServerName == b.ServerName && a.Roots.Equal(b.Roots) &&
		slices.EqualFunc(a.Certificates, b.Certificates, func(a, b tls.Certificate) bool {
			return slices.EqualFunc(a.Certificate, b.Certificate, bytes.Equal)
		})
}

// requestOf returns the settings of a node that decide what its checks send
// and expect: all but its names, its lists and what only the page shows.
func requestOf(n *Node) Node {
	return Node{
		Mode:        n.Mode,
		HTTPHeaders: n.HTTPHeaders,
		HTTPMethod:  n.HTTPMethod,
		HTTPBody:    n.HTTPBody,
		HTTPMatch:   n.HTTPMatch,

		FollowRedirects: n.FollowRedirects,
		NoCacheBuster:   n.NoCacheBuster,
		HeaderMatch:     n.HeaderMatch,
		JSONMatch:       n.JSONMatch,
		Proxy:           n.Proxy,
		ProxySet:        n.ProxySet,
		IPFamily:        n.IPFamily,
		DNSMatch:        n.DNSMatch,
	}
}

// metrics returns the thresholds for a node: those of its config, or else def.
func (n *Node) metrics(def *Metrics) *Metrics {
	if n.Metrics != nil {
		return n.Metrics
	}
	return def
}

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

// A verdict is what one check found out.
type verdict struct {
	status  status
	reason  string        // one short line for operators; empty when healthy
	latency time.Duration // until the answer, or until the check gave up
	at      time.Time     // when the check ended; set by the pool

	expires time.Time // when the target's certificate ends; zero: it showed none

	short        *shortage // of this machine, which made the check fail; nil: none
	inconclusive bool      // it says nothing of the replica; set by the pool
}

// A prober makes one check. It honours ctx, but takes its own time limit from
// the configuration; what it returns after ctx was cancelled is discarded.
type prober func(ctx context.Context, r *replica) verdict

// A result is the verdict that counts for a replica: that of the last try.
type result struct {
	replica *replica
	status  status
	latency time.Duration
	reason  string
	at      time.Time // when the check ended
}
