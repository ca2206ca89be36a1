//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The figures of the probes: the CPU time of a check beside that of the barest
// loop which does the same, at the same width and in the same run. The servers
// run in a process of their own so that only the client side counts. Of TCP and
// HTTP the ratio may be 1.25.
//
//	go test -run '^$' -bench Probe -benchtime 20000x

// serveBench, in a child process, serves until its standard input ends.
func serveBench() {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	ssh, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	greeting := []byte("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n" + sshPacket(sshKex()))
	go accept(tcp, func(conn net.Conn) { conn.Close() })
	go accept(ssh, func(conn net.Conn) {
		conn.Write(greeting)
		io.Copy(io.Discard, conn)
		conn.Close()
	})
	go http.Serve(web, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "fine\n")
	}))
	fmt.Println(tcp.Addr(), web.Addr(), ssh.Addr())
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// benchServers starts the child and returns the addresses of its servers.
func benchServers(b *testing.B) (tcp, web, ssh string) {
	b.Helper()
	if os.Getenv("VIGIL_BENCH_SERVER") != "" {
		serveBench()
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^"+b.Name()+"$", "-test.benchtime=1x")
	cmd.Env = append(os.Environ(), "VIGIL_BENCH_SERVER=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			b.Fatal("no addresses from the server: ", err)
		}
		if all := strings.Fields(line); len(all) == 3 && strings.HasPrefix(line, "127.0.0.1:") {
			return all[0], all[1], all[2]
		}
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cpuPerCheck runs check n times on width goroutines and returns the CPU time
// of one.
func cpuPerCheck(b *testing.B, width, n int, check func() error) time.Duration {
	b.Helper()
	before := cpuTime()
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for range width {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := check(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return (cpuTime() - before) / time.Duration(n)
}

// compare reports the CPU time of probe over that of bare: medians of many
// short turns, taken alternately, because what else the machine does in one
// turn may outweigh both.
func compare(b *testing.B, probe, bare func() error) {
	for _, width := range []int{3, 16, 100} {
		b.Run(fmt.Sprintf("width=%d", width), func(b *testing.B) {
			const turns = 41
			n := max(b.N/turns, width)
			cpuPerCheck(b, width, n, bare) // warm up
			cpuPerCheck(b, width, n, probe)
			var ours, theirs []time.Duration
			for range turns {
				theirs = append(theirs, cpuPerCheck(b, width, n, bare))
				ours = append(ours, cpuPerCheck(b, width, n, probe))
			}
			slices.Sort(ours)
			slices.Sort(theirs)
			b.ReportMetric(float64(ours[turns/2]), "cpu-ns/check")
			b.ReportMetric(float64(theirs[turns/2]), "cpu-ns/bare")
			b.ReportMetric(float64(ours[turns/2])/float64(theirs[turns/2]), "ratio")
		})
	}
}

func benchReplica(b *testing.B, scheme, addr string) (*poller, *replica) {
	b.Helper()
	p, err := newPoller(Metrics{
		PollDelaySick: 5 * time.Second, PollDelayDead: 10 * time.Second,
		HTTPHealthyAbove: 200, HTTPHealthyBelow: 400,
	}, "https://status.example", newPinger(slog.New(slog.DiscardHandler)))
	if err != nil {
		b.Fatal(err)
	}
	u, err := url.Parse(scheme + "://" + addr)
	if err != nil {
		b.Fatal(err)
	}
	n := &Node{Targets: []Target{{Raw: u.String(), Scheme: scheme, Host: u.Hostname(), Port: u.Port(), URL: u}}}
	return p, &replica{service: &Service{}, node: n, id: u.String()}
}

func BenchmarkTCPProbe(b *testing.B) {
	addr, _, _ := benchServers(b)
	p, r := benchReplica(b, "tcp", addr)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	dialer := net.Dialer{Timeout: 10 * time.Second}
	compare(b, func() error {
		if res := p.check(ctx, r); res.status != healthy {
			return fmt.Errorf("%v: %s", res.status, res.reason)
		}
		return nil
	}, func() error {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func BenchmarkHTTPProbe(b *testing.B) {
	_, addr, _ := benchServers(b)
	p, r := benchReplica(b, "http", addr)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	compare(b, func() error {
		if res := p.check(ctx, r); res.status != healthy {
			return fmt.Errorf("%v: %s", res.status, res.reason)
		}
		return nil
	}, func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://"+addr+"/", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
}

// The bare loop of SSH reads as many bytes as the server sends.
func BenchmarkSSHProbe(b *testing.B) {
	_, _, addr := benchServers(b)
	p, r := benchReplica(b, "ssh", addr)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	length := len("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n" + sshPacket(sshKex()))
	dialer := net.Dialer{Timeout: 10 * time.Second}
	compare(b, func() error {
		if res := p.check(ctx, r); res.status != healthy {
			return fmt.Errorf("%v: %s", res.status, res.reason)
		}
		return nil
	}, func() error {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "SSH-2.0-vigil\r\n"); err != nil {
			return err
		}
		_, err = io.ReadFull(conn, make([]byte, length))
		return err
	})
}

// The bare loop of ICMP has one ping under way at a time, however wide it is.
func BenchmarkICMPProbe(b *testing.B) {
	host := netip.MustParseAddr("127.0.0.1")
	var to net.Addr = &net.UDPAddr{IP: host.AsSlice()}
	conn, err := listenDatagramICMP(false)
	raw := err != nil
	if raw {
		to = &net.IPAddr{IP: host.AsSlice()}
		if conn, err = listenRawICMP(false); err != nil {
			b.Skip(err)
		}
	}
	defer conn.Close()
	p, r := benchReplica(b, "icmp", host.String())
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	request := []byte{8, 0, 0xe5, 0xcb, 0x12, 0x34, 0, 0} // RFC 792, page 14
	var turn sync.Mutex
	compare(b, func() error {
		if res := p.check(ctx, r); res.status != healthy {
			return fmt.Errorf("%v: %s", res.status, res.reason)
		}
		return nil
	}, func() error {
		turn.Lock()
		defer turn.Unlock()
		conn.SetDeadline(time.Now().Add(pingLimit))
		if _, err := conn.WriteTo(request, to); err != nil {
			return err
		}
		for answer := make([]byte, 64); ; {
			// A raw socket gets all requests and answers of the machine.
			_, _, err := conn.ReadFrom(answer)
			if err != nil || answer[0] == 0 && (!raw || bytes.Equal(answer[4:6], request[4:6])) {
				return err
			}
		}
	})
}

// Of a script only what Vigil itself takes counts, not the shell.
func BenchmarkScriptProbe(b *testing.B) {
	r := &replica{service: &Service{}, node: &Node{Mode: modeScript, Scripts: []string{"exit 0"}}, id: "0"}
	s := newScripter(time.Minute, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	compare(b, func() error {
		if res := s.check(ctx, r); res.status != healthy {
			return fmt.Errorf("%v: %s", res.status, res.reason)
		}
		return nil
	}, func() error { return exec.CommandContext(ctx, "/bin/sh", "-c", "exit 0").Run() })
}
