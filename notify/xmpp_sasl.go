package notify

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
)

// login authenticates by the strongest mechanism that the server offers
// and we know. It is called under TLS only.
func (s *session) login(user, password, nonce string) error {
	offer, _ := s.features.child(nsSASL, "mechanisms")
	var offered []string
	for _, m := range offer.children {
		if m.is(nsSASL, "mechanism") {
			offered = append(offered, m.text)
		}
	}
	for _, m := range scramMechanisms {
		if binding, data, ok := s.channelBinding(); ok && slices.Contains(offered, m.name+"-PLUS") {
			c := &scram{mechanism: m, user: user, password: password, nonce: nonce, binding: binding, bindingData: data}
			return s.scramLogin(m.name+"-PLUS", c)
		}
		if slices.Contains(offered, m.name) {
			return s.scramLogin(m.name, &scram{mechanism: m, user: user, password: password, nonce: nonce})
		}
	}
	if slices.Contains(offered, "PLAIN") {
		if err := s.auth("PLAIN", plainResponse(user, password)); err != nil {
			return err
		}
		_, _, err := s.saslAnswer("success")
		return err
	}
	return &PermanentError{fmt.Errorf("the server offers the logins %.200q, none of SCRAM-SHA-256, SCRAM-SHA-1 and PLAIN", offered)}
}

// scramLogin makes one SCRAM exchange. The server proves that it knows the
// password too, with <success/> or in a last challenge before it.
func (s *session) scramLogin(mechanism string, c *scram) error {
	if err := s.auth(mechanism, base64.StdEncoding.EncodeToString([]byte(c.first()))); err != nil {
		return err
	}
	_, challenge, err := s.saslAnswer("challenge")
	if err != nil {
		return err
	}
	final, err := c.final(challenge)
	if err != nil {
		return err
	}
	err = s.send(`<response xmlns='` + nsSASL + `'>` + base64.StdEncoding.EncodeToString([]byte(final)) + `</response>`)
	if err != nil {
		return err
	}
	name, proof, err := s.saslAnswer("success", "challenge")
	if err != nil {
		return err
	}
	if err := c.verify(proof); err != nil {
		return &PermanentError{err}
	}
	if name == "success" {
		return nil
	}
	if err := s.send(`<response xmlns='` + nsSASL + `'/>`); err != nil {
		return err
	}
	_, _, err = s.saslAnswer("success")
	return err
}

func (s *session) auth(mechanism, initial string) error {
	return s.send(`<auth xmlns='` + nsSASL + `' mechanism='` + mechanism + `'>` + initial + `</auth>`)
}

// saslAnswer returns name and content of the next element, which must be one of
// those named. A <failure/> is permanent unless it says otherwise.
func (s *session) saslAnswer(names ...string) (name, text string, err error) {
	e, err := s.next()
	if err != nil {
		return "", "", err
	}
	name = e.name.Local
	switch {
	case e.is(nsSASL, "failure"):
		condition, _, text := e.condition(nsSASL)
		err := s.refusal(condition, text)
		if condition != "temporary-auth-failure" {
			err = &PermanentError{err}
		}
		return "", "", err
	case e.name.Space != nsSASL || !slices.Contains(names, name):
		return "", "", fmt.Errorf("the server sent %.40q, want %q", name, names[0])
	case e.text == "=":
		// The empty message (RFC 6120, section 6.4.2).
		return name, "", nil
	}
	content, err := base64.StdEncoding.DecodeString(e.text)
	if err != nil {
		return "", "", errors.New("the server sent broken base64")
	}
	return name, string(content), nil
}

// channelBinding returns the data that binds a login to this TLS connection,
// where it is known to work: the kind must be on the server's list (XEP-0440).
// Servers without a list that offer SCRAM -PLUS mean tls-unique under TLS 1.2;
// under TLS 1.3 they reject every kind that a client can use.
func (s *session) channelBinding() (name string, data []byte, ok bool) {
	list, listed := s.features.child(nsBinding, "sasl-channel-binding")
	if !listed {
		return "tls-unique", s.tls.TLSUnique, s.tls.Version == tls.VersionTLS12 && len(s.tls.TLSUnique) > 0
	}
	for _, name := range []string{"tls-exporter", "tls-server-end-point"} {
		if !slices.ContainsFunc(list.children, func(c element) bool { return c.attr("type") == name }) {
			continue
		}
		switch name {
		case "tls-exporter":
			// RFC 9266, section 4.2: sure to be unique from TLS 1.3 on.
			if s.tls.Version < tls.VersionTLS13 {
				continue
			}
			data, err := s.tls.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
			if err == nil {
				return name, data, true
			}
		case "tls-server-end-point":
			if data := endPointBinding(s.tls.PeerCertificates[0]); data != nil {
				return name, data, true
			}
		}
	}
	return "", nil, false
}

// endPointBinding is the certificate's hash by the function that its signature
// uses, but SHA-256 in the place of weaker ones (RFC 5929, section 4.1). It is
// nil for signatures of another make.
func endPointBinding(cert *x509.Certificate) []byte {
	var hash crypto.Hash
	switch cert.SignatureAlgorithm {
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		hash = crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		hash = crypto.SHA512
	case x509.PureEd25519, x509.UnknownSignatureAlgorithm:
		return nil
	default:
		hash = crypto.SHA256
	}
	h := hash.New()
	h.Write(cert.Raw)
	return h.Sum(nil)
}
