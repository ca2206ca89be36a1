package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// Each document has the variable X in it and, two lines below, the key end. The
// values of k and X must come out as want says.
var variableContexts = []struct {
	name, doc string
	want      func(x string) any
}{
	{"bare", "k = ${X}\n\nend = 1", func(x string) any { return x }},
	{"bare before a comment", "k = ${X} # ${X}\n\nend = 1", func(x string) any { return x }},
	{"bare, last in the file", "end = 1\nk = ${X}", func(x string) any { return x }},
	{"bare with text around", "k = a${X}:${X}\n\nend = 1", func(x string) any { return "a" + x + ":" + x }},
	{"basic", `k = "a\"${X}\\${X}b"` + "\n\nend = 1", func(x string) any { return `a"` + x + `\` + x + "b" }},
	{"literal", `k = '\a"${X}\'` + "\n\nend = 1", func(x string) any { return `\a"` + x + `\` }},
	{"multi-line basic", "k = \"\"\"\n${X}\\\n  ${X}\"\" \n${X}\"\"\"\"\n\nend = 1",
		func(x string) any { return x + x + "\"\" \n" + x + `"` }},
	{"multi-line literal", "k = '''\n\\ \"\"\" '' ${X}\n${X}'''''\n\nend = 1",
		func(x string) any { return "\\ \"\"\" '' " + x + "\n" + x + "''" }},
	{"multi-line literal that begins with it", "k = '''${X}'''\n\nend = 1", func(x string) any { return x }},
	{"list", "k = [ ${X}, \"${X}\",\n'${X}' ]\nend = 1", func(x string) any { return []any{x, x, x} }},
	{"inline table", "k = { a = ${X}, b = '${X}' }\n\nend = 1", func(x string) any { return map[string]any{"a": x, "b": x} }},
	{"crlf", "k = '''\r\n${X}\r\n'''\r\n\r\nend = 1", func(x string) any { return x + "\r\n" }},
	{"quoted key", "end = 1\nk = { \"a ${X}\" = 1, 'b ${X}' = 2 }", func(x string) any { return map[string]any{"a " + x: int64(1), "b " + x: int64(2)} }},
}

// checkVariable puts x into every context and parses the outcome.
func checkVariable(t *testing.T, x string) {
	t.Helper()
	for _, c := range variableContexts {
		vals, root := readVariables(t, c.doc, environ(map[string]string{"X": x}))
		if got, want := vals["k"], c.want(x); fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
			t.Errorf("%s: X = %q: k is %#v, want %#v", c.name, x, got, want)
		}
		at := root.key("end")
		if want := 1 + strings.Count(c.doc[:strings.Index(c.doc, "end")], "\n"); at == nil || at.line != want {
			t.Errorf("%s: X = %q: end is at %v, want line %d", c.name, x, at, want)
		}
	}
}

// readVariables reads a document that must be good.
func readVariables(t *testing.T, text string, env func(string) (string, bool)) (map[string]any, *place) {
	t.Helper()
	doc, err := readDocument(strings.NewReader(text), "config.cfg", env)
	if err == nil {
		err = joinProblems(doc.faults)
	}
	if err != nil {
		t.Errorf("%q: %v", text, err)
		return nil, nil
	}
	return doc.root.vals, doc.root.at
}

var variableValues = []string{
	"", "secret", "s3cr$t", `"`, `"""`, `'`, `'''`, `\`, `\\"`, "a\nb", "\n", "\r\n", " a ", "\t", "  ", "#", "= [", "]", "}", "${X}", "$X", "${Y}",
	"\x00\x1b\x7f", "ü", "\u2028", "\ufeff", "\ufffd", "😀", "true", "1", "1979-05-27",
}

func TestVariableInEveryContext(t *testing.T) {
	for _, x := range variableValues {
		checkVariable(t, x)
	}
}

func FuzzVariable(f *testing.F) {
	for _, x := range variableValues {
		f.Add(x)
	}
	f.Fuzz(func(t *testing.T, x string) {
		if utf8.ValidString(x) && fromTOML(x, &place{}) == x {
			checkVariable(t, x)
		}
	})
}

func TestExpand(t *testing.T) {
	env := environ(map[string]string{"A": "1", "NAME_2": "two", "_": "under", "EMPTY": "", "KEY": "server", "DOTTED": "notify.email", "ODD": "a b",
		"TEXT": `"a\tb"`, "LITERAL": ` 'a"b' `, "LIST": `["a", "b"]`, "TABLE": `{ X-Token = "s" }`, "HALF": `"a`, "TWO": "[\"a\"]\nb = 1", "BRACKET": "[a]"})
	for _, test := range []struct{ name, doc, want string }{
		{"set", `k = "${A}"`, `k = "1"`},
		{"bare becomes a string", `k = ${A}`, `k = "1"`},
		{"empty", `k = ${EMPTY}`, `k = ""`},
		{"digits and underscores", `k = "${NAME_2}${_}"`, `k = "twounder"`},
		{"not set", `k = "${B}"`, `k = "${B}"`},
		{"set and not set", `k = "${A}${B}"`, `k = "1${B}"`},
		{"no braces", `k = "$A $NAME_2"`, `k = "$A $NAME_2"`},
		{"shell syntax", `k = '${A:-x} ${A%y} ${#A} ${1} ${} ${A'`, `k = '${A:-x} ${A%y} ${#A} ${1} ${} ${A'`},
		{"literal without a variable", `k = '\d+ ${B}'`, `k = '\d+ ${B}'`},
		{"escaped backslash", `k = "\\${A}"`, `k = "\\1"`},
		{"comment", "# ${A}\nk = 1 # ${A}", "k = 1"},
		{"key", `${KEY} = 1`, `server = 1`},
		{"part of a key", `x_${A}.y = 1`, `x_1.y = 1`},
		{"key that needs quotes", `${ODD} = 1`, `"a b" = 1`},
		{"quoted key", `"${ODD}" = 1`, `"a b" = 1`},
		{"header", "[${KEY}]\n[[${DOTTED}]]", "[server]\n[[notify.email]]"},
		{"text in quotes", `k = ${TEXT}`, `k = "a\tb"`},
		{"text in single quotes", `k = ${LITERAL}`, `k = 'a"b'`},
		{"list", `k = ${LIST}`, `k = ["a", "b"]`},
		{"list in a list", `k = [${LIST}, 1]`, `k = [["a", "b"], 1]`},
		{"table", `k = ${TABLE}`, `k = { X-Token = "s" }`},
		{"list in quotes stays text", `k = "${LIST}"`, `k = '["a", "b"]'`},
		{"list with text around stays text", `k = x${LIST}`, `k = 'x["a", "b"]'`},
		{"half a string stays text", `k = ${HALF}`, `k = '"a'`},
		{"more than a value stays text", `k = ${TWO}`, "k = \"[\\\"a\\\"]\\nb = 1\""},
		{"brackets that are no list stay text", `k = ${BRACKET}`, `k = "[a]"`},
		{"the file's own private-use characters", "k = \"\U00100000 ${A}\"\nl = '\U00100001\U00100002'", "k = \"\U00100000 1\"\nl = '\U00100001\U00100002'"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, _ := readVariables(t, test.doc, env)
			want, err := decodeTOML(test.want)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got  %#v\nwant %#v, %v", got, want, err)
			}
		})
	}
}

