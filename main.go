// Vigil monitors hosts and apps, shows their health on a public status page
// and alerts people when it changes.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1 // a config or start-up error
	exitUsage = 2 // wrong usage
)

const usage = `usage: vigil [-c config.cfg] [-log-format text] [-debug-addr address]
       vigil COMMAND [flags]

Vigil monitors hosts and apps, shows their health on a public status page and
alerts people when something goes down and when it recovers.

  -c, --config file    the config; default: ./config.cfg or, if there is none,
                       the built-in sample
  -log-format format   text (the default) or json, for the log on standard error
  -debug-addr address  serve profiles of the program at this address, like
                       127.0.0.1:6060; off by default
  -V, --version        print version, commit and Go version

commands:

  check        validate a config and print what it does
  init         write a config to start from
  probe        check a target or nodes now and print the results
  health       check that Vigil runs on this machine
  notify       send one test message through each configured channel
  local        run an agent that reports to a Vigil elsewhere
  report       report this host's load to a Vigil elsewhere
  status       print what is down or degraded, why and since when
  log          print what changed and who was alerted
  announce     publish, update or edit an announcement
  maintenance  plan or begin a maintenance
  silence      send no alerts for a while
  ack          end the reminders of an outage
  reload       make the running Vigil reload its config
  replay       show which alerts another config would have sent
  sla          print the availability of a month
  completion   print a script that completes commands in bash, zsh or fish
  version      print version, commit and Go version

See 'vigil COMMAND -h' for each. SIGHUP reloads the config; SIGTERM and SIGINT
stop cleanly, a second one kills. A program named vigil-local behaves like
'vigil local'.

Exit status: 0 after a clean stop, 1 for a config or start-up error, 2 for
wrong usage.
`

// A command is one of vigil's subcommands.
type command struct {
	name, usage string
	run         func(ctx context.Context, args []string, stdout, stderr io.Writer) int
}

// commands returns the subcommands in the order of the usage text.
func commands() []command {
	return []command{
		{"check", checkUsage, runCheck},
		{"init", initUsage, runInit},
		{"probe", probeUsage, runProbe},
		{"health", healthUsage, runHealth},
		{"notify", notifyUsage, runNotify},
		{"local", localUsage, runLocal},
		{"report", reportUsage, runReport},
		{"status", statusUsage, runStatus},
		{"log", logUsage, runLog},
		{"announce", announceUsage, runAnnounce},
		{"maintenance", maintenanceUsage, runMaintenance},
		{"silence", silenceUsage, runSilence},
		{"ack", ackUsage, runAck},
		{"reload", reloadUsage, runReload},
		{"replay", replayUsage, runReplay},
		{"sla", slaUsage, runSLA},
		{"completion", completionUsage, runCompletion},
		{"version", versionUsage, runVersion},
	}
}

// init keeps the first thread for main, which only waits. Linux gives a signal to
// that thread if it can, and one that waits for a disk that hangs would keep a
// SIGTERM until the disk answers, though all others could act on it.
func init() { runtime.LockOSThread() }

func main() {
	args := os.Args[1:]
	if strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") == "vigil-local" {
		args = slices.Insert(args, 0, "local")
	}
	os.Exit(run(context.Background(), args, os.Stdout, os.Stderr))
}

// run runs the command that args name and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	name := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	switch {
	case len(args) == 1 && slices.Contains([]string{"-V", "-version", "--version"}, args[0]):
		return runVersion(ctx, nil, stdout, stderr)
	case name == "":
		return runServe(ctx, args, stdout, stderr)
	case name == "help":
		return run(ctx, append(args, "-h"), stdout, stderr)
	}
	var names []string
	for _, c := range commands() {
		if c.name == name {
			out := &output{Writer: stdout}
			code := c.run(ctx, args, out, stderr)
			return out.finish(code, name, stderr)
		}
		names = append(names, c.name)
	}
	fmt.Fprintf(stderr, "vigil: unknown command %q%s (see 'vigil -h')\n", name, hint(name, names))
	return exitUsage
}

