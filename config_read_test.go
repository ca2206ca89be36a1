package main

import (
	"fmt"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"vigil/notify"
)

// environ returns a getenv over fixed variables.
func environ(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

func TestSampleConfig(t *testing.T) {
	env := environ(map[string]string{"VIGIL_MANAGER_TOKEN": "m", "VIGIL_REPORTER_TOKEN": "r"})
	c, warnings, err := parseConfig(strings.NewReader(sampleConfig), "", env)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Error(w)
	}
	if c.Path != "" || c.Server.ManagerToken != "m" || c.Server.ReporterToken != "r" {
		t.Errorf("path %q, tokens %q %q", c.Path, string(c.Server.ManagerToken), string(c.Server.ReporterToken))
	}
}

// The sample's commented keys are as good as the others, and no key is left out.
func TestSampleConfigUncommented(t *testing.T) {
	text := regexp.MustCompile(`(?m)^#([a-z_]+ =|\[)`).ReplaceAllString(sampleConfig, "$1")
	// Keys of all schemes are shown at one node.
	text = strings.Replace(text, "\nreplicas = [", "\nreplicas = [\"tls://127.0.0.1:443\", \"dns:///localhost\", ", 1)
	_, warnings, err := parseConfig(strings.NewReader(text), "", func(name string) (string, bool) {
		switch name {
		case "NTFY_TOPIC":
			return "topic", true
		case "PAGERDUTY_KEY":
			return strings.Repeat("k", 32), true
		}
		return "https://" + name, true
	})
	if err != nil {
		t.Error(err)
	}
	for _, w := range warnings {
		t.Error(w)
	}
	for _, mode := range []string{"poll", "heartbeat"} {
		node := &table{doc: new(document), vals: map[string]any{"id": "n", "label": "N", "mode": mode}}
		new(Config).readNode(node, make(map[string]*table), make(map[string]*table))
		for _, key := range node.known {
			if !regexp.MustCompile(`\b` + key + `\b`).MatchString(sampleConfig) {
				t.Errorf("the sample does not explain %q of a node", key)
			}
		}
	}
	full, err := os.ReadFile("testdata/config/full.cfg")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range regexp.MustCompile(`(?m)^(?:[a-z_]+ =|\[.*\])`).FindAllString(string(full), -1) {
		if !strings.Contains(text, "\n"+key) {
			t.Errorf("the sample does not show %q", key)
		}
	}
}

// fullEnv is the environment of testdata/config/full.cfg.
var fullEnv = environ(map[string]string{
	"MANAGER_TOKEN": "m\"\n${REGION}", "REPORTER_TOKEN": "7", "MCP": "true", "REGION": "eu",
	"RAM": " 0.75", "SCRIPT_INTERVAL": "30", "SMTP_PORT": "2525",
})

// readTestdata reads a config that must be good.
func readTestdata(t *testing.T, name string, env func(string) (string, bool)) (*Config, []problem) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, warnings, err := parseConfig(f, name, env)
	if err != nil {
		t.Fatal(err)
	}
	return c, warnings
}

// same compares one part of a config; %#v would not show secrets.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s\n got %+v\nwant %+v", what, got, want)
	}
}

func mustURL(raw string) *url.URL {
	u, err := url.Parse(raw)
	if err != nil {
		panic(err)
	}
	return u
}

