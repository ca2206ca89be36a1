package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/ipv6"
)

// All addresses of a host must answer, and the slowest counts.
func TestPingEveryAddress(t *testing.T) {
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")}
	for _, tt := range []struct {
		silent, unreachable string
		worst               time.Duration
		reason              string
	}{
		{"", "", 300 * time.Millisecond, ""},
		{"192.0.2.2", "", 0, "192.0.2.2: no answer in 1 s"},
		{"192.0.2.2", "2001:db8::1", 0, "2001:db8::1: host unreachable"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := fakePinger(t, true, func(to netip.Addr, _ int, req []byte) []packet {
				switch s := to.String(); s {
				case tt.silent:
					return nil
				case tt.unreachable:
					return []packet{{"2001:db8::ff", 0, quoted(ipv6.ICMPTypeDestinationUnreachable, 3, s, req, nil)}}
				case "192.0.2.2":
					return []packet{{s, 300 * time.Millisecond, change(req, nil)}}
				default:
					return []packet{{s, 20 * time.Millisecond, change(req, nil)}}
				}
			})
			defer p.pinger.close()
			worst, addr, err := p.pinger.ping(t.Context(), addrs, pingLimit)
			reason := ""
			if err != nil {
				reason = reasonFor(&addrError{addr, err}, pingLimit, time.Now())
			}
			if worst != tt.worst || reason != tt.reason {
				t.Errorf("got %v %q, want %v %q", worst, reason, tt.worst, tt.reason)
			}
		})
	}
}

// 4,000 hosts are pinged together, three times over. Each answers after a time
// of its own; a third answers the first ping only when the second is under
// way, a third doubles its answers, and the rest is noisy. No answer is lost
// or credited to another ping, which the exact latencies show.
func TestPingTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const hosts = 4000
		delay := func(addr netip.Addr, n int) time.Duration {
			b := addr.As4()
			i := int(b[2])<<8 | int(b[3])
			if i%3 == 0 && n == 1 {
				return 1200 * time.Millisecond
			}
			return time.Duration(i*n*7%900+1) * time.Millisecond
		}
		p := fakePinger(t, true, func(to netip.Addr, n int, req []byte) []packet {
			d := delay(to, n)
			reply := packet{to.String(), d, change(req, nil)}
			switch b := to.As4(); (int(b[2])<<8 | int(b[3])) % 3 {
			case 1:
				return []packet{reply, reply, {to.String(), d + 300*time.Millisecond, change(req, nil)}}
			case 2:
				foreign := change(req, func(b []byte) []byte { b[4] ^= 0xff; return b })
				cut := change(req, func(b []byte) []byte { return b[:8] })
				return []packet{{to.String(), d / 2, foreign}, {to.String(), d / 3, cut}, {"192.0.2.1", d / 2, change(req, nil)}, reply}
			}
			return []packet{reply}
		})
		for n := 1; n <= 3; n++ {
			var wg sync.WaitGroup
			for i := range hosts {
				addr := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
				r := pollReplica(t, "icmp://"+addr.String(), Node{})
				wg.Go(func() {
					got := p.check(t.Context(), r)
					if d := delay(addr, n); d > pingLimit {
						wantVerdict(t, got, dead, "no answer in 1 s")
					} else if got.status != healthy || got.latency != d {
						t.Errorf("%v, ping %d: %v %q after %v, want %v", addr, n, got.status, got.reason, got.latency, d)
					}
				})
			}
			wg.Wait()
		}
		time.Sleep(time.Minute)
		if n := len(p.pinger.v4.waiting); n != 0 {
			t.Errorf("still waiting for %d", n)
		}
		p.pinger.close()
	})
}

// Requests go out spread, so that the answers do not all come at once.
func TestPingPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		sent := make(map[time.Duration]int) // by the millisecond
		start := time.Now()
		p := fakePinger(t, true, func(to netip.Addr, _ int, req []byte) []packet {
			mu.Lock()
			defer mu.Unlock()
			sent[time.Since(start).Truncate(time.Millisecond)]++
			return []packet{{to.String(), 0, change(req, nil)}}
		})
		defer p.pinger.close()
		var wg sync.WaitGroup
		for i := range 1000 {
			r := pollReplica(t, fmt.Sprintf("icmp://10.0.%d.%d", i>>8, i&255), Node{})
			wg.Go(func() { p.check(t.Context(), r) })
		}
		wg.Wait()
		for at, n := range sent {
			if most := int(echoSlack/echoSpacing) + 1; n > most {
				t.Errorf("%d requests in the millisecond at %v, want %d at most", n, at, most)
			}
		}
		if took := time.Since(start); took > 60*time.Millisecond {
			t.Errorf("1000 requests took %v", took)
		}
	})
}

func TestPingCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fakePinger(t, true, func(netip.Addr, int, []byte) []packet { return nil })
		defer p.pinger.close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		start := time.Now()
		p.check(ctx, pollReplica(t, "icmp://192.0.2.1", Node{}))
		if took := time.Since(start); took != 10*time.Millisecond {
			t.Errorf("took %v to notice the end", took)
		}
	})
}

