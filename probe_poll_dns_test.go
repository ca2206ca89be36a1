package main

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A dnsScript answers queries over UDP and TCP at one port. Over UDP it may
// answer otherwise first.
type dnsScript struct {
	answers map[string][]dnsmessage.ResourceBody // by name without its final dot
	codes   map[string]dnsmessage.RCode
	udp     func(name string, answer []byte) [][]byte // nil: the answer as it is
}

func (s *dnsScript) answer(query []byte) (string, []byte) {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return "", nil
	}
	q, err := p.Question()
	if err != nil {
		return "", nil
	}
	name := strings.TrimSuffix(q.Name.String(), ".")
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: h.ID, Response: true, RCode: s.codes[name]}, Questions: []dnsmessage.Question{q}}
	for _, body := range s.answers[name] {
		t := q.Type
		switch b := body.(type) {
		case *dnsmessage.CNAMEResource:
			t = dnsmessage.TypeCNAME
		case *dnsmessage.UnknownResource:
			t = b.Type
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: t, Class: dnsmessage.ClassINET, TTL: 60}, Body: body})
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return name, b
}

// serve answers until the test ends, and returns where.
func (s *dnsScript) serve(t *testing.T) string {
	t.Helper()
	var udp net.PacketConn
	var tcp net.Listener
	var err error
	for range 20 { // until a port is free for both
		if udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if tcp, err = net.Listen("tcp", udp.LocalAddr().String()); err == nil {
			break
		}
		udp.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close(); tcp.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			name, answer := s.answer(b[:n])
			packets := [][]byte{answer}
			if s.udp != nil {
				packets = s.udp(name, answer)
			}
			for _, p := range packets {
				udp.WriteTo(p, from)
			}
		}
	}()
	go func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var length [2]byte
				if _, err := io.ReadFull(conn, length[:]); err != nil {
					return
				}
				query := make([]byte, binary.BigEndian.Uint16(length[:]))
				if _, err := io.ReadFull(conn, query); err != nil {
					return
				}
				_, answer := s.answer(query)
				conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
			}()
		}
	}()
	return udp.LocalAddr().String()
}

func dnsName(s string) dnsmessage.Name { return dnsmessage.MustNewName(s + ".") }

func TestPollDNS(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 250)
	s := &dnsScript{
		answers: map[string][]dnsmessage.ResourceBody{
			"a.test":                 {&dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}, &dnsmessage.AResource{A: [4]byte{192, 0, 2, 2}}},
			"six.test":               {&dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("2001:db8::1").As16()}},
			"alias.test":             {&dnsmessage.CNAMEResource{CNAME: dnsName("a.test")}},
			"via.test":               {&dnsmessage.CNAMEResource{CNAME: dnsName("a.test")}, &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}},
			"mail.test":              {&dnsmessage.MXResource{Pref: 10, MX: dnsName("mx.test")}},
			"ns.test":                {&dnsmessage.NSResource{NS: dnsName("ns1.test")}},
			"text.test":              {&dnsmessage.TXTResource{TXT: []string{"v=spf1 ", "-all"}}},
			"big.test":               {&dnsmessage.TXTResource{TXT: []string{long, long, long}}},
			"soa.test":               {&dnsmessage.SOAResource{NS: dnsName("ns1.test"), MBox: dnsName("root.test"), Serial: 2026112601, Refresh: 1, Retry: 2, Expire: 3, MinTTL: 4}},
			"srv.test":               {&dnsmessage.SRVResource{Priority: 5, Weight: 1, Port: 5223, Target: dnsName("c2s.test")}},
			"caa.test":               {&dnsmessage.UnknownResource{Type: typeCAA, Data: append([]byte{0, 5}, `issueletsencrypt.org`...)}},
			"1.2.0.192.in-addr.arpa": {&dnsmessage.PTRResource{PTR: dnsName("a.test")}},
			"xn--bcher-kva.test":     {&dnsmessage.AResource{A: [4]byte{192, 0, 2, 9}}},
			"forged.test":            {&dnsmessage.AResource{A: [4]byte{192, 0, 2, 3}}},
		},
		codes: map[string]dnsmessage.RCode{
			"gone.test": dnsmessage.RCodeNameError, "broken.test": dnsmessage.RCodeServerFailure, "no.test": dnsmessage.RCodeRefused, "odd.test": 11,
		},
	}
	s.udp = func(name string, answer []byte) [][]byte {
		switch name {
		case "big.test":
			cut := slices.Clone(answer[:12])
			cut[2] |= 2 // TC
			copy(cut[4:], []byte{0, 1, 0, 0, 0, 0, 0, 0})
			return [][]byte{append(cut, answer[12:12+len("\x03big\x04test\x00")+4]...)}
		case "silent.test":
			return nil
		case "forged.test":
			forged := slices.Clone(answer)
			forged[0] ^= 0xff
			return [][]byte{{1, 2, 3}, forged, answer}
		}
		return [][]byte{answer}
	}
	server := s.serve(t)
	m := pollMetrics()
	p := testPoller(t, m)
	m.PollDelaySick, m.PollDelayDead = 150*time.Millisecond, 200*time.Millisecond
	impatient := testPoller(t, m)
	for _, tt := range []struct {
		url, match string
		status     status
		reason     string
	}{
		{"/a.test", "", healthy, ""},
		{"/a.test.?type=a", `^192\.0\.2\.2$`, healthy, ""},
		{"/a.test", `^10\.`, dead, "no record matches: 192.0.2.1, 192.0.2.2"},
		{"/A.TEST", "", dead, "no A record"}, // names of the script are lower case, and a server that has none says so
		{"/six.test?type=AAAA", "^2001:db8::1$", healthy, ""},
		{"/alias.test", "", dead, "no A record"},
		{"/alias.test?type=CNAME", `^a\.test$`, healthy, ""},
		{"/via.test", `^192\.0\.2\.1$`, healthy, ""},
		{"/mail.test?type=MX", `^10 mx\.test$`, healthy, ""},
		{"/ns.test?type=NS", `^ns1\.test$`, healthy, ""},
		{"/text.test?type=TXT", `^v=spf1 -all$`, healthy, ""},
		{"/big.test?type=TXT", `^x{750}$`, healthy, ""},
		{"/soa.test?type=SOA", `^ns1\.test root\.test 2026112601 1 2 3 4$`, healthy, ""},
		{"/srv.test?type=SRV", `^5 1 5223 c2s\.test$`, healthy, ""},
		{"/caa.test?type=CAA", `^0 issue "letsencrypt\.org"$`, healthy, ""},
		{"/1.2.0.192.in-addr.arpa?type=PTR", `^a\.test$`, healthy, ""},
		{"/192.0.2.1?type=PTR", `^a\.test$`, healthy, ""},
		{"/b%C3%BCcher.test", `^192\.0\.2\.9$`, healthy, ""},
		{"/forged.test", `^192\.0\.2\.3$`, healthy, ""},
		{"/gone.test", "", dead, "DNS NXDOMAIN"},
		{"/broken.test", "", dead, "DNS SERVFAIL"},
		{"/no.test", "", dead, "DNS REFUSED"},
		{"/odd.test", "", dead, "DNS response code 11"},
		{"/silent.test", "", dead, "no answer in 200 ms"},
	} {
		n := Node{}
		if tt.match != "" {
			n.DNSMatch = regexp.MustCompile(tt.match)
		}
		asker := p
		if strings.Contains(tt.url, "silent") {
			asker = impatient
		}
		got := asker.check(t.Context(), pollReplica(t, "dns://"+server+tt.url, n))
		if got.status != tt.status || got.reason != tt.reason {
			t.Errorf("%s: %v %q, want %v %q", tt.url, got.status, got.reason, tt.status, tt.reason)
		}
	}
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "dns://"+closedPort(t)+"/a.test", Node{})), dead, "connection refused")

	// The next address of a server is asked when the first one does not answer.
	(&nameServer{zone: map[string][]netip.Addr{"ns.test": {netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("127.0.0.1")}}}).serve(t, p)
	_, port, _ := net.SplitHostPort(server)
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "dns://ns.test:"+port+"/a.test", Node{})), healthy, "")
}

