package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// What a node's own keys make of an answer.

func jsonMatch(t *testing.T, path, expr string) JSONMatch {
	t.Helper()
	steps, err := parseJSONPath(path)
	if err != nil {
		t.Fatal(err)
	}
	return JSONMatch{Path: path, Steps: steps, Match: regexp.MustCompile(expr)}
}

func TestHTTPMatches(t *testing.T) {
	t.Parallel()
	const body = `{"data":{"items":[{"state":"ok","n":1.50,"big":12345678901234567890,"on":true,"none":null},{"state":"bad"}]},"a.b":{"x y":"z"}}`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/json":
			w.Header().Add("X-Role", "primary")
			w.Header().Add("X-Role", "writable")
			io.WriteString(w, body)
		case "/list":
			io.WriteString(w, `["a"]`)
		case "/text":
			io.WriteString(w, "fine")
		case "/two":
			io.WriteString(w, `{} {}`)
		case "/large":
			io.WriteString(w, `"`+strings.Repeat("x", maxBody)+`"`)
		}
	}))
	defer srv.Close()
	p := testPoller(t, pollMetrics())
	for _, tt := range []struct {
		path, json, expr string
		header           [2]string
		reason           string // "" is healthy
	}{
		{"/json", "data.items[0].state", "^ok$", [2]string{}, ""},
		{"/json", "data.items[0].n", `^1\.50$`, [2]string{}, ""},
		{"/json", "data.items[0].big", `^12345678901234567890$`, [2]string{}, ""},
		{"/json", "data.items[0].on", `^true$`, [2]string{}, ""},
		{"/json", "data.items[0].none", `^null$`, [2]string{}, ""},
		{"/json", `"a.b"."x y"`, `^z$`, [2]string{}, ""},
		{"/json", "data.items[1].state", "^ok$", [2]string{}, "JSON: data.items[1].state is bad, which did not match"},
		{"/json", "data.items[2].state", "", [2]string{}, "JSON: data.items has 2 items, no [2]"},
		{"/json", "data.items.state", "", [2]string{}, `JSON: data.items is a list, not an object with "state"`},
		{"/json", "data.rows[0]", "", [2]string{}, `JSON: data has no "rows"`},
		{"/json", "data[0]", "", [2]string{}, "JSON: data is an object, not a list"},
		{"/json", "data.items[0].state.deep", "", [2]string{}, `JSON: data.items[0].state is text, not an object with "deep"`},
		{"/json", "data.items", "", [2]string{}, "JSON: data.items is a list, not a single value"},
		{"/json", `"a.b"."x z"`, "", [2]string{}, `JSON: "a.b" has no "x z"`},
		{"/list", "[0]", "a", [2]string{}, ""},
		{"/list", "x", "a", [2]string{}, `JSON: the body is a list, not an object with "x"`},
		{"/text", "x", "a", [2]string{}, "body is not JSON"},
		{"/two", "x", "a", [2]string{}, "body is more than one JSON value"},
		{"/large", "x", "a", [2]string{}, "JSON body of over 1 MiB"},
		{"/json", "", "", [2]string{"X-Role", "^primary, writable$"}, ""},
		{"/json", "", "", [2]string{"X-Role", "^secondary"}, "header X-Role did not match"},
		{"/json", "", "", [2]string{"X-Lag", "."}, "header X-Lag is missing"},
	} {
		n := Node{}
		if tt.json != "" {
			n.JSONMatch = []JSONMatch{jsonMatch(t, tt.json, tt.expr)}
		}
		if tt.header[0] != "" {
			n.HeaderMatch = map[string]*regexp.Regexp{tt.header[0]: regexp.MustCompile(tt.header[1])}
		}
		got := p.check(t.Context(), pollReplica(t, srv.URL+tt.path, n))
		if got.reason != tt.reason || (got.status == healthy) != (tt.reason == "") {
			t.Errorf("%s %s %s: %v %q, want %q", tt.path, tt.json, tt.header[0], got.status, got.reason, tt.reason)
		}
	}
}

