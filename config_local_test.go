package main

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestLocalProblems reads every bad agent's config of a golden file and
// compares, word for word, what is said of it.
func TestLocalProblems(t *testing.T) {
	testProblems(t, "testdata/config/local_problems.txt", func(text string, whole bool) string {
		if !whole {
			text += "\n[report]\nendpoint = \"https://s.example\"\ntoken = \"t\"\n"
		}
		_, warnings, err := parseLocal(strings.NewReader(text), "local.cfg", environ(badEnv))
		return wordsOf(warnings, err)
	})
}

func TestLocalConfig(t *testing.T) {
	env := environ(map[string]string{"VIGIL_TOKEN": "t0ken"})
	c, warnings, err := loadLocal(t.Context(), "testdata/config/local.cfg", env)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	services := c.Services
	c.Services = nil
	if want := (LocalConfig{
		LogLevel: "debug",
		Endpoint: "https://status.example.com/pages",
		Token:    "t0ken",
		Interval: time.Minute,
		Metrics: Metrics{
			PollInterval: time.Minute, ScriptInterval: time.Minute,
			RetryCount: 1, RetryWait: 3 * time.Second,
			HTTPHealthyAbove: 201, HTTPHealthyBelow: 500,
			PollDelayDead: 8 * time.Second, PollDelaySick: 4 * time.Second,
			PollParallelism: 16, ScriptParallelism: 3,
		},
	}); !reflect.DeepEqual(*c, want) {
		t.Errorf("got  %+v\nwant %+v", *c, want)
	}
	var got []string
	for _, r := range replicas(services) {
		got = append(got, r.service.ID+" "+r.node.ID+" "+r.node.Mode.String()+" "+r.id)
	}
	if want := []string{
		"internal gateway poll icmp://127.0.0.1",
		"internal gateway poll tcp://[::1]:22",
		"internal wiki poll http://wiki.lan/",
		"internal capacity script host-1:0",
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("replicas %q, want %q", got, want)
	}
	wiki := services[0].Nodes[1]
	if wiki.HTTPMethod != "POST" || wiki.HTTPBody != "ping" || wiki.HTTPHeaders["X-Probe"] != "1" || !wiki.HTTPMatch.MatchString("pong") {
		t.Errorf("node %+v", wiki)
	}
}

// A config written for Vigil Local works as it is, and one with the least
// that it needs means the same.
func TestLocalConfigInTheWild(t *testing.T) {
	wild, warnings, err := loadLocal(t.Context(), "testdata/config/local_wild.cfg", environ(nil))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if want := (Metrics{
		PollInterval: 2 * time.Minute, ScriptInterval: 2 * time.Minute,
		RetryCount: 1, RetryWait: 2 * time.Second,
		HTTPHealthyAbove: 200, HTTPHealthyBelow: 400,
		PollDelayDead: 10 * time.Second, PollDelaySick: time.Second,
		PollParallelism: 4, ScriptParallelism: 2,
	}); wild.Metrics != want || wild.Interval != want.PollInterval {
		t.Errorf("got  %+v\nwant %+v", wild.Metrics, want)
	}
	if n := len(replicas(wild.Services)); n != 3 {
		t.Errorf("%d replicas, want 3", n)
	}

	text, err := os.ReadFile("testdata/config/local_wild.cfg")
	if err != nil {
		t.Fatal(err)
	}
	metrics, rest, _ := strings.Cut(string(text), "[metrics]")
	_, rest, _ = strings.Cut(rest, "[probe]\n")
	least, warnings, err := parseLocal(strings.NewReader(strings.Replace(metrics+rest, "log_level", "#", 1)), "local.cfg", environ(nil))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if least.LogLevel != "error" {
		t.Errorf("log level %q, want error", least.LogLevel)
	}
	least.LogLevel = wild.LogLevel
	if !reflect.DeepEqual(least, wild) {
		t.Errorf("the defaults are\n%+v, want\n%+v", least, wild)
	}
}

// A node of an agent has values of its own, like one of a monitor.
func TestLocalOwnValues(t *testing.T) {
	const text = "[report]\nendpoint = \"https://s.example\"\ntoken = \"t\"\n[metrics]\ninterval = 60\n[[probe.service]]\nid = \"lan\"\n" +
		"[[probe.service.node]]\nid = \"gate\"\nmode = \"poll\"\nreplicas = [\"https://192.0.2.1\"]\npoll_interval = 7\npoll_delay_dead = 3\ntls_verify = false\n" +
		"[[probe.service.node]]\nid = \"disk\"\nmode = \"script\"\nscripts = [\"exit 0\"]\nscript_interval = 9\n"
	c, warnings, err := parseLocal(strings.NewReader(text), "local.cfg", environ(nil))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	gate, disk := c.Services[0].Nodes[0], c.Services[0].Nodes[1]
	if m := gate.Metrics; m.PollInterval != 7*time.Second || m.PollDelayDead != 3*time.Second || m.ScriptInterval != time.Minute || !gate.TLS.SkipVerify {
		t.Errorf("%+v, %+v", m, gate.TLS)
	}
	if m := disk.Metrics; m.ScriptInterval != 9*time.Second || m.PollInterval != time.Minute {
		t.Errorf("%+v", m)
	}
}
