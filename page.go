package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"html/template"
	"log/slog"
	"net/http"
	"reflect"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// renderEvery is the least time between two renderings, so that a busy
	// monitor does not spend itself on a page nobody can read that fast.
	renderEvery = time.Second

	// renderShare keeps rendering to a twentieth of one core: a page that
	// takes 100 ms is rendered every 2 s at most.
	renderShare = 20
)

// A page shows the newest snapshot to the public. Its one renderer turns
// snapshots into bytes; requests only read finished replies.
type page struct {
	snaps *snapshots
	log   *slog.Logger
	now   atomic.Pointer[rendering]

	cache   replyCache
	history historyCache
	took    histogram                 // of each rendering
	routes  [routeCount]atomic.Uint64 // requests
	panics  atomic.Int64              // renderings that panicked since the start

	rendered chan struct{} // capacity 1: a token when there is a newer rendering, for the mirror

	next     atomic.Pointer[site] // of the config that a reload is about to use
	renderer *renderer            // of the goroutine in run; newPage uses it before

	othersMu sync.Mutex
	others   map[string]*renderer // of further languages, by tag
}

// A rendering is all that a request needs: one snapshot's page as bytes and
// the site that it was rendered with. Other languages, single nodes and the
// history are rendered when they are first asked for.
type rendering struct {
	site  *site
	snap  *snapshot
	page  *reply
	embed *reply // the widget
}

// newPage returns a page that is ready to serve: it has rendered the newest
// snapshot. An error is one of the templates or assets that the configuration
// puts in place of the embedded ones.
func newPage(b *snapshots, log *slog.Logger) (*page, error) {
	p := &page{snaps: b, log: log, rendered: make(chan struct{}, 1)}
	if err := p.refresh(b.public()); err != nil {
		return nil, err
	}
	return p, nil
}

// run renders each newer snapshot until ctx ends, which is no error. When one
// cannot be rendered, the page before it stays up.
func (p *page) run(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	var trimmed *Config
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.snaps.changed:
		}
		start := time.Now()
		if s := p.snaps.public(); s != p.now.Load().snap {
			if err := p.refreshSafely(s); err != nil {
				p.log.Error("page not rendered", "err", err)
			}
			p.took.observe(time.Since(start))
			select {
			case p.rendered <- struct{}{}:
			default:
			}
			if s.checked && trimmed != s.conf {
				// With the first checks of a config, twice as much is in use as
				// later, and the runtime would keep it for minutes.
				trimmed = s.conf
				debug.FreeOSMemory()
			}
		}
		pause.Reset(max(renderEvery, renderShare*time.Since(start)))
	}
}

// refreshSafely is refresh, with a panic as an error.
func (p *page) refreshSafely(s *snapshot) (err error) {
	defer func() {
		if v := recover(); v != nil {
			p.panics.Add(1)
			logPanic(p.log, "rendering panicked", v)
			p.renderer = nil // it may be broken
			err = errors.New("there is a fault in it")
		}
	}()
	return p.refresh(s)
}

// refresh renders s and makes it what is served.
func (p *page) refresh(s *snapshot) error {
	if p.renderer == nil || p.renderer.site.conf != s.conf {
		st, err := p.next.Swap(nil), error(nil)
		if st == nil || st.conf != s.conf {
			st, err = newSite(s.conf, s.conf.Assets, p.log)
		}
		if err != nil && p.renderer != nil {
			// A reload: the page without these assets is better than an old one.
			p.log.Error("assets not used", "err", err)
			st, err = newSite(s.conf, "", p.log)
		}
		if err != nil {
			return err
		}
		p.renderer = newRenderer(st, st.lang)
	}
	page, embed, err := p.renderer.render(s)
	if err != nil {
		return fmt.Errorf("render page: %w", err)
	}
	p.now.Store(&rendering{site: p.renderer.site, snap: s, page: page, embed: embed})
	return nil
}

