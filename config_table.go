package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"vigil/notify"
)

// A table reads the keys of one table of the file. Each method reads one key,
// notes in the document any mistake in it, and returns its value, or the
// default if it is missing or wrong.
type table struct {
	doc   *document
	name  string // its path; "" for the whole file
	vals  map[string]any
	at    *place
	line  int      // where it is; for a missing table, where its parent is
	known []string // the keys read so far
}

// path returns a key with the path of its table.
func (t *table) path(key string) string {
	if key == "" || strings.ContainsFunc(key, func(r rune) bool { return !isKeyRune(r) && r != '[' && r != ']' }) {
		key = strconv.Quote(shorten(key))
	}
	if t.name == "" {
		return key
	}
	return t.name + "." + key
}

// header returns how a table under the key is opened, without brackets.
func (t *table) header(key string) string {
	return listIndex.ReplaceAllString(t.path(key), "")
}

// listIndex is the index of a list in a path.
var listIndex = regexp.MustCompile(`\[\d+\]`)

// place returns where a key is in the file, or nil. The key may go on into a
// list, as in "replicas[2]".
func (t *table) place(key string) *place {
	if at := t.at.key(key); at != nil {
		return at
	}
	name, index, _ := strings.Cut(key, "[")
	i, err := strconv.Atoi(strings.TrimSuffix(index, "]"))
	if at := t.at.key(name); at == nil || err != nil || at.item(i) == nil {
		return at
	}
	return t.at.key(name).item(i)
}

// problem returns a problem with a key, at the key's line or else the table's.
func (t *table) problem(key, format string, args ...any) problem {
	p := problem{file: t.doc.file, line: t.line, key: t.path(key), text: fmt.Sprintf(format, args...)}
	if at := t.place(key); at != nil {
		p.line = at.line
	}
	return p
}

// fault notes a mistake that makes the config unusable.
func (t *table) fault(key, format string, args ...any) {
	t.doc.faults = append(t.doc.faults, t.problem(key, format, args...))
}

// warn notes a mistake that the program can work with.
func (t *table) warn(key, format string, args ...any) {
	t.doc.warnings = append(t.doc.warnings, t.problem(key, format, args...))
}

// has reports whether the file has the key.
func (t *table) has(key string) bool {
	_, ok := t.vals[key]
	return ok
}

// get returns a key's value and remembers that the key is known.
func (t *table) get(key string) (any, bool) {
	t.known = append(t.known, key)
	v, ok := t.vals[key]
	return v, ok
}

// written returns a value as it is in the file, if that contains variables, or
// "". Messages show this, because the environment holds secrets.
func (t *table) written(key string) string {
	if at := t.place(key); at != nil {
		return at.written
	}
	return ""
}

// show returns a value as messages show it: quoted, short, without what the
// environment or a URL's user name and password hold.
func (t *table) show(key, value string) string {
	if w := t.written(key); w != "" {
		return fmt.Sprintf("%q", shorten(w))
	}
	shown := fmt.Sprintf("%q", shorten(withoutUser(value)))
	if name := unsetVariable(value); name != "" {
		shown += fmt.Sprintf(" (%s is not set)", name)
	}
	return shown
}

// kind names the TOML type of a value for a message.
func kind(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "a boolean"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "a list of tables"
	}
	return "a date"
}

// mistyped notes that a value has another type than it must.
func (t *table) mistyped(key string, v any, allowed string) {
	is := kind(v)
	if s, ok := v.(string); ok && t.written(key) == "" && unsetVariable(s) != "" {
		is += fmt.Sprintf(" (%s is not set)", unsetVariable(s))
	}
	t.fault(key, "is %s; allowed: %s", is, allowed)
}

// text reads a string that may be anything.
func (t *table) text(key, def string) string {
	v, ok := t.get(key)
	if !ok {
		return def
	}
	s, ok := v.(string)
	if !ok {
		t.mistyped(key, v, "a string")
		return def
	}
	return s
}

// required reads a string that must be there.
func (t *table) required(key, allowed string) string {
	s := t.text(key, "")
	switch {
	case !t.has(key):
		t.fault(key, "is missing; allowed: %s", allowed)
	case s == "" && t.vals[key] == "":
		t.fault(key, "is empty; allowed: %s", allowed)
	}
	return s
}

