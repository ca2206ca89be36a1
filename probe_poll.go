package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// A poller checks the targets of poll nodes under one config. It serves all
// workers, and its check method is their prober.
//
// A check shares nothing with the one before it: it looks the name up, connects
// and shakes hands as a new visitor would. Checks of one name at the same time
// share one lookup, which package net sees to.
type poller struct {
	metrics    Metrics
	agent      string // User-Agent of HTTP checks
	dialer     *dialer
	pinger     *pinger
	proxy      func(*url.URL) (*url.URL, error) // of the environment
	transports sync.Map                         // transportKey -> *http.Transport
}

// newPoller returns a poller with the thresholds m that pings by pinger. HTTP
// checks name pageURL, if there is one, so that readers of a server's log know
// whom to ask.
func newPoller(m Metrics, pageURL string, pinger *pinger) (*poller, error) {
	if strings.ContainsFunc(pageURL, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, fmt.Errorf("page url %q does not fit into a User-Agent header", pageURL)
	}
	p := &poller{
		metrics: m,
		agent:   "vigil",
		dialer:  newDialer(pinger.resolver),
		pinger:  pinger,
		proxy:   httpproxy.FromEnvironment().ProxyFunc(),
	}
	if pageURL != "" {
		p.agent = "vigil (+" + pageURL + ")"
	}
	return p, nil
}

// A scheme is a kind of target. A new one takes an entry in schemes and its two
// functions.
type scheme struct {
	name  string
	form  string              // how its URLs look, for messages
	parse func(*Target) error // checks the parts of the URL and completes the target
	check func(*poller, context.Context, *inquiry) error
}

// schemes are the kinds of targets.
var schemes = []scheme{
	{"http", "http://host", func(t *Target) error { return t.web("80") }, (*poller).checkHTTP},
	{"https", "https://host", func(t *Target) error { return t.web("443") }, (*poller).checkHTTP},
	{"tcp", "tcp://host:port", (*Target).hostPort, (*poller).checkTCP},
	{"tls", "tls://host:port", (*Target).hostPort, (*poller).checkTLS},
	{"ssh", "ssh://host:port", func(t *Target) error { t.URL.User = nil; return t.hostPort() }, (*poller).checkSSH},
	{"icmp", "icmp://host", (*Target).host, (*poller).checkICMP},
	{"dns", "dns://server/name?type=A", parseDNSTarget, (*poller).checkDNS},
}

// schemeOf returns the scheme of that name, or nil.
func schemeOf(name string) *scheme {
	for i := range schemes {
		if schemes[i].name == name {
			return &schemes[i]
		}
	}
	return nil
}

// An inquiry is one check of a target under way.
type inquiry struct {
	target *Target
	node   *Node
	limit  time.Duration // for an answer
	most   time.Duration // for what comes before a ping, too

	latency     time.Duration // of the answer, if it is another than the time of the check
	certificate certificate   // which the target's trust depends on; zero: none was seen
}

// check makes one check of r's target: a good answer in less than
// PollDelaySick is healthy, a slower one sick, and anything else dead. A
// certificate that ends soon makes it sick or dead, too.
func (p *poller) check(ctx context.Context, r *replica) verdict {
	m := r.node.metrics(&p.metrics)
	q := newInquiry(r.target(), r.node, m.PollDelayDead)
	start := time.Now()
	err := p.ask(ctx, &q)
	end := time.Now()
	v := verdict{latency: q.latency, expires: q.certificate.ends}
	if v.latency == 0 {
		v.latency = end.Sub(start)
	}
	switch {
	case err != nil:
		v.status, v.reason = dead, reasonFor(err, q.limit, end)
		v.short = shortageOf(err, false)
		return v
	case v.latency >= m.PollDelayDead:
		v.status, v.reason = dead, "no answer in "+seconds(m.PollDelayDead)
	case v.latency >= m.PollDelaySick:
		v.status, v.reason = sick, "slow: "+seconds(v.latency)
	}
	if s, reason := q.certificate.judge(&r.node.TLS, end); s > v.status {
		v.status, v.reason = s, reason
	}
	return v
}

// reach returns nil when t answers as a healthy replica does, however slowly.
func (p *poller) reach(ctx context.Context, t *Target) error {
	q := newInquiry(t, &Node{Metrics: &p.metrics}, min(connectionLimit, p.metrics.PollDelayDead))
	if err := p.ask(ctx, &q); err != nil {
		return fmt.Errorf("%s: %s", t.Raw, reasonFor(err, q.limit, time.Now()))
	}
	return nil
}

// newInquiry returns an inquiry for a target that has most of this time to
// answer; to a ping, pingLimit at most.
func newInquiry(t *Target, n *Node, most time.Duration) inquiry {
	q := inquiry{target: t, node: n, limit: most, most: most}
	if t.Scheme == "icmp" {
		q.limit = min(most, pingLimit)
	}
	return q
}

// ask gets an answer of a target.
func (p *poller) ask(ctx context.Context, q *inquiry) error {
	s := schemeOf(q.target.Scheme)
	if s == nil {
		return fmt.Errorf("unknown scheme %q", q.target.Scheme)
	}
	if q.target.Scheme != "icmp" { // which takes care of its time itself
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, q.limit)
		defer cancel()
	}
	return s.check(p, ctx, q)
}

// checkTCP connects and closes.
func (p *poller) checkTCP(ctx context.Context, q *inquiry) error {
	conn, err := p.connect(ctx, q)
	if err != nil {
		return err
	}
	return conn.Close()
}

// connect opens a connection to the target.
func (p *poller) connect(ctx context.Context, q *inquiry) (net.Conn, error) {
	return p.dialer.dial(ctx, q.target.Host, q.target.Port, q.node.IPFamily)
}
