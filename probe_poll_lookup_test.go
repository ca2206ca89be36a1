package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A nameServer answers queries for the names in zone and services. Names that
// start with "broken" make it fail, those with "silent" get no answer, and all
// others do not exist.
type nameServer struct {
	zone     map[string][]netip.Addr
	services map[string]dnsmessage.SRVResource
	delay    time.Duration
	drop     dnsmessage.Type // never answered
	queries  atomic.Int32    // for IPv4 addresses
}

// serve answers queries for p until the test ends.
func (s *nameServer) serve(t *testing.T, p *poller) {
	t.Helper()
	to := askingAt(s.listen(t))
	p.pinger.resolver.PreferGo, p.pinger.resolver.Dial = to.PreferGo, to.Dial
}

// askingAt is the resolver that asks a nameServer.
func askingAt(address string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", address)
	}}
}

// listen answers queries until the test ends, and returns where.
func (s *nameServer) listen(t *testing.T) (address string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if answer, ok := s.answer(b[:n]); ok {
				time.AfterFunc(s.delay, func() { conn.WriteTo(answer, from) })
			}
		}
	}()
	return conn.LocalAddr().String()
}

func (s *nameServer) answer(query []byte) ([]byte, bool) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil {
		return nil, false
	}
	question, err := parser.Question()
	if err != nil {
		return nil, false
	}
	if question.Type == dnsmessage.TypeA {
		s.queries.Add(1)
	}
	name := strings.TrimSuffix(question.Name.String(), ".")
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true, RecursionAvailable: true},
		Questions: []dnsmessage.Question{question},
	}
	service, isService := s.services[name]
	switch addrs, ok := s.zone[name]; {
	case strings.HasPrefix(name, "silent"), question.Type == s.drop:
		return nil, false
	case strings.HasPrefix(name, "broken"):
		m.RCode = dnsmessage.RCodeServerFailure
	case isService && question.Type == dnsmessage.TypeSRV:
		header := dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class, TTL: 60}
		m.Answers = []dnsmessage.Resource{{Header: header, Body: &service}}
	case !ok:
		m.RCode = dnsmessage.RCodeNameError
	default:
		for _, addr := range addrs {
			r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class, TTL: 60}}
			switch {
			case addr.Is4() && question.Type == dnsmessage.TypeA:
				r.Body = &dnsmessage.AResource{A: addr.As4()}
			case addr.Is6() && question.Type == dnsmessage.TypeAAAA:
				r.Body = &dnsmessage.AAAAResource{AAAA: addr.As16()}
			default:
				continue
			}
			m.Answers = append(m.Answers, r)
		}
	}
	b, err := m.Pack()
	return b, err == nil
}

func TestLookupReasons(t *testing.T) {
	t.Parallel()
	hasty := pollMetrics() // for those that never get an answer
	hasty.PollDelaySick, hasty.PollDelayDead = 200*time.Millisecond, 300*time.Millisecond
	impatient, p := testPoller(t, hasty), testPoller(t, pollMetrics())
	new(nameServer).serve(t, impatient)
	new(nameServer).serve(t, p)
	var checks sync.WaitGroup
	for _, scheme := range []string{"tcp", "http", "https", "ssh", "icmp"} {
		for name, reason := range map[string]string{
			"edge-9.test":   "lookup edge-9.test: no such host",
			"broken.test":   "lookup broken.test: server misbehaving",
			"silent.test":   "lookup silent.test: no answer in 300 ms",
			"bücher.test":   "lookup xn--bcher-kva.test: no such host",
			"silent-2.test": "lookup silent-2.test: no answer in 300 ms",
		} {
			url := scheme + "://" + name
			if scheme != "icmp" {
				url += ":1"
			}
			asker := p
			if strings.HasPrefix(name, "silent") {
				asker = impatient
			}
			r := pollReplica(t, url, Node{})
			checks.Go(func() { wantVerdict(t, asker.check(t.Context(), r), dead, reason) })
		}
	}
	checks.Wait()
	gone := closedPort(t)
	p.pinger.resolver.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", gone)
	}
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "tcp://edge-9.test:1", Node{})), dead,
		"lookup edge-9.test: name server: connection refused")
}

