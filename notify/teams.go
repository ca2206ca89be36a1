package notify

import (
	"net/http"
	"strings"
	"time"
)

// Teams is a webhook of a Workflows flow that posts to a channel.
type Teams struct {
	HookURL Secret
}

// teamsLimit is how many bytes the lines of a card have, so that the card with
// its markup stays well under the 28 KB of a message.
const teamsLimit = 8000

// teamsMessage is what the flow "post to a channel when a webhook request is
// received" takes: anything else is accepted, and fails inside the flow.
type teamsMessage struct {
	Type        string            `json:"type"`
	Attachments []teamsAttachment `json:"attachments"`
}

type teamsAttachment struct {
	ContentType string    `json:"contentType"`
	ContentURL  *string   `json:"contentUrl"`
	Content     teamsCard `json:"content"`
}

// teamsCard is an Adaptive Card. Teams doesn't show versions over 1.4 everywhere.
// https://adaptivecards.io/explorer/AdaptiveCard.html
type teamsCard struct {
	Schema  string        `json:"$schema"`
	Type    string        `json:"type"`
	Version string        `json:"version"`
	Body    []teamsBlock  `json:"body"`
	Actions []teamsAction `json:"actions,omitempty"`
	MSTeams teamsWidth    `json:"msteams"`
}

type teamsBlock struct {
	Type    string `json:"type"`
	Text    string `json:"text"`
	Wrap    bool   `json:"wrap"` // phones cut the line without it
	Weight  string `json:"weight,omitempty"`
	Size    string `json:"size,omitempty"`
	Color   string `json:"color,omitempty"`
	Spacing string `json:"spacing,omitempty"`
}

type teamsAction struct {
	Type  string `json:"type"`
	Title string `json:"title"`
	URL   string `json:"url"`
}

type teamsWidth struct {
	Width string `json:"width"`
}

func readTeams(k Keys) Service {
	hook := k.URL("hook_url", "https://...environment.api.powerplatform.com/powerautomate/automations/direct/workflows/...")
	if strings.HasSuffix(hostOf(hook), ".webhook.office.com") {
		k.Warn("hook_url", "is an Office 365 connector, which Microsoft switched off in May 2026; allowed: the URL of a Workflows webhook")
	}
	return &Teams{Secret(hook)}
}

// Describe implements Service.
func (w *Teams) Describe() string { return "by a hook at " + hostOf(string(w.HookURL)) }

func (w *Teams) recipients(Page) []recipient {
	return []recipient{{"", httpNotifier{hide: newRedactor("", w.HookURL), request: w.request, judge: judgeTeams}}}
}

func (w *Teams) request(a Alert, now time.Time) (*http.Request, error) {
	t := newText(a, now)
	block := func(s string) teamsBlock { return teamsBlock{Type: "TextBlock", Text: s, Wrap: true, Spacing: "Small"} }
	color := map[Status]string{Dead: "Attention", Sick: "Warning", Healthy: "Good"}[t.mood]
	body := []teamsBlock{{
		Type: "TextBlock", Text: teamsEscape(t.subject), Wrap: true, Weight: "Bolder", Size: "Medium", Color: color,
	}}
	// One block a line: a single line end may vanish.
	link := t.link
	t.link = ""
	write := plainStyle(teamsLimit, byteCount)
	write.text, write.label = teamsEscape, teamsEscape
	for line := range strings.SplitSeq(write.body(t), "\n") {
		if line != "" {
			body = append(body, block(line))
		}
	}
	card := teamsCard{
		Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.4",
		Body: body, MSTeams: teamsWidth{"full"},
	}
	if link != "" {
		card.Actions = []teamsAction{{"Action.OpenUrl", "Status page", link}}
	}
	return jsonRequest(http.MethodPost, string(w.HookURL), teamsMessage{
		Type:        "message",
		Attachments: []teamsAttachment{{ContentType: "application/vnd.microsoft.card.adaptive", Content: card}},
	})
}

// teamsEscape keeps a name from being a link or a mention: its Markdown has no
// escapes that all clients know.
func teamsEscape(s string) string { return noMention(strings.ReplaceAll(s, "](", "]\u200b(")) }

// judgeTeams reads an answer. The old connectors reported their limit with a
// status of success.
func judgeTeams(r answer) verdict {
	v := r.verdict(string(r.body))
	if r.success() && strings.Contains(string(r.body), "HTTP error 429") {
		v.outcome, v.after = failed, time.Minute
	}
	return v
}
