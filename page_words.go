package main

import (
	"cmp"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/BurntSushi/toml"
)

// say returns a text. Args are names of placeholders, each with its value:
// a string, or an int, which is written as the language writes numbers.
func (l *language) say(key string, args ...any) string {
	return l.expand(l.words[key], args, func(s string) string { return s })
}

// count returns a text in the plural form for n, which fills {n}.
func (l *language) count(key string, n int, args ...any) string {
	forms := l.plurals[key]
	text, ok := forms[l.plural(n)]
	if !ok { // English fills up for a language with other forms
		text = forms["other"]
	}
	return l.expand(text, append(args, "n", n), func(s string) string { return s })
}

// html is say with the text and strings escaped. Values may be template.HTML.
func (l *language) html(key string, args ...any) template.HTML {
	return template.HTML(l.expand(template.HTMLEscapeString(l.words[key]), args, template.HTMLEscapeString))
}

func (l *language) expand(text string, args []any, escape func(string) string) string {
	if !strings.Contains(text, "{") {
		return text
	}
	var b strings.Builder
	for {
		before, rest, open := strings.Cut(text, "{")
		b.WriteString(before)
		name, rest, closed := strings.Cut(rest, "}")
		if !open || !closed {
			return b.String()
		}
		for i := 0; i+1 < len(args); i += 2 {
			if args[i] != name {
				continue
			}
			switch v := args[i+1].(type) {
			case template.HTML:
				b.WriteString(string(v))
			case string:
				b.WriteString(escape(v))
			case int:
				b.WriteString(l.number(v))
			}
		}
		text = rest
	}
}

// number writes n with the language's mark between thousands.
func (l *language) number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + l.words["thousands"] + s[i:]
	}
	return s
}

// length returns a duration for people, in its one or two largest units.
func (l *language) length(d time.Duration) string {
	unit := func(key string, n time.Duration) string { return l.say(key, "n", int(n)) }
	two := func(a string, n, of time.Duration, b string) string {
		if n %= of; n == 0 {
			return a
		}
		return a + " " + unit(b, n)
	}
	switch d = d.Round(time.Second); {
	case d < time.Minute:
		return unit("seconds", d/time.Second)
	case d < time.Hour:
		return unit("minutes", d/time.Minute)
	case d < 24*time.Hour:
		return two(unit("hours_short", d/time.Hour), d/time.Minute, 60, "minutes")
	}
	return two(unit("days_short", d/(24*time.Hour)), d/time.Hour, 24, "hours_short")
}

// percent returns a share with two decimals. It is rounded down: 100 % is only
// what was never down.
func (l *language) percent(share float64) string {
	if share >= 1 {
		return l.say("percent", "n", "100")
	}
	f := min(math.Floor(share*1e4+1e-7)/100, 99.99)
	return l.say("percent", "n", strings.Replace(strconv.FormatFloat(f, 'f', 2, 64), ".", l.words["decimal"], 1))
}

// load returns a CPU or RAM load in percent; over 100 % is possible.
func (l *language) load(share float64) string {
	return l.say("percent", "n", strconv.Itoa(int(share*100+0.5)))
}

// milliseconds returns a latency; one decimal when it is short.
func (l *language) milliseconds(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms < 10 {
		return l.say("milliseconds", "n", strings.Replace(strconv.FormatFloat(max(ms, 0.1), 'f', 1, 64), ".", l.words["decimal"], 1))
	}
	return l.say("milliseconds", "n", int(ms+0.5))
}

// A form is how a time is written; the script knows the same ones.
type form string

const (
	timeForm        form = "t"   // 13:17
	secondForm      form = "s"   // 13:17:24
	dateForm        form = "d"   // 24 Nov
	dateTimeForm    form = "dt"  // 24 Nov, 13:17
	dateSecondForm  form = "dts" // 24 Nov, 13:17:24
	weekdayTimeForm form = "wdt" // Tue 24 Nov, 13:17
	momentForm      form = "m"   // 13:17, in the script with the day if it is not the visitor's today
)

// time writes t, in the zone that it is in.
func (l *language) time(t time.Time, f form) string {
	switch f {
	case timeForm, momentForm:
		return t.Format("15:04")
	case secondForm:
		return t.Format("15:04:05")
	case dateForm:
		return l.date(t, "date", "months_short")
	case weekdayTimeForm:
		date := l.say("weekday_date", "weekday", l.name("weekdays_short", int(t.Weekday())), "date", l.date(t, "date", "months_short"))
		return l.say("date_time", "date", date, "time", t.Format("15:04"))
	}
	clock := l.time(t, timeForm)
	if f == dateSecondForm {
		clock = l.time(t, secondForm)
	}
	return l.say("date_time", "date", l.date(t, "date", "months_short"), "time", clock)
}

