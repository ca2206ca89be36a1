package notify

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"slices"
	"strings"
)

// smtpsPort is where TLS begins at once (RFC 8314, section 3.3); on any other
// port it begins with STARTTLS.
const smtpsPort = 465

// send sends one message to the mail server. It returns nil once the server has
// accepted the message, whatever happens after that.
func (n *emailNotifier) send(ctx context.Context, env envelope, msg []byte) error {
	tcp, err := dialIn(ctx, n.dial, n.addr)
	if err != nil {
		return err
	}
	defer tcp.Close()
	stop := interruptOn(ctx, tcp)
	defer stop()

	conn := newBoundedConn(ctx, tcp)
	c, err := n.open(ctx, conn)
	if err != nil {
		return err
	}
	if n.cfg.Username != "" {
		if err := n.login(c); err != nil {
			return n.step("login", err)
		}
	}
	if err := n.transmit(conn, c, env, msg); err != nil {
		return err
	}
	conn.step = farewellTimeout
	c.Quit()
	return nil
}

// open starts the dialogue: greeting, EHLO and TLS. After that a login or mail
// may follow.
func (n *emailNotifier) open(ctx context.Context, conn net.Conn) (*smtp.Client, error) {
	if n.cfg.Port == smtpsPort {
		tc := tls.Client(conn, n.tlsConfig())
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, n.step("TLS", err)
		}
		conn = tc
	}
	c, err := smtp.NewClient(conn, n.cfg.Host)
	if err != nil {
		return nil, n.step("greeting", err)
	}
	if err := c.Hello(ehloName(n.hostname, conn.LocalAddr())); err != nil {
		// Whatever the code, another server of the domain may be less strict.
		if refused, ok := errors.AsType[*PermanentError](n.step("EHLO", err)); ok {
			return nil, fmt.Errorf("EHLO: %w", refused.Err)
		}
		return nil, n.step("EHLO", err)
	}
	if n.cfg.Port == smtpsPort {
		return c, nil
	}
	if offered, _ := c.Extension("STARTTLS"); offered {
		// The client discards what it has read so far, so nothing injected
		// behind the server's answer counts as encrypted.
		if err := c.StartTLS(n.tlsConfig()); err != nil {
			return nil, n.step("STARTTLS", err)
		}
	} else if n.cfg.Encrypt {
		return nil, &PermanentError{errors.New("the server does not offer STARTTLS, which smtp_encrypt requires")}
	}
	return c, nil
}

func (n *emailNotifier) tlsConfig() *tls.Config {
	return &tls.Config{
		ServerName: n.cfg.Host,
		RootCAs:    n.roots,
		// Where neither encryption is asked for nor a password is at stake,
		// the mail would go out in the clear if TLS failed: an unverified
		// certificate, such as a local relay makes for itself, is no worse
		// (RFC 7435).
		InsecureSkipVerify: !n.cfg.Encrypt && n.cfg.Username == "" && n.cfg.Port != smtpsPort,
	}
}

// transmit sends the message. The server's answer to its end is the verdict.
func (n *emailNotifier) transmit(conn *boundedConn, c *smtp.Client, env envelope, msg []byte) error {
	// Client.Mail would request SMTPUTF8 whenever the server offers it, and the
	// next server might lack it and lose the mail.
	params := ""
	if env.utf8() {
		if offered, _ := c.Extension("SMTPUTF8"); !offered {
			return &PermanentError{fmt.Errorf("the server takes no addresses outside ASCII, such as %s to %s; a domain can be written in its xn-- form", env.from, env.to)}
		}
		params = " SMTPUTF8"
	}
	if _, err := command(c, 250, "MAIL FROM:%s%s", env.from, params); err != nil {
		return n.step("sender "+env.from, err)
	}
	if _, err := command(c, 25, "RCPT TO:%s", env.to); err != nil {
		return n.step("recipient "+env.to, err)
	}
	w, err := c.Data()
	if err != nil {
		return n.step("DATA", err)
	}
	if _, err = w.Write(msg); err == nil {
		err = c.Text.W.Flush()
	}
	if err != nil {
		return n.step("message", err)
	}
	conn.step = mailVerdictTimeout
	if err := w.Close(); err != nil {
		if _, answered := errors.AsType[*textproto.Error](err); !answered && !conn.lost {
			err = &UnconfirmedError{netError(err)}
		}
		return n.step("message", err)
	}
	return nil
}

// command sends one line and returns the text of the answer, whose code must be
// want or begin with it.
func command(c *smtp.Client, want int, format string, args ...any) (string, error) {
	id, err := c.Text.Cmd(format, args...)
	if err != nil {
		return "", err
	}
	c.Text.StartResponse(id)
	defer c.Text.EndResponse(id)
	_, text, err := c.Text.ReadResponse(want)
	return text, err
}

