package main

import (
	"bytes"
	"container/list"
	"html/template"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// A replyCache keeps the answers of public routes. Each is rendered at most
// once per snapshot and second, then served as shared bytes, however many ask.
type replyCache struct {
	mu      sync.Mutex
	entries map[string]*cachedReply
	size    int // bytes of all bodies
}

// A cachedReply is the newest answer of one route.
type cachedReply struct {
	mu    sync.Mutex // held while it is rendered
	reply *reply     // nil before the first time
	fresh time.Time  // until then it is served even when there is a newer snapshot
	stale time.Time  // from then on it is not, even when there is none

	// The snapshot that it shows, which it does not keep alive: routes that are
	// seldom asked for would keep one each.
	snap weak.Pointer[snapshot]
}

const (
	// maxCached is how many answers a cache keeps, and maxCachedSize how many
	// bytes. When it is full, it starts over.
	maxCached     = 4096
	maxCachedSize = 16 << 20
)

// get returns the answer of a route, named by key, that shows snap or a
// snapshot hardly older. It calls render when there is none.
func (c *replyCache) get(key string, snap *snapshot, render func() (*reply, error)) (*reply, error) {
	c.mu.Lock()
	e := c.entries[key]
	if e == nil {
		if c.entries == nil || len(c.entries) >= maxCached {
			c.entries, c.size = make(map[string]*cachedReply), 0
		}
		e = new(cachedReply)
		c.entries[key] = e
	}
	c.mu.Unlock()

	e.mu.Lock()
	defer e.mu.Unlock()
	begin := time.Now()
	if e.reply != nil && (begin.Before(e.fresh) || e.snap == weak.Make(snap) && begin.Before(e.stale)) {
		return e.reply, nil
	}
	made, err := render()
	if err != nil {
		return nil, err
	}
	c.resize(key, e, made.size()-e.reply.size())
	now := time.Now()
	e.reply, e.snap = made, weak.Make(snap)
	e.fresh, e.stale = now.Add(max(renderEvery, renderShare*now.Sub(begin))), now.Add(pastAge)
	return made, nil
}

// serveCached answers a public route with what render makes of the newest
// snapshot, or of one hardly older.
func (p *page) serveCached(w http.ResponseWriter, r *http.Request, key string, render func(*snapshot) (*reply, error)) {
	snap := p.snaps.public()
	p.serveOf(w, r, snap, key, func() (*reply, error) { return render(snap) })
}

// serveOf answers a public route with what render makes of a snapshot, or with
// what it made of one hardly older.
func (p *page) serveOf(w http.ResponseWriter, r *http.Request, snap *snapshot, key string, render func() (*reply, error)) {
	answer, err := p.cache.get(key, snap, render)
	if err != nil {
		p.log.Error("page not rendered", "route", key, "err", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	answer.serve(w, r)
}

// resize notes that an entry has grown. When the cache is full, all others go.
func (c *replyCache) resize(key string, e *cachedReply, by int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[key] != e {
		return // dropped meanwhile
	}
	if c.size += by; c.size > maxCachedSize {
		c.entries, c.size = map[string]*cachedReply{key: e}, by+e.reply.size()
	}
}

// size is how many bytes of memory the bodies take.
func (d *reply) size() int {
	if d == nil {
		return 0
	}
	return len(d.plain.body) + len(d.packed.body)
}

const (
	// maxUnread is how many bytes of answers may wait for their readers, over
	// all connections. A body that many readers share counts once.
	maxUnread = 32 << 20

	// minUnread is the size of bodies that are not counted: net/http's buffers
	// take them.
	minUnread = 4 << 10
)

// unreadAnswers bounds the memory that clients can hold by not reading: each
// keeps its answer alive, and with it all of an old page. When there is too
// much, the connections that have been at it for longest are closed.
type unreadAnswers struct {
	most int

	mu      sync.Mutex
	size    int           // bytes of all bodies
	readers map[*byte]int // of each body, by its first byte
	writes  list.List     // of *unreadWrite, the oldest in front

	dropped atomic.Int64 // connections closed since the start
}

// An unreadWrite is an answer on its way to a reader.
type unreadWrite struct {
	conn *conn
	body []byte
}

func newUnreadAnswers(most int) *unreadAnswers {
	return &unreadAnswers{most: most, readers: make(map[*byte]int)}
}

// begin counts body until the returned function is called.
func (u *unreadAnswers) begin(c *conn, body []byte) (end func()) {
	if len(body) < minUnread {
		return func() {}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.readers[&body[0]]++; u.readers[&body[0]] == 1 {
		u.size += len(body)
	}
	at := u.writes.PushBack(&unreadWrite{c, body})
	for u.size > u.most && u.writes.Front() != at {
		slowest := u.writes.Front().Value.(*unreadWrite)
		u.remove(u.writes.Front())
		u.dropped.Add(1)
		abort(slowest.conn.Conn)
	}
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.remove(at)
	}
}

// remove needs the lock. It does nothing the second time.
func (u *unreadAnswers) remove(at *list.Element) {
	if at.Value == nil {
		return
	}
	body := u.writes.Remove(at).(*unreadWrite).body
	at.Value = nil
	if u.readers[&body[0]]--; u.readers[&body[0]] == 0 {
		delete(u.readers, &body[0])
		u.size -= len(body)
	}
}

// abort closes a connection and discards what the kernel has not sent yet.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}

// writeBody writes a body that is kept elsewhere, and counts it meanwhile.
func writeBody(w http.ResponseWriter, r *http.Request, body []byte) {
	if c := connOf(r); c != nil && c.unread != nil && len(body) >= minUnread {
		defer c.unread.begin(c, body)()
		c.body = body
	}
	w.Write(body)
}

// Write sends an answer that writeBody began in one call to the system. Package
// net/http writes what fits into 4 KiB beside the header, then the rest.
func (c *conn) Write(p []byte) (int, error) {
	body := c.body
	c.body = nil
	if _, begin, ok := bytes.Cut(p, headEnd); body != nil && ok && len(begin) < len(body) && bytes.HasPrefix(body, begin) {
		rest := body[len(begin):]
		c.sent = len(rest)
		whole := net.Buffers{p, rest}
		_, err := whole.WriteTo(c.Conn)
		return len(p), err
	}
	n := min(c.sent, len(p))
	c.sent -= n
	if n == len(p) {
		return n, nil
	}
	m, err := c.Conn.Write(p[n:])
	return n + m, err
}

var headEnd = []byte("\r\n\r\n")

// countUnread counts a body until the returned function is called.
func countUnread(r *http.Request, body []byte) (end func()) {
	c := connOf(r)
	if c == nil || c.unread == nil {
		return func() {}
	}
	return c.unread.begin(c, body)
}

// language returns the one in which a request is answered.
func (st *site) language(r *http.Request) *language {
	if st.auto {
		return pickLanguage(st.languages, r.Header["Accept-Language"])
	}
	return st.lang
}

// depthBase returns what links start with on a page at the request's path: with
// no fixed prefix they are relative, from however deep.
func (st *site) depthBase(r *http.Request) string {
	if st.base != "" {
		return st.base
	}
	path := oneSlash(r.URL.EscapedPath())
	if !st.made.IsZero() {
		path = r.URL.Path // servers of files decode it, and redirect to that
	}
	depth := strings.Count(path, "/") - 1
	return strings.Repeat("../", min(max(depth, 0), 32))
}

// serveMade answers with what make returns, kept by language and key.
func (p *page) serveMade(w http.ResponseWriter, r *http.Request, now *rendering, key string, make func(*language) (*reply, error)) {
	lang := now.site.language(r)
	made, err := p.cache.get(lang.tag+" "+key, now.snap, func() (*reply, error) { return make(lang) })
	if err != nil {
		p.log.Error("page not rendered", "err", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	made.serve(w, r)
}

// servePage answers with the page, or with the widget.
func (p *page) servePage(w http.ResponseWriter, r *http.Request, now *rendering, embed bool) {
	pick := func(page, widget *reply) *reply {
		if embed {
			return widget
		}
		return page
	}
	if embed && now.site.base == "" && strings.HasSuffix(r.URL.Path, "/") {
		p.serveWidget(now, nil)(w, r) // its links must lead out of that folder
		return
	}
	lang := now.site.language(r)
	if lang == now.site.lang {
		pick(now.page, now.embed).serve(w, r)
		return
	}
	key := map[bool]string{false: "page", true: "embed"}[embed]
	p.serveMade(w, r, now, key, func(lang *language) (*reply, error) {
		page, widget, err := p.renderIn(lang, now)
		return pick(page, widget), err
	})
}

// renderIn renders a snapshot in another language than the site's own.
func (p *page) renderIn(lang *language, now *rendering) (page, embed *reply, err error) {
	p.othersMu.Lock()
	defer p.othersMu.Unlock()
	r := p.others[lang.tag]
	if r == nil || r.site != now.site {
		r = newRenderer(now.site, lang)
		if p.others == nil {
			p.others = make(map[string]*renderer)
		}
		p.others[lang.tag] = r
	}
	return r.render(now.snap)
}

// serveNode returns the handler for the page of one node: its row, opened. The
// row links there for browsers without scripts, and the script loads the opened
// row from there. It is nil when there is no such node.
func (p *page) serveNode(now *rendering, service, node string) http.HandlerFunc {
	s := now.snap
	sv, nv := s.node(service, node)
	if nv == nil {
		return nil
	}
	return func(w http.ResponseWriter, r *http.Request) {
		base := now.site.depthBase(r)
		p.serveMade(w, r, now, "node "+base+" "+service+"\x00"+node, func(lang *language) (*reply, error) {
			v := newPageView(now.site, lang, base, s)
			v.Sentence = lang.say("service_state", "service", isolate(nv.conf.Label), "state", lang.words[stateWords[nv.state()]])
			incidents := s.byNode()[nv.conf]
			past := newDrawnPast(lang, nv.history, incidents, s.at)
			var row rowView
			row.set(lang, base, sv, nv, lastingIncidents(s)[nv.conf], s.at, nil)
			row.setDays(lang, &past)
			row.Opened = newOpenedView(lang, base, nv, incidents, s.maintenancesOf(sv, nv), s.at)
			row.Opened.setLatency(v.shell, sv, nv)
			html, err := execute(now.site, "node.html", &row)
			if err != nil {
				return nil, err
			}
			one := *sv
			one.nodes = []*nodeView{nv}
			one.status = nv.status
			card, _ := newCardView(lang, &one, []*drawnNode{{html: html, past: past}})
			card.Word = ""
			if html, err = execute(now.site, "service.html", card); err != nil {
				return nil, err
			}
			v.Open = []template.HTML{html}
			html, err = execute(now.site, "single.html", v)
			return now.site.reply([]byte(html), now.site.pageFields), err
		})
	}
}

// serveOutages serves the page of the history.
func (p *page) serveOutages(now *rendering) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		base := now.site.depthBase(r)
		p.serveMade(w, r, now, "history "+base, func(lang *language) (*reply, error) {
			v := newPageView(now.site, lang, base, now.snap)
			v.Banner = true
			v.Months = newHistoryView(lang, base, now.snap)
			html, err := execute(now.site, "history.html", v)
			return now.site.reply([]byte(html), now.site.pageFields), err
		})
	}
}

// serveWidget serves the widget of one service, or that of the page when it is
// nil.
func (p *page) serveWidget(now *rendering, sv *serviceView) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		base, key := now.site.depthBase(r), ""
		if sv != nil {
			key = sv.conf.ID
		}
		p.serveMade(w, r, now, "embed "+base+" "+key, func(lang *language) (*reply, error) {
			v := newPageView(now.site, lang, base, now.snap)
			if sv != nil {
				v.State, v.Anchor = sv.state(), anchor(sv.conf)
				v.Sentence = lang.say("service_state", "service", isolate(sv.conf.Label), "state", lang.words[stateWords[v.State]])
			}
			html, err := execute(now.site, "embed.html", v)
			return now.site.reply([]byte(html), now.site.embedFields), err
		})
	}
}

// execute returns a template's HTML.
func execute(st *site, name string, v any) (template.HTML, error) {
	var buf bytes.Buffer
	err := st.templates.ExecuteTemplate(&buf, name, v)
	return template.HTML(buf.String()), err
}
