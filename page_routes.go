package main

import (
	"net/http"
	"net/url"
	"strings"
)

// A router finds out what a request asks for. The hot routes are compared
// with the path as it came, before anything is taken apart.
type router struct {
	page  *page
	rooms map[string]http.Handler // by the first path segment
}

var (
	jsonType   = []string{"application/json"}
	textType   = []string{"text/plain; charset=utf-8"}
	svgType    = []string{"image/svg+xml"}
	noStore    = []string{"no-cache, no-store, must-revalidate"}
	noCache    = []string{"no-cache"}
	nosniff    = []string{"nosniff"}
	anyOrigin  = []string{"*"}
	readMethod = []string{"GET, HEAD"}
)

func (rt *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := rt.page.now.Load()
	path := oneSlash(r.URL.EscapedPath())
	if prefix := now.site.prefix; prefix != "" {
		rest, ok := strings.CutPrefix(path, prefix)
		if !ok || rest != "" && rest[0] != '/' {
			now.site.serveMissing(w, r)
			return
		}
		path = rest
	}
	switch path {
	case "", "/":
		rt.page.routes[routePage].Add(1)
		if reads(w, r) {
			rt.page.servePage(w, r, now, false)
		}
	case "/status/text", "/status/text/":
		rt.page.routes[routeStatus].Add(1)
		if reads(w, r) {
			rt.page.serveStatus(w, r)
		}
	default:
		rt.serveRest(w, r, now, path)
	}
}

// oneSlash returns path with one slash where several stand together. Reporters
// that put "/reporter/..." after the page's URL send two when that ends in one.
func oneSlash(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// serveRest serves what is not hot. Each segment of the path is decoded on
// its own, so that ids may contain slashes; a slash at the end is ignored.
func (rt *router) serveRest(w http.ResponseWriter, r *http.Request, now *rendering, path string) {
	first, _, _ := strings.Cut(path[1:], "/")
	rt.page.routes[routeOf(first)].Add(1)
	if room := rt.rooms[first]; room != nil {
		if path != r.URL.EscapedPath() {
			u := *r.URL
			u.RawPath = path
			u.Path, _ = url.PathUnescape(path) // valid, as it came through package url
			inner := *r
			inner.URL = &u
			r = &inner
		}
		room.ServeHTTP(w, r)
		return
	}
	segments := strings.Split(strings.TrimSuffix(path[1:], "/"), "/")
	for i, s := range segments {
		var err error
		if segments[i], err = url.PathUnescape(s); err != nil {
			now.site.serveMissing(w, r)
			return
		}
	}
	serve := rt.page.route(now, segments)
	if serve == nil {
		now.site.serveMissing(w, r)
		return
	}
	if reads(w, r) {
		serve(w, r)
	}
}

// route returns what serves the route of these segments, of which there is at
// least one; nil when there is no such route.
func (p *page) route(now *rendering, segments []string) http.HandlerFunc {
	st, rest := now.site, segments[1:]
	switch segments[0] {
	case "status":
		switch {
		case len(rest) == 1 && rest[0] == "report":
			return p.serveReport
		case len(rest) == 1 && rest[0] == "sla":
			return p.serveSLA
		case len(rest) == 1 && rest[0] == "history":
			return p.serveHistory
		}
	case "badge":
		if len(rest) > 0 {
			return p.badge(rest[0], rest[1:])
		}
	case "feed.atom":
		if len(rest) == 0 {
			return p.feed(now, nil)
		}
	case "feed":
		if len(rest) == 1 {
			return p.serviceFeed(now, rest[0])
		}
	case "embed":
		switch len(rest) {
		case 0:
			return func(w http.ResponseWriter, r *http.Request) { p.servePage(w, r, now, true) }
		case 1:
			return p.serveWidget(now, rest[0])
		}
	case "node":
		if len(rest) == 2 {
			return p.serveNode(now, rest[0], rest[1])
		}
	case "history":
		if len(rest) == 0 {
			return p.serveOutages(now)
		}
	case "robots.txt", "favicon.ico":
		if len(rest) == 0 {
			return st.rootFile(segments[0])
		}
	case "assets":
		if a := st.assets[strings.Join(rest, "/")]; a != nil {
			return func(w http.ResponseWriter, r *http.Request) {
				version, _ := strings.CutPrefix(r.URL.RawQuery, "v=")
				a.serve(w, r, version)
			}
		}
	}
	return nil
}

// rootFile serves an asset from the root, where robots and browsers look for
// it. Without an icon file the configured icon, else the drawn one, serves.
func (st *site) rootFile(name string) http.HandlerFunc {
	if a := st.assets[name]; a != nil {
		return a.plain.serve
	}
	if name != "favicon.ico" {
		return nil
	}
	if u := link(st.conf.Branding.IconURL); u != "" {
		return http.RedirectHandler(string(u), http.StatusFound).ServeHTTP
	}
	return st.assets["icon.svg"].plain.serve
}

// reads reports whether the method is one that reads, and refuses any other.
func reads(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header()["Allow"] = readMethod
	http.Error(w, "method not allowed: "+readMethod[0]+" only", http.StatusMethodNotAllowed)
	return false
}

// statusBodies are what /status/text answers: the word and nothing else.
var statusBodies = [...][]byte{healthy: []byte("healthy"), sick: []byte("sick"), dead: []byte("dead")}

// serveStatus answers with the status as it is on the board, not as it was
// when the page was rendered.
func (p *page) serveStatus(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Content-Type"] = textType
	h["Cache-Control"] = noCache
	h["X-Content-Type-Options"] = nosniff
	h["Access-Control-Allow-Origin"] = anyOrigin
	w.Write(statusBodies[p.board.public().status])
}

// serveMissing answers 404: a small page for browsers, a line for the rest.
func (st *site) serveMissing(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	body, err := execute(st, "missing.html", newShell(st, st.language(r), st.depthBase(r)))
	if err != nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	h := w.Header()
	for _, f := range st.htmlFields {
		h[f.name] = f.value
	}
	w.WriteHeader(http.StatusNotFound)
	if r.Method != http.MethodHead {
		w.Write([]byte(body))
	}
}
