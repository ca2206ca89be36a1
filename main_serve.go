package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

// runServe runs the monitor and the status page until it is told to stop.
func runServe(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil", flag.ContinueOnError)
	path := configFlag(fs)
	format := fs.String("log-format", "text", "")
	debug := fs.String("debug-addr", "", "")
	if code, ok := parseFlags(fs, usage, args, stdout, stderr); !ok {
		return code
	}
	log, level, err := newLogger(stderr, *format)
	if err != nil {
		fmt.Fprintf(stderr, "vigil: %v\n", err)
		return exitUsage
	}
	h := &host{path: *path, debug: *debug, stdout: stdout, log: log, level: level, events: make(chan event, eventBuffer)}
	h.supervisor = newSupervisor(os.Getenv, log)
	h.supervisor.disown()
	if err := h.run(ctx); err != nil {
		fmt.Fprintln(stderr, err)
		return exitError
	}
	return exitOK
}

// A host is what lives as long as the program does, while one pipeline after
// the other works in it: the listener, the page and the state.
type host struct {
	path   string // of the config; "" looks for the default one
	debug  string // where profiles are served; "" is nowhere
	stdout io.Writer
	log    *slog.Logger
	level  *slog.LevelVar
	events chan event
	meters meters

	supervisor *supervisor
	front      *front
}

// run loads the config, opens the listener and serves until SIGINT or SIGTERM
// comes or ctx ends, which is no error. A second signal kills.
func (h *host) run(ctx context.Context) error {
	ctx, hangup, stop := heedSignals(ctx)
	defer stop()

	conf, err := h.load()
	if err != nil {
		return err
	}
	store, restored, err := openStore(conf.Storage, h.log)
	if err != nil {
		return err
	}
	p, err := newPipeline(conf, h.events, store, &h.meters, h.log)
	if err != nil {
		return err
	}
	now := time.Now()
	st := newState(conf, now)
	st.keepFor(p.targets)
	st.restore(restored, now)
	b := newBoard(st.snapshot(now))
	page, err := newPage(b, h.log)
	if err != nil {
		return err
	}
	asks := make(chan *reported, queueBuffer)
	throttle := newThrottle(h.log)
	reporter := newReporter(b, h.events, asks, throttle)
	a := &aggregator{state: st, events: h.events, board: b, log: h.log, store: store}
	h.meters.begin(now)
	queues := newRabbit(asks, h.events, h.log)
	metrics := &scrape{board: b, throttle: throttle, meters: &h.meters, page: page, reporter: reporter,
		aggregator: a, store: store, events: h.events, rabbit: queues}
	server := newServer(page.handler(map[string]http.Handler{
		"reporter": reporter,
		"manager":  newManager(b, h.events, throttle),
		"mcp":      newMCP(b, version),
		"metrics":  metrics,
	}), h.log)
	metrics.guard, _ = server.Handler.(*guard)
	debug, err := listenDebug(ctx, h.debug, h.log)
	if err != nil {
		return err
	}
	if h.front, err = newFront(ctx, server, conf.Server); err != nil {
		return err
	}

	// The store ends last, when nobody hands anything over any more.
	saving, endSaving := context.WithCancel(context.WithoutCancel(ctx))
	var saver errgroup.Group
	saver.Go(func() error { return store.run(saving, h.events) })

	address := h.front.address()
	g, ctx := errgroup.WithContext(ctx)
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	h.front.start()
	g.Go(func() error { return h.front.wait(ctx) })
	g.Go(func() error { return page.run(ctx) })
	g.Go(func() error { return queues.run(ctx) })
	g.Go(func() error { return debug.run(ctx) })
	g.Go(func() error { return h.runPipelines(ctx, p, a, store.undelivered(), hangup) })
	g.Go(func() error { return h.supervisor.watch(ctx, h.events) })
	h.log.Info("serving the status page", "url", address, "version", version)
	if !h.log.Enabled(ctx, slog.LevelInfo) {
		// Who starts it by hand wants to know all the same.
		fmt.Fprintf(h.stdout, "Vigil serves %s\n", address)
	}
	h.supervisor.ready("serving " + address)
	g.Go(func() error {
		<-ctx.Done()
		h.supervisor.stopping()
		return nil
	})
	err = g.Wait()
	endSaving()
	err = errors.Join(err, saver.Wait())
	h.log.Info("stopped")
	return err
}

// load reads the config, says what is odd with it and takes over its log
// level.
func (h *host) load() (*Config, error) {
	conf, warnings, err := loadConfig(h.path, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	h.level.Set(logLevel(conf.Server.LogLevel))
	if conf.Path == "" {
		h.log.Info("no config.cfg here: running on the built-in sample, which watches this machine only")
	}
	for _, w := range warnings {
		attrs := []any{"at", fmt.Sprintf("%s:%d", w.file, w.line), "key", w.key, "problem", w.text}
		if w.note {
			h.log.Info("config note", attrs...)
		} else {
			h.log.Warn("config warning", attrs...)
		}
	}
	return conf, nil
}
