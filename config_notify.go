package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"vigil/notify"
)

// readNotify reads [notify]: when people are told, and through which channels.
func (c *Config) readNotify(t *table) {
	a := &c.Alerting
	a.Startup = t.yes("startup_notification", true)
	r := Reminders{BackoffLimit: 3}
	t.readReminders(&r, 1)
	a.ReminderInterval, a.BackoffExponent, a.BackoffLimit = r.ReminderInterval, r.BackoffExponent, r.BackoffLimit
	a.Escalate = t.yes("reminder_escalate", false)

	c.Notify.Page = notify.Page{Title: c.Branding.PageTitle, URL: c.Branding.PageURL}
	tables := make(map[string]*table) // of channels, by id
	for _, kind := range notify.Kinds() {
		for _, sub := range t.channelTables(kind) {
			ch := notify.Read(kind, channelKeys{sub})
			sub.rest()
			if other := tables[ch.ID]; other != nil && ch.ID != "" {
				sub.fault("id", "%q is also the id of the channel in line %d; allowed: a different id for each channel", ch.ID, other.line)
				continue
			}
			tables[ch.ID] = sub
			if ch.Service == nil {
				c.Notify.Off = append(c.Notify.Off, ch.ID)
				continue
			}
			c.Notify.Channels = append(c.Notify.Channels, ch)
		}
	}
	c.readRoutes(t)
	for _, ch := range c.Notify.Channels {
		routes := routesOf(c, ch.ID)
		if ch.RemindersOnly && len(routes) > 0 && !slices.ContainsFunc(routes, func(r Route) bool { return r.ReminderInterval > 0 }) {
			tables[ch.ID].warn("reminders_only", "is true, but reminder_interval is not set, so this channel gets no alerts")
		}
	}
	c.readDeadman(t)
	t.rest()
}

// backoffs are the backoff functions; the index is the exponent.
var backoffs = []string{"none", "linear", "square", "cubic"}

// channelTables returns the tables of the channels of a kind: [notify.KIND] or
// each [[notify.KIND]].
func (t *table) channelTables(kind string) []*table {
	switch t.vals[kind].(type) {
	case nil:
		t.get(kind) // now it is known
		return nil
	case []any, []map[string]any:
		return t.tables(kind)
	}
	if sub := t.table(kind); sub.vals != nil {
		return []*table{sub}
	}
	return nil
}

// channelKeys reads the keys of a channel's table for package notify. It
// implements notify.Keys.
type channelKeys struct{ t *table }

func (k channelKeys) Text(key, def string) string           { return k.t.text(key, def) }
func (k channelKeys) Required(key, allowed string) string   { return k.t.required(key, allowed) }
func (k channelKeys) HeaderSecret(key string) notify.Secret { return k.t.headerSecret(key) }
func (k channelKeys) URL(key, example string) string        { return k.t.endpoint(key, example) }
func (k channelKeys) BaseURL(key, def string) string        { return k.t.base(key, def) }
func (k channelKeys) Bool(key string, def bool) bool        { return k.t.yes(key, def) }
func (k channelKeys) Get(key string) (any, bool)            { return k.t.get(key) }
func (k channelKeys) Has(key string) bool                   { return k.t.has(key) }
func (k channelKeys) Mistyped(key string, value any, allowed string) {
	k.t.mistyped(key, value, allowed)
}
func (k channelKeys) Show(key, value string) string         { return k.t.show(key, value) }
func (k channelKeys) Fault(key, format string, args ...any) { k.t.fault(key, format, args...) }
func (k channelKeys) Warn(key, format string, args ...any)  { k.t.warn(key, format, args...) }
func (k channelKeys) CheckSecret(key, value string)         { k.t.checkSecret(key, value) }

func (k channelKeys) Secret(key string) notify.Secret { return k.t.secret(key, anyText) }

func (k channelKeys) Number(key string, def, lo, hi int64) int64 {
	return k.t.number(key, def, lo, hi, "")
}

// List reads one string or a list of strings, of which there must be one.
func (k channelKeys) List(key, allowed string, each func(item, s string)) {
	if s, ok := k.t.vals[key].(string); ok {
		if k.t.required(key, allowed); s != "" {
			each(key, s)
		}
		return
	}
	k.t.recipients(key, allowed, each)
}

// Table reads a table of strings.
func (k channelKeys) Table(key, allowed string) map[string]string {
	if !k.t.has(key) {
		k.t.get(key)
		return nil
	}
	if v := k.t.vals[key]; kind(v) != "a table" {
		k.t.get(key)
		k.t.mistyped(key, v, allowed)
		return nil
	}
	sub := k.t.table(key)
	m := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(sub.vals)) {
		m[name] = sub.text(name, "")
	}
	return m
}

const anyText = "any non-empty text"

// A selector chooses nodes: "service", "service:node" or "*" for all. Ids may
// hold colons, so a selector is compared and never split.
type selector string

// selectors choose the nodes that one of them chooses.
type selectors []selector

// matches reports whether the selector chooses a node of a service.
func (s selector) matches(service, node string) bool {
	if s == "*" || string(s) == service {
		return true
	}
	rest, ok := strings.CutPrefix(string(s), service)
	return ok && rest != "" && rest[0] == ':' && rest[1:] == node
}

// matches reports whether any of them chooses a node of a service.
func (ss selectors) matches(service, node string) bool {
	return slices.ContainsFunc(ss, func(s selector) bool { return s.matches(service, node) })
}

