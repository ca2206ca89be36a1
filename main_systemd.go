package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// A supervisor is the service manager that started the program and waits for
// word of it: systemd with Type=notify, or whatever else speaks its protocol
// of datagrams (sd_notify(3)). Without one, all its methods do nothing.
type supervisor struct {
	socket   string        // the address of its socket; "" without a supervisor
	watchdog time.Duration // the most time between two signs of life; 0: none wanted
	log      *slog.Logger
}

// tellTime is how long a datagram to the supervisor may take. It only takes
// time when the supervisor's queue is full.
const tellTime = time.Second

// newSupervisor takes what the environment says of a supervisor.
func newSupervisor(getenv func(string) string, log *slog.Logger) *supervisor {
	s := &supervisor{socket: getenv("NOTIFY_SOCKET"), log: log}
	if s.socket == "" {
		return s
	}
	if s.socket[0] != '/' && s.socket[0] != '@' {
		log.Warn("the service manager wants to be told in a way that is not known", "NOTIFY_SOCKET", s.socket)
		s.socket = ""
		return s
	}
	// WATCHDOG_PID says whose watchdog it is: sd_watchdog_enabled(3).
	if pid := getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
			s.watchdog = time.Duration(min(usec, int64(24*time.Hour/time.Microsecond))) * time.Microsecond
		}
	}
	return s
}

// disown takes the supervisor out of the environment, so that scripts do not
// take it for theirs.
func (s *supervisor) disown() {
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(name)
	}
}

// ready says that the program serves, with the config that it was told to take.
func (s *supervisor) ready(status string) { s.tell("READY=1", "STATUS="+status) }

// reloading says that the program reads its config again; ready follows.
func (s *supervisor) reloading() {
	// The time tells this reload from an earlier one that has just ended.
	s.tell("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", monotonic().Microseconds()), "STATUS=reading the config again")
}

// stopping says that the program is about to end.
func (s *supervisor) stopping() { s.tell("STOPPING=1", "STATUS=stopping") }

// tell sends one message of some variables.
func (s *supervisor) tell(variables ...string) {
	if s.socket == "" {
		return
	}
	if err := s.send(strings.Join(variables, "\n")); err != nil {
		s.log.Warn("the service manager cannot be told", "what", variables[0], "err", err)
	}
}

func (s *supervisor) send(message string) error {
	// Package net takes a name with @ in front for one of the abstract space.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(tellTime)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(message))
	return err
}

// watch tells the watchdog twice in its time that the program is alive, which
// it is when its aggregator applies events: an aggregator that hangs leaves
// everything on the page as it was, so the program is better started again.
func (s *supervisor) watch(ctx context.Context, events chan<- event) error {
	if s.socket == "" || s.watchdog == 0 {
		return nil
	}
	beat := time.NewTicker(s.watchdog / 2)
	defer beat.Stop()
	felt := make(chan struct{}, 1)
	for {
		select {
		case <-ctx.Done():
			return nil
		case events <- pulse(felt):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-felt:
			s.tell("WATCHDOG=1")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
		}
	}
}
