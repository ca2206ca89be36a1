package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// A debugServer serves profiles of the program to its developers. It is off
// unless asked for, and has a listener of its own: what it tells is for nobody
// else.
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
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
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
