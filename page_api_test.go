package main

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vigil/notify"
)

// apiConfig has a node of each mode and ids that are hard on paths.
func apiConfig() *Config {
	return &Config{
		Server:   Server{ReporterToken: "tok/en+secret", ManagerToken: "manage me", MCP: true},
		Branding: Branding{PageTitle: "Acme Status", PageURL: "https://status.example.net/"},
		Metrics:  Metrics{PushDelayDead: 20 * time.Second, LocalDelayDead: 40 * time.Second, CPUSickAbove: 0.9, RAMSickAbove: 0.9},
		Services: []*Service{
			{ID: "web", Label: "Web", Nodes: []*Node{
				{ID: "core", Label: "Core", Mode: modePoll, Targets: []Target{{Raw: "tcp://192.0.2.1:80"}}},
				{ID: "jobs", Label: "Jobs", Mode: modePush},
				{ID: "disk", Label: "Disk", Mode: modeScript, Scripts: []string{"exit 0"}},
				{ID: "far", Label: "Far", Mode: modeLocal},
			}},
			{ID: "relay eu", Nodes: []*Node{
				{ID: "socket client", Mode: modePush},
				{ID: "a/b.c:ü", Mode: modePush},
				{ID: "c+d", Mode: modePush},
				{ID: "c d", Mode: modePush},
			}},
			{ID: "jobs", Nodes: []*Node{{ID: "jobs", Mode: modePush}}},
		},
	}
}

// An apiRig is the APIs on a server of their own, with an aggregator.
type apiRig struct {
	*httptest.Server
	snaps  *snapshots
	events chan event
	asks   chan *reportedNode

	reporter *reporterAPI
	rooms    map[string]http.Handler
}

func newAPIRig(t testing.TB, conf *Config) *apiRig {
	now := time.Now()
	st := newState(conf, now)
	rig := &apiRig{
		snaps:  newSnapshots(st.snapshot(now)),
		events: make(chan event, eventBuffer),
		asks:   make(chan *reportedNode, queueBuffer),
	}
	checks := &probes{poll: &pool{asked: make(chan *order)}, script: &pool{asked: make(chan *order)}}
	throttle := newThrottle(slog.New(slog.DiscardHandler))
	rig.reporter = newReporterAPI(rig.snaps, rig.events, rig.asks, throttle)
	rig.rooms = map[string]http.Handler{
		"reporter": rig.reporter,
		"ping":     newPingAPI(rig.snaps, rig.events, throttle),
		"manager":  newManagerAPI(rig.snaps, rig.events, nil, checks, nil, throttle),
		"mcp":      newMCP(rig.snaps, "1.2.3"),
	}
	rig.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first, _, _ := strings.Cut(r.URL.EscapedPath()[1:], "/")
		rig.rooms[first].ServeHTTP(w, r)
	}))
	ctx := t.Context() // a fuzz target must not ask for it
	var wg sync.WaitGroup
	alerts := make(chan notify.Alert)
	wg.Go(func() {
		if err := (&aggregator{state: st, events: rig.events, alerts: alerts, snaps: rig.snaps, log: slog.New(slog.DiscardHandler)}).run(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		for range alerts {
		}
	})
	for _, pool := range []*pool{checks.poll, checks.script} { // which find out nothing
		wg.Go(func() {
			for {
				select {
				case o := <-pool.asked:
					o.done <- nil
				case <-ctx.Done():
					return
				}
			}
		})
	}
	t.Cleanup(func() { rig.Close(); wg.Wait() }) // the context has ended by then
	return rig
}

// do sends a request with the token as the password and returns the answer.
func (rig *apiRig) do(t testing.TB, method, path, token, body string, fields ...string) (*http.Response, string) {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, rig.URL+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.SetBasicAuth("", token)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := rig.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// until waits for a snapshot that passes the check.
func (rig *apiRig) until(t testing.TB, what string, ok func(*snapshot) bool) *snapshot {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s := rig.snaps.load()
		if ok(s) {
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("%s: never so; now %s", what, statuses(s))
		}
	}
}

// An apiRow is one request and what is to be answered.
type apiRow struct {
	name   string
	method string
	path   string
	token  string
	body   string
	code   int
	want   string // the answer's body, exactly
}

