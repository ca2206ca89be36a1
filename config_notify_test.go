package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A kind may have one channel without an id, or several with ids.
func TestChannelIDs(t *testing.T) {
	const hook = "\nhook_url = \"https://a.example/x\"\n"
	const gotify = "\napp_url = \"https://g.example\"\napp_token = \"t\"\n"
	for _, tt := range []struct {
		name, text string
		want       string // the channels, or what is wrong
	}{
		{"none", "[notify]", "[]"},
		{"a plain table", "[notify.slack]" + hook, "[slack by a hook at a.example]"},
		{"a plain table with an id", "[notify.slack]\nid = \"ops\"" + hook, "[ops: slack by a hook at a.example]"},
		{"two of a kind", "[notify]\nreminder_interval = 60\n[[notify.slack]]" + hook + "[[notify.slack]]\nid = \"db-team\"\nreminders_only = true" + hook,
			"[slack by a hook at a.example db-team: slack by a hook at a.example (reminders only)]"},
		{"inline tables", "[notify]\nwebhook = [{ id = \"a\", hook_url = \"https://a.example\" }, { id = \"b\", hook_url = \"https://b.example\" }]",
			"[a: webhook at a.example b: webhook at b.example]"},
		{"of two kinds", "[[notify.slack]]\nid = \"ops\"" + hook + "[notify.gotify]" + gotify,
			"[ops: slack by a hook at a.example gotify at g.example]"},
		{"two of one id", "[[notify.slack]]" + hook + "[[notify.slack]]" + hook,
			`config.cfg:3: notify.slack[1].id: "slack" is also the id of the channel in line 1; allowed: a different id for each channel`},
		{"two kinds with one id", "[notify.slack]" + hook + "[[notify.gotify]]\nid = \"slack\"" + gotify,
			`config.cfg:4: notify.gotify[0].id: "slack" is also the id of the channel in line 1; allowed: a different id for each channel`},
		{"not an id", "[notify.slack]\nid = \"db team\"" + hook,
			`config.cfg:2: notify.slack.id: "db team" is not an id; allowed: letters, digits, dots, hyphens and underscores, at most 64`},
		{"an empty id", "[notify.slack]\nid = \"\"" + hook,
			`config.cfg:2: notify.slack.id: is empty; allowed: letters, digits, dots, hyphens and underscores, at most 64`},
		{"both forms of a kind", "[notify.slack]" + hook + "[[notify.slack]]" + hook,
			"config.cfg:3: notify.slack: is [notify.slack] in an earlier line; allowed: [[notify.slack]] for each of several"},
		{"a channel that is no table", "[notify]\nslack = \"https://a.example\"",
			"config.cfg:2: notify.slack: is a string; allowed: one table, [notify.slack]"},
		{"addresses with commas", "[notify.email]\nto = \"a@example.com, B <b@example.com>\"\nfrom = \"v@example.com\"\n",
			"[email to a@example.com, b@example.com over localhost port 587]"},
		{"several senders", "[notify.email]\nto = \"a@example.com\"\nfrom = \"v@example.com, w@example.com\"\n",
			`config.cfg:3: notify.email.from: "v@example.com, w@example.com" is several addresses; allowed: one`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, warnings, err := parseConfig(strings.NewReader(tt.text+"\n[branding]\npage_url = \"https://s.example\""), "config.cfg", environ(nil))
			got := fmt.Sprint(err)
			if err == nil {
				got = fmt.Sprint(c.Notify.Channels)
			}
			if got != tt.want || len(warnings) > 0 {
				t.Errorf("got %s\nwant %s; warnings %v", got, tt.want, warnings)
			}
		})
	}
}

// The Matrix table of version 1.20 of the Rust Vigil, which has no token, is
// taken. That the channel is off is logged at the level of such a file.
func TestChannelOff(t *testing.T) {
	const old = "homeserver_url = \"https://m.example\"\nroom_id = \"!a:m.example\"\nusername = \"u\"\npassword = \"p\"\nreminders_only = true\n"
	for _, tt := range []struct{ more, channels, log string }{
		{"", "[]", "level=ERROR msg=\"channel is off, nobody is told through it; 'vigil check' says what it lacks\" channel=matrix"},
		{"access_token = \"t\"\n", "[matrix to room !a:m.example at m.example (reminders only)]", ""},
	} {
		path := filepath.Join(t.TempDir(), "config.cfg")
		text := "[branding]\npage_url = \"https://s.example\"\n[notify.matrix]\n" + old + tt.more
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		log, level, err := newLogger(&out, "text")
		if err != nil {
			t.Fatal(err)
		}
		c, err := (&daemon{path: path, log: log, level: level}).load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(c.Notify.Channels); got != tt.channels {
			t.Errorf("channels %s, want %s", got, tt.channels)
		}
		if got := out.String(); !strings.Contains(got, tt.log) || strings.Contains(got, "channel is off") != (tt.log != "") {
			t.Errorf("the log is\n%s\nwant %s", got, tt.log)
		}
	}
}

