package main

import (
	"bytes"
	"container/list"
	"context"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"
)

// A conn is a client's connection: it has a place in the listener's lists, and
// it watches how the client frames its requests.
type conn struct {
	net.Conn
	framing framing
	odd     atomic.Bool    // a request was framed oddly: close after the answer
	unread  *unreadAnswers // of the server

	home         *connLimits
	client       netip.Prefix  // the client's network
	inAll, inOwn *list.Element // its places in the listener's lists; nil when it is closed
	touched      time.Time     // when it last moved to their ends
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.odd.Load() && !c.framing.scan(p[:n]) {
		c.odd.Store(true)
	}
	return n, err
}

func (c *conn) Close() error {
	c.home.remove(c)
	return c.Conn.Close()
}

// connKey is the context key of a request's conn.
type connKey struct{}

// connContext lets handlers find the connection that they answer on.
func (u *unreadAnswers) connContext(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*conn); ok {
		c.unread = u
	}
	return context.WithValue(ctx, connKey{}, c)
}

// connOf returns the connection of a request, or nil.
func connOf(r *http.Request) *conn {
	c, _ := r.Context().Value(connKey{}).(*conn)
	return c
}

// touchEvery is how long a connection in use may keep its place in the
// listener's lists: all connections share their lock.
const touchEvery = time.Second

// onConnState moves a connection to the end of the lists when it has finished
// a request.
func onConnState(c net.Conn, s http.ConnState) {
	if c, ok := c.(*conn); ok && s == http.StateIdle {
		if now := time.Now(); now.Sub(c.touched) >= touchEvery {
			c.touched = now
			c.home.touch(c)
		}
	}
}

// A framing follows the requests of a connection byte by byte, to learn whether
// every program would agree on where each of them ends. Package net/http is
// lenient and does not say what it overlooked; a proxy in front of it may read
// the same bytes as two requests or as one. Such a connection is closed after
// the answer, so that nothing smuggled behind it is ever taken for a request.
//
// Clear is HTTP/1.1 with CRLF at each line's end, no folded lines, no
// Transfer-Encoding and at most one Content-Length, in plain digits.
type framing struct {
	line   []byte // the start of a line whose end has not arrived
	inHead bool   // the request line was read, the empty line was not
	length int64  // of the request's body; -1 without a Content-Length
	body   int64  // bytes of the body still to come
}

// maxFramedLine is longer than any line that the server accepts.
const maxFramedLine = maxRequestHeader + 8<<10

// scan reads on and reports whether everything was clear so far. After it has
// returned false it must not be called again.
func (f *framing) scan(p []byte) bool {
	for len(p) > 0 {
		if f.body > 0 {
			n := min(f.body, int64(len(p)))
			f.body -= n
			p = p[n:]
			continue
		}
		line, rest, whole := bytes.Cut(p, []byte("\n"))
		p = rest
		if len(f.line)+len(line) > maxFramedLine {
			return false
		}
		if !whole {
			f.line = append(f.line, line...)
			return true
		}
		if len(f.line) > 0 {
			line = append(f.line, line...)
			f.line = f.line[:0]
		}
		line, crlf := bytes.CutSuffix(line, []byte("\r"))
		if !crlf || !f.take(line) {
			return false
		}
	}
	return true
}

var (
	http11           = []byte(" HTTP/1.1")
	contentLength    = []byte("Content-Length")
	transferEncoding = []byte("Transfer-Encoding")
)

// take reads one line of a request's head.
func (f *framing) take(line []byte) bool {
	switch {
	case !f.inHead:
		f.inHead, f.length = true, -1
		return bytes.HasSuffix(line, http11)
	case len(line) == 0:
		f.inHead, f.body = false, max(f.length, 0)
		return true
	case line[0] == ' ' || line[0] == '\t': // a folded line, RFC 9112 section 5.2
		return false
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	switch name = bytes.TrimSpace(name); {
	case bytes.EqualFold(name, transferEncoding):
		return false
	case bytes.EqualFold(name, contentLength):
		text := string(bytes.Trim(value, " \t"))
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || f.length >= 0 || strconv.FormatInt(n, 10) != text || n < 0 {
			return false
		}
		f.length = n
	}
	return true
}
