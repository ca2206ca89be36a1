package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vigil/notify"
)

const notifyUsage = `usage: vigil notify [-c config.cfg] [-to slack] [-status dead]

Sends one message through each channel of the config, all at the same time, and
prints for each whether the service accepted it or why not. The messages are
marked as tests. Channels with reminders_only get one, too. Nothing is retried.
It needs no running Vigil.

  -c, --config file   the config; default: ./config.cfg
  -to id              only this channel or recipient, like slack or pushover#2
  -status status      what the messages report: healthy (default), sick or dead

examples:

  vigil notify -c /etc/vigil/config.cfg
  vigil notify -to slack -status dead

Exit status: 0 if every message was accepted, 1 if one was not or the config
has an error, 2 for wrong usage.
`

// runNotify is "vigil notify".
func runNotify(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil notify", flag.ContinueOnError)
	path := configFlag(fs)
	to := filledFlag(fs, "to", "a channel or recipient")
	channel := filledFlag(fs, "channel", "a channel or recipient") // as in version 1
	word := fs.String("status", string(notify.Healthy), "")
	if code, ok := parseFlags(fs, notifyUsage, args, stdout, stderr); !ok {
		return code
	}
	status := notify.Status(*word)
	if !slices.Contains([]notify.Status{notify.Healthy, notify.Sick, notify.Dead}, status) {
		return wrongUsage(fs, stderr, fmt.Errorf("-status %q: want healthy, sick or dead", *word))
	}
	*to = cmp.Or(*to, *channel)
	conf, _, err := loadConfig(context.Background(), *path, os.LookupEnv)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitError
	}

	targets := conf.Notify.Targets(version)
	if len(targets) == 0 {
		fmt.Fprintf(stderr, "vigil notify: %s configures no channel: it needs a table like [notify.slack]\n", configName(conf))
		return exitError
	}
	if *to != "" {
		var names []string
		var chosen []notify.Target
		for _, t := range targets {
			names = append(names, t.Name)
			if t.Channel == *to || t.Name == *to {
				chosen = append(chosen, t)
			}
		}
		if targets = chosen; len(targets) == 0 {
			return wrongUsage(fs, stderr, fmt.Errorf("-to %q: %s configures %s", *to, configName(conf), strings.Join(names, ", ")))
		}
	}
	if !sendTest(ctx, targets, testAlert(status, conf.Notify.Page, time.Now()), stdout) {
		return exitError
	}
	return exitOK
}

// configName is how messages call the file that a config came from.
func configName(c *Config) string {
	if c.Path == "" {
		return "the built-in sample config"
	}
	return c.Path
}

// testAlert is an alert that is clearly a test.
func testAlert(status notify.Status, page notify.Page, now time.Time) notify.Alert {
	a := notify.Alert{
		ID:     rand.Text(),
		Kind:   notify.Changed,
		Status: status,
		Time:   now,
		Page:   page,
		Test:   true,
	}
	if status != notify.Healthy {
		a.Outages = []notify.Outage{{
			ID: a.ID, Service: "vigil", Node: "notify", ServiceLabel: "Vigil", NodeLabel: "Test",
			Status: status, Since: now, New: true, Instances: 1,
			Replicas: []notify.Replica{{Path: "vigil:notify:test", Reason: "only a test"}},
		}}
	}
	return a
}

// sendTest delivers the alert to all targets at once, prints what became of it
// in their order and reports whether all accepted it.
func sendTest(ctx context.Context, targets []notify.Target, a notify.Alert, stdout io.Writer) bool {
	results := make([]chan error, len(targets))
	for i, t := range targets {
		results[i] = make(chan error, 1)
		go func() { results[i] <- t.Deliver(ctx, a) }()
	}
	all := true
	for i, t := range targets {
		if err := <-results[i]; err != nil {
			all = false
			fmt.Fprintf(stdout, "%s: %v\n", t.Name, err)
			continue
		}
		fmt.Fprintf(stdout, "%s: accepted\n", t.Name)
	}
	return all
}

