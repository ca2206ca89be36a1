package main

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A twin is the history done the plain way: it writes down every stretch of
// every node, and adds up at the end.
type twin struct {
	nodes []twinNode
}

type twinNode struct {
	status    []int // of the replicas: a status, or -1 while it is not known
	last      []int // the same, but with what was known before a restart
	stretches []stretch
	outages   []stretch
}

type stretch struct {
	status     int
	start, end time.Time
}

// see notes what the node has become.
func (n *twinNode) see(now time.Time) {
	current := slices.Max(append([]int{-1}, n.status...))
	wasDead := slices.Contains(n.last, int(dead))
	if current != int(dead) && wasDead {
		current = -1
	}
	n.cut(now)
	if current >= 0 {
		n.stretches = append(n.stretches, stretch{status: current, start: now})
	}
	open := len(n.outages) > 0 && n.outages[len(n.outages)-1].end.IsZero()
	switch {
	case !open && slices.Contains(n.status, int(dead)):
		n.outages = append(n.outages, stretch{start: now})
	case open && !wasDead:
		o := &n.outages[len(n.outages)-1]
		if o.end = now; o.end.Sub(o.start) < time.Second {
			n.outages = n.outages[:len(n.outages)-1]
		}
	}
}

// cut ends the stretch that lasts.
func (n *twinNode) cut(now time.Time) {
	if i := len(n.stretches) - 1; i >= 0 && n.stretches[i].end.IsZero() {
		n.stretches[i].end = now
	}
}

// within adds up what lies between two times.
func (n *twinNode) within(from, to time.Time) (parts [3]time.Duration) {
	for _, s := range n.stretches {
		start, end := s.start, s.end
		if start.Before(from) {
			start = from
		}
		if end.After(to) {
			end = to
		}
		if d := end.Sub(start); d > 0 {
			parts[s.status] += d
		}
	}
	return parts
}

// reborn returns the state of a program that starts now, from the lines that
// the one before wrote until alive.
func reborn(t *testing.T, conf *Config, lines [][]byte, statuses map[string]status, alive, now time.Time) *state {
	t.Helper()
	st := newState(conf, now)
	for _, line := range lines {
		rec, err := parseLine(bytes.Clone(line))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case rec.Past != nil:
			st.history.restorePast(rec.Past)
		case rec.Incident != nil:
			st.history.restoreIncident(rec.Incident)
		}
	}
	for _, r := range st.own {
		if s, ok := statuses[r.path()]; ok {
			st.count(r.node, r.status, -1)
			r.status, r.stale, r.checked = s, true, true
			r.node.unchecked--
			st.count(r.node, r.status, +1)
		}
	}
	st.history.resume(st, alive, now)
	st.ledger = new(ledger)
	return st
}

func marshal(t *testing.T, recs ...record) (lines [][]byte) {
	t.Helper()
	for _, rec := range recs {
		w := newLineWriter()
		if err := w.add(&rec); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, bytes.TrimSpace(w.buf.Bytes()))
	}
	return lines
}

// yearConfig has 50 nodes of one to three replicas.
func yearConfig() *Config {
	service := &Service{ID: "s"}
	for i := range 50 {
		node := &Node{ID: fmt.Sprint(i)}
		for k := range 1 + i%3 {
			node.Targets = append(node.Targets, Target{Raw: fmt.Sprint("tcp://", k)})
		}
		service.Nodes = append(service.Nodes, node)
	}
	return &Config{Metrics: Metrics{PollInterval: 2000 * time.Hour}, Services: []*Service{service}}
}

