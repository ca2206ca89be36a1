package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

// Around changes of the clock a window begins once, at its wall time or the
// next one that exists. The times were worked out by hand.
func TestWindow(t *testing.T) {
	for _, test := range []struct {
		name, zone, start string
		duration          time.Duration
		repeat            repeat
		now               string // UTC
		want              string // begin and end in UTC; "" is over
	}{
		{"once, before", "UTC", "2026-12-01T22:00:00", time.Hour, repeatNever, "2026-11-01T00:00:00", "2026-12-01 22:00 23:00"},
		{"once, within", "UTC", "2026-12-01T22:00:00", time.Hour, repeatNever, "2026-12-01T22:59:59", "2026-12-01 22:00 23:00"},
		{"once, at its end", "UTC", "2026-12-01T22:00:00", time.Hour, repeatNever, "2026-12-01T23:00:00", ""},
		{"once, in winter", "Europe/Paris", "2026-12-01T22:00:00", time.Hour, repeatNever, "2026-11-01T00:00:00", "2026-12-01 21:00 22:00"},
		{"once, in the gap", "Europe/Paris", "2026-03-29T02:30:00", time.Hour, repeatNever, "2026-03-01T00:00:00", "2026-03-29 01:00 02:00"},
		{"once, in the overlap", "Europe/Paris", "2026-10-25T02:30:00", time.Hour, repeatNever, "2026-10-01T00:00:00", "2026-10-25 00:30 01:30"},
		{"daily, in the gap", "Europe/Paris", "2026-03-01T02:30:00", time.Hour, repeatDaily, "2026-03-28T12:00:00", "2026-03-29 01:00 02:00"},
		{"daily, after the gap", "Europe/Paris", "2026-03-01T02:30:00", time.Hour, repeatDaily, "2026-03-29T02:00:00", "2026-03-30 00:30 01:30"},
		{"daily, in the overlap", "Europe/Paris", "2026-03-01T02:30:00", time.Hour, repeatDaily, "2026-10-24T12:00:00", "2026-10-25 00:30 01:30"},
		{"daily, not twice in the overlap", "Europe/Paris", "2026-03-01T02:30:00", 10 * time.Minute, repeatDaily, "2026-10-25T01:00:00", "2026-10-26 01:30 01:40"},
		{"daily, years later", "UTC", "2020-01-01T06:00:00", 24 * time.Hour, repeatDaily, "2026-06-01T05:59:59", "2026-05-31 06:00 06:00"},
		{"weekly", "America/New_York", "2026-03-01T02:15:00", time.Hour, repeatWeekly, "2026-03-02T00:00:00", "2026-03-08 07:00 08:00"}, // gap
		{"weekly, in the overlap", "America/New_York", "2026-03-01T01:15:00", time.Hour, repeatWeekly, "2026-10-31T00:00:00", "2026-11-01 05:15 06:15"},
		{"a gap of half an hour", "Australia/Lord_Howe", "2026-10-03T02:15:00", time.Hour, repeatDaily, "2026-10-03T00:00:00", "2026-10-03 15:30 16:30"},
		{"an overlap of half an hour", "Australia/Lord_Howe", "2026-04-04T01:45:00", time.Hour, repeatDaily, "2026-04-04T00:00:00", "2026-04-04 14:45 15:45"},
		{"monthly, on the 31st", "UTC", "2026-01-31T10:00:00", time.Hour, repeatMonthly, "2026-02-01T00:00:00", "2026-02-28 10:00 11:00"},
		{"monthly, on the 31st again", "UTC", "2026-01-31T10:00:00", time.Hour, repeatMonthly, "2026-03-01T00:00:00", "2026-03-31 10:00 11:00"},
		{"monthly, over a year", "UTC", "2026-01-15T10:00:00", time.Hour, repeatMonthly, "2036-12-16T00:00:00", "2037-01-15 10:00 11:00"},
		{"weekly, running for days", "UTC", "2026-01-05T00:00:00", 5 * 24 * time.Hour, repeatWeekly, "2026-03-06T00:00:00", "2026-03-02 00:00 00:00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := fmt.Sprintf("[branding]\npage_url = \"https://s.example\"\n[[maintenance]]\ntitle = \"Backup\"\nstart = %s\nduration = %d\nrepeat = %q\ntimezone = %q\n",
				test.start, test.duration/time.Second, repeatNames[test.repeat], test.zone)
			c, warnings, err := parseConfig(strings.NewReader(text), "config.cfg", environ(nil))
			if err != nil || len(warnings) > 0 {
				t.Fatal(err, warnings)
			}
			now, err := time.Parse("2006-01-02T15:04:05", test.now)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if begin, end, ok := c.Maintenance[0].next(now); ok {
				got = begin.UTC().Format("2006-01-02 15:04") + end.UTC().Format(" 15:04")
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A start with an offset says itself when it is; it repeats in the time zone.
func TestWindowWithOffset(t *testing.T) {
	const text = `
[branding]
page_url = "https://s.example"
[[maintenance]]
title = "Backup"
text = "Back soon"
start = 2026-12-01T22:00:00-05:00
duration = 60
timezone = "Europe/Paris"
`
	c, _, err := parseConfig(strings.NewReader(text), "config.cfg", environ(nil))
	if err != nil {
		t.Fatal(err)
	}
	w := c.Maintenance[0]
	if got := w.Start.Format(time.RFC3339); got != "2026-12-02T04:00:00+01:00" || w.Text != "Back soon" || fmt.Sprint(w.Selectors) != "[*]" {
		t.Errorf("%s: %+v", got, w)
	}
}
