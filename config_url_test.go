package main

import (
	"strings"
	"testing"
)

// Configs of the Rust Vigil hold URLs with characters that must be encoded. The
// id stays as it is written.
func TestParseTargetEncodes(t *testing.T) {
	for _, test := range []struct{ raw, sent string }{
		{"https://example.com", "https://example.com"},
		{"https://example.com/a b/é?q=a b&r=ü", "https://example.com/a%20b/%C3%A9?q=a%20b&r=%C3%BC"},
		{"https://example.com/a%20b?x=%zz", "https://example.com/a%20b?x=%zz"},
		{"https://example.com/100%/{id}|x", "https://example.com/100%25/%7Bid%7D%7Cx"},
		{"https://example.com?a|b={c}", "https://example.com?a|b={c}"},
		{"https://example.com/?a=\"<b>\"", "https://example.com/?a=%22%3Cb%3E%22"},
		{"https://example.com/a%2Fb", "https://example.com/a%2Fb"},
	} {
		target, err := parseTarget(test.raw)
		if err != nil || target.Raw != test.raw || target.URL.String() != test.sent {
			t.Errorf("%s: id %q, sent %v, %v; want %q", test.raw, target.Raw, target.URL, err, test.sent)
		}
	}
	for _, raw := range []string{"https://exa mple.com/", "https://example.com/a\tb", "https://example.com/a\nb", " https://example.com/"} {
		if _, err := parseTarget(raw); err == nil {
			t.Errorf("%q is taken", raw)
		}
	}
}

func TestParseTargetUser(t *testing.T) {
	for raw, want := range map[string]string{
		"ssh://git@example.com:22":        "ssh://git@example.com:22",
		"ssh://git:s3cret@example.com:22": "ssh://***@example.com:22",
		"https://token@example.com/":      "https://***@example.com/",
	} {
		target, err := parseTarget(raw)
		if err != nil || target.Raw != want || target.Host != "example.com" {
			t.Errorf("%s: %+v, %v", raw, target, err)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, raw := range []string{"https://user:pass@example.com/a b?c#d", "icmp://[::1]", "ssh://git@example.com:22", "tcp://example.com:1", "http://100%/%zz"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		target, err := parseTarget(raw)
		if err != nil {
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		if target.Host == "" || target.Port == "" && target.Scheme != "icmp" {
			t.Errorf("%q: %+v", raw, target)
		}
		if sent := target.URL.RequestURI(); strings.ContainsAny(sent, " \t\r\n") {
			t.Errorf("%q sends %q", raw, sent)
		}
	})
}

func TestSite(t *testing.T) {
	for url, ok := range map[string]bool{
		"https://example.com": true, "mailto:a@b.example": true, "tel:+331": true, "xmpp:room@example.com?join": true,
		"ircs://irc.example/room": true, "HTTPS://example.com": true, "/local": false, "https:///x": false, "javascript:alert(1)": false,
		"JavaScript:alert(1)": false, "java\\nscript:x": false, "data:text/html,x": false, "vbscript:x": false, "mailto:": false, "a b:c": false, ":x": false,
	} {
		_, _, err := parseConfig(strings.NewReader("[branding]\npage_url = \"https://s.example\"\nsupport_url = \""+url+"\""), "config.cfg", environ(nil))
		if (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}
