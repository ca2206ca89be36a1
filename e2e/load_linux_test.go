package e2e

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const slowConns = 5000 // that send a byte a second each

// underLoad is the program with a target that it polls, while visitors and
// reporters of good will come all the time.
type underLoad struct {
	*running
	t      *testing.T
	hook   *hook
	target net.Listener
	addr   string // of the program

	polled atomic.Int64 // checks of the target
	good   atomic.Int64 // requests that were answered well
}

func newUnderLoad(t *testing.T) *underLoad {
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &underLoad{t: t, hook: newHook(t), target: target}
	go func() {
		for {
			c, err := target.Accept()
			if err != nil {
				return
			}
			c.Close()
			u.polled.Add(1)
		}
	}()
	t.Cleanup(func() { target.Close() })
	u.running = startVigil(t, testPlan{
		hook: u.hook, inMemory: true,
		server:  "reporter_token = \"right\"",
		metrics: "poll_retry_wait = 100\npush_delay_dead = 300",
		nodes:   polledNode("target", "Target", "tcp://"+target.Addr().String()) + pushedNode("jobs", "Jobs"),
	}.String())
	page, err := url.Parse(u.url)
	if err != nil {
		t.Fatal(err)
	}
	u.addr = page.Host
	u.hook.next(t, "startup", "healthy")
	return u
}

// goodWill asks for the page and reports until done is closed, on a new
// connection or on one that stays.
func (u *underLoad) goodWill(done <-chan struct{}, wg *sync.WaitGroup) {
	for i := range 4 {
		client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: i%2 == 0}}
		wg.Go(func() {
			defer client.CloseIdleConnections()
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				case <-time.After(10 * time.Millisecond):
				}
				var req *http.Request
				if n%2 == 0 {
					req, _ = http.NewRequest("GET", u.url, nil)
				} else {
					req, _ = http.NewRequest("POST", u.url+"reporter/web/jobs/", strings.NewReader(`{"replica":"r","interval":30,"load":{"cpu":0,"ram":0}}`))
					req.SetBasicAuth("", "right")
				}
				resp, err := client.Do(req)
				if err != nil {
					u.t.Errorf("%s: %v", req.Method, err)
					return
				}
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK {
					u.t.Errorf("%s: %s, %v", req.Method, resp.Status, err)
					return
				}
				u.good.Add(1)
			}
		})
	}
}

// goesOn reports whether, since an attack began, people got their pages and
// reports through and the target was checked again and again.
func (u *underLoad) goesOn(good, polled int64) bool {
	return u.good.Load() >= good+50 && u.polled.Load() >= polled+3
}

// judge ends an attack by the death of the target, which must be told.
func (u *underLoad) judge() {
	u.t.Helper()
	u.t.Logf("%d good requests, %d checks", u.good.Load(), u.polled.Load())
	u.target.Close()
	u.hook.next(u.t, "changed", "dead")
}

// A slowClient is a connection that sends a byte a second.
type slowClient struct {
	conn net.Conn
	left string // to send
}

// Thousands of connections that send a byte a second each, half of them
// headers, half of them bodies of reports, from four addresses.
func TestSlowConnections(t *testing.T) {
	t.Parallel()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 2*slowConns+1000 {
		t.Fatalf("%d open files are too few for this test (%v)", files.Cur, err)
	}
	u := newUnderLoad(t)
	body := "POST /reporter/web/jobs/ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic OnJpZ2h0\r\nContent-Length: 60000\r\n\r\n"
	dial := func(i int) *slowClient {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%4))}, Timeout: time.Minute}
		c, err := d.Dial("tcp", u.addr)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		s := &slowClient{c, strings.Repeat("GET / HTTP/1.1 \r\n", 10)}
		if i%2 == 0 {
			s.left = strings.Repeat("{", 1000)
			io.WriteString(c, body)
		}
		return s
	}
	clients := make([]*slowClient, slowConns)
	for i := range clients {
		clients[i] = dial(i)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	u.goodWill(done, &wg)
	again := 0
	good, polled := u.good.Load(), u.polled.Load()
	for round := 0; round < 2 || !u.goesOn(good, polled); round++ {
		if round == 60 {
			t.Fatalf("%d good requests and %d checks in a minute", u.good.Load()-good, u.polled.Load()-polled)
		}
		next := time.After(time.Second)
		for i, c := range clients {
			c.conn.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := io.WriteString(c.conn, c.left[:1]); err != nil {
				c.conn.Close() // cut off for being slow; back again
				clients[i] = dial(i)
				again++
				continue
			}
			c.left = c.left[1:]
		}
		<-next
	}
	close(done)
	wg.Wait()
	u.judge()
	t.Logf("%d slow connections, %d of them cut off", slowConns, again)
	for _, c := range clients {
		c.conn.Close()
	}
	u.stop(syscall.SIGTERM)
}

// As many wrong tokens a second as the machine can bring forth.
func TestWrongTokenFlood(t *testing.T) {
	t.Parallel()
	u := newUnderLoad(t)
	done := make(chan struct{})
	var wg sync.WaitGroup
	var wrong, throttled atomic.Int64
	for i := range 32 {
		c, err := net.Dial("tcp", u.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		token := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, ":wrong%d", i))
		request := "POST /reporter/web/jobs/ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + token + "\r\nContent-Length: 0\r\n\r\n"
		wg.Go(func() {
			in := bufio.NewReader(c)
			for {
				select {
				case <-done:
					return
				default:
				}
				io.WriteString(c, request)
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Errorf("wrong token: %v", err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				switch resp.StatusCode {
				case http.StatusForbidden:
				case http.StatusTooManyRequests:
					throttled.Add(1)
				default:
					t.Errorf("wrong token: %s", resp.Status)
					return
				}
				wrong.Add(1)
			}
		})
	}
	u.goodWill(done, &wg)
	good, polled := u.good.Load(), u.polled.Load()
	await(t, func() bool { return u.goesOn(good, polled) && wrong.Load() >= 1000 }, "good requests, checks and wrong tokens")
	close(done)
	wg.Wait()
	u.judge()
	n := wrong.Load()
	if throttled.Load() < n-3*wrongTokens {
		t.Errorf("%d of %d wrong tokens were throttled", throttled.Load(), n)
	}
	if lines := strings.Count(u.logged(), "wrong tokens keep coming"); lines == 0 || lines > 2 {
		t.Errorf("%d warnings of them", lines)
	}
	u.stop(syscall.SIGTERM)
}
