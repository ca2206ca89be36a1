package notify

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"strings"
	"testing"
)

func TestStreamErrors(t *testing.T) {
	for condition, permanent := range map[string]bool{
		"host-unknown":          true,
		"host-gone":             true,
		"conflict":              true,
		"not-authorized":        true,
		"unsupported-version":   true,
		"system-shutdown":       false,
		"resource-constraint":   false,
		"reset":                 false,
		"connection-timeout":    false,
		"internal-server-error": false,
		"policy-violation":      false,
		"something-new":         false,
	} {
		conn := &cannedConn{r: strings.NewReader(serverHeader + "<stream:error><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")}
		_, err := newStream(conn, redactor{}).open("xmpp.test")
		checkError(t, err, "", condition, permanent)
	}
}

func TestStanzaErrors(t *testing.T) {
	for _, tt := range []struct {
		kind, condition string
		permanent       bool
	}{
		{"cancel", "service-unavailable", true},
		{"cancel", "item-not-found", true},
		{"cancel", "not-allowed", true},
		{"modify", "policy-violation", true},
		{"auth", "forbidden", true},
		{"wait", "policy-violation", false},
		{"wait", "remote-server-timeout", false},
		{"cancel", "remote-server-timeout", false},
		{"cancel", "remote-server-not-found", false},
		{"cancel", "internal-server-error", false},
		{"modify", "resource-constraint", false},
	} {
		conn := &cannedConn{r: strings.NewReader(serverHeader + "<stream:features/>" + bounce(tt.kind, tt.condition))}
		s := newStream(conn, redactor{})
		if _, err := s.open("xmpp.test"); err != nil {
			t.Fatal(err)
		}
		e, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		checkError(t, s.stanzaError(e), "", tt.condition, tt.permanent)
	}
}

// TestChannelBinding: SCRAM is bound to the TLS connection only where that is
// known to work.
func TestChannelBinding(t *testing.T) {
	unique := []byte("unique")
	cert := &x509.Certificate{Raw: []byte("cert"), SignatureAlgorithm: x509.ECDSAWithSHA256}
	for _, tt := range []struct {
		name    string
		version uint16
		unique  []byte
		listed  []string // nil: no list
		want    string
	}{
		{"no list under TLS 1.3", tls.VersionTLS13, nil, nil, ""},
		{"no list under TLS 1.2", tls.VersionTLS12, unique, nil, "tls-unique"},
		{"no list under TLS 1.2, resumed", tls.VersionTLS12, nil, nil, ""},
		{"an empty list", tls.VersionTLS12, unique, []string{}, ""},
		{"unknown kinds", tls.VersionTLS13, nil, []string{"tls-unique", "x"}, ""},
		{"end point", tls.VersionTLS13, nil, []string{"tls-server-end-point"}, "tls-server-end-point"},
		{"exporter under TLS 1.2", tls.VersionTLS12, unique, []string{"tls-exporter", "tls-server-end-point"}, "tls-server-end-point"},
	} {
		s := &session{tls: tls.ConnectionState{Version: tt.version, TLSUnique: tt.unique, PeerCertificates: []*x509.Certificate{cert}}}
		if tt.listed != nil {
			list := element{}
			list.name.Space, list.name.Local = nsBinding, "sasl-channel-binding"
			for _, kind := range tt.listed {
				c := element{}
				c.attrs = append(c.attrs, xml.Attr{Name: xml.Name{Local: "type"}, Value: kind})
				list.children = append(list.children, c)
			}
			s.features.children = append(s.features.children, list)
		}
		name, data, ok := s.channelBinding()
		if !ok {
			name = ""
		}
		if name != tt.want || ok != (tt.want != "") || ok && len(data) == 0 {
			t.Errorf("%s: %q, %q, %v; want %q", tt.name, name, data, ok, tt.want)
		}
	}
}

// TestEndPointBinding follows RFC 5929, section 4.1.
func TestEndPointBinding(t *testing.T) {
	sum256, sum384, sum512 := sha256.Sum256([]byte("cert")), sha512.Sum384([]byte("cert")), sha512.Sum512([]byte("cert"))
	for algorithm, want := range map[x509.SignatureAlgorithm]string{
		x509.SHA1WithRSA:               string(sum256[:]),
		x509.SHA256WithRSA:             string(sum256[:]),
		x509.ECDSAWithSHA256:           string(sum256[:]),
		x509.SHA384WithRSAPSS:          string(sum384[:]),
		x509.ECDSAWithSHA512:           string(sum512[:]),
		x509.PureEd25519:               "",
		x509.UnknownSignatureAlgorithm: "",
	} {
		got := endPointBinding(&x509.Certificate{Raw: []byte("cert"), SignatureAlgorithm: algorithm})
		if string(got) != want {
			t.Errorf("%v: %x, want %x", algorithm, got, want)
		}
	}
}

// FuzzStream reads arbitrary streams: it must end, and keep what reaches a log
// on one line.
func FuzzStream(f *testing.F) {
	f.Add("<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features><iq type='result' id='p1'/>")
	f.Add("<stream:features/>" + bounce("cancel", "item-not-found"))
	f.Add("<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>[::1]:5</see-other-host></stream:error>")
	f.Add("<stream:features>" + strings.Repeat("<a>", 20))
	f.Add("<stream:features/> \n<message type='error'><![CDATA[x]]>&#10;&lt;</message></stream:stream>")
	f.Fuzz(func(t *testing.T, text string) {
		conn := &cannedConn{r: strings.NewReader(serverHeader + text)}
		s := &session{stream: newStream(conn, redactor{})}
		var err error
		if s.features, err = s.open("xmpp.test"); err == nil {
			err = s.await("p1", true, "m1")
		}
		if err == nil && !strings.Contains(text, "p1") {
			t.Errorf("%q answers a ping", text)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\r\n\x1b") {
			t.Errorf("%q comes to the error %q", text, err)
		}
	})
}
