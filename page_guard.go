package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"sync/atomic"
)

// A guard stands before all handlers. It contains their panics, so that our
// log tells of them. The client sees its connection close: what was sent by
// then may be half an answer.
//
// A chunked request is the last one on its connection. It may have had a
// length, too, which package net/http drops; a proxy that goes by the length
// would take for its body what we would take for the next request. RFC 9112,
// section 6.1, asks to close then.
type guard struct {
	http.Handler
	log    *slog.Logger
	panics atomic.Int64 // requests that panicked since the start
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v != http.ErrAbortHandler {
			g.panics.Add(1)
			logPanic(g.log, "request broken off, as its handler panicked", v, "method", r.Method, "path", r.URL.EscapedPath())
		}
		panic(http.ErrAbortHandler)
	}()
	if len(r.TransferEncoding) > 0 {
		w.Header().Set("Connection", "close")
	}
	g.Handler.ServeHTTP(w, r)
}

// A serverLog takes what package net/http has to say: of single connections,
// which is for debugging, and when it cannot accept any more.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	if bytes.HasPrefix(line, []byte("http: Accept error")) {
		l.log.Warn("no connection accepted", "err", text)
	} else {
		l.log.Debug("connection", "err", text)
	}
	return len(line), nil
}
