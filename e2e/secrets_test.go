package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// secretMark is in every secret of the config below, in small letters.
const secretMark = "hush"

// A parrot is a broken receiver for every channel: it answers with an error
// that repeats the whole request, in every field in which some service has its
// explanation. The first request of each client fails in passing, the others
// for good.
type parrot struct {
	*httptest.Server
	mu   sync.Mutex
	seen map[string]int // by path
}

func newParrot(t *testing.T) *parrot {
	p := &parrot{seen: make(map[string]int)}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *parrot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var echo strings.Builder
	fmt.Fprintf(&echo, "%s %s %s", r.Header.Get("Authorization"), r.URL, r.URL.Path)
	r.Header.Write(&echo)
	echo.Write(body)
	p.mu.Lock()
	p.seen[r.URL.Path]++
	n := p.seen[r.URL.Path]
	p.mu.Unlock()
	code := http.StatusInternalServerError
	if n > 1 {
		code = http.StatusBadRequest
	}
	s := echo.String()
	w.Header().Set("Location", "http://x/"+url.PathEscape(s))
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(map[string]any{
		"ok": false, "description": s, "message": s, "error": s, "errorDescription": s, "errors": []string{s},
		"msg": s, "result": "error", "status": 0, "code": s, "errcode": "M_UNKNOWN", "messages_ready": s,
	})
}

// paths returns the paths that were asked for more than once.
func (p *parrot) paths() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, seen := range p.seen {
		if seen > 1 {
			n++
		}
	}
	return n
}

// parrotMail serves SMTP with STARTTLS and repeats the login that it refuses.
// It counts logins.
func parrotMail(t *testing.T, cert tls.Certificate, logins chan<- string) string {
	return listening(t, func(c net.Conn) {
		in := make([]byte, 4096)
		line := func() string {
			n, _ := c.Read(in)
			return strings.TrimSpace(string(in[:n]))
		}
		fmt.Fprint(c, "220 parrot\r\n")
		for {
			switch said := line(); {
			case said == "":
				return
			case strings.HasPrefix(said, "EHLO"):
				fmt.Fprint(c, "250-parrot\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n")
			case said == "STARTTLS":
				fmt.Fprint(c, "220 go\r\n")
				c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
			default:
				fmt.Fprintf(c, "454 4.7.0 not now: %s\r\n", said)
				select {
				case logins <- said:
				default:
				}
			}
		}
	})
}

