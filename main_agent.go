package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"vigil/notify"
)

const localUsage = `usage: vigil local [-c config.cfg] [-log-format text]

Checks targets that a Vigil elsewhere cannot reach, behind a firewall or on a
loopback address, and reports their health to it. That Vigil must have the same
services and nodes in its config, with mode "local". Reads the config files of
Vigil Local.

  -c, --config file   the config; default: ./config.cfg
  -log-format format  text (the default) or json; the log goes to standard error

A config needs [report] with endpoint and token, and at least one
[[probe.service]] with a [[probe.service.node]] of mode "poll" or "script".
Keep the token out of the file: token = "${VIGIL_TOKEN}" reads it from the
environment.

SIGHUP reloads the config, SIGTERM and SIGINT stop cleanly. The other Vigil does
not learn of a stop: it shows the replicas as dead once their reports are
overdue.

examples:

  vigil local -c local.cfg
  VIGIL_TOKEN=secret vigil local -c local.cfg -log-format json

Exit status: 0 after a clean stop, 1 for a config or start-up error, 2 for
wrong usage.
`

// runLocal is "vigil local": it runs an agent until it is stopped.
func runLocal(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil local", flag.ContinueOnError)
	path := configFlag(fs)
	format := fs.String("log-format", "text", "")
	if code, ok := parseFlags(fs, localUsage, args, stdout, stderr); !ok {
		return code
	}
	log, level, err := newLogger(stderr, *format)
	if err != nil {
		return wrongUsage(fs, stderr, err)
	}
	l := &localDaemon{path: *path, log: log, level: level, reloads: make(chan reloadRequest)}
	if err := l.run(ctx); err != nil {
		fmt.Fprintln(stderr, err)
		return exitError
	}
	return exitOK
}

// A localDaemon runs an agent and, for it, the checks of one config after the
// other.
type localDaemon struct {
	path    string // of the config; "" is the default one
	log     *slog.Logger
	level   *slog.LevelVar
	reloads chan reloadRequest
}

// resultBuffer is how many results may wait for the agent.
const resultBuffer = 64

// run checks and reports until SIGINT or SIGTERM comes or ctx ends, which is
// no error. A second signal kills.
func (l *localDaemon) run(ctx context.Context) error {
	ctx, hangup, stop := notifySignals(ctx)
	defer stop()

	conf, err := l.load(ctx)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		l.log.Info("stopped")
		return nil // while it was reading the config
	}
	if err != nil {
		return err
	}
	results := make(chan event, resultBuffer)
	probes := newProbes(results, l.log)
	defer probes.close()
	c, err := newChecks(conf, probes, l.log)
	if err != nil {
		return err
	}
	a := newAgent(conf, newMasterClient(), l.log)
	confs := make(chan *LocalConfig)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.run(ctx, results, confs) })
	g.Go(func() error { return forwardHangups(ctx, hangup, l.reloads) })
	g.Go(func() error { return l.runChecks(ctx, c, confs) })
	l.log.Info("reporting", "replicas", len(replicas(conf.Services)), "endpoint", conf.Endpoint, "version", version)
	err = g.Wait()
	l.log.Info("stopped")
	return err
}

