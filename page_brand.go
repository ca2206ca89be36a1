package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/html"
)

// A colour is one of sRGB, each part from 0 to 1.
type colour [3]float64

// The page's own colours that a brand colour has to stand out against. They
// are the least favourable in app.css that links are written on: an entry of
// the history that the address names, by day and by night.
var (
	white     = colour{1, 1, 1}
	black     = colour{0, 0, 0}
	dayTint   = colour{0xed / 255.0, 0xf2 / 255.0, 0xfa / 255.0}
	nightTint = colour{0x19 / 255.0, 0x26 / 255.0, 0x3c / 255.0}
)

// defaultBrand is used where no colour is configured.
const defaultBrand = "#2b5fd9"

// parseColour reads "#rrggbb" or "#rgb".
func parseColour(s string) (colour, bool) {
	if len(s) == 4 {
		s = string([]byte{s[0], s[1], s[1], s[2], s[2], s[3], s[3]})
	}
	if len(s) != 7 || s[0] != '#' {
		return colour{}, false
	}
	n, err := strconv.ParseUint(s[1:], 16, 32)
	if err != nil {
		return colour{}, false
	}
	return colour{float64(n>>16) / 255, float64(n>>8&255) / 255, float64(n&255) / 255}, true
}

func (c colour) String() string {
	return fmt.Sprintf("#%02x%02x%02x", part(c[0]), part(c[1]), part(c[2]))
}

func part(f float64) int { return int(math.Round(f * 255)) }

// luminance is the relative one of WCAG 2.2.
func (c colour) luminance() float64 {
	var lin [3]float64
	for i, v := range c {
		if v <= 0.04045 {
			lin[i] = v / 12.92
		} else {
			lin[i] = math.Pow((v+0.055)/1.055, 2.4)
		}
	}
	return 0.2126*lin[0] + 0.7152*lin[1] + 0.0722*lin[2]
}

// contrast is the ratio of WCAG 2.2, from 1 to 21.
func contrast(a, b colour) float64 {
	x, y := a.luminance(), b.luminance()
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// legible is the least contrast of text, WCAG 2.2 section 1.4.3.
const legible = 4.5

// ground returns c as a ground and what to write on it. A middling colour is
// darkened a little rather than written on in black, which few brands want.
func ground(c colour) (ground, text colour) {
	if contrast(white, c) < 3 {
		return c, black // 7 at least
	}
	return c.toward(black, white, legible), white
}

// toward mixes c with end in small steps until it stands out against ground
// by ratio.
func (c colour) toward(end, ground colour, ratio float64) colour {
	for step := range 20 {
		mixed, t := c, float64(step)/20
		for i := range mixed {
			mixed[i] = float64(part(c[i]+(end[i]-c[i])*t)) / 255 // as it will be written
		}
		if contrast(mixed, ground) >= ratio {
			return mixed
		}
	}
	return end
}

// A brand is the configured colours, made legible.
type brand struct {
	logo, icon colour
}

func newBrand(b Branding) brand {
	base, _ := parseColour(defaultBrand)
	pick := func(names ...string) colour {
		if c, ok := parseColour(cmp.Or(names...)); ok {
			return c
		}
		return base
	}
	return brand{pick(b.LogoColor, b.IconColor), pick(b.IconColor, b.LogoColor)}
}

// css returns the brand as custom properties: the colour as a ground, what to
// write on it, and the two shades of it that can be read by day and by night.
func (b brand) css() string {
	fill, text := ground(b.logo)
	return fmt.Sprintf(
		":root{--brand:%s;--on-brand:%s;--brand-ink:%s}"+
			"@media screen and (prefers-color-scheme:dark){:root{--brand-ink:%s}}",
		fill, text, b.logo.toward(black, dayTint, legible), b.logo.toward(white, nightTint, legible))
}

// paint puts the icon's colours into an SVG whose currentColor stands for the
// sign and whose fill "Canvas" for the ground.
func (b brand) paint(svg []byte) []byte {
	fill, sign := ground(b.icon)
	svg = bytes.ReplaceAll(svg, []byte("Canvas"), []byte(fill.String()))
	return bytes.ReplaceAll(svg, []byte("currentColor"), []byte(sign.String()))
}

// Picture is the icon for those who show a link to the page. They need its whole
// address.
func (v shell) Picture() template.URL {
	if name, ok := strings.CutPrefix(v.site.conf.Branding.IconURL, "./"); ok {
		return picture(v.Absolute(name))
	}
	return v.IconURL
}

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
