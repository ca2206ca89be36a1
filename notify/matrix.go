package notify

import (
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Matrix is a message to a room.
type Matrix struct {
	HomeserverURL string
	AccessToken   Secret
	RoomID        string
}

// matrixLimit is how many bytes plain and formatted body have each, so that
// both together stay under the 65,536 of an event.
// https://spec.matrix.org/latest/client-server-api/#size-limits
const matrixLimit = 15000

// matrixMessage is the content of an m.room.message. Its empty mentions keep a
// label such as "@room" from ringing everybody.
type matrixMessage struct {
	MsgType       string   `json:"msgtype"`
	Body          string   `json:"body"`
	Format        string   `json:"format"`
	FormattedBody string   `json:"formatted_body"`
	Mentions      struct{} `json:"m.mentions"`
}

// readMatrix returns nil for the table of version 1.20 of the Rust Vigil, which
// logged in with a password and had no token.
func readMatrix(k Keys) Service {
	old := slices.DeleteFunc([]string{"username", "password", "device_id"}, func(key string) bool {
		_, ok := k.Get(key)
		return !ok
	})
	m := &Matrix{
		HomeserverURL: k.URL("homeserver_url", "https://matrix.org"),
		RoomID:        k.Required("room_id", anyText),
	}
	if len(old) > 0 && !k.Has("access_token") {
		k.Get("access_token")
		k.Warn("access_token", "is missing, so the channel is off; allowed: the access token of the account, in place of %s", strings.Join(old, ", "))
		return nil
	}
	for _, key := range old {
		k.Warn(key, "has no effect: access_token replaces it")
	}
	m.AccessToken = k.HeaderSecret("access_token")
	return m
}

// Describe implements Service.
func (m *Matrix) Describe() string { return "to room " + m.RoomID + " at " + hostOf(m.HomeserverURL) }

func (m *Matrix) recipients(Page) []recipient { return []recipient{{"", m.notifier()}} }

func (m *Matrix) notifier() httpNotifier {
	return httpNotifier{
		hide:    newRedactor("", m.AccessToken, password(m.HomeserverURL)),
		request: m.request,
		judge:   judgeMatrix,
	}
}

func (m *Matrix) request(a Alert, now time.Time) (*http.Request, error) {
	t := newText(a, now)
	strong := func(s string) string { return t.mood.icon() + " " + s }
	plain := plainStyle(matrixLimit, byteCount)
	plain.strong = strong
	rich := style{
		text:   html.EscapeString,
		label:  html.EscapeString,
		strong: func(s string) string { return strong("<strong>" + s + "</strong>") },
		link: func(s string) string {
			return `<a href="` + html.EscapeString(s) + `">` + html.EscapeString(s) + "</a>"
		},
		size:  byteCount,
		limit: matrixLimit,
	}
	// The transaction id is the notification's: a server that has it already
	// answers with the event it made then, so that no try posts twice.
	path := "_matrix/client/v3/rooms/" + url.PathEscape(m.RoomID) +
		"/send/m.room.message/" + url.PathEscape("vigil-"+a.ID)
	req, err := jsonRequest(http.MethodPut, join(m.HomeserverURL, path), matrixMessage{
		MsgType:       "m.text",
		Body:          plain.message(t),
		Format:        "org.matrix.custom.html",
		FormattedBody: strings.ReplaceAll(rich.message(t), "\n", "<br>"),
	})
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+string(m.AccessToken))
	return req, nil
}

// judgeMatrix reads an answer. The error code says more than the status.
// https://spec.matrix.org/latest/client-server-api/#standard-error-response
func judgeMatrix(r answer) verdict {
	var reply struct {
		Code  string `json:"errcode"`
		Error string
		After float64 `json:"retry_after_ms"`
	}
	said := string(r.body)
	if r.json(&reply) && reply.Code != "" {
		said = reply.Code + ": " + reply.Error
	}
	v := r.verdict(said)
	if r.success() && reply.Code != "" {
		v.outcome = refused
	}
	switch reply.Code {
	case "M_LIMIT_EXCEEDED", "M_RESOURCE_LIMIT_EXCEEDED":
		v.outcome = failed
		v.after = max(v.after, r.retryAfter(time.Now()), seconds(reply.After/1000))
	}
	return v
}
