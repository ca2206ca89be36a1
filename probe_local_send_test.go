package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestSendDialogue(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		user, password, _ := r.BasicAuth()
		got = append(got, fmt.Sprintf("%s %s %q %q %q %q %s", r.Method, r.RequestURI, user, password,
			r.Header.Get("Content-Type"), r.Header.Get("User-Agent"), body))
		if _, ok := r.Header["Idempotency-Key"]; ok {
			t.Error("an Idempotency-Key was sent")
		}
	}))
	defer server.Close()
	m := &master{newMasterClient(), server.URL + "/sub", `to"ken: ü`}
	const agent = `"vigil/` + version + `"`
	for _, test := range []struct {
		err  error
		want string
	}{
		{m.report(t.Context(), "lan", "gate", reportMessage{Replica: "icmp://192.0.2.1", Interval: 120, Health: "dead"}),
			`POST /sub/reporter/lan/gate/ "" "to\"ken: ü" "application/json" ` + agent +
				` {"replica":"icmp://192.0.2.1","interval":120,"health":"dead"}`},
		{m.report(t.Context(), "a/b c", "ü+..", reportMessage{Replica: `"`, Interval: 1, Load: &loadMessage{0, 1.25}}),
			`POST /sub/reporter/a%2Fb%20c/%C3%BC%2B../ "" "to\"ken: ü" "application/json" ` + agent +
				` {"replica":"\"","interval":1,"load":{"cpu":0,"ram":1.25}}`},
		{m.flush(t.Context(), "..", "%2e", "http://a:80/?b=c#d"),
			`DELETE /sub/reporter/%2E%2E/%252e/http:%2F%2Fa:80%2F%3Fb=c%23d/ "" "to\"ken: ü" "" ` + agent + ` `},
	} {
		if test.err != nil {
			t.Fatal(test.err)
		}
		if got[0] != test.want {
			t.Errorf("got\n%s\nwant\n%s", got[0], test.want)
		}
		got = got[1:]
	}
}

