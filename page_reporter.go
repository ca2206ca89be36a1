package main

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
)

// A reporterAPI serves the Reporter API below /reporter: apps, hosts and agents
// send reports, each for a replica of a push or local node. PROTOCOL.md
// describes it.
type reporterAPI struct {
	snaps    *snapshots
	events   chan<- event
	asks     chan<- *reportedNode
	throttle *throttle
	index    atomic.Pointer[nodeIndex]
	answers  answerCounts
}

// newReporterAPI returns the handler of the Reporter API. Nodes whose queue
// should be checked go to asks, which may be nil.
func newReporterAPI(b *snapshots, events chan<- event, asks chan<- *reportedNode, t *throttle) *reporterAPI {
	return &reporterAPI{snaps: b, events: events, asks: asks, throttle: t}
}

// A nodeIndex finds the nodes of one config.
type nodeIndex struct {
	conf  *Config
	token tokenCheck
	nodes map[[2]string]*reportedNode // by the ids of service and node
}

func newNodeIndex(conf *Config) *nodeIndex {
	ix := &nodeIndex{
		conf:  conf,
		token: newTokenCheck("Reporter", "server.reporter_token", conf.Server.ReporterToken),
		nodes: make(map[[2]string]*reportedNode),
	}
	for service, node := range conf.nodes() {
		ix.nodes[[2]string{service.ID, node.ID}] = newReportedNode(conf, service, node)
	}
	return ix
}

// find returns the node that the segments name. An id with pluses goes before
// one with spaces for them.
func (ix *nodeIndex) find(service, node segment) (*reportedNode, error) {
	known := false
	for _, s := range [...]string{service.text, service.plus} {
		for _, n := range [...]string{node.text, node.plus} {
			if at := ix.nodes[[2]string{s, n}]; at != nil {
				return at, nil
			}
		}
		for _, have := range ix.conf.Services {
			known = known || have.ID == s
		}
	}
	if !known {
		return nil, refuse(http.StatusNotFound, "no service %q", service.text)
	}
	return nil, refuse(http.StatusNotFound, "no node %q in service %q", node.text, service.text)
}

// current returns the index of the config that is in force.
func (rp *reporterAPI) current() *nodeIndex {
	conf := rp.snaps.load().conf
	ix := rp.index.Load()
	if ix == nil || ix.conf != conf {
		ix = newNodeIndex(conf)
		rp.index.Store(ix)
	}
	return ix
}

func (rp *reporterAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := rp.throttle.judge(r, rp.serve(w, r))
	rp.answers.count(err)
	respond(w, nil, err)
}

func (rp *reporterAPI) serve(w http.ResponseWriter, r *http.Request) error {
	path, err := segments(r.URL)
	if err != nil {
		return err
	}
	method := http.MethodPost
	switch len(path) {
	case 3:
	case 4:
		method = http.MethodDelete
	default:
		return errNoRoute
	}
	if err := allow(r, method); err != nil {
		return err
	}
	ix := rp.current()
	if err := sameSite(r, ix.conf.Branding.PageURL); err != nil {
		return err
	}
	if err := ix.token.authorize(r); err != nil {
		return err
	}
	at, err := ix.find(path[1], path[2])
	if err != nil {
		return err
	}
	if method == http.MethodDelete {
		return rp.flush(r, at, path[3])
	}
	body, err := readBody(w, r, maxRequest)
	if err != nil {
		return err
	}
	rep, err := parseReport(body)
	if err != nil {
		return err
	}
	return rp.report(r, at, rep)
}

// report passes a report on. A report of a load is for push nodes, one of a
// health for local nodes. It waits for the aggregator only when few more
// replicas are accepted.
func (rp *reporterAPI) report(r *http.Request, at *reportedNode, rep report) error {
	var done chan error
	if rp.snaps.load().crowded {
		done = make(chan error, 1)
	}
	var ev event
	switch {
	case rep.load != nil && at.node.Mode == modePush:
		ev = &loadReport{at.node, rep, done}
	case rep.load == nil && at.node.Mode == modeLocal:
		ev = &healthReport{at.node, rep, done}
	case rep.load != nil:
		return wrongMode(at.node, "load reports are for push nodes")
	default:
		return wrongMode(at.node, "health reports are for local nodes")
	}
	if err := ask(r.Context(), rp.events, ev, done); err != nil {
		return err
	}
	rp.askQueue(at)
	return nil
}

