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
	"net/http/pprof"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// runServe runs the monitor and the status page until it is stopped.
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
		return wrongUsage(fs, stderr, err)
	}
	d := &daemon{path: *path, debug: *debug, stdout: stdout, log: log, level: level,
		events: make(chan event, eventBuffer), reloads: make(chan reloadRequest)}
	d.supervisor = newSupervisor(os.Getenv, log)
	d.supervisor.disown()
	if err := d.run(ctx); err != nil {
		fmt.Fprintln(stderr, err)
		return exitError
	}
	return exitOK
}

// A daemon holds what outlives a reload: the web server, the page, the state and
// the probes, around which one pipeline after the other does its work.
type daemon struct {
	path    string // of the config; "" looks for the default one
	debug   string // where profiles are served; "" is nowhere
	stdout  io.Writer
	log     *slog.Logger
	level   *slog.LevelVar
	events  chan event
	reloads chan reloadRequest
	meters  meters
	probes  *probes

	supervisor *supervisor
	store      *store
	eventLog   *eventLog
	page       *page
	web        *webServer
}

// run loads the config, opens the listener and serves until SIGINT or SIGTERM
// comes or ctx ends, which is no error. A second signal kills.
func (d *daemon) run(ctx context.Context) error {
	ctx, hangup, stop := notifySignals(ctx)
	defer stop()
	err := waitStopped(ctx, d.log, func() error { return d.serve(ctx, hangup) })
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		d.log.Info("stopped")
		return nil // while it was reading files
	}
	return err
}

// stopLimit is how long a stop may take in all. Everything that ends has a limit
// of its own; this one holds when they add up, as with a disk that hangs.
const stopLimit = 9 * time.Second

// waitStopped runs serve and waits for its end, which must come within stopLimit
// once ctx has ended.
func waitStopped(ctx context.Context, log *slog.Logger, serve func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- serve() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(stopLimit):
		log.Error("stopped before all was done: is the disk hanging?", "limit", stopLimit)
		return fmt.Errorf("the stop took longer than %s", seconds(stopLimit))
	}
}

// startTime is how long after it serves a small program has checked everything
// once and drawn its page.
const startTime = 5 * time.Second

// serve opens all that the config names, and serves until ctx ends.
func (d *daemon) serve(ctx context.Context, hangup <-chan os.Signal) error {
	conf, err := d.load(ctx)
	if err != nil {
		return err
	}
	var restored *restored
	d.store, err = interruptible(ctx, func() (s *store, err error) {
		s, restored, err = openStore(conf.Storage, d.log)
		return s, err
	})
	if err != nil {
		return err
	}
	d.probes = newProbes(d.events, d.log)
	d.probes.count(&d.meters)
	defer d.probes.close()
	p, err := newPipeline(conf, d.probes, d.store, &d.meters, d.log)
	if err != nil {
		return err
	}
	d.eventLog = newEventLog(d.store, d.log)
	d.store.events = d.eventLog
	now := time.Now()
	d.eventLog.add(logEvent{Time: now, Kind: "start", Text: "vigil " + version})
	st := newState(conf, now)
	st.eventLog = d.eventLog
	st.keepFor(p.targets)
	st.restore(restored, now)
	b := newSnapshots(st.snapshot(now))
	d.page, err = interruptible(ctx, func() (*page, error) { return newPage(b, d.log) })
	if err != nil {
		return hangingAssets(conf, err)
	}
	a := &aggregator{state: st, events: d.events, snaps: b, log: d.log, store: d.store, machine: d.probes.machine}
	d.meters.begin(now)
	server, parts := d.newServer(b, a)
	debug, err := listenDebug(ctx, d.debug, d.log)
	if err != nil {
		return err
	}
	if d.web, err = newWebServer(ctx, server, conf.Server); err != nil {
		return err
	}

	// The store ends last, when nobody gives it anything more to save.
	saving, endSaving := context.WithCancel(context.WithoutCancel(ctx))
	var saver errgroup.Group
	saver.Go(func() error { return d.store.run(saving, d.events) })
	saver.Go(func() error { return d.eventLog.run(saving) })

	address := d.web.address()
	g, ctx := errgroup.WithContext(ctx)
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	d.web.start()
	g.Go(func() error { return d.web.wait(ctx) })
	g.Go(func() error { return d.page.run(ctx) })
	g.Go(func() error { return parts.mirror.run(ctx) })
	g.Go(func() error { return parts.rabbit.run(ctx) })
	g.Go(func() error { return parts.deadman.run(ctx) })
	g.Go(func() error { return serveDebug(ctx, debug, d.log) })
	g.Go(func() error { return forwardHangups(ctx, hangup, d.reloads) })
	g.Go(func() error { return d.runPipelines(ctx, p, a, d.store.undelivered()) })
	g.Go(func() error { return d.supervisor.watch(ctx, d.events) })
	d.log.Info("serving the status page", "url", address, "version", version)
	if !d.log.Enabled(ctx, slog.LevelInfo) {
		// Somebody who starts it by hand needs to know the address.
		fmt.Fprintf(d.stdout, "Vigil serves %s\n", address)
	}
	d.supervisor.ready("serving " + address)
	defer time.AfterFunc(startTime, unmapProgram).Stop()
	g.Go(func() error {
		<-ctx.Done()
		d.supervisor.stopping()
		return nil
	})
	err = g.Wait()
	d.eventLog.add(logEvent{Time: time.Now(), Kind: "stop"})
	endSaving()
	err = errors.Join(err, saver.Wait())
	d.log.Info("stopped")
	return err
}

