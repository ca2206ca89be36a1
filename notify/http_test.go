package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// class says what the queue will make of an error.
func class(err error) string {
	if err == nil {
		return "accepted"
	}
	switch {
	case isFinal(err):
		return "final"
	case isPermanent(err):
		if retry, ok := errors.AsType[*RetryError](err); ok {
			return "refused in " + retry.After.String()
		}
		return "refused"
	case isUnconfirmed(err):
		return "unconfirmed"
	}
	if retry, ok := errors.AsType[*RetryError](err); ok {
		return "retry in " + retry.After.String()
	}
	return "retry"
}

// target returns the first target of a channel that talks to a handler.
func channelTarget(t *testing.T, channel string, h http.HandlerFunc) Target {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	for _, target := range webConfig(srv.URL).Targets("1.2.3") {
		if target.Channel == channel {
			return target
		}
	}
	t.Fatalf("no channel %q", channel)
	return Target{}
}

// TestAnswers is what each service may answer and what it means.
func TestAnswers(t *testing.T) {
	const gone = "<html>\n<h1>Sign in</h1></html>"
	tests := []struct {
		channel string
		status  int
		header  string // of Retry-After or, with a scheme, Location
		body    string
		class   string
		err     string
	}{
		{"slack", 200, "", "ok", "accepted", ""},
		{"slack", 200, "", `{"ok":true}`, "accepted", ""},
		{"slack", 200, "", `{"success":true}`, "accepted", ""},
		{"slack", 200, "", `{"ok":false,"error":"channel_not_found"}`, "refused", `HTTP 200: {"ok":false,"error":"channel_not_found"}`},
		{"slack", 200, "7", `{"ok":false,"error":"rate_limited"}`, "retry in 7s", "HTTP 200: rate_limited"},
		{"slack", 200, "", "invalid_token", "refused", "HTTP 200: invalid_token"},
		{"slack", 200, "", gone, "accepted", ""},
		{"slack", 200, "", "", "accepted", ""},
		{"slack", 200, "", "OK", "accepted", ""},
		{"slack", 200, "", "1", "accepted", ""},
		{"slack", 200, "", "{}", "accepted", ""},
		{"slack", 202, "", `{"status":"queued"}`, "accepted", ""},
		{"slack", 204, "", "", "accepted", ""},
		{"slack", 200, "", "accepted", "accepted", ""},
		{"slack", 200, "", `{"success":false,"error":"no room"}`, "refused", `HTTP 200: {"success":false,"error":"no room"}`},
		{"slack", 400, "", "invalid_payload", "refused", "HTTP 400: invalid_payload"},
		{"slack", 403, "", "action_prohibited", "refused", "HTTP 403: action_prohibited"},
		{"slack", 404, "", "no_service", "refused", "HTTP 404: no_service"},
		{"slack", 410, "", "channel_is_archived", "refused", "HTTP 410: channel_is_archived"},
		{"slack", 429, "30", "rate_limited", "retry in 30s", "HTTP 429: rate_limited"},
		{"slack", 500, "", "rollup_error", "retry", "HTTP 500: rollup_error"},

		{"twilio", 201, "", `{"sid":"SM1","status":"queued","error_code":null}`, "accepted", ""},
		{"twilio", 200, "", "{}", "accepted", ""},
		{"twilio", 400, "", `{"code":21211,"message":"The 'To' number is not valid.","status":400}`, "refused", "HTTP 400: The 'To' number is not valid. (code 21211)"},
		{"twilio", 401, "", `{"code":20003,"message":"Authenticate"}`, "refused", "HTTP 401: Authenticate (code 20003)"},
		{"twilio", 403, "", "", "refused", "HTTP 403: Forbidden"},
		{"twilio", 404, "", "", "refused", "HTTP 404: Not Found"},
		{"twilio", 429, "", `{"code":20429,"message":"Too Many Requests"}`, "retry", "HTTP 429: Too Many Requests (code 20429)"},
		{"twilio", 503, "", "", "retry", "HTTP 503: Service Unavailable"},

		{"zulip", 200, "", `{"result":"success","msg":"","id":42}`, "accepted", ""},
		{"zulip", 200, "", `{"result":"error","msg":"Nope","code":"BAD_REQUEST"}`, "refused", "HTTP 200: Nope (BAD_REQUEST)"},
		{"zulip", 200, "", gone, "accepted", ""},
		{"zulip", 400, "", `{"result":"error","msg":"Channel 'ops' does not exist","code":"STREAM_DOES_NOT_EXIST"}`, "refused", "HTTP 400: Channel 'ops' does not exist (STREAM_DOES_NOT_EXIST)"},
		{"zulip", 401, "", `{"result":"error","msg":"Invalid API key","code":"INVALID_API_KEY"}`, "refused", "HTTP 401: Invalid API key (INVALID_API_KEY)"},
		{"zulip", 429, "", `{"result":"error","msg":"API usage exceeded rate limit","code":"RATE_LIMIT_HIT","retry-after":28.5}`, "retry in 28.5s", "HTTP 429: API usage exceeded rate limit (RATE_LIMIT_HIT)"},
		{"zulip", 502, "", gone, "retry", "HTTP 502: <html> <h1>Sign in</h1></html>"},

		{"telegram", 200, "", `{"ok":true,"result":{"message_id":7}}`, "accepted", ""},
		{"telegram", 200, "", `{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}`, "refused", "HTTP 200: Bad Request: chat not found"},
		{"telegram", 200, "", gone, "accepted", ""},
		{"telegram", 400, "", `{"ok":false,"error_code":400,"description":"Bad Request: message thread not found"}`, "refused", "HTTP 400: Bad Request: message thread not found"},
		{"telegram", 401, "", `{"ok":false,"error_code":401,"description":"Unauthorized"}`, "refused", "HTTP 401: Unauthorized"},
		{"telegram", 403, "", `{"ok":false,"error_code":403,"description":"Forbidden: bot was kicked from the group chat"}`, "refused", "HTTP 403: Forbidden: bot was kicked from the group chat"},
		{"telegram", 404, "", `{"ok":false,"error_code":404,"description":"Not Found"}`, "refused", "HTTP 404: Not Found"},
		{"telegram", 421, "", "", "retry", "HTTP 421: Misdirected Request"},
		{"telegram", 429, "", `{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 35","parameters":{"retry_after":35}}`, "retry in 35s", "HTTP 429: Too Many Requests: retry after 35"},
		{"telegram", 500, "", `{"ok":false,"error_code":500,"description":"Internal Server Error"}`, "retry", "HTTP 500: Internal Server Error"},

		{"pushover", 200, "", `{"status":1,"request":"647d2300"}`, "accepted", ""},
		{"pushover", 200, "", `{"status":0,"request":"r1","errors":["no"]}`, "final", "HTTP 200: no (request r1)"},
		{"pushover", 200, "", gone, "accepted", ""},
		{"pushover", 400, "", `{"user":"invalid","errors":["user identifier is invalid"],"status":0,"request":"r2"}`, "final", "HTTP 400: user identifier is invalid (request r2)"},
		{"pushover", 408, "", "", "final", "HTTP 408: Request Timeout"},
		{"pushover", 429, "60", `{"status":0,"request":"r3","errors":["application is over its message limit"]}`, "final", "HTTP 429: application is over its message limit (request r3)"},
		{"pushover", 500, "", "", "retry in 5s", "HTTP 500: Internal Server Error"},
		{"pushover", 503, "90", "", "retry in 1m30s", "HTTP 503: Service Unavailable"},

		{"gotify", 200, "", `{"id":1,"appid":1,"message":"x"}`, "accepted", ""},
		{"gotify", 200, "", "{}", "accepted", ""},
		{"gotify", 307, "https://other.example/message?t=secret", "", "refused", "HTTP 307: it redirects to https://other.example, which is not followed"},
		{"gotify", 400, "", `{"error":"Bad Request","errorCode":400,"errorDescription":"message is required"}`, "refused", "HTTP 400: Bad Request: message is required"},
		{"gotify", 401, "", `{"error":"Unauthorized","errorCode":401,"errorDescription":"you need to provide a valid access token"}`, "refused", "HTTP 401: Unauthorized: you need to provide a valid access token"},
		{"gotify", 502, "", "", "retry", "HTTP 502: Bad Gateway"},

		{"matrix", 200, "", `{"event_id":"$1"}`, "accepted", ""},
		{"matrix", 200, "", "{}", "accepted", ""},
		{"matrix", 200, "", `{"errcode":"M_FORBIDDEN","error":"no"}`, "refused", "HTTP 200: M_FORBIDDEN: no"},
		{"matrix", 401, "", `{"errcode":"M_UNKNOWN_TOKEN","error":"Unknown token"}`, "refused", "HTTP 401: M_UNKNOWN_TOKEN: Unknown token"},
		{"matrix", 403, "", `{"errcode":"M_FORBIDDEN","error":"sender not in room"}`, "refused", "HTTP 403: M_FORBIDDEN: sender not in room"},
		{"matrix", 403, "", `{"errcode":"M_RESOURCE_LIMIT_EXCEEDED","error":"quota"}`, "retry", "HTTP 403: M_RESOURCE_LIMIT_EXCEEDED: quota"},
		{"matrix", 404, "", `{"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}`, "refused", "HTTP 404: M_UNRECOGNIZED: Unrecognized request"},
		{"matrix", 413, "", `{"errcode":"M_TOO_LARGE","error":"event too large"}`, "refused", "HTTP 413: M_TOO_LARGE: event too large"},
		{"matrix", 429, "", `{"errcode":"M_LIMIT_EXCEEDED","error":"Too many","retry_after_ms":2500}`, "retry in 2.5s", "HTTP 429: M_LIMIT_EXCEEDED: Too many"},
		{"matrix", 429, "9", `{"errcode":"M_LIMIT_EXCEEDED","error":"Too many"}`, "retry in 9s", "HTTP 429: M_LIMIT_EXCEEDED: Too many"},
		{"matrix", 502, "", "", "retry", "HTTP 502: Bad Gateway"},

		{"webex", 200, "", `{"id":"Y2lz"}`, "accepted", ""},
		{"webex", 401, "", `{"message":"The request requires a valid access token","errors":[],"trackingId":"ROUTER_1"}`, "refused", "HTTP 401: The request requires a valid access token (tracking id ROUTER_1)"},
		{"webex", 404, "", "", "refused", "HTTP 404: Not Found"},
		{"webex", 409, "", "", "refused", "HTTP 409: Conflict"},
		{"webex", 423, "12", "", "retry in 12s", "HTTP 423: Locked"},
		{"webex", 423, "", "", "retry", "HTTP 423: Locked"},
		{"webex", 429, "20", "", "retry in 20s", "HTTP 429: Too Many Requests"},
		{"webex", 503, "", "", "retry", "HTTP 503: Service Unavailable"},

		{"discord", 200, "", `{"id":"1"}`, "accepted", ""},
		{"discord", 204, "", "", "accepted", ""},
		{"discord", 400, "", `{"code":50035,"message":"Invalid Form Body"}`, "refused", "HTTP 400: Invalid Form Body (code 50035)"},
		{"discord", 401, "", `{"code":50027,"message":"Invalid Webhook Token"}`, "refused", "HTTP 401: Invalid Webhook Token (code 50027)"},
		{"discord", 404, "", `{"code":10015,"message":"Unknown Webhook"}`, "final", "HTTP 404: Unknown Webhook (code 10015)"},
		{"discord", 404, "", gone, "refused", "HTTP 404: <html> <h1>Sign in</h1></html>"},
		{"discord", 429, "", `{"message":"You are being rate limited.","retry_after":0.35,"global":false}`, "retry in 350ms", "HTTP 429: You are being rate limited. (code 0)"},
		{"discord", 429, "7", "", "retry in 7s", "HTTP 429: Too Many Requests"},
		{"discord", 429, "", `{"code":0,"message":"blocked"}`, "retry in 2m0s", "HTTP 429: blocked (code 0)"},
		{"discord", 502, "", "", "retry", "HTTP 502: Bad Gateway"},

		{"teams", 202, "", "", "accepted", ""},
		{"teams", 200, "", "1", "accepted", ""},
		{"teams", 200, "", "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId x", "retry in 1m0s",
			"HTTP 200: Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId x"},
		{"teams", 401, "", `{"error":{"code":"DirectApiAuthorizationRequired"}}`, "refused", `HTTP 401: {"error":{"code":"DirectApiAuthorizationRequired"}}`},
		{"teams", 404, "", "", "refused", "HTTP 404: Not Found"},
		{"teams", 429, "4", "", "retry in 4s", "HTTP 429: Too Many Requests"},
		{"teams", 500, "", "", "retry", "HTTP 500: Internal Server Error"},

		{"mattermost", 200, "", "ok", "accepted", ""},
		{"mattermost", 200, "", "", "accepted", ""},
		{"mattermost", 200, "", `{"id":"web.incoming_webhook.invalid.app_error","message":"Invalid webhook"}`, "refused", "HTTP 200: Invalid webhook (web.incoming_webhook.invalid.app_error)"},
		{"mattermost", 400, "", `{"id":"web.incoming_webhook.invalid.app_error","message":"Invalid webhook","status_code":400}`, "refused", "HTTP 400: Invalid webhook (web.incoming_webhook.invalid.app_error)"},
		{"mattermost", 403, "", "", "refused", "HTTP 403: Forbidden"},
		{"mattermost", 501, "", `{"id":"web.incoming_webhook.disabled.app_error","message":"Incoming webhooks have been disabled"}`, "refused", "HTTP 501: Incoming webhooks have been disabled (web.incoming_webhook.disabled.app_error)"},
		{"mattermost", 502, "", "", "retry", "HTTP 502: Bad Gateway"},

		{"googlechat", 200, "", `{"name":"spaces/A/messages/B"}`, "accepted", ""},
		{"googlechat", 400, "", `{"error":{"code":400,"message":"Message is longer than 4096 characters","status":"INVALID_ARGUMENT"}}`, "refused", "HTTP 400: INVALID_ARGUMENT: Message is longer than 4096 characters"},
		{"googlechat", 404, "", "", "refused", "HTTP 404: Not Found"},
		{"googlechat", 429, "", `{"error":{"code":429,"message":"Resource has been exhausted","status":"RESOURCE_EXHAUSTED"}}`, "retry in 1m0s", "HTTP 429: RESOURCE_EXHAUSTED: Resource has been exhausted"},
		{"googlechat", 503, "", "", "retry", "HTTP 503: Service Unavailable"},

		{"ntfy", 200, "", `{"id":"x","time":1}`, "accepted", ""},
		{"ntfy", 400, "", `{"code":40009,"http":400,"error":"invalid topic"}`, "refused in 2m0s", "HTTP 400: invalid topic (code 40009)"},
		{"ntfy", 401, "", `{"code":40101,"http":401,"error":"unauthorized"}`, "refused in 2m0s", "HTTP 401: unauthorized (code 40101)"},
		{"ntfy", 403, "", `{"code":40301,"http":403,"error":"forbidden"}`, "refused in 2m0s", "HTTP 403: forbidden (code 40301)"},
		{"ntfy", 429, "", `{"code":42901,"http":429,"error":"limit reached"}`, "retry in 5s", "HTTP 429: limit reached (code 42901)"},
		{"ntfy", 429, "", `{"code":42908,"http":429,"error":"daily quota"}`, "retry in 30m0s", "HTTP 429: daily quota (code 42908)"},
		{"ntfy", 429, "", `{"code":42909,"http":429,"error":"too many auth failures"}`, "retry in 5m0s", "HTTP 429: too many auth failures (code 42909)"},
		{"ntfy", 502, "", "", "retry in 5s", "HTTP 502: Bad Gateway"},

		{"pagerduty", 202, "", `{"status":"success","message":"Event processed","dedup_key":"x"}`, "accepted", ""},
		{"pagerduty", 400, "", `{"status":"invalid event","message":"Event object is invalid","errors":["'routing_key' is invalid"]}`, "refused", "HTTP 400: Event object is invalid, 'routing_key' is invalid"},
		{"pagerduty", 429, "", "", "retry in 30s", "HTTP 429: Too Many Requests"},
		{"pagerduty", 408, "", "", "retry", "HTTP 408: Request Timeout"},
		{"pagerduty", 500, "", "", "retry", "HTTP 500: Internal Server Error"},

		{"alertmanager", 200, "", "", "accepted", ""},
		{"alertmanager", 400, "", `"at least one label pair required"`, "final", "HTTP 400: at least one label pair required"},
		{"alertmanager", 422, "", `{"code":602,"message":"labels in body is required"}`, "final", `HTTP 422: {"code":602,"message":"labels in body is required"}`},
		{"alertmanager", 401, "", "", "refused", "HTTP 401: Unauthorized"},
		{"alertmanager", 404, "", "", "refused", "HTTP 404: Not Found"},
		{"alertmanager", 429, "", "", "retry", "HTTP 429: Too Many Requests"},
		{"alertmanager", 503, "", "", "retry", "HTTP 503: Service Unavailable"},

		{"webhook", 200, "", gone, "accepted", ""},
		{"webhook", 204, "", "", "accepted", ""},
		{"webhook", 302, "https://other.example/x", "", "refused", "HTTP 302: it redirects to https://other.example, which is not followed"},
		{"webhook", 304, "", "", "refused", "HTTP 304: it redirects too often, or to nowhere"},
		{"webhook", 400, "", "no\x1b[31m such\r\nthing", "refused", "HTTP 400: no [31m such thing"},
		{"webhook", 408, "", "", "retry", "HTTP 408: Request Timeout"},
		{"webhook", 410, "", "", "refused", "HTTP 410: Gone"},
		{"webhook", 425, "", "", "retry", "HTTP 425: Too Early"},
		{"webhook", 429, "3", "", "retry in 3s", "HTTP 429: Too Many Requests"},
		{"webhook", 429, "999999999999", "", "retry in 1h0m0s", "HTTP 429: Too Many Requests"},
		{"webhook", 503, "-5", "", "retry", "HTTP 503: Service Unavailable"},
		{"webhook", 503, "soon", "", "retry", "HTTP 503: Service Unavailable"},
		{"webhook", 500, "", strings.Repeat("x", 1<<20), "retry", "HTTP 500: " + strings.Repeat("x", 197) + "..."},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s %d %.20s", tt.channel, tt.status, tt.body), func(t *testing.T) {
			target := channelTarget(t, tt.channel, func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("User-Agent"); got != "vigil/1.2.3" {
					t.Errorf("User-Agent = %q", got)
				}
				if strings.Contains(tt.header, "://") {
					w.Header().Set("Location", tt.header)
				} else if tt.header != "" {
					w.Header().Set("Retry-After", tt.header)
				}
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
			})
			err := target.Deliver(t.Context(), deadAlert())
			if got := class(err); got != tt.class {
				t.Errorf("class = %s, want %s", got, tt.class)
			}
			if got := fmt.Sprint(err); err != nil && got != tt.err {
				t.Errorf("error = %q, want %q", got, tt.err)
			}
		})
	}
}

