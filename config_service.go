package main

import (
	"maps"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// readProbe reads [probe]: what is watched.
func (c *Config) readProbe(t *table) {
	c.Connectivity = t.targets("connectivity")
	first := make(map[string]*table)
	for _, sub := range t.tables("service") {
		s := &Service{
			ID:    sub.id("service", "", first),
			Label: sub.required("label", "the name to show on the page"),
		}
		nodes := make(map[string]*table)
		for _, node := range sub.tables("node") {
			s.Nodes = append(s.Nodes, c.readNode(node, nodes))
		}
		sub.rest()
		c.Services = append(c.Services, s)
	}
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

// readNode reads one [[probe.service.node]].
func (c *Config) readNode(t *table, first map[string]*table) *Node {
	n := &Node{
		ID:        t.id("node", " of this service", first),
		Label:     t.required("label", "the name to show on the page"),
		LinkURL:   t.site("link_url", "an http://, https:// or mailto: URL", "http", "https", "mailto"),
		LinkLabel: t.text("link_label", ""),
	}
	t.checks(n, modeNames[:])
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
func (t *table) checks(n *Node, modes []string) {
	hasMode := t.mode(&n.Mode, modes)
	n.Targets = t.targets("replicas")
	t.each("scripts", func(_, s string) { n.Scripts = append(n.Scripts, s) })
	if hasMode {
		t.checkReplicas(n)
	}

	n.HTTPHeaders = t.headers("http_headers")
	if s := t.text("http_method", ""); t.has("http_method") {
		n.HTTPMethod = strings.ToUpper(s)
		if !slices.Contains(methods, n.HTTPMethod) {
			t.fault("http_method", "%s is unknown; allowed: %s%s", t.show("http_method", s), oneOf(methods), hint(s, methods))
		}
	}
	n.HTTPBody = t.text("http_body", "")
	if s := t.text("http_body_healthy_match", ""); s != "" {
		var err error
		if n.HTTPMatch, err = regexp.Compile(s); err != nil {
			t.fault("http_body_healthy_match", "%s is not a regular expression (%s); allowed: the syntax of RE2",
				t.show("http_body_healthy_match", s), regexpReason(err))
		}
	}
}

// methods are the HTTP methods that a poll probe can use.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch}

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
	v, ok := t.vals[key]
	if items, isList := v.([]any); isList || !ok {
		return len(items)
	}
	return -1
}

// targets reads a list of replica URLs. One that is there twice would be one
// replica, so only the first counts.
func (t *table) targets(key string) []Target {
	var ts []Target
	urls, ids := make(map[string]bool), make(map[string]bool)
	t.each(key, func(item, s string) {
		target, err := parseTarget(s)
		if err != nil {
			t.fault(item, "%s %v; allowed: %s", t.show(item, s), err, targetForms)
			return
		}
		url := target.URL.String()
		switch {
		case urls[url]:
			t.warn(item, "%s is in the list already and is checked once", t.show(item, s))
		case ids[target.Raw]:
			t.fault(item, "%s is in the list with another user or password; allowed: one of them, as both would have the same id", t.show(item, s))
		default:
			urls[url], ids[target.Raw] = true, true
			ts = append(ts, target)
		}
	})
	return ts
}

// headers reads a table of HTTP headers. Values may be secrets and are not
// shown.
func (t *table) headers(key string) map[string]string {
	sub := t.table(key)
	if len(sub.vals) == 0 {
		return nil
	}
	headers := make(map[string]string, len(sub.vals))
	first := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(sub.vals)) {
		value := sub.text(name, "")
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !isToken(name):
			sub.fault(name, "is not a header name; allowed: letters, digits and !#$%%&'*+-.^_`|~")
		case first[canonical] != "":
			sub.fault(name, "is the same header as %q; allowed: each once", first[canonical])
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			sub.fault(name, "has a value with a line end or another control character; allowed: one line of text")
		}
		first[canonical] = name
		headers[name] = value
	}
	return headers
}

// isToken reports whether s may name a header: RFC 9110 section 5.6.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r > '~' || !isKeyChar(byte(r)) && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// regexpReason returns what is wrong with a regular expression, without the
// prefix that package regexp/syntax puts before it.
func regexpReason(err error) string {
	return shorten(strings.TrimPrefix(err.Error(), "error parsing regexp: "))
}
