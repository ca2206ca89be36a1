package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Differences from the Rust Vigil that docs/moving.md has a row for. Those that
// take the whole program are in e2e/moving_test.go, which also holds the rows
// against both lists.
func TestMovingDifferences(t *testing.T) {
	for row, test := range map[string]func(*testing.T){
		"XMPP":                             movingXMPP,
		"`log_level` not set":              movingLogLevel,
		"Start":                            movingStart,
		"Page before the first check":      movingFirstPage,
		"A change":                         movingChange,
		"Second outage during a first one": movingSecondOutage,
		"Dead replicas in alerts":          movingReasons,
		"Checks":                           movingChecks,
		"Hanging targets":                  movingHanging,
		"`poll_retry`":                     movingRetry,
		"`poll_delay_dead`, `poll_delay_sick` not set":                       movingDelays,
		"`push_system_cpu_sick_above`, `push_system_ram_sick_above` not set": movingLoads,
		"`tcp://` with a name of several addresses":                          movingAddresses,
		"`ssh://`":                             movingSSH,
		"`http_body_healthy_match`":            movingBody,
		"Scripts":                              movingScripts,
		"Pings without the right to send them": movingPings,
		"RabbitMQ that cannot be asked":        movingRabbitMQ,
		"`server.workers`":                     movingWorkers,
		"Wrong config":                         movingMistakes,
		"Server away":                          movingServerAway,
		"`poll_retry` of the agent":            movingAgentRetry,
		"Keys of the agent":                    movingAgentKeys,
	} {
		t.Run(strings.ReplaceAll(row, "`", ""), test)
	}
}

// parseMoving parses a config without an environment.
func parseMoving(text string) (*Config, []problem, error) {
	return parseConfig(strings.NewReader(text), "config.cfg", func(string) (string, bool) { return "", false })
}

// movingRead reads a config that has what must be there, and these lines.
func movingRead(t *testing.T, lines string) *Config {
	t.Helper()
	c, problems, err := parseMoving("[branding]\npage_url = \"https://s.example/\"\n" + lines)
	if err != nil || slices.ContainsFunc(problems, func(p problem) bool { return !p.note }) {
		t.Fatal(err, problems)
	}
	return c
}

// movingPlay returns the alerts of three nodes that all were healthy at first.
func movingPlay(alerting Alerting, steps func(p *play)) string {
	p := newPlay(alertConfig(alerting))
	steps(p)
	p.until(p.begin.Add(time.Hour))
	return strings.Join(p.alerts, "\n")
}

func wantAlerts(t *testing.T, got string, want ...string) {
	t.Helper()
	if got != strings.Join(want, "\n") {
		t.Errorf("alerts\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func movingXMPP(t *testing.T) {
	c := movingRead(t, "[notify.xmpp]\nfrom = \"a@example.com\"\nto = \"b@example.com\"\nxmpp_password = \"p\"\n")
	if len(c.Notify.Targets("1")) != 1 {
		t.Error("there is no channel")
	}
	// TestXMPP in package notify has servers that offer no TLS.
}

func movingLogLevel(t *testing.T) {
	if c := movingRead(t, ""); c.Server.LogLevel != "error" {
		t.Error(c.Server.LogLevel)
	}
}

func movingStart(t *testing.T) {
	wantAlerts(t, movingPlay(Alerting{Startup: true}, func(p *play) {
		p.at(0, "a=healthy", "b=healthy")
		p.at(3*time.Second, "c=dead")
	}), "3s startup dead +c")
}

func movingFirstPage(t *testing.T) {
	now := time.Now()
	conf := alertConfig(Alerting{})
	page := body(t, get(newTestPage(t, newState(conf, now).snapshot(now)).handler(nil), "GET", "/"))
	if strings.Count(page, "not checked yet") < 3 || strings.Contains(page, `class="r healthy"`) {
		t.Error(page)
	}
}

func movingChange(t *testing.T) {
	wantAlerts(t, movingPlay(Alerting{}, func(p *play) {
		p.at(0, "a=healthy", "b=healthy", "c=healthy")
		p.at(time.Minute, "a=dead")
		p.at(time.Minute+150*time.Millisecond, "b=dead")
	}), "1m0.35s changed dead +a +b")
}

func movingSecondOutage(t *testing.T) {
	wantAlerts(t, movingPlay(Alerting{}, func(p *play) {
		p.at(0, "a=healthy", "b=healthy", "c=healthy")
		p.at(time.Minute, "a=dead")
		p.at(2*time.Minute, "b=dead")
	}), "1m0.2s changed dead +a", "2m0.2s changed dead a +b")
}

func movingReasons(t *testing.T) {
	wantAlerts(t, movingPlay(Alerting{}, func(p *play) {
		p.at(0, "a=healthy", "b=healthy", "c=healthy")
		p.st.applyResult(result{replica: p.replicas[0], status: dead, reason: "connection refused", at: p.now}, p.now)
		p.at(time.Minute, "b=dead", "a=healthy")
	}), "200ms changed dead +a(connection refused)", "1m0.2s changed dead -a +b")
}

func movingDelays(t *testing.T) {
	if m := movingRead(t, "").Metrics; m.PollDelayDead != 10*time.Second || m.PollDelaySick != 5*time.Second {
		t.Error(m.PollDelayDead, m.PollDelaySick)
	}
}

func movingLoads(t *testing.T) {
	if m := movingRead(t, "").Metrics; m.CPUSickAbove != 0.90 || m.RAMSickAbove != 0.90 {
		t.Error(m.CPUSickAbove, m.RAMSickAbove)
	}
}

func movingWorkers(t *testing.T) { movingRead(t, "[server]\nworkers = 64\n") }

func movingMistakes(t *testing.T) {
	_, _, err := parseMoving("[branding]\npage_url = \"https://s.example/\"\n[metrics]\npoll_interval = 0\npoll_retry = \"2\"\n")
	const want = "config.cfg:4: metrics.poll_interval: 0 is out of range; allowed: an integer from 1 to 31536000 seconds\n" +
		"config.cfg:5: metrics.poll_retry: is a string; allowed: an integer from 0 to 31536000 seconds"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}
