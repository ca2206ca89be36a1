package main

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// manPage is where the manual stands; -update writes it.
const manPage = "docs/vigil.1"

// usages are the commands in the order of the manual, what each says of itself
// and where its flags are.
var usages = []struct{ name, text, file string }{
	{"", usage, "main_serve.go"},
	{"check", checkUsage, "main_check.go"},
	{"init", initUsage, "main_init.go"},
	{"health", healthUsage, "main_health.go"},
	{"notify", notifyUsage, "main_notify.go"},
	{"local", localUsage, "main_local.go"},
	{"report", reportUsage, "main_report.go"},
	{"version", versionUsage, "main_version.go"},
}

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
.B VIGIL_MANAGER_TOKEN\fR, \fBVIGIL_REPORTER_TOKEN
The tokens of the APIs in a config that \fBvigil init\fR wrote.
.TP
.B VIGIL_TOKEN
The token for \fBvigil report\fR.
.TP
.B HTTPS_PROXY\fR, \fBHTTP_PROXY\fR, \fBNO_PROXY
The proxy through which messages and reports go out and RabbitMQ is asked.
.TP
.B SSL_CERT_FILE\fR, \fBSSL_CERT_DIR
The authorities to trust, where the system's are elsewhere or not enough.
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

// Every command has a usage text, which -h prints and the general one lists. It
// tells each of the command's flags, and no other one, and fits a terminal.
func TestUsages(t *testing.T) {
	made := regexp.MustCompile(`\b(?:fs|fset)\.\w+\((?:&[\w.]+, )?"([\w-]+)"`)
	for _, u := range usages {
		args, title := []string{"-h"}, "usage: vigil ["
		if u.name != "" {
			args, title = []string{u.name, "-h"}, "usage: vigil "+u.name
			if !strings.Contains(usage, "\n  "+u.name+" ") {
				t.Errorf("vigil -h does not list %s", u.name)
			}
		}
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs); code != 0 || out.String() != u.text || !strings.HasPrefix(u.text, title) {
			t.Errorf("%q: exit code %d\n%s%s", args, code, out.String(), errs.String())
		}

		var told, taken []string
		for line := range strings.Lines(u.text) {
			if n := len(line) - 1; n > 80 {
				t.Errorf("%d columns are more than a terminal has: %q", n, line)
			}
			if !strings.HasPrefix(line, "  -") {
				continue
			}
			item := manItem.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
			if item == nil {
				t.Errorf("the manual would not take this for a flag: %q", line)
				continue
			}
			for flag := range strings.SplitSeq(item[1], ", ") {
				name, _, _ := strings.Cut(strings.TrimLeft(flag, "-"), " ")
				told = append(told, name)
			}
		}
		source, err := os.ReadFile(u.file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range made.FindAllSubmatch(source, -1) {
			taken = append(taken, string(m[1]))
		}
		if strings.Contains(string(source), "configFlag(f") {
			taken = append(taken, "c", "config")
		}
		slices.Sort(told)
		slices.Sort(taken)
		if !slices.Equal(told, taken) {
			t.Errorf("vigil %s tells the flags %q, not %q", u.name, told, taken)
		}
	}
}
