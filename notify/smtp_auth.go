package notify

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/smtp"
	"slices"
	"strings"
)

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
