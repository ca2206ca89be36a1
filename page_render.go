package main

import (
	"bytes"
	"hash/fnv"
	"strconv"
)

// A renderer turns snapshots into the page. What did not change from one
// snapshot to the next is shared between them, so its HTML is kept and found
// again by the pointer: the cost is that of what changed. It belongs to one
// goroutine.
type renderer struct {
	site     *site
	nodes    map[*nodeView]markup
	services map[serviceKey]markup
	buf      bytes.Buffer
}

type serviceKey struct {
	view *serviceView
	open bool
}

func newRenderer(st *site) *renderer { return &renderer{site: st} }

// render returns s as replies that are ready to be served.
func (r *renderer) render(s *snapshot) (*rendering, error) {
	page, embed, err := r.html(s)
	if err != nil {
		return nil, err
	}
	return &rendering{
		site:  r.site,
		snap:  s,
		page:  newReply(page, r.site.pageFields),
		embed: newReply(embed, r.site.embedFields),
	}, nil
}

// html returns s as the page and as the widget.
func (r *renderer) html(s *snapshot) (page, embed []byte, err error) {
	v := newPageView(r.site, s)
	if err := r.fill(v, s); err != nil {
		return nil, nil, err
	}
	if err := r.execute("page.html", v); err != nil {
		return nil, nil, err
	}
	page = bytes.Clone(r.buf.Bytes())
	if err := r.execute("embed.html", v); err != nil {
		return nil, nil, err
	}
	return page, bytes.Clone(r.buf.Bytes()), nil
}

// fill adds the services' HTML to the view.
func (r *renderer) fill(v view, s *snapshot) error {
	nodes := make(map[*nodeView]markup, len(r.nodes))
	services := make(map[serviceKey]markup, len(s.services))
	all := make([]markup, 0, len(s.services))
	for _, sv := range s.services {
		list := make([]markup, len(sv.nodes))
		for i, nv := range sv.nodes {
			part, ok := r.nodes[nv]
			if !ok {
				if err := r.execute("node.html", newNodeView(sv, nv, s.at)); err != nil {
					return err
				}
				part = markup(r.buf.String())
			}
			nodes[nv], list[i] = part, part
		}
		key := serviceKey{sv, len(s.services) <= foldAbove || sv.state() != stateHealthy}
		part, ok := r.services[key]
		if !ok {
			if err := r.execute("service.html", newServiceView(sv, key.open, list)); err != nil {
				return err
			}
			part = markup(r.buf.String())
		}
		services[key] = part
		all = append(all, part)
	}
	r.nodes, r.services = nodes, services
	v["Services"] = all
	return nil
}

// execute fills the buffer.
func (r *renderer) execute(name string, v view) error {
	r.buf.Reset()
	return r.site.templates[name].execute(&r.buf, v)
}

// elementID returns an element's id that stays the same from one rendering to
// the next, wherever the element stands, and tells nothing of the ids in the
// configuration, which are not for the public.
func elementID(kind string, ids ...string) string {
	h := fnv.New64a()
	for _, id := range ids {
		h.Write([]byte(id))
		h.Write([]byte{0})
	}
	return kind + strconv.FormatUint(h.Sum64(), 36)
}
