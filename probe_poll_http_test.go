package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestHTTPRequest(t *testing.T) {
	t.Parallel()
	now := time.Unix(1700000000, 0)
	for _, tt := range []struct {
		name, url string
		node      Node
		want      string
	}{
		{"plain", "http://a.example", Node{},
			"HEAD /?1700000000 HTTP/1.1\nHost: a.example\nUser-Agent: vigil (+https://status.example/)\nAccept: */*\n\n"},
		{"match", "http://a.example:81/up", Node{HTTPMatch: regexp.MustCompile("x")},
			"GET /up?1700000000 HTTP/1.1\nHost: a.example:81\nUser-Agent: vigil (+https://status.example/)\nAccept: */*\n\n"},
		{"query kept byte for byte", "http://a.example/%41/b%2fc?z=%7e&a=1+2&a=%20;&b#part", Node{},
			"HEAD /%41/b%2fc?z=%7e&a=1+2&a=%20;&b&1700000000 HTTP/1.1\nHost: a.example\nUser-Agent: vigil (+https://status.example/)\nAccept: */*\n\n"},
		{"empty query", "http://a.example/?", Node{},
			"HEAD /?1700000000 HTTP/1.1\nHost: a.example\nUser-Agent: vigil (+https://status.example/)\nAccept: */*\n\n"},
		{"method over match", "http://a.example/", Node{HTTPMethod: "POST", HTTPBody: "a=b", HTTPMatch: regexp.MustCompile("x")},
			"POST /?1700000000 HTTP/1.1\nHost: a.example\nUser-Agent: vigil (+https://status.example/)\nContent-Length: 3\nAccept: */*\n\na=b"},
		{"put", "http://a.example/", Node{HTTPMethod: "PUT", HTTPBody: "x"},
			"PUT /?1700000000 HTTP/1.1\nHost: a.example\nUser-Agent: vigil (+https://status.example/)\nContent-Length: 1\nAccept: */*\n\nx"},
		{"patch without a body", "http://a.example/", Node{HTTPMethod: "PATCH"},
			"PATCH /?1700000000 HTTP/1.1\nHost: a.example\nUser-Agent: vigil (+https://status.example/)\nContent-Length: 0\nAccept: */*\n\n"},
		{"no body with get", "http://a.example/", Node{HTTPMethod: "GET", HTTPBody: "x"},
			"GET /?1700000000 HTTP/1.1\nHost: a.example\nUser-Agent: vigil (+https://status.example/)\nAccept: */*\n\n"},
		{"headers", "http://a.example/", Node{HTTPHeaders: map[string]string{"host": "b.example", "user-agent": "probe/1", "X-Key": "k"}},
			"HEAD /?1700000000 HTTP/1.1\nHost: b.example\nUser-Agent: probe/1\nAccept: */*\nX-Key: k\n\n"},
		{"user and password", "http://me:p%40ss@a.example/", Node{},
			"HEAD /?1700000000 HTTP/1.1\nHost: a.example\nUser-Agent: vigil (+https://status.example/)\nAccept: */*\nAuthorization: Basic bWU6cEBzcw==\n\n"},
		{"header over user", "http://me:p@a.example/", Node{HTTPHeaders: map[string]string{"authorization": "Bearer t"}},
			"HEAD /?1700000000 HTTP/1.1\nHost: a.example\nUser-Agent: vigil (+https://status.example/)\nAccept: */*\nAuthorization: Bearer t\n\n"},
		{"IPv6", "http://[::1]:81/", Node{},
			"HEAD /?1700000000 HTTP/1.1\nHost: [::1]:81\nUser-Agent: vigil (+https://status.example/)\nAccept: */*\n\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := pollReplica(t, tt.url, tt.node)
			var b strings.Builder
			if err := testPoller(t, pollMetrics()).request(t.Context(), &inquiry{target: r.target(), node: r.node}, r.target().URL, methodOf(r.node), 0, now).Write(&b); err != nil {
				t.Fatal(err)
			}
			if got := strings.ReplaceAll(b.String(), "\r\n", "\n"); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if r.target().URL.String() != tt.url {
				t.Errorf("the configured URL became %s", r.target().URL)
			}
		})
	}
}

