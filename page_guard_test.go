package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A lockedBuffer may be written to while it is read.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// A handler that panics breaks off its own request, and says so in the log.
func TestHandlerPanic(t *testing.T) {
	var text lockedBuffer
	srv := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fault":
			var none []int
			none[2]++
		case "/abort":
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, "fine")
	}), slog.New(slog.NewTextHandler(&text, nil)))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	for range 2 {
		for _, path := range []string{"/fault", "/abort"} {
			// Other than a GET, a POST is not repeated by the client.
			if resp, err := http.Post("http://"+ln.Addr().String()+path, "", nil); err == nil {
				t.Errorf("%s: %s", path, resp.Status)
				resp.Body.Close()
			}
		}
		resp, err := http.Get("http://" + ln.Addr().String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != "fine" {
			t.Errorf("got %q", body)
		}
		resp.Body.Close()
	}
	if n := srv.Handler.(*guard).panics.Load(); n != 2 {
		t.Errorf("%d panics counted, want 2", n)
	}
	const want = `level=ERROR msg="request broken off, as its handler panicked" method=POST path=/fault panic="runtime error: index out of range [2] with length 0" stack=`
	if log := text.String(); strings.Count(log, "\n") != 2 || strings.Count(log, want) != 2 || !strings.Contains(log, "page_guard_test.go") {
		t.Errorf("log:\n%s", log)
	}
}

func TestServerLog(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	srv := newServer(http.NotFoundHandler(), log)
	srv.ErrorLog.Print("http: Accept error: accept4: too many open files; retrying in 5ms")
	srv.ErrorLog.Print("http: superfluous call")
	for _, want := range []string{
		`level=WARN msg="no connection accepted" err="http: Accept error: accept4: too many open files; retrying in 5ms"` + "\n",
		`level=DEBUG msg=connection err="http: superfluous call"` + "\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("log lacks %s:\n%s", want, text.String())
		}
	}
}

// A page that cannot be rendered leaves the one before it up, and the next
// one comes again.
func TestRenderPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text lockedBuffer
		b := newBoard(healthySample())
		p, err := newPage(b, slog.New(slog.NewTextHandler(&text, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.run(ctx) }()
		before := p.now.Load()

		broken := healthySample()
		broken.services = append(broken.services, nil)
		b.publish(broken)
		time.Sleep(time.Minute)
		if p.now.Load() != before || p.panics.Load() != 1 {
			t.Errorf("after a fault: another page %v, %d panics", p.now.Load() != before, p.panics.Load())
		}
		for _, want := range []string{`level=ERROR msg="rendering panicked" panic="runtime error: invalid memory address`, `level=ERROR msg="page not rendered" err="there is a fault in it"`} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("log lacks %s:\n%s", want, text.String())
			}
		}
		b.publish(deadSample())
		time.Sleep(time.Minute)
		if !strings.Contains(string(p.now.Load().page.plain.body), "The system is down") {
			t.Error("the next page does not come")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A request that does not end is broken off, whatever of it is slow.
func TestSlowRequests(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	srv := newServer(rig.reporter, slog.New(slog.DiscardHandler))
	if srv.ReadTimeout <= 0 || srv.ReadTimeout > 30*time.Second || srv.WriteTimeout <= 0 || srv.IdleTimeout <= 0 || srv.MaxHeaderBytes <= 0 {
		t.Errorf("limits are missing: %+v", srv)
	}
	srv.ReadTimeout, srv.IdleTimeout = 800*time.Millisecond, 800*time.Millisecond
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(limitListener{inner, newConnLimits(100)})
	t.Cleanup(func() { srv.Close() })
	const head = "POST /reporter/web/jobs/ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic OnRvay9lbitzZWNyZXQ=\r\n"
	const report = `{"replica":"r","interval":30,"load":{"cpu":0,"ram":0}}`
	for _, tt := range []struct {
		name, sent string
		want       []int
	}{
		{"nothing", "", nil},
		{"half a line", "POST /rep", []int{400}},
		{"half a header", head, nil},
		{"half a body", head + "Content-Length: 1000\r\n\r\n{", []int{400}},
		{"half a chunk", head + "Transfer-Encoding: chunked\r\n\r\n3e8\r\n{", []int{400}},
		{"no next request", head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(report), report), []int{200}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			answers, closed := converse(t, inner.Addr().String(), tt.sent, time.Minute)
			var codes []int
			for _, a := range answers {
				codes = append(codes, a.code)
			}
			if !slices.Equal(codes, tt.want) || !closed {
				t.Errorf("answers %v, closed %v; want %v", codes, closed, tt.want)
			}
		})
	}
}
