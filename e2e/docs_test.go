package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
)

// documents are those whose fenced blocks are tested, by their language:
//
//	console  is typed into a shell after each "$ ", in the order of the
//	         document, and must answer what follows; "..." stands for anything
//	toml     is a config, or a part of one, that Vigil takes without a warning;
//	         one with [report] is an agent's
//	json     is JSON
//	sh       is run where its files, services and root are the test's own (see
//	         TestShellOfDocuments); what takes apt, systemd or Docker is only
//	         read by the shell here, and run by packaging/
//	nginx, caddyfile, yaml  are run by the tests against real servers
//	text     is not tested
//
// The channels of the documents are used, not only parsed. PROTOCOL.md has a
// test of its own, with curl: its commands need its config.
func documents(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("docs/*.md")
	if err != nil || len(files) < 2 {
		t.Fatalf("documents %q, %v", files, err)
	}
	return append([]string{"README.md", "CONTRIBUTING.md", "SECURITY.md"}, files...)
}

// A fence is a fenced block of a document.
type fence struct {
	document, language, text string
	line                     int
}

func (f fence) String() string { return fmt.Sprintf("%s:%d", f.document, f.line) }

// fences returns the fenced blocks of a document.
func fences(t *testing.T, document string) []fence {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	var all []fence
	open := false
	for i, line := range strings.SplitAfter(string(text), "\n") {
		language, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && !open:
			all = append(all, fence{document: document, language: language, line: i + 1})
			open = true
		case isFence:
			open = false
		case open:
			all[len(all)-1].text += line
		}
	}
	return all
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	for _, document := range documents(t) {
		t.Run(document, func(t *testing.T) {
			var console []fence
			for _, f := range fences(t, document) {
				switch f.language {
				case "console":
					console = append(console, f)
				case "toml":
					checkTOML(t, f)
				case "json":
					if !json.Valid([]byte(f.text)) {
						t.Errorf("%v: not JSON", f)
					}
				case "sh":
					if out, err := exec.Command("sh", "-n", "-c", f.text).CombinedOutput(); err != nil {
						t.Errorf("%v: %v\n%s", f, err, out)
					}
				case "nginx", "caddyfile", "yaml", "text":
				default:
					t.Errorf("%v: nobody checks the language %q", f, f.language)
				}
			}
			runConsole(t, console)
		})
	}
}

// checkTOML holds a fence to be a config, or a part of one, without a warning.
func checkTOML(t *testing.T, f fence) {
	t.Helper()
	text := f.text
	dir := t.TempDir()
	if strings.Contains(text, "[report]") {
		// An agent is started, with nothing to reach.
		text = regexp.MustCompile(`(?m)^endpoint = .*`).ReplaceAllString(text, `endpoint = "http://`+freeAddress(t)+`"`)
		text = regexp.MustCompile(`(?m)^replicas = .*`).ReplaceAllString(text, `replicas = ["tcp://`+freeAddress(t)+`"]`)
		text = regexp.MustCompile(`(?m)^scripts = .*`).ReplaceAllString(text, `scripts = ["exit 0"]`)
		r := startWith(t, variables(text), dir, "[server]\nlog_level = \"info\"\n"+text, `(reporting)`, "local")
		if strings.Contains(r.logged(), "level=WARN") {
			t.Errorf("%v: the agent warns:\n%s", f, r.logged())
		}
		return
	}
	if !strings.Contains(text, "page_url") {
		text += "\n[branding]\npage_url = \"https://status.example.com/\"\n"
	}
	file := filepath.Join(dir, "config.cfg")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(vigil, "check", "-strict", "-c", file)
	cmd.Env = append(os.Environ(), variables(text)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", f, err, out)
	}
}

// variables gives each environment variable that a config names a value.
func variables(config string) (env []string) {
	for _, m := range regexp.MustCompile(`\$\{(\w+)\}`).FindAllStringSubmatch(config, -1) {
		value := "secret"
		if strings.HasSuffix(m[1], "_URL") {
			value = "https://hooks.example.com/secret"
		}
		env = append(env, m[1]+"="+value)
	}
	return env
}

