package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// The services that the channels of the documents send to, played on this
// machine. The program runs among them with the config of the documents: names
// lead here, by a name server and a transport that testdata/fakes.go adds to
// it, and certificates are of an authority of the test's own.

// buildAmongFakes builds the program for which all hosts are here.
var buildAmongFakes = sync.OnceValues(func() (string, error) {
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	overlay := map[string]map[string]string{"Replace": {
		filepath.Join(root, "main_fakes.go"): filepath.Join(root, "e2e", "testdata", "fakes.go"),
	}}
	text, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	path := vigil + "-fakes"
	if err := os.WriteFile(path+".json", text, 0o600); err != nil {
		return "", err
	}
	return path, goBuild("-overlay", path+".json", "-o", path)
})

// channelSecrets are the variables of the documented channels.
var channelSecrets = map[string]string{
	"SMTP_PASSWORD":  "smtp-word",
	"TWILIO_TOKEN":   "twilio-word",
	"SLACK_HOOK_URL": "https://hooks.slack.com/services/T00000000/B00000000/slack-word",
	"ZULIP_KEY":      "zulip-word",
	"TELEGRAM_TOKEN": "123456:telegram-word",
	"PUSHOVER_TOKEN": "pushover-word",
	"PUSHOVER_USER":  "pushover-user",
	"GOTIFY_TOKEN":   "gotify-word",
	"XMPP_PASSWORD":  "xmpp-word",
	"MATRIX_TOKEN":   "matrix-word",
	"WEBEX_TOKEN":    "webex-word",
	"WEBHOOK_URL":    "https://hooks.example.com/vigil?key=webhook-word",

	"DISCORD_HOOK_URL":       "https://discord.com/api/webhooks/1234567890/discord-word",
	"TEAMS_HOOK_URL":         "https://flow.environment.api.powerplatform.com/powerautomate/automations/direct/workflows/1/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=teams-word",
	"MATTERMOST_HOOK_URL":    "https://mattermost.example.com/hooks/mattermost-word",
	"GOOGLECHAT_HOOK_URL":    "https://chat.googleapis.com/v1/spaces/AAAA/messages?key=googlechat-key&token=googlechat-word",
	"NTFY_TOPIC":             "ntfy-topic",
	"NTFY_TOKEN":             "tk_ntfy-word",
	"PAGERDUTY_KEY":          "pagerduty-word-0123456789abcdef0",
	"ALERTMANAGER_PASSWORD":  "alertmanager-word",
	"OPSGENIE_KEY":           "opsgenie-word",
	"ROCKETCHAT_HOOK_URL":    "https://rocket.example.com/hooks/1/rocketchat-word",
	"HOMEASSISTANT_HOOK_URL": "https://home.example.com/api/webhook/homeassistant-word",
}

// A webService is a service that takes messages over HTTPS. It takes a request
// when that is to the address and has the parts, and answers 401 otherwise.
type webService struct {
	address string
	parts   []string // of the header, the login and the body, unpacked
	code    int
	answer  string
}

