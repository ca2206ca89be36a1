package main

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// routeSample has ids of any characters.
func routeSample() *snapshot {
	s := newSampler().
		service("Odd/ones & more", node("a.atom", modePoll, polled("https://x.internal/", sick, 1)).past(90, nil, nil)).
		service("same", node("same", modePoll, polled("https://y.internal/", healthy, 1))).
		snapshot
	return s
}

func TestRoutes(t *testing.T) {
	odd := escapeAll("id-Odd/ones & more")
	for _, c := range []struct {
		request string // method, target, header lines
		status  int
		header  string // "Name: value" that must be there
		body    string // what the body starts with; "=" in front for all of it
	}{
		{"GET /", 200, "Content-Type: text/html; charset=utf-8", "<!DOCTYPE html>"},
		{"GET /", 200, "Cache-Control: public, max-age=1, stale-while-revalidate=5, stale-if-error=300", ""},
		{"GET /", 200, "Vary: Accept-Encoding", ""},
		{"GET /", 200, "X-Content-Type-Options: nosniff", ""},
		{"HEAD /", 200, "Content-Type: text/html; charset=utf-8", "="},
		{"POST /", 405, "Allow: GET, HEAD", "method not allowed"},
		{"GET /?x=1", 200, "", "<!DOCTYPE html>"},
		{"GET //", 200, "Content-Type: text/html; charset=utf-8", "<!DOCTYPE html>"},
		{"GET //status//text/", 200, "Content-Type: text/plain; charset=utf-8", "=sick"},
		{"GET /status/text", 200, "Content-Type: text/plain; charset=utf-8", "=sick"},
		{"GET /status/text/", 200, "Cache-Control: no-cache", "=sick"},
		{"HEAD /status/text", 200, "", ""},
		{"DELETE /status/text", 405, "Allow: GET, HEAD", ""},
		{"GET /status/report", 200, "Content-Type: application/json", `={"health":"sick","page":{"name":"Acme Status","url":"https://status.acme.example/"},"probes":[` +
			`{"name":"Odd/ones \u0026 more","status":"sick","nodes":[{"name":"a.atom","status":"sick","replicas":["sick"]}]},` +
			`{"name":"same","status":"healthy","nodes":[{"name":"same","status":"healthy","replicas":["healthy"]}]}]}`},
		{"GET /status/report/", 200, "Access-Control-Allow-Origin: *", `{"health":"sick"`},
		{"PUT /status/report", 405, "Allow: GET, HEAD", ""},
		{"GET /status", 404, "", "=not found\n"},
		{"GET /status/", 404, "", ""},
		{"GET /status/text/more", 404, "", ""},
		{"GET /badge/color", 200, "Content-Type: image/svg+xml", `<svg xmlns="http://www.w3.org/2000/svg"`},
		{"GET /badge/color/", 200, "Cache-Control: no-cache, no-store, must-revalidate", ""},
		{"GET /badge/icon", 200, "Cache-Control: no-cache, no-store, must-revalidate", "<svg"},
		{"POST /badge/icon", 405, "Allow: GET, HEAD", ""},
		{"GET /badge/other", 404, "", ""},
		{"GET /badge", 404, "", ""},
		{"GET /badge/color/" + odd, 200, "Content-Type: image/svg+xml", "<svg"},
		{"GET /badge/color/id-Odd%2Fones%20&%20more/id-a.atom/", 200, "", "<svg"},
		{"GET /badge/color/id-Odd/ones%20&%20more/id-a.atom", 404, "", ""},
		{"GET /badge/color/id-same/id-same", 200, "", "<svg"},
		{"GET /badge/color/id-same/id-same/id-same", 404, "", ""},
		{"GET /badge/color/none", 404, "", ""},
		{"GET /badge/uptime/id-same", 200, "", "<svg"},
		{"GET /badge/uptime/id-same/none", 404, "", ""},
		{"GET /feed.atom", 200, "Content-Type: application/atom+xml; charset=utf-8", "<?xml"},
		{"GET /feed.atom/", 200, "", "<?xml"},
		{"GET /feed/" + odd + ".atom", 200, "", "<?xml"},
		{"GET /feed/id-same", 404, "", ""},
		{"GET /feed/none.atom", 404, "", ""},
		{"PATCH /feed.atom", 405, "Allow: GET, HEAD", ""},
		{"GET /embed", 200, "Content-Type: text/html; charset=utf-8", "<!DOCTYPE html>"},
		{"GET /robots.txt", 200, "Content-Type: text/plain; charset=utf-8", "User-agent: *"},
		{"GET /favicon.ico", 200, "Content-Type: image/svg+xml", "<svg"},
		{"GET /assets/app.css", 200, "Cache-Control: public, max-age=300", ""},
		{"GET /assets/app.js?v=old", 200, "Cache-Control: public, max-age=300", ""},
		{"HEAD /assets/app.js", 200, "Content-Type: text/javascript; charset=utf-8", "="},
		{"POST /assets/app.js", 405, "Allow: GET, HEAD", ""},
		{"GET /assets/", 404, "", ""},
		{"GET /assets/../page.go", 404, "", ""},
		{"GET /assets/%2e%2e/templates/page.html", 404, "", ""},
		{"GET /assets/..%2Ftemplates%2Fpage.html", 404, "", ""},
		{"GET /templates/page.html", 404, "", ""},
		{"GET /nothing\nAccept: text/html,*/*", 404, "Content-Type: text/html; charset=utf-8", "<!DOCTYPE html>"},
		{"POST /nothing", 404, "", "=not found\n"},
		{"GET /reporter/x/y", 200, "", "=room /reporter/x/y"},
		{"GET //reporter///x%2F%2Fz//y//", 200, "", "=room /reporter/x%2F%2Fz/y/"},
		{"POST /manager", 200, "", "=room /manager"},
	} {
		h := newTestPage(t, routeSample()).handler(testRooms())
		request, header, _ := strings.Cut(c.request, "\n")
		method, target, _ := strings.Cut(request, " ")
		var lines []string
		if header != "" {
			lines = append(lines, header)
		}
		res := get(h, method, target, lines...)
		got := body(t, res)
		if res.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", c.request, res.StatusCode, c.status)
		}
		if name, value, ok := strings.Cut(c.header, ": "); ok && res.Header.Get(name) != value {
			t.Errorf("%s: %s: %q, want %q", c.request, name, res.Header.Get(name), value)
		}
		if all, ok := strings.CutPrefix(c.body, "="); ok && got != all {
			t.Errorf("%s: body %q, want %q", c.request, got, all)
		} else if !ok && !strings.HasPrefix(got, c.body) {
			t.Errorf("%s: body %q, want it to start with %q", c.request, got, c.body)
		}
	}
}

