package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// maxConfig bounds the size of a config file, in bytes. 10,000 nodes take about
// 3 MB.
const maxConfig = 4 << 20

// A document is a parsed config file of any kind, with its mistakes.
type document struct {
	file     string
	root     *table // nil when the syntax is wrong
	faults   []problem
	warnings []problem
	files    map[string][]byte // that the config names, by path
}

// readDocument reads TOML with environment variables. What is wrong with its
// syntax is in the document's faults; an error is one of reading.
func readDocument(r io.Reader, file string, getenv func(string) (string, bool)) (*document, error) {
	raw, err := readUpTo(r, maxConfig)
	if err != nil {
		return nil, err
	}
	doc := &document{file: file}
	var vars variables
	s, at := scan(vars.mark(string(raw), getenv), &vars)
	fault := func(p problem) {
		p.file = file
		doc.faults = append(doc.faults, p)
	}
	vals, err := s.parse()
	if err != nil {
		fault(s.syntaxFault(err))
		return doc, nil
	}
	vars.expand(vals, at, fault)
	doc.root = &table{doc: doc, vals: vals, at: at, line: 1}
	return doc, nil
}

var errTOML = errors.New("is not valid TOML")

// decodeTOML parses TOML. On some input the parser panics, as if it had found a
// bug of its own.
func decodeTOML(text string) (vals map[string]any, err error) {
	defer func() {
		if recover() != nil {
			err = errTOML
		}
	}()
	vals = make(map[string]any)
	return vals, toml.Unmarshal([]byte(text), &vals)
}

// parse parses what the scanner has read.
func (s *scanner) parse() (map[string]any, error) {
	if s.tooDeep > 0 {
		return nil, errTOML
	}
	return decodeTOML(s.out.String())
}

// repeatsValue matches the parser's messages that repeat a value, which may be
// a secret without its quotes.
var repeatsValue = regexp.MustCompile(`"[^'"]|(float|numbers?): '|out of range`)

const anyValue = "text in quotes, a number, true, false, a list or a table"

// lineShapes are what a line may look like, by the parser's messages about one
// that looks otherwise. The last key that it has read is not to blame then.
var lineShapes = []struct{ said, allowed string }{
	{"table name", "[table] or [[table]]"},
	{"table array name", "[table] or [[table]]"},
	{"expected '.' or '='", "key = value"},
	{"expected a top-level item", "one key = value, or one table, a line"},
}

// syntaxFault turns the parser's error into a problem. It is more precise than
// the parser about values that are never closed, are there twice or hold a
// variable.
func (s *scanner) syntaxFault(err error) problem {
	fault := problem{line: s.line, key: "syntax", text: errTOML.Error()}
	pe, ok := errors.AsType[toml.ParseError](err)
	if ok {
		fault.line, fault.text = max(1, pe.Position.Line), pe.Message
		fault.key = cmp.Or(pe.LastKey, "syntax")
	}
	first, again := s.again[fault.line]
	unset := s.unset[fault.line]
	switch {
	case s.tooDeep > 0:
		fault.line = s.tooDeep
		fault.text = fmt.Sprintf("lists and tables are nested too deep; allowed: %d levels", maxDepth)
	case unset != "":
		fault.text = fmt.Sprintf("the environment variable %s is not set; set it, or put the value in quotes", unset)
	case s.open > 0 && s.open <= fault.line+1: // at the end of the file it counts one line too few
		fault.line = s.open
		closer := strings.NewReplacer("[", "]", "{", "}").Replace(s.opener)
		fault.text = fmt.Sprintf("what begins here with %s is never closed; allowed: a closing %s", s.opener, closer)
	case again && strings.Contains(pe.Message, "already"):
		if _, key, ok := strings.Cut(pe.Message, "'"); ok {
			fault.key, _, _ = strings.Cut(key, "'")
		}
		fault.text = fmt.Sprintf("is there twice, first on line %d; allowed: once", first)
	case strings.HasSuffix(fault.text, "already created and cannot be used as an array."):
		_, key, _ := strings.Cut(fault.text, "'")
		fault.key, _, _ = strings.Cut(key, "'")
		fault.text = fmt.Sprintf("is [%s] in an earlier line; allowed: [[%s]] for each of several", fault.key, fault.key)
	case strings.Contains(fault.text, "already"):
	case strings.Contains(fault.text, `got '\n'`) && strings.Contains(fault.text, "table"):
		fault.line-- // the parser has counted the line's own end
		fault.shape()
	case strings.HasPrefix(fault.text, "unexpected EOF"), strings.Contains(fault.text, `got '\x00' instead`):
		fault.key, fault.text = "syntax", "the file ends within this line (is it cut off?); allowed: key = value, [table] or [[table]]"
	case strings.HasPrefix(fault.text, "expected value but found '\\n'"):
		fault.text = "has no value; allowed: " + anyValue
	case strings.Contains(fault.text, "invalid datetime") && strings.HasSuffix(fault.key, ".start"):
		fault.text = "is not a date and time that exists; allowed: " + anyStart
	case strings.Contains(fault.text, "out of range for int64"):
		fault.text = fmt.Sprintf("is an integer out of range (missing quotes?); allowed: up to %d, or text in quotes", int64(math.MaxInt64))
	case repeatsValue.MatchString(fault.text):
		fault.text = "is not a valid TOML value (missing quotes?); allowed: " + anyValue
	default:
		fault.shape()
	}
	fault.key, fault.text = escapeControl(s.vars.written(fault.key)), escapeControl(s.vars.written(fault.text))
	return fault
}

