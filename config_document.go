package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

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
