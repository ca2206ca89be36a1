package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"
)

// An answer is rendered once per snapshot and second, however many ask, and
// seldom when rendering takes long.
func TestReplyCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c replyCache
		first, second := new(snapshot), new(snapshot)
		rendered := 0
		takes := 10 * time.Millisecond
		ask := func(snap *snapshot, want int) {
			t.Helper()
			for range 3 {
				r, err := c.get("route", snap, func() (*reply, error) {
					rendered++
					time.Sleep(takes)
					return newReply(fmt.Append(nil, rendered), nil), nil
				})
				if err != nil || string(r.plain.body) != fmt.Sprint(want) {
					t.Errorf("got %s, %v, want %d", r.plain.body, err, want)
				}
			}
		}
		ask(first, 1)
		ask(second, 1)
		time.Sleep(renderEvery)
		ask(second, 2)
		time.Sleep(pastAge / 2)
		ask(second, 2)
		takes = time.Second
		time.Sleep(pastAge)
		ask(second, 3)
		time.Sleep(renderShare*time.Second - time.Millisecond)
		ask(first, 3)
		time.Sleep(2 * time.Millisecond)
		ask(first, 4)
	})
}

// An answer that nobody asks for any more keeps no old snapshot.
func TestReplyCacheKeepsNoSnapshot(t *testing.T) {
	var c replyCache
	snap := &snapshot{conf: new(Config)}
	old := weak.Make(snap)
	if _, err := c.get("route", snap, func() (*reply, error) { return newReply(nil, nil), nil }); err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(snap)
	snap = nil
	runtime.GC()
	if old.Value() != nil {
		t.Error("it is still there")
	}
	runtime.KeepAlive(&c)
}

// Those who ask while an answer is rendered wait for it.
func TestReplyCacheShares(t *testing.T) {
	var c replyCache
	snap, rendered := new(snapshot), 0
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			c.get("route", snap, func() (*reply, error) {
				rendered++
				return newReply(nil, nil), nil
			})
		})
	}
	wg.Wait()
	if rendered != 1 {
		t.Errorf("rendered %d times", rendered)
	}
}

// A cache that is full starts over; an error is not kept.
func TestReplyCacheBounds(t *testing.T) {
	var c replyCache
	snap := new(snapshot)
	body := bytes.Repeat([]byte("x"), maxCachedSize/10)
	for i := range 30 {
		if _, err := c.get(fmt.Sprint(i), snap, func() (*reply, error) { return &reply{plain: variant{body: body}}, nil }); err != nil {
			t.Fatal(err)
		}
		if c.size > maxCachedSize || len(c.entries) > 11 || c.size < len(body) {
			t.Fatalf("%d bytes in %d entries", c.size, len(c.entries))
		}
	}
	for i := range 2 * maxCached {
		c.get(fmt.Sprint(i), snap, func() (*reply, error) { return &reply{}, nil })
	}
	if len(c.entries) > maxCached {
		t.Errorf("%d entries", len(c.entries))
	}
	fault := errors.New("no")
	if _, err := c.get("bad", snap, func() (*reply, error) { return nil, fault }); err != fault {
		t.Error(err)
	}
	if r, err := c.get("bad", snap, func() (*reply, error) { return &reply{plain: variant{body: body}}, nil }); err != nil || len(r.plain.body) != len(body) {
		t.Error(r, err)
	}
}

// A body counts once for all its readers; with too many bytes waiting, the
// slowest readers lose their connections, and only they.
func TestUnreadAnswers(t *testing.T) {
	u := newUnreadAnswers(4 * minUnread)
	join := func(body []byte) (net.Conn, func()) {
		mine, theirs := net.Pipe()
		t.Cleanup(func() { mine.Close(); theirs.Close() })
		return theirs, u.begin(&conn{Conn: mine}, body)
	}
	open := func(c net.Conn) bool {
		c.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		return err != io.EOF
	}
	old, shared := make([]byte, 2*minUnread), make([]byte, 2*minUnread)
	a, endA := join(old)
	b, endB := join(old)
	c, endC := join(shared)
	d, endD := join(shared)
	_, endSmall := join(make([]byte, minUnread-1))
	endSmall()
	if u.size != 4*minUnread || !open(a) || !open(b) || !open(c) || !open(d) {
		t.Fatalf("%d bytes counted", u.size)
	}
	endA()
	if u.size != 4*minUnread {
		t.Errorf("%d bytes counted while another reads the same", u.size)
	}
	e, endE := join(make([]byte, 2*minUnread))
	if open(b) || !open(c) || !open(d) || !open(e) || u.dropped.Load() != 1 {
		t.Error("not the slowest one was closed, or not it alone")
	}
	endB()
	f, endF := join(make([]byte, 100*minUnread)) // too much by itself: all others go
	if open(c) || open(d) || open(e) || !open(f) || u.size != 100*minUnread {
		t.Errorf("%d bytes counted beside the only answer", u.size)
	}
	for _, end := range []func(){endC, endD, endE, endF} {
		end()
	}
	if u.size != 0 || len(u.readers) != 0 || u.writes.Len() != 0 {
		t.Errorf("left over: %d bytes, %d bodies, %d writes", u.size, len(u.readers), u.writes.Len())
	}
}

// Clients that ask for the largest answers and never read them neither fill the
// memory nor keep others waiting.
func TestHostileReaders(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	for i := range 3000 {
		ev := &loadReport{rig.snaps.load().services[0].nodes[1].conf, report{
			replica: fmt.Sprint("host-", i), interval: time.Hour, load: new(replicaLoad)}, nil}
		rig.events <- ev
	}
	rig.until(t, "all replicas", func(s *snapshot) bool { return s.services[0].nodes[1].replicas.len() == 3000 })
	p, err := newPage(rig.snaps, rig.reporter.throttle.log)
	if err != nil {
		t.Fatal(err)
	}
	addr := serveTest(t, p.handler(map[string]http.Handler{"mcp": newMCP(rig.snaps, "1.2.3")}))
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_report"}}`
	post := func(body string) string {
		return fmt.Sprintf("POST /mcp/probes HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	requests := []string{
		"GET /status/report HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /status/history HTTP/1.1\r\nHost: x\r\n\r\n",
		post(call),
		post("[" + strings.Repeat(call+",", 31) + call + "]"),
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range 100 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.(*net.TCPConn).SetReadBuffer(4 << 10)
		c.SetWriteDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, strings.Repeat(requests[i%len(requests)], 100))
	}
	for range 20 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(c, "GET /status/text HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp, err)
		}
		c.Close()
	}
	if after := heap(); after > before+48<<20 {
		t.Errorf("100 readers that do not read hold %d MiB", (after-before)>>20)
	}
}
