package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// What a command says when the other end is not a Vigil that lets it in.
func TestClientErrors(t *testing.T) {
	dead := freeAddress(t)
	answer := func(code int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			if code == http.StatusFound {
				w.Header().Set("Location", "https://sso.example.com/")
			}
			w.WriteHeader(code)
			io.WriteString(w, body)
		}
	}
	const asJSON = "application/json"
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   string // %s is the address
	}{
		{"wrong token", answer(403, asJSON, `{"error":"wrong token"}`), "%s: wrong token: it is not the manager_token of the Vigil that runs there"},
		{"no token taken", answer(401, asJSON, `{"error":"a token is needed"}`), "%s: wrong token: it is not the manager_token of the Vigil that runs there"},
		{"API off", answer(403, asJSON, `{"error":"the Manager API is off: set server.manager_token"}`), "the Manager API is off: set server.manager_token"},
		{"an older Vigil", answer(404, asJSON, `{"error":"no such route: PROTOCOL.md lists them"}`), "%s: the Vigil there is older than this command and has no /manager/reload/: update and restart it"},
		{"a prefix is missing", answer(404, "text/plain", "404 page not found"), "%s: HTTP 404, which is not the answer of a Vigil: is server.path_prefix missing in the address?"},
		{"a proxy's error page", answer(502, "text/html", "<h1>Bad Gateway</h1>"), "%s: HTTP 502, which is not the answer of a Vigil: is a proxy in between, or another program on its port?"},
		{"a proxy's login page", answer(200, "text/html; charset=utf-8", "<h1>Log in</h1>"), "%s answers with an HTML page: a proxy or another server is in between; give the address of Vigil itself with -url"},
		{"a redirect", answer(302, "text/html", ""), "%s redirects to https://sso.example.com/: give the address that it leads to with -url"},
		{"not JSON", answer(200, "text/plain", "hello"), "%s answers with something other than the JSON of a Vigil: invalid character 'h' looking for beginning of value"},
		{"refused", answer(422, asJSON, `{"error":"reload failed","errors":["config.cfg:1: a: is odd","config.cfg:2: b: is odd"]}`), "config.cfg:1: a: is odd\nvigil reload: config.cfg:2: b: is odd"},
		{"cut off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "%s: EOF; is Vigil running there?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("VIGIL_MANAGER_TOKEN", "s3cret")
			server := httptest.NewServer(tt.answer)
			defer server.Close()
			want := tt.want
			if strings.Contains(want, "%s") {
				want = fmt.Sprintf(want, server.URL)
			}
			var out, errs bytes.Buffer
			code := run(t.Context(), []string{"reload", "-url", server.URL + "/"}, &out, &errs)
			if want := "vigil reload: " + want + "\n"; code != exitError || errs.String() != want || out.Len() > 0 {
				t.Errorf("exit code %d, %s%swant\n%s", code, &out, &errs, want)
			}
			if strings.Contains(errs.String(), "s3cret") {
				t.Error("the token is shown")
			}
		})
	}
	t.Run("no answer", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		defer server.Close()
		c := &client{bases: []string{server.URL}, token: "s3cret", transport: &http.Transport{DisableKeepAlives: true}}
		_, err := c.ask(t.Context(), 50*time.Millisecond, http.MethodGet, "status/", nil)
		if want := server.URL + ": no answer in time; is Vigil overloaded, or is another program on its port?"; err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	})
	t.Chdir(t.TempDir())
	for _, tt := range []struct {
		token, args string
		code        int
		want        string
	}{
		{"", "-url http://127.0.0.1:1", exitError, "no token: set VIGIL_MANAGER_TOKEN to the manager_token of that Vigil"},
		{"x", "-url ftp://127.0.0.1", exitError, `-url "ftp://127.0.0.1" has a scheme that is not allowed; allowed: an http:// or https:// URL of a page`},
		{"x", "-url http://127.0.0.1:1/?a=b", exitError, `-url "http://127.0.0.1:1/?a=b" has more than a host and a path; allowed: an http:// or https:// URL of a page`},
		{"x", "-url http://" + dead, exitError, "http://" + dead + ": connect: connection refused; is Vigil running there?"},
		{"", "", exitError, "there is no config.cfg in this folder: name the config with -c, or give -url and VIGIL_MANAGER_TOKEN"},
		{"", "-c none.cfg", exitError, "none.cfg: cannot be read: no such file or directory; name an existing file with -c"},
		{"", "now", exitUsage, `unexpected argument "now" (see 'vigil reload -h')`},
		{"", "-jsn", exitUsage, `unknown flag -jsn; did you mean -json? (see 'vigil reload -h')`},
	} {
		t.Setenv("VIGIL_MANAGER_TOKEN", tt.token)
		if tt.token == "" {
			os.Unsetenv("VIGIL_MANAGER_TOKEN")
		}
		var errs bytes.Buffer
		code := run(t.Context(), append([]string{"reload"}, strings.Fields(tt.args)...), io.Discard, &errs)
		if want := "vigil reload: " + tt.want + "\n"; code != tt.code || errs.String() != want {
			t.Errorf("vigil reload %s: exit code %d, %swant\n%s", tt.args, code, &errs, want)
		}
	}
}

