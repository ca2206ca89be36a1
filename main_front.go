package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// stopTime is how long requests under way may take at a stop.
const stopTime = 5 * time.Second

// A front is the web server, and the listener that it has at present.
type front struct {
	server *http.Server
	conf   Server // what ln was opened for
	ln     net.Listener
	faults chan error // of capacity 1: why it does not serve any more
}

// newFront opens the listener of conf.
func newFront(ctx context.Context, server *http.Server, conf Server) (*front, error) {
	ln, err := listenHTTP(ctx, conf)
	if err != nil {
		return nil, err
	}
	return &front{server: server, conf: conf, ln: ln, faults: make(chan error, 1)}, nil
}

// start begins to serve.
func (f *front) start() { f.accept(f.ln) }

// wait returns after ctx has ended and requests under way have come to their
// end, or when the server fails.
func (f *front) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case err := <-f.faults:
		return fmt.Errorf("web server: %w", err)
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if f.server.Shutdown(grace) != nil {
		f.server.Close()
	}
	return nil
}

// accept serves the connections of ln, until it is closed for another one or
// the server ends.
func (f *front) accept(ln net.Listener) {
	go func() {
		err := f.server.Serve(ln)
		if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			select {
			case f.faults <- err:
			default:
			}
		}
	}()
}

// move goes over to the address of another config, if it has another one. The
// new listener is open before the old one is closed, and connections stay.
func (f *front) move(ctx context.Context, conf Server) error {
	if conf.Inet == f.conf.Inet && conf.InetSet == f.conf.InetSet {
		return nil
	}
	ln, err := listenHTTP(ctx, conf)
	if err != nil {
		return err
	}
	f.accept(ln)
	f.ln.Close()
	f.conf, f.ln = conf, ln
	return nil
}

// address is the URL at which a browser on this machine finds the page.
func (f *front) address() string {
	host, port, err := net.SplitHostPort(f.ln.Addr().String())
	if err != nil {
		return f.ln.Addr().String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port) + f.conf.PathPrefix + "/"
}
