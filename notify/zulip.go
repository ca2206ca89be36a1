package notify

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Zulip is a bot that posts to a channel.
type Zulip struct {
	BotEmail  string
	BotAPIKey Secret
	Channel   string
	APIURL    string // with or without the trailing slash
}

// zulipLimit is how many characters a message has; the server cuts what is
// longer, and with it the link. https://zulip.com/api/send-message
const zulipLimit = 10000

func readZulip(k Keys) Service {
	return &Zulip{
		BotEmail:  k.Required("bot_email", anyText),
		BotAPIKey: k.Secret("bot_api_key"),
		Channel:   k.Required("channel", anyText),
		APIURL:    k.URL("api_url", "https://example.zulipchat.com/api/v1/"),
	}
}

// Describe implements Service.
func (z *Zulip) Describe() string { return "to channel " + z.Channel + " at " + hostOf(z.APIURL) }

func (z *Zulip) recipients(Page) []recipient { return []recipient{{"", z.notifier()}} }

func (z *Zulip) notifier() httpNotifier {
	return httpNotifier{
		hide:    newRedactor(z.BotEmail, z.BotAPIKey, password(z.APIURL)),
		request: z.request,
		judge:   judgeZulip,
	}
}

func (z *Zulip) request(a Alert, now time.Time) (*http.Request, error) {
	t := newText(a, now)
	write := style{
		text:   zulipText,
		label:  codeSpan,
		strong: func(s string) string { return t.mood.icon() + " **" + s + "**" },
		link:   func(s string) string { return s },
		size:   utf8.RuneCountInString,
		limit:  zulipLimit,
	}
	req, err := formRequest(join(z.APIURL, "messages"), url.Values{
		"type":    {"stream"},
		"to":      {z.Channel},
		"topic":   {"Vigil status"},
		"content": {write.message(t)},
	})
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(z.BotEmail, string(z.BotAPIKey))
	return req, nil
}

// zulipText leaves plain words unchanged and puts everything else, which may
// mention people or be markup, into a code span: Zulip has no escapes.
func zulipText(s string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(" .,;()'\"/+-=%?", r)
	}
	words := strings.ReplaceAll(s, ": ", " ") // a colon within a word may be an emoji
	if strings.IndexFunc(words, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return codeSpan(s)
}

// codeSpan is s as Markdown code, fenced by more backticks than it has in a
// row.
func codeSpan(s string) string {
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + s + fence
}

// judgeZulip reads an answer. The wait after a 429 is in the body, as a
// float. https://zulip.com/api/rest-error-handling
func judgeZulip(r answer) verdict {
	var reply struct {
		Result string
		Msg    string
		Code   string
		After  float64 `json:"retry-after"`
	}
	said := string(r.body)
	if r.json(&reply) && reply.Code != "" {
		said = fmt.Sprintf("%s (%s)", reply.Msg, reply.Code)
	}
	v := r.verdict(said)
	if r.success() && reply.Result == "error" {
		v.outcome = refused
	}
	if reply.Code == "RATE_LIMIT_HIT" {
		v.outcome = failed
	}
	v.after = max(v.after, seconds(reply.After))
	return v
}