// Redirects are followed to their end; only the configured host is told what
// belongs to it.
func TestHTTPRedirects(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	note := func(where string, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, password, _ := r.BasicAuth()
		body, _ := io.ReadAll(r.Body)
		query := regexp.MustCompile(`\d{10}`).ReplaceAllString(r.URL.RawQuery, "N")
		seen = append(seen, strings.TrimSpace(fmt.Sprintf("%s %s %s?%s %s %s %s", where, r.Method, r.URL.Path, query, password, r.Header.Get("X-Key"), body)))
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note("other", r)
		w.WriteHeader(http.StatusTeapot)
	}))
	defer other.Close()
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note("home", r)
		to := map[string]string{"/once": "/end", "/away": elsewhere + "/x?a=b", "/circle": "/circle2", "/circle2": "/circle", "/ftp": "ftp://a/", "/bad": "http://[::1", "/none": ""}
		code := http.StatusFound
		if r.URL.Path == "/keep" {
			to["/keep"], code = "/end", http.StatusTemporaryRedirect
		}
		switch {
		case strings.HasPrefix(r.URL.Path, "/down"):
			to[r.URL.Path] = r.URL.Path + "n"
		case r.URL.Path == "/plain" && r.URL.RawQuery != "", r.URL.Path == "/form" && r.Method == http.MethodPost:
			to[r.URL.Path] = r.URL.Path
		}
		if location, ok := to[r.URL.Path]; ok {
			if location != "" {
				w.Header().Set("Location", location)
			}
			w.WriteHeader(code)
		}
	}))
	defer srv.Close()
	home := strings.Replace(srv.URL, "://", "://me:pw@", 1)
	p := testPoller(t, pollMetrics())
	for _, tt := range []struct {
		path   string
		node   Node
		reason string
		seen   []string
	}{
		{"/once", Node{}, "", []string{"home HEAD /once?N pw k", "home HEAD /end? pw k"}},
		{"/once", Node{HTTPMethod: "POST", HTTPBody: "b"}, "", []string{"home POST /once?N pw k b", "home GET /end? pw k"}},
		{"/keep", Node{HTTPMethod: "POST", HTTPBody: "b"}, "", []string{"home POST /keep?N pw k b", "home POST /end? pw k b"}},
		{"/once?q=1", Node{NoCacheBuster: true}, "", []string{"home HEAD /once?q=1 pw k", "home HEAD /end? pw k"}},
		{"/away", Node{}, "HTTP 418", []string{"home HEAD /away?N pw k", "other HEAD /x?a=b"}},
		{"/circle", Node{}, "redirects lead in a circle", []string{"home HEAD /circle?N pw k", "home HEAD /circle2? pw k", "home HEAD /circle? pw k"}},
		{"/circle", Node{NoCacheBuster: true}, "redirects lead in a circle", []string{"home HEAD /circle? pw k", "home HEAD /circle2? pw k"}},
		{"/plain", Node{}, "", []string{"home HEAD /plain?N pw k", "home HEAD /plain? pw k"}},
		{"/form", Node{HTTPMethod: "POST", HTTPBody: "b", NoCacheBuster: true}, "", []string{"home POST /form? pw k b", "home GET /form? pw k"}},
		{"/down", Node{}, "more than 10 redirects", nil},
		{"/ftp", Node{}, "HTTP 302 to something other than a web server", nil},
		{"/bad", Node{}, "HTTP 302 with a broken Location", nil},
		{"/none", Node{}, "HTTP 302 without a Location", nil},
	} {
		seen = nil
		tt.node.FollowRedirects, tt.node.HTTPHeaders = true, map[string]string{"x-key": "k"}
		got := p.check(t.Context(), pollReplica(t, home+tt.path, tt.node))
		if got.reason != tt.reason {
			t.Errorf("%s: %v %q, want %q", tt.path, got.status, got.reason, tt.reason)
		}
		if tt.seen != nil && strings.Join(seen, "\n") != strings.Join(tt.seen, "\n") {
			t.Errorf("%s:\n\t%q\nwant\n\t%q", tt.path, seen, tt.seen)
		}
		if n := len(seen); n > maxRedirects+1 {
			t.Errorf("%s: %d requests", tt.path, n)
		}
	}
}

