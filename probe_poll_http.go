package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxBody      = 1 << 20  // of an answer's body, what is matched
	maxHeader    = 64 << 10 // of an answer's header, what is accepted
	maxRedirects = 10
)

// A transportKey says for which checks a transport opens connections.
type transportKey struct {
	node     *Node // with its own TLS or address family; nil for all others
	away     bool  // to other hosts than the configured one
	protocol int   // 1: HTTP/1 only
}

// proxyContext is the key of the proxy in a context.
type proxyContext struct{}

// transport returns what opens the connections of the node's checks to its host,
// or to another one that a redirect leads to. It keeps neither connections nor
// TLS sessions.
func (p *poller) transport(n *Node, away, onlyHTTP1 bool) *http.Transport {
	var key transportKey
	if n.IPFamily != "" || !sameTLS(&n.TLS, new(TLS)) {
		key.node, key.away = n, away
	}
	if onlyHTTP1 {
		key.protocol = 1
	}
	if t, ok := p.transports.Load(key); ok {
		return t.(*http.Transport)
	}
	family := n.IPFamily
	secure := tlsConfig(&n.TLS, "")
	if away {
		secure.ServerName, secure.Certificates = "", nil
	}
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return p.dialer.dial(ctx, host, port, family)
		},
		Proxy: func(r *http.Request) (*url.URL, error) {
			proxy, _ := r.Context().Value(proxyContext{}).(*url.URL)
			return proxy, nil
		},
		TLSClientConfig:   secure,
		DisableKeepAlives: true,
		// Each connection has buffers of its own: most answers fit in small ones.
		ReadBufferSize:         2 << 10,
		WriteBufferSize:        1 << 10,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		Protocols:              new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(!onlyHTTP1) // over TLS, where the server prefers it
	kept, _ := p.transports.LoadOrStore(key, t)
	return kept.(*http.Transport)
}

// checkHTTP sends one request over a connection of its own, follows redirects
// where the node wants that, and judges the last answer by what the node asks
// for.
func (p *poller) checkHTTP(ctx context.Context, q *inquiry) error {
	u, method := q.target.URL, methodOf(q.node)
	seen := make(map[string]bool) // requests
	for hop := 0; ; hop++ {
		to, err := p.visit(ctx, q, u, method, hop)
		if to == nil || err != nil {
			return err
		}
		if hop > 0 || q.node.NoCacheBuster { // else its query was another one
			seen[method+" "+u.String()] = true
		}
		if seen[to.method+" "+to.url.String()] {
			return badAnswer("redirects lead in a circle")
		}
		if hop == maxRedirects {
			return badAnswer(fmt.Sprintf("more than %d redirects", maxRedirects))
		}
		u, method = to.url, to.method
	}
}

// methodOf returns the method of a node's requests.
func methodOf(n *Node) string {
	switch {
	case n.HTTPMethod != "":
		return n.HTTPMethod
	case n.HTTPMatch != nil || n.JSONMatch != nil:
		return http.MethodGet
	}
	return http.MethodHead
}

// A redirect is where an answer leads to.
type redirect struct {
	url    *url.URL
	method string
}

// visit makes the request of one hop and judges the answer, or returns the
// redirect to follow.
func (p *poller) visit(ctx context.Context, q *inquiry, u *url.URL, method string, hop int) (*redirect, error) {
	n := q.node
	// With an Upgrade field, a browser would ask by HTTP/1, which alone has it.
	_, upgrade := header(n.HTTPHeaders, "Upgrade")
	resp, done, err := p.roundTrip(ctx, q, u, method, hop, upgrade)
	if err != nil && !upgrade && strings.Contains(err.Error(), "HTTP_1_1_REQUIRED") {
		// Agreed on HTTP/2, and then wants none of it for this request.
		resp, done, err = p.roundTrip(ctx, q, u, method, hop, true)
	}
	if err != nil {
		return nil, err
	}
	defer done()
	seen := traceOf(ctx)
	seen.answer(resp)
	if resp.TLS != nil && q.isHome(u) && q.certificate.ends.IsZero() {
		q.certificate = firstToEnd(*resp.TLS)
	}
	if n.FollowRedirects {
		if to, err := redirectOf(resp, u, method); to != nil || err != nil {
			return to, err
		}
	}
	return nil, judgeHTTP(resp, n, n.metrics(&p.metrics), seen)
}

// proxyOf returns the proxy through which the node's checks reach a URL, or nil.
// The environment's is used where the node has no key for it.
func (n *Node) proxyOf(u *url.URL, environment func(*url.URL) (*url.URL, error)) (*url.URL, error) {
	if n.ProxySet {
		return n.Proxy, nil
	}
	return environment(u)
}