// load reads the config, logs its warnings and takes over its log level.
func (l *localDaemon) load(ctx context.Context) (*LocalConfig, error) {
	conf, warnings, err := loadLocal(ctx, l.path, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	l.level.Set(logLevel(conf.LogLevel))
	logWarnings(l.log, warnings)
	return conf, nil
}

// checks are the checks of one config.
type checks struct {
	conf     *LocalConfig
	probes   *probes
	poller   *poller
	scripter *scripter
}

// newChecks builds the checks of a config without starting them, so that errors
// show before the running ones are stopped.
func newChecks(conf *LocalConfig, p *probes, log *slog.Logger) (*checks, error) {
	poller, err := newPoller(conf.Metrics, conf.Endpoint, p.pinger)
	if err != nil {
		return nil, fmt.Errorf("probes: %w", err)
	}
	return &checks{conf: conf, probes: p, poller: poller, scripter: newScripter(conf.Interval, log)}, nil
}

// run checks the replicas until ctx ends, which is no error, or until pause is
// closed, while checks go on.
func (c *checks) run(ctx context.Context, pause <-chan struct{}) error {
	c.probes.adopt(c.conf.Metrics, c.conf.Services, nil, c.poller, c.scripter)
	return c.probes.run(ctx, pause)
}

// runChecks runs c and then, after each reload, the checks of the new config,
// until ctx ends. It sends each new config to the agent.
func (l *localDaemon) runChecks(ctx context.Context, c *checks, confs chan<- *LocalConfig) error {
	life := ctx
	for {
		next, ok, err := runUntilReload(ctx, l.reloads,
			func(ctx context.Context) error { return c.run(life, ctx.Done()) },
			func(ctx context.Context, _ reloadRequest) (*checks, bool) {
				next := l.reload(ctx, c.probes)
				return next, next != nil
			})
		if !ok || err != nil {
			return err
		}
		select {
		case confs <- next.conf:
		case <-ctx.Done():
			return nil
		}
		c = next
	}
}

// reload reads the config again and builds its checks. If anything is wrong
// with it, reload logs that and returns nil: the current config stays.
func (l *localDaemon) reload(ctx context.Context, p *probes) *checks {
	conf, err := l.load(ctx)
	var c *checks
	if err == nil {
		c, err = newChecks(conf, p, l.log)
	}
	if err != nil {
		logFailedReload(l.log, err)
		return nil
	}
	l.log.Info("config reloaded", "replicas", len(replicas(conf.Services)), "endpoint", conf.Endpoint)
	return c
}

const reportUsage = `usage: vigil report -url URL -service S -node N [flags]

Reports the CPU load and memory use of this host to a Vigil elsewhere, for a
node with mode "push" there, until it is stopped. The load is the average of the
last minute per CPU, so 1 means that all CPUs are busy. If a container or a
service has its own limit, the tighter one counts.

  -url URL            the URL of the other Vigil's page
  -service, -node id  the node, as in the other Vigil's config
  -replica id         the id of this host; default: the host name
  -interval time      between two reports, like 30s (default) or 5m; a bare
                      number is seconds
  -token token        the other Vigil's reporter_token. Prefer VIGIL_TOKEN in
                      the environment: everybody on this host sees the flags
  -flush              when stopped, have the other Vigil forget this host
  -once               report once and print the result, e.g. for cron. The other
                      Vigil shows the host as dead when the next report is
                      overdue, so set -interval to the time between two runs.
                      After a single try by hand, run it again with -flush
  -cpu x, -ram x      report these instead of measuring, where 1 is all of it;
                      both are required on systems other than Linux

With -once and -flush together, nothing is reported: the other Vigil forgets
this host.

examples:

  vigil report -url https://status.example.com/ -service web -node app
  vigil report -url http://10.0.0.5/ -service web -node app -once -interval 1h

Exit status: 0 after a clean stop, 1 for an error, 2 for wrong usage.
`

// runReport is "vigil report": it reports the load of this host until it is
// stopped.
func runReport(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil report", flag.ContinueOnError)
	var f reportFlags
	fs.StringVar(&f.url, "url", "", "")
	fs.StringVar(&f.token, "token", os.Getenv("VIGIL_TOKEN"), "")
	fs.StringVar(&f.service, "service", "", "")
	fs.StringVar(&f.node, "node", "", "")
	fs.StringVar(&f.replica, "replica", "", "")
	f.interval = 30 * time.Second
	fs.Func("interval", "", f.parseInterval)
	fs.BoolVar(&f.flush, "flush", false, "")
	fs.BoolVar(&f.once, "once", false, "")
	fs.Func("cpu", "", parseLoad(&f.cpu))
	fs.Func("ram", "", parseLoad(&f.ram))
	if code, ok := parseFlags(fs, reportUsage, args, stdout, stderr); !ok {
		return code
	}
	if err := f.check(); err != nil {
		return wrongUsage(fs, stderr, err)
	}
	log, level, _ := newLogger(stderr, "text") // the format exists
	level.Set(slog.LevelInfo)

	h, err := newHostReporter(&f, log)
	if err == nil {
		ctx, stop := notifyStop(ctx)
		defer stop()
		switch {
		case f.once && f.flush:
			if err = h.forget(ctx); err == nil {
				fmt.Fprintf(stdout, "%s has forgotten replica %s of %s:%s\n", f.url, f.replica, f.service, f.node)
			}
		case f.once:
			if err = h.runOnce(ctx); err == nil {
				fmt.Fprintf(stdout, "reported replica %s of %s:%s to %s; the next report is due within %s\n",
					f.replica, f.service, f.node, f.url, writeDuration(f.interval))
			}
		default:
			h.run(ctx, f.flush)
		}
	}
	if err != nil {
		return printError(fs, stderr, err)
	}
	return exitOK
}

// reportFlags are the flags of "vigil report". A nil load is measured.
type reportFlags struct {
	url, token, service, node, replica string
	interval                           time.Duration
	flush, once                        bool
	cpu, ram                           *float64
}

// parseInterval parses a duration, or a number of seconds.
func (f *reportFlags) parseInterval(s string) error {
	if n, err := strconv.Atoi(s); err == nil {
		s = strconv.Itoa(n) + "s"
	}
	d, err := parseDuration(s)
	if err != nil || d < time.Second || d > maxInterval*time.Second || d%time.Second != 0 {
		return fmt.Errorf("want whole seconds up to %d, or a duration like 30s or 5m", maxInterval)
	}
	f.interval = d
	return nil
}

// parseLoad returns a function that parses a load into x.
func parseLoad(x **float64) func(string) error {
	return func(s string) error {
		load, err := strconv.ParseFloat(s, 64)
		if err != nil || !(load >= 0 && load <= maxLoad) {
			return errors.New("want a number from 0 up, 1 for all there is")
		}
		*x = &load
		return nil
	}
}

// check returns the first mistake, and fills in the default replica.
func (f *reportFlags) check() error {
	for _, flag := range []struct{ name, value string }{
		{"-url", f.url}, {"-service", f.service}, {"-node", f.node},
	} {
		if flag.value == "" {
			return fmt.Errorf("%s is missing", flag.name)
		}
	}
	u, err := parseURL(f.url, "http", "https")
	if err == nil {
		err = checkMaster(u)
	}
	switch {
	case err != nil:
		return fmt.Errorf("-url %q %w", withoutUser(f.url), err)
	case f.token == "":
		return errors.New("no token: set VIGIL_TOKEN in the environment")
	}
	if f.replica == "" {
		if f.replica, err = os.Hostname(); err != nil || f.replica == "" {
			return errors.New("this host has no name: give one with -replica")
		}
	}
	return nil
}

// A hostReporter reports the load of this host to a master.
type hostReporter struct {
	master                 *master
	service, node, replica string
	every                  time.Duration
	measure                func(now time.Time) (loadMessage, error)
	lead                   time.Duration  // what measure needs before the first report
	random                 func() float64 // in [0, 1)
	log                    *slog.Logger

	accepted bool      // a report was
	trouble  string    // why reports fail now; "" if they do not
	since    time.Time // of the trouble
}

const (
	// firstSample is how long the load of a control group is measured for the
	// first report.
	firstSample = time.Second

	// maxReportStart is how far the first reports of hosts that start
	// together are spread.
	maxReportStart = 5 * time.Second

	// flushTime is how long a flush at the end may take.
	flushTime = 5 * time.Second
)

// newHostReporter returns a reporter, once the load of this host was measured
// for the first time.
func newHostReporter(f *reportFlags, log *slog.Logger) (*hostReporter, error) {
	h := &hostReporter{
		master:  &master{newMasterClient(), strings.TrimRight(f.url, "/"), notify.Secret(f.token)},
		service: f.service, node: f.node, replica: f.replica,
		every:  f.interval,
		random: rand.Float64,
		log:    log,
	}
	if f.cpu != nil && f.ram != nil {
		h.measure = func(time.Time) (loadMessage, error) { return loadMessage{*f.cpu, *f.ram}, nil }
		return h, nil
	}
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("the load of a host is measured on Linux only, this is %s: give -cpu and -ram", runtime.GOOS)
	}
	h.lead = firstSample
	meter := &hostMeter{root: os.DirFS("/")}
	h.measure = func(now time.Time) (loadMessage, error) {
		load, err := meter.load(now)
		if f.cpu != nil {
			load.CPU = *f.cpu
		}
		if f.ram != nil {
			load.RAM = *f.ram
		}
		return load, err
	}
	if _, err := h.measure(time.Now()); err != nil {
		return nil, fmt.Errorf("measure the load of this host: %w; give -cpu and -ram", err)
	}
	return h, nil
}

