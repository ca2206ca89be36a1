package notify

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A jid is an XMPP address: local@domain/resource, of which only the domain
// must be there (RFC 7622, section 3.1).
type jid struct {
	local, domain, resource string
}

// parseJID splits and checks an address. The domain comes back in lower case
// and without a final dot.
func parseJID(s string) (jid, error) {
	rest, resource, hasResource := strings.Cut(s, "/")
	local, domain, hasLocal := strings.Cut(rest, "@")
	if !hasLocal {
		local, domain = "", rest
	}
	j := jid{local, strings.ToLower(strings.TrimSuffix(domain, ".")), resource}
	if err := j.check(hasLocal, hasResource); err != nil {
		return jid{}, fmt.Errorf("address %q: %w", s, err)
	}
	return j, nil
}

func (j jid) check(hasLocal, hasResource bool) error {
	unfit := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
	switch {
	case !utf8.ValidString(j.local + j.domain + j.resource):
		return errors.New("not valid UTF-8")
	case j.domain == "":
		return errors.New("no domain")
	case strings.Contains("."+j.domain+".", ".."):
		return errors.New("an empty part in the domain")
	case strings.ContainsFunc(j.domain, unfit) || strings.ContainsAny(j.domain, `"&'<>@\`):
		return errors.New("a character in the domain that no domain has")
	case hasLocal && j.local == "":
		return errors.New("nothing before the @")
	case strings.ContainsFunc(j.local, unfit) || strings.ContainsAny(j.local, `"&':<>`):
		// RFC 7622, section 3.3.1.
		return errors.New("a character before the @ that is not allowed there")
	case hasResource && j.resource == "":
		return errors.New("nothing after the /")
	case strings.ContainsFunc(j.resource, unicode.IsControl):
		return errors.New("a control character after the /")
	case max(len(j.local), len(j.domain), len(j.resource)) > 1023:
		return errors.New("longer than 1023 bytes in one part")
	}
	return nil
}

func (j jid) String() string {
	s := j.domain
	if j.local != "" {
		s = j.local + "@" + s
	}
	if j.resource != "" {
		s += "/" + j.resource
	}
	return s
}
