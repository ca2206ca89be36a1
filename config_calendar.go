package main

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"vigil/notify"
)

// A Heartbeat is a job that must report in time.
type Heartbeat struct {
	Token    notify.Secret // in the URL of its pings
	Interval time.Duration // from a ping to when the next is due; 0: Schedule says it
	Schedule *cron
	Grace    time.Duration // how much later the node is dead
	MaxRun   time.Duration // how long a run may take; 0: any time
}

// due returns when the ping after one at that time is due.
func (h *Heartbeat) due(last time.Time) time.Time {
	if h.Schedule != nil {
		return h.Schedule.next(last)
	}
	return last.Add(h.Interval)
}

// minToken is how long the token of a heartbeat must be.
const minToken = 16

// readHeartbeat reads the keys of a heartbeat node. Tokens are where tokens of
// other nodes were read.
func (t *table) readHeartbeat(n *Node, tokens map[string]*table) {
	keys := []string{"token", "interval", "schedule", "timezone", "grace", "max_run"}
	if n.Mode != modeHeartbeat {
		for _, key := range keys {
			if t.has(key) {
				t.fault(key, "is set, but mode is %q; allowed only where mode is \"heartbeat\"", n.Mode)
			}
		}
		t.known = append(t.known, keys...)
		return
	}
	h := &Heartbeat{Token: t.secret("token", "text of at least 16 letters, digits, hyphens and underscores")}
	switch other := tokens[string(h.Token)]; {
	case h.Token == "":
	case !isPingToken(string(h.Token)):
		t.fault("token", "is too short or has other characters; allowed: at least %d letters, digits, hyphens and underscores", minToken)
	case other != nil:
		t.fault("token", "is also the token of the node on line %d; allowed: a different one for each node", other.line)
	default:
		tokens[string(h.Token)] = t
	}
	switch every, at := t.has("interval"), t.has("schedule"); {
	case every && at:
		t.fault("interval", "is set, and so is schedule; allowed: one of them, which says when the job is due")
	case !every && !at:
		t.fault("interval", "is missing, and so is schedule; allowed: one of them, which says when the job is due")
	}
	h.Interval = t.seconds("interval", 0, 1)
	zone := t.zone("timezone")
	if s := t.text("schedule", ""); t.has("schedule") {
		var err error
		if h.Schedule, err = parseCron(s, zone); err != nil {
			t.fault("schedule", "%s %v; allowed: five fields for minute, hour, day, month and weekday, like \"30 2 * * mon-fri\", or @hourly, @daily, @weekly, @monthly or @yearly", t.show("schedule", s), err)
		}
	} else if t.has("timezone") {
		t.warn("timezone", "has no effect without schedule")
	}
	if !t.has("grace") {
		t.fault("grace", "is missing; allowed: an integer from 1 up, in seconds")
	}
	h.Grace = t.seconds("grace", time.Second, 1)
	h.MaxRun = t.seconds("max_run", 0, 1)
	n.Heartbeat = h
}

// isPingToken reports whether s may be a token in the path of a URL.
func isPingToken(s string) bool {
	return len(s) >= minToken && isBareKey(s)
}

// A cron is a schedule in the form of cron: a set of minutes, hours, days,
// months and weekdays. Bit n of a set is the value n.
type cron struct {
	minutes, hours, days, months, weekdays uint64
	anyDay, anyWeekday                     bool // the field begins with *
	zone                                   *time.Location
}

// cronFields are the five fields, their limits and the names of their values.
var cronFields = [...]struct {
	name   string
	lo, hi int
	words  []string // of the values from lo on
}{
	{"minute", 0, 59, nil},
	{"hour", 0, 23, nil},
	{"day", 1, 31, nil},
	{"month", 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{"weekday", 0, 7, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}}, // 0 and 7 are Sunday
}