// runOnce reports once.
func (h *hostReporter) runOnce(ctx context.Context) error {
	if !sleep(ctx, h.lead) {
		return errors.New("stopped before the report")
	}
	if err := h.report(ctx); err != nil {
		return fmt.Errorf("%s: %w", h.master.base, err)
	}
	return nil
}

// run reports until ctx ends. A report that failed is followed by another one
// after half the interval.
func (h *hostReporter) run(ctx context.Context, flush bool) {
	h.log.Info("reporting this host", "url", h.master.base, "service", h.service, "node", h.node,
		"replica", h.replica, "interval", h.every)
	wait := h.lead + time.Duration(h.random()*float64(min(h.every, maxReportStart)))
	for sleep(ctx, wait) {
		start := time.Now()
		err := h.report(ctx)
		if ctx.Err() != nil {
			break
		}
		h.note(err, start)
		wait = h.every
		if err != nil {
			wait = h.every / 2
		}
		wait -= time.Since(start)
	}
	if flush {
		h.flush(context.WithoutCancel(ctx))
	}
	h.log.Info("stopped")
}

// sleep waits, and reports whether ctx is still on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// report makes one report.
func (h *hostReporter) report(ctx context.Context) error {
	load, err := h.measure(time.Now())
	if err != nil {
		return fmt.Errorf("measure the load of this host: %w", err)
	}
	return h.master.report(ctx, h.service, h.node, reportMessage{
		Replica:  h.replica,
		Interval: int64(h.every / time.Second),
		Load:     &load,
	})
}

// note logs when reports begin to fail and when they are accepted again. A
// further failure is logged only if it is of another kind.
func (h *hostReporter) note(err error, now time.Time) {
	if err == nil {
		switch {
		case h.trouble != "":
			h.log.Info("reports accepted again", "after", now.Sub(h.since).Round(time.Second))
		case !h.accepted:
			h.log.Info("first report accepted", "url", h.master.base)
		}
		h.accepted, h.trouble = true, ""
		return
	}
	kind := err.Error()
	if fault, ok := errors.AsType[*sendError](err); ok && fault.kind == faultAway {
		kind = "away"
	}
	if h.trouble == "" {
		h.since = now
	}
	if h.trouble != kind {
		h.log.Error("report failed, will retry", "url", h.master.base, "err", err)
	}
	h.trouble = kind
}

// forget makes the master forget this host.
func (h *hostReporter) forget(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	return h.master.flush(ctx, h.service, h.node, h.replica)
}

// flush is forget at the end of run.
func (h *hostReporter) flush(ctx context.Context) {
	if err := h.forget(ctx); err != nil {
		h.log.Error("flush failed", "url", h.master.base, "err", err)
		return
	}
	h.log.Info("flushed", "replica", h.replica)
}
