package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// command runs the program with these arguments beside the running one, as
// somebody does who stands in its folder.
func (r *running) command(args ...string) (code int, out string) {
	r.t.Helper()
	cmd := exec.Command(vigil, args...)
	cmd.Dir = r.cmd.Dir
	cmd.Env = append(os.Environ(), "VIGIL_MANAGER_TOKEN=manage", "TZ=UTC")
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState == nil {
			r.t.Fatal(err)
		}
	}
	return cmd.ProcessState.ExitCode(), b.String()
}

// want runs a command and compares its exit code and parts of what it prints.
func (r *running) want(code int, parts []string, args ...string) string {
	r.t.Helper()
	got, out := r.command(args...)
	if got != code {
		r.t.Errorf("vigil %s: exit code %d, want %d:\n%s", strings.Join(args, " "), got, code, out)
	}
	for _, part := range parts {
		if !strings.Contains(out, part) {
			r.t.Errorf("vigil %s: %q is missing in\n%s", strings.Join(args, " "), part, out)
		}
	}
	return out
}

// write gives the running program another config, which it does not read yet.
func (r *running) write(config string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.cmd.Dir, "config.cfg"), []byte(config), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func TestReloadCommand(t *testing.T) {
	t.Parallel()
	config := func(address, more string) string {
		return "[server]\nlog_level = \"info\"\ninet = \"" + address + "\"\nmanager_token = \"manage\"\n[branding]\npage_url = \"https://status.example.com/\"\n" +
			"[storage]\npath = \"\"\n[[probe.service]]\nid = \"web\"\nlabel = \"Web\"\n" + more
	}
	const app = "[[probe.service.node]]\nid = \"app\"\nlabel = \"App\"\nmode = \"push\"\n"
	address := freeAddress(t)
	r := startVigil(t, config(address, ""))
	r.want(0, []string{"Reloaded, nothing has changed.\n"}, "reload")
	r.write(config(address, app))
	r.want(0, []string{"Reloaded:\nadded  web:app\n"}, "reload")
	r.waitFor("status/report", "the new node", func(s string) bool { return strings.Contains(s, `"name":"App"`) })

	r.write(config(address, app+"interval = 1\nmode2 = 7\n[[probe.service]]\nid = 7\n"))
	out := r.want(1, []string{"vigil reload: config.cfg:", "probe.service[1].id"}, "reload")
	if n := strings.Count(out, "vigil reload: config.cfg:"); n < 2 {
		t.Errorf("%d faults of several:\n%s", n, out)
	}
	if s := r.get("status/report"); !strings.Contains(s, `"name":"App"`) {
		t.Errorf("a config with faults changed the page: %s", s)
	}

	// The command reads the address from a config that may have moved on; the
	// running program is found with -url.
	moved := freeAddress(t)
	r.write(config(moved, app))
	r.want(1, []string{"is Vigil running there?"}, "reload")
	out = r.want(0, []string{`"sections"`}, "reload", "-json", "-url", r.url)
	var changed struct{ Sections []string }
	if err := json.Unmarshal([]byte(out), &changed); err != nil || len(changed.Sections) != 1 || changed.Sections[0] != "server" {
		t.Errorf("%v: %s", err, out)
	}
	r.url = "http://" + moved + "/"
	r.want(0, []string{"nothing has changed"}, "reload")
	r.stop(syscall.SIGTERM)
}

const commandsConfig = `
[server]
log_level = "info"
inet = "ADDRESS"
manager_token = "manage"
reporter_token = "report"
[branding]
page_url = "https://status.example.com/"
[metrics]
poll_interval = 1
poll_retry_wait = 10
script_interval = 1
[[probe.service]]
id = "web"
label = "Web"
[[probe.service.node]]
id = "shop"
label = "Shop"
mode = "poll"
replicas = ["tcp://127.0.0.1:1", "tcp://ADDRESS"]
[[probe.service.node]]
id = "jobs"
label = "Jobs"
mode = "push"
[[probe.service]]
id = "box"
label = "Box"
[[probe.service.node]]
id = "disk"
label = "Disk"
mode = "script"
scripts = ["echo 91 % full; exit 1"]
`

