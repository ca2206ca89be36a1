package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// readProbe reads [probe]: what is watched.
func (c *Config) readProbe(t *table) {
	c.Connectivity = t.targets("connectivity")
	first := make(map[string]*table)
	var all []nodeTable
	for _, sub := range t.tables("service") {
		s := &Service{ID: sub.id("service", "", first), Hidden: sub.yes("hidden", false)}
		s.Label = sub.label(s.ID)
		sub.get("depends_on") // read when all nodes are known
		nodes := make(map[string]*table)
		for _, node := range sub.tables("node") {
			n := c.readNode(node, nodes)
			n.Hidden = n.Hidden || s.Hidden
			s.Nodes = append(s.Nodes, n)
			all = append(all, nodeTable{node, s, n, sub})
		}
		sub.rest()
		c.Services = append(c.Services, s)
	}
	c.readDependencies(all)
	t.rest()
}

// id reads an id that no table in first has, and adds it there. For messages,
// what is the thing with the id and of says among which it must be unique.
func (t *table) id(what, of string, first map[string]*table) string {
	id := t.required("id", "text that is the id of no other "+what+of)
	if id == "" {
		return ""
	}
	if other := first[id]; other != nil {
		t.fault("id", "%s is already the id of the %s on line %d; allowed: text that is the id of no other %s%s",
			t.show("id", id), what, other.line, what, of)
		return id
	}
	first[id] = t
	return id
}

// label reads the name to show on the page; an empty one is the id.
func (t *table) label(id string) string {
	if t.has("label") {
		return cmp.Or(t.text("label", ""), id)
	}
	return t.required("label", "the name to show on the page")
}

// readNode reads one [[probe.service.node]].
func (c *Config) readNode(t *table, first map[string]*table) *Node {
	n := &Node{
		ID:        t.id("node", " of this service", first),
		LinkURL:   t.site("link_url", "an http://, https:// or mailto: URL", "http", "https", "mailto"),
		LinkLabel: t.text("link_label", ""),
	}
	n.Label = t.label(n.ID)
	t.checks(n, &c.Metrics, modeNames[:])
	n.Hidden = t.yes("hidden", false)
	n.Needed = t.needed("replicas_needed")
	t.checkNeeded(n)
	t.get("depends_on") // read when all nodes are known
	n.RevealReplicaName = t.yes("reveal_replica_name", false)

	n.RabbitMQQueue = t.text("rabbitmq_queue", "")
	if n.RabbitMQQueue != "" && c.RabbitMQ == nil {
		t.warn("rabbitmq_queue", "is without effect, because there is no [plugins.rabbitmq]")
	}
	n.NackHealthyBelow = t.threshold("rabbitmq_queue_nack_healthy_below")
	n.NackDeadAbove = t.threshold("rabbitmq_queue_nack_dead_above")
	t.checkOrder("rabbitmq_queue_nack_healthy_below", n.NackHealthyBelow, "rabbitmq_queue_nack_dead_above", n.NackDeadAbove)
	t.rest()
	return n
}

// checks reads what a node watches and how: its mode, one of modes, and all
// that belongs to it.
func (t *table) checks(n *Node, m *Metrics, modes []string) {
	n.Metrics = t.ownMetrics(m)
	hasMode := t.mode(&n.Mode, modes)
	t.replicas(n, "replicas")
	t.each("scripts", func(_, s string) { n.Scripts = append(n.Scripts, s) })
	t.replicaLabels(n, "replica_labels")
	if hasMode {
		t.checkReplicas(n)
	}

	t.readHTTP(n)
	t.readTLS(&n.TLS)
	t.readNetwork(n)
}

// mode reads a node's mode and reports whether it is one of modes.
func (t *table) mode(m *mode, modes []string) bool {
	s := t.required("mode", oneOf(modes))
	word := strings.ToLower(s)
	if !slices.Contains(modes, word) {
		if s != "" {
			t.fault("mode", "%s is unknown; allowed: %s%s", t.show("mode", s), oneOf(modes), hint(s, modes))
		}
		return false
	}
	*m = mode(slices.Index(modeNames[:], word))
	return true
}