// An output is the standard output of a command. It keeps the first error, so
// that a file on a full disk is not cut off silently.
type output struct {
	io.Writer
	err error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// finish returns the exit code of the command, which failed if its output did.
// A reader that wants no more, like head, is no failure.
func (o *output) finish(code int, name string, stderr io.Writer) int {
	if code != exitOK || o.err == nil || errors.Is(o.err, syscall.EPIPE) {
		return code
	}
	fmt.Fprintf(stderr, "vigil %s: cannot write the output: %v\n", name, withoutPath(o.err))
	return exitError
}

// notifySignals returns a context that ends with the first SIGINT or SIGTERM; a
// second one kills. Each SIGHUP arrives at hangup; those that come while one is
// waiting count as that one. The caller must call stop.
func notifySignals(parent context.Context) (ctx context.Context, hangup <-chan os.Signal, stop func()) {
	ctx, end := notifyStop(parent)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	return ctx, hangups, func() {
		signal.Stop(hangups)
		end()
	}
}

// notifyStop is notifySignals without SIGHUP. It catches SIGPIPE, so that a
// closed log makes a write fail instead of ending the program. Ignoring SIGPIPE
// would do the same, but scripts would inherit that.
func notifyStop(parent context.Context) (ctx context.Context, stop func()) {
	ctx, end := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, end)
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	return ctx, func() {
		signal.Stop(pipe)
		end()
	}
}

// version is the version of the current or the next release.
const version = "2.0.0"

// The commit of a source archive and its date. dist.sh fills them in, because a
// source archive has no repository to read them from.
const archiveCommit, archiveDate = "", ""

const versionUsage = `usage: vigil version

Prints version, commit and Go version.

examples:

  vigil version
  vigil -V
`

// runVersion prints the version, the commit when the binary was built from a
// checkout, and the Go version.
func runVersion(_ context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil version", flag.ContinueOnError)
	if code, ok := parseFlags(fs, versionUsage, args, stdout, stderr); !ok {
		return code
	}
	fmt.Fprintf(stdout, "vigil %s", version)
	if commit, date := buildCommit(); commit != "" {
		fmt.Fprintf(stdout, " (commit %s, %s)", commit, date)
	}
	fmt.Fprintf(stdout, ", %s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return exitOK
}

// buildCommit returns the commit that the binary was built from, with a "+"
// if the checkout had changes, and its date. Both are empty if unknown.
func buildCommit() (commit, date string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return archiveCommit, archiveDate
	}
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	commit = settings["vcs.revision"]
	if len(commit) > 12 {
		commit = commit[:12]
	}
	if settings["vcs.modified"] == "true" {
		commit += "+"
	}
	return cmp.Or(commit, archiveCommit), cmp.Or(settings["vcs.time"], archiveDate)
}

// newLogger returns a logger that writes to w in that format, "text" or "json",
// and the variable that holds its level.
func newLogger(w io.Writer, format string) (*slog.Logger, *slog.LevelVar, error) {
	level := new(slog.LevelVar)
	opts := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), level, nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), level, nil
	}
	return nil, nil, fmt.Errorf("-log-format %q: want text or json", format)
}

// logLevel returns the level with that name; the config has checked it.
func logLevel(name string) slog.Level {
	switch name {
	case "debug":
		return slog.LevelDebug
	case "info":
		return slog.LevelInfo
	case "warn":
		return slog.LevelWarn
	}
	return slog.LevelError
}

// logPanic logs a recovered panic with its stack: a fault in one check, request
// or event must not end the monitoring of everything else. The deferred
// function that recovered v must call it, so that the stack is that of the fault.
func logPanic(log *slog.Logger, message string, v any, args ...any) {
	log.Error(message, append(args, "panic", panicText(v), "stack", string(debug.Stack()))...)
}

// panicText returns the text of a runtime error, and only the type of any other
// value, which may hold a secret.
func panicText(v any) string {
	if fault, ok := v.(runtime.Error); ok {
		return fault.Error()
	}
	return fmt.Sprintf("%T", v)
}