var webServices = map[string]webService{
	"twilio": {"POST https://api.twilio.com/2010-04-01/Accounts/AC00000000000000000000000000000000/Messages.json", []string{
		"login=AC00000000000000000000000000000000:twilio-word", "To=+33600000000", "MessagingServiceSid=MG00000000000000000000000000000000", "Body=[Acme Status] TEST: ",
	}, 201, `{"sid":"SM1","status":"accepted"}`},
	"slack": {"POST https://hooks.slack.com/services/T00000000/B00000000/slack-word", []string{
		`{"text":"<!channel> [Acme Status] TEST: `,
	}, 200, "ok"},
	"zulip": {"POST https://acme.zulipchat.com/api/v1/messages", []string{
		"login=vigil-bot@acme.zulipchat.com:zulip-word", "type=stream", "to=outages", "topic=", "content=",
	}, 200, `{"id":42,"msg":"","result":"success"}`},
	"telegram": {"POST https://api.telegram.org/bot123456:telegram-word/sendMessage", []string{
		`"chat_id":-1001234567890,`, `"text":"`,
	}, 200, `{"ok":true,"result":{"message_id":7,"chat":{"id":-1001234567890}}}`},
	"pushover": {"POST https://api.pushover.net/1/messages.json", []string{
		"token=pushover-word", "user=pushover-user", "message=",
	}, 200, `{"status":1,"request":"647d2300-702c-4b38-8b2f-d56326ae460b"}`},
	"gotify": {"POST https://push.example.com/message", []string{
		"X-Gotify-Key=gotify-word", `"title":"[Acme Status] TEST: `,
	}, 200, `{"id":25,"appid":5,"message":"..."}`},
	"matrix": {"PUT https://matrix.org/_matrix/client/v3/rooms/%21abc123:matrix.org/send/m.room.message/vigil-", []string{
		"Authorization=Bearer matrix-word", `"msgtype":"m.text"`,
	}, 200, `{"event_id":"$YUwRidLecu:matrix.org"}`},
	"webex": {"POST https://webexapis.com/v1/messages", []string{
		"Authorization=Bearer webex-word", `"roomId":"Y2lzY29zcGFyazovL3VzL1JPT00vMmJmOD"`,
	}, 200, `{"id":"Y2lzY29zcGFyazovL3VzL01FU1NBR0UvOTJkY","roomId":"Y2lzY29zcGFyazovL3VzL1JPT00vMmJmOD"}`},
	"discord": {"POST https://discord.com/api/v10/webhooks/1234567890/discord-word?wait=true", []string{
		`"embeds":[{"description":"`, `"allowed_mentions":{"parse":[]}`,
	}, 200, `{"id":"1"}`},
	"teams": {"POST https://flow.environment.api.powerplatform.com/powerautomate/automations/direct/workflows/1/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=teams-word", []string{
		`{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{`, `"version":"1.4"`,
	}, 202, ""},
	"mattermost": {"POST https://mattermost.example.com/hooks/mattermost-word", []string{`"text":"`, `"attachments":[{`}, 200, "ok"},
	"googlechat": {"POST https://chat.googleapis.com/v1/spaces/AAAA/messages?key=googlechat-key&token=googlechat-word", []string{
		"Content-Type=application/json; charset=UTF-8", `"text":"`,
	}, 200, `{"name":"spaces/AAAA/messages/B"}`},
	"ntfy": {"POST https://ntfy.sh/", []string{
		"Authorization=Bearer tk_ntfy-word", `{"topic":"ntfy-topic","title":"[Acme Status] TEST: `,
	}, 200, `{"id":"x","topic":"ntfy-topic"}`},
	"pagerduty": {"POST https://events.pagerduty.com/v2/enqueue", []string{
		`{"routing_key":"pagerduty-word-0123456789abcdef0","event_action":"`, `"severity":"info"`, `"custom_details":{}`,
	}, 202, `{"status":"success","message":"Event processed"}`},
	"alertmanager-1": {"POST https://alertmanager-1.example.com/api/v2/alerts", []string{
		"login=vigil:alertmanager-word", `[{"labels":{"alertname":"VigilTest","node":"`,
	}, 200, ""},
	"alertmanager-2": {"POST https://alertmanager-2.example.com/api/v2/alerts", []string{
		"login=vigil:alertmanager-word", `"endsAt":"`,
	}, 200, ""},
	"opsgenie": {"POST https://api.opsgenie.com/v2/alerts", []string{
		"Authorization=GenieKey opsgenie-word", `{"message": "[Acme Status] TEST: `, `"source": "Vigil"}`,
	}, 202, `{"result":"Request will be processed","requestId":"1"}`},
	"rocketchat": {"POST https://rocket.example.com/hooks/1/rocketchat-word", []string{`{"text": "[Acme Status] TEST: `}, 200, `{"success":true}`},
	"signal": {"POST https://signal.example.com/v2/send", []string{
		`{"number": "+33600000000", "recipients": ["+33600000001"], "text_mode": "normal", "message": "[Acme Status] TEST: `,
	}, 201, `{"timestamp":"1"}`},
	"homeassistant": {"POST https://home.example.com/api/webhook/homeassistant-word", []string{
		"Content-Type=application/json", `{"type":"changed","status":"`,
	}, 200, ""},
	"webhook": {"POST https://hooks.example.com/vigil?key=webhook-word", []string{
		`{"type":"changed","status":"`, `"page":{"title":"Acme Status","url":"https://status.example.com/"}`,
	}, 204, ""},
}

