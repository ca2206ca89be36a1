package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// parseFlags parses the args of a command that takes flags only. When nothing
// is left to do it returns false and the exit code: either -h asked for the
// usage text, or args are wrong.
func parseFlags(fs *flag.FlagSet, usage string, args []string, stdout, stderr io.Writer) (code int, ok bool) {
	rest, code, ok := parseArgs(fs, usage, args, stdout, stderr)
	if ok && len(rest) > 0 {
		return wrongUsage(fs, stderr, fmt.Errorf("unexpected argument %q", rest[0])), false
	}
	return code, ok
}

// parseArgs is parseFlags for commands that take other arguments too, which it
// returns. Flags may follow arguments; everything after "--" is an argument.
func parseArgs(fs *flag.FlagSet, usage string, args []string, stdout, stderr io.Writer) (rest []string, code int, ok bool) {
	fs.SetOutput(io.Discard) // Parse would print more than one line
	var literal []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, literal = args[:i], args[i+1:]
	}
	for args = splitConfigFlag(fs, args); len(args) > 0; {
		err := fs.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(stdout, usage)
			return nil, exitOK, false
		}
		if err != nil {
			return nil, wrongUsage(fs, stderr, flagError(fs, err)), false
		}
		if args = fs.Args(); len(args) > 0 {
			rest, args = append(rest, args[0]), args[1:]
		}
	}
	return append(rest, literal...), exitOK, true
}

// wrongUsage prints what is wrong with the arguments of a command and returns
// the exit code.
func wrongUsage(fs *flag.FlagSet, stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "%s: %v (see '%s -h')\n", fs.Name(), err, fs.Name())
	return exitUsage
}

// flagError rewords an error of package flag, and adds the nearest flag when it
// does not know one.
func flagError(fs *flag.FlagSet, err error) error {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: ")
	if !unknown {
		return err
	}
	word := strings.TrimLeft(name, "-")
	near := nearest(word, flagNames(fs))
	if near == "" || len(word) == 1 {
		return fmt.Errorf("unknown flag %s", name)
	}
	return fmt.Errorf("unknown flag %s; did you mean -%s?", name, near)
}

func flagNames(fs *flag.FlagSet) (names []string) {
	fs.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	return names
}

// configFlag adds the flag that names the config file, in both its forms.
func configFlag(fs *flag.FlagSet) *string {
	path := fs.String("c", "", "")
	fs.StringVar(path, "config", "", "")
	return path
}

// splitConfigFlag turns -cFILE into -c FILE where a command has that flag.
// A misspelt flag that begins with a c stays what it is.
func splitConfigFlag(fs *flag.FlagSet, args []string) []string {
	if fs.Lookup("c") == nil {
		return args
	}
	var split []string
	for _, arg := range args {
		file, ok := strings.CutPrefix(arg, "-c")
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !ok || file == "" || file[0] == '=' || fs.Lookup(name) != nil ||
			nearest(name, flagNames(fs)) != "" && !fileExists(file) {
			split = append(split, arg)
			continue
		}
		split = append(split, "-c", file)
	}
	return split
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// durationFlag adds a flag with a duration from least to most.
func durationFlag(fs *flag.FlagSet, name string, def, least, most time.Duration) *time.Duration {
	d := def
	fs.Func(name, "", func(s string) (err error) {
		if d, err = parseDuration(s); err == nil && (d < least || d > most) {
			err = fmt.Errorf("want %s to %s", writeDuration(least), writeDuration(most))
		}
		return err
	})
	return &d
}

var errDuration = errors.New("want a duration like 90s, 5m, 2h30m or 1d")

// durationParts is a duration as people write it.
var durationParts = regexp.MustCompile(`^(?:(\d{1,6})d)?((?:\d{1,9}(?:\.\d{1,9})?(?:ms|s|m|h))*)$`)

// parseDuration parses a duration like those of package time, with days in
// front.
func parseDuration(s string) (time.Duration, error) {
	m := durationParts.FindStringSubmatch(s)
	if s == "" || m == nil {
		return 0, errDuration
	}
	days, _ := strconv.Atoi("0" + m[1])
	if days > 36500 {
		return 0, fmt.Errorf("%d days are more than a century", days)
	}
	d := time.Duration(days) * 24 * time.Hour
	if m[2] != "" {
		rest, err := time.ParseDuration(m[2])
		if err != nil || rest > 876000*time.Hour {
			return 0, errDuration
		}
		d += rest
	}
	return d, nil
}

// writeDuration writes a duration as parseDuration reads it.
func writeDuration(d time.Duration) string {
	if d > 0 && d < time.Second {
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
	var b strings.Builder
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d / unit.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, unit.name)
			d -= n * unit.size
		}
	}
	return cmp.Or(b.String(), "0s")
}

// parseTime parses a time: RFC 3339, or a wall time like 22:00, which is its
// next coming or, with past, its last.
func parseTime(s string, now time.Time, past bool) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	wall, err := time.Parse("15:04", s)
	if err != nil {
		return time.Time{}, errors.New("want a time like 22:00 or 2026-11-26T22:00:00Z")
	}
	at := func(days int) time.Time {
		return time.Date(now.Year(), now.Month(), now.Day()+days, wall.Hour(), wall.Minute(), 0, 0, now.Location())
	}
	t := at(0)
	switch {
	case past && t.After(now):
		t = at(-1)
	case !past && t.Before(now):
		t = at(1)
	}
	return t, nil
}

// parseSince parses the begin of a span that ends now: how long ago, or when.
func parseSince(s string, now time.Time) (time.Time, error) {
	if d, err := parseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	t, err := parseTime(s, now, true)
	if err != nil {
		return t, errors.New("want a duration like 90m or 7d, or a time like 22:00 or 2026-11-26T22:00:00Z")
	}
	if t.After(now) {
		return t, errors.New("is in the future")
	}
	return t, nil
}
