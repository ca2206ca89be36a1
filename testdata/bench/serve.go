package main

import (
	"errors"
	"fmt"
	"time"
)

// A route is what clients ask for, with a field of the header if there is one.
type route struct{ what, path, field, value string }

// hotRoutes are what visitors ask for most. The value of the field is known
// only when the page is there, for a 304.
var hotRoutes = []route{
	{"GET /, 300 nodes", "/", "", ""},
	{"GET /, gzip", "/", "Accept-Encoding", "gzip"},
	{"GET /, 304", "/", "If-None-Match", ""},
	{"GET /status/text", "/status/text", "", ""},
	{"GET /status/report", "/status/report", "", ""},
	{"GET /feed.atom", "/feed.atom", "", ""},
}

// coldRoutes are the others that are rendered once a snapshot.
var coldRoutes = []route{
	{"GET /status/node/...", "/status/node/s0/n0", "", ""},
	{"GET /status/sla", "/status/sla", "", ""},
	{"GET /status/history, gzip", "/status/history", "Accept-Encoding", "gzip"},
	{"GET /history, gzip", "/history", "Accept-Encoding", "gzip"},
	{"GET /feed.atom of 1,000 outages, gzip", "/feed.atom", "Accept-Encoding", "gzip"},
	{"GET /badge/icon", "/badge/icon", "", ""},
}

// page measures the hot routes on a page of 100 services with 3 nodes, over
// 64 connections, beside package net/http with the same bytes. Where a process
// happens to lie in memory makes some percent, so it takes several of both.
func (b *bench) page() error { return b.routes("page", hotRoutes, b.count(7, 5), b.count(3, 1)) }

// cached measures the others, after 90 days with outages.
func (b *bench) cached() error { return b.routes("cached", coldRoutes, b.count(7, 3), b.count(3, 1)) }

func (b *bench) routes(measure string, routes []route, turns, programs int) error {
	ours, bare, ratios := make([][]float64, len(routes)), make([][]float64, len(routes)), make([][]float64, len(routes))
	for range programs {
		p, err := b.lay(nodes(100, 3, 0, "push", nil))
		if err != nil {
			return err
		}
		if measure == "cached" {
			if err := p.writePast(100, 3, 90, time.Now()); err != nil {
				return err
			}
		}
		if err := p.start(); err != nil {
			return err
		}
		err = b.routesOf(p, routes, turns, func(route int, mine, theirs, ratio float64) {
			ours[route], bare[route], ratios[route] = append(ours[route], mine), append(bare[route], theirs), append(ratios[route], ratio)
		})
		p.stop()
		if err != nil {
			return err
		}
	}
	for i, c := range routes {
		least := 0.85
		if c.path == "/" && c.field != "If-None-Match" {
			least = 0.9
		}
		b.add(row{measure: measure, what: c.what + ", 64 connections", figure: perSecond(median(ours[i])), limit: perSecond(median(bare[i])),
			got: median(ratios[i]), ratio: true, wanted: atLeast(least)})
	}
	return nil
}

// routesOf measures the routes of one process.
func (b *bench) routesOf(p *program, routes []route, turns int, took func(route int, ours, bare, ratio float64)) error {
	reports := load{conns: 1, request: reportRequests(300, 0.2, func(n int) string { return fmt.Sprintf("/reporter/s%d/n%d/", n/3, n%3) })}
	if _, err := reports.run(p.address, 0, 300); err != nil {
		return err
	}
	if err := p.settled(300, 20*time.Second); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // the last rendering
	for i, c := range routes {
		// The page is shown anew each minute, and then there is no 304.
		for tries := 1; ; tries++ {
			ours, bare, ratio, err := b.hotRoute(p, c.path, c.field, c.value, turns)
			if err == nil {
				took(i, ours, bare, ratio)
				break
			}
			if !errors.Is(err, errChanged) || tries == 3 {
				return fmt.Errorf("%s: %w", c.what, err)
			}
		}
	}
	return nil
}

var errChanged = errors.New("the page changed meanwhile")

