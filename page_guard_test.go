package main

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
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
