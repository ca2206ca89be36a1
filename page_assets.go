package main

import (
	"cmp"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"mime"
	"net/http"
	"os"
	"path"
	"strings"
)

//go:embed templates assets
var embedded embed.FS

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
	err := walkFiles(embedded, func(name string) (err error) {
		files[name], err = embedded.ReadFile(name)
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
			log.Warn("asset left out", "file", name, "err", err)
			return nil
		}
		switch {
		case strings.HasPrefix(name, "templates/"):
			if path.Ext(name) != ".html" { // like the index.tera of the Rust Vigil
				log.Warn("asset left out", "file", name, "err", "templates are the .html files")
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