// newServer returns the HTTP server with all its routes, and the parts of the
// program that its metrics are about.
func (d *daemon) newServer(b *snapshots, a *aggregator) (*http.Server, *scrape) {
	asks := make(chan *reportedNode, queueBuffer)
	throttle := newThrottle(d.log)
	parts := &scrape{
		snaps:      b,
		throttle:   throttle,
		meters:     &d.meters,
		page:       d.page,
		mirror:     newMirror(d.page, d.events, d.log),
		reporter:   newReporterAPI(b, d.events, asks, throttle),
		aggregator: a,
		store:      d.store,
		events:     d.events,
		rabbit:     newRabbit(asks, d.events, d.log),
		deadman:    newDeadman(b, d.events, &d.meters, d.store, d.log),
	}
	server := newServer(d.page.handler(map[string]http.Handler{
		"reporter": parts.reporter,
		"ping":     newPingAPI(b, d.events, throttle),
		"manager":  newManagerAPI(b, d.events, d.reloads, d.probes, d.eventLog, throttle),
		"mcp":      newMCP(b, version),
		"metrics":  parts,
	}), d.log)
	parts.guard, _ = server.Handler.(*guard)
	return server, parts
}

// load reads the config, logs its warnings and takes over its log level.
func (d *daemon) load(ctx context.Context) (*Config, error) {
	conf, warnings, err := loadConfig(ctx, d.path, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	d.level.Set(logLevel(conf.Server.LogLevel))
	if conf.Path == "" {
		d.log.Info("no config.cfg in this folder, using the built-in sample, which monitors this machine only")
	}
	logWarnings(d.log, warnings)
	for _, id := range conf.Notify.Off {
		d.log.Error("channel is off, nobody is told through it; 'vigil check' says what it lacks", "channel", id)
	}
	return conf, nil
}

// logWarnings logs the warnings and notes about a config.
func logWarnings(log *slog.Logger, warnings []problem) {
	for _, w := range warnings {
		attrs := []any{"at", fmt.Sprintf("%s:%d", w.file, w.line), "key", w.key, "problem", w.text}
		if w.note {
			log.Info("config note", attrs...)
		} else {
			log.Warn("config warning", attrs...)
		}
	}
}

// hangingAssets names the folder of assets in an error of reading it in time.
func hangingAssets(conf *Config, err error) error {
	if errors.Is(err, errNoAnswer) {
		return fmt.Errorf("assets.path %q: %w; is it on a file system that hangs?", conf.Assets, err)
	}
	return err
}

// listenDebug opens the listener for profiles of the program. An empty address
// is no listener, which is nil.
func listenDebug(ctx context.Context, address string, log *slog.Logger) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("-debug-addr %q: %w", address, err)
	}
	if ip := ln.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		log.Warn("profiles are served to everybody who reaches this address", "address", ln.Addr().String())
	}
	log.Info("serving profiles", "url", "http://"+ln.Addr().String()+"/debug/pprof/")
	return ln, nil
}

