//go:build peer

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A polled is a poll node and what a check of it must say.
type polled struct {
	id, replica string
	keys        string // further lines of the node
	status      string
	reason      string
}

// checkPolled runs the program on these nodes and compares what it says of each.
func checkPolled(t *testing.T, nodes []polled) *running {
	t.Helper()
	config := strings.Replace(movingLeast, "[metrics]", "[metrics]\npoll_retry = 1", 1) +
		"[storage]\npath = \"\"\n[[probe.service]]\nid = \"peers\"\nlabel = \"Peers\"\n"
	for _, n := range nodes {
		config += polledNode(n.id, n.id, n.replica) + n.keys + "\n"
	}
	r := startVigil(t, config)
	type answer struct {
		Node, Status, Reason string
		Replicas             []struct{ Checked bool }
	}
	var all struct{ Nodes []answer }
	await(t, func() bool {
		_, text := r.call("GET", "/manager/status/?selector=peers", "manage", "")
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		for _, n := range all.Nodes {
			if len(n.Replicas) != 1 || !n.Replicas[0].Checked {
				return false
			}
		}
		return len(all.Nodes) == len(nodes)
	}, "all are checked")
	for i, n := range all.Nodes {
		if want := nodes[i]; n.Node != want.id || n.Status != want.status || n.Reason != want.reason {
			t.Errorf("%s %s: %s %q, want %s %q", want.id, want.replica, n.Status, n.Reason, want.status, want.reason)
		}
	}
	return r
}

// startPeer starts a server that runs until the test ends, and waits until it
// accepts connections.
func startPeer(t *testing.T, address string, cmd *exec.Cmd) {
	t.Helper()
	out := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", cmd, out)
		}
	})
	await(t, func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, "%s accepts connections", cmd)
}

// writeFile writes a file of a peer and returns its path.
func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// dnsmasqConfig answers on both loopback addresses. It asks a port where nobody
// listens for everything below silent.test, and so never answers that.
const dnsmasqConfig = `
no-resolv
no-hosts
port=%d
listen-address=127.0.0.1,::1
bind-interfaces
pid-file=
user=root
local=/test/
server=/silent.test/127.0.0.1#1
host-record=a.test,192.0.2.1,2001:db8::1
cname=alias.test,a.test
mx-host=test,mx.test,10
srv-host=_sip._tcp.test,a.test,5060,5,1
txt-record=text.test,"v=spf1 -all"
txt-record=big.test,%[2]s,%[2]s,%[2]s
dns-rr=caa.test,257,000569737375656c657473656e63727970742e6f7267
`

// knotConfig has a zone, and one without a file, which is answered with
// SERVFAIL.
const knotConfig = `
server:
  rundir: "%[1]s"
  listen: [ "%[2]s", "%[3]s" ]
database:
  storage: "%[1]s"
zone:
  - domain: zone.test
    file: "%[1]s/zone"
  - domain: broken.test
    file: "%[1]s/none"
`

const knotZone = `
$ORIGIN zone.test.
$TTL 60
@ SOA ns1 root 2026112601 1 2 3 4
@ NS ns1
ns1 A 192.0.2.53
big TXT "%[1]s" "%[1]s" "%[1]s"
`