// What a server really receives, with what is added on the way.
func TestHTTPOnTheWire(t *testing.T) {
	t.Parallel()
	var dump []byte
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		r.Header.Set("Got-Host", r.Host)
		r.RequestURI = strings.TrimRight(r.RequestURI, "0123456789") + "N"
		dump, _ = httputil.DumpRequest(r, true)
	}))
	defer srv.Close()
	for _, tt := range []struct {
		headers map[string]string
		want    string
	}{
		{map[string]string{"Host": "b.example"}, "HEAD /a?b=c&N HTTP/1.1\r\nHost: b.example\r\nAccept: */*\r\nConnection: close\r\n" +
			"Got-Host: b.example\r\nUser-Agent: vigil (+https://status.example/)\r\n\r\n"},
		{map[string]string{"Host": "b.example", "Connection": "Upgrade", "Upgrade": "websocket"},
			"HEAD /a?b=c&N HTTP/1.1\r\nHost: b.example\r\nAccept: */*\r\nConnection: Upgrade\r\n" +
				"Got-Host: b.example\r\nUpgrade: websocket\r\nUser-Agent: vigil (+https://status.example/)\r\n\r\n"},
	} {
		r := pollReplica(t, srv.URL+"/a?b=c", Node{HTTPHeaders: tt.headers})
		wantVerdict(t, testPoller(t, pollMetrics()).check(t.Context(), r), healthy, "")
		if string(dump) != tt.want {
			t.Errorf("got\n%s\nwant\n%s", dump, tt.want)
		}
	}
}

func TestHTTPAnswer(t *testing.T) {
	t.Parallel()
	match := func(expr string) Node { return Node{HTTPMatch: regexp.MustCompile(expr)} }
	for _, tt := range []struct {
		name   string
		node   Node
		answer string
		status status
		reason string
	}{
		{"ok", Node{}, "HTTP/1.1 200 OK\r\n\r\n", healthy, ""},
		{"lowest", Node{}, "HTTP/1.0 200 OK\r\n\r\n", healthy, ""},
		{"highest", Node{}, "HTTP/1.1 399 Odd\r\n\r\n", healthy, ""},
		{"redirect is not followed", Node{}, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", healthy, ""},
		{"over", Node{}, "HTTP/1.1 400 Bad\r\n\r\n", dead, "HTTP 400"},
		{"server error", Node{}, "HTTP/1.1 503 Busy\r\n\r\n", dead, "HTTP 503"},
		{"interim answers", Node{}, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", healthy, ""},
		{"body is not read without a match", Node{HTTPMethod: "GET"}, "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", healthy, ""},
		{"head has no body", Node{}, "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", healthy, ""},
		{"match", match("^all (is )?well$"), "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nall is well", healthy, ""},
		{"chunked match", match("well"), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nwe\r\n2\r\nll\r\n0\r\n\r\n", healthy, ""},
		{"no match", match("well"), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", dead, "body did not match"},
		{"status before match", match("well"), "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nwell", dead, "HTTP 500"},
		{"match within the first MiB", match("x$"),
			"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + strings.Repeat(" ", maxBody-1) + strings.Repeat("x", 2000000-maxBody+1), healthy, ""},
		{"match behind the first MiB", match("x"),
			"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + strings.Repeat(" ", maxBody) + strings.Repeat("x", 2000000-maxBody), dead, "body did not match"},
		{"cut body", match("well"), "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nwell", dead, "connection closed in the middle of the answer"},
		{"cut header", Node{}, "HTTP/1.1 200 OK\r\nContent-", dead, `not an HTTP answer: malformed MIME header: missing colon: "Content-"`},
		{"cut in an interim answer", Node{}, "HTTP/1.1 103 Early Hints\r\n\r\n", dead, "connection closed in the middle of the answer"},
		{"nothing", Node{}, "", dead, "connection closed without an answer"},
		{"another protocol", Node{}, "SSH-2.0-OpenSSH_9.2p1\r\n", dead, `not an HTTP answer: malformed HTTP response "SSH-2.0-OpenSSH_9.2p1"`},
		{"endless header", Node{}, "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxHeader), dead,
			"server response headers exceeded 65536 bytes; aborted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr := listening(t, func(conn net.Conn) {
				conn.Read(make([]byte, 4096))
				io.WriteString(conn, tt.answer)
				conn.(*net.TCPConn).CloseWrite()
				silence(conn)
			})
			wantVerdict(t, testPoller(t, pollMetrics()).check(t.Context(), pollReplica(t, "http://"+addr, tt.node)), tt.status, tt.reason)
		})
	}
}

func TestHTTPFailure(t *testing.T) {
	t.Parallel()
	p := testPoller(t, pollMetrics())
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "http://"+closedPort(t), Node{})), dead, "connection refused")
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "http://"+listening(t, reset), Node{})), dead, "connection reset")
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "https://"+listening(t, reset), Node{})), dead, "connection reset")

	plain := listening(t, func(conn net.Conn) {
		conn.Read(make([]byte, 4096))
		io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
	})
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "https://"+plain, Node{})), dead, "plain HTTP where TLS was expected")
	other := listening(t, func(conn net.Conn) { io.WriteString(conn, "220 mail ready\r\n") })
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "https://"+other, Node{})), dead, "not a TLS server")
	gone := listening(t, func(net.Conn) {})
	if got := p.check(t.Context(), pollReplica(t, "https://"+gone, Node{})); got.reason != "connection closed without an answer" && got.reason != "connection reset" {
		t.Errorf("got %v %q", got.status, got.reason)
	}
}