// step says at which point of the dialogue err came up. A 5xx answer is
// permanent (RFC 5321, section 4.2.1), a 4xx one is not.
func (n *emailNotifier) step(name string, err error) error {
	if answer, ok := errors.AsType[*textproto.Error](err); ok {
		err = fmt.Errorf("%d %s", answer.Code, n.redactor.said(answer.Msg))
		if answer.Code/100 == 5 {
			err = &PermanentError{err}
		}
	} else if isUnconfirmed(err) {
		// It is worded already.
	} else if garbled, ok := errors.AsType[textproto.ProtocolError](err); ok {
		err = errors.New(n.redactor.said(string(garbled)))
	} else {
		err = netError(err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// ehloName is what EHLO names this machine by: its host name where that has a
// dot, else the connection's own address as a literal (RFC 5321, section
// 4.1.3). Many servers reject a bare host name, such as a container's.
func ehloName(hostname string, local net.Addr) string {
	name := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '-':
			return r
		}
		return '-'
	}, hostname), ".-")
	name = strings.Trim(name[:min(len(name), 253)], ".-")
	tcp, ok := local.(*net.TCPAddr)
	switch {
	case strings.Contains(name, ".") || !ok && name != "":
		return name
	case !ok:
		return "localhost"
	case tcp.IP.To4() != nil:
		return "[" + tcp.IP.String() + "]"
	}
	return "[IPv6:" + tcp.IP.String() + "]"
}

// dialIn connects within the time for that. Its caller names the address, so the
// error does not.
func dialIn(ctx context.Context, dial dialFunc, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialogueTimeout)
	defer cancel()
	conn, err := dial(ctx, "tcp", addr)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil && op.Addr.String() == addr {
		return nil, op.Err
	}
	return conn, err
}

// login authenticates by the first of PLAIN, LOGIN and CRAM-MD5 that the server
// offers. Without TLS, which smtp_encrypt must allow, CRAM-MD5 comes first
// because it doesn't reveal the password. Package smtp's own Auth knows no
// LOGIN, and follows a refusal with a stray line.
func (n *emailNotifier) login(c *smtp.Client) error {
	_, secure := c.TLSConnectionState()
	if !secure && n.cfg.Encrypt {
		return &PermanentError{errors.New("the server offers no encryption, and smtp_encrypt requires it for the password")}
	}
	_, params := c.Extension("AUTH")
	offered := strings.Fields(strings.ToUpper(params))
	if len(offered) == 0 {
		return &PermanentError{errors.New("the server offers no login, but smtp_username is set")}
	}
	user, password := n.cfg.Username, string(n.cfg.Password)
	switch {
	case !secure && slices.Contains(offered, "CRAM-MD5"):
		return cramLogin(c, user, password)
	case slices.Contains(offered, "PLAIN"):
		return plainLogin(c, user, password)
	case slices.Contains(offered, "LOGIN"):
		return loginLogin(c, user, password)
	case slices.Contains(offered, "CRAM-MD5"):
		return cramLogin(c, user, password)
	default:
		return &PermanentError{fmt.Errorf("the server offers %.200q, none of PLAIN, LOGIN and CRAM-MD5", offered)}
	}
}

// plainLogin is SASL PLAIN (RFC 4616) with an initial response.
func plainLogin(c *smtp.Client, user, password string) error {
	_, err := command(c, 235, "AUTH PLAIN %s", plainResponse(user, password))
	return err
}

// plainResponse is the one message of SASL PLAIN, in base64.
func plainResponse(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
}

// loginLogin is the unofficial LOGIN. Its two prompts differ from server to
// server; their order does not.
func loginLogin(c *smtp.Client, user, password string) error {
	if _, err := command(c, 334, "AUTH LOGIN"); err != nil {
		return err
	}
	if _, err := command(c, 334, "%s", base64.StdEncoding.EncodeToString([]byte(user))); err != nil {
		return err
	}
	_, err := command(c, 235, "%s", base64.StdEncoding.EncodeToString([]byte(password)))
	return err
}

// cramLogin is CRAM-MD5 (RFC 2195).
func cramLogin(c *smtp.Client, user, password string) error {
	text, err := command(c, 334, "AUTH CRAM-MD5")
	if err != nil {
		return err
	}
	challenge, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return fmt.Errorf("challenge %.100q: %w", text, err)
	}
	mac := hmac.New(md5.New, []byte(password))
	mac.Write(challenge)
	response := user + " " + hex.EncodeToString(mac.Sum(nil))
	_, err = command(c, 235, "%s", base64.StdEncoding.EncodeToString([]byte(response)))
	return err
}
