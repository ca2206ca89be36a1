//go:build peer

package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// badgeTargets are the addresses of every badge of a page, without a leading
// slash.
func badgeTargets(s *snapshot) []string {
	var targets []string
	for _, kind := range []string{"color", "icon", "uptime"} {
		targets = append(targets, "badge/"+kind)
		for _, sv := range s.services {
			service := "badge/" + kind + "/" + escapeAll(sv.conf.ID)
			targets = append(targets, service)
			for _, nv := range sv.nodes {
				targets = append(targets, service+"/"+escapeAll(nv.conf.ID))
			}
		}
	}
	return targets
}

// Every badge of every state is XML to a parser that is not Go's.
// TestPeerBrowser draws them.
func TestPeerBadges(t *testing.T) {
	installPeer(t, "libxml2-utils")
	badges := make(map[string]string)
	for name, sample := range samples {
		s := sample()
		h := newTestPage(t, s).handler(nil)
		for _, target := range badgeTargets(s) {
			badges[name+"/"+target] = body(t, get(h, "GET", "/"+target))
		}
	}
	if status, said := xmllint(t, badges); status != 0 {
		t.Errorf("status %d\n%s", status, said)
	}
	if status, _ := xmllint(t, map[string]string{"broken": "<svg><title>a & b</title></svg>"}); status == 0 {
		t.Error("xmllint takes a lone ampersand")
	}
}

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

// TestPeerTextBrowser reads the page in a browser that knows neither colours
// nor scripts: what is not well is said in words.
func TestPeerTextBrowser(t *testing.T) {
	installPeer(t, "w3m")
	base := serveStates(t, newTestPage(t, mixedSample()).handler(nil))
	for path, wants := range map[string][]string{
		"/": {
			"Acme Status Subscribe Website Get support 3 of 6 systems are down Checked at 14:05:12",
			"Front pages Website Down for 1 h 1 min, since 13:04 • Old shop Website Down for 2 d 2 h, since 18 Nov, 12:05 • Fleet Workers Down for 3 h, since 11:05",
			"Monitoring has just restarted.",
			"Announcement 13:45 Front pages are down for some We found the cause and are working on it.",
			"Announcement 17 Nov, 16:05 Maintenance of the shop",
			"Website 2 of 3 down • Front pages down for 1 h 1 min □ 1 □ 2 degraded □ 3 down 98.41%",
			"Old shop down for 2 d 2 h □ 1 degraded, last known □ 2 operational, last known □ 3 down, last known",
			"90 days ago Down: >10 min >1 h degraded no data today uptime",
			"Workers 1 of 1 down • Fleet down for 3 h □ 1,237 operational, 2 degraded, 1 down",
			"Inbound □ 1 □ 2 not checked yet –",
			"Reports no reports yet –",
			"Last 14 days Full history • 17 Nov Inbound Mail 40 min 14:05 to 14:45 • 6 Nov Front pages Website 1 d 21 h 6 Nov, 14:05 to 8 Nov, 11:05",
			"History Feed JSON © 2026 Acme. All times are UTC.",
		},
		// Of very many instances, those that are not well are listed here.
		"/node/id-Workers/id-Fleet": {
			"Instances State Latency degraded 18 CPU load 20% RAM load 30% down 701 CPU load 20% RAM load 30% degraded 904",
			"and 1,237 more",
		},
	} {
		out, err := exec.CommandContext(t.Context(), "w3m", "-dump", "-cols", "100", base+path).Output()
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(string(out)), " ")
		for _, want := range wants {
			_, after, found := strings.Cut(text, want)
			if !found {
				t.Errorf("%s: not said: %s\n%s", path, want, text)
				continue
			}
			text = after
		}
	}
}

// installPeer installs Debian packages that are missing.
func installPeer(t *testing.T, packages ...string) {
	t.Helper()
	if out, err := exec.Command("testdata/peers/install.sh", packages...).CombinedOutput(); err != nil {
		t.Fatalf("install.sh: %v\n%s", err, out)
	}
}

func TestPeerPromtool(t *testing.T) {
	installPeer(t, "prometheus")
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = bytes.NewReader(newTestScrape(t).text(time.Now()))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// A real Prometheus scrapes, with the token as its password, and is asked for
// what it has.
func TestPeerPrometheus(t *testing.T) {
	installPeer(t, "prometheus")
	s := newTestScrape(t)
	vigil := httptest.NewServer(s.page.handler(map[string]http.Handler{"metrics": s}))
	defer vigil.Close()
	dir := t.TempDir()
	config := fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: vigil
    basic_auth: {username: prometheus, password: manage me}
    static_configs: [{targets: [%q]}]
`, strings.TrimPrefix(vigil.URL, "http://"))
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	cmd := exec.Command("prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	}()

	// query returns the labels and the value of each series.
	query := func(q string) map[string]string {
		resp, err := http.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(q))
		if err != nil {
			return nil // it is not up yet
		}
		defer resp.Body.Close()
		var answer struct {
			Data struct {
				Result []struct {
					Metric map[string]string
					Value  [2]any
				}
			}
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			return nil
		}
		series := make(map[string]string)
		for _, r := range answer.Data.Result {
			delete(r.Metric, "instance")
			delete(r.Metric, "job")
			series[fmt.Sprint(r.Metric)] = fmt.Sprint(r.Value[1])
		}
		return series
	}
	deadline := time.Now().Add(time.Minute)
	for len(query("up == 1")) == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("no scrape succeeded: %v", query("up"))
		}
		time.Sleep(200 * time.Millisecond)
	}
	for q, want := range map[string]string{
		`vigil_status`: "map[map[__name__:vigil_status]:2]",
		`vigil_replicas{service="odd",node=~"(?s)a.*",status="dead"}`:               "map[map[__name__:vigil_replicas node:a\"b\\c\nd\ufffd service:odd status:dead]:1]",
		`histogram_quantile(0.5, vigil_probe_duration_seconds_bucket{mode="poll"})`: "map[map[mode:poll]:0.00375]",
		`count(vigil_node_status)`: "map[map[]:11]",
	} {
		if got := fmt.Sprint(query(q)); got != want {
			t.Errorf("%s is\n%s, want\n%s", q, got, want)
		}
	}
}