// The Reporter API of this program understands what is sent.
func TestSendToReporterAPI(t *testing.T) {
	conf := apiConfig()
	ids := []string{"lan", "a/b", "a b", "a+b", "..", ".", "%2e", "ü?#", "a.b:c;d,e", "c++"}
	conf.Services = nil
	for _, id := range ids {
		conf.Services = append(conf.Services, &Service{ID: id, Nodes: []*Node{
			{ID: id, Mode: modeLocal}, {ID: id + "!", Mode: modePush},
		}})
	}
	rig := newAPIRig(t, conf)
	m := &master{newMasterClient(), rig.URL, conf.Server.ReporterToken}
	for _, id := range ids {
		err := errors.Join(
			m.report(t.Context(), id, id, reportMessage{Replica: id, Interval: 30, Health: "sick"}),
			m.report(t.Context(), id, id+"!", reportMessage{Replica: id, Interval: 30, Load: &loadMessage{0.5, 0.25}}),
		)
		if err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	rig.until(t, "sick", func(s *snapshot) bool { return s.status == sick })
	for _, id := range ids {
		if err := errors.Join(m.flush(t.Context(), id, id, id), m.flush(t.Context(), id, id+"!", id)); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	rig.until(t, "healthy", func(s *snapshot) bool { return s.status == healthy })

	for _, test := range []struct {
		err  error
		kind sendFault
		text string
	}{
		{m.flush(t.Context(), "lan", "lan", "a"), faultNode, `HTTP 404: no replica "a" of node "lan"`},
		{m.report(t.Context(), "none", "lan", reportMessage{Replica: "a", Health: "dead"}), faultNode, `HTTP 404: no service "none"`},
		{m.report(t.Context(), "lan", "lan!", reportMessage{Replica: "a", Health: "dead"}), faultNode,
			`HTTP 412: health reports are for local nodes: "lan!" is a push node`},
		{(&master{m.client, m.base, "wrong"}).report(t.Context(), "lan", "lan", reportMessage{}), faultAccess, "HTTP 403: wrong token"},
	} {
		err, ok := errors.AsType[*sendError](test.err)
		if !ok || err.kind != test.kind || err.text != test.text {
			t.Errorf("got %#v, want %v %q", test.err, test.kind, test.text)
		}
	}
}

func TestSendAnswers(t *testing.T) {
	const long = "the answer that does not end, "
	for _, test := range []struct {
		code int
		body string
		kind sendFault
		want string // "" for none
	}{
		{200, "", 0, ""},
		{204, "", 0, ""},
		{200, strings.Repeat(long, 10_000), 0, ""},
		{200, "<!DOCTYPE html><title>Log in</title>", faultAccess, "HTTP 200 with an HTML page: a proxy or another server is in between"},
		{302, "", faultAccess, `HTTP 302: the page has moved to "https://new.example/": name that as the endpoint`},
		{304, "", faultAccess, `HTTP 304: the page has moved to "": name that as the endpoint`},
		{400, `{"error":"replica is longer than 256 bytes"}`, faultNode, "HTTP 400: replica is longer than 256 bytes"},
		{401, "<h1>Who are you?</h1>", faultAccess, "HTTP 401"},
		{403, `{"error":""}`, faultAccess, "HTTP 403"},
		{404, `{"error":["x"]}`, faultNode, "HTTP 404"},
		{405, ``, faultNode, "HTTP 405"},
		{407, ``, faultAccess, "HTTP 407"},
		{408, ``, faultAway, "HTTP 408"},
		{412, `{"error":"a\nb\u0000"}`, faultNode, "HTTP 412: a b"},
		{425, ``, faultAway, "HTTP 425"},
		{429, ``, faultAway, "HTTP 429"},
		{500, strings.Repeat(long, 10_000), faultAway, "HTTP 500"},
		{502, ``, faultAway, "HTTP 502"},
		{507, `{"error":"150000 replicas report already"}`, faultNode, "HTTP 507: 150000 replicas report already"},
	} {
		t.Run(fmt.Sprint(test.code), func(t *testing.T) {
			asked := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				if test.code == 302 {
					w.Header().Set("Location", "https://new.example/")
				}
				w.WriteHeader(test.code)
				io.WriteString(w, test.body)
			}))
			defer server.Close()
			m := &master{newMasterClient(), server.URL, "t0ken"}
			err := m.report(t.Context(), "lan", "gate", reportMessage{Replica: "a"})
			fault, _ := errors.AsType[*sendError](err)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("got %v, want none", err)
			case test.want != "" && (fault == nil || fault.kind != test.kind || fault.text != test.want):
				t.Errorf("got %#v, want %v %q", err, test.kind, test.want)
			}
			if asked != 1 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}

func TestSendConnections(t *testing.T) {
	var connections atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	server := httptest.NewUnstartedServer(handler)
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	m := &master{newMasterClient(), server.URL, "t0ken"}
	report := func() error { return m.report(t.Context(), "lan", "gate", reportMessage{Replica: "a"}) }
	for range 5 {
		if err := report(); err != nil {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("5 reports took %d connections, want 1", n)
	}
	// The server closes the connection just as the next report uses it.
	for range 20 {
		server.CloseClientConnections()
		if err := report(); err != nil {
			t.Fatalf("a connection that the server closed fails a report: %v", err)
		}
	}

	secure := httptest.NewTLSServer(handler)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer secure.Close()
	m.base = secure.URL
	if err := report(); err == nil || err.Error() != "certificate signed by unknown authority" {
		t.Errorf("got %v for a certificate that nobody signed", err)
	}
	server.Close()
	m.base = server.URL
	if err := report(); err == nil || err.Error() != "connection refused" {
		t.Errorf("got %v when nobody listens", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	<-ctx.Done()
	if err := m.report(ctx, "lan", "gate", reportMessage{Replica: "a"}); err == nil || strings.Contains(err.Error(), "t0ken") {
		t.Errorf("got %v at the end of the context", err)
	}
}

func FuzzEscapeSegment(f *testing.F) {
	for _, id := range []string{"", "a", "..", "a/b", "a+b", "%2e", "ü", "\xff", "a b?c#d;e"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		u, err := url.Parse("https://s.example/reporter/" + escapeSegment(id) + "/")
		if err != nil {
			t.Fatal(err)
		}
		parts, err := segments(u)
		if err != nil || len(parts) != 2 || parts[1].text != id || parts[1].plus != id {
			t.Errorf("%q became %+v, %v", id, parts, err)
		}
	})
}
