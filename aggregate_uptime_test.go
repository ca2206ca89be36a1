package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"
)

func location(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// Where clocks change at midnight, a day begins at one, or when it is midnight
// for the first time; and some days are not at all.
func TestDateStart(t *testing.T) {
	tests := []struct {
		zone, date, start string
		length            time.Duration
	}{
		{"UTC", "2026-02-28", "2026-02-28T00:00:00Z", 24 * time.Hour},
		{"Europe/Berlin", "2026-03-29", "2026-03-29T00:00:00+01:00", 23 * time.Hour},
		{"Europe/Berlin", "2026-10-25", "2026-10-25T00:00:00+02:00", 25 * time.Hour},
		{"Australia/Lord_Howe", "2026-04-05", "2026-04-05T00:00:00+11:00", 24*time.Hour + 30*time.Minute},
		{"America/Sao_Paulo", "2018-11-03", "2018-11-03T00:00:00-03:00", 24 * time.Hour},
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T01:00:00-02:00", 23 * time.Hour},
		{"America/Sao_Paulo", "2018-02-17", "2018-02-17T00:00:00-02:00", 25 * time.Hour},
		{"America/Sao_Paulo", "2018-02-18", "2018-02-18T00:00:00-03:00", 24 * time.Hour},
		{"America/Havana", "2025-03-09", "2025-03-09T01:00:00-04:00", 23 * time.Hour},
		{"America/Havana", "2025-11-02", "2025-11-02T00:00:00-04:00", 25 * time.Hour},
		{"Asia/Beirut", "2025-03-30", "2025-03-30T01:00:00+03:00", 23 * time.Hour},
		{"Asia/Beirut", "2025-10-25", "2025-10-25T00:00:00+03:00", 25 * time.Hour},
		{"Pacific/Apia", "2011-12-29", "2011-12-29T00:00:00-10:00", 24 * time.Hour},
		{"Pacific/Apia", "2011-12-30", "2011-12-31T00:00:00+14:00", 0},
		{"Pacific/Apia", "2011-12-31", "2011-12-31T00:00:00+14:00", 24 * time.Hour},
	}
	for _, tt := range tests {
		zone := location(t, tt.zone)
		noon, err := time.Parse(time.DateOnly, tt.date)
		if err != nil {
			t.Fatal(err)
		}
		d := dateOf(noon)
		if d.String() != tt.date {
			t.Errorf("%s reads %v", tt.date, d)
		}
		start := d.start(zone)
		if got := start.Format(time.RFC3339); got != tt.start {
			t.Errorf("%s %s begins %s, want %s", tt.zone, tt.date, got, tt.start)
		}
		if got := (d + 1).start(zone).Sub(start); got != tt.length {
			t.Errorf("%s %s has %v, want %v", tt.zone, tt.date, got, tt.length)
		}
	}
	if got := dateOf(time.Date(2024, 2, 29, 23, 0, 0, 0, time.UTC)).month().String(); got != "2024-02-01" {
		t.Errorf("month of 29 February begins %s", got)
	}
}

// A historyDay says for how long a node was what on one day. What is missing
// to the day's length is not known.
type historyDay struct {
	date                time.Time // its first moment
	healthy, sick, dead time.Duration
}

// last returns the n days up to the present one, oldest first.
func (h *nodeHistory) last(n int, now time.Time) []historyDay {
	days := make([]historyDay, n)
	for i := range days {
		days[i].date = (dateOf(now) - date(n-1-i)).start(now.Location())
	}
	for ago, s := range h.recent(n, now) {
		day := &days[n-1-ago]
		day.healthy, day.sick, day.dead = s.parts[healthy], s.parts[sick], s.parts[dead]
	}
	return days
}

// days90 writes a history as "date healthy/sick/dead ..." without the days of
// which nothing is known, and the uptime of them all.
func (h *nodeHistory) days90(now time.Time) string {
	var out []string
	for _, d := range h.last(keptDays, now) {
		if d.healthy+d.sick+d.dead > 0 {
			out = append(out, fmt.Sprintf("%s %v/%v/%v", d.date.Format("01-02"), d.healthy, d.sick, d.dead))
		}
	}
	up, known := h.uptime(keptDays, now)
	return strings.Join(append(out, fmt.Sprintf("up %v of %v", up, known)), ", ")
}

// A history says how long a node was what, whoever asks when.
func TestHistoryDays(t *testing.T) {
	const m, h = time.Minute, time.Hour
	type step struct {
		at   time.Duration
		step string
	}
	tests := []struct {
		name  string
		steps []step
		until time.Duration
		want  string
	}{
		{"not checked yet", nil, 5 * h, "up 0s of 0s"},
		{"from the first check on", []step{{h, "a=healthy"}}, 3 * h, "03-01 2h0m0s/0s/0s, up 2h0m0s of 2h0m0s"},
		{"sick is up", []step{{0, "a=sick"}, {h, "a=healthy"}}, 3 * h, "03-01 2h0m0s/1h0m0s/0s, up 3h0m0s of 3h0m0s"},
		{"dead is not", []step{{0, "a=healthy"}, {h, "a=dead"}, {2 * h, "a=dead"}, {2*h + m, "a=healthy"}}, 3 * h,
			"03-01 1h59m0s/0s/1h1m0s, up 1h59m0s of 3h0m0s"},
		{"across midnight", []step{{0, "a=healthy"}, {11 * h, "a=dead"}}, 37 * h,
			"03-01 11h0m0s/0s/1h0m0s, 03-02 0s/0s/24h0m0s, 03-03 0s/0s/1h0m0s, up 11h0m0s of 37h0m0s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conf := alertConfig(Alerting{})
			conf.Metrics.PollInterval = 100 * h
			p := newPlay(conf)
			for _, s := range tt.steps {
				p.at(s.at, s.step)
			}
			p.until(p.begin.Add(tt.until))
			past := p.st.services[0].nodes[0].track.past
			if got := past.days90(p.now); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
			if early := past.advance(past.since); early.days90(p.now.Add(100*h)) != past.days90(p.now.Add(100*h)) {
				t.Error("it matters when it was asked")
			}
		})
	}
}