// secret reads a string that must be there and is never shown.
func (t *table) secret(key, allowed string) notify.Secret {
	s := t.required(key, allowed)
	t.checkSecret(key, s)
	return notify.Secret(s)
}

// headerSecret reads a secret that is sent as part of an HTTP header or path. A
// line end, as a secret read from a file often has, would break every request.
func (t *table) headerSecret(key string) notify.Secret {
	s := t.secret(key, anyText)
	if strings.ContainsFunc(string(s), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.fault(key, "holds a line end or another control character; allowed: one line of text")
	}
	return s
}

// checkSecret warns of a variable in a secret that was not put in.
func (t *table) checkSecret(key, value string) {
	if name := unsetVariable(value); name != "" && t.written(key) == "" {
		t.warn(key, "the environment variable %s is not set, so the value is used as it is written", name)
	}
}

// choice reads one of several words, in any letter case.
func (t *table) choice(key, def string, words []string) string {
	s := t.text(key, def)
	if w := strings.ToLower(s); slices.Contains(words, w) {
		return w
	}
	t.fault(key, "%s is unknown; allowed: %s%s", t.show(key, s), oneOf(words), hint(s, words))
	return def
}

// yes reads a boolean.
func (t *table) yes(key string, def bool) bool {
	v, ok := t.get(key)
	if !ok {
		return def
	}
	if b, ok := v.(bool); ok {
		return b
	}
	const allowed = "true or false"
	if s, ok := v.(string); ok && t.written(key) != "" {
		switch strings.ToLower(strings.TrimSpace(s)) {
		case "true":
			return true
		case "false":
			return false
		}
		t.fault(key, "the value of %s is not a boolean; allowed: %s", t.show(key, s), allowed)
		return def
	}
	t.mistyped(key, v, allowed)
	return def
}

// number reads an integer from lo to hi; unit says of what, e.g. " seconds".
func (t *table) number(key string, def, lo, hi int64, unit string) int64 {
	if p := t.maybe(key, lo, hi, unit); p != nil {
		return *p
	}
	return def
}

// maybe reads an integer that has no default.
func (t *table) maybe(key string, lo, hi int64, unit string) *int64 {
	v, ok := t.get(key)
	if !ok {
		return nil
	}
	allowed := fmt.Sprintf("an integer from %d to %d%s", lo, hi, unit)
	if hi == math.MaxInt64 {
		allowed = fmt.Sprintf("an integer from %d up%s", lo, unit)
	}
	n, ok := v.(int64)
	if s, isText := v.(string); isText && t.written(key) != "" {
		var err error
		if n, err = strconv.ParseInt(strings.TrimSpace(s), 10, 64); err != nil {
			t.fault(key, "the value of %s is not an integer; allowed: %s", t.show(key, s), allowed)
			return nil
		}
		ok = true
	}
	switch {
	case !ok:
		t.mistyped(key, v, allowed)
		return nil
	case n < lo || n > hi:
		t.fault(key, "%s is out of range; allowed: %s", t.shownNumber(key, n), allowed)
		return nil
	}
	return &n
}

// shownNumber returns a number as messages show it.
func (t *table) shownNumber(key string, n any) string {
	if w := t.written(key); w != "" {
		return fmt.Sprintf("the value of %q", w)
	}
	return fmt.Sprint(n)
}

// float reads a number over lo and up to hi.
func (t *table) float(key string, def, lo, hi float64) float64 {
	v, ok := t.get(key)
	if !ok {
		return def
	}
	allowed := "a number"
	if hi < math.MaxFloat64 {
		allowed = fmt.Sprintf("a number over %v and up to %v", lo, hi)
	}
	var f float64
	switch v := v.(type) {
	case float64:
		f = v
	case int64:
		f = float64(v)
	case string:
		var err error
		if f, err = strconv.ParseFloat(strings.TrimSpace(v), 64); t.written(key) == "" {
			t.mistyped(key, v, allowed)
			return def
		} else if err != nil {
			t.fault(key, "the value of %s is not a number; allowed: %s", t.show(key, v), allowed)
			return def
		}
	default:
		t.mistyped(key, v, allowed)
		return def
	}
	if !(f > lo && f <= hi) { // NaN is neither
		t.fault(key, "%s is out of range; allowed: %s", t.shownNumber(key, f), allowed)
		return def
	}
	return f
}

