package notify

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// Pieces of a secret URL that are shorter than this are words, not secrets.
const shortestPiece = 8

// maxSaid is how many characters of a service's answer an error quotes.
const maxSaid = 200

// A redactor hides the secrets of one target in text from elsewhere: a service
// may quote the request in its answer, and so may the network library.
type redactor struct{ replace *strings.Replacer }

// newRedactor returns a redactor for the secrets, each of which may be a whole
// URL. Their percent-encoded, JSON, HTML and basic authentication forms are
// hidden too, the latter for the given user name.
func newRedactor(user string, secrets ...Secret) redactor {
	var forms []string
	add := func(s string) {
		if s != "" {
			forms = append(forms, s, url.QueryEscape(s), url.PathEscape(s), html.EscapeString(s))
			for _, safe := range []bool{false, true} { // with &, < and > as \u0026 and so on
				text := jsonText(s, safe)
				forms = append(forms, text, strings.ReplaceAll(text, "/", `\/`))
			}
		}
	}
	for _, secret := range secrets {
		s := string(secret)
		add(s)
		if s != "" {
			forms = append(forms, base64.StdEncoding.EncodeToString([]byte(user+":"+s)))
		}
		for _, piece := range secretPieces(s) {
			add(piece)
		}
	}
	// The replacer takes the first form that matches, so longer ones come first.
	slices.SortFunc(forms, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b))
	})
	var pairs []string
	for _, form := range slices.Compact(forms) {
		pairs = append(pairs, form, redacted)
	}
	return redactor{strings.NewReplacer(pairs...)}
}

// secretPieces returns the parts of a secret URL that grant access by
// themselves: password, path, query and their components.
func secretPieces(s string) []string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return nil
	}
	var pieces []string
	if password, ok := u.User.Password(); ok {
		login := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password))
		pieces = append(pieces, password, login)
	}
	long := []string{u.RequestURI(), u.Path, u.EscapedPath(), u.RawQuery}
	long = append(long, strings.Split(u.Path, "/")...)
	for _, values := range u.Query() {
		long = append(long, values...)
	}
	for _, piece := range long {
		if len(piece) >= shortestPiece {
			pieces = append(pieces, piece)
		}
	}
	return pieces
}

// jsonText is s as in a JSON string, with the characters that matter in HTML
// escaped or not: encoders differ.
func jsonText(s string, safe bool) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(safe)
	enc.Encode(s) // a string cannot fail
	return strings.TrimSuffix(strings.TrimPrefix(b.String(), `"`), "\"\n")
}

// hide returns s without the secrets.
func (r redactor) hide(s string) string {
	if r.replace == nil {
		return s
	}
	return r.replace.Replace(s)
}

// said prepares a service's answer for an error message: without secrets, on
// one line, printable and short.
func (r redactor) said(s string) string {
	s = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(r.hide(s), "?"))
	return clip(strings.Join(strings.Fields(s), " "), maxSaid)
}

// A Secret is a token, password or URL that carries one. However it is printed
// or logged, it shows as "[redacted]"; string(s) is the value.
type Secret string

const redacted = "[redacted]"

func (s Secret) String() string { return redacted }

// Format keeps every verb of package fmt, %q and %#v included, from printing
// the value.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the value out of JSON and its like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