// The limit is the lower one of poll_delay_dead and a second.
func TestPingLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fakePinger(t, true, func(netip.Addr, int, []byte) []packet { return nil })
		defer p.pinger.close()
		p.metrics.PollDelayDead = 500 * time.Millisecond
		got := p.check(t.Context(), pollReplica(t, "icmp://192.0.2.1", Node{}))
		wantVerdict(t, got, dead, "no answer in 500 ms")
		if got.latency != 500*time.Millisecond {
			t.Errorf("gave up after %v", got.latency)
		}
	})
}

// brokenNet is a socket that cannot send.
type brokenNet struct {
	*fakeNet
	err error
}

func (b brokenNet) WriteTo([]byte, net.Addr) (int, error) { return 0, b.err }

func TestPingCannotSend(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err    error
		reason string
	}{
		{os.ErrDeadlineExceeded, "cannot send: too many unanswered packets"},
		{&net.OpError{Op: "write", Err: fs.ErrPermission}, "cannot send: refused by this host's firewall"},
		{&net.OpError{Op: "write", Err: errors.New("network is unreachable")}, "write: network is unreachable"},
	} {
		p := testPoller(t, pollMetrics())
		p.pinger.v4 = newEchoer(brokenNet{newFakeNet(false, nil), tt.err}, false, true)
		wantVerdict(t, p.check(t.Context(), pollReplica(t, "icmp://192.0.2.1", Node{})), dead, tt.reason)
		if n := len(p.pinger.v4.waiting); n != 0 {
			t.Errorf("still waiting for %d", n)
		}
	}
}

// On the real loopback interface: pings where the system permits them, and
// else the reason why not. A burst of 4,000 leaves no answer behind.
func TestPingLoopback(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	p, err := newPoller(pollMetrics(), "", newPinger(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	defer p.pinger.close()
	got := p.check(t.Context(), pollReplica(t, "icmp://127.0.0.1", Node{}))
	if p.pinger.refused {
		p.check(t.Context(), pollReplica(t, "icmp://127.0.0.2", Node{}))
		wantVerdict(t, got, dead, errNotPermitted.Error())
		if strings.Count(log.String(), "cannot ping") != 1 {
			t.Errorf("logged %q", log.String())
		}
		return
	}
	wantVerdict(t, got, healthy, "")
	if _, err := p.pinger.echoer(true); err == nil {
		wantVerdict(t, p.check(t.Context(), pollReplica(t, "icmp://[::1]", Node{})), healthy, "")
	}
	// A machine that is busy with something else may not send them all within
	// their second; then the whole burst says nothing, and there is another.
	var lost string
	for range 5 {
		if lost = pingBurst(t, p, 4000); lost == "" {
			break
		}
	}
	if lost != "" {
		t.Errorf("in each of five bursts something was lost, in the last one: %.1000s", lost)
	}
	if log.Len() > 0 {
		t.Errorf("logged %q", log.String())
	}
}

// pingBurst pings so many loopback addresses at once and returns what was not
// healthy.
func pingBurst(t *testing.T, p *poller, n int) string {
	var mu sync.Mutex
	var lost strings.Builder
	var wg sync.WaitGroup
	for i := range n {
		r := pollReplica(t, fmt.Sprintf("icmp://127.1.%d.%d", i>>8, i&255), Node{})
		wg.Go(func() {
			if got := p.check(t.Context(), r); got.status != healthy {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(&lost, "%s: %v %q; ", r.id, got.status, got.reason)
			}
		})
	}
	wg.Wait()
	return lost.String()
}

// Where nothing is permitted the log says so once, and each result as well.
func TestPingNotPermitted(t *testing.T) {
	t.Parallel()
	p := testPoller(t, pollMetrics())
	p.pinger.open = func(bool) (*echoer, error) { return nil, fs.ErrPermission }
	for _, target := range []string{"icmp://127.0.0.1", "icmp://[::1]"} {
		wantVerdict(t, p.check(t.Context(), pollReplica(t, target, Node{})), dead, errNotPermitted.Error())
	}
	if r := errNotPermitted.Error(); oneLine(r) != r {
		t.Errorf("too long for a reason: %q", r)
	}
}

func TestPingLookup(t *testing.T) {
	t.Parallel()
	p := testPoller(t, pollMetrics())
	for host, want := range map[string]string{
		"127.0.0.1": "[127.0.0.1]", "::ffff:192.0.2.1": "[192.0.2.1]", "fe80::1%eth0": "[fe80::1%eth0]",
	} {
		addrs, err := p.dialer.lookup(t.Context(), host, "")
		if got := fmt.Sprint(addrs); got != want || err != nil {
			t.Errorf("lookup(%q) = %v, %v, want %v", host, got, err, want)
		}
	}
	addrs, err := p.dialer.lookup(t.Context(), "localhost", "")
	if err != nil || len(addrs) == 0 || !addrs[0].IsLoopback() {
		t.Errorf("lookup of localhost: %v, %v", addrs, err)
	}
}
