package main

import (
	"bytes"
	"html"
	"strings"
	"testing"
	"time"
)

func TestTemplate(t *testing.T) {
	v := view{
		"Title": `<b title="x">'&`, "CustomHTML": markup("<hr>"), "More": 3, "Older": 0,
		"Open": true, "Empty": false, "Offline": view(nil),
		"At":        view{"Text": "noon"},
		"Incidents": []view{{"Label": "a", "Comma": false}, {"Label": "b", "Comma": true}},
		"Nodes":     []markup{"<i>", "<u>"}, "Affected": []view(nil),
		"Asset": func(name string) string { return "assets/" + name + "?a&b" },
	}
	for text, want := range map[string]string{
		"":                         "",
		"no action } }} { {":       "no action } }} { {",
		`<a title="{{.Title}}">`:   `<a title="&lt;b title=&#34;x&#34;&gt;&#39;&amp;">`,
		"{{.CustomHTML}}{{.More}}": "<hr>3",
		"{{ .At.Text }} {{$.More}}{{/* nothing */}}":                            "noon 3",
		"{{if .Open}}a{{else}}b{{end}}{{if not .Open}}c{{else}}d{{end}}":        "ad",
		"{{if .Empty}}a{{end}}{{if .Older}}b{{end}}{{if .Affected}}c{{end}}":    "",
		"{{with .Offline}}{{.Text}}{{else}}{{.At.Text}}{{end}}":                 "noon",
		"{{with .At}}{{.Text}} {{$.More}}{{end}}":                               "noon 3",
		"{{with .More}}<{{.}}>{{end}}":                                          "<3>",
		"{{range .Incidents}}{{if .Comma}}, {{end}}{{.Label}}{{$.More}}{{end}}": "a3, b3",
		"{{range .Nodes}}{{.}}{{end}}":                                          "<i><u>",
		"{{range .Affected}}a{{else}}none{{end}}":                               "none",
		`{{.Asset "app.css"}} {{$.Asset "x"}}`:                                  "assets/app.css?a&amp;b assets/x?a&amp;b",
		"a \n {{- .More -}} \n b":                                               "a3b",
		"a {{- /* x */ -}} b":                                                   "ab",
	} {
		var w bytes.Buffer
		tmpl, err := parseTemplate("t", text)
		if err == nil {
			err = tmpl.execute(&w, v)
		}
		if err != nil || w.String() != want {
			t.Errorf("%s: %q, %v; want %q", text, w.String(), err, want)
		}
	}
	for text, want := range map[string]string{
		"a\n\n{{.Nothing}}":               "t:3: {{.Nothing}}: there is no .Nothing",
		"{{if .Open}}\n{{.More}}":         "t:2: {{if}} without {{end}}",
		"{{if .Open}}{{else}}{{else}}":    "t:1: {{if}} without {{end}}",
		"\n{{end}}":                       "t:2: {{end}} without a beginning",
		"{{.More":                         "t:1: {{ without }}",
		"{{printf .More}}":                "t:1: {{printf .More}}: one quoted string may follow a name",
		"{{template}}":                    "t:1: {{template}}: not understood",
		"{{}}":                            "t:1: {{}}: not understood",
		"{{if}}{{end}}":                   "t:1: {{}}: not understood",
		`{{.Asset "a" "b"}}`:              `t:1: {{.Asset "a" "b"}}: one quoted string may follow a name`,
		"{{.Asset}}":                      "t:1: a quoted string belongs after .Asset and .Route only",
		`{{.More "x"}}`:                   "t:1: a quoted string belongs after .Asset and .Route only",
		"{{.At}}":                         "t:1: a main.view cannot be written",
		"{{.Word}}":                       "t:1: there is no .Word here",
		"{{with .At}}\n{{.Label}}{{end}}": "t:2: there is no .Label here",
		"{{.More.Text}}":                  "t:1: there is no .Text here",
		"{{range .More}}{{end}}":          "t:1: {{range}} needs a list",
	} {
		var w bytes.Buffer
		tmpl, err := parseTemplate("t", text)
		if err == nil {
			err = tmpl.execute(&w, v)
		}
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v\nwant %s", text, err, want)
		}
	}
}

// The names that a template may use are those that some view has.
func TestViewNames(t *testing.T) {
	s := mixedSample()
	st := newTestPage(t, s).renderer.site
	var have []string
	var collect func(v any)
	collect = func(v any) {
		switch v := v.(type) {
		case view:
			for name, value := range v {
				have = append(have, name)
				collect(value)
			}
		case []view:
			for _, item := range v {
				collect(item)
			}
		}
	}
	page := newPageView(st, s)
	page["Services"] = []markup(nil)
	collect(page)
	collect(newServiceView(s.services[0], true, nil))
	nv := s.services[0].nodes[0]
	n := make(view)
	n.setNode(s.services[0], nv, newHistoryView(nv.history, s.at), time.UTC, nil)
	collect(n)
	for _, name := range viewNames {
		if !strings.Contains(" "+strings.Join(have, " ")+" ", " "+name+" ") {
			t.Errorf("no view has .%s", name)
		}
	}
	for _, name := range have {
		if !strings.Contains(" "+strings.Join(viewNames, " ")+" ", " "+name+" ") {
			t.Errorf(".%s is not among the names", name)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("{{if .Open}}a{{else}}{{.Title}}{{end}} {{- .More -}} ", "<x>")
	f.Add("{{range .Incidents}}{{with .At}}{{$}}{{end}}{{end}}", "\"'")
	f.Fuzz(func(t *testing.T, text, value string) {
		tmpl, err := parseTemplate("t", text)
		if err != nil {
			return
		}
		var w bytes.Buffer
		inner := view{"At": view{"Text": value}, "Label": value}
		tmpl.execute(&w, view{"Title": value, "Open": true, "More": 1, "Incidents": []view{inner, inner}})
		if !strings.Contains(text, "{{") && w.String() != text {
			t.Errorf("%q became %q", text, w.String())
		}
		if strings.Contains(value, "<") && !strings.Contains(text, "<") && strings.Contains(w.String(), "<") {
			t.Errorf("%q with %q became %q, unescaped: want %q", text, value, w.String(), html.EscapeString(value))
		}
	})
}
