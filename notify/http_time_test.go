package notify

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestTimeForAVerdict: a service has 10 s to let itself be connected to, 10 s to
// take the request, and 30 s to answer it. What it has taken may have arrived.
func TestTimeForAVerdict(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
	take := func(conn net.Conn) {
		r := bufio.NewReader(conn)
		if req, err := http.ReadRequest(r); err == nil {
			io.Copy(io.Discard, req.Body)
		}
	}
	for _, tt := range []struct {
		name  string
		dial  time.Duration // how long connecting takes
		serve func(conn net.Conn)
		class string
		took  time.Duration
	}{
		{"at once", 0, func(c net.Conn) { take(c); io.WriteString(c, ok) }, "accepted", 0},
		{"after 12 s", 0, func(c net.Conn) { take(c); time.Sleep(12 * time.Second); io.WriteString(c, ok) }, "accepted", 12 * time.Second},
		{"each step takes its time", 9 * time.Second, func(c net.Conn) {
			take(c)
			time.Sleep(29 * time.Second)
			io.WriteString(c, ok)
		}, "accepted", 38 * time.Second},
		{"no verdict", 0, func(c net.Conn) { take(c); time.Sleep(time.Hour) }, "unconfirmed", verdictTimeout},
		{"a verdict that comes too late", 0, func(c net.Conn) { take(c); time.Sleep(31 * time.Second); io.WriteString(c, ok) }, "unconfirmed", verdictTimeout},
		{"half an answer", 0, func(c net.Conn) { take(c); io.WriteString(c, "HTTP/1.1 200"); time.Sleep(time.Hour) }, "unconfirmed", verdictTimeout},
		{"a status without its body", 0, func(c net.Conn) {
			take(c)
			io.WriteString(c, strings.TrimSuffix(ok, "ok"))
			time.Sleep(time.Hour)
		}, "accepted", verdictTimeout},
		{"cut after the request", 0, take, "unconfirmed", 0},
		{"cut before the request", 0, func(net.Conn) {}, "retry", 0},
		{"takes nothing", 0, func(net.Conn) { time.Sleep(time.Hour) }, "retry", stepTimeout},
		{"out of reach", time.Hour, nil, "retry", stepTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				transport := &http.Transport{DialContext: func(dialing context.Context, _, _ string) (net.Conn, error) {
					select {
					case <-time.After(tt.dial):
					case <-dialing.Done():
						return nil, dialing.Err()
					}
					client, server := net.Pipe()
					go func() {
						defer server.Close()
						done := make(chan struct{})
						go func() {
							defer close(done)
							tt.serve(server)
						}()
						select {
						case <-done:
						case <-ctx.Done():
						}
					}()
					return client, nil
				}}
				c := Config{Channels: channels(&Webhook{HookURL: "http://hook.example/x"})}
				target := c.Targets("1")[0]
				n := target.Notifier.(httpNotifier)
				n.client = &http.Client{Transport: transport}
				target.Notifier = n
				begin := time.Now()
				err := target.Deliver(ctx, hostileStorm()) // more than any buffer holds
				if took := time.Since(begin); took != tt.took || class(err) != tt.class {
					t.Errorf("%v (%s) after %v, want %s after %v", err, class(err), took, tt.class, tt.took)
				}
				cancel()
				transport.CloseIdleConnections()
				time.Sleep(2 * time.Hour)
			})
		})
	}
}