func TestParseDNSTarget(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"dns://192.0.2.53/example.com":                 "192.0.2.53 53 example.com. TypeA",
		"dns://[2001:db8::1]:5353/example.com?type=mx": "2001:db8::1 5353 example.com. TypeMX",
		"dns:///example.com?type=TXT":                  " 53 example.com. TypeTXT",
		"dns://ns/2001:db8::1?type=PTR":                "ns 53 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. TypePTR",
		"dns://ns/_sip._tcp.example.com?type=SRV":      "ns 53 _sip._tcp.example.com. TypeSRV",
		"dns://ns":                               "has no name to ask for",
		"dns://ns/":                              "has no name to ask for",
		"dns://ns/a/b":                           "has no name to ask for",
		"dns://ns/a..b":                          "has a name that is not valid",
		"dns://ns/" + strings.Repeat("a", 64):    "has a name that is not valid",
		"dns://ns/" + strings.Repeat("abc.", 64): "has a name that is not valid",
		"dns://ns/a?type=WKS":                    "has an unknown type, known are A, AAAA, CAA, CNAME, MX, NS, PTR, SOA, SRV, TXT",
		"dns://ns/a?kind=MX":                     "has another query than ?type=",
		"dns://me@ns/a":                          "has more than a server, a name and a type",
		"dns://ns:0/a":                           "has a port out of range, 1 to 65535",
	} {
		target, err := parseTarget(raw)
		got := target.Host + " " + target.Port + " " + target.DNSName + " " + target.DNSType.String()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", raw, got, want)
		}
	}
}

func TestSystemNameServers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	os.WriteFile(path, []byte("# a comment\nsearch example.com\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver nonsense\nnameserver ::1\nnameserver 192.0.2.4\n"), 0o600)
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[fe80::1%eth0]:53"), netip.MustParseAddrPort("[::1]:53")}
	for family, want := range map[string][]netip.AddrPort{"": want, "ipv4": want[:1], "ipv6": want[1:]} {
		if got := systemNameServers(path, family); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", family, got, want)
		}
	}
	if got := systemNameServers(path+"-none", ""); len(got) != 1 || got[0].String() != "127.0.0.1:53" {
		t.Errorf("without a file: %v", got)
	}
}

func FuzzDNSAnswer(f *testing.F) {
	target, err := parseTarget("dns://ns/a.test?type=TXT")
	if err != nil {
		f.Fatal(err)
	}
	query, err := dnsQuestion(&target, 7)
	if err != nil {
		f.Fatal(err)
	}
	s := &dnsScript{answers: map[string][]dnsmessage.ResourceBody{"a.test": {&dnsmessage.TXTResource{TXT: []string{"a", "b"}}}}}
	_, answer := s.answer(query)
	f.Add(answer)
	f.Add(query)
	f.Add([]byte{0, 7, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, ok := readDNSAnswer(b, &target, 7); ok {
			a.judge(&inquiry{target: &target, node: &Node{DNSMatch: regexp.MustCompile("^ab$")}}, nil)
		}
	})
}