// A year with outages of all lengths, a hundred restarts and as many reloads,
// in a zone with days of 23 and 25 hours: what the history says of it is what the plain way
// of counting says.
func TestHistoryYear(t *testing.T) {
	t.Parallel()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	conf := yearConfig()
	tw := &twin{nodes: make([]twinNode, len(conf.Services[0].Nodes))}
	for i, node := range conf.Services[0].Nodes {
		tw.nodes[i].status = slices.Repeat([]int{-1}, len(node.Targets))
		tw.nodes[i].last = slices.Clone(tw.nodes[i].status)
	}
	all := replicas(conf.Services)

	begin := time.Date(2025, 10, 1, 17, 30, 0, 0, zone)
	now := begin
	st := newState(conf, now)
	st.ledger = new(ledger)
	var lines [][]byte
	for now.Sub(begin) < 365*24*time.Hour {
		next := now.Add(time.Duration(rnd.ExpFloat64() * float64(20*time.Minute))).Round(time.Millisecond)
		for tick := now.Add(historyInterval * 5); tick.Before(next); tick = tick.Add(historyInterval * 5) {
			st.expire(tick)
		}
		now = next
		st.expire(now)
		switch rnd.IntN(250) {
		case 0: // restart, after up to 40 hours
			if rnd.IntN(3) > 0 {
				lines = marshal(t, slices.Collect(st.history.records(st, now))...)
			} else {
				st.history.keep(st, now)
				lines = append(lines, marshal(t, st.ledger.records...)...)
			}
			statuses := make(map[string]status)
			for _, r := range st.own {
				if r.checked || r.stale {
					statuses[r.path()] = r.status
				}
			}
			for i := range tw.nodes {
				tw.nodes[i].cut(now)
				for k := range tw.nodes[i].status {
					tw.nodes[i].status[k] = -1
				}
			}
			alive := now
			now = now.Add(time.Duration(rnd.Int64N(int64(40 * time.Hour)))).Round(time.Millisecond)
			st = reborn(t, conf, lines, statuses, alive, now)
		case 1: // reload
			conf = yearConfig()
			all = replicas(conf.Services)
			st.reload(conf, now)
		default:
			r := all[rnd.IntN(len(all))]
			s := status(max(0, rnd.IntN(6)-3))
			i, k := slices.Index(conf.Services[0].Nodes, r.node), r.index
			st.applyResult(result{replica: r, status: s}, now)
			tw.nodes[i].status[k], tw.nodes[i].last[k] = int(s), int(s)
			tw.nodes[i].see(now)
		}
	}
	for i := range tw.nodes {
		tw.nodes[i].cut(now)
	}

	close := func(a, b time.Duration) bool { return (a - b).Abs() <= 20*time.Millisecond }
	today := dateOf(now)
	for i, ns := range st.services[0].nodes {
		n := &tw.nodes[i]
		for x, day := range ns.track.past.last(keptDays, now) {
			from := time.Date(now.Year(), now.Month(), now.Day()-(keptDays-1-x), 0, 0, 0, 0, zone)
			if !day.date.Equal(from) {
				t.Fatalf("day %d begins at %v, want %v", x, day.date, from)
			}
			want := n.within(from, from.AddDate(0, 0, 1))
			if !close(day.healthy, want[healthy]) || !close(day.sick, want[sick]) || !close(day.dead, want[dead]) {
				t.Errorf("node %d on %v: %v %v %v, want %v", i, dateOf(from), day.healthy, day.sick, day.dead, want)
			}
		}
		for _, days := range []int{1, 7, keptDays} {
			up, known := ns.track.past.uptime(days, now)
			want := n.within((today - date(days-1)).start(zone), now)
			if !close(up, want[healthy]+want[sick]) || !close(known, want[healthy]+want[sick]+want[dead]) {
				t.Errorf("node %d, last %d days: up %v of %v, want %v", i, days, up, known, want)
			}
		}
		months := make(map[date][4]time.Duration)
		for m := range ns.track.past.advance(now).months.all() {
			months[m.from] = m.parts
		}
		for k := range 12 + 1 {
			from := time.Date(2025, time.October+time.Month(k), 1, 0, 0, 0, 0, zone)
			got, want := months[dateOf(from)], n.within(from, from.AddDate(0, 1, 0))
			for s := range want {
				if (got[s] - want[s]).Abs() > 200*time.Millisecond {
					t.Errorf("node %d in %v: %v, want %v", i, from.Month(), got, want)
				}
			}
		}
	}

	_, kept := st.history.list(now)
	var got, want []string
	for _, in := range kept {
		if in.end.IsZero() || in.end.After(now.Add(-14*24*time.Hour)) {
			got = append(got, fmt.Sprint(in.node.ID, " ", in.start.Unix(), " ", in.end.Unix()))
		}
	}
	for i := range tw.nodes {
		for _, o := range tw.nodes[i].outages {
			if o.end.IsZero() && now.Sub(o.start) >= time.Second || o.end.After(now.Add(-14*24*time.Hour)) {
				want = append(want, fmt.Sprint(i, " ", o.start.Unix(), " ", o.end.Unix()))
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(want) < 100 {
		t.Errorf("incidents:\n%v\nwant:\n%v", got, want)
	}
}

// A node keeps its past under another config, also when it was out of it for a
// while; the outage that lasts ends when it is taken out.
func TestHistoryReload(t *testing.T) {
	const s, h = time.Second, time.Hour
	p := newPlay(alertConfig(Alerting{}))
	take := func(at time.Duration, nodes int) {
		p.until(p.begin.Add(at))
		conf := alertConfig(Alerting{})
		conf.Metrics.PollInterval = 100 * h
		conf.Services[0].Label = fmt.Sprint("since ", at)
		conf.Services[0].Nodes = conf.Services[0].Nodes[:nodes]
		p.st.reload(conf, p.now)
		p.replicas = replicas(conf.Services)
	}
	expect := func(i int, days, incidents string) {
		t.Helper()
		p.until(p.now.Add(s)) // what is new is shown after a second
		snap := p.st.snapshot(p.now)
		if got := snap.services[0].nodes[i].history.days90(p.now); got != days {
			t.Errorf("%v: %s, want %s", p.now.Sub(p.begin), got, days)
		}
		if got := tell(snap.incidents, p.begin); got != incidents {
			t.Errorf("%v: %s, want %s", p.now.Sub(p.begin), got, incidents)
		}
		for _, in := range snap.incidents {
			if in.service.Label != snap.services[0].conf.Label && in.node.ID == "a" {
				t.Errorf("the incident is %s, the service %s", in.service.Label, snap.services[0].conf.Label)
			}
		}
	}
	p.at(0, "a=healthy", "b=healthy", "c=dead")
	take(10*s, 3)
	expect(2, "03-01 0s/0s/11s, up 0s of 11s", "c 0s-now")
	p.at(20*s, "a=dead")
	take(30*s, 2)
	expect(0, "03-01 20s/0s/11s, up 20s of 31s", "a 20s-now, c 0s-30s")
	take(h, 3)
	p.at(h+10*s, "c=healthy")
	p.at(h+20*s, "a=healthy")
	expect(2, "03-01 11s/0s/30s, up 11s of 41s", "a 20s-1h0m20s, c 0s-30s")
}

// The cost of a result must not grow with the number of replicas. One in two
// hundred is a change here, and time passes as it does with an interval of
// 120 s.
func BenchmarkSettle(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			conf := &Config{Metrics: Metrics{PollInterval: 2 * time.Minute}}
			service := &Service{ID: "s"}
			for i := range n / 4 {
				service.Nodes = append(service.Nodes, &Node{ID: fmt.Sprint(i), Targets: make([]Target, 4)})
			}
			conf.Services = []*Service{service}
			all := replicas(conf.Services)
			now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			st := newState(conf, now)
			for _, r := range all {
				st.applyResult(result{replica: r}, now)
			}
			st.snapshot(now)
			rnd := rand.New(rand.NewPCG(5, 6))
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				now = now.Add(2 * time.Minute / time.Duration(n))
				res := result{replica: all[i%n], latency: time.Millisecond}
				if rnd.IntN(200) == 0 {
					res.status = status(rnd.IntN(3))
				}
				st.applyResult(res, now)
				if i%64 == 0 {
					st.expire(now)
				}
			}
		})
	}
}

