package main

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"reflect"
	"regexp"
	"strings"
	"time"
)

// A site is all of the page that depends on the configuration alone:
// templates, assets, colours and header fields.
type site struct {
	conf      *Config
	prefix    string // the path prefix as in a request, or ""
	base      string // what the page's links start with: prefix and a slash, or ""
	templates *template.Template
	languages map[string]*language
	lang      *language         // of the page, unless auto is set
	auto      bool              // the visitor's language
	assets    map[string]*asset // by path below /assets/
	own       map[string]bool   // those that are not drawn by the program
	brand     brand
	style     string // the brand's colours, for an inline <style>

	made time.Time     // of a copy for other servers: when it was made; else zero
	late time.Duration // the age at which that copy is out of date

	pageFields  []field // of the page
	embedFields []field // of the widget, which may be framed
	htmlFields  []field // of other HTML
}

// newSite prepares the site of conf with a folder of assets, if any. It fails
// on a template that does not parse; unusable files are logged and ignored.
func newSite(conf *Config, folder string, log *slog.Logger) (*site, error) {
	// Only the folder may hang; what follows takes as long as a slow machine needs.
	files, err := within(context.Background(), func() (map[string][]byte, error) { return loadFiles(folder, log) })
	if err != nil {
		return nil, err
	}
	st := &site{
		conf:   conf,
		prefix: (&url.URL{Path: conf.Server.PathPrefix}).EscapedPath(),
		brand:  newBrand(conf.Branding),
	}
	if st.prefix != "" {
		st.base = st.prefix + "/"
	}
	st.style = st.brand.css()
	tag := strings.ToLower(cmp.Or(conf.Branding.Language, english))
	if st.languages, err = loadLanguages(files, builtInWords, tag); err != nil {
		return nil, fmt.Errorf("assets: %w", err)
	}
	st.auto = tag == autoLanguage
	if st.auto {
		tag = english
	}
	if st.lang = st.languages[tag]; st.lang == nil {
		return nil, fmt.Errorf("branding.language: %q is unknown; allowed: %s, %s",
			tag, autoLanguage, strings.Join(languageTags(folder), ", "))
	}
	if st.templates, err = parseTemplates(files, st.languages[english]); err != nil {
		return nil, err
	}
	st.own = make(map[string]bool)
	for name := range files {
		if file, ok := strings.CutPrefix(name, "assets/"); ok {
			st.own[file] = true
		}
	}
	addBadgeFiles(files)
	files["assets/icon.svg"] = st.brand.paint(files["assets/icon.svg"])
	st.assets = newAssets(files)

	policy := newPolicy()
	policy.allow("img-src", "data:")
	policy.allowURL("img-src", conf.Branding.LogoURL)
	policy.allowURL("img-src", conf.Branding.IconURL)
	policy.allow("style-src", hashSource(st.style))
	policy.allowHTML(conf.Branding.CustomHTML)
	ownPolicy := conf.Server.ContentPolicy
	st.pageFields = st.newFields(*cmp.Or(ownPolicy, new(policy.String("'none'"))), pageCache)

	bare := newPolicy()
	bare.allow("img-src", "data:")
	bare.allow("style-src", hashSource(st.style))
	st.embedFields = st.newFields(bare.String("*"), pageCache)
	st.htmlFields = st.newFields(*cmp.Or(ownPolicy, new(bare.String("'none'"))), "no-cache")
	// The others are executed before anything is served; this one is not.
	if _, err := execute(st, "missing.html", newShell(st, st.lang, st.base)); err != nil {
		return nil, fmt.Errorf("assets: %w", err)
	}
	return st, nil
}

// pageCache lets a cache between Vigil and its visitors, like a CDN, ask once a
// second for all of them, serve its copy while it asks, and for a while when
// Vigil is out of reach: the page shows its time. RFC 5861.
const pageCache = "public, max-age=1, stale-while-revalidate=5, stale-if-error=300"

