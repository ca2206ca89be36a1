package notify

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSMTPStalls has the server fall silent, and hang up, at every point of a
// whole dialogue: each time the delivery has failed for now.
func TestSMTPStalls(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, 2100, "mail.example.com")
	run := func(t *testing.T, script string) (time.Duration, error) {
		n := testEmail()
		n.roots = ca.pool
		p := &peer{t: t, eol: "\r\n", cert: cert, scripts: []string{script}}
		n.dial = p.dial
		return converse(t, p, func(ctx context.Context) error { return n.Notify(ctx, mailAlert()) })
	}
	for _, script := range prefixes(strings.Join([]string{part("smtp", "plain"), part("smtp", "envelope"), sentMessage()}, "\n")) {
		// After the final dot the server may think, and the mail may be queued.
		// A server that hangs within the message still takes all of it.
		sent, limit := strings.Contains(script, "C: From:"), dialogueTimeout
		if sent {
			limit = mailVerdictTimeout
		}
		took, err := run(t, script+"\nHANG")
		if took != limit || err == nil || isPermanent(err) || isUnconfirmed(err) != sent || !strings.HasSuffix(err.Error(), ": no answer in time") {
			t.Errorf("silence after %q: %v after %v, want a temporary error after %v, unconfirmed: %v", lastLine(script), err, took, limit, sent)
		}
		sent = strings.HasSuffix(script, "C: .")
		took, err = run(t, script)
		if took != 0 || err == nil || isPermanent(err) || isUnconfirmed(err) != sent {
			t.Errorf("hang-up after %q: %v after %v, want a temporary error at once, unconfirmed: %v", lastLine(script), err, took, sent)
		}
	}
}

// prefixes returns every beginning of a script that ends before the server
// would speak or shake hands; the first is empty.
func prefixes(script string) []string {
	list := []string{""}
	var sofar string
	for line := range strings.Lines(script) {
		sofar += line
		if strings.HasPrefix(strings.TrimLeft(line, "\t"), "C:") {
			list = append(list, sofar)
		}
	}
	return list
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndex(s, "\n")+1:]
}

func TestSMTPServerOutOfReach(t *testing.T) {
	n := testEmail()
	p := &peer{t: t, scripts: []string{"REFUSE"}}
	n.dial = p.dial
	_, err := converse(t, p, func(ctx context.Context) error { return n.Notify(ctx, mailAlert()) })
	checkError(t, err, "", "mail.example.com:587: connection refused", false)

	n.dial = func(_ context.Context, network, _ string) (net.Conn, error) {
		at := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 587}
		return nil, &net.OpError{Op: "dial", Net: network, Addr: at, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	checkError(t, n.Notify(t.Context(), mailAlert()), "", "mail.example.com:587: dial tcp 192.0.2.1:587: connect: connection refused", false)
	n.addr = "192.0.2.1:587" // which is not said twice
	checkError(t, n.Notify(t.Context(), mailAlert()), "", "192.0.2.1:587: connect: connection refused", false)
	n.addr = "mail.example.com:587"

	p = &peer{t: t, scripts: []string{"BLACKHOLE"}}
	n.dial = p.dial
	took, err := converse(t, p, func(ctx context.Context) error { return n.Notify(ctx, mailAlert()) })
	checkError(t, err, "", "mail.example.com:587: context deadline exceeded", false)
	if took != dialogueTimeout {
		t.Errorf("took %v, want %v", took, dialogueTimeout)
	}
}

// Without a dot in its name, a machine gives its address as a literal: many
// servers reject a name that is not fully qualified.
func TestEHLOName(t *testing.T) {
	v4 := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 41234}
	v6 := &net.TCPAddr{IP: net.ParseIP("2001:db8::7"), Port: 41234}
	for _, tt := range []struct {
		hostname string
		local    net.Addr
		want     string
	}{
		{"edge-3.example.net", v4, "edge-3.example.net"},
		{"my_box.example.net", v4, "my-box.example.net"},
		{"3f2a9c0de1b4", v4, "[192.0.2.7]"},
		{"3f2a9c0de1b4", v6, "[IPv6:2001:db8::7]"},
		{"", v4, "[192.0.2.7]"},
		{"...", v4, "[192.0.2.7]"},
		{"box", nil, "box"},
		{"", nil, "localhost"},
		{"a\r\nMAIL FROM:<b@c>", nil, "a--MAIL-FROM--b-c"},
		{"a\r\nMAIL FROM:<b@c.example>", v4, "a--MAIL-FROM--b-c.example"},
		{"größe.example", v4, "gr--e.example"},
		{strings.Repeat("x", 300), nil, strings.Repeat("x", 253)},
	} {
		if got := ehloName(tt.hostname, tt.local); got != tt.want {
			t.Errorf("ehloName(%q, %v) = %q, want %q", tt.hostname, tt.local, got, tt.want)
		}
	}
}

// FuzzSMTP plays arbitrary answers to a client that must neither hang nor take
// anything but the server's word for a delivery.
func FuzzSMTP(f *testing.F) {
	f.Add("220 hi\r\n250 hi\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n221 bye\r\n")
	f.Add("220-hi\r\n220 there\r\n250-a\r\n250-AUTH\r\n250 SMTPUTF8\r\n450 later\r\n")
	f.Add("220 hi\r\n500 what\r\n250 helo\r\n550 no\r\n")
	f.Add("220 hi\n250-\n250 x\n354\n")
	f.Fuzz(func(t *testing.T, answers string) {
		n := testEmail()
		n.cfg.Username, n.cfg.Encrypt = "", false
		conn := &cannedConn{r: strings.NewReader(answers)}
		n.dial = conn.dial
		err := n.Notify(t.Context(), mailAlert())
		if err == nil && !strings.Contains(answers, "354") {
			t.Errorf("delivered to a server that said %q", answers)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\r\n\x1b") && !errors.Is(err, errTooMuch) {
			t.Errorf("error %q holds what the server should not get into a log", err)
		}
	})
}
