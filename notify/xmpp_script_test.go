package notify

import (
	"context"
	"encoding/base64"
	"net"
	"strings"
)

const (
	clientHeader = `<?xml version='1.0'?><stream:stream to='xmpp.test' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`
	serverHeader = `<?xml version='1.0'?><stream:stream from='xmpp.test' id='s1' version='1.0' xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`

	headerLines = `
		C: ` + clientHeader + `
		S: ` + serverHeader

	startTLSLines = headerLines + `
		S: <stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>
		C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
		S: <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
		TLS`

	bindLines = headerLines + `
		S: <stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session></stream:features>
		C: <iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>
		S: <iq type='result' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>user@xmpp.test/x</jid></bind></iq>`

	sentLines = bindLines + `
		C: <message type='chat' id='010d8ba0a2c57c1610c3740cdadad654' to='admin@xmpp.test'><body>[Acme Status] DOWN: web &gt; core (connection refused)&#xA;&#xA;DOWN  web &gt; core  tcp://edge-3.example.net:80: connection refused&#xA;&#xA;1 Jan 2000 00:00:00 UTC, https://status.example.com/#probe-web</body></message><iq type='get' id='p1' to='xmpp.test'><ping xmlns='urn:xmpp:ping'/></iq>`

	pongLines = `
		S: <iq type='result' id='p1' from='xmpp.test'/>`

	byeLines = `
		C: </stream:stream>
		S: </stream:stream>`
)

// The exchanges of RFC 5802, section 5, and RFC 7677, section 3.
const (
	nonce256     = "rOprNGfwEbeRWgbNEkqO"
	challenge256 = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	final256     = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	proof256     = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

	nonce1     = "fyko+d2lbbFgONRv9qkxdawL"
	challenge1 = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
	final1     = "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
	proof1     = "v=rmF9pqV8S7suAoZWja4dJRkFsKQ="
)

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// offer is the features before a login.
func offer(mechanisms ...string) string {
	s := headerLines + "\nS: <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"
	for _, m := range mechanisms {
		s += "<mechanism>" + m + "</mechanism>"
	}
	return s + "</mechanisms></stream:features>"
}

func auth(mechanism, text string) string {
	return "\nC: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='" + mechanism + "'>" + base64Of(text) + "</auth>"
}

func saslServer(name, text string) string {
	return "\nS: <" + name + " xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + base64Of(text) + "</" + name + ">"
}

func response(text string) string {
	return "\nC: <response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + base64Of(text) + "</response>"
}

var (
	challenged256 = offer("SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN", "SCRAM-SHA-256-PLUS") +
		auth("SCRAM-SHA-256", "n,,n=user,r="+nonce256) + saslServer("challenge", challenge256) + response(final256)
	login256 = challenged256 + saslServer("success", proof256)
	plain    = offer("PLAIN", "X-OAUTH2") + auth("PLAIN", "\x00user\x00pencil")
	loggedIn = plain + "\nS: <success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
	sent     = startTLSLines + loggedIn + sentLines
)

func saslFailure(inner string) string {
	return "\nS: <failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + inner + "</failure>"
}

func streamFailure(inner string) string {
	return "\nS: <stream:error>" + inner + "</stream:error></stream:stream>"
}

func bounce(kind, condition string) string {
	return "\nS: <message type='error' id='010d8ba0a2c57c1610c3740cdadad654' from='admin@xmpp.test'><error type='" + kind + "'>" +
		"<" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
}

// fakeDNS answers SRV queries. A record is a service, target, port, priority.
func fakeDNS(records ...*net.SRV) lookupSRVFunc {
	return func(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
		var list []*net.SRV
		for _, r := range records {
			kind, target, _ := strings.Cut(r.Target, " ")
			if kind == "_"+service+"._"+proto+"."+name {
				list = append(list, &net.SRV{Target: target, Port: r.Port, Priority: r.Priority, Weight: r.Weight})
			}
		}
		if list == nil {
			return "", nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
		}
		return name, list, nil
	}
}

const (
	srvStart  = "_xmpp-client._tcp.xmpp.test "
	srvDirect = "_xmpps-client._tcp.xmpp.test "
)

// testXMPP is the account of the RFCs' examples at xmpp.test.
func testXMPP() *xmppNotifier {
	n := newXMPPNotifier(&XMPP{From: "user@xmpp.test", To: "admin@xmpp.test", Password: "pencil"}).(*xmppNotifier)
	n.lookup = fakeDNS()
	n.nonce = nonces(nonce256, "b1", "p1")
	return n
}

// nonces returns the given ones, one after the other.
func nonces(list ...string) func() string {
	return func() string {
		s := list[0]
		list = list[1:]
		return s
	}
}
