package main

import (
	"encoding/json"
	"math"
	"net/http"
	"time"
)

// An slaReport says how available everything was in a month, as far as that
// has passed.
type slaReport struct {
	Month    string       `json:"month"`
	From     time.Time    `json:"from"`
	To       time.Time    `json:"to"`
	Services []slaService `json:"services"`
}

type slaService struct {
	ID         string    `json:"id"`
	Label      string    `json:"label"`
	Target     *float64  `json:"target"` // percent
	BudgetLeft *float64  `json:"budget_left_minutes"`
	Nodes      []slaNode `json:"nodes"`
}

type slaNode struct {
	ID      string     `json:"id"`
	Label   string     `json:"label"`
	Minutes slaMinutes `json:"minutes"`

	// Outages and Longest are null for months of which not all outages are
	// kept, and shares where nothing is known.
	Outages                     *int     `json:"outages"`
	Longest                     *int64   `json:"longest_seconds"`
	Availability                *float64 `json:"availability"`
	AvailabilityWithMaintenance *float64 `json:"availability_with_maintenance"`
}

// slaMinutes add up to the minutes of the report.
type slaMinutes struct {
	Up          int64 `json:"up"`
	Down        int64 `json:"down"`
	Maintenance int64 `json:"maintenance"`
	Unknown     int64 `json:"unknown"`
}

// An slaMonth is a month of the server's calendar.
type slaMonth struct {
	first    date
	from     time.Time
	end      time.Time
	reported time.Time // the end, or now
}

// maxSLAMonths is how many months back reports go.
const maxSLAMonths = 60

// parseSLAMonth reads a month like 2026-11; "" is the present one.
func parseSLAMonth(text string, now time.Time) (m slaMonth, err error) {
	m.first = dateOf(now).month()
	if text != "" {
		t, err := time.Parse("2006-01", text)
		if err != nil {
			return m, invalid("month %q is not one like 2026-11", text)
		}
		first := dateOf(t)
		if first > m.first || t.Before(now.AddDate(0, -maxSLAMonths, 0)) {
			return m, invalid("month %q is not within the last %d months", text, maxSLAMonths)
		}
		m.first = first
	}
	zone := now.Location()
	m.from, m.end = m.first.start(zone), (m.first + 31).month().start(zone)
	m.reported = m.end
	if now.Before(m.end) {
		m.reported = now
	}
	return m, nil
}

// newSLAReport returns the report of the services of s.
func newSLAReport(s *snapshot, m slaMonth, now time.Time) slaReport {
	rep := slaReport{m.first.noon().Format("2006-01"), m.from, inSecond(m.reported), []slaService{}}
	counted := make(map[[2]string]*slaOutages) // by the ids of service and node
	for i := range s.pastIncidents {
		in := &s.pastIncidents[i]
		key := [...]string{in.service.ID, in.node.ID}
		if counted[key] == nil {
			counted[key] = new(slaOutages)
		}
		counted[key].add(in, m, now)
	}
	for _, sv := range s.services {
		v := slaService{ID: sv.conf.ID, Label: sv.conf.Label, Nodes: []slaNode{}}
		var worst time.Duration
		for _, nv := range sv.nodes {
			sum := nv.history.monthSum(m.first, now)
			worst = max(worst, sum.parts[dead])
			n := newSLANode(nv.conf, sum, m.reported.Sub(m.from))
			if now.Sub(m.from) <= keptFor {
				o := counted[[...]string{sv.conf.ID, nv.conf.ID}]
				if o == nil {
					o = new(slaOutages)
				}
				n.Outages, n.Longest = &o.count, new(int64(o.longest/time.Second))
			}
			v.Nodes = append(v.Nodes, n)
		}
		if target := sv.conf.Target; target > 0 {
			left := m.end.Sub(m.from).Minutes()*(100-target)/100 - worst.Minutes()
			v.Target, v.BudgetLeft = &target, new(math.Round(10*left)/10)
		}
		rep.Services = append(rep.Services, v)
	}
	return rep
}

// monthSum returns what the node was in the month from that date.
func (h *nodeHistory) monthSum(first date, now time.Time) sum {
	for s := range h.advance(now).months.all() {
		if s.from == first {
			return s
		}
	}
	return sum{from: first}
}