// A route may name a channel that is off, so that turning one off for a while
// takes one change; but it is said, and who is told of nothing then.
func TestRouteToAChannelThatIsOff(t *testing.T) {
	const text = `[branding]
page_url = "https://s.example"
[notify.matrix]
homeserver_url = "https://m.example"
room_id = "!a:m.example"
username = "u"
password = "p"
[[notify.route]]
to = ["matrix"]
[[probe.service]]
id = "web"
label = "Web"
[[probe.service.node]]
id = "api"
label = "API"
mode = "push"
`
	c, warnings, err := parseConfig(strings.NewReader(text), "config.cfg", environ(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`9: notify.route[0].to[0]: "matrix" is off, so this route does not lead there`,
		`no route selects web:api, so nobody is told of it`,
	} {
		if got := fmt.Sprint(warnings); !strings.Contains(got, want) {
			t.Errorf("warnings %s, want %s", got, want)
		}
	}
	if to := c.Routes[0].To; len(to) > 0 || len(c.routes("web", "api", "matrix")) > 0 {
		t.Errorf("the route leads to %q", to)
	}
}

// What is wrong with a channel is one line that says what is allowed.
func TestChannelProblems(t *testing.T) {
	const hook = "hook_url = \"https://a.example/x\"\n"
	for _, tt := range []struct{ text, want string }{
		{"[notify.webhook]\n" + hook + "method = \"FETCH\"", `3: notify.webhook.method: "FETCH" is not a method; allowed: GET, POST, PUT, PATCH, DELETE`},
		{"[notify.webhook]\n" + hook + "method = \"get\"\nbody = \"x\"", `4: notify.webhook.body: is not sent with GET; allowed: another method`},
		{"[notify.webhook]\n" + hook + "body = \"{{.subject\"", `3: notify.webhook.body: is not a template: line 1: unclosed action`},
		{"[notify.webhook]\n" + hook + "body = \"{{.subjekt}}\"",
			`3: notify.webhook.body: fails for an example alert of type "changed" with status "dead": line 1:2: executing "body" at <.subjekt>: map has no entry for key "subjekt"`},
		{"[notify.webhook]\n" + hook + "body = \"{{(index .outages 0).label}}\"",
			`3: notify.webhook.body: fails for an example alert of type "startup" with status "healthy": line 1:3: executing "body" at <index .outages 0>: error calling index: reflect: slice index out of range`},
		{"[notify.webhook]\n" + hook + "headers = { \"A B\" = \"x\" }", `3: notify.webhook.headers: "A B" is not the name of a header; allowed: letters, digits and hyphens, like Authorization`},
		{"[notify.webhook]\n" + hook + "headers = { host = \"x\" }", `3: notify.webhook.headers: "host" is set by Vigil itself`},
		{"[notify.webhook]\n" + hook + "headers = { X = \"a\\nb\" }", `3: notify.webhook.headers: the value of "X" holds a control character; allowed: one line of text`},
		{"[notify.webhook]\n" + hook + "headers = [\"x\"]", `3: notify.webhook.headers: is a list; allowed: a table of strings, like { Authorization = "Bearer ..." }`},
		{"[notify.webhook]\n" + hook + "headers = { X = 1 }", `3: notify.webhook.headers.X: is an integer; allowed: a string`},
		{"[notify.ntfy]\ntopic = \"a b\"", `2: notify.ntfy.topic: is not a topic; allowed: letters, digits, hyphens and underscores, at most 64`},
		{"[notify.ntfy]\ntopic = \"a\"\ntoken = \"t\"\nusername = \"u\"", `4: notify.ntfy.username: is beside token; allowed: either token, or username and password`},
		{"[notify.ntfy]\ntopic = \"a\"\nusername = \"u\"", `1: notify.ntfy.password: is missing; allowed: any non-empty text`},
		{"[notify.alertmanager]\nurls = [\"am:9093\"]", `2: notify.alertmanager.urls[0]: "am:9093" is not a URL of http or https; allowed: one like http://alertmanager.example.com:9093`},
		{"[notify.alertmanager]\nurls = []", `2: notify.alertmanager.urls: is empty; allowed: a list of URLs, like http://alertmanager.example.com:9093`},
		{"[notify.alertmanager]\nurls = [\"http://am:9093\"]\npassword = \"p\"", `1: notify.alertmanager.username: is missing; allowed: any non-empty text`},
		{"[notify.pagerduty]", `1: notify.pagerduty.routing_key: is missing; allowed: any non-empty text`},
		{"[notify.discord]\nhook_url = \"discord\"", `2: notify.discord.hook_url: has no scheme; allowed: an http:// or https:// URL with a host, like https://discord.com/api/webhooks/...`},
		{"[notify.teams]\nhook_url = \"https://acme.webhook.office.com/webhookb2/x\"",
			`warning 2: notify.teams.hook_url: is an Office 365 connector, which Microsoft switched off in May 2026; allowed: the URL of a Workflows webhook`},
		{"[notify.email]\nto = \"a@example.com\"\nfrom = \"v@example.com\"\nsmtp_host = \"mail.example.com\"\nsmtp_username = \"u\"\nsmtp_password = \"p\"\nsmtp_encrypt = false",
			`warning 7: notify.email.smtp_encrypt: is false: the password is sent unencrypted if the server offers no TLS`},
	} {
		_, warnings, err := parseConfig(strings.NewReader(tt.text+"\n[branding]\npage_url = \"https://s.example\""), "config.cfg", environ(nil))
		var got []string
		if err != nil {
			got = append(got, strings.ReplaceAll(err.Error(), "config.cfg:", ""))
		}
		for _, w := range warnings {
			got = append(got, "warning "+strings.TrimPrefix(w.Error(), "config.cfg:"))
		}
		if s := strings.Join(got, "\n"); s != tt.want {
			t.Errorf("%s\ngot  %s\nwant %s", tt.text, s, tt.want)
		}
	}
}
