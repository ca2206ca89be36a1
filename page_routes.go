package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
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
			rt.page.serveMissing(w, r, now)
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

// oneSlash returns path with each run of slashes replaced by one. Reporters
// that append "/reporter/..." to a page's URL send two when that ends in one.
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
			rt.page.serveMissing(w, r, now)
			return
		}
	}
	serve := rt.page.route(now, segments)
	if serve == nil {
		rt.page.serveMissing(w, r, now)
		return
	}
	if reads(w, r) {
		serve(w, r)
	}
}

// route returns the handler for these segments, at least one; nil when there is
// no such route.
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
		case len(rest) == 3 && rest[0] == "node":
			return p.serveNodeReport(rest[1], rest[2])
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
			for _, sv := range now.snap.services {
				if sv.conf.ID == rest[0] {
					return p.serveWidget(now, sv)
				}
			}
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

// serveStatus answers with the status of the newest snapshot, not of the
// rendered one.
func (p *page) serveStatus(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Content-Type"] = textType
	h["Cache-Control"] = noCache
	h["X-Content-Type-Options"] = nosniff
	h["Access-Control-Allow-Origin"] = anyOrigin
	w.Write(statusBodies[p.snaps.public().status])
}

// serveMissing answers 404: a small page for browsers, a line for the rest.
func (p *page) serveMissing(w http.ResponseWriter, r *http.Request, now *rendering) {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	st, lang, base := now.site, now.site.language(r), now.site.depthBase(r)
	made, err := p.cache.get(lang.tag+" missing "+base, now.snap, func() (*reply, error) {
		html, err := execute(st, "missing.html", newShell(st, lang, base))
		return &reply{plain: variant{body: []byte(html)}}, err
	})
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
		w.Write(made.plain.body)
	}
}

// A field is a header field with its value in the form that http.Header
// keeps, so that setting it allocates nothing. The name is in canonical form.
type field struct {
	name  string
	value []string
}

func newField(name, value string) field {
	return field{http.CanonicalHeaderKey(name), []string{value}}
}

var (
	gzipValue = []string{"gzip"}
	varyValue = []string{"Accept-Encoding"}
)

// A reply is what a route answers, with every byte ready. It is never changed.
type reply struct {
	plain  variant
	packed variant // gzip; without a body where that would not be smaller
	fields []field // of every answer
	cache  []string
	vary   []string

	// unpack, where it is set, writes the plain variant, which has no body then.
	unpack func(http.ResponseWriter)
}

// A variant is one encoding of a reply.
type variant struct {
	body   []byte
	etag   []string // strong, so each variant has its own, RFC 9110 section 8.8.3
	length []string
}

// packAbove is the least size, in bytes, worth compressing: less fits into one
// packet anyway.
const packAbove = 860

// fastAbove is the size, in bytes, above which a body is compressed in less
// than half of the time, for a tenth more bytes.
const fastAbove = 512 << 10

// A packer prepares replies one after the other, with the same memory.
type packer struct {
	zw    *gzip.Writer
	level int
	buf   bytes.Buffer
}

// newReply prepares one reply.
func newReply(body []byte, fields []field) *reply { return new(packer).reply(body, fields) }

// reply prepares one reply of a site. That of a copy is only written to a file.
func (st *site) reply(body []byte, fields []field) *reply {
	if !st.made.IsZero() {
		return &reply{plain: variant{body: body}}
	}
	return newReply(body, fields)
}

// reply prepares body. Among fields, Cache-Control is also sent with a 304, as
// RFC 9110 section 15.4.5 asks.
func (p *packer) reply(body []byte, fields []field) *reply {
	d := &reply{fields: fields}
	d.cache = caching(fields)
	for i, f := range fields {
		if f.name == "Vary" { // it is sent with what the encoding adds
			d.vary = f.value
			d.fields = slices.Delete(slices.Clone(fields), i, i+1)
		}
	}
	var packed []byte
	whole := body
	if len(body) > packAbove {
		if p := p.pack(body); len(p) < len(body) {
			packed = p
			whole = p // it says the same and is sooner hashed
		}
	}
	tag := tagOf(whole)
	d.plain = newVariant(body, tag)
	if packed != nil {
		d.packed = newVariant(packed, tag+".gz")
		d.vary = append(slices.Clip(d.vary), varyValue...)
	}
	return d
}