func (rig *apiRig) table(t *testing.T, rows []apiRow) {
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			resp, body := rig.do(t, row.method, row.path, row.token, row.body)
			if resp.StatusCode != row.code {
				t.Errorf("%s %s: %d %s\nwant %d", row.method, row.path, resp.StatusCode, body, row.code)
			}
			if row.code == http.StatusOK && row.want == "" && resp.Header.Get("Content-Length") != "0" {
				t.Errorf("length %q, want an empty body", resp.Header.Get("Content-Length"))
			}
			if body != row.want {
				t.Errorf("answered %s\nwant     %s", body, row.want)
			}
		})
	}
}

// fault is the body of a refusal.
func fault(text string) string { return `{"error":"` + text + `"}` + "\n" }

func TestAuthentication(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	off := apiConfig()
	off.Server.ReporterToken, off.Server.ManagerToken = "", ""
	offRig := newAPIRig(t, off)
	const challenge = `Basic realm="Vigil Reporter API", charset="UTF-8"`
	for _, tc := range []struct {
		name      string
		rig       *apiRig
		header    string
		code      int
		challenge string
		want      string
	}{
		{"none", rig, "", 401, challenge, fault("basic authentication is required, with the token as the password")},
		{"another scheme", rig, "Bearer tok/en+secret", 401, challenge, fault("basic authentication is required, with the token as the password")},
		{"not base64", rig, "Basic ***", 401, challenge, fault("basic authentication is required, with the token as the password")},
		{"no colon", rig, "Basic dG9r", 401, challenge, fault("basic authentication is required, with the token as the password")},
		{"wrong", rig, "Basic Ondyb25n", 403, "", fault("wrong token")},
		{"empty", rig, "Basic Og==", 403, "", fault("wrong token")},
		{"the manager's", rig, "Basic Om1hbmFnZSBtZQ==", 403, "", fault("wrong token")},
		{"right", rig, "Basic OnRvay9lbitzZWNyZXQ=", 200, "", ""},
		{"right, lower case, with a user", rig, "basic YW55Ym9keTp0b2svZW4rc2VjcmV0", 200, "", ""},
		{"switched off", offRig, "Basic OnRvay9lbitzZWNyZXQ=", 403, "", fault("the Reporter API is switched off: set server.reporter_token in the config to use it")},
		{"switched off, empty", offRig, "Basic Og==", 403, "", fault("the Reporter API is switched off: set server.reporter_token in the config to use it")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var fields []string
			if tc.header != "" {
				fields = []string{"Authorization", tc.header}
			}
			resp, body := tc.rig.do(t, "POST", "/reporter/web/jobs/", "", `{"replica":"r","interval":30,"load":{"cpu":0,"ram":0}}`, fields...)
			if resp.StatusCode != tc.code || body != tc.want || resp.Header.Get("WWW-Authenticate") != tc.challenge {
				t.Errorf("%d %q %s\nwant %d %q %s", resp.StatusCode, resp.Header.Get("WWW-Authenticate"), body, tc.code, tc.challenge, tc.want)
			}
		})
	}
	if resp, body := offRig.do(t, "GET", "/manager/announcements/", "", ""); resp.StatusCode != 403 ||
		body != fault("the Manager API is switched off: set server.manager_token in the config to use it") {
		t.Errorf("manager switched off: %d %s", resp.StatusCode, body)
	}
	if resp, _ := rig.do(t, "GET", "/manager/announcements/", "", ""); resp.StatusCode != 401 ||
		resp.Header.Get("WWW-Authenticate") != `Basic realm="Vigil Manager API", charset="UTF-8"` {
		t.Errorf("manager without a token: %d %s", resp.StatusCode, resp.Header.Get("WWW-Authenticate"))
	}
	if resp, _ := rig.do(t, "GET", "/manager/announcements/", "tok/en+secret", ""); resp.StatusCode != 403 {
		t.Errorf("manager with the reporter's token: %d", resp.StatusCode)
	}
}

