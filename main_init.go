package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"runtime"
	"strings"
	"unicode"
)

const initUsage = `usage: vigil init [-title title] [-url url] [-target url]... [-o config.cfg]

Writes a config to start from, with a comment on every key, and asks nothing.
It never overwrites a file.

  -title title   the title of the page (default: Status Page)
  -url url       where visitors will find the page, like
                 https://status.example.com/ (default: http://localhost:8080/)
  -target url    something to monitor; may be given many times: an http://,
                 https://, tcp://host:port, tls://host:port, ssh://host:port,
                 icmp://host or dns://server/name URL; without any, the config
                 monitors this machine
  -o file        the file to write (default: config.cfg); - is standard output

examples:

  vigil init -title "Acme Status" -target https://example.com/
  vigil init -o - -target icmp://192.0.2.1 -target tcp://192.0.2.1:5432

Exit status: 0 if the file was written, 1 if not, 2 for wrong usage.
`

// runInit is "vigil init".
func runInit(_ context.Context, args []string, stdout, stderr io.Writer) int {
	fset := flag.NewFlagSet("vigil init", flag.ContinueOnError)
	title := fset.String("title", "", "")
	page := fset.String("url", "", "")
	file := fset.String("o", defaultConfig, "")
	var targets []Target
	mode := fs.FileMode(0o644)
	fset.Func("target", "", func(raw string) error {
		target, err := parseTarget(raw)
		if err != nil {
			return fmt.Errorf("it %w; allowed: %s", err, targetForms)
		}
		if target.URL.User != nil {
			target.Raw, mode = raw, 0o600 // the file gets the password
		}
		targets = append(targets, target)
		return nil
	})
	if code, ok := parseFlags(fset, initUsage, args, stdout, stderr); !ok {
		return code
	}
	if *page != "" {
		if _, err := parseURL(*page, "http", "https"); err != nil {
			return wrongUsage(fset, stderr, fmt.Errorf("-url %q %w; allowed: an http:// or https:// URL", withoutUser(*page), err))
		}
	}
	text := firstConfig(*title, *page, targets)
	if *file == "-" {
		fmt.Fprint(stdout, text)
		return exitOK
	}
	if err := writeNew(*file, text, mode); err != nil {
		return printError(fset, stderr, err)
	}
	c := ""
	if *file != defaultConfig {
		c = " -c " + *file
	}
	fmt.Fprintf(stdout, "Wrote %s. Now:\n\n  vigil check%s   says what it does\n  vigil%s         does it\n", *file, c, c)
	return exitOK
}

// writeNew writes a file that must not exist yet.
func writeNew(name, text string, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists and is left as it is: move it away, or name another file with -o", name)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w; go to a folder of yours, or name a file in one with -o", name, withoutPath(err))
	}
	_, err = io.WriteString(f, text)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(name) // half a config is worse than none
	}
	return err
}

// What the sample holds where a first config has something of its own.
const (
	sampleTitle = `page_title = "Status Page"`
	samplePage  = `page_url = "http://localhost:8080/"`
	sampleOwner = `company_name = "This machine"`
	sampleNodes = "[[probe.service]]\n"
)

// firstConfig is the sample with another title, URL and other targets, as far
// as they are given.
func firstConfig(title, page string, targets []Target) string {
	text := sampleFor(runtime.GOOS)
	if title != "" {
		text = strings.Replace(text, sampleTitle, "page_title = "+quoteTOML(title), 1)
		text = strings.Replace(text, sampleOwner, "company_name = "+quoteTOML(owner(title)), 1)
	}
	if page != "" {
		text = strings.Replace(text, samplePage, "page_url = "+quoteTOML(page), 1)
	}
	if len(targets) == 0 {
		return text
	}
	head, rest, _ := strings.Cut(text, sampleNodes)
	_, ending, _ := strings.Cut(rest, sampleEnding)

	var b strings.Builder
	b.WriteString(head)
	b.WriteString("# A service is a group on the page.\n" + sampleNodes + `
id = "main"
label = "Services"

# A node is a line of its group. It is as well as its replicas are: the list of
# URLs that do the same.
`)
	taken := make(map[string]bool)
	names := labels(targets)
	for i, t := range targets {
		name := cmp.Or(nodeID(t.Host), "node")
		id := name
		for n := 2; taken[id]; n++ {
			id = fmt.Sprintf("%s-%d", name, n)
		}
		taken[id] = true
		fmt.Fprintf(&b, "[[probe.service.node]]\n\nid = %s\nlabel = %s\nmode = \"poll\"\nreplicas = [%s]\n\n",
			quoteTOML(id), quoteTOML(names[i]), quoteTOML(t.Raw))
	}
	b.WriteString(sampleEnding)
	b.WriteString(ending)
	return b.String()
}

// nodeID makes an id from a host, with plain characters only, as it becomes
// part of paths and URLs.
func nodeID(host string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return unicode.ToLower(r)
		}
		return '-'
	}, host), "-")
}

// owner is the name of the company on a page with that title, which need not
// say "status" twice.
func owner(title string) string {
	name := strings.TrimSpace(title)
	for _, end := range []string{" status page", " status"} {
		if n := len(name) - len(end); n > 0 && strings.EqualFold(name[n:], end) {
			name = strings.TrimSpace(name[:n])
		}
	}
	return cmp.Or(name, title)
}

// labels names the targets for visitors, each differently: by its host alone
// or, for those that share it, with as much more as is needed.
func labels(targets []Target) []string {
	names := make([]string, len(targets))
	for level := range 4 {
		count := make(map[string]int)
		for _, name := range names {
			count[name]++
		}
		for i, t := range targets {
			if count[names[i]] > 1 || level == 0 {
				names[i] = t.label(level)
			}
		}
	}
	seen := make(map[string]int)
	for i, name := range names {
		if seen[name]++; seen[name] > 1 {
			names[i] = fmt.Sprintf("%s (%d)", name, seen[name])
		}
	}
	return names
}

// label names a target by its host and, from level 1 on, its port, its path and
// its scheme. It holds no user and no password.
func (t *Target) label(level int) string {
	name := t.Host
	if plain, err := url.PathUnescape(t.Host); err == nil {
		name = plain
	}
	if name == "" {
		name = strings.Trim(t.URL.Path, "/")
	}
	if port := t.URL.Port(); level >= 1 && port != "" {
		name = net.JoinHostPort(name, port)
	}
	if level >= 2 && strings.Trim(t.URL.Path, "/") != "" && t.Host != "" {
		name += t.URL.Path
	}
	if level >= 3 {
		name += " (" + t.Scheme + ")"
	}
	return name
}

// quoteTOML writes a basic string of TOML: https://toml.io/en/v1.0.0#string
func quoteTOML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsControl(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