// What a check finds out of a name is its addresses, once each, and not what
// the resolver connects to.
func TestLookupTraced(t *testing.T) {
	p := testPoller(t, pollMetrics())
	local := netip.MustParseAddr("127.0.0.1")
	(&nameServer{zone: map[string][]netip.Addr{"host.test": {local, local}}}).serve(t, p)
	gone := closedPort(t)
	_, port, _ := net.SplitHostPort(gone)
	for url, want := range map[string]string{
		"tcp://edge-9.test:" + port: "edge-9.test [] no such host",
		"tcp://host.test:" + port:   "host.test [127.0.0.1] , " + gone + " connection refused",
		"icmp://host.test":          "host.test [127.0.0.1] , echo of 127.0.0.1 ",
	} {
		seen := new(trace)
		v := p.check(withTrace(t.Context(), seen), pollReplica(t, url, Node{}))
		if strings.HasPrefix(v.reason, "ICMP not permitted") {
			continue
		}
		got := fmt.Sprintf("%s %v %s", seen.Lookup.Name, seen.Lookup.Addresses, seen.Lookup.Error)
		for _, c := range seen.Connects {
			got += ", " + c.Address + " " + c.Error
		}
		for _, e := range seen.Echoes {
			got += ", echo of " + e.Address + " " + e.Error
		}
		if got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

// Checks of one name at the same time share one lookup; the next check makes
// its own.
func TestLookupShared(t *testing.T) {
	t.Parallel()
	p := testPoller(t, pollMetrics())
	s := &nameServer{zone: map[string][]netip.Addr{"edge.test": {netip.MustParseAddr("127.0.0.1")}}, delay: 200 * time.Millisecond}
	s.serve(t, p)
	_, port, _ := net.SplitHostPort(listening(t, silence))
	r := pollReplica(t, "tcp://edge.test:"+port, Node{})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { wantVerdict(t, p.check(t.Context(), r), healthy, "") })
	}
	wg.Wait()
	if n := s.queries.Load(); n != 1 {
		t.Errorf("%d queries of 50 checks at the same time", n)
	}
	wantVerdict(t, p.check(t.Context(), r), healthy, "")
	if n := s.queries.Load(); n != 2 {
		t.Errorf("%d queries after another check, want 2", n)
	}
}

// An address that does not answer does not hold up the others of its name.
func TestHappyEyeballs(t *testing.T) {
	t.Parallel()
	p := testPoller(t, pollMetrics())
	(&nameServer{zone: map[string][]netip.Addr{
		"edge.test": {netip.MustParseAddr("100::1"), netip.MustParseAddr("127.0.0.1")}, // RFC 6666: discard-only
	}}).serve(t, p)
	_, port, _ := net.SplitHostPort(listening(t, silence))
	got := p.check(t.Context(), pollReplica(t, "tcp://edge.test:"+port, Node{}))
	wantVerdict(t, got, healthy, "")
	if got.latency > 10*time.Second {
		t.Errorf("took %v", got.latency)
	}
}

// A host is as healthy as the worst of its addresses.
func TestPingNameWithSeveralAddresses(t *testing.T) {
	t.Parallel()
	p := fakePinger(t, true, func(to netip.Addr, _ int, req []byte) []packet {
		if to.String() == "192.0.2.2" {
			return nil
		}
		return []packet{{to.String(), 0, change(req, nil)}}
	})
	defer p.pinger.close()
	p.metrics.PollDelayDead = 300 * time.Millisecond
	one, two, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")
	s := &nameServer{zone: map[string][]netip.Addr{"good.test": {one, six}, "half.test": {one, two, six}, "bad.test": {two}}}
	s.serve(t, p)
	for name, reason := range map[string]string{
		"good.test": "", "half.test": "192.0.2.2: no answer in 300 ms", "bad.test": "no answer in 300 ms",
	} {
		want := dead
		if reason == "" {
			want = healthy
		}
		wantVerdict(t, p.check(t.Context(), pollReplica(t, "icmp://"+name, Node{})), want, reason)
	}
}
