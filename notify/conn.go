package notify

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

const (
	// dialogueTimeout bounds connecting over SMTP or XMPP, from the look-up of
	// the server on, and every wait for its next answer after that.
	dialogueTimeout = 10 * time.Second

	// mailVerdictTimeout is how long a mail server may think about a message
	// after the final dot, and chatVerdictTimeout an XMPP server.
	mailVerdictTimeout = 2 * time.Minute
	chatVerdictTimeout = 30 * time.Second

	// farewellTimeout bounds the goodbye that follows a delivery: its outcome
	// is known, so a server that is slow to hang up costs next to nothing.
	farewellTimeout = time.Second

	// dialogueBytes bounds how much a server may send in one dialogue, TLS
	// included. Real servers send 5 to 20 KB.
	dialogueBytes = 256 << 10
)

// A dialFunc opens a connection, as net.Dialer.DialContext does.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

var (
	errTooMuch  = errors.New("the server sent more than any dialogue needs")
	errNoAnswer = errors.New("no answer in time")
)

// A boundedConn reads no more than left bytes in all, and gives each read and
// write a deadline. It is below TLS.
type boundedConn struct {
	net.Conn
	ctx  context.Context // ends it
	left int
	step time.Duration // how long one read may take
	err  error         // the first one: nothing more is said after that
	lost bool          // a write failed, so the server doesn't have everything
}

func newBoundedConn(ctx context.Context, conn net.Conn) *boundedConn {
	return &boundedConn{Conn: conn, ctx: ctx, left: dialogueBytes, step: dialogueTimeout}
}

func (c *boundedConn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTooMuch
	}
	if err := c.begin(c.step); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	c.err = err
	return n, err
}

func (c *boundedConn) Write(b []byte) (int, error) {
	err := c.begin(min(c.step, dialogueTimeout))
	n := 0
	if err == nil {
		n, err = c.Conn.Write(b)
	}
	c.err, c.lost = err, c.lost || err != nil
	return n, err
}

// begin sets the deadline of a step. interruptOn may have set another one, so
// it looks at the context after that.
func (c *boundedConn) begin(limit time.Duration) error {
	if c.err != nil {
		return c.err
	}
	c.Conn.SetDeadline(time.Now().Add(limit))
	return c.ctx.Err()
}

// interruptOn makes every read and write of conn fail once ctx is done. The
// result takes that back.
func interruptOn(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
}

// netError words the end of a dialogue for an operator, and marks errors that
// only the operator can fix as permanent. An expired certificate is not one of
// them: it may be renewed, or this machine's clock set, within the hour.
func netError(err error) error {
	if cert, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
			return cert
		}
		return &PermanentError{cert}
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return &PermanentError{errors.New("the server does not speak TLS on this port")}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return errNoAnswer
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the server hung up: %w", err)
	}
	return err
}

// deliveryID identifies one notification to one recipient. It is the same for
// every try, so that a recipient can recognize a duplicate.
func deliveryID(a Alert, to string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%d\n%s", a.ID, a.Time.UnixNano(), to))
	return hex.EncodeToString(sum[:16])
}