// runConsole types the blocks into shells in one folder. Nothing may hold the
// port of the documents, so that another one takes its place.
func runConsole(t *testing.T, blocks []fence) {
	if len(blocks) == 0 {
		return
	}
	dir := t.TempDir()
	port := strings.TrimPrefix(freeAddress(t), "127.0.0.1:")
	env := append(os.Environ(), "PATH="+filepath.Dir(vigil)+":"+os.Getenv("PATH"))
	for _, f := range blocks {
		for _, step := range strings.Split("\n"+strings.TrimSuffix(f.text, "\n"), "\n$ ")[1:] {
			command, want, _ := strings.Cut(strings.ReplaceAll(step, "8080", port), "\n")
			if regexp.MustCompile(`^vigil( -c \S+)?$`).MatchString(command) {
				serve(t, f, dir, vigil, strings.Fields(command)[1:], want)
				continue
			}
			out, err := typeIn(dir, env, command)
			if err != nil {
				t.Errorf("%v: %s: %v", f, command, err)
			}
			if got := strings.TrimSuffix(string(out), "\n"); !matches(got, want) {
				t.Errorf("%v: %s\nanswers\n%s\nnot\n%s", f, command, got, want)
			}
			usePort(t, dir, port)
		}
	}
}

// typeIn runs a command and returns what it prints. Where there is no curl, as
// on a machine with nothing but Go, a simple use of it is done here.
func typeIn(dir string, env []string, command string) ([]byte, error) {
	if url, ok := strings.CutPrefix(command, "curl -s "); ok {
		if _, err := exec.LookPath("curl"); err != nil {
			resp, err := http.Get(url)
			if err != nil {
				return nil, err
			}
			defer resp.Body.Close()
			return io.ReadAll(resp.Body)
		}
	}
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir, cmd.Env = dir, env
	return cmd.CombinedOutput()
}

// serve starts the program and waits until it has logged what the document
// says. It runs until the test ends.
func serve(t *testing.T, f fence, dir, vigil string, args []string, want string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, vigil, args...)
	cmd.Dir = dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	log := &lockedBuffer{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); cmd.Wait() })
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%v: the program logs\n%s", f, log)
		}
	})
	await(t, func() bool { return matches(strings.TrimSuffix(log.String(), "\n"), want) }, "%v: the log is\n%s", f, want)
}

