package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
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

const (
	// familyDelay is how long the addresses of one family wait for those of the
	// other: some name servers never answer the question for one.
	familyDelay = 300 * time.Millisecond

	// attemptDelay is how long a connection attempt goes on alone before the next
	// address is tried beside it (RFC 8305, section 5).
	attemptDelay = 250 * time.Millisecond
)

// A dialer looks names up and opens connections, as a browser does.
type dialer struct {
	resolver *net.Resolver
	direct   net.Dialer // to an address
}

// newDialer returns a dialer that asks the resolver. A connection that lives
// for one check needs no keep-alive probes.
func newDialer(r *net.Resolver) *dialer {
	return &dialer{resolver: r, direct: net.Dialer{KeepAlive: -1}}
}

// lookup returns the addresses of host, once each, of one family ("ipv4" or
// "ipv6") or of both. Those of one family do not wait for long for those of
// the other.
func (d *dialer) lookup(ctx context.Context, host, family string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap()
		if family == "ipv4" && !addr.Is4() || family == "ipv6" && !addr.Is6() {
			return nil, errors.New("no " + family + " address")
		}
		return []netip.Addr{addr}, nil
	}
	began, seen := time.Now(), traceOf(ctx)
	ctx, cancel := context.WithCancel(silent{ctx})
	defer cancel()
	type answer struct {
		addrs []netip.Addr
		err   error
	}
	answers := make(chan answer, 2)
	asked := 0
	for _, network := range []string{"ip4", "ip6"} {
		if family != "ipv4" && family != "ipv6" || network == "ip"+family[len(family)-1:] {
			asked++
			go func() {
				addrs, err := d.resolver.LookupNetIP(ctx, network, host)
				answers <- answer{addrs, err}
			}()
		}
	}
	var addrs []netip.Addr
	var failure error
	var late <-chan time.Time
	for ; asked > 0; asked-- {
		var a answer
		select {
		case a = <-answers:
		case <-late:
			asked = 1 // the last turn
		}
		for _, addr := range a.addrs {
			addrs = append(addrs, addr.Unmap())
		}
		if a.err != nil && (failure == nil || isNotFound(failure)) {
			failure = a.err
		}
		if len(addrs) > 0 && late == nil {
			timer := time.NewTimer(familyDelay)
			defer timer.Stop()
			late = timer.C
		}
	}
	if len(addrs) == 0 {
		seen.lookedUp(host, began, nil, failure)
		return nil, failure
	}
	addrs = inTurns(addrs)
	seen.lookedUp(host, began, addrs, nil)
	return addrs, nil
}

// isNotFound reports whether err says that a name has no address of a family.
func isNotFound(err error) bool {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.IsNotFound
	}
	_, ok := errors.AsType[*net.AddrError](err) // of a name in /etc/hosts
	return ok
}

// inTurns returns the addresses, once each, with the families in turns, IPv6
// first (RFC 8305, section 4).
func inTurns(addrs []netip.Addr) []netip.Addr {
	var four, six, all []netip.Addr
	for i, addr := range addrs {
		switch {
		case slices.Contains(addrs[:i], addr):
		case addr.Is4():
			four = append(four, addr)
		default:
			six = append(six, addr)
		}
	}
	for i := range max(len(four), len(six)) {
		if i < len(six) {
			all = append(all, six[i])
		}
		if i < len(four) {
			all = append(all, four[i])
		}
	}
	return all
}

// dial connects to a host by its name or address, trying several addresses of
// one name beside each other (RFC 8305, "happy eyeballs").
func (d *dialer) dial(ctx context.Context, host, port, family string) (net.Conn, error) {
	addrs, err := d.lookup(ctx, host, family)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 1 {
		return d.connect(ctx, addrs[0], port)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type attempt struct {
		conn net.Conn
		err  error
	}
	attempts := make(chan attempt, len(addrs))
	pending := 0
	var failure error
	timer := time.NewTimer(0)
	defer timer.Stop()
	for next := 0; next < len(addrs) || pending > 0; {
		var start <-chan time.Time
		if next < len(addrs) {
			start = timer.C
		}
		select {
		case <-start:
			addr := addrs[next]
			next++
			pending++
			go func() {
				conn, err := d.connect(ctx, addr, port)
				attempts <- attempt{conn, err}
			}()
			timer.Reset(attemptDelay)
		case a := <-attempts:
			pending--
			if a.err == nil {
				go func() { // ends soon, as ctx does
					for range pending {
						if late := <-attempts; late.err == nil {
							late.conn.Close()
						}
					}
				}()
				return a.conn, nil
			}
			if failure == nil || saysLittle(failure) {
				failure = a.err
			}
			timer.Reset(0)
		}
	}
	return nil, failure
}

// saysLittle reports whether an address could not even be tried, for example
// because this machine has no address of its family.
func saysLittle(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	return ok && (errno == syscall.ENETUNREACH || errno == syscall.EADDRNOTAVAIL || errno == syscall.EAFNOSUPPORT)
}

// connect connects to an address.
func (d *dialer) connect(ctx context.Context, addr netip.Addr, port string) (net.Conn, error) {
	return d.direct.DialContext(ctx, "tcp", net.JoinHostPort(addr.String(), port))
}
