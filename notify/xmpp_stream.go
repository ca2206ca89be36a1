package notify

import (
	"bufio"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The namespaces of RFC 6120, XEP-0440 and XEP-0199.
const (
	nsStream       = "http://etherx.jabber.org/streams"
	nsStreamErrors = "urn:ietf:params:xml:ns:xmpp-streams"
	nsStanzaErrors = "urn:ietf:params:xml:ns:xmpp-stanzas"
	nsClient       = "jabber:client"
	nsTLS          = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL         = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsBinding      = "urn:xmpp:sasl-cb:0"
	nsBind         = "urn:ietf:params:xml:ns:xmpp-bind"
	nsPing         = "urn:xmpp:ping"
)

// maxDepth bounds how deep a server may nest elements. What it says in a
// login and one message nests to 4.
const maxDepth = 16

var errStreamEnd = errors.New("the server closed the stream")

// An element is one element of the server's stream with all that is in it.
type element struct {
	name     xml.Name
	attrs    []xml.Attr
	text     string // its own, not that of its children
	children []element
}

func (e element) is(space, local string) bool {
	return e.name == xml.Name{Space: space, Local: local}
}

// child returns the first child of that name.
func (e element) child(space, local string) (element, bool) {
	i := slices.IndexFunc(e.children, func(c element) bool { return c.is(space, local) })
	if i < 0 {
		return element{}, false
	}
	return e.children[i], true
}

func (e element) attr(local string) string {
	for _, a := range e.attrs {
		if a.Name.Space == "" && a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

// condition returns the name of an error's condition, such as "conflict", its
// value, and what the server says about it.
func (e element) condition(space string) (name, value, text string) {
	for _, c := range e.children {
		switch {
		case c.name.Space != space:
		case c.name.Local == "text":
			text = c.text
		case name == "":
			name, value = c.name.Local, c.text
		}
	}
	return name, value, text
}

// A stream is an XMPP stream from the server, read element by element. How much
// it may hold is bounded by its connection.
type stream struct {
	conn     net.Conn
	redactor redactor
	r        *bufio.Reader
	dec      *xml.Decoder
	err      error // what reading from conn ended with
}

// newStream forgets what was read ahead from an earlier stream on a connection
// below conn, so nothing that was slipped in before TLS counts as encrypted.
func newStream(conn net.Conn, r redactor) *stream {
	return &stream{conn: conn, redactor: r, r: bufio.NewReader(conn)}
}

// ReadByte notes errors: the decoder makes a syntax error out of some.
func (s *stream) ReadByte() (byte, error) {
	c, err := s.r.ReadByte()
	if err != nil {
		s.err = err
	}
	return c, err
}

// Read is never called, since the decoder prefers ReadByte.
func (s *stream) Read(b []byte) (int, error) { return s.r.Read(b) }

func (s *stream) send(text string) error {
	if _, err := io.WriteString(s.conn, text); err != nil {
		return netError(err)
	}
	return nil
}

// open begins a new stream on the connection and returns what the server
// offers. A client does so at the beginning, after TLS and after its login.
func (s *stream) open(domain string) (features element, err error) {
	s.dec = xml.NewDecoder(s)
	err = s.send(`<?xml version='1.0'?><stream:stream to='` + escape(domain) +
		`' version='1.0' xmlns='` + nsClient + `' xmlns:stream='` + nsStream + `'>`)
	if err != nil {
		return element{}, err
	}
	for {
		token, err := s.token()
		if err != nil {
			return element{}, err
		}
		switch token := token.(type) {
		case xml.ProcInst:
			continue
		case xml.CharData:
			if strings.TrimSpace(string(token)) == "" {
				continue
			}
		case xml.StartElement:
			if token.Name == (xml.Name{Space: nsStream, Local: "stream"}) {
				return s.expect(nsStream, "features")
			}
		}
		return element{}, errors.New("the server does not speak XMPP")
	}
}

// expect returns the next element, which must have that name.
func (s *stream) expect(space, local string) (element, error) {
	e, err := s.next()
	if err == nil && !e.is(space, local) {
		err = fmt.Errorf("the server sent %.40q, want %q", e.name.Local, local)
	}
	return e, err
}

// next returns the next element. A stream error is an error.
func (s *stream) next() (element, error) {
	for {
		token, err := s.token()
		if err != nil {
			return element{}, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			e, err := s.element(token, 1)
			if err == nil && e.is(nsStream, "error") {
				err = s.streamError(e)
			}
			return e, err
		case xml.EndElement:
			return element{}, errStreamEnd
		case xml.CharData:
			// Line ends between elements keep connections alive.
			if strings.TrimSpace(string(token)) == "" {
				continue
			}
		}
		return element{}, errors.New("the server sent something other than elements")
	}
}

// element reads the rest of the element that begins with start.
func (s *stream) element(start xml.StartElement, depth int) (element, error) {
	if depth > maxDepth {
		return element{}, fmt.Errorf("the server nests elements deeper than %d", maxDepth)
	}
	e := element{name: start.Name, attrs: start.Attr}
	var text strings.Builder
	for {
		token, err := s.token()
		if err != nil {
			return element{}, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			c, err := s.element(token, depth+1)
			if err != nil {
				return element{}, err
			}
			e.children = append(e.children, c)
		case xml.EndElement:
			e.text = text.String()
			return e, nil
		case xml.CharData:
			text.Write(token)
		default:
			// RFC 6120, section 11.1.
			return element{}, errors.New("the server sent XML that XMPP forbids")
		}
	}
}

// token returns the next piece of XML, of which text is good until the next
// call.
func (s *stream) token() (xml.Token, error) {
	token, err := s.dec.Token()
	switch {
	case err == nil:
		return token, nil
	case s.err != nil:
		return nil, netError(s.err)
	}
	return nil, fmt.Errorf("the server sent broken XML: %.200q", err)
}

// A redirectError is a server's wish that we go elsewhere.
type redirectError struct{ host string }

func (e *redirectError) Error() string {
	return fmt.Sprintf("the server sent us on to %.100q", e.host)
}

// endpoints is where to go, nil when that cannot be read. The port is
// optional, and an IPv6 address stands in brackets (RFC 6120, section
// 4.9.3.19). Whether TLS begins at once there is not said, so both are tried.
func (e *redirectError) endpoints() []endpoint {
	host, port, err := net.SplitHostPort(e.host)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(e.host, "["), "]"), strconv.Itoa(xmppPort)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	_, notIP := netip.ParseAddr(host)
	if err != nil || n == 0 || host == "" || notIP != nil && strings.ContainsAny(host, ":[]/ ") {
		return nil
	}
	return []endpoint{{host: host, port: uint16(n)}, {host: host, port: uint16(n), direct: true}}
}

// streamError is the end of the whole stream (RFC 6120, section 4.9.3). What
// the operator has to mend is permanent; what may be over by the next try, or
// is not known, is not.
func (s *stream) streamError(e element) error {
	name, value, text := e.condition(nsStreamErrors)
	err := s.refusal(name, text)
	switch name {
	case "see-other-host":
		return &redirectError{strings.TrimSpace(value)}
	case "host-unknown", "host-gone", "conflict", "not-authorized", "unsupported-version":
		return &PermanentError{err}
	}
	return err
}

// stanzaError is the answer to a stanza that was refused (RFC 6120, section
// 8.3).
func (s *stream) stanzaError(e element) error {
	e, _ = e.child(nsClient, "error")
	name, _, text := e.condition(nsStanzaErrors)
	err := s.refusal(name, text)
	switch name {
	case "remote-server-timeout", "remote-server-not-found", "resource-constraint", "internal-server-error", "recipient-unavailable":
		return err
	}
	if e.attr("type") == "wait" || name == "" {
		return err
	}
	return &PermanentError{err}
}

// refusal is an error in the server's own words.
func (s *stream) refusal(condition, text string) error {
	reason := cmp.Or(s.redactor.said(condition), "refused without a reason")
	if text := s.redactor.said(text); text != "" {
		reason += " (" + text + ")"
	}
	return errors.New(reason)
}

// escape makes text fit for an element or an attribute.
func escape(text string) string {
	var b strings.Builder
	// Writes to a builder do not fail.
	xml.EscapeText(&b, []byte(text))
	return b.String()
}
