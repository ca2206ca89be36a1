package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// pollMetrics leave time for a slow machine; tests of the delays set their own.
func pollMetrics() Metrics {
	return Metrics{
		PollDelaySick: 20 * time.Second, PollDelayDead: 30 * time.Second,
		HTTPHealthyAbove: 200, HTTPHealthyBelow: 400,
	}
}

func testPoller(t testing.TB, m Metrics) *poller {
	t.Helper()
	pinger := newPinger(slog.New(slog.DiscardHandler))
	p, err := newPoller(m, "https://status.example/", pinger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pinger.close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// pollReplica returns the replica of a node that is n but for its target.
func pollReplica(t testing.TB, raw string, n Node) *replica {
	t.Helper()
	target, err := parseTarget(raw)
	if err != nil {
		t.Fatal(err)
	}
	n.Targets = []Target{target}
	return &replica{service: &Service{ID: "web"}, node: &n, id: raw}
}

func wantVerdict(t *testing.T, got verdict, st status, reason string) {
	t.Helper()
	if got.status != st || got.reason != reason {
		t.Errorf("got %v %q, want %v %q", got.status, got.reason, st, reason)
	}
}

// listening accepts connections at a free port of the loopback interface and
// gives each to serve, which need not close it.
func listening(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return ln.Addr().String()
}

// silence holds a connection open until its client goes away.
func silence(conn net.Conn) {
	b := make([]byte, 512)
	for {
		if _, err := conn.Read(b); err != nil {
			return
		}
	}
}

// reset ends a connection with a reset.
func reset(conn net.Conn) {
	conn.Read(make([]byte, 512))
	conn.(*net.TCPConn).SetLinger(0)
}

// closedPort returns an address where nobody listens.
func closedPort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestPollTCP(t *testing.T) {
	t.Parallel()
	p := testPoller(t, pollMetrics())
	accepted := make(chan net.Conn, 1)
	open := listening(t, func(conn net.Conn) {
		silence(conn)
		accepted <- conn
	})
	r := pollReplica(t, "tcp://"+open, Node{})
	got := p.check(t.Context(), r)
	wantVerdict(t, got, healthy, "")
	if got.latency <= 0 {
		t.Errorf("no latency: %+v", got)
	}
	<-accepted // the prober closed it

	_, port, _ := net.SplitHostPort(open)
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "tcp://localhost:"+port, Node{})), healthy, "")
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "tcp://"+closedPort(t), Node{})), dead, "connection refused")
}

func TestPollTCPv6(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 loopback: ", err)
	}
	defer ln.Close()
	p := testPoller(t, pollMetrics())
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "tcp://"+ln.Addr().String(), Node{})), healthy, "")
}

// Names under .invalid never exist (RFC 6761 section 6.4), and what package
// net refuses without asking does not need a name server to test.
func TestPollLookup(t *testing.T) {
	t.Parallel()
	p := testPoller(t, pollMetrics())
	name := strings.Repeat("x", 64) + ".invalid" // a label is too long
	for _, scheme := range []string{"tcp", "http", "https", "ssh"} {
		got := p.check(t.Context(), pollReplica(t, scheme+"://"+name+":1", Node{}))
		wantVerdict(t, got, dead, "lookup "+name+": no such host")
	}
}

func TestPollCancelled(t *testing.T) {
	t.Parallel()
	p := testPoller(t, pollMetrics())
	for _, scheme := range []string{"http", "https", "ssh"} {
		ctx, cancel := context.WithCancel(t.Context())
		addr := listening(t, func(conn net.Conn) {
			cancel()
			silence(conn)
		})
		start := time.Now()
		p.check(ctx, pollReplica(t, scheme+"://"+addr, Node{}))
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: took %v to notice the end", scheme, took)
		}
	}
}

// Each way of being late is the same: as long as the limit, and said so.
func TestPollNoAnswer(t *testing.T) {
	t.Parallel()
	m := pollMetrics()
	m.PollDelaySick, m.PollDelayDead = 100*time.Millisecond, 200*time.Millisecond
	p := testPoller(t, m)
	addr := listening(t, silence)
	for _, scheme := range []string{"http", "https", "ssh"} {
		got := p.check(t.Context(), pollReplica(t, scheme+"://"+addr, Node{}))
		wantVerdict(t, got, dead, "no answer in 200 ms")
		if got.latency < m.PollDelayDead {
			t.Errorf("%s: gave up after %v", scheme, got.latency)
		}
	}
}

func TestPollSlow(t *testing.T) {
	t.Parallel()
	m := pollMetrics()
	m.PollDelaySick = 100 * time.Millisecond
	p := testPoller(t, m)
	addr := listening(t, func(conn net.Conn) {
		conn.Read(make([]byte, 512))
		time.Sleep(150 * time.Millisecond)
		conn.Write([]byte("HTTP/1.1 204 No Content\r\n\r\n"))
	})
	got := p.check(t.Context(), pollReplica(t, "http://"+addr, Node{}))
	wantVerdict(t, got, sick, "slow: "+seconds(got.latency))
	if got.latency < 150*time.Millisecond {
		t.Errorf("latency %v", got.latency)
	}
}

