package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

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
	ctx, cancel := context.WithCancel(ctx)
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
		return nil, failure
	}
	return inTurns(addrs), nil
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

// saysLittle reports whether an address could not even be tried, as where this
// machine has no addresses of its family.
func saysLittle(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	return ok && (errno == syscall.ENETUNREACH || errno == syscall.EADDRNOTAVAIL || errno == syscall.EAFNOSUPPORT)
}

// connect connects to an address.
func (d *dialer) connect(ctx context.Context, addr netip.Addr, port string) (net.Conn, error) {
	return d.direct.DialContext(ctx, "tcp", net.JoinHostPort(addr.String(), port))
}