// roundTrip sends a request over a new connection. The answer's body can be read
// until done is called.
func (p *poller) roundTrip(ctx context.Context, q *inquiry, u *url.URL, method string, hop int, onlyHTTP1 bool) (resp *http.Response, done func(), err error) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	proxy, err := q.node.proxyOf(u, p.proxy)
	if err != nil {
		return nil, nil, fmt.Errorf("proxy: %w", err)
	}
	if proxy != nil {
		ctx = context.WithValue(ctx, proxyContext{}, proxy)
	}
	if proxy == nil && u.Scheme == "http" {
		req := p.request(ctx, q, u, method, hop, time.Now())
		req.Close = !onlyHTTP1 // with an Upgrade field, the connection is to go on
		return p.roundTripPlain(ctx, q, u.Hostname(), port, req)
	}
	// A connection taken by hand, because HTTP/2 connections of a Transport
	// may serve two checks even with keep-alives off.
	conn, err := p.transport(q.node, !q.isHome(u), onlyHTTP1).NewClientConn(ctx, u.Scheme, net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, nil, err
	}
	resp, err = conn.RoundTrip(p.request(ctx, q, u, method, hop, time.Now()))
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return resp, func() {
		resp.Body.Close()
		conn.Close()
	}, nil
}

// roundTripPlain is roundTrip without TLS. A Transport does the same with two
// goroutines for each connection, which a single request does not need.
func (p *poller) roundTripPlain(ctx context.Context, q *inquiry, host, port string, req *http.Request) (resp *http.Response, done func(), err error) {
	conn, err := p.dialer.dial(ctx, host, port, q.node.IPFamily)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	done = func() {
		stop()
		conn.Close()
	}
	if resp, err = exchange(ctx, conn, req); err != nil {
		done()
		return nil, nil, err
	}
	return resp, done, nil
}

// exchange sends a request over a connection and reads the answer's header.
func exchange(ctx context.Context, conn net.Conn, req *http.Request) (*http.Response, error) {
	w := bufio.NewWriterSize(conn, 1<<10)
	sent := req.Write(w)
	if sent == nil {
		sent = w.Flush()
	}
	limited := &io.LimitedReader{R: conn, N: maxHeader}
	r := bufio.NewReaderSize(limited, 2<<10)
	if _, err := r.Peek(1); err != nil { // else it answered before it had read all
		return nil, cmp.Or(sent, err)
	}
	traceOf(ctx).gotFirstByte()
	for {
		resp, err := http.ReadResponse(r, req)
		switch {
		case err != nil && limited.N <= 0:
			return nil, fmt.Errorf("server response headers exceeded %d bytes; aborted", maxHeader)
		case err != nil:
			return nil, err
		case resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols:
			limited.N = math.MaxInt64 // for the body
			return resp, nil
		}
	}
}

// redirectOf returns where an answer leads to, or nil. A request that is not
// repeated as it was becomes a GET (RFC 9110, section 15.4).
func redirectOf(resp *http.Response, from *url.URL, method string) (*redirect, error) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		if method != http.MethodHead {
			method = http.MethodGet
		}
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	location := resp.Header.Get("Location")
	if location == "" {
		return nil, badAnswerf("HTTP %d without a Location", resp.StatusCode)
	}
	to, err := from.Parse(location)
	if err != nil {
		return nil, badAnswerf("HTTP %d with a broken Location", resp.StatusCode)
	}
	if to.Scheme != "http" && to.Scheme != "https" || to.Hostname() == "" {
		return nil, badAnswerf("HTTP %d to something other than a web server", resp.StatusCode)
	}
	if err := toASCII(to); err != nil {
		return nil, badAnswerf("HTTP %d to a host that is not valid", resp.StatusCode)
	}
	return &redirect{to, method}, nil
}

// judgeHTTP holds an answer against what a node asks for.
func judgeHTTP(resp *http.Response, n *Node, m *Metrics, seen *trace) error {
	if resp.StatusCode < m.HTTPHealthyAbove || resp.StatusCode >= m.HTTPHealthyBelow {
		return badAnswerf("HTTP %d", resp.StatusCode)
	}
	for name, want := range n.HeaderMatch {
		values, ok := resp.Header[http.CanonicalHeaderKey(name)]
		matched := ok && want.MatchString(strings.Join(values, ", "))
		seen.match("http_header_healthy_match."+name, want.String(), matched)
		switch {
		case !ok:
			return badAnswerf("header %s is missing", name)
		case !matched:
			return badAnswerf("header %s did not match", name)
		}
	}
	if n.HTTPMatch == nil && n.JSONMatch == nil {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return fmt.Errorf("reading the body: %w", err)
	}
	if n.HTTPMatch != nil {
		matched := n.HTTPMatch.Match(body[:min(len(body), maxBody)])
		seen.match("http_body_healthy_match", n.HTTPMatch.String(), matched)
		if !matched {
			return badAnswer("body did not match")
		}
	}
	if n.JSONMatch != nil {
		if len(body) > maxBody {
			return badAnswer("JSON body of over 1 MiB")
		}
		return matchJSON(body, n.JSONMatch, seen)
	}
	return nil
}

