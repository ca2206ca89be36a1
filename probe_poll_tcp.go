package main

import "context"

// checkTCP connects to addr, of the form host:port, and closes. The dialer
// tries several addresses of one name as RFC 8305 has it (happy eyeballs).
func (p *poller) checkTCP(ctx context.Context, addr string) error {
	conn, err := p.dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}
