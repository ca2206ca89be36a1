package notify

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/mail"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Email is one message per recipient over SMTP.
type Email struct {
	To       []string
	From     string
	Host     string
	Port     int
	Username string
	Password Secret
	Encrypt  bool // STARTTLS is required, not only used when offered
}

func readEmail(k Keys) Service {
	e := &Email{}
	k.List("to", "one e-mail address or a list of them, like ops@example.com", func(item, s string) {
		e.To = append(e.To, readAddresses(k, item, s)...)
	})
	from := k.Required("from", "an e-mail address, like vigil@example.com")
	switch list := readAddresses(k, "from", from); len(list) {
	case 0:
	case 1:
		e.From = list[0]
	default:
		k.Fault("from", "%s is several addresses; allowed: one", k.Show("from", from))
	}
	e.Host = k.Text("smtp_host", "localhost")
	if e.Host == "" || strings.ContainsAny(e.Host, "/@ \t\r\n") {
		k.Fault("smtp_host", "%s is not a host; allowed: a host name or an IP address", k.Show("smtp_host", e.Host))
	}
	e.Host = strings.Trim(e.Host, "[]")
	e.Port = int(k.Number("smtp_port", 587, 1, 65535))
	e.Username = k.Text("smtp_username", "")
	password := k.Text("smtp_password", "")
	k.CheckSecret("smtp_password", password)
	e.Password = Secret(password)
	if e.Username == "" && password != "" {
		k.Warn("smtp_password", "is without smtp_username and is not used")
	}
	if e.Username != "" && password == "" {
		k.Warn("smtp_username", "is without smtp_password")
	}
	e.Encrypt = k.Bool("smtp_encrypt", true)
	if !e.Encrypt && e.Username != "" && e.Port != smtpsPort && !isLoopback(e.Host) {
		k.Warn("smtp_encrypt", "is false: the password is sent unencrypted if the server offers no TLS")
	}
	return e
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// readAddresses parses one e-mail address, or several with commas between,
// without the names they may come with.
func readAddresses(k Keys, key, s string) (list []string) {
	if s == "" {
		return nil
	}
	parsed, err := mail.ParseAddressList(s)
	if err != nil {
		k.Fault(key, "%s is not an e-mail address; allowed: one like ops@example.com", k.Show(key, s))
		return nil
	}
	for _, a := range parsed {
		list = append(list, a.Address)
	}
	return list
}

// Describe implements Service.
func (e *Email) Describe() string {
	return fmt.Sprintf("to %s over %s port %d", strings.Join(e.To, ", "), e.Host, e.Port)
}

func (e *Email) recipients(page Page) (list []recipient) {
	for _, to := range e.To {
		list = append(list, recipient{to, newEmailNotifier(e, to, page)})
	}
	return list
}

// An emailNotifier sends one message to one address over SMTP.
type emailNotifier struct {
	cfg  Email
	to   string
	page Page

	hostname string // what this machine calls itself
	addr     string // of the mail server, host:port
	dial     dialFunc
	roots    *x509.CertPool // nil: the system's
	redactor redactor
}

// newEmailNotifier returns the Notifier for one of cfg's recipients.
func newEmailNotifier(cfg *Email, to string, page Page) Notifier {
	hostname, _ := os.Hostname()
	n := &emailNotifier{
		cfg:      *cfg,
		to:       to,
		page:     page,
		hostname: hostname,
		dial:     new(net.Dialer).DialContext,
	}
	if cfg.Username != "" {
		// The forms in which the three kinds of login send it.
		n.redactor = newRedactor(cfg.Username, cfg.Password,
			Secret(base64.StdEncoding.EncodeToString([]byte(cfg.Password))),
			Secret(plainResponse(cfg.Username, string(cfg.Password))))
	}
	n.cfg.Host = strings.Trim(cfg.Host, "[]")
	n.addr = net.JoinHostPort(n.cfg.Host, strconv.Itoa(cfg.Port))
	return n
}

// Notify renders the message before it dials, so that a message that cannot be
// rendered does not open a connection.
func (n *emailNotifier) Notify(ctx context.Context, a Alert) error {
	env, err := n.envelope()
	if err != nil {
		return &FinalError{err}
	}
	msg, err := n.message(a, env, time.Now())
	if err != nil {
		return &FinalError{err}
	}
	if err := n.send(ctx, env, msg); err != nil {
		return fmt.Errorf("%s: %w", n.addr, err)
	}
	return nil
}

// An envelope holds the two addresses of a message, quoted where needed and in
// angle brackets, as headers and SMTP commands take them.
type envelope struct {
	from, to string
}

func (n *emailNotifier) envelope() (envelope, error) {
	from, err := bareAddress(n.cfg.From)
	if err != nil {
		return envelope{}, err
	}
	to, err := bareAddress(n.to)
	return envelope{from, to}, err
}

// bareAddress returns "<local@domain>" for an address with or without a name.
func bareAddress(s string) (string, error) {
	a, err := mail.ParseAddress(s)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", s, err)
	}
	bare := (&mail.Address{Address: a.Address}).String()
	// A quoted local part may hold anything; a command line may not.
	if strings.ContainsAny(bare, "\r\n\x00") {
		return "", fmt.Errorf("address %q: a line end or NUL in it", s)
	}
	return bare, nil
}

// utf8 reports whether the addresses need the SMTPUTF8 extension (RFC 6531).
func (e envelope) utf8() bool {
	return !isASCII(e.from) || !isASCII(e.to)
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}
