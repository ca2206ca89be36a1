package main

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// badEnv is the environment of the bad configs.
var badEnv = map[string]string{"WORD": "s3cret", "ZERO": "0", "EMPTY": "", "LINES": "s3cret\n\n", "BINARY": "s3\xffcret"}

const problemsFile = "testdata/config/problems.txt"

// TestProblems reads every bad config of a golden file and compares, word for
// word, what is said of it.
func TestProblems(t *testing.T) {
	testProblems(t, problemsFile, saidOf)
}

// testProblems compares what said says of each config in a golden file with
// what stands there.
func testProblems(t *testing.T, file string, said func(text string, whole bool) string) {
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(golden), "=== ")
	anew := parts[0]
	for _, part := range parts[1:] {
		name, text, _ := strings.Cut(part, "\n")
		text, want, _ := strings.Cut(text, "---\n")
		want = strings.TrimSpace(want)
		whole := strings.HasPrefix(name, "whole file: ")
		t.Run(name, func(t *testing.T) {
			got := said(text, whole)
			if got != want && !*update {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if strings.Contains(got, "s3") {
				t.Errorf("a secret is in\n%s", got)
			}
			anew += "=== " + name + "\n" + text + "---\n" + got + "\n\n"
		})
	}
	if *update {
		if err := os.WriteFile(file, []byte(anew), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// saidOf returns all problems of a config, a line each.
func saidOf(text string, whole bool) string {
	if !whole {
		text += "\n[branding]\npage_url = \"https://s.example\"\n"
	}
	_, warnings, err := parseConfig(strings.NewReader(text), "config.cfg", environ(badEnv))
	return wordsOf(warnings, err)
}

// wordsOf returns an error of a config and its warnings, a line each.
func wordsOf(warnings []problem, err error) string {
	var said []string
	if err != nil {
		said = append(said, err.Error())
	}
	for _, w := range warnings {
		kind := "warning "
		if w.note {
			kind = "note "
		}
		said = append(said, kind+w.Error())
	}
	return strings.Join(said, "\n")
}

// Wherever a config is cut off, what is said of it is about the file, and not about
// what its parser looked for.
func TestConfigCutOff(t *testing.T) {
	text := read(t, "config.cfg")
	for n := 1; n < len(text); n += 5 {
		said := saidOf(text[:n], true)
		for _, jargon := range []string{"EOF", `\x00`, "separator", "top-level"} {
			if strings.Contains(said, jargon) {
				t.Fatalf("cut off behind %q:\n%s", text[max(0, n-20):n], said)
			}
		}
	}
	if said := saidOf("[server]\nine", true); said != "config.cfg:2: syntax: the file ends within this line (is it cut off?); allowed: key = value, [table] or [[table]]" {
		t.Error(said)
	}
}

func TestNearest(t *testing.T) {
	words := []string{"replicas", "reveal_replica_name", "id", "inet", "label", "mode"}
	for _, test := range []struct{ wrong, want string }{
		{"replica", "replicas"},
		{"Replicas", "replicas"},
		{"rpelicas", "replicas"},
		{"replcas", "replicas"},
		{"labels", "label"},
		{"mdoe", "mode"},
		{"ip", "id"},
		{"", ""},
		{"x", ""},
		{"timeout", ""},
		{strings.Repeat("replicas", 1000), ""},
	} {
		if got := nearest(test.wrong, words); got != test.want {
			t.Errorf("nearest(%q) = %q, want %q", test.wrong, got, test.want)
		}
	}
}

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
