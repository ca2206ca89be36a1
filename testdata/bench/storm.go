package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A weather is targets that die and come back all together, and the webhook that
// is told.
type weather struct {
	mu     sync.Mutex
	dead   bool
	turned map[int]time.Time // by target: its first answer since the change
	told   map[int]time.Time // when a message first said so
	total  int               // replicas that are dead, by the last message
	first  time.Time         // when a message first said anything since the change
}

// ServeHTTP is the target /N, or the webhook /hook.
func (w *weather) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	now := time.Now()
	name := strings.TrimPrefix(r.URL.Path, "/")
	if n, err := strconv.Atoi(name); err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if _, known := w.turned[n]; !known {
			w.turned[n] = now
		}
		if w.dead {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
		return
	}
	var alert struct {
		Replicas, Recovered []string
		Total               int `json:"replicas_total"`
	}
	err := json.NewDecoder(r.Body).Decode(&alert)
	drain(r.Body)
	w.mu.Lock()
	defer w.mu.Unlock()
	news := alert.Replicas
	if !w.dead {
		news = alert.Recovered
	}
	if err != nil || w.told == nil {
		return
	}
	if w.first.IsZero() {
		w.first = now
	}
	w.total = max(alert.Total, len(alert.Replicas))
	for _, path := range news {
		n, err := strconv.Atoi(path[strings.LastIndexByte(path, '/')+1:])
		if _, known := w.told[n]; err == nil && !known {
			w.told[n] = now
		}
	}
}

// A gust is how one change of the weather went, in seconds.
type gust struct {
	spread float64 // from the first target's answer to the last one's
	first  float64 // from the first answer to the first byte of a message
	alert  float64 // from an answer to the message that names it, at worst
	page   float64 // from the last answer to a page that shows all
	cpu    float64 // processor time of the program
}

// turn has all targets die or come back, and waits until everybody knows.
func (w *weather) turn(p *program, targets int, dead bool) (g gust, err error) {
	before, err := p.cpu()
	if err != nil {
		return g, err
	}
	w.mu.Lock()
	w.dead, w.turned, w.told, w.first, w.total = dead, make(map[int]time.Time), make(map[int]time.Time), time.Time{}, -1
	w.mu.Unlock()
	shown, listed := 0, targets
	if targets > 500 {
		listed = 1 // the list of outages leaves little room for that of replicas
	}
	if dead {
		shown = targets
	}
	var fresh time.Time
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, page, err := p.get("/")
		if err != nil {
			return g, err
		}
		if bytes.Count(page, []byte(`<li class="node down`)) == shown && fresh.IsZero() {
			fresh = time.Now()
		}
		w.mu.Lock()
		if !fresh.IsZero() && len(w.turned) == targets && w.total == shown && (len(w.told) >= listed || !dead) {
			break // and keeps the lock
		}
		w.mu.Unlock()
		if time.Now().After(deadline) {
			return g, fmt.Errorf("waited for %d targets that are dead (%v): %d answered, %d are told", targets, dead, len(w.turned), w.total)
		}
	}
	defer w.mu.Unlock()
	var begin, end time.Time
	for n, at := range w.turned {
		if begin.IsZero() || at.Before(begin) {
			begin = at
		}
		if at.After(end) {
			end = at
		}
		if told, ok := w.told[n]; ok {
			g.alert = max(g.alert, told.Sub(at).Seconds())
		}
	}
	g.spread, g.first, g.page = end.Sub(begin).Seconds(), w.first.Sub(begin).Seconds(), max(fresh.Sub(end), 0).Seconds()
	after, err := p.cpu()
	g.cpu = after - before
	return g, err
}

// storm measures what happens when a great many targets die within a second,
// and come back: when people are told, and when the page shows it.
func (b *bench) storm() error {
	ln, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	w := &weather{turned: make(map[int]time.Time)}
	go http.Serve(ln, w)
	port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	for _, c := range []struct{ targets, interval, turns int }{{500, 1, b.count(10, 2)}, {5000, 5, b.count(2, 0)}} {
		if c.turns == 0 {
			continue
		}
		if err := b.stormOf(w, port, c.targets, c.interval, c.turns); err != nil {
			return fmt.Errorf("%d targets: %w", c.targets, err)
		}
	}
	return nil
}

func (b *bench) stormOf(w *weather, port string, targets, interval, turns int) error {
	p, err := b.run(fmt.Sprintf("poll_interval = %d\npoll_retry = 0\npoll_retry_wait = 100\n[notify]\nstartup_notification = false\n[notify.webhook]\nhook_url = \"http://127.0.0.1:%s/hook\"\n", interval, port) +
		nodes(targets/10, 10, 1, "poll", func(n int) string { return fmt.Sprintf("http://%s:%s/%d", host(n), port, n) }))
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.settled(targets, 30*time.Second); err != nil {
		return err
	}
	var worst gust
	var cpu []float64
	for i := range 2 * turns {
		time.Sleep(time.Duration(interval) * time.Second) // the page before is rendered
		g, err := w.turn(p, targets, i%2 == 0)
		if err != nil {
			return err
		}
		worst.spread, worst.first = max(worst.spread, g.spread), max(worst.first, g.first)
		worst.alert, worst.page = max(worst.alert, g.alert), max(worst.page, g.page)
		cpu = append(cpu, g.cpu)
	}
	alert, page := atMost(1.5).but(6), atMost(2).but(15)
	if targets > 500 {
		alert, page = informal, informal
	}
	const limit = "1 s of gathering"
	b.add(row{measure: "storm", what: fmt.Sprintf("%d targets die within %.1f s or come back: first message", targets, worst.spread), figure: fmt.Sprintf("%.2f s", worst.first), limit: limit, got: worst.first, wanted: alert})
	b.add(row{measure: "storm", what: "... from an answer to the message that names it", figure: fmt.Sprintf("%.2f s", worst.alert), limit: limit, got: worst.alert, wanted: alert})
	b.add(row{measure: "storm", what: "... until the page shows all", figure: fmt.Sprintf("%.2f s", worst.page), limit: "1 s between two", got: worst.page, wanted: page})
	b.add(row{measure: "storm", what: "... processor time, checks and pages among it", figure: fmt.Sprintf("%.2f s", median(cpu)), wanted: informal})
	return nil
}
