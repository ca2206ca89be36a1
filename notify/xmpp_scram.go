package notify

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// maxIterations bounds how long a server can keep us computing: about a second.
// Servers ask for 4,096 to 600,000.
const maxIterations = 1_000_000

// A scramMechanism is SCRAM (RFC 5802, RFC 7677) with one hash function. A
// server offers those for which it has stored a user's password.
type scramMechanism struct {
	name string
	hash func() hash.Hash
}

// scramMechanisms are the ones we know, best first.
var scramMechanisms = []scramMechanism{
	{"SCRAM-SHA-256", sha256.New},
	{"SCRAM-SHA-1", sha1.New},
}

// scram is the client's side of one exchange. Passwords outside ASCII are sent
// as written, without SASLprep (RFC 4013), which maps different spellings of
// the same password to one.
type scram struct {
	mechanism      scramMechanism
	user, password string
	nonce          string // printable ASCII without commas
	binding        string // kind of channel binding; "" is none
	bindingData    []byte

	signature []byte // what the server has to prove, from final
}

// header says whether the login is bound to the TLS connection. Without binding
// it says "n", that we do not support it: "y", that the server does not, looks
// like an attack to servers that offer kinds which do not work.
func (c *scram) header() string {
	if c.binding == "" {
		return "n,,"
	}
	return "p=" + c.binding + ",,"
}

func (c *scram) firstBare() string {
	return "n=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(c.user) + ",r=" + c.nonce
}

// first is the client's first message.
func (c *scram) first() string { return c.header() + c.firstBare() }

// final answers the server's first message with the proof that we know the
// password.
func (c *scram) final(challenge string) (string, error) {
	nonce, salt, iterations, err := c.parseChallenge(challenge)
	if err != nil {
		return "", err
	}
	salted, err := pbkdf2.Key(c.mechanism.hash, c.password, salt, iterations, c.mechanism.hash().Size())
	if err != nil {
		return "", err
	}
	binding := base64.StdEncoding.EncodeToString(append([]byte(c.header()), c.bindingData...))
	withoutProof := "c=" + binding + ",r=" + nonce
	message := c.firstBare() + "," + challenge + "," + withoutProof

	clientKey := c.hmac(salted, "Client Key")
	stored := c.mechanism.hash()
	stored.Write(clientKey)
	proof := c.hmac(stored.Sum(nil), message)
	subtle.XORBytes(proof, proof, clientKey)
	c.signature = c.hmac(c.hmac(salted, "Server Key"), message)
	return withoutProof + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
}

// parseChallenge checks "r=NONCE,s=SALT,i=COUNT" and what may follow it.
func (c *scram) parseChallenge(challenge string) (nonce string, salt []byte, iterations int, err error) {
	fields := strings.Split(challenge, ",")
	if len(fields) < 3 || !strings.HasPrefix(fields[0], "r=") || !strings.HasPrefix(fields[1], "s=") || !strings.HasPrefix(fields[2], "i=") {
		return "", nil, 0, errors.New("the server sent a SCRAM challenge that we do not understand")
	}
	nonce = fields[0][2:]
	if len(nonce) <= len(c.nonce) || !strings.HasPrefix(nonce, c.nonce) {
		return "", nil, 0, &PermanentError{errors.New("the server's SCRAM nonce does not continue ours")}
	}
	salt, err = base64.StdEncoding.DecodeString(fields[1][2:])
	if err != nil || len(salt) == 0 {
		return "", nil, 0, errors.New("the server sent no usable SCRAM salt")
	}
	iterations, err = strconv.Atoi(fields[2][2:])
	if err != nil || iterations < 1 || iterations > maxIterations {
		return "", nil, 0, &PermanentError{fmt.Errorf("the server asks for %.20q SCRAM iterations, want 1 to %d", fields[2][2:], maxIterations)}
	}
	return nonce, salt, iterations, nil
}

// verify checks the server's proof that it knows the password.
func (c *scram) verify(final string) error {
	field, _, _ := strings.Cut(final, ",")
	value, ok := strings.CutPrefix(field, "v=")
	if !ok {
		return errors.New("the server did not prove that it knows the password")
	}
	signature, err := base64.StdEncoding.DecodeString(value)
	if err != nil || c.signature == nil || subtle.ConstantTimeCompare(signature, c.signature) != 1 {
		return errors.New("the server does not know the password")
	}
	return nil
}

func (c *scram) hmac(key []byte, message string) []byte {
	mac := hmac.New(c.mechanism.hash, key)
	mac.Write([]byte(message))
	return mac.Sum(nil)
}
