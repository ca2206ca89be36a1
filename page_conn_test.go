package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Whatever an answer's length, on a connection that joins its pieces the same
// bytes arrive as without.
func TestJoinedAnswers(t *testing.T) {
	for _, size := range []int{0, 1, 900, 2047, 2048, 3500, 3900, 4000, 4095, 4096, 4097, 5000, 8191, 8192, 8193, 70000} {
		want := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		// Only the plain variant, so that the length is what it says.
		d := &reply{plain: newVariant(want, "tag"), fields: []field{newField("Content-Type", "text/plain")}}
		addr := serveTest(t, http.HandlerFunc(d.serve))
		client := http.Client{Timeout: 10 * time.Second}
		for range 2 { // the second one on the same connection
			res, err := client.Get("http://" + addr)
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			got, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes: got %d, %v", size, len(got), err)
			}
		}
		client.CloseIdleConnections()
	}
}

// More connections than slots wait, and are served when one goes.
func TestConnLimit(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := newLimitListener(inner, 1)
	srv := &http.Server{Handler: newTestPage(t, healthySample()).handler(nil)}
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Serve(ln) }()
	ask := func(c net.Conn) (string, error) {
		io.WriteString(c, "GET /status/text HTTP/1.1\r\nHost: x\r\n\r\n")
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		buf := make([]byte, 1024)
		n, err := c.Read(buf)
		line, _, _ := strings.Cut(string(buf[:n]), "\r\n")
		return line, err
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := dial()
	if line, err := ask(first); line != "HTTP/1.1 200 OK" {
		t.Fatalf("%q, %v", line, err)
	}
	second := dial()
	answer := make(chan string, 1)
	go func() { line, _ := ask(second); answer <- line }()
	select {
	case line := <-answer:
		t.Errorf("served above the limit: %q", line)
	case <-time.After(100 * time.Millisecond):
	}
	first.Close()
	if line := <-answer; line != "HTTP/1.1 200 OK" {
		t.Errorf("after the first one went: %q", line)
	}
	third := dial() // waits for a slot while the server stops
	srv.Close()
	if err := <-stopped; err != http.ErrServerClosed {
		t.Errorf("stopped: %v", err)
	}
	second.Close()
	third.Close()
}