// The body counts towards the time limit too.
func TestHTTPSlowBody(t *testing.T) {
	t.Parallel()
	m := pollMetrics()
	m.PollDelaySick, m.PollDelayDead = 200*time.Millisecond, 300*time.Millisecond
	addr := listening(t, func(conn net.Conn) {
		conn.Read(make([]byte, 4096))
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nwell")
		silence(conn)
	})
	r := pollReplica(t, "http://"+addr, Node{HTTPMatch: regexp.MustCompile("well")})
	wantVerdict(t, testPoller(t, m).check(t.Context(), r), dead, "no answer in 300 ms")
}

// Every check opens its own connection and negotiates TLS from the start, with
// HTTP/2 as well, where checks of one host at the same time could share.
func TestHTTPFreshConnections(t *testing.T) {
	t.Parallel()
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			const checks = 8
			var conns atomic.Int32
			var together atomic.Int32
			all := make(chan struct{})
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Proto != proto || r.TLS.DidResume {
					t.Errorf("%s request, resumed %v", r.Proto, r.TLS.DidResume)
				}
				if together.Add(1) == checks {
					close(all)
				}
				<-all
				io.WriteString(w, "well")
			}))
			srv.EnableHTTP2 = proto == "HTTP/2.0"
			srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
				if s == http.StateNew {
					conns.Add(1)
				}
			}
			srv.StartTLS()
			defer srv.Close()

			p := testPoller(t, pollMetrics())
			roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
			r := pollReplica(t, srv.URL, Node{HTTPMatch: regexp.MustCompile("^well$"), TLS: TLS{Roots: roots}})
			results := make(chan verdict)
			for range checks {
				go func() { results <- p.check(t.Context(), r) }()
			}
			for range checks {
				wantVerdict(t, <-results, healthy, "")
			}
			wantVerdict(t, p.check(t.Context(), r), healthy, "")
			if n := conns.Load(); n != checks+1 {
				t.Errorf("%d connections for %d checks", n, checks+1)
			}
		})
	}
}

// An authority issues the certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, notAfter time.Time) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"},
		NotBefore: time.Now().Add(-1000 * time.Hour), NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

// issue returns a certificate for 127.0.0.1 as changed by change.
func (a authority) issue(t *testing.T, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}
}

