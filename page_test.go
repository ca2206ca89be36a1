package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/html"
)

// golden compares got with a file below testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs; look at the change and run with -update\ngot:\n%s", path, got)
	}
}

// get asks a handler; header lines are "Name: value".
func get(h http.Handler, method, target string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t testing.TB, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPageGolden(t *testing.T) {
	for name, sample := range samples {
		t.Run(name, func(t *testing.T) {
			pageGolden(t, newTestPage(t, sample()), "/", name)
		})
	}
	// Of many services, those that are well are folded.
	crowd := crowdSample(foldAbove + 2)
	sv := crowd.services[5]
	broken := sv.nodes[1].replicas.at(0)
	broken.status, broken.since = dead, sampleTime.Add(-time.Hour)
	sv.nodes[1].status, sv.status, crowd.status = dead, dead, dead
	told := newTestPage(t, toldSample())
	for name, c := range map[string]struct {
		page  *page
		route string
	}{
		"crowd":         {newTestPage(t, crowd), "/"},
		"opened":        {told, "/node/id-Website/id-Front%20pages"},
		"history":       {told, "/history"},
		"embed":         {told, "/embed"},
		"embed.service": {told, "/embed/id-Mail"},
		"missing":       {told, "/nothing"},
	} {
		t.Run(name, func(t *testing.T) { pageGolden(t, c.page, c.route, name) })
	}
}

// pageGolden compares what a route answers with a file.
func pageGolden(t *testing.T, p *page, route, name string) {
	t.Helper()
	text := body(t, get(p.handler(nil), "GET", route, "Accept: text/html"))
	// Their hashes change with every touch of the style sheet.
	for _, a := range p.now.Load().site.assets {
		text = strings.ReplaceAll(text, "?v="+a.hash, "?v=HASH")
	}
	golden(t, "page/"+name+".html", []byte(text))
}

// Nobody but the node's owner may know where a replica is, or why it is dead.
func TestPageKeepsSecrets(t *testing.T) {
	for name, sample := range samples {
		if name == "hostile" || name == "wordy" {
			continue // they reveal names
		}
		s := sample()
		h := newTestPage(t, s).handler(nil)
		routes := []string{"/", "/status/report", "/feed.atom", "/embed", "/badge/uptime", "/history"}
		for _, sv := range s.services {
			for _, nv := range sv.nodes {
				routes = append(routes, "/node/"+escapeAll(sv.conf.ID)+"/"+escapeAll(nv.conf.ID))
			}
		}
		for _, route := range routes {
			got := body(t, get(h, "GET", route))
			if (name == "healthy" || name == "maintained") && strings.HasSuffix(route, escapeAll("id-Shop")) {
				if !strings.Contains(got, "Name: tcp://c.internal:80") {
					t.Error("the revealed name is not on the node's page")
				}
				continue
			}
			for _, secret := range []string{".internal", "10.0.", "secret reason"} {
				if strings.Contains(got, secret) {
					t.Errorf("%s: %s contains %q", name, route, secret)
				}
			}
		}
	}
}

// A label is text, whatever it holds, wherever it is shown.
func TestHostileLabels(t *testing.T) {
	s := hostileSample()
	h := newTestPage(t, s).handler(nil)
	shown := strings.NewReplacer("\u202E", "", "\u2066", "").Replace(hostileLabel)

	for _, route := range []string{"/", "/embed", "/feed.atom", "/badge/uptime"} {
		if text := body(t, get(h, "GET", route)); strings.ContainsAny(text, "\u202E\u2066") {
			t.Errorf("%s: marks that turn text round:\n%s", route, text)
		}
	}
	z := html.NewTokenizer(strings.NewReader(body(t, get(h, "GET", "/"))))
	bdi, scripts, isolated := 0, 0, 0
	for z.Next() != html.ErrorToken {
		switch tok := z.Token(); {
		case tok.Type == html.StartTagToken && tok.Data == "script":
			scripts++
		case tok.Type == html.StartTagToken && tok.Data == "bdi":
			bdi++
		case tok.Type == html.EndTagToken && tok.Data == "bdi":
			bdi--
		case tok.Type == html.TextToken && tok.Data == shown && bdi > 0:
			isolated++
		}
		for _, a := range z.Token().Attr {
			if strings.HasPrefix(strings.TrimSpace(a.Val), "javascript:") {
				t.Errorf("attribute %s=%q", a.Key, a.Val)
			}
		}
	}
	if scripts != 1 {
		t.Errorf("%d scripts on the page, want its own only", scripts)
	}
	if isolated < 5 {
		t.Errorf("%d labels in <bdi>, want 5 at least", isolated)
	}

	id := "id-" + hostileLabel
	for _, route := range []string{"/feed.atom", "/badge/color/" + escapeAll(id), "/badge/icon/" + escapeAll(id) + "/" + escapeAll(id), "/badge/uptime/" + escapeAll(id), "/feed/" + escapeAll(id) + ".atom"} {
		res := get(h, "GET", route)
		text := body(t, res)
		if res.StatusCode != 200 || strings.Contains(text, "<script>") {
			t.Errorf("%s: %s\n%s", route, res.Status, text)
		}
		d := xml.NewDecoder(strings.NewReader(text))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Errorf("%s: %v", route, err)
				break
			}
		}
	}

	var rep publicStatus
	if err := json.Unmarshal([]byte(body(t, get(h, "GET", "/status/report"))), &rep); err != nil {
		t.Fatal(err)
	}
	var call struct {
		Result struct {
			Content []struct{ Text string }
		}
	}
	result, fault := newMCP(newSnapshots(s), "1").callTool("get_report", "")
	if fault != nil {
		t.Fatal(fault.Message)
	}
	answer := fmt.Appendf(nil, `{"result":%s}`, result)
	err := json.Unmarshal(answer, &call)
	if err != nil || len(call.Result.Content) != 1 {
		t.Fatal(err, string(answer))
	}
	var told publicStatus
	if err := json.Unmarshal([]byte(call.Result.Content[0].Text), &told); err != nil {
		t.Fatal(err)
	}
	for what, rep := range map[string]publicStatus{"report": rep, "MCP": told} {
		if rep.Probes[0].Name != hostileLabel || rep.Probes[0].Nodes[0].Name != hostileLabel {
			t.Errorf("%s: %+v", what, rep)
		}
	}
}

