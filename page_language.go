package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

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
