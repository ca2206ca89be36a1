package main

import (
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	en := newTestPage(t, healthySample()).now.Load().site.lang
	for _, c := range []struct{ got, want string }{
		{length(0), "0 s"},
		{length(59*time.Second + 600*time.Millisecond), "1 min"},
		{length(59 * time.Minute), "59 min"},
		{length(60 * time.Minute), "1 h"},
		{length(25*time.Hour + 59*time.Minute), "1 d 1 h"},
		{length(48 * time.Hour), "2 d"},
		{en.percent(1), "100%"},
		{en.percent(0.999999), "99.99%"},
		{en.percent(0.9998), "99.98%"},
		{en.percent(0.995), "99.50%"},
		{en.percent(0), "0.00%"},
		{en.milliseconds(20 * time.Microsecond), "0.1 ms"},
		{en.milliseconds(9400 * time.Microsecond), "9.4 ms"},
		{en.milliseconds(1499600 * time.Microsecond), "1,500 ms"},
		{en.load(3.966), "397%"},
		{plural(1, "service"), "1 service"},
		{plural(1234567, "service"), "1,234,567 services"},
		{thousands(-1234), "-1,234"},
		{thousands(-123), "-123"},
		{en.window(1), "today"},
		{en.window(90), "90 days"},
		{isolate("plain"), "plain"},
		{isolate("\u202Eturned\u2066 or \u2069closed"), "turned or closed"},
		{isolate("\u05D0\u202E"), "\u2068\u05D0\u2069"},
		{string(link("javascript:alert(1)")), ""},
		{string(link("JavaScript:alert(1)")), ""},
		{string(link("data:text/html,x")), ""},
		{string(link("https://x.example/a b")), "https://x.example/a%20b"},
		{string(link("mailto:help@acme.example")), "mailto:help@acme.example"},
		{string(link("//x.example/")), "//x.example/"},
		{string(link("docs/")), "docs/"},
		{string(link("\x00")), ""},
		{string(picture("data:image/png;base64,AAAA")), "data:image/png;base64,AAAA"},
		{string(picture("data:text/html,x")), ""},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// Addresses in what people wrote become links, and nothing else does.
func TestLinked(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "",
		"plain <b>text</b>":                  "plain <b>text</b>",
		"see https://a.example/x, or b":      "see |[https://a.example/x]|, or b",
		"(http://a.example/?a=1&b=2).":       "(|[http://a.example/?a=1&b=2]|).",
		"https://a.example/x_(y) z":          "[https://a.example/x_(y)]| z",
		"https://a.example.\nhttps://b/":     "[https://a.example]|.\n|[https://b/]",
		"javascript:alert(1) ftp://x.y":      "javascript:alert(1) ftp://x.y",
		"https:// http://":                   "https://| |http://",
		"https://a.example/\"onclick=x":      "[https://a.example/]|\"onclick=x",
		"xhttps://a.example":                 "x|[https://a.example]",
		"\u202Ehttps://a.example/\u2066\x00": "[https://a.example/]|\x00",
	} {
		var got string
		for i, p := range linked(text) {
			if i > 0 {
				got += "|"
			}
			if p.Link != "" {
				got += "[" + p.Text + "]"
			} else {
				got += p.Text
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