// seconds reads a time in whole seconds, at most a year.
func (t *table) seconds(key string, def time.Duration, lo int64) time.Duration {
	const year = 365 * 24 * 60 * 60
	return time.Duration(t.number(key, int64(def/time.Second), lo, year, " seconds")) * time.Second
}

// millis reads a time in whole milliseconds, at most an hour.
func (t *table) millis(key string, def time.Duration) time.Duration {
	return time.Duration(t.number(key, def.Milliseconds(), 1, time.Hour.Milliseconds(), " milliseconds")) * time.Millisecond
}

// count reads how many there may be of something, at least one.
func (t *table) count(key string, def, hi int64) int {
	return int(t.number(key, def, 1, hi, ""))
}

// threshold reads an optional number of messages.
func (t *table) threshold(key string) *int64 { return t.maybe(key, 0, math.MaxInt64, "") }

// each reads a list of strings that are not empty. It calls f with each, and
// with the key to name it by.
func (t *table) each(key string, f func(item, s string)) {
	v, ok := t.get(key)
	if !ok {
		return
	}
	items, ok := v.([]any)
	if !ok {
		t.mistyped(key, v, "a list of strings")
		return
	}
	for i, v := range items {
		item := fmt.Sprintf("%s[%d]", key, i)
		switch s, ok := v.(string); {
		case !ok:
			t.mistyped(item, v, "a string")
		case s == "":
			t.fault(item, "is empty; allowed: any non-empty text")
		default:
			f(item, s)
		}
	}
}

// recipients reads a list that must have an element.
func (t *table) recipients(key, allowed string, f func(item, s string)) {
	v, ok := t.vals[key]
	t.each(key, f)
	if items, isList := v.([]any); !ok {
		t.fault(key, "is missing; allowed: %s", allowed)
	} else if isList && len(items) == 0 {
		t.fault(key, "is empty; allowed: %s", allowed)
	}
}

// table reads a sub-table; it's empty when there is none.
func (t *table) table(key string) *table {
	sub := &table{doc: t.doc, name: t.path(key), line: t.line}
	v, ok := t.get(key)
	if !ok {
		return sub
	}
	sub.at = t.at.key(key)
	if sub.at != nil {
		sub.line = sub.at.line
	}
	if sub.vals, ok = v.(map[string]any); !ok {
		t.mistyped(key, v, "one table, ["+t.header(key)+"]")
	}
	return sub
}

// tables reads a list of tables.
func (t *table) tables(key string) []*table {
	v, ok := t.get(key)
	if !ok {
		return nil
	}
	allowed := "a list of tables, each under [[" + t.header(key) + "]]"
	var items []map[string]any
	switch v := v.(type) {
	case []map[string]any:
		items = v
	case []any:
		for _, item := range v {
			m, ok := item.(map[string]any)
			if !ok {
				t.fault(key, "holds other things than tables; allowed: %s", allowed)
				return nil
			}
			items = append(items, m)
		}
	default:
		t.mistyped(key, v, allowed)
		return nil
	}
	subs := make([]*table, len(items))
	for i, vals := range items {
		sub := &table{doc: t.doc, name: fmt.Sprintf("%s[%d]", t.path(key), i), vals: vals, line: t.line, known: make([]string, 0, 64)}
		sub.at = t.at.key(key).item(i)
		if sub.at != nil {
			sub.line = sub.at.line
		}
		subs[i] = sub
	}
	return subs
}

// rest warns of the keys that were not read, and returns the first of them. It
// must be called last.
func (t *table) rest() (unknown string) {
	if len(t.vals) == 0 {
		return ""
	}
	for _, key := range slices.Sorted(maps.Keys(t.vals)) {
		if !slices.Contains(t.known, key) {
			t.warn(key, "is not a known key and is ignored%s", hint(key, t.known))
			unknown = cmp.Or(unknown, key)
		}
	}
	return unknown
}
