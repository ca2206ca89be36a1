package notify

import (
	"net/http"
	"time"
	"unicode/utf8"
)

// Gotify is a self-hosted push server.
type Gotify struct {
	AppURL   string
	AppToken Secret
}

// Gotify takes messages of any size; its apps on phones do not show them well.
// Priorities from 8 on ring loud, those from 4 on make a sound.
const (
	gotifyLimit    = 4000 // characters
	gotifyOrdinary = 5
	gotifyUrgent   = 10
)

// gotifyMessage is the body of POST /message. https://gotify.net/api-docs
type gotifyMessage struct {
	Title    string `json:"title"`
	Message  string `json:"message"`
	Priority int    `json:"priority"`
}

func readGotify(k Keys) Service {
	return &Gotify{
		AppURL:   k.URL("app_url", "https://push.example.com"),
		AppToken: k.HeaderSecret("app_token"),
	}
}

// Describe implements Service.
func (g *Gotify) Describe() string { return "at " + hostOf(g.AppURL) }

func (g *Gotify) recipients(Page) []recipient { return []recipient{{"", g.notifier()}} }

func (g *Gotify) notifier() httpNotifier {
	return httpNotifier{
		hide:    newRedactor("", g.AppToken, password(g.AppURL)),
		request: g.request,
		judge:   judgeGotify,
	}
}

func (g *Gotify) request(a Alert, now time.Time) (*http.Request, error) {
	t := newText(a, now)
	m := gotifyMessage{
		Title:    t.subject,
		Message:  plainStyle(gotifyLimit, utf8.RuneCountInString).body(t),
		Priority: gotifyOrdinary,
	}
	if a.Urgent(0) {
		m.Priority = gotifyUrgent
	}
	req, err := jsonRequest(http.MethodPost, join(g.AppURL, "message"), m)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Gotify-Key", string(g.AppToken)) // URLs end up in access logs
	return req, nil
}

// judgeGotify reads an answer.
func judgeGotify(r answer) verdict {
	var reply struct {
		Error       string
		Description string `json:"errorDescription"`
	}
	if r.json(&reply) && reply.Description != "" {
		return r.verdict(reply.Error + ": " + reply.Description)
	}
	return r.verdict(string(r.body))
}
