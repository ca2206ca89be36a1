package notify

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestSMTPStalls has the server fall silent, and hang up, at every point of a
// whole dialogue: each time the delivery has failed for now, in ten seconds.
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
	for _, script := range prefixes(plainLines + envelopeLines + messageLines) {
		took, err := run(t, script+"\nHANG")
		if took != dialogueTimeout || err == nil || isPermanent(err) || !strings.Contains(err.Error(), "no answer in time") {
			t.Errorf("silence after %q: %v after %v, want a temporary error after %v", lastLine(script), err, took, dialogueTimeout)
		}
		took, err = run(t, script)
		if took != 0 || err == nil || isPermanent(err) {
			t.Errorf("hang-up after %q: %v after %v, want a temporary error at once", lastLine(script), err, took)
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

	p = &peer{t: t, scripts: []string{"BLACKHOLE"}}
	n.dial = p.dial
	took, err := converse(t, p, func(ctx context.Context) error { return n.Notify(ctx, mailAlert()) })
	checkError(t, err, "", "mail.example.com:587: context deadline exceeded", false)
	if took != dialogueTimeout {
		t.Errorf("took %v, want %v", took, dialogueTimeout)
	}
}

func TestEHLOName(t *testing.T) {
	for hostname, want := range map[string]string{
		"box":                    "box",
		"edge-3.example.net":     "edge-3.example.net",
		"my_box":                 "my-box",
		"":                       "localhost",
		"...":                    "localhost",
		"a\r\nMAIL FROM:<b@c>":   "a--MAIL-FROM--b-c",
		"größe":                  "gr--e",
		strings.Repeat("x", 300): strings.Repeat("x", 253),
	} {
		if got := ehloName(hostname); got != want {
			t.Errorf("ehloName(%q) = %q, want %q", hostname, got, want)
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
