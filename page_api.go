package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"vigil/notify"
)

const (
	// maxRequest is the size limit of a request's body.
	maxRequest = 64 << 10

	// answerTimeout is how long a request waits for the aggregator. That
	// answers within milliseconds, but pauses during a reload.
	answerTimeout = 10 * time.Second
)

// A refusal is an HTTP answer that rejects a request.
type refusal struct {
	code   int
	text   string
	header string // one header field more, or ""
	value  string
	faults []string // of a config, a line each
}

func (r *refusal) Error() string { return r.text }

func refuse(code int, format string, args ...any) error {
	return &refusal{code: code, text: fmt.Sprintf(format, args...)}
}

var (
	errNoRoute = refuse(http.StatusNotFound, "no such route: PROTOCOL.md lists them")
	errBusy    = refuse(http.StatusServiceUnavailable, "the monitor is stopping or too busy: try again")
)

// allow returns nil if the request's method is one of methods, written as in
// an Allow header field.
func allow(r *http.Request, methods string) error {
	for m := range strings.SplitSeq(methods, ", ") {
		if r.Method == m {
			return nil
		}
	}
	return &refusal{code: http.StatusMethodNotAllowed, text: "method not allowed: " + methods + " only", header: "Allow", value: methods}
}

// refusalOf returns the HTTP answer for an error, nil for nil. It maps the
// errors of everything below the HTTP edge.
func refusalOf(err error) *refusal {
	if err == nil {
		return nil
	}
	if no, ok := errors.AsType[*refusal](err); ok {
		return no
	}
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, errInvalid):
		code = http.StatusBadRequest
	case errors.Is(err, errNotFound):
		code = http.StatusNotFound
	case errors.Is(err, errConflict):
		code = http.StatusConflict
	case errors.Is(err, errFull), errors.Is(err, errUnsaved):
		code = http.StatusInsufficientStorage
	}
	return &refusal{code: code, text: err.Error()}
}

// respond answers a request of the APIs: for an error with its refusal,
// otherwise with body as JSON, or without a body if that is nil.
func respond(w http.ResponseWriter, body any, err error) {
	code := http.StatusOK
	if no := refusalOf(err); no != nil {
		if no.header != "" {
			w.Header().Set(no.header, no.value)
		}
		code, body = no.code, map[string]string{"error": no.text}
		if no.faults != nil {
			body = map[string]any{"error": no.text, "errors": no.faults}
		}
	}
	if body == nil {
		return
	}
	respondJSON(w, code, body)
}

func respondJSON(w http.ResponseWriter, code int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	w.Write(append(text, '\n'))
}

// readBody reads a body of at most that many bytes, whatever type it claims.
func readBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	if r.ContentLength > most {
		return nil, errTooLarge(most)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, errTooLarge(most)
		}
		return nil, refuse(http.StatusBadRequest, "the body did not arrive whole")
	}
	return body, nil
}

func errTooLarge(most int64) error {
	return refuse(http.StatusRequestEntityTooLarge, "the body is over %d bytes", most)
}

// A segment is one segment of a path, decoded. Some clients write a space as a
// plus there, as in a query; so plus is what the segment means to them.
type segment struct{ text, plus string }

// segments takes the path apart, with or without a slash at its end. It reads
// the path as it came: an id may contain slashes, percent-encoded.
func segments(u *url.URL) ([]segment, error) {
	path := u.RawPath // as it came, or "" where that is Path in the usual encoding
	if path == "" {
		path = u.EscapedPath()
	}
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	all := make([]segment, 0, 4)
	for raw := range strings.SplitSeq(path, "/") {
		text, err := url.PathUnescape(raw)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "the path is not well percent-encoded")
		}
		s := segment{text, text}
		if strings.Contains(raw, "+") {
			s.plus, _ = url.QueryUnescape(raw) // valid, as the path is
		}
		all = append(all, s)
	}
	return all, nil
}

// sameSite returns the refusal of a request that would change something and
// that a browser makes for a page of another site: it sends the credentials
// that it has cached. The page's configured address counts as this site, as a
// proxy may pass on another Host.
func sameSite(r *http.Request, pageURL string) error {
	var protection http.CrossOriginProtection
	if protection.Check(r) == nil || originIs(r, pageURL) {
		return nil
	}
	return refuse(http.StatusForbidden, "requests from pages of other sites are refused")
}

// originIs reports whether the Origin of a request is that of a URL.
func originIs(r *http.Request, rawURL string) bool {
	origin, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || origin.Host == "" {
		return false
	}
	u, err := url.Parse(rawURL)
	return err == nil && strings.EqualFold(origin.Host, u.Host) && strings.EqualFold(origin.Scheme, u.Scheme)
}

// localOrigin reports whether a request comes from no browser, or from a page
// that may read what only this machine can reach: one of the status page's
// address, of this machine or of the IP address asked for. A name in the Host
// field proves nothing: that of an attacker's site may lead here (DNS
// rebinding).
func localOrigin(r *http.Request, pageURL string) bool {
	text := r.Header.Get("Origin")
	if text == "" || originIs(r, pageURL) {
		return true
	}
	origin, err := url.Parse(text)
	if err != nil || origin.Scheme != "http" && origin.Scheme != "https" {
		return false
	}
	host := origin.Hostname()
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && (ip.IsLoopback() || origin.Host == r.Host)
}