var cronWords = map[string]string{
	"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
	"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}

// parseCron reads a schedule. Its times are those of the zone.
func parseCron(text string, zone *time.Location) (*cron, error) {
	text = strings.ToLower(strings.TrimSpace(text))
	if long, ok := cronWords[text]; ok {
		text = long
	} else if strings.HasPrefix(text, "@") {
		return nil, errors.New("is not a known word")
	}
	fields := strings.Fields(text)
	if len(fields) != len(cronFields) {
		return nil, fmt.Errorf("has %d fields", len(fields))
	}
	c := &cron{zone: zone, anyDay: strings.HasPrefix(fields[2], "*"), anyWeekday: strings.HasPrefix(fields[4], "*")}
	for i, set := range []*uint64{&c.minutes, &c.hours, &c.days, &c.months, &c.weekdays} {
		var err error
		if *set, err = parseCronField(fields[i], i); err != nil {
			return nil, fmt.Errorf("has a wrong %s field: it %w", cronFields[i].name, err)
		}
	}
	c.weekdays |= c.weekdays >> 7 & 1
	if !c.possible() {
		return nil, errors.New("is a date that no year has")
	}
	return c, nil
}

// parseCronField reads one field: a list of values, ranges and steps.
func parseCronField(text string, field int) (set uint64, err error) {
	f := &cronFields[field]
	for part := range strings.SplitSeq(text, ",") {
		span, stepText, stepped := strings.Cut(part, "/")
		step := 1
		if stepped {
			if step, err = strconv.Atoi(stepText); err != nil || step < 1 || step > f.hi {
				return 0, fmt.Errorf("has no step from 1 to %d behind its /", f.hi)
			}
		}
		lo, hi := f.lo, f.hi
		if span != "*" {
			from, to, isRange := strings.Cut(span, "-")
			if lo, err = cronValue(from, field); err != nil {
				return 0, err
			}
			switch {
			case isRange:
				if hi, err = cronValue(to, field); err != nil {
					return 0, err
				}
			case !stepped: // "5/15" goes on to the end
				hi = lo
			}
			if hi < lo {
				return 0, errors.New("has a range that ends before it begins")
			}
		} else if field == 4 {
			hi = 6 // not Sunday twice
		}
		for n := lo; n <= hi; n += step {
			set |= 1 << n
		}
	}
	return set, nil
}

// cronValue reads a number or a name of a field.
func cronValue(text string, field int) (int, error) {
	f := &cronFields[field]
	for i, word := range f.words {
		if text == word {
			return f.lo + i, nil
		}
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || int(n) < f.lo || int(n) > f.hi {
		return 0, fmt.Errorf("is not from %d to %d", f.lo, f.hi)
	}
	return int(n), nil
}

// possible reports whether some year has such a day.
func (c *cron) possible() bool {
	if !c.anyWeekday {
		return true
	}
	for month, days := range [...]int{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31} {
		if c.months>>month&1 == 1 && bits.TrailingZeros64(c.days) <= days {
			return true
		}
	}
	return false
}

// cronYears is how far ahead a time can be: February 29 comes once in eight
// years at the turn of most centuries.
const cronYears = 8

// next returns the first time of the schedule after a time. Across changes of
// the clock each time comes once: those that clocks skip at the moment when
// they do, those that clocks show twice at the first of the two.
func (c *cron) next(after time.Time) time.Time {
	year, month, day := after.In(c.zone).Date()
	for n := range (cronYears + 1) * 366 {
		date := time.Date(year, month, day+n, 0, 0, 0, 0, time.UTC)
		if !c.has(date) {
			continue
		}
		for hours := c.hours; hours != 0; hours &= hours - 1 {
			hour := date.Add(time.Duration(bits.TrailingZeros64(hours)) * time.Hour)
			// Skip hours that are over; clocks change by less than three.
			if n == 0 && wallTime(hour, c.zone).Add(3*time.Hour).Before(after) {
				continue
			}
			for minutes := c.minutes; minutes != 0; minutes &= minutes - 1 {
				at := wallTime(hour.Add(time.Duration(bits.TrailingZeros64(minutes))*time.Minute), c.zone)
				if at.After(after) {
					return at
				}
			}
		}
	}
	return after.AddDate(cronYears, 0, 0) // parseCron refuses a schedule without times
}

// has reports whether a day is in the schedule. As in cron, with both days and
// weekdays given one of them is enough.
func (c *cron) has(date time.Time) bool {
	_, month, day := date.Date()
	if c.months>>int(month)&1 == 0 {
		return false
	}
	isDay, isWeekday := c.days>>day&1 == 1, c.weekdays>>int(date.Weekday())&1 == 1
	if c.anyDay || c.anyWeekday {
		return isDay && isWeekday
	}
	return isDay || isWeekday
}

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

const anyStart = "a date and time without quotes, like 2026-12-01T22:00:00 or 2026-12-01T22:00:00+01:00"

// start reads a date and time: a local one is in the zone, one with an offset
// says itself when it is.
func (t *table) start(key string, zone *time.Location) time.Time {
	v, ok := t.get(key)
	if !ok {
		t.fault(key, "is missing; allowed: %s", anyStart)
		return time.Time{}
	}
	at, ok := v.(time.Time)
	if !ok {
		t.mistyped(key, v, anyStart)
		return time.Time{}
	}
	// The parser marks values without an offset by the names of their zones.
	switch at.Location().String() {
	case "date-local", "time-local":
		t.mistyped(key, v, anyStart)
	case "datetime-local":
		y, mo, d := at.Date()
		h, mi, s := at.Clock()
		return wallTime(time.Date(y, mo, d, h, mi, s, 0, time.UTC), zone)
	}
	return at.In(zone)
}
