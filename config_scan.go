package main

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// A scanner notes the line of each key of a config file, because the TOML
// parser does not report the lines of keys, nor those inside of arrays. It puts
// quotes around bare values that hold variables. It reports no mistakes: at the
// first thing that it cannot read it stops and leaves the error to the parser.
type scanner struct {
	vars   *variables
	src    string // with placeholders for variables
	pos    int
	line   int             // of pos, from 1
	out    strings.Builder // src with quotes around bare variables
	copied int             // how much of src is in out
	depth  int             // of arrays and inline tables around pos

	// Mistakes of which the parser says too little, by line.
	again   map[int]int    // a key that was there before -> where it was first
	unset   map[int]string // a value outside of quotes that holds a variable which is not set
	open    int            // where something begins that is never closed; 0: nowhere
	opener  string         // how it begins
	tooDeep int            // where values are nested deeper than maxDepth
}

// maxDepth bounds recursion, the parser's as well as the scanner's. A sane
// config nests three deep.
const maxDepth = 32

// scan returns the places of all keys; the text to parse is in s.out.
func scan(src string, vars *variables) (*scanner, *place) {
	s := &scanner{src: src, vars: vars}
	return s, s.file()
}

// file reads the whole file.
func (s *scanner) file() *place {
	s.line = 1
	s.again = make(map[int]int)
	s.unset = make(map[int]string)
	s.pos = len(s.src) - len(strings.TrimPrefix(s.src, "\uFEFF")) // a byte order mark
	root := &place{line: 1}
	table := root
	for s.blank(); s.pos < len(s.src); s.blank() {
		ok := false
		if s.peek() == '[' {
			table, ok = s.header(root)
		} else {
			ok = s.pair(table)
		}
		if !ok {
			break
		}
		s.space()
		if c := s.peek(); c != '\n' && c != '#' && c != 0 {
			break
		}
	}
	s.flush()
	s.out.WriteString(s.src[s.copied:])
	return root
}

// peek returns the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.src) {
		return s.src[s.pos]
	}
	return 0
}

// skip moves over n bytes.
func (s *scanner) skip(n int) {
	s.line += strings.Count(s.src[s.pos:s.pos+n], "\n")
	s.pos += n
}

// take moves over what is expected next.
func (s *scanner) take(token string) bool {
	if !strings.HasPrefix(s.src[s.pos:], token) {
		return false
	}
	s.pos += len(token)
	return true
}

// space moves over white space within a line.
func (s *scanner) space() {
	for c := s.peek(); c == ' ' || c == '\t' || c == '\r'; c = s.peek() {
		s.pos++
	}
}

// blank moves over white space, line ends and comments.
func (s *scanner) blank() {
	for {
		s.space()
		switch s.peek() {
		case '\n':
			s.skip(1)
		case '#':
			if n := strings.IndexByte(s.src[s.pos:], '\n'); n >= 0 {
				s.pos += n
			} else {
				s.pos = len(s.src)
			}
		default:
			return
		}
	}
}

// flush copies what was passed without a change.
func (s *scanner) flush() {
	s.out.WriteString(s.src[s.copied:s.pos])
	s.copied = s.pos
}

// replace moves over n bytes and writes something else instead.
func (s *scanner) replace(n int, text string) {
	s.flush()
	s.out.WriteString(text)
	s.skip(n)
	s.copied = s.pos
}

// header reads [a.b] or [[a.b]] and returns the table that it opens.
func (s *scanner) header(root *place) (*place, bool) {
	line := s.line
	end := "]"
	s.take("[")
	list := s.take("[")
	if list {
		end = "]]"
	}
	names, ok := s.key()
	if !ok || !s.take(end) {
		return root, false
	}
	t := root
	for _, name := range names[:len(names)-1] {
		t, _ = t.under(name, line)
		if n := len(t.items); n > 0 {
			t = t.items[n-1]
		}
	}
	t, known := t.under(names[len(names)-1], line)
	switch {
	case list:
		t.items = append(t.items, &place{line: line})
		t = t.items[len(t.items)-1]
	case known:
		s.again[line] = t.line
		t.line = line
	}
	return t, true
}

// pair reads "key = value" into a table.
func (s *scanner) pair(t *place) bool {
	line := s.line
	names, ok := s.key()
	if !ok || !s.take("=") {
		return false
	}
	s.space()
	for _, name := range names[:len(names)-1] {
		t, _ = t.under(name, line)
	}
	p, known := t.under(names[len(names)-1], line)
	if known {
		s.again[line] = p.line
		p = &place{line: line} // the first one stays in its place
	}
	return s.value(p)
}

// key reads a key and the white space after it.
func (s *scanner) key() (names []string, ok bool) {
	for {
		s.space()
		part, ok := s.keyPart()
		if !ok {
			return nil, false
		}
		names = append(names, part...)
		s.space()
		if !s.take(".") {
			return names, true
		}
	}
}

