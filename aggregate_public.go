package main

import "slices"

// A publicView makes of each snapshot what visitors may see of it: without
// hidden services and nodes. What did not change is shared with the one before.
type publicView struct {
	services map[*Service]publicService
}

// A publicService is a service, and what it is without its hidden nodes.
type publicService struct{ whole, shown *serviceView }

// of returns the public part of s: s itself when its config hides nothing.
func (p *publicView) of(s *snapshot) *snapshot {
	hidden := func(in incident) bool { return in.node.Hidden }
	if !hidesAny(s.conf) && !slices.ContainsFunc(s.pastIncidents, hidden) {
		return s
	}
	shown := *s
	shown.services, shown.status = nil, healthy
	before := p.services
	p.services = make(map[*Service]publicService)
	for _, sv := range s.services {
		if sv.conf.Hidden {
			continue
		}
		part := before[sv.conf]
		if part.whole != sv {
			part = publicService{sv, sv.withoutHidden()}
		}
		p.services[sv.conf] = part
		shown.services = append(shown.services, part.shown)
		shown.status = max(shown.status, part.shown.status)
	}
	shown.incidents = slices.DeleteFunc(slices.Clone(s.incidents), hidden)
	shown.pastIncidents = slices.DeleteFunc(slices.Clone(s.pastIncidents), hidden)
	return &shown
}

// hidesAny reports whether a node of the config is hidden. Past incidents may be
// of hidden nodes that are gone.
func hidesAny(c *Config) bool {
	return slices.ContainsFunc(c.Services, func(sv *Service) bool {
		return sv.Hidden || slices.ContainsFunc(sv.Nodes, func(n *Node) bool { return n.Hidden })
	})
}

// withoutHidden returns the service with the nodes that are not hidden, and as
// bad as the worst of those.
func (sv *serviceView) withoutHidden() *serviceView {
	if !slices.ContainsFunc(sv.nodes, func(nv *nodeView) bool { return nv.conf.Hidden }) {
		return sv
	}
	shown := &serviceView{conf: sv.conf}
	for _, nv := range sv.nodes {
		if !nv.conf.Hidden {
			shown.nodes = append(shown.nodes, nv)
			shown.status = max(shown.status, nv.status)
		}
	}
	return shown
}