// A page on which nothing happens does not look as if nobody watched.
func TestIdleStateIsShownAnew(t *testing.T) {
	for _, conf := range []*Config{{}, apiConfig()} {
		p := newPlay(conf)
		first := p.st.snapshot(p.now)
		p.until(p.begin.Add(redrawEvery - time.Second))
		if p.st.dirty {
			t.Error("shown anew before the minute was over")
		}
		p.until(p.begin.Add(redrawEvery + historyInterval))
		if !p.st.dirty {
			t.Fatal("not shown anew after a minute")
		}
		if next := p.st.snapshot(p.now); next.at.Sub(first.at) < redrawEvery {
			t.Errorf("of %v, after %v", next.at, first.at)
		}
	}
}

// Lists of sums are read as they were written, and as version 1.0 wrote them.
func TestSums(t *testing.T) {
	whole := [4]uint32{24 * 60 * 60 * 1000}
	for _, tt := range []struct {
		list string // "" when it is not written like that
		in   string
		want []closedSum
	}{
		{`[[20783,86400000,0,0,0],[20784,1,2,3,2678400000]]`, "", []closedSum{{20783, whole}, {20784, [4]uint32{1, 2, 3, 2_678_400_000}}}},
		{`[[20783,86400000,0,0,0],[20784,86400000,0,0,0],[20786,86400000,0,0,0]]`, "", []closedSum{{20783, whole}, {20784, whole}, {20786, whole}}},
		{"", `[[20783,86400000,0,0],[20784,86400000,0,0]]`, []closedSum{{20783, whole}, {20784, whole}}},
		{"", `[[20785,7],[20783,7],[20786,7],[20784,7],[20784,8]]`, []closedSum{{20783, [4]uint32{7}}, {20784, [4]uint32{8}}, {20785, [4]uint32{7}}, {20786, [4]uint32{7}}}},
		{"", `[]`, nil},
	} {
		in := cmp.Or(tt.in, tt.list)
		text, left := `{"past":{"node":"n","days":`, `[],"months":[[1,2]]}}`
		sums, rest, err := cutSums([]byte(text+in+left[2:]), "days")
		if got := slices.Collect(sums.all()); err != nil || !slices.Equal(got, tt.want) || string(rest) != text+left {
			t.Errorf("%s: read %v, %v, %s is left", in, got, err, rest)
		}
		if tt.list != "" {
			rec := pastRecord{Days: sums, Months: sums}
			if got, want := string(rec.appendSums(nil)), `,"days":`+tt.list+`,"months":`+tt.list; got != want {
				t.Errorf("%s: written as %s", tt.list, got)
			}
		}
	}
	for _, list := range []string{`[[1,2,3,4,5,6]]`, `[[1, 2]]`, `[[-1]]`, `[[12345678901]]`, `[[]]`, `[[[1]]]`, `[[1.5]]`, `[["1"]]`, `[[1],[2,]]`, `[[1],`, `[[1`, `[[`} {
		if sums, _, err := cutSums([]byte(`{"days":`+list), "days"); err == nil {
			t.Errorf("%s: read %v", list, sums)
		}
	}
}

