package main

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// readProbe reads [probe]: everything that is monitored.
func (c *Config) readProbe(t *table) {
	c.Connectivity = t.targets("connectivity")
	first := make(map[string]*table)
	var all []nodeTable
	tokens := make(map[string]*table) // of heartbeats
	for _, sub := range t.tables("service") {
		s := &Service{ID: sub.id("service", "", first), Hidden: sub.yes("hidden", false)}
		s.Label = sub.label(s.ID)
		s.Target = sub.float("target", 0, 0, 100)
		sub.get("depends_on") // read when all nodes are known
		nodes := make(map[string]*table)
		for _, node := range sub.tables("node") {
			n := c.readNode(node, nodes, tokens)
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
func (c *Config) readNode(t *table, first, tokens map[string]*table) *Node {
	n := &Node{
		ID:        t.id("node", " of this service", first),
		LinkURL:   t.site("link_url"),
		LinkLabel: t.text("link_label", ""),
	}
	n.Label = t.label(n.ID)
	hasMode := t.checks(n, &c.Metrics, modeNames[:])
	n.Hidden = t.yes("hidden", false)
	n.Needed = t.needed("replicas_needed")
	t.checkNeeded(n)
	t.get("depends_on") // read when all nodes are known
	n.RevealReplicaName = t.yes("reveal_replica_name", false)

	if hasMode {
		t.readHeartbeat(n, tokens)
	}

	n.RabbitMQQueue = t.text("rabbitmq_queue", "")
	if n.RabbitMQQueue != "" && c.RabbitMQ == nil {
		t.warn("rabbitmq_queue", "has no effect, because there is no [plugins.rabbitmq]")
	}
	n.NackHealthyBelow = t.threshold("rabbitmq_queue_nack_healthy_below")
	n.NackDeadAbove = t.threshold("rabbitmq_queue_nack_dead_above")
	t.checkOrder("rabbitmq_queue_nack_healthy_below", n.NackHealthyBelow, "rabbitmq_queue_nack_dead_above", n.NackDeadAbove)
	t.restOfNode(n, hasMode)
	return n
}

// checks reads what a node monitors and how: its mode, one of modes, and the
// keys of that mode. It reports whether the mode is one of them.
func (t *table) checks(n *Node, m *Metrics, modes []string) (hasMode bool) {
	n.Metrics = t.ownMetrics(m)
	hasMode = t.mode(&n.Mode, modes)
	t.replicas(n, "replicas")
	t.each("scripts", func(_, s string) { n.Scripts = append(n.Scripts, s) })
	t.replicaLabels(n, "replica_labels")
	if hasMode {
		t.checkReplicas(n)
	}

	t.readHTTP(n)
	t.readTLS(&n.TLS)
	t.readNetwork(n)
	t.warnUnused(n)
	return hasMode
}

// warnUnused warns of conditions on answers that no replica of the node gives:
// they look as if something was checked.
func (t *table) warnUnused(n *Node) {
	if n.Mode == modePoll && len(n.Targets) == 0 {
		return
	}
	secure := []string{"https", "tls"}
	if n.FollowRedirects {
		secure = append(secure, "http")
	}
	web := []string{"http", "https"}
	for _, c := range []struct {
		key     string
		set     bool
		schemes []string
	}{
		{"http_body_healthy_match", n.HTTPMatch != nil, web},
		{"http_header_healthy_match", n.HeaderMatch != nil, web},
		{"http_json_healthy_match", n.JSONMatch != nil, web},
		{"tls_expiry_sick_below", n.TLS.ExpirySickBelow > 0, secure},
		{"tls_expiry_dead_below", n.TLS.ExpiryDeadBelow > 0, secure},
		{"dns_match", n.DNSMatch != nil, []string{"dns"}},
	} {
		if c.set && !slices.ContainsFunc(n.Targets, func(t Target) bool { return slices.Contains(c.schemes, t.Scheme) }) {
			t.warn(c.key, "has no effect, because the node has no %s:// replica", strings.Join(c.schemes[:min(2, len(c.schemes))], ":// or "))
		}
	}
}

// mode reads a node's mode and reports whether it is one of modes.
func (t *table) mode(m *mode, modes []string) bool {
	if s, _ := t.vals["mode"].(string); slices.Contains(modes, s) { // as in most nodes of very many
		t.get("mode")
		*m = mode(slices.Index(modeNames[:], s))
		return true
	}
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
}

// restOfNode warns of the keys of a node that were not read, and of a node that
// checks nothing. With both it is an error: a typo would keep the node healthy
// for ever.
func (t *table) restOfNode(n *Node, hasMode bool) {
	unknown := t.rest()
	key := map[mode]string{modePoll: "replicas", modeScript: "scripts"}[n.Mode]
	switch {
	case !hasMode || key == "" || t.size(key) != 0:
	case unknown != "":
		t.fault(key, "is missing or empty, so the node would always be healthy (%s is not a known key); allowed: a list with at least one element%s",
			strconv.Quote(shorten(unknown)), hint(unknown, t.known))
	default:
		t.warn(key, "is missing or empty, so the node is always healthy")
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
			t.fault(item, "is a label too many; allowed: %s, one for each script", plural(len(n.Scripts), "label"))
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

// A nodeTable is a node and where the file has it.
type nodeTable struct {
	*table
	service *Service
	node    *Node
	of      *table // the service's
}

func (nt nodeTable) String() string { return nt.service.ID + ":" + nt.node.ID }

// readDependencies reads the depends_on of services and nodes, after all of
// them are known. A service's holds for each of its nodes.
func (c *Config) readDependencies(all []nodeTable) {
	byNode := make(map[*Node]nodeTable, len(all))
	for _, nt := range all {
		byNode[nt.node] = nt
	}
	var of *table
	var ofService []*Node
	for _, nt := range all {
		if nt.of != of {
			of = nt.of
			ofService = c.selected(c.selectors(of, "depends_on"))
		}
		nt.node.DependsOn = ofService
		if !nt.has("depends_on") && !slices.Contains(ofService, nt.node) {
			continue
		}
		own := c.selectors(nt.table, "depends_on")
		if slices.Contains(own, selector(nt.String())) {
			nt.fault("depends_on", "names the node itself; allowed: other nodes")
		}
		nt.node.DependsOn = nil
		for _, other := range append(c.selected(own), ofService...) {
			if other != nt.node && !slices.Contains(nt.node.DependsOn, other) {
				nt.node.DependsOn = append(nt.node.DependsOn, other)
			}
		}
	}
	visited := make(map[*Node]bool)
	for _, nt := range all {
		if path := findCycle(nt.node, visited, nil); path != nil {
			var names []string
			for _, n := range append(path, path[0]) {
				names = append(names, byNode[n].String())
			}
			at := byNode[path[0]]
			if !at.has("depends_on") {
				at.table = at.of
			}
			at.fault("depends_on", "is a cycle: %s; allowed: dependencies that do not lead back", shorten(strings.Join(names, " -> ")))
			return
		}
	}
}

// findCycle returns the nodes of a cycle that can be reached from n, or nil.
// Visited are nodes that lead to no cycle.
func findCycle(n *Node, visited map[*Node]bool, path []*Node) []*Node {
	if i := slices.Index(path, n); i >= 0 {
		return path[i:]
	}
	if visited[n] {
		return nil
	}
	path = append(path, n)
	for _, other := range n.DependsOn {
		if cycle := findCycle(other, visited, path); cycle != nil {
			return cycle
		}
	}
	visited[n] = true
	return nil
}

// selected returns the nodes that selectors choose, in the order of the file.
func (c *Config) selected(ss selectors) (nodes []*Node) {
	if len(ss) == 0 {
		return nil
	}
	for s, n := range c.nodes() {
		if ss.matches(s.ID, n.ID) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// Needed is how many of a node's replicas must not be dead.
type Needed struct {
	Count   int // 0: Percent counts, or else all are needed
	Percent int
}

// of returns how many of so many replicas are needed.
func (n Needed) of(replicas int) int {
	switch {
	case n.Count > 0:
		return min(n.Count, replicas)
	case n.Percent > 0:
		return (replicas*n.Percent + 99) / 100
	}
	return replicas
}

// needed reads a number of replicas: an integer or "N%".
func (t *table) needed(key string) (n Needed) {
	v, ok := t.get(key)
	if !ok {
		return n
	}
	const allowed = `an integer from 1 up, or a share from "1%" to "100%"`
	s, isText := v.(string)
	number, isShare := strings.CutSuffix(strings.TrimSpace(s), "%")
	switch parsed, err := strconv.Atoi(number); {
	case !isText:
		n.Count = int(t.number(key, 1, 1, 1_000_000, ""))
	case err != nil || parsed < 1 || isShare && parsed > 100 || !isShare && t.written(key) == "":
		t.fault(key, "%s is not a number of replicas; allowed: %s", t.show(key, s), allowed)
	case isShare:
		n.Percent = parsed
	default:
		n.Count = parsed
	}
	return n
}

// checkNeeded checks that a node can have the replicas it needs.
func (t *table) checkNeeded(n *Node) {
	has := len(n.Targets) + len(n.Scripts)
	if has > 0 && n.Needed.Count > has {
		t.fault("replicas_needed", "%d is more than the node has; allowed: up to %d", n.Needed.Count, has)
	}
}