// A redirect to another host does not take the node's server name and client
// certificate along, and the certificate that is judged is that of the node's
// host, at whichever hop it is shown.
func TestHTTPRedirectsOverTLS(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	ca := newAuthority(t, time.Now().Add(30*day))
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	client := ca.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	var shown sync.Map // whether the client has shown a certificate, by server
	serve := func(name string, left time.Duration, to string) string {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			shown.Store(name, len(r.TLS.PeerCertificates) > 0)
			if to != "" {
				http.Redirect(w, r, to, http.StatusFound)
			}
		}))
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, Certificates: []tls.Certificate{ca.issue(t, func(c *x509.Certificate) {
			c.DNSNames, c.NotAfter = []string{name}, time.Now().Add(left+50*time.Second)
		})}}
		srv.StartTLS()
		t.Cleanup(srv.Close)
		return srv.URL
	}
	other := strings.Replace(serve("localhost", 2*day, ""), "127.0.0.1", "localhost", 1)
	away, end := serve("shop.example", 20*day, other), serve("shop.example", 20*day, "")
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, map[string]string{"/": end, "/other": other}[r.URL.Path], http.StatusFound)
	}))
	defer plain.Close()
	p := testPoller(t, pollMetrics())
	for _, tt := range []struct {
		name, url string
		tls       TLS
		status    status
		reason    string
		shown     map[string]bool
	}{
		{"to another host", away, TLS{ServerName: "shop.example", Certificates: []tls.Certificate{client}, ExpirySickBelow: 21 * day},
			sick, "certificate of shop.example ends in 20 d", map[string]bool{"shop.example": true, "localhost": false}},
		{"to another host, which ends first", away, TLS{ExpirySickBelow: 19 * day}, healthy, "", nil},
		{"to TLS", plain.URL + "/", TLS{ExpirySickBelow: 21 * day}, sick, "certificate of shop.example ends in 20 d", nil},
		{"to TLS of another host", plain.URL + "/other", TLS{ExpirySickBelow: 21 * day}, healthy, "", nil},
	} {
		shown.Clear()
		tt.tls.Roots = roots
		got := p.check(t.Context(), pollReplica(t, tt.url, Node{FollowRedirects: true, TLS: tt.tls}))
		if got.status != tt.status || got.reason != tt.reason {
			t.Errorf("%s: %v %q, want %v %q", tt.name, got.status, got.reason, tt.status, tt.reason)
		}
		for server, want := range tt.shown {
			if got, _ := shown.Load(server); got != want {
				t.Errorf("%s: %s was shown a client certificate: %v, want %v", tt.name, server, got, want)
			}
		}
	}
}

// Proxies of the environment and of the node are used as curl uses them.
func TestHTTPProxy(t *testing.T) {
	var asked atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method + " " + r.RequestURI)
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer proxy.Close()
	u, _ := url.Parse(proxy.URL)
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	t.Setenv("NO_PROXY", "direct.test")
	p := testPoller(t, pollMetrics())
	new(nameServer).serve(t, p)
	for _, tt := range []struct {
		url    string
		node   Node
		asked  string
		reason string
	}{
		{"http://a.test/x", Node{NoCacheBuster: true}, "HEAD http://a.test/x", ""},
		{"https://a.test/x", Node{}, "CONNECT a.test:443", "Forbidden"},
		{"http://direct.test/", Node{}, "", "lookup direct.test: no such host"},
		{"http://a.test/", Node{ProxySet: true}, "", "lookup a.test: no such host"},
		{"http://direct.test/", Node{ProxySet: true, Proxy: u, NoCacheBuster: true}, "HEAD http://direct.test/", ""},
		{"http://a.test/", Node{ProxySet: true, Proxy: &url.URL{Scheme: "http", Host: closedPort(t)}}, "", "proxy: connection refused"},
	} {
		asked.Store("")
		got := p.check(t.Context(), pollReplica(t, tt.url, tt.node))
		if got.reason != tt.reason || asked.Load() != tt.asked {
			t.Errorf("%s: %v %q, the proxy was asked %q; want %q and %q", tt.url, got.status, got.reason, asked.Load(), tt.reason, tt.asked)
		}
	}
}

