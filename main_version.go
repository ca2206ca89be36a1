package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

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
