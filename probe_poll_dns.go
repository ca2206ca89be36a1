package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/idna"
)

// typeCAA is of RFC 8659; package dnsmessage does not have it.
const typeCAA dnsmessage.Type = 257

// dnsTypes are the records that a dns:// target may ask for.
var dnsTypes = map[string]dnsmessage.Type{
	"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "CNAME": dnsmessage.TypeCNAME, "MX": dnsmessage.TypeMX,
	"NS": dnsmessage.TypeNS, "TXT": dnsmessage.TypeTXT, "SOA": dnsmessage.TypeSOA, "SRV": dnsmessage.TypeSRV,
	"PTR": dnsmessage.TypePTR, "CAA": typeCAA,
}

// dnsCodes are the names of response codes (RFC 1035, section 4.1.1).
var dnsCodes = map[dnsmessage.RCode]string{
	dnsmessage.RCodeSuccess: "NOERROR", dnsmessage.RCodeFormatError: "FORMERR", dnsmessage.RCodeServerFailure: "SERVFAIL", dnsmessage.RCodeNameError: "NXDOMAIN",
	dnsmessage.RCodeNotImplemented: "NOTIMP", dnsmessage.RCodeRefused: "REFUSED",
}

// parseDNSTarget checks dns://server[:port]/name?type=MX; without a server the
// system's are asked. The type is A when there is none, and PTR of an address
// asks for its reverse name.
func parseDNSTarget(t *Target) error {
	u := t.URL
	if u.User != nil || u.Fragment != "" {
		return errors.New("has more than a server, a name and a type")
	}
	word := "A"
	for key, values := range u.Query() {
		if key != "type" || len(values) != 1 {
			return errors.New("has another query than ?type=")
		}
		word = strings.ToUpper(values[0])
	}
	var ok bool
	if t.DNSType, ok = dnsTypes[word]; !ok {
		return fmt.Errorf("has an unknown type, known are %s", strings.Join(slices.Sorted(maps.Keys(dnsTypes)), ", "))
	}
	if t.Port == "" {
		t.Port = "53"
	}
	name := strings.TrimSuffix(strings.TrimPrefix(u.Path, "/"), ".")
	if addr, err := netip.ParseAddr(name); err == nil && t.DNSType == dnsmessage.TypePTR {
		name = reverseName(addr)
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r > 0x7f }) {
		var err error
		if name, err = idna.Lookup.ToASCII(name); err != nil {
			return errors.New("has a name that is not valid")
		}
	}
	if name == "" || strings.ContainsAny(name, "/ ") {
		return errors.New("has no name to ask for")
	}
	t.DNSName = name + "."
	if _, err := dnsQuestion(t, 0); err != nil {
		return errors.New("has a name that is not valid")
	}
	return nil
}

// reverseName returns the name of the PTR record of an address (RFC 1035,
// section 3.5, and RFC 3596, section 2.5).
func reverseName(addr netip.Addr) string {
	b := addr.Unmap().AsSlice()
	slices.Reverse(b)
	var name strings.Builder
	for _, c := range b {
		if len(b) == 4 {
			fmt.Fprintf(&name, "%d.", c)
		} else {
			fmt.Fprintf(&name, "%x.%x.", c&15, c>>4)
		}
	}
	if len(b) == 4 {
		return name.String() + "in-addr.arpa"
	}
	return name.String() + "ip6.arpa"
}

// dnsQuestion returns a query for the target.
func dnsQuestion(t *Target, id uint16) ([]byte, error) {
	name, err := dnsmessage.NewName(t.DNSName)
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: t.DNSType, Class: dnsmessage.ClassINET}},
	}
	return m.Pack()
}

// checkDNS asks a name server over UDP, and again over TCP when the answer did
// not fit. Of the system's servers, and of the addresses of a named one, the
// first one that answers counts.
func (p *poller) checkDNS(ctx context.Context, q *inquiry) error {
	var servers []netip.AddrPort
	if q.target.Host == "" {
		if servers = systemNameServers("/etc/resolv.conf", q.node.IPFamily); len(servers) == 0 {
			return errors.New("no " + q.node.IPFamily + " name server")
		}
	} else {
		addrs, err := p.dialer.lookup(ctx, q.target.Host, q.node.IPFamily)
		if err != nil {
			return err
		}
		port, err := strconv.ParseUint(q.target.Port, 10, 16)
		if err != nil {
			return err
		}
		for _, addr := range addrs[:min(len(addrs), maxDNSServers)] {
			servers = append(servers, netip.AddrPortFrom(addr, uint16(port)))
		}
	}
	id := uint16(rand.Uint32())
	query, err := dnsQuestion(q.target, id)
	if err != nil {
		return err
	}
	for i, server := range servers {
		var answer *dnsAnswer
		if answer, err = p.askServer(ctx, q, server, query, id, len(servers)-i); err == nil {
			return answer.judge(q, traceOf(ctx))
		}
	}
	return err
}

// askServer gets an answer of one server, using its part of the time left when
// others remain.
func (p *poller) askServer(ctx context.Context, q *inquiry, server netip.AddrPort, query []byte, id uint16, remain int) (*dnsAnswer, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(remain))
		defer cancel()
	}
	for _, network := range []string{"udp", "tcp"} {
		answer, err := p.exchange(ctx, q, network, server.String(), query, id)
		if err != nil {
			return nil, err
		}
		traceOf(ctx).dns(server.String(), network, answer)
		if !answer.truncated {
			return answer, nil
		}
	}
	return nil, badAnswer("DNS answer truncated over TCP")
}

const (
	dnsResend     = 2 * time.Second // until a query over UDP is sent again
	maxDNSOver    = 64 << 10        // of an answer, what TCP can carry
	maxDNSServers = 3               // to ask in turn, as in resolv.conf(5)
)

