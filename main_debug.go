package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/pprof"
	"strconv"
	"time"
)

// A debugServer serves profiles of the program to its developers, where "go tool
// pprof" looks for them. It is off unless asked for, and has a listener of its
// own: what it tells is for nobody else. Package net/http/pprof would do the
// same, and more, for half a megabyte.
type debugServer struct {
	ln  net.Listener
	log *slog.Logger
}

// listenDebug opens the listener. An empty address is no server, which is nil.
func listenDebug(ctx context.Context, address string, log *slog.Logger) (*debugServer, error) {
	if address == "" {
		return nil, nil
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("-debug-addr %q: %w", address, err)
	}
	if ip := ln.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		log.Warn("profiles are served to everybody who reaches this address", "address", ln.Addr().String())
	}
	log.Info("serving profiles", "url", "http://"+ln.Addr().String()+"/debug/pprof/")
	return &debugServer{ln, log}, nil
}

// run serves until ctx ends. What goes wrong here ends nothing else.
func (d *debugServer) run(ctx context.Context) error {
	if d == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/{$}", d.list)
	mux.HandleFunc("GET /debug/pprof/profile", d.profile)
	mux.HandleFunc("GET /debug/pprof/{name}", d.lookup)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(d.ln); ctx.Err() == nil {
		d.log.Error("profiles not served any more", "err", err)
	}
	return nil
}

// list names the profiles there are.
func (d *debugServer) list(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "profile?seconds=30")
	for _, p := range pprof.Profiles() {
		fmt.Fprintf(w, "%s?debug=1 (%d)\n", p.Name(), p.Count())
	}
}

// maxProfile is how long a profile of the processor may take at most.
const maxProfile = 10 * time.Minute

// profile answers with where processor time goes, for 30 s or as many as asked.
func (d *debugServer) profile(w http.ResponseWriter, r *http.Request) {
	seconds, err := strconv.Atoi(r.FormValue("seconds"))
	if err != nil || seconds <= 0 {
		seconds = 30
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	if err := pprof.StartCPUProfile(w); err != nil { // there is another one
		h.Del("Content-Type")
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	defer pprof.StopCPUProfile()
	select {
	case <-time.After(min(time.Duration(seconds)*time.Second, maxProfile)):
	case <-r.Context().Done():
	}
}

// lookup answers with any other profile: that of the heap, of goroutines, ...
// With debug=1 it is text for people, with gc=1 the heap is collected first.
func (d *debugServer) lookup(w http.ResponseWriter, r *http.Request) {
	p := pprof.Lookup(r.PathValue("name"))
	if p == nil {
		http.NotFound(w, r)
		return
	}
	if gc, _ := strconv.Atoi(r.FormValue("gc")); gc > 0 && p.Name() == "heap" {
		runtime.GC()
	}
	debug, _ := strconv.Atoi(r.FormValue("debug"))
	if debug == 0 {
		w.Header().Set("Content-Type", "application/octet-stream")
	}
	if err := p.WriteTo(w, debug); err != nil {
		d.log.Debug("profile not sent", "err", err)
	}
}
