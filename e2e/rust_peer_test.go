//go:build peer

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// rustVersion is the release of the Rust Vigil that ours is held against.
const rustVersion = "1.29.0"

// rustConfig is what both programs run on: their address, their assets, their
// hook, and targets of every kind.
const rustConfig = `
[server]
log_level = "info"
inet = %[1]q
workers = 2
manager_token = "manage"
reporter_token = "report"
[assets]
path = %[2]q
[branding]
page_title = "Side by side"
page_url = "https://status.example.com/"
company_name = "Acme"
icon_color = "#1972F5"
icon_url = "https://status.example.com/icon.png"
logo_color = "#1972F5"
logo_url = "https://status.example.com/logo.png"
website_url = "https://example.com/"
support_url = "mailto:help@example.com"
custom_html = ""
[metrics]
poll_interval = 1
poll_retry = 1
poll_http_status_healthy_above = 200
poll_http_status_healthy_below = 400
poll_delay_dead = 5
poll_delay_sick = 2
poll_parallelism = 8
push_delay_dead = 20
push_system_cpu_sick_above = 0.90
push_system_ram_sick_above = 0.90
script_interval = 1
script_parallelism = 4
local_delay_dead = 40
[plugins]
[notify]
startup_notification = true
reminder_interval = 300
[notify.webhook]
hook_url = %[3]q
[probe]
[[probe.service]]
id = "web"
label = "Web"
[[probe.service.node]]
id = "http"
label = "HTTP"
mode = "poll"
replicas = [%[4]q]
[[probe.service.node]]
id = "body"
label = "Body"
mode = "poll"
replicas = ["%[4]sbody?query=as%%20it%%20is"]
http_body_healthy_match = "^all is w.ll$"
[[probe.service.node]]
id = "tcp"
label = "TCP"
mode = "poll"
replicas = ["tcp://%[5]s"]
[[probe.service]]
id = "own"
label = "Own"
[[probe.service.node]]
id = "script"
label = "Script"
mode = "script"
scripts = ["exit 0", "exit %[6]s"]
[[probe.service.node]]
id = "push"
label = "Push"
mode = "push"
reveal_replica_name = true
[[probe.service.node]]
id = "local"
label = "Local"
mode = "local"
`

// rustProgram returns the Rust Vigil and its assets, built from its crate.
func rustProgram(t *testing.T) (program, assets string) {
	t.Helper()
	cargo := cargoPath(t)
	shared, env := rustFolder(t)
	dir, err := crate(t, cargo, "vigil-server", rustVersion)
	if err != nil {
		t.Fatal(err)
	}
	install(t, t.TempDir(), env, cargo, "install", "--quiet", "--debug", "--locked", "--root", shared, "vigil-server@"+rustVersion)
	return filepath.Join(shared, "bin/vigil"), filepath.Join(dir, "res/assets")
}

// A twin is one of the two programs on the same config.
type twin struct {
	name, url string
	hook      *hook
}

// answer is what a twin says to a request: its status, and the parts of a JSON
// body that both must agree on.
type answer struct {
	Status int
	Body   any
}

func (w *twin) ask(t *testing.T, method, path, token, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.SetBasicAuth("", token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Close = true // the Rust Vigil ends connections without a word after some errors
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s: %v", w.name, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", w.name, err)
	}
	a := answer{Status: resp.StatusCode}
	if resp.StatusCode == http.StatusOK && json.Unmarshal(text, &a.Body) == nil {
		prune(a.Body)
	}
	return a
}

// prune takes out what only one of the two has, as docs/moving.md says, and what
// is by chance.
func prune(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range []string{"id", "reason", "since", "label"} {
			delete(v, key)
		}
		for _, item := range v {
			prune(item)
		}
	case []any:
		for _, item := range v {
			prune(item)
		}
	}
}