func newSLANode(conf *Node, s sum, length time.Duration) slaNode {
	n := slaNode{ID: conf.ID, Label: conf.Label}
	up, down, under := s.parts[healthy]+s.parts[sick], s.parts[dead], s.parts[maintained]
	minutes := func(d time.Duration) int64 { return int64(math.Round(d.Minutes())) }
	n.Minutes = slaMinutes{Down: minutes(down), Maintenance: minutes(under), Unknown: minutes(max(0, length-up-down-under))}
	// What the others leave, so that they add up.
	n.Minutes.Up = minutes(length) - n.Minutes.Down - n.Minutes.Maintenance - n.Minutes.Unknown
	if n.Minutes.Up < 0 { // they were rounded up, and left nothing
		most := &n.Minutes.Unknown
		for _, part := range [...]*int64{&n.Minutes.Down, &n.Minutes.Maintenance} {
			if *part > *most {
				most = part
			}
		}
		*most += n.Minutes.Up
		n.Minutes.Up = 0
	}
	share := func(of time.Duration) *float64 {
		if of <= 0 {
			return nil
		}
		return new(up.Seconds() / of.Seconds())
	}
	n.Availability, n.AvailabilityWithMaintenance = share(up+down), share(up+down+under)
	return n
}

// slaOutages are the outages of a node within a month.
type slaOutages struct {
	count   int
	longest time.Duration
}

func (o *slaOutages) add(in *incident, m slaMonth, now time.Time) {
	start, end := in.start, in.start.Add(in.length(now))
	if start.Before(m.from) {
		start = m.from
	}
	if end.After(m.end) {
		end = m.end
	}
	if end.After(start) {
		o.count++
		o.longest = max(o.longest, end.Sub(start))
	}
}

// serveSLA answers ?month=2026-11, or of the present month.
func (p *page) serveSLA(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	m, err := parseSLAMonth(r.URL.Query().Get("month"), now)
	if err != nil {
		respond(w, nil, err)
		return
	}
	p.serveCached(w, r, "sla "+m.first.String(), func(s *snapshot) (*reply, error) {
		body, err := json.Marshal(newSLAReport(s, m, now))
		return newReply(body, statusFields), err
	})
}

// sla is the same for operators, with hidden nodes.
func (m *managerAPI) sla(c *managerCall) (any, error) {
	selected, err := c.selectors()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	month, err := parseSLAMonth(c.r.URL.Query().Get("month"), now)
	if err != nil {
		return nil, err
	}
	rep := newSLAReport(m.snaps.load(), month, now)
	services := []slaService{}
	for _, s := range rep.Services {
		nodes := []slaNode{}
		for _, n := range s.Nodes {
			if selected.matches(s.ID, n.ID) {
				nodes = append(nodes, n)
			}
		}
		if s.Nodes = nodes; len(nodes) > 0 {
			services = append(services, s)
		}
	}
	rep.Services = services
	return rep, nil
}

// A publicStatus is the state in the form of /status/report. It names things by
// their labels, as the page does, and replicas not at all.
type publicStatus struct {
	Health string          `json:"health"`
	Page   statusPage      `json:"page"`
	Probes []statusService `json:"probes"`
}

type statusPage struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

type statusService struct {
	Name   string       `json:"name"`
	Status string       `json:"status"`
	Nodes  []statusNode `json:"nodes"`
}

type statusNode struct {
	Name     string   `json:"name"`
	Status   string   `json:"status"`
	Replicas []string `json:"replicas"`
}

// newPublicStatus returns that of s. Its lists are never nil.
func newPublicStatus(s *snapshot) publicStatus {
	rep := publicStatus{
		Health: s.status.String(),
		Page:   statusPage{s.conf.Branding.PageTitle, s.conf.Branding.PageURL},
		Probes: make([]statusService, len(s.services)),
	}
	for i, sv := range s.services {
		nodes := make([]statusNode, len(sv.nodes))
		for j, nv := range sv.nodes {
			replicas := make([]string, nv.replicas.len())
			for k, r := range nv.replicas.all() {
				replicas[k] = r.status.String()
			}
			nodes[j] = statusNode{nv.conf.Label, nv.status.String(), replicas}
		}
		rep.Probes[i] = statusService{sv.conf.Label, sv.status.String(), nodes}
	}
	return rep
}

func (p *page) serveReport(w http.ResponseWriter, r *http.Request) {
	p.serveCached(w, r, "report", func(s *snapshot) (*reply, error) {
		body, err := json.Marshal(newPublicStatus(s))
		return newReply(body, statusFields), err
	})
}

// A nodeReport is one node in the form of /status/node/<service>/<node>: what a
// visitor who opens it on the page is shown, in numbers.
type nodeReport struct {
	Service statusLabel   `json:"service"`
	Node    statusLabel   `json:"node"`
	Status  string        `json:"status"`
	Uptime  nodeUptime    `json:"uptime"`
	Outages []nodeOutage  `json:"outages"` // of the last 24 hours, newest first
	Latency *latencyChart `json:"latency"` // null where Vigil does not do the checks
}

