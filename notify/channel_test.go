package notify

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// secrets are all the secrets of webConfig, and the parts of hook URLs.
var secrets = []string{
	"slack-secret-T0", "slack-secret-B0", "twilio-secret", "zulip-secret", "123456:telegram-secret",
	"pushover-secret-app", "pushover-secret-1", "pushover-secret-2", "gotify-secret",
	"matrix-secret", "webex-secret", "webhook-secret-path", "webhook-secret-key",
	"discord-secret-token", "teams-secret-sig", "mattermost-secret-hook", "googlechat-secret-key", "googlechat-secret-token",
	"ntfy-secret-topic", "tk_ntfy-secret", "pagerduty-secret-0123456789abcde", "alertmanager-secret",
}

// channels configures a channel for each service, named by its kind.
func channels(services ...Service) (list []Channel) {
	for _, s := range services {
		kind := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", s), "*notify."))
		list = append(list, Channel{ID: kind, Kind: kind, Service: s})
	}
	return list
}

// webConfig configures every HTTP channel to talk to the server at base.
func webConfig(base string) Config {
	return Config{Channels: channels(
		&Twilio{
			To: []string{"+33700000001", "+33700000002"}, ServiceSID: "MG00000000000000000000000000000000",
			AccountSID: "AC00000000000000000000000000000000", AuthToken: "twilio-secret", APIURL: base,
		},
		&Slack{HookURL: Secret(base + "/services/slack-secret-T0/slack-secret-B0/x"), MentionChannel: true},
		&Zulip{BotEmail: "vigil-bot@example.com", BotAPIKey: "zulip-secret", Channel: "ops", APIURL: base + "/api/v1/"},
		&Telegram{BotToken: "123456:telegram-secret", ChatID: "-1001234567890", MessageThreadID: 42, APIURL: base},
		&Pushover{
			AppToken: "pushover-secret-app", UserKeys: []Secret{"pushover-secret-1", "pushover-secret-2"}, APIURL: base,
		},
		&Gotify{AppURL: base + "/push", AppToken: "gotify-secret"},
		&Matrix{HomeserverURL: base, AccessToken: "matrix-secret", RoomID: "!abc123:example.org"},
		&Webex{EndpointURL: base + "/v1/messages", Token: "webex-secret", RoomID: "Y2lzY29zcGFyazov"},
		&Discord{HookURL: Secret(base + "/api/webhooks/1234567890/discord-secret-token")},
		&Teams{HookURL: Secret(base + "/powerautomate/workflows/0a1b/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=teams-secret-sig")},
		&Mattermost{HookURL: Secret(base + "/hooks/mattermost-secret-hook")},
		&GoogleChat{HookURL: Secret(base + "/v1/spaces/AAAA/messages?key=googlechat-secret-key&token=googlechat-secret-token%3D")},
		&Ntfy{URL: base, Topic: "ntfy-secret-topic", Token: "tk_ntfy-secret"},
		&PagerDuty{RoutingKey: "pagerduty-secret-0123456789abcde", APIURL: base},
		&Alertmanager{URLs: []string{base + "/am", base + "/am2/"}, Username: "vigil", Password: "alertmanager-secret"},
		&Webhook{HookURL: Secret(base + "/webhooks/webhook-secret-path?key=webhook-secret-key")},
	)}
}

// service returns the channel of that type.
func service[S Service](t *testing.T, c Config) S {
	t.Helper()
	for _, ch := range c.Channels {
		if s, ok := ch.Service.(S); ok {
			return s
		}
	}
	var none S
	t.Fatalf("no channel is a %T", none)
	return none
}

