package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/sync/errgroup"
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
		fmt.Fprintf(stderr, "vigil local: %v\n", err)
		return exitUsage
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
