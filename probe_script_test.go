//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestScript(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, source string
		status       status
		reason       string
	}{
		{"success", "exit 0", healthy, ""},
		{"success is silent about output", "echo all fine", healthy, ""},
		{"no output, sick", "exit 1", sick, "exit status 1"},
		{"no output, dead", "exit 2", dead, "exit status 2"},
		{"any other status is dead", "exit 255", dead, "exit status 255"},
		{"not found", "no-such-command-at-all 2>/dev/null", dead, "exit status 127"},
		{"last line", "echo first; echo queue is 12 deep; exit 1", sick, "queue is 12 deep"},
		{"last line without its end", "printf 'a\\nb'; exit 2", dead, "b"},
		{"blank lines at the end", "printf 'disk full\\n\\n  \\n'; exit 2", dead, "disk full"},
		{"standard error too", "echo broken >&2; exit 2", dead, "broken"},
		{"several lines", "set -e\nfalse\nexit 0", sick, "exit status 1"},
		{"last line far behind the log's end", "seq 1 5000; echo at last; exit 1", sick, "at last"},
		{"long line", "head -c 9000 /dev/zero | tr '\\0' x; exit 1", sick, strings.Repeat("x", maxReason-3) + "…"},
		{"binary", "printf 'a\\000b\\033[31m\\377\\tc\\r\\n'; exit 1", sick, "ab[31m? c"},
		{"signal", "kill -TERM $$", dead, "ended by signal: terminated"},
		{"no standard input", "read line && exit 0; echo nothing to read; exit 1", sick, "nothing to read"},
		{"cannot be run", "exit 0 \x00", dead, "cannot run: fork/exec /bin/sh: invalid argument"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := newScripter(time.Minute, slog.New(slog.DiscardHandler)).check(t.Context(), scriptReplica(tt.source))
			if got.status != tt.status || got.reason != tt.reason {
				t.Errorf("got %v %q, want %v %q", got.status, got.reason, tt.status, tt.reason)
			}
			if got.latency <= 0 {
				t.Errorf("no latency: %+v", got)
			}
		})
	}
}

// pidOf waits until a script has written the number of a process to path.
func pidOf(t *testing.T, path string) int {
	t.Helper()
	for range 1000 {
		b, _ := os.ReadFile(path)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			return pid
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the script wrote no process number")
	return 0
}

// awaitEnd waits until no process has the number pid, or only a zombie does.
func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	for range 1000 {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return
		}
		if b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && bytes.Contains(b, []byte(") Z ")) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("process %d is still running", pid)
}

func TestScriptGroupIsKilled(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, source string
		limit        time.Duration
		status       status
		reason       string
	}{
		{"at the time limit", "sleep 600 & echo $! > $PID; wait", 300 * time.Millisecond,
			dead, "still running after 300 ms, killed"},
		{"after a normal exit", "sleep 600 & echo $! > $PID; exit 0", time.Minute, healthy, ""},
		{"with a deaf child", "(trap '' TERM HUP INT; sleep 600) & echo $! > $PID; echo over; exit 1", time.Minute,
			sick, "over"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir() + "/pid"
			start := time.Now()
			got := newScripter(tt.limit, slog.New(slog.DiscardHandler)).
				check(t.Context(), scriptReplica(strings.ReplaceAll(tt.source, "$PID", path)))
			if got.status != tt.status || got.reason != tt.reason {
				t.Errorf("got %v %q, want %v %q", got.status, got.reason, tt.status, tt.reason)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v although the background child does not count", took)
			}
			awaitEnd(t, pidOf(t, path))
		})
	}
}

func TestScriptCancelled(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/pid"
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan verdict, 1)
	go func() {
		done <- newScripter(time.Minute, slog.New(slog.DiscardHandler)).
			check(ctx, scriptReplica("sleep 600 & echo $! > "+path+"; wait"))
	}()
	pid := pidOf(t, path)
	cancel()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("cancelled, but still running")
	}
	awaitEnd(t, pid)
}

// A child that left the group cannot hold up the result by keeping the output
// open, and is killed on Linux.
func TestScriptChildLeavesGroup(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/usr/bin/setsid"); err != nil {
		t.Skip("no setsid command")
	}
	for _, tt := range []struct {
		name, source string
		limit        time.Duration
		status       status
		reason       string
	}{
		{"setsid", "setsid sleep 621 & echo $! > $PID; sleep 0.2; echo fine; exit 1", time.Minute, sick, "fine"},
		{"twice", "setsid sh -c 'setsid sleep 622 & echo $! > $PID; sleep 623' & sleep 0.3; echo fine; exit 1", time.Minute, sick, "fine"},
		{"orphan", "(setsid sh -c 'echo $$ > $PID; exec sleep 624' &) ; sleep 0.3; echo fine; exit 1", time.Minute, sick, "fine"},
		{"job control", "set -m; sleep 625 & echo $! > $PID; echo fine; exit 1", time.Minute, sick, "fine"},
		{"at the time limit", "setsid sleep 626 & echo $! > $PID; sleep 627", 500 * time.Millisecond, dead, "still running after 500 ms, killed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir() + "/pid"
			start := time.Now()
			got := newScripter(tt.limit, slog.New(slog.DiscardHandler)).
				check(t.Context(), scriptReplica(strings.ReplaceAll(tt.source, "$PID", path)))
			if got.status != tt.status || got.reason != tt.reason || time.Since(start) > 20*time.Second {
				t.Errorf("got %v %q after %v", got.status, got.reason, time.Since(start))
			}
			if runtime.GOOS == "linux" {
				awaitEnd(t, pidOf(t, path))
			}
		})
	}
}

func TestScriptInheritsNothing(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("no /proc/self/fd")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file, err := os.Create(t.TempDir() + "/data")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got := newScripter(time.Minute, slog.New(slog.DiscardHandler)).check(t.Context(), scriptReplica(
		`for fd in /proc/$$/fd/*; do l=$(readlink $fd); case $l in socket:*|*/data) echo "$fd is $l"; exit 2;; esac; done
		 readlink /proc/$$/fd/0; exit 1`))
	if got.reason != "/dev/null" {
		t.Errorf("reason %q", got.reason)
	}
}

func TestScriptOutputIsLogged(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	newScripter(time.Minute, log).check(t.Context(), scriptReplica("echo begin; seq 1 5000; echo end; exit 1"))
	var line struct{ Msg, Service, Node, Replica, Status, Output string }
	if err := json.Unmarshal(b.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line.Msg != "ran script" || line.Service != "web" || line.Node != "core" || line.Replica != "0" || line.Status != "sick" {
		t.Errorf("log line %+v", line)
	}
	if len(line.Output) != maxScriptLog || !strings.HasPrefix(line.Output, "begin\n1\n2\n") {
		t.Errorf("%d bytes of output logged, want the first %d", len(line.Output), maxScriptLog)
	}
}
