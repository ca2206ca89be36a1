package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

func TestReasonFor(t *testing.T) {
	t.Parallel()
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, tt := range []struct {
		err  error
		want string
	}{
		{dial(os.NewSyscallError("connect", syscall.ENETUNREACH)), "network is unreachable"},
		{dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "no route to host"},
		{dial(os.NewSyscallError("connect", syscall.ETIMEDOUT)), "connection timed out"},
		{dial(os.NewSyscallError("socket", syscall.EMFILE)), "too many open files"},
		{dial(os.NewSyscallError("write", syscall.EPIPE)), "connection closed by the server"},
		{dial(os.ErrDeadlineExceeded), "no answer in 10 s"},
		{fmt.Errorf("wrapped: %w", context.DeadlineExceeded), "no answer in 10 s"},
		{dial(&net.DNSError{Name: "edge-9", Server: "192.0.2.53:53", Err: "no such host", IsNotFound: true}), "lookup edge-9: no such host"},
		{dial(&net.DNSError{Name: "edge-9", Err: "i/o timeout", IsTimeout: true}), "lookup edge-9: no answer in 10 s"},
		{dial(&net.DNSError{Name: "edge-9", Err: "server misbehaving", IsTemporary: true}), "lookup edge-9: server misbehaving"},
		{dial(&net.DNSError{Name: "edge-9", Err: "read udp 127.0.0.1:4->127.0.0.1:53: read: connection refused"}),
			"lookup edge-9: name server: connection refused"},
		{errors.New("local error: tls: bad record MAC"), "TLS: bad record MAC"},
		{errors.New("tls: server selected unsupported protocol version 301"), "TLS version too old: 1.2 or later is required"},
		{errors.New("http2: no cached connection was available"), "no cached connection was available"},
	} {
		if got := reasonFor(tt.err, 10*time.Second, time.Now()); got != tt.want {
			t.Errorf("reasonFor(%v) = %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestSeconds(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		10 * time.Second: "10 s", 6200 * time.Millisecond: "6.2 s", 250 * time.Millisecond: "250 ms",
		300 * time.Second: "300 s", 1049 * time.Millisecond: "1 s", 0: "0 ms",
	} {
		if got := seconds(d); got != want {
			t.Errorf("seconds(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", maxReason)
	for in, want := range map[string]string{
		"":                 "",
		" plain\r\n":       "plain",
		"a\x1b[2Jb\x00":    "a[2Jb",
		"a\tb":             "a b",
		"\xff\xfe":         "??",
		"\u202eevil\u200b": "evil",
		long:               strings.Repeat("ä", (maxReason-3)/2) + "…",
	} {
		if got := oneLine(in); got != want {
			t.Errorf("oneLine(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add("plain")
	f.Add("\xff\x1b[0m" + strings.Repeat("é", 150))
	f.Fuzz(func(t *testing.T, s string) {
		got := oneLine(s)
		if len(got) > maxReason || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x00\x1b") {
			t.Errorf("oneLine(%q) = %q", s, got)
		}
	})
}
