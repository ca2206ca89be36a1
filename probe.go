package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// status is the health of a replica. The order is that of badness: the status
// of several things together is their max.
type status uint8

const (
	healthy status = iota
	sick
	dead
)

var statusNames = [...]string{"healthy", "sick", "dead"}

// String returns the word that is used on the wire.
func (s status) String() string { return statusNames[s] }

// statusOf returns the status of that name.
func statusOf(name string) (s status, ok bool) {
	i := slices.Index(statusNames[:], name)
	return status(max(i, 0)), i >= 0
}

// A replica is one target that this process checks itself: a URL of a poll
// node or a script of a script node. It is never changed.
type replica struct {
	service *Service
	node    *Node
	index   int    // in node.Targets or node.Scripts
	id      string // the URL as configured, or the script's index
	ordinal int    // among all replicas that the config has this process check
}

// target is the URL of a poll replica.
func (r *replica) target() *Target { return &r.node.Targets[r.index] }

// script is the source of a script replica.
func (r *replica) script() string { return r.node.Scripts[r.index] }

// path names the replica to people: "web:core:tcp://10.0.0.1:80".
func (r *replica) path() string { return r.service.ID + ":" + r.node.ID + ":" + r.id }

// A replicaKey identifies a replica across configs.
type replicaKey struct{ service, node, id string }

func (r *replica) key() replicaKey { return replicaKey{r.service.ID, r.node.ID, r.id} }

// sameCheck reports whether a check of old, the replica of the same key in
// another config, says the same as one of r: whether target or script and all
// settings of the request are the same.
func (r *replica) sameCheck(old *replica) bool {
	if r.node.Mode != old.node.Mode {
		return false
	}
	if r.node.Mode == modePoll && !reflect.DeepEqual(r.target(), old.target()) ||
		r.node.Mode == modeScript && r.script() != old.script() {
		return false
	}
	return sameTLS(&r.node.TLS, &old.node.TLS) && reflect.DeepEqual(requestOf(r.node), requestOf(old.node))
}

// sameTLS compares how two nodes speak TLS; when a certificate ends too soon is
// judged anew with each check.
func sameTLS(a, b *TLS) bool {
	return a.SkipVerify == b.SkipVerify && a.ServerName == b.ServerName && a.Roots.Equal(b.Roots) &&
		slices.EqualFunc(a.Certificates, b.Certificates, func(a, b tls.Certificate) bool {
			return slices.EqualFunc(a.Certificate, b.Certificate, bytes.Equal)
		})
}

// requestOf returns the settings of a node that decide what its checks send
// and expect: all but its names, its lists and what only the page shows.
func requestOf(n *Node) Node {
	return Node{
		Mode:        n.Mode,
		HTTPHeaders: n.HTTPHeaders,
		HTTPMethod:  n.HTTPMethod,
		HTTPBody:    n.HTTPBody,
		HTTPMatch:   n.HTTPMatch,

		FollowRedirects: n.FollowRedirects,
		NoCacheBuster:   n.NoCacheBuster,
		HeaderMatch:     n.HeaderMatch,
		JSONMatch:       n.JSONMatch,
		Proxy:           n.Proxy,
		ProxySet:        n.ProxySet,
		IPFamily:        n.IPFamily,
		DNSMatch:        n.DNSMatch,
	}
}

// metrics returns the thresholds for a node: those of its config, or else def.
func (n *Node) metrics(def *Metrics) *Metrics {
	if n.Metrics != nil {
		return n.Metrics
	}
	return def
}

// replicas returns what the services have this process check itself, in the
// order of the config. An ordinal is an index into all of it.
func replicas(services []*Service) (all []*replica) {
	for _, s := range services {
		for _, n := range s.Nodes {
			prefix := ""
			if n.ReportPrefix != "" {
				prefix = n.ReportPrefix + ":"
			}
			for i := range n.Targets {
				all = append(all, &replica{s, n, i, prefix + n.Targets[i].Raw, len(all)})
			}
			for i := range n.Scripts {
				all = append(all, &replica{s, n, i, prefix + strconv.Itoa(i), len(all)})
			}
		}
	}
	return all
}

// ofMode returns those of all whose node has that mode.
func ofMode(all []*replica, m mode) (some []*replica) {
	for _, r := range all {
		if r.node.Mode == m {
			some = append(some, r)
		}
	}
	return some
}

// A verdict is what one check found out.
type verdict struct {
	status  status
	reason  string        // one short line for operators; empty when healthy
	latency time.Duration // until the answer, or until the check gave up
	at      time.Time     // when the check ended; set by the pool

	expires time.Time // when the target's certificate ends; zero: it showed none

	short        *shortage // of this machine, which made the check fail; nil: none
	inconclusive bool      // it says nothing of the replica; set by the pool
}

// A prober makes one check. It honours ctx, but takes its own time limit from
// the configuration; what it returns after ctx was cancelled is discarded.
type prober func(ctx context.Context, r *replica) verdict

// A result is the verdict that counts for a replica: that of the last try.
type result struct {
	replica *replica
	status  status
	latency time.Duration
	reason  string
	at      time.Time // when the check ended
}

// maxReason is the longest reason in bytes; it has to fit a line of a text
// message.
const maxReason = 200

