package notify

import (
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Discord is a webhook of a channel.
type Discord struct {
	HookURL Secret
}

// Limits in UTF-16 units, to be safe: a message's text has 2,000 characters,
// and its embeds 6,000 together, of which a description has 4,096.
// https://docs.discord.com/developers/resources/message#embed-object-embed-limits
const (
	discordLimit = 4000

	// discordPause is the wait after a 429 that names none: the edge blocks
	// this machine's address for a while.
	discordPause = 2 * time.Minute

	// discordUnknownWebhook says that the webhook is gone. Discord restricts
	// senders that use it again.
	discordUnknownWebhook = 10015
)

// discordMessage is the body of Execute Webhook. Its empty allowed mentions
// keep names from ringing anybody.
type discordMessage struct {
	Content  string          `json:"content"`
	Embeds   []discordEmbed  `json:"embeds"`
	Mentions discordMentions `json:"allowed_mentions"`
}

type discordEmbed struct {
	Description string `json:"description"`
	Color       int64  `json:"color"`
	Timestamp   string `json:"timestamp"`
}

type discordMentions struct {
	Parse []string `json:"parse"`
}

func readDiscord(k Keys) Service {
	return &Discord{Secret(k.URL("hook_url", "https://discord.com/api/webhooks/..."))}
}

// Describe implements Service.
func (d *Discord) Describe() string { return "by a hook at " + hostOf(string(d.HookURL)) }

func (d *Discord) recipients(Page) []recipient {
	return []recipient{{"", httpNotifier{hide: newRedactor("", d.HookURL), request: d.request, judge: judgeDiscord}}}
}

// discordPath is the path of a webhook, whose version may be missing: then it
// is an old one, which gives waits in milliseconds.
var discordPath = regexp.MustCompile(`/api/(v\d+/)?webhooks/`)

func (d *Discord) request(a Alert, now time.Time) (*http.Request, error) {
	u, err := url.Parse(string(d.HookURL))
	if err != nil {
		return nil, err
	}
	u.Path = discordPath.ReplaceAllString(u.Path, "/api/v10/webhooks/")
	if !u.Query().Has("wait") { // else nothing tells whether the message was saved
		u.RawQuery = strings.TrimPrefix(u.RawQuery+"&wait=true", "&")
	}
	t := newText(a, now)
	write := plainStyle(discordLimit, utf16Count)
	write.text, write.label = discordEscape, discordEscape
	color, _ := strconv.ParseInt(t.mood.colour()[1:], 16, 32)
	return jsonRequest(http.MethodPost, u.String(), discordMessage{
		Content:  t.mood.icon() + " " + discordEscape(t.subject),
		Embeds:   []discordEmbed{{write.body(t), color, a.Time.UTC().Format(time.RFC3339)}},
		Mentions: discordMentions{Parse: []string{}},
	})
}

// discordEscape keeps Discord's Markdown from showing in names, and names from
// mentioning people.
func discordEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "~", `\~`, "`", "\\`", "|", `\|`, "[", `\[`, "]", `\]`,
		"#", `\#`, "<", "\\<", "@", "@\u200b").Replace(s)
}

// judgeDiscord reads an answer.
// https://docs.discord.com/developers/topics/rate-limits
func judgeDiscord(r answer) verdict {
	var reply struct {
		Code    int
		Message string
		After   float64 `json:"retry_after"` // seconds
	}
	said := string(r.body)
	if r.json(&reply) && reply.Message != "" {
		said = reply.Message + " (code " + strconv.Itoa(reply.Code) + ")"
	}
	v := r.verdict(said)
	switch {
	case r.status == http.StatusTooManyRequests:
		if v.after = max(v.after, seconds(reply.After)); v.after == 0 {
			v.after = discordPause
		}
	case r.status == http.StatusNotFound && reply.Code == discordUnknownWebhook:
		v.outcome = final
	}
	return v
}
