package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"vigil/notify"
)

// A chance is one random life of a program: deaths, recoveries, reloads,
// restarts, kills, maintenances and channels that are out of reach. It checks
// each message that is delivered.
type chance struct {
	rnd  *rand.Rand
	conf *Config
	st   *state
	disk *disk
	now  time.Time
	own  []*replica

	status  map[nodeKey]status       // what the targets are
	since   map[nodeKey][3]time.Time // since when they are at least sick, and dead
	down    map[string]bool          // channels out of reach
	waiting map[string][]notify.Alert
	backlog backlog // what the store takes to be undelivered
	heard   map[string]map[nodeKey]notify.Status
	unsaved []notify.Alert
	crash   bool // the program is killed before it saves its next alert
	story   []string
	faults  []string
}

func (c *chance) tell(format string, args ...any) {
	c.story = append(c.story, fmt.Sprintf("%8s ", c.now.Format("15:04:05"))+fmt.Sprintf(format, args...))
}

func (c *chance) fault(format string, args ...any) {
	c.tell("FAULT "+format, args...)
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

// config makes up a config: some nodes, some channels, perhaps routes.
func (c *chance) config() *Config {
	conf := &Config{Alerting: Alerting{BackoffLimit: 2, Startup: c.rnd.IntN(2) == 0}}
	if c.rnd.IntN(2) == 0 {
		conf.Alerting.ReminderInterval = 2 * time.Minute
	}
	for _, s := range []string{"x", "y"} {
		service := &Service{ID: s}
		for _, n := range []string{"1", "2", "3"} {
			if c.rnd.IntN(4) > 0 {
				service.Nodes = append(service.Nodes, &Node{ID: n, Mode: modePoll, Targets: []Target{{Raw: "tcp://" + s + n}}})
			}
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
			r := Route{To: []string{ids[c.rnd.IntN(len(ids))]}, MinStatus: dead, Reminders: conf.Alerting.reminders(),
				Match: selectors{[]selector{"*", "x", "y:1", "x:2"}[c.rnd.IntN(4)]}}
			if c.rnd.IntN(3) == 0 {
				r.MinStatus = sick
			}
			r.After = time.Duration(c.rnd.IntN(3)*20) * time.Second
			r.RecoverAfter = time.Duration(c.rnd.IntN(3)*15) * time.Second
			conf.Routes = append(conf.Routes, r)
		}
	}
	return conf
}

// until lets time pass, and saves and delivers what becomes due.
func (c *chance) until(end time.Time) {
	for {
		c.st.expire(c.now)
		for {
			before := make(map[string]map[nodeKey]*told)
			for _, ch := range c.st.alerter.channels {
				before[ch.id] = maps.Clone(ch.told)
			}
			a, ok := c.st.alerter.due(c.st, c.now)
			if !ok {
				break
			}
			c.check(a, before[a.Channel])
			c.tell("to tell %s: %s of %d outages", a.Channel, a.Kind, len(a.Outages))
			c.st.keepAlert(a)
			c.unsaved = append(c.unsaved, a)
		}
		switch {
		case len(c.unsaved) > 0 && c.crash:
			c.crash = false
			c.tell("kill, losing %d alerts", len(c.unsaved))
			c.start()
		case len(c.unsaved) > 0:
			c.save()
		}
		at, _ := c.st.wake(c.now)
		if at.After(end) {
			break
		}
		c.now = at
	}
	c.now = end
}

func (c *chance) save() {
	if b, any := c.st.pendingBatch(c.now, false); any {
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
		c.waiting[a.Channel] = append(c.waiting[a.Channel], a)
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

// hear checks a message against all that the channel was told before.
func (c *chance) hear(id string, a notify.Alert) {
	known := c.heard[id]
	if known == nil {
		known = make(map[nodeKey]notify.Status)
		c.heard[id] = known
	}
	var said []string
	for _, o := range a.Outages {
		key := nodeKey{o.Service, o.Node}
		was, had := known[key]
		said = append(said, fmt.Sprintf("%s:%s new=%v over=%v gone=%v %s", o.Service, o.Node, o.New, o.Over, o.Gone, o.Status))
		switch {
		case o.Over && !had && !a.Repeat:
			c.fault("%s hears of the end of %v, of which it was not told", id, key)
		case o.New && had && !a.Repeat && !(was == notify.Sick && o.Status == notify.Dead):
			c.fault("%s hears of the beginning of %v twice", id, key)
		case !o.Over && !had && a.Kind == notify.Reminder:
			c.fault("%s is reminded of %v, of which it was not told", id, key)
		}
		if o.Over {
			delete(known, key)
		} else {
			known[key] = o.Status
		}
	}
	c.tell("%s hears %s %s repeat=%v: %s", id, a.Kind, a.Status, a.Repeat, strings.Join(said, ", "))
}

// check notes what an alert tells of beginnings that it must not, at the time
// when it is decided.
func (c *chance) check(a notify.Alert, before map[nodeKey]*told) {
	for _, o := range a.Outages {
		key := nodeKey{o.Service, o.Node}
		if o.Over || before[key] != nil {
			continue
		}
		allowed := false
		for _, r := range routesOf(c.conf, a.Channel) {
			allowed = allowed || r.Match.matches(key.service, key.node) && !c.since[key][r.MinStatus].IsZero() &&
				c.now.Sub(c.since[key][r.MinStatus]) >= r.After
		}
		if !allowed {
			c.fault("no route tells %s of %v now", a.Channel, key)
		}
		for _, q := range c.st.made {
			if q.running(c.now) && q.selectors.matches(key.service, key.node) {
				c.fault("%s hears of %v during a maintenance", a.Channel, key)
			}
		}
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

// drop forgets what channels were told that are no longer in the config.
func (c *chance) drop() {
	for id := range c.heard {
		if !slices.Contains(c.conf.Notify.IDs(), id) {
			delete(c.heard, id)
		}
	}
	for id, alerts := range c.backlog { // the dispatcher gives them up
		if !slices.Contains(c.conf.Notify.IDs(), id) {
			for _, a := range slices.Clone(alerts) {
				c.done(id, a)
			}
			delete(c.waiting, id)
		}
	}
}

func (c *chance) result(r *replica, s status) {
	key := nodeKey{r.service.ID, r.node.ID}
	since := c.since[key]
	for _, least := range []status{sick, dead} {
		if s < least {
			since[least] = time.Time{}
		} else if since[least].IsZero() {
			since[least] = c.now
		}
	}
	c.since[key] = since
	c.status[key] = s
	c.tell("%v is %v", key, s)
	c.st.applyResult(result{replica: r, status: s, at: c.now}, c.now)
}

func (c *chance) step() {
	c.until(c.now.Add(time.Duration(c.rnd.ExpFloat64() * float64(15*time.Second))))
	switch n := c.rnd.IntN(40); {
	case n < 28 && len(c.own) > 0:
		c.result(c.own[c.rnd.IntN(len(c.own))], status(c.rnd.IntN(3)))
	case n < 31:
		c.conf = c.config()
		c.tell("reload: %v, channels %v, routes %+v", len(replicas(c.conf.Services)), c.conf.Notify.IDs(), c.conf.Routes)
		c.save()
		c.st.reload(c.conf, c.now)
		c.keepFor()
		c.drop()
	case n < 33:
		c.save()
		c.now = c.now.Add(time.Minute)
		c.tell("restart")
		c.start()
	case n == 33:
		c.crash = true
	case n < 36:
		q := &quietTime{id: newUUID(), selectors: selectors{[]selector{"*", "x", "y:2"}[c.rnd.IntN(3)]}, silence: c.rnd.IntN(2) == 0}
		q.start = c.now.Add(time.Duration(c.rnd.IntN(30)) * time.Second)
		q.end = q.start.Add(time.Duration(1+c.rnd.IntN(90)) * time.Second)
		c.tell("quiet over %v from %v to %v", q.selectors, q.start.Format("15:04:05"), q.end.Format("15:04:05"))
		c.st.plan(q, c.now, make(chan error, 1))
	case n < 38:
		id := []string{"mail", "chat", "boss"}[c.rnd.IntN(3)]
		c.tell("%s is out of reach: %v", id, !c.down[id])
		if c.down[id] = !c.down[id]; !c.down[id] {
			c.deliver(id)
		}
	}
}

// end brings all to rest and checks that each channel knows what it should.
func (c *chance) end() {
	c.crash = false
	for id := range c.down {
		c.down[id] = false
	}
	for _, final := range []status{dead, healthy} {
		for _, r := range c.own {
			c.result(r, final)
		}
		c.until(c.now.Add(5 * time.Minute))
		c.save()
		for _, id := range c.conf.Notify.IDs() {
			for _, r := range c.own {
				key := nodeKey{r.service.ID, r.node.ID}
				routed := slices.ContainsFunc(routesOf(c.conf, id), func(r Route) bool { return r.Match.matches(key.service, key.node) })
				if _, knows := c.heard[id][key]; routed && final == dead && !knows {
					c.fault("%s was not told that %v is dead", id, key)
				}
			}
			if n := len(c.heard[id]); final == healthy && n > 0 {
				c.fault("%s takes %v for down at the end", id, c.heard[id])
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
	messages := 0
	for seed := first; seed < first+lives; seed++ {
		c := &chance{rnd: rand.New(rand.NewPCG(seed, 1)), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
			status: make(map[nodeKey]status), since: make(map[nodeKey][3]time.Time), down: make(map[string]bool),
			waiting: make(map[string][]notify.Alert), heard: make(map[string]map[nodeKey]notify.Status)}
		c.conf = c.config()
		c.tell("channels %v, routes %+v", c.conf.Notify.IDs(), c.conf.Routes)
		dir := newMemFolder()
		c.disk = &disk{dir: dir}
		c.start()
		for range 30 {
			c.step()
		}
		c.end()
		messages += strings.Count(strings.Join(c.story, "\n"), " hears ")
		if len(c.faults) > 0 {
			t.Fatalf("seed %d: %s\n%s", seed, c.faults[0], strings.Join(c.story, "\n"))
		}
	}
	if messages < int(lives) {
		t.Errorf("only %d messages", messages)
	}
}
