package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"vigil/notify"
)

// A pipeline does the work of one config: pools check replicas, the aggregator
// applies results and reports, the dispatcher delivers alerts.
type pipeline struct {
	conf       *Config
	probes     *probes
	poller     *poller
	scripter   *scripter
	targets    []notify.Target
	dispatcher *notify.Dispatcher
	meters     *meters
	request    reloadRequest // what it was built for, if anything
}

// newPipeline builds the pipeline of a config without starting it, so that
// errors show before the running one is stopped.
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
// Running checks go on then, until life ends. It closes alerts.
func (p *pipeline) watch(life, ctx context.Context, a *aggregator, alerts chan<- notify.Alert) error {
	p.probes.adopt(p.conf.Metrics, p.conf.Services, p.conf.Connectivity, p.poller, p.scripter)
	a.alerts, a.confirm = alerts, p.probes.connectivity.asked()
	g, ctx := errgroup.WithContext(ctx)
	a.check = func(nodes []*Node) {
		match := func(r *replica) bool { return slices.Contains(nodes, r.node) }
		for _, pool := range []*pool{p.probes.poll, p.probes.script} {
			g.Go(func() error { // the pool may wait for the aggregator
				select {
				case pool.asked <- &order{match: match}:
				case <-ctx.Done():
				}
				return nil
			})
		}
	}
	g.Go(func() error { return p.probes.run(life, ctx.Done()) })
	g.Go(func() error { return a.run(ctx) })
	return g.Wait()
}

// deliver delivers alerts until their channel is closed.
func (p *pipeline) deliver(ctx context.Context, alerts <-chan notify.Alert) error {
	p.meters.deliveries.begin(p.dispatcher)
	defer p.meters.deliveries.end(p.dispatcher)
	return p.dispatcher.Run(ctx, alerts)
}

// alertBuffer is how many alerts may wait for the dispatcher to run.
const alertBuffer = 64

// runPipelines runs p and then, after each reload, the pipeline of the new
// config around the same state, until ctx ends. Undelivered alerts are left
// over from an earlier run of the program.
func (d *daemon) runPipelines(ctx context.Context, p *pipeline, a *aggregator, undelivered backlog) error {
	g, ctx := errgroup.WithContext(ctx)
	life := ctx
	for target, alerts := range undelivered {
		p.dispatcher.Restore(target, alerts)
	}
	for {
		for channel, outages := range a.state.openOutages() {
			p.dispatcher.Told(channel, p.conf.Notify.Page, outages)
		}
		alerts := make(chan notify.Alert, alertBuffer)
		deliver := p.deliver
		g.Go(func() error {
			// The last alerts go out after ctx has ended; closing their
			// channel ends the deliveries.
			return deliver(context.WithoutCancel(ctx), alerts)
		})
		next, ok, err := runUntilReload(ctx, d.reloads,
			func(ctx context.Context) error { return p.watch(life, ctx, a, alerts) },
			func(ctx context.Context, r reloadRequest) (*pipeline, bool) {
				next := d.reload(ctx, r, p.conf)
				if next != nil {
					p.dispatcher.HandOver()
				}
				return next, next != nil
			})
		if err != nil {
			g.Go(func() error { return err })
		}
		if !ok {
			return g.Wait()
		}
		next.dispatcher.Follow(p.dispatcher)
		d.adopt(next, a)
		d.supervisor.ready("serving " + d.web.address())
		next.request.answer(reloadAnswer{changes: changes(p.conf, next.conf)})
		p = next
	}
}

// adopt moves the aggregator's state to the config of the next pipeline. It is
// called between two pipelines, when nobody else touches the state: events
// sent under the old config are applied first.
func (d *daemon) adopt(next *pipeline, a *aggregator) {
	now := time.Now()
	for {
		select {
		case ev := <-d.events:
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

// reload reads the config again and builds its pipeline. If anything is wrong
// with it, reload says so in the log and to whoever asked, and returns nil: the
// current config stays.
func (d *daemon) reload(ctx context.Context, r reloadRequest, old *Config) *pipeline {
	d.supervisor.reloading()
	p, st, err := d.prepare(ctx)
	if err == nil {
		err = d.web.move(ctx, p.conf.Server)
	}
	d.meters.reloads.took(err == nil, time.Now())
	if err != nil {
		d.level.Set(logLevel(old.Server.LogLevel))
		logFailedReload(d.log, err)
		d.eventLog.add(logEvent{Time: time.Now(), Kind: "reload", Result: "failed", Reason: oneLine(err.Error())})
		d.supervisor.ready("serving with the current config: the log says what is wrong with the new one")
		r.answer(reloadAnswer{err: err})
		return nil
	}
	if p.conf.Storage != old.Storage {
		d.log.Warn("storage.path takes effect at the next start", "path", p.conf.Storage.Path)
	}
	d.log.Info("config reloaded", append([]any{"path", p.conf.Path}, changes(old, p.conf).attrs()...)...)
	d.eventLog.add(logEvent{Time: time.Now(), Kind: "reload", Result: "done", Text: changes(old, p.conf).String()})
	d.page.next.Store(st)
	p.request = r
	return p
}

// prepare reads the config with its templates and assets, and builds its
// pipeline.
func (d *daemon) prepare(ctx context.Context) (*pipeline, *site, error) {
	conf, err := d.load(ctx)
	if err != nil {
		return nil, nil, err
	}
	st, err := interruptible(ctx, func() (*site, error) { return newSite(conf, conf.Assets, d.log) })
	if err != nil {
		return nil, nil, hangingAssets(conf, err)
	}
	p, err := newPipeline(conf, d.probes, d.store, &d.meters, d.log)
	return p, st, err
}
