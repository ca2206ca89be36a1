package main

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// historyEvery is for how long an answer of /status/history is good.
const historyEvery = 5 * time.Second

// A historyReport is the past in the form of /status/history. It names things
// as /status/report does. All lengths of time are in seconds, and days are
// those of the server's zone, the one that Time is written in.
type historyReport struct {
	Page      reportPage        `json:"page"`
	Time      string            `json:"time"` // of the report, RFC 3339
	Probes    []historyProbe    `json:"probes"`
	Incidents []historyIncident `json:"incidents"` // newest first, 90 days
}

type historyProbe struct {
	Name  string        `json:"name"`
	Nodes []historyNode `json:"nodes"`
}

type historyNode struct {
	Name   string        `json:"name"`
	Status string        `json:"status"`
	Uptime historyUptime `json:"uptime"`
	Days   []historySum  `json:"days"`   // the last 90 at most, today last
	Months []historySum  `json:"months"` // all, this one last
}

// A historyUptime is the share of the known time in which the node was not
// dead, from 0 to 1; null where nothing is known. Windows are days of the
// calendar, with today.
type historyUptime struct {
	Today  *float64 `json:"today"`
	Days7  *float64 `json:"7d"`
	Days30 *float64 `json:"30d"`
	Days90 *float64 `json:"90d"`
}

// A historySum says how long a node was what in a day or month, as far as that
// has passed. The four add up to its length.
type historySum struct {
	Date    string  `json:"date"` // 2026-03-01, of a month 2026-03
	Healthy float64 `json:"healthy"`
	Sick    float64 `json:"sick"`
	Dead    float64 `json:"dead"`
	Unknown float64 `json:"unknown"` // not checked, or Vigil did not run
}

type historyIncident struct {
	ID      string  `json:"id"`
	Probe   string  `json:"probe"`
	Node    string  `json:"node"`
	Start   string  `json:"start"`
	End     *string `json:"end"` // null while it lasts
	Seconds float64 `json:"seconds"`
}

// newHistoryReport returns the past of s as it is now. Its lists are never
// nil.
func newHistoryReport(s *snapshot, now time.Time) historyReport {
	rep := historyReport{
		Page:      reportPage{s.conf.Branding.PageTitle, s.conf.Branding.PageURL},
		Time:      now.Format(time.RFC3339),
		Probes:    make([]historyProbe, len(s.services)),
		Incidents: make([]historyIncident, len(s.pastIncidents)),
	}
	c := newCalendar(now)
	for i, sv := range s.services {
		nodes := make([]historyNode, len(sv.nodes))
		for k, nv := range sv.nodes {
			nodes[k] = newHistoryNode(nv, c)
		}
		rep.Probes[i] = historyProbe{sv.conf.Label, nodes}
	}
	for i := range s.pastIncidents {
		rep.Incidents[i] = newHistoryIncident(&s.pastIncidents[i], now)
	}
	return rep
}

// A calendar is what the days and months of all nodes have in common.
type calendar struct {
	now    time.Time
	passed [keptDays]time.Duration // of the day so many days ago
	months map[date]time.Duration  // how much of a month has passed
}

func newCalendar(now time.Time) *calendar {
	c := &calendar{now: now, months: make(map[date]time.Duration)}
	end, today := now, dateOf(now)
	for ago := range c.passed {
		start := (today - date(ago)).start(now.Location())
		c.passed[ago] = end.Sub(start)
		end = start
	}
	return c
}

// month returns how much of the month from that date has passed.
func (c *calendar) month(from date) time.Duration {
	passed, ok := c.months[from]
	if !ok {
		end, zone := (from + 31).month().start(c.now.Location()), c.now.Location()
		if end.After(c.now) {
			end = c.now
		}
		passed = end.Sub(from.start(zone))
		c.months[from] = passed
	}
	return passed
}

func newHistoryNode(nv *nodeView, c *calendar) historyNode {
	h := nv.history.advance(c.now)
	node := historyNode{
		Name:   nv.conf.Label,
		Status: nv.status.String(),
		Uptime: historyUptime{h.share(1, c.now), h.share(7, c.now), h.share(30, c.now), h.share(keptDays, c.now)},
		Days:   make([]historySum, 0, len(h.days.closed)+1),
		Months: []historySum{},
	}
	today, first := dateOf(c.now), -1
	var days [keptDays]sum // by how many days ago it was
	for ago, s := range h.recent(keptDays, c.now) {
		days[ago], first = s, max(first, ago)
	}
	for ago := first; ago >= 0; ago-- {
		days[ago].from = today - date(ago)
		node.Days = append(node.Days, newHistorySum(&days[ago], time.DateOnly, c.passed[ago]))
	}
	for s := range h.months.all() {
		if s.from > today {
			break // booked under a clock that was wrong
		}
		node.Months = append(node.Months, newHistorySum(&s, "2006-01", c.month(s.from)))
	}
	return node
}

// share returns the uptime over n days; nil where nothing is known.
func (h *nodeHistory) share(n int, now time.Time) *float64 {
	up, known := h.uptime(n, now)
	if known <= 0 {
		return nil
	}
	share := up.Seconds() / known.Seconds()
	return &share
}

// newHistorySum returns a sum of a day or month of which so much has passed.
func newHistorySum(s *sum, form string, passed time.Duration) historySum {
	return historySum{
		Date:    s.from.noon().Format(form),
		Healthy: inSeconds(s.parts[healthy]),
		Sick:    inSeconds(s.parts[sick]),
		Dead:    inSeconds(s.parts[dead]),
		Unknown: inSeconds(max(passed-s.total(), 0)),
	}
}

func newHistoryIncident(in *incident, now time.Time) historyIncident {
	rep := historyIncident{
		ID:      in.id,
		Probe:   in.service.Label,
		Node:    in.node.Label,
		Start:   in.start.In(now.Location()).Format(time.RFC3339),
		Seconds: inSeconds(in.length(now)),
	}
	if !in.end.IsZero() {
		end := in.end.In(now.Location()).Format(time.RFC3339)
		rep.End = &end
	}
	return rep
}

// inSeconds returns d to the millisecond.
func inSeconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

// A historyAnswer is a report that is ready to serve.
type historyAnswer struct {
	serve http.HandlerFunc
	stale time.Time // when it is to be made anew
}

// A historyCache keeps the answer for a while: it is large, and it is made
// only when somebody asks, by one of those who do.
type historyCache struct {
	answer atomic.Pointer[historyAnswer]
	making singleflight.Group
}

var historyFields = []field{
	newField("Content-Type", "application/json"),
	newField("Cache-Control", "public, max-age=5"),
	newField("X-Content-Type-Options", "nosniff"),
	newField("Access-Control-Allow-Origin", "*"),
}

func (p *page) serveHistory(w http.ResponseWriter, r *http.Request) {
	answer := p.history.answer.Load()
	if answer == nil || time.Now().After(answer.stale) {
		made, err, _ := p.history.making.Do("", p.makeHistory)
		if err != nil {
			p.log.Error("history not served", "err", err)
			http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
			return
		}
		answer = made.(*historyAnswer)
	}
	answer.serve(w, r)
}

// makeHistory returns a fresh *historyAnswer.
func (p *page) makeHistory() (any, error) {
	now := time.Now()
	body, err := json.Marshal(newHistoryReport(p.board.load(), now))
	if err != nil {
		return nil, err
	}
	answer := &historyAnswer{serve: newReply(body, historyFields).serve}
	answer.stale = now.Add(max(historyEvery, renderShare*time.Since(now)))
	p.history.answer.Store(answer)
	return answer, nil
}