// A node's status is the worst of what is known of its replicas; and it is not
// known any more when checks give no results, or reports end with a flush.
func TestHistoryKnows(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	poll := &Node{ID: "poll", Targets: []Target{{Raw: "tcp://a"}, {Raw: "tcp://b"}}}
	push := &Node{ID: "push", Mode: modePush}
	rare := &Node{ID: "rare", Targets: []Target{{Raw: "tcp://c"}}, Metrics: &Metrics{PollInterval: time.Hour}}
	conf := &Config{
		Metrics:  Metrics{PollInterval: time.Minute, PollDelayDead: 10 * time.Second, RetryWait: 2 * time.Second, RetryCount: 1},
		Services: []*Service{{ID: "s", Nodes: []*Node{poll, push, rare}}},
	}
	all := replicas(conf.Services)
	st := newState(conf, now)
	nodes := st.services[0].nodes
	check := func(i int, s status) { st.applyResult(result{replica: all[i], status: s}, now) }
	pass := func(d time.Duration) {
		for end := now.Add(d); now.Before(end); now = now.Add(time.Second) {
			st.expire(now)
		}
	}
	expect := func(i int, want string) {
		t.Helper()
		if got := nodes[i].track.past.days90(now); got != want {
			t.Errorf("%s: %s, want %s", nodes[i].conf.ID, got, want)
		}
	}
	pass(time.Minute)
	expect(0, "up 0s of 0s")
	check(0, healthy)
	pass(time.Minute)
	expect(0, "03-01 1m0s/0s/0s, up 1m0s of 1m0s")
	check(1, dead)
	pass(time.Minute)
	check(0, sick)
	check(1, healthy)
	pass(time.Minute)
	expect(0, "03-01 1m0s/1m0s/1m0s, up 2m0s of 3m0s")
	pass(time.Hour) // the last minute's status is a guess after that
	expect(0, "03-01 1m0s/0s/1m0s, up 1m0s of 2m0s")
	check(0, sick)
	pass(time.Minute)
	expect(0, "03-01 1m0s/1m0s/1m0s, up 2m0s of 3m0s")

	pass(time.Minute)
	expect(1, "up 0s of 0s")
	r := st.addReplica(nodes[1], "host")
	st.set(r, healthy, "", now)
	pass(time.Minute)
	st.set(r, dead, "", now)
	pass(time.Minute)
	st.dropReplica(r, now)
	pass(time.Hour)
	expect(1, "03-01 1m0s/0s/1m0s, up 1m0s of 2m0s")

	// A node's own interval says how long its status holds.
	check(2, healthy)
	pass(2 * time.Hour)
	expect(2, "03-01 2h0m0s/0s/0s, up 2h0m0s of 2h0m0s")
	pass(time.Hour)
	expect(2, "up 0s of 0s")
}

