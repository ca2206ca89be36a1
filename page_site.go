package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
)

// A site is all of the page that depends on the configuration alone:
// templates, assets, colours and header fields.
type site struct {
	conf      *Config
	prefix    string // the path prefix as it stands in a request, or ""
	base      string // what the page's links start with: prefix and a slash, or ""
	templates map[string]*template
	assets    map[string]*asset // by path below /assets/
	brand     brand
	style     string // the brand's colours, for an inline <style>

	pageFields  []field // of the page
	embedFields []field // of the widget, which may be framed
	htmlFields  []field // of other HTML
}

// newSite prepares the site of conf with a folder of assets, if any. It fails
// on a template that does not parse; a file that cannot be used it logs.
func newSite(conf *Config, folder string, log *slog.Logger) (*site, error) {
	files, err := loadFiles(folder, log)
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
	if st.templates, err = parseTemplates(files); err != nil {
		return nil, err
	}
	files["assets/icon.svg"] = st.brand.paint(files["assets/icon.svg"])
	st.assets = newAssets(files)

	policy := newPolicy()
	policy.allow("img-src", "data:")
	policy.allowURL("img-src", conf.Branding.LogoURL)
	policy.allowURL("img-src", conf.Branding.IconURL)
	policy.allow("style-src", hashSource(st.style))
	policy.allowHTML(conf.Branding.CustomHTML)
	st.pageFields = newFields(policy.String("'none'"), pageCache)

	bare := newPolicy()
	bare.allow("img-src", "data:")
	bare.allow("style-src", hashSource(st.style))
	st.embedFields = newFields(bare.String("*"), pageCache)
	st.htmlFields = newFields(bare.String("'none'"), "no-cache")
	// The others are executed before anything is served; this one is not.
	if err := st.templates["missing.html"].execute(new(bytes.Buffer), newShell(st, st.base)); err != nil {
		return nil, fmt.Errorf("assets: %w", err)
	}
	return st, nil
}

// pageCache lets a cache between Vigil and its visitors, like a CDN, ask once a
// second for all of them, answer from what it has while it asks, and for
// a while when Vigil is out of reach: the page says of when it is. RFC 5861.
const pageCache = "public, max-age=1, stale-while-revalidate=5, stale-if-error=300"

// newFields returns the header fields of HTML under a content security policy.
func newFields(policy, cache string) []field {
	return []field{
		newField("Content-Type", "text/html; charset=utf-8"),
		newField("Cache-Control", cache),
		newField("Content-Security-Policy", policy),
		newField("X-Content-Type-Options", "nosniff"),
	}
}

// parseTemplates parses templates/*.html, each under its bare name.
func parseTemplates(files map[string][]byte) (map[string]*template, error) {
	all := make(map[string]*template)
	for name, text := range files {
		bare, ok := strings.CutPrefix(name, "templates/")
		if !ok {
			continue
		}
		t, err := parseTemplate(name, string(text))
		if err != nil {
			return nil, fmt.Errorf("assets: %w", err)
		}
		all[bare] = t
	}
	return all, nil
}
