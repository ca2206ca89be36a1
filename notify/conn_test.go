package notify

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A peer plays servers from scripts, one connection after the other, inside a
// synctest bubble, where a stalled dialogue runs into its deadline at once.
//
// Lines of a script that begin with "S: " are sent, those between two others in
// one write; lines that begin with "C: " are exactly what the client must send.
// "TLS" shakes hands, which fails at "BADTLS"; "SKIP" reads on without a look,
// "HANG" falls silent until the client goes away, and the end of the script
// closes the connection. A script may also be "REFUSE" or "BLACKHOLE", which no
// connection comes of.
type peer struct {
	t       *testing.T
	eol     string // ends each line on the wire
	cert    tls.Certificate
	alpn    []string
	version uint16   // of TLS at most; 0 is the newest
	scripts []string // one per connection
	dialled []string
	proto   string // what the last handshake agreed on
	done    chan error
}

// dial is the client's dialFunc.
func (p *peer) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	if len(p.dialled) >= len(p.scripts) {
		return nil, fmt.Errorf("dial %s: one connection too many", addr)
	}
	script := p.scripts[len(p.dialled)]
	p.dialled = append(p.dialled, addr)
	switch script {
	case "REFUSE":
		p.done <- nil
		return nil, errors.New("connection refused")
	case "BLACKHOLE":
		<-ctx.Done()
		p.done <- nil
		return nil, ctx.Err()
	}
	client, server := net.Pipe()
	go func() {
		conn := newQueuedConn(server)
		err := p.play(conn, script)
		conn.Close()
		p.done <- err
	}()
	return client, nil
}

// A queuedConn does not wait for the other side to read, as a network does not
// and a net.Pipe does.
type queuedConn struct {
	net.Conn
	queue chan []byte
	done  chan struct{}
}

func newQueuedConn(conn net.Conn) *queuedConn {
	c := &queuedConn{conn, make(chan []byte, 100), make(chan struct{})}
	go func() {
		defer close(c.done)
		for b := range c.queue {
			c.Conn.Write(b) // fails when the other side has left
		}
	}()
	return c
}

func (c *queuedConn) Write(b []byte) (int, error) {
	c.queue <- bytes.Clone(b)
	return len(b), nil
}

// Close waits until everything is read or the other side has left.
func (c *queuedConn) Close() error {
	close(c.queue)
	<-c.done
	return c.Conn.Close()
}

func (p *peer) play(conn net.Conn, script string) error {
	r := bufio.NewReader(conn)
	var out strings.Builder
	flush := func() error {
		defer out.Reset()
		if out.Len() == 0 {
			return nil
		}
		_, err := io.WriteString(conn, out.String())
		return err
	}
	for line := range strings.SplitSeq(strings.Trim(script, "\n"), "\n") {
		verb, text, _ := strings.Cut(strings.TrimLeft(line, "\t"), " ")
		if verb == "S:" {
			out.WriteString(text + p.eol)
			continue
		}
		if err := flush(); err != nil {
			return fmt.Errorf("before %q: %w", line, err)
		}
		switch verb {
		case "":
		case "C:":
			if err := expect(r, text+p.eol); err != nil {
				return err
			}
		case "TLS":
			tc := tls.Server(conn, &tls.Config{
				Certificates: []tls.Certificate{p.cert},
				NextProtos:   p.alpn,
				MaxVersion:   p.version,
			})
			if err := tc.Handshake(); err != nil {
				return fmt.Errorf("handshake: %w", err)
			}
			p.proto = tc.ConnectionState().NegotiatedProtocol
			conn, r = tc, bufio.NewReader(tc)
		case "BADTLS":
			if tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{p.cert}}).Handshake() == nil {
				return errors.New("the handshake worked out")
			}
		case "SKIP":
			r.ReadByte()
			r.Discard(r.Buffered())
		case "HANG":
			io.Copy(io.Discard, r)
			return nil
		default:
			return fmt.Errorf("script: %q", line)
		}
	}
	return flush()
}

// expect reads want, and nothing else.
func expect(r *bufio.Reader, want string) error {
	for i := range len(want) {
		c, err := r.ReadByte()
		if err != nil {
			return fmt.Errorf("client: %w after %q; want %q", err, want[:i], want)
		}
		if c != want[i] {
			rest, _ := r.Peek(r.Buffered())
			return fmt.Errorf("client sent %q, want %q", want[:i]+string(c)+string(rest), want)
		}
	}
	return nil
}

// converse runs notify against the scripts and fails the test when the client
// departs from them or leaves one unused. It returns notify's error and how
// long it took.
func converse(t *testing.T, p *peer, notify func(context.Context) error) (took time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p.done = make(chan error, len(p.scripts))
		start := time.Now()
		err = notify(t.Context())
		took = time.Since(start)
		if len(p.dialled) != len(p.scripts) {
			t.Errorf("%d connections, want %d", len(p.dialled), len(p.scripts))
		}
		for i := range p.dialled {
			if perr := <-p.done; perr != nil {
				t.Errorf("connection %d: %v (notify: %v)", i, perr, err)
			}
		}
	})
	return took, err
}

// An authority issues certificates. They are good from 1999 on, because it is
// the year 2000 in a synctest bubble.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test authority"},
		NotBefore:             time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return authority{key, cert, pool}
}

// issue makes a certificate for host names that is good until the end of
// the year.
func (a authority) issue(t testing.TB, year int, hosts ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: hosts[0]},
		DNSNames:     hosts,
		NotBefore:    a.cert.NotBefore,
		NotAfter:     time.Date(year, 12, 31, 0, 0, 0, 0, time.UTC),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestInterruptOnCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer interruptOn(ctx, client)()
		time.AfterFunc(time.Minute, cancel)
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v, want a deadline error", err)
		}
	})
}

func TestBoundedConn(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		io.WriteString(server, "0123456789")
		server.Close()
	}()
	conn := newBoundedConn(t.Context(), client)
	conn.left = 7
	got, err := io.ReadAll(conn)
	if string(got) != "0123456" || !errors.Is(err, errTooMuch) {
		t.Errorf("read %q, %v; want 7 bytes and %v", got, err, errTooMuch)
	}
}

// A cannedConn has answered before it was asked.
type cannedConn struct {
	net.Conn
	r   io.Reader
	out strings.Builder
}

func (c *cannedConn) dial(context.Context, string, string) (net.Conn, error) { return c, nil }
func (c *cannedConn) Read(b []byte) (int, error)                             { return c.r.Read(b) }
func (c *cannedConn) Write(b []byte) (int, error)                            { return c.out.Write(b) }
func (c *cannedConn) SetDeadline(time.Time) error                            { return nil }
func (c *cannedConn) Close() error                                           { return nil }
func (c *cannedConn) LocalAddr() net.Addr                                    { return nil }
