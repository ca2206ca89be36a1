package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/BurntSushi/toml"
)

// maxConfig bounds the size of a config file, in bytes. 10,000 nodes take about
// 3 MB.
const maxConfig = 4 << 20

// A document is a parsed config file of any kind and what is wrong with it.
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

// decodeTOML parses TOML. The parser panics on some input that it takes for a
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

// syntaxFault words the parser's error. It is more precise than the parser
// about what was never closed, is there twice or holds a variable.
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
	case strings.Contains(fault.text, "already"):
	case strings.Contains(fault.text, `got '\n'`) && strings.Contains(fault.text, "table"):
		fault.line-- // the parser has counted the line's own end
	case repeatsValue.MatchString(fault.text):
		fault.text = "is not a valid TOML value (missing quotes?); allowed: text in quotes, a number, true, false, a list or a table"
	}
	fault.key, fault.text = escapeControl(s.vars.written(fault.key)), escapeControl(s.vars.written(fault.text))
	return fault
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

// byLine sorts problems the way somebody mends them, from the top down.
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

// oneOf words a choice for a message: "a", "b" or "c".
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
