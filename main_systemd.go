package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// A supervisor is the service manager that started the program and wants to know
// its state: systemd with Type=notify, or anything else that speaks sd_notify(3).
// Without one, all methods do nothing.
type supervisor struct {
	socket   string        // the address of its socket; "" without a supervisor
	watchdog time.Duration // the longest time between two signs of life; 0: not wanted
	log      *slog.Logger
}

// tellTime is how long a datagram to the supervisor may take. It takes time only
// while the supervisor's queue is full.
const tellTime = time.Second

// newSupervisor reads the supervisor's address from the environment.
func newSupervisor(getenv func(string) string, log *slog.Logger) *supervisor {
	s := &supervisor{socket: getenv("NOTIFY_SOCKET"), log: log}
	if s.socket == "" {
		return s
	}
	if s.socket[0] != '/' && s.socket[0] != '@' {
		log.Warn("unknown kind of service manager socket", "NOTIFY_SOCKET", s.socket)
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

// disown removes the supervisor from the environment, so that scripts cannot
// speak to it.
func (s *supervisor) disown() {
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(name)
	}
}

// ready says that the program serves.
func (s *supervisor) ready(status string) { s.tell("READY=1", "STATUS="+status) }

// reloading says that the program reads its config again; ready follows.
func (s *supervisor) reloading() { s.tell("RELOADING=1", "STATUS=reloading the config") }

// stopping says that the program is about to end.
func (s *supervisor) stopping() { s.tell("STOPPING=1", "STATUS=stopping") }

// tell sends one message with these variables.
func (s *supervisor) tell(variables ...string) {
	if s.socket == "" {
		return
	}
	if err := s.send(strings.Join(variables, "\n")); err != nil {
		s.log.Warn("cannot reach the service manager", "message", variables[0], "err", err)
	}
}

func (s *supervisor) send(message string) error {
	// To package net, a name with a leading @ is an abstract one.
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

// watch tells the watchdog twice in its time that the program is alive, as long
// as the aggregator applies events. If the aggregator hangs, nothing on the page
// is true any more, and a restart helps.
func (s *supervisor) watch(ctx context.Context, events chan<- event) error {
	if s.socket == "" || s.watchdog == 0 {
		return nil
	}
	ticker := time.NewTicker(s.watchdog / 2)
	defer ticker.Stop()
	applied := make(chan struct{}, 1)
	for {
		select {
		case <-ctx.Done():
			return nil
		case events <- pulse(applied):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-applied:
			s.tell("WATCHDOG=1")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
