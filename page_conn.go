package main

import (
	"context"
	"net"
	"sync"
)

// A limitListener accepts a connection only when it has a slot for it; the
// others wait in the kernel's queue.
type limitListener struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	close  sync.Once
}

func newLimitListener(ln net.Listener, conns int) *limitListener {
	return &limitListener{Listener: ln, slots: make(chan struct{}, conns), closed: make(chan struct{})}
}

func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &conn{Conn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limitListener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// A conn can send a long answer in one piece. Package net/http writes it in
// two, the first of which is a full buffer of connBuffer bytes with the header
// and the body's start; the system call saved is a tenth of the whole request.
// The server's goroutine of the connection is the only one that writes.
type conn struct {
	net.Conn
	release func()
	joining bool   // the next full buffer is held until the write after it
	held    []byte // empty, or what is held
}

// connBuffer is the size of net/http's buffer in front of a connection. Were
// it another, nothing would be held and nothing break.
const connBuffer = 4 << 10

// join says that an answer follows whose body alone is longer than
// connBuffer, so that a full buffer is never the last that is written.
func (c *conn) join() { c.joining = true }

func (c *conn) Write(p []byte) (int, error) {
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
	err := c.Conn.Close()
	c.release()
	return err
}

// connKey is the context key of a request's conn.
type connKey struct{}

// withConn lets handlers find the connection that they answer on.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}
