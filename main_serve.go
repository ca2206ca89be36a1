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
	probes *probes

	supervisor *supervisor
	front      *front
}

// run loads the config, opens the listener and serves until SIGINT or SIGTERM
// comes or ctx ends, which is no error. A second signal kills.
func (h *host) run(ctx context.Context) error {
	ctx, hangup, stop := heedSignals(ctx)
	defer stop()

	conf, err := h.load(ctx)
	if err != nil {
		return err
	}
	store, restored, err := openStore(conf.Storage, h.log)
	if err != nil {
		return err
	}
	h.probes = newProbes(h.events, h.log)
	h.probes.poll.meter, h.probes.script.meter = &h.meters.poll, &h.meters.script
	h.probes.connectivity.panics = &h.meters.connectivityPanics
	defer h.probes.close()
	p, err := newPipeline(conf, h.probes, store, &h.meters, h.log)
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
	asks := make(chan *reportedNode, queueBuffer)
	throttle := newThrottle(h.log)
	reporter := newReporterAPI(b, h.events, asks, throttle)
	a := &aggregator{state: st, events: h.events, board: b, log: h.log, store: store}
	h.meters.begin(now)
	queues := newRabbit(asks, h.events, h.log)
	metrics := &scrape{board: b, throttle: throttle, meters: &h.meters, page: page, reporter: reporter,
		aggregator: a, store: store, events: h.events, rabbit: queues}
	server := newServer(page.handler(map[string]http.Handler{
		"reporter": reporter,
		"manager":  newManagerAPI(b, h.events, throttle),
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
func (h *host) load(ctx context.Context) (*Config, error) {
	conf, warnings, err := loadConfig(ctx, h.path, os.LookupEnv)
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

// stopTime is how long requests under way may take at a stop.
const stopTime = 5 * time.Second

// A front is the web server, and the listener that it has at present.
type front struct {
	server *http.Server
	conf   Server // what ln was opened for
	ln     net.Listener
	faults chan error // of capacity 1: why it does not serve any more
}

// newFront opens the listener of conf.
func newFront(ctx context.Context, server *http.Server, conf Server) (*front, error) {
	ln, err := listenHTTP(ctx, conf)
	if err != nil {
		return nil, err
	}
	return &front{server: server, conf: conf, ln: ln, faults: make(chan error, 1)}, nil
}

// start begins to serve.
func (f *front) start() { f.accept(f.ln) }

// wait returns after ctx has ended and requests under way have come to their
// end, or when the server fails.
func (f *front) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case err := <-f.faults:
		return fmt.Errorf("web server: %w", err)
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if f.server.Shutdown(grace) != nil {
		f.server.Close()
	}
	return nil
}

// accept serves the connections of ln, until it is closed for another one or
// the server ends.
func (f *front) accept(ln net.Listener) {
	go func() {
		err := f.server.Serve(ln)
		if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			select {
			case f.faults <- err:
			default:
			}
		}
	}()
}

// move goes over to the address of another config, if it has another one. The
// new listener is open before the old one is closed, and connections stay.
func (f *front) move(ctx context.Context, conf Server) error {
	if conf.Inet == f.conf.Inet && conf.InetSet == f.conf.InetSet {
		return nil
	}
	ln, err := listenHTTP(ctx, conf)
	if err != nil {
		return err
	}
	f.accept(ln)
	f.ln.Close()
	f.conf, f.ln = conf, ln
	return nil
}

// address is the URL at which a browser on this machine finds the page.
func (f *front) address() string {
	host, port, err := net.SplitHostPort(f.ln.Addr().String())
	if err != nil {
		return f.ln.Addr().String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port) + f.conf.PathPrefix + "/"
}
