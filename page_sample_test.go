package main

import (
	"fmt"
	"iter"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// sampleTime is when all samples were taken.
var sampleTime = time.Date(2026, time.November, 20, 14, 5, 12, 0, time.UTC)

// brandedConfig is a page's configuration with everything on it.
func brandedConfig() *Config {
	return &Config{Branding: Branding{
		PageTitle:   "Acme Status",
		PageURL:     "https://status.acme.example/",
		CompanyName: "Acme",
		IconColor:   "#1972f5",
		LogoColor:   "#1972f5",
		WebsiteURL:  "https://acme.example/",
		SupportURL:  "mailto:help@acme.example",
	}}
}

// A sampler builds a snapshot for a test.
type sampler struct{ *snapshot }

func newSampler() sampler {
	return sampler{&snapshot{conf: brandedConfig(), at: sampleTime, checked: true}}
}

// service adds a service whose status follows from its nodes'.
func (s sampler) service(label string, nodes ...*nodeView) sampler {
	sv := &serviceView{conf: &Service{ID: "id-" + label, Label: label}, nodes: nodes}
	for _, nv := range nodes {
		sv.conf.Nodes = append(sv.conf.Nodes, nv.conf)
		sv.status = max(sv.status, nv.status)
	}
	s.conf.Services = append(s.conf.Services, sv.conf)
	s.services = append(s.services, sv)
	s.status = max(s.status, sv.status)
	return s
}

// node builds a node whose status follows from its replicas'.
// listViews returns the views as a node has them.
func listViews(views iter.Seq[*replicaView]) (l viewList) {
	for v := range views {
		if len(l) == 0 || len(l[len(l)-1]) == viewPage {
			l = append(l, make([]*replicaView, 0, viewPage))
		}
		last := &l[len(l)-1]
		*last = append(*last, v)
	}
	return l
}

func node(label string, m mode, replicas ...*replicaView) *nodeView {
	nv := &nodeView{conf: &Node{ID: "id-" + label, Label: label, Mode: m}, replicas: listViews(slices.Values(replicas))}
	for _, r := range replicas {
		nv.status = max(nv.status, r.status)
	}
	return nv
}

func (nv *nodeView) linked(url, label string) *nodeView {
	nv.conf.LinkURL, nv.conf.LinkLabel = url, label
	return nv
}

func (nv *nodeView) revealed() *nodeView {
	nv.conf.RevealReplicaName = true
	return nv
}

// past gives the node a history of days in which the named ones, counted back
// from today, were bad.
func (nv *nodeView) past(days int, deadOn map[int]time.Duration, sickOn map[int]time.Duration) *nodeView {
	h := &nodeHistory{}
	today := dateOf(sampleTime)
	for ago := days - 1; ago >= 0; ago-- {
		whole := 24 * time.Hour
		if ago == 0 {
			whole = sampleTime.Sub(today.start(time.UTC))
		}
		s := sum{from: today - date(ago)}
		s.parts[dead], s.parts[sick] = deadOn[ago], sickOn[ago]
		s.parts[healthy] = whole - s.total()
		if ago == 0 {
			h.days.current = s
		} else {
			h.days.closed.add(s.close())
		}
	}
	nv.history = h
	return nv
}

// measured gives the node a latency of 90 days, with a slow quarter of an hour
// and without those that are named, counted back from the present one.
func (nv *nodeView) measured(missing ...int) *nodeView {
	var p *latencyPast
	today := quarterOf(sampleTime)
	for ago := historyDays * 96; ago >= 0; ago-- {
		if ago >= 96 && ago%24 != 0 || slices.Contains(missing, ago) { // a few of the older ones do
			continue
		}
		ms := 90 + 50*math.Sin(float64(ago)/15)
		s := latencySpread{packLatency(time.Duration(ms * 1e6)), packLatency(time.Duration((ms + 20 + float64(ago*37%50)) * 1e6))}
		if ago == 37 {
			s.worst = packLatency(1234 * time.Millisecond)
		}
		p = p.with(today-quarter(ago), s, time.UTC)
	}
	h := *nv.history
	h.latency = p
	nv.history = &h
	return nv
}

// polled is a replica that was checked.
func polled(id string, s status, ms int) *replicaView {
	return &replicaView{
		id: id, status: s, checked: true, latency: time.Duration(ms) * time.Millisecond,
		since: sampleTime.Add(-26 * time.Hour), reason: "secret reason of " + id,
	}
}

func pushed(id string, s status, cpu, ram float64) *replicaView {
	return &replicaView{
		id: id, status: s, checked: true, since: sampleTime.Add(-3 * time.Hour),
		load: &replicaLoad{cpu: cpu, ram: ram},
	}
}

func queued(id string, s status, ready, unacked int64) *replicaView {
	r := pushed(id, s, 0.31, 0.62)
	r.load.queue, r.load.ready, r.load.unacked = true, ready, unacked
	return r
}

func unchecked(id string) *replicaView { return &replicaView{id: id} }

func known(id string, s status) *replicaView {
	return &replicaView{id: id, status: s, checked: true, stale: true, since: sampleTime.Add(-50 * time.Hour)}
}

// The page's states, each as a snapshot.

func healthySample() *snapshot {
	return newSampler().
		service("Website",
			node("Front pages", modePoll, polled("https://a.internal/", healthy, 23), polled("https://b.internal/", healthy, 8)).linked("https://acme.example/docs", "").past(90, nil, nil).measured(),
			node("Shop", modePoll, polled("tcp://c.internal:80", healthy, 112)).revealed().past(90, map[int]time.Duration{31: 14 * time.Minute}, map[int]time.Duration{31: time.Hour, 60: 3 * time.Hour})).
		service("Messaging",
			node("Relay", modePush, queued("10.0.0.1", healthy, 12, 3), pushed("10.0.0.2", healthy, 0.12, 0.44)).past(12, nil, nil),
			node("Nightly jobs", modeScript, polled("0", healthy, 0)).past(1, nil, nil)).
		snapshot
}

func sickSample() *snapshot {
	s := newSampler().
		service("Website", node("Front pages", modePoll, polled("https://a.internal/", healthy, 23), polled("https://b.internal/", sick, 6200))).
		service("Messaging", node("Relay", modePush, pushed("10.0.0.1", sick, 3.97, 0.44))).
		service("Mail", node("Inbound", modePoll, polled("tcp://mx.internal:25", healthy, 2)))
	return s.snapshot
}

func deadSample() *snapshot {
	return newSampler().
		service("Website", node("Front pages", modePoll, polled("https://a.internal/", dead, 10000), polled("https://b.internal/", dead, 4))).
		snapshot
}

func mixedSample() *snapshot {
	var many []*replicaView
	for i := range 1240 {
		s := healthy
		switch i {
		case 17, 903:
			s = sick
		case 700:
			s = dead
		}
		many = append(many, pushed(fmt.Sprintf("10.0.%d.%d", i/250, i%250), s, 0.2, 0.3))
	}
	var row []*replicaView
	for i := range 24 {
		row = append(row, polled(fmt.Sprintf("icmp://host-%d.internal", i), healthy, 3+i))
	}
	s := newSampler().
		service("Website",
			node("Front pages", modePoll, polled("https://a.internal/", healthy, 23), polled("https://b.internal/", sick, 6200), polled("https://c.internal/", dead, 10000)).past(90, map[int]time.Duration{0: time.Hour, 12: 9 * time.Hour, 13: 24 * time.Hour}, map[int]time.Duration{0: 10 * time.Minute, 40: 5 * time.Hour}).measured(0, 1, 2, 3, 60, 61),
			node("Edge", modePoll, row...).past(90, nil, map[int]time.Duration{3: time.Hour}).linked("https://acme.example/edge", "Where they are"),
			node("Old shop", modePoll, known("https://old.internal/", sick), known("https://old2.internal/", healthy), known("https://old3.internal/", dead)).past(40, nil, nil)).
		service("Workers", node("Fleet", modePush, many...).past(90, nil, nil)).
		service("Mail",
			node("Inbound", modePoll, polled("tcp://mx.internal:25", healthy, 2), unchecked("tcp://mx2.internal:25")),
			node("Reports", modeLocal)).
		snapshot
	s.announcements = []announcement{
		{id: "6f0c0f1e-8f6e-4d0a-9a52-35b7a1a5a001", title: "Maintenance of the shop", text: "On Sunday from 02:00 to 04:00 UTC the shop is read-only.\nOrders are kept.", at: sampleTime.Add(-70 * time.Hour)},
		{id: "6f0c0f1e-8f6e-4d0a-9a52-35b7a1a5a002", title: "Front pages are down for some", text: "We found the cause and are working on it.", at: sampleTime.Add(-20 * time.Minute)},
	}
	web, mail := s.services[0].conf, s.services[2].conf
	s.incidents = []incident{
		{id: "i3", service: web, node: web.Nodes[0], start: sampleTime.Add(-61 * time.Minute), reason: "secret reason"},
		{id: "i2", service: mail, node: mail.Nodes[0], start: sampleTime.Add(-72 * time.Hour), end: sampleTime.Add(-71*time.Hour - 20*time.Minute), reason: "secret reason"},
		{id: "i1", service: web, node: web.Nodes[0], start: sampleTime.Add(-14 * 24 * time.Hour), end: sampleTime.Add(-12*24*time.Hour - 3*time.Hour), reason: "secret reason"},
	}
	return s
}

// toldSample is an outage of which people write, and what they wrote before.
func toldSample() *snapshot {
	s := mixedSample()
	at := func(ago time.Duration) time.Time { return sampleTime.Add(-ago) }
	s.announcements = []announcement{
		{id: "t1", title: "Version 1 of the API ends", text: "Move to version 2 until then, see https://acme.example/v2 (and http://docs.acme.example/?a=1&b=2).", at: at(70 * time.Hour), until: at(-time.Hour)},
		{id: "t2", title: "Orders fail at the last step", text: "We are looking into it.", at: at(50 * time.Minute), incident: true, state: "identified",
			match: []string{"id-Website:id-Front pages", "id-Mail"},
			updates: []announcementUpdate{
				{at: at(30 * time.Minute), state: "identified", text: "A certificate has expired.\nA new one is being installed."},
				{at: at(10 * time.Minute), text: "It takes ten minutes more."},
			}},
		{id: "t3", title: "Some requests are slow", text: "We are looking into it.", at: at(5 * time.Minute), incident: true, state: "investigating", match: []string{"id-Website:id-Edge"}},
	}
	s.pastAnnouncements = []announcement{
		{id: "t4", title: "Mail was late", text: "Mail is queued, see https://acme.example/mail.", at: at(71*time.Hour + 50*time.Minute), incident: true, state: "resolved", match: []string{"id-Mail:id-Inbound"},
			updates: []announcementUpdate{{at: at(71 * time.Hour), state: "resolved", text: "All mail is delivered."}}},
		{id: "t5", title: "Office closed", text: "Support answers on Monday.", at: at(200 * time.Hour), until: at(150 * time.Hour)},
	}
	return s
}

// maintainedSample has a maintenance that runs, and two that are planned.
func maintainedSample() *snapshot {
	s := healthySample()
	at := func(in time.Duration) time.Time { return sampleTime.Add(in) }
	broken := node("Old relay", modePoll, polled("tcp://d.internal:80", dead, 4)).past(90, map[int]time.Duration{4: time.Hour}, nil)
	broken.history.days.current.parts[maintained] = 40 * time.Minute
	behind := node("Mailboxes", modePoll, polled("tcp://e.internal:143", healthy, 4), polled("tcp://f.internal:143", healthy, 4)).past(90, nil, nil)
	n := newSampler().service("Mail", broken, behind)
	n.services[0].status = dead
	s.conf.Services, s.services = append(s.conf.Services, n.services[0].conf), append(s.services, n.services[0])
	s.status = dead
	s.quietTimes = []*quietTime{
		{id: "config-1", title: "Relay is replaced", text: "See https://acme.example/relay.", selectors: selectors{"id-Mail:id-Old relay"}, start: at(-40 * time.Minute), end: at(80 * time.Minute)},
		{id: "m2", title: "Quiet", selectors: selectors{"*"}, start: at(-time.Hour), end: at(time.Hour), silence: true},
		{id: "m3", title: "Move of the shop", text: "Orders are possible all the time.", selectors: selectors{"id-Website"}, start: at(60 * time.Hour), end: at(62 * time.Hour)},
		{id: "m4", title: "Everything moves", selectors: selectors{"*"}, start: at(400 * time.Hour), end: at(430 * time.Hour)},
	}
	broken.maintenance = s.quietTimes[0]
	s.maintained = []*quietTime{
		{id: "m5", title: "New disks", text: "Mail was queued.", selectors: selectors{"id-Mail"}, start: at(-100 * time.Hour), end: at(-98 * time.Hour)},
	}
	return s
}

func emptySample() *snapshot { return newSampler().snapshot }

func startingSample() *snapshot {
	s := newSampler().
		service("Website", node("Front pages", modePoll, unchecked("https://a.internal/"), unchecked("https://b.internal/"))).
		service("Messaging", node("Relay", modePush), node("Jobs", modeScript, polled("0", healthy, 4))).
		snapshot
	s.checked = false
	return s
}

// offlineSample is what is shown while the monitor's own connection is down.
func offlineSample() *snapshot {
	doubtful := func(r *replicaView) *replicaView { r.uncertain = true; return r }
	s := newSampler().
		service("Website", node("Front pages", modePoll, doubtful(polled("https://a.internal/", healthy, 23)), doubtful(unchecked("https://b.internal/")))).
		service("Office", node("Printer", modePoll, polled("tcp://10.0.0.9:631", healthy, 2))).
		snapshot
	s.connectionDown = sampleTime.Add(-7 * time.Minute)
	return s
}

// hostileLabel tries everything that text on a page may try.
const hostileLabel = "<script>alert(1)</script>\"'&{{.}}\u202Eabc\u2066\x1b[2J"

func hostileSample() *snapshot {
	s := newSampler().service(hostileLabel, node(hostileLabel, modePoll, polled(hostileLabel, dead, 1)).revealed().linked("javascript:alert(1)", hostileLabel)).snapshot
	b := &s.conf.Branding
	b.PageTitle, b.CompanyName, b.SupportURL = hostileLabel, hostileLabel, "javascript:alert(2)"
	s.announcements = []announcement{
		{id: "a", title: hostileLabel, text: hostileLabel + ".", at: sampleTime},
		{id: "b", title: hostileLabel, text: "https://x.example/" + hostileLabel + " javascript:alert(1)", at: sampleTime, incident: true, state: hostileLabel, match: []string{"*", hostileLabel},
			updates: []announcementUpdate{{at: sampleTime, state: hostileLabel, text: hostileLabel}}},
	}
	s.quietTimes = []*quietTime{{id: hostileLabel, title: hostileLabel, text: hostileLabel, selectors: selectors{"*"}, start: sampleTime.Add(time.Hour), end: sampleTime.Add(2 * time.Hour)}}
	s.maintained = []*quietTime{{id: "over", title: hostileLabel, text: hostileLabel, selectors: selectors{"*"}, start: sampleTime.Add(-3 * time.Hour), end: sampleTime.Add(-2 * time.Hour)}}
	s.incidents = []incident{{id: "i", service: s.services[0].conf, node: s.services[0].nodes[0].conf, start: sampleTime.Add(-time.Hour)}}
	return s
}

// crowdSample is a page of many services with three nodes each.
func crowdSample(services int) *snapshot {
	s := newSampler()
	for i := range services {
		var nodes []*nodeView
		for j := range 3 {
			n := i*3 + j
			var replicas []*replicaView
			for k := range 1 + n%4 {
				r := polled(fmt.Sprintf("https://host-%d-%d.internal/", n, k), healthy, 5+(n*7919+k*104729)%400)
				r.since = sampleTime.Add(-time.Duration((n*7919+k*104729)%2_000_000) * time.Second)
				replicas = append(replicas, r)
			}
			outages := map[int]time.Duration{n % 97: time.Duration(1+n%50) * time.Minute}
			nodes = append(nodes, node(fmt.Sprintf("Node %d of the fleet", n), modePoll, replicas...).past(90, outages, nil))
		}
		s = s.service(fmt.Sprintf("Service %d", i), nodes...)
	}
	return s.snapshot
}

// badCrowdSample is a page of 100 services whose nodes have names of their own,
// and of whose 90 days six were bad.
func badCrowdSample() *snapshot {
	s := crowdSample(100)
	names := [...]string{"Amber", "Basalt", "Copper", "Dolomite", "Emerald", "Flint", "Garnet", "Halite", "Indigo", "Jasper"}
	n := 0
	for _, sv := range s.services {
		for _, nv := range sv.nodes {
			nv.conf.Label = fmt.Sprintf("%s %s %d", names[n%10], names[n/10%10], n)
			down, weak := make(map[int]time.Duration), make(map[int]time.Duration)
			for k := range 6 {
				ago := (n*31 + k*17 + n*n%7) % 90
				if k < 4 {
					long := time.Duration(1+(n*7+k*13)%120) * time.Minute
					down[ago] = long
					start := (dateOf(sampleTime) - date(ago)).start(time.UTC).Add(time.Duration((n*37+k*211)%600) * time.Minute)
					s.pastIncidents = append(s.pastIncidents, incident{id: fmt.Sprint("bad", n, "-", k), service: sv.conf, node: nv.conf, start: start, end: start.Add(long)})
				} else {
					weak[ago] = time.Duration(1+(n*11+k*7)%200) * time.Minute
				}
			}
			nv.past(90, down, weak)
			n++
		}
	}
	return s
}

// twentySample has 20 nodes that are well, in six services.
func twentySample() *snapshot {
	s := newSampler()
	for i, n := range []int{4, 3, 3, 3, 4, 3} {
		var nodes []*nodeView
		for k := range n {
			replicas := []*replicaView{polled(fmt.Sprint("https://", i, k), healthy, 20+k)}
			if k%2 == 0 {
				replicas = append(replicas, polled(fmt.Sprint("https://b", i, k), healthy, 30))
			}
			nodes = append(nodes, node(fmt.Sprintf("System %d.%d", i+1, k+1), modePoll, replicas...).past(90, nil, nil))
		}
		s = s.service(fmt.Sprintf("Service %d", i+1), nodes...)
	}
	return s.snapshot
}

// mixedCrowdSample is a bad day of a page of 100 services.
func mixedCrowdSample() *snapshot {
	s := crowdSample(100)
	ill := func(service, node int, to status, ago time.Duration) {
		sv := s.services[service]
		nv := sv.nodes[node]
		r := nv.replicas.at(nv.replicas.len() - 1)
		r.status, r.since = to, sampleTime.Add(-ago)
		nv.status = max(nv.status, to)
		sv.status = max(sv.status, to)
		s.status = max(s.status, to)
		if to == dead {
			s.incidents = append(s.incidents, incident{id: fmt.Sprint("crowd-", service), service: sv.conf, node: nv.conf, start: r.since})
		}
	}
	ill(17, 1, dead, 4*time.Minute)
	ill(58, 0, dead, 9*time.Minute)
	ill(58, 2, sick, 9*time.Minute)
	ill(93, 2, dead, 3*time.Hour)
	ill(5, 0, sick, 20*time.Minute)
	ill(64, 1, sick, 40*time.Minute)
	return s
}

// wordySample has labels that are long, or right-to-left, or both, many
// replicas in a node, names that are shown, and a long announcement.
func wordySample() *snapshot {
	const (
		arabic = "\u062e\u062f\u0645\u0629 \u0627\u0644\u0628\u0631\u064a\u062f 2" // Mail service 2
		hebrew = "\u05d0\u05ea\u05e8 \u05d4\u05d1\u05d9\u05ea (beta)"
		long   = "The regional gateways through which orders, returns and invoices of all subsidiaries are handed over"
		word   = "Donaudampfschifffahrtselektrizitaetenhauptbetriebswerkbauunterbeamtengesellschaft"
	)
	var row []*replicaView
	for i := range 40 {
		s := healthy
		if i%13 == 12 {
			s = status(1 + i/13%2)
		}
		row = append(row, polled(fmt.Sprintf("https://gateway-%d.%s.example/health?depth=full&caller=status-page", i, "a-long-subdomain"), s, 20+i))
	}
	s := newSampler().
		service(long,
			node(word, modePoll, row...).revealed().linked("https://acme.example/gateways", "Where the regional gateways are and who runs them").past(90, map[int]time.Duration{0: time.Hour, 1: time.Hour, 2: time.Hour, 3: time.Hour, 4: time.Hour, 5: time.Hour, 6: time.Hour, 7: time.Hour, 8: time.Hour, 9: time.Hour, 10: time.Hour, 11: time.Hour}, map[int]time.Duration{5: time.Hour}),
			node(arabic, modePoll, polled("https://mail.example/", dead, 23)).revealed().past(30, nil, nil)).
		service(hebrew,
			node(hebrew, modePoll, polled("https://"+hebrew+"/", sick, 900)).revealed(),
			node(long, modePush)).
		snapshot
	s.conf.Branding.CompanyName = long
	s.announcements = []announcement{
		{id: "w1", title: hebrew, text: hebrew + "\n" + arabic, at: sampleTime.Add(-time.Hour)},
		{id: "w2", title: long, text: long + ". " + long + ".\n\nhttps://acme.example/" + word + "/" + word, at: sampleTime.Add(-time.Minute)},
	}
	s.incidents = []incident{
		{id: "w", service: s.services[0].conf, node: s.services[0].nodes[1].conf, start: sampleTime.Add(-26 * time.Hour)},
		{id: "x", service: s.services[0].conf, node: s.services[0].nodes[0].conf, start: sampleTime.Add(-30 * time.Hour), end: sampleTime.Add(-29 * time.Hour)},
	}
	return s
}

// rightToLeftSample is an outage in a language that is read from right to left.
func rightToLeftSample() *snapshot {
	s := mixedSample()
	s.conf.Assets, s.conf.Branding.Language = filepath.Join("testdata", "rtl"), "ar"
	s.services[0].conf.Label = "\u0627\u0644\u0645\u0648\u0642\u0639"                  // the website
	s.services[0].nodes[0].conf.Label = "\u0627\u0644\u0648\u0627\u062c\u0647\u0629 1" // front 1
	return s
}

// samples are the states that the page is looked at in.
var samples = map[string]func() *snapshot{
	"healthy":    healthySample,
	"sick":       sickSample,
	"dead":       deadSample,
	"mixed":      mixedSample,
	"empty":      emptySample,
	"maintained": maintainedSample,
	"told":       toldSample,
	"starting":   startingSample,
	"offline":    offlineSample,
	"hostile":    hostileSample,
	"wordy":      wordySample,
	"rtl":        rightToLeftSample,
}

// newTestPage returns a page of one snapshot. What it logs fails the test.
func newTestPage(t testing.TB, s *snapshot) *page {
	t.Helper()
	if s.pastIncidents == nil {
		s.pastIncidents = s.incidents
	}
	p, err := newPage(newSnapshots(s), slog.New(slog.NewTextHandler(failOnLog{t}, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// failOnLog is a log that must stay empty.
type failOnLog struct{ t testing.TB }

func (f failOnLog) Write(line []byte) (int, error) {
	f.t.Errorf("logged: %s", line)
	return len(line), nil
}
