package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// movingVersions is how many minor versions of the Rust Vigil there are: 1.0 to
// 1.29.
const movingVersions = 30

// movingConfig returns the sample of the minor version 1.N of the Rust Vigil:
// the lines of the newest one that are not marked as of a later version.
func movingConfig(t *testing.T, minor int) string {
	t.Helper()
	text, err := os.ReadFile("testdata/moving/server.cfg")
	if err != nil {
		t.Fatal(err)
	}
	mark := regexp.MustCompile(` #(\d+)$`)
	var b strings.Builder
	for line := range strings.SplitSeq(string(text), "\n") {
		if m := mark.FindStringSubmatch(line); m != nil {
			if since, _ := strconv.Atoi(m[1]); since > minor {
				continue
			}
			line = strings.TrimSuffix(line, m[0])
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// Every config of a Rust Vigil is taken as it is. The one thing said of the
// samples is that their tokens are known to everybody.
func TestMovingFromEachVersion(t *testing.T) {
	before := ""
	for minor := range movingVersions {
		t.Run(fmt.Sprintf("1.%d", minor), func(t *testing.T) {
			text := movingConfig(t, minor)
			c, problems, err := parseConfig(strings.NewReader(text), "config.cfg", func(string) (string, bool) { return "", false })
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range problems {
				if !p.note && !strings.HasSuffix(p.key, "_token") {
					t.Error(p)
				}
			}
			if c.Branding.CompanyName != "Acme Inc." || c.Notify.Email == nil || c.Notify.Slack == nil || len(c.Services) != 2 {
				t.Errorf("read as %+v", c)
			}
			if (c.RabbitMQ != nil) != (minor >= 2) || (c.Notify.Webhook != nil) != (minor >= 6) {
				t.Errorf("rabbitmq %v, webhook %v", c.RabbitMQ != nil, c.Notify.Webhook != nil)
			}
			if len(text) < len(before) {
				t.Error("a version lost something")
			}
			before = text
		})
	}
}

// The newest one has every key that there is, so that none is forgotten.
func TestMovingKnowsAllKeys(t *testing.T) {
	c, _, err := parseConfig(strings.NewReader(movingConfig(t, movingVersions-1)), "config.cfg", func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	n := &c.Notify
	for name, there := range map[string]bool{
		"email": n.Email != nil, "twilio": n.Twilio != nil, "slack": n.Slack != nil, "zulip": n.Zulip != nil,
		"telegram": n.Telegram != nil, "pushover": n.Pushover != nil, "gotify": n.Gotify != nil, "xmpp": n.XMPP != nil,
		"matrix": n.Matrix != nil, "webex": n.Webex != nil, "webhook": n.Webhook != nil,
	} {
		if !there {
			t.Errorf("no channel %s", name)
		}
	}
	if !c.Server.MCP || !c.Alerting.Escalate || c.Metrics.RetryCount != 2 {
		t.Errorf("server %+v, alerting %+v, metrics %+v", c.Server, c.Alerting, c.Metrics)
	}
}

// Without its delays in the file, an old Vigil waited longer: docs/moving.md
// says so.
func TestMovingDefaults(t *testing.T) {
	text := regexp.MustCompile(`(?m)^poll_delay_.*\n`).ReplaceAllString(movingConfig(t, 0), "")
	c, _, err := parseConfig(strings.NewReader(text), "config.cfg", func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(c.Metrics.PollDelayDead, c.Metrics.PollDelaySick), "10s 5s"; got != want {
		t.Errorf("delays %s, want %s", got, want)
	}
}

func TestMovingVigilLocal(t *testing.T) {
	text, err := os.ReadFile("testdata/moving/local.cfg")
	if err != nil {
		t.Fatal(err)
	}
	c, problems, err := parseLocal(strings.NewReader(string(text)), "local.cfg", func(string) (string, bool) { return "", false })
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	if len(c.Services) != 1 || len(c.Services[0].Nodes) != 2 || c.Endpoint != "https://status.example.com" {
		t.Errorf("read as %+v", c)
	}
}

// What cannot be taken over says what to change to what.
func TestMovingSaysWhatToChange(t *testing.T) {
	for _, tt := range []struct{ name, from, to, want string }{
		{"empty token", `manager_token = "REPLACE_THIS_WITH_A_VERY_SECRET_KEY"`, `manager_token = ""`,
			"server.manager_token: is empty; allowed: any non-empty text, or no manager_token at all to switch the Manager API off"},
		{"other assets", `path = "./res/assets/"`, `path = "/usr/share/no-vigil/assets"`,
			`assets.path: "/usr/share/no-vigil/assets" cannot be read (no such file or directory); allowed: a folder that exists`},
		{"sick after dead", "poll_delay_sick = 10", "poll_delay_sick = 40",
			"metrics.poll_delay_sick: 40 is over poll_delay_dead, which is 30; allowed: up to that"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := movingConfig(t, movingVersions-1)
			if !strings.Contains(text, tt.from) {
				t.Fatalf("%q is not in the sample", tt.from)
			}
			_, _, err := parseConfig(strings.NewReader(strings.Replace(text, tt.from, tt.to, 1)), "config.cfg", func(string) (string, bool) { return "", false })
			if err == nil || !strings.HasSuffix(err.Error(), tt.want) {
				t.Errorf("got %v, want at its end %s", err, tt.want)
			}
		})
	}
}
