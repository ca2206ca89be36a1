package notify

import (
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestWebhookSaysEverything fills every field of an alert.
func TestWebhookSaysEverything(t *testing.T) {
	a := goldenAlerts()["recovery"].with(func(a *Alert) {
		a.Kind, a.Reminders, a.Merged, a.Repeat, a.Test, a.Note = Reminder, 3, 2, true, true, "note"
		a.MoreDown, a.MoreDead = 7, 9
	})
	req, err := (&Webhook{HookURL: "https://example.com/"}).request(a, a.Time.Add(5*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(req.Body)
	const want = `{"type":"reminder","status":"dead","time":"08:59:57 UTC+0200",` +
		`"replicas":["api:login:tcp://a.example.net:80","api:login:tcp://b.example.net:80"],` +
		`"page":{"title":"Crisp Status","url":"https://status.example.com/"},` +
		`"id":"b7c1","timestamp":"2026-03-29T08:59:57+02:00",` +
		`"reasons":{"api:login:tcp://a.example.net:80":"no answer in 3 s","api:login:tcp://b.example.net:80":"no answer in 3 s"},` +
		`"recovered":["web:shop:https://shop.example.net/"],` +
		`"outages":[{"id":"o2","service":"api","node":"login","label":"API > Sign-in","status":"dead","since":"2026-03-29T08:46:28+02:00","until":null,"new":false,` +
		`"reasons":{"api:login:tcp://a.example.net:80":"no answer in 3 s","api:login:tcp://b.example.net:80":"no answer in 3 s"}},` +
		`{"id":"o1","service":"web","node":"shop","label":"Website > Shop","status":"healthy","since":"2026-03-29T08:58:28+02:00","until":"2026-03-29T08:59:57+02:00","new":false,` +
		`"reasons":{"web:shop:https://shop.example.net/":"HTTP 503"}}],` +
		`"replicas_total":11,"outages_total":9,"note":"note","reminder":3,"merged":2,"repeat":true,"late_seconds":300,"test":true}`
	if string(body) != want {
		t.Errorf("got  %s\nwant %s", body, want)
	}
	if got := req.Header.Get("Idempotency-Key"); got != a.ID {
		t.Errorf("Idempotency-Key = %q", got)
	}
}

// TestWebhookIsTheSeeds compares with the payload that the seed shows.
func TestWebhookIsTheSeeds(t *testing.T) {
	a := Alert{
		ID: "1", Kind: Changed, Status: Dead, Time: at,
		Dead: []Replica{{Path: "web:core:tcp://edge-3.pool.net.crisp.chat:80"}},
		Page: Page{Title: "Crisp Status", URL: "https://status.crisp.chat/"},
	}
	w := Webhook{HookURL: "https://example.com/"}
	for _, tt := range []struct {
		kind Kind
		dead []Replica
		want string
	}{
		{Changed, a.Dead, `{"type":"changed","status":"dead","time":"08:58:28 UTC+0200",` +
			`"replicas":["web:core:tcp://edge-3.pool.net.crisp.chat:80"],` +
			`"page":{"title":"Crisp Status","url":"https://status.crisp.chat/"},`},
		{Notice, nil, `{"type":"changed","status":"dead","time":"08:58:28 UTC+0200","replicas":[],` +
			`"page":{"title":"Crisp Status","url":"https://status.crisp.chat/"},`},
	} {
		a.Kind, a.Dead = tt.kind, tt.dead
		req, err := w.request(a, at)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(req.Body)
		if !strings.HasPrefix(string(body), tt.want) {
			t.Errorf("got %s\nwant %s", body, tt.want)
		}
	}
}

// TestWebhookTemplate: whatever an alert holds, a template with json makes JSON
// of it, and headers are sent and kept out of errors.
func TestWebhookTemplate(t *testing.T) {
	w := &Webhook{
		HookURL: "https://example.com/x", Method: "PUT",
		Headers: map[string]Secret{"Authorization": "GenieKey webhook-header-secret", "Content-Type": "application/vnd.x+json"},
		Body:    `{"s": {{json .subject}}, "t": {{json .text}}, "o": {{json .outages}}, "n": {{.reminder}}, "q": "{{urlquery .page.title}}", "total": {{.outages_total}}}`,
	}
	for name, a := range goldenAlerts() {
		req, err := w.request(a, a.Time)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			S, T, Q string
			O       []webhookOutage
			N       int
			Total   int
		}
		body, _ := io.ReadAll(req.Body)
		if err := json.Unmarshal(body, &got); err != nil {
			t.Errorf("%s: %v in %s", name, err, body)
		}
		if got.S != newText(a, a.Time).subject || got.N != a.Reminders || got.Total != len(a.outages()) || got.Q != url.QueryEscape(a.Page.Title) {
			t.Errorf("%s: %+v", name, got)
		}
		if req.Method != "PUT" || req.Header.Get("Authorization") != "GenieKey webhook-header-secret" || req.Header.Get("Content-Type") != "application/vnd.x+json" {
			t.Errorf("%s %v", req.Method, req.Header)
		}
	}
	n := w.notifier()
	if said := n.hide.said("no GenieKey webhook-header-secret here"); strings.Contains(said, "secret") {
		t.Errorf("an error says %q", said)
	}
}
