package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
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

// A page shows the newest snapshot of a board to the public. Its one renderer
// turns snapshots into bytes; requests only read what is ready.
type page struct {
	board *board
	log   *slog.Logger
	now   atomic.Pointer[rendering]

	history historyCache
	took    histogram                 // of each rendering
	routes  [routeCount]atomic.Uint64 // requests
	panics  atomic.Int64              // renderings that panicked since the start

	renderer *renderer // of the goroutine in run; newPage uses it before
}

// A rendering is all that a request needs: one snapshot's page as bytes and
// the site that it was rendered with.
type rendering struct {
	site  *site
	snap  *snapshot
	page  *reply
	embed *reply // the widget
}

// newPage returns a page that is ready to serve: the board's snapshot is
// rendered. An error is one of the templates or assets that the configuration
// lays over the embedded ones.
func newPage(b *board, log *slog.Logger) (*page, error) {
	p := &page{board: b, log: log}
	if err := p.refresh(b.load()); err != nil {
		return nil, err
	}
	return p, nil
}

// run renders each newer snapshot until ctx ends, which is no error. When one
// cannot be rendered, the page before it stays up.
func (p *page) run(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.board.changed:
		}
		start := time.Now()
		if s := p.board.load(); s != p.now.Load().snap {
			if err := p.refreshSafely(s); err != nil {
				p.log.Error("page not rendered", "err", err)
			}
			p.took.observe(time.Since(start))
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
		st, err := newSite(s.conf, s.conf.Assets, p.log)
		if err != nil && p.renderer != nil {
			// A reload: better the page as it comes than one that stands still.
			p.log.Error("assets not used", "err", err)
			st, err = newSite(s.conf, "", p.log)
		}
		if err != nil {
			return err
		}
		p.renderer = newRenderer(st)
	}
	now, err := p.renderer.render(s)
	if err != nil {
		return fmt.Errorf("render page: %w", err)
	}
	p.now.Store(now)
	return nil
}

// handler serves the page and its routes. Requests whose first path segment
// is a key of rooms go there, with the path prefix taken off.
func (p *page) handler(rooms map[string]http.Handler) http.Handler {
	return &router{page: p, rooms: rooms}
}
