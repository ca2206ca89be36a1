package main

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Limits of the server. They are for visitors and reporters of good will with
// slow lines; others are cut off.
const (
	readTimeout      = 10 * time.Second // of a whole request, its header included
	writeTimeout     = 30 * time.Second
	idleTimeout      = 75 * time.Second // longer than the usual gap between reports
	maxRequestHeader = 16 << 10         // bytes
	maxConns         = 8192
)

// newServer returns a server with limits.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:        &guard{Handler: h, log: log},
		ReadTimeout:    readTimeout,
		WriteTimeout:   writeTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxRequestHeader,
		ConnContext:    withConn,
		ConnState:      noteState,
		ErrorLog:       stdlog.New(serverLog{log}, "", 0),
	}
}

// listenHTTP opens the listener of conf. The default address, where the machine
// has no IPv6 loopback, becomes that of IPv4. At most half of the files that
// the process may open are connections, so that probes always find some left.
func listenHTTP(ctx context.Context, conf Server) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", conf.Inet)
	if err != nil && !conf.InetSet && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)) {
		_, port, splitErr := net.SplitHostPort(conf.Inet)
		if splitErr != nil {
			return nil, fmt.Errorf("server.inet %q: %w", conf.Inet, splitErr)
		}
		conf.Inet = net.JoinHostPort("127.0.0.1", port)
		ln, err = lc.Listen(ctx, "tcp", conf.Inet)
	}
	if err != nil {
		return nil, listenError(conf.Inet, err)
	}
	return newLimitListener(ln, connLimit()), nil
}

// listenError says in one line what is wrong and how to mend it.
func listenError(inet string, err error) error {
	_, port, _ := net.SplitHostPort(inet)
	remedy := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		remedy = "port " + port + " is taken: stop the program that has it, or set server.inet to another port"
	case errors.Is(err, syscall.EACCES):
		remedy = "no permission for port " + port + ": set server.inet to a port from 1024, or run setcap cap_net_bind_service+ep on the program"
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		remedy = "this machine does not have that address: set server.inet to one that it has, or to 0.0.0.0:" + port
	default:
		if _, ok := errors.AsType[*net.DNSError](err); ok {
			remedy = "no address is known for that name: set server.inet to an address of this machine, or to 0.0.0.0:" + port
			break
		}
		return fmt.Errorf("cannot listen on %q: %w", inet, err)
	}
	return fmt.Errorf("cannot listen on %q: %s", inet, remedy)
}

// connLimit returns how many connections are open at a time at most.
func connLimit() int {
	files := maxFiles()
	if files == 0 {
		return maxConns
	}
	return int(min(maxConns, max(files/2, 16)))
}
