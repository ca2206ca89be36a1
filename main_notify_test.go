package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// notifyServer plays a webhook, a Gotify and a Pushover that knows one of two
// users, and keeps what they were sent.
func notifyServer(t *testing.T) (config string, sent func() string) {
	t.Helper()
	var mu sync.Mutex
	var all strings.Builder
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		fmt.Fprintln(&all, r.URL.Path, string(body))
		mu.Unlock()
		switch {
		case strings.Contains(string(body), "user=stranger"):
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"status":0,"request":"r1","errors":["user identifier is invalid"]}`)
		case strings.HasPrefix(r.URL.Path, "/1/"):
			io.WriteString(w, `{"status":1}`)
		case r.URL.Path == "/message":
			io.WriteString(w, `{"id":1}`)
		}
	}))
	t.Cleanup(srv.Close)
	config = filepath.Join(t.TempDir(), "config.cfg")
	text := strings.ReplaceAll(`
[branding]
page_title = "Acme Status"
page_url = "https://status.example.com/"
[[notify.webhook]]
id = "db-team"
hook_url = "BASE/hook"
[notify.gotify]
app_url = "BASE"
app_token = "gotify-secret"
reminders_only = true
[notify.pushover]
api_url = "BASE"
app_token = "pushover-secret"
user_keys = ["friend", "stranger"]
`, "BASE", srv.URL)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config, func() string {
		mu.Lock()
		defer mu.Unlock()
		return all.String()
	}
}

func TestNotify(t *testing.T) {
	config, sent := notifyServer(t)
	const refusal = "pushover#2: HTTP 400: user identifier is invalid (request r1)\n"
	for _, tt := range []struct {
		args string
		code int
		out  string
		err  string // a part
		sent string // a part
	}{
		{"", exitError, "pushover#1: accepted\n" + refusal + "gotify: accepted\ndb-team: accepted\n", "",
			`"title":"[Acme Status] TEST: UP","message":"This is a test message. Nothing happened.`},
		{"-channel gotify", exitOK, "gotify: accepted\n", "", ""},
		{"-to pushover#1", exitOK, "pushover#1: accepted\n", "", ""},
		{"-to pushover", exitError, "pushover#1: accepted\n" + refusal, "", ""},
		{"-to db-team -status dead", exitOK, "db-team: accepted\n", "",
			`"replicas":["vigil:notify:test"],"page":{"title":"Acme Status","url":"https://status.example.com/"},`},
		{"-to slack", exitUsage, "", `-to "slack": ` + config + " configures pushover#1, pushover#2, gotify, db-team", ""},
		{"-status ill", exitUsage, "", `-status "ill": want healthy, sick or dead`, ""},
		{"-nonsense", exitUsage, "", "unknown flag -nonsense", ""},
		{"now", exitUsage, "", `unexpected argument "now"`, ""},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := runNotify(t.Context(), append([]string{"-c", config}, strings.Fields(tt.args)...), &out, &errs)
			if code != tt.code || out.String() != tt.out {
				t.Errorf("exit %d, output:\n%swant exit %d and:\n%s", code, out.String(), tt.code, tt.out)
			}
			if tt.err == "" && errs.Len() > 0 || !strings.Contains(errs.String(), tt.err) {
				t.Errorf("errors %q, want %q", errs.String(), tt.err)
			}
			if !strings.Contains(sent(), tt.sent) {
				t.Errorf("sent:\n%swant in it:\n%s", sent(), tt.sent)
			}
		})
	}
}

func TestNotifyWithoutChannels(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.cfg")
	if err := os.WriteFile(config, []byte("[branding]\npage_url = \"https://status.example.com/\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		config:          "configures no channel",
		config + ".not": "no such file",
	} {
		var out, errs bytes.Buffer
		if code := runNotify(t.Context(), []string{"--config", path}, &out, &errs); code != exitError || !strings.Contains(errs.String(), want) {
			t.Errorf("exit %d, errors %q, want exit %d and %q", code, errs.String(), exitError, want)
		}
	}
}

func TestNotifyHelp(t *testing.T) {
	var out, errs bytes.Buffer
	if code := runNotify(t.Context(), []string{"-h"}, &out, &errs); code != exitOK || errs.Len() > 0 {
		t.Errorf("exit %d, errors %q", code, errs.String())
	}
	for _, want := range []string{"vigil notify [-c config.cfg]", "-to id", "-status status"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help lacks %q:\n%s", want, out.String())
		}
	}
}
