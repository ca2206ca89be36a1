package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vigil/notify"
)

// A chance is one random life of a program: deaths, recoveries, nodes that fall
// silent, reloads, restarts, kills, maintenances, silences, acknowledgements,
// and channels that are out of reach. It checks each message when it is decided
// and when it is delivered.
type chance struct {
	rnd  *rand.Rand
	conf *Config
	st   *state
	disk *disk
	now  time.Time
	own  []*replica

	truth   map[nodeKey]truth  // what the next check of a polled node will find
	labels  map[nodeKey]string // of nodes, by the last config that has them
	levels  map[nodeKey]*level // what was found
	answers []pendingCheck     // of checks that were asked for, by time
	started time.Time          // the last restart
	settled time.Time          // the last reload, or the end of the first round
	quiet   []*quietTime       // made by operators, whatever the state knows of them
	acked   map[nodeKey]time.Time
	muted   time.Time

	down    map[string]bool // channels out of reach
	waiting map[string][]notify.Alert
	backlog backlog // what the store takes to be undelivered
	heard   map[string]map[nodeKey]notify.Outage
	unsaved []notify.Alert
	crash   bool // the program is killed before it saves its next alert
	story   []string
	faults  []string
}

// A truth is what a target is, and since when.
type truth struct {
	status status
	since  time.Time
}

// A pendingCheck is one that was asked for.
type pendingCheck struct {
	at  time.Time
	key nodeKey
}

const (
	chancePoll   = 30 * time.Second // interval of polls
	chanceReport = 20 * time.Second // of reports and pings
	chanceDelay  = 15 * time.Second // how late these may be
	chanceSlack  = 1500 * time.Millisecond
)

// selectors picks some.
func (c *chance) selectors() selectors {
	return selectors{[]selector{"*", "x", "y:1", "x:2", "y"}[c.rnd.IntN(5)]}
}

// config makes up a config: some nodes, which may depend on others, some
// channels, perhaps routes, perhaps a maintenance.
func (c *chance) config() *Config {
	conf := &Config{Alerting: Alerting{BackoffLimit: 2, Startup: c.rnd.IntN(2) == 0}}
	conf.Metrics = Metrics{PollInterval: chancePoll, PollDelayDead: 4 * time.Second, PushDelayDead: chanceDelay, CPUSickAbove: 1, RAMSickAbove: 1}
	if c.rnd.IntN(2) == 0 {
		conf.Alerting.ReminderInterval = 2 * time.Minute
	}
	modes := map[string][]mode{"y1": {modePoll, modeHeartbeat}, "y2": {modePoll, modePush}, "y3": {modePush}}
	depend := c.rnd.IntN(2) == 0
	var all []*Node
	for _, s := range []string{"x", "y"} {
		service := &Service{ID: s}
		for _, id := range []string{"1", "2", "3"} {
			if c.rnd.IntN(4) == 0 {
				continue
			}
			n := &Node{ID: id, Mode: modePoll, Label: fmt.Sprint("label ", c.rnd.IntN(3))}
			if m := modes[s+id]; m != nil {
				n.Mode = m[c.rnd.IntN(len(m))]
			}
			switch n.Mode {
			case modePoll:
				n.Targets = []Target{{Raw: "tcp://" + s + id}}
			case modeHeartbeat:
				n.Heartbeat = &Heartbeat{Interval: chanceReport, Grace: chanceDelay}
			}
			for _, other := range all {
				if depend && c.rnd.IntN(3) == 0 {
					n.DependsOn = append(n.DependsOn, other)
				}
			}
			service.Nodes, all = append(service.Nodes, n), append(all, n)
		}
		conf.Services = append(conf.Services, service)
	}
	var ids []string
	for _, id := range []string{"mail", "chat", "boss"} {
		if c.rnd.IntN(4) > 0 {
			ids = append(ids, id)
		}
	}
	conf.Notify = channels(ids...)
	if len(ids) > 0 && c.rnd.IntN(3) > 0 {
		for range 1 + c.rnd.IntN(3) {
			r := Route{To: []string{ids[c.rnd.IntN(len(ids))]}, MinStatus: dead, Reminders: conf.Alerting.reminders(), Match: c.selectors()}
			if c.rnd.IntN(3) == 0 {
				r.MinStatus = sick
			}
			r.After = time.Duration(c.rnd.IntN(3)*20) * time.Second
			r.RecoverAfter = time.Duration(c.rnd.IntN(3)*15) * time.Second
			conf.Routes = append(conf.Routes, r)
		}
	}
	if c.rnd.IntN(4) == 0 {
		conf.Maintenance = []Window{{Title: "Works", Selectors: c.selectors(), Start: c.now.Add(time.Duration(c.rnd.IntN(120)-60) * time.Second),
			Duration: time.Duration(1+c.rnd.IntN(90)) * time.Second}}
	}
	return conf
}

