package main

import (
	"bytes"
	"fmt"
	"html"
	"slices"
	"strconv"
	"strings"
)

// Templates are written in a part of the language of package html/template:
//
//	{{.Name}}  {{.Name.Name}}  {{$.Name}}  {{.Asset "app.css"}}
//	{{if .Name}} {{if not .Name}} {{with .Name}} {{range .Name}} {{else}} {{end}}
//	{{- and -}} take the white space before and after, {{/* ... */}} is nothing
//
// The package itself is not used: it keeps the linker from leaving out any
// method that could be called by name, two megabytes of the program, and takes
// more than twice as long. Values are escaped for text and for quoted attributes,
// and nothing else may surround one: addresses are checked before, by link.

// A view is what a template sees: values by the names that it knows. They are
// strings, markup, ints, bools, views, lists of views or of markup, and
// functions of one string.
type view map[string]any

// markup is HTML, written as it is.
type markup string

// viewNames are all names of views. A template that uses another is refused
// when it is loaded, and not only when what it stands in is shown.
var viewNames = strings.Fields(`
	Address Affected Announcements Ask Asset At Bars Base Comma Company Counts CustomHTML
	Detail Empty End Headline History ID ISO Icon IconURL Incidents Label Lead Length Link
	LinkLabel LogoURL More Node Nodes Note Offline Older Ongoing Open Past Refreshed Route
	Sentence Service Services Squares Stale Start State Style Support Text ThemeColor Title
	Uptime Website Window Word Year`)

// A template is a parsed one.
type template struct {
	name   string
	pieces []piece
}

// A piece is literal text when its kind is empty.
type piece struct {
	kind string // "", "value", "if", "with" or "range"
	text string
	expr expression
	line int
	body []piece
	none []piece // after {{else}}
}

// An expression leads from the present view, or the whole one, to a value.
type expression struct {
	not  bool
	root bool
	path []string
	arg  *string
}

// parseTemplate parses a template; its errors name the line.
func parseTemplate(name, text string) (*template, error) {
	p := templateParser{rest: text, line: 1}
	pieces, end, err := p.list()
	if err == nil && end != "" {
		err = fmt.Errorf("{{%s}} without a beginning", end)
	}
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", name, p.line, err)
	}
	return &template{name, pieces}, nil
}

type templateParser struct {
	rest string
	line int // of what was read last
}

// list reads pieces up to the text's end, or to the {{else}} or {{end}} that
// it returns.
func (p *templateParser) list() (pieces []piece, end string, err error) {
	trim := false // the white space after the last action
	for {
		text, rest, found := strings.Cut(p.rest, "{{")
		p.line += strings.Count(text, "\n")
		if trim {
			text = strings.TrimLeft(text, " \t\r\n")
		}
		if strings.HasPrefix(rest, "- ") {
			text, rest = strings.TrimRight(text, " \t\r\n"), rest[1:]
		}
		if text != "" {
			pieces = append(pieces, piece{text: text})
		}
		if p.rest = rest; !found {
			return pieces, "", nil
		}
		action, rest, found := strings.Cut(p.rest, "}}")
		if !found {
			return nil, "", fmt.Errorf("{{ without }}")
		}
		p.rest = rest
		action, trim = strings.CutSuffix(action, " -")
		next := piece{line: p.line}
		p.line += strings.Count(action, "\n")
		word, expr, _ := strings.Cut(strings.TrimSpace(action), " ")
		switch {
		case strings.HasPrefix(word, "/*"):
			continue
		case word == "else" || word == "end":
			return pieces, word, nil
		case word == "if" || word == "with" || word == "range":
			next.kind = word
			if next.expr, err = parseExpression(expr); err != nil {
				return nil, "", err
			}
			if next.body, end, err = p.list(); err == nil && end == "else" {
				next.none, end, err = p.list()
			}
			if err == nil && end != "end" {
				err = fmt.Errorf("{{%s}} without {{end}}", word)
			}
			if err != nil {
				return nil, "", err
			}
		default:
			next.kind = "value"
			if next.expr, err = parseExpression(strings.TrimSpace(action)); err != nil {
				return nil, "", err
			}
		}
		pieces = append(pieces, next)
	}
}

