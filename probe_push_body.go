package main

import (
	"math"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

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
