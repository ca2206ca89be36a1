package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"
)

// The mistakes in URLs. The messages do not hold the URL, which may be a
// secret.
var (
	errURLSpace    = errors.New("holds white space or control characters")
	errURLScheme   = errors.New("has a scheme that is not allowed")
	errURLHost     = errors.New("has no host")
	errURLPort     = errors.New("has no port")
	errURLPortSize = errors.New("has a port out of range, 1 to 65535")
	errURLMore     = errors.New("has more than a host and a port")
)

// parseURL takes a URL apart and checks its scheme, its host and, where one is
// given, its port.
func parseURL(raw string, schemes ...string) (*url.URL, error) {
	u, err := splitURL(raw, func(scheme string) bool { return slices.Contains(schemes, scheme) })
	switch {
	case err != nil:
		return nil, err
	case u.Hostname() == "":
		return nil, errURLHost
	}
	return u, nil
}

// splitURL is parseURL for URLs that may have no host.
func splitURL(raw string, allowed func(scheme string) bool) (*url.URL, error) {
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, errURLSpace
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("is not a valid URL")
	}
	switch {
	case u.Scheme == "":
		return nil, errors.New("has no scheme")
	case !allowed(u.Scheme):
		return nil, errURLScheme
	case strings.HasSuffix(u.Host, ":"):
		return nil, errURLPort
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, errURLPortSize
		}
	}
	return u, nil
}

// targetForms lists the URLs that a poll probe can check, for messages.
var targetForms = func() string {
	var forms []string
	for i := range schemes {
		forms = append(forms, schemes[i].form)
	}
	last := len(forms) - 1
	return strings.Join(forms[:last], ", ") + " or " + forms[last]
}()

// parseTarget takes a replica's URL apart.
func parseTarget(raw string) (Target, error) {
	u, err := splitURL(encodePath(raw), func(name string) bool { return schemeOf(name) != nil })
	if err != nil {
		return Target{}, err
	}
	public := publicURL(raw, u)
	if err := toASCII(u); err != nil {
		return Target{}, err
	}
	t := Target{Raw: public, Scheme: u.Scheme, Host: u.Hostname(), Port: u.Port(), URL: u}
	if err := schemeOf(u.Scheme).parse(&t); err != nil {
		return Target{}, err
	}
	return t, nil
}

// toASCII puts the host of a URL into the form in which it is looked up, named in
// a handshake and sent (RFC 5890): international names begin with xn-- then.
func toASCII(u *url.URL) error {
	host := u.Hostname()
	if !strings.ContainsFunc(host, func(r rune) bool { return r > 0x7f }) {
		return nil
	}
	name, err := idna.Lookup.ToASCII(host)
	if err != nil {
		return errors.New("has a host that is not a valid name")
	}
	port := u.Port()
	if u.Host = name; port != "" {
		u.Host = net.JoinHostPort(name, port)
	}
	return nil
}

// web checks an HTTP target.
func (t *Target) web(port string) error {
	if t.Host == "" {
		return errURLHost
	}
	if t.Port == "" {
		t.Port = port
	}
	return nil
}

// host checks a target that is a host alone.
func (t *Target) host() error {
	u := t.URL
	switch {
	case t.Host == "":
		return errURLHost
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return errURLMore
	case t.Scheme == "icmp" && t.Port != "":
		return errors.New("has a port, which ICMP does not use")
	}
	return nil
}

// hostPort checks a target that is a host and a port.
func (t *Target) hostPort() error {
	if err := t.host(); err != nil {
		return err
	}
	if t.Port == "" {
		return errURLPort
	}
	return nil
}