// A server that takes nothing but RSA key exchange is one that browsers take.
func TestHTTPRSAKeyExchange(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "old"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	for _, suite := range []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_CBC_SHA} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		srv.TLS = &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite},
			Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
		srv.StartTLS()
		wantVerdict(t, testPoller(t, pollMetrics()).check(t.Context(), pollReplica(t, srv.URL, Node{TLS: TLS{Roots: roots}})), healthy, "")
		srv.Close()
	}
	if tlsConfig(new(TLS), "a").Renegotiation != tls.RenegotiateOnceAsClient {
		t.Error("a server may not ask for one renegotiation")
	}
}

// A server that agrees on HTTP/2 and then wants HTTP/1.1 gets that, and a
// configured Upgrade is asked for by HTTP/1.1 at once.
func TestHTTPBackToHTTP1(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, time.Now().Add(time.Hour))
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	conf := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, func(*x509.Certificate) {})}, NextProtos: []string{"h2", "http/1.1"}}
	var versions sync.Map
	addr := listening(t, func(conn net.Conn) {
		c := tls.Server(conn, conf)
		if c.Handshake() != nil {
			return
		}
		if c.ConnectionState().NegotiatedProtocol != "h2" {
			versions.Store("1", true)
			c.Read(make([]byte, 4096))
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			return
		}
		versions.Store("2", true)
		io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
		f := http2.NewFramer(c, c)
		f.WriteSettings()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := frame.(*http2.HeadersFrame); ok {
				f.WriteRSTStream(h.StreamID, http2.ErrCodeHTTP11Required)
			}
		}
	})
	p := testPoller(t, pollMetrics())
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "https://"+addr, Node{TLS: TLS{Roots: roots}})), healthy, "")
	if _, two := versions.Load("2"); !two {
		t.Error("HTTP/2 was not tried")
	}
	versions.Clear()
	upgrade := Node{TLS: TLS{Roots: roots}, HTTPHeaders: map[string]string{"upgrade": "websocket", "Connection": "Upgrade"}}
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "https://"+addr, upgrade)), healthy, "")
	if _, two := versions.Load("2"); two {
		t.Error("an Upgrade was asked for by HTTP/2")
	}
}