// tagOf returns what makes an entity tag of a body.
func tagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return base64.RawURLEncoding.EncodeToString(sum[:15])
}

// caching returns the value of the Cache-Control field among them.
func caching(fields []field) []string {
	for _, f := range fields {
		if f.name == "Cache-Control" {
			return f.value
		}
	}
	return nil
}

func newVariant(body []byte, tag string) variant {
	return variant{body, []string{`"` + tag + `"`}, []string{strconv.Itoa(len(body))}}
}

// pack returns body in gzip.
func (p *packer) pack(body []byte) []byte {
	level := 7
	if len(body) > fastAbove {
		level = 3
	}
	p.buf.Reset()
	if p.zw == nil || p.level != level {
		p.buf.Grow(len(body)/8 + 64)
		p.zw, _ = gzip.NewWriterLevel(&p.buf, level) // the level exists
		p.level = level
	} else {
		p.zw.Reset(&p.buf)
	}
	p.zw.Write(body) // a Buffer takes everything
	p.zw.Close()
	return bytes.Clone(p.buf.Bytes())
}

// serve answers a GET or HEAD request, with a 304 where the client has it.
func (d *reply) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	v := &d.plain
	if d.vary != nil {
		h["Vary"] = d.vary
	}
	if d.packed.body != nil {
		if acceptsGzip(r.Header["Accept-Encoding"]) {
			v = &d.packed
		}
	}
	h["Etag"] = v.etag
	if known := r.Header["If-None-Match"]; known != nil && d.knownTo(known) {
		if d.cache != nil {
			h["Cache-Control"] = d.cache
		}
		w.WriteHeader(http.StatusNotModified)
		return
	}
	for _, f := range d.fields {
		h[f.name] = f.value
	}
	if v == &d.packed {
		h["Content-Encoding"] = gzipValue
	}
	h["Content-Length"] = v.length
	if r.Method == http.MethodHead {
		return
	}
	if v == &d.plain && d.unpack != nil {
		defer countUnread(r, d.packed.body)()
		d.unpack(w)
		return
	}
	writeBody(w, r, v.body)
}

// knownTo reports whether an If-None-Match field names one of the answer's
// tags. The comparison is the weak one, RFC 9110 section 13.1.2.
func (d *reply) knownTo(values []string) bool {
	for _, s := range values {
		for {
			s = strings.TrimLeft(s, " \t,")
			if s == "" {
				break
			}
			if s[0] == '*' {
				return true
			}
			s = strings.TrimPrefix(s, "W/")
			if s == "" || s[0] != '"' {
				break // not a list of tags
			}
			end := strings.IndexByte(s[1:], '"')
			if end < 0 {
				break
			}
			tag := s[:end+2]
			if tag == d.plain.etag[0] || d.packed.body != nil && tag == d.packed.etag[0] {
				return true
			}
			s = s[end+2:]
		}
	}
	return false
}

// acceptsGzip reports whether an Accept-Encoding field allows gzip and does
// not prefer the plain bytes, RFC 9110 section 12.5.3.
func acceptsGzip(values []string) bool {
	packed, plain, other := -1, -1, -1 // thousandths; -1 for not named
	for _, list := range values {
		if list == "gzip" {
			return true
		}
		for item := range strings.SplitSeq(list, ",") {
			name, params, _ := strings.Cut(item, ";")
			switch name = strings.TrimSpace(name); {
			case strings.EqualFold(name, "gzip"), strings.EqualFold(name, "x-gzip"):
				packed = max(packed, quality(params))
			case strings.EqualFold(name, "identity"):
				plain = quality(params)
			case name == "*":
				other = quality(params)
			}
		}
	}
	if packed < 0 {
		packed = other
	}
	return packed > 0 && packed >= plain
}

// quality returns the weight among a list item's parameters in thousandths:
// 1000 where there is none, 0 where it is malformed.
func quality(params string) int {
	for p := range strings.SplitSeq(params, ";") {
		k, v, ok := strings.Cut(p, "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(k), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return int(q * 1000)
	}
	return 1000
}
