package main

import (
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// count returns "1 node" or "3 nodes".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(n) + " " + noun + "s"
}

// thousands writes n with commas.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// length returns a duration for people, in its one or two largest units.
func length(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + " min"
	case d < 24*time.Hour:
		return two(int(d/time.Hour), " h", int(d%time.Hour/time.Minute), " min")
	}
	return two(int(d/(24*time.Hour)), " d", int(d%(24*time.Hour)/time.Hour), " h")
}

func two(a int, unit string, b int, small string) string {
	s := strconv.Itoa(a) + unit
	if b > 0 {
		s += " " + strconv.Itoa(b) + small
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

// moment is a point in time for a <time> element: ISO for machines, and Text in
// the server's zone. The script shows the visitor's.
func moment(t time.Time, zone *time.Location, form string) view {
	return view{"ISO": t.UTC().Format(time.RFC3339), "Text": t.In(zone).Format(form)}
}

// link returns an address for an href, or "" where its scheme could run
// a script. Without a scheme it is relative to the page.
func link(raw string) string {
	if raw == "" { // as most are
		return ""
	}
	u, err := url.Parse(strings.TrimSpace(raw))
	if err != nil {
		return ""
	}
	switch u.Scheme {
	case "", "http", "https", "mailto", "tel", "sms", "xmpp":
		return u.String()
	}
	return ""
}

// picture is link for an <img>, where a data URL does no harm either.
func picture(raw string) string {
	if raw = strings.TrimSpace(raw); strings.HasPrefix(raw, "data:image/") {
		return raw
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