// checkSelector returns an error, to be put behind the selector, when it
// chooses nothing of the config.
func (c *Config) checkSelector(s selector) error {
	if s == "*" {
		return nil
	}
	var known []string
	for _, service := range c.Services {
		if string(s) == service.ID {
			return nil
		}
		known = append(known, service.ID)
		for _, n := range service.Nodes {
			if s.matches(service.ID, n.ID) {
				return nil
			}
			known = append(known, service.ID+":"+n.ID)
		}
	}
	return fmt.Errorf(`selects no service and no node; allowed: "*", a service's id, or service:node%s`, hint(string(s), known))
}

// selectors reads a list of selectors, or one of them.
func (c *Config) selectors(t *table, key string) selectors {
	var ss selectors
	read := func(item, s string) {
		if err := c.checkSelector(selector(s)); err != nil {
			t.fault(item, "%s %v", t.show(item, s), err)
			return
		}
		ss = append(ss, selector(s))
	}
	if s, ok := t.vals[key].(string); ok {
		t.get(key)
		read(key, s)
	} else {
		t.each(key, read)
	}
	return ss
}

// Reminders say how often people are reminded of an outage.
type Reminders struct {
	ReminderInterval time.Duration // 0: no reminders
	BackoffExponent  int           // 0 none, 1 linear, 2 square, 3 cubic
	BackoffLimit     int           // highest N of interval x N^exponent
}

// reminders returns those of [notify].
func (a *Alerting) reminders() Reminders {
	return Reminders{a.ReminderInterval, a.BackoffExponent, a.BackoffLimit}
}

// readReminders reads how often people are reminded; r holds the defaults.
func (t *table) readReminders(r *Reminders, least int64) {
	r.ReminderInterval = t.seconds("reminder_interval", r.ReminderInterval, least)
	r.BackoffExponent = slices.Index(backoffs, t.choice("reminder_backoff_function", backoffs[r.BackoffExponent], backoffs))
	r.BackoffLimit = t.count("reminder_backoff_limit", int64(r.BackoffLimit), 1_000_000)
	r.bound()
}

// A Route sends the outages of some nodes to some channels.
type Route struct {
	Match        selectors
	To           []string      // ids of channels
	MinStatus    status        // sick, or dead for deaths only
	After        time.Duration // how long an outage must have lasted
	RecoverAfter time.Duration // how long a node must have been well
	Reminders
}

// routes returns the indices of the routes that lead from a node to a channel.
// Without routes, all nodes lead to all channels: route -1.
func (c *Config) routes(service, node, channel string) (indices []int) {
	if len(c.Routes) == 0 {
		return []int{-1}
	}
	for i, r := range c.Routes {
		if slices.Contains(r.To, channel) && r.Match.matches(service, node) {
			indices = append(indices, i)
		}
	}
	return indices
}

// readRoutes reads [[notify.route]] after the services and the channels.
func (c *Config) readRoutes(t *table) {
	ids := c.Notify.IDs()
	used := make(map[string]bool)
	for _, sub := range t.tables("route") {
		r := Route{Match: selectors{"*"}, MinStatus: dead, Reminders: c.Alerting.reminders()}
		if sub.has("match") {
			r.Match = c.selectors(sub, "match")
			if sub.size("match") == 0 {
				sub.fault("match", `is empty; allowed: selectors like "web" or "web:api", or no match at all for every node`)
			}
		}
		sub.get("match")
		sub.recipients("to", "a list of channels", func(item, s string) {
			switch {
			case slices.Contains(c.Notify.Off, s):
				sub.warn(item, "%s is off, so this route does not lead there", sub.show(item, s))
				return
			case !slices.Contains(ids, s):
				sub.fault(item, "%s is not a channel; allowed: %s%s", sub.show(item, s), channelsAllowed(ids), hint(s, ids))
			}
			r.To = append(r.To, s)
			used[s] = true
		})
		if sub.choice("min_status", "dead", []string{"sick", "dead"}) == "sick" {
			r.MinStatus = sick
		}
		r.After = sub.seconds("after", 0, 0)
		r.RecoverAfter = sub.seconds("recover_after", 0, 0)
		sub.readReminders(&r.Reminders, 0)
		sub.rest()
		c.Routes = append(c.Routes, r)
	}
	if len(c.Routes) == 0 {
		return
	}
	for _, id := range ids {
		if !used[id] {
			t.warn("route", "no route leads to the channel %q, so it is never used", id)
		}
	}
	var untold []string
	for s, n := range c.nodes() {
		if !c.hasRoute(s.ID, n.ID) {
			untold = append(untold, s.ID+":"+n.ID)
		}
	}
	const most = 5
	switch n := len(untold); {
	case n > most:
		t.warn("route", "no route selects %s and %d more nodes, so nobody is told of them", strings.Join(untold[:most], ", "), n-most)
	case n > 0:
		t.warn("route", "no route selects %s, so nobody is told of it", strings.Join(untold, ", "))
	}
}

// hasRoute reports whether a node leads to any channel.
func (c *Config) hasRoute(service, node string) bool {
	return slices.ContainsFunc(c.Routes, func(r Route) bool { return len(r.To) > 0 && r.Match.matches(service, node) })
}

// channelsAllowed words the channels that a route may lead to.
func channelsAllowed(ids []string) string {
	if len(ids) == 0 {
		return "the id of a channel, of which this file has none"
	}
	return oneOf(ids)
}

// A Deadman is a URL that is called while all is well with Vigil itself.
type Deadman struct {
	URL      notify.Secret
	Interval time.Duration
}

// readDeadman reads [notify.deadman].
func (c *Config) readDeadman(t *table) {
	sub := t.table("deadman")
	if sub.vals == nil {
		return
	}
	c.Deadman = &Deadman{
		URL:      notify.Secret(sub.endpoint("url", "https://hc-ping.com/...")),
		Interval: sub.seconds("interval", time.Minute, 1),
	}
	sub.rest()
}
