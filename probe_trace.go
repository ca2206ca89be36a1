package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A trace records what one check sees on its way to the verdict, for people who
// want to know why. A check has one only when its context carries it.
type trace struct {
	mu       sync.Mutex
	began    time.Time
	Lookup   *traceLookup   `json:"lookup,omitempty"`
	Connects []traceConnect `json:"connects,omitempty"`
	Echoes   []traceEcho    `json:"echoes,omitempty"`
	TLS      *traceTLS      `json:"tls,omitempty"`
	Answers  []traceAnswer  `json:"answers,omitempty"` // several when redirects are followed
	DNS      []traceDNS     `json:"dns,omitempty"`     // two when the first was truncated
	Matches  []traceMatch   `json:"matches,omitempty"`

	firstByte time.Duration // of the next answer
}

// A traceLookup is the lookup of the target's name.
type traceLookup struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"`
	Error     string   `json:"error,omitempty"`
	Millis    float64  `json:"ms"`
}

// A traceConnect is one attempt to connect.
type traceConnect struct {
	Address string  `json:"address"`
	Error   string  `json:"error,omitempty"`
	Millis  float64 `json:"ms"`
	Used    bool    `json:"used"`

	network string
	began   time.Time
}

// A traceEcho is one ping of an address.
type traceEcho struct {
	Address string  `json:"address"`
	Error   string  `json:"error,omitempty"`
	Millis  float64 `json:"ms"`
}

// A traceTLS is the TLS handshake with what the server presented.
type traceTLS struct {
	Version      string             `json:"version,omitempty"`
	Protocol     string             `json:"protocol,omitempty"` // by ALPN
	Certificates []traceCertificate `json:"certificates"`
	Error        string             `json:"error,omitempty"`
	Millis       float64            `json:"ms"`

	began time.Time
}

type traceCertificate struct {
	Name     string    `json:"name"`
	Issuer   string    `json:"issuer"`
	NotAfter time.Time `json:"not_after"`
	DaysLeft int       `json:"days_left"` // negative when it has expired
}

// A traceAnswer is one HTTP answer.
type traceAnswer struct {
	Request   string            `json:"request"`
	Protocol  string            `json:"protocol"`
	Status    int               `json:"status"`
	Header    map[string]string `json:"header"` // the fields that matter
	FirstByte float64           `json:"first_byte_ms"`
}

// A traceDNS is one answer of a name server.
type traceDNS struct {
	Server    string   `json:"server"`
	Network   string   `json:"network"` // udp or tcp
	Code      string   `json:"code"`
	Truncated bool     `json:"truncated"`
	Records   []string `json:"records"` // of the type asked for
}

// A traceMatch is something that the config wants an answer to match.
type traceMatch struct {
	Key     string `json:"key"`
	Pattern string `json:"pattern"`
	Matched bool   `json:"matched"`
}

// traceHeaders are the header fields of an answer that help to understand it.
var traceHeaders = []string{"Server", "Content-Type", "Content-Length", "Location", "Retry-After", "WWW-Authenticate", "Via", "Cache-Control"}

// maxTracedRecords is how many records of an answer a trace lists.
const maxTracedRecords = 20

type traceKey struct{}

// withTrace returns a context whose checks are recorded in t.
func withTrace(ctx context.Context, t *trace) context.Context {
	t.began = time.Now()
	ctx = context.WithValue(ctx, traceKey{}, t)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		ConnectStart:         t.connectStart,
		ConnectDone:          t.connectDone,
		TLSHandshakeStart:    t.handshakeStart,
		TLSHandshakeDone:     t.handshakeDone,
		GotFirstResponseByte: t.gotFirstByte,
	})
}

// traceOf returns the trace that ctx carries, or nil, whose methods do nothing.
func traceOf(ctx context.Context) *trace {
	t, _ := ctx.Value(traceKey{}).(*trace)
	return t
}

// millis returns the time since begin in milliseconds, to a tenth.
func millis(begin time.Time) float64 {
	return float64(time.Since(begin).Round(100*time.Microsecond)) / float64(time.Millisecond)
}

