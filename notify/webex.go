package notify

import (
	"fmt"
	"net/http"
	"time"
)

// Webex is a bot that posts to a room.
type Webex struct {
	EndpointURL string
	Token       Secret
	RoomID      string
}

// webexLimit is how many bytes a text has.
// https://developer.webex.com/docs/api/v1/messages/create-a-message
const webexLimit = 7439

// webexMessage is the body of POST /messages. It is plain text, for in
// Markdown a label could mention people.
type webexMessage struct {
	RoomID string `json:"roomId"`
	Text   string `json:"text"`
}

func readWebex(k Keys) Service {
	return &Webex{
		EndpointURL: k.URL("endpoint_url", "https://webexapis.com/v1/messages"),
		Token:       k.HeaderSecret("token"),
		RoomID:      k.Required("room_id", anyText),
	}
}

// Describe implements Service.
func (w *Webex) Describe() string { return "to room " + w.RoomID }

func (w *Webex) recipients(Page) []recipient { return []recipient{{"", w.notifier()}} }

func (w *Webex) notifier() httpNotifier {
	return httpNotifier{
		hide:    newRedactor("", w.Token, password(w.EndpointURL)),
		request: w.request,
		judge:   judgeWebex,
	}
}

func (w *Webex) request(a Alert, now time.Time) (*http.Request, error) {
	write := plainStyle(webexLimit, byteCount)
	t := newText(a, now)
	write.strong = func(s string) string { return t.mood.icon() + " " + s }
	req, err := jsonRequest(http.MethodPost, w.EndpointURL, webexMessage{w.RoomID, write.message(t)})
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+string(w.Token))
	return req, nil
}

// judgeWebex reads an answer. Both 423 and 429 come with a time to wait.
// https://developer.webex.com/docs/basics
func judgeWebex(r answer) verdict {
	var reply struct {
		Message    string
		TrackingID string
	}
	said := string(r.body)
	if r.json(&reply) && reply.TrackingID != "" {
		said = fmt.Sprintf("%s (tracking id %s)", reply.Message, reply.TrackingID)
	}
	v := r.verdict(said)
	if r.status == http.StatusLocked {
		v.outcome, v.after = failed, r.retryAfter(time.Now())
	}
	return v
}