// dnsmasq and Knot are asked for records of every type, over both families and
// TCP, and refuse or ignore what they don't have.
func TestPeerNameServers(t *testing.T) {
	t.Parallel()
	installPeer(t, "dnsmasq-base", "knot")
	long := strings.Repeat("x", 250)
	start := func(make func(dir string, port int) *exec.Cmd) (v4, v6 string) {
		address := freeAddress(t)
		_, text, _ := net.SplitHostPort(address)
		port, _ := strconv.Atoi(text)
		startPeer(t, address, make(t.TempDir(), port))
		return address, "[::1]:" + text
	}
	mine, mine6 := start(func(dir string, port int) *exec.Cmd {
		return exec.Command("dnsmasq", "-k", "-C", writeFile(t, dir, "conf", fmt.Sprintf(dnsmasqConfig, port, long)))
	})
	knot, knot6 := start(func(dir string, port int) *exec.Cmd {
		writeFile(t, dir, "zone", fmt.Sprintf(knotZone, long))
		return exec.Command("knotd", "-c", writeFile(t, dir, "conf",
			fmt.Sprintf(knotConfig, dir, fmt.Sprintf("127.0.0.1@%d", port), fmt.Sprintf("::1@%d", port))))
	})
	nodes := []polled{
		{"address", mine + "/a.test", `dns_match = '^192\.0\.2\.1$'`, "healthy", ""},
		{"six", mine6 + "/a.test?type=AAAA", `dns_match = '^2001:db8::1$'`, "healthy", ""},
		{"other", mine + "/a.test", `dns_match = '^10\.'`, "dead", "no record matches: 192.0.2.1"},
		{"over an alias", mine + "/alias.test", `dns_match = '^192\.0\.2\.1$'`, "healthy", ""},
		{"alias", mine + "/alias.test?type=CNAME", `dns_match = '^a\.test$'`, "healthy", ""},
		{"mail", mine + "/test?type=MX", `dns_match = '^10 mx\.test$'`, "healthy", ""},
		{"service", mine + "/_sip._tcp.test?type=SRV", `dns_match = '^5 1 5060 a\.test$'`, "healthy", ""},
		{"text", mine + "/text.test?type=TXT", `dns_match = '^v=spf1 -all$'`, "healthy", ""},
		{"authority", mine + "/caa.test?type=CAA", `dns_match = 'letsencrypt\.org'`, "healthy", ""},
		{"reverse", mine + "/192.0.2.1?type=PTR", `dns_match = '^a\.test$'`, "healthy", ""},
		{"reverse six", mine + "/2001:db8::1?type=PTR", `dns_match = '^a\.test$'`, "healthy", ""},
		{"no such type", mine + "/a.test?type=MX", "", "dead", "no MX record"},
		{"truncated", mine + "/big.test?type=TXT", `dns_match = '^x{750}$'`, "healthy", ""},
		{"no such name", mine + "/none.test", "", "dead", "DNS NXDOMAIN"},
		{"refused", mine + "/example.com", "", "dead", "DNS REFUSED"},
		{"silent", mine + "/silent.test", "poll_delay_dead = 2\npoll_delay_sick = 1", "dead", "no answer in 2 s"},
		{"start", knot + "/zone.test?type=SOA", `dns_match = '^ns1\.zone\.test root\.zone\.test 2026112601 1 2 3 4$'`, "healthy", ""},
		{"servers", knot6 + "/zone.test?type=NS", `dns_match = '^ns1\.zone\.test$'`, "healthy", ""},
		{"truncated six", knot6 + "/big.zone.test?type=TXT", `dns_match = '^x{750}$'`, "healthy", ""},
		{"no such name in the zone", knot + "/none.zone.test", "", "dead", "DNS NXDOMAIN"},
		{"broken zone", knot + "/a.broken.test", "", "dead", "DNS SERVFAIL"},
		{"foreign zone", knot + "/example.com", "", "dead", "DNS REFUSED"},
	}
	for i := range nodes {
		nodes[i].replica = "dns://" + nodes[i].replica
	}
	checkPolled(t, nodes)

	// The recipe of the documents.
	recipe := fenceWith(t, nodesDocument, "dns_match").text
	r := startRecipe(t, nil, recipe, "ns1.example.com/example.com", mine+"/test", "ns2.example.com/example.com", mine6+"/test", `mail\.example\.com`, `10 mx\.test`)
	r.awaitNode("dns:mail", `"mode":"poll","status":"healthy","checked":true`)

	// What is too long for UDP was cut there, and came over TCP.
	out, err := exec.Command(vigil, "probe", "dns://"+mine+"/big.test?type=TXT").CombinedOutput()
	if text := string(out); err != nil || !strings.Contains(text, "NOERROR, truncated, over UDP by "+mine) || !strings.Contains(text, "NOERROR, over TCP by "+mine) ||
		!strings.Contains(text, "record: xxx") {
		t.Errorf("%v\n%s", err, out)
	}
}

