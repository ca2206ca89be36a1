package main

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Limits of the server. They leave room for visitors and reporters with slow
// connections.
const (
	readTimeout      = 10 * time.Second // of a whole request, its header included
	writeTimeout     = 30 * time.Second
	idleTimeout      = 75 * time.Second // longer than the usual gap between reports
	maxRequestHeader = 16 << 10         // bytes
	maxConns         = 8192
)

// newServer returns a server with limits.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	unread := newUnreadAnswers(maxUnread)
	return &http.Server{
		Handler:        &guard{Handler: h, log: log, unread: unread},
		ReadTimeout:    readTimeout,
		WriteTimeout:   writeTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxRequestHeader,
		ConnContext:    unread.connContext,
		ConnState:      onConnState,
		ErrorLog:       stdlog.New(serverLog{log}, "", 0),
	}
}

// listenHTTP opens the listener of conf. The default address, where the machine
// has no IPv6 loopback, becomes that of IPv4.
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
	return ln, nil
}

// listenError says in one line what is wrong and how to fix it.
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

// connLimit returns how many connections may be open at a time: at most half of
// the files that the process may open, so that probes always find some left.
func connLimit() int {
	files := openFileLimit()
	if files == 0 {
		return maxConns
	}
	return int(min(maxConns, max(files/2, 16)))
}

// A guard wraps all handlers. It recovers from their panics and logs them; the
// client sees its connection close, as half an answer may have been sent. It
// also closes connections with oddly framed requests after the answer.
type guard struct {
	http.Handler
	log    *slog.Logger
	unread *unreadAnswers
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
	if c := connOf(r); c != nil && c.odd.Load() {
		w.Header().Set("Connection", "close")
	}
	g.Handler.ServeHTTP(w, r)
}

// A serverLog logs the messages of package net/http: those about single
// connections are for debugging, a failing accept is a warning.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	if bytes.HasPrefix(line, []byte("http: Accept error")) {
		l.log.Warn("cannot accept connections", "err", text)
	} else {
		l.log.Debug("connection", "err", text)
	}
	return len(line), nil
}

// A connLimits bounds the open connections, all together and those of one
// address. When there is no room for a new one, another is closed: of that
// address's, or of all, the one whose last finished request, or whose begin,
// is the longest ago. So clients that only hold connections lose them first, and
// clients that ask something are served however many others there are.
//
// One connLimits serves all listeners of a server: while a reload moves to
// another address, connections of the old one are still open.
type connLimits struct {
	most  int // in all
	share int // of one address

	mu   sync.Mutex
	all  list.List                   // of *conn, the next to be closed in front
	from map[netip.Prefix]*list.List // the same of each address
}

// minShare is how many connections one address may have at least.
const minShare = 16

// newConnLimits lets a single address have a quarter of the connections: it may
// be that of a reverse proxy.
func newConnLimits(most int) *connLimits {
	return &connLimits{
		most:  most,
		share: max(most/4, min(most, minShare)),
		from:  make(map[netip.Prefix]*list.List),
	}
}

// A limitListener accepts connections within limits.
type limitListener struct {
	net.Listener
	*connLimits
}

func (l limitListener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, home: l.connLimits, client: connNet(inner)}
	if victim := l.add(c); victim != nil {
		victim.Conn.Close()
	}
	return c, nil
}

// add adds the connection and returns the one to be closed for it, if any.
func (l *connLimits) add(c *conn) (victim *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.from[c.client]
	switch {
	case own != nil && own.Len() >= l.share:
		victim = own.Front().Value.(*conn)
	case l.all.Len() >= l.most:
		victim = l.all.Front().Value.(*conn)
	}
	if victim != nil {
		l.drop(victim)
	}
	if own = l.from[c.client]; own == nil {
		own = list.New()
		l.from[c.client] = own
	}
	c.inAll, c.inOwn = l.all.PushBack(c), own.PushBack(c)
	return victim
}

