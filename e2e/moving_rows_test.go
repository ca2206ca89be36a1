package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// These tests belong to rows of docs/moving.md, as those in moving_test.go do.

func movingStatuses(t *testing.T) {
	r := startVigil(t, movingLeast+"[storage]\npath = \"\"\n")
	report := func(replica, rest string) string {
		return fmt.Sprintf(`{"replica":%q,"interval":30,"load":{"cpu":0.1,"ram":0.1}}`, replica) + rest
	}
	for body, want := range map[string]int{
		report("a", ""):                          200,
		report("", ""):                           400,
		report(strings.Repeat("a", 257), ""):     400,
		report("a", strings.Repeat(" ", 64<<10)): 413,
		report(strings.Repeat("a", 256), ""):     200,
	} {
		if resp, text := r.call("POST", "/reporter/app/jobs/", "report", body); resp.StatusCode != want {
			t.Errorf("%.60s: %d %s, want %d", body, resp.StatusCode, text, want)
		}
	}
}

// movingProbe runs the program with one poll node and returns what the Manager
// API says of it once it was checked.
func movingProbe(t *testing.T, replica, keys, want string) {
	t.Helper()
	r := startVigil(t, movingLeast+fmt.Sprintf(`
[storage]
path = ""
[[probe.service]]
id = "web"
label = "Web"
[[probe.service.node]]
id = "shop"
label = "Shop"
mode = "poll"
replicas = [%q]
%s
`, replica, keys))
	var text string
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, text = r.call("GET", "/manager/status/?selector=web:shop", "manage", ""); strings.Contains(text, want) {
			return
		}
	}
	t.Errorf("%s with %s: %s, want %s", replica, keys, text, want)
}

func movingClasses(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "état: prêt")
	}))
	t.Cleanup(target.Close)
	movingProbe(t, target.URL, `http_body_healthy_match = '^\w+: \w+$'`, `"status":"dead"`)
	movingProbe(t, target.URL, `http_body_healthy_match = '^[\pL\pN_]+: [\pL\pN_]+$'`, `"mode":"poll","status":"healthy","checked":true`)
}

func movingCommonName(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	var text bytes.Buffer
	if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	target := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	target.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	target.StartTLS()
	t.Cleanup(target.Close)
	address := strings.Replace(target.URL, "127.0.0.1", "localhost", 1)
	movingProbe(t, address, fmt.Sprintf("tls_ca = %q", ca), `"status":"dead"`)
	movingProbe(t, address, "tls_verify = false", `"mode":"poll","status":"healthy","checked":true`)
}

// movingAlerts runs the program with a script that is dead from the start, and
// returns what its channel of that config is sent first.
func movingAlerts(t *testing.T, channel string) string {
	t.Helper()
	sent := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		sent <- string(body)
	}))
	t.Cleanup(hook.Close)
	startVigil(t, movingLeast+`
[storage]
path = ""
[[probe.service]]
id = "web"
label = "Website"
[[probe.service.node]]
id = "shop"
label = "Shop"
mode = "script"
scripts = ["echo out of order; exit 2"]
`+fmt.Sprintf(channel, hook.URL))
	select {
	case text := <-sent:
		return text
	case <-time.After(20 * time.Second):
		t.Fatal("nothing is sent")
	}
	panic("not reached")
}

func movingTexts(t *testing.T) {
	text := movingAlerts(t, "[notify.slack]\nhook_url = %q\n")
	if want := "DOWN: Website \\u003e Shop (out of order)"; !strings.Contains(text, want) && !strings.Contains(text, "DOWN: Website &gt; Shop (out of order)") {
		t.Errorf("told %s, want %s", text, want)
	}
}

func movingGotify(t *testing.T) {
	text := movingAlerts(t, "[notify.gotify]\napp_url = %q\napp_token = \"secret\"\n")
	if !strings.Contains(text, `"priority":5`) {
		t.Errorf("told %s", text)
	}
}

func movingStart(t *testing.T) {
	text := movingAlerts(t, "[notify.webhook]\nhook_url = %q\n")
	if !strings.Contains(text, `"type":"startup"`) || !strings.Contains(text, `"status":"dead"`) {
		t.Errorf("told %s", text)
	}
}

