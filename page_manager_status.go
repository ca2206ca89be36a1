package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A managerNode is a node as GET /manager/status/ writes it.
type managerNode struct {
	Service      string           `json:"service"`
	ServiceLabel string           `json:"service_label"`
	Node         string           `json:"node"`
	Label        string           `json:"label"`
	Mode         string           `json:"mode"`
	Status       string           `json:"status"`
	Checked      bool             `json:"checked"` // false: the status is a default or an old one
	Since        *time.Time       `json:"since"`
	Reason       string           `json:"reason"`
	Outage       *string          `json:"outage"` // id of the open one
	Acknowledged bool             `json:"acknowledged"`
	Maintenance  *string          `json:"maintenance"` // title of the running one
	Silence      *string          `json:"silence"`     // text of the running one
	Cause        *string          `json:"cause"`       // a dead node that this one depends on
	Replicas     []managerReplica `json:"replicas"`
}

type managerReplica struct {
	ID      string     `json:"id"`
	Label   string     `json:"label"`
	Status  string     `json:"status"`
	Checked bool       `json:"checked"`
	Since   *time.Time `json:"since"`
	Reason  string     `json:"reason"`
	Latency *float64   `json:"latency_ms"` // of the last check
	Load    *loadJSON  `json:"load,omitempty"`
	Last    *time.Time `json:"last"` // check or report
	Next    *time.Time `json:"next"` // when one is due
}

type loadJSON struct {
	CPU     float64 `json:"cpu"`
	RAM     float64 `json:"ram"`
	Ready   *int64  `json:"ready,omitempty"`
	Unacked *int64  `json:"unacked,omitempty"`
}

// status writes the state of all nodes, or of those that ?selector= selects.
// It may be repeated.
func (m *managerAPI) status(c *managerCall) (any, error) {
	selected, err := c.selectors()
	if err != nil {
		return nil, err
	}
	snap := m.snaps.load()
	return answerFunc(func(w http.ResponseWriter) {
		// With 150,000 replicas this is long, so it is written node by node.
		out := bufio.NewWriterSize(w, 16<<10)
		defer out.Flush()
		enc := json.NewEncoder(out)
		head, _ := json.Marshal(struct { // cannot fail
			Status string    `json:"status"`
			At     time.Time `json:"at"`
		}{snap.status.String(), inSecond(snap.at)})
		out.Write(head[:len(head)-1])
		out.WriteString(`,"nodes":[`)
		acknowledged := make(map[string]bool) // outages
		for i := range snap.pastIncidents {
			if in := &snap.pastIncidents[i]; in.ack != nil && in.end.IsZero() && in.ack.until.After(snap.at) {
				acknowledged[in.id] = true
			}
		}
		lasting := lastingIncidents(snap)
		first := true
		for sv, nv := range snap.nodes() {
			if !selected.matches(sv.conf.ID, nv.conf.ID) {
				continue
			}
			if !first {
				out.WriteByte(',')
			}
			first = false
			node := newManagerNode(sv, nv, lasting[nv.conf])
			node.Acknowledged = acknowledged[nv.outage]
			node.Cause = textOrNil(snap.nameOf(nv.cause))
			if enc.Encode(node) != nil {
				return // the client has left
			}
		}
		out.WriteString("]}\n")
	}), nil
}

// nameOf returns a node as service:node, "" for nil.
func (s *snapshot) nameOf(node *Node) string {
	for sv, nv := range s.nodes() {
		if nv.conf == node {
			return sv.conf.ID + ":" + node.ID
		}
	}
	return ""
}

// newManagerNode returns a node for programs. The incident is its lasting one, or nil.
func newManagerNode(sv *serviceView, nv *nodeView, in *incident) managerNode {
	v := managerNode{
		Service:      sv.conf.ID,
		ServiceLabel: sv.conf.Label,
		Node:         nv.conf.ID,
		Label:        nv.conf.Label,
		Mode:         nv.conf.Mode.String(),
		Status:       nv.status.String(),
		Checked:      true,
		Outage:       textOrNil(nv.outage),
		Replicas:     make([]managerReplica, 0, nv.replicas.len()),
	}
	if nv.maintenance != nil {
		v.Maintenance = &nv.maintenance.title
	}
	if nv.silence != nil {
		v.Silence = &nv.silence.text
	}
	for _, r := range nv.replicas.all() {
		v.Replicas = append(v.Replicas, newManagerReplica(nv.conf, r))
		v.Checked = v.Checked && r.checked && !r.stale && !r.uncertain
	}
	since, of := nv.since(in)
	if of != nil {
		v.Reason = of.reason
	}
	v.Since = timeOrNil(since)
	return v
}

