package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// manPage is where the manual stands; -update writes it.
const manPage = "docs/vigil.1"

// A usage is what a command says of itself with -h.
type usage struct{ name, text string }

// usages returns those of the program, in the order of the manual: its own,
// whose name is "", and the commands that it lists.
func usages(t *testing.T) []usage {
	t.Helper()
	help := func(args ...string) string {
		out, err := exec.Command(vigil, append(args, "-h")...).Output()
		if err != nil {
			t.Fatalf("vigil %s -h: %v", strings.Join(args, " "), err)
		}
		return string(out)
	}
	all := []usage{{"", help()}}
	_, list, _ := strings.Cut(all[0].text, "\ncommands:\n")
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+)  +\S`).FindAllStringSubmatch(list, -1) {
		all = append(all, usage{m[1], help(m[1])})
	}
	if len(all) < 8 {
		t.Fatalf("only %d commands are listed", len(all)-1)
	}
	return all
}

// TestManPage keeps the manual to what the program says of itself: it is made
// of the usage texts, so that the two cannot differ.
func TestManPage(t *testing.T) {
	var b strings.Builder
	b.WriteString(`.\" Made of the usage texts: go test ./e2e -run TestManPage -update
.TH VIGIL 1 "" "Vigil ` + version + `" "User Commands"
.SH NAME
vigil \- monitor with a public status page
.SH SYNOPSIS
`)
	for _, u := range usages(t) {
		synopsis, _, _ := strings.Cut(u.text, "\n\n")
		for line := range strings.SplitSeq(synopsis, "\n") {
			b.WriteString(".B " + roff(strings.TrimSpace(strings.TrimPrefix(line, "usage:"))) + "\n.br\n")
		}
	}
	b.WriteString(".SH DESCRIPTION\n")
	for i, u := range usages(t) {
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
What survives a restart, unless storage.path of the config names another folder.
.TP
.I /etc/vigil/config.cfg\fR, \fI/etc/vigil/vigil.env\fR, \fI/var/lib/vigil/
Config, secrets and data of the packaged service.
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
The proxy for messages, for reports and for RabbitMQ.
.TP
.B SSL_CERT_FILE\fR, \fBSSL_CERT_DIR
The certificate authorities to trust, in place of the system's.
.TP
.B NOTIFY_SOCKET\fR, \fBWATCHDOG_USEC
Set by
.BR systemd (1),
which learns when Vigil serves, reloads, stops and is alive.
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

// manBlock turns one block of a usage text into roff: a list, examples, or a
// paragraph.
func manBlock(b *strings.Builder, block string) {
	first, _, _ := strings.Cut(block, "\n")
	switch {
	case manItem.MatchString(first):
	case strings.HasPrefix(first, "  "):
		b.WriteString(".PP\n.nf\n.RS\n" + roff(strings.ReplaceAll(block[2:], "\n  ", "\n")) + "\n.RE\n.fi\n")
		return
	default:
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

// oldFlags are taken for the sake of scripts written for 1.0.
var oldFlags = []string{"channel"}

// Each usage text tells each of the command's flags, and no other one, and fits
// a terminal.
func TestUsages(t *testing.T) {
	made := regexp.MustCompile(`\b(?:(?:fs|fset)\.\w+\((?:&[\w.]+, )?|(?:duration|filled)Flag\(fs, )"([\w-]+)"`)
	files, err := filepath.Glob("main*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range usages(t) {
		name := strings.TrimSpace("vigil " + u.name)
		if !strings.HasPrefix(u.text, "usage: "+name) {
			t.Errorf("%s -h says\n%s", name, u.text)
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
		for _, file := range files {
			_, source, ok := strings.Cut(read(t, file), `flag.NewFlagSet("`+name+`",`)
			if !ok {
				continue
			}
			source, _, _ = strings.Cut(source, "\n}\n")
			for _, m := range made.FindAllStringSubmatch(source, -1) {
				if !slices.Contains(oldFlags, m[1]) {
					taken = append(taken, m[1])
				}
			}
			if strings.Contains(source, "c.run(ctx, args") || strings.Contains(source, "addClientFlags(fs)") { // the flags of all that talk to a running Vigil
				taken = append(taken, "c", "config", "url", "json")
			}
			if strings.Contains(source, "configFlag(f") {
				taken = append(taken, "c", "config")
			}
		}
		if u.name == "" {
			taken = append(taken, "V", "version") // taken before the flags are parsed
		} else if _, examples, _ := strings.Cut(u.text, "\nexamples:\n\n"); strings.Count("\n"+examples, "\n  ") < 2 {
			t.Errorf("%s -h has fewer than two examples", name)
		}
		slices.Sort(told)
		slices.Sort(taken)
		if !slices.Equal(told, taken) {
			t.Errorf("%s tells the flags %q, not %q", name, told, taken)
		}
	}
}
