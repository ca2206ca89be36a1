package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"
)

// pingLimit is how long a host may take to answer an echo request.
const pingLimit = time.Second

// A pinger checks hosts by ICMP echo. All its pings share one socket per
// address family: with one raw socket per ping, every socket would get a copy
// of every answer. The sockets are opened for the first ping.
type pinger struct {
	resolver *net.Resolver
	log      *slog.Logger
	open     sync.Once
	v4       *echoer
	v6       *echoer
	err4     error // why there is no v4
	err6     error
}

func newPinger(log *slog.Logger) *pinger { return &pinger{resolver: new(net.Resolver), log: log} }

// start opens the sockets. When that is not permitted, it says so to the log,
// this once; each result carries the reason too.
func (p *pinger) start() {
	p.v4, p.err4 = openEchoer(false)
	p.v6, p.err6 = openEchoer(true)
	if errors.Is(p.err4, fs.ErrPermission) || errors.Is(p.err6, fs.ErrPermission) {
		p.log.Error("cannot ping", "err", errNotPermitted)
	}
}

// close closes the sockets, and keeps them from being opened.
func (p *pinger) close() error {
	p.open.Do(func() { p.err4, p.err6 = net.ErrClosed, net.ErrClosed })
	var errs []error
	for _, e := range []*echoer{p.v4, p.v6} {
		if e != nil {
			errs = append(errs, e.close())
		}
	}
	return errors.Join(errs...)
}

// errNotPermitted names the remedies for what the system does not permit.
var errNotPermitted = func() error {
	if runtime.GOOS == "linux" {
		return errors.New(`ICMP not permitted: needs sysctl net.ipv4.ping_group_range="0 2147483647"` +
			` or setcap cap_net_raw+ep on the program`)
	}
	return errors.New("ICMP not permitted: needs more privileges")
}()

// openEchoer opens an echoer on a datagram socket where the system allows it
// (on Linux: to the groups in net.ipv4.ping_group_range), else on a raw one,
// which needs privileges. The error is a fs.ErrPermission if neither may be
// opened.
func openEchoer(v6 bool) (*echoer, error) {
	conn, err := listenDatagramICMP(v6)
	if err == nil {
		return newEchoer(conn, v6, false), nil
	}
	conn, rawErr := listenRawICMP(v6)
	if rawErr == nil {
		return newEchoer(conn, v6, true), nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	return nil, rawErr
}

// An addrError is what went wrong with one of several addresses.
type addrError struct {
	addr netip.Addr
	err  error
}

func (e *addrError) Error() string { return fmt.Sprintf("%s: %v", e.addr, e.err) }
func (e *addrError) Unwrap() error { return e.err }

// check pings every address of host and returns the slowest answer's time. It
// fails as soon as one of them does, and after limit.
func (p *pinger) check(ctx context.Context, host string, limit time.Duration) (time.Duration, error) {
	addrs, err := p.lookup(ctx, host, limit)
	if err != nil {
		return 0, err
	}
	p.open.Do(p.start)
	worst, addr, err := p.ping(ctx, addrs, limit)
	if err != nil && len(addrs) > 1 {
		err = &addrError{addr, err}
	}
	return worst, err
}

// ping pings addrs and returns the time of the slowest answer, or the first
// failure with its address.
func (p *pinger) ping(ctx context.Context, addrs []netip.Addr, limit time.Duration) (time.Duration, netip.Addr, error) {
	pongs := make(chan pong, len(addrs)) // each ping has one at most
	waiting := make(map[netip.Addr]bool, len(addrs))
	for _, addr := range addrs {
		e, err := p.v4, p.err4
		if addr.Is6() {
			e, err = p.v6, p.err6
		}
		if errors.Is(err, fs.ErrPermission) {
			err = errNotPermitted
		}
		if err != nil {
			return 0, addr, err
		}
		key, err := e.send(ctx, addr, pongs)
		if err != nil {
			return 0, addr, err
		}
		defer e.forget(key)
		waiting[addr] = true
	}
	// From here on, because requests may have waited for their turn.
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	var worst time.Duration
	for len(waiting) > 0 {
		var p pong
		select {
		case p = <-pongs:
		case <-ctx.Done():
			return 0, addrs[0], ctx.Err()
		case <-timeout.C:
			select {
			case p = <-pongs: // in time, but not noticed in time
				timeout.Reset(0)
			default:
				i := slices.IndexFunc(addrs, func(a netip.Addr) bool { return waiting[a] })
				return 0, addrs[i], context.DeadlineExceeded
			}
		}
		if p.err == nil && p.rtt > limit {
			p.err = context.DeadlineExceeded
		}
		if p.err != nil {
			return 0, p.addr, p.err
		}
		delete(waiting, p.addr)
		worst = max(worst, p.rtt)
	}
	return worst, netip.Addr{}, nil
}

// lookup returns all addresses of host, once each.
func (p *pinger) lookup(ctx context.Context, host string, limit time.Duration) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	addrs, err := p.resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), nil
}
