//go:build unix

package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// lockedLog is a log that may be read while it is written.
type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// runMirror runs a mirror with a command until the test ends.
func runMirror(t *testing.T, shell string, interval, timeout time.Duration) (*mirrorRig, *lockedLog) {
	t.Helper()
	r := newMirrorRig(t, healthySample())
	conf := r.page.now.Load().snap.conf.Mirror
	conf.Command, conf.Interval, conf.Timeout = []string{"/bin/sh", "-c", shell}, interval, timeout
	log := new(lockedLog)
	r.mirror.log = slog.New(slog.NewTextHandler(log, nil))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r, log
}

func awaitMirror(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// A command that fails is logged once, counted and run again; its end is logged.
func TestMirrorCommandFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	r, log := runMirror(t, `echo run >> `+dir+`/runs; test -e `+good+` || { echo first; echo "bucket is full" >&2; exit 12; }`, 50*time.Millisecond, time.Minute)
	awaitMirror(t, "three failures", func() bool { return r.sending.faults.Load() >= 3 })
	if text := log.String(); strings.Count(text, "mirror.command failed, will retry") != 1 || !strings.Contains(text, "exit status 12: bucket is full") {
		t.Errorf("log:\n%s", text)
	}
	if err := os.WriteFile(good, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	awaitMirror(t, "success", func() bool { return strings.Contains(log.String(), "mirror.command succeeds again") })
	runs, _ := os.ReadFile(filepath.Join(dir, "runs"))
	time.Sleep(300 * time.Millisecond)
	if again, _ := os.ReadFile(filepath.Join(dir, "runs")); len(again) != len(runs) {
		t.Error("the command runs again though the copy has not changed")
	}
}

// A command that hangs is killed with all that it has started, also in another
// session, and never runs twice at a time. The copy goes on meanwhile.
func TestMirrorCommandHangs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pidFile := filepath.Join(dir, "pid")
	r, log := runMirror(t, `mkdir `+dir+`/lock || touch `+dir+`/twice
		setsid sleep 731 & echo $! > `+pidFile+`.new; mv `+pidFile+`.new `+pidFile+`
		rmdir `+dir+`/lock; yes | head -c 3000000; sleep 732`, 20*time.Millisecond, 400*time.Millisecond)
	pid := pidOf(t, pidFile)
	changed := deadSample()
	changed.conf.Mirror = r.page.now.Load().snap.conf.Mirror
	if err := r.page.refresh(changed); err != nil {
		t.Fatal(err)
	}
	r.page.rendered <- struct{}{}
	awaitMirror(t, "the change in the copy", func() bool { return r.read("status/text.txt") == "dead" })
	awaitMirror(t, "two runs", func() bool { return r.sending.faults.Load() >= 2 })
	awaitEnd(t, pid)
	if !strings.Contains(log.String(), "still running after 400 ms, killed") {
		t.Errorf("log:\n%s", log)
	}
	if _, err := os.Stat(filepath.Join(dir, "twice")); err == nil {
		t.Error("the command ran twice at a time")
	}
}

// The command ends with the program.
func TestMirrorCommandEndsWithProgram(t *testing.T) {
	t.Parallel()
	r := newMirrorRig(t, healthySample())
	pidFile := filepath.Join(t.TempDir(), "pid")
	conf := r.page.now.Load().snap.conf.Mirror
	conf.Command = []string{"/bin/sh", "-c", "echo $$ > " + pidFile + ".new; mv " + pidFile + ".new " + pidFile + "; exec sleep 733"}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.run(ctx) }()
	pid := pidOf(t, pidFile)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	awaitEnd(t, pid)
	if strings.Contains(r.log.String(), "failed") {
		t.Errorf("log:\n%s", r.log)
	}
}

// A program that is not there is told like any failure.
func TestMirrorCommandMissing(t *testing.T) {
	err := runCommand(t.Context(), []string{"/no/such/program"}, time.Minute)
	if err == nil || !strings.HasPrefix(err.Error(), "cannot run: ") {
		t.Error(err)
	}
}
