package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const pingToken = "backup-0123456789"

func pingConfig() *Config {
	conf := apiConfig()
	conf.Services = append(conf.Services, &Service{ID: "cron", Nodes: []*Node{
		{ID: "backup", Mode: modeHeartbeat, Heartbeat: &Heartbeat{Token: pingToken, Interval: minute, Grace: minute}},
		{ID: "mail", Mode: modeHeartbeat, Heartbeat: &Heartbeat{Token: "mail-0123456789ab", Interval: minute, Grace: minute}},
	}})
	return conf
}

func TestPingRoutes(t *testing.T) {
	rig := newAPIRig(t, pingConfig())
	for _, test := range []struct {
		method, path, body string
		code               int
		answer             string
		status             status // of the node afterwards
		reason             string
	}{
		{"GET", "/ping/" + pingToken, "", 200, "ok\n", healthy, ""},
		{"HEAD", "/ping/" + pingToken, "", 200, "", healthy, ""},
		{"POST", "/ping/" + pingToken + "/", "first\nall 3 fine\n\n", 200, "ok\n", healthy, "all 3 fine"},
		{"POST", "/ping/" + pingToken + "/fail", "", 200, "ok\n", dead, "the job reported a failure"},
		{"POST", "/ping/" + pingToken + "/0", "", 200, "ok\n", healthy, ""},
		{"POST", "/ping/" + pingToken + "/255", "no space\x1b[31m left", 200, "ok\n", dead, ""},
		{"GET", "/ping/" + pingToken + "/start", "", 200, "ok\n", dead, ""},
		{"POST", "/ping/" + pingToken + "/7", strings.Repeat("x", 100_000), 200, "ok\n", dead, ""},
		{"POST", "/ping/" + pingToken, "", 200, "ok\n", healthy, ""},
		{"GET", "/ping/" + pingToken + "/256", "", 404, "{\"error\":\"\\\"256\\\" is not start, fail or an exit status from 0 to 255\"}\n", healthy, ""},
		{"GET", "/ping/" + pingToken + "/x/y", "", 404, "{\"error\":\"no such route: PROTOCOL.md lists them\"}\n", healthy, ""},
		{"GET", "/ping/backup", "", 404, "{\"error\":\"no heartbeat node has this token\"}\n", healthy, ""},
		{"GET", "/ping/", "", 404, "{\"error\":\"no such route: PROTOCOL.md lists them\"}\n", healthy, ""},
		{"PUT", "/ping/" + pingToken, "", 405, "{\"error\":\"the method PUT is not allowed here: use GET, HEAD, POST\"}\n", healthy, ""},
	} {
		req, err := http.NewRequest(test.method, rig.URL+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != test.code || test.code != 405 && string(text) != test.answer {
			t.Errorf("%s %s: %d %s, %v; want %d %s", test.method, test.path, resp.StatusCode, text, err, test.code, test.answer)
		}
		if got := resp.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s %s: Cache-Control %q", test.method, test.path, got)
		}
		if test.code != 200 {
			continue
		}
		awaitSnapshot(t, test.path, func() bool {
			r := rig.snaps.load().services[3].nodes[0].replicas.at(0)
			return r.status == test.status && r.job != nil && (test.reason == "" || r.reason == test.reason)
		})
	}
	r := rig.snaps.load().services[3].nodes[0].replicas.at(0)
	if !r.checked || r.job.last.IsZero() {
		t.Errorf("%+v", r.job)
	}
	if r := rig.snaps.load().services[3].nodes[1].replicas.at(0); r.checked || r.job != nil {
		t.Error("the other node was pinged")
	}
}

// Whoever tries tokens is slowed down, but no job whose token is right.
func TestPingThrottle(t *testing.T) {
	rig := newAPIRig(t, pingConfig())
	get := func(path string) int {
		resp, err := http.Get(rig.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for range wrongTokens {
		if code := get("/ping/wrong-0123456789"); code != 404 {
			t.Fatal(code)
		}
	}
	if code := get("/ping/wrong-0123456789"); code != 429 {
		t.Errorf("one too many: %d", code)
	}
	if code := get("/ping/" + pingToken); code != 200 {
		t.Errorf("the right one: %d", code)
	}
}

// awaitSnapshot waits until the newest snapshot is as wanted.
func awaitSnapshot(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}