func movingAnnouncements(t *testing.T) {
	r := startVigil(t, movingLeast+"[storage]\npath = \"\"\n")
	publish := func(title, text string) int {
		resp, _ := r.call("POST", "/manager/announcement/", "manage", fmt.Sprintf(`{"title":%q,"text":%q}`, title, text))
		return resp.StatusCode
	}
	if code := publish(strings.Repeat("a", 257), "text"); code != 400 {
		t.Errorf("a long title: %d", code)
	}
	if code := publish("title", strings.Repeat("a", 16<<10+1)); code != 400 {
		t.Errorf("a long text: %d", code)
	}
	for i := range 100 {
		if code := publish(strings.Repeat("a", 256), strings.Repeat("a", 16<<10)); code != 200 {
			t.Fatalf("announcement %d: %d", i+1, code)
		}
	}
	if code := publish("title", "text"); code < 400 {
		t.Errorf("one too many: %d", code)
	}
}

func movingFrames(t *testing.T) {
	policy := func(keys string) string {
		r := startVigil(t, strings.Replace(movingLeast, "[server]\n", "[server]\n"+keys, 1)+"[storage]\npath = \"\"\n")
		resp, _ := r.call("GET", "/", "", "")
		return resp.Header.Get("Content-Security-Policy")
	}
	if got := policy(""); !strings.Contains(got, "frame-ancestors 'none'") {
		t.Errorf("policy %q", got)
	}
	if got := policy("content_security_policy = \"frame-ancestors https://intranet.example.com\"\n"); got != "frame-ancestors https://intranet.example.com" {
		t.Errorf("policy %q", got)
	}
}

// The rest of this is tried in a real systemd, by packaging/check_systemd_inside.sh.
func movingSandbox(t *testing.T) {
	unit := read(t, "packaging/vigil.service")
	for _, line := range []string{"DynamicUser=yes", "ProtectSystem=strict", "ProtectHome=yes", "CapabilityBoundingSet=CAP_NET_RAW"} {
		if !strings.Contains(unit, "\n"+line+"\n") {
			t.Errorf("the unit has no %s", line)
		}
	}
}

// The rest of this is tried in a real Docker, by packaging/check_image.sh.
func movingUser(t *testing.T) {
	if n := strings.Count(read(t, "packaging/Dockerfile"), "\nUSER 65532:65532\n"); n != 2 {
		t.Errorf("%d of two images have the user", n)
	}
}

func movingOrigins(t *testing.T) {
	r := startVigil(t, movingLeast+"[storage]\npath = \"\"\n")
	for _, path := range []string{"/status/text", "/status/report", "/feed.atom", "/badge/icon"} {
		resp, _ := r.call("GET", path, "", "")
		if got := resp.Header.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != "*" {
			t.Errorf("%s: Access-Control-Allow-Origin %q", path, got)
		}
	}
}

func movingPasswords(t *testing.T) {
	r := startVigil(t, movingLeast+`
[storage]
path = ""
[[probe.service]]
id = "lan"
label = "LAN"
[[probe.service.node]]
id = "gate"
label = "Gate"
mode = "local"
`)
	const old = "http://ann:secret@127.0.0.1:1/"
	if resp, text := r.call("POST", "/reporter/lan/gate/", "report", fmt.Sprintf(`{"replica":%q,"interval":60,"health":"dead"}`, old)); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	startIn(t, t.TempDir(), fmt.Sprintf(`
[server]
log_level = "info"
[report]
endpoint = %q
token = "report"
[metrics]
interval = 1
[[probe.service]]
id = "lan"
[[probe.service.node]]
id = "gate"
mode = "poll"
replicas = [%q]
`, r.url, old), `reporting.*endpoint=([^ ]+)`, "local", "-c", "config.cfg")
	var text string
	await(t, func() bool {
		_, text = r.call("GET", "/manager/status/?selector=lan:gate", "manage", "")
		return strings.Contains(text, `"id":"http://***@127.0.0.1:1/"`)
	}, "the agent's report")
	if resp, text := r.call("DELETE", "/reporter/lan/gate/"+url.PathEscape(old)+"/", "report", ""); resp.StatusCode != 200 {
		t.Errorf("flush: %d %s", resp.StatusCode, text)
	}
	await(t, func() bool {
		_, text = r.call("GET", "/manager/status/?selector=lan:gate", "manage", "")
		return !strings.Contains(text, "secret") && strings.Contains(text, "***")
	}, "the old replica is gone")
}
