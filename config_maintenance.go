package main

import (
	"slices"
	"time"
)

// A Window is a time of maintenance, once or repeated.
type Window struct {
	Title     string
	Text      string
	Selectors selectors
	Start     time.Time // of the first one, in the window's zone
	Duration  time.Duration
	Repeat    repeat
}

// repeat is how often a window comes again.
type repeat uint8

const (
	repeatNever repeat = iota
	repeatDaily
	repeatWeekly
	repeatMonthly
)

var repeatNames = []string{"never", "daily", "weekly", "monthly"}

// shortest and longest are the limits of the time from one window to the next,
// but for changes of the clock.
var (
	shortest = [...]time.Duration{0, 24 * time.Hour, 7 * 24 * time.Hour, 28 * 24 * time.Hour}
	longest  = [...]time.Duration{0, 24 * time.Hour, 7 * 24 * time.Hour, 31 * 24 * time.Hour}
)

// next returns the first occurrence of the window that ends after now: the
// running one or the next one. There is none once a window that does not
// repeat is over.
func (w *Window) next(now time.Time) (begin, end time.Time, ok bool) {
	// Start with an occurrence that is over, whatever clock changes there are.
	n := 0
	if passed := now.Sub(w.Start); w.Repeat != repeatNever && passed > 0 {
		n = max(0, int(passed/(longest[w.Repeat]+time.Hour))-1)
	}
	for ; ; n++ {
		begin = w.occurrence(n)
		if end = begin.Add(w.Duration); end.After(now) {
			return begin, end, true
		}
		if w.Repeat == repeatNever {
			return time.Time{}, time.Time{}, false
		}
	}
}

// occurrence returns when the window begins for the n-th time, from 0: always
// at the wall time of the first one. A month without its day has its last.
func (w *Window) occurrence(n int) time.Time {
	if n == 0 {
		return w.Start
	}
	year, month, day := w.Start.Date()
	switch w.Repeat {
	case repeatDaily:
		day += n
	case repeatWeekly:
		day += 7 * n
	case repeatMonthly:
		month += time.Month(n)
		last := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
		day = min(day, last)
	}
	hour, minute, second := w.Start.Clock()
	return wallTime(time.Date(year, month, day, hour, minute, second, 0, time.UTC), w.Start.Location())
}

// wallTime returns when clocks in a zone first show the date and time that
// wall has in UTC. Where they skip it, it is the moment at which they do.
func wallTime(wall time.Time, zone *time.Location) time.Time {
	const day = 24 * time.Hour
	offset := func(at time.Time) time.Duration {
		_, seconds := at.In(zone).Zone()
		return time.Duration(seconds) * time.Second
	}
	before, after := offset(wall.Add(-day)), offset(wall.Add(day))
	// Clocks that are set back show the time twice, first with the offset from
	// before.
	for _, o := range []time.Duration{before, after} {
		if at := wall.Add(-o); offset(at) == o {
			return at.In(zone)
		}
	}
	skipped, _ := wall.Add(-before).In(zone).ZoneBounds()
	return skipped
}

// readMaintenance reads [[maintenance]] after the services.
func (c *Config) readMaintenance(t *table) {
	for _, sub := range t.tables("maintenance") {
		w := Window{
			Title:     sub.required("title", "text that visitors read"),
			Text:      sub.text("text", ""),
			Selectors: selectors{"*"},
			Duration:  sub.seconds("duration", 0, 1),
		}
		if sub.has("selectors") {
			w.Selectors = c.selectors(sub, "selectors")
		}
		sub.get("selectors")
		if !sub.has("duration") {
			sub.fault("duration", "is missing; allowed: an integer from 1 up, in seconds")
		}
		w.Repeat = repeat(slices.Index(repeatNames, sub.choice("repeat", repeatNames[0], repeatNames)))
		if most := shortest[w.Repeat]; most > 0 && w.Duration > most {
			sub.fault("duration", "%d is longer than the time from one to the next; allowed: up to %d", w.Duration/time.Second, most/time.Second)
		}
		w.Start = sub.start("start", sub.zone("timezone"))
		sub.rest()
		c.Maintenance = append(c.Maintenance, w)
	}
}

// zone reads the name of a time zone; the server's is the default.
func (t *table) zone(key string) *time.Location {
	name := t.text(key, "")
	if name == "" {
		return time.Local
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.fault(key, "%s is not a time zone; allowed: a name like Europe/Paris or UTC", t.show(key, name))
		return time.UTC
	}
	return zone
}

// start reads a date and time: a local one is in the zone, one with an offset
// says itself when it is.
func (t *table) start(key string, zone *time.Location) time.Time {
	const allowed = "a date and time without quotes, like 2026-12-01T22:00:00 or 2026-12-01T22:00:00+01:00"
	v, ok := t.get(key)
	if !ok {
		t.fault(key, "is missing; allowed: %s", allowed)
		return time.Time{}
	}
	at, ok := v.(time.Time)
	if !ok {
		t.mistyped(key, v, allowed)
		return time.Time{}
	}
	// The parser marks values without an offset by the names of their zones.
	switch at.Location().String() {
	case "date-local", "time-local":
		t.mistyped(key, v, allowed)
	case "datetime-local":
		y, mo, d := at.Date()
		h, mi, s := at.Clock()
		return wallTime(time.Date(y, mo, d, h, mi, s, 0, time.UTC), zone)
	}
	return at.In(zone)
}