func testRooms() map[string]http.Handler {
	room := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "room "+r.URL.EscapedPath())
	})
	return map[string]http.Handler{"reporter": room, "manager": room}
}

func TestPathPrefix(t *testing.T) {
	s := routeSample()
	s.conf.Server.PathPrefix = "/my status"
	h := newTestPage(t, s).handler(testRooms())
	for target, want := range map[string]int{
		"/":                                  404,
		"/status/text":                       404,
		"/my%20status":                       200,
		"/my%20status/":                      200,
		"/my%20statusx":                      404,
		"/my%20status/status/text":           200,
		"/my%20status/badge/color/id-same":   200,
		"/my%20status/assets/app.css":        200,
		"/my%20status/reporter/a%2Fb/c":      200,
		"/my%20status/my%20status":           404,
		"/my%20status/badge/icon/id-same%2F": 404,
	} {
		res := get(h, "GET", target)
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", target, res.StatusCode, want)
		}
		if strings.Contains(target, "reporter") {
			if got := body(t, res); got != "room /reporter/a%2Fb/c" {
				t.Errorf("%s: %s", target, got)
			}
		}
	}
	for _, target := range links(t, body(t, get(h, "GET", "/my%20status"))) {
		if res := get(h, "GET", strings.TrimPrefix(target, "/")); res.StatusCode != 200 {
			t.Errorf("linked %s: %s", target, res.Status)
		}
	}
}

// Without a prefix every link of the page's own is relative.
func TestRelativeLinks(t *testing.T) {
	h := newTestPage(t, routeSample()).handler(nil)
	for target, base := range map[string]string{
		"/":              "",
		"/a/b/c/":        "../../../",
		"/nothing":       "",
		"/none/there":    "../",
		"/history":       "",
		"/history/":      "../",
		"/embed/id-same": "../",
	} {
		page := body(t, get(h, "GET", target, "Accept: text/html"))
		if want := `href="` + base + `assets/app.css?v=`; !strings.Contains(page, want) {
			t.Errorf("%s: no %s in\n%s", target, want, page)
		}
	}
}

func TestETag(t *testing.T) {
	h := newTestPage(t, healthySample()).handler(nil)
	plain := get(h, "GET", "/")
	packed := get(h, "GET", "/", "Accept-Encoding: gzip, br")
	if packed.Header.Get("Content-Encoding") != "gzip" || plain.Header.Get("Content-Encoding") != "" {
		t.Fatal("wrong encodings")
	}
	a, b := plain.Header.Get("ETag"), packed.Header.Get("ETag")
	if a == b || !strings.HasPrefix(a, `"`) {
		t.Errorf("tags %s and %s: want two strong ones", a, b)
	}
	if text := body(t, plain); unzip(t, body(t, packed)) != text {
		t.Error("the two encodings differ")
	}
	for _, c := range []struct {
		known  string
		status int
	}{
		{a, 304}, {b, 304}, {"W/" + a, 304}, {`"x", "y,z" , ` + a, 304}, {"*", 304},
		{`"x",W/` + b + `,"y"`, 304}, {`"x"`, 200}, {strings.Trim(a, `"`), 200}, {`"`, 200}, {"", 200}, {"W/", 200},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			res := get(h, method, "/", "If-None-Match: "+c.known)
			if res.StatusCode != c.status {
				t.Errorf("%s If-None-Match: %s: %d, want %d", method, c.known, res.StatusCode, c.status)
			}
			if res.StatusCode == 304 && (res.Header.Get("ETag") == "" || res.Header.Get("Cache-Control") == "" || res.Header.Get("Vary") == "" || body(t, res) != "") {
				t.Errorf("304 with %v", res.Header)
			}
		}
	}
}

