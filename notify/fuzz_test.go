package notify

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// roundTrip is a transport that answers by itself.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// FuzzAnswer sends any answer to every channel: the error is short, printable
// and without a secret, and nobody waits for longer than an hour.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "", "ok")
	f.Add(200, "", `{"ok":false,"error":"x"}`)
	f.Add(429, "7", `{"ok":false,"error_code":429,"parameters":{"retry_after":1e300,"migrate_to_chat_id":-5}}`)
	f.Add(429, "Fri, 20 Nov 2026 12:00:45 GMT", `{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":-1}`)
	f.Add(400, "NaN", `{"code":"RATE_LIMIT_HIT","retry-after":0.5,"msg":"gotify-secret\u0000"}`)
	f.Add(500, "99999999999999999999", `{"errors":["pushover-secret-app"],"errorDescription":"webex-secret","message":"twilio-secret"}`)
	f.Add(302, "", "matrix-secret slack-secret-T0")
	targets := webConfig("https://service.example").Targets("1.2.3")
	f.Fuzz(func(t *testing.T, status int, retryAfter, body string) {
		if status < 200 || status > 599 {
			return
		}
		client := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			w.Header()["Retry-After"] = []string{retryAfter}
			w.WriteHeader(status)
			io.WriteString(w, body)
			return w.Result(), nil
		}), CheckRedirect: newClient().CheckRedirect}
		for _, target := range targets {
			n := target.Notifier.(httpNotifier)
			n.client = client
			err := n.Notify(t.Context(), Alert{ID: "x", Kind: Changed, Status: Dead})
			if err == nil {
				continue
			}
			text := err.Error()
			if utf8.RuneCountInString(text) > maxSaid+len("HTTP 500: ") || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%s: error %q", target.Name, text)
			}
			for _, secret := range secrets {
				if strings.Contains(secret, target.Channel+"-secret") && strings.Contains(text, secret) {
					t.Errorf("%s: %q shows in %q", target.Name, secret, text)
				}
			}
			if retry, ok := err.(*RetryError); ok && (retry.After <= 0 || retry.After > maxRetryAfter) {
				t.Errorf("%s: wait of %v", target.Name, retry.After)
			}
		}
	})
}

// FuzzLabels puts any labels into messages: every channel keeps them on their
// line, within its limit and valid.
func FuzzLabels(f *testing.F) {
	f.Add("Status", "web:core:tcp://edge:80", "connection refused", 3)
	f.Add("<!channel>", "```", "`", 5000)
	f.Add("\u202e", "a\r\nb", "\xff", 70)
	f.Add("&", "<b>", "]]>", 1)
	targets := webConfig("https://service.example").Targets("1.2.3")
	f.Fuzz(func(t *testing.T, title, path, reason string, n int) {
		a := deadAlert()
		a.Page.Title, a.Note, a.Dead = title, reason, nil
		for range min(max(n, 0), 500) {
			a.Dead = append(a.Dead, Replica{Path: path, Reason: reason})
			a.Recovered = append(a.Recovered, path)
			if len(path)%2 == 0 { // as outages
				a.Outages = append(a.Outages, Outage{ID: path, Service: reason, NodeLabel: path, New: n%3 > 0, Over: n%5 > 3, Depending: n,
					Replicas: []Replica{{Path: path, Label: title, Reason: reason}, {Path: title}}})
			}
		}
		for _, target := range targets {
			reqs, err := target.Notifier.(httpNotifier).all(a, at.Add(time.Hour))
			if err != nil {
				t.Fatalf("%s: %v", target.Name, err)
			}
			if len(reqs) == 0 {
				continue
			}
			body, _ := io.ReadAll(reqs[0].Body)
			if !utf8.Valid(body) {
				t.Errorf("%s: the body is no UTF-8", target.Name)
			}
			if target.Channel != "pushover" && target.Channel != "twilio" {
				continue
			}
			form, err := url.ParseQuery(string(body))
			if err != nil {
				t.Fatalf("%s: %v", target.Name, err)
			}
			for key, most := range map[string]int{"message": pushoverLimit, "title": maxSubject, "Body": maxSubject} {
				if got := utf8.RuneCountInString(form.Get(key)); got > most {
					t.Errorf("%s: %s has %d characters", target.Name, key, got)
				}
			}
			if strings.ContainsAny(form.Get("title"), "\r\n") {
				t.Errorf("%s: the title has lines: %q", target.Name, form.Get("title"))
			}
		}
	})
}
