package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

// The times were worked out by hand, around changes of the clock: Paris goes
// from 02:00 to 03:00 on 29 March 2026 and from 03:00 to 02:00 on 25 October,
// New York from 02:00 to 03:00 on 8 March and from 02:00 to 01:00 on
// 1 November, Lord Howe from 02:00 to 02:30 on 4 October and from 02:00 to
// 01:30 on 5 April.
func TestCronNext(t *testing.T) {
	for _, test := range []struct {
		zone, schedule, after string   // after is in UTC
		want                  []string // in UTC
	}{
		{"UTC", "* * * * *", "2026-01-01 00:00", []string{"2026-01-01 00:01", "2026-01-01 00:02"}},
		{"UTC", "*/15 * * * *", "2026-01-01 23:40", []string{"2026-01-01 23:45", "2026-01-02 00:00", "2026-01-02 00:15"}},
		{"UTC", "5/20 3 * * *", "2026-01-01 03:05", []string{"2026-01-01 03:25", "2026-01-01 03:45", "2026-01-02 03:05"}},
		{"UTC", "30 2 * * mon-fri", "2026-01-02 02:30", []string{"2026-01-05 02:30", "2026-01-06 02:30"}}, // 2 January is a Friday
		{"UTC", "0 0 1,15 * *", "2026-01-31 12:00", []string{"2026-02-01 00:00", "2026-02-15 00:00"}},
		{"UTC", "0 0 13 * fri", "2026-02-01 00:00", []string{"2026-02-06 00:00", "2026-02-13 00:00", "2026-02-20 00:00", "2026-02-27 00:00", "2026-03-06 00:00", "2026-03-13 00:00"}},
		{"UTC", "0 0 */10 * fri", "2026-02-01 00:00", []string{"2026-05-01 00:00", "2026-07-31 00:00"}}, // both, as in cron
		{"UTC", "0 12 29 feb *", "2026-01-01 00:00", []string{"2028-02-29 12:00", "2032-02-29 12:00"}},
		{"UTC", "0 12 29 2 *", "2096-03-01 00:00", []string{"2104-02-29 12:00"}},
		{"UTC", "0 0 31 * *", "2026-01-31 00:00", []string{"2026-03-31 00:00", "2026-05-31 00:00"}},
		{"UTC", "0 9 * * 7", "2026-01-01 00:00", []string{"2026-01-04 09:00", "2026-01-11 09:00"}},
		{"UTC", "0 9 * * 5-7", "2026-01-01 00:00", []string{"2026-01-02 09:00", "2026-01-03 09:00", "2026-01-04 09:00", "2026-01-09 09:00"}},
		{"UTC", "@hourly", "2026-01-01 00:30", []string{"2026-01-01 01:00"}},
		{"UTC", "@Daily", "2026-01-01 00:30", []string{"2026-01-02 00:00"}},
		{"UTC", "@weekly", "2026-01-01 00:30", []string{"2026-01-04 00:00"}},
		{"UTC", "@monthly", "2026-01-01 00:30", []string{"2026-02-01 00:00"}},
		{"UTC", "@yearly", "2026-01-01 00:30", []string{"2027-01-01 00:00"}},

		{"Europe/Paris", "30 2 * * *", "2026-03-27 12:00", []string{"2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30"}},
		{"Europe/Paris", "*/20 2 * * *", "2026-03-28 12:00", []string{"2026-03-29 01:00", "2026-03-30 00:00", "2026-03-30 00:20"}},
		{"Europe/Paris", "0 3 * * *", "2026-03-28 12:00", []string{"2026-03-29 01:00", "2026-03-30 01:00"}},
		{"Europe/Paris", "30 * * * *", "2026-03-29 00:00", []string{"2026-03-29 00:30", "2026-03-29 01:00", "2026-03-29 01:30"}},
		{"Europe/Paris", "30 2 * * *", "2026-10-24 12:00", []string{"2026-10-25 00:30", "2026-10-26 01:30"}},
		{"Europe/Paris", "30 2 * * *", "2026-10-25 01:00", []string{"2026-10-26 01:30"}}, // 02:00 the second time
		{"Europe/Paris", "0 3 * * *", "2026-10-24 12:00", []string{"2026-10-25 02:00"}},
		{"Europe/Paris", "30 * * * *", "2026-10-25 00:00", []string{"2026-10-25 00:30", "2026-10-25 02:30"}},

		{"America/New_York", "15 2 * * *", "2026-03-07 12:00", []string{"2026-03-08 07:00", "2026-03-09 06:15"}},
		{"America/New_York", "15 1 * * *", "2026-10-31 12:00", []string{"2026-11-01 05:15", "2026-11-02 06:15"}},
		{"America/New_York", "@daily", "2026-10-31 12:00", []string{"2026-11-01 04:00", "2026-11-02 05:00"}},

		{"Australia/Lord_Howe", "15 2 * * *", "2026-10-02 12:00", []string{"2026-10-02 15:45", "2026-10-03 15:30", "2026-10-04 15:15"}},
		{"Australia/Lord_Howe", "45 1 * * *", "2026-04-03 12:00", []string{"2026-04-03 14:45", "2026-04-04 14:45", "2026-04-05 15:15"}},
	} {
		zone, err := time.LoadLocation(test.zone)
		if err != nil {
			t.Fatal(err)
		}
		c, err := parseCron(test.schedule, zone)
		if err != nil {
			t.Errorf("%s: %v", test.schedule, err)
			continue
		}
		const layout = "2006-01-02 15:04"
		at, err := time.Parse(layout, test.after)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range test.want {
			at = c.next(at)
			if got := at.UTC().Format(layout); got != want {
				t.Errorf("%s in %s after %s: got %s, want %s", test.schedule, test.zone, test.after, got, want)
				break
			}
		}
	}
}

func TestCronRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                "has 0 fields",
		"* * * *":         "has 4 fields",
		"0 0 30 2 *":      "is a date that no year has",
		"0 0 31 4,6 *":    "is a date that no year has",
		"60 * * * *":      "has a wrong minute field: it is not from 0 to 59",
		"* 24 * * *":      "has a wrong hour field: it is not from 0 to 23",
		"* * 0 * *":       "has a wrong day field: it is not from 1 to 31",
		"* * * 13 *":      "has a wrong month field: it is not from 1 to 12",
		"* * * * 8":       "has a wrong weekday field: it is not from 0 to 7",
		"* * * * xyz":     "has a wrong weekday field: it is not from 0 to 7",
		"*/0 * * * *":     "has a wrong minute field: it has no step from 1 to 59 behind its /",
		"*/x * * * *":     "has a wrong minute field: it has no step from 1 to 59 behind its /",
		"9-5 * * * *":     "has a wrong minute field: it has a range that ends before it begins",
		"1,,2 * * * *":    "has a wrong minute field: it is not from 0 to 59",
		"-1 * * * *":      "has a wrong minute field: it is not from 0 to 59",
		"@reboot":         "is not a known word",
		"0 0 0 * * * * *": "has 8 fields",
	} {
		if _, err := parseCron(text, time.UTC); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// Every schedule that is accepted has a next time, later and within its years.
func FuzzParseCron(f *testing.F) {
	for _, text := range []string{"* * * * *", "30 2 * * mon-fri", "0 0 29 2 *", "*/7 1-5/2 1,15 * 0", "@daily", "0 0 30 2 *"} {
		f.Add(text, int64(1774746000))
	}
	zone, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		c, err := parseCron(text, zone)
		if err != nil || strings.TrimSpace(text) == "" {
			return
		}
		after := time.Unix(unix%(1<<32), 0)
		at := c.next(after)
		if !at.After(after) || at.After(after.AddDate(cronYears, 0, 1)) {
			t.Errorf("%q after %v: %v", text, after, at)
		}
		if again := c.next(at.Add(-time.Second)); !again.Equal(at) {
			t.Errorf("%q: %v is not found again from a second before: %v", text, at, again)
		}
	})
}

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
