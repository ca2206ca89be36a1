package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkProgram shows how small the program is: the size of the stripped
// static binary (at most 10 MiB), the time from exec to the first page
// answered (at most 100 ms), and the memory that stays resident with 100
// replicas once all were checked (at most 20 MiB).
func BenchmarkProgram(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("reads /proc")
	}
	dir := b.TempDir()
	path := filepath.Join(dir, "vigil")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer target.Close()
	go accept(target, func(conn net.Conn) { conn.Close() })
	address := freeAddress(b)
	var config strings.Builder
	fmt.Fprintf(&config, "[server]\ninet = %q\n[branding]\npage_url = \"http://localhost/\"\n[metrics]\npoll_interval = 5\n", address)
	for s := range 10 {
		fmt.Fprintf(&config, "[[probe.service]]\nid = \"s%d\"\nlabel = \"Service %d\"\n", s, s)
		for n := range 10 {
			fmt.Fprintf(&config, "[[probe.service.node]]\nid = \"n%d\"\nlabel = \"Node %d\"\nmode = \"poll\"\nreplicas = [\"tcp://%s\"]\n", n, n, target.Addr())
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "config.cfg"), []byte(config.String()), 0o600); err != nil {
		b.Fatal(err)
	}

	var first time.Duration
	var resident int64
	for b.Loop() {
		cmd := exec.Command(path)
		cmd.Dir = dir
		start := time.Now()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		for {
			resp, err := http.Get("http://" + address + "/")
			if err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				break
			}
			if time.Since(start) > 10*time.Second {
				b.Fatal("the program does not serve")
			}
			time.Sleep(time.Millisecond)
		}
		first = max(first, time.Since(start))
		time.Sleep(6 * time.Second) // a first and a second check of each
		resident = max(resident, residentBytes(b, cmd.Process.Pid))
		cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(info.Size())/(1<<20), "binary-MiB(10)")
	b.ReportMetric(float64(first)/float64(time.Millisecond), "first-answer-ms(100)")
	b.ReportMetric(float64(resident)/(1<<20), "resident-MiB(20)")
}

// accept handles connections until the listener is closed.
func accept(ln net.Listener, handle func(net.Conn)) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go handle(conn)
	}
}

// freeAddress returns a loopback address on which nobody listens. Its port lies
// below those that the kernel gives to clients, so that it stays free.
func freeAddress(tb testing.TB) string {
	tb.Helper()
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(20_000+rand.IntN(12_000)))
		if ln, err := net.Listen("tcp", address); err == nil {
			ln.Close()
			return address
		}
	}
	tb.Fatal("no free port")
	return ""
}

// residentBytes returns the resident memory of a process.
func residentBytes(tb testing.TB, pid int) int64 {
	tb.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				tb.Fatal(err)
			}
			return kB << 10
		}
	}
	tb.Fatal("no VmRSS")
	return 0
}

// BenchmarkHungTargets shows, in real time and on real sockets, that targets
// which accept and never answer do not starve the others: of 200 HTTP targets
// half hang, 16 are checked at once, all times are a sixtieth of the usual
// ones. It reports the healthy half's longest gap as a share of the interval
// (at most 1.1).
func BenchmarkHungTargets(b *testing.B) {
	const interval = time.Second
	hang := make(chan struct{})
	defer close(hang)
	slow, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer slow.Close()
	go accept(slow, func(conn net.Conn) { <-hang; conn.Close() })
	fast, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go server.Serve(fast)
	defer server.Close()

	node := &Node{ID: "node", Mode: modePoll}
	for i := range 200 {
		address := fast.Addr()
		if i%2 == 1 {
			address = slow.Addr()
		}
		target, err := parseTarget(fmt.Sprintf("http://%s/%d", address, i))
		if err != nil {
			b.Fatal(err)
		}
		node.Targets = append(node.Targets, target)
	}
	m := Metrics{
		PollInterval: interval, PollParallelism: 16, RetryCount: 1, RetryWait: interval / 30,
		PollDelayDead: interval / 6, PollDelaySick: interval / 12,
		HTTPHealthyAbove: 200, HTTPHealthyBelow: 400,
	}
	log := slog.New(slog.DiscardHandler)
	var worst time.Duration
	for b.Loop() {
		poller, err := newPoller(m, "http://localhost/", newPinger(log))
		if err != nil {
			b.Fatal(err)
		}
		events := make(chan event, eventBuffer)
		p := newTestPool(m, replicas([]*Service{{ID: "s", Nodes: []*Node{node}}}), poller.check, events)
		ctx, cancel := context.WithTimeout(b.Context(), 12*interval)
		var wg sync.WaitGroup
		wg.Go(func() {
			last := make(map[int]time.Time)
			for {
				select {
				case ev := <-events:
					res := ev.(result)
					if at := last[res.replica.ordinal]; res.status != dead && !at.IsZero() {
						worst = max(worst, res.at.Sub(at))
					}
					last[res.replica.ordinal] = res.at
				case <-ctx.Done():
					return
				}
			}
		})
		if err := p.run(ctx, nil); err != nil {
			b.Fatal(err)
		}
		cancel()
		wg.Wait()
	}
	b.ReportMetric(float64(worst)/float64(interval), "gap/interval(1.1)")
}
