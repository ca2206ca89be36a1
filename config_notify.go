package main

import (
	"net/mail"
	"strconv"
	"strings"

	"vigil/notify"
)

// readNotify reads [notify]: when people are told, and through which channels.
// A channel is configured by having a table.
func (c *Config) readNotify(t *table) {
	a := &c.Alerting
	a.Startup = t.yes("startup_notification", true)
	a.ReminderInterval = t.seconds("reminder_interval", 0, 1)
	function := t.choice("reminder_backoff_function", "none", backoffs)
	for x, name := range backoffs {
		if name == function {
			a.BackoffExponent = x
		}
	}
	a.BackoffLimit = t.count("reminder_backoff_limit", 3, 1_000_000)
	a.boundBackoff()
	a.Escalate = t.yes("reminder_escalate", false)

	c.Notify.Page = notify.Page{Title: c.Branding.PageTitle, URL: c.Branding.PageURL}
	for _, ch := range []struct {
		key  string
		read func(*notify.Config, *table)
	}{
		{"email", readEmail}, {"twilio", readTwilio}, {"slack", readSlack}, {"zulip", readZulip},
		{"telegram", readTelegram}, {"pushover", readPushover}, {"gotify", readGotify},
		{"xmpp", readXMPP}, {"matrix", readMatrix}, {"webex", readWebex}, {"webhook", readWebhook},
	} {
		if sub := t.table(ch.key); sub.vals != nil {
			ch.read(&c.Notify, sub)
			sub.rest()
		}
	}
	t.rest()
}

// backoffs are the backoff functions; the index is the exponent.
var backoffs = []string{"none", "linear", "square", "cubic"}

const anyText = "any non-empty text"

func readEmail(c *notify.Config, t *table) {
	e := &notify.Email{}
	const allowed = "one e-mail address or a list of them, like ops@example.com"
	if to, ok := t.vals["to"].(string); ok {
		t.required("to", allowed)
		e.To = t.addAddress(nil, "to", to)
	} else {
		t.recipients("to", allowed, func(item, s string) { e.To = t.addAddress(e.To, item, s) })
	}
	for _, from := range t.addAddress(nil, "from", t.required("from", "an e-mail address, like vigil@example.com")) {
		e.From = from
	}
	e.Host = t.text("smtp_host", "localhost")
	if e.Host == "" || strings.ContainsAny(e.Host, "/@ \t\r\n") {
		t.fault("smtp_host", "%s is not a host; allowed: a host name or an IP address", t.show("smtp_host", e.Host))
	}
	e.Host = strings.Trim(e.Host, "[]")
	e.Port = int(t.number("smtp_port", 587, 1, 65535, ""))
	e.Username = t.text("smtp_username", "")
	password := t.text("smtp_password", "")
	t.checkSecret("smtp_password", password)
	e.Password = notify.Secret(password)
	if e.Username == "" && password != "" {
		t.warn("smtp_password", "is without smtp_username and is not used")
	}
	if e.Username != "" && password == "" {
		t.warn("smtp_username", "is without smtp_password")
	}
	e.Encrypt = t.yes("smtp_encrypt", true)
	e.RemindersOnly = t.remindersOnly()
	c.Email = e
}

// addAddress appends an e-mail address, without the name it may come with.
func (t *table) addAddress(to []string, key, s string) []string {
	if s == "" {
		return to
	}
	a, err := mail.ParseAddress(s)
	if err != nil {
		t.fault(key, "%s is not an e-mail address; allowed: one like ops@example.com", t.show(key, s))
		return to
	}
	return append(to, a.Address)
}

func (t *table) remindersOnly() bool { return t.yes("reminders_only", false) }

func readTwilio(c *notify.Config, t *table) {
	w := &notify.Twilio{From: t.text("from", "")}
	const allowed = `a list of phone numbers, like ["+33600000000"]`
	if to, ok := t.vals["to"].(string); ok { // as up to 1.8 of the Rust Vigil
		t.required("to", allowed)
		t.checkPhone("to", to)
		w.To = []string{to}
	} else {
		t.recipients("to", allowed, func(item, s string) {
			t.checkPhone(item, s)
			w.To = append(w.To, s)
		})
	}
	if w.From == "" || t.has("service_sid") {
		w.ServiceSID = t.required("service_sid", "the SID of a messaging service; or from, with a phone number, in its place")
	} else {
		t.checkPhone("from", w.From)
	}
	w.AccountSID = t.required("account_sid", anyText)
	w.AuthToken = t.secret("auth_token", anyText)
	w.APIURL = t.base("api_url", "https://api.twilio.com")
	w.RemindersOnly = t.remindersOnly()
	c.Twilio = w
}

// checkPhone warns of what no message can be sent to. The samples of the Rust
// Vigil hold such numbers, so that they are not worth a refusal.
func (t *table) checkPhone(key, s string) {
	if s != "" && !isPhone(s) {
		t.warn(key, "%s is not a phone number; allowed: a + and up to 15 digits, like +33600000000", t.show(key, s))
	}
}