// encodePath percent-encodes the characters of a URL's path and query that may
// not be sent as they are, such as spaces, and leaves everything else alone.
func encodePath(raw string) string {
	start := strings.Index(raw, "://")
	if start < 0 {
		return raw
	}
	start += len("://")
	n := strings.IndexAny(raw[start:], "/?#")
	if n < 0 {
		return raw
	}
	start += n
	const hex = "0123456789ABCDEF"
	query := strings.IndexByte(raw, '?')
	var b strings.Builder
	b.WriteString(raw[:start])
	for i := start; i < len(raw); i++ {
		c := raw[i]
		encode := c > '~' || strings.IndexByte(` "<>`, c) >= 0
		if inPath := query < 0 || i < query; inPath && !encode {
			broken := c == '%' && (i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]))
			encode = broken || strings.IndexByte("\\^`{|}", c) >= 0
		}
		if encode {
			b.WriteString(string([]byte{'%', hex[c>>4], hex[c&15]}))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// publicURL is raw, which was parsed to u, with *** for user and password. A
// replica's id goes into alerts, logs and files. The user of an SSH target is
// no secret.
func publicURL(raw string, u *url.URL) string {
	if u.User == nil {
		return raw
	}
	if _, secret := u.User.Password(); u.Scheme == "ssh" && !secret {
		return raw
	}
	scheme, rest, _ := strings.Cut(raw, "://")
	authority := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority = rest[:end]
	}
	return scheme + "://***" + rest[strings.LastIndexByte(authority, '@'):]
}

// withoutUser hides the part of a URL before its last @: a user name and
// password, which may hold any character when they are not encoded as they
// should be.
func withoutUser(raw string) string {
	scheme, rest, ok := strings.Cut(raw, "://")
	if at := strings.LastIndexByte(rest, '@'); ok && at >= 0 {
		return scheme + "://***" + rest[at:]
	}
	return raw
}

// site reads a URL that visitors follow; it may be empty. Any scheme will do
// but those that run in the page itself.
func (t *table) site(key string) string {
	s := t.text(key, "")
	if s == "" {
		return ""
	}
	const allowed = "a URL of any scheme but javascript:, data: and vbscript:, like https://example.com or mailto:support@example.com"
	scheme, rest, ok := strings.Cut(s, ":")
	var err error
	switch scheme = strings.ToLower(scheme); {
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		err = errURLSpace // browsers leave some out, also out of "java\nscript:"
	case !ok || !isScheme(scheme):
		err = errors.New("has no scheme")
	case slices.Contains([]string{"javascript", "data", "vbscript"}, scheme):
		err = errURLScheme
	case rest == "":
		err = errors.New("leads nowhere")
	case scheme == "http" || scheme == "https":
		_, err = parseURL(s, "http", "https")
	}
	if err != nil {
		t.fault(key, "%s %v; allowed: %s", t.show(key, s), err, allowed)
	}
	return s
}

// isScheme reports whether s may be a URL's scheme: RFC 3986 section 3.1.
func isScheme(s string) bool {
	return s != "" && 'a' <= s[0] && s[0] <= 'z' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789+-.") == ""
}

// image reads the URL of an image: at another host, at this one, or with the
// image in it.
func (t *table) image(key string) string {
	s := t.text(key, "")
	local := strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") || strings.HasPrefix(s, "./")
	if s == "" || local || strings.HasPrefix(s, "data:image/") {
		return s
	}
	if _, err := parseURL(s, "http", "https"); err != nil {
		t.fault(key, "%s %v; allowed: an http:// or https:// URL, or a path like /assets/logo.svg", t.show(key, s), err)
	}
	return s
}

// colour reads a colour in hexadecimal; it may be empty.
func (t *table) colour(key string) string {
	s := t.text(key, "")
	if s == "" {
		return ""
	}
	hex, ok := strings.CutPrefix(s, "#")
	if _, err := strconv.ParseUint(hex, 16, 32); !ok || err != nil || len(hex) != 3 && len(hex) != 6 {
		t.fault(key, "%s is not a colour; allowed: #rrggbb or #rgb in hexadecimal, like #1972f5", t.show(key, s))
	}
	return s
}

// endpoint reads the URL of an API that must be there. It may hold a secret
// and is not shown.
func (t *table) endpoint(key, like string) string {
	allowed := "an http:// or https:// URL with a host, like " + like
	s := t.required(key, allowed)
	if s == "" {
		return ""
	}
	if _, err := parseURL(s, "http", "https"); err != nil {
		unset := ""
		if name := unsetVariable(s); name != "" {
			unset = " (" + name + " is not set)"
		}
		t.fault(key, "%v%s; allowed: %s", err, unset, allowed)
	}
	return s
}

// base reads the URL of an API that has a default.
func (t *table) base(key, def string) string {
	if t.has(key) {
		return t.endpoint(key, def)
	}
	t.get(key)
	return def
}