// usePort has the configs in the folder use another port than the documents.
func usePort(t *testing.T, dir, port string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, bytes.ReplaceAll(text, []byte(":8080"), []byte(":"+port)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// matches reports whether the output is what a document says.
func matches(got, want string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(want), `\.\.\.`, `.*`)
	return regexp.MustCompile(`(?s)^` + pattern + `$`).MatchString(got)
}

// What the documents point to is there: files, headings, commands with their
// flags, and keys of the config.
func TestDocumentsPointToWhatIsThere(t *testing.T) {
	var full, agent map[string]any
	for file, vals := range map[string]*map[string]any{"full.cfg": &full, "local.cfg": &agent} {
		text := regexp.MustCompile(`= \$\{\w+\}`).ReplaceAllString(read(t, "testdata/config/"+file), "= 0")
		if _, err := toml.Decode(text, vals); err != nil {
			t.Fatal(err)
		}
	}
	usage := make(map[string]string)
	for _, u := range usages(t) {
		usage[u.name] = u.text
	}
	links := regexp.MustCompile(`\]\(([^)#:]*)(?:#([^)]*))?\)`)
	commands := regexp.MustCompile("`vigil((?: [^`]*)?)`")
	keys := regexp.MustCompile("`((?:server|assets|branding|metrics|plugins|notify|storage|probe|report)\\.[a-z_.]+)( = [^`]*)?`")
	found := 0
	for _, document := range append(documents(t), "PROTOCOL.md") {
		text := read(t, document)
		for _, link := range links.FindAllStringSubmatch(text, -1) {
			to := document
			if link[1] != "" {
				to = filepath.Join(filepath.Dir(document), link[1])
			}
			if link[1] == "../../releases" {
				continue // of the site that hosts the repository
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %v", document, err)
			} else if link[2] != "" && !slices.Contains(anchors(read(t, to)), link[2]) {
				t.Errorf("%s: no heading #%s in %s", document, link[2], to)
			}
			found++
		}
		for _, command := range commands.FindAllStringSubmatch(text, -1) {
			words := strings.Fields(command[1])
			name := ""
			if len(words) > 0 && !strings.HasPrefix(words[0], "-") {
				name, words = words[0], words[1:]
			}
			if usage[name] == "" && name != "COMMAND" {
				t.Errorf("%s: no command %q", document, name)
			}
			for _, word := range words {
				if strings.HasPrefix(word, "-") && word != "-h" && !regexp.MustCompile(`[ \[]`+word+`\b`).MatchString(usage[name]) {
					t.Errorf("%s: vigil %s knows no %s", document, name, word)
				}
			}
			found++
		}
		for _, key := range keys.FindAllStringSubmatch(text, -1) {
			if !hasKey(full, key[1]) && !hasKey(agent, key[1]) && key[1] != "probe.go" {
				t.Errorf("%s: no config has the key %s", document, key[1])
			}
			found++
		}
	}
	if found < 60 {
		t.Errorf("only %d things are pointed to", found)
	}
}

// anchors are the names by which a document's headings are linked to.
func anchors(text string) (names []string) {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

// hasKey reports whether a key with dots is in a config, or in the first of
// its tables.
func hasKey(vals map[string]any, key string) bool {
	first, rest, nested := strings.Cut(key, ".")
	val, ok := vals[first]
	if !ok || !nested {
		return ok
	}
	switch val := val.(type) {
	case map[string]any:
		return hasKey(val, rest)
	case []map[string]any:
		return len(val) > 0 && hasKey(val[0], rest)
	}
	return false
}

// What vigil check prints of the routes in docs/alerting.md is what stands there.
func TestRoutesOfAlerting(t *testing.T) {
	t.Parallel()
	config := fenceWith(t, "docs/alerting.md", "[[notify.route]]").text
	file := filepath.Join(t.TempDir(), "config.cfg")
	if err := os.WriteFile(file, []byte(config+"[branding]\npage_url = \"https://status.example.com/\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(vigil, "check", "-c", file)
	cmd.Env = append(os.Environ(), variables(config)...)
	out, err := cmd.CombinedOutput()
	if want := fenceWith(t, "docs/alerting.md", "routes\n  ").text; err != nil || !strings.Contains(string(out), "\n"+want+"\n") {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
}

// The routes are cached as the table of the page on scaling says.
func TestCachingOfScaling(t *testing.T) {
	t.Parallel()
	r := startVigil(t, `
[server]
inet = "127.0.0.1:0"
log_level = "info"
manager_token = "secret"
reporter_token = "secret"
mcp_server = true
[branding]
page_url = "https://status.example.com/"
[storage]
path = ""
[[probe.service]]
id = "web"
label = "Web"
[[probe.service.node]]
id = "jobs"
label = "Jobs"
mode = "push"
`)
	asset := regexp.MustCompile(`assets/app\.css\?v=[\w-]+`).FindString(r.get("/"))
	examples := map[string]string{
		"/assets/…?v=…":  "/" + asset,
		"/feed/….atom":   "/feed/web.atom",
		"/badge/…":       "/badge/icon",
		"/status/node/…": "/status/node/web/jobs",
		"/reporter/…":    "/reporter/web/jobs/",
		"/manager/…":     "/manager/announcements/",
		"/mcp":           "/mcp/probes",
	}
	text, err := os.ReadFile("docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| (`/.*`) \\| `([^`]+)` \\|").FindAllStringSubmatch(string(text), -1)
	if len(rows) != 7 {
		t.Errorf("%d rows in the table, want 7", len(rows))
	}
	for _, row := range rows {
		for route := range strings.SplitSeq(strings.Trim(row[1], "`"), "`, `") {
			path := cmp.Or(examples[route], route)
			req, err := http.NewRequest("GET", strings.TrimSuffix(r.url, "/")+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.SetBasicAuth("", "secret")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			// What is not to be kept may be told in more words.
			if got := resp.Header.Get("Cache-Control"); got != row[2] && !(row[2] == "no-store" && strings.Contains(got, "no-store")) {
				t.Errorf("%s (%s): Cache-Control %q, want %q", path, resp.Status, got, row[2])
			}
		}
	}
}

// What docs/page.md shows as a look of one's own works, under a path, too.
func TestOverlayExample(t *testing.T) {
	t.Parallel()
	f := fenceWith(t, "docs/page.md", "custom_html")
	dir := t.TempDir()
	text := strings.Replace(f.text, `"./assets/"`, strconv.Quote(dir), 1)
	for _, name := range []string{"logo.svg", "brand.css", "robots.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("own "+name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, prefix := range []string{"", "/status"} {
		r := startVigil(t, fmt.Sprintf("[server]\nlog_level = \"info\"\ninet = \"127.0.0.1:0\"\npath_prefix = %q\n[storage]\npath = \"\"\n", prefix)+text)
		resp, page := r.call("GET", "/", "", "")
		var own []string
		for _, m := range regexp.MustCompile(` (?:href|src)="([^"]*assets/[^"?]*)`).FindAllStringSubmatch(page, -1) {
			path := strings.Replace("/"+strings.TrimPrefix(strings.TrimPrefix(m[1], prefix), "/"), "/./", "/", 1)
			if resp, text := r.call("GET", path, "", ""); resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", m[1], resp.Status)
			} else if strings.HasPrefix(text, "own ") {
				own = append(own, text)
			}
		}
		slices.Sort(own)
		if got := strings.Join(slices.Compact(own), ", "); got != "own brand.css, own logo.svg" {
			t.Errorf("the page loads of its own: %s", got)
		}
		if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "style-src 'self'") || strings.Contains(csp, "unsafe") {
			t.Errorf("policy %s", csp)
		}
		if !strings.Contains(page, ` src="`+prefix+`/assets/logo.svg" `) && !strings.Contains(page, ` src="assets/logo.svg" `) {
			t.Error("the logo's address does not hold")
		}
	}
}

// The addresses that docs/page.md has for other pages are there, and so are
// those of its HTML.
func TestAddressesOfPage(t *testing.T) {
	t.Parallel()
	r := startVigil(t, `
[server]
log_level = "info"
inet = "127.0.0.1:0"
[branding]
page_url = "https://status.example.com/"
[storage]
path = ""
[[probe.service]]
id = "web"
label = "Web"
[[probe.service.node]]
id = "site"
label = "Site"
mode = "push"
`)
	_, text, _ := strings.Cut(read(t, "docs/page.md"), "## On other pages")
	var paths []string
	for _, cell := range regexp.MustCompile("(?m)^\\| `[^|]*").FindAllString(text, -1) {
		for _, m := range regexp.MustCompile("`(/[^`]*)`").FindAllStringSubmatch(cell, -1) {
			paths = append(paths, m[1])
		}
	}
	for _, m := range regexp.MustCompile(`src="https://status\.example\.com(/[^"]*)"`).FindAllStringSubmatch(text, -1) {
		paths = append(paths, m[1])
	}
	if len(paths) < 15 {
		t.Errorf("only %q", paths)
	}
	for _, path := range paths {
		path, anchor, _ := strings.Cut(path, "#")
		first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		want := cmp.Or(map[string]string{"badge": "image/svg+xml", "feed": "application/atom+xml; charset=utf-8",
			"feed.atom": "application/atom+xml; charset=utf-8", "status": "application/json"}[first], "text/html; charset=utf-8")
		resp, body := r.call("GET", path, "", "")
		if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || got != want {
			t.Errorf("%s: %s, %s, want %s", path, resp.Status, got, want)
		}
		if anchor != "" && !strings.Contains(body, ` id="`+anchor+`"`) {
			t.Errorf("%s: no #%s", path, anchor)
		}
		if csp := resp.Header.Get("Content-Security-Policy"); first == "embed" && !strings.Contains(csp, "frame-ancestors *;") {
			t.Errorf("%s cannot be framed: %s", path, csp)
		}
	}
}