// isPhone reports whether s may be a phone number, as people write them, or a
// Twilio address like "whatsapp:+33600000000".
// https://www.twilio.com/docs/messaging/api/message-resource
func isPhone(s string) bool {
	if _, number, ok := strings.Cut(s, ":"); ok {
		s = number
	}
	digits := 0
	for i, r := range s {
		switch {
		case '0' <= r && r <= '9':
			digits++
		case r == '+' && i == 0:
		case strings.ContainsRune(" -.()", r) && i > 0:
		default:
			return false
		}
	}
	return digits >= 3 && digits <= 15
}

func readSlack(c *notify.Config, t *table) {
	c.Slack = &notify.Slack{
		HookURL:        notify.Secret(t.endpoint("hook_url", "https://hooks.slack.com/services/...")),
		MentionChannel: t.yes("mention_channel", false),
		RemindersOnly:  t.remindersOnly(),
	}
}

func readZulip(c *notify.Config, t *table) {
	c.Zulip = &notify.Zulip{
		BotEmail:      t.required("bot_email", anyText),
		BotAPIKey:     t.secret("bot_api_key", anyText),
		Channel:       t.required("channel", anyText),
		APIURL:        t.endpoint("api_url", "https://example.zulipchat.com/api/v1/"),
		RemindersOnly: t.remindersOnly(),
	}
}

func readTelegram(c *notify.Config, t *table) {
	g := &notify.Telegram{BotToken: t.headerSecret("bot_token")}
	if id, ok := t.vals["chat_id"].(int64); ok {
		t.get("chat_id")
		g.ChatID = strconv.FormatInt(id, 10)
	} else {
		g.ChatID = t.required("chat_id", `a chat's number or name, like "-1001234567890" or "@name"`)
	}
	g.MessageThreadID = t.topic("message_thread_id")
	g.APIURL = t.base("api_url", "https://api.telegram.org")
	g.RemindersOnly = t.remindersOnly()
	c.Telegram = g
}

// topic reads the number of a Telegram topic, which may be in quotes.
func (t *table) topic(key string) int64 {
	v, ok := t.get(key)
	if !ok {
		return 0
	}
	id, isInt := v.(int64)
	s, isText := v.(string)
	switch n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64); {
	case isText && (err != nil || n <= 0):
		t.fault(key, "%s is not a topic; allowed: an integer over 0", t.show(key, s))
	case isText:
		id = n
	case !isInt:
		t.mistyped(key, v, "an integer over 0")
	case id <= 0:
		t.fault(key, "%d is not a topic; allowed: an integer over 0", id)
	}
	return id
}

func readPushover(c *notify.Config, t *table) {
	p := &notify.Pushover{AppToken: t.secret("app_token", anyText)}
	t.recipients("user_keys", "a list of user keys", func(item, s string) {
		t.checkSecret(item, s)
		p.UserKeys = append(p.UserKeys, notify.Secret(s))
	})
	p.APIURL = t.base("api_url", "https://api.pushover.net")
	p.RemindersOnly = t.remindersOnly()
	c.Pushover = p
}

func readGotify(c *notify.Config, t *table) {
	c.Gotify = &notify.Gotify{
		AppURL:        t.endpoint("app_url", "https://push.example.com"),
		AppToken:      t.headerSecret("app_token"),
		RemindersOnly: t.remindersOnly(),
	}
}

func readXMPP(c *notify.Config, t *table) {
	c.XMPP = &notify.XMPP{
		To:            t.jid("to"),
		From:          t.jid("from"),
		Password:      t.secret("xmpp_password", anyText),
		RemindersOnly: t.remindersOnly(),
	}
}

// jid reads a Jabber ID: local@domain, with or without a /resource. RFC 7622
// section 3 has the whole truth; this refuses what no account can be.
func (t *table) jid(key string) string {
	const allowed = "a Jabber ID, like vigil@example.com"
	s := t.required(key, allowed)
	bare, _, _ := strings.Cut(s, "/")
	local, domain, ok := strings.Cut(bare, "@")
	if s != "" && (!ok || local == "" || domain == "" || strings.ContainsAny(bare, " \t\r\n<>&\"'") || strings.Contains(domain, "@")) {
		t.fault(key, "%s is not an account; allowed: %s", t.show(key, s), allowed)
	}
	return s
}

func readMatrix(c *notify.Config, t *table) {
	// 1.20 of the Rust Vigil logged in.
	for _, key := range []string{"username", "password", "device_id"} {
		if _, ok := t.get(key); ok {
			t.warn(key, "is without effect: access_token takes its place")
		}
	}
	c.Matrix = &notify.Matrix{
		HomeserverURL: t.endpoint("homeserver_url", "https://matrix.org"),
		AccessToken:   t.headerSecret("access_token"),
		RoomID:        t.required("room_id", anyText),
		RemindersOnly: t.remindersOnly(),
	}
}

func readWebex(c *notify.Config, t *table) {
	c.Webex = &notify.Webex{
		EndpointURL:   t.endpoint("endpoint_url", "https://webexapis.com/v1/messages"),
		Token:         t.headerSecret("token"),
		RoomID:        t.required("room_id", anyText),
		RemindersOnly: t.remindersOnly(),
	}
}

func readWebhook(c *notify.Config, t *table) {
	c.Webhook = &notify.Webhook{
		HookURL:       notify.Secret(t.endpoint("hook_url", "https://example.com/webhooks/...")),
		RemindersOnly: t.remindersOnly(),
	}
}
