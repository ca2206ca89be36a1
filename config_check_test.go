package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const checkedNode = `
[branding]
page_url = "https://s.example"
[[probe.service]]
id = "web"
label = "Web"
[[probe.service.node]]
id = "core"
label = "Core"
mode = "poll"
replicas = ["https://127.0.0.1", "dns:///localhost"]
`

// readNode returns the node of a config that is good.
func readNode(t *testing.T, keys string) (*Config, *Node) {
	t.Helper()
	c, warnings, err := parseConfig(strings.NewReader(checkedNode+keys), "config.cfg", environ(nil))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	return c, c.Services[0].Nodes[0]
}

func TestOwnMetrics(t *testing.T) {
	c, n := readNode(t, "")
	if n.Metrics != &c.Metrics {
		t.Error("a node without values of its own has another Metrics")
	}
	for _, test := range []struct {
		keys string
		want func(m *Metrics)
	}{
		{"poll_interval = 7", func(m *Metrics) { m.PollInterval = 7 * time.Second }},
		{"script_interval = 7", func(m *Metrics) { m.ScriptInterval = 7 * time.Second }},
		{"poll_retry = 7", func(m *Metrics) { m.RetryWait = 7 * time.Second }},
		{"poll_retry_wait = 7", func(m *Metrics) { m.RetryWait, m.RetryCount, m.retryCounted = 7*time.Millisecond, 2, true }},
		{"poll_retry = 7\npoll_retry_wait = 8", func(m *Metrics) { m.RetryWait, m.RetryCount, m.retryCounted = 8*time.Millisecond, 7, true }},
		{"poll_delay_dead = 3", func(m *Metrics) { m.PollDelayDead, m.PollDelaySick = 3*time.Second, 3*time.Second }},
		{"poll_delay_sick = 7", func(m *Metrics) { m.PollDelaySick = 7 * time.Second }},
		{"poll_http_status_healthy_above = 100\npoll_http_status_healthy_below = 1000", func(m *Metrics) { m.HTTPHealthyAbove, m.HTTPHealthyBelow = 100, 1000 }},
		{"push_delay_dead = 7", func(m *Metrics) { m.PushDelayDead = 7 * time.Second }},
		{"push_system_cpu_sick_above = 7", func(m *Metrics) { m.CPUSickAbove = 7 }},
		{"push_system_ram_sick_above = 0.7", func(m *Metrics) { m.RAMSickAbove = 0.7 }},
		{"local_delay_dead = 7", func(m *Metrics) { m.LocalDelayDead = 7 * time.Second }},
	} {
		c, n := readNode(t, test.keys)
		want := c.Metrics
		test.want(&want)
		same(t, test.keys, *n.Metrics, want)
	}
	// With [metrics] that counts retries, the node's are counted, too.
	_, n = readNode(t, "poll_retry = 7\n[metrics]\npoll_retry_wait = 100\npoll_retry = 3")
	if n.Metrics.RetryCount != 7 || n.Metrics.RetryWait != 100*time.Millisecond {
		t.Errorf("%d retries, %v apart", n.Metrics.RetryCount, n.Metrics.RetryWait)
	}
}

func TestHTTPKeys(t *testing.T) {
	_, n := readNode(t, `http_follow_redirects = true
http_cache_buster = false
http_header_healthy_match = { "content-type" = "json" }
http_json_healthy_match = { 'data.items[0]."a.b"' = "^ok$" }
http_proxy = "http://user:pass@proxy:3128"
ip_family = "IPv6"
dns_match = "x"
`)
	if !n.FollowRedirects || !n.NoCacheBuster || n.HeaderMatch["Content-Type"].String() != "json" || n.IPFamily != "ipv6" || n.DNSMatch.String() != "x" {
		t.Errorf("%+v", n)
	}
	if n.Proxy.Host != "proxy:3128" || !n.ProxySet {
		t.Error(n.Proxy)
	}
	if got := fmt.Sprint(n.JSONMatch[0].Steps, n.JSONMatch[0].Match); got != `["data" "items" [0] "a.b"] ^ok$` {
		t.Error(got)
	}
	if _, n := readNode(t, `http_proxy = ""`); n.Proxy != nil || !n.ProxySet {
		t.Error("no proxy:", n.Proxy, n.ProxySet)
	}
	if _, n := readNode(t, `ip_family = "any"`); n.Proxy != nil || n.ProxySet || n.IPFamily != "" || n.NoCacheBuster {
		t.Errorf("defaults: %+v", n)
	}
}

