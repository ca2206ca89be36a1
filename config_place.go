package main

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// A place is where a key, a table or a list's element stands in the file.
type place struct {
	line    int
	written string            // a value that holds variables, as written; else ""
	keys    map[string]*place // of a table
	items   []*place          // of a list
}

// key returns where a key of a table stands, or nil.
func (p *place) key(name string) *place {
	if p == nil {
		return nil
	}
	return p.keys[name]
}

// item returns where an element of a list stands, or nil.
func (p *place) item(i int) *place {
	if p == nil || i >= len(p.items) {
		return nil
	}
	return p.items[i]
}

// under returns the place of a key and creates it when it is new.
func (p *place) under(name string, line int) (child *place, known bool) {
	if child = p.keys[name]; child != nil {
		return child, true
	}
	if p.keys == nil {
		p.keys = make(map[string]*place)
	}
	child = &place{line: line}
	p.keys[name] = child
	return child, false
}

// Variables are the environment variables of a config file. Before parsing,
// each ${NAME} whose variable is set becomes one private-use character; after
// decoding, that character becomes the value. So no value can end the string
// it is in, start a comment or shift a line, and a "${" in a value stays.
type variables struct {
	byName map[string]rune
	byRune map[rune]variable
	next   rune // the next private-use character to use
	bare   rune // starts a value that is one ${NAME} without quotes
}

type variable struct{ name, value string }

// Private-use plane 16 has room for more variables than a file of maxConfig
// bytes can set apart from its own text.
const firstPlaceholder, lastPlaceholder = rune(0x100000), rune(0x10fffd)

// variableName matches ${NAME}. ${NAME:-default} is the shell's and stays.
var variableName = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// unsetVariable returns the name of the first variable that s still holds.
func unsetVariable(s string) string {
	if m := variableName.FindStringSubmatch(s); m != nil {
		return m[1]
	}
	return ""
}

// mark returns text with a placeholder for each variable that is set.
func (v *variables) mark(text string, getenv func(string) (string, bool)) string {
	v.byName, v.byRune = make(map[string]rune), make(map[rune]variable)
	v.next = firstPlaceholder
	v.bare = v.unused(text)
	return variableName.ReplaceAllStringFunc(text, func(s string) string {
		name := s[len("${") : len(s)-len("}")]
		r, ok := v.byName[name]
		if !ok {
			var value string
			if value, ok = getenv(name); !ok || v.next > lastPlaceholder {
				return s
			}
			r = v.unused(text)
			v.byName[name], v.byRune[r] = r, variable{name, value}
		}
		return string(r)
	})
}

// unused returns the next private-use character that is not in the text.
func (v *variables) unused(text string) rune {
	const leadByte = "\xf4" // of all characters in plane 16
	if strings.Contains(text, leadByte) {
		for strings.ContainsRune(text, v.next) {
			v.next++
		}
	}
	v.next++
	return v.next - 1
}

// isIn reports whether s holds a placeholder.
func (v *variables) isIn(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { _, ok := v.byRune[r]; return ok })
}

// replace returns s with f of each variable in place of its placeholder.
func (v *variables) replace(s string, f func(variable) string) string {
	var b strings.Builder
	for _, r := range s {
		if x, ok := v.byRune[r]; ok {
			b.WriteString(f(x))
		} else if r != v.bare {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// value returns s with the values of its variables.
func (v *variables) value(s string) string {
	return v.replace(s, func(x variable) string { return x.value })
}

// written returns s as it is in the file.
func (v *variables) written(s string) string {
	return v.replace(s, func(x variable) string { return "${" + x.name + "}" })
}

// expand returns a decoded value with the variables in it, and notes at each
// place how the value was written. Its faults have a line and a key.
func (v *variables) expand(val any, at *place, fault func(problem)) any {
	if at == nil {
		at = &place{line: 1}
	}
	switch val := val.(type) {
	case map[string]any:
		var marked []string
		for key, item := range val {
			val[key] = v.expand(item, at.key(key), fault)
			if v.isIn(key) {
				marked = append(marked, key)
			}
		}
		for _, key := range marked {
			name := v.value(key)
			child, _ := at.under(key, at.line)
			if _, twice := val[name]; twice {
				fault(problem{line: child.line, key: v.written(key), text: "is there twice, as a variable and as it is; allowed: once"})
			}
			val[name], at.keys[name] = val[key], child
			delete(val, key)
			delete(at.keys, key)
		}
	case []map[string]any:
		for i := range val {
			v.expand(val[i], at.item(i), fault)
		}
	case []any:
		for i := range val {
			val[i] = v.expand(val[i], at.item(i), fault)
		}
	case string:
		if !v.isIn(val) {
			return val
		}
		at.written = v.written(val)
		value := v.replace(val, func(x variable) string {
			if !utf8.ValidString(x.value) {
				fault(problem{line: at.line, key: "${" + x.name + "}", text: "the variable's value is not text in UTF-8; allowed: UTF-8 only"})
			}
			return x.value
		})
		if strings.HasPrefix(val, string(v.bare)) {
			return fromTOML(value, at)
		}
		return value
	}
	return val
}

// fromTOML returns the string, list or inline table that the value of a
// variable is in TOML, or else the value itself. All of it is as secret as the
// variable.
func fromTOML(value string, at *place) any {
	trimmed := strings.TrimSpace(value)
	if trimmed == "" || !strings.Contains(`"'[{`, trimmed[:1]) {
		return value
	}
	doc, err := decodeTOML("value = " + trimmed)
	if err != nil || len(doc) != 1 {
		return value
	}
	at.hide(doc["value"])
	return doc["value"]
}

// hide notes for all that a variable's value holds that it came from there.
func (p *place) hide(val any) {
	switch val := val.(type) {
	case map[string]any:
		for name, item := range val {
			child, _ := p.under(name, p.line)
			child.written = p.written
			child.hide(item)
		}
	case []map[string]any:
		items := make([]any, len(val))
		for i := range val {
			items[i] = val[i]
		}
		p.hide(items)
	case []any:
		for _, item := range val {
			child := &place{line: p.line, written: p.written}
			child.hide(item)
			p.items = append(p.items, child)
		}
	}
}
