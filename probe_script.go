package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync/atomic"
	"time"
)

const (
	maxScriptLog = 4 << 10 // of what a script prints, what is logged
	// scriptGrace is how long output may still come after a script ended and
	// its process group was killed: only who left the group can hold it.
	scriptGrace = 100 * time.Millisecond
)

// A scripter runs the scripts of script nodes, and its check method is their
// prober.
type scripter struct {
	limit time.Duration // for one run, unless the node has its own interval
	log   *slog.Logger
}

// newScripter returns a scripter whose scripts may run for limit each.
func newScripter(limit time.Duration, log *slog.Logger) *scripter {
	return &scripter{limit, log}
}

// check runs r's script under /bin/sh. Exit status 0 is healthy, 1 sick and
// anything else dead; the last line it prints is the reason.
//
// The script leads a process group of its own. The whole group is killed when
// the script ends, when its time is up and when ctx is done, and on Linux what
// left the group, too, so that a run leaves nothing behind and what it started
// cannot hold up the result.
func (s *scripter) check(ctx context.Context, r *replica) verdict {
	start := time.Now()
	limit := s.limit
	if m := r.node.Metrics; m != nil {
		limit = m.ScriptInterval
	}
	ctx, cancel := context.WithDeadline(ctx, start.Add(limit))
	defer cancel()

	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", r.script())
	out, err := runScript(cmd)
	v := verdict{latency: time.Since(start)}
	exit, ended := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
	case ended && exit.ExitCode() > 0:
		v.status = dead
		if exit.ExitCode() == 1 {
			v.status = sick
		}
		if v.reason = oneLine(string(out.lastLine())); v.reason == "" {
			v.reason = exit.String() // "exit status 2"
		}
	case ctx.Err() != nil:
		v.status, v.reason = dead, "still running after "+seconds(limit)+", killed"
	case ended: // "signal: killed"
		v.status, v.reason = dead, "ended by "+exit.String()
	default:
		v.status, v.reason = dead, oneLine("cannot run: "+err.Error())
		v.short = shortageOf(err, true)
	}
	s.log.Debug("ran script", "service", r.service.ID, "node", r.node.ID, "replica", r.id,
		"status", v.status.String(), "took", v.latency, "output", string(out.head))
	return v
}

// runCommand runs a program like a script: when it ends, when limit is over and
// when ctx ends, everything that it has started is killed. What it printed last
// is part of the error.
func runCommand(ctx context.Context, words []string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out, err := runScript(exec.CommandContext(ctx, words[0], words[1:]...))
	exit, ended := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return errors.New("still running after " + seconds(limit) + ", killed")
	case !ended:
		return fmt.Errorf("cannot run: %w", err)
	}
	if line := oneLine(string(out.lastLine())); line != "" {
		return fmt.Errorf("%s: %s", exit, line)
	}
	return errors.New(exit.String())
}

// runs counts the runs of scripts.
var runs atomic.Int64

// runScript runs cmd and returns what it printed. Unlike cmd.Run with a
// buffer it does not wait for others that hold the output open.
func runScript(cmd *exec.Cmd) (scriptOutput, error) {
	var out scriptOutput
	r, w, err := os.Pipe()
	if err != nil {
		return out, err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	lead(cmd)
	adoptOrphans()
	mark := fmt.Sprintf("VIGIL_RUN=%d.%d.", os.Getpid(), runs.Add(1))
	cmd.Env = append(os.Environ(), mark)
	err = cmd.Start()
	w.Close()
	if err != nil {
		return out, err
	}
	read := make(chan struct{})
	go func() { // ends with the output, or at the deadline below
		defer close(read)
		io.Copy(&out, r)
	}()
	err = cmd.Wait()
	endRun(cmd.Process.Pid, mark)
	r.SetReadDeadline(time.Now().Add(scriptGrace))
	<-read
	return out, err
}

// A scriptOutput takes all that a script prints and keeps the beginning and
// the last line that is not blank, each up to a limit.
type scriptOutput struct {
	head []byte
	line []byte // the line being written
	last []byte // the one before it that was not blank
}

func (o *scriptOutput) Write(p []byte) (int, error) {
	o.head = appendUpTo(o.head, p, maxScriptLog)
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		o.line = appendUpTo(o.line, line, 4*maxReason)
		if ended {
			o.last = append(o.last[:0], o.lastLine()...)
			o.line = o.line[:0]
		}
		rest = after
	}
	return len(p), nil
}

func (o *scriptOutput) lastLine() []byte {
	if len(bytes.TrimSpace(o.line)) > 0 {
		return o.line
	}
	return o.last
}

// appendUpTo appends of p what fits into limit bytes.
func appendUpTo(b, p []byte, limit int) []byte {
	return append(b, p[:min(len(p), limit-len(b))]...)
}
