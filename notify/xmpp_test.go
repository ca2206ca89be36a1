package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

// TestXMPP plays the dialogues of testdata/xmpp.
func TestXMPP(t *testing.T) {
	ca := newAuthority(t)
	for _, d := range dialogues(t, "xmpp") {
		t.Run(d.name, func(t *testing.T) {
			n := testXMPP()
			n.roots = ca.pool
			var records []*net.SRV
			for _, line := range d.special["srv"] { // service, target, port, priority
				f := strings.Fields(line)
				port, _ := strconv.ParseUint(f[2], 10, 16)
				priority, _ := strconv.ParseUint(f[3], 10, 16)
				records = append(records, &net.SRV{Target: "_" + f[0] + "._tcp.xmpp.test " + f[1], Port: uint16(port), Priority: uint16(priority)})
			}
			n.lookup = fakeDNS(records...)
			if d.get("dns", "") == "silent" {
				n.lookup = func(ctx context.Context, _, _, _ string) (string, []*net.SRV, error) {
					<-ctx.Done()
					return "", nil, ctx.Err()
				}
			}
			if d.has("nonces") {
				n.nonce = nonces(strings.Fields(d.get("nonces", ""))...)
			}
			p := &peer{t: t, scripts: d.scripts, cert: d.cert(t, ca, "xmpp.test"), alpn: strings.Fields(d.get("alpn", ""))}
			if d.get("tls", "") == "1.2" {
				p.version = tls.VersionTLS12
			}
			n.dial = p.dial
			took, err := converse(t, p, func(ctx context.Context) error { return n.Notify(ctx, mailAlert()) })
			checkError(t, err, "xmpp.test:5222: ", d.get("error", ""), d.has("permanent"))
			if took != d.took(t) {
				t.Errorf("took %v, want %v", took, d.took(t))
			}
			if want := strings.Fields(d.get("dialled", "xmpp.test:5222")); !slices.Equal(p.dialled, want) {
				t.Errorf("dialled %q, want %q", p.dialled, want)
			}
			if want := d.get("proto", ""); p.proto != want {
				t.Errorf("ALPN %q, want %q", p.proto, want)
			}
		})
	}
}

// TestXMPPStalls has the server fall silent, and hang up, at every point of a
// whole dialogue.
func TestXMPPStalls(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, 2100, "xmpp.test")
	run := func(t *testing.T, script string) (time.Duration, error) {
		n := testXMPP()
		n.roots = ca.pool
		p := &peer{t: t, cert: cert, scripts: []string{script}}
		n.dial = p.dial
		return converse(t, p, func(ctx context.Context) error { return n.Notify(ctx, mailAlert()) })
	}
	for _, script := range prefixes(strings.Join([]string{part("xmpp", "starttls"), part("xmpp", "login-sha256"), part("xmpp", "message")}, "\n")) {
		sent, limit := strings.Contains(lastLine(script), "<message "), dialogueTimeout
		if sent {
			limit = chatVerdictTimeout
		}
		took, err := run(t, script+"\nHANG")
		if took != limit || err == nil || isPermanent(err) || isUnconfirmed(err) != sent || !strings.HasSuffix(err.Error(), ": no answer in time") {
			t.Errorf("silence after %q: %v after %v, want a temporary error after %v, unconfirmed: %v", lastLine(script), err, took, limit, sent)
		}
		took, err = run(t, script)
		if took != 0 || err == nil || isPermanent(err) || isUnconfirmed(err) != sent {
			t.Errorf("hang-up after %q: %v after %v, want a temporary error at once, unconfirmed: %v", lastLine(script), err, took, sent)
		}
	}
}

// TestXMPPBody: whatever an alert holds, it is one well-formed message of
// bounded size.
func TestXMPPBody(t *testing.T) {
	a := mailAlert()
	for range 500 {
		a.Dead = append(a.Dead, Replica{Path: "a</body>]]>&\x01\x1b:" + strings.Repeat("☃", 100), Reason: "\x00\xff"})
	}
	body := plainStyle(maxXMPPBody, byteCount).message(newText(a, a.Time))
	if len(body) > maxXMPPBody || len(body) < maxXMPPBody*9/10 || !utf8.ValidString(body) {
		t.Errorf("%d bytes, want at most %d and not many less", len(body), maxXMPPBody)
	}
	if strings.ContainsAny(body, "\x00\x01\x1b\uFFFE") {
		t.Error("control characters in the body")
	}
	conn := &cannedConn{r: strings.NewReader(serverHeader + "<stream:features><body>" + escape(body) + "</body></stream:features>")}
	features, err := newStream(conn, redactor{}).open("xmpp.test")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := features.child(nsClient, "body"); got.text != body {
		t.Errorf("read back %q", got.text)
	}
}

// Each kind of alert as the body of a message.
func TestXMPPWording(t *testing.T) {
	for name, a := range goldenAlerts() {
		body := plainStyle(maxXMPPBody, byteCount).message(newText(a, a.Time.Add(time.Second)))
		golden(t, filepath.Join("testdata", "xmpp."+name+".txt"), []byte(body+"\n"))
	}
}

func TestXMPPAddresses(t *testing.T) {
	for _, tt := range []struct{ from, to, err string }{
		{"xmpp.test", "admin@xmpp.test", `address "xmpp.test": no account in front of the domain`},
		{"", "admin@xmpp.test", `address "": no domain`},
		{"user@exämple.test", "admin@xmpp.test", `address "user@exämple.test": a domain outside ASCII; write it in its xn-- form`},
		{"user@xmpp.test", "@xmpp.test", `address "@xmpp.test": nothing before the @`},
		{"user@xmpp.test", "a'b@xmpp.test", `address "a'b@xmpp.test": a character before the @ that is not allowed there`},
	} {
		n := newXMPPNotifier(&XMPP{From: tt.from, To: tt.to}).(*xmppNotifier)
		n.lookup = func(context.Context, string, string, string) (string, []*net.SRV, error) {
			t.Error("looked up all the same")
			return "", nil, errors.New("no")
		}
		checkError(t, n.Notify(t.Context(), mailAlert()), "", tt.err, true)
	}
}

// TestXMPPCancelled: the end of the program does not wait for a server.
func TestXMPPCancelled(t *testing.T) {
	n := testXMPP()
	p := &peer{t: t, scripts: []string{"HANG"}}
	n.dial = p.dial
	synctest.Test(t, func(t *testing.T) {
		p.done = make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		if err := n.Notify(ctx, mailAlert()); err == nil || isPermanent(err) || time.Since(start) != time.Second {
			t.Errorf("%v after %v, want a temporary error after 1 s", err, time.Since(start))
		}
		<-p.done
	})
}
