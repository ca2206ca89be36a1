package main

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// What may be wrong with a URL. The messages do not hold the URL, which may be
// a secret.
var (
	errURLSpace    = errors.New("holds white space or control characters")
	errURLHost     = errors.New("has no host")
	errURLPort     = errors.New("has no port")
	errURLPortSize = errors.New("has a port out of range, 1 to 65535")
)

// parseURL takes a URL apart and checks its scheme, its host and, where one is
// given, its port.
func parseURL(raw string, schemes ...string) (*url.URL, error) {
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
	case !slices.Contains(schemes, u.Scheme):
		return nil, errors.New("has a scheme that is not allowed")
	case u.Hostname() == "":
		return nil, errURLHost
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

// targetForms are the URLs that a poll probe can check, for messages.
const targetForms = "http://host, https://host, tcp://host:port, ssh://host:port or icmp://host"

// parseTarget takes a replica's URL apart.
func parseTarget(raw string) (Target, error) {
	u, err := parseURL(raw, "http", "https", "tcp", "icmp", "ssh")
	if err != nil {
		return Target{}, err
	}
	t := Target{Raw: publicURL(raw, u), Scheme: u.Scheme, Host: u.Hostname(), Port: u.Port(), URL: u}
	switch {
	case t.Scheme == "http" && t.Port == "":
		t.Port = "80"
	case t.Scheme == "https" && t.Port == "":
		t.Port = "443"
	case t.Scheme == "http" || t.Scheme == "https":
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return Target{}, errors.New("has more than a host and a port")
	case t.Scheme == "icmp" && t.Port != "":
		return Target{}, errors.New("has a port, which ICMP does not use")
	case t.Scheme != "icmp" && t.Port == "":
		return Target{}, errURLPort
	case strings.ContainsFunc(t.Host, func(r rune) bool { return r > 0x7f }):
		return Target{}, errors.New("has a host with letters outside of ASCII; its xn-- form is wanted here")
	}
	return t, nil
}

// publicURL is raw, which was parsed to u, with *** for user and password. A
// replica's id goes into alerts, logs and files.
func publicURL(raw string, u *url.URL) string {
	if u.User == nil {
		return raw
	}
	scheme, rest, _ := strings.Cut(raw, "://")
	authority := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority = rest[:end]
	}
	return scheme + "://***" + rest[strings.LastIndexByte(authority, '@'):]
}

// withoutUser hides what stands before the last @ of a URL: a user name and
// password, which may hold any character when they are not encoded as they
// should be.
func withoutUser(raw string) string {
	scheme, rest, ok := strings.Cut(raw, "://")
	if at := strings.LastIndexByte(rest, '@'); ok && at >= 0 {
		return scheme + "://***" + rest[at:]
	}
	return raw
}

// site reads a URL that visitors follow or load; it may be empty.
func (t *table) site(key, allowed string, schemes ...string) string {
	s := t.text(key, "")
	if s == "" {
		return ""
	}
	if scheme, rest, ok := strings.Cut(s, ":"); ok && slices.Contains(schemes, strings.ToLower(scheme)) {
		if strings.EqualFold(scheme, "mailto") || strings.EqualFold(scheme, "tel") {
			if rest == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' }) {
				t.fault(key, "%s leads nowhere; allowed: %s", t.show(key, s), allowed)
			}
			return s
		}
	}
	if _, err := parseURL(s, schemes...); err != nil {
		t.fault(key, "%s %v; allowed: %s", t.show(key, s), err, allowed)
	}
	return s
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
