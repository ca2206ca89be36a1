package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// An answer arrives whole whatever its length, also on a connection that is
// used again.
func TestAnswerLengths(t *testing.T) {
	for _, size := range []int{0, 1, 2047, 3900, 3950, 4000, 4095, 4096, 4097, 4200, 8193, 70000} {
		want := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		d := &reply{plain: newVariant(want, "tag"), fields: []field{newField("Content-Type", "text/plain")}}
		addr := serveTest(t, http.HandlerFunc(d.serve))
		client := http.Client{Timeout: 10 * time.Second}
		for range 2 {
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

		// Requests that do not wait for the answers.
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\n"+
			"GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"tag\"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		in := bufio.NewReader(c)
		for i, method := range []string{"GET", "HEAD", "GET", "GET"} {
			res, err := http.ReadResponse(in, &http.Request{Method: method})
			if err != nil {
				t.Fatalf("%d bytes, answer %d: %v", size, i, err)
			}
			got, err := io.ReadAll(res.Body)
			if whole := i == 0 || i == 3; err != nil || whole && !bytes.Equal(got, want) || !whole && len(got) > 0 {
				t.Errorf("%d bytes, answer %d: %d bytes, %v", size, i, len(got), err)
			}
		}
		if more, err := io.ReadAll(in); err != nil || len(more) > 0 {
			t.Errorf("%d bytes: %d more after the last answer, %v", size, len(more), err)
		}
	}
}

// An answer whose body is known leaves with the first write, and what package
// net/http writes of it later is not sent again.
func TestAnswerInOneWrite(t *testing.T) {
	inner, other := net.Pipe()
	defer other.Close()
	c := &conn{Conn: inner, body: []byte("body of the answer")}
	sent := make(chan string)
	go func() {
		b, _ := io.ReadAll(other)
		sent <- string(b)
	}()
	const first = "HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\nbody"
	for _, p := range []string{first, " of the", " answer", "HTTP/1.1 204 No Content\r\n\r\n"} {
		if n, err := c.Write([]byte(p)); n != len(p) || err != nil {
			t.Errorf("%q: %d, %v", p, n, err)
		}
		if p == first && c.sent != len(" of the answer") {
			t.Errorf("%d bytes were sent ahead", c.sent)
		}
	}
	inner.Close()
	if got, want := <-sent, first+" of the answerHTTP/1.1 204 No Content\r\n\r\n"; got != want {
		t.Errorf("sent %q, want %q", got, want)
	}
}

// Framing is judged the same in whatever pieces the bytes arrive.
func TestFraming(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, tt := range []struct {
		name, raw string
		clear     bool
	}{
		{"nothing", "", true},
		{"one request", get, true},
		{"two requests", get + get, true},
		{"half a request", get[:9], true},
		{"a body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n\n \t\r\n" + get, true},
		{"no body", "POST / HTTP/1.1\r\ncontent-length:0\r\n\r\n" + get, true},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", false},
		{"HTTP/0.9", "GET /\r\n\r\n", false},
		{"an empty line first", "\r\n" + get, false},
		{"a bare LF", "GET / HTTP/1.1\r\nHost: x\n\r\n", false},
		{"a folded line", "GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n", false},
		{"a folded length", "GET / HTTP/1.1\r\nContent-Length:\r\n\t5\r\n\r\n", false},
		{"a coding", "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", false},
		{"a coding with a space", "GET / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n", false},
		{"05", "GET / HTTP/1.1\r\nContent-Length: 05\r\n\r\n", false},
		{"+5", "GET / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", false},
		{"-1", "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", false},
		{"no digits", "GET / HTTP/1.1\r\nContent-Length: \r\n\r\n", false},
		{"the same length twice", "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", false},
		{"a list of lengths", "GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", false},
		{"odd behind a body", "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET / HTTP/1.0\r\n\r\n", false},
		{"a line without an end", "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", maxFramedLine) + "\r\n", false},
	} {
		for _, piece := range []int{1, 2, 7, 1 << 20} {
			var f framing
			clear := true
			for rest := []byte(tt.raw); clear && len(rest) > 0; {
				n := min(piece, len(rest))
				clear = f.scan(rest[:n])
				rest = rest[n:]
			}
			if clear != tt.clear {
				t.Errorf("%s in pieces of %d: clear %v, want %v", tt.name, piece, clear, tt.clear)
			}
		}
	}
}

