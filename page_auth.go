package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"

	"vigil/notify"
)

// A gate lets those in who know a token: the password of basic
// authentication, with any user name.
type gate struct {
	api  string // "Reporter", "Manager"
	key  string // of the token in the config
	hash [sha256.Size]byte
	open bool // there is a token; without one nobody gets in
}

func newGate(api, key string, token notify.Secret) gate {
	return gate{api, key, sha256.Sum256([]byte(token)), token != ""}
}

var errWrongToken = refuse(http.StatusForbidden, "wrong token")

// admit returns nil or the refusal of a request without the right token. It
// compares hashes, so that its time tells nothing of the token, not even its
// length.
func (g *gate) admit(r *http.Request) error {
	if !g.open {
		return refuse(http.StatusForbidden, "the %s API is switched off: set %s in the config to use it", g.api, g.key)
	}
	_, password, ok := r.BasicAuth()
	if !ok {
		return &refusal{
			code:   http.StatusUnauthorized,
			text:   "basic authentication is required, with the token as the password",
			header: "Www-Authenticate",
			value:  `Basic realm="Vigil ` + g.api + ` API", charset="UTF-8"`,
		}
	}
	hash := sha256.Sum256([]byte(password))
	if subtle.ConstantTimeCompare(hash[:], g.hash[:]) != 1 {
		return errWrongToken
	}
	return nil
}