// serveDebug serves profiles until ctx ends. An error here ends nothing else.
func serveDebug(ctx context.Context, ln net.Listener, log *slog.Logger) error {
	if ln == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(ln); ctx.Err() == nil {
		log.Error("no longer serving profiles", "err", err)
	}
	return nil
}

// A supervisor is the service manager that started the program and wants to know
// its state: systemd with Type=notify, or anything else that speaks sd_notify(3).
// Without one, all methods do nothing.
type supervisor struct {
	socket   string        // the address of its socket; "" without a supervisor
	watchdog time.Duration // the longest time between two signs of life; 0: not wanted
	log      *slog.Logger
}

// tellTime is how long a datagram to the supervisor may take. It takes time only
// while the supervisor's queue is full.
const tellTime = time.Second

// newSupervisor reads the supervisor's address from the environment.
func newSupervisor(getenv func(string) string, log *slog.Logger) *supervisor {
	s := &supervisor{socket: getenv("NOTIFY_SOCKET"), log: log}
	if s.socket == "" {
		return s
	}
	if s.socket[0] != '/' && s.socket[0] != '@' {
		log.Warn("unknown kind of service manager socket", "NOTIFY_SOCKET", s.socket)
		s.socket = ""
		return s
	}
	// WATCHDOG_PID says whose watchdog it is: sd_watchdog_enabled(3).
	if pid := getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
			s.watchdog = time.Duration(min(usec, int64(24*time.Hour/time.Microsecond))) * time.Microsecond
		}
	}
	return s
}

// disown removes the supervisor from the environment, so that scripts cannot
// speak to it.
func (s *supervisor) disown() {
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(name)
	}
}

// ready says that the program serves.
func (s *supervisor) ready(status string) { s.tell("READY=1", "STATUS="+status) }

// reloading says that the program reads its config again; ready follows.
func (s *supervisor) reloading() { s.tell("RELOADING=1", "STATUS=reloading the config") }

// stopping says that the program is about to end.
func (s *supervisor) stopping() { s.tell("STOPPING=1", "STATUS=stopping") }

// tell sends one message with these variables.
func (s *supervisor) tell(variables ...string) {
	if s.socket == "" {
		return
	}
	if err := s.send(strings.Join(variables, "\n")); err != nil {
		s.log.Warn("cannot reach the service manager", "message", variables[0], "err", err)
	}
}

func (s *supervisor) send(message string) error {
	// To package net, a name with a leading @ is an abstract one.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(tellTime)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(message))
	return err
}

// watch signals the watchdog twice per period that the program is alive, as
// long as the aggregator applies events. If the aggregator hangs, the page is
// no longer true, and a restart helps.
func (s *supervisor) watch(ctx context.Context, events chan<- event) error {
	if s.socket == "" || s.watchdog == 0 {
		return nil
	}
	ticker := time.NewTicker(s.watchdog / 2)
	defer ticker.Stop()
	applied := make(chan struct{}, 1)
	for {
		select {
		case <-ctx.Done():
			return nil
		case events <- pulse(applied):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-applied:
			s.tell("WATCHDOG=1")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
