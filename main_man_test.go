package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
)

// manPage is where the manual stands; -update writes it.
const manPage = "docs/vigil.1"

// TestManPage keeps the manual to what the program says of itself: it is made
// of the usage texts, so that the two cannot differ.
func TestManPage(t *testing.T) {
	var b strings.Builder
	b.WriteString(`.\" Made of the usage texts: go test -run TestManPage -update .
.TH VIGIL 1 "" "Vigil ` + version + `" "User Commands"
.SH NAME
vigil \- a monitor with a public status page
.SH SYNOPSIS
`)
	usages := []struct{ name, text string }{
		{"", usage}, {"check", checkUsage}, {"init", initUsage}, {"health", healthUsage}, {"notify", notifyUsage},
		{"local", localUsage}, {"report", reportUsage}, {"version", versionUsage},
	}
	for _, u := range usages {
		synopsis, _, _ := strings.Cut(u.text, "\n\n")
		for line := range strings.SplitSeq(synopsis, "\n") {
			b.WriteString(".B " + roff(strings.TrimSpace(strings.TrimPrefix(line, "usage:"))) + "\n.br\n")
		}
	}
	b.WriteString(".SH DESCRIPTION\n")
	for i, u := range usages {
		if i == 1 {
			b.WriteString(".SH COMMANDS\n")
		}
		if u.name != "" {
			b.WriteString(".SS vigil " + u.name + "\n")
		}
		_, text, _ := strings.Cut(u.text, "\n\n")
		for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
			manBlock(&b, block)
		}
	}
	b.WriteString(`.SH FILES
.TP
.I config.cfg
The config, in TOML. \fBvigil init\fR writes one with a comment on every key.
.TP
.I data/
What must survive a restart, unless the config's storage.path names another folder.
.TP
.I /etc/vigil/config.cfg\fR, \fI/etc/vigil/vigil.env\fR, \fI/var/lib/vigil/
The config, the secrets and the data of the service that comes with the package.
.SH ENVIRONMENT
Each ${NAME} in a config is replaced by the variable of that name.
.TP
.B VIGIL_TOKEN
The token for \fBvigil report\fR.
.TP
.B NOTIFY_SOCKET\fR, \fBWATCHDOG_USEC
Set by
.BR systemd (1),
which is told when Vigil serves, reloads, stops and is alive.
.SH SEE ALSO
.BR systemd.service (5),
.BR sd_notify (3)
`)
	got := b.String()
	if *update {
		if err := os.WriteFile(manPage, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(manPage)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s does not say what the program says: run this test with -update", manPage)
	}
}

// manItem is a line that begins the description of a flag or a command.
var manItem = regexp.MustCompile(`^  (\S+(?: \S+)*)\s{2,}(\S.*)$`)

// manBlock turns one block of a usage text into roff: a list, or a paragraph.
func manBlock(b *strings.Builder, block string) {
	if !manItem.MatchString(strings.SplitN(block, "\n", 2)[0]) {
		b.WriteString(".PP\n" + roff(block) + "\n")
		return
	}
	for line := range strings.SplitSeq(block, "\n") {
		if m := manItem.FindStringSubmatch(line); m != nil {
			b.WriteString(".TP\n.B " + roff(m[1]) + "\n" + roff(m[2]) + "\n")
		} else {
			b.WriteString(roff(strings.TrimSpace(line)) + "\n")
		}
	}
}

// roff escapes what groff would take for its own.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	return regexp.MustCompile(`(?m)^([.'])`).ReplaceAllString(s, `\&$1`)
}

// Every command has a usage text that -h prints and the general one lists.
func TestUsageListsCommands(t *testing.T) {
	for _, command := range []string{"check", "init", "health", "notify", "local", "report", "version"} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{command, "-h"}, &out, &errs); code != 0 || !strings.HasPrefix(out.String(), "usage: vigil "+command) {
			t.Errorf("%s -h: exit code %d\n%s%s", command, code, out.String(), errs.String())
		}
		if !strings.Contains(usage, "\n  "+command+" ") {
			t.Errorf("vigil -h does not list %s", command)
		}
	}
}