// stepped returns t with the wall clock moved by d, and the monotonic one
// where it was, as only the kernel can do it.
func stepped(t time.Time, d time.Duration) time.Time {
	moved := t.Add(d)
	type layout struct {
		wall uint64
		ext  int64 // the monotonic clock, in ns
		loc  *time.Location
	}
	(*layout)(unsafe.Pointer(&moved)).ext -= int64(d)
	return moved
}

// However the wall clock is moved, what passed by the monotonic one is what
// is booked, and incidents are as long as they were.
func TestClockSteps(t *testing.T) {
	base := time.Now()                          // in no other zone: that would take the monotonic reading away
	base = base.Add(12*time.Hour - clock(base)) // noon
	if moved := stepped(base, time.Hour); moved.Sub(base) != 0 || moved.Round(0).Sub(base.Round(0)) != time.Hour {
		t.Fatalf("the wall clock moved by %v, the monotonic one by %v",
			moved.Round(0).Sub(base.Round(0)), moved.Sub(base))
	}
	for _, step := range []time.Duration{
		time.Second, -time.Second, time.Hour, -time.Hour, 13 * time.Hour, -13 * time.Hour, 40 * 24 * time.Hour,
		-40 * 24 * time.Hour, 60 * 365 * 24 * time.Hour, -30 * 365 * 24 * time.Hour,
	} {
		t.Run(step.String(), func(t *testing.T) {
			conf := alertConfig(Alerting{})
			conf.Metrics.PollInterval = 1000 * time.Hour
			all := replicas(conf.Services)
			wall, passed := time.Duration(0), time.Duration(0)
			now := func() time.Time { return stepped(base.Add(passed), wall) }
			st := newState(conf, now())
			pass := func(d time.Duration) {
				for end := passed + d; passed < end; passed += 5 * time.Second {
					st.expire(now())
				}
			}
			set := func(i int, s status) { st.applyResult(result{replica: all[i], status: s}, now()) }
			set(0, healthy)
			set(1, healthy)
			pass(3 * time.Hour)
			set(1, dead)
			pass(time.Hour)
			wall = step
			pass(time.Hour)
			set(1, healthy)
			pass(3 * time.Hour)

			// At a step, what passed since the last look is not known.
			within := func(got, want time.Duration) bool { return got <= want && got >= want-10*time.Second }
			for i, want := range [][3]time.Duration{{8 * time.Hour}, {6 * time.Hour, 0, 2 * time.Hour}} {
				past := st.services[0].nodes[i].track.past.advance(now())
				var got [3]time.Duration
				for s := range past.days.all() {
					length := (s.from + 1).start(base.Location()).Sub(s.from.start(base.Location()))
					if s.total() > length {
						t.Errorf("%v of %v booked on %v", s.total(), length, s.from)
					}
					for k := range got {
						got[k] += s.parts[k]
					}
				}
				if !within(got[healthy], want[healthy]) || !within(got[dead], want[dead]) {
					t.Errorf("node %d: %v, want %v", i, got, want)
				}
				today := past.last(1, now())[0]
				if sum := today.healthy + today.dead; sum < 4*time.Hour-10*time.Second {
					t.Errorf("node %d: %v booked today, after the step", i, sum)
				}
			}
			incidents, _ := st.history.list(now())
			if len(incidents) != 1 {
				t.Fatalf("%d incidents", len(incidents))
			}
			in := incidents[0]
			if got := in.end.Round(0).Sub(in.start.Round(0)); !within(got-2*time.Second, 2*time.Hour) && !within(got, 2*time.Hour) {
				t.Errorf("the incident took %v by the wall clock", got)
			}
		})
	}
}