// Nothing that the program writes or serves has a secret in it, whatever goes
// wrong and whatever others answer.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	p := newParrot(t)
	certs := httptest.NewTLSServer(nil) // for its certificate, which is for example.com and 127.0.0.1
	defer certs.Close()
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certs.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"SSL_CERT_FILE=" + roots, "FROM_ENV=hush&env/+tök"}
	logins := make(chan string, 1)
	_, mailPort, _ := net.SplitHostPort(parrotMail(t, certs.TLS.Certificates[0], logins))
	shut := freeAddress(t)

	config := strings.NewReplacer("PARROT", p.Listener.Addr().String(), "SHUT", shut, "MAILPORT", mailPort).Replace(`
[server]
log_level = "debug"
inet = "127.0.0.1:0"
manager_token = "hush-manager&token/+="
reporter_token = "${FROM_ENV}"
mcp_server = true
[branding]
page_url = "http://127.0.0.1/"
[metrics]
poll_interval = 1
poll_retry = 1
push_delay_dead = 1
script_interval = 1
[plugins.rabbitmq]
api_url = "http://hush-user:hush-pass@PARROT/rabbit"
auth_username = "rabbit"
auth_password = "hush-rabbit&"
virtualhost = "/"
queue_ready_healthy_below = 1
[notify.email]
to = "ops@example.com"
from = "vigil@example.com"
smtp_host = "127.0.0.1"
smtp_port = MAILPORT
smtp_username = "mailer"
smtp_password = "hush-mail"
smtp_encrypt = true
[notify.twilio]
to = ["+33600000000"]
service_sid = "service"
account_sid = "account"
auth_token = "hush-twilio&/+"
api_url = "http://PARROT/twilio"
[notify.slack]
hook_url = "http://PARROT/slack/hush-slack?key=hush-slack-key&x=1"
[notify.zulip]
bot_email = "bot@example.com"
bot_api_key = "hush-zulip&"
channel = "x"
api_url = "http://PARROT/zulip/"
[notify.telegram]
bot_token = "1:hush-telegram"
chat_id = "@x"
api_url = "http://PARROT/telegram"
[notify.pushover]
app_token = "hush-pushover&/+"
user_keys = ["hush-user-key"]
api_url = "http://PARROT/pushover"
[notify.gotify]
app_url = "http://PARROT/gotify"
app_token = "hush-gotify&"
[notify.xmpp]
to = "ops@localhost"
from = "vigil@localhost"
xmpp_password = "hush-xmpp"
[notify.matrix]
homeserver_url = "http://PARROT/matrix"
access_token = "hush-matrix&"
room_id = "!x:example.com"
[notify.webex]
endpoint_url = "http://PARROT/webex"
token = "hush-webex&"
room_id = "x"
[notify.webhook]
hook_url = "http://hook-user:hush-hook-pass@PARROT/webhook/hush-hook?hush-query=1&a=<b>"
[storage]
path = ""
#CONNECTIVITY
[[probe.service]]
id = "web"
label = "Web"
[[probe.service.node]]
id = "parrot"
label = "Parrot"
mode = "poll"
replicas = ["http://hush-replica:hush-replica-pass@PARROT/polled", "http://hush-replica:hush-replica-pass@SHUT/"]
http_headers = { "Authorization" = "Bearer hush-header", "X-Key" = "hush-key" }
http_method = "POST"
http_body = "hush-body"
http_body_healthy_match = "never"
reveal_replica_name = true
[[probe.service.node]]
id = "jobs"
label = "Jobs"
mode = "push"
rabbitmq_queue = "jobs"
reveal_replica_name = true
[[probe.service.node]]
id = "script"
label = "Script"
mode = "script"
scripts = ["echo out of order; exit 2"]
`)
	var said bytes.Buffer
	r := startWith(t, env, t.TempDir(), config, serving)
	ask := func(method, route, user, token, body string) {
		t.Helper()
		req, err := http.NewRequest(method, strings.TrimSuffix(r.url, "/")+route, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.SetBasicAuth(user, token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		fmt.Fprintf(&said, "\n%s %s: %s %v\n", method, route, resp.Status, resp.Header)
		io.Copy(&said, resp.Body)
	}
	const report = `{"replica":"r","interval":0,"load":{"cpu":0,"ram":0}}`
	ask("POST", "/reporter/web/jobs/", "", "hush&env/+tök", report)
	for range 2 * wrongTokens {
		ask("POST", "/reporter/web/jobs/", "hush-user", "hush-wrong", report)
	}
	ask("POST", "/reporter/web/jobs/", "", "hush&env/+tök", `{"replica":`)
	ask("POST", "/manager/announcement/", "x", "hush-manager&token/+=", `{"title":"a","text":"b"}`)
	select {
	case <-logins:
	case <-time.After(time.Minute):
		t.Fatal("no mail was sent")
	}
	// Ten channels over HTTP and the poll probe, all refused for good by now.
	await(t, func() bool { return p.paths() >= 10 }, "all channels tried twice")
	ask("GET", "/manager/prober/alerts/", "x", "hush-manager&token/+=", "")
	for _, route := range []string{"/", "/status/text", "/status/report", "/status/history", "/status/node/web/jobs", "/feed.atom", "/feed/web", "/embed",
		"/badge/icon", "/badge/color", "/robots.txt", "/nope", "/manager/announcements/", "/metrics", "/config.cfg", "/data/"} {
		ask("GET", route, "", "", "")
	}
	ask("POST", "/mcp/probes", "", "", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_report","arguments":{}}}`)

	// Reloads: one with a connection that is down, one with a broken file.
	file := filepath.Join(r.cmd.Dir, "config.cfg")
	down := strings.Replace(config, "#CONNECTIVITY", `
[probe]
connectivity = ["http://hush-line:hush-line-pass@`+shut+`/"]`, 1)
	r.reload(down, "own connection is down")
	ask("GET", "/", "", "", "")
	r.reload(strings.Replace(down, `"hush-zulip&"`, `"hush-zulip&`, 1), "reload failed")
	r.reload(strings.Replace(down, `hook_url = "http`, `hook_url = "hush`, 2), "scheme")
	r.stop(syscall.SIGTERM)

	if err := os.WriteFile(file, []byte(down), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"check", "notify"} {
		cmd := exec.Command(vigil, command)
		cmd.Dir, cmd.Env = r.cmd.Dir, r.cmd.Env
		out, _ := cmd.CombinedOutput()
		fmt.Fprintf(&said, "\nvigil %s:\n%s", command, out)
	}

	said.WriteString(r.logged())
	for _, want := range []string{"delivery refused", "delivery failed", "wrong tokens keep coming", "queue", "400 Bad Request", "out of order", "target=email"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("what was said lacks %q: the test does not see what it should", want)
		}
	}
	// However a secret is escaped, its mark stays; but not within base64, whose
	// text depends on where in a group of three bytes it begins.
	text := said.String()
	for _, blob := range regexp.MustCompile(`[A-Za-z0-9+/_-]{8,}`).FindAllString(text, -1) {
		blob = strings.NewReplacer("-", "+", "_", "/").Replace(blob)
		for skip := range 4 {
			if raw, _ := base64.RawStdEncoding.DecodeString(blob[min(skip, len(blob)):]); len(raw) > 0 {
				if i := bytes.Index(raw, []byte(secretMark)); i >= 0 {
					t.Errorf("in base64: %q", raw)
				}
			}
		}
	}
	for line := range strings.Lines(text) {
		if strings.Contains(strings.ToLower(line), secretMark) {
			t.Errorf("a secret is in: %.1000s", line)
		}
	}
}
