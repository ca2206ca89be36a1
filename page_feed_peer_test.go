//go:build peer

package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// xmllint returns the exit status of xmllint on these texts, which is 3 when
// the schema refuses one, and what it said of them by name.
func xmllint(t *testing.T, texts map[string]string, options ...string) (status int, said string) {
	t.Helper()
	dir := t.TempDir()
	args := append([]string{"--noout", "--nonet"}, options...)
	var names []string // pairs of a file's and a text's
	for name, text := range texts {
		file := filepath.Join(dir, fmt.Sprintf("%d.xml", len(names)))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
		names = append(names, file, name)
	}
	cmd := exec.CommandContext(t.Context(), "xmllint", args...)
	out, err := cmd.CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), strings.NewReplacer(names...).Replace(string(out))
}

const atomSchema = "testdata/feed/atom.rng"

// Every feed of every state keeps to the grammar of Atom, and to the rules
// that a grammar cannot hold: an author, distinct ids, a text in each entry.
func TestPeerFeedSchema(t *testing.T) {
	installPeer(t, "libxml2-utils")
	states := maps.Clone(samples)
	states["bare"] = func() *snapshot {
		s := mixedSample()
		s.conf.Branding = Branding{}
		return s
	}
	states["full"] = func() *snapshot {
		s := mixedSample()
		for i := range 2 * maxEntries {
			in := s.incidents[1]
			in.id, in.start = fmt.Sprint("past ", i), in.start.Add(-time.Duration(i)*time.Minute)
			s.incidents = append(s.incidents, in)
		}
		return s
	}
	feeds := make(map[string]string)
	for name, state := range states {
		s := state()
		targets := []string{"/feed.atom"}
		for _, sv := range s.services {
			targets = append(targets, "/feed/"+escapeAll(sv.conf.ID)+".atom")
		}
		h := newTestPage(t, s).handler(nil)
		for _, target := range targets {
			text := body(t, get(h, "GET", target))
			feeds[name+target] = text
			var f atomFeed
			if err := xml.Unmarshal([]byte(text), &f); err != nil {
				t.Errorf("%s%s: %v", name, target, err)
			}
			if f.Author == "" {
				t.Errorf("%s%s: no author", name, target)
			}
			ids := map[string]bool{f.ID: true}
			for _, e := range f.Entries {
				if ids[e.ID] || e.Content == "" {
					t.Errorf("%s%s: entry %q twice or without content", name, target, e.ID)
				}
				ids[e.ID] = true
			}
		}
	}
	if status, said := xmllint(t, feeds, "--relaxng", atomSchema); status != 0 {
		t.Errorf("status %d\n%s", status, said)
	}
	t.Logf("%d feeds", len(feeds))
}

// The grammar refuses a feed in which one thing is wrong.
func TestPeerFeedBroken(t *testing.T) {
	installPeer(t, "libxml2-utils")
	good := body(t, get(newTestPage(t, mixedSample()).handler(nil), "GET", "/feed.atom"))
	const (
		id      = "<id>tag:status.acme.example,2026:feed.atom</id>"
		title   = "<title>Acme Status</title>"
		updated = "<updated>2026-11-20T13:45:12Z</updated>"
	)
	for _, c := range []struct{ old, new string }{
		{id, ""},
		{id, id + id},
		{id, "<id>http://[::1</id>"},
		{title, ""},
		{title, title + title},
		{title, `<title type="markdown">Acme</title>`},
		{title, `<title>Acme <b>Status</b></title>`},
		{updated, ""},
		{updated, "<updated>yesterday</updated>"},
		{updated, "<updated>2026-11-31T13:45:12Z</updated>"},
		{updated, "<updated>2026-11-20T13:45:12</updated>"},
		{updated + "<author>", updated + "stray<author>"},
		{"<author><name>Acme</name></author>", "<author></author>"},
		{"<author><name>Acme</name></author>", "<author>Acme</author>"},
		{` href="https://status.acme.example/"`, ""},
		{` rel="alternate"`, ` relation="alternate"`},
		{` type="text/html"`, ` type="html"`},
		{"<entry><id>", "<entry><ident>x</ident><id>"},
		{"<entry>", "<entry><entry></entry>"},
		{"<entry>", "<item></item><entry>"},
		{"<content>", `<content src="https://acme.example/">`},
		{"<published>", "<published>2026-11-20T13:45:12Z</published><published>"},
		{"2005/Atom", "2005/atom"},
	} {
		broken := strings.Replace(good, c.old, c.new, 1)
		if broken == good {
			t.Errorf("the feed has no %s", c.old)
		}
		if status, said := xmllint(t, map[string]string{"broken": broken}, "--relaxng", atomSchema); status != 3 {
			t.Errorf("%s instead of %s: status %d, want 3\n%s", c.new, c.old, status, said)
		}
	}
}
