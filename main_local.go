package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"
)

const localUsage = `usage: vigil local [-c config.cfg] [-log-format text]

Checks what a Vigil elsewhere cannot reach, behind a firewall or on a loopback,
and reports it there: that Vigil has the same services and nodes in its config,
with mode "local". Reads the config files of Vigil Local.

  -c, --config file   the config; without it ./config.cfg
  -log-format format  text (the default) or json; the log goes to standard error

A config needs [report] with endpoint and token, and at least one
[[probe.service]] with a [[probe.service.node]] of mode "poll" or "script". A
token is best kept out of the file: token = "${VIGIL_TOKEN}" takes it from the
environment.

SIGHUP reloads the config, SIGTERM and SIGINT stop cleanly. The other Vigil is
not told of a stop: it shows the replicas as dead when their reports fail to
come.

Exit status: 0 after a clean stop, 1 for a config or start-up error, 2 for
wrong usage.
`

// runLocal is "vigil local": it runs an agent until it is told to stop. It
// returns the exit status.
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
	l := &localHost{path: *path, log: log, level: level}
	if err := l.run(ctx); err != nil {
		fmt.Fprintln(stderr, err)
		return exitError
	}
	return exitOK
}

// A localHost runs an agent, and for it the checks of one config after the
// other.
type localHost struct {
	path  string // of the config; "" is the default one
	log   *slog.Logger
	level *slog.LevelVar
}

// resultBuffer is how many results may wait for the agent.
const resultBuffer = 64

// run checks and reports until SIGINT or SIGTERM comes or ctx ends, which is
// no error. A second signal kills.
func (l *localHost) run(ctx context.Context) error {
	ctx, hangup, stop := heedSignals(ctx)
	defer stop()

	conf, err := l.load(ctx)
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
	reloads := make(chan *LocalConfig)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.run(ctx, results, reloads) })
	g.Go(func() error { return l.runChecks(ctx, c, reloads, hangup) })
	l.log.Info("reporting", "replicas", len(replicas(conf.Services)), "endpoint", conf.Endpoint, "version", version)
	err = g.Wait()
	l.log.Info("stopped")
	return err
}

// load reads the config, says what is odd with it and takes over its log
// level.
func (l *localHost) load(ctx context.Context) (*LocalConfig, error) {
	conf, warnings, err := loadLocal(ctx, l.path, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	l.level.Set(logLevel(conf.LogLevel))
	for _, w := range warnings {
		l.log.Warn("odd in the config", "at", fmt.Sprintf("%s:%d", w.file, w.line), "key", w.key, "problem", w.text)
	}
	return conf, nil
}

// checks are the checks of one config.
type checks struct {
	conf     *LocalConfig
	probes   *probes
	poller   *poller
	scripter *scripter
}

// newChecks builds the checks of a config without starting them, so that what
// does not work is known before older ones are stopped.
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

// runChecks runs c and then, with each good config that a hangup brings, the
// checks of that one, until ctx ends. The agent learns of it through reloads.
func (l *localHost) runChecks(ctx context.Context, c *checks, reloads chan<- *LocalConfig, hangup <-chan os.Signal) error {
	for {
		next, err := l.untilReload(ctx, c, hangup)
		if next == nil || err != nil {
			return err
		}
		select {
		case reloads <- next.conf:
		case <-ctx.Done():
			return nil
		}
		c = next
	}
}

// untilReload runs c until ctx ends, and then returns nil, or until there are
// the checks of a new config to run.
func (l *localHost) untilReload(life context.Context, c *checks, hangup <-chan os.Signal) (next *checks, err error) {
	ctx, stop := context.WithCancel(life)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.run(life, ctx.Done()) })
	g.Go(func() error {
		for next == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-hangup:
				next = l.reload(ctx, c.probes)
			}
		}
		stop()
		return nil
	})
	err = g.Wait()
	return next, err
}

// reload reads the config again and builds its checks. With a fault in it, it
// logs that and returns nil: the old one stays in force.
func (l *localHost) reload(ctx context.Context, p *probes) *checks {
	conf, err := l.load(ctx)
	if err == nil {
		var c *checks
		if c, err = newChecks(conf, p, l.log); err == nil {
			l.log.Info("config reloaded", "replicas", len(replicas(conf.Services)), "endpoint", conf.Endpoint)
			return c
		}
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		l.log.Error("config not reloaded, the old one stays in force", "problem", line)
	}
	return nil
}
