package main

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// dropping is a resolver that asks a name server which never answers questions
// of one type, and has an address of the other.
func dropping(t *testing.T, drop dnsmessage.Type, addrs ...string) *net.Resolver {
	t.Helper()
	var list []netip.Addr
	for _, a := range addrs {
		list = append(list, netip.MustParseAddr(a))
	}
	s := &nameServer{zone: map[string][]netip.Addr{"edge.test": list}, drop: drop}
	return askingAt(s.listen(t))
}

// A name server that never answers the question for one family costs 300 ms, in
// TCP and in pings.
func TestLookupWithoutOneFamily(t *testing.T) {
	t.Parallel()
	for drop, addr := range map[dnsmessage.Type]string{dnsmessage.TypeAAAA: "127.0.0.1", dnsmessage.TypeA: "::1"} {
		d := newDialer(dropping(t, drop, addr))
		begin := time.Now()
		addrs, err := d.lookup(t.Context(), "edge.test", "")
		if err != nil || len(addrs) != 1 || addrs[0].String() != addr {
			t.Errorf("without %v: %v, %v", drop, addrs, err)
		}
		// The name server's own time limit is 5 s, twice.
		if took := time.Since(begin); took < familyDelay || took > 4*time.Second {
			t.Errorf("without %v: took %v", drop, took)
		}
	}
	p := fakePinger(t, true, func(to netip.Addr, _ int, req []byte) []packet {
		return []packet{{to.String(), 0, change(req, nil)}}
	})
	defer p.pinger.close()
	p.dialer.resolver = dropping(t, dnsmessage.TypeAAAA, "192.0.2.1")
	p.metrics.PollDelayDead = 20 * time.Second
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "icmp://edge.test", Node{})), healthy, "")
}

// A ping's second begins once the name is known.
func TestPingAfterSlowLookup(t *testing.T) {
	t.Parallel()
	p := fakePinger(t, true, func(to netip.Addr, _ int, req []byte) []packet {
		return []packet{{to.String(), 0, change(req, nil)}}
	})
	defer p.pinger.close()
	s := &nameServer{zone: map[string][]netip.Addr{"edge.test": {netip.MustParseAddr("192.0.2.1")}}, delay: 1200 * time.Millisecond}
	s.serve(t, p)
	got := p.check(t.Context(), pollReplica(t, "icmp://edge.test", Node{}))
	wantVerdict(t, got, healthy, "")
	if got.latency > 500*time.Millisecond {
		t.Errorf("latency %v counts the lookup", got.latency)
	}
}

func TestLookupFamily(t *testing.T) {
	t.Parallel()
	s := &nameServer{zone: map[string][]netip.Addr{
		"both.test": {netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.2")},
		"four.test": {netip.MustParseAddr("192.0.2.1")},
	}}
	d := newDialer(askingAt(s.listen(t)))
	for _, tt := range []struct{ host, family, want string }{
		{"both.test", "", "2001:db8::1 192.0.2.1 192.0.2.2"},
		{"both.test", "ipv4", "192.0.2.1 192.0.2.2"},
		{"both.test", "ipv6", "2001:db8::1"},
		{"four.test", "ipv6", "lookup four.test: no such host"},
		{"192.0.2.7", "ipv6", "no ipv6 address"},
		{"::1", "ipv4", "no ipv4 address"},
		{"::ffff:192.0.2.7", "ipv4", "192.0.2.7"},
	} {
		addrs, err := d.lookup(t.Context(), tt.host, tt.family)
		var got []string
		for _, a := range addrs {
			got = append(got, a.String())
		}
		text := strings.Join(got, " ")
		if err != nil {
			text = reasonFor(err, time.Second, time.Now())
		}
		if text != tt.want {
			t.Errorf("%s, %q: %q, want %q", tt.host, tt.family, text, tt.want)
		}
	}
}

// Of several addresses the first that connects counts, however the others fail;
// when all fail, the reason is one that says something.
func TestDialSeveral(t *testing.T) {
	t.Parallel()
	_, port, _ := net.SplitHostPort(listening(t, silence))
	_, shut, _ := net.SplitHostPort(closedPort(t))
	s := &nameServer{zone: map[string][]netip.Addr{
		"edge.test": {netip.MustParseAddr("100::1"), netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("127.0.0.1")},
	}}
	p := testPoller(t, pollMetrics())
	s.serve(t, p)
	begin := time.Now()
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "tcp://edge.test:"+port, Node{})), healthy, "")
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "tcp://edge.test:"+shut, Node{IPFamily: "ipv4"})), dead, "connection refused")
}

func TestInTurns(t *testing.T) {
	var addrs []netip.Addr
	for _, a := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3", "2001:db8::1", "2001:db8::1"} {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	var got []string
	for _, a := range inTurns(addrs) {
		got = append(got, a.String())
	}
	if want := []string{"2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A socket for pings that cannot be opened, or fails later, is opened anew for
// the next ping.
func TestPingerOpensAnew(t *testing.T) {
	t.Parallel()
	answer := func(to netip.Addr, _ int, req []byte) []packet { return []packet{{to.String(), 0, change(req, nil)}} }
	p := testPoller(t, pollMetrics())
	opened, fault := 0, errors.New("socket: too many open files")
	p.pinger.open = func(bool) (*echoer, error) {
		if fault != nil {
			return nil, fault
		}
		opened++
		return newEchoer(newFakeNet(false, answer), false, true), nil
	}
	r := pollReplica(t, "icmp://192.0.2.1", Node{})
	wantVerdict(t, p.check(t.Context(), r), dead, "socket: too many open files")
	fault = nil
	wantVerdict(t, p.check(t.Context(), r), healthy, "")
	p.pinger.v4.failed.Store(true)
	wantVerdict(t, p.check(t.Context(), r), healthy, "")
	wantVerdict(t, p.check(t.Context(), r), healthy, "")
	if opened != 2 {
		t.Errorf("opened %d times, want 2", opened)
	}
}

// A socket of which reading fails again and again is given up.
func TestEchoerFails(t *testing.T) {
	t.Parallel()
	e := newEchoer(deafNet{newFakeNet(false, nil)}, false, true)
	select {
	case <-e.done:
	case <-time.After(20 * time.Second):
		t.Fatal("it still reads")
	}
	if !e.failed.Load() {
		t.Error("not noted as failed")
	}
	e.close()
}

// A deafNet cannot be read from.
type deafNet struct{ *fakeNet }

func (deafNet) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, errors.New("network is down") }