// A deadman calls a URL at an interval while all is well with this Vigil: its
// checks run on time, its journal can be written, and no channel has been
// failing for an hour. When the calls stop, the service behind the URL raises
// the alarm.
type deadman struct {
	snaps      *snapshots
	events     chan<- event
	deliveries func() map[string]deliveryCounts
	failing    func() bool // the journal is
	client     *http.Client
	log        *slog.Logger

	conf   *Config   // the current one, and since when
	began  time.Time // it is, or the program runs
	broken map[string]brokenChannel
	held   string // why the last call was held back; "" when it was not
	missed bool   // the last call failed

	// For the metrics.
	calls   atomic.Uint64
	holding atomic.Bool
}

// A brokenChannel is a channel as it was when it last changed.
type brokenChannel struct {
	delivered, failed uint64
	since             time.Time // since when it has been failing; zero: it is not
}

// deadmanTimeout bounds each call, and each wait for the aggregator.
const deadmanTimeout = 10 * time.Second

// maxBroken is how long a channel may fail.
const maxBroken = time.Hour

// idleDeadman is how often a config without a deadman is looked at again.
const idleDeadman = 5 * time.Second

func newDeadman(b *snapshots, events chan<- event, m *meters, s *store, log *slog.Logger) *deadman {
	return &deadman{
		snaps: b, conf: b.load().conf, events: events, deliveries: m.deliveries.read, failing: s.meter.failing.Load, log: log,
		client: &http.Client{Timeout: deadmanTimeout, CheckRedirect: followNone},
	}
}

// run calls until ctx ends, which is no error.
func (d *deadman) run(ctx context.Context) error {
	d.began = time.Now()
	var last time.Time // turn
	for {
		wait := idleDeadman
		if conf := d.snaps.load().conf.Deadman; conf != nil {
			if time.Since(last) >= conf.Interval {
				d.turn(ctx, conf)
				last = time.Now()
			}
			wait = min(wait, time.Until(last.Add(conf.Interval))) // which a reload may change
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// turn makes one call, or says why not.
func (d *deadman) turn(ctx context.Context, conf *Deadman) {
	now := time.Now()
	d.watchChannels(now)
	held := d.trouble(ctx, now)
	if ctx.Err() != nil {
		return
	}
	switch {
	case held != "" && d.held == "":
		d.log.Error("dead-man's switch held back", "reason", held)
	case held == "" && d.held != "":
		d.log.Info("dead-man's switch called again", "after", d.held)
	}
	d.held = held
	d.holding.Store(held != "")
	if held != "" {
		return
	}
	err := d.call(ctx, string(conf.URL))
	if missed := err != nil; missed != d.missed && ctx.Err() == nil {
		d.missed = missed
		if missed {
			d.log.Error("dead-man's switch cannot be called", "err", err)
		} else {
			d.log.Info("dead-man's switch can be called again")
		}
	}
}

// call sends one GET. Its errors do not hold the URL, which is a secret.
func (d *deadman) call(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return errURLHost
	}
	req.Header.Set("User-Agent", "vigil/"+version)
	resp, err := d.client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %s", req.URL.Host, reasonFor(withoutURL(err), deadmanTimeout, time.Now()))
	}
	resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: HTTP %d", req.URL.Host, resp.StatusCode)
	}
	d.calls.Add(1)
	return nil
}

// trouble returns what is wrong with this Vigil, or "".
func (d *deadman) trouble(ctx context.Context, now time.Time) string {
	if d.failing() {
		return "the storage folder cannot be written"
	}
	for _, name := range slices.Sorted(maps.Keys(d.broken)) {
		if b := d.broken[name]; !b.since.IsZero() && now.Sub(b.since) >= maxBroken {
			return fmt.Sprintf("channel %s has been failing for over an hour", name)
		}
	}
	limited, cancel := context.WithTimeout(ctx, deadmanTimeout)
	defer cancel()
	alive := make(chan struct{}, 1)
	if send(limited, d.events, pulse(alive)) != nil {
		return "the aggregator does not answer"
	}
	select {
	case <-alive:
	case <-limited.Done():
		return "the aggregator does not answer"
	}
	return d.late(now)
}