func TestRetryAfterDate(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"Fri, 20 Nov 2026 12:00:45 GMT":  45 * time.Second,
		"Fri, 20 Nov 2026 11:00:00 GMT":  0,
		"Sat, 21 Nov 2026 12:00:00 GMT":  time.Hour,
		"Friday, 20-Nov-26 12:00:10 GMT": 10 * time.Second,
		"0.5":                            500 * time.Millisecond,
		"NaN":                            0,
		"+Inf":                           time.Hour,
		"":                               0,
	} {
		r := answer{header: http.Header{"Retry-After": {value}}}
		if got := r.retryAfter(now); got != want {
			t.Errorf("Retry-After %q = %v, want %v", value, got, want)
		}
	}
}

func TestTelegramTriesAnotherForm(t *testing.T) {
	for _, tt := range []struct {
		name, refusal, want string
	}{
		{"plain text", `{"ok":false,"error_code":400,"description":"Bad Request: can't parse entities: unexpected end tag"}`,
			`{"chat_id":-1001234567890,"message_thread_id":42,"text":"[Crisp Status] DOWN: web > core (connection refused)\n\n`},
		{"supergroup", `{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded","parameters":{"migrate_to_chat_id":-1009}}`,
			`{"chat_id":-1009,"message_thread_id":42,"text":"🔴 <b>[Crisp Status] DOWN: web &gt; core (connection refused)</b>\n\n`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var bodies []string
			answers := []string{tt.refusal, `{"ok":true,"result":{}}`}
			target := channelTarget(t, "telegram", func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				bodies = append(bodies, string(body))
				if len(bodies) == 1 {
					w.WriteHeader(http.StatusBadRequest)
				}
				io.WriteString(w, answers[len(bodies)-1])
			})
			if err := target.Deliver(t.Context(), deadAlert()); err != nil {
				t.Fatal(err)
			}
			if len(bodies) != 2 || !strings.HasPrefix(bodies[1], tt.want) {
				t.Errorf("sent %q, want a second one that begins %q", bodies, tt.want)
			}
		})
	}

	tries := 0
	target := channelTarget(t, "telegram", func(w http.ResponseWriter, r *http.Request) {
		tries++
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"ok":false,"error_code":400,"description":"Bad Request: can't parse entities"}`)
	})
	if err := target.Deliver(t.Context(), deadAlert()); class(err) != "refused" || tries != 2 {
		t.Errorf("refused in both forms: %v after %d requests, want a refusal after 2", err, tries)
	}
}

// TestFaultsHideSecrets breaks the exchange in all ways there are, with
// servers that repeat all they were told, and looks for secrets in errors and
// logs.
func TestFaultsHideSecrets(t *testing.T) {
	echo := func(r *http.Request) string {
		body, _ := io.ReadAll(r.Body)
		user, pass, _ := r.BasicAuth()
		return fmt.Sprint(r.URL.String(), " ", r.Header, " ", user, ":", pass, " ", string(body))
	}
	hijack := func(answer func(r *http.Request) string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			text := answer(r)
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, text)
		}
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	released := make(chan struct{})
	faults := []struct {
		name    string
		handler http.HandlerFunc // nil: nobody listens
		class   string
	}{
		{"nobody listens", nil, "retry"},
		{"cut before the answer", hijack(func(*http.Request) string { return "" }), "unconfirmed"},
		{"cut in the head", hijack(func(*http.Request) string { return "HTTP/1.1 200 OK\r\nContent-" }), "unconfirmed"},
		{"cut in the body", hijack(func(*http.Request) string {
			return "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
		}), "accepted"},
		{"not HTTP", hijack(func(r *http.Request) string { return echo(r) + "\r\n\r\n" }), "unconfirmed"},
		{"endless head", hijack(func(r *http.Request) string {
			return "HTTP/1.1 200 OK\r\nX: " + strings.Repeat(echo(r), 1000)
		}), "unconfirmed"},
		{"echo 400", func(w http.ResponseWriter, r *http.Request) { http.Error(w, echo(r), 400) }, "refused"},
		{"echo 500", func(w http.ResponseWriter, r *http.Request) { http.Error(w, echo(r), 500) }, "retry"},
		{"echo 307", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://other.example"+r.URL.String(), http.StatusTemporaryRedirect)
		}, "refused"},
		{"no answer", func(w http.ResponseWriter, r *http.Request) { <-released }, "unconfirmed"},
	}
	for _, fault := range faults {
		base := closed.URL
		if fault.handler != nil {
			srv := httptest.NewServer(fault.handler)
			t.Cleanup(srv.Close)
			base = srv.URL
		}
		for _, target := range webConfig(base).Targets("1.2.3") {
			t.Run(fault.name+" "+target.Name, func(t *testing.T) {
				ctx := t.Context()
				if fault.name == "no answer" {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, 20*time.Millisecond)
					defer cancel()
				}
				err := target.Deliver(ctx, deadAlert())
				want := fault.class
				switch echo := strings.HasPrefix(fault.name, "echo"); {
				case target.Channel == "pushover" && fault.name == "echo 400", target.Channel == "alertmanager" && fault.name == "echo 400":
					want = "final"
				case (target.Channel == "pushover" || target.Channel == "ntfy") && want == "retry":
					want = "retry in 5s"
				case target.Channel == "pushover" && want == "refused":
					want = "refused in 5s"
				case target.Channel == "ntfy" && want == "refused" && echo:
					want = "refused in 2m0s"
				case (target.Channel == "pagerduty" || target.Channel == "alertmanager") && want == "unconfirmed":
					want = "retry"
				}
				if got := class(err); got != want {
					t.Errorf("%v is classed %q, want %q", err, got, want)
				}

				// The same through the dispatcher, whose log is what people keep.
				var log bytes.Buffer
				logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				if err != nil && fault.name != "no answer" {
					alerts := make(chan Alert, 1)
					alerts <- deadAlert()
					close(alerts)
					NewDispatcher([]Target{target}, nil, logger).Run(t.Context(), alerts)
					if log.Len() == 0 {
						t.Error("the dispatcher logged nothing")
					}
				}
				for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v %#v", err, errors.Unwrap(err)), log.String()} {
					for _, secret := range secrets {
						if strings.Contains(text, secret) {
							t.Errorf("%q shows in %s", secret, text)
						}
					}
				}
			})
		}
	}
	close(released)
}

// TestConfigHidesSecrets prints the configuration in every way at hand.
func TestConfigHidesSecrets(t *testing.T) {
	c := webConfig("https://service.example")
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("config", "slack", *service[*Slack](t, c),
			"pushover", *service[*Pushover](t, c), "key", service[*Pushover](t, c).UserKeys[0], "all", c)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, ch := range c.Channels {
			fmt.Fprintf(&log, format+"\n", reflect.ValueOf(ch.Service).Elem().Interface())
			fmt.Fprintf(&log, format+"\n", ch)
		}
	}
	for _, secret := range secrets {
		for _, form := range []string{secret, fmt.Sprintf("%x", secret)} {
			if strings.Contains(log.String(), form) {
				t.Errorf("%q shows in %s", secret, log.String())
			}
		}
	}
	if !strings.Contains(log.String(), redacted) {
		t.Error("nothing is marked as redacted")
	}
}

func TestBadURLIsRefused(t *testing.T) {
	target := Config{Channels: channels(&Webhook{HookURL: "https://exa mple/webhook-secret-path\x7f"})}.Targets("1.2.3")[0]
	err := target.Deliver(t.Context(), deadAlert())
	if class(err) != "final" || strings.Contains(err.Error(), "secret") {
		t.Errorf("a broken URL came out as %q (%s)", err, class(err))
	}
}

// TestMatrixTransaction: tries of one notification share a transaction,
// notifications do not.
func TestMatrixTransaction(t *testing.T) {
	var paths []string
	target := channelTarget(t, "matrix", func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.EscapedPath())
		w.WriteHeader(http.StatusBadGateway)
	})
	a := deadAlert()
	for _, id := range []string{"one", "one", "two"} {
		target.Deliver(t.Context(), a.with(func(a *Alert) { a.ID = id }))
	}
	if paths[0] != paths[1] || paths[1] == paths[2] {
		t.Errorf("paths %q", paths)
	}
}

// TestPushoverInSequence: the keys of one application share a connection.
func TestPushoverInSequence(t *testing.T) {
	var now, most, conns atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(5 * time.Millisecond)
		now.Add(-1)
		io.WriteString(w, `{"status":1}`)
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	users := []Secret{"1", "2", "3", "4", "5", "6", "7", "8"}
	c := Config{Channels: channels(&Pushover{AppToken: "a", UserKeys: users, APIURL: srv.URL})}
	alerts := make(chan Alert, 1)
	alerts <- deadAlert()
	close(alerts)
	d := NewDispatcher(c.Targets("1.2.3"), nil, slog.New(slog.DiscardHandler))
	d.Run(t.Context(), alerts)
	for _, s := range d.Stats() {
		if s.Delivered != 1 {
			t.Errorf("%s has %d messages", s.Target, s.Delivered)
		}
	}
	if most.Load() != 1 || conns.Load() > 2 {
		t.Errorf("%d at once over %d connections, want 1 over at most 2", most.Load(), conns.Load())
	}
}
