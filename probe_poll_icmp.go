package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
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
	seen := traceOf(ctx)
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
				for addr := range waiting {
					seen.echo(addr, limit, context.DeadlineExceeded)
				}
				return 0, addrs[i], context.DeadlineExceeded
			}
		}
		if p.err == nil && p.rtt > limit {
			p.err = context.DeadlineExceeded
		}
		seen.echo(p.addr, p.rtt, p.err)
		if p.err != nil {
			return 0, p.addr, p.err
		}
		delete(waiting, p.addr)
		worst = max(worst, p.rtt)
	}
	return worst, netip.Addr{}, nil
}

const (
	// echoSpacing is the least time between two requests on the average: answers
	// come as close together as requests went out, and what does not fit into
	// the socket's buffer is lost. Shorter waits than echoSlack are not made.
	echoSpacing = 50 * time.Microsecond
	echoSlack   = time.Millisecond

	echoSize  = 56 // bytes of a request's payload, as ping(8) has it
	tokenSize = 8  // of which the first tell one request from all others

	// echoBuffer is what the socket is asked to hold, in bytes. It is room for
	// 4,000 answers with what the kernel adds to each.
	echoBuffer = 4 << 20
)

// Protocol numbers as icmp.ParseMessage wants them.
const (
	protocolICMP   = 1
	protocolICMPv6 = 58
)

// An echoer sends echo requests of one address family over one socket and
// finds out which request each incoming packet answers. What answers none, be
// it late, doubled, or of another program, is dropped.
type echoer struct {
	conn net.PacketConn
	v6   bool
	raw  bool
	id   uint16 // of our requests on a raw socket; the kernel sets a datagram socket's
	done chan struct{}

	failed atomic.Bool // the socket cannot be used any more

	mu      sync.Mutex
	seq     uint16
	turn    time.Time // when the next request may go
	waiting map[echoKey]waiting
}

// An echoKey tells requests apart by what an error report quotes of them.
type echoKey struct {
	addr netip.Addr // without zone
	seq  uint16
}

// waiting is a request without an answer so far.
type waiting struct {
	addr  netip.Addr
	token [tokenSize]byte // comes back in the answer
	sent  time.Time
	pongs chan<- pong
}

// A pong is the outcome of one request.
type pong struct {
	addr netip.Addr
	rtt  time.Duration
	err  error // the network's word that the request did not arrive
}

// newEchoer starts to read conn, which it owns from now on.
func newEchoer(conn net.PacketConn, v6, raw bool) *echoer {
	e := &echoer{
		conn: conn, v6: v6, raw: raw, id: uint16(rand.Uint32()), seq: uint16(rand.Uint32()),
		done: make(chan struct{}), waiting: make(map[echoKey]waiting),
	}
	go e.read()
	return e
}

// close closes the socket and waits until its reader has ended.
func (e *echoer) close() error {
	err := e.conn.Close()
	<-e.done
	return err
}

// send sends a request to addr once it is its turn. What comes of it is sent
// to pongs, which must have room, unless forget is called before.
func (e *echoer) send(ctx context.Context, addr netip.Addr, pongs chan<- pong) (echoKey, error) {
	if wait := e.reserve(time.Now()); wait >= echoSlack {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return echoKey{}, ctx.Err()
		}
	}
	w := waiting{addr: addr, pongs: pongs}
	binary.NativeEndian.PutUint64(w.token[:], rand.Uint64())

	e.mu.Lock()
	key := echoKey{addr.WithZone(""), e.seq}
	for _, taken := e.waiting[key]; taken; _, taken = e.waiting[key] {
		key.seq++
	}
	e.seq = key.seq + 1
	w.sent = time.Now()
	e.waiting[key] = w
	e.mu.Unlock()

	err := e.write(key.seq, w)
	if err != nil {
		e.forget(key)
	}
	return key, err
}

// reserve takes the next turn to send and returns how far it is from now.
func (e *echoer) reserve(now time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.turn.Before(now) {
		e.turn = now
	}
	wait := e.turn.Sub(now)
	e.turn = e.turn.Add(echoSpacing)
	return wait
}

// write sends the request of w with the sequence number seq.
func (e *echoer) write(seq uint16, w waiting) error {
	m := icmp.Message{Type: ipv4.ICMPTypeEcho}
	if e.v6 {
		m.Type = ipv6.ICMPTypeEchoRequest
	}
	data := make([]byte, echoSize)
	copy(data, w.token[:])
	m.Body = &icmp.Echo{ID: int(e.id), Seq: int(seq), Data: data}
	b, err := m.Marshal(nil) // the kernel computes the checksum of ICMPv6
	if err != nil {
		return err
	}
	var to net.Addr = &net.UDPAddr{IP: w.addr.AsSlice(), Zone: w.addr.Zone()}
	if e.raw {
		to = &net.IPAddr{IP: w.addr.AsSlice(), Zone: w.addr.Zone()}
	}
	// A full socket drains when the kernel gives up on hosts of the local
	// network that do not answer ARP, which can take longer than a ping may.
	if err := e.conn.SetWriteDeadline(w.sent.Add(pingLimit)); err != nil {
		return err
	}
	_, err = e.conn.WriteTo(b, to)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("cannot send: too many unanswered packets")
	case errors.Is(err, os.ErrPermission):
		return errors.New("cannot send: refused by this host's firewall")
	}
	return err
}