// startCommands starts a Vigil with a dead node, a sick one and one that waits.
func startCommands(t *testing.T) *running {
	t.Helper()
	r := startVigil(t, strings.ReplaceAll(commandsConfig, "ADDRESS", freeAddress(t)))
	r.waitFor("status/report", "all is checked", func(s string) bool {
		return strings.Contains(s, `["dead","healthy"]`) && strings.Contains(s, `["sick"]`)
	})
	return r
}

func TestStatusCommand(t *testing.T) {
	t.Parallel()
	r := startCommands(t)
	r.want(3, []string{"3 nodes, 1 dead, 1 sick.\n\nSTATUS  NODE", "dead    web:shop", "  tcp://127.0.0.1:1  dead  ", "connection refused\n",
		"sick    box:disk", "91 % full\n"}, "status")
	if out := r.want(3, []string{"web:jobs"}, "status", "-all", "web"); strings.Contains(out, "box:disk") {
		t.Errorf("the selector web selects box:disk:\n%s", out)
	}
	r.want(0, []string{"1 node, none is dead or sick.\n"}, "status", "web:jobs")
	out := r.want(3, nil, "status", "-json", "-all")
	var s struct {
		Status string
		Nodes  []struct {
			Service, Node, Status, Reason string
			Replicas                      []struct{ ID, Status string }
		}
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil || s.Status != "dead" || len(s.Nodes) != 3 || len(s.Nodes[0].Replicas) != 2 {
		t.Errorf("%v: %s", err, out)
	}
	if strings.Contains(out, "\x1b") {
		t.Error("colour where there is no terminal")
	}
	r.want(1, []string{"vigil status: ", `"wbe"`, `"web"`}, "status", "wbe")
	r.stop(syscall.SIGTERM)
	r.want(1, []string{"is Vigil running there?"}, "status")
}

func TestAnnounceCommand(t *testing.T) {
	t.Parallel()
	r := startCommands(t)
	r.want(0, []string{"No announcements.\n"}, "announce", "-list")
	r.want(0, []string{"Published as "}, "announce", "Slow uploads", "We look into it.", "-service", "web", "-state", "investigating", "-until", "2h30m")
	r.waitFor("", "the announcement", func(s string) bool { return strings.Contains(s, "Slow uploads") })
	out := r.want(0, []string{"Slow uploads", "investigating"}, "announce", "-list", "-json")
	var all []struct{ ID string }
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	id := all[0].ID
	r.want(0, []string{"Updated.\n"}, "announce", "-update", id, "-state", "monitoring", "Better now.")
	r.want(0, []string{"ID", id + "  2  ", "  monitoring  web    Slow uploads\n"}, "announce", "-list")

	// Two operators have read revision 2. The second one is told.
	announced := func() string {
		t.Helper()
		return r.want(0, []string{id}, "announce", "-list", "-json")
	}
	r.want(0, []string{"Changed.\n"}, "announce", "-edit", id, "-revision", "2", "Slow uploads in Europe")
	if said := r.want(1, nil, "announce", "-edit", id, "-revision", "2", "Slow uploads in Asia"); said != "vigil announce: somebody else has changed this announcement: read it again\n" {
		t.Errorf("the second operator reads %q", said)
	}
	var now []map[string]any
	if err := json.Unmarshal([]byte(announced()), &now); err != nil || now[0]["title"] != "Slow uploads in Europe" || now[0]["text"] != "We look into it." ||
		now[0]["state"] != "monitoring" || now[0]["until"] == nil || now[0]["revision"] != 3.0 || len(now[0]["updates"].([]any)) != 1 {
		t.Errorf("%v: %v", err, now)
	}
	r.want(0, []string{id}, "announce", "-edit", id, "-json", "-until", "", "-service", "", "-state", "identified", "", "A cable is cut.")
	if err := json.Unmarshal([]byte(announced()), &now); err != nil || now[0]["title"] != "Slow uploads in Europe" || now[0]["text"] != "A cable is cut." ||
		now[0]["state"] != "identified" || now[0]["until"] != nil || len(now[0]["selectors"].([]any)) != 0 {
		t.Errorf("%v: %v", err, now)
	}
	r.want(0, []string{"Changed.\n"}, "announce", "-edit", id, "-state", "")
	if err := json.Unmarshal([]byte(announced()), &now); err != nil || now[0]["state"] != nil {
		t.Errorf("%v: %v", err, now)
	}
	r.want(1, []string{`"wbe"`, `"web"`}, "announce", "-edit", id, "-service", "wbe")
	r.want(0, []string{"Removed.\n"}, "announce", "-remove", id)
	r.want(1, []string{"vigil announce: ", id}, "announce", "-remove", id)
	r.want(1, []string{"vigil announce: ", id}, "announce", "-edit", id, "Title")
	r.want(1, []string{"state"}, "announce", "Title", "-state", "broken")
	r.want(1, []string{`"wbe"`, `"web"`}, "announce", "Title", "-service", "wbe")
	for args, want := range map[string]string{
		"":                              "want a title and a text, got 0 arguments: are they in quotes?",
		"a b c":                         "want a title and a text, got 3 arguments: are they in quotes?",
		"-list -remove x":               "-list, -update, -edit and -remove exclude each other",
		"-edit x -update y z":           "-list, -update, -edit and -remove exclude each other",
		"-edit x":                       "nothing to change: want a title, a title and a text, or -service, -state or -until",
		"-edit x a b c":                 "want a title and a text at most, got 3 arguments: are they in quotes?",
		"-revision 2 a":                 "-revision takes a number from 1 up, and goes with -edit",
		"-edit x -revision -2 a":        "-revision takes a number from 1 up, and goes with -edit",
		"-edit x -until soon":           `-until "soon": want a duration like 2h30m, or a time like 22:00 or 2026-11-26T22:00:00Z`,
		"-list x":                       `unexpected argument "x"`,
		"-update x":                     "want one text, got 0 arguments: is it in quotes?",
		"-update x -service y z":        "an update takes -state and a text only",
		"a -until soon":                 `-until "soon": want a duration like 2h30m, or a time like 22:00 or 2026-11-26T22:00:00Z`,
		"a -until 2020-01-01T00:00:00Z": `-until "2020-01-01T00:00:00Z" is in the past`,
	} {
		r.want(2, []string{"vigil announce: " + want + " (see 'vigil announce -h')\n"}, append([]string{"announce"}, strings.Fields(args)...)...)
	}
	r.stop(syscall.SIGTERM)
}

func TestLogCommand(t *testing.T) {
	t.Parallel()
	hook := newHook(t)
	address := freeAddress(t)
	text := strings.ReplaceAll(commandsConfig, "ADDRESS", address)
	r := startVigil(t, text)
	r.waitForLog("", `to=dead reason="connection refused"`)
	r.waitForLog("", `msg="node changed" node=box:disk from=unknown to=sick reason="91 % full"`)
	if strings.Contains(r.logged(), "msg=notification") {
		t.Error("a notification is logged, but there is no channel")
	}
	r.write(text + "[notify.webhook]\nhook_url = \"" + hook.URL + "\"\n")
	r.want(0, []string{"Reloaded:"}, "reload")
	hook.next(t, "changed", "dead")
	log := func(args ...string) string {
		t.Helper()
		var out string
		await(t, func() bool {
			_, out = r.command(append([]string{"log"}, args...)...)
			return strings.Contains(out, "accepted by webhook") || len(args) > 0
		}, "no delivery in %s", "the log")
		return out
	}
	for _, want := range []string{"  start ", "web:shop          replica tcp://127.0.0.1:1 dead: connection refused\n", "web:shop          dead: connection refused\n", "box:disk          sick: 91 % full\n",
		"  reload            done: sections notify", "  call              POST /manager/reload", "  alert to webhook  changed, the page is dead: web:shop\n"} {
		if out := log(); !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if out := log("box"); !strings.Contains(out, "box:disk") || strings.Contains(out, "web:shop") || strings.Contains(out, "accepted") || strings.Contains(out, "reload") {
		t.Errorf("of box there is\n%s", out)
	}
	if out := log("web:shop"); !strings.Contains(out, "accepted by webhook") || strings.Contains(out, "box:disk") || strings.Contains(out, "reload") {
		t.Errorf("of web:shop there is\n%s", out)
	}
	for line := range strings.Lines(log("-json", "-since", "1d")) {
		var e struct{ Kind, Time string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Kind == "" {
			t.Errorf("%v: %s", err, line)
		}
	}
	r.want(1, []string{`"wbe"`, `"web"`}, "log", "wbe")
	r.want(2, []string{`vigil log: -since "soon": want a duration like 90m or 7d, or a time like 22:00`}, "log", "-since", "soon")

	// It goes on after a restart.
	dir := r.cmd.Dir
	r.stop(syscall.SIGTERM)
	r = startIn(t, dir, "", serving)
	out := r.want(0, nil, "log")
	if strings.Count(out, "  start ") != 2 || strings.Count(out, "  stop") != 1 {
		t.Errorf("after a restart the log is\n%s", out)
	}
	r.stop(syscall.SIGTERM)
}

func TestProbeCommand(t *testing.T) {
	t.Parallel()
	r := startCommands(t)
	r.want(1, []string{"dead     web:shop  tcp://127.0.0.1:1", "connection refused\n", "healthy  web:shop  tcp://127.0.0.1:"}, "probe", "web")
	r.want(0, []string{"sick  box:disk  0  ", "91 % full\n"}, "probe", "box:disk")
	out := r.want(1, []string{`"results"`}, "probe", "*", "-json")
	var answer struct {
		Results []struct{ Service, Status string }
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Results) != 3 {
		t.Errorf("%v: %s", err, out)
	}
	r.want(1, []string{"vigil probe: ", "web:jobs"}, "probe", "web:jobs")
	r.want(1, []string{`"wbe"`, `"web"`}, "probe", "wbe")
	r.want(0, []string{"verdict  healthy"}, "probe", r.url)
	r.stop(syscall.SIGTERM)
	r.want(1, []string{"verdict  dead: connection refused"}, "probe", r.url)
}

func TestMaintenanceCommands(t *testing.T) {
	t.Parallel()
	r := startCommands(t)
	// id returns the id of the only one in a list.
	id := func(command string) string {
		t.Helper()
		var all []struct{ ID string }
		out := r.want(0, nil, command, "-list", "-json")
		if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		return all[0].ID
	}
	r.want(0, []string{"No maintenances.\n"}, "maintenance", "-list")
	r.want(0, []string{"Done, its id is "}, "maintenance", "web", "-for", "2h30m", "Database upgrade", "-text", "We upgrade.")
	r.want(0, []string{"ID ", "  web    Database upgrade: We upgrade.\n"}, "maintenance", "-list")
	// shows awaits the snapshot that has it.
	shows := func(text string) {
		t.Helper()
		await(t, func() bool { _, out := r.command("status", "web"); return strings.Contains(out, text) }, "%q in the status", text)
	}
	shows("connection refused (maintenance: Database upgrade)\n")
	r.want(0, []string{"Ended.\n"}, "maintenance", "-end", id("maintenance"))
	r.want(0, []string{"Done, its id is "}, "maintenance", "web", "box", "-for", "1d", "-at", "22:00", "Later")
	r.want(0, []string{"  web box  Later\n"}, "maintenance", "-list")
	r.want(0, []string{"Ended.\n"}, "maintenance", "-end", id("maintenance"))

	r.want(0, []string{"No silences.\n"}, "silence", "-list")
	r.want(0, []string{"Done, its id is "}, "silence", "web:shop", "-for", "90s", "load test")
	r.want(0, []string{"  web:shop  load test\n"}, "silence", "-list")
	shows("connection refused (silence: load test)\n")
	r.want(0, []string{"Ended.\n"}, "silence", "-end", id("silence"))
	r.want(1, []string{"vigil silence: "}, "silence", "-end", "x")

	r.want(0, []string{"Acknowledged 1 outage.\n"}, "ack", "web:shop", "Ann, on it", "-for", "8h")
	shows("connection refused (acknowledged)\n")
	r.want(0, []string{"Taken back for 1 outage.\n"}, "ack", "web:shop", "-end")
	r.want(1, []string{`no open outage matches "web:jobs"`}, "ack", "web:jobs", "Ann, on it")
	var s struct{ Nodes []struct{ Outage string } }
	out := r.want(3, nil, "status", "-json", "web:shop")
	if err := json.Unmarshal([]byte(out), &s); err != nil || len(s.Nodes) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	r.want(0, []string{"Acknowledged 1 outage.\n"}, "ack", s.Nodes[0].Outage, "Ann, on it")
	var made struct {
		ID      string
		Outages []string
	}
	out = r.want(0, nil, "ack", "web:shop", "Ann, on it", "-json")
	if err := json.Unmarshal([]byte(out), &made); err != nil || len(made.Outages) != 1 || made.Outages[0] != s.Nodes[0].Outage {
		t.Errorf("%v: %s", err, out)
	}
	for _, command := range []string{"silence", "maintenance"} {
		out := r.want(0, nil, command, "box", "-for", "1m", "a trial", "-json")
		if err := json.Unmarshal([]byte(out), &made); err != nil || made.ID == "" {
			t.Errorf("%v: %s", err, out)
		}
		r.want(0, []string{`"id": "` + made.ID + `"`}, command, "-end", made.ID, "-json")
	}

	// The log has all of it, and of the planned one only the calls.
	log := r.want(0, []string{"  maintenance  began: Database upgrade: web:shop", "  maintenance  ended: Database upgrade: web:shop",
		"  silence      began: load test: web:shop\n", "  silence      ended: load test: web:shop\n",
		"  web:shop     outage acknowledged: Ann: on it\n", "  web:shop     outage no longer acknowledged\n", "  call         POST /manager/silences\n"}, "log")
	if strings.Contains(log, "Later") {
		t.Errorf("a maintenance that never began is in\n%s", log)
	}
	if log := r.want(0, []string{"began: load test"}, "log", "web:shop"); strings.Contains(log, "  call") || strings.Contains(log, "box:disk") {
		t.Errorf("of one node there is\n%s", log)
	}

	for args, want := range map[string]string{
		"maintenance web -for 2h":            "vigil maintenance: want a selector and a title, got 1 argument: is it in quotes?",
		"maintenance web Title":              "vigil maintenance: -for is missing: how long, like 2h",
		"maintenance web Title -for 2hours":  `vigil maintenance: invalid value "2hours" for flag -for: want a duration like 90s, 5m, 2h30m or 1d`,
		"maintenance web T -for 2h -at 25:0": `vigil maintenance: -at "25:0": want a time like 22:00 or 2026-11-26T22:00:00Z`,
		"maintenance -list -end x":           "vigil maintenance: -list and -end exclude each other",
		"silence web why":                    "vigil silence: -for is missing: how long, like 2h",
		"ack web":                            `vigil ack: want an outage or selector and "who, why", got 1 argument: is it in quotes?`,
	} {
		fields := strings.Fields(args)
		r.want(2, []string{want + " (see 'vigil " + fields[0] + " -h')\n"}, fields...)
	}
	r.want(1, []string{`"wbe"`, `"web"`}, "silence", "wbe", "-for", "1h", "why")
	r.stop(syscall.SIGTERM)
}

func TestSLACommand(t *testing.T) {
	t.Parallel()
	r := startCommands(t)
	r.want(0, []string{"NODE      AVAILABLE", "\nweb:shop  ", "\nbox:disk  "}, "sla")
	if out := r.want(0, []string{"box:disk"}, "sla", "box"); strings.Contains(out, "web:shop") {
		t.Errorf("the selector box selects web:shop:\n%s", out)
	}
	out := r.want(0, []string{"month,service,node,label,up_minutes,", ",web,shop,Shop,"}, "sla", "-csv", "web")
	if rows, err := csv.NewReader(strings.NewReader(out)).ReadAll(); err != nil || len(rows) != 3 || len(rows[1]) != 12 {
		t.Errorf("%v: %q", err, rows)
	}
	var s struct {
		Month    string
		Services []struct{ ID string }
	}
	out = r.want(0, nil, "sla", "-json")
	if err := json.Unmarshal([]byte(out), &s); err != nil || s.Month == "" || len(s.Services) != 2 {
		t.Errorf("%v: %s", err, out)
	}
	r.want(2, []string{`vigil sla: -month "november": want a month like 2026-11`}, "sla", "-month", "november")
	r.want(1, []string{`"wbe"`, `"web"`}, "sla", "wbe")
	r.stop(syscall.SIGTERM)
}
