package notify

import (
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// Mattermost is an incoming webhook.
type Mattermost struct {
	HookURL Secret
}

// mattermostLimit is how many characters the list of an attachment has; posts
// over 16,383 are split.
const mattermostLimit = 12000

// mattermostMessage is the payload of an incoming webhook.
// https://developers.mattermost.com/integrate/webhooks/incoming/
type mattermostMessage struct {
	Text        string                 `json:"text"`
	Attachments []mattermostAttachment `json:"attachments"`
}

type mattermostAttachment struct {
	Fallback  string `json:"fallback"`
	Color     string `json:"color"`
	Title     string `json:"title,omitempty"`
	TitleLink string `json:"title_link,omitempty"`
	Text      string `json:"text"`
}

func readMattermost(k Keys) Service {
	return &Mattermost{Secret(k.URL("hook_url", "https://mattermost.example.com/hooks/..."))}
}

// Describe implements Service.
func (m *Mattermost) Describe() string { return "by a hook at " + hostOf(string(m.HookURL)) }

func (m *Mattermost) recipients(Page) []recipient {
	return []recipient{{"", httpNotifier{hide: newRedactor("", m.HookURL), request: m.request, judge: judgeMattermost}}}
}

func (m *Mattermost) request(a Alert, now time.Time) (*http.Request, error) {
	t := newText(a, now)
	attachment := mattermostAttachment{Fallback: mattermostEscape(t.subject), Color: t.mood.colour()}
	if t.link != "" {
		attachment.Title, attachment.TitleLink = "Status page", t.link
		t.link = ""
	}
	write := plainStyle(mattermostLimit, utf8.RuneCountInString)
	write.text, write.label = mattermostEscape, mattermostEscape
	attachment.Text = write.body(t)
	return jsonRequest(http.MethodPost, string(m.HookURL), mattermostMessage{
		Text:        t.mood.icon() + " " + mattermostEscape(t.subject),
		Attachments: []mattermostAttachment{attachment},
	})
}

// mattermostEscape keeps Markdown from showing in names, names from mentioning
// people, and Slack's <!here> from being translated.
func mattermostEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "~", `\~`, "`", "\\`", "|", `\|`, "[", `\[`, "]", `\]`,
		"#", `\#`, "<", "‹", "@", "@\u200b").Replace(s)
}

// judgeMattermost reads an answer. 501 says that the server has webhooks
// switched off.
func judgeMattermost(r answer) verdict {
	var reply struct {
		ID      string
		Message string
	}
	said := string(r.body)
	known := r.json(&reply) && reply.ID != ""
	if known {
		said = reply.Message + " (" + reply.ID + ")"
	}
	v := r.verdict(said)
	if r.success() && known && reply.Message != "" || r.status == http.StatusNotImplemented {
		v.outcome = refused
	}
	return v
}
