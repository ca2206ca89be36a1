package e2e

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// startRecipe runs the program on a config of the documents, with loopback
// addresses in place of its hosts: pairs of an old and a new text.
func startRecipe(t *testing.T, env []string, config string, loopback ...string) *running {
	t.Helper()
	for i := 0; i < len(loopback); i += 2 {
		if !strings.Contains(config, loopback[i]) {
			t.Fatalf("no %s in\n%s", loopback[i], config)
		}
	}
	config = strings.NewReplacer(loopback...).Replace(config)
	metrics := "[metrics]\npoll_interval = 1\npoll_retry = 1\n"
	if strings.Contains(config, "[metrics]") {
		metrics = ""
	}
	server := "[server]\nlog_level = \"info\"\ninet = \"127.0.0.1:0\"\nmanager_token = \"manage\"\n"
	rest, _ := strings.CutPrefix(config, "[server]\n")
	return startWith(t, append(env, variables(config)...), t.TempDir(),
		server+rest+metrics+"[branding]\npage_url = \"https://status.example.com/\"\n[storage]\npath = \"\"\n", serving)
}

// awaitNode waits until all of these texts are in what the Manager API says of a
// node.
func (r *running) awaitNode(selector string, texts ...string) {
	r.t.Helper()
	var said string
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.t.Logf("%s was last %s", selector, said)
		}
	})
	await(r.t, func() bool {
		_, said = r.call("GET", "/manager/status/?selector="+selector, "manage", "")
		for _, text := range texts {
			if !strings.Contains(said, text) {
				return false
			}
		}
		return true
	}, "%s is %q", selector, texts)
}

// A site is a web server that answers as it is told to.
type site struct {
	*httptest.Server
	status atomic.Int32
}

func newSite(t *testing.T) *site {
	s := new(site)
	s.status.Store(http.StatusOK)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(int(s.status.Load()))
	}))
	t.Cleanup(s.Close)
	return s
}

const nodesDocument = "docs/nodes.md"

func TestOwnValuesOfDocuments(t *testing.T) {
	t.Parallel()
	shop := newSite(t)
	config := fenceWith(t, nodesDocument, "poll_http_status_healthy_below = 300\n").text
	shop.status.Store(http.StatusFound)
	r := startRecipe(t, nil, config, "https://shop.example.com/", shop.URL, "poll_interval = 10", "poll_interval = 1")
	r.awaitNode("web:shop", `"status":"dead"`, `"reason":"HTTP 302"`)
	shop.status.Store(http.StatusNoContent)
	r.awaitNode("web:shop", `"status":"healthy","checked":true`)
}

func TestCertificateOfDocuments(t *testing.T) {
	t.Parallel()
	config := fenceWith(t, nodesDocument, "tls_expiry_sick_below = 14").text
	const day = 24 * time.Hour
	for _, tt := range []struct {
		left  time.Duration
		texts []string
	}{
		{30 * day, []string{`"status":"healthy","checked":true`}},
		{10 * day, []string{`"status":"sick"`, `"reason":"certificate of localhost ends in 9 d"`}},
		{30 * time.Hour, []string{`"status":"dead"`, `"reason":"certificate of localhost ends in 1 d"`}},
		{-time.Hour, []string{`"status":"dead"`, `"reason":"certificate expired 1 h ago"`}},
	} {
		cert := selfSignedFor(t, tt.left, "localhost")
		address := listening(t, func(c net.Conn) {
			tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
		})
		authority := filepath.Join(t.TempDir(), "authority.pem")
		if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o600); err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(address)
		r := startRecipe(t, []string{"SSL_CERT_FILE=" + authority}, config, "mail.example.com:993", "localhost:"+port)
		r.awaitNode("mail:certificate", tt.texts...)
	}
}

func TestJSONOfDocuments(t *testing.T) {
	t.Parallel()
	var body atomic.Value
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		io.WriteString(w, body.Load().(string))
	}))
	t.Cleanup(api.Close)
	body.Store(`{"database":{"state":"up"},"workers":[{"ready":true}]}`)
	r := startRecipe(t, nil, fenceWith(t, nodesDocument, "http_json_healthy_match").text, "https://api.example.com", api.URL)
	r.awaitNode("api:health", `"status":"healthy","checked":true`)
	body.Store(`{"database":{"state":"down"},"workers":[{"ready":true}]}`)
	r.awaitNode("api:health", `"status":"dead"`, `"reason":"JSON: database.state is down, which did not match"`)
	body.Store(`{"database":{"state":"up"},"workers":[]}`)
	r.awaitNode("api:health", `"status":"dead"`, `"reason":"JSON: workers has 0 items, no [0]"`)
}

func TestProxyOfDocuments(t *testing.T) {
	t.Parallel()
	var asked atomic.Value
	asked.Store("")
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method + " " + r.RequestURI + " " + r.Header.Get("Proxy-Authorization"))
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(proxy.Close)
	till := newSite(t)
	r := startRecipe(t, []string{"HTTP_PROXY=" + proxy.URL}, fenceWith(t, nodesDocument, "http_proxy = \"\"").text,
		"proxy.example.com:3128", hostPort(t, proxy.URL), "http://till.example.net/", till.URL)
	r.awaitNode("partners:till", `"status":"healthy","checked":true`)
	r.awaitNode("partners:bank", `"status":"dead"`)
	if want := "CONNECT bank.example.com:443 Basic " + base64.StdEncoding.EncodeToString([]byte("vigil:secret")); asked.Load() != want {
		t.Errorf("the proxy is asked %q, want %q", asked.Load(), want)
	}
}