// request builds the request of a hop of a check made at now. Only the
// configured host is told the node's credentials and headers.
func (p *poller) request(ctx context.Context, q *inquiry, u *url.URL, method string, hop int, now time.Time) *http.Request {
	n, sent := q.node, *u
	sent.User = nil
	sent.RawQuery = encodeQuery(sent.RawQuery)
	if hop == 0 && !n.NoCacheBuster {
		// The seconds keep caches out. They follow the configured query, which is
		// sent byte for byte: servers may sign or compare it.
		if sent.RawQuery != "" {
			sent.RawQuery += "&"
		}
		sent.RawQuery += strconv.FormatInt(now.Unix(), 10)
	}
	req := &http.Request{
		Method:     method,
		URL:        &sent,
		Host:       u.Host,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     make(http.Header, len(n.HTTPHeaders)+3),
	}
	req.Header.Set("User-Agent", p.agent)
	req.Header.Set("Accept", "*/*")
	switch method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		if n.HTTPBody != "" {
			req.Body = io.NopCloser(strings.NewReader(n.HTTPBody))
			req.ContentLength = int64(len(n.HTTPBody))
		}
	}
	if !q.isHome(u) {
		return req.WithContext(ctx)
	}
	if home := q.target.URL; home.User != nil {
		password, _ := home.User.Password()
		req.SetBasicAuth(home.User.Username(), password)
	}
	for key, value := range n.HTTPHeaders {
		if strings.EqualFold(key, "Host") {
			req.Host = value
			continue
		}
		req.Header.Set(key, value)
	}
	return req.WithContext(ctx)
}

// isHome reports whether a URL is of the configured host, and no less secure. Only
// that host is sent the node's credentials, headers and client certificate.
func (q *inquiry) isHome(u *url.URL) bool {
	home := q.target.URL
	return strings.EqualFold(u.Hostname(), home.Hostname()) && (home.Scheme != "https" || u.Scheme == "https")
}

// header returns the value of a field of configured headers, in any letter case.
func header(headers map[string]string, name string) (string, bool) {
	for key, value := range headers {
		if strings.EqualFold(key, name) {
			return value, true
		}
	}
	return "", false
}

// encodeQuery encodes what a query may not hold (RFC 3986, section 3.4), and
// leaves the rest byte for byte as it is.
func encodeQuery(query string) string {
	var b strings.Builder
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// matchJSON checks that each path leads to a value in the body that its
// expression matches.
func matchJSON(body []byte, matches []JSONMatch, seen *trace) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // which stay as they are written
	var root any
	if err := d.Decode(&root); err != nil {
		return badAnswer("body is not JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return badAnswer("body is more than one JSON value")
	}
	for _, m := range matches {
		value, err := walkJSON(root, m.Steps)
		if err != nil {
			return err
		}
		text, err := jsonText(value)
		if err != nil {
			return badAnswerf("JSON: %s %v", m.Path, err)
		}
		matched := m.Match.MatchString(text)
		seen.match("http_json_healthy_match."+m.Path, m.Match.String(), matched)
		if !matched {
			return badAnswerf("JSON: %s is %s, which did not match", m.Path, shorten(text))
		}
	}
	return nil
}

// walkJSON returns the value that the steps lead to; the error says how far they
// led.
func walkJSON(value any, steps []JSONStep) (any, error) {
	led := "the body"
	for i, step := range steps {
		if step.Key != nil {
			object, ok := value.(map[string]any)
			if !ok {
				return nil, badAnswerf("JSON: %s is %s, not an object with %q", led, jsonKind(value), *step.Key)
			}
			if value, ok = object[*step.Key]; !ok {
				return nil, badAnswerf("JSON: %s has no %q", led, *step.Key)
			}
		} else {
			list, ok := value.([]any)
			if !ok {
				return nil, badAnswerf("JSON: %s is %s, not a list", led, jsonKind(value))
			}
			if step.Index >= len(list) {
				return nil, badAnswerf("JSON: %s has %d items, no [%d]", led, len(list), step.Index)
			}
			value = list[step.Index]
		}
		led = jsonPath(steps[:i+1])
	}
	return value, nil
}

// jsonPath writes steps as they stand in a config.
func jsonPath(steps []JSONStep) (path string) {
	for i, step := range steps {
		if step.Key != nil && i > 0 {
			path += "."
		}
		if step.Key != nil && *step.Key != "" && !strings.ContainsAny(*step.Key, jsonMarks) {
			path += *step.Key
		} else {
			path += step.String()
		}
	}
	return path
}

// jsonText returns a value as expressions see it: text as it is, and numbers,
// booleans and null as they are written.
func jsonText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	case nil:
		return "null", nil
	}
	return "", badAnswerf("is %s, not a single value", jsonKind(value))
}

func jsonKind(value any) string {
	switch value.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		return "text"
	case json.Number:
		return "a number"
	case bool:
		return "a boolean"
	}
	return "null"
}