// newFields returns the header fields of HTML under a content security policy, of
// which "" is none.
func (st *site) newFields(policy, cache string) []field {
	fields := []field{
		newField("Content-Type", "text/html; charset=utf-8"),
		newField("Cache-Control", cache),
		newField("X-Content-Type-Options", "nosniff"),
	}
	if policy != "" {
		fields = append(fields, newField("Content-Security-Policy", policy))
	}
	if st.auto {
		fields = append(fields, newField("Vary", "Accept-Language"))
	}
	return fields
}

// templateViews are what the templates are executed with.
var templateViews = map[string]any{
	"page.html":    pageView{},
	"embed.html":   pageView{},
	"missing.html": shell{},
	"service.html": cardView{},
	"node.html":    rowView{},
	"opened.html":  openedView{},
}

var (
	templateAction = regexp.MustCompile(`(?s){{.*?}}`)
	templateText   = regexp.MustCompile("\"[^\"]*\"|`[^`]*`|(?s)/\\*.*\\*/")
	templateName   = regexp.MustCompile(`\.([A-Z]\w*)`)
	templateWord   = regexp.MustCompile(`\.T "(\w+)"`)
)

// parseTemplates parses templates/*.html, each under its bare name. It rejects
// one that uses a name that no view has, even in a part that is rarely
// executed: a page must not fail in the middle of an outage.
func parseTemplates(files map[string][]byte, words *language) (*template.Template, error) {
	known := make(map[string]bool)
	for _, v := range templateViews {
		addNames(known, reflect.TypeOf(v))
	}
	all := template.New("")
	for name, text := range files {
		bare, ok := strings.CutPrefix(name, "templates/")
		if !ok || path.Ext(bare) != ".html" {
			continue
		}
		if _, err := all.New(bare).Parse(string(text)); err != nil {
			return nil, fmt.Errorf("assets: %w", err)
		}
		for _, action := range templateAction.FindAll(text, -1) {
			for _, used := range templateName.FindAllSubmatch(templateText.ReplaceAll(action, nil), -1) {
				if !known[string(used[1])] {
					return nil, fmt.Errorf("assets: template: %s: there is no .%s", bare, used[1])
				}
			}
			for _, used := range templateWord.FindAllSubmatch(action, -1) {
				if words.words[string(used[1])] == "" {
					return nil, fmt.Errorf("assets: template: %s: there is no word %q", bare, used[1])
				}
			}
		}
	}
	return all, nil
}

// addNames adds the names that a template may use of a type, and of those that
// it is made of.
func addNames(known map[string]bool, t reflect.Type) {
	for i := range t.NumMethod() {
		known[t.Method(i).Name] = true
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		addNames(known, t.Elem())
	case reflect.Struct:
		for f := range t.Fields() {
			if f.IsExported() || f.Anonymous {
				known[f.Name] = true
				addNames(known, f.Type)
			}
		}
	}
}

//go:embed templates assets
var embedded embed.FS

// builtInWords are the English ones.
//
//go:embed templates/words/en.toml
var builtInWords []byte

const (
	maxAsset  = 4 << 20  // bytes of one file in the folder of assets
	maxAssets = 64 << 20 // bytes of all of them
)

