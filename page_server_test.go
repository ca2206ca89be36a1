package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestListen(t *testing.T) {
	ln, err := listenHTTP(t.Context(), Server{Inet: "127.0.0.1:0", InetSet: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for inet, want := range map[string]string{
		"127.0.0.1:" + port: `cannot listen on "127.0.0.1:` + port + `": port ` + port + ` is taken: stop the program that has it, or set server.inet to another port`,
		"192.0.2.1:8080":    `cannot listen on "192.0.2.1:8080": this machine does not have that address: set server.inet to one that it has, or to 0.0.0.0:8080`,
	} {
		if _, err := listenHTTP(t.Context(), Server{Inet: inet, InetSet: true}); err == nil || err.Error() != want {
			t.Errorf("listen on %s: %v\nwant %s", inet, err, want)
		}
	}
	if _, err := listenHTTP(t.Context(), Server{Inet: "nonsense", InetSet: true}); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("listen on nonsense: %v", err)
	}
}

// An address that is the default and that the machine lacks becomes the IPv4
// loopback; 192.0.2.1 (RFC 5737) is on no machine.
func TestListenFallback(t *testing.T) {
	ln, err := listenHTTP(t.Context(), Server{Inet: "192.0.2.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if got := ln.Addr().(*net.TCPAddr).IP.String(); got != "127.0.0.1" {
		t.Errorf("listens on %s, want 127.0.0.1", got)
	}
}

// serveTest runs the real server on loopback until the test ends.
func serveTest(t testing.TB, h http.Handler) string {
	t.Helper()
	return serveLogged(t, h, slog.New(slog.DiscardHandler))
}

// serveLogged is serveTest with a log.
func serveLogged(t testing.TB, h http.Handler, log *slog.Logger) string {
	t.Helper()
	ln, err := listenHTTP(context.Background(), Server{Inet: "127.0.0.1:0", InetSet: true})
	if err != nil {
		t.Fatal(err)
	}
	srv := newServer(h, log)
	go srv.Serve(limitListener{ln, newConnLimits(1000)})
	t.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

func TestServerLimits(t *testing.T) {
	addr := serveTest(t, newTestPage(t, healthySample()).handler(nil))
	ask := func(request string) string {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(c)
		line, _, _ := strings.Cut(string(answer), "\r\n")
		return line
	}
	for name, c := range map[string]struct{ request, want string }{
		"good":       {"GET /status/text HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK"},
		"old":        {"GET /status/text HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"},
		"big header": {"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 2*maxRequestHeader) + "\r\n\r\n", "HTTP/1.1 431 Request Header Fields Too Large"},
		"bad escape": {"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 Bad Request"},
		"asterisk":   {"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK"},
		"absolute":   {"GET http://x/status/text HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK"},
		"bare host":  {"GET http://x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK"},
		"connect":    {"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\nConnection: close\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"},
	} {
		if got := ask(c.request); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A lockedBuffer may be written to while it is read.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// A handler that panics breaks off its own request, and says so in the log.
func TestHandlerPanic(t *testing.T) {
	var text lockedBuffer
	srv := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fault":
			var none []int
			none[2]++
		case "/abort":
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, "fine")
	}), slog.New(slog.NewTextHandler(&text, nil)))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	for range 2 {
		for _, path := range []string{"/fault", "/abort"} {
			// Other than a GET, a POST is not repeated by the client.
			if resp, err := http.Post("http://"+ln.Addr().String()+path, "", nil); err == nil {
				t.Errorf("%s: %s", path, resp.Status)
				resp.Body.Close()
			}
		}
		resp, err := http.Get("http://" + ln.Addr().String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != "fine" {
			t.Errorf("got %q", body)
		}
		resp.Body.Close()
	}
	if n := srv.Handler.(*guard).panics.Load(); n != 2 {
		t.Errorf("%d panics counted, want 2", n)
	}
	const want = `level=ERROR msg="request broken off, as its handler panicked" method=POST path=/fault panic="runtime error: index out of range [2] with length 0" stack=`
	if log := text.String(); strings.Count(log, "\n") != 2 || strings.Count(log, want) != 2 || !strings.Contains(log, "page_server_test.go") {
		t.Errorf("log:\n%s", log)
	}
}

func TestServerLog(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	srv := newServer(http.NotFoundHandler(), log)
	srv.ErrorLog.Print("http: Accept error: accept4: too many open files; retrying in 5ms")
	srv.ErrorLog.Print("http: superfluous call")
	for _, want := range []string{
		`level=WARN msg="cannot accept connections" err="http: Accept error: accept4: too many open files; retrying in 5ms"` + "\n",
		`level=DEBUG msg=connection err="http: superfluous call"` + "\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("log lacks %s:\n%s", want, text.String())
		}
	}
}

// A page that cannot be rendered leaves the one before it up, and the next
// one comes again.
func TestRenderPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text lockedBuffer
		b := newSnapshots(healthySample())
		p, err := newPage(b, slog.New(slog.NewTextHandler(&text, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.run(ctx) }()
		before := p.now.Load()

		broken := healthySample()
		broken.services = append(broken.services, nil)
		b.publish(broken)
		time.Sleep(time.Minute)
		if p.now.Load() != before || p.panics.Load() != 1 {
			t.Errorf("after a fault: another page %v, %d panics", p.now.Load() != before, p.panics.Load())
		}
		for _, want := range []string{`level=ERROR msg="rendering panicked" panic="runtime error: invalid memory address`, `level=ERROR msg="page not rendered" err="there is a fault in it"`} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("log lacks %s:\n%s", want, text.String())
			}
		}
		b.publish(deadSample())
		time.Sleep(time.Minute)
		if !strings.Contains(string(p.now.Load().page.plain.body), "The system is down") {
			t.Error("the next page does not come")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A request that does not end is broken off, whatever of it is slow.
func TestSlowRequests(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	srv := newServer(rig.reporter, slog.New(slog.DiscardHandler))
	if srv.ReadTimeout <= 0 || srv.ReadTimeout > 30*time.Second || srv.WriteTimeout <= 0 || srv.IdleTimeout <= 0 || srv.MaxHeaderBytes <= 0 {
		t.Errorf("limits are missing: %+v", srv)
	}
	srv.ReadTimeout, srv.IdleTimeout = 800*time.Millisecond, 800*time.Millisecond
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(limitListener{inner, newConnLimits(100)})
	t.Cleanup(func() { srv.Close() })
	const head = "POST /reporter/web/jobs/ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic OnRvay9lbitzZWNyZXQ=\r\n"
	const report = `{"replica":"r","interval":30,"load":{"cpu":0,"ram":0}}`
	for _, tt := range []struct {
		name, sent string
		want       []int
	}{
		{"nothing", "", nil},
		{"half a line", "POST /rep", []int{400}},
		{"half a header", head, nil},
		{"half a body", head + "Content-Length: 1000\r\n\r\n{", []int{400}},
		{"half a chunk", head + "Transfer-Encoding: chunked\r\n\r\n3e8\r\n{", []int{400}},
		{"no next request", head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(report), report), []int{200}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			answers, closed := converse(t, inner.Addr().String(), tt.sent, time.Minute)
			var codes []int
			for _, a := range answers {
				codes = append(codes, a.code)
			}
			if !slices.Equal(codes, tt.want) || !closed {
				t.Errorf("answers %v, closed %v; want %v", codes, closed, tt.want)
			}
		})
	}
}

// A hall is a server with few places for connections.
type hall struct {
	t  *testing.T
	ln limitListener
}

func newHall(t *testing.T, most, share int) *hall {
	inner, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := limitListener{inner, newConnLimits(most)}
	ln.share = share
	srv := newServer(newTestPage(t, healthySample()).handler(nil), slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		ln.mu.Lock()
		defer ln.mu.Unlock()
		for deadline := time.Now().Add(5 * time.Second); ln.all.Len()+len(ln.from) > 0; {
			if time.Now().After(deadline) {
				t.Errorf("%d connections of %d addresses are left over", ln.all.Len(), len(ln.from))
				break
			}
			ln.mu.Unlock()
			time.Sleep(time.Millisecond)
			ln.mu.Lock()
		}
	})
	return &hall{t, ln}
}

