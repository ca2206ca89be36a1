package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A poller checks the targets of poll nodes under one config. It serves all
// workers, and its check method is their prober.
//
// A check shares nothing with the one before it: it looks the name up, connects
// and shakes hands as a new visitor would. Checks of one name at the same time
// share one lookup, which package net sees to.
type poller struct {
	metrics   Metrics
	agent     string // User-Agent of HTTP checks
	dialer    *net.Dialer
	transport *http.Transport
	pinger    *pinger
}

// newPoller returns a poller with the thresholds m that pings by pinger. HTTP
// checks name pageURL, if there is one, so that readers of a server's log know
// whom to ask.
func newPoller(m Metrics, pageURL string, pinger *pinger) (*poller, error) {
	if strings.ContainsFunc(pageURL, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, fmt.Errorf("page url %q does not fit into a User-Agent header", pageURL)
	}
	// A connection that lives for one check needs no keep-alive probes.
	dialer := &net.Dialer{Resolver: pinger.resolver, KeepAlive: -1}
	p := &poller{
		metrics:   m,
		agent:     "vigil",
		dialer:    dialer,
		transport: newTransport(dialer),
		pinger:    pinger,
	}
	if pageURL != "" {
		p.agent = "vigil (+" + pageURL + ")"
	}
	return p, nil
}

// trust makes roots the authorities that certificates must come from, instead
// of the system's. It must be called before the first check.
func (p *poller) trust(roots *x509.CertPool) { p.transport.TLSClientConfig.RootCAs = roots }

// check makes one check of r's target: a good answer in less than
// PollDelaySick is healthy, a slower one sick, and anything else dead.
func (p *poller) check(ctx context.Context, r *replica) verdict {
	limit := r.target().limit(p.metrics.PollDelayDead)
	start := time.Now()
	latency, err := p.ask(ctx, r.target(), r.node, limit)
	end := time.Now()
	if latency == 0 {
		latency = end.Sub(start)
	}
	v := verdict{latency: latency}
	switch {
	case err != nil:
		v.status, v.reason = dead, reasonFor(err, limit, end)
	case latency >= p.metrics.PollDelayDead:
		v.status, v.reason = dead, "no answer in "+seconds(p.metrics.PollDelayDead)
	case latency >= p.metrics.PollDelaySick:
		v.status, v.reason = sick, "slow: "+seconds(latency)
	}
	return v
}

// reach returns nil when t answers as a healthy replica does, however slowly.
func (p *poller) reach(ctx context.Context, t *Target) error {
	limit := t.limit(min(connectionLimit, p.metrics.PollDelayDead))
	if _, err := p.ask(ctx, t, new(Node), limit); err != nil {
		return fmt.Errorf("%s: %s", t.Raw, reasonFor(err, limit, time.Now()))
	}
	return nil
}

// limit is how long t has to answer where others have most.
func (t *Target) limit(most time.Duration) time.Duration {
	if t.Scheme == "icmp" {
		return min(most, pingLimit)
	}
	return most
}

// ask gets an answer of t, a target of n, and returns the latency if that is
// another than the time it took.
func (p *poller) ask(ctx context.Context, t *Target, n *Node, limit time.Duration) (time.Duration, error) {
	host, err := asciiHost(t.Host)
	if err != nil {
		return 0, err
	}
	if t.Scheme == "icmp" {
		return p.pinger.check(ctx, host, limit)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	addr := net.JoinHostPort(host, t.Port)
	switch t.Scheme {
	case "http", "https":
		return 0, p.checkHTTP(ctx, t.URL, addr, n)
	case "tcp":
		return 0, p.checkTCP(ctx, addr)
	case "ssh":
		return 0, p.checkSSH(ctx, addr)
	}
	return 0, fmt.Errorf("unknown scheme %q", t.Scheme)
}

// asciiHost returns host as it is looked up and named in a handshake:
// international names in their xn-- form (RFC 5890).
func asciiHost(host string) (string, error) {
	if !strings.ContainsFunc(host, func(r rune) bool { return r > 0x7f }) {
		return host, nil
	}
	// The standard library has the tables but no function for them. A written
	// request carries the converted name.
	var b bytes.Buffer
	req := http.Request{Method: http.MethodHead, URL: &url.URL{Path: "/"}, Host: strings.ToLower(host)}
	if err := req.Write(&b); err != nil {
		return "", fmt.Errorf("host name %q is not valid", host)
	}
	_, rest, _ := strings.Cut(b.String(), "\r\nHost: ")
	name, _, _ := strings.Cut(rest, "\r\n")
	return name, nil
}

// checkTCP connects to addr, of the form host:port, and closes. The dialer
// tries several addresses of one name as RFC 8305 has it (happy eyeballs).
func (p *poller) checkTCP(ctx context.Context, addr string) error {
	conn, err := p.dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}