func TestWrongMethods(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	for _, tc := range []struct{ path, allow string }{
		{"/reporter/web/jobs/", "POST"},
		{"/reporter/web/jobs/r/", "DELETE"},
		{"/manager/announcements/", "GET, HEAD"},
		{"/manager/announcement", "POST"},
		{"/manager/announcement/x/", "GET, HEAD, PUT, DELETE"},
		{"/manager/prober/alerts/", "GET, HEAD"},
		{"/manager/prober/alerts/ignored/", "GET, HEAD, PUT"},
		{"/mcp/probes", "POST"},
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			if strings.Contains(tc.allow, method) {
				continue
			}
			resp, body := rig.do(t, method, tc.path, "", "")
			if resp.StatusCode != 405 || resp.Header.Get("Allow") != tc.allow || body != fault("method not allowed: "+tc.allow+" only") {
				t.Errorf("%s %s: %d Allow %q %s", method, tc.path, resp.StatusCode, resp.Header.Get("Allow"), body)
			}
		}
	}
}

func FuzzSegments(f *testing.F) {
	for _, s := range []string{"/reporter/a%2Fb/c+d/", "/", "", "//", "/a%2", "/a b%2Fc", "/\xff|%2F", "/%C3%BC/x:y.z", "/a/%2e%2e/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		req, err := http.NewRequest("POST", "http://x.example"+path, nil)
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		all, err := segments(req.URL)
		if err != nil {
			t.Fatalf("%q, which net/http takes: %v", path, err)
		}
		raw, _, _ := strings.Cut(path, "#")
		raw, _, _ = strings.Cut(raw, "?")
		if want := strings.Count(strings.TrimSuffix(strings.TrimPrefix(raw, "/"), "/"), "/") + 1; len(all) != want {
			t.Errorf("%q has %d segments, want %d", path, len(all), want)
		}
	})
}

// A browser does not change anything for a page of another site, whatever
// credentials it has cached, and reads nothing for one whose name leads here.
func TestOtherSites(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	const announce = `{"title":"a","text":"b"}`
	host := strings.TrimPrefix(rig.URL, "http://")
	for _, tc := range []struct {
		method, path, token, body string
		host, origin, site        string
		code                      int
	}{
		{"POST", "/manager/announcement/", "manage me", announce, host, "", "", 200},
		{"POST", "/manager/announcement/", "manage me", announce, host, "https://evil.example", "cross-site", 403},
		{"POST", "/manager/announcement/", "manage me", announce, host, "https://evil.example", "", 403},
		{"POST", "/manager/announcement/", "manage me", announce, host, "null", "", 403},
		{"POST", "/manager/announcement/", "manage me", announce, host, "http://" + host, "same-origin", 200},
		{"POST", "/manager/announcement/", "manage me", announce, host, "https://status.example.net", "", 200},
		{"POST", "/manager/announcement/", "manage me", announce, host, "http://status.example.net", "", 403},
		{"PUT", "/manager/prober/alerts/ignored/", "manage me", `{"reminders_seconds":0}`, host, "https://evil.example", "cross-site", 403},
		{"DELETE", "/manager/announcement/x/", "manage me", "", host, "https://evil.example", "cross-site", 403},
		{"GET", "/manager/announcements/", "manage me", "", host, "https://evil.example", "cross-site", 200},
		{"POST", "/reporter/web/jobs/", "tok/en+secret", loadOK, host, "https://evil.example", "cross-site", 403},
		{"POST", "/reporter/web/jobs/", "tok/en+secret", loadOK, host, "", "", 200},
		{"DELETE", "/reporter/web/jobs/r/", "tok/en+secret", "", host, "https://evil.example", "cross-site", 403},
		{"POST", "/mcp/probes", "", ping, "evil.example", "http://evil.example", "", 403},
		{"POST", "/mcp/probes", "", ping, "evil.example:8080", "http://evil.example:8080", "same-origin", 403},
		{"POST", "/mcp/probes", "", ping, "192.0.2.7:8080", "http://192.0.2.7:8080", "", 200},
		{"POST", "/mcp/probes", "", ping, "192.0.2.7:8080", "http://192.0.2.8:8080", "", 403},
		{"POST", "/mcp/probes", "", ping, "evil.example", "", "", 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, rig.URL+tc.path, strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tc.host
		req.Header.Set("Content-Type", "text/plain")
		req.SetBasicAuth("", tc.token)
		if tc.origin != "" {
			req.Header.Set("Origin", tc.origin)
		}
		if tc.site != "" {
			req.Header.Set("Sec-Fetch-Site", tc.site)
		}
		resp, err := rig.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tc.code {
			t.Errorf("%s %s for %q (%s) at %s: %d, want %d", tc.method, tc.path, tc.origin, tc.site, tc.host, resp.StatusCode, tc.code)
		}
	}
}

func TestClientNet(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7:4711":              "192.0.2.7/32",
		"[::ffff:192.0.2.7]:4711":     "192.0.2.7/32",
		"[2001:db8:1:2:3:4:5:6]:4711": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:4711":         "fe80::/64",
		"@":                           "invalid Prefix",
		"":                            "invalid Prefix",
	} {
		if got := clientNet(addr).String(); got != want {
			t.Errorf("%q comes from %s, want %s", addr, got, want)
		}
	}
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		th := newThrottle(slog.New(slog.NewTextHandler(&text, nil)))
		// The other one has a counter of its own, as most have.
		attacker, other := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/64")
		for th.slot(attacker) == th.slot(other) {
			th = newThrottle(th.log)
		}
		time.Sleep(time.Until(time.Now().Truncate(throttleWindow).Add(throttleWindow + 20*time.Second)))
		for i := range wrongTokens {
			if wait := th.count(attacker, time.Now()); wait != 0 {
				t.Fatalf("wrong token %d has to wait for %v", i+1, wait)
			}
		}
		if text.Len() > 0 {
			t.Errorf("warned of a few wrong tokens: %s", text.String())
		}
		for range 1000 {
			if wait := th.count(attacker, time.Now()); wait != 40*time.Second {
				t.Fatalf("one more waits for %v, want 40 s", wait)
			}
		}
		if wait := th.count(other, time.Now()); wait != 0 {
			t.Errorf("another address waits for %v", wait)
		}
		for range wrongTokens {
			th.count(other, time.Now())
		}
		if n := strings.Count(text.String(), "\n"); n != 1 ||
			!strings.Contains(text.String(), `level=WARN msg="wrong tokens keep coming" from=192.0.2.1/32 "since start"=11`) {
			t.Errorf("log:\n%s", text.String())
		}
		time.Sleep(40 * time.Second)
		if wait := th.count(attacker, time.Now()); wait != 0 {
			t.Errorf("in the next window it waits for %v", wait)
		}
		if n := th.wrong.Load(); n != wrongTokens+1000+1+wrongTokens+1 {
			t.Errorf("%d wrong tokens counted", n)
		}
	})
}

