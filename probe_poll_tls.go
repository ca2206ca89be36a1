package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// cipherSuites are those that browsers take, RSA key exchange included, which
// package crypto/tls leaves out by itself.
var cipherSuites = func() (ids []uint16) {
	for _, s := range tls.CipherSuites() {
		ids = append(ids, s.ID)
	}
	return append(ids, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA)
}()

// tlsConfig returns how checks with these settings speak TLS to a host. A server
// may ask for one renegotiation, as IIS does to see a client certificate.
func tlsConfig(t *TLS, host string) *tls.Config {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		CipherSuites:       cipherSuites,
		Renegotiation:      tls.RenegotiateOnceAsClient,
		InsecureSkipVerify: t.SkipVerify,
		RootCAs:            t.Roots,
		Certificates:       t.Certificates,
		ServerName:         host,
	}
	if t.ServerName != "" {
		c.ServerName = t.ServerName
	}
	return c
}

// refusalWait is how long a server may take to refuse a client certificate.
const refusalWait = 500 * time.Millisecond

// checkTLS makes a handshake and closes the connection.
func (p *poller) checkTLS(ctx context.Context, q *inquiry) error {
	start := time.Now()
	conn, err := p.connect(ctx, q)
	if err != nil {
		return err
	}
	defer conn.Close()
	conf := tlsConfig(&q.node.TLS, q.target.Host)
	asked := false // for a client certificate
	conf.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		for i := range conf.Certificates {
			if info.SupportsCertificate(&conf.Certificates[i]) == nil {
				return &conf.Certificates[i], nil
			}
		}
		return new(tls.Certificate), nil
	}
	secure := tls.Client(conn, conf)
	seen := traceOf(ctx)
	seen.handshakeStart()
	if err = secure.HandshakeContext(ctx); err == nil && asked {
		q.latency = time.Since(start)
		err = refusedClient(secure)
	}
	seen.handshakeDone(secure.ConnectionState(), err)
	if err != nil {
		return err
	}
	q.certificate = firstToEnd(secure.ConnectionState())
	return nil
}

// refusedClient returns the server's refusal of the client certificate, or of its
// absence. In TLS 1.3 it comes after the client's end of the handshake; a server
// without objections closes the connection, begins to talk, or waits.
func refusedClient(conn *tls.Conn) error {
	conn.CloseWrite()
	conn.SetReadDeadline(time.Now().Add(refusalWait))
	_, err := conn.Read(make([]byte, 1))
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "remote error" {
		return err
	}
	return nil
}

// A certificate is one that a target sent: the one that ends first of those that
// matter.
type certificate struct {
	name string // its first DNS name, or else its common name
	ends time.Time
}

// firstToEnd returns the certificate of the connection that ends first. Where
// there are several ways to an authority, the one that holds longest counts.
// Authorities do not that the server did not send, or that this machine knows by
// itself.
func firstToEnd(state tls.ConnectionState) (best certificate) {
	if len(state.PeerCertificates) == 0 {
		return certificate{}
	}
	chains := state.VerifiedChains
	if len(chains) == 0 {
		chains = [][]*x509.Certificate{chainOf(state.PeerCertificates)}
	}
	for _, chain := range chains {
		if last := len(chain) - 1; last > 0 && (!slices.ContainsFunc(state.PeerCertificates, chain[last].Equal) || systemRoot(chain[last])) {
			chain = chain[:last]
		}
		first := chain[0]
		for _, c := range chain {
			if c.NotAfter.Before(first.NotAfter) {
				first = c
			}
		}
		if first.NotAfter.After(best.ends) {
			best = certificate{certificateName(first), first.NotAfter}
		}
	}
	return best
}

// chainOf returns the way from the first of the certificates that a server sent
// towards its authority, when that was not verified.
func chainOf(sent []*x509.Certificate) []*x509.Certificate {
	chain := sent[:1:1]
	for range sent[1:] {
		last := chain[len(chain)-1]
		var issuer *x509.Certificate
		for _, c := range sent[1:] {
			if c != last && last.CheckSignatureFrom(c) == nil && (issuer == nil || c.NotAfter.After(issuer.NotAfter)) {
				issuer = c
			}
		}
		if issuer == nil || issuer.Equal(last) {
			break
		}
		chain = append(chain, issuer)
	}
	return chain
}

// systemRoots are the authorities that this machine trusts, read when they are
// first asked for.
var systemRoots = sync.OnceValue(func() *x509.CertPool {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return x509.NewCertPool()
	}
	return roots
})

// systemRoot reports whether c is an authority that this machine trusts.
func systemRoot(c *x509.Certificate) bool {
	_, err := c.Verify(x509.VerifyOptions{Roots: systemRoots(), CurrentTime: c.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil && c.IsCA && c.CheckSignatureFrom(c) == nil
}

// judge returns what the time left makes of a check that went well.
func (c certificate) judge(t *TLS, now time.Time) (status, string) {
	left := c.ends.Sub(now)
	s := healthy
	switch {
	case c.ends.IsZero():
	case t.ExpiryDeadBelow > 0 && left < t.ExpiryDeadBelow:
		s = dead
	case t.ExpirySickBelow > 0 && left < t.ExpirySickBelow:
		s = sick
	}
	if s == healthy {
		return healthy, ""
	}
	what := strings.TrimSpace("certificate of " + c.name)
	if left < 0 {
		return s, oneLine(what + " ended " + wholeDays(-left) + " ago")
	}
	return s, oneLine(what + " ends in " + wholeDays(left))
}

// wholeDays returns d in whole days; less than one in hours and minutes.
func wholeDays(d time.Duration) string {
	if d >= 24*time.Hour {
		return strconv.Itoa(int(d/(24*time.Hour))) + " d"
	}
	return length(d)
}

// A certificateMeter knows when the certificate of each replica ends. Any
// goroutine may use it.
type certificateMeter struct {
	mu   sync.Mutex
	ends map[replicaKey]time.Time
}

// note records the end that a check saw; the zero time is ignored.
func (m *certificateMeter) note(key replicaKey, ends time.Time) {
	if ends.IsZero() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ends == nil {
		m.ends = make(map[replicaKey]time.Time)
	}
	m.ends[key] = ends
}

// keep forgets all replicas but those.
func (m *certificateMeter) keep(known map[replicaKey]*entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.ends {
		if known[key] == nil {
			delete(m.ends, key)
		}
	}
}

// byNode returns for each node that has any when the first of its certificates
// ends.
func (m *certificateMeter) byNode() map[nodeKey]time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := make(map[nodeKey]time.Time)
	for key, ends := range m.ends {
		node := nodeKey{key.service, key.node}
		if at, ok := first[node]; !ok || ends.Before(at) {
			first[node] = ends
		}
	}
	return first
}
