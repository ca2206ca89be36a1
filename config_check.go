package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// TLS is the TLS settings of a node's checks.
type TLS struct {
	SkipVerify   bool
	Roots        *x509.CertPool // nil: the system's; else these and the system's
	Certificates []tls.Certificate
	ServerName   string // "" is the target's host

	// A certificate that ends sooner than this makes the node sick, or dead.
	// 0 does not look at it.
	ExpirySickBelow, ExpiryDeadBelow time.Duration
}

// A JSONMatch is an expression that one value of a JSON body must match.
type JSONMatch struct {
	Path  string // as configured
	Steps []JSONStep
	Match *regexp.Regexp
}

// A JSONStep leads from a JSON value to one in it: by the key of an object or,
// when Key is nil, by the index of a list.
type JSONStep struct {
	Key   *string
	Index int
}

func (s JSONStep) String() string {
	if s.Key != nil {
		return strconv.Quote(*s.Key)
	}
	return fmt.Sprintf("[%d]", s.Index)
}

// readHTTP reads the keys of HTTP checks: what they send and expect.
func (t *table) readHTTP(n *Node) {
	n.HTTPHeaders = t.headers("http_headers")
	if s := t.text("http_method", ""); t.has("http_method") {
		n.HTTPMethod = strings.ToUpper(s)
		if !slices.Contains(methods, n.HTTPMethod) {
			t.fault("http_method", "%s is unknown; allowed: %s%s", t.show("http_method", s), oneOf(methods), hint(s, methods))
		}
	}
	n.HTTPBody = t.text("http_body", "")
	n.HTTPMatch = t.regexp("http_body_healthy_match")
	n.FollowRedirects = t.yes("http_follow_redirects", false)
	n.NoCacheBuster = !t.yes("http_cache_buster", true)
	n.HeaderMatch = t.headerMatch("http_header_healthy_match")
	n.JSONMatch = t.jsonMatch("http_json_healthy_match")
	for _, key := range []string{"http_body_healthy_match", "http_json_healthy_match"} {
		if n.HTTPMethod == http.MethodHead && t.has(key) {
			t.fault(key, "can never match, because http_method is HEAD and such an answer has no body; allowed: another http_method, or none")
		}
	}
	n.Proxy, n.ProxySet = t.proxy("http_proxy")
}

// methods are the HTTP methods that a poll probe can use.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch}

// regexp reads a regular expression; nil when there is none or an empty one.
func (t *table) regexp(key string) *regexp.Regexp {
	s := t.text(key, "")
	if s == "" {
		return nil
	}
	re, err := regexp.Compile(s)
	if err != nil {
		t.fault(key, "%s is not a regular expression (%s); allowed: the syntax of RE2", t.show(key, s), regexpReason(err))
		return nil
	}
	return re
}

// regexpReason returns what is wrong with a regular expression, without the
// prefix that package regexp/syntax puts before it.
func regexpReason(err error) string {
	return shorten(strings.TrimPrefix(err.Error(), "error parsing regexp: "))
}

// headers reads a table of HTTP headers. Values may be secrets and are not
// shown.
func (t *table) headers(key string) map[string]string {
	headers := make(map[string]string)
	t.eachHeader(key, func(sub *table, name string) {
		value := sub.text(name, "")
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			sub.fault(name, "has a value with a line end or another control character; allowed: one line of text")
		}
		headers[name] = value
	})
	if len(headers) == 0 {
		return nil
	}
	return headers
}

// headerMatch reads a table of expressions that headers must match, by their
// canonical names.
func (t *table) headerMatch(key string) map[string]*regexp.Regexp {
	match := make(map[string]*regexp.Regexp)
	t.eachHeader(key, func(sub *table, name string) {
		if re := sub.regexp(name); re != nil {
			match[http.CanonicalHeaderKey(name)] = re
		}
	})
	if len(match) == 0 {
		return nil
	}
	return match
}

// eachHeader calls f with each key of a table whose keys are HTTP headers.
func (t *table) eachHeader(key string, f func(sub *table, name string)) {
	if !t.has(key) {
		t.get(key) // is known
		return
	}
	sub := t.table(key)
	first := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(sub.vals)) {
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !isToken(name):
			sub.fault(name, "is not a header name; allowed: letters, digits and !#$%%&'*+-.^_`|~")
		case first[canonical] != "":
			sub.fault(name, "is the same header as %q; allowed: each once", first[canonical])
		}
		first[canonical] = name
		f(sub, name)
	}
}

// isToken reports whether s may name a header: RFC 9110 section 5.6.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !isKeyRune(r) && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// jsonMatch reads a table of expressions that values of a JSON body must
// match, by their paths.
func (t *table) jsonMatch(key string) []JSONMatch {
	var all []JSONMatch
	if !t.has(key) {
		t.get(key) // is known
		return nil
	}
	sub := t.table(key)
	for _, path := range slices.Sorted(maps.Keys(sub.vals)) {
		if _, ok := sub.vals[path].(map[string]any); ok {
			sub.get(path)
			sub.fault(path, "is a table; allowed: paths in quotes, like \"data.state\" = \"^ok$\"")
			continue
		}
		re := sub.regexp(path)
		steps, err := parseJSONPath(path)
		if err != nil {
			sub.fault(path, "%v; allowed: keys and indices, like data.items[0].state or data.\"a.b\"", err)
		} else if re != nil {
			all = append(all, JSONMatch{path, steps, re})
		}
	}
	return all
}

