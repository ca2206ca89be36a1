package main

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// A policy is a Content-Security-Policy that starts from nothing but the
// page's own files.
type policy map[string][]string

func newPolicy() policy {
	return policy{
		"connect-src": {"'self'"},
		"font-src":    {"'self'"},
		"img-src":     {"'self'"},
		"script-src":  {"'self'"},
		"style-src":   {"'self'"},
	}
}

// String returns the header field's value; ancestors may frame the page.
func (p policy) String(ancestors string) string {
	var b strings.Builder
	b.WriteString("default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors " + ancestors)
	for _, d := range [...]string{"connect-src", "font-src", "img-src", "script-src", "style-src"} {
		b.WriteString("; " + d + " " + strings.Join(p[d], " "))
	}
	return b.String()
}

func (p policy) allow(directive, source string) {
	if !slices.Contains(p[directive], source) {
		p[directive] = append(p[directive], source)
	}
}

// allowURL allows the host of an address as the configuration writes it. One
// without a host is the page's own.
func (p policy) allowURL(directive, raw string) {
	u, err := url.Parse(strings.TrimSpace(raw))
	if err != nil || u.Host == "" || strings.ContainsAny(u.Host, " ;,'\"") {
		return
	}
	switch u.Scheme {
	case "http", "https":
		p.allow(directive, u.Scheme+"://"+u.Host)
	case "":
		p.allow(directive, "https://"+u.Host)
	}
}

// hashSource is the source that allows one inline script or style. Browsers
// hash what the HTML parser made of it, which knows no carriage returns.
func hashSource(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// allowHTML allows what the operator's own HTML contains: its inline scripts,
// styles and handlers by their hashes, and the hosts that it names. A script's
// host may also be connected to and send images, as what counts visitors does,
// and any linked host may send fonts.
func (p policy) allowHTML(text string) {
	z := html.NewTokenizer(strings.NewReader(text))
	within := ""
	for {
		switch z.Next() {
		case html.ErrorToken:
			return
		case html.TextToken:
			switch within {
			case "script":
				p.allow("script-src", hashSource(string(z.Raw())))
			case "style":
				p.allow("style-src", hashSource(string(z.Raw())))
			case "noscript":
				p.allowHTML(string(z.Raw()))
			}
		case html.EndTagToken:
			within = ""
		case html.StartTagToken, html.SelfClosingTagToken:
			t := z.Token()
			within = t.Data
			p.allowTag(t)
		}
	}
}

func (p policy) allowTag(t html.Token) {
	for _, a := range t.Attr {
		switch {
		case strings.HasPrefix(a.Key, "on"):
			p.allow("script-src", "'unsafe-hashes'")
			p.allow("script-src", hashSource(a.Val))
		case a.Key == "style":
			p.allow("style-src", "'unsafe-hashes'")
			p.allow("style-src", hashSource(a.Val))
		case t.Data == "script" && a.Key == "src":
			p.allowURL("script-src", a.Val)
			p.allowURL("connect-src", a.Val)
			p.allowURL("img-src", a.Val)
		case t.Data == "img" && a.Key == "src":
			p.allowURL("img-src", a.Val)
		case t.Data == "link" && a.Key == "href":
			p.allowURL("style-src", a.Val)
			p.allowURL("font-src", a.Val)
			p.allowURL("img-src", a.Val)
		}
	}
}
