package notify

import (
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Slack is an incoming webhook.
type Slack struct {
	HookURL        Secret
	MentionChannel bool
}

// slackFieldLimit is how many characters one field holds; Slack cuts whole
// messages at 40,000.
const slackFieldLimit = 3000

// slackMessage is the payload of an incoming webhook.
// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
type slackMessage struct {
	Text        string            `json:"text"`
	Attachments []slackAttachment `json:"attachments"`
}

type slackAttachment struct {
	Fallback string       `json:"fallback"`
	Color    string       `json:"color"`
	Fields   []slackField `json:"fields"`
}

type slackField struct {
	Title string `json:"title"`
	Value string `json:"value"`
	Short bool   `json:"short"`
}

func readSlack(k Keys) Service {
	return &Slack{
		HookURL:        Secret(k.URL("hook_url", "https://hooks.slack.com/services/...")),
		MentionChannel: k.Bool("mention_channel", false),
	}
}

// Describe implements Service.
func (s *Slack) Describe() string { return "by a hook at " + hostOf(string(s.HookURL)) }

func (s *Slack) recipients(Page) []recipient { return []recipient{{"", s.notifier()}} }

func (s *Slack) notifier() httpNotifier {
	return httpNotifier{hide: newRedactor("", s.HookURL), request: s.request, judge: judgeSlack}
}

func (s *Slack) request(a Alert, now time.Time) (*http.Request, error) {
	write := plainStyle(slackFieldLimit, utf8.RuneCountInString)
	write.text, write.label, write.link = slackEscape, slackEscape, slackEscape
	t := newText(a, now)

	var fields []slackField
	add := func(title, value string, short bool) {
		fields = append(fields, slackField{title, value, short})
	}
	if len(t.lines) > 0 {
		add("Nodes", write.list(t, slackFieldLimit), false)
	}
	for _, note := range t.notes {
		add("Note", write.text(note), false)
	}
	add("Status", string(a.Status), true)
	add("Time", t.when, true)
	if t.link != "" {
		add("Monitor Page", write.link(t.link), false)
	}

	text := slackEscape(t.subject)
	if s.MentionChannel {
		text = "<!channel> " + text
	}
	return jsonRequest(http.MethodPost, string(s.HookURL), slackMessage{
		Text: text,
		Attachments: []slackAttachment{{
			Fallback: slackEscape(t.subject),
			Color:    slackColor(t.mood),
			Fields:   fields,
		}},
	})
}

// slackEscape keeps a label from mentioning people or making links.
func slackEscape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

func slackColor(s Status) string {
	switch s {
	case Dead:
		return "danger"
	case Sick:
		return "warning"
	}
	return "good"
}

// slackRefusals are the errors that Slack documents for incoming webhooks, in
// case that one comes with a status of success.
// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors
var slackRefusals = []string{
	"action_prohibited", "channel_is_archived", "channel_not_found", "invalid_payload", "invalid_token",
	"no_active_hooks", "no_service", "no_service_id", "no_team", "no_text", "posting_to_general_channel_denied",
	"rollup_error", "team_disabled", "too_many_attachments", "user_not_found",
}

// judgeSlack reads an answer. Slack and Mattermost say "ok", others that speak
// the same protocol anything. Some refuse with JSON at status 200.
func judgeSlack(r answer) verdict {
	body := strings.TrimSpace(string(r.body))
	v := r.verdict(body)
	if !r.success() {
		return v
	}
	var reply struct {
		OK      *bool
		Success *bool // Rocket.Chat
		Error   string
	}
	denied := func(ok *bool) bool { return ok != nil && !*ok }
	switch {
	case r.json(&reply) && (denied(reply.OK) || denied(reply.Success)):
		if strings.ReplaceAll(reply.Error, "_", "") == "ratelimited" {
			return verdict{failed, reply.Error, r.retryAfter(time.Now())}
		}
		v.outcome = refused
	case slices.Contains(slackRefusals, body):
		v.outcome = refused
	}
	return v
}