// TLS with a node's own terms, and what the time left of a certificate makes of
// it.
func TestPollTLS(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	ca := newAuthority(t, time.Now().Add(30*day))
	trusted := x509.NewCertPool()
	trusted.AddCert(ca.cert)
	forClients := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
	client, foreign := ca.issue(t, forClients), newAuthority(t, time.Now().Add(day)).issue(t, forClients)
	serve := func(left time.Duration, change func(*x509.Certificate), auth uint16) string {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-9*day), time.Now().Add(left+50*time.Second)
			c.DNSNames = []string{"shop.example", "www.shop.example"}
			if change != nil {
				change(c)
			}
		})}}
		if auth != 0 {
			srv.TLS.ClientAuth, srv.TLS.ClientCAs, srv.TLS.MaxVersion = tls.RequireAndVerifyClientCert, trusted, auth
		}
		srv.StartTLS()
		t.Cleanup(srv.Close)
		return srv.URL
	}
	good, soon, over := serve(20*day, nil, 0), serve(6*time.Hour, nil, 0), serve(-3*day, nil, 0)
	named := serve(20*day, func(c *x509.Certificate) { c.IPAddresses = nil }, 0)
	private12, private13 := serve(20*day, nil, tls.VersionTLS12), serve(20*day, nil, tls.VersionTLS13)
	p := testPoller(t, pollMetrics())
	for _, tt := range []struct {
		name   string
		url    string
		tls    TLS
		status status
		reason string
	}{
		{"good", good, TLS{Roots: trusted}, healthy, ""},
		{"unknown authority", good, TLS{}, dead, "certificate signed by unknown authority"},
		{"not verified", good, TLS{SkipVerify: true}, healthy, ""},
		{"ends in 20 days, sick", good, TLS{Roots: trusted, ExpirySickBelow: 21 * day}, sick, "certificate of shop.example ends in 20 d"},
		{"ends in 20 days, enough", good, TLS{Roots: trusted, ExpirySickBelow: 19 * day}, healthy, ""},
		{"ends in 20 days, dead", good, TLS{Roots: trusted, ExpirySickBelow: 30 * day, ExpiryDeadBelow: 21 * day}, dead, "certificate of shop.example ends in 20 d"},
		{"half a day", soon, TLS{Roots: trusted, ExpirySickBelow: day / 2}, sick, "certificate of shop.example ends in 6 h"},
		{"a third of a day", soon, TLS{Roots: trusted, ExpirySickBelow: day / 5}, healthy, ""},
		{"over, not verified", over, TLS{SkipVerify: true, ExpiryDeadBelow: day}, dead, "certificate of shop.example ended 2 d ago"},
		{"over, nobody asks", over, TLS{SkipVerify: true}, healthy, ""},
		{"over", over, TLS{Roots: trusted}, dead, "certificate expired 2 d 23 h ago"},
		{"another name", named, TLS{Roots: trusted}, dead, "certificate is for shop.example, www.shop.example, not 127.0.0.1"},
		{"another name, asked for", named, TLS{Roots: trusted, ServerName: "www.shop.example"}, healthy, ""},
		{"client certificate", private12, TLS{Roots: trusted, Certificates: []tls.Certificate{client}}, healthy, ""},
		{"no client certificate", private12, TLS{Roots: trusted}, dead, "TLS refused by the server: handshake failure"},
		{"client certificate, 1.3", private13, TLS{Roots: trusted, Certificates: []tls.Certificate{client}}, healthy, ""},
		{"foreign client certificate, 1.3", private13, TLS{Roots: trusted, Certificates: []tls.Certificate{foreign}}, dead, "TLS refused by the server: unknown certificate authority"},
		{"no client certificate, 1.3", private13, TLS{Roots: trusted}, dead, "TLS refused by the server: certificate required"},
	} {
		for _, scheme := range []string{"https", "tls"} {
			got := p.check(t.Context(), pollReplica(t, strings.Replace(tt.url, "https", scheme, 1), Node{TLS: tt.tls}))
			if got.status != tt.status || got.reason != tt.reason {
				t.Errorf("%s, %s: %v %q, want %v %q", tt.name, scheme, got.status, got.reason, tt.status, tt.reason)
			}
			if got.status != dead && got.expires.IsZero() {
				t.Errorf("%s, %s: no time of expiry", tt.name, scheme)
			}
		}
	}
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "tls://"+listening(t, func(c net.Conn) { io.WriteString(c, "220 mail\r\n") }), Node{})), dead, "not a TLS server")
}

