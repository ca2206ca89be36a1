package main

import (
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// A packet of a fakeNet comes in some time after the request.
type packet struct {
	from  string
	after time.Duration
	b     []byte
}

// A fakeNet is a socket on a network where answer decides what comes back for
// the n-th request to a host.
type fakeNet struct {
	answer func(to netip.Addr, n int, request []byte) []packet
	in     chan packet
	closed chan struct{}

	mu    sync.Mutex
	count map[netip.Addr]int
	v6    bool
}

func newFakeNet(v6 bool, answer func(to netip.Addr, n int, request []byte) []packet) *fakeNet {
	return &fakeNet{answer: answer, v6: v6, in: make(chan packet), closed: make(chan struct{}), count: make(map[netip.Addr]int)}
}

func (f *fakeNet) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case p := <-f.in:
		return copy(b, p.b), &net.IPAddr{IP: net.ParseIP(p.from)}, nil
	case <-f.closed:
		return 0, nil, net.ErrClosed
	}
}

func (f *fakeNet) WriteTo(b []byte, to net.Addr) (int, error) {
	addr := sourceOf(to)
	f.mu.Lock()
	f.count[addr]++
	n := f.count[addr]
	f.mu.Unlock()
	for _, p := range f.answer(addr, n, b) {
		time.AfterFunc(p.after, func() {
			select {
			case f.in <- p:
			case <-f.closed:
			}
		})
	}
	return len(b), nil
}

func (f *fakeNet) Close() error                     { close(f.closed); return nil }
func (f *fakeNet) LocalAddr() net.Addr              { return &net.IPAddr{} }
func (f *fakeNet) SetDeadline(time.Time) error      { return nil }
func (f *fakeNet) SetReadDeadline(time.Time) error  { return nil }
func (f *fakeNet) SetWriteDeadline(time.Time) error { return nil }

