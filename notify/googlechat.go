package notify

import (
	"net/http"
	"strings"
	"time"
)

// GoogleChat is an incoming webhook of a space.
type GoogleChat struct {
	HookURL Secret
}

const (
	// googleChatLimit is how many bytes a text has. Texts over 4,096 characters
	// were refused for years; messages have 32,000 bytes.
	googleChatLimit = 4000

	// googleChatPause is the wait after a 429: a space takes 60 messages a
	// minute of all its webhooks.
	googleChatPause = time.Minute
)

// googleChatMessage is the body of spaces.messages.create. Messages about one
// outage are a thread.
// https://developers.google.com/workspace/chat/api/reference/rest/v1/spaces.messages
type googleChatMessage struct {
	Text   string            `json:"text"`
	Thread *googleChatThread `json:"thread,omitempty"`
}

type googleChatThread struct {
	ThreadKey string `json:"threadKey"`
}

func readGoogleChat(k Keys) Service {
	return &GoogleChat{Secret(k.URL("hook_url", "https://chat.googleapis.com/v1/spaces/.../messages?key=...&token=..."))}
}

// Describe implements Service.
func (g *GoogleChat) Describe() string { return "by a hook at " + hostOf(string(g.HookURL)) }

func (g *GoogleChat) recipients(Page) []recipient {
	return []recipient{{"", httpNotifier{hide: newRedactor("", g.HookURL), request: g.request, judge: judgeGoogleChat}}}
}

func (g *GoogleChat) request(a Alert, now time.Time) (*http.Request, error) {
	t := newText(a, now)
	write := plainStyle(googleChatLimit, byteCount)
	write.text, write.label = googleChatEscape, googleChatEscape
	write.strong = func(s string) string { return t.mood.icon() + " " + s }
	m := googleChatMessage{Text: write.message(t)}
	target := string(g.HookURL)
	if len(a.Outages) == 1 {
		m.Thread = &googleChatThread{"vigil-" + deliveryID(Alert{ID: a.Outages[0].ID}, "")}
		const option = "messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"
		separator := "?"
		if strings.Contains(target, "?") {
			separator = "&"
		}
		target += separator + option // the rest stays byte for byte
	}
	req, err := jsonRequest(http.MethodPost, target, m)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json; charset=UTF-8")
	return req, nil
}

// googleChatEscape defuses what Chat reads as markup, for which it has no
// escapes: <users/all> rings everybody.
func googleChatEscape(s string) string {
	return strings.NewReplacer("<", "‹", "*", "∗", "_", "_\u200b", "~", "~\u200b", "`", "'", "@", "@\u200b", "](", "]\u200b(").Replace(s)
}

// judgeGoogleChat reads an answer.
func judgeGoogleChat(r answer) verdict {
	var reply struct {
		Error struct{ Message, Status string }
	}
	said := string(r.body)
	if r.json(&reply) && reply.Error.Status != "" {
		said = reply.Error.Status + ": " + reply.Error.Message
	}
	v := r.verdict(said)
	if r.status == http.StatusTooManyRequests {
		v.after = max(v.after, googleChatPause)
	}
	return v
}