func newManagerReplica(conf *Node, r *replicaView) managerReplica {
	v := managerReplica{
		ID:      r.id,
		Label:   conf.Labels[r.id],
		Status:  r.status.String(),
		Checked: r.checked && !r.stale && !r.uncertain,
		Since:   timeOrNil(r.since),
		Reason:  r.reason,
	}
	if r.latency > 0 {
		ms := float64(r.latency.Microseconds()) / 1000
		v.Latency = &ms
	}
	if l := r.load; l != nil {
		v.Load = &loadJSON{CPU: l.cpu, RAM: l.ram}
		if l.queue {
			v.Load.Ready, v.Load.Unacked = &l.ready, &l.unacked
		}
	}
	if r.last == 0 {
		return v
	}
	last := time.UnixMilli(r.last)
	v.Last = timeOrNil(last)
	switch conf.Mode {
	case modePoll:
		v.Next = timeOrNil(last.Add(conf.Metrics.PollInterval))
	case modeScript:
		v.Next = timeOrNil(last.Add(conf.Metrics.ScriptInterval))
	case modeHeartbeat:
		if r.job != nil {
			v.Next = timeOrNil(r.job.due)
		}
	default:
		v.Next = timeOrNil(last.Add(r.grace))
	}
	return v
}

const (
	// checkTime is how long checks that are asked for may take, and
	// checkAnswerTime how long until their answer must be written.
	checkTime       = 30 * time.Second
	checkAnswerTime = checkTime + 10*time.Second
)

// A managerResult is the result of a check that was asked for.
type managerResult struct {
	Service string    `json:"service"`
	Node    string    `json:"node"`
	Replica string    `json:"replica"`
	Label   string    `json:"label"`
	Status  string    `json:"status"`
	Reason  string    `json:"reason"`
	Latency float64   `json:"latency_ms"`
	At      time.Time `json:"at"`
}

// check checks the poll and script replicas of a selector now, and answers with
// the results.
func (m *managerAPI) check(c *managerCall) (any, error) {
	var b struct {
		Selector *string `json:"selector"`
	}
	if err := c.decode(&b, decodeStrict); err != nil {
		return nil, err
	}
	if b.Selector == nil || *b.Selector == "" {
		return nil, invalid("selector is missing or empty")
	}
	selected, err := checkSelectors(c.conf, []string{*b.Selector})
	if err != nil {
		return nil, err
	}
	match := func(r *replica) bool { return selected.matches(r.service.ID, r.node.ID) }
	if !slices.ContainsFunc(replicas(c.conf.Services), match) {
		return nil, invalid("selector %q selects no poll or script replica", *b.Selector)
	}
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(checkAnswerTime)) // not all writers have one
	ctx, cancel := context.WithTimeout(c.r.Context(), checkTime)
	defer cancel()
	results, err := m.probes.checkNow(ctx, match)
	if err != nil {
		return nil, refuse(http.StatusServiceUnavailable, "the checks did not end within %v: their results will be in the status", checkTime)
	}
	slices.SortFunc(results, func(a, b result) int { return cmp.Compare(a.replica.ordinal, b.replica.ordinal) })
	list := make([]managerResult, len(results))
	for i, res := range results {
		r := res.replica
		list[i] = managerResult{r.service.ID, r.node.ID, r.id, r.node.Labels[r.id], res.status.String(), res.reason,
			float64(res.latency.Microseconds()) / 1000, inSecond(res.at)}
	}
	return map[string][]managerResult{"results": list}, nil
}

// log writes the events since ?since= (RFC 3339; without it, of 24 hours), oldest
// first, as newline-delimited JSON. With ?selector=, which may be repeated, it
// writes only what concerns the nodes that are selected, with the deliveries of
// alerts about them.
func (m *managerAPI) log(c *managerCall) (any, error) {
	selected, err := c.selectors()
	if err != nil {
		return nil, err
	}
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, invalid("the query is not well percent-encoded")
	}
	since := time.Now().Add(-24 * time.Hour)
	if s := query.Get("since"); s != "" {
		if since, err = time.Parse(time.RFC3339, s); err != nil {
			return nil, invalid("since=%q is not a time like 2026-11-26T22:00:00Z", s)
		}
	}
	if m.eventLog == nil || m.eventLog.root == nil {
		return nil, refuse(http.StatusConflict, "%v", errNoEvents)
	}
	select {
	case m.eventLog.readers <- struct{}{}:
	case <-c.r.Context().Done():
		return nil, errBusy
	}
	all := !query.Has("selector")
	return answerFunc(func(w http.ResponseWriter) {
		defer func() { <-m.eventLog.readers }()
		w.Header().Set("Content-Type", "application/x-ndjson")
		out := bufio.NewWriterSize(w, 16<<10)
		defer out.Flush()
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		alerts := make(map[string]bool) // about the nodes that are selected
		damaged, err := m.eventLog.read(c.r.Context(), since, func(e logEvent) bool {
			if !all && !alerts[e.Alert] {
				if !e.concerns(selected) {
					return true
				}
				if e.Alert != "" {
					alerts[e.Alert] = true
				}
			}
			return enc.Encode(e) == nil
		})
		if err == nil && damaged > 0 {
			enc.Encode(logEvent{Time: time.Now().UTC(), Kind: "damage", Text: plural(damaged, "damaged line") + " skipped"})
		}
	}), nil
}

// concerns reports whether the event is about a node that is selected.
func (e *logEvent) concerns(selected selectors) bool {
	if e.Node != "" {
		return selected.matches(e.Service, e.Node)
	}
	return slices.ContainsFunc(e.Nodes, func(name string) bool {
		return slices.ContainsFunc(selected, func(s selector) bool {
			return s == "*" || name == string(s) || strings.HasPrefix(name, string(s)+":")
		})
	})
}