// goldenAlerts are what every channel is to say, by the name of the file.
func goldenAlerts() map[string]Alert {
	a := downAlert()
	still := a.Outages[1]
	reminder := a.with(func(a *Alert) {
		a.Kind, a.Reminders, a.Time = Reminder, 3, at.Add(30*time.Minute)
		a.Outages = []Outage{a.Outages[0].with(func(o *Outage) { o.New = false })}
	})
	over := a.Outages[0].with(func(o *Outage) {
		o.New, o.Over, o.Status, o.Until = false, true, Healthy, o.Since.Add(89*time.Second)
	})
	recovery := a.with(func(a *Alert) { a.Time, a.Outages = at.Add(89*time.Second), []Outage{still, over} })
	return map[string]Alert{
		"startup":   a.with(func(a *Alert) { a.Kind, a.Status, a.Outages = Startup, Healthy, nil }),
		"changed":   a,
		"reminder":  reminder,
		"escalated": reminder.with(func(a *Alert) { a.Escalate, a.Reminders = true, 1 }),
		"recovery":  recovery,
		"all_clear": recovery.with(func(a *Alert) { a.Status, a.Outages = Healthy, a.Outages[1:] }),
		"degraded": a.with(func(a *Alert) {
			a.Status = Sick
			a.Outages = []Outage{a.Outages[0].with(func(o *Outage) {
				o.Status, o.Replicas = Sick, []Replica{{Path: o.Replicas[0].Path, Reason: "slow: 6.2 s"}}
			})}
		}),
		"depending": a.with(func(a *Alert) {
			a.Outages = []Outage{a.Outages[0].with(func(o *Outage) { o.Depending = 12 })}
		}),
		"gone": recovery.with(func(a *Alert) {
			a.Status, a.Outages = Healthy, []Outage{over.with(func(o *Outage) { o.Status, o.Gone = Dead, true })}
		}),
		"acknowledged": a.with(func(a *Alert) {
			a.Kind, a.Note, a.Outages = Acknowledged, "Acknowledged by Ann: on it", []Outage{still}
		}),
		"repeat": a.with(func(a *Alert) { a.Repeat = true }),
		"notice": a.with(func(a *Alert) {
			a.Kind, a.Outages, a.Note = Notice, a.Outages[1:], "Vigil's own connection was down for 5 min."
		}),
		"test":    a.with(func(a *Alert) { a.Test, a.Status, a.Outages = true, Sick, nil }),
		"earlier": deadAlert().with(func(a *Alert) { a.Recovered, a.Merged = []string{"api:main:0"}, 2 }), // as version 1 stored it
		"hostile": a.with(func(a *Alert) {
			a.Page.Title = "Tom & Jerry's <b>*Status*</b> @**all**"
			a.Page.URL = "https://status.example.com/?a=1&b=<2>"
			a.Note = "_note_ [x](https://evil.example/) \u202ereversed"
			a.Outages = []Outage{{
				ID: "x", Service: "a/b c", Node: "<@all>", ServiceLabel: "@everyone <!channel>", NodeLabel: "_*[]()~`>#+-=|{}.!\\",
				Status: Dead, Since: at.Add(-time.Minute), New: true, Instances: 7, Replicas: []Replica{
					{Path: "a/b c:<@all>:<!channel>", Reason: "HTTP 503 & <b>more</b>"},
					{Path: "a/b c:<@all>:2", Label: "@room @**all** #**general** :fire:", Reason: "``` fence `"},
					{Path: "a/b c:<@all>:日本語🔥👩‍💻", Reason: "\u200fעברית\u202e"},
					{Path: "a/b c:<@all>:a\r\nBcc: x@example.com\x00\x1b[31m", Reason: "line\nbreak"},
					{Path: "a/b c:<@all>:" + strings.Repeat("5000", 60), Reason: strings.Repeat("é", 5000)},
				},
			}}
		}),
	}
}

func TestRequests(t *testing.T) {
	targets := webConfig("https://service.example").Targets("1.2.3")
	for name, alert := range goldenAlerts() {
		messages := make(map[string][]byte)
		for _, target := range targets {
			if !target.Wants(alert) { // of acknowledgements, those that keep incidents alone are told
				continue
			}
			n := target.Notifier.(httpNotifier)
			reqs, err := n.all(alert, at.Add(time.Second))
			if err != nil {
				t.Fatalf("%s: %v", target.Name, err)
			}
			messages[target.Channel] = append(messages[target.Channel], ""...)
			for _, req := range reqs {
				req.Header.Set("User-Agent", n.agent)
				dump, err := httputil.DumpRequestOut(req, true)
				if err != nil {
					t.Fatalf("%s: %v", target.Name, err)
				}
				messages[target.Channel] = append(append(messages[target.Channel], dump...), '\n')
			}
		}
		for channel, got := range messages {
			golden(t, filepath.Join("testdata", channel+"."+name+".http"), got)
		}
	}
}