func TestFullConfig(t *testing.T) {
	const name = "testdata/config/full.cfg"
	c, warnings := readTestdata(t, name, fullEnv)
	for _, w := range warnings {
		t.Error(w)
	}
	same(t, "path", c.Path, name)
	same(t, "assets", c.Assets, "testdata")
	same(t, "server", c.Server, Server{
		LogLevel: "warn", Inet: "0.0.0.0:9090", InetSet: true, PathPrefix: "/status",
		ManagerToken: "m\"\n${REGION}", ReporterToken: "r-7", MCP: true, ContentPolicy: new(string),
	})
	same(t, "branding", c.Branding, Branding{
		PageTitle: "Crisp Status", PageURL: "https://status.crisp.chat/", CompanyName: "Crisp IM SAS",
		IconColor: "#1972F5", IconURL: "https://crisp.chat/icon.png", LogoColor: "#abc", LogoURL: "/assets/logo.svg",
		WebsiteURL: "https://crisp.chat/", SupportURL: "mailto:support@crisp.chat",
		CustomHTML: "<meta name=\"a\" content=\"eu\">\n",
		Language:   "auto",
	})
	same(t, "metrics", c.Metrics, Metrics{
		PollInterval: time.Minute, RetryCount: 3, RetryWait: 500 * time.Millisecond, retryCounted: true,
		HTTPHealthyAbove: 201, HTTPHealthyBelow: 301,
		PollDelayDead: 30 * time.Second, PollDelaySick: 10 * time.Second, PollParallelism: 16,
		PushDelayDead: 21 * time.Second, CPUSickAbove: 1, RAMSickAbove: 0.75,
		ScriptInterval: 30 * time.Second, ScriptParallelism: 3, LocalDelayDead: 41 * time.Second,
	})
	same(t, "rabbitmq", *c.RabbitMQ, RabbitMQ{
		APIURL: mustURL("http://127.0.0.1:15672"), Username: "admin", Password: "rabbit$1", VirtualHost: "/",
		ReadyHealthyBelow: new(int64(500)), NackHealthyBelow: new(int64(100)),
		ReadyDeadAbove: new(int64(20000)), NackDeadAbove: new(int64(5000)), LoadedRetryDelay: 250 * time.Millisecond,
	})
	same(t, "alerting", c.Alerting, Alerting{
		ReminderInterval: 5 * time.Minute, BackoffExponent: 2, BackoffLimit: 5, Escalate: true,
	})
	same(t, "storage", c.Storage, Storage{Path: "/var/lib/vigil", Set: true})
	same(t, "mirror", *c.Mirror, Mirror{"/srv/vigil-mirror", []string{"/bin/sh", "-c", "rclone sync /srv/vigil-mirror remote:status"}, 30 * time.Second, 90 * time.Second})
	same(t, "connectivity", c.Connectivity, []Target{
		{Raw: "tcp://9.9.9.9:53", Scheme: "tcp", Host: "9.9.9.9", Port: "53", URL: mustURL("tcp://9.9.9.9:53")},
	})

	for _, ch := range c.Notify.Channels {
		if !ch.RemindersOnly || ch.ID != ch.Kind {
			t.Errorf("%s: id %q, reminders only %v", ch.Kind, ch.ID, ch.RemindersOnly)
		}
	}
	same(t, "page", c.Notify.Page, notify.Page{Title: "Crisp Status", URL: "https://status.crisp.chat/"})
	same(t, "email", *service[*notify.Email](t, c), notify.Email{
		To: []string{"ops@example.com", "boss@example.com"}, From: "vigil@example.com",
		Host: "::1", Port: 2525, Username: "vigil", Password: "p1",
	})
	same(t, "twilio", *service[*notify.Twilio](t, c), notify.Twilio{
		To: []string{"+33 6 00 00 00 00", "whatsapp:+15551234567"}, ServiceSID: "s2", AccountSID: "a2",
		AuthToken: "t2", APIURL: "http://127.0.0.1:1002",
	})
	same(t, "slack", *service[*notify.Slack](t, c), notify.Slack{HookURL: "https://hooks.slack.com/t3", MentionChannel: true})
	same(t, "zulip", *service[*notify.Zulip](t, c), notify.Zulip{
		BotEmail: "bot@example.zulipchat.com", BotAPIKey: "t4", Channel: "outages",
		APIURL: "https://example.zulipchat.com/api/v1/",
	})
	same(t, "telegram", *service[*notify.Telegram](t, c), notify.Telegram{
		BotToken: "1:t5", ChatID: "-1001234567890", MessageThreadID: 17, APIURL: "http://127.0.0.1:1005",
	})
	same(t, "pushover", *service[*notify.Pushover](t, c), notify.Pushover{
		AppToken: "t6", UserKeys: []notify.Secret{"u1", "u2"}, APIURL: "http://127.0.0.1:1006",
	})
	same(t, "gotify", *service[*notify.Gotify](t, c), notify.Gotify{AppURL: "https://push.example.com", AppToken: "t7"})
	same(t, "xmpp", *service[*notify.XMPP](t, c), notify.XMPP{
		To: "ops@example.com/phone", From: "vigil@example.com", Password: "p8",
	})
	same(t, "matrix", *service[*notify.Matrix](t, c), notify.Matrix{
		HomeserverURL: "https://matrix.org", AccessToken: "t9", RoomID: "!abc123:matrix.org",
	})
	same(t, "webex", *service[*notify.Webex](t, c), notify.Webex{
		EndpointURL: "https://webexapis.com/v1/messages", Token: "t10", RoomID: "Y2lz",
	})
	same(t, "webhook", *service[*notify.Webhook](t, c), notify.Webhook{
		HookURL: "https://example.com/t11", Method: "PUT",
		Headers: map[string]notify.Secret{"Authorization": "Bearer h11", "X-Source": "vigil"},
		Body:    "{\"message\": {{json .subject}}, \"outages\": {{json .outages}}}",
	})
	same(t, "discord", *service[*notify.Discord](t, c), notify.Discord{HookURL: "https://discord.com/api/webhooks/1/t12"})
	same(t, "teams", *service[*notify.Teams](t, c), notify.Teams{
		HookURL: "https://x.environment.api.powerplatform.com:443/powerautomate/t13?sp=%2Ftriggers&sig=s13",
	})
	same(t, "mattermost", *service[*notify.Mattermost](t, c), notify.Mattermost{HookURL: "https://mattermost.example.com/hooks/t14"})
	same(t, "googlechat", *service[*notify.GoogleChat](t, c), notify.GoogleChat{
		HookURL: "https://chat.googleapis.com/v1/spaces/A/messages?key=t15&token=t15",
	})
	same(t, "ntfy", *service[*notify.Ntfy](t, c), notify.Ntfy{
		URL: "https://ntfy.example.com", Topic: "t16", Username: "vigil", Password: "p16",
	})
	same(t, "pagerduty", *service[*notify.PagerDuty](t, c), notify.PagerDuty{
		RoutingKey: "0123456789abcdef0123456789abcdef", APIURL: "https://events.eu.pagerduty.com",
	})
	same(t, "alertmanager", *service[*notify.Alertmanager](t, c), notify.Alertmanager{
		URLs: []string{"http://am-1.example.com:9093", "http://am-2.example.com:9093/am"}, Username: "vigil", Password: "p17",
	})

	const secure = "HTTPS://user:pass@Example.net/a?b=%20c"
	for _, n := range slices.Concat(c.Services[0].Nodes, c.Services[1].Nodes) {
		if n.Metrics != &c.Metrics {
			t.Errorf("node %s has values of its own", n.ID)
		}
		n.Metrics = nil
	}
	same(t, "services", c.Services, []*Service{
		{ID: "web", Label: "Web nodes", Nodes: []*Node{
			{
				ID: "web", Label: "Core", Mode: modePoll, RevealReplicaName: true,
				Targets: []Target{
					{Raw: "tcp://edge-1.example.net:80", Scheme: "tcp", Host: "edge-1.example.net", Port: "80", URL: mustURL("tcp://edge-1.example.net:80")},
					{Raw: "icmp://[::1]", Scheme: "icmp", Host: "::1", URL: mustURL("icmp://[::1]")},
					{Raw: "HTTPS://***@Example.net/a?b=%20c", Scheme: "https", Host: "Example.net", Port: "443", URL: mustURL(secure)},
					{Raw: "http://[::1]:8080", Scheme: "http", Host: "::1", Port: "8080", URL: mustURL("http://[::1]:8080")},
					{Raw: "ssh://edge-1.example.net:22/", Scheme: "ssh", Host: "edge-1.example.net", Port: "22", URL: mustURL("ssh://edge-1.example.net:22/")},
				},
				HTTPHeaders: map[string]string{"Authorization": "Bearer 7", "Host": "example.org"},
				HTTPMethod:  "POST", HTTPBody: "{}", HTTPMatch: regexp.MustCompile(`(?i)^ok\b`),
				LinkURL: "https://example.com/", LinkLabel: "Example",
			},
			{
				ID: "a b/c:d.é", Label: "Workers", Mode: modePush, RabbitMQQueue: "jobs",
				NackHealthyBelow: new(int64(0)), NackDeadAbove: new(int64(10)),
			},
		}},
		{ID: "other", Label: "Other", Nodes: []*Node{
			{ID: "web", Label: "Script", Mode: modeScript, Scripts: []string{
				"  test \"${UNSET:-x}\" = \"$HOME\" && exit ${UNSET}\n  ", "exit 7",
			}},
			{ID: "local", Label: "Local", Mode: modeLocal},
		}},
	})
}

