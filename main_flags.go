package main

import (
	"cmp"
	"context"
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

// printError prints why a command failed, with its name before each line, and
// returns the exit code.
func printError(fs *flag.FlagSet, stderr io.Writer, err error) int {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "%s: %s\n", fs.Name(), line)
	}
	return exitError
}

// flagError rewords an error of package flag, and adds the nearest flag when it
// does not know one.
func flagError(fs *flag.FlagSet, err error) error {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: ")
	if value, rest, ok := strings.Cut(err.Error(), `" for flag `); ok && strings.Contains(value, "://") {
		return errors.New(withoutUser(value) + `" for flag ` + rest)
	}
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
	path := filledFlag(fs, "c", "the name of a file")
	fs.Var(fs.Lookup("c").Value, "config", "")
	return path
}

// filledFlag adds a flag with text that must not be empty: "-update $ID" with a
// variable that is not set would do something else without -update.
func filledFlag(fs *flag.FlagSet, name, want string) *string {
	text := new(string)
	fs.Func(name, "", func(s string) error {
		if *text = s; s == "" {
			return errors.New("want " + want)
		}
		return nil
	})
	return text
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

// parseSince parses the beginning of a span that ends now: how long ago, or when.
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

const completionUsage = `usage: vigil completion bash|zsh|fish

Prints a script that completes vigil's commands, flags, and the services and
nodes of the config in this folder, or of the one that -c names.

  -words  print the candidates for the last of the arguments after "--", one per
          line; ":files" means file names. The scripts use this

examples:

  source <(vigil completion bash)       in ~/.bashrc; zsh likewise
  vigil completion fish > ~/.config/fish/completions/vigil.fish

Exit status: 0 if the script was printed, 2 for wrong usage.
`

// The scripts ask the program itself what fits, so that they need no change
// when a command gets a flag.
var completionScripts = map[string]string{
	// Bash splits words at colons, which selectors have: the part before the
	// last one is already on the line and must not be repeated.
	"bash": `_vigil() {
	local line=${COMP_LINE:0:COMP_POINT} words current known
	read -ra words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=("")
	current=${words[-1]}
	mapfile -t COMPREPLY < <("${words[0]}" completion -words -- "${words[@]:1}" 2>/dev/null)
	if [[ ${COMPREPLY[0]} == :files ]]; then
		COMPREPLY=()
		compopt -o default 2>/dev/null
	elif [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
		known=${current%"${current##*:}"}
		COMPREPLY=("${COMPREPLY[@]#"$known"}")
	fi
}
complete -F _vigil vigil
`,
	"zsh": `#compdef vigil
_vigil() {
	local -a fits
	fits=("${(@f)$("${words[1]}" completion -words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	if [[ $fits[1] == :files ]]; then
		_files
	else
		compadd -- ${fits:#}
	fi
}
if [[ $funcstack[1] == _vigil ]]; then
	_vigil "$@"
else
	compdef _vigil vigil
fi
`,
	"fish": `function __vigil_complete
	set -l words (commandline -opc) (commandline -ct)
	set -l fits ($words[1] completion -words -- $words[2..-1] 2>/dev/null)
	if test "$fits[1]" = :files
		__fish_complete_path (commandline -ct)
	else
		printf '%s\n' $fits
	end
end
complete -c vigil -f -a '(__vigil_complete)'
`,
}

// runCompletion is "vigil completion".
func runCompletion(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil completion", flag.ContinueOnError)
	words := fs.Bool("words", false, "")
	rest, code, ok := parseArgs(fs, completionUsage, args, stdout, stderr)
	if !ok {
		return code
	}
	if *words {
		for _, word := range completions(ctx, rest) {
			fmt.Fprintln(stdout, word)
		}
		return exitOK
	}
	if len(rest) == 1 && completionScripts[rest[0]] != "" {
		fmt.Fprint(stdout, completionScripts[rest[0]])
		return exitOK
	}
	return wrongUsage(fs, stderr, fmt.Errorf("want the name of a shell: bash, zsh or fish"))
}

// completions returns the candidates for the last of the words that follow the
// program's name.
func completions(ctx context.Context, words []string) (fits []string) {
	if len(words) == 0 {
		return nil
	}
	before, last := words[:len(words)-1], words[len(words)-1]
	var candidates []string
	cmd, named := command{name: "", usage: usage}, len(before) > 0 && !strings.HasPrefix(before[0], "-")
	for _, c := range commands() {
		switch {
		case named && c.name == before[0]:
			cmd = c
		case len(before) == 0, len(before) == 1 && before[0] == "help":
			candidates = append(candidates, c.name)
		}
	}
	flags := usageFlags(cmd.usage)
	switch {
	case len(before) > 0 && flags[before[len(before)-1]] == "selector":
		candidates = selectorWords(ctx, configOf(before))
	case len(before) > 0 && flags[before[len(before)-1]] != "":
		if candidates = flagValues(before[len(before)-1], flags[before[len(before)-1]]); candidates == nil {
			return nil
		}
		if candidates[0] == ":files" {
			return candidates
		}
	case strings.HasPrefix(last, "-"):
		candidates = nil
		for name := range flags {
			candidates = append(candidates, name)
		}
	case cmd.name == "completion":
		candidates = []string{"bash", "fish", "zsh"}
	case strings.Contains(cmd.usage, "SELECTOR"):
		candidates = selectorWords(ctx, configOf(before))
	}
	for _, word := range candidates {
		if strings.HasPrefix(word, last) {
			fits = append(fits, word)
		}
	}
	slices.Sort(fits)
	return slices.Compact(fits)
}

// usageFlagLine is a line of a usage text that describes a flag.
var usageFlagLine = regexp.MustCompile(`(?m)^  (-\S+(?: \S+)*?)(?:\s{2,}\S.*)?$`)

// usageFlags returns the flags that a usage text describes, each with what it
// calls its value, or "" when it has none.
func usageFlags(usage string) map[string]string {
	flags := make(map[string]string)
	for _, m := range usageFlagLine.FindAllStringSubmatch(usage, -1) {
		var names []string
		value := ""
		for word := range strings.FieldsSeq(m[1]) {
			if name, ok := strings.CutPrefix(strings.TrimSuffix(word, ","), "-"); ok {
				names = append(names, "-"+name)
			} else {
				value = word
			}
		}
		for _, name := range names {
			flags[name] = value
		}
	}
	return flags
}

// flagValues returns the candidates for a flag's value, or nil when there is no
// way to know them.
func flagValues(name, value string) []string {
	switch {
	case value == "file":
		return []string{":files"}
	case name == "-log-format":
		return []string{"text", "json"}
	case name == "-status":
		return []string{"healthy", "sick", "dead"}
	case name == "-state":
		return []string{"investigating", "identified", "monitoring", "resolved"}
	}
	return nil
}

// configOf returns the config that the words name, or "".
func configOf(words []string) string {
	for i, word := range words {
		if slices.Contains([]string{"-c", "-config", "--config"}, word) && i+1 < len(words) {
			return words[i+1]
		}
	}
	return ""
}

// plainSelector is a selector that no shell takes apart.
var plainSelector = regexp.MustCompile(`^[A-Za-z0-9._:/@%+-]+$`)

// selectorWords returns the selectors of a config's services and nodes.
func selectorWords(ctx context.Context, path string) (all []string) {
	if path == "" && !fileExists(defaultConfig) {
		return nil
	}
	conf, _, err := loadConfig(ctx, path, os.LookupEnv)
	if err != nil {
		return nil
	}
	for _, s := range conf.Services {
		all = append(all, s.ID)
		for _, n := range s.Nodes {
			all = append(all, s.ID+":"+n.ID)
		}
	}
	return slices.DeleteFunc(all, func(s string) bool { return !plainSelector.MatchString(s) })
}
