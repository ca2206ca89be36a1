package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"vigil/notify"
)

// A pipeline is the way of the data under one config: pools check replicas,
// the aggregator books results and reports, the dispatcher tells people.
type pipeline struct {
	conf       *Config
	probes     *probes
	poller     *poller
	scripter   *scripter
	targets    []notify.Target
	dispatcher *notify.Dispatcher
	meters     *meters
}

// newPipeline builds the pipeline of a config without starting it, so that
// what does not work is known before an older one is stopped.
func newPipeline(conf *Config, probes *probes, s *store, m *meters, log *slog.Logger) (*pipeline, error) {
	poller, err := newPoller(conf.Metrics, conf.Branding.PageURL, probes.pinger)
	if err != nil {
		return nil, fmt.Errorf("probes: %w", err)
	}
	targets := conf.Notify.Targets(version)
	return &pipeline{
		conf:       conf,
		probes:     probes,
		poller:     poller,
		scripter:   newScripter(conf.Metrics.ScriptInterval, log),
		targets:    targets,
		dispatcher: notify.NewDispatcher(targets, s, log),
		meters:     m,
	}, nil
}

// watch checks replicas and applies results until ctx ends, which is no error.
// Checks under way go on then, until life ends. It closes alerts.
func (p *pipeline) watch(life, ctx context.Context, a *aggregator, alerts chan<- notify.Alert) error {
	p.probes.adopt(p.conf.Metrics, p.conf.Services, p.conf.Connectivity, p.poller, p.scripter)
	a.alerts, a.confirm = alerts, p.probes.connectivity.asked()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.probes.run(life, ctx.Done()) })
	g.Go(func() error { return a.run(ctx) })
	return g.Wait()
}

// deliver delivers until alerts is closed.
func (p *pipeline) deliver(ctx context.Context, alerts <-chan notify.Alert) error {
	p.meters.deliveries.begin(p.dispatcher)
	defer p.meters.deliveries.end(p.dispatcher)
	return p.dispatcher.Run(ctx, alerts)
}

// alertBuffer is how many alerts may wait for the dispatcher, which takes them
// as soon as it gets to run.
const alertBuffer = 64

// runPipelines runs p and then, with each good config that a hangup brings,
// the pipeline of that one around the same state, until ctx ends. Undelivered
// is what an earlier program left.
func (h *host) runPipelines(ctx context.Context, p *pipeline, a *aggregator, undelivered backlog, hangup <-chan os.Signal) error {
	g, ctx := errgroup.WithContext(ctx)
	for target, alerts := range undelivered {
		p.dispatcher.Restore(target, alerts)
	}
	for p != nil {
		alerts := make(chan notify.Alert, alertBuffer)
		deliver := p.deliver
		g.Go(func() error {
			// The last alerts go out after the end of ctx; that of their
			// channel ends the deliveries.
			return deliver(context.WithoutCancel(ctx), alerts)
		})
		next, err := h.untilReload(ctx, p, a, alerts, hangup)
		if err != nil {
			g.Go(func() error { return err })
		}
		if next != nil {
			next.dispatcher.Follow(p.dispatcher)
			h.adopt(next, a)
			h.supervisor.ready("serving " + h.front.address())
		}
		p = next
	}
	return g.Wait()
}

// untilReload runs p until ctx ends, and then returns nil, or until there is
// a next pipeline to run.
func (h *host) untilReload(life context.Context, p *pipeline, a *aggregator, alerts chan<- notify.Alert, hangup <-chan os.Signal) (next *pipeline, err error) {
	ctx, stop := context.WithCancel(life)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.watch(life, ctx, a, alerts) })
	g.Go(func() error {
		for next == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-hangup:
				h.supervisor.reloading()
				if next = h.reload(ctx, p.conf, a.store); next == nil {
					h.supervisor.ready("serving with the old config: the log says what is wrong with the new one")
				}
			}
		}
		p.dispatcher.HandOver()
		stop()
		return nil
	})
	err = g.Wait()
	return next, err
}