// Without a messaging service, a number sends.
func TestTwilioFrom(t *testing.T) {
	c := *service[*Twilio](t, webConfig("https://service.example"))
	c.ServiceSID, c.From = "", "+33700000009"
	req, err := c.notifier(c.To[0]).request(deadAlert(), at)
	if err != nil {
		t.Fatal(err)
	}
	if err := req.ParseForm(); err != nil {
		t.Fatal(err)
	}
	if form := req.PostForm; form.Get("From") != c.From || form.Has("MessagingServiceSid") || form.Get("To") != c.To[0] {
		t.Errorf("form %v", form)
	}
}

// messageOf is the message that a request carries, as its receiver unpacks it.
func messageOf(t *testing.T, target Target, a Alert, now time.Time) string {
	t.Helper()
	reqs, err := target.Notifier.(httpNotifier).all(a, now)
	if err != nil || len(reqs) == 0 {
		t.Fatalf("%s: %d requests, %v", target.Name, len(reqs), err)
	}
	req := reqs[0]
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if strings.HasPrefix(req.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(body, &m); err != nil {
			t.Fatalf("%s: %v", target.Name, err)
		}
	} else {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			t.Fatalf("%s: %v", target.Name, err)
		}
		m = make(map[string]any)
		for key, values := range form {
			m[key] = values[0]
		}
	}
	for _, key := range []string{"Body", "content", "message", "body", "text"} {
		if s, ok := m[key].(string); ok && !slices.Contains([]string{"slack", "mattermost", "discord"}, target.Channel) {
			if title, ok := m["title"].(string); ok {
				s = title + "\n\n" + s
			}
			return s
		}
	}
	return string(body)
}

// TestWording checks what every channel must say, whatever its markup.
func TestWording(t *testing.T) {
	alerts := goldenAlerts()
	for _, target := range webConfig("https://service.example").Targets("1.2.3") {
		if slices.Contains([]string{"webhook", "pagerduty", "alertmanager"}, target.Channel) {
			continue // have fields instead of words
		}
		subjectOnly := target.Channel == "twilio"
		for name, want := range map[string][]string{
			"startup":   {"[Crisp Status] STARTED, UP"},
			"changed":   {"[Crisp Status] DOWN: Website ~ Shop (HTTP 503)", "\nDOWN", "Website ~ Shop", "Paris: HTTP 503", "since 08:58:28", "\nSTILL", "API ~ Sign-in", "2 of 3: no answer in 3 s", "for 12 min"},
			"reminder":  {"[Crisp Status] STILL DOWN for 30 min: Website ~ Shop (HTTP 503), reminder 3"},
			"recovery":  {"[Crisp Status] UP: Website ~ Shop (was down 1 min 29 s). Still down: API ~ Sign-in", "\nBACK", "was down 1 min 29 s"},
			"all_clear": {"[Crisp Status] UP: Website ~ Shop (was down 1 min 29 s)"},
			"degraded":  {"[Crisp Status] DEGRADED: Website ~ Shop (slow: 6.2 s)"},
			"depending": {"[Crisp Status] DOWN: Website ~ Shop (HTTP 503) and 12 nodes that depend on it"},
			"gone":      {"[Crisp Status] NO LONGER MONITORED: Website ~ Shop", "\nGONE"},
			"repeat":    {"Website ~ Shop (HTTP 503) (repeat)"},
			"notice":    {"[Crisp Status] NOTICE: Vigil"},
			"test":      {"[Crisp Status] TEST: DEGRADED", "\nThis is a test message."},
			"escalated": {"[Crisp Status] STILL DOWN", ", sent 4 min 30 s late"},
			"earlier":   {"[Crisp Status] DOWN: web ~ core (connection refused)", "\nBACK", "\nThis also stands for 2 earlier messages"},
		} {
			late := time.Second
			if name == "escalated" {
				late = 4*time.Minute + 30*time.Second
			}
			got := messageOf(t, target, alerts[name], alerts[name].Time.Add(late))
			for _, tag := range []string{"<b>", "</b>", "<strong>", "</strong>", "<code>", "</code>", "`", "*", "\\"} {
				if tag != "\\" || target.Channel == "discord" || target.Channel == "mattermost" {
					got = strings.ReplaceAll(got, tag, "")
				}
			}
			got = strings.NewReplacer("&gt;", "~", "\\u003e", "~", ">", "~", `\n`, "\n", "&#39;", "'").Replace(got)
			for _, want := range want {
				if subjectOnly && (strings.HasPrefix(want, "\n") || !strings.Contains(want, "[") && !strings.Contains(want, "sent") && !strings.Contains(want, "(repeat)")) {
					continue
				}
				if want = strings.TrimPrefix(want, "\n"); !strings.Contains(got, want) {
					t.Errorf("%s: the %s message lacks %q:\n%s", target.Name, name, want, got)
				}
			}
			if target.Channel != "pushover" && target.Channel != "ntfy" && !subjectOnly && !strings.Contains(got, "https://status.example.com/") {
				t.Errorf("%s: the %s message lacks the link:\n%s", target.Name, name, got)
			}
		}
	}
}