// samePlaces reports the keys and elements that have no place.
func samePlaces(t *testing.T, path string, v any, p *place) {
	if p == nil || p.line < 1 {
		t.Errorf("%s has no place", path)
		return
	}
	switch v := v.(type) {
	case map[string]any:
		if len(v) != len(p.keys) {
			t.Errorf("%s: %d keys, %d places", path, len(v), len(p.keys))
		}
		for key, v := range v {
			samePlaces(t, path+"."+key, v, p.key(key))
		}
	case []map[string]any:
		for i, v := range v {
			samePlaces(t, fmt.Sprintf("%s[%d]", path, i), v, p.item(i))
		}
	case []any:
		if len(v) != len(p.items) {
			t.Errorf("%s: %d elements, %d places", path, len(v), len(p.items))
		}
		for i, v := range v {
			samePlaces(t, fmt.Sprintf("%s[%d]", path, i), v, p.item(i))
		}
	}
}

var scanSeeds = []string{
	sampleConfig,
	"a = 1\n[b]\nc = { d = [1, { e = 2 }], f.g = 3 }\n[[h]]\ni = '''x\n'''\n[[h]]\n[h.j]\n[[h.k]]\nl=1",
	"a.b = 1\na.\"c d\" = 2\n'e' = \"\"\n[ x . \"y\\u0041\" ] # z\n",
	"a = [\n  1, # one\n  [2], ]\nb = {}\nc = []\n",
	"a = \"\"\"x\\\n  \"\" y\"\"\"\"\"\nb = 1979-05-27 07:32:00\nc = +1.5e3\n",
	"\ufeffa = ${X}\r\nb = \"${X}\"\r\n",
	"a = {\n b = 1,\n # c\n}\n",
	"[a.b]\n[a]\n",
	"a = [[[[[[",
	"a = \"\n",
	"a = '''\n",
	"[[a]]\n[a]\n",
	"a = ${Y}",
}

func FuzzScan(f *testing.F) {
	for _, doc := range scanSeeds {
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		var vars variables
		src := vars.mark(doc, environ(map[string]string{"X": "\"'\n#"}))
		s, root := scan(src, &vars)
		out := s.out.String()
		if strings.Count(out, "\n") != strings.Count(doc, "\n") {
			t.Errorf("the lines of %q are not those of %q", out, doc)
		}
		if !strings.Contains(doc, "${X}") && out != doc {
			t.Errorf("%q became %q", doc, out)
		}
		if vals, err := s.parse(); err == nil {
			samePlaces(t, "", vals, root)
			vars.expand(vals, root, func(problem) {})
		}
	})
}
