package e2e

import (
	"encoding/json"
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
