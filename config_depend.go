package main

import (
	"slices"
	"strconv"
	"strings"
)

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
// Visited are the nodes from which none can be.
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
	for _, s := range c.Services {
		for _, n := range s.Nodes {
			if ss.matches(s.ID, n.ID) {
				nodes = append(nodes, n)
			}
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
		t.fault(key, "%s is no number of replicas; allowed: %s", t.show(key, s), allowed)
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