// Many wrong tokens, and the right one among them from the same address.
func TestThrottledRequests(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	const report = `{"replica":"r","interval":30,"load":{"cpu":0,"ram":0}}`
	for _, api := range []struct{ method, path, body, token string }{
		{"POST", "/reporter/web/jobs/", report, "tok/en+secret"},
		{"GET", "/manager/announcements/", "", "manage me"},
	} {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 2 * wrongTokens { // more than in two windows
					resp, body := rig.do(t, api.method, api.path, "wrong", api.body)
					switch resp.StatusCode {
					case http.StatusForbidden:
						if body != fault("wrong token") {
							t.Errorf("403 %s", body)
						}
					case http.StatusTooManyRequests:
						if resp.Header.Get("Retry-After") == "" || body != fault("too many wrong tokens from this address: wait before the next one") {
							t.Errorf("429 %q %s", resp.Header.Get("Retry-After"), body)
						}
					default:
						t.Errorf("wrong token: %d", resp.StatusCode)
					}
					if resp, _ := rig.do(t, api.method, api.path, api.token, api.body); resp.StatusCode != http.StatusOK {
						t.Errorf("right token: %d", resp.StatusCode)
					}
				}
			})
		}
		wg.Wait()
		limited := false
		for range 2*wrongTokens + 1 {
			resp, _ := rig.do(t, api.method, api.path, "wrong", api.body)
			limited = limited || resp.StatusCode == http.StatusTooManyRequests
		}
		if !limited {
			t.Errorf("%s: wrong tokens are not throttled", api.path)
		}
		if resp, _ := rig.do(t, api.method, api.path, "", api.body); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("no token: %d, want 401", resp.StatusCode)
		}
	}
}
