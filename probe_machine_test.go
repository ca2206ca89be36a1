package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestShortageOf(t *testing.T) {
	dial := func(errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", errno)}
	}
	for _, tt := range []struct {
		err      error
		starting bool
		want     string
	}{
		{dial(syscall.EMFILE), false, "no file descriptors left"},
		{dial(syscall.ENFILE), false, "no file descriptors left on this machine"},
		{dial(syscall.ENOBUFS), false, "no buffer space left"},
		{dial(syscall.ENOMEM), false, "no memory left"},
		{dial(syscall.EADDRNOTAVAIL), false, "no local port or address left"},
		{fmt.Errorf("lookup: %w", &net.DNSError{Name: "a.test", Err: "dial udp 127.0.0.1:53: socket: " + syscall.EMFILE.Error()}), false, "no file descriptors left"},
		{&os.PathError{Op: "fork/exec", Path: "/bin/sh", Err: syscall.EAGAIN}, true, "no processes left"},
		{dial(syscall.EAGAIN), false, ""},
		{dial(syscall.ECONNREFUSED), false, ""},
		{dial(syscall.ENETUNREACH), false, ""},
		{&net.DNSError{Name: "a.test", Err: "no such host", IsNotFound: true}, false, ""},
		{context.DeadlineExceeded, false, ""},
		{nil, false, ""},
	} {
		got := ""
		if s := shortageOf(tt.err, tt.starting); s != nil {
			got = s.what
		}
		if got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}

// A start or a reload that takes long is no time in which the process did not run,
// even when the aggregator is the first to look at the clock after it.
func TestNoStallBetweenConfigs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		p := newProbes(nil, slog.New(slog.NewTextHandler(&text, nil)))
		for range 2 {
			time.Sleep(10 * time.Second)
			p.adopt(testMetrics(), nil, nil, new(poller), new(scripter))
			if s := p.machine.stall(time.Now()); s != (period{}) {
				t.Errorf("stalled from %v to %v", s.from, s.to)
			}
		}
		if text.Len() > 0 {
			t.Errorf("log: %s", &text)
		}
	})
}

// Checks that fail because of this machine change nothing and are not retried.
// A shortage is logged once while it goes on.
func TestPoolExcusesMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := slog.New(slog.NewTextHandler(&text, nil))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		begin := time.Now()
		events := make(chan event, 100)
		p := newTestPool(testMetrics(), pollReplicas(2), func(_ context.Context, r *replica) verdict {
			v := verdict{status: dead, reason: "connection refused"}
			if at := time.Since(begin); r.ordinal == 1 && at > 2*time.Minute && at < 10*time.Minute {
				v.short = &shortages[0]
			}
			return v
		}, events)
		p.machine = newMachine(events, log)
		go p.machine.run(ctx)
		p.run(ctx, nil)
		var said, reports string // of two goroutines, which send in any order
		for range len(events) {
			switch ev := (<-events).(type) {
			case result:
				if ev.replica.ordinal == 1 {
					said += "d"
				}
			case machineReport:
				if ev.shortage != "" {
					reports += "begins "
				} else {
					reports += "ends "
				}
			case inconclusive:
				if ev.replica.ordinal == 0 {
					t.Error("the other replica is in doubt")
				}
				said += "?"
			}
		}
		// At 0 and 60 s, then in doubt from the retry at 122 s on, then dead again.
		if want := "dd" + strings.Repeat("?", 8) + strings.Repeat("d", 10); said != want || reports != "begins ends " {
			t.Errorf("results %s, want %s; reports %q", said, want, reports)
		}
		if n := p.machine.meter[causeFiles].Load(); n != 8 {
			t.Errorf("%d counted, want 8", n)
		}
		logged := strings.Split(strings.TrimSpace(text.String()), "\n")
		if len(logged) != 2 || !strings.Contains(logged[0], "level=ERROR msg=\"this machine is short of something") || !strings.Contains(logged[0], "ulimit -n") || !strings.Contains(logged[1], "no longer short") {
			t.Errorf("log:\n%s", text.String())
		}
	})
}

func TestMachineStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		m := newMachine(nil, slog.New(slog.NewTextHandler(&text, nil)))
		begin := time.Now()
		for range 10 {
			time.Sleep(time.Second)
			if s := m.stall(time.Now()); s != (period{}) {
				t.Fatalf("stalled %+v", s)
			}
		}
		if m.excuses(begin, time.Now(), nil) {
			t.Error("a check is excused although nothing happened")
		}
		before := time.Now()
		time.Sleep(30 * time.Second) // nobody looks at the clock
		after := time.Now()
		if !m.excuses(before, after, nil) || m.excuses(after, after.Add(time.Second), nil) {
			t.Error("a check before the stall must be excused, and one after it must not")
		}
		if s := m.stall(after.Add(time.Second)); !s.from.Equal(before) || !s.to.Equal(after) {
			t.Errorf("stalled %+v, want %v to %v", s, before, after)
		}
		// The machine slept: only the clock on the wall went on.
		time.Sleep(time.Second)
		m.stall(time.Now())
		m.looked = time.Unix(0, time.Now().Add(-time.Hour).UnixNano())
		if !m.excuses(time.Now().Add(-time.Second), time.Now(), nil) {
			t.Error("a check during which the machine slept must be excused")
		}
		if n := strings.Count(text.String(), "this process did not run for a while"); n != 2 {
			t.Errorf("logged %d times:\n%s", n, &text)
		}
		if n := m.meter[causeStall].Load(); n != 2 {
			t.Errorf("%d counted, want 2", n)
		}
	})
}

func TestPollLimits(t *testing.T) {
	for _, tt := range []struct {
		wanted          int
		files           uint64
		width, parkMost int
	}{
		{4, 1 << 20, 4, 4096},
		{64, 1024, 64, 320},
		{4, 256, 4, 92},
		{400, 256, 48, 48},
		{1000, 1024, 192, 192},
		{4, 0, 4, 380},
		{4, 60, 1, 1},
	} {
		if width, parkMost := pollLimits(tt.wanted, tt.files); width != tt.width || parkMost != tt.parkMost {
			t.Errorf("parallelism %d with %d files: %d and %d, want %d and %d", tt.wanted, tt.files, width, parkMost, tt.width, tt.parkMost)
		}
	}
	for files := range uint64(5000) {
		for _, wanted := range []int{1, 4, 1000} {
			if width, parkMost := pollLimits(wanted, files); width < 1 || parkMost < 0 {
				t.Fatalf("parallelism %d with %d files: %d and %d", wanted, files, width, parkMost)
			}
		}
	}
}

// With many more targets that hang than files allow, the others keep their turn.
func TestScheduleCrowded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := testMetrics()
		m.PollParallelism, m.PollInterval = 4, 30*time.Second
		p := newTestPool(m, pollReplicas(2500), nil, nil)
		p.schedule.width, p.schedule.parkMost = pollLimits(m.PollParallelism, 1024)
		run := 10 * time.Minute
		pl := runPool(t, p, run, func(r *replica, _ int) (time.Duration, status) {
			if r.ordinal%50 != 0 {
				return m.PollDelayDead, dead
			}
			return time.Millisecond, healthy
		})
		for i := 0; i < 2500; i += 50 {
			starts := pl.starts[i]
			for k := 2; k < len(starts); k++ { // the first round is that of all
				if gap := starts[k] - starts[k-1]; gap > m.PollInterval*11/10 {
					t.Fatalf("replica %d was not checked for %v", i, gap)
				}
			}
		}
		if pl.most > 384 {
			t.Errorf("%d checks at once", pl.most)
		}
	})
}
