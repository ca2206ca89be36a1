package main

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
)

// A limitListener bounds the open connections, all together and those of one
// address. Where a new one finds no room, another is closed for it: of that
// address's, or of all, the one whose last finished request, or whose begin,
// is the longest ago. So who only holds connections loses them first, and who
// asks something is served however many others are there.
type limitListener struct {
	net.Listener
	most  int // in all
	share int // of one address

	mu   sync.Mutex
	all  list.List                   // of *conn, the next to be closed in front
	from map[netip.Prefix]*list.List // the same of each address
}

// minShare is how many connections one address may have at least.
const minShare = 16

// newLimitListener lets a single address have a quarter of the connections: it
// may be that of a reverse proxy.
func newLimitListener(ln net.Listener, most int) *limitListener {
	return &limitListener{
		Listener: ln,
		most:     most,
		share:    max(most/4, min(most, minShare)),
		from:     make(map[netip.Prefix]*list.List),
	}
}

func (l *limitListener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, home: l, client: connNet(inner)}
	if victim := l.add(c); victim != nil {
		victim.Conn.Close()
	}
	return c, nil
}

// add takes the connection in and returns the one that has to go, if any.
func (l *limitListener) add(c *conn) (victim *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.from[c.client]
	switch {
	case own != nil && own.Len() >= l.share:
		victim = own.Front().Value.(*conn)
	case l.all.Len() >= l.most:
		victim = l.all.Front().Value.(*conn)
	}
	if victim != nil {
		l.drop(victim)
	}
	if own = l.from[c.client]; own == nil {
		own = list.New()
		l.from[c.client] = own
	}
	c.inAll, c.inOwn = l.all.PushBack(c), own.PushBack(c)
	return victim
}

// touch notes that a request on the connection was finished.
func (l *limitListener) touch(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.inAll != nil {
		l.all.MoveToBack(c.inAll)
		l.from[c.client].MoveToBack(c.inOwn)
	}
}

// remove forgets a connection that is closed.
func (l *limitListener) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(c)
}

// drop needs the lock.
func (l *limitListener) drop(c *conn) {
	if c.inAll == nil {
		return
	}
	l.all.Remove(c.inAll)
	own := l.from[c.client]
	own.Remove(c.inOwn)
	if own.Len() == 0 {
		delete(l.from, c.client)
	}
	c.inAll, c.inOwn = nil, nil
}