// Time in which the process was stopped is not known, whatever it was before
// and after.
func TestHistoryPause(t *testing.T) {
	p := newPlay(alertConfig(Alerting{}))
	p.at(0, "a=healthy", "b=dead")
	p.until(p.begin.Add(time.Minute))
	p.st.expire(p.now)
	p.now = p.now.Add(time.Hour)
	p.st.expire(p.now)
	p.st.applyResult(result{replica: p.replicas[0], status: healthy}, p.now)
	p.until(p.now.Add(time.Minute))
	if got, want := p.st.services[0].nodes[0].track.past.days90(p.now), "03-01 2m0s/0s/0s, up 2m0s of 2m0s"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Days that leave the window stay in their months, and months for ever.
func TestHistoryRolls(t *testing.T) {
	zone := location(t, "Europe/Berlin")
	now := time.Date(2024, 1, 1, 0, 0, 0, 0, zone)
	h := &nodeHistory{since: now}
	h = h.become(healthy, true, now)
	for now.Year() < 2027 {
		h = h.become(dead, true, now)
		h = h.become(healthy, true, now.Add(time.Hour))
		now = now.AddDate(0, 0, 1)
		past := h.advance(now)
		h = &past
	}
	if n := len(slices.Collect(h.days.closed.all())); n > keptDays {
		t.Errorf("%d days are kept", n)
	}
	up, known := h.uptime(keptDays, now)
	if want := (keptDays-1)*24*time.Hour + time.Hour; known != want || known-up != (keptDays-1)*time.Hour { // a day of 25 hours is among them
		t.Errorf("up %v of %v, want of %v", up, known, want)
	}
	months := slices.Collect(h.months.all())
	if len(months) != 36 {
		t.Fatalf("%d months are kept", len(months))
	}
	for i, m := range months {
		from := time.Date(2024, time.January+time.Month(i), 1, 0, 0, 0, 0, zone)
		days := from.AddDate(0, 1, -1).Day()
		if length := from.AddDate(0, 1, 0).Sub(from); !m.from.start(zone).Equal(from) || m.total() != length || m.parts[dead] != time.Duration(days)*time.Hour {
			t.Errorf("month of %v: %v, want %v of %v", m.from, m.parts, time.Duration(days)*time.Hour, length)
		}
	}
}

// A clock that is wrong for a while takes no day away.
func TestHistoryWrongClock(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := begin
	h := &nodeHistory{since: now}
	h = h.become(healthy, true, now)
	pass := func(days int) {
		for range days {
			now = now.AddDate(0, 0, 1)
			past := h.advance(now)
			h = &past
		}
	}
	pass(200)
	for _, wrong := range []int{1970, 2099, 1970, 2025} {
		there := time.Date(wrong, 1, 1, 0, 0, 0, 0, time.UTC)
		h = h.become(healthy, false, now)
		h = h.become(healthy, true, there)
		h = h.become(healthy, false, there.Add(time.Hour))
		h = h.become(healthy, true, now)
		if up, _ := h.uptime(keptDays, now.Add(-1)); up < (keptDays-1)*24*time.Hour {
			t.Errorf("after %d, %v are left", wrong, up)
		}
	}
	pass(3)
	if n := len(slices.Collect(h.days.closed.all())); n != keptDays-1 {
		t.Errorf("%d days are kept", n)
	}
	if up, _ := h.uptime(keptDays, now.Add(-1)); up != keptDays*24*time.Hour {
		t.Errorf("%v are left", up)
	}
}

// historyOf is a history of these days, of which nothing is running.
func historyOf(days []historyDay) *nodeHistory {
	h := &nodeHistory{}
	for _, day := range days {
		d := dateOf(day.date)
		for s, part := range [...]time.Duration{healthy: day.healthy, sick: day.sick, dead: day.dead} {
			h.status = status(s)
			h.add(d, part, (d + 1).start(day.date.Location()).Sub(day.date))
		}
	}
	return h
}

// The days are those of the calendar, with and without anything known.
func TestHistoryLast(t *testing.T) {
	zone := location(t, "Europe/Berlin")
	day := func(d int, parts ...time.Duration) historyDay {
		parts = append(parts, 0, 0, 0)
		return historyDay{time.Date(2026, 3, d, 0, 0, 0, 0, zone), parts[0], parts[1], parts[2]}
	}
	known := []historyDay{day(27, 1*time.Hour), day(29, 20*time.Hour, 2*time.Hour, time.Hour), day(31, 0, time.Minute)}
	got := historyOf(known).last(7, time.Date(2026, 4, 1, 9, 0, 0, 0, zone))
	want := []historyDay{day(26), known[0], day(28), known[1], day(30), known[2], day(32)}
	if !slices.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	if d := known[1]; historyOf([]historyDay{{d.date, 20 * time.Hour, 9 * time.Hour, 0}}).days.current.total() != 23*time.Hour {
		t.Errorf("%v has more than 23 hours", d.date)
	}
}