// shape adds to the parser's message about a line what it may look like.
func (p *problem) shape() {
	p.text = strings.Replace(p.text, `got '\n' instead`, "the line ends", 1)
	for _, shape := range lineShapes {
		if strings.Contains(p.text, shape.said) {
			p.key = "syntax"
			p.text += "; allowed: " + shape.allowed
			return
		}
	}
}

// sortedWarnings returns the warnings from the top of the file down.
func (doc *document) sortedWarnings() []problem {
	slices.SortStableFunc(doc.warnings, byLine)
	return doc.warnings
}

// A problem is one thing that is wrong, or merely odd, with a config file.
type problem struct {
	file string
	line int    // from 1, as written in the file
	key  string // with its path, e.g. "probe.service[0].node[2].mode"
	text string // what is wrong and what is allowed
	note bool   // a remark that no strictness turns into an error
}

// Error returns the problem in the one form that all of them have.
func (p problem) Error() string {
	return fmt.Sprintf("%s:%d: %s: %s", p.file, p.line, p.key, p.text)
}

// byLine sorts problems from the top of the file down, as somebody mends them.
func byLine(a, b problem) int { return cmp.Compare(a.line, b.line) }

// joinProblems makes one error of all problems, a line each, or nil of none.
func joinProblems(ps []problem) error {
	slices.SortStableFunc(ps, byLine)
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// maxShown is how many characters of a value a message repeats.
const maxShown = 80

// shorten cuts a long value for a message.
func shorten(s string) string {
	n := 0
	for i := range s {
		if n == maxShown {
			return s[:i] + "..."
		}
		n++
	}
	return s
}

// escapeControl escapes the line ends and other control characters of a message.
func escapeControl(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// oneOf writes the allowed values for a message: "a", "b" or "c".
func oneOf(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	if last := len(quoted) - 1; last > 0 {
		return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
	}
	return strings.Join(quoted, "")
}

// hint returns a question that offers the word nearest to a wrong one, to be
// put behind a message, or "" when none is near enough to be what was meant.
func hint(wrong string, words []string) string {
	if near := nearest(wrong, words); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// nearest returns the word that takes the fewest edits to reach from s, or ""
// when even that takes more than a third of its letters.
func nearest(s string, words []string) string {
	const longest = 64 // no key is longer; keeps the work small
	if len(s) > longest {
		return ""
	}
	best, bestEdits := "", 0
	for _, w := range words {
		n := edits(strings.ToLower(s), strings.ToLower(w))
		if n <= max(1, len(w)/3) && (best == "" || n < bestEdits) {
			best, bestEdits = w, n
		}
	}
	return best
}

// edits counts how many bytes must be put in, left out, replaced or swapped
// with their neighbour to make b of a (the optimal string alignment distance).
func edits(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	next := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			replace := row[j]
			if a[i] != b[j] {
				replace++
			}
			next[j+1] = min(row[j+1]+1, next[j]+1, replace)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}

// A place is where a key, a table or an element of a list is in the file.
type place struct {
	line    int
	written string            // a value that holds variables, as written; else ""
	keys    map[string]*place // of a table
	items   []*place          // of a list
}

// key returns the place of a key of a table, or nil.
func (p *place) key(name string) *place {
	if p == nil {
		return nil
	}
	return p.keys[name]
}

// item returns the place of an element of a list, or nil.
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
