package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// A reportedNode is a node that reports may name.
type reportedNode struct {
	service *Service
	node    *Node
	rabbit  *RabbitMQ   // where the node's queue is; nil when it has none
	asking  atomic.Bool // a check of the queue is under way or requested
	fault   string      // of the last check; belongs to the goroutine that checks
}

func newReportedNode(conf *Config, service *Service, node *Node) *reportedNode {
	at := &reportedNode{service: service, node: node}
	if node.Mode == modePush && node.RabbitMQQueue != "" {
		at.rabbit = conf.RabbitMQ
	}
	return at
}

// Limits of a report, far above what anybody reports.
const (
	maxReplicaID = 256             // bytes
	maxLoad      = 1e6             // per CPU, or of the memory
	maxInterval  = 365 * 24 * 3600 // seconds
)

// reportBody is the JSON of a report. Any number may be written as 30 or 30.0.
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

// A report is what an app or a host (its load) or an agent (the health of a
// target) sends about a replica.
type report struct {
	replica  string
	interval time.Duration
	load     *replicaLoad // nil: health is reported instead
	health   status
}

// parseReport reads and checks the body of a report.
func parseReport(body []byte) (rep report, err error) {
	var b reportBody
	if err := decodeJSON(body, &b); err != nil {
		return rep, err
	}
	bad := func(format string, args ...any) (report, error) {
		return report{}, invalid(format, args...)
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
		var ok bool
		if rep.health, ok = statusOf(*b.Health); !ok {
			return bad("health %q is not healthy, sick or dead", *b.Health)
		}
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

// decodeJSON decodes a body that is one JSON value into the fields of v.
func decodeJSON(body []byte, v any) error {
	err := json.Unmarshal(body, v)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := wrong.Field
		if field == "" {
			field = "the body"
		}
		return invalid("wrong type for %s: %s", field, wrong.Value)
	}
	if err != nil {
		return invalid("invalid JSON: %v", err)
	}
	return nil
}

// decodeStrict is decodeJSON that refuses unknown fields.
func decodeStrict(body []byte, v any) error {
	if err := decodeJSON(body, v); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return invalid("%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

const (
	// queueTimeout is the time limit of one query.
	queueTimeout = 5 * time.Second

	// queueQueries is how many queries run at once, over all nodes.
	queueQueries = 8

	// queueBuffer is how many nodes may be in line.
	queueBuffer = 256

	// maxQueueBody is the size limit of an answer, which lists the queue's
	// consumers, too.
	maxQueueBody = 4 << 20
)

// A rabbit asks RabbitMQ how much waits in the queues of push nodes, through
// the HTTP API of its management plugin:
// https://www.rabbitmq.com/docs/http-api-reference
type rabbit struct {
	asks   <-chan *reportedNode
	events chan<- event
	client *http.Client
	slots  chan struct{}
	log    *slog.Logger
	panics atomic.Int64 // looks that panicked since the start
}

// newRabbit returns a rabbit for the nodes that come through asks.
func newRabbit(asks <-chan *reportedNode, events chan<- event, log *slog.Logger) *rabbit {
	return &rabbit{
		asks:   asks,
		events: events,
		client: &http.Client{
			Timeout:       queueTimeout,
			CheckRedirect: followNone, // the password is for the configured host alone
			Transport: &http.Transport{
				Proxy:               http.ProxyFromEnvironment,
				MaxIdleConnsPerHost: queueQueries,
				IdleConnTimeout:     time.Minute,
			},
		},
		slots: make(chan struct{}, queueQueries),
		log:   log,
	}
}

// run asks for the queues of the nodes that come until ctx ends, which is no
// error. Each node's queue has a goroutine while it is looked at; a node is in
// line or looked at once at most.
func (q *rabbit) run(ctx context.Context) error {
	defer q.client.CloseIdleConnections()
	var looks sync.WaitGroup
	defer looks.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case at := <-q.asks:
			looks.Go(func() {
				defer func() {
					if v := recover(); v != nil {
						q.panics.Add(1)
						logPanic(q.log, "look at a queue panicked", v, "service", at.service.ID, "node", at.node.ID)
					}
					at.asking.Store(false)
				}()
				q.look(ctx, at)
			})
		}
	}
}

// look checks a node's queue and reports it to the aggregator. A failure is
// logged when it differs from the last one, and changes nothing.
func (q *rabbit) look(ctx context.Context, at *reportedNode) {
	depth, err := q.depth(ctx, at)
	if ctx.Err() != nil {
		return
	}
	log := q.log.With("service", at.service.ID, "node", at.node.ID, "queue", at.node.RabbitMQQueue)
	switch {
	case err != nil && err.Error() != at.fault:
		level := slog.LevelError
		if errors.Is(err, errNoCounts) {
			level = slog.LevelWarn
		}
		log.Log(ctx, level, "rabbitmq queue not known", "err", err)
		at.fault = err.Error()
	case err == nil && at.fault != "":
		log.Info("rabbitmq queue known again")
		at.fault = ""
	}
	if err != nil {
		return
	}
	select {
	case q.events <- &queueReport{at.node, depth}:
	case <-ctx.Done():
	}
}

// depth asks for the queue's depth, and once more after a while if it is too
// much and the config wants it so: many a queue is emptied by then.
func (q *rabbit) depth(ctx context.Context, at *reportedNode) (queueDepth, error) {
	depth, err := q.query(ctx, at)
	if err != nil || depth.status == healthy || at.rabbit.LoadedRetryDelay == 0 {
		return depth, err
	}
	if !sleep(ctx, at.rabbit.LoadedRetryDelay) {
		return depth, ctx.Err()
	}
	return q.query(ctx, at)
}

// query asks once.
func (q *rabbit) query(ctx context.Context, at *reportedNode) (depth queueDepth, err error) {
	select {
	case q.slots <- struct{}{}:
		defer func() { <-q.slots }()
	case <-ctx.Done():
		return depth, ctx.Err()
	}
	conf := at.rabbit
	// JoinPath takes segments as they are encoded, so that a slash in one of
	// them, like the virtual host "/", stays %2F on the wire.
	u := conf.APIURL.JoinPath("api", "queues", url.PathEscape(conf.VirtualHost), url.PathEscape(at.node.RabbitMQQueue))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return depth, err
	}
	req.SetBasicAuth(conf.Username, string(conf.Password))
	req.Header.Set("Accept", "application/json")
	resp, err := q.client.Do(req)
	if err != nil {
		return depth, withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return depth, fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	var counts struct {
		Ready   *int64 `json:"messages_ready"`
		Unacked *int64 `json:"messages_unacknowledged"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxQueueBody)).Decode(&counts); err != nil {
		return depth, fmt.Errorf("answer: %w", err)
	}
	if counts.Ready == nil || counts.Unacked == nil {
		return depth, errNoCounts
	}
	return weigh(at, *counts.Ready, *counts.Unacked), nil
}

// errNoCounts is an answer of RabbitMQ in a queue's first seconds.
var errNoCounts = errors.New("answer without counts")

// queueFaults asks RabbitMQ once for the queue of each node and returns a line
// for each that it cannot watch.
func queueFaults(ctx context.Context, conf *Config) []string {
	ctx, cancel := context.WithTimeout(ctx, 2*queueTimeout)
	defer cancel()
	q := newRabbit(nil, nil, slog.New(slog.DiscardHandler))
	defer q.client.CloseIdleConnections()
	var nodes []*reportedNode
	for service, node := range conf.nodes() {
		if at := newReportedNode(conf, service, node); at.rabbit != nil {
			nodes = append(nodes, at)
		}
	}
	faults := make([]string, len(nodes))
	var looks sync.WaitGroup
	for i, at := range nodes {
		looks.Go(func() {
			if _, err := q.query(ctx, at); err != nil && !errors.Is(err, errNoCounts) {
				faults[i] = fmt.Sprintf("queue %q of %s:%s cannot be watched: %v", at.node.RabbitMQQueue, at.service.ID, at.node.ID, err)
			}
		})
	}
	looks.Wait()
	return slices.DeleteFunc(faults, func(s string) bool { return s == "" })
}

// A queueDepth is how much waits in a node's queue and what that means. The
// zero value says that nothing is known.
type queueDepth struct {
	known          bool
	ready, unacked int64
	status         status // dead: stalled, sick: loaded
	reason         string
}

// weigh holds the counts against the node's thresholds and the plugin's.
func weigh(at *reportedNode, ready, unacked int64) queueDepth {
	depth := queueDepth{known: true, ready: ready, unacked: unacked}
	over := func(count int64, limit *int64) bool { return limit != nil && count > *limit }
	reaches := func(count int64, limit *int64) bool { return limit != nil && count >= *limit }
	switch conf, node := at.rabbit, at.node; {
	case over(ready, conf.ReadyDeadAbove):
		depth.status, depth.reason = dead, fmt.Sprintf("queue stalled: %d ready", ready)
	case over(unacked, cmp.Or(node.NackDeadAbove, conf.NackDeadAbove)):
		depth.status, depth.reason = dead, fmt.Sprintf("queue stalled: %d unacked", unacked)
	case reaches(ready, conf.ReadyHealthyBelow):
		depth.status, depth.reason = sick, fmt.Sprintf("queue loaded: %d ready", ready)
	case reaches(unacked, cmp.Or(node.NackHealthyBelow, conf.NackHealthyBelow)):
		depth.status, depth.reason = sick, fmt.Sprintf("queue loaded: %d unacked", unacked)
	}
	return depth
}

// with returns the load with the depth of a queue. Loads that were shown are
// not changed.
func (l *replicaLoad) with(q queueDepth) *replicaLoad {
	if !q.known {
		return l
	}
	return &replicaLoad{cpu: l.cpu, ram: l.ram, queue: true, ready: q.ready, unacked: q.unacked}
}
