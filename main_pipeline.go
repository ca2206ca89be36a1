package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
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
	a.snaps.publish(a.state.snapshot(now))
}

// reload reads the config again and builds its pipeline. If anything is wrong
// with it, reload logs that, answers the request and returns nil: the current
// config stays.
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

const reloadUsage = `usage: vigil reload [-c config.cfg] [-url url] [-json]

Makes the running Vigil reload its config and prints what changed. If the config
has mistakes, it prints all of them, and Vigil keeps its current config.

` + clientHelp + `
examples:

  vigil reload -c /etc/vigil/config.cfg
  VIGIL_MANAGER_TOKEN=secret vigil reload -url https://status.example.com/

Exit status: 0 if the config was reloaded, 1 if not, 2 for wrong usage.
`

// runReload is "vigil reload".
func runReload(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := newClientCommand(flag.NewFlagSet("vigil reload", flag.ContinueOnError), reloadUsage, stdout, stderr)
	return c.run(ctx, args, c.noArgs, func(ctx context.Context) (int, error) {
		var changed configChanges
		if err := c.client.callWithin(ctx, reloadTime+clientTime, http.MethodPost, "reload/", nil, &changed); err != nil {
			return exitError, err
		}
		if c.flags.json {
			return exitOK, c.out.json(changed)
		}
		var rows [][]cell
		for _, list := range changed.lists() {
			if len(list.items) > 0 {
				rows = append(rows, plain(list.name, strings.Join(list.items, ", ")))
			}
		}
		if len(rows) == 0 {
			fmt.Fprintln(stdout, "Reloaded, nothing has changed.")
			return exitOK, nil
		}
		fmt.Fprintln(stdout, "Reloaded:")
		c.out.columns(rows)
		return exitOK, nil
	})
}

// A reloadRequest asks for the config to be read again. The answer goes to
// done, which has a capacity of 1, or nowhere when done is nil.
type reloadRequest struct{ done chan<- reloadAnswer }

// A reloadAnswer says what a reload changed, or why it failed.
type reloadAnswer struct {
	changes configChanges
	err     error
}

func (r reloadRequest) answer(a reloadAnswer) {
	if r.done != nil {
		r.done <- a
	}
}

// forwardHangups turns each SIGHUP into a request, until ctx ends.
func forwardHangups(ctx context.Context, hangup <-chan os.Signal, requests chan<- reloadRequest) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
		}
		select {
		case <-ctx.Done():
			return nil
		case requests <- reloadRequest{}:
		}
	}
}

// runUntilReload runs what one config asks for, until ctx ends or until reload
// has built what the next config asks for. It returns that, and whether there
// is any.
func runUntilReload[T any](ctx context.Context, requests <-chan reloadRequest,
	run func(context.Context) error, reload func(context.Context, reloadRequest) (T, bool)) (next T, ok bool, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return run(ctx) })
	g.Go(func() error {
		for !ok {
			select {
			case <-ctx.Done():
				return nil
			case request := <-requests:
				next, ok = reload(ctx, request)
			}
		}
		stop()
		return nil
	})
	err = g.Wait()
	return next, ok, err
}

// logFailedReload logs each line of err, which is why a config is not used.
func logFailedReload(log *slog.Logger, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		log.Error("reload failed, keeping the current config", "problem", line)
	}
}

// configChanges are the differences between two configs.
type configChanges struct {
	Sections []string `json:"sections"` // tables that differ, other than [probe]
	Added    []string `json:"added"`    // nodes, as service:node
	Removed  []string `json:"removed"`
	Changed  []string `json:"changed"`
}

