//go:build peer

package notify

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestEmailPeer sends mail through Postfix, which asks Dovecot about logins, and
// reads it from the mailbox.
func TestEmailPeer(t *testing.T) {
	t.Parallel()
	s := startServer(t, "mail.sh", []string{"OPEN", "STARTTLS", "LOGIN", "CRAM", "TLS", "STRICT", "CLEAR"}, []string{"mail.test"})
	for i, tt := range []struct {
		name string
		port string
		edit func(n *emailNotifier)

		err       string
		permanent bool
		with      string // protocol in the mailbox's Received header
	}{
		{name: "PLAIN", port: "STARTTLS", with: "ESMTPSA"},
		{name: "LOGIN", port: "LOGIN", with: "ESMTPSA"},
		{name: "CRAM-MD5", port: "CRAM", with: "ESMTPSA"},
		{name: "implicit TLS", port: "TLS", edit: func(n *emailNotifier) { n.cfg.Port = 465 }, with: "ESMTPSA"},
		{name: "no login", port: "OPEN", edit: func(n *emailNotifier) { n.cfg.Username = "" }, with: "ESMTPS"},
		{
			name: "no login, a certificate nobody vouches for",
			port: "OPEN",
			edit: func(n *emailNotifier) {
				n.cfg.Username, n.cfg.Encrypt, n.roots = "", false, x509.NewCertPool()
			},
			with: "ESMTPS",
		},
		{
			name: "a container's host name, a server that wants a full one",
			port: "STRICT",
			edit: func(n *emailNotifier) { n.cfg.Username, n.hostname = "", "3f2a9c0de1b4" },
			with: "ESMTPS",
		},
		{
			name:      "a host name that is not one, to a server that checks it",
			port:      "STRICT",
			edit:      func(n *emailNotifier) { n.cfg.Username, n.hostname = "", "box..example.test" },
			err:       "recipient <ops@mail.test>: 501 5.5.2 <box..example.test>: Helo command rejected: Invalid name",
			permanent: true,
		},
		{name: "password without TLS", port: "CLEAR", edit: func(n *emailNotifier) { n.cfg.Encrypt = false }, with: "ESMTPA"},
		{
			name:      "TLS required, none offered",
			port:      "CLEAR",
			err:       "the server does not offer STARTTLS, which smtp_encrypt requires",
			permanent: true,
		},
		{name: "address outside ASCII", port: "STARTTLS", edit: func(n *emailNotifier) { n.to = "größe@mail.test" }, with: "UTF8SMTPSA"},
		{name: "address in quotes", port: "STARTTLS", edit: func(n *emailNotifier) { n.to = `"a b"@mail.test` }, with: "ESMTPSA"},
		{
			name:      "wrong password",
			port:      "STARTTLS",
			edit:      func(n *emailNotifier) { n.cfg.Password = "wrong" },
			err:       "login: 535 5.7.8 Error: authentication failed:",
			permanent: true,
		},
		{
			name:      "login where there is none",
			port:      "OPEN",
			err:       "login: the server offers no login, but smtp_username is set",
			permanent: true,
		},
		{
			name:      "no relaying",
			port:      "OPEN",
			edit:      func(n *emailNotifier) { n.cfg.Username, n.to = "", "ops@elsewhere.test" },
			err:       "recipient <ops@elsewhere.test>: 554 5.7.1 <ops@elsewhere.test>: Relay access denied",
			permanent: true,
		},
		{
			name:      "STARTTLS against a port for implicit TLS",
			port:      "STARTTLS",
			edit:      func(n *emailNotifier) { n.cfg.Port = 465 },
			err:       "TLS: the server does not speak TLS on this port",
			permanent: true,
		},
		{
			name:      "a certificate nobody vouches for",
			port:      "STARTTLS",
			edit:      func(n *emailNotifier) { n.roots = x509.NewCertPool() },
			err:       "STARTTLS: tls: failed to verify certificate: x509: certificate signed by unknown authority",
			permanent: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page := Page{Title: "Zustände, unsere", URL: "https://status.example.com/"}
			n := newEmailNotifier(&Email{
				From: "vigil@mail.test", Host: "mail.test", Port: 587, Username: "vigil", Password: "pass-vigil", Encrypt: true,
			}, "ops@mail.test", page).(*emailNotifier)
			n.dial, n.roots = s.dialPort(tt.port), s.roots
			if tt.edit != nil {
				tt.edit(n)
			}
			alert := Alert{
				ID: fmt.Sprint("peer", i), Kind: Changed, Status: Dead, Time: time.Now(), Page: page,
				Dead: []Replica{{Path: "größe:ß:0", Reason: "."}, {Path: ".", Reason: "..x " + strings.Repeat("long ", 30)}},
			}
			err := n.Notify(t.Context(), alert)
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), n.addr+": "+tt.err) || isPermanent(err) != tt.permanent {
					t.Fatalf("%v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkMail(t, n, alert, s.inbox(t), tt.with)
		})
	}
}

// inbox waits for one message and takes it out.
func (s *server) inbox(t *testing.T) *mail.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		files, err := filepath.Glob(filepath.Join(s.dir, "mail/inbox/new/*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) > 0 {
			f, err := os.Open(files[0])
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			if err := os.Remove(files[0]); err != nil {
				t.Fatal(err)
			}
			msg, err := mail.ReadMessage(f)
			if err != nil {
				t.Fatal(err)
			}
			return msg
		}
		select {
		case <-ctx.Done():
			t.Fatal("no mail in the mailbox")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// checkMail compares a message from the mailbox with what was to be sent.
func checkMail(t *testing.T, n *emailNotifier, a Alert, msg *mail.Message, with string) {
	t.Helper()
	env, err := n.envelope()
	if err != nil {
		t.Fatal(err)
	}
	decode := func(name string) string {
		s, err := new(mime.WordDecoder).DecodeHeader(msg.Header.Get(name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return s
	}
	for name, want := range map[string]string{
		"Return-Path":    "<vigil@mail.test>",
		"From":           "Zustände, unsere <vigil@mail.test>",
		"To":             env.to,
		"Subject":        newText(a, a.Time).subject,
		"Message-ID":     n.messageID(a, env),
		"Date":           a.Time.Format(time.RFC1123Z),
		"Auto-Submitted": "auto-generated",
	} {
		if got := decode(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := msg.Header.Get("Received"); !strings.Contains(got, "with "+with+" ") {
		t.Errorf("received %q, want %s", got, with)
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("content type %q, %v", kind, err)
	}
	plain := plainStyle(0, utf8.RuneCountInString)
	plain.columns = true
	parts := multipart.NewReader(msg.Body, params["boundary"]) // decodes them
	for _, want := range []string{plain.message(newText(a, a.Time)) + "\n", "</html>\n"} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(part); err != nil || !strings.HasSuffix(strings.ReplaceAll(string(text), "\r\n", "\n"), want) {
			t.Errorf("part %q, %v; want %q", text, err, want)
		}
	}
}