// until lets time pass, and saves and delivers what becomes due.
func (c *chance) until(end time.Time) {
	for {
		for len(c.answers) > 0 && !c.now.Before(c.answers[0].at) {
			key := c.answers[0].key
			c.answers = c.answers[1:]
			c.checked(key)
		}
		c.st.expire(c.now)
		c.observe()
		if len(c.st.ledger.records) > 0 {
			c.save(false) // only an alert takes the disk so long that a kill comes before it
		}
		for {
			before := make(map[string]map[nodeKey]*told)
			for _, ch := range c.st.alerter.channels {
				before[ch.id] = copied(ch.told)
			}
			a, ok := c.st.alerter.due(c.st, c.now)
			if !ok {
				break
			}
			c.decided(a, before[a.Channel])
			c.st.keepAlert(a)
			c.unsaved = append(c.unsaved, a)
		}
		for _, n := range c.st.checks {
			key := c.st.nodes[n].key()
			c.answers = append(c.answers, pendingCheck{c.now.Add(time.Duration(c.rnd.IntN(3000)) * time.Millisecond), key})
			slices.SortStableFunc(c.answers, func(a, b pendingCheck) int { return a.at.Compare(b.at) })
		}
		c.st.checks = nil
		switch {
		case len(c.unsaved) > 0 && c.crash:
			c.crash = false
			c.tell("kill, losing %d alerts", len(c.unsaved))
			c.start()
			continue
		case len(c.unsaved) > 0:
			c.save(false)
		}
		at, _ := c.st.wake(c.now)
		if len(c.answers) > 0 && c.answers[0].at.Before(at) {
			at = c.answers[0].at
		}
		if at.After(end) {
			break
		}
		c.now = at
	}
	c.now = end
	c.settle()
}

// save saves what is to be saved, and delivers the alerts that waited for that.
// At the end of a run that is everything.
func (c *chance) save(end bool) {
	if b, any := c.st.pendingBatch(c.now, end); any {
		for _, rec := range b.records {
			c.backlog.apply(rec)
		}
		if b.whole != nil {
			b.whole = chain(b.whole, slices.Values(c.backlog.records()))
		}
		if out := c.disk.do(job{records: b.records, whole: b.whole}); out.err != nil || out.whole != nil || out.dropped != nil {
			c.fault("not saved: %+v", out)
		}
	}
	for _, a := range c.unsaved {
		if (notify.Target{Channel: a.Channel}).Wants(a) {
			c.waiting[a.Channel] = append(c.waiting[a.Channel], a)
		}
	}
	c.unsaved = nil
	for id := range c.waiting {
		c.deliver(id)
	}
}

// deliver delivers what waits for a channel that is in reach.
func (c *chance) deliver(id string) {
	if c.down[id] {
		return
	}
	for _, a := range c.waiting[id] {
		c.hear(id, a)
		c.done(id, a)
	}
	delete(c.waiting, id)
}

// done notes that an alert is delivered, as the dispatcher does.
func (c *chance) done(id string, a notify.Alert) {
	rec := record{Done: &doneRecord{id, a.ID}}
	c.backlog.apply(rec)
	if out := c.disk.do(job{records: []record{rec}}); out.err != nil {
		c.fault("not saved: %+v", out)
	}
}

// start makes a state of what the disk has.
func (c *chance) start() {
	dir := c.disk.dir
	im, err := readFolder(dir, quiet)
	if err != nil {
		panic(err)
	}
	c.disk = &disk{dir: dir, generation: im.generation, used: im.used, aside: im.aside}
	c.st = newState(c.conf, c.now)
	c.keepFor()
	c.st.restore(im.restored, c.now)
	c.unsaved = nil
	c.backlog, c.waiting = im.backlog, im.backlog.again()
	c.answers, c.settled, c.started = nil, c.now, c.now
	for _, l := range c.levels {
		l.back = time.Time{}
	}
	c.drop()
}

func (c *chance) keepFor() {
	var targets []notify.Target
	for _, id := range c.conf.Notify.IDs() {
		targets = append(targets, notify.Target{Key: id, Channel: id})
	}
	c.st.keepFor(targets)
	c.own = replicas(c.conf.Services)
}

