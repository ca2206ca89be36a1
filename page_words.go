package main

import (
	"html/template"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// thousands writes n with commas.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// percent returns a share with two decimals. It is rounded down, so that
// only what was never dead is 100 %.
func percent(share float64) string {
	f := math.Floor(share*1e4+1e-7) / 100
	if f >= 100 && share < 1 {
		f = 99.99
	}
	return strconv.FormatFloat(f, 'f', -1, 64) + " %"
}

// milliseconds returns a latency with at most one decimal.
func milliseconds(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms < 10 {
		return strconv.FormatFloat(max(ms, 0.1), 'f', 1, 64) + " ms"
	}
	return strconv.Itoa(int(ms+0.5)) + " ms"
}

// loadPercent returns a CPU or RAM load in percent; over 100 % is possible.
func loadPercent(share float64) string { return strconv.Itoa(int(share*100+0.5)) + " %" }

// The forms in which times are written where no script changes them.
const (
	minuteForm = "2 Jan 2006, 15:04 MST"
	secondForm = "2 Jan 2006, 15:04:05 MST"
)

// A moment is a point in time for a <time> element: ISO for machines, and Text
// in the server's zone. The script shows the visitor's.
type moment struct{ ISO, Text string }

func newMoment(t time.Time, zone *time.Location, form string) *moment {
	return &moment{t.UTC().Format(time.RFC3339), t.In(zone).Format(form)}
}

// link returns an address for an href, or "" where its scheme could run
// a script. Without a scheme it is relative to the page.
func link(raw string) template.URL {
	if raw == "" { // as most are
		return ""
	}
	u, err := url.Parse(strings.TrimSpace(raw))
	if err != nil {
		return ""
	}
	switch u.Scheme {
	case "", "http", "https", "mailto", "tel", "sms", "xmpp":
		return template.URL(u.String())
	}
	return ""
}

// picture is link for an <img>, where a data URL does no harm either.
func picture(raw string) template.URL {
	if raw = strings.TrimSpace(raw); strings.HasPrefix(raw, "data:image/") {
		return template.URL(raw)
	}
	return link(raw)
}

// steady leaves out the marks that turn text round, Unicode's embeddings,
// overrides and isolates. One without its end would reach beyond s, even out of
// a <bdi>; text that is right-to-left by itself needs none of them.
func steady(s string) string {
	return strings.Map(func(r rune) rune {
		if '\u202A' <= r && r <= '\u202E' || '\u2066' <= r && r <= '\u2069' {
			return -1
		}
		return r
	}, s)
}

// isolate keeps right-to-left text in s from turning round what stands beside
// it in plain text; HTML has <bdi> for that.
func isolate(s string) string {
	const firstStrongIsolate, popDirectionalIsolate = "\u2068", "\u2069"
	s = steady(s)
	if strings.IndexFunc(s, func(r rune) bool { return r >= 0x0590 }) < 0 {
		return s
	}
	return firstStrongIsolate + s + popDirectionalIsolate
}