// handler serves the page and its routes. Requests whose first path segment
// is a key of rooms go there, with the path prefix taken off.
func (p *page) handler(rooms map[string]http.Handler) http.Handler {
	return &router{page: p, rooms: rooms}
}

// pastAge is how old the drawing of a node's past may be while its status
// stays: that changes by a minute in ninety days. The rows of nodes that are
// not well say for how long, so they are drawn anew each time.
const pastAge = time.Minute

// A renderer turns snapshots into the page in one language. HTML of unchanged
// parts is kept and found by pointer, as snapshots share these parts: the cost
// is that of the changes. It belongs to one goroutine at a time, as do its
// buffers.
type renderer struct {
	site     *site
	lang     *language
	nodes    map[*Node]*drawnNode // all of one configuration, as the site is
	services map[*Service]*drawnService
	embed    *reply

	row     rowView // of the node being drawn
	squares []byte
	buf     bytes.Buffer
	rest    int // size of the last page without its services
	packer  packer
}

// A drawnNode is a node as it was rendered last.
type drawnNode struct {
	view    *nodeView
	row     rowView // that the HTML is of
	html    template.HTML
	at      time.Time
	history *nodeHistory
	past    drawnPast
}

// A drawnPast is a node's 90 days as they were drawn last.
type drawnPast struct {
	outline
	drawing template.HTML
	label   string
	at      time.Time
}

type drawnService struct {
	view *serviceView
	fold bool
	at   time.Time
	card *cardView // that the HTML is of
	html template.HTML
	days outline
}

func newRenderer(st *site, lang *language) *renderer {
	return &renderer{
		site:     st,
		lang:     lang,
		nodes:    make(map[*Node]*drawnNode),
		services: make(map[*Service]*drawnService),
		rest:     32 << 10,
	}
}

// render returns s as replies that are ready to be served.
func (r *renderer) render(s *snapshot) (page, embed *reply, err error) {
	html, widget, err := r.html(s)
	if err != nil {
		return nil, nil, err
	}
	if r.embed == nil || !bytes.Equal(widget, r.embed.plain.body) {
		r.embed = r.packer.reply(bytes.Clone(widget), r.site.embedFields)
	}
	return r.packer.reply(html, r.site.pageFields), r.embed, nil
}

// html returns s as the page, and as the widget until the next call.
func (r *renderer) html(s *snapshot) (page, embed []byte, err error) {
	v := newPageView(r.site, r.lang, r.site.base, s)
	lasting := lastingIncidents(s)
	v.addNews(s, lasting)
	v.Past = newRecentView(r.lang, r.site.base, s)
	if err := r.addServices(v, s, lasting); err != nil {
		return nil, nil, err
	}
	services := 0
	for _, drawn := range r.services {
		services += len(drawn.html)
	}
	// The page is kept, so it gets a buffer of its own, hardly larger.
	whole := bytes.NewBuffer(make([]byte, 0, services+r.rest+r.rest/8))
	if err := r.site.templates.ExecuteTemplate(whole, "page.html", v); err != nil {
		return nil, nil, err
	}
	if page = whole.Bytes(); whole.Available() > len(page)/8 {
		page = bytes.Clone(page)
	}
	r.rest = len(page) - services
	if err := r.execute("embed.html", v); err != nil {
		return nil, nil, err
	}
	return page, r.buf.Bytes(), nil
}