func TestHTTPCertificate(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, time.Now().Add(time.Hour))
	stranger := newAuthority(t, time.Now().Add(time.Hour))
	old := newAuthority(t, time.Now().Add(-26*time.Hour))
	trusted := x509.NewCertPool()
	trusted.AddCert(ca.cert)
	trusted.AddCert(old.cert)
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name   string
		ca     authority
		change func(*x509.Certificate)
		status status
		reason string
	}{
		{"good", ca, func(*x509.Certificate) {}, healthy, ""},
		{"expired", ca, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-9*day), time.Now().Add(-3*day-time.Hour)
		},
			dead, "certificate expired 3 d 1 h ago"},
		{"just expired", ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-125 * time.Second) }, dead, "certificate expired 2 min ago"},
		{"not yet valid", ca, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(150*time.Minute+30*time.Second), time.Now().Add(9*day)
		},
			dead, "certificate is valid only in 2 h 30 min"},
		{"wrong name", ca, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"a.example"} },
			dead, "certificate is for a.example, not 127.0.0.1"},
		{"many names", ca, func(c *x509.Certificate) {
			c.IPAddresses, c.DNSNames = []net.IP{net.IPv4(127, 0, 0, 9)}, []string{"a.example", "*.b.example", "c.example", "d.example"}
		}, dead, "certificate is for a.example, *.b.example, c.example, 2 more, not 127.0.0.1"},
		{"no name", ca, func(c *x509.Certificate) { c.IPAddresses = nil }, dead, "certificate names no host"},
		{"unknown authority", stranger, func(*x509.Certificate) {}, dead, "certificate signed by unknown authority"},
		{"expired authority", old, func(*x509.Certificate) {}, dead, `certificate of issuer "Test CA" expired 1 d 2 h ago`},
		{"for another use", ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} },
			dead, "certificate specifies an incompatible key usage"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			srv.TLS = &tls.Config{Certificates: []tls.Certificate{tt.ca.issue(t, tt.change)}}
			srv.Config.ErrorLog = log.New(io.Discard, "", 0)
			srv.StartTLS()
			defer srv.Close()
			p := testPoller(t, pollMetrics())
			wantVerdict(t, p.check(t.Context(), pollReplica(t, srv.URL, Node{TLS: TLS{Roots: trusted}})), tt.status, tt.reason)
		})
	}
}

func TestHTTPTLSRefused(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, time.Now().Add(time.Hour))
	for _, tt := range []struct {
		name   string
		change func(*tls.Config)
		reason string
	}{
		{"old version", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
			"TLS refused by the server: protocol version not supported"},
		{"client certificate", func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 },
			"TLS refused by the server: handshake failure"},
		{"client certificate, TLS 1.3", func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert },
			"TLS refused by the server: certificate required"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			srv.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, func(*x509.Certificate) {})}}
			tt.change(srv.TLS)
			srv.Config.ErrorLog = log.New(io.Discard, "", 0)
			srv.StartTLS()
			defer srv.Close()
			p := testPoller(t, pollMetrics())
			roots := x509.NewCertPool()
			roots.AddCert(ca.cert)
			wantVerdict(t, p.check(t.Context(), pollReplica(t, srv.URL, Node{TLS: TLS{Roots: roots}})), dead, tt.reason)
		})
	}
}

// No reason shows the password of a URL.
func TestHTTPHidesPassword(t *testing.T) {
	t.Parallel()
	p := testPoller(t, pollMetrics())
	for _, raw := range []string{
		"http://me:hunter2@" + closedPort(t), "https://me:hunter2@" + listening(t, reset),
		"http://me:hunter2@" + listening(t, func(c net.Conn) { c.Read(make([]byte, 4096)); io.WriteString(c, "??\r\n\r\n") }),
	} {
		got := p.check(t.Context(), pollReplica(t, raw, Node{}))
		if u, _ := url.Parse(raw); got.status != dead || strings.Contains(got.reason, "hunter2") || strings.Contains(got.reason, u.User.String()) {
			t.Errorf("got %v %q", got.status, got.reason)
		}
	}
}
