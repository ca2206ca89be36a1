package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

const completionUsage = `usage: vigil completion bash|zsh|fish

Prints a script that completes vigil's commands, flags, and the services and
nodes of the config in this folder, or of the one that -c names.

  -words  print what may stand for the last of the arguments after "--", a line
          each; ":files" stands for the names of files. The scripts use it

examples:

  source <(vigil completion bash)       in ~/.bashrc; zsh likewise
  vigil completion fish > ~/.config/fish/completions/vigil.fish

Exit status: 0 if the script was printed, 2 for wrong usage.
`

// The scripts ask the program itself what fits, so that they need no change
// when a command gets a flag.
var completionScripts = map[string]string{
	// Bash splits words at colons, which selectors have: what stands before the
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

// completions returns what may stand for the last of the words that follow the
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

// flagValues returns what may stand behind a flag, or nil when only the person
// at the keyboard knows.
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
