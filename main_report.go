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

	"vigil/notify"
)

const reportUsage = `usage: vigil report -url URL -service S -node N [flags]

Reports the CPU load and the use of memory of this host to a Vigil elsewhere,
for a node with mode "push" there, until it is stopped. The load is the average
of the last minute for each CPU, so 1 is all that the CPUs can do. Where a
container or a service has a limit of its own, the tighter one counts.

  -url URL            of the other Vigil's page
  -service, -node id  of the node, as in the other Vigil's config
  -replica id         of this host; without it the host name
  -interval seconds   between two reports; 30 without it
  -token token        the other Vigil's reporter_token. Better in VIGIL_TOKEN in
                      the environment: everybody on this host sees the flags
  -flush              when stopped, have the other Vigil forget this host
  -once               report once, e.g. from cron, and say whether it worked
  -cpu x, -ram x      report these instead of what is measured, 1 for all there
                      is; both are needed where this system is not Linux

Exit status: 0 after a clean stop, 1 when it cannot be done, 2 for wrong usage.
`

// runReport is "vigil report": it reports the load of this host until it is
// told to stop. It returns the exit status.
func runReport(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil report", flag.ContinueOnError)
	var f reportFlags
	fs.StringVar(&f.url, "url", "", "")
	fs.StringVar(&f.token, "token", os.Getenv("VIGIL_TOKEN"), "")
	fs.StringVar(&f.service, "service", "", "")
	fs.StringVar(&f.node, "node", "", "")
	fs.StringVar(&f.replica, "replica", "", "")
	fs.IntVar(&f.interval, "interval", 30, "")
	fs.BoolVar(&f.flush, "flush", false, "")
	fs.BoolVar(&f.once, "once", false, "")
	fs.Func("cpu", "", parseLoad(&f.cpu))
	fs.Func("ram", "", parseLoad(&f.ram))
	if code, ok := parseFlags(fs, reportUsage, args, stdout, stderr); !ok {
		return code
	}
	if err := f.check(); err != nil {
		fmt.Fprintf(stderr, "%s: %v ('%s -h' tells more)\n", fs.Name(), err, fs.Name())
		return exitUsage
	}
	log, level, err := newLogger(stderr, "text")
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", fs.Name(), err)
		return exitUsage
	}
	level.Set(slog.LevelInfo)

	h, err := newHostReporter(&f, log)
	if err == nil {
		ctx, stop := heedStop(ctx)
		defer stop()
		if f.once {
			err = h.runOnce(ctx)
		} else {
			h.run(ctx, f.flush)
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", fs.Name(), err)
		return exitError
	}
	return exitOK
}

// reportFlags are the flags of "vigil report". A nil load is measured.
type reportFlags struct {
	url, token, service, node, replica string
	interval                           int
	flush, once                        bool
	cpu, ram                           *float64
}

// parseLoad returns what parses a load into x.
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

// check returns the first thing that is wrong, and fills in what has a default.
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
		return fmt.Errorf("-url %w", err)
	case f.token == "":
		return errors.New("no token: set VIGIL_TOKEN in the environment")
	case f.interval < 1 || f.interval > maxInterval:
		return fmt.Errorf("-interval %d is out of range: 1 to %d seconds", f.interval, maxInterval)
	case f.once && f.flush:
		return errors.New("-once leaves nothing to -flush at the end")
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

	trouble string    // why reports do not get through now; "" when they do
	since   time.Time // of the trouble
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
		every:  time.Duration(f.interval) * time.Second,
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
		return errors.New("stopped before it could report")
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

// note logs that reports do not get through, and that they do again, once
// each. What keeps them from it is told again only when it is of another kind.
func (h *hostReporter) note(err error, now time.Time) {
	if err == nil {
		if h.trouble != "" {
			h.log.Info("reports are taken again", "after", now.Sub(h.since).Round(time.Second))
		}
		h.trouble = ""
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
		h.log.Error("report not taken, trying again", "url", h.master.base, "err", err)
	}
	h.trouble = kind
}

// flush has the master forget this host.
func (h *hostReporter) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	if err := h.master.flush(ctx, h.service, h.node, h.replica); err != nil {
		h.log.Error("not flushed", "url", h.master.base, "err", err)
		return
	}
	h.log.Info("flushed", "replica", h.replica)
}
