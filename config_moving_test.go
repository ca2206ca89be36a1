package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// movingVersions is how many minor versions of the Rust Vigil there are: 1.0 to
// 1.29.
const movingVersions = 30

// movingConfig returns the sample of the minor version 1.N of the Rust Vigil, as
// it would be for us: the lines of the newest one that are not marked as of
// other versions. The real ones are looked at by TestPeerMovingSamples.
func movingConfig(t *testing.T, name string, minor int) string {
	t.Helper()
	text, err := os.ReadFile("testdata/moving/" + name)
	if err != nil {
		t.Fatal(err)
	}
	mark := regexp.MustCompile(` #(\d+)(?:-(\d+))?$`)
	var b strings.Builder
	for line := range strings.SplitSeq(string(text), "\n") {
		if m := mark.FindStringSubmatch(line); m != nil {
			since, _ := strconv.Atoi(m[1])
			until, err := strconv.Atoi(m[2])
			if since > minor || err == nil && until < minor {
				continue
			}
			line = strings.TrimSuffix(line, m[0])
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// parseMoving parses a config without an environment.
func parseMoving(text string) (*Config, []problem, error) {
	return parseConfig(strings.NewReader(text), "config.cfg", func(string) (string, bool) { return "", false })
}

// movingTable returns the rows of the table under a heading of docs/moving.md,
// with their cells.
func movingTable(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile("docs/moving.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	_, section, _ = strings.Cut(section, "\n|---")
	_, section, _ = strings.Cut(section, "\n")
	for line := range strings.SplitSeq(section, "\n") {
		if !strings.HasPrefix(line, "| ") {
			break
		}
		rows = append(rows, strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "| "), " |"), " | "))
	}
	return rows
}

// movingSays returns what docs/moving.md tells that vigil check says of the
// sample of 1.N, sorted, with what becomes of the file before each problem.
func movingSays(t *testing.T, minor int) (all []string) {
	t.Helper()
	for _, row := range movingTable(t, "What `vigil check` says of the other Vigil's samples") {
		var since, until int
		if n, _ := fmt.Sscanf(row[0], "1.%d to 1.%d", &since, &until); n == 1 {
			until = since
		}
		if since <= minor && minor <= until {
			all = append(all, row[1]+" "+strings.Trim(row[2], "`"))
		}
	}
	slices.Sort(all)
	return all
}

// Every config of a Rust Vigil is taken as it is, but for that of 1.20, which
// logged in to Matrix. What is said of them is in docs/moving.md.
func TestMovingFromEachVersion(t *testing.T) {
	for minor := range movingVersions {
		t.Run(fmt.Sprintf("1.%d", minor), func(t *testing.T) {
			told := movingSays(t, minor)
			c, problems, err := parseMoving(movingConfig(t, "server.cfg", minor))
			if minor == 20 {
				const fault = "notify.matrix.access_token: is missing; allowed: any non-empty text"
				if err == nil || !strings.HasSuffix(err.Error(), fault) || !slices.Contains(told, "refused "+fault) {
					t.Errorf("got %v, want %s, and docs/moving.md to tell it", err, fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range problems {
				if said := "taken " + p.key + ": " + p.text; !p.note && !slices.Contains(told, said) {
					t.Errorf("docs/moving.md does not tell of %s", said)
				}
			}
			if c.Branding.CompanyName != "Acme Inc." || c.Notify.Email == nil || c.Notify.Slack == nil || len(c.Services) != 2 {
				t.Errorf("read as %+v", c)
			}
			if (c.RabbitMQ != nil) != (minor >= 1) || (c.Notify.Webhook != nil) != (minor >= 10) {
				t.Errorf("rabbitmq %v, webhook %v", c.RabbitMQ != nil, c.Notify.Webhook != nil)
			}
			if w := c.Notify.Twilio; (w != nil) != (minor >= 4) || w != nil && (w.From != "") != (minor < 9) {
				t.Errorf("twilio %+v", w)
			}
		})
	}
}

// The newest one has every key that there is, so that none is forgotten.
func TestMovingKnowsAllKeys(t *testing.T) {
	c, _, err := parseMoving(movingConfig(t, "server.cfg", movingVersions-1))
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

func TestMovingVigilLocal(t *testing.T) {
	for minor, id := range []string{"0", "0", "0", "server-1:0"} {
		c, problems, err := parseLocal(strings.NewReader(movingConfig(t, "local.cfg", minor)), "local.cfg", func(string) (string, bool) { return "", false })
		if err != nil || len(problems) > 0 {
			t.Fatal(err, problems)
		}
		all := replicas(c.Services)
		if len(all) != 3 || all[2].id != id || c.Endpoint != "https://status.example.com" {
			t.Errorf("1.%d: read as %+v", minor, c)
		}
	}
}

// What cannot be taken over says what to change to what, as docs/moving.md has
// it: the change is in the first cell of the row, what is said in the second.
func TestMovingSaysWhatToChange(t *testing.T) {
	rows := movingTable(t, "What is a mistake here and was none there")
	if len(rows) != 8 {
		t.Errorf("%d rows", len(rows))
	}
	text := movingConfig(t, "server.cfg", movingVersions-1)
	for _, row := range rows {
		line := strings.Trim(row[0], "`")
		key, _, _ := strings.Cut(line, " = ")
		t.Run(line, func(t *testing.T) {
			there := regexp.MustCompile(`(?m)^` + key + ` = .*$`)
			if n := len(there.FindAllString(text, -1)); n != 1 {
				t.Fatalf("%s is in the sample %d times", key, n)
			}
			want := strings.Trim(row[1], "`")
			_, _, err := parseMoving(there.ReplaceAllLiteralString(text, line))
			if err == nil || !regexp.MustCompile(`^config\.cfg:\d+: `+regexp.QuoteMeta(want)+`$`).MatchString(err.Error()) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}
