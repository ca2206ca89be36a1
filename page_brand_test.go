package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// Whatever colours are configured, what is written in or on them can be read.
func TestBrandContrast(t *testing.T) {
	colours := []string{
		"#000000", "#ffffff", "#1972f5", "#ff0", "#ffff00", "#777777", "#767676", "#00ff00", "#ff0000",
		"#0000ff", "#f0f0f0", "#111", "#e8f", "#ff8800", "#15803d", "", "red", "#12345", "#gggggg",
	}
	for i := range 1 << 12 {
		colours = append(colours, fmt.Sprintf("#%03x", i))
	}
	schemes := linkGrounds(t)
	for _, c := range colours {
		css := newBrand(Branding{LogoColor: c}).css()
		found := regexp.MustCompile(`#[0-9a-f]{6}`).FindAllString(css, -1)
		if len(found) != 4 {
			t.Fatalf("%q: %s", c, css)
		}
		var parsed [4]colour
		for i, s := range found {
			parsed[i], _ = parseColour(s)
		}
		if ratio := contrast(parsed[0], parsed[1]); ratio < 4.5 {
			t.Errorf("%q: text on it: contrast %.2f", c, ratio)
		}
		for i, scheme := range schemes {
			for name, ground := range scheme {
				if ratio := contrast(parsed[2+i], ground); ratio < 4.5 {
					t.Errorf("%q: a link on %s of scheme %d: contrast %.2f", c, name, i, ratio)
				}
			}
		}
	}
}

// linkGrounds returns what app.css has links on, by day and by night.
func linkGrounds(t *testing.T) (schemes [2]map[string]colour) {
	t.Helper()
	css := read(t, "assets/app.css")
	if !strings.Contains(css, ".entry:target { background: color-mix(in srgb, var(--info) var(--tint), var(--card));") {
		t.Fatal("an entry that the address names is on another ground")
	}
	tokens := make(map[string]string)
	for i, root := range regexp.MustCompile(`(?s)  --ground: .*?\}`).FindAllString(css, 2) {
		for _, m := range regexp.MustCompile(`--(\w+): ([^;]+);`).FindAllStringSubmatch(root, -1) {
			tokens[m[1]] = m[2] // by night as by day where it is not said anew
		}
		scheme := make(map[string]colour)
		for _, name := range []string{"ground", "card", "hover", "info"} {
			c, ok := parseColour(tokens[name])
			if !ok {
				t.Fatalf("no --%s in %s", name, root)
			}
			scheme[name] = c
		}
		var percent float64
		if _, err := fmt.Sscanf(tokens["tint"], "%f%%", &percent); err != nil {
			t.Fatal(err)
		}
		named := scheme["card"]
		for k := range named {
			named[k] += (scheme["info"][k] - named[k]) * percent / 100
		}
		scheme["a named entry"] = named
		delete(scheme, "info")
		schemes[i] = scheme
	}
	return schemes
}

func TestContrast(t *testing.T) {
	grey, _ := parseColour("#777777")
	for _, c := range []struct {
		a, b colour
		want float64
	}{{white, black, 21}, {white, white, 1}, {grey, white, 4.478}} {
		if got := contrast(c.a, c.b); got < c.want-0.001 || got > c.want+0.001 {
			t.Errorf("%s on %s: %.3f, want %.3f", c.a, c.b, got, c.want)
		}
	}
}

func TestPolicy(t *testing.T) {
	const rest = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	for _, c := range []struct{ html, want string }{
		{"", "connect-src 'self'; font-src 'self'; img-src 'self'; script-src 'self'; style-src 'self'"},
		// printf 'alert(1)' | openssl sha256 -binary | base64
		{"<script>alert(1)</script>", "connect-src 'self'; font-src 'self'; img-src 'self'; script-src 'self' 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='; style-src 'self'"},
		{"<style>a{}</style><noscript><style>b{}</style></noscript>", "connect-src 'self'; font-src 'self'; img-src 'self'; script-src 'self'; style-src 'self' " + hashSource("a{}") + " " + hashSource("b{}")},
		{"<SCRIPT async src=https://count.example/js/x.js></SCRIPT>", "connect-src 'self' https://count.example; font-src 'self'; img-src 'self' https://count.example; script-src 'self' https://count.example; style-src 'self'"},
		{`<link rel="preconnect" href="//fonts.example" crossorigin><img src="http://x.example:8080/p.gif">`, "connect-src 'self'; font-src 'self' https://fonts.example; img-src 'self' https://fonts.example http://x.example:8080; script-src 'self'; style-src 'self' https://fonts.example"},
		{`<link onload="this.media='all'" style="color:red">`, "connect-src 'self'; font-src 'self'; img-src 'self'; script-src 'self' 'unsafe-hashes' " + hashSource("this.media='all'") + "; style-src 'self' 'unsafe-hashes' " + hashSource("color:red")},
		{`<script src="https://a.example; script-src *"></script><script src="javascript:alert(1)"></script>`, "connect-src 'self'; font-src 'self'; img-src 'self'; script-src 'self'; style-src 'self'"},
	} {
		p := newPolicy()
		p.allowHTML(c.html)
		// An empty script of its own is a hash that does no harm.
		got := strings.ReplaceAll(p.String("'none'"), " "+hashSource(""), "")
		if want := rest + "; " + c.want; got != want {
			t.Errorf("%s:\n got %s\nwant %s", c.html, got, want)
		}
	}
	if hashSource("a\r\nb\rc") != hashSource("a\nb\nc") {
		t.Error("carriage returns change a hash")
	}
}

