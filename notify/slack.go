package notify

import (
	"net/http"
	"regexp"
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
	write.text, write.path, write.link = slackEscape, slackEscape, slackEscape

	var fields []slackField
	add := func(title, value string, short bool) {
		fields = append(fields, slackField{title, value, short})
	}
	if len(a.Dead) > 0 {
		add("Nodes", write.dead(a, slackFieldLimit), false)
	}
	if len(a.Recovered) > 0 {
		add("Recovered", write.recovered(a, slackFieldLimit), false)
	}
	for _, note := range notes(a) {
		add("Note", write.text(note), false)
	}
	add("Status", string(a.Status), true)
	add("Time", clock(a, now), true)
	if url := oneLine(a.Page.URL); url != "" {
		add("Monitor Page", write.link(url), false)
	}

	text := slackEscape(summary(a))
	if s.MentionChannel {
		text = "<!channel> " + text
	}
	return jsonRequest(http.MethodPost, string(s.HookURL), slackMessage{
		Text: text,
		Attachments: []slackAttachment{{
			Fallback: slackEscape(summary(a)),
			Color:    slackColor(a.Status),
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

// slackWord is what Slack's own refusals look like: invalid_token.
var slackWord = regexp.MustCompile(`^[a-z_]+$`)

// judgeSlack reads an answer. Slack and Mattermost say "ok"; others that speak
// the same protocol send JSON, with which success may be denied at status 200.
func judgeSlack(r answer) verdict {
	body := strings.TrimSpace(string(r.body))
	var reply struct {
		OK      *bool
		Success *bool // Rocket.Chat
		Error   string
	}
	if !r.success() || body == "ok" {
		return r.verdict(body)
	}
	if r.json(&reply) {
		for _, ok := range []*bool{reply.OK, reply.Success} {
			switch {
			case ok == nil:
			case *ok:
				return verdict{}
			case strings.ReplaceAll(reply.Error, "_", "") == "ratelimited":
				return verdict{failed, reply.Error, r.retryAfter(time.Now())}
			default:
				return verdict{outcome: refused, said: body}
			}
		}
	}
	if slackWord.MatchString(body) {
		return verdict{outcome: refused, said: body}
	}
	return r.unknown()
}