// parseJSONPath takes a path into a JSON value apart: keys with dots between,
// in quotes when they hold dots, brackets, quotes or spaces, and indices in
// brackets.
func parseJSONPath(path string) ([]JSONStep, error) {
	var steps []JSONStep
	rest := path
	for first := true; rest != "" || first; first = false {
		if inner, ok := strings.CutPrefix(rest, "["); ok {
			index, after, closed := strings.Cut(inner, "]")
			n, err := strconv.ParseUint(index, 10, 31)
			if !closed || err != nil {
				return nil, errors.New("has an index that is not a number in brackets")
			}
			steps = append(steps, JSONStep{Index: int(n)})
			rest = after
			continue
		}
		if !first {
			if rest[0] != '.' {
				return nil, fmt.Errorf("has %q where a dot or [ is wanted", rest[:1])
			}
			rest = rest[1:]
		}
		key, after, err := cutJSONKey(rest)
		if err != nil {
			return nil, err
		}
		steps = append(steps, JSONStep{Key: &key})
		rest = after
	}
	return steps, nil
}

// jsonMarks end a key that is not in quotes.
const jsonMarks = `.["] `

// cutJSONKey returns the key at the start of a path, and the rest.
func cutJSONKey(path string) (key, rest string, err error) {
	if strings.HasPrefix(path, `"`) {
		quoted, err := strconv.QuotedPrefix(path)
		if err == nil {
			key, err = strconv.Unquote(quoted)
		}
		if err != nil {
			return "", "", errors.New("has a key whose quotes are not closed")
		}
		return key, path[len(quoted):], nil
	}
	end := strings.IndexAny(path, jsonMarks)
	if end < 0 {
		end = len(path)
	}
	if end == 0 {
		return "", "", errors.New("has an empty key")
	}
	return path[:end], path[end:], nil
}

// proxy reads the URL of a proxy, which may hold a password and is not shown.
// An empty one that is set means none.
func (t *table) proxy(key string) (proxy *url.URL, set bool) {
	s := t.text(key, "")
	if s == "" {
		return nil, t.has(key)
	}
	u, err := parseURL(s, "http", "https", "socks5")
	if err != nil {
		t.fault(key, "%v; allowed: an http://, https:// or socks5:// URL of a proxy, or \"\" for none", err)
	}
	return u, true
}

// maxPEM bounds the files of certificates and keys.
const maxPEM = 1 << 20

// readTLS reads how checks speak TLS.
func (t *table) readTLS(c *TLS) {
	c.SkipVerify = !t.yes("tls_verify", true)
	c.Roots = t.roots("tls_ca")
	c.ServerName = t.text("tls_server_name", "")
	if strings.ContainsAny(c.ServerName, "/:@ \t\r\n") {
		t.fault("tls_server_name", "%s is not a host name; allowed: a name like www.example.com", t.show("tls_server_name", c.ServerName))
	}

	certFile, keyFile := t.text("tls_cert", ""), t.text("tls_key", "")
	switch {
	case certFile == "" && keyFile == "":
	case keyFile == "":
		t.fault("tls_cert", "is without tls_key; allowed: both, or none")
	case certFile == "":
		t.fault("tls_key", "is without tls_cert; allowed: both, or none")
	default:
		cert, certOK := t.file("tls_cert", certFile)
		key, keyOK := t.file("tls_key", keyFile)
		if certOK && keyOK {
			t.keyPair(c, cert, key)
		}
	}

	c.ExpirySickBelow = t.days("tls_expiry_sick_below")
	c.ExpiryDeadBelow = t.days("tls_expiry_dead_below")
	if c.ExpirySickBelow > 0 && c.ExpiryDeadBelow > c.ExpirySickBelow {
		t.fault("tls_expiry_dead_below", "%v is over tls_expiry_sick_below, which is %v; allowed: up to that",
			c.ExpiryDeadBelow.Hours()/24, c.ExpirySickBelow.Hours()/24)
	}
}

// keyPair makes a client certificate of the contents of two files.
func (t *table) keyPair(c *TLS, cert, key []byte) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.fault("tls_cert", "cannot be used with tls_key (%s); allowed: a certificate and its key in PEM", strings.TrimPrefix(err.Error(), "tls: "))
		return
	}
	c.Certificates = []tls.Certificate{pair}
}

// roots reads a file of authorities that are trusted in addition to the
// system's.
func (t *table) roots(key string) *x509.CertPool {
	path := t.text(key, "")
	if path == "" {
		return nil
	}
	text, ok := t.file(key, path)
	if !ok {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		t.fault(key, "%s holds no certificate; allowed: a file of certificates in PEM", t.show(key, path))
	}
	return pool
}

// file reads a file that the config names. Many nodes may name the same one.
func (t *table) file(key, path string) ([]byte, bool) {
	text, ok := t.doc.files[path]
	if !ok {
		var err error
		if text, err = readFile(path, maxPEM); err != nil {
			t.fault(key, "%s cannot be read (%v); allowed: a file that this user may read", t.show(key, path), withoutPath(err))
			return nil, false
		}
		if t.doc.files == nil {
			t.doc.files = make(map[string][]byte)
		}
		t.doc.files[path] = text
	}
	return text, true
}

// days reads a time in days, which may be a fraction; 0 when there is none.
func (t *table) days(key string) time.Duration {
	return time.Duration(t.float(key, 0, 0, 3650) * float64(24*time.Hour))
}

// ipFamilies are the values of ip_family; the first one restricts nothing.
var ipFamilies = []string{"any", "ipv4", "ipv6"}

// readNetwork reads how checks reach their targets.
func (t *table) readNetwork(n *Node) {
	if n.IPFamily = t.choice("ip_family", ipFamilies[0], ipFamilies); n.IPFamily == ipFamilies[0] {
		n.IPFamily = ""
	}
	n.DNSMatch = t.regexp("dns_match")
}