func TestWildConfig(t *testing.T) {
	c, warnings := readTestdata(t, "testdata/config/wild.cfg", environ(nil))
	var said []string
	for _, w := range warnings {
		said = append(said, w.Error())
	}
	same(t, "warnings", said, []string{
		"testdata/config/wild.cfg:8: server.manager_token: is the one of the sample, which everybody knows; allowed: a secret of your own",
		"testdata/config/wild.cfg:9: server.reporter_token: is the one of the sample, which everybody knows; allowed: a secret of your own",
	})
	same(t, "assets", c.Assets, "")
	same(t, "email", service[*notify.Email](t, c).To, []string{"status@crisp.chat"})
	same(t, "services", len(c.Services), 4)
	same(t, "nodes", len(c.Services[0].Nodes), 4)
	same(t, "script", c.Services[3].Nodes[0].Scripts, []string{"  # Do some work...\n  exit 1\n  "})
}

// What holds when a config says no more than it must.
func TestDefaults(t *testing.T) {
	c, warnings, err := parseConfig(strings.NewReader("branding.page_url = \"https://s.example\""), "config.cfg", environ(nil))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	same(t, "config", *c, Config{
		Path:     "config.cfg",
		Server:   Server{LogLevel: "error", Inet: "[::1]:8080"},
		Branding: Branding{PageTitle: "Status Page", PageURL: "https://s.example/", Language: "en"},
		Metrics: Metrics{
			PollInterval: 2 * time.Minute, RetryCount: 1, RetryWait: 2 * time.Second,
			HTTPHealthyAbove: 200, HTTPHealthyBelow: 400,
			PollDelayDead: 10 * time.Second, PollDelaySick: 5 * time.Second, PollParallelism: 4,
			PushDelayDead: 20 * time.Second, CPUSickAbove: 0.9, RAMSickAbove: 0.9,
			ScriptInterval: 5 * time.Minute, ScriptParallelism: 2, LocalDelayDead: 40 * time.Second,
		},
		Alerting: Alerting{Startup: true, BackoffLimit: 3},
		Notify:   notify.Config{Page: notify.Page{Title: "Status Page", URL: "https://s.example/"}},
		Storage:  Storage{Path: "./data/"},
	})
}