// parseExpression parses what stands in an action.
func parseExpression(text string) (e expression, err error) {
	rest, not := strings.CutPrefix(strings.TrimSpace(text), "not ")
	path, arg, called := strings.Cut(strings.TrimSpace(rest), " ")
	path, root := strings.CutPrefix(path, "$")
	e = expression{not: not, root: root}
	if called {
		value, err := strconv.Unquote(strings.TrimSpace(arg))
		if err != nil {
			return e, fmt.Errorf("{{%s}}: one quoted string may follow a name", text)
		}
		e.arg = &value
	}
	if path == "." && !root || path == "" && root {
		return e, nil
	}
	names, ok := strings.CutPrefix(path, ".")
	if !ok {
		return e, fmt.Errorf("{{%s}}: not understood", text)
	}
	e.path = strings.Split(names, ".")
	for _, n := range e.path {
		if !slices.Contains(viewNames, n) {
			return e, fmt.Errorf("{{%s}}: there is no .%s", text, n)
		}
	}
	return e, nil
}

// execute writes the template, filled from v.
func (t *template) execute(w *bytes.Buffer, v view) error {
	return t.write(w, t.pieces, v, v)
}

func (t *template) write(w *bytes.Buffer, pieces []piece, dot any, root view) error {
	for i := range pieces {
		p := &pieces[i]
		if p.kind == "" {
			w.WriteString(p.text)
			continue
		}
		v, err := p.expr.eval(dot, root)
		if err == nil {
			if p.kind == "value" {
				err = writeValue(w, v)
			} else {
				err = t.branch(w, p, v, dot, root)
				if err != nil {
					return err // it names the inner line
				}
			}
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", t.name, p.line, err)
		}
	}
	return nil
}

// branch writes what is in an if, with or range.
func (t *template) branch(w *bytes.Buffer, p *piece, v, dot any, root view) error {
	if !truth(v) {
		return t.write(w, p.none, dot, root)
	}
	switch p.kind {
	case "with":
		dot = v
	case "range":
		switch list := v.(type) {
		case []view:
			for _, item := range list {
				if err := t.write(w, p.body, item, root); err != nil {
					return err
				}
			}
		case []markup:
			for _, item := range list {
				if err := t.write(w, p.body, item, root); err != nil {
					return err
				}
			}
		default:
			return fmt.Errorf("%s:%d: {{range}} needs a list", t.name, p.line)
		}
		return nil
	}
	return t.write(w, p.body, dot, root)
}

func (e *expression) eval(dot any, root view) (any, error) {
	v := dot
	if e.root {
		v = root
	}
	for _, name := range e.path {
		fields, _ := v.(view)
		next, ok := fields[name]
		if !ok {
			return nil, fmt.Errorf("there is no .%s here", name)
		}
		v = next
	}
	if f, ok := v.(func(string) string); ok != (e.arg != nil) {
		return nil, fmt.Errorf("a quoted string belongs after .Asset and .Route only")
	} else if ok {
		v = f(*e.arg)
	}
	if e.not {
		return !truth(v), nil
	}
	return v, nil
}

// truth reports whether a value is anything but the empty one of its type.
func truth(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case string:
		return v != ""
	case markup:
		return v != ""
	case int:
		return v != 0
	case view:
		return v != nil
	case []view:
		return len(v) > 0
	case []markup:
		return len(v) > 0
	}
	return v != nil
}

func writeValue(w *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case string:
		w.WriteString(html.EscapeString(v))
	case markup:
		w.WriteString(string(v))
	case int:
		w.WriteString(strconv.Itoa(v))
	default:
		return fmt.Errorf("a %T cannot be written", v)
	}
	return nil
}
