package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

func TestXMPP(t *testing.T) {
	ca := newAuthority(t)
	good := ca.issue(t, 2100, "xmpp.test")
	for _, tt := range []struct {
		name    string
		edit    func(n *xmppNotifier)
		peer    peer
		scripts []string

		dialled   []string // "" is xmpp.test:5222
		proto     string
		err       string // "" is a delivery; without the address in front
		permanent bool
		took      time.Duration
	}{{
		name:    "SCRAM-SHA-256",
		scripts: []string{startTLSLines + login256 + sentLines + pongLines + byeLines},
	}, {
		name: "SCRAM-SHA-1",
		edit: func(n *xmppNotifier) { n.nonce = nonces(nonce1, "b1", "p1") },
		scripts: []string{startTLSLines + offer("PLAIN", "SCRAM-SHA-1") +
			auth("SCRAM-SHA-1", "n,,n=user,r="+nonce1) + saslServer("challenge", challenge1) +
			response(final1) + saslServer("success", proof1) + sentLines + pongLines + byeLines},
	}, {
		name:    "PLAIN",
		scripts: []string{sent + pongLines + byeLines},
	}, {
		name: "the proof in a challenge of its own",
		scripts: []string{startTLSLines + challenged256 + saslServer("challenge", proof256) + `
			C: <response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>
			S: <success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>` + sentLines + pongLines + byeLines},
	}, {
		name: "direct TLS, ALPN",
		edit: func(n *xmppNotifier) {
			n.lookup = fakeDNS(&net.SRV{Target: srvDirect + "c2s.example.net.", Port: 443})
		},
		peer:    peer{alpn: []string{"xmpp-client"}},
		scripts: []string{"TLS" + loggedIn + sentLines + pongLines + byeLines},
		dialled: []string{"c2s.example.net:443"},
		proto:   "xmpp-client",
	}, {
		name: "direct TLS, no ALPN",
		edit: func(n *xmppNotifier) {
			n.lookup = fakeDNS(&net.SRV{Target: srvDirect + "c2s.example.net.", Port: 5223})
		},
		scripts: []string{"TLS" + loggedIn + sentLines + pongLines + byeLines},
		dialled: []string{"c2s.example.net:5223"},
	}, {
		name:    "a channel binding that is listed",
		scripts: []string{startTLSLines + strings.Replace(offer("SCRAM-SHA-256-PLUS"), "</stream:features>", "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='x'/><channel-binding type='tls-exporter'/></sasl-channel-binding></stream:features>", 1) + auth("SCRAM-SHA-256-PLUS", "p=tls-exporter,,n=user,r="+nonce256) + saslFailure("<temporary-auth-failure/>")},
		err:     "login: temporary-auth-failure",
	}, {
		name:    "a channel binding from before lists, under TLS 1.2",
		peer:    peer{version: tls.VersionTLS12},
		scripts: []string{startTLSLines + offer("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS") + auth("SCRAM-SHA-256-PLUS", "p=tls-unique,,n=user,r="+nonce256) + saslFailure("<temporary-auth-failure/>")},
		err:     "login: temporary-auth-failure",
	}, {
		name: "other stanzas in between, and a ping that is not supported",
		scripts: []string{sent + `
			S: <message type='chat' from='spammer@xmpp.test'><body>hi</body></message>
			S: <message type='error' id='other'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
			S: <iq type='get' id='p1' from='evil@xmpp.test'><query xmlns='jabber:iq:version'/></iq>
			S: <iq type='error' id='other'/>
			S:  <r xmlns='urn:xmpp:sm:3'/>
			S: <iq type='error' id='p1'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
			C: </stream:stream>
			S: <a xmlns='urn:xmpp:sm:3' h='1'/></stream:stream>`},
	}, {
		name:    "hung up after the verdict",
		scripts: []string{sent + pongLines},
	}, {
		name: "silence after the verdict",
		scripts: []string{sent + pongLines + `
			C: </stream:stream>
			HANG`},
		took: farewellTimeout,
	}, {
		name: "no STARTTLS",
		scripts: []string{headerLines + `
			S: <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>`},
		err:       "STARTTLS: the server does not offer it, and the password is never sent unencrypted",
		permanent: true,
	}, {
		name: "STARTTLS refused",
		scripts: []string{headerLines + `
			S: <stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>
			C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
			S: <failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>`},
		err: `STARTTLS: the server sent "failure", want "proceed"`,
	}, {
		name: "a stream slipped in before TLS",
		scripts: []string{startTLSLines[:len(startTLSLines)-len("TLS")] + "S: " + serverHeader +
			"<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>\nTLS" +
			login256 + sentLines + pongLines + byeLines},
	}, {
		name: "a certificate for the host and not for the domain",
		edit: func(n *xmppNotifier) {
			n.lookup = fakeDNS(&net.SRV{Target: srvStart + "c2s.example.net.", Port: 5222})
		},
		peer:      peer{cert: ca.issue(t, 2100, "c2s.example.net")},
		scripts:   []string{strings.TrimSuffix(startTLSLines, "TLS") + "BADTLS"},
		dialled:   []string{"c2s.example.net:5222"},
		err:       "c2s.example.net:5222: TLS: tls: failed to verify certificate: x509: certificate is valid for c2s.example.net, not xmpp.test",
		permanent: true,
	}, {
		name:      "the server does not know the password",
		scripts:   []string{startTLSLines + challenged256 + saslServer("success", proof1)},
		err:       "login: the server does not know the password",
		permanent: true,
	}, {
		name:      "success without proof",
		scripts:   []string{startTLSLines + challenged256 + saslServer("success", "")},
		err:       "login: the server did not prove that it knows the password",
		permanent: true,
	}, {
		name:    "success before the challenge",
		scripts: []string{startTLSLines + offer("SCRAM-SHA-256") + auth("SCRAM-SHA-256", "n,,n=user,r="+nonce256) + saslServer("success", proof256)},
		err:     `login: the server sent "success", want "challenge"`,
	}, {
		name:    "broken base64",
		scripts: []string{startTLSLines + offer("SCRAM-SHA-256") + auth("SCRAM-SHA-256", "n,,n=user,r="+nonce256) + "\nS: <challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>***</challenge>"},
		err:     "login: the server sent broken base64",
	}, {
		name:      "wrong password, quoted",
		scripts:   []string{startTLSLines + plain + saslFailure("<not-authorized/><text xml:lang='en'>pencil is&#10; wrong, cGVuY2ls too</text>")},
		err:       "login: not-authorized ([redacted] is wrong, [redacted] too)",
		permanent: true,
	}, {
		name:      "account disabled",
		scripts:   []string{startTLSLines + plain + saslFailure("<account-disabled/>")},
		err:       "login: account-disabled",
		permanent: true,
	}, {
		name:    "login not possible now",
		scripts: []string{startTLSLines + plain + saslFailure("<temporary-auth-failure/>")},
		err:     "login: temporary-auth-failure",
	}, {
		name:      "no login of ours on offer",
		scripts:   []string{startTLSLines + offer("EXTERNAL", "GSSAPI")},
		err:       `login: the server offers the logins ["EXTERNAL" "GSSAPI"], none of SCRAM-SHA-256, SCRAM-SHA-1 and PLAIN`,
		permanent: true,
	}, {
		name: "no resource",
		scripts: []string{startTLSLines + loggedIn + headerLines + `
			S: <stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>
			C: <iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>
			S: <iq type='error' id='b1'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`},
		err: "bind: resource-constraint",
	}, {
		name:      "no such recipient",
		scripts:   []string{sent + bounce("cancel", "service-unavailable") + pongLines},
		err:       "message: service-unavailable",
		permanent: true,
	}, {
		name:    "recipient's server out of reach",
		scripts: []string{sent + bounce("wait", "remote-server-timeout")},
		err:     "message: remote-server-timeout",
	}, {
		name:    "too fast",
		scripts: []string{sent + bounce("wait", "policy-violation")},
		err:     "message: policy-violation",
	}, {
		name:    "an error without a reason",
		scripts: []string{sent + "\nS: <message type='error' id='010d8ba0a2c57c1610c3740cdadad654'/>"},
		err:     "message: refused without a reason",
	}, {
		name:    "shut down before the verdict",
		scripts: []string{sent + streamFailure("<system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>")},
		err:     "message: sent, but not confirmed: system-shutdown",
	}, {
		name:    "stream closed before the verdict",
		scripts: []string{sent + "\nS: </stream:stream>"},
		err:     "message: sent, but not confirmed: the server closed the stream",
	}, {
		name:      "unknown host",
		scripts:   []string{headerLines + streamFailure("<host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>not&#10; here</text>")},
		err:       "STARTTLS: host-unknown (not here)",
		permanent: true,
	}, {
		name:    "sent on before TLS",
		scripts: []string{headerLines + streamFailure("<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>[2001:db8::1]:9222</see-other-host>"), sent + pongLines + byeLines},
		dialled: []string{"xmpp.test:5222", "[2001:db8::1]:9222"},
	}, {
		name:    "sent on after the login",
		edit:    func(n *xmppNotifier) { n.nonce = nonces("unused", "unused", "b1", "p1") },
		scripts: []string{startTLSLines + loggedIn + headerLines + streamFailure("<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>two.xmpp.test</see-other-host>"), sent + pongLines + byeLines},
		dialled: []string{"xmpp.test:5222", "two.xmpp.test:5222"},
	}, {
		name:    "sent on to where TLS begins at once",
		scripts: []string{headerLines + streamFailure("<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>two.xmpp.test:5223</see-other-host>"), "SKIP", "TLS" + loggedIn + sentLines + pongLines + byeLines},
		dialled: []string{"xmpp.test:5222", "two.xmpp.test:5223", "two.xmpp.test:5223"},
	}, {
		name: "sent in circles",
		scripts: []string{
			headerLines + streamFailure("<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>two.xmpp.test</see-other-host>"),
			headerLines + streamFailure("<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>xmpp.test</see-other-host>"),
		},
		dialled: []string{"xmpp.test:5222", "two.xmpp.test:5222"},
		err:     `two.xmpp.test:5222: STARTTLS: the server sent us on to "xmpp.test"`,
	}, {
		name:    "sent nowhere",
		scripts: []string{headerLines + streamFailure("<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>a b:c</see-other-host>")},
		err:     `STARTTLS: the server sent us on to "a b:c"`,
	}, {
		name:    "not XMPP",
		scripts: []string{"S: 220 mail.example.com ESMTP\nHANG"},
		err:     "STARTTLS: the server does not speak XMPP",
		took:    dialogueTimeout,
	}, {
		name:    "other XML",
		scripts: []string{"C: " + clientHeader + "\nS: <html><head/></html>"},
		err:     "STARTTLS: the server does not speak XMPP",
	}, {
		name:    "broken XML",
		scripts: []string{headerLines + "\nS: <stream:features></stream:nonsense>"},
		err:     `STARTTLS: the server sent broken XML: "XML syntax error on line 1: element <features> closed by </nonsense>"`,
	}, {
		name:    "a stanza without end",
		scripts: []string{headerLines + "\nS: <stream:features>" + strings.Repeat("<a/>x", dialogueBytes/5) + "\nHANG"},
		err:     "STARTTLS: the server sent more than any dialogue needs",
	}, {
		name:    "a word without end",
		scripts: []string{headerLines + "\nS: <stream:features " + strings.Repeat("x", dialogueBytes) + "\nHANG"},
		err:     "STARTTLS: the server sent more than any dialogue needs",
	}, {
		name:    "deep nesting",
		scripts: []string{headerLines + "\nS: <stream:features>" + strings.Repeat("<a>", maxDepth)},
		err:     "STARTTLS: the server nests elements deeper than 16",
	}, {
		name:    "a document type",
		scripts: []string{"C: " + clientHeader + "\nS: <?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]>" + serverHeader},
		err:     "STARTTLS: the server does not speak XMPP",
	}, {
		name:    "a comment",
		scripts: []string{headerLines + "\nS: <stream:features><!-- --></stream:features>"},
		err:     "STARTTLS: the server sent XML that XMPP forbids",
	}, {
		name: "the next server when the first is dead",
		edit: func(n *xmppNotifier) {
			n.lookup = fakeDNS(
				&net.SRV{Target: srvStart + "two.xmpp.test.", Port: 5222, Priority: 10},
				&net.SRV{Target: srvDirect + "one.xmpp.test.", Port: 5223, Priority: 5},
				&net.SRV{Target: srvStart + "three.xmpp.test.", Port: 5222, Priority: 20})
		},
		scripts: []string{"BLACKHOLE", "HANG", sent + pongLines + byeLines},
		dialled: []string{"one.xmpp.test:5223", "two.xmpp.test:5222", "three.xmpp.test:5222"},
		took:    2 * (dialogueTimeout / 3),
	}, {
		name: "all servers dead",
		edit: func(n *xmppNotifier) {
			n.lookup = fakeDNS(
				&net.SRV{Target: srvStart + "two.xmpp.test.", Port: 5222, Priority: 10},
				&net.SRV{Target: srvStart + "one.xmpp.test.", Port: 5222, Priority: 5})
		},
		scripts: []string{"REFUSE", headerLines + streamFailure("<host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>")},
		dialled: []string{"one.xmpp.test:5222", "two.xmpp.test:5222"},
		err:     "one.xmpp.test:5222: connection refused; two.xmpp.test:5222: STARTTLS: host-unknown",
	}, {
		name: "all servers refuse",
		edit: func(n *xmppNotifier) {
			n.lookup = fakeDNS(
				&net.SRV{Target: srvStart + "two.xmpp.test.", Port: 5222, Priority: 10},
				&net.SRV{Target: srvStart + "one.xmpp.test.", Port: 5222, Priority: 5})
		},
		scripts: []string{
			headerLines + streamFailure("<host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"),
			headerLines + streamFailure("<host-gone xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"),
		},
		dialled:   []string{"one.xmpp.test:5222", "two.xmpp.test:5222"},
		err:       "one.xmpp.test:5222: STARTTLS: host-unknown; two.xmpp.test:5222: STARTTLS: host-gone",
		permanent: true,
	}, {
		name:      "no service",
		edit:      func(n *xmppNotifier) { n.lookup = fakeDNS(&net.SRV{Target: srvStart + ".", Port: 1}) },
		dialled:   []string{},
		err:       "xmpp.test: the domain has no XMPP service, according to DNS",
		permanent: true,
	}, {
		name:    "no service with direct TLS",
		edit:    func(n *xmppNotifier) { n.lookup = fakeDNS(&net.SRV{Target: srvDirect + ".", Port: 1}) },
		scripts: []string{sent + pongLines + byeLines},
	}, {
		name: "DNS out of reach",
		edit: func(n *xmppNotifier) {
			n.lookup = func(ctx context.Context, _, _, _ string) (string, []*net.SRV, error) {
				<-ctx.Done()
				return "", nil, ctx.Err()
			}
		},
		scripts: []string{sent + pongLines + byeLines},
		took:    srvTimeout,
	}} {
		t.Run(tt.name, func(t *testing.T) {
			n := testXMPP()
			n.roots = ca.pool
			if tt.edit != nil {
				tt.edit(n)
			}
			p := &tt.peer
			p.t, p.scripts = t, tt.scripts
			if p.cert.Certificate == nil {
				p.cert = good
			}
			n.dial = p.dial
			took, err := converse(t, p, func(ctx context.Context) error { return n.Notify(ctx, mailAlert()) })
			checkError(t, err, "xmpp.test:5222: ", tt.err, tt.permanent)
			if took != tt.took {
				t.Errorf("took %v, want %v", took, tt.took)
			}
			if tt.dialled == nil {
				tt.dialled = []string{"xmpp.test:5222"}
			}
			if !slices.Equal(p.dialled, tt.dialled) {
				t.Errorf("dialled %q, want %q", p.dialled, tt.dialled)
			}
			if p.proto != tt.proto {
				t.Errorf("ALPN %q, want %q", p.proto, tt.proto)
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
	for _, script := range prefixes(startTLSLines + login256 + sentLines) {
		sent, limit := strings.Contains(lastLine(script), "<message "), dialogueTimeout
		if sent {
			limit = chatVerdictTimeout
		}
		took, err := run(t, script+"\nHANG")
		if took != limit || err == nil || isPermanent(err) || isUnconfirmed(err) != sent || !strings.Contains(err.Error(), "no answer in time") {
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
