package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A watcher is the service manager's end of the socket.
type watcher struct {
	t        *testing.T
	messages chan string
}

func newWatcher(t *testing.T, address string) *watcher {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{t, make(chan string, 10000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Read at once: the kernel holds a few messages only.
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			w.messages <- string(buf[:n])
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return w
}

// next returns the next message, the lines of which stand for variables.
func (w *watcher) next() string {
	w.t.Helper()
	select {
	case message := <-w.messages:
		return message
	case <-time.After(15 * time.Second):
		w.t.Fatal("no message")
		return ""
	}
}

// until skips signs of life until a message begins like that.
func (w *watcher) until(start string) string {
	w.t.Helper()
	for {
		message := w.next()
		if strings.HasPrefix(message, start) {
			return message
		}
		if message != "WATCHDOG=1" {
			w.t.Fatalf("got %q, want %q", message, start)
		}
	}
}

// The program tells its supervisor of each turn in its life, and signs of life
// in between.
func TestSupervisor(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	w := newWatcher(t, socket)
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "100000")
	t.Setenv("WATCHDOG_PID", "")
	config := `
[server]
log_level = "info"
inet = "127.0.0.1:0"
[branding]
page_url = "https://status.example.com/"
[storage]
path = ""
[metrics]
script_interval = 1
[[probe.service]]
id = "a"
label = "A"
[[probe.service.node]]
id = "script"
label = "Script"
mode = "script"
scripts = ['[ -z "$NOTIFY_SOCKET$WATCHDOG_USEC" ]']
`
	r := startVigil(t, config)
	if got, want := w.until("READY=1"), "READY=1\nSTATUS=serving "+r.url; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for range 3 {
		if got := w.next(); got != "WATCHDOG=1" {
			t.Errorf("got %q, want a sign of life", got)
		}
	}
	r.waitFor("status/report", "without the supervisor in the script's environment", func(body string) bool {
		return strings.Contains(body, `"replicas":["healthy"]`)
	})

	reload := func(text, want string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(r.cmd.Dir, "config.cfg"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r.cmd.Process.Signal(syscall.SIGHUP)
		message := w.until("RELOADING=1")
		var usec int64
		if _, err := fmt.Sscanf(message, "RELOADING=1\nMONOTONIC_USEC=%d\n", &usec); err != nil {
			t.Errorf("got %q: %v", message, err)
		}
		if now := monotonic().Microseconds(); runtime.GOOS == "linux" && (usec <= 0 || usec > now || now-usec > 20e6) {
			t.Errorf("the reload was at %d, it is %d", usec, now)
		}
		if got := w.until("READY=1"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	reload(strings.Replace(config, `label = "A"`, `label = "B"`, 1), "READY=1\nSTATUS=serving "+r.url)
	reload("rubbish", "READY=1\nSTATUS=serving with the old config: the log says what is wrong with the new one")
	w.until("WATCHDOG=1")

	r.stop(syscall.SIGTERM)
	if got, want := w.until("STOPPING=1"), "STOPPING=1\nSTATUS=stopping"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSupervisorAbstractSocket(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("sockets without a file are Linux's")
	}
	address := "@vigil-test-" + strconv.Itoa(os.Getpid())
	w := newWatcher(t, address)
	env := map[string]string{"NOTIFY_SOCKET": address}
	newSupervisor(func(k string) string { return env[k] }, slog.New(slog.DiscardHandler)).ready("here")
	if got, want := w.next(), "READY=1\nSTATUS=here"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSupervisorEnvironment(t *testing.T) {
	own, other := strconv.Itoa(os.Getpid()), strconv.Itoa(os.Getpid()+1)
	for _, tt := range []struct {
		name, socket, usec, pid string
		wantSocket              string
		wantWatchdog            time.Duration
		wantLog                 string
	}{
		{name: "none", usec: "1000000"},
		{name: "without watchdog", socket: "/run/n", wantSocket: "/run/n"},
		{name: "watchdog", socket: "/run/n", usec: "3000000", wantSocket: "/run/n", wantWatchdog: 3 * time.Second},
		{name: "own watchdog", socket: "@n", usec: "3000000", pid: own, wantSocket: "@n", wantWatchdog: 3 * time.Second},
		{name: "another's watchdog", socket: "@n", usec: "3000000", pid: other, wantSocket: "@n"},
		{name: "negative watchdog", socket: "@n", usec: "-1", wantSocket: "@n"},
		{name: "odd watchdog", socket: "@n", usec: "soon", wantSocket: "@n"},
		{name: "endless watchdog", socket: "@n", usec: "9223372036854775807", wantSocket: "@n", wantWatchdog: 24 * time.Hour},
		{name: "unknown kind", socket: "vsock:2:1", usec: "3000000", wantLog: "the service manager wants to be told in a way that is not known"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := map[string]string{"NOTIFY_SOCKET": tt.socket, "WATCHDOG_USEC": tt.usec, "WATCHDOG_PID": tt.pid}
			var log bytes.Buffer
			s := newSupervisor(func(k string) string { return env[k] }, slog.New(slog.NewTextHandler(&log, nil)))
			if s.socket != tt.wantSocket || s.watchdog != tt.wantWatchdog {
				t.Errorf("socket %q, watchdog %v, want %q, %v", s.socket, s.watchdog, tt.wantSocket, tt.wantWatchdog)
			}
			if !strings.Contains(log.String(), tt.wantLog) || tt.wantLog == "" && log.Len() > 0 {
				t.Errorf("log %q, want %q", log.String(), tt.wantLog)
			}
		})
	}
}

// A supervisor that went away is worth a warning and nothing else.
func TestSupervisorGone(t *testing.T) {
	var log bytes.Buffer
	env := map[string]string{"NOTIFY_SOCKET": filepath.Join(t.TempDir(), "gone")}
	newSupervisor(func(k string) string { return env[k] }, slog.New(slog.NewTextHandler(&log, nil))).stopping()
	if want := "the service manager cannot be told"; !strings.Contains(log.String(), want) {
		t.Errorf("log %q, want %q", log.String(), want)
	}
}

// Signs of life end when events are not applied any more, and come back with
// them.
func TestWatchdogFollowsAggregator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		events := make(chan event)
		var log bytes.Buffer
		s := &supervisor{socket: "@nobody-listens-here", watchdog: 10 * time.Second, log: slog.New(slog.NewTextHandler(&log, nil))}
		done := make(chan error)
		go func() { done <- s.watch(ctx, events) }()

		apply := func() { (<-events).apply(nil, time.Now()) }
		// Nobody hears a sign, so each is a line of the log.
		signs := func() int { synctest.Wait(); return strings.Count(log.String(), "WATCHDOG=1") }
		start := time.Now()
		apply()
		apply()
		if got := time.Since(start); got != 5*time.Second || signs() != 2 {
			t.Errorf("%d signs in %v, want 2 in 5 s", signs(), got)
		}
		held := func() event { return <-events }() // taken, but not applied
		time.Sleep(time.Minute)
		if got := signs(); got != 2 {
			t.Errorf("%d signs while nothing is applied, want 2", got)
		}
		held.apply(nil, time.Now())
		if got := signs(); got != 3 {
			t.Errorf("%d signs, want 3", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