// clearRequests counts the requests in front of raw that no two programs read
// differently.
func clearRequests(raw string) (n int) {
	for {
		head, rest, ok := strings.Cut(raw, "\r\n\r\n")
		if !ok {
			return n
		}
		lines := strings.Split(head, "\r\n")
		body := 0
		for i, line := range lines {
			name, value, colon := strings.Cut(strings.ToLower(line), ":")
			switch {
			case strings.Contains(line, "\n"),
				i == 0 && !strings.HasSuffix(line, " HTTP/1.1"),
				i > 0 && (!colon || strings.ContainsAny(name, " \t") || name == "transfer-encoding"):
				return n
			case i > 0 && name == "content-length":
				length, err := strconv.Atoi(strings.Trim(value, " \t"))
				if err != nil || body > 0 || fmt.Sprint(length) != strings.Trim(value, " \t") || length < 0 {
					return n
				}
				body = length
			}
		}
		n++
		if len(rest) < body {
			return n
		}
		raw = rest[body:]
	}
}

// Whatever a client sends, the page and its APIs give it at most one answer more
// than it has sent clear requests, for nothing behind an odd one is taken for a
// request; no request panics, and no answer has a secret.
func FuzzRawRequests(f *testing.F) {
	const hidden = "GET /status/text HTTP/1.1\r\nHost: x\r\n\r\n"
	const report = `{"replica":"r","interval":30,"load":{"cpu":0.1,"ram":0.1}}`
	post := func(path, token, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			path, base64.StdEncoding.EncodeToString([]byte(":"+token)), len(body), body)
	}
	conf := pingConfig()
	reporter, manager := string(conf.Server.ReporterToken), string(conf.Server.ManagerToken)
	for _, raw := range []string{
		hidden + hidden,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" + hidden,
		"POST / HTTP/1.0\r\nContent-Length: 48\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n" + hidden + strings.Repeat("x", 20),
		"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + hidden,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 05\r\n\r\nhello" + hidden,
		"POST / HTTP/1.1\r\nHost: x\r\nX: a\r\n Content-Length: 40\r\n\r\n" + hidden,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n 5\r\n\r\nhello" + hidden,
		"POST / HTTP/1.1\r\nHost: x\r\nX: a\nContent-Length: 5\r\n\r\nhello" + hidden,
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"\r\n" + hidden + hidden,
		post("/reporter/web/jobs/", reporter, report) + hidden,
		post("/reporter/web/jobs/", "wrong", report) + hidden,
		strings.Replace(post("/reporter/web/far/", reporter, `{"replica":"r","interval":30,"health":"dead"}`), "Host: x", "Host: x\r\nExpect: 100-continue", 1),
		strings.Replace(post("/reporter/web/jobs/r/", reporter, ""), "POST", "DELETE", 1),
		post("/manager/announcement/", manager, `{"title":"t","text":"x","selectors":["web"]}`) + hidden,
		post("/manager/silences/", manager, `{"selectors":["*"],"seconds":1}`),
		post("/mcp/probes", "", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_report","arguments":{}}}`),
		"POST /ping/" + pingToken + "/3 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nfull" + hidden,
		"GET /node/web/%2e%2e%2f HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip;q=0.1\r\nIf-None-Match: W/\"x\", *\r\nAccept-Language: xx,de;q=2\r\n\r\n" + hidden,
		"GET /badge/uptime/web/core?x=%zz HTTP/1.1\r\nHost: x\r\nRange: bytes=5-1\r\n\r\n",
	} {
		f.Add([]byte(raw))
	}
	rig := newAPIRig(f, conf)
	logged := new(lockedBuffer)
	log := slog.New(slog.NewTextHandler(logged, nil))
	p, err := newPage(rig.snaps, log)
	if err != nil {
		f.Fatal(err)
	}
	addr := serveLogged(f, p.handler(rig.rooms), log)
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		c.Write(raw) // the server may close before it has read everything
		c.(*net.TCPConn).CloseWrite()
		in := bufio.NewReader(c)
		answers := 0
		for {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				break
			}
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode >= 200 {
				answers++
			}
			if resp.StatusCode == http.StatusInternalServerError {
				t.Errorf("%s to %q", body, raw)
			}
			// Names may be sent back, so that only what was not sent is a secret.
			for _, secret := range []string{reporter, manager, pingToken} {
				if bytes.Contains(body, []byte(secret)) && !bytes.Contains(raw, []byte(secret)) {
					t.Errorf("%q is answered with a secret: %s", raw, body)
				}
			}
		}
		if said := logged.String(); strings.Contains(said, "panic") {
			t.Errorf("after %q the log has %s", raw, said)
		}
		if most := clearRequests(string(raw)) + 1; answers > most {
			t.Errorf("%d answers to %q, at most %d expected", answers, raw, most)
		}
	})
}