// fakePinger pings over fake networks.
func fakePinger(t *testing.T, raw bool, answer func(to netip.Addr, n int, request []byte) []packet) *poller {
	t.Helper()
	p, err := newPoller(pollMetrics(), "", newPinger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	p.pinger.v4 = newEchoer(newFakeNet(false, answer), false, raw)
	p.pinger.v6 = newEchoer(newFakeNet(true, answer), true, raw)
	return p
}

// change returns a copy of a message with its type changed to that of an
// answer, and whatever else edit does.
func change(request []byte, edit func(b []byte) []byte) []byte {
	b := append([]byte(nil), request...)
	if b[0] == byte(ipv4.ICMPTypeEcho) {
		b[0] = byte(ipv4.ICMPTypeEchoReply)
	} else {
		b[0] = byte(ipv6.ICMPTypeEchoReply)
	}
	if edit != nil {
		b = edit(b)
	}
	return b
}

// quoted returns an error report of a router on the packet to an address with
// the beginning of a message, which edit may change.
func quoted(typ icmp.Type, code int, to string, request []byte, edit func(b []byte)) []byte {
	request = append([]byte(nil), request...)
	if edit != nil {
		edit(request)
	}
	dst := netip.MustParseAddr(to)
	var quote []byte
	if dst.Is4() {
		quote = make([]byte, ipv4.HeaderLen, ipv4.HeaderLen+len(request))
		quote[0], quote[8], quote[9] = 0x45, 64, protocolICMP
		binary.BigEndian.PutUint16(quote[2:], uint16(ipv4.HeaderLen+len(request)))
		copy(quote[16:], dst.AsSlice())
	} else {
		quote = make([]byte, ipv6.HeaderLen, ipv6.HeaderLen+len(request))
		quote[0], quote[6] = 0x60, protocolICMPv6
		copy(quote[24:], dst.AsSlice())
	}
	quote = append(quote, request...)
	var body icmp.MessageBody = &icmp.DstUnreach{Data: quote}
	if typ == ipv4.ICMPTypeTimeExceeded || typ == ipv6.ICMPTypeTimeExceeded {
		body = &icmp.TimeExceeded{Data: quote}
	}
	b, err := (&icmp.Message{Type: typ, Code: code, Body: body}).Marshal(nil)
	if err != nil {
		panic(err)
	}
	return b
}

func TestPing(t *testing.T) {
	const ms = time.Millisecond
	const v4, v6 = "192.0.2.1", "2001:db8::1"
	good := func(from string, after time.Duration, req []byte) packet {
		return packet{from, after, change(req, nil)}
	}
	for _, tt := range []struct {
		name    string
		url     string
		raw     bool
		answer  func(req []byte) []packet
		status  status
		reason  string
		latency time.Duration
	}{
		{"answer", "icmp://192.0.2.1", true, func(req []byte) []packet {
			return []packet{good(v4, 30*ms, req)}
		}, healthy, "", 30 * ms},
		{"answer to a datagram socket, where the kernel sets the id", "icmp://192.0.2.1", false, func(req []byte) []packet {
			return []packet{{v4, 30 * ms, change(req, func(b []byte) []byte { b[4] ^= 0xff; return b })}}
		}, healthy, "", 30 * ms},
		{"IPv6", "icmp://[2001:db8::1]", true, func(req []byte) []packet {
			return []packet{good(v6, 30*ms, req)}
		}, healthy, "", 30 * ms},
		{"IPv6 with zone", "icmp://[fe80::1%25eth0]", false, func(req []byte) []packet {
			return []packet{good("fe80::1", 30*ms, req)}
		}, healthy, "", 30 * ms},
		{"slowest possible", "icmp://192.0.2.1", true, func(req []byte) []packet {
			return []packet{good(v4, 999*ms, req)}
		}, healthy, "", 999 * ms},
		{"none", "icmp://192.0.2.1", true, func([]byte) []packet { return nil }, dead, "no answer in 1 s", time.Second},
		{"late", "icmp://192.0.2.1", true, func(req []byte) []packet {
			return []packet{good(v4, 1001*ms, req)}
		}, dead, "no answer in 1 s", time.Second},
		{"twice", "icmp://192.0.2.1", true, func(req []byte) []packet {
			return []packet{good(v4, 30*ms, req), good(v4, 30*ms, req), good(v4, 40*ms, req)}
		}, healthy, "", 30 * ms},
		{"from another host", "icmp://192.0.2.1", true, func(req []byte) []packet {
			return []packet{good("192.0.2.9", 10*ms, req)}
		}, dead, "no answer in 1 s", time.Second},
		{"own request heard, then the answer", "icmp://192.0.2.1", true, func(req []byte) []packet {
			return []packet{{v4, 5 * ms, req}, good(v4, 30*ms, req)}
		}, healthy, "", 30 * ms},
		{"another program's answer", "icmp://192.0.2.1", true, func(req []byte) []packet {
			return []packet{{v4, 10 * ms, change(req, func(b []byte) []byte { b[5] ^= 0xff; return b })}}
		}, dead, "no answer in 1 s", time.Second},
		{"another sequence number", "icmp://192.0.2.1", true, func(req []byte) []packet {
			return []packet{{v4, 10 * ms, change(req, func(b []byte) []byte { b[7] ^= 0xff; return b })}}
		}, dead, "no answer in 1 s", time.Second},
		{"another token", "icmp://192.0.2.1", true, func(req []byte) []packet {
			return []packet{{v4, 10 * ms, change(req, func(b []byte) []byte { b[8] ^= 0xff; return b })}}
		}, dead, "no answer in 1 s", time.Second},
		{"cut everywhere", "icmp://192.0.2.1", true, func(req []byte) []packet {
			var cuts []packet
			for n := range 8 + tokenSize {
				cuts = append(cuts, packet{v4, time.Duration(n) * ms, change(req, func(b []byte) []byte { return b[:n] })})
			}
			return cuts
		}, dead, "no answer in 1 s", time.Second},
		{"cut behind the token", "icmp://192.0.2.1", true, func(req []byte) []packet {
			return []packet{{v4, 30 * ms, change(req, func(b []byte) []byte { return b[:8+tokenSize] })}}
		}, healthy, "", 30 * ms},

		{"host unreachable", "icmp://192.0.2.1", true, func(req []byte) []packet {
			return []packet{{"192.0.2.254", 20 * ms, quoted(ipv4.ICMPTypeDestinationUnreachable, 1, v4, req, nil)}}
		}, dead, "host unreachable", 20 * ms},
		{"shortest quote", "icmp://192.0.2.1", true, func(req []byte) []packet {
			return []packet{{"192.0.2.254", 20 * ms, quoted(ipv4.ICMPTypeDestinationUnreachable, 13, v4, req[:8], nil)}}
		}, dead, "administratively prohibited", 20 * ms},
		{"unknown code", "icmp://192.0.2.1", true, func(req []byte) []packet {
			return []packet{{"192.0.2.254", 20 * ms, quoted(ipv4.ICMPTypeDestinationUnreachable, 99, v4, req, nil)}}
		}, dead, "destination unreachable, code 99", 20 * ms},
		{"routing loop", "icmp://192.0.2.1", true, func(req []byte) []packet {
			return []packet{{"192.0.2.254", 20 * ms, quoted(ipv4.ICMPTypeTimeExceeded, 0, v4, req, nil)}}
		}, dead, "time to live exceeded on the way", 20 * ms},
		{"host unreachable, IPv6", "icmp://[2001:db8::1]", true, func(req []byte) []packet {
			return []packet{{"2001:db8::ff", 20 * ms, quoted(ipv6.ICMPTypeDestinationUnreachable, 3, v6, req, nil)}}
		}, dead, "host unreachable", 20 * ms},
		{"reports on others' packets", "icmp://192.0.2.1", true, func(req []byte) []packet {
			at := func(i int) func(b []byte) { return func(b []byte) { b[i] ^= 0xff } }
			typ := ipv4.ICMPTypeDestinationUnreachable
			return []packet{
				{"192.0.2.254", 1 * ms, quoted(typ, 1, "192.0.2.9", req, nil)},
				{"192.0.2.254", 2 * ms, quoted(typ, 1, v4, req, at(0))},
				{"192.0.2.254", 3 * ms, quoted(typ, 1, v4, req, at(4))},
				{"192.0.2.254", 4 * ms, quoted(typ, 1, v4, req, at(7))},
				{"192.0.2.254", 5 * ms, quoted(typ, 1, v4, req, at(9))},
				{"192.0.2.254", 6 * ms, quoted(typ, 1, v4, req[:7], nil)},
				{"192.0.2.254", 7 * ms, quoted(typ, 1, v6, req, nil)},
				good(v4, 30*ms, req),
			}
		}, healthy, "", 30 * ms},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := fakePinger(t, tt.raw, func(_ netip.Addr, _ int, req []byte) []packet { return tt.answer(req) })
				got := p.check(t.Context(), pollReplica(t, tt.url, Node{}))
				wantVerdict(t, got, tt.status, tt.reason)
				if got.latency != tt.latency {
					t.Errorf("latency %v, want %v", got.latency, tt.latency)
				}
				if n := len(p.pinger.v4.waiting) + len(p.pinger.v6.waiting); n != 0 {
					t.Errorf("still waiting for %d", n)
				}
				time.Sleep(time.Minute) // what is late arrives too
				if err := p.pinger.close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Whatever arrives, it neither ends the program nor passes for an answer.
func FuzzReceive(f *testing.F) {
	request, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: 7, Seq: 1, Data: []byte("not the token")}}).Marshal(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(false, change(request, nil))
	f.Add(true, change(request, func(b []byte) []byte { b[0] = byte(ipv6.ICMPTypeEchoReply); return b[:9] }))
	f.Add(false, quoted(ipv4.ICMPTypeDestinationUnreachable, 1, "192.0.2.1", request, nil))
	f.Add(true, quoted(ipv6.ICMPTypeDestinationUnreachable, 3, "2001:db8::1", request, nil))
	f.Add(false, quoted(ipv4.ICMPTypeTimeExceeded, 0, "192.0.2.1", request[:8], nil))
	f.Fuzz(func(t *testing.T, v6 bool, b []byte) {
		pongs := make(chan pong, 1)
		addr := netip.MustParseAddr("192.0.2.1")
		e := &echoer{v6: v6, raw: true, id: 7, waiting: map[echoKey]waiting{
			{addr, 1}: {addr: addr, token: [tokenSize]byte([]byte("tokentok")), pongs: pongs},
		}}
		e.receive(b, addr, time.Now())
		select {
		case p := <-pongs:
			if p.err == nil && !strings.Contains(string(b), "tokentok") {
				t.Errorf("%x passed for an answer", b)
			}
		default:
		}
	})
}