// date writes the day and month of t.
func (l *language) date(t time.Time, key, months string) string {
	return l.say(key, "day", strconv.Itoa(t.Day()), "month", l.name(months, int(t.Month())-1))
}

func (l *language) name(key string, i int) string {
	if names := l.names[key]; i >= 0 && i < len(names) {
		return names[i]
	}
	return ""
}

// element returns t as a <time>, in the server's zone; the script shows it in
// the visitor's.
func (l *language) element(t time.Time, f form) template.HTML {
	layout := "2006-01-02T15:04Z"
	if f == secondForm || f == dateSecondForm {
		layout = "2006-01-02T15:04:05Z"
	}
	return template.HTML(`<time datetime="` + t.UTC().Format(layout) + `" data-f="` + string(f) + `">` +
		template.HTMLEscapeString(l.time(t, f)) + `</time>`)
}

// moment returns t as a <time> that names the day when it is not today's.
func (l *language) moment(t, now time.Time) template.HTML {
	t = t.In(now.Location())
	if dateOf(t) == dateOf(now) {
		return l.element(t, momentForm)
	}
	return l.element(t, dateTimeForm)
}

// span returns "10:12 to 10:19", with the days where they are needed.
func (l *language) span(from, to, now time.Time, first form) template.HTML {
	from, to = from.In(now.Location()), to.In(now.Location())
	last := timeForm
	if dateOf(from) != dateOf(to) {
		first, last = dateTimeForm, dateTimeForm
	}
	return l.html("from_to", "from", l.element(from, first), "to", l.element(to, last))
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

// linked returns a text with its http and https addresses as links. Nothing
// else in it is markup.
func linked(text string) (parts []textPart) {
	text = steady(text)
	for text != "" {
		i := -1
		for _, scheme := range [...]string{"https://", "http://"} {
			if k := strings.Index(text, scheme); k >= 0 && (i < 0 || k < i) {
				i = k
			}
		}
		if i < 0 {
			break
		}
		n := len(text) - i
		if k := strings.IndexFunc(text[i:], endsAddress); k >= 0 {
			n = k
		}
		// What ends a sentence is not part of it.
		address := strings.TrimRight(text[i:i+n], ".,;:!?'\"")
		if strings.HasSuffix(address, ")") && !strings.Contains(address, "(") {
			address = strings.TrimRight(address, ".,;:!?'\")")
		}
		to := link(address)
		if u, err := url.Parse(address); err != nil || u.Host == "" {
			to = ""
		}
		if i > 0 {
			parts = append(parts, textPart{Text: text[:i]})
		}
		parts = append(parts, textPart{Text: address, Link: to})
		text = text[i+len(address):]
	}
	if text != "" {
		parts = append(parts, textPart{Text: text})
	}
	return parts
}

// endsAddress reports whether r cannot be part of an address in a text.
func endsAddress(r rune) bool {
	return r <= ' ' || r == 0x7F || unicode.IsSpace(r) || strings.ContainsRune("<>\"`{}|\\^", r)
}

// A language is every word of the page in one language: the file
// templates/words/TAG.toml, over those of English.
type language struct {
	tag     string
	words   map[string]string
	plurals map[string]map[string]string // by plural form
	names   map[string][]string          // of months and weekdays
}

const english = "en"

// loadLanguages reads templates/words/*.toml among files: English and the wanted
// language, or all of them for autoLanguage. Built-in is the English file that the
// others are checked against, and filled up from.
func loadLanguages(files map[string][]byte, builtIn []byte, want string) (map[string]*language, error) {
	base, err := parseLanguage(english, builtIn, nil)
	if err != nil {
		return nil, err
	}
	all := map[string]*language{english: base}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file, ok := strings.CutPrefix(name, "templates/words/")
		tag, isWords := strings.CutSuffix(file, ".toml")
		if !ok || !isWords {
			continue
		}
		if tag = strings.ToLower(tag); want != autoLanguage && tag != want && tag != english {
			continue
		}
		if all[tag], err = parseLanguage(tag, files[name], base); err != nil {
			return nil, fmt.Errorf("words/%s: %w", file, err)
		}
	}
	return all, nil
}

