package notify

import (
	"context"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

// At this time a synctest bubble begins.
var bubbleTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func mailAlert() Alert {
	return Alert{
		ID:     "a1",
		Kind:   Changed,
		Status: Dead,
		Time:   bubbleTime,
		Dead:   []Replica{{Path: "web:core:tcp://edge-3.example.net:80", Reason: "connection refused"}},
		Page:   Page{Title: "Acme Status", URL: "https://status.example.com/"},
	}
}

const (
	envelopeLines = `
		C: MAIL FROM:<vigil@example.com>
		S: 250 2.1.0 ok
		C: RCPT TO:<ops@example.com>
		S: 250 2.1.5 ok`

	greetingLines = `
		S: 220 mail.example.com ESMTP
		C: EHLO box
		S: 250-mail.example.com
		S: 250-STARTTLS
		S: 250-SMTPUTF8
		S: 250 8BITMIME
		C: STARTTLS
		S: 220 2.0.0 ready
		TLS
		C: EHLO box
		S: 250-mail.example.com
		S: 250-SMTPUTF8
		S: 250 AUTH PLAIN LOGIN CRAM-MD5`

	// vigil, pass-vigil
	plainLines = greetingLines + `
		C: AUTH PLAIN AHZpZ2lsAHBhc3MtdmlnaWw=
		S: 235 2.7.0 ok`
)

// messageLines is the message of mailAlert on its way; restLines is its end, too.
var (
	messageLines = sentMessage()
	restLines    = messageLines + `
		S: 250 2.0.0 queued as 7
		C: QUIT
		S: 221 2.0.0 bye`
)

// sentMessage is the script of a message; golden files show what is in it.
func sentMessage() string {
	n := testEmail()
	env, err := n.envelope()
	if err != nil {
		panic(err)
	}
	msg, err := n.message(mailAlert(), env, bubbleTime)
	if err != nil {
		panic(err)
	}
	script := "\n\t\tC: DATA\n\t\tS: 354 go on"
	for line := range strings.SplitSeq(strings.TrimSuffix(string(msg), "\r\n"), "\r\n") {
		script += "\n\t\tC: " + line
	}
	return script + "\n\t\tC: ."
}

// offering is plainLines' opening with other login mechanisms.
func offering(auth string) string {
	return strings.Replace(greetingLines, "250 AUTH PLAIN LOGIN CRAM-MD5", auth, 1)
}

func TestSMTP(t *testing.T) {
	ca := newAuthority(t)
	good := ca.issue(t, 2100, "mail.example.com")
	for _, tt := range []struct {
		name   string
		edit   func(n *emailNotifier)
		peer   peer
		script string

		err       string // "" is a delivery; without the address in front
		permanent bool
		took      time.Duration
	}{{
		name:   "PLAIN after STARTTLS",
		script: plainLines + envelopeLines + restLines,
	}, {
		name: "LOGIN",
		script: offering("250 AUTH LOGIN CRAM-MD5") + `
			C: AUTH LOGIN
			S: 334 VXNlcm5hbWU6
			C: dmlnaWw=
			S: 334 UGFzc3dvcmQ6
			C: cGFzcy12aWdpbA==
			S: 235 2.7.0 ok` + envelopeLines + restLines,
	}, {
		name: "CRAM-MD5", // the challenge of RFC 2195, section 2
		edit: func(n *emailNotifier) { n.cfg.Username, n.cfg.Password = "tim", "tanstaaftanstaaf" },
		script: offering("250 AUTH cram-md5") + `
			C: AUTH CRAM-MD5
			S: 334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+
			C: dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw
			S: 235 2.7.0 ok` + envelopeLines + restLines,
	}, {
		name: "implicit TLS",
		edit: func(n *emailNotifier) { n.cfg.Port = 465 },
		script: `
			TLS
			S: 220 mail.example.com ESMTP
			C: EHLO box
			S: 250-mail.example.com
			S: 250 AUTH PLAIN
			C: AUTH PLAIN AHZpZ2lsAHBhc3MtdmlnaWw=
			S: 235 2.7.0 ok` + envelopeLines + restLines,
	}, {
		name: "no user, no TLS on offer, none demanded",
		edit: func(n *emailNotifier) { n.cfg.Username, n.cfg.Encrypt = "", false },
		script: `
			S: 220 relay
			C: EHLO box
			S: 250 relay` + envelopeLines + restLines,
	}, {
		name: "HELO only",
		edit: func(n *emailNotifier) { n.cfg.Username, n.cfg.Encrypt = "", false },
		script: `
			S: 220 relay
			C: EHLO box
			S: 502 5.5.1 what?
			C: HELO box
			S: 250 relay` + envelopeLines + restLines,
	}, {
		name:   "TLS is used when offered, whatever the certificate, where clear text would do",
		edit:   func(n *emailNotifier) { n.cfg.Username, n.cfg.Encrypt, n.roots = "", false, nil },
		script: greetingLines + envelopeLines + restLines,
	}, {
		name:      "but no password goes to a stranger",
		edit:      func(n *emailNotifier) { n.cfg.Encrypt, n.roots = false, x509.NewCertPool() },
		script:    untilTLS(greetingLines),
		err:       "STARTTLS: tls: failed to verify certificate: x509: certificate signed by unknown authority",
		permanent: true,
	}, {
		name: "hung up after the message was taken",
		script: plainLines + envelopeLines + messageLines + `
			S: 250 2.0.0 queued as 7`,
	}, {
		name: "silence after the message was taken",
		script: plainLines + envelopeLines + messageLines + `
			S: 250 2.0.0 queued as 7
			C: QUIT
			HANG`,
		took: farewellTimeout,
	}, {
		name: "STARTTLS stripped",
		script: `
			S: 220 mail.example.com ESMTP
			C: EHLO box
			S: 250-mail.example.com
			S: 250 AUTH PLAIN LOGIN`,
		err:       "the server does not offer STARTTLS, which smtp_encrypt requires",
		permanent: true,
	}, {
		name: "relay without TLS, with a password",
		edit: func(n *emailNotifier) { n.cfg.Encrypt = false },
		script: `
			S: 220 mail.example.com ESMTP
			C: EHLO box
			S: 250-mail.example.com
			S: 250 AUTH PLAIN LOGIN
			C: AUTH PLAIN AHZpZ2lsAHBhc3MtdmlnaWw=
			S: 235 2.7.0 ok` + envelopeLines + restLines,
	}, {
		name: "relay without TLS that has CRAM-MD5",
		edit: func(n *emailNotifier) {
			n.cfg.Encrypt, n.cfg.Username, n.cfg.Password = false, "tim", "tanstaaftanstaaf"
		},
		script: `
			S: 220 mail.example.com ESMTP
			C: EHLO box
			S: 250-mail.example.com
			S: 250 AUTH PLAIN LOGIN CRAM-MD5
			C: AUTH CRAM-MD5
			S: 334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+
			C: dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw
			S: 235 2.7.0 ok` + envelopeLines + restLines,
	}, {
		name: "EHLO refused is not for good",
		script: `
			S: 220 mail.example.com ESMTP
			C: EHLO box
			S: 504 5.5.2 <box>: Helo command rejected: need fully-qualified hostname
			C: HELO box
			S: 504 5.5.2 <box>: Helo command rejected: need fully-qualified hostname`,
		err: "EHLO: 504 5.5.2 <box>: Helo command rejected: need fully-qualified hostname",
	}, {
		name: "answers slipped in behind STARTTLS are dropped",
		script: `
			S: 220 mail.example.com ESMTP
			C: EHLO box
			S: 250-mail.example.com
			S: 250 STARTTLS
			C: STARTTLS
			S: 220 ready
			S: 250-evil.example.com
			S: 250 AUTH LOGIN
			TLS
			C: EHLO box
			S: 250-mail.example.com
			S: 250 AUTH PLAIN
			C: AUTH PLAIN AHZpZ2lsAHBhc3MtdmlnaWw=
			S: 235 2.7.0 ok` + envelopeLines + restLines,
	}, {
		name: "STARTTLS refused for now",
		script: `
			S: 220 mail.example.com ESMTP
			C: EHLO box
			S: 250-mail.example.com
			S: 250 STARTTLS
			C: STARTTLS
			S: 454 4.7.0 TLS not available due to local problem`,
		err: "STARTTLS: 454 4.7.0 TLS not available due to local problem",
	}, {
		name:      "certificate for another host",
		peer:      peer{cert: ca.issue(t, 2100, "other.example.com")},
		script:    untilTLS(greetingLines),
		err:       "STARTTLS: tls: failed to verify certificate: x509: certificate is valid for other.example.com, not mail.example.com",
		permanent: true,
	}, {
		name:   "certificate out of date",
		peer:   peer{cert: ca.issue(t, 1999, "mail.example.com")},
		script: untilTLS(greetingLines),
		err:    "STARTTLS: tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2000-01-01T00:00:00Z is after 1999-12-31T00:00:00Z",
	}, {
		name:      "clear text on the port for TLS",
		edit:      func(n *emailNotifier) { n.cfg.Port = 465 },
		script:    "SKIP\nS: 220 mail.example.com ESMTP",
		err:       "TLS: the server does not speak TLS on this port",
		permanent: true,
	}, {
		name:      "no login on offer",
		script:    offering("250 HELP"),
		err:       "login: the server offers no login, but smtp_username is set",
		permanent: true,
	}, {
		name:      "no login of ours on offer",
		script:    offering("250 AUTH GSSAPI NTLM"),
		err:       `login: the server offers ["GSSAPI" "NTLM"], none of PLAIN, LOGIN and CRAM-MD5`,
		permanent: true,
	}, {
		name: "wrong password, quoted",
		script: greetingLines + `
			C: AUTH PLAIN AHZpZ2lsAHBhc3MtdmlnaWw=
			S: 535-5.7.8 pass-vigil and AHZpZ2lsAHBhc3MtdmlnaWw=
			S: 535 5.7.8 and cGFzcy12aWdpbA== are wrong`,
		err:       "login: 535 5.7.8 [redacted] and [redacted] 5.7.8 and [redacted] are wrong",
		permanent: true,
	}, {
		name: "login not possible now",
		script: greetingLines + `
			C: AUTH PLAIN AHZpZ2lsAHBhc3MtdmlnaWw=
			S: 454 4.7.0 Temporary authentication failure`,
		err: "login: 454 4.7.0 Temporary authentication failure",
	}, {
		name: "a challenge that is none",
		script: offering("250 AUTH CRAM-MD5") + `
			C: AUTH CRAM-MD5
			S: 334 ***`,
		err: `login: challenge "***": illegal base64 data at input byte 0`,
	}, {
		name:   "too busy",
		script: "S: 421 4.3.2 too many connections",
		err:    "greeting: 421 4.3.2 too many connections",
	}, {
		name:      "not welcome",
		script:    "S: 554 5.7.1 no mail from there",
		err:       "greeting: 554 5.7.1 no mail from there",
		permanent: true,
	}, {
		name:   "not SMTP",
		script: "S: +OK \x1b[31mPOP3 ready",
		err:    "greeting: invalid response code: \"+OK \\x1b[31mPOP3 ready\"",
	}, {
		name: "sender refused",
		script: plainLines + `
			C: MAIL FROM:<vigil@example.com>
			S: 550 5.7.60 not your address`,
		err:       "sender <vigil@example.com>: 550 5.7.60 not your address",
		permanent: true,
	}, {
		name: "STARTTLS wanted after all",
		edit: func(n *emailNotifier) { n.cfg.Username, n.cfg.Encrypt = "", false },
		script: `
			S: 220 mail.example.com ESMTP
			C: EHLO box
			S: 250 mail.example.com
			C: MAIL FROM:<vigil@example.com>
			S: 530 5.7.0 Must issue a STARTTLS command first`,
		err:       "sender <vigil@example.com>: 530 5.7.0 Must issue a STARTTLS command first",
		permanent: true,
	}, {
		name: "greylisted",
		script: plainLines + `
			C: MAIL FROM:<vigil@example.com>
			S: 250 ok
			C: RCPT TO:<ops@example.com>
			S: 450 4.2.0 Greylisted, see you in 5 minutes`,
		err: "recipient <ops@example.com>: 450 4.2.0 Greylisted, see you in 5 minutes",
	}, {
		name: "no such recipient",
		script: plainLines + `
			C: MAIL FROM:<vigil@example.com>
			S: 250 ok
			C: RCPT TO:<ops@example.com>
			S: 550-5.1.1 no such user,
			S: 550 5.1.1 ` + "\x1b[31mreally" + `
			HANG`,
		err:       "recipient <ops@example.com>: 550 5.1.1 no such user, 5.1.1 [31mreally",
		permanent: true,
	}, {
		name: "forwarded recipient",
		script: plainLines + `
			C: MAIL FROM:<vigil@example.com>
			S: 250 ok
			C: RCPT TO:<ops@example.com>
			S: 251 will forward` + restLines,
	}, {
		name: "DATA refused",
		script: plainLines + envelopeLines + `
			C: DATA
			S: 451 4.3.0 disk full`,
		err: "DATA: 451 4.3.0 disk full",
	}, {
		name: "message refused",
		script: plainLines + envelopeLines + messageLines + `
			S: 554 5.7.1 looks like spam`,
		err:       "message: 554 5.7.1 looks like spam",
		permanent: true,
	}, {
		name:   "hung up before the verdict",
		script: plainLines + envelopeLines + messageLines,
		err:    "message: sent, but not confirmed: the server hung up: EOF",
	}, {
		name: "addresses outside ASCII",
		edit: func(n *emailNotifier) { n.to = "jürgen@exämple.com" },
		script: plainLines + `
			C: MAIL FROM:<vigil@example.com> SMTPUTF8
			S: 250 ok
			C: RCPT TO:<jürgen@exämple.com>
			S: 550 5.1.1 nobody`,
		err:       "recipient <jürgen@exämple.com>: 550 5.1.1 nobody",
		permanent: true,
	}, {
		name: "addresses outside ASCII, server does not take them",
		edit: func(n *emailNotifier) { n.to, n.cfg.Username = "ops@exämple.com", "" },
		script: `
			S: 220 mail.example.com ESMTP
			C: EHLO box
			S: 250-mail.example.com
			S: 250 STARTTLS
			C: STARTTLS
			S: 220 ready
			TLS
			C: EHLO box
			S: 250 mail.example.com
			HANG`,
		err:       "the server takes no addresses outside ASCII, such as <vigil@example.com> to <ops@exämple.com>; a domain can be written in its xn-- form",
		permanent: true,
	}, {
		name: "a local part that needs quotes",
		edit: func(n *emailNotifier) { n.to = `"a> SIZE=1"@example.com` },
		script: plainLines + `
			C: MAIL FROM:<vigil@example.com>
			S: 250 ok
			C: RCPT TO:<"a> SIZE=1"@example.com>
			S: 450 later`,
		err: `recipient <"a> SIZE=1"@example.com>: 450 later`,
	}, {
		name:   "endless answer",
		script: "S: 220-" + strings.Repeat("x", dialogueBytes) + "\nHANG",
		err:    "greeting: the server sent more than any dialogue needs",
	}} {
		t.Run(tt.name, func(t *testing.T) {
			n := testEmail()
			n.roots = ca.pool
			if tt.edit != nil {
				tt.edit(n)
			}
			p := &tt.peer
			p.t, p.eol, p.scripts = t, "\r\n", []string{tt.script}
			if p.cert.Certificate == nil {
				p.cert = good
			}
			n.dial = p.dial
			took, err := converse(t, p, func(ctx context.Context) error { return n.Notify(ctx, mailAlert()) })
			checkError(t, err, "mail.example.com:587: ", tt.err, tt.permanent)
			if took != tt.took {
				t.Errorf("took %v, want %v", took, tt.took)
			}
		})
	}
}

// testEmail is an account at mail.example.com.
func testEmail() *emailNotifier {
	n := newEmailNotifier(&Email{
		From:     "vigil@example.com",
		Host:     "mail.example.com",
		Port:     587,
		Username: "vigil",
		Password: "pass-vigil",
		Encrypt:  true,
	}, "ops@example.com", Page{Title: "Acme Status"}).(*emailNotifier)
	n.hostname = "box"
	return n
}

// checkError compares err with what is wanted; want without the prefix, "" for
// none.
func checkError(t *testing.T, err error, prefix, want string, permanent bool) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("error %v, want none", err)
	case want != "" && (err == nil || strings.TrimPrefix(err.Error(), prefix) != want):
		t.Errorf("error\n\t%v, want\n\t%s%s", err, prefix, want)
	case isPermanent(err) != permanent:
		t.Errorf("%v: permanent %v, want %v", err, isPermanent(err), permanent)
	}
}

// untilTLS is a script up to its first handshake, which then fails.
func untilTLS(script string) string {
	before, _, _ := strings.Cut(script, "TLS\n\t\tC: EHLO")
	return before + "BADTLS"
}