// adopt makes the aggregator's state that of another config. It is called
// between two pipelines, when nobody else touches the state: what came under
// the old config is booked, then the new one is taken up.
func (h *host) adopt(next *pipeline, a *aggregator) {
	now := time.Now()
	for {
		select {
		case ev := <-h.events:
			a.applyOne(ev, now)
			continue
		default:
		}
		break
	}
	a.state.reload(next.conf, now)
	a.state.keepFor(next.targets)
	a.board.publish(a.state.snapshot(now))
}

// reload reads the config again and builds its pipeline. With anything wrong
// in it, it logs that and returns nil: the old one stays in force.
func (h *host) reload(ctx context.Context, old *Config, s *store) *pipeline {
	const refused = "config not reloaded, the old one stays in force"
	conf, err := h.load(ctx)
	if err == nil {
		// A template or an asset may be broken, too.
		_, err = newSite(conf, conf.Assets, h.log)
	}
	var p *pipeline
	if err == nil {
		p, err = newPipeline(conf, h.probes, s, &h.meters, h.log)
	}
	if err == nil {
		err = h.front.move(ctx, conf.Server)
	}
	if err != nil {
		h.meters.reloads.took(false, time.Now())
		h.level.Set(logLevel(old.Server.LogLevel))
		for line := range strings.SplitSeq(err.Error(), "\n") {
			h.log.Error(refused, "problem", line)
		}
		return nil
	}
	if conf.Storage != old.Storage {
		h.log.Warn("storage.path takes effect at the next start only", "path", conf.Storage.Path)
	}
	h.meters.reloads.took(true, time.Now())
	h.log.Info("config reloaded", changes(old, conf)...)
	return p
}

// changes says what is different in the new config, as attributes of a log
// line: the sections that differ, and the nodes that came, went or differ.
func changes(old, conf *Config) []any {
	var sections []string
	section := func(name string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			sections = append(sections, name)
		}
	}
	section("server", old.Server, conf.Server)
	section("assets", old.Assets, conf.Assets)
	section("branding", old.Branding, conf.Branding)
	section("metrics", old.Metrics, conf.Metrics)
	section("plugins", old.RabbitMQ, conf.RabbitMQ)
	oldNotify, notify := old.Notify, conf.Notify
	oldNotify.Page, notify.Page = conf.Notify.Page, conf.Notify.Page // that is of branding
	section("notify", []any{old.Alerting, oldNotify}, []any{conf.Alerting, notify})
	section("storage", old.Storage, conf.Storage)

	nodes := func(c *Config) map[nodeKey]*Node {
		m := make(map[nodeKey]*Node)
		for _, s := range c.Services {
			for _, n := range s.Nodes {
				m[nodeKey{s.ID, n.ID}] = n
			}
		}
		return m
	}
	before, after := nodes(old), nodes(conf)
	var added, removed, changed []string
	for key, n := range after {
		name := key.service + ":" + key.node
		if was := before[key]; was == nil {
			added = append(added, name)
		} else if !reflect.DeepEqual(was, n) {
			changed = append(changed, name)
		}
	}
	for key := range before {
		if after[key] == nil {
			removed = append(removed, key.service+":"+key.node)
		}
	}
	attrs := []any{"path", conf.Path}
	for _, list := range []struct {
		name  string
		items []string
	}{{"sections", sections}, {"added", added}, {"removed", removed}, {"changed", changed}} {
		if len(list.items) > 0 {
			attrs = append(attrs, list.name, summary(list.items))
		}
	}
	if len(attrs) == 2 {
		attrs = append(attrs, "changes", "none")
	}
	return attrs
}

// summary lists a few names and counts the others.
func summary(names []string) string {
	const most = 10
	slices.Sort(names)
	if rest := len(names) - most; rest > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), rest)
	}
	return strings.Join(names, ", ")
}
