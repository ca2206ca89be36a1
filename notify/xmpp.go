package notify

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// XMPP is a chat message from one account to another.
type XMPP struct {
	To       string
	From     string
	Password Secret
}

// maxXMPPBody is how many bytes of text one message carries. Servers close the
// stream at 256 KiB and slow down long before.
const maxXMPPBody = 10_000

func readXMPP(k Keys) Service {
	return &XMPP{To: readJID(k, "to"), From: readJID(k, "from"), Password: k.Secret("xmpp_password")}
}

// readJID reads a Jabber ID: local@domain, with or without a /resource. RFC
// 7622, section 3, has all the rules; this refuses what no account can be.
func readJID(k Keys, key string) string {
	const allowed = "a Jabber ID, like vigil@example.com"
	s := k.Required(key, allowed)
	bare, _, _ := strings.Cut(s, "/")
	local, domain, ok := strings.Cut(bare, "@")
	if s != "" && (!ok || local == "" || domain == "" || strings.ContainsAny(bare, " \t\r\n<>&\"'") || strings.Contains(domain, "@")) {
		k.Fault(key, "%s is not an account; allowed: %s", k.Show(key, s), allowed)
	}
	return s
}

// Describe implements Service.
func (x *XMPP) Describe() string { return "to " + x.To + " from " + x.From }

func (x *XMPP) recipients(Page) []recipient { return []recipient{{"", newXMPPNotifier(x)}} }

// An xmppNotifier logs in with one account and sends one chat message to
// another.
type xmppNotifier struct {
	cfg      XMPP
	redactor redactor

	lookup lookupSRVFunc
	dial   dialFunc
	roots  *x509.CertPool // nil: the system's
	nonce  func() string  // unguessable, printable ASCII without commas
}

func newXMPPNotifier(cfg *XMPP) Notifier {
	user, _, _ := strings.Cut(cfg.From, "@")
	return &xmppNotifier{
		cfg: *cfg,
		redactor: newRedactor(user, cfg.Password,
			Secret(base64.StdEncoding.EncodeToString([]byte(cfg.Password))),
			Secret(plainResponse(user, string(cfg.Password)))),
		lookup: net.DefaultResolver.LookupSRV,
		dial:   new(net.Dialer).DialContext,
		nonce:  rand.Text,
	}
}

// Notify sends one message. It returns nil once our server could have refused the
// message and did not. Delivery to another server may still fail: only a receipt,
// which few recipients send, would prove it.
func (n *xmppNotifier) Notify(ctx context.Context, a Alert) error {
	from, to, err := n.addresses()
	if err != nil {
		return &FinalError{err}
	}
	connecting, cancel := context.WithTimeout(ctx, dialogueTimeout)
	defer cancel()
	list, err := endpoints(connecting, n.lookup, from.domain)
	if err != nil {
		return err
	}
	body := plainStyle(maxXMPPBody, byteCount).message(newText(a, time.Now()))
	id := deliveryID(a, to.String())
	err = n.deliver(ctx, connecting, list, from, to, id, body)
	// One move is enough for any honest server (RFC 6120, section 4.9.3.19).
	if moved, ok := errors.AsType[*redirectError](err); ok {
		if list = moved.endpoints(); list != nil {
			connecting, cancel := context.WithTimeout(ctx, dialogueTimeout)
			defer cancel()
			err = n.deliver(ctx, connecting, list, from, to, id, body)
		}
	}
	return err
}

// addresses returns the sender's account and the recipient.
func (n *xmppNotifier) addresses() (from, to jid, err error) {
	if from, err = parseJID(n.cfg.From); err != nil {
		return from, to, err
	}
	if from.local == "" {
		return from, to, fmt.Errorf("address %q: no account in front of the domain", n.cfg.From)
	}
	if !isASCII(from.domain) {
		return from, to, fmt.Errorf("address %q: a domain outside ASCII; write it in its xn-- form", n.cfg.From)
	}
	to, err = parseJID(n.cfg.To)
	return from, to, err
}

// A session is a stream under TLS, first before and then after the login.
type session struct {
	*stream
	tcp      *boundedConn
	addr     string
	tls      tls.ConnectionState
	features element // what the server offers now
}