// Without a server in the URL, those of the system are asked, the next one when
// one does not answer. They are looked up in a file of this test alone.
func TestPeerSystemNameServers(t *testing.T) {
	t.Parallel()
	installPeer(t, "dnsmasq-base", "iproute2")
	dir := t.TempDir()
	writeFile(t, dir, "resolv.conf", "nameserver 127.0.0.9\nnameserver 127.0.0.1\n")
	writeFile(t, dir, "conf", fmt.Sprintf(dnsmasqConfig, 53, "x"))
	cmd := exec.Command("unshare", "--mount", "--net", "sh", "-e", "-c", `
ip link set lo up
mount --bind resolv.conf /etc/resolv.conf
dnsmasq -k -C conf & server=$!
trap 'kill $server' EXIT
for i in $(seq 100); do "$0" probe dns://127.0.0.1/a.test >/dev/null && break; sleep 0.1; done
"$0" probe dns:///a.test
`, vigil)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if text := string(out); err != nil || !strings.Contains(text, "NOERROR, over UDP by 127.0.0.1:53\n") || !strings.Contains(text, "127.0.0.9:53") ||
		!strings.Contains(text, "record: 192.0.2.1\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

// OpenSSL's server is judged by its certificates and the node's keys, with both
// versions of TLS, and the metrics have the time that is left.
func TestPeerTLSServers(t *testing.T) {
	t.Parallel()
	installPeer(t, "openssl")
	dir := t.TempDir()
	openssl := func(args ...string) { t.Helper(); install(t, dir, nil, "openssl", args...) }
	authority := func(name string) {
		openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
			"-subj", "/CN="+name, "-addext", "keyUsage=critical,keyCertSign", "-keyout", name+".key", "-out", name+".pem")
	}
	issue := func(by, name, days, extensions string) {
		openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN="+name, "-keyout", name+".key", "-out", name+".csr")
		openssl("x509", "-req", "-in", name+".csr", "-CA", by+".pem", "-CAkey", by+".key", "-set_serial", "0x"+fmt.Sprintf("%x", name), "-days", days,
			"-extfile", writeFile(t, dir, name+".ext", extensions), "-out", name+".pem")
	}
	authority("ours")
	authority("theirs")
	issue("ours", "between", "20", "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n")
	issue("between", "shop", "9", "subjectAltName=DNS:shop.example,IP:127.0.0.1\n")
	issue("ours", "client", "9", "extendedKeyUsage=clientAuth\n")
	issue("theirs", "foreign", "9", "extendedKeyUsage=clientAuth\n")
	// An authority that signed nothing of this ends sooner, and does not matter.
	writeFile(t, dir, "chain.pem", read(t, filepath.Join(dir, "between.pem"))+read(t, filepath.Join(dir, "theirs.pem")))
	serve := func(args ...string) string {
		address := freeAddress(t)
		cmd := exec.Command("openssl", append([]string{"s_server", "-accept", address, "-cert", "shop.pem", "-key", "shop.key", "-cert_chain", "chain.pem", "-www"}, args...)...)
		cmd.Dir = dir
		startPeer(t, address, cmd)
		return address
	}
	open, private, old := serve(), serve("-Verify", "2", "-verify_return_error", "-CAfile", "ours.pem"), serve("-tls1_2")
	private12 := serve("-tls1_2", "-Verify", "2", "-verify_return_error", "-CAfile", "ours.pem")
	hung := listening(t, func(c net.Conn) { c.Read(make([]byte, 4096)); time.Sleep(time.Minute) })
	ca := fmt.Sprintf("tls_ca = %q\n", filepath.Join(dir, "ours.pem"))
	with := func(name string) string {
		return ca + fmt.Sprintf("tls_cert = %q\ntls_key = %q\n", filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
	}
	r := checkPolled(t, []polled{
		{"open", "tls://" + open, ca, "healthy", ""},
		{"open, HTTP", "https://" + open + "/", ca + `http_method = "GET"`, "healthy", ""},
		{"1.2", "tls://" + old, ca, "healthy", ""},
		{"nobody's", "tls://" + open, "", "dead", "certificate signed by unknown authority"},
		{"not verified", "tls://" + open, "tls_verify = false", "healthy", ""},
		{"another name", "tls://" + open, ca + `tls_server_name = "till.example"`, "dead", "certificate is for shop.example, 127.0.0.1, not till.example"},
		{"its name", "tls://" + open, ca + `tls_server_name = "shop.example"`, "healthy", ""},
		{"ends soon", "tls://" + open, ca + "tls_expiry_sick_below = 14", "sick", "certificate of shop.example ends in 8 d"},
		{"ends soon, not verified", "tls://" + open, "tls_verify = false\ntls_expiry_sick_below = 14", "sick", "certificate of shop.example ends in 8 d"},
		{"ends too soon", "tls://" + open, ca + "tls_expiry_sick_below = 14\ntls_expiry_dead_below = 10", "dead", "certificate of shop.example ends in 8 d"},
		{"ends later", "tls://" + open, ca + "tls_expiry_sick_below = 8.5", "healthy", ""},
		{"member", "tls://" + private, with("client"), "healthy", ""},
		{"member, 1.2", "tls://" + private12, with("client"), "healthy", ""},
		{"stranger", "tls://" + private, ca, "dead", "TLS refused by the server: certificate required"},
		{"stranger, 1.2", "tls://" + private12, ca, "dead", "TLS refused by the server: handshake failure"},
		// Its authority is none that the server names, so nothing is shown.
		{"foreigner", "tls://" + private, with("foreign"), "dead", "TLS refused by the server: certificate required"},
		{"hung", "tls://" + hung, ca + "poll_delay_dead = 2\npoll_delay_sick = 1", "dead", "no answer in 2 s"},
	})
	_, text := r.call("GET", "/metrics", "manage", "")
	left := regexp.MustCompile(`vigil_certificate_expiry_seconds\{service="peers",node="open"\} (\S+)`).FindStringSubmatch(text)
	if left == nil {
		t.Fatalf("no time left in\n%s", text)
	}
	if seconds, err := strconv.ParseFloat(left[1], 64); err != nil || seconds < 8*86400 || seconds > 9*86400 {
		t.Errorf("%s s left, want nearly 9 days", left[1])
	}
	if strings.Contains(text, `vigil_certificate_expiry_seconds{service="peers",node="hung"}`) {
		t.Error("a server that showed no certificate has a time left")
	}
	r.stop(syscall.SIGTERM)
}
