package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
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
	ln, err := listenHTTP(context.Background(), Server{Inet: "127.0.0.1:0", InetSet: true})
	if err != nil {
		t.Fatal(err)
	}
	srv := newServer(h, slog.New(slog.DiscardHandler))
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