// deliver sends the message through the first endpoint that can be reached
// safely. It must be reached before connecting is done.
func (n *xmppNotifier) deliver(ctx, connecting context.Context, list []endpoint, from, to jid, id, body string) error {
	var s *session
	err := tryEach(connecting, list, func(ctx context.Context, e endpoint) (err error) {
		s, err = n.connect(ctx, e, from.domain)
		return err
	})
	if err != nil {
		return err
	}
	defer s.tcp.Close()
	s.tcp.ctx = ctx
	defer interruptOn(ctx, s.tcp.Conn)()
	if err := n.converse(s, from, to, id, body); err != nil {
		return fmt.Errorf("%s: %w", s.addr, err)
	}
	// The message has been delivered. Close the stream properly.
	s.tcp.step = farewellTimeout
	for err := s.send("</stream:stream>"); err == nil; {
		_, err = s.next()
	}
	return nil
}

// connect opens a connection and takes it to where a login is possible: TLS,
// with a certificate for the domain of the address, not for the host that DNS
// named, and a stream on it.
func (n *xmppNotifier) connect(ctx context.Context, e endpoint, domain string) (s *session, err error) {
	tcp, err := n.dial(ctx, "tcp", e.addr())
	if err != nil {
		return nil, err
	}
	stop := interruptOn(ctx, tcp)
	defer func() {
		if !stop() && err == nil {
			err = netError(context.DeadlineExceeded)
		}
		if err != nil {
			tcp.Close()
		}
	}()

	conn := newBoundedConn(ctx, tcp)
	cfg := &tls.Config{ServerName: strings.Trim(domain, "[]"), RootCAs: n.roots}
	if e.direct {
		cfg.NextProtos = []string{"xmpp-client"} // XEP-0368; servers may ignore it
	} else if err := n.startTLS(conn, domain); err != nil {
		return nil, fmt.Errorf("STARTTLS: %w", err)
	}
	tc := tls.Client(conn, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", netError(err))
	}
	s = &session{stream: newStream(tc, n.redactor), tcp: conn, addr: e.addr(), tls: tc.ConnectionState()}
	if s.features, err = s.open(domain); err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	return s, nil
}

// startTLS leads the unencrypted part of the dialogue, which only negotiates
// TLS.
func (n *xmppNotifier) startTLS(conn net.Conn, domain string) error {
	s := newStream(conn, n.redactor)
	features, err := s.open(domain)
	if err != nil {
		return err
	}
	if _, offered := features.child(nsTLS, "starttls"); !offered {
		return &PermanentError{errors.New("the server does not offer it, and the password is never sent unencrypted")}
	}
	if err := s.send(`<starttls xmlns='` + nsTLS + `'/>`); err != nil {
		return err
	}
	_, err = s.expect(nsTLS, "proceed")
	return err
}

// converse logs in, binds a resource, and sends the message.
func (n *xmppNotifier) converse(s *session, from, to jid, id, body string) (err error) {
	if err := s.login(from.local, string(n.cfg.Password), n.nonce()); err != nil {
		return fmt.Errorf("login: %w", err)
	}
	if s.features, err = s.open(from.domain); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	// The server chooses the resource: two monitors that asked for the same
	// one would throw each other out.
	bind := n.nonce()
	err = s.send(`<iq type='set' id='` + bind + `'><bind xmlns='` + nsBind + `'/></iq>`)
	if err == nil {
		err = s.await(bind, false, "")
	}
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	// A server answers in the order in which it was asked. So once it has
	// answered the ping, in whatever way, a refusal would be here already.
	ping := n.nonce()
	err = s.send(`<message type='chat' id='` + id + `' to='` + escape(to.String()) + `'><body>` + escape(body) + `</body></message>` +
		`<iq type='get' id='` + ping + `' to='` + escape(from.domain) + `'><ping xmlns='` + nsPing + `'/></iq>`)
	if err == nil {
		s.tcp.step = chatVerdictTimeout
		err = s.await(ping, true, id)
	}
	if err != nil {
		return fmt.Errorf("message: %w", err)
	}
	return nil
}

// await waits for the answer to the iq of that id. An error is as good an
// answer as any when any is set. The refusal of the message of that id, when
// there is one, ends the wait.
func (s *session) await(iq string, any bool, message string) error {
	for {
		e, err := s.next()
		_, moved := errors.AsType[*redirectError](err)
		switch {
		case err != nil && message != "" && !moved:
			return &UnconfirmedError{err}
		case err != nil:
			return err
		}
		switch kind := e.attr("type"); {
		case e.is(nsClient, "iq") && e.attr("id") == iq && (kind == "result" || kind == "error"):
			if kind == "error" && !any {
				return s.stanzaError(e)
			}
			return nil
		case e.is(nsClient, "message") && kind == "error" && message != "" && e.attr("id") == message:
			return s.stanzaError(e)
		}
	}
}
