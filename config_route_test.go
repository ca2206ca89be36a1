package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestSelector(t *testing.T) {
	for _, test := range []struct {
		selector      selector
		service, node string
		want          bool
	}{
		{"*", "web", "api", true},
		{"web", "web", "api", true},
		{"web:api", "web", "api", true},
		{"web:api", "web", "apis", false},
		{"web:ap", "web", "api", false},
		{"web:", "web", "api", false},
		{"web", "webs", "api", false},
		{"webs", "web", "s", false},
		{"a:b", "a:b", "c", true},
		{"a:b:c", "a:b", "c", true},
		{"a:b:c", "a", "b:c", true},
		{"", "web", "api", false},
	} {
		if got := test.selector.matches(test.service, test.node); got != test.want {
			t.Errorf("%q selects %s:%s: %v", test.selector, test.service, test.node, got)
		}
	}
}

// routedConfig has the services web (api, page, router) and db (main).
const routedConfig = `
[branding]
page_url = "https://s.example"
[[probe.service]]
id = "web"
label = "Web"
%s
[[probe.service.node]]
id = "api"
label = "API"
mode = "push"
%s
[[probe.service.node]]
id = "page"
label = "Page"
mode = "push"
[[probe.service.node]]
id = "router"
label = "Router"
mode = "push"
%s
[[probe.service]]
id = "db"
label = "Database"
[[probe.service.node]]
id = "main"
label = "Main"
mode = "push"
%s
[[notify.slack]]
id = "db-team"
hook_url = "https://hooks.example/x"
[[notify.slack]]
id = "web-team"
hook_url = "https://hooks.example/y"
[notify]
reminder_interval = 300
reminder_backoff_function = "linear"
`

// readRouted reads a routed config with keys in its web service, its nodes api,
// router and main, and at its end.
func readRouted(service, api, router, main, end string) (*Config, []problem, error) {
	text := fmt.Sprintf(routedConfig, service, api, router, main) + end
	return parseConfig(strings.NewReader(text), "config.cfg", environ(nil))
}

func TestReadRoutes(t *testing.T) {
	c, warnings, err := readRouted("", "", "", "", `
[[notify.route]]
match = ["web"]
to = ["web-team"]
[[notify.route]]
match = ["web:api", "db"]
to = ["db-team", "web-team"]
min_status = "sick"
after = 900
recover_after = 60
reminder_interval = 0
[[notify.route]]
to = ["db-team"]
reminder_interval = 7
reminder_backoff_function = "cubic"
reminder_backoff_limit = 4
[notify.deadman]
url = "https://hc.example/uuid"
`)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	same(t, "routes", c.Routes, []Route{
		{Match: selectors{"web"}, To: []string{"web-team"}, MinStatus: dead, Reminders: Reminders{5 * time.Minute, 1, 3}},
		{Match: selectors{"web:api", "db"}, To: []string{"db-team", "web-team"}, MinStatus: sick, After: 15 * time.Minute,
			RecoverAfter: time.Minute, Reminders: Reminders{0, 1, 3}},
		{Match: selectors{"*"}, To: []string{"db-team"}, MinStatus: dead, Reminders: Reminders{7 * time.Second, 3, 4}},
	})
	same(t, "deadman", *c.Deadman, Deadman{"https://hc.example/uuid", time.Minute})
	for _, test := range []struct{ service, node, channel, want string }{
		{"web", "api", "web-team", "[0 1]"},
		{"web", "api", "db-team", "[1 2]"},
		{"web", "page", "web-team", "[0]"},
		{"db", "main", "db-team", "[1 2]"},
		{"db", "main", "none", "[]"},
	} {
		if got := fmt.Sprint(c.routes(test.service, test.node, test.channel)); got != test.want {
			t.Errorf("%+v: got %s", test, got)
		}
	}
	c, _, _ = readRouted("", "", "", "", "")
	if got := fmt.Sprint(c.routes("db", "main", "db-team"), c.Deadman); got != "[-1] <nil>" {
		t.Errorf("without routes: %s", got)
	}
}

