package main

import (
	"errors"
	"hash/maphash"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// wrongTokens is how many wrong tokens an address may send in each
	// throttleWindow before it is told to wait.
	wrongTokens    = 10
	throttleWindow = time.Minute

	// throttleSlots bounds the memory: 8 bytes for each.
	throttleSlots = 4096
)

// A throttle tells those who send wrong tokens to wait. The right token always
// passes, from whatever address: behind a reverse proxy all have the same one,
// and nobody there shall be able to lock the others out.
//
// Addresses share a fixed number of counters, by a hash that nobody outside
// can foresee. Where two meet in one, a wrong token is answered with 429 where
// it might have been 403.
type throttle struct {
	log    *slog.Logger
	seed   maphash.Seed
	slots  [throttleSlots]atomic.Uint64 // number of the window << 32 | wrong tokens in it
	warned atomic.Int64                 // number of the window that has its warning
	wrong  atomic.Int64                 // wrong tokens since the start
}

func newThrottle(log *slog.Logger) *throttle {
	return &throttle{log: log, seed: maphash.MakeSeed()}
}

// judge returns err, the outcome of r, but instead of a wrong token too many a
// refusal that says how long to wait.
func (t *throttle) judge(r *http.Request, err error) error {
	if !errors.Is(err, errWrongToken) {
		return err
	}
	wait := t.count(clientNet(r.RemoteAddr), time.Now())
	if wait == 0 {
		return err
	}
	return &refusal{
		code:   http.StatusTooManyRequests,
		text:   "too many wrong tokens from this address: wait before the next one",
		header: "Retry-After",
		value:  strconv.Itoa(int(math.Ceil(wait.Seconds()))),
	}
}

// count counts a wrong token and returns how long its sender is to wait; 0 is
// not at all. It logs one address in each window.
func (t *throttle) count(from netip.Prefix, now time.Time) time.Duration {
	t.wrong.Add(1)
	const width = int64(throttleWindow / time.Second)
	window := now.Unix() / width
	slot := t.slot(from)
	for {
		old := slot.Load()
		next := uint64(window)<<32 | 1
		if old>>32 == uint64(window) {
			next = old + 1
			if uint32(old) > wrongTokens {
				next = old // enough is enough
			}
		}
		if !slot.CompareAndSwap(old, next) {
			continue
		}
		if uint32(next) <= wrongTokens {
			return 0
		}
		if last := t.warned.Load(); last != window && t.warned.CompareAndSwap(last, window) {
			t.log.Warn("wrong tokens keep coming", "from", from, "since start", t.wrong.Load())
		}
		return time.Unix((window+1)*width, 0).Sub(now)
	}
}

func (t *throttle) slot(from netip.Prefix) *atomic.Uint64 {
	return &t.slots[maphash.Comparable(t.seed, from)%throttleSlots]
}

// clientNet is whom a request or connection comes from: an IPv4 address or,
// as one customer commonly has all of it, the /64 of an IPv6 address. It is
// the zero prefix where addr is none.
func clientNet(addr string) netip.Prefix {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return netip.Prefix{}
	}
	return clientPrefix(ap.Addr())
}

func clientPrefix(ip netip.Addr) netip.Prefix {
	bits := 64
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		bits = 32
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// connNet is clientNet of a connection.
func connNet(c net.Conn) netip.Prefix {
	if addr, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return clientPrefix(addr.AddrPort().Addr())
	}
	return netip.Prefix{}
}
