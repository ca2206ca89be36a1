package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/BurntSushi/toml"
)

// maxConfig bounds how much of a config file is read, in bytes. 100,000 nodes
// take about 30 MB.
const maxConfig = 64 << 20

// A document is a parsed config file of any kind and what is wrong with it.
type document struct {
	file     string
	root     *table // nil when the syntax is wrong
	faults   []problem
	warnings []problem
}

// readDocument reads TOML with environment variables. What is wrong with its
// syntax is in the document's faults; an error is one of reading.
func readDocument(r io.Reader, file string, getenv func(string) (string, bool)) (*document, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxConfig {
		return nil, fmt.Errorf("is larger than %d MiB", maxConfig>>20)
	}

	doc := &document{file: file}
	s := &scanner{getenv: getenv, src: string(raw)}
	at := s.scan()
	doc.faults = s.badVars
	vals := make(map[string]any)
	if fault, ok := parseTOML(s, vals); ok {
		doc.root = &table{doc: doc, vals: vals, at: at, line: 1}
	} else {
		doc.faults = append(doc.faults, fault)
	}
	for i := range doc.faults {
		doc.faults[i].file = file
	}
	return doc, nil
}

// parseTOML parses what the scanner made of the file. It returns the first
// fault of syntax, if there is one.
func parseTOML(s *scanner, vals map[string]any) (fault problem, ok bool) {
	if s.tooDeep > 0 {
		return problem{line: s.tooDeep, key: "syntax",
			text: fmt.Sprintf("lists and tables are nested too deep; allowed: %d levels", maxDepth)}, false
	}
	defer func() {
		// The parser panics on some input that it takes for a bug of its own.
		if recover() != nil {
			fault, ok = problem{line: s.line, key: "syntax", text: "is not valid TOML"}, false
		}
	}()
	err := toml.Unmarshal([]byte(s.out.String()), &vals)
	if err == nil {
		return problem{}, true
	}
	pe, ok := err.(toml.ParseError)
	if !ok {
		return problem{line: 1, key: "syntax", text: "is not valid TOML"}, false
	}
	fault = problem{line: max(1, pe.Position.Line), key: pe.LastKey, text: pe.Message}
	// Where the parser would repeat a value, which may be a secret without its
	// quotes, there are other words.
	first, again := s.again[fault.line]
	name, unset := s.unset[fault.line]
	switch {
	case unset:
		fault.text = fmt.Sprintf("the environment variable %s is not set; set it, or put the value in quotes", name)
	case s.open > 0 && s.open <= fault.line+1: // at the end of the file it counts one line too few
		fault.line = s.open
		closer := strings.NewReplacer("[", "]", "{", "}").Replace(s.opener)
		fault.text = fmt.Sprintf("what begins here with %s is never closed; allowed: a closing %s", s.opener, closer)
	case again && strings.Contains(pe.Message, "already"):
		if _, key, ok := strings.Cut(pe.Message, "'"); ok {
			fault.key, _, _ = strings.Cut(key, "'")
		}
		fault.text = fmt.Sprintf("is there twice, first on line %d; allowed: once", first)
	case hasPrefix(pe.Message, "expected '.' or ']'", "expected end of table array name", "unexpected end of table name"):
		if strings.Contains(pe.Message, `got '\n'`) {
			fault.line-- // it has counted the line's own end
		}
		fault.key, fault.text = "syntax", "what begins here with [ is not the name of a table; allowed: [name] or [[name]], alone on its line"
	case hasPrefix(pe.Message, "expected '.' or '='", "unexpected EOF; expected key separator"):
		fault.key, fault.text = "syntax", "this is neither a key with its value nor a table; allowed: key = value, [name] or [[name]]"
	case strings.HasPrefix(pe.Message, "expected a top-level item to end"):
		fault.text = "has more behind its value; allowed: one key = value on a line, and then a comment after #"
	case hasPrefix(pe.Message, "expected value", "expected a digit"):
		fault.text = "has no value that TOML knows; allowed: text in quotes, a number, true, false, a list or a table"
	case strings.Contains(pe.Message, "out of range"):
		fault.text = "is out of range; allowed: numbers of 64 bits, or text in quotes"
	case hasPrefix(strings.ToLower(pe.Message), "invalid integer", "invalid float", "invalid datetime", "cannot use sign", "not a"):
		fault.text = "begins like a number or a date, but is not one that TOML knows; allowed: text in quotes, or a number without leading zeroes"
	case strings.HasPrefix(pe.Message, "invalid escape"):
		fault.text += `; allowed: \b \t \n \f \r \e \" \\ \xHH \uXXXX \UXXXXXXXX, or a string in single quotes`
	}
	if fault.key == "" {
		fault.key = "syntax"
	}
	fault.key, fault.text = escapeControl(fault.key), escapeControl(fault.text)
	return fault, false
}

// sortedWarnings returns the warnings from the top of the file down.
func (doc *document) sortedWarnings() []problem {
	slices.SortStableFunc(doc.warnings, byLine)
	return doc.warnings
}

// hasPrefix reports whether s begins with one of the prefixes.
func hasPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
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