// Of several ways to an authority the one that holds longest counts, and what
// is on none of them does not.
func TestFirstToEnd(t *testing.T) {
	cert := func(name string, days int) *x509.Certificate {
		return &x509.Certificate{Raw: []byte(name), Subject: pkix.Name{CommonName: name}, NotAfter: time.Unix(0, 0).Add(time.Duration(days) * 24 * time.Hour)}
	}
	leaf, short, long, expired, root := cert("leaf", 60), cert("cross-signed", 10), cert("intermediate", 90), cert("expired", -5), cert("root", 5)
	for _, tt := range []struct {
		name   string
		sent   []*x509.Certificate
		chains [][]*x509.Certificate
		want   string
	}{
		{"leaf first", []*x509.Certificate{leaf, long}, [][]*x509.Certificate{{leaf, long, root}}, "leaf"},
		{"intermediate first", []*x509.Certificate{leaf, short}, [][]*x509.Certificate{{leaf, short, root}}, "cross-signed"},
		{"the better way", []*x509.Certificate{leaf, short, long}, [][]*x509.Certificate{{leaf, short, root}, {leaf, long, root}}, "leaf"},
		{"one that does not matter", []*x509.Certificate{leaf, long, expired}, [][]*x509.Certificate{{leaf, long, root}}, "leaf"},
		{"an authority that was sent", []*x509.Certificate{leaf, long, root}, [][]*x509.Certificate{{leaf, long, root}}, "root"},
		{"its own authority", []*x509.Certificate{leaf}, [][]*x509.Certificate{{leaf}}, "leaf"},
		{"nothing sent", nil, nil, ""},
	} {
		if got := firstToEnd(tls.ConnectionState{PeerCertificates: tt.sent, VerifiedChains: tt.chains}); got.name != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got.name, tt.want)
		}
	}
	// Not verified: the way is found by signatures.
	ca := newAuthority(t, time.Now().Add(time.Hour))
	issued, err := x509.ParseCertificate(ca.issue(t, func(c *x509.Certificate) {
		c.NotAfter, c.Subject.CommonName = time.Now().Add(9*time.Hour), "issued"
	}).Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	stranger := newAuthority(t, time.Now().Add(-time.Hour))
	got := firstToEnd(tls.ConnectionState{PeerCertificates: []*x509.Certificate{issued, stranger.cert, ca.cert}})
	if got.name != "Test CA" || !got.ends.Equal(ca.cert.NotAfter) {
		t.Errorf("not verified: %+v", got)
	}
}

func FuzzMatchJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}]}`), "a[1].b")
	f.Add([]byte(`[[[[`), "[0][0]")
	f.Add([]byte(`{"a":"\ud800"}`), "a")
	f.Fuzz(func(t *testing.T, body []byte, path string) {
		steps, err := parseJSONPath(path)
		if err != nil {
			return
		}
		if err := matchJSON(body, []JSONMatch{{Path: path, Steps: steps, Match: regexp.MustCompile(".")}}, nil); err != nil {
			if reason := reasonFor(err, time.Second, time.Now()); reason != oneLine(reason) || reason == "" {
				t.Errorf("reason %q", reason)
			}
		}
	})
}

func TestCertificateMeter(t *testing.T) {
	var m certificateMeter
	at := func(days int) time.Time { return time.Unix(0, 0).Add(time.Duration(days) * 24 * time.Hour) }
	m.keep(nil)
	m.note(replicaKey{"web", "a", "1"}, at(9))
	m.note(replicaKey{"web", "a", "2"}, at(3))
	m.note(replicaKey{"web", "a", "2"}, time.Time{}) // a check that got no answer
	m.note(replicaKey{"web", "b", "1"}, at(5))
	if got := m.byNode(); len(got) != 2 || !got[nodeKey{"web", "a"}].Equal(at(3)) || !got[nodeKey{"web", "b"}].Equal(at(5)) {
		t.Errorf("got %v", got)
	}
	m.keep(map[replicaKey]*entry{{"web", "a", "1"}: {}})
	if got := m.byNode(); len(got) != 1 || !got[nodeKey{"web", "a"}].Equal(at(9)) {
		t.Errorf("after a reload: %v", got)
	}
}
