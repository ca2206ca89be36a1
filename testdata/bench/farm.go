package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A farm is the targets. Of HTTP requests to /n it notes when they came.
type farm struct {
	mu    sync.Mutex
	since time.Time
	times map[int][]time.Duration // by n
}

// playFarm listens on all addresses of loopback, so that a great many
// connections do not run out of ports.
func playFarm(json.RawMessage) (addresses, func(order) (any, error), error) {
	f := &farm{since: time.Now(), times: make(map[int][]time.Duration)}
	var where addresses
	listen := func(port *string) (net.Listener, error) {
		ln, err := net.Listen("tcp4", "0.0.0.0:0")
		if err == nil {
			*port = strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
		}
		return ln, err
	}
	web, err := listen(&where.HTTP)
	if err != nil {
		return where, nil, err
	}
	tcp, err := listen(&where.TCP)
	if err != nil {
		return where, nil, err
	}
	hang, err := listen(&where.Hang)
	if err != nil {
		return where, nil, err
	}
	server := &http.Server{Handler: f, ErrorLog: log.New(io.Discard, "", 0)}
	go server.Serve(web)
	go accept(tcp, func(c net.Conn) { c.Close() })
	go accept(hang, func(c net.Conn) { io.Copy(io.Discard, c); c.Close() })
	return where, f.obey, nil
}

func accept(ln net.Listener, handle func(net.Conn)) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go handle(c)
	}
}

// ServeHTTP answers at once, but below /slow after a millisecond.
func (f *farm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	if name == "slow" {
		time.Sleep(time.Millisecond)
	}
	if n, err := strconv.Atoi(name); err == nil {
		f.mu.Lock()
		f.times[n] = append(f.times[n], time.Since(f.since))
		f.mu.Unlock()
	}
}

// gaps are the times between checks of one target, in seconds.
type gaps struct {
	Targets, Checks int
	Least           int // checks of the target that had fewest
	P50, P99, Max   float64
	First           float64 // when the last target was checked first
}

// obey forgets what was noted, or tells of the gaps. The one after the first
// check is left out: that check comes at once, the next one in its turn.
func (f *farm) obey(o order) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o.Do == "forget" {
		f.since, f.times = time.Now(), make(map[int][]time.Duration)
		return nil, nil
	}
	g := gaps{Targets: len(f.times), Least: -1}
	var all []float64
	for _, times := range f.times {
		g.Checks += len(times)
		g.First = max(g.First, times[0].Seconds())
		if g.Least < 0 || len(times) < g.Least {
			g.Least = len(times)
		}
		for i := 2; i < len(times); i++ {
			all = append(all, (times[i] - times[i-1]).Seconds())
		}
	}
	g.P50, g.P99, g.Max = median(all), quantile(all, 0.99), quantile(all, 1)
	return g, nil
}

// host returns one of many addresses of loopback.
func host(n int) string {
	return fmt.Sprintf("127.%d.%d.%d", n/62_500%250, n/250%250, n%250+1)
}
