package main

import (
	"fmt"
	"regexp"
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
		for what, ratio := range map[string]float64{
			"text on it":      contrast(parsed[0], parsed[1]),
			"it on white":     contrast(parsed[2], white),
			"it on dark card": contrast(parsed[3], nightCard),
		} {
			if ratio < 4.5 {
				t.Errorf("%q: %s: contrast %.2f", c, what, ratio)
			}
		}
	}
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
