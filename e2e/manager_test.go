package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const managerConfig = `
[server]
inet = "127.0.0.1:0"
log_level = "info"
manager_token = "manage"

[branding]
page_url = "https://status.example.com/"

[metrics]
script_interval = 3600

[storage]
path = "./data/"

[[probe.service]]
id = "web"
label = "Web"

[[probe.service.node]]
id = "good"
label = "Good"
mode = "script"
scripts = ["test ! -e broken || { echo it is broken; exit 2; }", "exit 0"]
replica_labels = ["First", "Second"]

[[probe.service.node]]
id = "push"
label = "Push"
mode = "push"
`

// manage sends a request with the Manager token and returns status and body.
func (r *running) manage(method, route, body string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.url+route, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.SetBasicAuth("", "manage")
	resp, err := (&http.Client{Timeout: 40 * time.Second}).Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// A check that is asked for runs at once, and its result counts.
func TestManagerCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := startIn(t, dir, managerConfig, serving)
	type found struct {
		Results []struct {
			Service, Node, Replica, Label, Status, Reason string
			At                                            time.Time
		}
	}
	check := func(selector string) (all found) {
		t.Helper()
		code, text := r.manage("POST", "manager/check/", `{"selector":"`+selector+`"}`)
		if err := json.Unmarshal([]byte(text), &all); err != nil || code != http.StatusOK {
			t.Fatalf("%d %s", code, text)
		}
		return all
	}
	if all := check("web"); len(all.Results) != 2 || all.Results[0].Status != "healthy" || all.Results[0].Label != "First" || all.Results[1].Replica != "1" {
		t.Errorf("%+v", all)
	}
	if err := os.WriteFile(filepath.Join(dir, "broken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all := check("web:good")
	if len(all.Results) != 2 || all.Results[0].Status != "dead" || all.Results[0].Reason != "it is broken" || all.Results[0].At.IsZero() || all.Results[1].Status != "healthy" {
		t.Errorf("%+v", all)
	}
	r.waitFor("status/text", "dead", func(body string) bool { return body == "dead" })
	for body, want := range map[string]string{
		`{}`:                         `{"error":"selector is missing or empty"}`,
		`{"selector":"web","all":1}`: `{"error":"unknown field \"all\""}`,
		`{"selector":"web:push"}`:    `{"error":"selector \"web:push\" selects no poll or script replica"}`,
		`{"selector":"wob"}`:         `{"error":"selector \"wob\" selects no service and no node; allowed: \"*\", a service's id, or service:node; did you mean \"web\"?"}`,
	} {
		if code, text := r.manage("POST", "manager/check/", body); code != http.StatusBadRequest || text != want+"\n" {
			t.Errorf("%s: %d %s", body, code, text)
		}
	}
}

// A ping is on disk when it is answered: a kill right behind the answer loses
// nothing of it.
func TestPingSurvivesKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const config = managerConfig + `
[[probe.service.node]]
id = "job"
label = "Job"
mode = "heartbeat"
token = "job-0123456789ab"
interval = 3600
grace = 60
`
	for round, exit := range []string{"3", "/start", "0"} {
		r := startIn(t, dir, config, serving)
		said := fmt.Sprintf("said in round %d", round)
		code, answer := r.manage("POST", "ping/job-0123456789ab/"+strings.TrimPrefix(exit, "/"), "before\n"+said)
		r.cmd.Process.Kill()
		if code != http.StatusOK || answer != "ok\n" {
			t.Fatalf("%d %s", code, answer)
		}
		<-r.done
		r = startIn(t, dir, config, serving)
		status, reason := `"status":"dead"`, said
		switch exit {
		case "0":
			status = `"status":"healthy"`
		case "/start": // is that of the round before
			reason = "said in round 0"
		}
		r.awaitNode("web:job", `"mode":"heartbeat",`+status+`,"checked":true`, `"reason":"`+reason+`"`)
		if _, metrics := r.manage("GET", "metrics", ""); !strings.Contains(metrics, `vigil_heartbeat_last_seconds{service="web",node="job"} 1`) {
			t.Errorf("no last ping in\n%s", metrics)
		}
		r.cmd.Process.Kill()
		<-r.done
	}
}