func TestDependencies(t *testing.T) {
	c, warnings, err := readRouted(`depends_on = ["web:router"]`, `depends_on = ["db", "web:router"]`, "", "", "")
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	for node, want := range map[string]string{"api": "router main", "page": "router", "router": ""} {
		var got []string
		for _, n := range c.Services[0].Nodes {
			if n.ID != node {
				continue
			}
			for _, other := range n.DependsOn {
				got = append(got, other.ID)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s depends on %v, want %s", node, got, want)
		}
	}
}

func TestNeeded(t *testing.T) {
	for _, test := range []struct {
		needed         Needed
		replicas, want int
	}{
		{Needed{}, 3, 3}, {Needed{}, 0, 0}, {Needed{Count: 2}, 3, 2}, {Needed{Count: 2}, 1, 1},
		{Needed{Percent: 50}, 3, 2}, {Needed{Percent: 50}, 4, 2}, {Needed{Percent: 100}, 7, 7}, {Needed{Percent: 1}, 7, 1}, {Needed{Percent: 34}, 3, 2},
	} {
		if got := test.needed.of(test.replicas); got != test.want {
			t.Errorf("%+v of %d: %d, want %d", test.needed, test.replicas, got, test.want)
		}
	}
	for keys, want := range map[string]Needed{
		"replicas_needed = 1": {Count: 1}, `replicas_needed = "67%"`: {Percent: 67}, `replicas_needed = " 5 %"`: {},
	} {
		c, _, err := parseConfig(strings.NewReader(checkedNode+keys), "config.cfg", environ(nil))
		if want == (Needed{}) {
			if err == nil {
				t.Errorf("%s: no error", keys)
			}
		} else if err != nil || c.Services[0].Nodes[0].Needed != want {
			t.Errorf("%s: %v", keys, err)
		}
	}
}

func TestReplicaLabels(t *testing.T) {
	text := strings.Replace(checkedNode, `["https://127.0.0.1", "dns:///localhost"]`, `[
  "tcp://127.0.0.1:1",
  { url = "https://user:pass@127.0.0.1", label = "Paris" },
  { url = "tcp://127.0.0.1:2" },
]
hidden = true
[[probe.service.node]]
id = "jobs"
label = ""
mode = "script"
scripts = ["true", "false"]
replica_labels = ["Backup", "Mail"]`, 1)
	c, warnings, err := parseConfig(strings.NewReader(text), "config.cfg", environ(nil))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	core, jobs := c.Services[0].Nodes[0], c.Services[0].Nodes[1]
	same(t, "labels", core.Labels, map[string]string{"https://***@127.0.0.1": "Paris"})
	same(t, "labels", jobs.Labels, map[string]string{"0": "Backup", "1": "Mail"})
	if len(core.Targets) != 3 || core.Targets[2].Raw != "tcp://127.0.0.1:2" || !core.Hidden || jobs.Hidden || jobs.Label != "jobs" {
		t.Errorf("%+v %+v", core, jobs)
	}
}

// A reload names the nodes that changed themselves, and no others.
func TestChangesOfNodes(t *testing.T) {
	read := func(api, end string) *Config {
		c, _, err := readRouted("", api, "", "", end)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const depends = `depends_on = ["db"]`
	old := read(depends, "")
	for _, test := range []struct {
		conf              *Config
		sections, changed string
	}{
		{read(depends, ""), "[]", "[]"},
		{read(depends, "[metrics]\npush_delay_dead = 7"), "[metrics]", "[]"},
		{read(depends+"\npush_delay_dead = 7", ""), "[]", "[web:api]"},
		{read("", ""), "[]", "[web:api]"},
		{read(depends, "[[notify.route]]\nto = [\"db-team\", \"web-team\"]"), "[notify]", "[]"},
		{read(depends, "[[maintenance]]\ntitle = \"x\"\nstart = 2026-12-01T00:00:00Z\nduration = 5"), "[maintenance]", "[]"},
		{read(depends, "[probe]\nconnectivity = [\"icmp://127.0.0.1\"]"), "[probe]", "[]"},
	} {
		c := changes(old, test.conf)
		if fmt.Sprint(c.Sections) != test.sections || fmt.Sprint(c.Changed) != test.changed {
			t.Errorf("sections %v, changed %v; want %s, %s", c.Sections, c.Changed, test.sections, test.changed)
		}
	}
}