func (c *Config) readMirror(t *table) {
	if t.vals == nil {
		return
	}
	const folder = "a folder that is new, empty or was filled by Vigil, like \"/srv/status\""
	m := &Mirror{Path: t.required("path", folder)}
	m.Command = t.command("command")
	m.Interval = t.seconds("interval", time.Minute, 1)
	m.Timeout = t.seconds("timeout", 2*time.Minute, 1)
	t.rest()
	if m.Path == "" {
		return
	}
	shown := t.show("path", m.Path)
	m.Path = absolute(m.Path)
	if c.Storage.Path != "" && nested(m.Path, absolute(c.Storage.Path)) {
		t.fault("path", "%s and storage.path overlap, and everything in the copy is public; allowed: %s", shown, folder)
	}
	_, err := within(context.Background(), func() (any, error) {
		root, err := os.OpenRoot(m.Path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil // it is made at the start
		}
		if err != nil {
			return nil, err
		}
		defer root.Close()
		_, err = readMirrorList(root)
		return nil, err
	})
	if err != nil {
		t.fault("path", "%s cannot be used (%v); allowed: %s", shown, withoutPath(err), folder)
	}
	for _, s := range c.Services {
		for _, n := range s.Nodes {
			if !canBeFile(s.ID) || !canBeFile(n.ID) {
				p := t.problem("path", "the copy leaves out \"%s:%s\", because this cannot be the name of a file", s.ID, n.ID)
				p.note = true
				t.doc.warnings = append(t.doc.warnings, p)
			}
		}
	}
	c.Mirror = m
}

// command reads a program with its arguments, or one string for /bin/sh.
func (t *table) command(key string) (words []string) {
	v, ok := t.get(key)
	switch v := v.(type) {
	case []any:
		t.each(key, func(_, s string) { words = append(words, s) })
		return words
	case string:
		if v != "" && !hasShell(runtime.GOOS) {
			t.fault(key, "is a string for /bin/sh, which this system does not have; allowed: a list of a program and its arguments")
		}
		if v != "" {
			return []string{"/bin/sh", "-c", v}
		}
	default:
		if ok {
			t.mistyped(key, v, "a list of a program and its arguments, or a string for /bin/sh")
		}
	}
	return nil
}

// absolute returns a path from the root, or as it is where that is not known.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// nested reports whether one of two paths leads into the other.
func nested(a, b string) bool {
	for _, pair := range [...][2]string{{a, b}, {b, a}} {
		if rel, err := filepath.Rel(pair[0], pair[1]); err == nil && filepath.IsLocal(rel) {
			return true
		}
	}
	return false
}

// The files in the folder of a mirror that are no part of the copy: the list of
// those that are, and the one being written.
const mirrorList, mirrorTemp = ".vigil-mirror", ".vigil-mirror.tmp"

// maxMirrorList bounds the list, in bytes.
const maxMirrorList = 64 << 20

// readMirrorList returns which files in a folder belong to a mirror's copy. A
// folder without the list must be empty: nobody's files are to be replaced, or
// made public. Names that start with a dot do not count.
func readMirrorList(root *os.Root) (names []string, err error) {
	info, err := root.Lstat(mirrorList)
	if errors.Is(err, fs.ErrNotExist) {
		entries, err := fs.ReadDir(root.FS(), ".")
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".") && e.Name() != "lost+found" {
				return nil, fmt.Errorf("it holds %q, which Vigil has not put there", shorten(e.Name()))
			}
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s in it is not a regular file", mirrorList)
	}
	file, err := root.Open(mirrorList)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := readUpTo(file, maxMirrorList)
	if err != nil {
		return nil, err
	}
	if json.Unmarshal(text, &names) != nil {
		return nil, fmt.Errorf("%s in it is damaged: empty the folder", mirrorList)
	}
	return slices.DeleteFunc(names, func(name string) bool { return !canBeFile(name) }), nil
}

// canBeFile reports whether a name can be that of a file in a folder.
func canBeFile(name string) bool {
	if name == "." || !fs.ValidPath(name) || !filepath.IsLocal(filepath.FromSlash(name)) || strings.Contains(name, "\x00") {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > 255-len(".atom") {
			return false
		}
	}
	return true
}