// A guest is one connection.
type guest struct {
	net.Conn
	answers *bufio.Reader
}

// come connects from an address of the loopback network and waits until the
// server has the connection.
func (h *hall) come(from string) *guest {
	h.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	_, port, _ := net.SplitHostPort(h.ln.Addr().String())
	c, err := d.Dial("tcp4", "127.0.0.1:"+port)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Second))
	h.lastIs(c)
	return &guest{c, bufio.NewReader(c)}
}

// lastIs waits until the connection is the last one of the listener's list.
func (h *hall) lastIs(c net.Conn) {
	h.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		h.ln.mu.Lock()
		last := h.ln.all.Back()
		h.ln.mu.Unlock()
		if last != nil && last.Value.(*conn).RemoteAddr().String() == c.LocalAddr().String() {
			return
		}
	}
	h.t.Fatalf("%v does not become the last connection", c.LocalAddr())
}

// ask makes a request and reports whether it was answered.
func (g *guest) ask() bool {
	io.WriteString(g, "GET /status/text HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, err := http.ReadResponse(g.answers, nil)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(resp.Body)
	return err == nil && string(body) == "healthy"
}

// idle waits until the server knows that n of its connections were served.
func (h *hall) idle(g *guest) { h.lastIs(g) }

// closed reports whether the server closed the connection.
func (g *guest) closed() bool {
	g.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := g.answers.ReadByte()
	return err != nil && !strings.Contains(err.Error(), "timeout")
}

// An address that has all its places loses the connection that was of no use
// for longest; others lose none.
func TestConnsOfOneAddress(t *testing.T) {
	h := newHall(t, 100, 3)
	neighbour := h.come("127.0.0.2")
	useful, slow, slower := h.come("127.0.0.1"), h.come("127.0.0.1"), h.come("127.0.0.1")
	io.WriteString(slow, "GET / HT")
	if !useful.ask() {
		t.Fatal("no answer")
	}
	h.idle(useful)
	newest := h.come("127.0.0.1")
	if !slow.closed() {
		t.Error("the oldest one that never asked is still there")
	}
	last := h.come("127.0.0.1")
	if !slower.closed() {
		t.Error("the second oldest one is still there")
	}
	for i, g := range []*guest{neighbour, useful, newest, last} {
		if !g.ask() {
			t.Errorf("connection %d was not served", i)
		}
	}
}

// Where all places are taken, the oldest connection of all goes.
func TestConnsInAll(t *testing.T) {
	h := newHall(t, 3, 2)
	a, b, c := h.come("127.0.0.1"), h.come("127.0.0.2"), h.come("127.0.0.3")
	if !a.ask() {
		t.Fatal("no answer")
	}
	h.idle(a)
	d := h.come("127.0.0.4")
	if !b.closed() {
		t.Error("the oldest one is still there")
	}
	for i, g := range []*guest{a, c, d} {
		if !g.ask() {
			t.Errorf("connection %d was not served", i)
		}
	}
}

func TestShares(t *testing.T) {
	for most, want := range map[int]int{16: 16, 40: 16, 100: 25, 8192: 2048, 4: 4} {
		if got := newConnLimits(most).share; got != want {
			t.Errorf("of %d connections one address may have %d, want %d", most, got, want)
		}
	}
}

// All listeners of a server share its places for connections.
func TestLimitsOverListeners(t *testing.T) {
	limits := newConnLimits(2)
	limits.share = 2
	var first net.Conn
	for i := range 3 {
		inner, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer inner.Close()
		client, err := net.Dial("tcp4", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := (limitListener{inner, limits}).Accept(); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = client
		}
	}
	first.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := first.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the first of three connections is still open where two may be: %v", err)
	}
}