// drop forgets the channels and nodes that are no longer in the config.
func (c *chance) drop() {
	for id := range c.heard {
		if !slices.Contains(c.conf.Notify.IDs(), id) {
			delete(c.heard, id)
		}
	}
	for key, l := range c.levels {
		if ns := c.st.byKey[key]; ns == nil {
			delete(c.levels, key)
			delete(c.acked, key)
		} else {
			l.moved = l.moved || l.mode != ns.conf.Mode
		}
	}
	c.observe()
	for id, alerts := range c.backlog { // the dispatcher gives them up
		if !slices.Contains(c.conf.Notify.IDs(), id) {
			for _, a := range slices.Clone(alerts) {
				c.done(id, a)
			}
			delete(c.waiting, id)
		}
	}
}

// checked is the end of a check of a node, if it is still polled.
func (c *chance) checked(key nodeKey) {
	for _, r := range c.own {
		if r.service.ID == key.service && r.node.ID == key.node {
			if c.st.waiting > 0 {
				c.settled = c.now
			}
			c.found(key, c.truth[key].status)
			c.st.applyResult(result{replica: r, status: c.truth[key].status, at: c.now}, c.now)
		}
	}
}

// turn gives a target another status, which the next check finds.
func (c *chance) turn(key nodeKey, s status) {
	if c.truth[key].status != s {
		c.truth[key] = truth{s, c.now}
	}
}

// report is a report of a node that is not polled, or a ping.
func (c *chance) report(ns *nodeState, id string, s status, interval time.Duration) {
	c.tell("%v reports %v for %v", ns.key(), s, interval)
	if ns.conf.Mode == modePush {
		rep := report{replica: id, interval: interval, load: &replicaLoad{cpu: float64(2 * s)}} // which is sick at most
		(&loadReport{node: ns.conf, report: rep}).apply(c.st, c.now)
	} else {
		(&ping{node: ns.conf, exit: int(s), done: make(chan error, 1)}).apply(c.st, c.now)
	}
	c.observe()
}

func (c *chance) step() {
	c.until(c.now.Add(time.Duration(c.rnd.ExpFloat64()*10_000) * time.Millisecond)) // files keep milliseconds
	seconds := func(n int) time.Duration { return time.Duration(c.rnd.IntN(n)) * time.Second }
	done := make(chan error, 1) // of a call, which is answered when it is saved
	nodes := slices.Collect(c.st.allNodes())
	switch n := c.rnd.IntN(48); {
	case n < 34 && len(nodes) > 0:
		ns := nodes[c.rnd.IntN(len(nodes))]
		switch {
		case ns.conf.Mode != modePoll:
			c.report(ns, []string{"a", "b"}[c.rnd.IntN(2)], status(c.rnd.IntN(3)), chanceReport)
		case n < 26:
			c.turn(ns.key(), status(c.rnd.IntN(3)))
			c.checked(ns.key())
		default: // it is found later
			c.turn(ns.key(), status(c.rnd.IntN(3)))
		}
	case n < 37:
		c.save(false)
		c.conf, c.settled = c.config(), c.now
		c.tell("reload: channels %v, routes %+v", c.conf.Notify.IDs(), c.conf.Routes)
		c.tellNodes()
		c.st.reload(c.conf, c.now)
		c.keepFor()
		c.drop()
	case n < 39:
		c.save(true)
		c.now = c.now.Add(time.Minute)
		c.tell("restart")
		c.start()
	case n == 39:
		c.crash = true
	case n < 42:
		q := &quietTime{id: newUUID(), selectors: c.selectors(), silence: c.rnd.IntN(2) == 0}
		q.start = c.now.Add(seconds(30))
		q.end = q.start.Add(time.Second + seconds(90))
		c.tell("quiet over %v from %v to %v", q.selectors, q.start.Format("15:04:05"), q.end.Format("15:04:05"))
		c.quiet = append(c.quiet, q)
		c.st.plan(q, c.now, done)
		c.save(false)
	case n == 42 && len(c.st.made) > 0:
		q := c.st.made[c.rnd.IntN(len(c.st.made))]
		c.tell("quiet over %v ends", q.selectors)
		c.st.endQuiet(q.id, q.silence, c.now, done)
		c.quiet = slices.DeleteFunc(c.quiet, func(other *quietTime) bool { return other.id == q.id })
		c.save(false)
	case n < 45:
		for _, ns := range nodes {
			if out := ns.track.outage; out != nil && c.isDown(ns.key()) && c.rnd.IntN(2) == 0 {
				until := c.now.Add(seconds(600))
				c.tell("%v acknowledged until %v", ns.key(), until.Format("15:04:05"))
				c.st.acknowledge(out.id, &acknowledgement{by: "Ann", at: c.now, until: until}, c.now, done)
				c.acked[ns.key()] = until
				c.save(false)
				break
			}
		}
	case n == 45:
		c.muted = c.now.Add(seconds(600))
		c.tell("no reminders until %v", c.muted.Format("15:04:05"))
		c.st.mute(c.muted, done)
		c.save(false)
	default:
		id := []string{"mail", "chat", "boss"}[c.rnd.IntN(3)]
		c.tell("%s is out of reach: %v", id, !c.down[id])
		if c.down[id] = !c.down[id]; !c.down[id] {
			c.deliver(id)
		}
	}
}