// TestLimits sends long lists of labels that grow when they are escaped and
// measures what comes out in the unit of the service.
func TestLimits(t *testing.T) {
	limits := map[string]struct {
		size func(string) int
		most int
	}{
		"twilio":   {utf8.RuneCountInString, 120},
		"slack":    {utf8.RuneCountInString, 40000},
		"zulip":    {utf8.RuneCountInString, 10000},
		"telegram": {utf16Count, 4096},
		"pushover": {utf8.RuneCountInString, 120 + 2 + 1024}, // title, empty line, message
		"gotify":   {utf8.RuneCountInString, 4200},
		"matrix":   {byteCount, 20000},
		"webex":    {byteCount, 7439},
		"ntfy":     {byteCount, 120*4 + 2 + 4000},
	}
	for _, label := range []string{"a", "日本語", "🔥", "<&>", "`", "\"", "é" + strings.Repeat("🔥", 400)} {
		a := downAlert()
		a.Page.Title = strings.Repeat(label, 300)
		for i := range 1500 {
			o := outage(fmt.Sprint(label, i)).with(func(o *Outage) { o.New, o.Over = i%2 == 0, i%3 == 0 })
			for range i % 5 {
				o.Replicas = append(o.Replicas, Replica{Path: "web:core:" + label, Reason: label})
			}
			a.Outages = append(a.Outages, o)
		}
		for _, target := range webConfig("https://service.example").Targets("1.2.3") {
			limit, ok := limits[target.Channel]
			if !ok {
				continue
			}
			got := messageOf(t, target, a, at)
			if n := limit.size(got); n > limit.most {
				t.Errorf("%s: a message of %q is %d long, want at most %d", target.Name, label, n, limit.most)
			}
			if !utf8.ValidString(got) {
				t.Errorf("%s: a message of %q is cut within a character", target.Name, label)
			}
			if !strings.Contains(got, " more") {
				t.Errorf("%s: a message of %q does not say that it was cut", target.Name, label)
			}
			if target.Channel != "pushover" && target.Channel != "twilio" && target.Channel != "ntfy" && !strings.Contains(got, a.Page.URL) {
				t.Errorf("%s: a message of %q lost its link", target.Name, label)
			}
		}
	}
}