// unpack writes a request in plain words: where it goes, its header, its login
// and the fields of its form or its body as it is.
func unpack(r *http.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s https://%s%s\n", r.Method, r.Host, r.URL.RequestURI())
	for key := range r.Header {
		fmt.Fprintf(&b, "%s=%s\n", key, r.Header.Get(key))
	}
	if user, password, ok := r.BasicAuth(); ok {
		fmt.Fprintf(&b, "login=%s:%s\n", user, password)
	}
	body, _ := io.ReadAll(r.Body)
	form, err := url.ParseQuery(string(body))
	if err != nil || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		b.Write(body)
		return b.String()
	}
	for key := range form {
		fmt.Fprintf(&b, "%s=%s\n", key, form.Get(key))
	}
	return b.String()
}

// fakes are the services, with what they were told by their names.
type fakes struct {
	vigil    string // the program among them
	env      []string
	mailPort string // in place of 587, which takes root

	mu   sync.Mutex
	told map[string]string
	page http.Handler // of https://status.example.com/
}

func newFakes(t *testing.T) *fakes {
	t.Helper()
	program, err := buildAmongFakes()
	if err != nil {
		t.Fatal(err)
	}
	f := &fakes{vigil: program, told: make(map[string]string)}
	hosts := []string{"mail.example.com", "example.com", "status.example.com"}
	for _, s := range webServices {
		_, address, _ := strings.Cut(s.address, " ")
		hosts = append(hosts, hostPort(t, address))
	}
	cert := selfSigned(t, hosts...)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}

	web := httptest.NewUnstartedServer(http.HandlerFunc(f.serveWeb))
	web.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	web.StartTLS()
	t.Cleanup(web.Close)
	mail := netip.MustParseAddrPort(listening(t, func(c net.Conn) { f.tell("email", playMail(c, cert)) }))
	chat := netip.MustParseAddrPort(listening(t, func(c net.Conn) { f.tell("xmpp", playChat(c, cert)) }))
	f.mailPort = strconv.Itoa(int(mail.Port()))
	f.env = []string{"PATH=" + os.Getenv("PATH"), "SSL_CERT_FILE=" + roots, "VIGIL_TEST_DNS=" + playNames(t, mail, chat), "VIGIL_TEST_WEB=" + web.Listener.Addr().String()}
	for name, value := range channelSecrets {
		f.env = append(f.env, name+"="+value)
	}
	return f
}

// playNames is a name server that knows where mail and chat of example.com are.
// It returns its address.
func playNames(t *testing.T, mail, chat netip.AddrPort) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	answers := map[string]dnsmessage.ResourceBody{
		"mail.example.com. TypeA":                &dnsmessage.AResource{A: mail.Addr().As4()},
		"chat.example.com. TypeA":                &dnsmessage.AResource{A: chat.Addr().As4()},
		"_xmpp-client._tcp.example.com. TypeSRV": &dnsmessage.SRVResource{Target: dnsmessage.MustNewName("chat.example.com."), Port: chat.Port()},
	}
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if err := m.Unpack(b[:n]); err != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			if body := answers[q.Name.String()+" "+q.Type.String()]; body != nil {
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}, Body: body}}
			} else if name := q.Name.String(); name != "mail.example.com." && name != "chat.example.com." {
				m.RCode = dnsmessage.RCodeNameError
			}
			if answer, err := m.Pack(); err == nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

// tell notes what a service was told.
func (f *fakes) tell(name, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told[name] += text
}

// heard returns what a service was told, once it was told something.
func (f *fakes) heard(t *testing.T, name string) string {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		f.mu.Lock()
		told := f.told[name]
		f.mu.Unlock()
		if told != "" {
			return told
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s got nothing that it takes", name)
		}
	}
}

// showPage has a Vigil be that of https://status.example.com/.
func (f *fakes) showPage(t *testing.T, vigil string) {
	t.Helper()
	to, err := url.Parse(vigil)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.page = httputil.NewSingleHostReverseProxy(to)
}

func (f *fakes) serveWeb(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	page := f.page
	f.mu.Unlock()
	if r.Host == "status.example.com" && page != nil {
		page.ServeHTTP(w, r)
		return
	}
	text := unpack(r)
	for name, s := range webServices {
		good := strings.HasPrefix(text, s.address)
		for _, part := range s.parts {
			good = good && strings.Contains(text, part)
		}
		if good {
			f.tell(name, text)
			w.WriteHeader(s.code)
			io.WriteString(w, s.answer)
			return
		}
	}
	f.tell("nobody", text)
	w.WriteHeader(http.StatusUnauthorized)
}