// exchange sends the query and returns the answer to it.
func (p *poller) exchange(ctx context.Context, q *inquiry, network, server string, query []byte, id uint16) (*dnsAnswer, error) {
	conn, err := p.dialer.direct.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		// A length stands in front (RFC 1035, section 4.2.2).
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil {
			return nil, err
		}
		r := bufio.NewReader(conn)
		var length [2]byte
		if _, err := io.ReadFull(r, length[:]); err != nil {
			return nil, err
		}
		b := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		answer, ok := readDNSAnswer(b, q.target, id)
		if !ok {
			return nil, badAnswer("not an answer to the DNS query")
		}
		return answer, nil
	}
	b := make([]byte, maxDNSOver)
	for ctx.Err() == nil {
		if _, err := conn.Write(query); err != nil {
			return nil, err
		}
		wait := time.Now().Add(dnsResend)
		if end, ok := ctx.Deadline(); ok && end.Before(wait) {
			wait = end
		}
		conn.SetReadDeadline(wait)
		for ctx.Err() == nil {
			n, err := conn.Read(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, err
			}
			// What answers another question is late or forged, and not waited on.
			if answer, ok := readDNSAnswer(b[:n], q.target, id); ok {
				return answer, nil
			}
		}
	}
	return nil, ctx.Err()
}

// A dnsAnswer is what a name server says.
type dnsAnswer struct {
	code      dnsmessage.RCode
	truncated bool
	records   []string // of the type asked for, as text
}

// readDNSAnswer takes an answer apart, and reports whether it is one to the
// query.
func readDNSAnswer(b []byte, t *Target, id uint16) (*dnsAnswer, bool) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || h.ID != id || !h.Response {
		return nil, false
	}
	a := &dnsAnswer{code: h.RCode, truncated: h.Truncated}
	asked, err := p.Question()
	switch {
	case err == dnsmessage.ErrSectionDone && h.RCode != dnsmessage.RCodeSuccess:
		return a, true // a server that understood nothing repeats nothing
	case err != nil, asked.Type != t.DNSType, !strings.EqualFold(asked.Name.String(), t.DNSName):
		return nil, false
	}
	if p.SkipAllQuestions() != nil {
		return nil, false
	}
	for !a.truncated {
		r, err := p.Answer()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil {
			return nil, false
		}
		if r.Header.Type == t.DNSType && r.Header.Class == dnsmessage.ClassINET {
			a.records = append(a.records, recordText(r.Body))
		}
	}
	return a, true
}

// recordText returns a record as zone files have it, names without their final
// dot.
func recordText(body dnsmessage.ResourceBody) string {
	name := func(n dnsmessage.Name) string { return strings.TrimSuffix(n.String(), ".") }
	switch r := body.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(r.A).String()
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(r.AAAA).String()
	case *dnsmessage.CNAMEResource:
		return name(r.CNAME)
	case *dnsmessage.MXResource:
		return fmt.Sprintf("%d %s", r.Pref, name(r.MX))
	case *dnsmessage.NSResource:
		return name(r.NS)
	case *dnsmessage.PTRResource:
		return name(r.PTR)
	case *dnsmessage.TXTResource:
		return strings.Join(r.TXT, "")
	case *dnsmessage.SOAResource:
		return fmt.Sprintf("%s %s %d %d %d %d %d", name(r.NS), name(r.MBox), r.Serial, r.Refresh, r.Retry, r.Expire, r.MinTTL)
	case *dnsmessage.SRVResource:
		return fmt.Sprintf("%d %d %d %s", r.Priority, r.Weight, r.Port, name(r.Target))
	case *dnsmessage.UnknownResource:
		// CAA: flags, the length of the tag, the tag, the value (RFC 8659, section 4.1).
		if d := r.Data; r.Type == typeCAA && len(d) >= 2 && len(d) >= 2+int(d[1]) {
			return fmt.Sprintf("%d %s %q", d[0], d[2:2+d[1]], d[2+d[1]:])
		}
	}
	return ""
}

// codeText returns the response code in words.
func (a *dnsAnswer) codeText() string {
	if word := dnsCodes[a.code]; word != "" {
		return word
	}
	return fmt.Sprintf("response code %d", a.code)
}

// judge holds the answer against what the node asks for.
func (a *dnsAnswer) judge(q *inquiry, seen *trace) error {
	matched := true
	if match := q.node.DNSMatch; match != nil && len(a.records) > 0 {
		matched = slices.ContainsFunc(a.records, match.MatchString)
		seen.match("dns_match", match.String(), matched)
	}
	switch {
	case a.code != dnsmessage.RCodeSuccess:
		return badAnswer("DNS " + a.codeText())
	case len(a.records) == 0:
		for word, t := range dnsTypes {
			if t == q.target.DNSType {
				return badAnswerf("no %s record", word)
			}
		}
	case !matched:
		return badAnswerf("no record matches: %s", strings.Join(a.records[:min(3, len(a.records))], ", "))
	}
	return nil
}

// systemNameServers returns the name servers of this machine, three at most as
// resolv.conf(5) has it, and of those the ones of a family.
func systemNameServers(path, family string) (servers []netip.AddrPort) {
	file, _ := os.ReadFile(path)
	for line := range strings.Lines(string(file)) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "nameserver" && len(servers) < 3 {
			if addr, err := netip.ParseAddr(fields[1]); err == nil {
				servers = append(servers, netip.AddrPortFrom(addr, 53))
			}
		}
	}
	if servers == nil {
		servers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
	}
	return slices.DeleteFunc(servers, func(s netip.AddrPort) bool {
		is4 := s.Addr().Unmap().Is4()
		return family == "ipv4" && !is4 || family == "ipv6" && is4
	})
}