// addServices adds the services' HTML to the view. Of many, those that are
// well are folded, in two lists.
func (r *renderer) addServices(v *pageView, s *snapshot, lasting map[*Node]*incident) error {
	v.Crowd = len(s.services) > foldAbove
	var folded []template.HTML
	var kinds [dayKinds]bool
	by := s.byNode()
	for _, sv := range s.services {
		fold := v.Crowd && sv.state() == stateOK
		drawn := r.services[sv.conf]
		if drawn == nil || drawn.view != sv || drawn.fold != fold || sv.status != healthy && !s.at.Equal(drawn.at) {
			rows := make([]*drawnNode, len(sv.nodes))
			for k, nv := range sv.nodes {
				var err error
				if rows[k], err = r.drawNode(sv, nv, lasting[nv.conf], by, s.at); err != nil {
					return err
				}
			}
			card, days := newCardView(r.lang, sv, rows)
			html := template.HTML("")
			if drawn != nil && drawn.fold == fold && reflect.DeepEqual(drawn.card, card) {
				html = drawn.html
			} else {
				name := "service.html"
				if fold {
					name = "folded.html"
				}
				if err := r.execute(name, card); err != nil {
					return err
				}
				html = template.HTML(r.buf.String())
			}
			drawn = &drawnService{sv, fold, s.at, card, html, days}
			drawn.share(rows)
			r.services[sv.conf] = drawn
		}
		if fold {
			drawn.days.have(&kinds)
			folded = append(folded, drawn.html)
		} else {
			v.Open = append(v.Open, drawn.html)
		}
	}
	if v.Crowd {
		kinds[dayUnknown] = false // a stub speaks for itself
		for half := range slices.Chunk(folded, max(1, (len(folded)+1)/2)) {
			v.Folded = append(v.Folded, half)
		}
		v.Calm, v.Key = r.lang.count("services_operational", len(folded)), r.lang.legend(&kinds)
	}
	return nil
}

// share makes the rows and their days parts of the service's HTML, so that
// their text is in memory once.
func (d *drawnService) share(rows []*drawnNode) {
	rest := d.html
	for i, row := range rows {
		if at := strings.Index(string(rest), string(row.html)); at >= 0 {
			end := at + len(row.html)
			row.html, rest = rest[at:end], rest[end:]
			d.card.Nodes[i] = row.html
		}
		if at := strings.Index(string(row.html), string(row.row.Days)); at >= 0 {
			row.row.Days = row.html[at : at+len(row.row.Days)]
			row.past.drawing = row.row.Days
		}
	}
}

// drawNode returns the node's row.
func (r *renderer) drawNode(sv *serviceView, nv *nodeView, in *incident, by map[*Node][]*incident, now time.Time) (*drawnNode, error) {
	n := r.nodes[nv.conf]
	if n == nil {
		n = new(drawnNode)
		r.nodes[nv.conf] = n
	}
	if n.view == nv && (nv.status == healthy || now.Equal(n.at)) {
		return n, nil
	}
	if n.history != nv.history || now.Sub(n.past.at).Abs() >= pastAge {
		n.history, n.past = nv.history, newDrawnPast(r.lang, nv.history, by[nv.conf], now)
	}
	r.squares = r.row.set(r.lang, r.site.base, sv, nv, in, now, r.squares[:0])
	r.row.setDays(r.lang, &n.past)
	if n.html == "" || r.row != n.row { // most results change nothing that is shown
		if err := r.execute("node.html", &r.row); err != nil {
			return nil, err
		}
		n.row, n.html = r.row, template.HTML(r.buf.String())
	}
	n.view, n.at = nv, now
	return n, nil
}

func newDrawnPast(lang *language, h *nodeHistory, incidents []*incident, now time.Time) drawnPast {
	d := newDays(h, incidents, now)
	p := drawnPast{outline: d.outline(), label: d.label(lang), at: now}
	p.drawing = p.outline.drawing(&d)
	return p
}

// execute fills the buffer.
func (r *renderer) execute(name string, v any) error {
	r.buf.Reset()
	return r.site.templates.ExecuteTemplate(&r.buf, name, v)
}

// elementID returns an element's id. It stays the same from one rendering to
// the next, wherever the element is, and reveals nothing of the ids in the
// configuration, which are not public.
func elementID(kind string, ids ...string) string {
	h := fnv.New64a()
	for _, id := range ids {
		h.Write([]byte(id))
		h.Write([]byte{0})
	}
	return kind + strconv.FormatUint(h.Sum64(), 36)
}