// end brings everything to rest and checks what each channel knows: when all
// nodes are dead, when those are back that others depend on, and when all are.
func (c *chance) end() {
	c.crash = false
	for id := range c.down {
		c.down[id] = false
		c.deliver(id)
	}
	for phase := range 3 {
		c.tell("the end, phase %d", phase)
		for ns := range c.st.allNodes() {
			s := dead
			if phase == 2 || phase == 1 && len(ns.dependents) > 0 {
				s = healthy
			}
			c.turn(ns.key(), s)
			c.checked(ns.key())
			switch {
			case ns.conf.Mode == modePoll || s == dead && phase == 1:
			case s == healthy:
				c.report(ns, "a", healthy, time.Hour)
				c.report(ns, "b", healthy, time.Hour)
			default: // the last that is heard of it
				c.report(ns, "a", healthy, chanceReport)
			}
		}
		if phase < 2 {
			c.until(c.now.Add(5 * time.Minute))
		} else {
			c.until(c.now.Add(33 * time.Second)) // jobs are late after 35
		}
		for _, id := range c.conf.Notify.IDs() {
			for key := range c.st.byKey {
				routed, held := c.routed(id, key), false
				for p := range c.parents(key) {
					held = held || c.isDown(p)
				}
				if _, knows := c.heard[id][key]; routed && !held && c.isDown(key) && !knows {
					c.fault("%s was not told that %v is dead", id, key)
				}
				if phase < 2 && !c.isDown(key) && (phase == 0 || len(c.st.byKey[key].dependents) == 0) {
					c.fault("%v is not dead", key)
				}
			}
			if n := len(c.heard[id]); phase == 2 && n > 0 {
				c.fault("%s takes %d nodes for down at the end", id, n)
			}
		}
	}
}

// Whatever happens, each channel hears of each beginning once, of the end of
// exactly what it heard of, and never of what its routes or a maintenance keep
// from it. VIGIL_SEQUENCES says how many lives are tried, VIGIL_SEED is the
// seed of the first.
func TestAlertsOverRandomLives(t *testing.T) {
	number := func(name string, def uint64) uint64 {
		if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
			return n
		}
		return def
	}
	first := number("VIGIL_SEED", rand.Uint64()>>1)
	lives := number("VIGIL_SEQUENCES", 300)
	t.Logf("%d lives from seed %d on", lives, first)
	var next, messages atomic.Uint64
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < lives && !t.Failed(); i = next.Add(1) - 1 {
				c := live(first + i)
				messages.Add(uint64(strings.Count(strings.Join(c.story, "\n"), " hears ")))
				if len(c.faults) > 0 {
					t.Errorf("seed %d: %s\n%s", first+i, c.faults[0], strings.Join(c.story, "\n"))
				}
			}
		})
	}
	all.Wait()
	if messages.Load() < lives {
		t.Errorf("only %d messages", messages.Load())
	}
}

// live is the life of a seed.
func live(seed uint64) *chance {
	c := &chance{rnd: rand.New(rand.NewPCG(seed, 1)), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		truth: make(map[nodeKey]truth), levels: make(map[nodeKey]*level), labels: make(map[nodeKey]string), acked: make(map[nodeKey]time.Time),
		down: make(map[string]bool), waiting: make(map[string][]notify.Alert), heard: make(map[string]map[nodeKey]notify.Outage)}
	c.conf = c.config()
	c.tell("channels %v, routes %+v", c.conf.Notify.IDs(), c.conf.Routes)
	c.tellNodes()
	c.disk = &disk{dir: newMemFolder()}
	c.start()
	for range 40 {
		if c.step(); len(c.faults) > 0 {
			return c
		}
	}
	c.end()
	return c
}