func TestGoodConfigs(t *testing.T) {
	const end = "\n[branding]\npage_url = \"https://s.example\""
	for _, test := range []struct {
		name, text string
		got        func(*Config) any
		want       any
	}{
		{"sick follows a short dead", "[metrics]\npoll_delay_dead = 3", func(c *Config) any { return c.Metrics.PollDelaySick }, 3 * time.Second},
		{"sick may be dead", "[metrics]\npoll_delay_dead = 7\npoll_delay_sick = 7", func(c *Config) any { return c.Metrics.PollDelaySick }, 7 * time.Second},
		{"retry at once", "[metrics]\npoll_retry = 0", func(c *Config) any { return []any{c.Metrics.RetryCount, c.Metrics.RetryWait} }, []any{1, time.Duration(0)}},
		{"no retry", "[metrics]\npoll_retry = 0\npoll_retry_wait = 1", func(c *Config) any { return c.Metrics.RetryCount }, 0},
		{"default count of retries", "[metrics]\npoll_retry_wait = 100", func(c *Config) any { return c.Metrics.RetryCount }, 2},
		{"integer for a float", "[metrics]\npush_system_cpu_sick_above = 2", func(c *Config) any { return c.Metrics.CPUSickAbove }, 2.0},
		{"backoff that would overflow", "[notify]\nreminder_interval = 31536000\nreminder_backoff_function = \"cubic\"\nreminder_backoff_limit = 1000000",
			func(c *Config) any { return c.Alerting.BackoffLimit }, 4},
		{"no prefix", "[server]\npath_prefix = \"/\"", func(c *Config) any { return c.Server.PathPrefix }, ""},
		{"long prefix", "[server]\npath_prefix = \"/a/b.c/\"", func(c *Config) any { return c.Server.PathPrefix }, "/a/b.c"},
		{"any address", "[server]\ninet = \":0\"", func(c *Config) any { return c.Server.Inet }, ":0"},
		{"mirror without a command", "[mirror]\npath = \"/srv/vigil-mirror\"", func(c *Config) any { return *c.Mirror }, Mirror{"/srv/vigil-mirror", nil, time.Minute, 2 * time.Minute}},
		{"mirror with a list", "[mirror]\npath = \"/srv/vigil-mirror\"\ncommand = [\"a\", \"b c\"]", func(c *Config) any { return c.Mirror.Command }, []string{"a", "b c"}},
		{"memory only", "[storage]\npath = \"\"", func(c *Config) any { return c.Storage }, Storage{Set: true}},
		{"no assets", "[assets]\npath = \"\"", func(c *Config) any { return c.Assets }, ""},
		{"assets elsewhere than a config for Docker says", "[assets]\npath = \"res/assets\"", func(c *Config) any { return c.Assets }, ""},
		{"empty optional keys", "[server]\n[metrics]\n[plugins]\n[notify]\n[probe]\n", func(c *Config) any { return c.RabbitMQ }, (*RabbitMQ)(nil)},
		{"topic as a number", "[notify.telegram]\nbot_token = \"t\"\nchat_id = \"@c\"\nmessage_thread_id = 4", func(c *Config) any { return service[*notify.Telegram](t, c).MessageThreadID }, int64(4)},
		{"token off", "[server]\nmanager_token = \"${NO}\"", func(c *Config) any { return string(c.Server.ManagerToken) }, ""},
		{"token that looks like a variable", "[server]\nmanager_token = \"${LOOKS}\"", func(c *Config) any { return string(c.Server.ManagerToken) }, "${NO}"},
		{"inline tables", "probe = { service = [ { id = \"a\", label = \"A\", node = [ { id = \"b\", label = \"B\", mode = \"push\" } ] } ] }",
			func(c *Config) any { return c.Services[0].Nodes[0].ID }, "b"},
		{"carriage returns", "[server]\r\nlog_level = \"info\"\r\n", func(c *Config) any { return c.Server.LogLevel }, "info"},
		{"byte order mark", "\ufeff[server]\nlog_level = \"info\"", func(c *Config) any { return c.Server.LogLevel }, "info"},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := environ(map[string]string{"LOOKS": "${NO}"})
			c, warnings, err := parseConfig(strings.NewReader(test.text+end), "config.cfg", env)
			for _, w := range warnings {
				if !w.note {
					t.Error(w)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			same(t, "value", test.got(c), test.want)
		})
	}
}