// escapeAll percent-encodes every byte of a path segment.
func escapeAll(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

// The renderer follows the snapshots, once a second at most, and follows a new
// configuration.
func TestPageRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSnapshots(healthySample())
		p, err := newPage(b, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		title := func() string {
			text := string(p.now.Load().page.plain.body)
			text = text[strings.Index(text, "<title>")+len("<title>"):]
			return text[:strings.Index(text, "<")]
		}
		go p.run(t.Context())
		synctest.Wait()

		b.publish(sickSample())
		synctest.Wait()
		if got := title(); got != "All systems operational | Acme Status" {
			t.Errorf("rendered again at once: %q", got)
		}
		time.Sleep(renderEvery)
		synctest.Wait()
		if got := title(); got != "2 of 3 systems are degraded | Acme Status" {
			t.Errorf("after a second: %q", got)
		}
		before := p.now.Load()
		b.publish(before.snap)
		time.Sleep(2 * renderEvery)
		synctest.Wait()
		if p.now.Load() != before {
			t.Error("the same snapshot was rendered twice")
		}

		s := deadSample()
		s.conf.Branding.PageTitle = "Renamed"
		s.conf.Assets = filepath.Join(t.TempDir(), "missing")
		b.publish(s)
		time.Sleep(2 * renderEvery)
		synctest.Wait()
		if got := title(); got != "The system is down | Renamed" {
			t.Errorf("after a reload with a broken folder: %q", got)
		}
	})
}

// A rendering that keeps what stays as it was is that of a new renderer.
func TestRenderKeeps(t *testing.T) {
	s := mixedSample()
	st := newTestPage(t, s).renderer.site
	r := newRenderer(st, st.lang)
	for step, turn := range []func(*serviceView, *nodeView){
		func(*serviceView, *nodeView) {},
		func(sv *serviceView, nv *nodeView) { sv.status, nv.status = dead, dead },
		func(sv *serviceView, nv *nodeView) { sv.status, nv.status, nv.checked = healthy, healthy, true },
		func(sv *serviceView, nv *nodeView) { nv.replicas = nil },
		func(*serviceView, *nodeView) {},
	} {
		next := *s
		next.at = s.at.Add(time.Second)
		next.services = slices.Clone(s.services)
		for i, sv := range next.services {
			one := *sv
			one.nodes = slices.Clone(sv.nodes)
			for k, nv := range one.nodes {
				changed := *nv
				one.nodes[k] = &changed
				turn(&one, &changed)
			}
			next.services[i] = &one
		}
		s = &next
		got, _, err := r.html(s)
		if err != nil {
			t.Fatal(err)
		}
		want, _, err := newRenderer(st, st.lang).html(s)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("step %d differs:\n%s\nwant\n%s", step, got, want)
		}
	}
}

// A first view of a big page must stay within 40 KiB and 4 requests; within 44
// when each node had six bad days.
func TestPageBudget(t *testing.T) {
	t.Run("healthy", func(t *testing.T) { testPageBudget(t, crowdSample(100), 40<<10) })
	t.Run("mixed", func(t *testing.T) { testPageBudget(t, mixedCrowdSample(), 40<<10) })
	t.Run("bad", func(t *testing.T) { testPageBudget(t, badCrowdSample(), 44<<10) })
}

func testPageBudget(t *testing.T, s *snapshot, limit int) {
	h := newTestPage(t, s).handler(nil)
	total, requests := 0, 0
	for _, target := range append([]string{"/"}, links(t, body(t, get(h, "GET", "/")))...) {
		res := get(h, "GET", target, "Accept-Encoding: gzip")
		n := len(body(t, res))
		if res.StatusCode != 200 {
			t.Errorf("%s: %s", target, res.Status)
		}
		for name, values := range res.Header {
			n += len(name) + len(values[0]) + 4
		}
		total += n
		requests++
		t.Logf("%s: %d bytes", target, n)
	}
	if total > limit || requests > 4 {
		t.Errorf("first view: %d bytes in %d requests, want at most %d in 4", total, requests, limit)
	}
}

// links returns the addresses that a browser loads for a page.
func links(t *testing.T, page string) []string {
	var found []string
	z := html.NewTokenizer(strings.NewReader(page))
	for z.Next() != html.ErrorToken {
		tok := z.Token()
		attr := make(map[string]string)
		for _, a := range tok.Attr {
			attr[a.Key] = a.Val
		}
		target := ""
		switch {
		case tok.Data == "script" || tok.Data == "img":
			target = attr["src"]
		case tok.Data == "link" && (attr["rel"] == "stylesheet" || attr["rel"] == "icon"):
			target = attr["href"]
		}
		if target != "" {
			if strings.Contains(target, "//") {
				t.Errorf("another host: %s", target)
			}
			found = append(found, "/"+target)
		}
	}
	return found
}

func unzip(t *testing.T, packed string) string {
	t.Helper()
	zr, err := gzip.NewReader(strings.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