// changes compares two configs.
func changes(old, conf *Config) configChanges {
	c := configChanges{Sections: []string{}, Added: []string{}, Removed: []string{}, Changed: []string{}}
	section := func(name string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			c.Sections = append(c.Sections, name)
		}
	}
	section("server", old.Server, conf.Server)
	section("assets", old.Assets, conf.Assets)
	section("branding", old.Branding, conf.Branding)
	section("metrics", old.Metrics, conf.Metrics)
	section("plugins", old.RabbitMQ, conf.RabbitMQ)
	oldNotify, notify := old.Notify, conf.Notify
	oldNotify.Page, notify.Page = conf.Notify.Page, conf.Notify.Page // belongs to branding
	section("notify", []any{old.Alerting, oldNotify, old.Routes, old.Deadman}, []any{conf.Alerting, notify, conf.Routes, conf.Deadman})
	section("storage", old.Storage, conf.Storage)
	section("mirror", old.Mirror, conf.Mirror)
	section("maintenance", old.Maintenance, conf.Maintenance)
	section("probe", old.Connectivity, conf.Connectivity)

	nodes := func(c *Config) map[nodeKey]*Node {
		m := make(map[nodeKey]*Node)
		for s, n := range c.nodes() {
			m[nodeKey{s.ID, n.ID}] = n
		}
		return m
	}
	before, after := nodes(old), nodes(conf)
	for key, n := range after {
		name := key.service + ":" + key.node
		if was := before[key]; was == nil {
			c.Added = append(c.Added, name)
		} else if !sameNode(was, n, &old.Metrics, &conf.Metrics) {
			c.Changed = append(c.Changed, name)
		}
	}
	for key := range before {
		if after[key] == nil {
			c.Removed = append(c.Removed, key.service+":"+key.node)
		}
	}
	slices.Sort(c.Added)
	slices.Sort(c.Removed)
	slices.Sort(c.Changed)
	return c
}

// A changeList is one kind of change with what it befell.
type changeList struct {
	name  string
	items []string
}

func (c configChanges) lists() []changeList {
	return []changeList{{"sections", c.Sections}, {"added", c.Added}, {"removed", c.Removed}, {"changed", c.Changed}}
}

// attrs returns the changes as attributes of a log line.
func (c configChanges) attrs() (attrs []any) {
	for _, list := range c.lists() {
		if len(list.items) > 0 {
			attrs = append(attrs, list.name, summary(list.items))
		}
	}
	if attrs == nil {
		attrs = []any{"changes", "none"}
	}
	return attrs
}

// String returns the changes on one line.
func (c configChanges) String() string {
	var parts []string
	for _, list := range c.lists() {
		if len(list.items) > 0 {
			parts = append(parts, list.name+" "+summary(list.items))
		}
	}
	return strings.Join(parts, "; ")
}

// summary lists the first names and counts the others.
func summary(names []string) string {
	const most = 10
	if rest := len(names) - most; rest > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), rest)
	}
	return strings.Join(names, ", ")
}

// sameNode reports whether two configs have the same node. A change of [metrics]
// or of a node that it depends on is no change of its own.
func sameNode(a, b *Node, metricsA, metricsB *Metrics) bool {
	x, y := *a, *b
	if x.Metrics == metricsA && y.Metrics == metricsB {
		x.Metrics, y.Metrics = nil, nil
	}
	if (x.TLS.Roots == nil) != (y.TLS.Roots == nil) || x.TLS.Roots != nil && !x.TLS.Roots.Equal(y.TLS.Roots) {
		return false
	}
	if !slices.EqualFunc(x.DependsOn, y.DependsOn, func(m, n *Node) bool { return m.ID == n.ID }) {
		return false
	}
	x.TLS.Roots, y.TLS.Roots, x.DependsOn, y.DependsOn = nil, nil, nil, nil
	return reflect.DeepEqual(&x, &y)
}

// meters are the figures that outlive a pipeline, so that a reload does not
// reset them.
type meters struct {
	started            time.Time
	poll, script       poolMeter
	connectivityPanics atomic.Int64
	inconclusive       inconclusiveMeter
	deliveries         deliveryMeter
	reloads            reloadMeter
}

// count makes the probes count in these meters.
func (p *probes) count(m *meters) {
	p.poll.meter, p.script.meter = &m.poll, &m.script
	p.connectivity.panics = &m.connectivityPanics
	p.connectivity.meter, p.machine.meter = &m.inconclusive, &m.inconclusive
}

// begin notes that the program starts, with a config that is good.
func (m *meters) begin(now time.Time) {
	m.started = now
	m.reloads.last.Store(now.Unix())
}

// A reloadMeter counts the configs that were taken over and those refused.
type reloadMeter struct {
	good, bad atomic.Uint64
	last      atomic.Int64 // when a config was taken over last, in Unix seconds
	refused   atomic.Bool  // the last one was
}

// took notes that a config was taken over, or refused.
func (m *reloadMeter) took(good bool, now time.Time) {
	m.refused.Store(!good)
	if !good {
		m.bad.Add(1)
		return
	}
	m.good.Add(1)
	m.last.Store(now.Unix())
}
