package notify

import (
	"strings"
	"testing"
)

func TestParseJID(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want jid
		err  string // without the address
	}{
		{in: "vigil@example.com", want: jid{"vigil", "example.com", ""}},
		{in: "Vigil@Example.COM.", want: jid{"Vigil", "example.com", ""}},
		{in: "example.com", want: jid{"", "example.com", ""}},
		{in: "example.com/a@b/c", want: jid{"", "example.com", "a@b/c"}},
		{in: "vigil@example.com/some where", want: jid{"vigil", "example.com", "some where"}},
		{in: "größe@exämple.com", want: jid{"größe", "exämple.com", ""}},
		{in: "vigil@[::1]", want: jid{"vigil", "[::1]", ""}},
		{in: "", err: "no domain"},
		{in: "vigil@", err: "no domain"},
		{in: "vigil@example..com", err: "an empty part in the domain"},
		{in: "..", err: "an empty part in the domain"},
		{in: "@example.com", err: "nothing before the @"},
		{in: "vigil@example.com/", err: "nothing after the /"},
		{in: "a b@example.com", err: "a character before the @ that is not allowed there"},
		{in: "a:b@example.com", err: "a character before the @ that is not allowed there"},
		{in: "vigil@example.com\r\n", err: "a character in the domain that no domain has"},
		{in: "vigil@a@b", err: "a character in the domain that no domain has"},
		{in: "vigil@<b>", err: "a character in the domain that no domain has"},
		{in: "vigil@example.com/\x00", err: "a control character after the /"},
		{in: "\xff@example.com", err: "not valid UTF-8"},
		{in: strings.Repeat("x", 1024) + "@b", err: "longer than 1023 bytes in one part"},
	} {
		got, err := parseJID(tt.in)
		switch {
		case tt.err == "" && (err != nil || got != tt.want):
			t.Errorf("parseJID(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		case tt.err != "" && (err == nil || !strings.HasSuffix(err.Error(), ": "+tt.err)):
			t.Errorf("parseJID(%q): %v, want %s", tt.in, err, tt.err)
		}
	}
}

func FuzzParseJID(f *testing.F) {
	f.Add("vigil@example.com/x")
	f.Add("a@b@c/d/e")
	f.Add("Ä@.\x00")
	f.Add("..")
	f.Fuzz(func(t *testing.T, s string) {
		j, err := parseJID(s)
		if err != nil {
			return
		}
		if j.domain == "" || strings.ContainsAny(j.local+j.domain, "<>'\"& \r\n\x00") {
			t.Errorf("parseJID(%q) = %q", s, j)
		}
		if again, err := parseJID(j.String()); err != nil || again.local != j.local || again.resource != j.resource {
			t.Errorf("parseJID(%q) = %q, then %q, %v", s, j, again, err)
		}
	})
}