// Nothing that a file holds makes the reader panic, and all that it says of a
// file has a line of it.
func FuzzParseConfig(f *testing.F) {
	for _, name := range []string{"testdata/config/full.cfg", "testdata/config/wild.cfg", problemsFile} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for part := range strings.SplitSeq(string(text), "=== ") {
			_, part, _ = strings.Cut(part, "\n")
			f.Add(part)
		}
	}
	f.Add(sampleConfig)
	said := regexp.MustCompile(`^config\.cfg:(\d+): [^ ].*: .`)
	f.Fuzz(func(t *testing.T, text string) {
		c, warnings, err := parseConfig(strings.NewReader(text), "config.cfg", fullEnv)
		if (c == nil) != (err != nil) {
			t.Fatalf("config %v, error %v", c, err)
		}
		var lines []string
		if err != nil {
			lines = strings.Split(err.Error(), "\n")
		}
		for _, w := range warnings {
			lines = append(lines, w.Error())
		}
		for _, line := range lines {
			m := said.FindStringSubmatch(line)
			if m == nil {
				t.Errorf("%q has no line of the file", line)
				continue
			}
			if n, err := strconv.Atoi(m[1]); err != nil || n < 1 || n > 1+strings.Count(text, "\n") {
				t.Errorf("%q: there is no such line", line)
			}
		}
	})
}

// largeConfig is a config of so many nodes, a hundred to a service, with
// variables and strings of several lines in it.
func largeConfig(nodes int) string {
	var b strings.Builder
	b.WriteString("[branding]\npage_url = \"https://status.example.com\"\n")
	for i := range nodes {
		if i%100 == 0 {
			fmt.Fprintf(&b, "\n[[probe.service]]\nid = \"service-%d\"\nlabel = \"Service %d\"\n", i/100, i/100)
		}
		fmt.Fprintf(&b, `
[[probe.service.node]]
id = "node-%d"
label = "Node %d ${REGION}"
mode = "poll"
replicas = ["https://edge-%d.example.net/health", "tcp://edge-%d.example.net:443"]
http_headers = { "X-Token" = ${TOKEN} }
http_body_healthy_match = '''
ok|fine'''
`, i, i, i, i)
	}
	return b.String()
}

func BenchmarkParseConfig(b *testing.B) {
	env := environ(map[string]string{"REGION": "eu", "TOKEN": `a"b`})
	for _, nodes := range []int{1_000, 10_000} {
		text := largeConfig(nodes)
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := parseConfig(strings.NewReader(text), "config.cfg", env); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	// With a fault and a warning in each node.
	text := strings.ReplaceAll(largeConfig(10_000), `mode = "poll"`, "mod = \"pol\"\nmode = \"pool\"")
	b.Run("10000 faulty", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := parseConfig(strings.NewReader(text), "config.cfg", env); err == nil {
				b.Fatal("no error")
			}
		}
	})
}

// service returns the only channel of its type.
func service[S notify.Service](t *testing.T, c *Config) S {
	t.Helper()
	for _, ch := range c.Notify.Channels {
		if s, ok := ch.Service.(S); ok {
			return s
		}
	}
	var none S
	t.Fatalf("no channel is a %T", none)
	return none
}
