package main

import "strings"

// sampleFor returns the sample as it is of use on a system: where there is no
// shell, the node that needs one is left out.
func sampleFor(goos string) string {
	if hasShell(goos) {
		return sampleConfig
	}
	head, rest, _ := strings.Cut(sampleConfig, sampleScript)
	_, ending, _ := strings.Cut(rest, sampleEnding)
	return head + sampleEnding + ending
}

// The sample's node that runs a script, and the remark that comes after it and
// ends the sample.
const (
	sampleScript = "[[probe.service.node]]\n\nid = \"disk\"\n"
	sampleEnding = "# A node that waits for the reports"
)

// hasShell reports whether scripts can be run: they are for /bin/sh.
func hasShell(goos string) bool { return goos != "windows" }
