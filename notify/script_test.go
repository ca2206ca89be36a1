package notify

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A dialogue is a file of testdata/smtp or testdata/xmpp: its name, what is
// special about it ("! port 465"), and what server and client say, with a script
// for each connection. See peer for the scripts, and expand for what they may
// leave out.
type dialogue struct {
	name    string
	special map[string][]string // arguments by directive; "srv" has one for each line
	scripts []string
}

// dialogues reads the files of a folder of testdata.
func dialogues(t *testing.T, folder string) (list []dialogue) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogues in %s: %v", folder, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head, rest, played := strings.Cut(strings.TrimRight(string(text), "\n"), "\n\n")
		d, ok := dialogue{special: make(map[string][]string)}, true
		for line := range strings.SplitSeq(head, "\n") {
			verb, args, _ := strings.Cut(line, " ")
			directive, value, _ := strings.Cut(args, " ")
			switch verb {
			case "#":
				d.name = args
			case "!":
				d.special[directive] = append(d.special[directive], value)
			default:
				ok = false
			}
		}
		if !ok || d.name == "" {
			t.Fatalf("%s is no dialogue", file)
		}
		if played {
			for script := range strings.SplitSeq(rest, "NEXT\n") {
				d.scripts = append(d.scripts, expand(folder, script))
			}
		}
		list = append(list, d)
	}
	return list
}

// get returns a directive's argument, or the default.
func (d dialogue) get(directive, def string) string {
	if values := d.special[directive]; len(values) > 0 {
		return values[0]
	}
	return def
}

func (d dialogue) has(directive string) bool { return len(d.special[directive]) > 0 }

// took is how long the delivery takes.
func (d dialogue) took(t *testing.T) time.Duration {
	took, err := time.ParseDuration(d.get("took", "0s"))
	if err != nil {
		t.Fatal(err)
	}
	return took
}

// cert is the server's certificate: for the host of the directive and until its
// year, or for the host given.
func (d dialogue) cert(t *testing.T, ca authority, host string) tls.Certificate {
	year := 2100
	if fields := strings.Fields(d.get("cert", "")); len(fields) == 2 {
		var err error
		if year, err = strconv.Atoi(fields[1]); err != nil {
			t.Fatal(err)
		}
		host = fields[0]
	}
	return ca.issue(t, year, host)
}

var repeated = regexp.MustCompile(`\{([^{}]+)\*(\d+)\}`)

// expand puts a folder's parts in place of INCLUDE lines, the mail of mailAlert in
// place of MESSAGE, and "xxx" in place of "{x*3}".
func expand(folder, script string) string {
	var lines []string
	for line := range strings.SplitSeq(strings.Trim(script, "\n"), "\n") {
		name, include := strings.CutPrefix(line, "INCLUDE ")
		switch {
		case include:
			line = part(folder, name)
		case line == "MESSAGE":
			line = sentMessage()
		}
		lines = append(lines, repeated.ReplaceAllStringFunc(line, func(s string) string {
			m := repeated.FindStringSubmatch(s)
			n, _ := strconv.Atoi(m[2])
			return strings.Repeat(m[1], n)
		}))
	}
	return strings.Join(lines, "\n")
}

// part is a piece that scripts of a folder have in common.
func part(folder, name string) string {
	text, err := os.ReadFile(filepath.Join("testdata", folder, "parts", name+".txt"))
	if err != nil {
		panic(err)
	}
	return expand(folder, string(text))
}

// sentMessage is the script of mailAlert's mail; golden files show what is in it.
func sentMessage() string {
	n := testEmail()
	env, err := n.envelope()
	if err != nil {
		panic(err)
	}
	msg, err := n.message(mailAlert(), env, bubbleTime)
	if err != nil {
		panic(err)
	}
	script := "C: DATA\nS: 354 go on"
	for line := range strings.SplitSeq(strings.TrimSuffix(string(msg), "\r\n"), "\r\n") {
		script += "\nC: " + line
	}
	return script + "\nC: ."
}

// serverHeader is how a server begins a stream.
const serverHeader = `<?xml version='1.0'?><stream:stream from='xmpp.test' id='s1' version='1.0' xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`

// The exchanges of RFC 5802, section 5, and RFC 7677, section 3.
const (
	nonce256     = "rOprNGfwEbeRWgbNEkqO"
	challenge256 = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	final256     = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	proof256     = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

	nonce1     = "fyko+d2lbbFgONRv9qkxdawL"
	challenge1 = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
	final1     = "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
	proof1     = "v=rmF9pqV8S7suAoZWja4dJRkFsKQ="
)

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// fakeDNS answers SRV queries. A record is a service, target, port, priority.
func fakeDNS(records ...*net.SRV) lookupSRVFunc {
	return func(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
		var list []*net.SRV
		for _, r := range records {
			kind, target, _ := strings.Cut(r.Target, " ")
			if kind == "_"+service+"._"+proto+"."+name {
				list = append(list, &net.SRV{Target: target, Port: r.Port, Priority: r.Priority, Weight: r.Weight})
			}
		}
		if list == nil {
			return "", nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
		}
		return name, list, nil
	}
}

const (
	srvStart  = "_xmpp-client._tcp.xmpp.test "
	srvDirect = "_xmpps-client._tcp.xmpp.test "
)

// testXMPP is the account of the RFCs' examples at xmpp.test.
func testXMPP() *xmppNotifier {
	n := newXMPPNotifier(&XMPP{From: "user@xmpp.test", To: "admin@xmpp.test", Password: "pencil"}).(*xmppNotifier)
	n.lookup = fakeDNS()
	n.nonce = nonces(nonce256, "b1", "p1")
	return n
}

// nonces returns the given ones, one after the other.
func nonces(list ...string) func() string {
	return func() string {
		s := list[0]
		list = list[1:]
		return s
	}
}

// bounce is how the recipient's server refuses a message.
func bounce(kind, condition string) string {
	return "<message type='error' id='010d8ba0a2c57c1610c3740cdadad654' from='admin@xmpp.test'><error type='" + kind + "'>" +
		"<" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
}
