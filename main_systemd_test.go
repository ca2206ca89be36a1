package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

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
		{name: "unknown kind", socket: "vsock:2:1", usec: "3000000", wantLog: "unknown kind of service manager socket"},
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
	if want := "cannot reach the service manager"; !strings.Contains(log.String(), want) {
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
