package main

// A place is where a key, a table or a list's element stands.
type place struct {
	line    int
	written string            // a value that holds variables, as written; else ""
	keys    map[string]*place // of a table
	items   []*place          // of a list
}

// key returns where a key of a table stands, or nil.
func (p *place) key(name string) *place {
	if p == nil {
		return nil
	}
	return p.keys[name]
}

// item returns where an element of a list stands, or nil.
func (p *place) item(i int) *place {
	if p == nil || i >= len(p.items) {
		return nil
	}
	return p.items[i]
}

// under returns the place of a key, made when it is new.
func (p *place) under(name string, line int) (child *place, known bool) {
	if child = p.keys[name]; child != nil {
		return child, true
	}
	if p.keys == nil {
		p.keys = make(map[string]*place)
	}
	child = &place{line: line}
	p.keys[name] = child
	return child, false
}
