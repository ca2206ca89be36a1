package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"vigil/notify"
)

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
	function := t.choice("reminder_backoff_function", backoffs[r.BackoffExponent], backoffs)
	for exponent, name := range backoffs {
		if name == function {
			r.BackoffExponent = exponent
		}
	}
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
			if !slices.Contains(ids, s) {
				sub.fault(item, "%s is no channel; allowed: %s%s", sub.show(item, s), channelsAllowed(ids), hint(s, ids))
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
	for _, s := range c.Services {
		for _, n := range s.Nodes {
			if !c.hasRoute(s.ID, n.ID) {
				untold = append(untold, s.ID+":"+n.ID)
			}
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
	return slices.ContainsFunc(c.Routes, func(r Route) bool { return r.Match.matches(service, node) })
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
