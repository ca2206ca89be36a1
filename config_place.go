package main

import (
	"fmt"
	"strings"
)

// A place is where a key, a table or a list's element stands.
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

// under returns the place of a key, made when it is new.
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

// Environment variables are put in token by token while the file is scanned,
// so that no value can end the string it stands in, begin a comment or shift a
// line. A string that takes a value is written as a basic string, in which
// everything can be escaped; its own text means the same as before. Values are
// never looked at again, so a "${" inside one stays.

// variable returns the name in a ${NAME} at the start of s, or "". A name is
// letters, digits and underscores: ${NAME:-default} is the shell's and stays.
func variable(s string) string {
	if !strings.HasPrefix(s, "${") {
		return ""
	}
	for i := 2; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', i > 2 && '0' <= c && c <= '9':
		case c == '}' && i > 2:
			return s[2:i]
		default:
			return ""
		}
	}
	return ""
}

// unsetVariable returns the name of the first variable that s still holds.
func unsetVariable(s string) string {
	for i := strings.Index(s, "${"); i >= 0; {
		if name := variable(s[i:]); name != "" {
			return name
		}
		next := strings.Index(s[i+2:], "${")
		if next < 0 {
			return ""
		}
		i += 2 + next
	}
	return ""
}

// expandQuoted puts variables into a string token, quotes included, and
// reports whether there was one that is set. The token that it returns covers
// as many lines as the one that it got.
func (s *scanner) expandQuoted(token string) (string, bool) {
	if !strings.Contains(token, "${") {
		return token, false
	}
	quote, width := token[0], 1
	if len(token) >= 6 && token[1] == quote && token[2] == quote {
		width = 3
	}
	body := token[width : len(token)-width]
	delimiter := strings.Repeat(`"`, width)

	var b strings.Builder
	b.WriteString(delimiter)
	used := false
	for i := 0; i < len(body); {
		if value, size := s.variable(body[i:]); size > 0 {
			b.WriteString(escape(value))
			used = true
			i += size
			continue
		}
		switch c := body[i]; {
		case quote == '"' && c == '\\' && i+1 < len(body):
			b.WriteString(body[i : i+2]) // an escape stays whole
			i += 2
		case quote == '\'' && (c == '\\' || c == '"'):
			b.WriteByte('\\')
			b.WriteByte(c)
			i++
		default:
			b.WriteByte(c)
			i++
		}
	}
	if !used {
		return token, false
	}
	b.WriteString(delimiter)
	return b.String(), true
}

// expandBare puts variables into text that stands outside of quotes.
func (s *scanner) expandBare(token string) (string, bool) {
	var b strings.Builder
	used := false
	for i := 0; i < len(token); {
		if value, size := s.variable(token[i:]); size > 0 {
			b.WriteString(value)
			used = true
			i += size
			continue
		}
		b.WriteByte(token[i])
		i++
	}
	return b.String(), used
}

// escape writes a value so that it stands for itself inside a basic string of
// one line or several. White space at its start is escaped too, because a
// backslash at the end of the line before would swallow it.
func escape(value string) string {
	var b strings.Builder
	start := true
	for _, r := range value {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f || start && r == ' ':
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
		start = start && r == ' '
	}
	return b.String()
}