// hotRoute measures one route, asked for with a header field if there is one.
func (b *bench) hotRoute(p *program, path, field, value string, turns int) (ours, bare, ratio float64, err error) {
	if field == "If-None-Match" {
		resp, _, err := p.get("/")
		if err != nil {
			return 0, 0, 0, err
		}
		value = resp.Header.Get("Etag")
	}
	var fields, header []string
	if field != "" {
		fields = []string{field, value}
		header = []string{field + ": " + value}
	}
	task := pageTask{}
	answer, body, err := p.get(path, fields...)
	if err != nil {
		return 0, 0, 0, err
	}
	task.Header, task.Body = answer.Header, body
	task.Header.Del("Date")
	task.Header.Del("Connection")
	limit, err := start("page", task)
	if err != nil {
		return 0, 0, 0, err
	}
	defer limit.stop()
	l := load{conns: 64, request: getRequest(path, header...)}
	ours, bare, ratio, err = l.beside(p.address, limit.ready.HTTP, turns, b.length(300*time.Millisecond, 200*time.Millisecond))
	if err != nil {
		return 0, 0, 0, err
	}
	after, _, err := p.get(path, fields...)
	if err == nil && after.StatusCode != answer.StatusCode {
		err = errChanged
	}
	return ours, bare, ratio, err
}

func perSecond(n float64) string { return fmt.Sprintf("%.0f/s", n) }

// report measures reports of 10,000 push replicas, over 64 connections, beside
// package net/http that checks the token and decodes the same JSON.
func (b *bench) report() error {
	p, err := b.run(nodes(1, 1, 0, "push", nil))
	if err != nil {
		return err
	}
	defer p.stop()
	limit, err := start("report", token)
	if err != nil {
		return err
	}
	defer limit.stop()
	l := load{conns: 64, request: reportRequests(10_000, 0.2, func(int) string { return "/reporter/s0/n0/" })}
	if _, err := l.run(p.address, 0, 10_000); err != nil {
		return err
	}
	ours, bare, ratio, err := l.beside(p.address, limit.ready.HTTP, b.count(15, 7), b.length(400*time.Millisecond, 300*time.Millisecond))
	if err != nil {
		return err
	}
	b.add(row{measure: "report", what: "reports, 64 connections, 10,000 replicas", figure: perSecond(ours), limit: perSecond(bare), got: ratio, ratio: true, wanted: atLeast(0.75)})
	return nil
}

// render measures renderings of pages on which every node has changed.
func (b *bench) render() error {
	for _, c := range []struct {
		services int
		most     float64 // milliseconds
	}{{100, 12}, {334, 25}} {
		if err := b.renderPage(c.services, c.most); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) renderPage(services int, most float64) error {
	p, err := b.run(nodes(services, 3, 0, "push", nil))
	if err != nil {
		return err
	}
	defer p.stop()
	count := 3 * services
	l := load{conns: 4, request: reportRequests(count, 0.2, func(n int) string { return fmt.Sprintf("/reporter/s%d/n%d/", n/3, n%3) })}
	if _, err := l.run(p.address, 0, count); err != nil {
		return err
	}
	const name = "vigil_render_duration_seconds"
	before, err := p.metrics()
	if err != nil {
		return err
	}
	var took []float64 // of each rendering, in milliseconds
	for end := time.Now().Add(b.length(10*time.Second, 5*time.Second)); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		if _, err := l.run(p.address, 0, count); err != nil {
			return err
		}
		after, err := p.metrics()
		if err != nil {
			return err
		}
		if n := after[name+"_count"] - before[name+"_count"]; n > 0 {
			took = append(took, 1000*(after[name+"_sum"]-before[name+"_sum"])/n)
			before = after
		}
	}
	if len(took) < 2 {
		return fmt.Errorf("%d renderings", len(took))
	}
	ms := median(took)
	b.add(row{measure: "render", what: fmt.Sprintf("rendering of %d changed nodes, with gzip", count), figure: fmt.Sprintf("%.1f ms", ms), got: ms, wanted: atMost(most).but(5 * most)})
	return nil
}