// send gives an event to the aggregator.
func send(ctx context.Context, events chan<- event, ev event) error {
	select {
	case events <- ev:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	select {
	case events <- ev:
		return nil
	case <-ctx.Done():
		return errBusy
	}
}

// ask sends an event and waits for the answer on done; when done is nil there
// is none.
func ask(ctx context.Context, events chan<- event, ev event, done <-chan error) error {
	if err := send(ctx, events, ev); err != nil || done == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errBusy
	}
}

// A tokenCheck checks the token of an API: the password of basic
// authentication, with any user name.
type tokenCheck struct {
	api  string // "Reporter", "Manager"
	key  string // of the token in the config
	hash [sha256.Size]byte
	open bool // there is a token; without one nobody gets in
}

func newTokenCheck(api, key string, token notify.Secret) tokenCheck {
	return tokenCheck{api, key, sha256.Sum256([]byte(token)), token != ""}
}

var errWrongToken = refuse(http.StatusForbidden, "wrong token")

// authorize returns nil, or the refusal of a request without the right token.
// It compares hashes, so its timing reveals nothing about the token, not even
// its length.
func (g *tokenCheck) authorize(r *http.Request) error {
	if !g.open {
		return refuse(http.StatusForbidden, "the %s API is switched off: set %s in the config to use it", g.api, g.key)
	}
	_, password, ok := r.BasicAuth()
	if !ok {
		return &refusal{
			code:   http.StatusUnauthorized,
			text:   "basic authentication is required, with the token as the password",
			header: "Www-Authenticate",
			value:  `Basic realm="Vigil ` + g.api + ` API", charset="UTF-8"`,
		}
	}
	hash := sha256.Sum256([]byte(password))
	if subtle.ConstantTimeCompare(hash[:], g.hash[:]) != 1 {
		return errWrongToken
	}
	return nil
}

const (
	// wrongTokens is how many wrong tokens an address may send in each
	// throttleWindow before it is told to wait.
	wrongTokens    = 10
	throttleWindow = time.Minute

	// throttleSlots bounds the memory: 8 bytes for each.
	throttleSlots = 4096
)

// A throttle slows down clients that send wrong tokens. The right token always
// passes, from any address: behind a reverse proxy all clients share one, and
// none may lock the others out.
//
// Addresses share a fixed number of counters, by a hash that nobody outside can
// predict. When two share a counter, a wrong token may get 429 instead of 403.
type throttle struct {
	log    *slog.Logger
	seed   maphash.Seed
	slots  [throttleSlots]atomic.Uint64 // number of the window << 32 | wrong tokens in it
	warned atomic.Int64                 // number of the window that has its warning
	wrong  atomic.Int64                 // wrong tokens since the start
}

func newThrottle(log *slog.Logger) *throttle {
	return &throttle{log: log, seed: maphash.MakeSeed()}
}

// judge returns err, the outcome of r. After too many wrong tokens it returns a
// refusal instead that says how long to wait.
func (t *throttle) judge(r *http.Request, err error) error {
	if !errors.Is(err, errWrongToken) && !errors.Is(err, errUnknownPing) {
		return err
	}
	wait := t.count(clientNet(r.RemoteAddr), time.Now())
	if wait == 0 {
		return err
	}
	return &refusal{
		code:   http.StatusTooManyRequests,
		text:   "too many wrong tokens from this address: wait before the next one",
		header: "Retry-After",
		value:  strconv.Itoa(int(math.Ceil(wait.Seconds()))),
	}
}

// count counts a wrong token and returns how long its sender must wait, 0 for
// not at all. It logs one address in each window.
func (t *throttle) count(from netip.Prefix, now time.Time) time.Duration {
	t.wrong.Add(1)
	const width = int64(throttleWindow / time.Second)
	window := now.Unix() / width
	slot := t.slot(from)
	for {
		old := slot.Load()
		next := uint64(window)<<32 | 1
		if old>>32 == uint64(window) {
			next = old + 1
			if uint32(old) > wrongTokens {
				next = old // further ones make no difference
			}
		}
		if !slot.CompareAndSwap(old, next) {
			continue
		}
		if uint32(next) <= wrongTokens {
			return 0
		}
		if last := t.warned.Load(); last != window && t.warned.CompareAndSwap(last, window) {
			t.log.Warn("wrong tokens keep coming", "from", from, "since start", t.wrong.Load())
		}
		return time.Unix((window+1)*width, 0).Sub(now)
	}
}

func (t *throttle) slot(from netip.Prefix) *atomic.Uint64 {
	return &t.slots[maphash.Comparable(t.seed, from)%throttleSlots]
}

// clientNet returns the network of a client: its IPv4 address, or the /64 of its
// IPv6 address, as one customer commonly has all of it. It is the zero prefix
// when addr is not an address.
func clientNet(addr string) netip.Prefix {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return netip.Prefix{}
	}
	return clientPrefix(ap.Addr())
}

func clientPrefix(ip netip.Addr) netip.Prefix {
	bits := 64
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		bits = 32
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// connNet is clientNet of a connection.
func connNet(c net.Conn) netip.Prefix {
	if addr, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return clientPrefix(addr.AddrPort().Addr())
	}
	return netip.Prefix{}
}