func TestMatrixEventFits(t *testing.T) {
	a := deadAlert()
	for i := range 5000 {
		a.Dead = append(a.Dead, Replica{Path: fmt.Sprint(i, ":", i, ":", strings.Repeat(`"`, 200)), Reason: strings.Repeat(`\`, 100)})
	}
	req, err := (&Matrix{HomeserverURL: "https://hs", RoomID: "!a:b"}).request(a, at)
	if err != nil {
		t.Fatal(err)
	}
	if req.ContentLength > 63000 { // 65,536 with signatures
		t.Errorf("the event has %d bytes", req.ContentLength)
	}
}

func TestTelegramAddresses(t *testing.T) {
	for _, tt := range []struct {
		chat   string
		thread int64
		want   string
	}{
		{"123456789", 0, `{"chat_id":123456789,"text":`},
		{"-1001234567890", 7, `{"chat_id":-1001234567890,"message_thread_id":7,"text":`},
		{"@ops", 1, `{"chat_id":"@ops","text":`},
	} {
		m := Telegram{BotToken: "1:x", ChatID: tt.chat, MessageThreadID: tt.thread}
		req, err := m.request(deadAlert(), at)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(req.Body)
		if !strings.HasPrefix(string(body), tt.want) {
			t.Errorf("chat %s, thread %d: got %s, want %s", tt.chat, tt.thread, body, tt.want)
		}
		if got, want := req.URL.String(), "https://api.telegram.org/bot1:x/sendMessage"; got != want {
			t.Errorf("URL = %s, want %s", got, want)
		}
	}
}

func TestPriorities(t *testing.T) {
	p := Pushover{AppToken: "a", UserKeys: []Secret{"1", "2", "3"}}
	urgent := func(a Alert) string {
		var got []string
		for rank := range p.UserKeys {
			req, err := p.request(rank, a, at)
			if err != nil {
				t.Fatal(err)
			}
			if err := req.ParseForm(); err != nil {
				t.Fatal(err)
			}
			got = append(got, req.PostForm.Get("user")+":"+req.PostForm.Get("priority"))
		}
		return strings.Join(got, " ")
	}
	a := deadAlert()
	for _, tt := range []struct {
		kind      Kind
		reminders int
		escalate  bool
		want      string
	}{
		{Changed, 0, true, "1: 2: 3:"},
		{Reminder, 1, false, "1:1 2:1 3:1"},
		{Reminder, 1, true, "1:1 2: 3:"},
		{Reminder, 2, true, "1:1 2:1 3:"},
		{Reminder, 9, true, "1:1 2:1 3:1"},
	} {
		a.Kind, a.Reminders, a.Escalate = tt.kind, tt.reminders, tt.escalate
		if got := urgent(a); got != tt.want {
			t.Errorf("%s %d, escalate %v: priorities %q, want %q", tt.kind, tt.reminders, tt.escalate, got, tt.want)
		}
	}
}

func TestURLsAreJoined(t *testing.T) {
	for _, tt := range []struct {
		name    string
		request func(Alert, time.Time) (*http.Request, error)
		want    string
	}{
		{"zulip with slash", (&Zulip{APIURL: "https://z.example/api/v1/"}).request, "https://z.example/api/v1/messages"},
		{"zulip without", (&Zulip{APIURL: "https://z.example/api/v1"}).request, "https://z.example/api/v1/messages"},
		{"gotify with slash", (&Gotify{AppURL: "https://g.example/"}).request, "https://g.example/message"},
		{"gotify below a path", (&Gotify{AppURL: "https://g.example/push"}).request, "https://g.example/push/message"},
		{"matrix", (&Matrix{HomeserverURL: "https://m.example/", RoomID: "!a/b:c"}).request,
			"https://m.example/_matrix/client/v3/rooms/%21a%2Fb:c/send/m.room.message/vigil-b7c1"},
		{"pushover", func(a Alert, now time.Time) (*http.Request, error) {
			return (&Pushover{UserKeys: []Secret{"k"}}).request(0, a, now)
		}, "https://api.pushover.net/1/messages.json"},
		{"twilio", func(a Alert, now time.Time) (*http.Request, error) {
			return (&Twilio{AccountSID: "AC1"}).request("+1", a, now)
		}, "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json"},
	} {
		req, err := tt.request(deadAlert(), at)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := req.URL.String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
