package main

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// builtInLanguages returns the languages that are built in, by tag.
func builtInLanguages(t *testing.T) map[string]*language {
	t.Helper()
	files, err := loadFiles("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	all, err := loadLanguages(files, builtInWords, autoLanguage)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Every language has every word of the English file, with its placeholders and
// all its plural forms.
func TestLanguagesAreWhole(t *testing.T) {
	all := builtInLanguages(t)
	if got, want := slices.Sorted(maps.Keys(all)), []string{"de", "en", "es", "fr", "hu", "it", "nl", "pl", "pt"}; !slices.Equal(got, want) {
		t.Errorf("languages %v, want %v", got, want)
	}
	for file, quote := range map[string]string{"config.cfg": "", "docs/page.md": "`"} {
		text := strings.Join(strings.Fields(read(t, file)), " ")
		for tag := range all {
			if !strings.Contains(text, " "+quote+tag+quote+", ") && !strings.Contains(text, " "+quote+tag+quote+" and ") && !strings.Contains(text, " and "+quote+tag+quote+", ") {
				t.Errorf("%s does not list the language %s", file, tag)
			}
		}
	}
	en := all[english]
	for tag := range all {
		text, err := embedded.ReadFile("templates/words/" + tag + ".toml")
		if err != nil {
			t.Fatal(err)
		}
		own, err := parseLanguage(tag, text, en) // loading fills up what is missing
		if err != nil {
			t.Error(err)
		}
		for _, key := range slices.Concat(slices.Collect(maps.Keys(en.words)), slices.Collect(maps.Keys(en.plurals)), slices.Collect(maps.Keys(en.names))) {
			if !regexp.MustCompile(`(?m)^` + key + ` = `).Match(text) {
				t.Errorf("%s lacks %s", tag, key)
			}
		}
		for key, forms := range own.plurals {
			for _, form := range pluralForms(tag) {
				if forms[form] == "" {
					t.Errorf("%s: %s lacks the form %s", tag, key, form)
				}
			}
		}
	}
}

// Every English word is one that the program or a template uses.
func TestWordsAreUsed(t *testing.T) {
	var source strings.Builder
	for _, pattern := range []string{"page*.go", "templates/*.html"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(text)
		}
	}
	text, err := os.ReadFile("assets/chart.js")
	if err != nil {
		t.Fatal(err)
	}
	chart := string(text)
	en := builtInLanguages(t)[english]
	for _, key := range slices.Concat(slices.Collect(maps.Keys(en.words)), slices.Collect(maps.Keys(en.plurals)), slices.Collect(maps.Keys(en.names))) {
		if key == "language" || slices.Contains(scriptWords, key) {
			continue
		}
		if slices.Contains(chartWords, key) {
			if !strings.Contains(chart, "words."+key) && !strings.Contains(chart, `"`+key+`"`) {
				t.Errorf("the chart does not use %s", key)
			}
			continue
		}
		if !strings.Contains(source.String(), `"`+key+`"`) {
			t.Errorf("nothing uses %s", key)
		}
	}
}

func TestPlurals(t *testing.T) {
	all := builtInLanguages(t)
	for _, c := range []struct{ tag, want string }{
		{"en", "0 days ago|1 day ago|2 days ago|90 days ago"},
		{"fr", "il y a 0 jour|il y a 1 jour|il y a 2 jours|il y a 90 jours"},
		{"de", "vor 0 Tagen|vor 1 Tag|vor 2 Tagen|vor 90 Tagen"},
	} {
		var got []string
		for _, n := range []int{0, 1, 2, 90} {
			got = append(got, all[c.tag].count("days_ago", n))
		}
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%s: %s\nwant %s", c.tag, s, c.want)
		}
	}
	pl := all["pl"]
	for n, want := range map[int]string{
		1: "1 działająca usługa", 2: "2 działające usługi", 4: "4 działające usługi", 5: "5 działających usług",
		12: "12 działających usług", 14: "14 działających usług", 22: "22 działające usługi", 25: "25 działających usług",
		112: "112 działających usług", 1003: "1\u00a0003 działające usługi",
	} {
		if got := pl.count("services_operational", n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

// A language of the folder of assets may leave words out, but those it has must
// fit. Every fault is told, with its file and key.
func TestOwnLanguage(t *testing.T) {
	dir := t.TempDir()
	words := filepath.Join(dir, "templates", "words")
	if err := os.MkdirAll(words, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(words, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("sv.toml", "all_operational = \"Alla system fungerar\"\n")
	s := healthySample()
	s.conf.Assets, s.conf.Branding.Language = dir, "sv"
	page := body(t, get(newTestPage(t, s).handler(nil), "GET", "/"))
	for _, want := range []string{`<html lang="sv"`, "Alla system fungerar", "Get support"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in a language of one's own", want)
		}
	}
	write("sv.toml", `since = "sedan"
nonsense = "x"
days = { one = "{n} dag" }
months = ["jan"]
down_for = "Nere i {time}"
uptime = 3
`)
	_, err := newPage(newSnapshots(s), slog.New(slog.DiscardHandler))
	if err == nil {
		t.Fatal("a broken language is taken")
	}
	for _, want := range []string{
		`words/sv.toml: `,
		`since: "sedan" has the placeholders []; needed: [{time}]`,
		`nonsense: no such word; see the English file`,
		`days: the plural form "other" is missing`,
		`months: 1 names; needed: 12`,
		`down_for: "Nere i {time}" has the placeholders [{time}]; needed: [{length}]`,
		`uptime: 3 is not a word`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
	s.conf.Assets, s.conf.Branding.Language = "", "xx"
	_, err = newPage(newSnapshots(s), slog.New(slog.DiscardHandler))
	if want := `branding.language: "xx" is unknown; allowed: auto, de, en, es, fr, hu, it, nl, pl, pt`; err == nil || err.Error() != want {
		t.Errorf("an unknown language: %v\nwant %s", err, want)
	}
}

// With "auto" each visitor reads their own language, and caches know.
func TestAutomaticLanguage(t *testing.T) {
	s := mixedSample()
	s.conf.Branding.Language = "auto"
	h := newTestPage(t, s).handler(nil)
	for accept, want := range map[string]string{
		"":                            "en",
		"de-AT,de;q=0.9,en;q=0.8":     "de",
		"sv,pl;q=0.5,fr;q=0.7":        "fr",
		"xx, hu;q=0":                  "en",
		"pt-BR":                       "pt",
		"en;q=0.1, NL":                "nl",
		strings.Repeat("q,", 9999):    "en",
		"de;q=nonsense, it;q=0.00001": "en",
	} {
		for _, route := range []string{"/", "/history", "/embed", "/node/id-Website/id-Edge", "/embed/id-Mail"} {
			res := get(h, "GET", route, "Accept-Language: "+accept, "Accept-Encoding: gzip")
			vary := strings.Join(res.Header["Vary"], ", ")
			if !strings.Contains(vary, "Accept-Language") || res.StatusCode != 200 {
				t.Errorf("%s: %s, Vary: %q", route, res.Status, vary)
			}
			text := body(t, res)
			if res.Header.Get("Content-Encoding") == "gzip" {
				text = unzip(t, text)
			}
			if !strings.Contains(text, `<html lang="`+want+`"`) {
				t.Errorf("%s with %.40q: not in %q", route, accept, want)
			}
		}
	}
	plain := newTestPage(t, mixedSample()).handler(nil)
	if res := get(plain, "GET", "/", "Accept-Language: de"); strings.Contains(strings.Join(res.Header["Vary"], ", "), "Language") {
		t.Error("the page varies by a language that it does not have")
	}
}

// The page in each language is a golden, so that a translator sees it whole.
func TestLanguageGoldens(t *testing.T) {
	for tag := range builtInLanguages(t) {
		if tag == english {
			continue // TestPageGolden
		}
		s := mixedSample()
		s.conf.Branding.Language = tag
		h := newTestPage(t, s).handler(nil)
		var all strings.Builder
		for _, route := range []string{"/", "/history", "/node/id-Website/id-Front%20pages", "/embed"} {
			all.WriteString("== " + route + "\n" + visibleText(t, body(t, get(h, "GET", route))))
		}
		golden(t, "page/words."+tag+".txt", []byte(all.String()))
	}
}

// visibleText returns the text of a page, and what its attributes say, a line
// each.
func visibleText(t *testing.T, page string) string {
	t.Helper()
	var b strings.Builder
	z := html.NewTokenizer(strings.NewReader(page))
	for within := ""; ; {
		switch z.Next() {
		case html.ErrorToken:
			return b.String()
		case html.TextToken:
			if text := strings.TrimSpace(string(z.Text())); text != "" && within != "style" {
				b.WriteString(html.UnescapeString(text) + "\n")
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			tok := z.Token()
			within = tok.Data
			for _, a := range tok.Attr {
				switch a.Key {
				case "title", "aria-label", "placeholder", "data-words":
					b.WriteString(a.Key + ": " + a.Val + "\n")
				}
			}
		case html.EndTagToken:
			within = ""
		}
	}
}