// What a restart changes in a node's past is kept without the days that the
// files have already, and is complete with them.
func TestRestartKeepsFewDays(t *testing.T) {
	began := time.Date(2026, 3, 28, 12, 0, 0, 0, time.Local)
	dir := newMemFolder()
	d, _ := openDisk(t, dir)
	big := bigState(3, began)
	if out := d.do(job{whole: big.records(began)}); out.err != nil || out.whole != nil {
		t.Fatalf("%+v", out)
	}
	read := func(now time.Time) *state {
		im, err := readFolder(dir, quiet)
		if err != nil {
			t.Fatal(err)
		}
		st := newState(big.conf, now)
		st.keepFor(nil)
		st.restore(im.restored, now)
		return st
	}
	now := began.Add(3*24*time.Hour + time.Minute) // over a change of the clocks
	st := read(now)
	for _, r := range replicas(big.conf.Services) {
		st.applyResult(result{replica: r, status: healthy, at: now}, now)
	}
	now = now.Add(time.Minute)
	b, _ := st.pendingBatch(now, true)
	days := 0
	for _, rec := range b.records {
		if rec.Past != nil {
			days += len(slices.Collect(rec.Past.Days.all()))
		}
	}
	if days == 0 || days > 3*3 {
		t.Errorf("%d days of 3 nodes are kept", days)
	}
	if out := d.do(job{records: b.records}); out.err != nil { // the state could not be written
		t.Fatal(out.err)
	}
	again := read(now)
	for ns := range st.allNodes() {
		past := again.byKey[ns.key()].track.past
		got, want := slices.Collect(past.days.all()), slices.Collect(ns.track.past.advance(now).days.all())
		for _, sums := range [][]sum{got, want} {
			for i := range sums {
				for k := range sums[i].parts {
					sums[i].parts[k] = sums[i].parts[k].Round(time.Second)
				}
			}
		}
		if len(want) < keptDays-3 || !slices.Equal(got, want) {
			t.Errorf("%v: read\n%v, want\n%v", ns.key(), got, want)
		}
	}
}