// The Rust Vigil and this one run on the same config with the same targets, and
// are asked the same. What they answer differently is in docs/moving.md, and
// listed here by the row that says so.
func TestPeerRustSideBySide(t *testing.T) {
	t.Parallel()
	program, assets := rustProgram(t)

	var broken atomic.Bool
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() && r.URL.Path == "/" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		if r.Method != http.MethodHead {
			io.WriteString(w, "all is well")
		}
	}))
	t.Cleanup(target.Close)
	open := listening(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })

	ours := &twin{name: "this Vigil", hook: newHook(t)}
	theirs := &twin{name: "the Rust Vigil", hook: newHook(t)}
	config := func(w *twin, inet string) string {
		return fmt.Sprintf(rustConfig, inet, assets, w.hook.URL, target.URL+"/", open, "0")
	}
	ours.url = startVigil(t, config(ours, "127.0.0.1:0")).url

	address := freeAddress(t)
	theirs.url = "http://" + address + "/"
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.cfg"), []byte(config(theirs, address)), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, exec.Command(program, "-c", filepath.Join(dir, "config.cfg")))

	twins := []*twin{ours, theirs}
	await := func(what string, ok func(w *twin) bool) {
		t.Helper()
		for _, w := range twins {
			for end := time.Now().Add(40 * time.Second); !ok(w); time.Sleep(50 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%s does not come to be %s", w.name, what)
				}
			}
		}
	}
	says := func(w *twin) string {
		resp, err := http.Get(w.url + "status/text")
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return string(text)
	}
	await("healthy", func(w *twin) bool { return says(w) == "healthy" })

	// Each request, and the row of the guide that says why the answers differ.
	report := func(replica, rest string) string {
		return fmt.Sprintf(`{"replica":%q,"interval":30,%s}`, replica, rest)
	}
	load := `"load":{"cpu":0.3,"ram":0.4}`
	for _, tt := range []struct{ method, path, token, body, row string }{
		{"GET", "", "", "", ""},
		{"GET", "status/text", "", "", ""},
		{"GET", "status/report", "", "", ""},
		{"GET", "robots.txt", "", "", ""},
		{"GET", "badge/icon", "", "", ""},
		{"GET", "badge/color", "", "", ""},
		{"GET", "badge/other", "", "", ""},
		{"GET", "assets/images/badges/icon-healthy-default.svg", "", "", ""},
		{"GET", "assets/images/badges/color-dead-default.svg", "", "", ""},
		{"GET", "assets/images/none.png", "", "", ""},
		{"GET", "nothing/here", "", "", ""},
		{"POST", "status/text", "", "", "A wrong method"},
		{"POST", "reporter/own/push/", "", report("a", load), ""},
		{"POST", "reporter/own/push/", "wrong", report("a", load), ""},
		{"POST", "reporter/own/push/", "report", report("a", load), ""},
		{"POST", "reporter/own/push", "report", report("b", load), ""},
		{"POST", "reporter/own/push/", "report", "{", ""},
		{"POST", "reporter/own/push/", "report", `{"replica":"a"}`, ""},
		{"POST", "reporter/own/push/", "report", `{"replica":"a","interval":30}`, ""},
		{"POST", "reporter/own/push/", "report", report("a", `"load":{"cpu":-1,"ram":0.4}`), ""},
		{"POST", "reporter/own/push/", "report", report("a", `"health":"healthy"`), ""},
		{"POST", "reporter/own/local/", "report", report("l", `"health":"sick"`), ""},
		{"POST", "reporter/own/local/", "report", report("l", `"health":"ill"`), ""},
		{"POST", "reporter/own/local/", "report", report("l", load), ""},
		{"POST", "reporter/own/none/", "report", report("a", load), ""},
		{"POST", "reporter/none/push/", "report", report("a", load), ""},
		{"POST", "reporter/web/http/", "report", report("a", load), ""},
		{"DELETE", "reporter/own/push/b/", "report", "", ""},
		{"DELETE", "reporter/own/push/b/", "report", "", ""},
		{"DELETE", "reporter/own/none/b/", "report", "", ""},
		{"DELETE", "reporter/web/tcp/b/", "report", "", ""},
		{"DELETE", "reporter/own/push/a/", "", "", ""},
		{"GET", "manager/announcements/", "", "", ""},
		{"GET", "manager/announcements/", "report", "", ""},
		{"GET", "manager/announcements/", "manage", "", ""},
		{"POST", "manager/announcement/", "manage", `{"title":"One","text":"First"}`, ""},
		{"POST", "manager/announcement", "manage", `{"title":"Two","text":"Second"}`, ""},
		{"POST", "manager/announcement/", "manage", `{"title":"","text":"None"}`, ""},
		{"POST", "manager/announcement/", "manage", `{"title":"None"}`, ""},
		{"GET", "manager/announcements/", "manage", "", ""},
		{"DELETE", "manager/announcement/none/", "manage", "", ""},
		{"GET", "manager/prober/alerts/", "manage", "", ""},
		{"GET", "manager/prober/alerts/ignored/", "manage", "", ""},
		{"PUT", "manager/prober/alerts/ignored/", "manage", `{"reminders_seconds":600}`, ""},
		{"PUT", "manager/prober/alerts/ignored/", "manage", `{"reminders_seconds":null}`, ""},
		{"GET", "manager/prober/alerts/ignored/", "manage", "", ""},
		{"PUT", "manager/prober/alerts/ignored/", "manage", `{"reminders_seconds":-1}`, ""},
		{"GET", "status/report", "", "", ""},
	} {
		here, there := ours.ask(t, tt.method, tt.path, tt.token, tt.body), theirs.ask(t, tt.method, tt.path, tt.token, tt.body)
		// The Rust Vigil adds up what was reported every ten seconds; only reading may be repeated.
		for end := time.Now().Add(25 * time.Second); tt.method == "GET" && tt.row == "" && !reflect.DeepEqual(here, there) && time.Now().Before(end); {
			time.Sleep(100 * time.Millisecond)
			here, there = ours.ask(t, tt.method, tt.path, tt.token, tt.body), theirs.ask(t, tt.method, tt.path, tt.token, tt.body)
		}
		if same := reflect.DeepEqual(here, there); same != (tt.row == "") {
			t.Errorf("%s /%s %s %s: this Vigil answers %v, the Rust one %v, docs/moving.md: %q",
				tt.method, tt.path, tt.token, tt.body, here, there, tt.row)
		}
	}
	if !slices.Equal(slices.Sorted(maps.Keys(replicas(t, ours))), slices.Sorted(maps.Keys(replicas(t, theirs)))) {
		t.Errorf("nodes: %v here, %v there", replicas(t, ours), replicas(t, theirs))
	}

	// An outage and its end, as their hooks hear of it.
	broken.Store(true)
	await("dead", func(w *twin) bool { return says(w) == "dead" })
	for _, w := range twins {
		if got := replicas(t, w); got["HTTP"] != "dead [dead]" || got["Local"] != "sick [sick]" {
			t.Errorf("%s: %v", w.name, got)
		}
	}
	broken.Store(false)
	await("sick again, as a local replica is", func(w *twin) bool { return says(w) == "sick" })
	var heard [2][]string
	for i, w := range twins {
		for len(heard[i]) < 3 { // startup, the outage, its end
			select {
			case call := <-w.hook.calls:
				heard[i] = append(heard[i], fmt.Sprint(call.Type, " ", call.Status, " ", call.Page, " ", call.Replicas))
			case <-time.After(20 * time.Second):
				t.Fatalf("%s tells no more than %q", w.name, heard[i])
			}
		}
	}
	if !slices.Equal(heard[0], heard[1]) {
		t.Errorf("webhooks:\nthis Vigil\n%s\nthe Rust Vigil\n%s", strings.Join(heard[0], "\n"), strings.Join(heard[1], "\n"))
	}
}

// replicas returns the status of each node and of its replicas, by label, as
// /status/report has them.
func replicas(t *testing.T, w *twin) map[string]string {
	t.Helper()
	resp, err := http.Get(w.url + "status/report")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var report struct {
		Probes []struct {
			Nodes []struct {
				Name, Status string
				Replicas     []string
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&report); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, p := range report.Probes {
		for _, n := range p.Nodes {
			all[n.Name] = fmt.Sprint(n.Status, " ", n.Replicas)
		}
	}
	return all
}
