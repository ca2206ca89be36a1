package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
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