// reasonFor returns the reason, for operators, why a check with the time limit
// failed with err at now.
func reasonFor(err error, limit time.Duration, now time.Time) string {
	noAnswer := "no answer in " + seconds(limit)
	if e, ok := errors.AsType[badAnswer](err); ok {
		return oneLine(string(e))
	}
	if e, ok := errors.AsType[*addrError](err); ok {
		return oneLine(e.addr.String() + ": " + reasonFor(e.err, limit, now))
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return oneLine("lookup " + dns.Name + ": " + lookupReason(dns, noAnswer))
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "proxyconnect" {
		return oneLine("proxy: " + reasonFor(e.Err, limit, now))
	}
	switch errno, ok := errors.AsType[syscall.Errno](err); {
	case ok && errno == syscall.ETIMEDOUT:
		return "connection timed out"
	case ok && errno == syscall.ECONNRESET:
		return "connection reset"
	case ok && errno == syscall.EPIPE:
		return "connection closed by the server"
	case ok:
		return oneLine(errno.Error())
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return noAnswer
	}
	if reason := tlsReason(err, now); reason != "" {
		return oneLine(reason)
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed in the middle of the answer"
	case errors.Is(err, io.EOF):
		return "connection closed without an answer"
	}
	// Package net/http has its own words but no types for what a server may
	// get wrong; the last clause says what it was.
	text := err.Error()
	if i := strings.LastIndex(text, "malformed "); i >= 0 {
		return oneLine("not an HTTP answer: " + text[i:])
	}
	for _, prefix := range []string{"net/http: ", "http: ", "http2: "} {
		if i := strings.LastIndex(text, prefix); i >= 0 {
			text = text[i+len(prefix):]
		}
	}
	return oneLine(text)
}

// A badAnswer says, for operators, what is wrong with an answer.
type badAnswer string

func (e badAnswer) Error() string { return string(e) }

func badAnswerf(format string, args ...any) error { return badAnswer(fmt.Sprintf(format, args...)) }

// lookupReason says why a lookup failed.
func lookupReason(err *net.DNSError, noAnswer string) string {
	switch {
	case err.IsNotFound:
		return "no such host"
	case err.IsTimeout:
		return noAnswer
	}
	// What is left are faults on the way to the name server, quoted with both
	// addresses in front.
	text := err.Err
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = "name server: " + text[i+2:]
	}
	return text
}

// tlsReason says why a TLS handshake failed, or "" if err is not of that kind.
func tlsReason(err error, now time.Time) string {
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return certificateReason(e, now)
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		names := e.Certificate.DNSNames
		for _, ip := range e.Certificate.IPAddresses {
			names = append(names[:len(names):len(names)], ip.String())
		}
		switch n := len(names); {
		case n == 0:
			return "certificate names no host"
		case n > 3:
			names = append(names[:3:3], strconv.Itoa(n-3)+" more")
		}
		return "certificate is for " + strings.Join(names, ", ") + ", not " + e.Host
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "certificate signed by unknown authority"
	}
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		if string(e.RecordHeader[:]) == "HTTP/" {
			return "plain HTTP where TLS was expected"
		}
		return "not a TLS server"
	}
	// An alert of the server, and the only place where a version too old for
	// both sides shows.
	text := err.Error()
	if i := strings.LastIndex(text, "remote error: tls: "); i >= 0 {
		return "TLS refused by the server: " + text[i+len("remote error: tls: "):]
	}
	if strings.Contains(text, "tls: server selected unsupported protocol version") {
		return "TLS version too old: 1.2 or later is required"
	}
	if i := strings.LastIndex(text, "tls: "); i >= 0 {
		return "TLS: " + text[i+len("tls: "):]
	}
	if i := strings.LastIndex(text, "x509: "); i >= 0 {
		return "certificate: " + text[i+len("x509: "):]
	}
	return ""
}

// certificateReason says why a certificate is not valid at now.
func certificateReason(err x509.CertificateInvalidError, now time.Time) string {
	if err.Reason != x509.Expired {
		return strings.TrimPrefix(err.Error(), "x509: ")
	}
	cert := "certificate"
	if c := err.Cert; c.IsCA && len(c.DNSNames)+len(c.IPAddresses) == 0 { // not a server's that signed itself
		cert += " of issuer " + strconv.Quote(err.Cert.Subject.CommonName)
	}
	if now.Before(err.Cert.NotBefore) {
		return cert + " is valid only in " + length(err.Cert.NotBefore.Sub(now))
	}
	return cert + " expired " + length(now.Sub(err.Cert.NotAfter)) + " ago"
}

// length returns d in its one or two largest units: "12 min", "1 d 4 h".
func length(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + " min"
	case d < 24*time.Hour:
		return two(int(d/time.Hour), " h", int(d%time.Hour/time.Minute), " min")
	}
	return two(int(d/(24*time.Hour)), " d", int(d%(24*time.Hour)/time.Hour), " h")
}

// two returns a count of one unit, and of a smaller one if there is any.
func two(a int, unit string, b int, small string) string {
	s := strconv.Itoa(a) + unit
	if b > 0 {
		s += " " + strconv.Itoa(b) + small
	}
	return s
}

// seconds returns d as people read it: "10 s", "6.2 s", "250 ms".
func seconds(d time.Duration) string {
	if d < time.Second {
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	}
	s := strconv.FormatFloat(d.Seconds(), 'f', 1, 64)
	return strings.TrimSuffix(s, ".0") + " s"
}

// oneLine returns s fit for a log, a mail subject and a page: one line of
// printable characters in valid UTF-8, at most maxReason bytes.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == unicode.ReplacementChar:
			return '?'
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if len(s) <= maxReason {
		return s
	}
	const more = "…"
	cut := maxReason - len(more)
	for s[cut]&0xc0 == 0x80 { // in the middle of a character
		cut--
	}
	return s[:cut] + more
}