func TestPolicyOfPage(t *testing.T) {
	s := healthySample()
	b := &s.conf.Branding
	b.LogoURL, b.IconURL = "https://cdn.example/logo.svg", "/assets/icon.png"
	b.CustomHTML = "<script>\r\nhello()\r\n</script>"
	h := newTestPage(t, s).handler(nil)
	res := get(h, "GET", "/")
	csp := res.Header.Get("Content-Security-Policy")
	page := body(t, res)
	if !strings.Contains(page, b.CustomHTML) {
		t.Error("the custom HTML is not on the page as it was written")
	}
	style := page[strings.Index(page, "<style>")+len("<style>") : strings.Index(page, "</style>")]
	for _, want := range []string{
		"img-src 'self' data: https://cdn.example;",
		"script-src 'self' " + hashSource("\nhello()\n"),
		"style-src 'self' " + hashSource(style),
		"frame-ancestors 'none'",
	} {
		if !strings.Contains(csp, want) {
			t.Errorf("no %s in\n%s", want, csp)
		}
	}
	if strings.Contains(csp, "unsafe") {
		t.Errorf("unsafe: %s", csp)
	}
	if csp := get(h, "GET", "/embed").Header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors *;") {
		t.Errorf("the widget cannot be framed: %s", csp)
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add(`<script src="https://a.example/x">a</script><style>b</style>`)
	f.Add(`<noscript><noscript><link href=//x onload=y`)
	f.Fuzz(func(t *testing.T, html string) {
		p := newPolicy()
		p.allowHTML(html)
		got := p.String("'none'")
		if n := strings.Count(got, ";"); n != 8 {
			t.Errorf("%q adds a directive: %s", html, got)
		}
		if strings.ContainsAny(got, "\r\n") || strings.Contains(got, "'unsafe-inline'") {
			t.Errorf("%q: %s", html, got)
		}
	})
}

// The config's policy replaces the page's own one; an empty one sends none. An
// address without a path gets its slash.
func TestConfiguredPolicy(t *testing.T) {
	for _, tc := range []struct{ line, want string }{
		{"", "default-src 'none'; "},
		{`content_security_policy = "default-src 'self'; frame-ancestors *"`, "default-src 'self'; frame-ancestors *"},
		{"content_security_policy = \"\"\"\ndefault-src 'self';\n  frame-ancestors *\"\"\"", "default-src 'self'; frame-ancestors *"},
		{`content_security_policy = ""`, ""},
	} {
		conf, _, err := parseConfig(strings.NewReader("[server]\n"+tc.line+"\n[branding]\npage_url = \"https://s.example\"\n"), "", environ(nil))
		if err != nil {
			t.Fatal(err)
		}
		if conf.Branding.PageURL != "https://s.example/" {
			t.Errorf("page_url %q", conf.Branding.PageURL)
		}
		s := healthySample()
		s.conf.Server.ContentPolicy = conf.Server.ContentPolicy
		res := get(newTestPage(t, s).handler(nil), "GET", "/")
		got, sent := res.Header["Content-Security-Policy"]
		if sent != (tc.want != "") || sent && !strings.HasPrefix(got[0], tc.want) {
			t.Errorf("%s: %q", tc.line, got)
		}
	}
	_, _, err := parseConfig(strings.NewReader("server.content_security_policy = \"a\\u0000\"\nbranding.page_url = \"https://s.example\"\n"), "c", environ(nil))
	if err == nil || !strings.Contains(err.Error(), "characters that a header field cannot hold") {
		t.Errorf("a control character: %v", err)
	}
}
