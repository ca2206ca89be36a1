package main

import (
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// A reporter serves the Reporter API below /reporter: apps and hosts tell how
// they are, each for a replica of a push or local node. PROTOCOL.md describes
// it.
type reporter struct {
	board    *board
	events   chan<- event
	asks     chan<- *reported
	throttle *throttle
	index    atomic.Pointer[reportIndex]
	answers  answerCounts
}

// newReporter returns the handler of the Reporter API. Nodes whose queue is to
// be asked for go to asks, which may be nil.
func newReporter(b *board, events chan<- event, asks chan<- *reported, t *throttle) *reporter {
	return &reporter{board: b, events: events, asks: asks, throttle: t}
}

// A reportIndex finds the nodes of one config.
type reportIndex struct {
	conf  *Config
	gate  gate
	nodes map[[2]string]*reported // by the ids of service and node
}

// A reported is a node that reports may name.
type reported struct {
	service *Service
	node    *Node
	rabbit  *RabbitMQ   // knows the node's queue; nil when it has none
	asking  atomic.Bool // the queue is being asked for, or soon will be
	fault   string      // why it could not be; of who asks
}

func newReportIndex(conf *Config) *reportIndex {
	ix := &reportIndex{
		conf:  conf,
		gate:  newGate("Reporter", "server.reporter_token", conf.Server.ReporterToken),
		nodes: make(map[[2]string]*reported),
	}
	for _, service := range conf.Services {
		for _, node := range service.Nodes {
			at := &reported{service: service, node: node}
			if node.Mode == modePush && node.RabbitMQQueue != "" {
				at.rabbit = conf.RabbitMQ
			}
			ix.nodes[[2]string{service.ID, node.ID}] = at
		}
	}
	return ix
}

// find returns the node that the segments name. What they say as they stand
// goes before what they say with spaces for pluses.
func (ix *reportIndex) find(service, node segment) (*reported, error) {
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
func (rp *reporter) current() *reportIndex {
	conf := rp.board.load().conf
	ix := rp.index.Load()
	if ix == nil || ix.conf != conf {
		ix = newReportIndex(conf)
		rp.index.Store(ix)
	}
	return ix
}

func (rp *reporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := rp.throttle.judge(r, rp.serve(w, r))
	rp.answers.count(err)
	respond(w, nil, err)
}

func (rp *reporter) serve(w http.ResponseWriter, r *http.Request) error {
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
	if err := ix.gate.admit(r); err != nil {
		return err
	}
	at, err := ix.find(path[1], path[2])
	if err != nil {
		return err
	}
	if method == http.MethodDelete {
		return rp.flush(r, at, path[3])
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	rep, err := parseReport(body)
	if err != nil {
		return err
	}
	return rp.report(r, at, rep)
}

// report books a report. Whether it says a load or a health decides which
// nodes it may be for. While any new replica is taken nobody waits for the
// aggregator to say so.
func (rp *reporter) report(r *http.Request, at *reported, rep parsedReport) error {
	var done chan error
	if rp.board.load().crowded {
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

// askQueue has the node's queue looked at, unless that is under way already.
// It does not wait: where too many queues are in line, a later report asks.
func (rp *reporter) askQueue(at *reported) {
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
func (rp *reporter) flush(r *http.Request, at *reported, replica segment) error {
	if at.node.Mode != modePush && at.node.Mode != modeLocal {
		return wrongMode(at.node, "only replicas that report can be flushed")
	}
	done := make(chan error, 1)
	return ask(r.Context(), rp.events, &flush{at.node, [...]string{replica.text, replica.plus}, done}, done)
}

// Limits of what a report may say; they are far from what anybody reports.
const (
	maxReplicaID = 1024            // bytes
	maxLoad      = 1e6             // per CPU, or of the memory
	maxInterval  = 365 * 24 * 3600 // seconds
)

// reportBody is the JSON of a report. Numbers may be written as 30 or 30.0,
// whatever they count.
type reportBody struct {
	Replica  *string   `json:"replica"`
	Interval *float64  `json:"interval"`
	Load     *loadBody `json:"load"`
	Health   *string   `json:"health"`
}

type loadBody struct {
	CPU *float64 `json:"cpu"`
	RAM *float64 `json:"ram"`
}

// A parsedReport is what a report says.
type parsedReport struct {
	replica  string
	interval time.Duration
	load     *replicaLoad // nil: it says its health instead
	health   status
}

// parseReport reads and checks the body of a report.
func parseReport(body []byte) (rep parsedReport, err error) {
	b, ok := scanReport(body)
	if !ok {
		if err := decodeBody(body, &b); err != nil {
			return rep, err
		}
	}
	bad := func(format string, args ...any) (parsedReport, error) {
		return parsedReport{}, refuse(http.StatusBadRequest, format, args...)
	}

	if b.Replica == nil || *b.Replica == "" {
		return bad("replica is missing or empty: the replica's id")
	}
	rep.replica = *b.Replica
	if len(rep.replica) > maxReplicaID {
		return bad("replica is longer than %d bytes", maxReplicaID)
	}
	if strings.ContainsFunc(rep.replica, unicode.IsControl) || !utf8.ValidString(rep.replica) {
		return bad("replica contains control characters")
	}

	if b.Interval == nil {
		return bad("interval is missing: seconds to the next report")
	}
	if s := *b.Interval; s < 0 || s > maxInterval || s != math.Trunc(s) {
		return bad("interval %v is not a whole number of seconds from 0 to %d", s, maxInterval)
	}
	rep.interval = time.Duration(*b.Interval) * time.Second

	if b.Health != nil {
		i := 0
		for i < len(statusNames) && statusNames[i] != *b.Health {
			i++
		}
		if i == len(statusNames) {
			return bad("health %q is not healthy, sick or dead", *b.Health)
		}
		rep.health = status(i)
	}
	if b.Load == nil {
		if b.Health == nil {
			return bad("load or health is missing: load with cpu and ram for push nodes, health for local ones")
		}
		return rep, nil
	}
	if b.Load.CPU == nil || b.Load.RAM == nil {
		return bad("load.cpu or load.ram is missing")
	}
	rep.load = &replicaLoad{cpu: *b.Load.CPU, ram: *b.Load.RAM}
	for _, x := range [...]float64{rep.load.cpu, rep.load.ram} {
		if x < 0 || x > maxLoad {
			return bad("load %v is not from 0 to %v", x, maxLoad)
		}
	}
	return rep, nil
}