// An outage that ends while many are acknowledged keeps none of the others from it.
func TestAckOfMany(t *testing.T) {
	t.Setenv("VIGIL_MANAGER_TOKEN", "x")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method == http.MethodGet:
			io.WriteString(w, `[{"id":"a","end":null},{"id":"b","end":"2026-11-26T22:00:00Z"},{"id":"c","end":null},{"id":"d","end":null}]`)
		case r.URL.Path != "/manager/outage/a/ack/" && r.URL.Path != "/manager/outage/d/ack/":
			w.WriteHeader(http.StatusConflict)
			io.WriteString(w, `{"error":"this outage is over"}`)
		}
	}))
	defer server.Close()
	for args, want := range map[string]string{"": "Acknowledged 2 outages.\n", " -json": "{\n  \"outages\": [\n    \"a\",\n    \"d\"\n  ]\n}\n"} {
		var out bytes.Buffer
		if code := run(t.Context(), strings.Fields("ack * Ann -url "+server.URL+args), &out, &out); code != exitOK || out.String() != want {
			t.Errorf("exit code %d, %q", code, &out)
		}
	}
	const id = "0f6ed9cb-8a19-4a62-b8f5-9c1d5b1f6a0e"
	var out bytes.Buffer
	if code := run(t.Context(), []string{"ack", id, "Ann", "-url", server.URL}, &out, &out); code != exitError || out.String() != "vigil ack: this outage is over\n" {
		t.Errorf("one that is over: exit code %d, %q", code, &out)
	}
}

func TestSLAFigures(t *testing.T) {
	for share, want := range map[float64]string{1: "100.000 %", 0.999999: "99.999 %", 0.5: "50.000 %", 0: "0.000 %"} {
		if got := percent(share); got != want {
			t.Errorf("%v is %q, want %q", share, got, want)
		}
	}
	share, outages, longest := 0.98765, 2, int64(90)
	target, left := 99.9, 12.5
	s := slaReport{Month: "2026-11", Services: []slaService{{ID: "web", Target: &target, BudgetLeft: &left, Nodes: []slaNode{
		{ID: "shop", Label: "Shop, \"the\" one", Minutes: slaMinutes{100, 2, 3, 4}, Outages: &outages, Longest: &longest, Availability: &share, AvailabilityWithMaintenance: &share},
		{ID: "new", Label: "New", Minutes: slaMinutes{Unknown: 109}},
	}}}}
	var out bytes.Buffer
	newPrinter(&out).columns(s.rows())
	want := "NODE      AVAILABLE  DOWN min  MAINTENANCE min  UNKNOWN min  OUTAGES  LONGEST  BUDGET LEFT\n" +
		"web:shop  98.765 %   2         3                4            2        1m30s    12.5 min of 99.9 %\n" +
		"web:new   unknown    0         0                109          unknown  unknown\n"
	if out.String() != want {
		t.Errorf("it prints\n%swant\n%s", &out, want)
	}
	out.Reset()
	if err := s.writeCSV(&out); err != nil {
		t.Error(err)
	}
	_, rows, _ := strings.Cut(out.String(), "\n")
	if want := "2026-11,web,shop,\"Shop, \"\"the\"\" one\",100,2,3,4,2,90,0.98765,0.98765\n2026-11,web,new,New,0,0,0,109,,,,\n"; rows != want {
		t.Errorf("CSV\n%swant\n%s", rows, want)
	}
}