func TestAcceptsGzip(t *testing.T) {
	for value, want := range map[string]bool{
		"gzip":                        true,
		"GZIP":                        true,
		"x-gzip":                      true,
		"deflate, gzip;q=1.0, *;q=0.": true,
		"gzip;q=0":                    false,
		"gzip; q=0.000":               false,
		"gzip;q=0.001":                true,
		"*":                           true,
		"*;q=0":                       false,
		"gzip;q=0, *":                 false,
		"identity":                    false,
		"identity, gzip;q=0.5":        false,
		"gzip;q=0.5, identity;q=0.1":  true,
		"br":                          false,
		"":                            false,
		"gzip;q=x":                    false,
		"gzip;q=2":                    false,
		"gzip;level=9;q=0.4":          true,
		"agzip":                       false,
	} {
		if got := acceptsGzip([]string{value}); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
	if acceptsGzip(nil) {
		t.Error("no field: true")
	}
}

func FuzzConditions(f *testing.F) {
	f.Add("gzip;q=0.5, *;q=0", `W/"a", "b"`, "/badge/color/a%2Fb")
	f.Add(";;=,", `"`, "/feed/.atom")
	h := newTestPage(f, healthySample()).handler(nil)
	f.Fuzz(func(t *testing.T, encoding, known, target string) {
		if !strings.HasPrefix(target, "/") || strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r > '~' }) {
			target = "/"
		}
		r, err := http.NewRequest("GET", target, nil)
		if err != nil {
			return
		}
		r.Header.Set("Accept-Encoding", encoding)
		r.Header.Set("If-None-Match", known)
		w := &statusRecorder{header: make(http.Header)}
		h.ServeHTTP(w, r)
		switch w.status {
		case 0, 200, 304, 404:
		default:
			t.Errorf("%q: status %d", target, w.status)
		}
	})
}

type statusRecorder struct {
	header http.Header
	status int
}

func (w *statusRecorder) Header() http.Header         { return w.header }
func (w *statusRecorder) Write(b []byte) (int, error) { return len(b), nil }
func (w *statusRecorder) WriteHeader(status int)      { w.status = status }

func TestOverlay(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"logo.svg":               "<svg/>",
		"robots.txt":             "User-agent: *\nDisallow: /\n",
		"fonts/brand.woff2":      "font",
		"assets/extra.css":       "a{}",
		"templates/missing.html": "gone: {{.Title}}",
		"templates/index.tera":   "{{ config.page_title | escape }}",
		".hidden":                "secret",
		".git/config":            "secret",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "huge.bin"), make([]byte, maxAsset+1), 0o644); err != nil {
		t.Fatal(err)
	}
	s := healthySample()
	s.conf.Assets = dir
	var log strings.Builder
	p, err := newPage(newSnapshots(s), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	h := p.handler(nil)
	for target, want := range map[string]string{
		"/assets/logo.svg":               "200 <svg/>",
		"/robots.txt":                    "200 User-agent: *\nDisallow: /\n",
		"/assets/fonts/brand.woff2":      "200 font",
		"/assets/extra.css":              "200 a{}",
		"/nothing":                       "404 gone: Acme Status",
		"/assets/.hidden":                "404 gone: Acme Status",
		"/assets/.git/config":            "404 gone: Acme Status",
		"/assets/link":                   "404 gone: Acme Status",
		"/assets/huge.bin":               "404 gone: Acme Status",
		"/assets/templates/missing.html": "404 gone: Acme Status",
	} {
		res := get(h, "GET", target, "Accept: text/html")
		if got := res.Status[:4] + body(t, res); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
	if got := body(t, get(h, "GET", "/assets/app.css")); !strings.Contains(got, ":root") {
		t.Error("the embedded style sheet is gone")
	}
	for _, name := range []string{"link", "huge.bin", "templates/index.tera"} {
		if !strings.Contains(log.String(), "file="+name) {
			t.Errorf("no log line about %s in\n%s", name, log.String())
		}
	}

	bad := filepath.Join(dir, "templates", "node.html")
	if err := os.WriteFile(bad, []byte("{{.Nothing}}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := newPage(newSnapshots(s), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "node.html") {
		t.Errorf("a template that fails: %v", err)
	}
	if err := os.WriteFile(bad, []byte("{{if}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := newPage(newSnapshots(s), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "node.html") {
		t.Errorf("a template that does not parse: %v", err)
	}
}

func TestHashedAssets(t *testing.T) {
	h := newTestPage(t, healthySample()).handler(nil)
	for _, target := range links(t, body(t, get(h, "GET", "/"))) {
		res := get(h, "GET", target)
		if got, want := res.Header.Get("Cache-Control"), "public, max-age=31536000, immutable"; got != want {
			t.Errorf("%s: Cache-Control: %s, want %s", target, got, want)
		}
	}
}