// loadFiles returns the embedded files, keyed "assets/app.css" and
// "templates/page.html", with those of folder laid over them: its templates
// folder over the templates, everything else over the assets. Files are read
// once, so that a request never touches the disk and cannot leave the folder.
func loadFiles(folder string, log *slog.Logger) (map[string][]byte, error) {
	files := make(map[string][]byte)
	err := walkFiles(embedded, func(name string) error {
		body, err := embedded.ReadFile(name)
		files[name] = slim(name, body)
		return err
	})
	if err != nil || folder == "" {
		return files, err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("assets: %w", err)
	}
	defer root.Close()
	total := 0
	err = walkFiles(root.FS(), func(name string) error {
		body, err := readAsset(root, name)
		if total += len(body); err == nil && total > maxAssets {
			err = fmt.Errorf("more than %d MiB in the folder", maxAssets>>20)
		}
		if err != nil {
			log.Warn("asset ignored", "file", name, "err", err)
			return nil
		}
		switch {
		case strings.HasPrefix(name, "templates/"):
			words := path.Dir(name) == "templates/words" && path.Ext(name) == ".toml"
			if path.Ext(name) != ".html" && !words { // like the index.tera of the Rust Vigil
				log.Warn("asset ignored", "file", name, "err", "templates are the .html files")
				return nil
			}
		case name == "public/robots.txt": // where the Rust Vigil has it
			name = "assets/robots.txt"
		default:
			name = "assets/" + strings.TrimPrefix(name, "assets/")
		}
		files[name] = body
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("assets: %w", err)
	}
	return files, nil
}

var (
	cssComment = regexp.MustCompile(`(?s)/\*.*?\*/`)
	cssSpace   = strings.NewReplacer(": ", ":", "; ", ";", " { ", "{", " {", "{", " }", "}")
)

// slim removes from the program's own style sheets and scripts what only readers
// of the sources need: indentation, comments (in scripts those on lines of
// their own), and spaces between the parts of a style sheet.
func slim(name string, text []byte) []byte {
	switch path.Ext(name) {
	case ".css":
		text = []byte(cssSpace.Replace(string(cssComment.ReplaceAll(text, nil))))
	case ".js":
	default:
		return text
	}
	var b bytes.Buffer
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && !bytes.HasPrefix(line, []byte("//")) {
			b.Write(line)
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// walkFiles calls visit for each file of fsys but the hidden ones.
func walkFiles(fsys fs.FS, visit func(name string) error) error {
	return fs.WalkDir(fsys, ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != "." && strings.HasPrefix(e.Name(), "."):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir():
			return nil
		}
		return visit(name)
	})
}

func readAsset(root *os.Root, name string) ([]byte, error) {
	info, err := root.Stat(name) // before opening: a pipe would hang there
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file")
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, maxAsset+1))
	if err == nil && len(body) > maxAsset {
		return nil, fmt.Errorf("larger than %d MiB", maxAsset>>20)
	}
	return body, err
}

// An asset is a file below /assets/ in two forms: one to be kept for ever,
// under an address with the content's hash, and one to be asked for again.
type asset struct {
	hash   string
	hashed *reply
	plain  *reply
}

func newAssets(files map[string][]byte) map[string]*asset {
	assets := make(map[string]*asset)
	for name, body := range files {
		name, ok := strings.CutPrefix(name, "assets/")
		if !ok {
			continue
		}
		kind := cmp.Or(assetType(path.Ext(name)), http.DetectContentType(body))
		fields := func(cache string) []field {
			return []field{
				newField("Content-Type", kind),
				newField("Cache-Control", cache),
				newField("X-Content-Type-Options", "nosniff"),
				// For an SVG opened on its own.
				newField("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox"),
			}
		}
		a := &asset{plain: newReply(body, fields("public, max-age=300"))}
		hashed := *a.plain
		hashed.fields = fields("public, max-age=31536000, immutable")
		a.hashed = &hashed
		a.hash = strings.Trim(a.plain.plain.etag[0], `"`)[:8]
		assets[name] = a
	}
	return assets
}

// assetType names the types that a page is made of, since what package mime
// knows of others differs from machine to machine.
func assetType(ext string) string {
	switch ext {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".txt":
		return "text/plain; charset=utf-8"
	case ".ico":
		return "image/x-icon"
	case ".woff2":
		return "font/woff2"
	}
	return mime.TypeByExtension(ext)
}

// serve answers with the asset; version is what the address said after "v=".
func (a *asset) serve(w http.ResponseWriter, r *http.Request, version string) {
	if version == a.hash {
		a.hashed.serve(w, r)
		return
	}
	a.plain.serve(w, r)
}