// lookedUp notes what was found for a name: the target's, not that of a host
// that it redirects to.
func (t *trace) lookedUp(host string, began time.Time, addrs []netip.Addr, err error) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Lookup != nil {
		return
	}
	t.Lookup = &traceLookup{Name: host, Addresses: []string{}, Millis: millis(began)}
	for _, a := range addrs {
		t.Lookup.Addresses = append(t.Lookup.Addresses, a.String())
	}
	if err != nil {
		t.Lookup.Error = strings.TrimPrefix(reasonFor(err, time.Since(began), time.Now()), "lookup "+host+": ")
	}
}

// A silent context has no values, so that what the system's resolver does with
// it is not recorded as a part of the check.
type silent struct{ context.Context }

func (silent) Value(any) any { return nil }

// echo notes how a ping ended.
func (t *trace) echo(addr netip.Addr, took time.Duration, err error) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := traceEcho{Address: addr.String(), Millis: float64(took.Round(100*time.Microsecond)) / float64(time.Millisecond)}
	if err != nil {
		e.Error = reasonFor(err, took, time.Now())
	}
	t.Echoes = append(t.Echoes, e)
}

func (t *trace) connectStart(network, address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Connects = append(t.Connects, traceConnect{Address: address, network: network, began: time.Now()})
}

func (t *trace) connectDone(network, address string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.Connects {
		c := &t.Connects[i]
		if c.network != network || c.Address != address || c.Millis > 0 || c.Error != "" {
			continue
		}
		c.Millis, c.Used = millis(c.began), err == nil
		if err != nil {
			c.Error = reasonFor(err, time.Since(c.began), time.Now())
		}
		return
	}
}

func (t *trace) handshakeStart() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.TLS = &traceTLS{began: time.Now(), Certificates: []traceCertificate{}}
}

func (t *trace) handshakeDone(state tls.ConnectionState, err error) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.TLS == nil {
		t.TLS = &traceTLS{began: now, Certificates: []traceCertificate{}}
	}
	h := t.TLS
	h.Millis = millis(h.began)
	chain := state.PeerCertificates
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		chain = e.UnverifiedCertificates
	}
	if err != nil {
		h.Error = reasonFor(err, time.Since(h.began), now)
	} else {
		h.Version, h.Protocol = tls.VersionName(state.Version), state.NegotiatedProtocol
	}
	h.Certificates = h.Certificates[:0]
	for _, c := range chain {
		h.Certificates = append(h.Certificates, traceCertificate{
			Name:     certificateName(c),
			Issuer:   cmp.Or(c.Issuer.CommonName, c.Issuer.String()),
			NotAfter: c.NotAfter,
			DaysLeft: int(c.NotAfter.Sub(now) / (24 * time.Hour)),
		})
	}
}

// certificateName returns what people call a certificate: its first DNS name,
// else its common name.
func certificateName(c *x509.Certificate) string {
	if len(c.DNSNames) > 0 {
		return c.DNSNames[0]
	}
	return cmp.Or(c.Subject.CommonName, c.Subject.String())
}

func (t *trace) gotFirstByte() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.firstByte = time.Since(t.began)
}

// answer notes an HTTP answer.
func (t *trace) answer(resp *http.Response) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	a := traceAnswer{
		Protocol:  resp.Proto,
		Status:    resp.StatusCode,
		Header:    make(map[string]string),
		FirstByte: float64(t.firstByte.Round(100*time.Microsecond)) / float64(time.Millisecond),
	}
	if r := resp.Request; r != nil {
		a.Request = r.Method + " " + r.URL.Redacted()
	}
	for _, name := range traceHeaders {
		if value := resp.Header.Get(name); value != "" {
			a.Header[name] = oneLine(value)
		}
	}
	if a.Header["Content-Length"] == "" && resp.ContentLength >= 0 && resp.Request != nil && resp.Request.Method != http.MethodHead {
		a.Header["Content-Length"] = strconv.FormatInt(resp.ContentLength, 10)
	}
	t.Answers = append(t.Answers, a)
}

// dns notes an answer of a name server.
func (t *trace) dns(server, network string, a *dnsAnswer) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	records := []string{}
	for _, r := range a.records[:min(len(a.records), maxTracedRecords)] {
		records = append(records, oneLine(r))
	}
	t.DNS = append(t.DNS, traceDNS{server, network, a.codeText(), a.truncated, records})
}

// match notes whether an answer matches what a key of the config asks for.
func (t *trace) match(key, pattern string, matched bool) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Matches = append(t.Matches, traceMatch{key, pattern, matched})
}
