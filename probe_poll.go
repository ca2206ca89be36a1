package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A poller checks the targets of poll nodes. One poller serves all workers of
// a pipeline, and its check method is their prober.
//
// A check shares nothing with the one before it: it looks the name up, connects
// and shakes hands as a new visitor would. Checks of one name at the same time
// share one lookup, which package net sees to.
type poller struct {
	metrics   Metrics
	agent     string // User-Agent of HTTP checks
	dialer    *net.Dialer
	transport *http.Transport
}

// newPoller returns a poller with the thresholds m. HTTP checks name pageURL,
// if there is one, so that who reads a server's log knows whom to ask.
func newPoller(m Metrics, pageURL string, log *slog.Logger) (*poller, error) {
	if strings.ContainsFunc(pageURL, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, fmt.Errorf("page url %q cannot stand in a User-Agent header", pageURL)
	}
	p := &poller{
		metrics: m,
		agent:   "vigil",
		// A connection that lives for one check needs no keep-alive probes.
		dialer: &net.Dialer{KeepAlive: -1},
	}
	if pageURL != "" {
		p.agent = "vigil (+" + pageURL + ")"
	}
	p.transport = newTransport(p.dialer)
	return p, nil
}

// trust makes roots the authorities that certificates must come from, instead
// of the system's. It must be called before the first check.
func (p *poller) trust(roots *x509.CertPool) { p.transport.TLSClientConfig.RootCAs = roots }

// close releases what the poller holds open between checks.
func (p *poller) close() error { return nil }

// check makes one check of r's target: a good answer in less than
// PollDelaySick is healthy, a slower one sick, and anything else dead.
func (p *poller) check(ctx context.Context, r *replica) result {
	t := r.target()
	limit := p.metrics.PollDelayDead
	start := time.Now()
	ctx, cancel := context.WithDeadline(ctx, start.Add(limit))
	defer cancel()

	host, err := asciiHost(t.Host)
	if err == nil {
		switch t.Scheme {
		case "http", "https":
			err = p.checkHTTP(ctx, t.URL, net.JoinHostPort(host, t.Port), r.node)
		case "tcp":
			err = p.checkTCP(ctx, net.JoinHostPort(host, t.Port))
		case "ssh":
			err = p.checkSSH(ctx, net.JoinHostPort(host, t.Port))
		default:
			err = fmt.Errorf("unknown scheme %q", t.Scheme)
		}
	}
	end := time.Now()
	latency := end.Sub(start)
	res := result{replica: r, latency: latency, at: end}
	switch {
	case err != nil:
		res.status, res.reason = dead, reasonFor(err, limit, end)
	case latency >= p.metrics.PollDelayDead:
		res.status, res.reason = dead, "no answer in "+seconds(p.metrics.PollDelayDead)
	case latency >= p.metrics.PollDelaySick:
		res.status, res.reason = sick, "slow: "+seconds(latency)
	}
	return res
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