// selfSigned makes a certificate for the hosts that is its own authority.
func selfSigned(t *testing.T, hosts ...string) tls.Certificate {
	t.Helper()
	return selfSignedFor(t, time.Hour, hosts...)
}

// selfSignedFor is selfSigned for a certificate that ends after that time.
func selfSignedFor(t *testing.T, left time.Duration, hosts ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: hosts, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(left),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// playMail serves one SMTP dialogue and returns what it was told under TLS. It
// takes mail of who has logged in.
func playMail(c net.Conn, cert tls.Certificate) string {
	var told strings.Builder
	in := bufio.NewReader(c)
	secure, inMail, known := false, false, false
	fmt.Fprint(c, "220 mail.example.com ESMTP\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return told.String()
		}
		line = strings.TrimSpace(line)
		if secure {
			told.WriteString(line + "\n")
		}
		verb, rest, _ := strings.Cut(line, " ")
		switch {
		case inMail:
			if line == "." {
				inMail = false
				fmt.Fprint(c, "250 2.0.0 queued\r\n")
			}
		case verb == "EHLO" && !secure:
			fmt.Fprint(c, "250-mail.example.com\r\n250 STARTTLS\r\n")
		case verb == "EHLO":
			fmt.Fprint(c, "250-mail.example.com\r\n250 AUTH PLAIN\r\n")
		case verb == "STARTTLS" && !secure:
			fmt.Fprint(c, "220 go on\r\n")
			c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
			in, secure = bufio.NewReader(c), true
		case secure && verb == "AUTH" && rest == "PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00vigil\x00smtp-word")):
			known = true
			fmt.Fprint(c, "235 2.7.0 welcome\r\n")
		case known && (verb == "MAIL" || verb == "RCPT"):
			fmt.Fprint(c, "250 2.1.0 ok\r\n")
		case known && verb == "DATA":
			inMail = true
			fmt.Fprint(c, "354 go on\r\n")
		case verb == "QUIT":
			fmt.Fprint(c, "221 bye\r\n")
			return told.String()
		default:
			fmt.Fprint(c, "535 5.7.8 no\r\n")
		}
	}
}

// A stanza is an element at the top of an XMPP stream.
type stanza struct {
	XMLName xml.Name
	ID      string `xml:"id,attr"`
	To      string `xml:"to,attr"`
	Inner   string `xml:",innerxml"`
}

// playChat serves one XMPP dialogue and returns what it was told under TLS. It
// takes messages of who has logged in.
func playChat(c net.Conn, cert tls.Certificate) string {
	const sasl = "urn:ietf:params:xml:ns:xmpp-sasl"
	const bind = "urn:ietf:params:xml:ns:xmpp-bind"
	var told strings.Builder
	for _, features := range []string{
		"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>",
		"<mechanisms xmlns='" + sasl + "'><mechanism>PLAIN</mechanism></mechanisms>",
		"<bind xmlns='" + bind + "'/>",
	} {
		d := xml.NewDecoder(c)
		opened := false
		for again := true; again; {
			token, err := d.Token()
			start, ok := token.(xml.StartElement)
			_, end := token.(xml.EndElement)
			switch {
			case err != nil:
				return told.String()
			case end:
				fmt.Fprint(c, "</stream:stream>")
				return told.String()
			case !ok:
				continue
			case !opened:
				opened = true
				fmt.Fprint(c, "<?xml version='1.0'?><stream:stream from='example.com' id='s' version='1.0' xmlns='jabber:client' "+
					"xmlns:stream='http://etherx.jabber.org/streams'><stream:features>"+features+"</stream:features>")
				continue
			}
			var s stanza
			if err := d.DecodeElement(&s, &start); err != nil {
				return told.String()
			}
			switch s.XMLName.Local {
			case "starttls":
				fmt.Fprint(c, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
				c, again = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}), false
			case "auth":
				if s.Inner != base64.StdEncoding.EncodeToString([]byte("\x00vigil\x00xmpp-word")) {
					fmt.Fprint(c, "<failure xmlns='"+sasl+"'><not-authorized/></failure>")
					return "wrong password"
				}
				fmt.Fprint(c, "<success xmlns='"+sasl+"'/>")
				again = false
			case "iq":
				fmt.Fprintf(c, "<iq type='result' id='%s'/>", s.ID)
			case "message":
				fmt.Fprintf(&told, "to=%s\n%s\n", s.To, s.Inner)
			}
		}
	}
	return told.String()
}