// keyPart reads the part of a key between two dots. It is more than one name
// where a variable contains dots.
func (s *scanner) keyPart() ([]string, bool) {
	rest := s.src[s.pos:]
	if c := s.peek(); c == '"' || c == '\'' {
		n := quotedLen(rest)
		if n < 0 {
			return nil, false
		}
		s.skip(n)
		return []string{unquoteKey(rest[:n])}, true
	}
	n := 0
	for n < len(rest) && (rest[n] >= utf8.RuneSelf || isKeyRune(rune(rest[n]))) {
		n++
	}
	key := rest[:n]
	if n == 0 || !s.vars.isIn(key) {
		s.skip(n)
		return []string{key}, n > 0
	}
	names := strings.Split(s.vars.value(key), ".")
	if slices.ContainsFunc(names, func(name string) bool { return !isBareKey(name) }) {
		s.replace(n, `"`+key+`"`)
		return []string{key}, true
	}
	s.replace(n, strings.Join(names, "."))
	return names, true
}

// isBareKey reports whether a key needs no quotes.
func isBareKey(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !isKeyRune(r) })
}

// isKeyRune reports whether a key without quotes may hold r.
func isKeyRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-'
}

// unquoteKey returns the name of a quoted key.
func unquoteKey(token string) string {
	if token[0] == '"' && strings.Contains(token, `\`) {
		if doc, err := decodeTOML("key = " + token); err == nil {
			if name, ok := doc["key"].(string); ok {
				return name
			}
		}
	}
	return token[1 : len(token)-1]
}

// quotedLen returns how long the string is that s begins with, quotes included,
// or -1 when it is never closed.
func quotedLen(s string) int {
	quote := s[:1]
	multi := strings.Repeat(quote, 3)
	if strings.HasPrefix(s, multi) {
		for i := 3; i < len(s); i++ {
			switch {
			case quote == `"` && s[i] == '\\':
				i++
			case strings.HasPrefix(s[i:], multi):
				i += len(multi)
				for range 2 { // up to two quotes may stand before the closing ones
					if strings.HasPrefix(s[i:], quote) {
						i++
					}
				}
				return i
			}
		}
		return -1
	}
	for i := 1; i < len(s) && s[i] != '\n'; i++ {
		switch {
		case quote == `"` && s[i] == '\\':
			i++
			if i < len(s) && s[i] == '\n' {
				return -1
			}
		case s[i] == quote[0]:
			return i + 1
		}
	}
	return -1
}

// value reads a value into its place.
func (s *scanner) value(p *place) bool {
	rest := s.src[s.pos:]
	switch s.peek() {
	case '"', '\'':
		n := quotedLen(rest)
		if n < 0 {
			s.open, s.opener = s.line, rest[:1]
			if strings.HasPrefix(rest, strings.Repeat(s.opener, 3)) {
				s.opener = rest[:3]
			}
			return false
		}
		s.skip(n)
		return true
	case '[':
		return s.list(p)
	case '{':
		return s.inlineTable(p)
	}
	token := rest
	if n := strings.IndexAny(rest, ",]}#\n\"'"); n >= 0 {
		token = rest[:n]
	}
	token = strings.TrimRight(token, " \t\r")
	unset := unsetVariable(rest[:min(len(token)+len("}"), len(rest))])
	switch {
	case token == "":
		return false
	case unset != "":
		s.unset[s.line] = unset
		return false
	case !s.vars.isIn(token):
		s.skip(len(token))
	case utf8.RuneCountInString(token) == 1:
		s.replace(len(token), `"`+string(s.vars.bare)+token+`"`)
	default:
		s.replace(len(token), `"`+token+`"`)
	}
	return true
}

// enter notes that an array or inline table begins; leave is to be deferred.
func (s *scanner) enter(opener string) bool {
	if s.depth == maxDepth {
		s.tooDeep = s.line
		return false
	}
	s.depth++
	s.take(opener)
	return true
}

func (s *scanner) leave() { s.depth-- }

// list reads an array.
func (s *scanner) list(p *place) bool {
	begin := s.line
	if !s.enter("[") {
		return false
	}
	defer s.leave()
	for {
		s.blank()
		if s.take("]") {
			return true
		}
		item := &place{line: s.line}
		p.items = append(p.items, item)
		if s.pos == len(s.src) {
			return s.neverClosed(begin, "[")
		}
		if !s.value(item) {
			return false
		}
		s.blank()
		if !s.take(",") && s.peek() != ']' {
			return s.pos == len(s.src) && s.neverClosed(begin, "[")
		}
	}
}

// inlineTable reads { key = value, ... }.
func (s *scanner) inlineTable(p *place) bool {
	begin := s.line
	if !s.enter("{") {
		return false
	}
	defer s.leave()
	for {
		s.blank()
		if s.take("}") {
			return true
		}
		if s.pos == len(s.src) {
			return s.neverClosed(begin, "{")
		}
		if !s.pair(p) {
			return false
		}
		s.blank()
		if !s.take(",") && s.peek() != '}' {
			return s.pos == len(s.src) && s.neverClosed(begin, "{")
		}
	}
}

// neverClosed notes what is still open at the end of the file. It returns
// false.
func (s *scanner) neverClosed(line int, opener string) bool {
	if s.open == 0 {
		s.open, s.opener = line, opener
	}
	return false
}