func TestTLSKeys(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	cert, key := pemPair(t, server.TLS.Certificates[0])
	_, n := readNode(t, fmt.Sprintf("tls_verify = false\ntls_ca = %q\ntls_cert = %[1]q\ntls_key = %q\ntls_server_name = \"www.example.com\"\ntls_expiry_sick_below = 14\ntls_expiry_dead_below = 0.5\n",
		write("cert.pem", cert), write("key.pem", key)))
	if !n.TLS.SkipVerify || n.TLS.Roots == nil || len(n.TLS.Certificates) != 1 || n.TLS.ServerName != "www.example.com" ||
		n.TLS.ExpirySickBelow != 14*24*time.Hour || n.TLS.ExpiryDeadBelow != 12*time.Hour {
		t.Errorf("%+v", n.TLS)
	}
	_, stranger := pemPair(t, newAuthority(t, time.Now().Add(time.Hour)).issue(t, func(*x509.Certificate) {}))
	other, otherKey := pemPair(t, newAuthority(t, time.Now().Add(time.Hour)).issue(t, func(*x509.Certificate) {}))
	_, _, err := parseConfig(strings.NewReader(checkedNode+fmt.Sprintf("tls_cert = %q\ntls_key = %q\n", write("cert.pem", other), write("key.pem", stranger))), "config.cfg", environ(nil))
	want := "config.cfg:12: probe.service[0].node[0].tls_cert: cannot be used with tls_key (private key does not match public key); allowed: a certificate and its key in PEM"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, n := readNode(t, fmt.Sprintf("tls_cert = %q\ntls_key = %q\n", write("cert.pem", other), write("key.pem", otherKey))); len(n.TLS.Certificates) != 1 {
		t.Error("no certificate")
	}
}

func TestParseJSONPath(t *testing.T) {
	for path, want := range map[string]string{
		"a":                   `["a"]`,
		"data.items[0].state": `["data" "items" [0] "state"]`,
		"[2]":                 `[[2]]`,
		"[2][3].x":            `[[2] [3] "x"]`,
		`"a.b"."c\"d"[1]`:     `["a.b" "c\"d" [1]]`,
		"é.$schema":           `["é" "$schema"]`,
		`""`:                  `[""]`,
		"":                    "has an empty key",
		".a":                  "has an empty key",
		"a.":                  "has an empty key",
		"a..b":                "has an empty key",
		"a[x]":                "has an index that is not a number in brackets",
		"a[-1]":               "has an index that is not a number in brackets",
		"a[]":                 "has an index that is not a number in brackets",
		"a[1":                 "has an index that is not a number in brackets",
		"a[9999999999]":       "has an index that is not a number in brackets",
		"a[1]b":               `has "b" where a dot or [ is wanted`,
		`"a"b`:                `has "b" where a dot or [ is wanted`,
		`a"b"`:                `has "\"" where a dot or [ is wanted`,
		`"a`:                  "has a key whose quotes are not closed",
		`a.[0]`:               "has an empty key",
	} {
		steps, err := parseJSONPath(path)
		got := fmt.Sprint(steps)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

// A path that is accepted names the same value when it is written out again.
func FuzzParseJSONPath(f *testing.F) {
	for _, path := range []string{"data.items[0].state", `"a.b"[1]`, "[0]", "a..b", `a."`} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		steps, err := parseJSONPath(path)
		if err != nil {
			return
		}
		var b strings.Builder
		for i, step := range steps {
			if i > 0 && step.Key != nil {
				b.WriteByte('.')
			}
			b.WriteString(step.String())
		}
		again, err := parseJSONPath(b.String())
		if err != nil || fmt.Sprint(again) != fmt.Sprint(steps) {
			t.Errorf("%q is %v, and %q is %v, %v", path, steps, b.String(), again, err)
		}
	})
}

// pemPair returns a certificate and its key in PEM.
func pemPair(t *testing.T, pair tls.Certificate) (cert, key []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
