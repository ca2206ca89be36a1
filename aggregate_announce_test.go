package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"vigil/notify"
)

// What operators make is bounded. What is ended, or has ended long ago, makes room.
func TestOperatorsListsAreBounded(t *testing.T) {
	p := newPlay(alertConfig(Alerting{}))
	plan := func(i int) error {
		q := &quietTime{id: fmt.Sprint(i), selectors: selectors{"*"}, start: p.now.Add(time.Hour), end: p.now.Add(2 * time.Hour), silence: i%2 == 0}
		return answered(t, func(done chan<- error) { p.st.plan(q, p.now, done) })
	}
	publish := func(at time.Time) error {
		return answered(t, func(done chan<- error) {
			p.st.announce(announcement{id: newUUID(), title: "a", text: "b", at: at, state: stateResolved}, done)
		})
	}
	for i := range max(maxQuietTimes, maxKeptAnnouncements) {
		if err := errors.Join(plan(i), publish(p.now)); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := plan(-1); !errors.Is(err, errFull) || !strings.HasPrefix(err.Error(), "1000 maintenances and silences") || len(p.st.made) != maxQuietTimes {
		t.Errorf("one more silence: %v, of %d", err, len(p.st.made))
	}
	if err := answered(t, func(done chan<- error) { p.st.endQuiet("6", true, p.now, done) }); err != nil || plan(-1) != nil {
		t.Errorf("after the end of one: %v", err)
	}
	if p.st.replan(p.now.Add(3 * time.Hour)); plan(-2) != nil || len(p.st.made) != 1 {
		t.Errorf("%d are left when all are over", len(p.st.made))
	}
	if err := publish(p.now.Add(keptAnnouncements - time.Second)); !errors.Is(err, errFull) || !strings.HasPrefix(err.Error(), "1000 announcements are kept") {
		t.Errorf("one more announcement: %v", err)
	}
	if err := publish(p.now.Add(keptAnnouncements)); err != nil || len(p.st.announcements) != 1 {
		t.Errorf("after %v: %v, %d are left", keptAnnouncements, err, len(p.st.announcements))
	}
}

// answered runs something that replies at once when nothing is stored.
func answered(t *testing.T, do func(done chan<- error)) error {
	t.Helper()
	done := make(chan error, 1)
	do(done)
	select {
	case err := <-done:
		return err
	default:
		t.Fatal("no answer")
		return nil
	}
}

// During a maintenance or a silence nobody is told of what begins. What is
// still dead at its end is told then, and what was told before is told to be
// back at once.
func TestQuietTimes(t *testing.T) {
	const s, m = time.Second, time.Minute
	for _, silence := range []bool{false, true} {
		conf := alertConfig(Alerting{BackoffLimit: 3, ReminderInterval: 5 * m})
		conf.Metrics.PollInterval = time.Hour
		p := newPlay(conf)
		p.at(0, "a=healthy", "b=healthy", "c=healthy")
		p.at(m, "a=dead")
		quiet := &quietTime{id: "q", title: "Works", selectors: selectors{"web:a", "web:b"}, start: p.begin.Add(2 * m), end: p.begin.Add(20 * m), silence: silence}
		p.until(p.begin.Add(m + 30*s))
		if err := answered(t, func(done chan<- error) { p.st.plan(quiet, p.now, done) }); err != nil {
			t.Fatal(err)
		}
		p.expect(t, "before", "1m0.2s changed dead +a")
		p.at(3*m, "b=dead")
		p.at(4*m, "b=healthy")
		p.at(8*m, "c=dead")
		p.at(10*m, "a=healthy")
		p.at(11*m, "b=dead")
		p.until(p.begin.Add(12 * m))
		v := p.st.snapshot(p.now).services[0].nodes[1]
		if (v.maintenance != nil) == silence || (v.silence != nil) != silence {
			t.Errorf("silence %v: node b has maintenance %v, silence %v", silence, v.maintenance, v.silence)
		}
		p.expect(t, "within", "8m0.2s changed dead a +c", "10m0.2s changed dead -a c")
		p.at(19*m, "c=healthy")
		p.until(p.begin.Add(21 * m))
		p.expect(t, "and after", "13m0.2s reminder dead #1 c", "18m0.2s reminder dead #2 c", "19m0.2s changed dead -c", "20m0.2s changed dead +b")
		up, known := p.st.services[0].nodes[1].track.past.uptime(1, p.now)
		switch past := p.st.services[0].nodes[1].track.past.advance(p.now); {
		case silence && past.days.current.parts[maintained] != 0:
			t.Error("a silence counts as maintenance")
		case !silence && (past.days.current.parts[maintained] != 18*m || known != 3*m || up != 2*m):
			t.Errorf("%v under maintenance, %v known, %v up", past.days.current.parts[maintained], known, up)
		}
		if n := len(p.st.quietTimes) + len(p.st.made); n != 0 {
			t.Errorf("%d times are left", n)
		}
		if past := p.st.snapshot(p.now).maintained; silence != (len(past) == 0) || !silence && past[0].id != "q" {
			t.Errorf("silence %v: %d past maintenances", silence, len(past))
		}
	}
}

// A maintenance can be ended early and a planned one cancelled; one of the
// config file cannot.
func TestQuietTimesEnd(t *testing.T) {
	const m = time.Minute
	conf := alertConfig(Alerting{BackoffLimit: 3})
	begin := newPlay(conf).begin
	conf.Maintenance = []Window{{Title: "Nightly", Selectors: selectors{"web:c"}, Start: begin.Add(-24*time.Hour + 30*m), Duration: 10 * m, Repeat: repeatDaily}}
	p := newPlay(conf)
	p.at(0, "a=healthy", "b=healthy", "c=healthy")
	plan := func(id string, from, to time.Duration) {
		q := &quietTime{id: id, selectors: selectors{"*"}, start: p.begin.Add(from), end: p.begin.Add(to)}
		if err := answered(t, func(done chan<- error) { p.st.plan(q, p.now, done) }); err != nil {
			t.Fatal(err)
		}
	}
	end := func(id string) error {
		return answered(t, func(done chan<- error) { p.st.endQuiet(id, false, p.now, done) })
	}
	plan("now", 0, 20*m)
	plan("later", 50*m, 60*m)
	p.at(m, "a=dead")
	p.until(p.begin.Add(5 * m))
	p.expect(t, "running")
	if err := end("now"); err != nil {
		t.Error(err)
	}
	p.until(p.begin.Add(6 * m))
	p.expect(t, "ended early", "5m0.2s changed dead +a")
	if err := end("later"); err != nil {
		t.Error(err)
	}
	for id, want := range map[string]string{"later": `no maintenance "later"`, "config-1": "this maintenance is in the config file: change it there"} {
		if err := end(id); err == nil || err.Error() != want {
			t.Errorf("ending %s: %v, want %s", id, err, want)
		}
	}
	p.at(31*m, "c=dead")
	p.until(p.begin.Add(39 * m))
	p.expect(t, "the one of the config")
	p.until(p.begin.Add(41 * m))
	p.expect(t, "after that", "40m0.2s changed dead a +c")
	p.at(24*time.Hour+31*m, "c=healthy")
	p.at(24*time.Hour+32*m, "c=dead")
	p.until(p.begin.Add(24*time.Hour + 39*m))
	p.expect(t, "on the next day", "24h31m0.2s changed dead a -c")

	past := func() (got []string) {
		for _, s := range p.st.snapshot(p.now).maintained {
			got = append(got, fmt.Sprintf("%s %v+%v", s.id, s.start.Sub(p.begin), s.end.Sub(s.start)))
		}
		return got
	}
	nightly := fmt.Sprintf("config-1-%d 30m0s+10m0s", p.begin.Add(30*m).Unix())
	if got := past(); !slices.Equal(got, []string{"now 0s+5m0s", nightly}) {
		t.Errorf("past maintenances %v", got)
	}
	p.until(p.begin.Add(91 * 24 * time.Hour))
	if got := past(); len(got) != 90 || slices.Contains(got, nightly) {
		t.Errorf("%d maintenances after 91 days, from %s", len(got), got[0])
	}
}

func TestQuietTimesSurvive(t *testing.T) {
	l := newLife(t, localConfig(Alerting{BackoffLimit: 3}))
	l.at(0, "a=healthy", "b=healthy", "c=healthy")
	done := make(chan error, 7)
	for _, id := range []string{"one", "two"} {
		l.st.plan(&quietTime{id: id, title: "T", text: "X", selectors: selectors{"web"}, start: l.now.Add(time.Hour), end: l.now.Add(2 * time.Hour), silence: id == "one"}, l.now, done)
	}
	l.st.endQuiet("two", false, l.now, done)
	l.st.plan(&quietTime{id: "short", title: "Short", selectors: selectors{"*"}, start: l.now, end: l.now.Add(time.Minute)}, l.now, done)
	l.st.plan(&quietTime{id: "long", title: "Long", selectors: selectors{"*"}, start: l.now, end: l.now.Add(time.Hour)}, l.now, done)
	l.st.endQuiet("long", false, l.now.Add(time.Second), done)
	l.at(time.Minute, "a=dead")
	l.until(2 * time.Minute)
	out := l.st.history.all[0]
	l.st.acknowledge(out.id, &acknowledgement{by: "Ann", text: "on it", at: l.now, until: l.now.Add(time.Hour)}, l.now, done)
	l.until(3 * time.Minute)
	l.restart(time.Minute)
	if made := l.st.quietTimes[0].made; !made.Equal(l.begin) {
		t.Errorf("made at %v, want %v", made, l.begin)
	}
	if len(l.st.quietTimes) != 1 || l.st.quietTimes[0].id != "one" || !l.st.quietTimes[0].silence || !l.st.quietTimes[0].start.Equal(l.begin.Add(time.Hour)) {
		t.Errorf("%d times after the restart", len(l.st.quietTimes))
	}
	l.restart(time.Minute)
	var past []string
	for _, s := range l.st.snapshot(l.now).maintained {
		past = append(past, fmt.Sprint(s.title, " ", s.end.Sub(s.start)))
	}
	if !slices.Equal(past, []string{"Long 1s", "Short 1m0s"}) {
		t.Errorf("past maintenances after two restarts: %v", past)
	}
	after := l.st.history.all[0]
	if after.ack == nil || after.ack.by != "Ann" || after.ack.text != "on it" || !after.ack.until.Equal(out.ack.until) ||
		len(after.tellings) != 1 || after.tellings[0].channel != "slack" {
		t.Errorf("outage after the restart: %+v", after)
	}
}

// An announcement that ended stays for its 90 days, however often the files are
// written anew.
func TestEndedAnnouncementsSurvive(t *testing.T) {
	l := newLife(t, localConfig(Alerting{}))
	done := make(chan error, 5)
	for _, id := range []string{"one", "two", "three"} {
		l.st.announce(announcement{id: id, title: id, text: "x", at: l.now}, done)
	}
	l.st.updateAnnouncement("two", announcementUpdate{at: l.now.Add(time.Minute), state: stateResolved}, done)
	l.until(time.Minute)
	for i := range 3 {
		l.restart(time.Minute)
		l.until(time.Duration(10+10*i) * time.Minute)
		s := l.st.snapshot(l.now)
		if len(s.announcements) != 2 || s.announcements[0].id != "one" || len(s.pastAnnouncements) != 1 || s.pastAnnouncements[0].id != "two" {
			t.Errorf("after restart %d: %d announcements go on, %d ended", i+1, len(s.announcements), len(s.pastAnnouncements))
		}
	}
	kept := 0
	for rec := range l.st.records(l.now.Add(keptAnnouncements)) {
		if rec.Announcement != nil {
			kept++
		}
	}
	if kept != 2 {
		t.Errorf("%d announcements are kept after 90 days", kept)
	}
}

// outagesAt returns the ids of the outages that go on at nodes of that id.
func outagesAt(st *state, node string) (ids []string) {
	for ns := range st.allNodes() {
		if out := ns.track.outage; out != nil && ns.conf.ID == node {
			ids = append(ids, out.id)
		}
	}
	return ids
}

// An acknowledged outage has no reminders, but new deaths are told.
func TestAcknowledge(t *testing.T) {
	const m = time.Minute
	p := newPlay(alertConfig(Alerting{BackoffLimit: 3, ReminderInterval: 5 * m}))
	p.at(0, "a=healthy", "b=healthy", "c=healthy")
	p.at(m, "a=dead")
	p.until(p.begin.Add(2 * m))
	ids := outagesAt(p.st, "a")
	if len(ids) != 1 {
		t.Fatalf("outages %v", ids)
	}
	ack := func(id string, a *acknowledgement) error {
		return answered(t, func(done chan<- error) { p.st.acknowledge(id, a, p.now, done) })
	}
	if err := ack(ids[0], &acknowledgement{by: "Ann", at: p.now, until: p.begin.Add(22 * m)}); err != nil {
		t.Fatal(err)
	}
	if err := ack("none", nil); err == nil {
		t.Error("acknowledged an outage that there is not")
	}
	p.at(10*m, "b=dead")
	p.at(12*m, "b=healthy")
	p.until(p.begin.Add(24 * m))
	p.expect(t, "acknowledged for 20 min", "1m0.2s changed dead +a", "10m0.2s changed dead a +b",
		"12m0.2s changed dead a -b", "22m0s reminder dead #1 a")
	p.at(25*m, "a=healthy")
	if err := ack(ids[0], nil); err == nil || err.Error() != "this outage is over" {
		t.Errorf("acknowledged what is over: %v", err)
	}
}

// An outage that is acknowledged before it is old enough to be told of stays,
// also when it is over at once: in the state, and in the files.
func TestAcknowledgeYoungOutage(t *testing.T) {
	p := newPlay(alertConfig(Alerting{BackoffLimit: 3}))
	p.at(0, "a=healthy", "b=healthy", "c=healthy")
	p.at(time.Minute, "a=dead", "b=dead")
	ids := outagesAt(p.st, "a")
	if len(ids) != 1 {
		t.Fatalf("outages %v", ids)
	}
	if err := answered(t, func(done chan<- error) {
		p.st.acknowledge(ids[0], &acknowledgement{by: "Ann", at: p.now, until: p.now.Add(time.Hour)}, p.now, done)
	}); err != nil {
		t.Fatal(err)
	}
	kept := func() (all []string) {
		for rec := range p.st.history.records(p.st, p.now) {
			if rec.Incident != nil {
				all = append(all, rec.Incident.Node)
			}
		}
		return all
	}
	if got := kept(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("kept outages of %v, want a's alone, as b's is not told yet", got)
	}
	p.at(time.Minute+50*time.Millisecond, "a=healthy", "b=healthy")
	if got := kept(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("kept outages of %v after they are over, want a's", got)
	}
}

// dependConfig has the node a, and the others depend on it.
func dependConfig() *Config {
	conf := alertConfig(Alerting{BackoffLimit: 3})
	conf.Metrics = Metrics{PollInterval: 2 * time.Minute, PollDelayDead: 5 * time.Second}
	nodes := conf.Services[0].Nodes
	for _, n := range nodes {
		n.Metrics = &conf.Metrics
	}
	nodes[1].DependsOn, nodes[2].DependsOn = nodes[:1], nodes[1:2]
	return conf
}

// A node is not told on its own when what it depends on is dead, which is
// checked at once; what is still dead an interval after that is back is told.
func TestAlertsOfDependents(t *testing.T) {
	const s, m = time.Second, time.Minute
	begin := func() *play {
		p := newPlay(dependConfig())
		p.at(0, "a=healthy", "b=healthy", "c=healthy")
		return p
	}
	checks := func(p *play) (ids []string) {
		for _, n := range p.st.checks {
			ids = append(ids, n.ID)
		}
		p.st.checks = nil
		return ids
	}
	p := begin()
	p.at(m, "c=dead")
	p.at(m+s, "b=dead")
	if got := checks(p); !slices.Equal(slices.Compact(slices.Sorted(slices.Values(got))), []string{"a", "b"}) {
		t.Errorf("asked for checks of %v", got)
	}
	p.at(m+3*s, "a=dead")
	p.until(p.begin.Add(10 * m))
	p.expect(t, "a and what depends on it", "1m3.2s changed dead +a")
	v := p.st.snapshot(p.now).services[0].nodes[2]
	if v.cause == nil || v.status != dead {
		t.Errorf("node c is %v because of %v", v.status, v.cause)
	}
	p.at(11*m, "a=healthy")
	p.at(12*m, "b=healthy")
	p.until(p.begin.Add(20 * m))
	p.expect(t, "c alone is still dead", "11m0.2s changed dead -a", "14m0.2s changed dead +c")

	p = begin()
	p.at(m, "b=dead")
	p.at(m+2*s, "a=healthy")
	p.until(p.begin.Add(2 * m))
	p.expect(t, "the parent was checked and is well", "1m2.2s changed dead +b")

	p = begin()
	p.at(m, "b=dead")
	p.until(p.begin.Add(2 * m))
	p.expect(t, "nobody checked the parent", "1m6.2s changed dead +b")
	p.at(3*m, "a=dead")
	p.at(4*m, "b=healthy")
	p.until(p.begin.Add(5 * m))
	p.expect(t, "recoveries are never held back", "3m0.2s changed dead +a b", "4m0.2s changed dead a -b")

	p = begin()
	works := &quietTime{id: "q", title: "Works", selectors: selectors{"web:a"}, start: p.now, end: p.begin.Add(10 * m)}
	if err := answered(t, func(done chan<- error) { p.st.plan(works, p.now, done) }); err != nil {
		t.Fatal(err)
	}
	p.at(m, "a=dead", "b=dead")
	p.until(p.begin.Add(9 * m))
	p.expect(t, "during a maintenance of a")
	p.at(11*m, "a=healthy")
	p.until(p.begin.Add(20 * m))
	p.expect(t, "after it", "10m0.2s changed dead +a", "11m0.2s changed dead -a", "13m0.2s changed dead +b")

	p = begin()
	p.at(m, "a=dead")
	p.until(p.begin.Add(m + s))
	alert := p.last
	if len(alert.Outages) != 1 || alert.Outages[0].Depending != 2 || alert.Kind != notify.Changed {
		t.Errorf("alert %+v", alert)
	}
}

// How long a node has once its parent is back depends on how it is checked. That
// the parent was dead is known after a restart.
func TestTurnOfDependents(t *testing.T) {
	const s, m = time.Second, time.Minute
	conf := dependConfig()
	conf.Metrics.PushDelayDead = 10 * s
	nodes := conf.Services[0].Nodes
	nodes[1].Mode, nodes[1].Targets, nodes[2].DependsOn = modePush, nil, nodes[:1]
	nodes[2].Mode, nodes[2].Targets, nodes[2].Heartbeat = modeHeartbeat, nil, &Heartbeat{Interval: 6 * m, Grace: 3 * m}
	l := newLife(t, conf)
	l.at(0, "a=healthy")
	(&loadReport{node: nodes[1], report: report{replica: "x", interval: 5 * m, load: &replicaLoad{}}}).apply(l.st, l.now)
	(&ping{node: nodes[2], done: make(chan error, 1)}).apply(l.st, l.now)
	l.at(m, "a=dead")
	l.until(20 * m)
	l.expect(t, "with its parent", "1m0.2s changed dead +a(was dead)")
	l.restart(m)
	l.at(21*m+3*s, "a=dead")
	l.at(25*m, "a=healthy")
	l.until(60 * m)
	l.expect(t, "after a turn of its own", "25m0.2s changed dead -a", "30m10.2s changed dead +b(no report in 5m10s)", "34m0.2s changed dead b(no report in 5m10s) +c(no ping within 180 s of when it was due)")
}

// After a restart, too, a node waits for a check of what it depends on.
func TestDependentsThroughARestart(t *testing.T) {
	const s, m = time.Second, time.Minute
	l := newLife(t, dependConfig())
	l.at(0, "a=healthy", "b=healthy", "c=healthy")
	l.at(m, "a=dead", "b=dead")
	l.until(2 * m)
	l.expect(t, "the outage", "1m0.2s changed dead +a(was dead)")
	l.at(3*m, "restart=1m", "b=dead")
	l.at(4*m+3*s, "a=dead", "c=healthy")
	l.until(10 * m)
	l.expect(t, "after the restart")
}

// A channel that does not hear of a parent hears of the node itself.
func TestDependentsOfAnotherChannelsNode(t *testing.T) {
	conf := dependConfig()
	conf.Alerting.Startup = true
	conf.Notify = channels("net", "app")
	conf.Routes = []Route{{Match: selectors{"web:a"}, To: []string{"net"}, MinStatus: dead}, {Match: selectors{"web:c"}, To: []string{"app"}, MinStatus: dead}}
	p := newPlay(conf)
	p.at(0, "c=dead", "a=dead", "b=dead")
	p.until(p.begin.Add(time.Minute))
	p.expect(t, "at the start", "0s startup dead +a", "0s startup dead +c")
	p.at(2*time.Minute, "a=healthy", "b=healthy", "c=healthy")
	p.until(p.begin.Add(3 * time.Minute))
	p.expect(t, "and back", "2m0.2s changed healthy -a", "2m0.2s changed healthy -c")
}

// The first acceptance by a recipient of a channel is kept with the outage.
func TestAcceptedDeliveries(t *testing.T) {
	const m = time.Minute
	p := newPlay(alertConfig(Alerting{BackoffLimit: 3}))
	p.at(0, "a=healthy", "b=healthy", "c=healthy")
	p.at(m, "a=dead")
	p.until(p.begin.Add(2 * m))
	before := p.st.snapshot(p.now).incidents[0]
	nodes := []nodeKey{{"web", "a"}}
	for _, after := range []time.Duration{m, 2 * m} {
		accepted{"slack", []string{before.id}, nodes, p.last.Time, p.begin.Add(m + after)}.apply(p.st, p.now)
	}
	accepted{"email", []string{before.id}, nodes, p.last.Time, p.now}.apply(p.st, p.now)
	in := p.st.snapshot(p.now).incidents[0]
	if len(in.tellings) != 1 || !in.tellings[0].accepted.Equal(p.begin.Add(2*m)) || !in.tellings[0].at.Equal(p.begin.Add(m+gatherQuiet)) {
		t.Errorf("tellings %+v", in.tellings)
	}
	if !before.tellings[0].accepted.IsZero() {
		t.Error("an older snapshot has changed")
	}
	if id := p.st.alerter.channels[0].id; unsafe.StringData(in.tellings[0].channel) == unsafe.StringData(id) {
		t.Error("the outage keeps the text of the config in memory")
	}
}

// A channel that is told of degraded nodes, too, knows the second outage of a node
// that was degraded in between by the id of the first.
func TestAcceptedAfterDegraded(t *testing.T) {
	const m = time.Minute
	conf := alertConfig(Alerting{BackoffLimit: 3})
	conf.Routes = []Route{{Match: selectors{"*"}, To: []string{"slack"}, MinStatus: sick}}
	p := newPlay(conf)
	s := newStore(nil, quiet)
	p.at(0, "a=healthy", "b=healthy", "c=healthy")
	for i, word := range []string{"a=dead", "a=sick", "a=dead", "a=healthy"} {
		p.at(time.Duration(i+1)*m, word)
		p.until(p.now.Add(m / 2))
		s.Result(notify.Target{Channel: "slack"}, p.last, nil)
	}
	for range 4 { // all of them late
		(<-s.accepted).apply(p.st, p.now)
	}
	all := p.st.history.all
	if len(all) != 2 || len(all[0].tellings) != 1 || len(all[1].tellings) != 1 {
		t.Fatalf("%d outages", len(all))
	}
	for i, out := range all {
		if out.tellings[0].accepted.IsZero() {
			t.Errorf("outage %d was told and never accepted", i+1)
		}
	}
}
