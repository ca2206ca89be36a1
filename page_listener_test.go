package main

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

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
