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
// of every answer. A socket is opened for the first ping, and again when that
// failed or when it has failed since.
type pinger struct {
	resolver *net.Resolver
	log      *slog.Logger
	open     func(v6 bool) (*echoer, error)

	mu      sync.Mutex
	v4      *echoer
	v6      *echoer
	closed  bool
	refused bool // the log says that pings are not permitted
}

func newPinger(log *slog.Logger) *pinger {
	return &pinger{resolver: new(net.Resolver), log: log, open: openEchoer}
}

// echoer returns the echoer for a family. When none is permitted, it says so to
// the log, once; each result carries the reason too.
func (p *pinger) echoer(v6 bool) (*echoer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := &p.v4
	if v6 {
		e = &p.v6
	}
	if p.closed {
		return nil, net.ErrClosed
	}
	if *e != nil && (*e).failed.Load() {
		(*e).close()
		*e = nil
	}
	if *e != nil {
		return *e, nil
	}
	opened, err := p.open(v6)
	if errors.Is(err, fs.ErrPermission) {
		err = errNotPermitted
		if !p.refused {
			p.refused = true
			p.log.Error("cannot ping", "err", err)
		}
	}
	if err != nil {
		return nil, err
	}
	*e = opened
	return opened, nil
}

// close closes the sockets, and keeps them from being opened.
func (p *pinger) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, e := range []*echoer{p.v4, p.v6} {
		if e != nil {
			errs = append(errs, e.close())
		}
	}
	p.v4, p.v6 = nil, nil
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

// An addrError is a failure at one of several addresses.
type addrError struct {
	addr netip.Addr
	err  error
}

func (e *addrError) Error() string { return fmt.Sprintf("%s: %v", e.addr, e.err) }
func (e *addrError) Unwrap() error { return e.err }

// checkICMP pings every address of a host and takes the slowest answer's time.
// It fails as soon as one of them does, and q.limit after the name is known.
func (p *poller) checkICMP(ctx context.Context, q *inquiry) error {
	lookup, cancel := context.WithTimeout(ctx, q.most)
	addrs, err := p.dialer.lookup(lookup, q.target.Host, q.node.IPFamily)
	cancel()
	if err != nil {
		q.limit = q.most // for the reason
		return err
	}
	worst, addr, err := p.pinger.ping(ctx, addrs, q.limit)
	if err != nil && len(addrs) > 1 {
		err = &addrError{addr, err}
	}
	q.latency = worst
	return err
}

// ping pings addrs and returns the time of the slowest answer, or the first
// failure with its address.
func (p *pinger) ping(ctx context.Context, addrs []netip.Addr, limit time.Duration) (time.Duration, netip.Addr, error) {
	pongs := make(chan pong, len(addrs)) // each ping has one at most
	waiting := make(map[netip.Addr]bool, len(addrs))
	for _, addr := range addrs {
		e, err := p.echoer(addr.Is6())
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