// parseLanguage reads one file. Every fault of it is in the error, with its key.
func parseLanguage(tag string, text []byte, base *language) (*language, error) {
	var raw map[string]any
	if err := toml.Unmarshal(text, &raw); err != nil {
		return nil, err
	}
	l := &language{tag, make(map[string]string), make(map[string]map[string]string), make(map[string][]string)}
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		switch v := raw[key].(type) {
		case string:
			l.words[key] = v
			if base == nil {
				continue
			}
			if want, ok := base.words[key]; !ok {
				fault(key, "no such word; see the English file")
			} else if got, want := placeholders(v), placeholders(want); !slices.Equal(got, want) {
				fault(key, "%q has the placeholders %v; needed: %v", v, got, want)
			}
		case map[string]any:
			forms := make(map[string]string)
			for _, form := range slices.Sorted(maps.Keys(v)) {
				forms[form], _ = v[form].(string)
				if !slices.Contains(pluralForms(tag), form) {
					fault(key, "no such plural form: %q; allowed: %v", form, pluralForms(tag))
				}
			}
			for _, form := range pluralForms(tag) {
				if forms[form] == "" {
					fault(key, "the plural form %q is missing", form)
				}
			}
			if base != nil {
				l.checkForms(key, forms, base.plurals[key], fault)
			}
			l.plurals[key] = forms
		case []any:
			for _, name := range v {
				s, _ := name.(string)
				l.names[key] = append(l.names[key], s)
			}
			if base != nil && len(l.names[key]) != len(base.names[key]) {
				fault(key, "%d names; needed: %d", len(l.names[key]), len(base.names[key]))
			}
		default:
			fault(key, "%v is not a word", v)
		}
	}
	if base != nil {
		fill(l.words, base.words)
		fill(l.plurals, base.plurals)
		fill(l.names, base.names)
	}
	return l, errors.Join(faults...)
}

// checkForms holds the plural forms of a word to the placeholders of the
// English one. Only the form for one thing may leave out the number.
func (l *language) checkForms(key string, forms, english map[string]string, fault func(string, string, ...any)) {
	if english == nil {
		fault(key, "no such word with a number; see the English file")
		return
	}
	isNumber := func(p string) bool { return p == "{n}" }
	for _, form := range pluralForms(l.tag) {
		got, want := placeholders(forms[form]), placeholders(english["other"])
		if form == "one" && !slices.ContainsFunc(got, isNumber) {
			want = slices.DeleteFunc(want, isNumber)
		}
		if !slices.Equal(got, want) {
			fault(key, "%q has the placeholders %v; needed: %v", forms[form], got, want)
		}
	}
}

// fill adds to m what only base has.
func fill[V any](m, base map[string]V) {
	for k, v := range base {
		if _, ok := m[k]; !ok {
			m[k] = v
		}
	}
}

// placeholders returns what stands in braces, sorted.
func placeholders(s string) (found []string) {
	for {
		_, rest, ok := strings.Cut(s, "{")
		name, rest, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			slices.Sort(found)
			return slices.Compact(found)
		}
		found, s = append(found, "{"+name+"}"), rest
	}
}

// pluralForms are the forms that a language has, by the names of the Unicode
// CLDR, as far as they are used for whole numbers of everyday size.
func pluralForms(tag string) []string {
	if strings.HasPrefix(tag, "pl") {
		return []string{"one", "few", "many"}
	}
	return []string{"one", "other"}
}

// plural returns the form for n things. A browser's Intl.PluralRules agrees.
func (l *language) plural(n int) string {
	base, _, _ := strings.Cut(l.tag, "-")
	switch {
	case n == 1, n == 0 && (base == "fr" || base == "pt"):
		return "one"
	case base != "pl":
		return "other"
	case n%10 >= 2 && n%10 <= 4 && (n%100 < 12 || n%100 > 14):
		return "few"
	}
	return "many"
}

// autoLanguage, as the configured language, is the visitor's.
const autoLanguage = "auto"

// pickLanguage returns the language that an Accept-Language field prefers among
// those there are, RFC 9110 section 12.5.4.
func pickLanguage(all map[string]*language, values []string) *language {
	best, most := all[english], 0
	for _, list := range values {
		for item := range strings.SplitSeq(list, ",") {
			tag, params, _ := strings.Cut(item, ";")
			tag = strings.ToLower(strings.TrimSpace(tag))
			base, _, _ := strings.Cut(tag, "-")
			l := cmp.Or(all[tag], all[base])
			if q := quality(params); l != nil && q > most {
				best, most = l, q
			}
		}
	}
	return best
}

// languageTags returns the languages that there are, with those that a folder
// of assets adds.
func languageTags(folder string) (tags []string) {
	const words = "templates/words"
	files, _ := embedded.ReadDir(words) // it is there
	if folder != "" {
		more, _ := os.ReadDir(filepath.Join(folder, words)) // it need not be
		files = append(files, more...)
	}
	for _, f := range files {
		if tag, ok := strings.CutSuffix(f.Name(), ".toml"); ok {
			tags = append(tags, strings.ToLower(tag))
		}
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}