// forget stops waiting for the request key.
func (e *echoer) forget(key echoKey) {
	e.mu.Lock()
	delete(e.waiting, key)
	e.mu.Unlock()
}

// report ends the wait for the request key with that token: its ping gets the
// outcome, once. A nil token matches any.
func (e *echoer) report(key echoKey, token []byte, at time.Time, err error) {
	e.mu.Lock()
	w, ok := e.waiting[key]
	if ok = ok && (token == nil || string(token) == string(w.token[:])); ok {
		delete(e.waiting, key)
	}
	e.mu.Unlock()
	if ok {
		w.pongs <- pong{w.addr, at.Sub(w.sent), err}
	}
}

// readFailures is how many failures to read in a row make a socket unusable.
const readFailures = 10

// read takes in packets until the socket is closed or fails for good.
func (e *echoer) read() {
	defer close(e.done)
	b := make([]byte, 1500)
	for failures := 0; failures < readFailures; {
		n, from, err := e.conn.ReadFrom(b)
		// Now, as the packets behind this one will not have to wait.
		at := time.Now()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// An error of the system, say a network that went down. It must not
			// spin.
			failures++
			time.Sleep(10 * time.Millisecond)
		default:
			failures = 0
			e.receive(b[:n], sourceOf(from), at)
		}
	}
	e.failed.Store(true)
}

// sourceOf returns the address a packet came from, without zone.
func sourceOf(from net.Addr) netip.Addr {
	var ip net.IP
	switch from := from.(type) {
	case *net.UDPAddr:
		ip = from.IP
	case *net.IPAddr:
		ip = from.IP
	}
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// receive finds out what the packet b, received from an address at a time,
// says about our requests.
func (e *echoer) receive(b []byte, from netip.Addr, at time.Time) {
	protocol := protocolICMP
	if e.v6 {
		protocol = protocolICMPv6
	}
	m, err := icmp.ParseMessage(protocol, b)
	if err != nil {
		return
	}
	switch body := m.Body.(type) {
	case *icmp.Echo:
		reply := m.Type == ipv4.ICMPTypeEchoReply || m.Type == ipv6.ICMPTypeEchoReply
		if !reply || e.raw && body.ID != int(e.id) || len(body.Data) < tokenSize {
			return
		}
		e.report(echoKey{from, uint16(body.Seq)}, body.Data[:tokenSize], at, nil)
	case *icmp.DstUnreach:
		e.undelivered(body.Data, at, unreachable(e.v6, m.Code))
	case *icmp.TimeExceeded:
		e.undelivered(body.Data, at, errors.New("time to live exceeded on the way"))
	}
}

// undelivered takes in the report that the packet with the beginning quote did
// not arrive.
func (e *echoer) undelivered(quote []byte, at time.Time, err error) {
	var dst net.IP
	var payload []byte
	request := byte(ipv4.ICMPTypeEcho)
	if e.v6 {
		h, parseErr := ipv6.ParseHeader(quote)
		if parseErr != nil || h.NextHeader != protocolICMPv6 {
			return
		}
		dst, payload, request = h.Dst, quote[ipv6.HeaderLen:], byte(ipv6.ICMPTypeEchoRequest)
	} else {
		h, parseErr := ipv4.ParseHeader(quote)
		if parseErr != nil || h.Protocol != protocolICMP {
			return
		}
		dst, payload = h.Dst, quote[h.Len:]
	}
	// Type, code, checksum, id and sequence number are always there (RFC 792);
	// the token only if the router quotes more than it must.
	if len(payload) < 8 || payload[0] != request || binary.BigEndian.Uint16(payload[4:]) != e.id {
		return
	}
	var token []byte
	if len(payload) >= 8+tokenSize {
		token = payload[8 : 8+tokenSize]
	}
	addr, _ := netip.AddrFromSlice(dst)
	e.report(echoKey{addr.Unmap(), binary.BigEndian.Uint16(payload[6:])}, token, at, err)
}

// unreachable is the error for a code of 'destination unreachable' (RFC 792,
// RFC 1812 section 5.2.7.1 and RFC 4443 section 3.1).
func unreachable(v6 bool, code int) error {
	words := map[int]string{0: "network unreachable", 1: "host unreachable", 2: "protocol unreachable", 3: "port unreachable",
		9: "administratively prohibited", 10: "administratively prohibited", 13: "administratively prohibited"}
	if v6 {
		words = map[int]string{0: "network unreachable", 1: "administratively prohibited", 3: "host unreachable", 4: "port unreachable",
			5: "administratively prohibited", 6: "network unreachable"}
	}
	if word, ok := words[code]; ok {
		return errors.New(word)
	}
	return fmt.Errorf("destination unreachable, code %d", code)
}