func TestPollerRefusesPageURL(t *testing.T) {
	t.Parallel()
	_, err := newPoller(pollMetrics(), "https://a/\r\nX: y", newPinger(slog.New(slog.DiscardHandler)))
	if want := `page url "https://a/\r\nX: y" does not fit into a User-Agent header`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestTargetHosts(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"tcp://example.net:80":        "example.net example.net:80",
		"http://Bücher.example":       "xn--bcher-kva.example xn--bcher-kva.example",
		"https://ÜBER.test:8443/":     "xn--ber-goa.test xn--ber-goa.test:8443",
		"tcp://例え.テスト:80":             "xn--r8jz45g.xn--zckzah xn--r8jz45g.xn--zckzah:80",
		"icmp://fe80::1%25eth0":       "",
		"icmp://[fe80::1%25eth0]":     "fe80::1%eth0 [fe80::1%eth0]",
		"ssh://under_score.lan:22":    "under_score.lan under_score.lan:22",
		"http://a\u2028b.example/":    "",
		"https://a.example/x y?a=b c": "a.example a.example",
	} {
		target, err := parseTarget(raw)
		switch {
		case err != nil && want != "":
			t.Errorf("%s: %v", raw, err)
		case err == nil && target.Host+" "+target.URL.Host != want:
			t.Errorf("%s: %q and %q, want %q", raw, target.Host, target.URL.Host, want)
		case err == nil && target.Raw != raw:
			t.Errorf("%s: its id is %q", raw, target.Raw)
		}
	}
}

func scriptReplica(source string) *replica {
	return &replica{
		service: &Service{ID: "web"},
		node:    &Node{ID: "core", Mode: modeScript, Scripts: []string{source}},
		id:      "0",
	}
}

func TestReasonFor(t *testing.T) {
	t.Parallel()
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, tt := range []struct {
		err  error
		want string
	}{
		{dial(os.NewSyscallError("connect", syscall.ENETUNREACH)), "network is unreachable"},
		{dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "no route to host"},
		{dial(os.NewSyscallError("connect", syscall.ETIMEDOUT)), "connection timed out"},
		{dial(os.NewSyscallError("socket", syscall.EMFILE)), "too many open files"},
		{dial(os.NewSyscallError("write", syscall.EPIPE)), "connection closed by the server"},
		{dial(os.ErrDeadlineExceeded), "no answer in 10 s"},
		{fmt.Errorf("wrapped: %w", context.DeadlineExceeded), "no answer in 10 s"},
		{dial(&net.DNSError{Name: "edge-9", Server: "192.0.2.53:53", Err: "no such host", IsNotFound: true}), "lookup edge-9: no such host"},
		{dial(&net.DNSError{Name: "edge-9", Err: "i/o timeout", IsTimeout: true}), "lookup edge-9: no answer in 10 s"},
		{dial(&net.DNSError{Name: "edge-9", Err: "server misbehaving", IsTemporary: true}), "lookup edge-9: server misbehaving"},
		{dial(&net.DNSError{Name: "edge-9", Err: "read udp 127.0.0.1:4->127.0.0.1:53: read: connection refused"}),
			"lookup edge-9: name server: connection refused"},
		{errors.New("local error: tls: bad record MAC"), "TLS: bad record MAC"},
		{errors.New("tls: server selected unsupported protocol version 301"), "TLS version too old: 1.2 or later is required"},
		{errors.New("http2: no cached connection was available"), "no cached connection was available"},
	} {
		if got := reasonFor(tt.err, 10*time.Second, time.Now()); got != tt.want {
			t.Errorf("reasonFor(%v) = %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestSeconds(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		10 * time.Second: "10 s", 6200 * time.Millisecond: "6.2 s", 250 * time.Millisecond: "250 ms",
		300 * time.Second: "300 s", 1049 * time.Millisecond: "1 s", 0: "0 ms",
	} {
		if got := seconds(d); got != want {
			t.Errorf("seconds(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", maxReason)
	for in, want := range map[string]string{
		"":                 "",
		" plain\r\n":       "plain",
		"a\x1b[2Jb\x00":    "a[2Jb",
		"a\tb":             "a b",
		"\xff\xfe":         "??",
		"\u202eevil\u200b": "evil",
		long:               strings.Repeat("ä", (maxReason-3)/2) + "…",
	} {
		if got := oneLine(in); got != want {
			t.Errorf("oneLine(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add("plain")
	f.Add("\xff\x1b[0m" + strings.Repeat("é", 150))
	f.Fuzz(func(t *testing.T, s string) {
		got := oneLine(s)
		if len(got) > maxReason || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x00\x1b") {
			t.Errorf("oneLine(%q) = %q", s, got)
		}
	})
}
