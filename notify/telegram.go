package notify

import (
	"cmp"
	"encoding/json"
	"html"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// Telegram is a bot that posts to a chat.
type Telegram struct {
	BotToken        Secret
	ChatID          string // a number, negative for groups, or "@name"
	MessageThreadID int64  // 0: none
	APIURL          string // default "https://api.telegram.org"
}

const (
	telegramURL = "https://api.telegram.org"

	// telegramLimit is how long a text may be, in UTF-16 units to be safe.
	// https://core.telegram.org/bots/api#sendmessage
	telegramLimit = 4096

	// telegramGeneral is the topic that must not be named to post into it.
	telegramGeneral = 1
)

// telegramMessage is the body of sendMessage.
type telegramMessage struct {
	ChatID    any             `json:"chat_id"` // int64, or a string such as "@name"
	ThreadID  int64           `json:"message_thread_id,omitempty"`
	Text      string          `json:"text"`
	ParseMode string          `json:"parse_mode,omitempty"`
	Preview   telegramPreview `json:"link_preview_options"`
}

type telegramPreview struct {
	IsDisabled bool `json:"is_disabled"`
}

// telegramReply is what every method answers.
// https://core.telegram.org/bots/api#making-requests
type telegramReply struct {
	OK          bool
	ErrorCode   int `json:"error_code"`
	Description string
	Parameters  struct {
		RetryAfter float64     `json:"retry_after"` // seconds
		MigrateTo  json.Number `json:"migrate_to_chat_id"`
	}
}

func readTelegram(k Keys) Service {
	t := &Telegram{BotToken: k.HeaderSecret("bot_token")}
	v, _ := k.Get("chat_id")
	if id, ok := v.(int64); ok {
		t.ChatID = strconv.FormatInt(id, 10)
	} else {
		t.ChatID = k.Required("chat_id", `a chat's number or name, like "-1001234567890" or "@name"`)
	}
	t.MessageThreadID = readTopic(k, "message_thread_id")
	t.APIURL = k.BaseURL("api_url", telegramURL)
	return t
}

// readTopic reads the number of a topic, which may be in quotes.
func readTopic(k Keys, key string) int64 {
	const allowed = "an integer over 0"
	v, ok := k.Get(key)
	if !ok {
		return 0
	}
	id, isInt := v.(int64)
	s, isText := v.(string)
	switch n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64); {
	case isText && (err != nil || n <= 0):
		k.Fault(key, "%s is not a topic; allowed: %s", k.Show(key, s), allowed)
	case isText:
		id = n
	case !isInt:
		k.Mistyped(key, v, allowed)
	case id <= 0:
		k.Fault(key, "%d is not a topic; allowed: %s", id, allowed)
	}
	return id
}

// Describe implements Service.
func (t *Telegram) Describe() string { return "to chat " + t.ChatID }

func (t *Telegram) recipients(Page) []recipient { return []recipient{{"", t.notifier()}} }

func (t *Telegram) notifier() httpNotifier {
	return httpNotifier{
		hide:    newRedactor("", t.BotToken, password(t.APIURL)),
		request: t.request,
		judge:   judgeTelegram,
		again:   t.again,
	}
}

func (t *Telegram) request(a Alert, now time.Time) (*http.Request, error) {
	return t.message(t.ChatID, "HTML", a, now)
}

// message is the request for a chat in a parse mode, "" for plain text.
func (t *Telegram) message(chat, mode string, a Alert, now time.Time) (*http.Request, error) {
	say := newText(a, now)
	write := plainStyle(telegramLimit, utf16Count)
	write.text, write.label = noMention, noMention
	if mode != "" {
		write.text = func(s string) string { return html.EscapeString(noMention(s)) }
		write.label, write.link = write.text, html.EscapeString
		write.strong = func(s string) string { return say.mood.icon() + " <b>" + s + "</b>" }
	}
	m := telegramMessage{
		ChatID:    chat,
		Text:      write.message(say),
		ParseMode: mode,
		Preview:   telegramPreview{IsDisabled: true},
	}
	if id, err := strconv.ParseInt(chat, 10, 64); err == nil {
		m.ChatID = id
	}
	if t.MessageThreadID != telegramGeneral {
		m.ThreadID = t.MessageThreadID
	}
	return jsonRequest(http.MethodPost, join(cmp.Or(t.APIURL, telegramURL), "bot"+string(t.BotToken)+"/sendMessage"), m)
}

// again saves a message whose markup is refused all the same, as plain text,
// and one to a group that has become a supergroup, which has another id.
func (t *Telegram) again(a Alert, now time.Time, r answer) (*http.Request, error) {
	var reply telegramReply
	switch {
	case !r.json(&reply) || reply.OK:
		return nil, nil
	case reply.Parameters.MigrateTo != "":
		return t.message(reply.Parameters.MigrateTo.String(), "HTML", a, now)
	case strings.Contains(strings.ToLower(reply.Description), "can't parse entities"):
		return t.message(t.ChatID, "", a, now)
	}
	return nil, nil
}

// judgeTelegram reads an answer: its own error code counts, where it has one.
func judgeTelegram(r answer) verdict {
	var reply telegramReply
	if r.json(&reply) && !reply.OK {
		r.status = cmp.Or(reply.ErrorCode, r.status)
	}
	v := r.verdict(cmp.Or(reply.Description, string(r.body)))
	if r.status == http.StatusMisdirectedRequest { // a server of one's own that restarts
		v.outcome = failed
	}
	v.after = max(v.after, seconds(reply.Parameters.RetryAfter))
	return v
}

// utf16Count is the length of s in UTF-16 units.
func utf16Count(s string) int {
	n := 0
	for _, r := range s {
		n += max(1, utf16.RuneLen(r))
	}
	return n
}
