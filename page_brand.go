package main

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"strconv"
)

// A colour is one of sRGB, each part from 0 to 1.
type colour [3]float64

// The page's own colours that a brand colour has to stand out against. They
// are those of --card in app.css.
var (
	white     = colour{1, 1, 1}
	black     = colour{0, 0, 0}
	nightCard = colour{0x17 / 255.0, 0x1b / 255.0, 0x22 / 255.0}
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
// write on it, and the two shades of it that can be read on the white card and on
// the dark one.
func (b brand) css() string {
	fill, text := ground(b.logo)
	return fmt.Sprintf(
		":root{--brand:%s;--on-brand:%s;--brand-ink:%s}"+
			"@media screen and (prefers-color-scheme:dark){:root{--brand-ink:%s}}",
		fill, text, b.logo.toward(black, white, legible), b.logo.toward(white, nightCard, legible))
}

// paint puts the icon's colours into an SVG whose currentColor stands for the
// sign and whose fill "Canvas" for the ground.
func (b brand) paint(svg []byte) []byte {
	fill, sign := ground(b.icon)
	svg = bytes.ReplaceAll(svg, []byte("Canvas"), []byte(fill.String()))
	return bytes.ReplaceAll(svg, []byte("currentColor"), []byte(sign.String()))
}