// touch notes that a request on the connection was finished.
func (l *connLimits) touch(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.inAll != nil {
		l.all.MoveToBack(c.inAll)
		l.from[c.client].MoveToBack(c.inOwn)
	}
}

// remove forgets a connection that is closed.
func (l *connLimits) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(c)
}

// drop needs the lock.
func (l *connLimits) drop(c *conn) {
	if c.inAll == nil {
		return
	}
	l.all.Remove(c.inAll)
	own := l.from[c.client]
	own.Remove(c.inOwn)
	if own.Len() == 0 {
		delete(l.from, c.client)
	}
	c.inAll, c.inOwn = nil, nil
}

// A conn is a client's connection: it has a place in the listener's lists, and
// it watches how the client frames its requests.
type conn struct {
	net.Conn
	framing framing
	odd     atomic.Bool    // a request was framed oddly: close after the answer
	unread  *unreadAnswers // of the server
	body    []byte         // of the answer that is written next
	sent    int            // bytes of the rest of it that were sent ahead

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
// lenient and does not report what it accepted; a proxy in front of it may read
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

// stopTime is how long running requests may take to end at a stop.
const stopTime = 5 * time.Second

// A webServer serves HTTP on one listener, which a reload may replace.
type webServer struct {
	server *http.Server
	conf   Server // what ln was opened for
	ln     net.Listener
	limits *connLimits
	errs   chan error // of capacity 1: why it no longer serves
}

// newWebServer opens the listener of conf.
func newWebServer(ctx context.Context, server *http.Server, conf Server) (*webServer, error) {
	ln, err := listenHTTP(ctx, conf)
	if err != nil {
		return nil, err
	}
	return &webServer{server: server, conf: conf, ln: ln, limits: newConnLimits(connLimit()), errs: make(chan error, 1)}, nil
}

// start begins to serve.
func (w *webServer) start() { w.accept(w.ln) }

// wait returns when ctx has ended and running requests are done, or when the
// server fails.
func (w *webServer) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case err := <-w.errs:
		return fmt.Errorf("web server: %w", err)
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if w.server.Shutdown(grace) != nil {
		w.server.Close()
	}
	return nil
}

// accept serves the connections of ln until it is closed or the server ends.
func (w *webServer) accept(ln net.Listener) {
	go func() {
		err := w.server.Serve(limitListener{ln, w.limits})
		if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			select {
			case w.errs <- err:
			default:
			}
		}
	}()
}

// move changes to the address of another config. The new listener is open
// before the old one is closed, and connections stay open.
//
// On the same port, the system may refuse the new address for as long as the
// old one is open (0.0.0.0 beside 127.0.0.1, say). Then the old one is closed
// first, and opened again if the new one cannot be had.
func (w *webServer) move(ctx context.Context, conf Server) error {
	old := w.conf
	if conf.Inet == old.Inet && conf.InetSet == old.InetSet || conf.Inet == w.ln.Addr().String() {
		w.conf = conf
		return nil
	}
	ln, err := listenHTTP(ctx, conf)
	if err != nil {
		if !samePort(conf.Inet, w.ln.Addr()) {
			return err
		}
		w.ln.Close()
		if ln, err = listenHTTP(ctx, conf); err != nil {
			back, backErr := listenHTTP(ctx, old)
			if backErr != nil {
				w.errs <- backErr
				return errors.Join(err, backErr)
			}
			w.accept(back)
			w.ln = back
			return err
		}
	}
	w.accept(ln)
	w.ln.Close()
	w.conf, w.ln = conf, ln
	return nil
}

// samePort reports whether an address to listen on has the port of addr.
func samePort(inet string, addr net.Addr) bool {
	_, port, err := net.SplitHostPort(inet)
	_, other, otherErr := net.SplitHostPort(addr.String())
	return err == nil && otherErr == nil && port == other
}

// address is the URL at which a browser on this machine finds the page.
func (w *webServer) address() string {
	host, port, err := net.SplitHostPort(w.ln.Addr().String())
	if err != nil {
		return w.ln.Addr().String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port) + w.conf.PathPrefix + "/"
}
