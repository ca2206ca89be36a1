// Vigil monitors hosts and apps, shows their health on a public status page
// and tells people when it changes.
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
tells people when something dies and when it is back.

  -c, --config file    the config; without it ./config.cfg or, where there is
                       none, the sample that is built in
  -log-format format   text (the default) or json, for the log on standard error
  -debug-addr address  where to serve profiles of the program, like
                       127.0.0.1:6060; off by default

commands:

  check     read a config, say what is wrong with it and what it would do
  init      write a config to start from
  health    ask the running Vigil whether it serves
  notify    send one test message through each configured channel
  local     run as an agent that reports to a Vigil elsewhere
  report    report this host's load to a Vigil elsewhere
  version   print version, commit and Go version

'vigil COMMAND -h' tells more of each. SIGHUP reloads the config, SIGTERM and
SIGINT stop cleanly, a second one kills.

Exit status: 0 after a clean stop, 1 for a config or start-up error, 2 for
wrong usage.
`

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run runs the command that args name and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	switch command {
	case "":
		if slices.Equal(args, []string{"-version"}) || slices.Equal(args, []string{"--version"}) {
			return runVersion(nil, stdout, stderr) // as others have it
		}
		return runServe(ctx, args, stdout, stderr)
	case "check":
		return runCheck(args, stdout, stderr)
	case "init":
		return runInit(args, stdout, stderr)
	case "health":
		return runHealth(ctx, args, stdout, stderr)
	case "notify":
		return runNotify(args, stdout, stderr)
	case "local":
		return runLocal(ctx, args, stdout, stderr)
	case "report":
		return runReport(ctx, args, stdout, stderr)
	case "version":
		return runVersion(args, stdout, stderr)
	case "help": // as others have it
		return run(ctx, append(args, "-h"), stdout, stderr)
	}
	fmt.Fprintf(stderr, "vigil: unknown command %q: commands are check, init, health, notify, local, report and version\n", command)
	return exitUsage
}

// parseFlags parses a command's args, which are flags and nothing else. When
// there is nothing left to do it returns false and the exit code: usage, the
// text for people, was asked for, or something is wrong with args.
func parseFlags(fs *flag.FlagSet, usage string, args []string, stdout, stderr io.Writer) (code int, ok bool) {
	fs.SetOutput(io.Discard) // Parse would print more than one line
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitOK, false
	case err == nil && fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v ('%s -h' tells more)\n", fs.Name(), err, fs.Name())
		return exitUsage, false
	}
	return exitOK, true
}

// configFlag adds the flag that names the config file, in both its forms.
func configFlag(fs *flag.FlagSet) *string {
	path := fs.String("c", "", "")
	fs.StringVar(path, "config", "", "")
	return path
}

// heedSignals returns a context that ends with the first SIGINT or SIGTERM; a
// second one kills. Each SIGHUP, but for those that come while one waits, is
// in hangup. Whoever calls it calls stop.
func heedSignals(parent context.Context) (ctx context.Context, hangup <-chan os.Signal, stop func()) {
	ctx, end := heedStop(parent)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	return ctx, hangups, func() {
		signal.Stop(hangups)
		end()
	}
}

// heedStop is heedSignals without SIGHUP. That nobody reads the log any more is
// no reason to stop, either: with SIGPIPE caught, a write fails instead. It is
// not ignored, as scripts would inherit that.
func heedStop(parent context.Context) (ctx context.Context, stop func()) {
	ctx, end := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, end)
	unread := make(chan os.Signal, 1)
	signal.Notify(unread, syscall.SIGPIPE)
	return ctx, func() {
		signal.Stop(unread)
		end()
	}
}

// version is that of the next or the current release.
const version = "1.0.0"

// The commit and its date that a source archive is of. The script that makes the
// archive fills them in: there Go finds no repository.
const archiveCommit, archiveDate = "", ""

const versionUsage = `usage: vigil version

Prints version, commit and Go version.
`

// runVersion prints the version, the commit when the binary was built from a
// checkout, and the Go version.
func runVersion(args []string, stdout, stderr io.Writer) int {
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
// when the checkout had changes, and its date; empty when Go did not note it.
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

// newLogger returns a logger that writes to w as format says, "text" or
// "json", and the variable that holds its level.
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

// logLevel returns the level of that name, one that the config allows.
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

// logPanic logs a panic that was contained, with its stack: a fault in one
// check, request or event must not end the monitoring of everything else. It
// is called by the deferred function that recovered v.
func logPanic(log *slog.Logger, message string, v any, args ...any) {
	log.Error(message, append(args, "panic", panicText(v), "stack", string(debug.Stack()))...)
}

// panicText quotes what the runtime says, and of other values the type only,
// for these may hold anything, a secret too.
func panicText(v any) string {
	if fault, ok := v.(runtime.Error); ok {
		return fault.Error()
	}
	return fmt.Sprintf("%T", v)
}