// late returns which check has not come to an end in time, or "".
func (d *deadman) late(now time.Time) string {
	snap := d.snaps.load()
	if snap.conf != d.conf { // its new nodes have their time from now on
		d.conf, d.began = snap.conf, now
	}
	for s, n := range snap.nodes() {
		limit := cmp.Or(n.conf.Metrics, &snap.conf.Metrics).lapse(n.conf.Mode)
		if limit == 0 {
			continue
		}
		for _, r := range n.replicas.all() {
			last := d.began
			if r.last != 0 {
				last = time.UnixMilli(r.last)
			}
			if now.Sub(last) > limit {
				return fmt.Sprintf("%s:%s was last checked %s ago", s.conf.ID, n.conf.ID, seconds(now.Sub(last).Round(time.Second)))
			}
		}
	}
	return ""
}

// watchChannels notes since when each channel has delivered nothing in spite of
// its tries.
func (d *deadman) watchChannels(now time.Time) {
	all := d.deliveries()
	configured := d.snaps.load().conf.Notify.IDs()
	if d.broken == nil {
		d.broken = make(map[string]brokenChannel)
	}
	// The counts have the channels of earlier configs, too.
	maps.DeleteFunc(d.broken, func(name string, _ brokenChannel) bool { return !slices.Contains(configured, name) })
	for _, name := range configured {
		b, c := d.broken[name], all[name]
		failed := c.retried + c.refused + c.givenUp
		switch {
		case c.delivered != b.delivered:
			b.since = time.Time{}
		case failed != b.failed && b.since.IsZero():
			b.since = now
		}
		b.delivered, b.failed = c.delivered, failed
		d.broken[name] = b
	}
}

// A deliveryMeter adds up what became of alerts, over all dispatchers since
// the start: that of an earlier config may still be at work.
type deliveryMeter struct {
	mu   sync.Mutex
	live []*notify.Dispatcher
	past map[string]deliveryCounts // of those that have ended, by channel
}

// deliveryCounts are the numbers of one channel's targets together.
type deliveryCounts struct {
	delivered, retried, refused, givenUp, merged, panics uint64
	queued                                               int64
}

func (c *deliveryCounts) add(s notify.TargetStats) {
	c.delivered += s.Delivered
	c.retried += s.Failed
	c.refused += s.Refused
	c.givenUp += s.GivenUp
	c.merged += s.Merged
	c.panics += s.Panics
	c.queued += s.Queued
}

// begin takes the numbers of d into account until end.
func (m *deliveryMeter) begin(d *notify.Dispatcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live = append(m.live, d)
}

// end notes that d has ended. What it did still counts, but what waited in its
// queues now waits elsewhere.
func (m *deliveryMeter) end(d *notify.Dispatcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.past == nil {
		m.past = make(map[string]deliveryCounts)
	}
	m.live = slices.DeleteFunc(m.live, func(other *notify.Dispatcher) bool { return other == d })
	for _, s := range d.Stats() {
		s.Queued = 0
		c := m.past[s.Channel]
		c.add(s)
		m.past[s.Channel] = c
	}
}

// read returns the numbers by channel.
func (m *deliveryMeter) read() map[string]deliveryCounts {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]deliveryCounts, len(m.past))
	maps.Copy(all, m.past)
	for _, d := range m.live {
		for _, s := range d.Stats() {
			c := all[s.Channel]
			c.add(s)
			all[s.Channel] = c
		}
	}
	return all
}

// panics returns how many deliveries were broken off by a fault.
func (m *deliveryMeter) panics() (n uint64) {
	for _, c := range m.read() {
		n += c.panics
	}
	return n
}