// Three agents report one node, as both documents have it: it is dead once too
// few of them reach the target.
func TestRegionsOfDocuments(t *testing.T) {
	t.Parallel()
	for document, node := range map[string]string{nodesDocument: "web:site", "docs/scaling.md": "api:all"} {
		t.Run(document, func(t *testing.T) {
			t.Parallel()
			server, agent := fenceWith(t, document, "replicas_needed = 2").text, fenceWith(t, document, "report_prefix").text
			r := startRecipe(t, nil, server)
			var sites []*site
			for _, region := range []string{"paris", "tokyo", "boston"} {
				s := newSite(t)
				config := regexp.MustCompile(`https://(www|api)\.example\.com`).ReplaceAllString(agent, s.URL)
				config = strings.NewReplacer("https://status.example.com/", r.url, "${VIGIL_URL}", r.url, "${VIGIL_TOKEN}", "secret", "${REPORTER_TOKEN}", "secret",
					`"paris"`, `"`+region+`"`, "${REGION}", region, "interval = 30", "interval = 1").Replace(config)
				startIn(t, t.TempDir(), "[server]\nlog_level = \"info\"\n"+config, `(reporting)`, "local")
				sites = append(sites, s)
			}
			r.awaitNode(node, `"status":"healthy","checked":true`, `"id":"paris:`, `"id":"tokyo:`, `"id":"boston:`)
			sites[0].status.Store(http.StatusBadGateway)
			r.awaitNode(node, `"mode":"local","status":"sick"`)
			sites[1].status.Store(http.StatusBadGateway)
			r.awaitNode(node, `"mode":"local","status":"dead"`)
			sites[0].status.Store(http.StatusOK)
			sites[1].status.Store(http.StatusOK)
			r.awaitNode(node, `"status":"healthy","checked":true`)
		})
	}
}

func TestLabelsOfDocuments(t *testing.T) {
	t.Parallel()
	paris, newYork, singapore := newSite(t), newSite(t), newSite(t)
	r := startRecipe(t, nil, fenceWith(t, nodesDocument, `label = "Paris"`).text,
		"https://par.example.com/", paris.URL, "https://nyc.example.com/", newYork.URL, "https://sin.example.com/", singapore.URL)
	r.awaitNode("web:edge", `"status":"healthy","checked":true`, `"label":"Paris"`)
	if page := r.get("node/web/edge"); !strings.Contains(page, "Singapore") {
		t.Errorf("no label on the page:\n%s", page)
	}
	paris.status.Store(500)
	r.awaitNode("web:edge", `"mode":"poll","status":"sick"`)
	newYork.status.Store(500)
	r.awaitNode("web:edge", `"mode":"poll","status":"dead"`)
}

// A hidden node is told and is not on the page; what depends on it is told with
// it.
func TestHiddenOfDocuments(t *testing.T) {
	t.Parallel()
	h := newHook(t)
	router, files := newSite(t), newSite(t)
	r := startRecipe(t, nil, fmt.Sprintf("[notify]\nstartup_notification = false\n[notify.webhook]\nhook_url = %q\n", h.URL)+fenceWith(t, nodesDocument, "hidden = true").text,
		"icmp://192.0.2.1", "tcp://"+hostPort(t, router.URL), "192.0.2.10:445", hostPort(t, files.URL))
	r.awaitNode("office:router", `"status":"healthy","checked":true`)
	r.awaitNode("office:files", `"status":"healthy","checked":true`)
	router.Close()
	files.Close()
	if call := h.next(t, "changed", "dead"); len(call.Replicas) != 1 || !strings.HasPrefix(call.Replicas[0], "office:router:") {
		t.Errorf("told of %q", call.Replicas)
	}
	r.awaitNode("office:files", `"status":"dead"`)
	for _, route := range []string{"", "status/report", "history", "feed.atom"} {
		if text := r.get(route); strings.Contains(text, "outer") {
			t.Errorf("the router is in /%s:\n%s", route, text)
		}
	}
}

// The line of the crontab in docs/nodes.md reports to the node above it what
// the job's exit status and output say.
func TestCrontabOfDocuments(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("NOT CHECKED: this machine has no curl")
	}
	node := fenceWith(t, "docs/nodes.md", `schedule = "30 2 * * *"`)
	block := fenceWith(t, "docs/nodes.md", "30 2 * * *  ")
	r := startRecipe(t, nil, node.text)
	dir := t.TempDir()
	job, log := filepath.Join(dir, "backup"), filepath.Join(dir, "backup.log")
	line := strings.TrimSpace(block.text)
	if strings.Contains(line, "%") || strings.Contains(line, "\n") {
		t.Fatalf("%v: cron takes %% and a line's end for the end of the command:\n%s", block, line)
	}
	command := strings.NewReplacer("https://status.example.com/", r.url, "/usr/local/bin/backup", job, "/tmp/backup.log", log).
		Replace(regexp.MustCompile(`^(?:\S+ ){5} *`).ReplaceAllString(line, ""))
	for _, tt := range []struct{ script, status, reason string }{
		{"echo all saved", `"status":"healthy","checked":true`, `"reason":"all saved"`},
		{"echo first; echo >&2 the disk is full; exit 3", `"status":"dead"`, `"reason":"the disk is full"`},
		{"exit 1", `"status":"dead"`, `"reason":"exit status 1"`},
		{"echo saved again", `"status":"healthy","checked":true`, `"reason":"saved again"`},
	} {
		if err := os.WriteFile(job, []byte("#!/bin/sh\n"+tt.script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil || string(out) != "ok\nok\n" {
			t.Errorf("%v: %s: %v\n%s", block, command, err, out)
		}
		r.awaitNode("jobs:backup", tt.status, tt.reason)
	}
}