// checkReplicas checks that a node has what its mode needs and nothing else.
func (t *table) checkReplicas(n *Node) {
	if n.Mode != modePoll && t.has("replicas") {
		t.fault("replicas", "is set, but mode is %q; allowed only where mode is \"poll\"", n.Mode)
	}
	if n.Mode != modeScript && t.has("scripts") {
		t.fault("scripts", "is set, but mode is %q; allowed only where mode is \"script\"", n.Mode)
	}
	if n.Mode == modeScript && !hasShell(runtime.GOOS) {
		t.fault("mode", "is \"script\", but %s has no /bin/sh to run scripts; allowed here: \"poll\", \"push\" or \"local\"", runtime.GOOS)
	}
	if n.Mode == modePoll && t.size("replicas") == 0 {
		t.warn("replicas", "is missing or empty, so the node is always healthy")
	}
	if n.Mode == modeScript && t.size("scripts") == 0 {
		t.warn("scripts", "is missing or empty, so the node is always healthy")
	}
}

// size returns how many elements a list has, or -1 for what is not a list.
func (t *table) size(key string) int {
	switch v := t.vals[key].(type) {
	case nil:
		return 0
	case []any:
		return len(v)
	case []map[string]any:
		return len(v)
	}
	return -1
}

// targets reads a list of replica URLs. One that is there twice would be one
// replica, so only the first counts.
func (t *table) targets(key string) []Target {
	var list targetList
	t.each(key, func(item, s string) { list.add(t, item, s) })
	return list.targets
}

// replicas reads a poll node's replicas: URLs, or tables with a URL and a label.
func (t *table) replicas(n *Node, key string) {
	items, ok := t.vals[key].([]any)
	if tables, isList := t.vals[key].([]map[string]any); isList {
		ok = true
		for _, vals := range tables {
			items = append(items, vals)
		}
	}
	if !ok {
		t.each(key, func(string, string) {}) // says what is wrong with it
		return
	}
	t.get(key)
	var list targetList
	for i, v := range items {
		item := fmt.Sprintf("%s[%d]", key, i)
		switch v := v.(type) {
		case string:
			if v == "" {
				t.fault(item, "is empty; allowed: %s", targetForms)
			} else {
				list.add(t, item, v)
			}
		case map[string]any:
			sub := &table{doc: t.doc, name: t.path(item), vals: v, at: t.place(item), line: t.problem(item, "").line}
			label := sub.text("label", "")
			if id := list.add(sub, "url", sub.required("url", targetForms)); id != "" && label != "" {
				n.setLabel(id, label)
			}
			sub.rest()
		default:
			t.mistyped(item, v, "a URL, or a table like { url = \"https://example.com\", label = \"Paris\" }")
		}
	}
	n.Targets = list.targets
}

func (n *Node) setLabel(replica, label string) {
	if n.Labels == nil {
		n.Labels = make(map[string]string)
	}
	n.Labels[replica] = label
}

// replicaLabels reads the labels of a node's scripts, in their order.
func (t *table) replicaLabels(n *Node, key string) {
	i := 0
	t.each(key, func(item, s string) {
		if i >= len(n.Scripts) {
			t.fault(item, "is the label of no script; allowed: one for each of the scripts, which are %d", len(n.Scripts))
		} else {
			n.setLabel(strconv.Itoa(i), s)
		}
		i++
	})
}

// A targetList collects targets that all differ.
type targetList struct {
	targets   []Target
	urls, ids map[string]bool
}

// add parses the URL under a key of t and returns the replica's id, or "" when
// it adds none.
func (l *targetList) add(t *table, key, s string) (id string) {
	if s == "" {
		return ""
	}
	target, err := parseTarget(s)
	if err != nil {
		t.fault(key, "%s %v; allowed: %s", t.show(key, s), err, targetForms)
		return ""
	}
	if l.urls == nil {
		l.urls, l.ids = make(map[string]bool), make(map[string]bool)
	}
	url := target.URL.String()
	switch {
	case l.urls[url]:
		t.warn(key, "%s is in the list already and is checked once", t.show(key, s))
		return ""
	case l.ids[target.Raw]:
		t.fault(key, "%s is in the list with another user or password; allowed: one of them, as both would have the same id", t.show(key, s))
		return ""
	}
	l.urls[url], l.ids[target.Raw] = true, true
	l.targets = append(l.targets, target)
	return target.Raw
}

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