type statusLabel struct {
	ID    string `json:"id"`
	Label string `json:"label"`
}

// A nodeUptime is the share of the known time in which the node was not dead,
// from 0 to 1; null where nothing is known.
type nodeUptime struct {
	Hours24 *float64 `json:"24h"`
	Days7   *float64 `json:"7d"`
	Days30  *float64 `json:"30d"`
	Days90  *float64 `json:"90d"`
}

type nodeOutage struct {
	ID    string     `json:"id"`
	Start time.Time  `json:"start"`
	End   *time.Time `json:"end"` // null while it lasts
}

// A latencyChart is how long checks took in the last 24 hours, and in the last
// 90 days.
type latencyChart struct {
	Median   *float64      `json:"median_ms"` // of the 24 hours
	Worst    *float64      `json:"worst_ms"`
	Quarters latencySeries `json:"quarters"` // of an hour, the present one last
	Days     latencySeries `json:"days"`     // today last
}

// A latencySeries has a median and a worst latency for each step, in
// milliseconds; null where nothing was measured.
type latencySeries struct {
	From   string     `json:"from"`
	Median []*float64 `json:"median_ms"`
	Worst  []*float64 `json:"worst_ms"`
}

func newNodeReport(s *snapshot, sv *serviceView, nv *nodeView) nodeReport {
	incidents, now := s.byNode()[nv.conf], s.at
	rep := nodeReport{
		Service: statusLabel{sv.conf.ID, sv.conf.Label},
		Node:    statusLabel{nv.conf.ID, nv.conf.Label},
		Status:  nv.status.String(),
		Outages: []nodeOutage{},
	}
	d := newDays(nv.history, incidents, now)
	share := func(part float64, known bool) *float64 {
		if !known {
			return nil
		}
		return &part
	}
	rep.Uptime = nodeUptime{share(lastDay(&d, incidents, s.maintenancesOf(sv, nv), now)), share(d.uptime(7)), share(d.uptime(30)), share(d.uptime(historyDays))}
	for _, in := range incidents {
		if !in.end.IsZero() && now.Sub(in.end) > 24*time.Hour {
			continue
		}
		out := nodeOutage{ID: in.id, Start: inSecond(in.start)}
		if !in.end.IsZero() {
			out.End = new(inSecond(in.end))
		}
		rep.Outages = append(rep.Outages, out)
	}
	if nv.hasLatency() {
		rep.Latency = newLatencyChart(nv, now)
	}
	return rep
}

func newLatencyChart(nv *nodeView, now time.Time) *latencyChart {
	quarter, quarters := nv.latencyHours(now)
	day, days := nv.latencyDays(now)
	whole := spreadOf(quarters[:])
	return &latencyChart{
		Median:   whole.median.milliseconds(),
		Worst:    whole.worst.milliseconds(),
		Quarters: newLatencySeries(quarter.start().In(now.Location()).Format(time.RFC3339), quarters[:]),
		Days:     newLatencySeries(day.String(), days[:]),
	}
}

func newLatencySeries(from string, spreads []latencySpread) latencySeries {
	v := latencySeries{From: from}
	for _, s := range spreads {
		v.Median, v.Worst = append(v.Median, s.median.milliseconds()), append(v.Worst, s.worst.milliseconds())
	}
	return v
}

// milliseconds is nil for no latency.
func (l packedLatency) milliseconds() *float64 {
	if l == 0 {
		return nil
	}
	return new(float64(l.unpack().Microseconds()) / 1000)
}

// serveNodeReport returns the handler for one node in numbers; nil when there is
// no such node.
func (p *page) serveNodeReport(service, node string) http.HandlerFunc {
	s := p.snaps.public()
	sv, nv := s.node(service, node)
	if nv == nil {
		return nil
	}
	return func(w http.ResponseWriter, r *http.Request) {
		p.serveOf(w, r, s, "report "+service+"\x00"+node, func() (*reply, error) {
			body, err := json.Marshal(newNodeReport(s, sv, nv))
			return p.now.Load().site.reply(body, statusFields), err
		})
	}
}

var statusFields = []field{
	newField("Content-Type", "application/json"),
	newField("Cache-Control", "no-cache"),
	newField("X-Content-Type-Options", "nosniff"),
	newField("Access-Control-Allow-Origin", "*"),
}
