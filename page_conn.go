package main

import (
	"container/list"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// A conn can send a long answer in one piece. Package net/http writes it in
// two, the first of which is a full buffer of connBuffer bytes with the header
// and the body's start; the system call saved is a tenth of the whole request.
// The server's goroutine of the connection is the only one that writes.
type conn struct {
	net.Conn
	joining bool   // the next full buffer is held until the write after it
	held    []byte // empty, or what is held

	reads, writes deadline

	home         *limitListener
	client       netip.Prefix  // whom it comes from
	inAll, inOwn *list.Element // its places in the listener's lists; nil when it is closed
	touched      time.Time     // when it last became the last one in them
}

// connBuffer is the size of net/http's buffer in front of a connection. Were
// it another, nothing would be held and nothing break.
const connBuffer = 4 << 10

// join says that an answer follows whose body alone is longer than
// connBuffer, so that a full buffer is never the last that is written.
func (c *conn) join() { c.joining = true }

func (c *conn) Write(p []byte) (int, error) {
	defer c.writes.leave()
	if err := c.writes.enter(c.Conn.SetWriteDeadline); err != nil {
		return 0, err
	}
	switch {
	case len(c.held) > 0:
		pieces := net.Buffers{c.held, p}
		head := len(c.held)
		c.held = c.held[:0]
		n, err := pieces.WriteTo(c.Conn)
		return max(int(n)-head, 0), err
	case c.joining && len(p) == connBuffer:
		c.joining = false
		c.held = append(c.held, p...)
		return len(p), nil
	}
	c.joining = false
	return c.Conn.Write(p)
}

func (c *conn) Close() error {
	c.home.remove(c)
	return c.Conn.Close()
}

func (c *conn) Read(p []byte) (int, error) {
	defer c.reads.leave()
	if err := c.reads.enter(c.Conn.SetReadDeadline); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *conn) SetReadDeadline(t time.Time) error { return c.reads.set(t, c.Conn.SetReadDeadline) }
func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.writes.set(t, c.Conn.SetWriteDeadline)
}
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// connKey is the context key of a request's conn.
type connKey struct{}

// withConn lets handlers find the connection that they answer on.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// touchEvery is how long a connection in use may stay where it is in the
// listener's lists: all connections share their lock.
const touchEvery = time.Second

// noteState takes note of a connection whose request is finished.
func noteState(c net.Conn, s http.ConnState) {
	if c, ok := c.(*conn); ok && s == http.StateIdle {
		if now := time.Now(); now.Sub(c.touched) >= touchEvery {
			c.touched = now
			c.home.touch(c)
		}
	}
}