func wrongMode(node *Node, rule string) error {
	return refuse(http.StatusPreconditionFailed, "%s: %q is a %s node", rule, node.ID, node.Mode)
}

// askQueue requests a check of the node's queue, unless one is under way. It
// does not wait: when too many are requested, a later report asks again.
func (rp *reporterAPI) askQueue(at *reportedNode) {
	if at.rabbit == nil || !at.asking.CompareAndSwap(false, true) {
		return
	}
	select {
	case rp.asks <- at:
	default:
		at.asking.Store(false)
	}
}

// flush forgets a replica.
func (rp *reporterAPI) flush(r *http.Request, at *reportedNode, replica segment) error {
	if at.node.Mode != modePush && at.node.Mode != modeLocal {
		return wrongMode(at.node, "only replicas that report can be flushed")
	}
	done := make(chan error, 1)
	return ask(r.Context(), rp.events, &flush{at.node, [...]string{replica.text, replica.plus}, done}, done)
}

// A pingAPI serves /ping, where the jobs of heartbeat nodes report. PROTOCOL.md
// describes it.
type pingAPI struct {
	snaps    *snapshots
	events   chan<- event
	throttle *throttle
	index    atomic.Pointer[pingIndex]
}

func newPingAPI(b *snapshots, events chan<- event, t *throttle) *pingAPI {
	return &pingAPI{snaps: b, events: events, throttle: t}
}

// A pingIndex finds the heartbeat nodes of one config by the hashes of their
// tokens, so that the time this takes says nothing of a token.
type pingIndex struct {
	conf  *Config
	nodes map[[sha256.Size]byte]*Node
}

// current returns the index of the current config.
func (p *pingAPI) current() *pingIndex {
	conf := p.snaps.load().conf
	ix := p.index.Load()
	if ix == nil || ix.conf != conf {
		ix = &pingIndex{conf, make(map[[sha256.Size]byte]*Node)}
		for _, n := range conf.nodes() {
			if n.Heartbeat != nil {
				ix.nodes[sha256.Sum256([]byte(n.Heartbeat.Token))] = n
			}
		}
		p.index.Store(ix)
	}
	return ix
}

func (p *pingAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if err := p.throttle.judge(r, p.serve(r)); err != nil {
		respond(w, nil, err)
		return
	}
	w.Header()["Content-Type"] = textType
	w.Header()["X-Content-Type-Options"] = nosniff
	io.WriteString(w, "ok\n")
}

// errUnknownPing is throttled like a wrong token, which it is.
var errUnknownPing = refuse(http.StatusNotFound, "no heartbeat node has this token")

// maxPingBody is how much of a ping's body is read.
const maxPingBody = 4 << 10

func (p *pingAPI) serve(r *http.Request) error {
	path, err := segments(r.URL)
	if err != nil {
		return err
	}
	if len(path) < 2 || len(path) > 3 {
		return errNoRoute
	}
	if err := allow(r, "GET, HEAD, POST"); err != nil {
		return err
	}
	node := p.current().nodes[sha256.Sum256([]byte(path[1].text))]
	if node == nil {
		return errUnknownPing
	}
	done := make(chan error, 1)
	ev := &ping{node: node, done: done}
	if len(path) == 3 {
		switch word := path[2].text; word {
		case "start":
			ev.start = true
		case "fail":
			ev.exit = failed
		default:
			exit, err := strconv.ParseUint(word, 10, 8)
			if err != nil {
				return refuse(http.StatusNotFound, "%q is not start, fail or an exit status from 0 to 255", word)
			}
			ev.exit = int(exit)
		}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxPingBody))
	if err != nil {
		return refuse(http.StatusBadRequest, "the body did not arrive whole")
	}
	ev.reason = pingReason(body)
	return ask(r.Context(), p.events, ev, done)
}

// pingReason returns the last line of a body that is not blank.
func pingReason(body []byte) string {
	body = bytes.TrimSpace(body)
	return oneLine(string(body[bytes.LastIndexByte(body, '\n')+1:]))
}
