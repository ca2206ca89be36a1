package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vigil/notify"
)

// fenceWith returns a document's first block with the text in it.
func fenceWith(t *testing.T, document, text string) fence {
	t.Helper()
	for _, f := range fences(t, document) {
		if strings.Contains(f.text, text) {
			return f
		}
	}
	t.Fatalf("no block of %s has %q in it", document, text)
	return fence{}
}

const channelsDocument = "docs/channels.md"

// channels is a config with the channels of their document.
func (f *fakes) channels(t *testing.T) string {
	t.Helper()
	const port = "smtp_port = 587"
	text := fenceWith(t, channelsDocument, "[notify.email]").text
	if !strings.Contains(text, port) {
		t.Fatalf("no %q in %s", port, channelsDocument)
	}
	return "[branding]\npage_title = \"Acme Status\"\npage_url = \"https://status.example.com/\"\n" +
		strings.Replace(text, port, "smtp_port = "+f.mailPort, 1)
}

// The channels of the document reach their services, as they stand there, with
// the token, the room and the people that stand there.
func TestDocumentedChannels(t *testing.T) {
	t.Parallel()
	f := newFakes(t)
	file := filepath.Join(t.TempDir(), "config.cfg")
	if err := os.WriteFile(file, []byte(f.channels(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(f.vigil, "notify", "-c", file, "-status", "dead")
	cmd.Env = f.env
	out, err := cmd.CombinedOutput()
	const want = `email: accepted
twilio: accepted
slack: accepted
zulip: accepted
telegram: accepted
pushover: accepted
gotify: accepted
xmpp: accepted
matrix: accepted
webex: accepted
discord: accepted
teams: accepted
mattermost: accepted
googlechat: accepted
ntfy: accepted
pagerduty: accepted
alertmanager#1: accepted
alertmanager#2: accepted
webhook: accepted
`
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s", err, out)
	}
	// So do the recipes for other services.
	recipes := "[branding]\npage_title = \"Acme Status\"\npage_url = \"https://status.example.com/\"\n" + fenceWith(t, channelsDocument, `id = "opsgenie"`).text
	if err := os.WriteFile(file, []byte(recipes), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(f.vigil, "notify", "-c", file, "-status", "dead")
	cmd.Env = f.env
	out, err = cmd.CombinedOutput()
	if want := "opsgenie: accepted\nrocketchat: accepted\nsignal: accepted\nhomeassistant: accepted\n"; err != nil || string(out) != want {
		t.Errorf("%v\n%s", err, out)
	}
	for channel, parts := range map[string][]string{
		"email": {"MAIL FROM:<vigil@example.com>\nRCPT TO:<ops@example.com>\n", "\nSubject: ", "Nothing happened"},
		"xmpp":  {"to=ops@example.com\n<body>[Acme Status] TEST: DOWN: Vigil &gt; Test (only a test)"},
	} {
		told := f.heard(t, channel)
		for _, part := range parts {
			if !strings.Contains(told, part) {
				t.Errorf("%s: no %q in\n%s", channel, part, told)
			}
		}
	}
	for name := range webServices {
		f.heard(t, name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.told["nobody"] != "" {
		t.Errorf("no service takes\n%s", f.told["nobody"])
	}
}

// A webhook gets what the document shows, byte for byte when that is put on one
// line, and nothing that it does not name.
func TestDocumentedWebhook(t *testing.T) {
	bodies := make(chan []byte, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- body
	}))
	defer srv.Close()
	hook := notify.Config{Channels: []notify.Channel{{ID: "webhook", Kind: "webhook", Service: &notify.Webhook{HookURL: notify.Secret(srv.URL)}}}}.Targets(version)[0]
	send := func(a notify.Alert) []byte {
		t.Helper()
		if err := hook.Deliver(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		return <-bodies
	}
	shown := fenceWith(t, channelsDocument, `"replicas"`)
	if shown.language != "json" {
		t.Fatalf("%v is %s", shown, shown.language)
	}
	var alert struct {
		Type      notify.Kind
		Status    notify.Status
		ID        string
		Time      string
		Timestamp time.Time
		Replicas  []string
		Reasons   map[string]string
		Recovered []string
		Page      notify.Page
		Outages   []struct {
			ID, Service, Node, Label string
		}
	}
	var want bytes.Buffer
	if err := json.Unmarshal([]byte(shown.text), &alert); err != nil {
		t.Fatal(err)
	}
	if err := json.Compact(&want, []byte(shown.text)); err != nil {
		t.Fatal(err)
	}
	// It is sent now: an old one would be marked as late.
	now := time.Now().In(alert.Timestamp.Location())
	a := notify.Alert{ID: alert.ID, Kind: alert.Type, Status: alert.Status, Time: now, Page: alert.Page}
	for _, o := range alert.Outages {
		service, node, _ := strings.Cut(o.Label, " > ")
		outage := notify.Outage{ID: o.ID, Service: o.Service, Node: o.Node, ServiceLabel: service, NodeLabel: node, Status: notify.Dead, Since: now, New: true}
		for _, path := range alert.Replicas {
			outage.Replicas = append(outage.Replicas, notify.Replica{Path: path, Reason: alert.Reasons[path]})
		}
		a.Outages = append(a.Outages, outage)
	}
	const clock = "15:04:05 UTC-0700"
	if got := alert.Timestamp.Format(clock); got != alert.Time {
		t.Errorf("%v: the times are %s and %s", shown, got, alert.Time)
	}
	got := bytes.ReplaceAll(send(a), []byte(now.Format(time.RFC3339)), []byte(alert.Timestamp.Format(time.RFC3339)))
	got = bytes.ReplaceAll(got, []byte(now.Format(clock)), []byte(alert.Time))
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%v shows\n%s\nsent is\n%s", shown, &want, got)
	}

	document := read(t, channelsDocument)
	a.Kind, a.Time, a.Reminders, a.Merged, a.Repeat, a.Note, a.Test = notify.Reminder, now.Add(-time.Hour), 1, 1, true, "note", true
	a.MoreDown, a.MoreDead = 1, 1
	var all map[string]any
	if err := json.Unmarshal(send(a), &all); err != nil {
		t.Fatal(err)
	}
	for field := range all {
		if !bytes.Contains(want.Bytes(), []byte(`"`+field+`":`)) && !strings.Contains(document, "`"+field+"`") {
			t.Errorf("the document does not name the field %q", field)
		}
	}
	if !slices.Contains(alert.Replicas, "web:site:https://www.example.com/") {
		t.Errorf("the replicas are %q, and not of the config above", alert.Replicas)
	}
}
