package notify

// Config says which channels there are; nil ones are not configured. It is
// checked by whoever fills it.
type Config struct {
	Page     Page
	Email    *Email
	Twilio   *Twilio
	Slack    *Slack
	Zulip    *Zulip
	Telegram *Telegram
	Pushover *Pushover
	Gotify   *Gotify
	XMPP     *XMPP
	Matrix   *Matrix
	Webex    *Webex
	Webhook  *Webhook
}

// Email is one message per recipient over SMTP.
type Email struct {
	To            []string
	From          string
	Host          string
	Port          int
	Username      string
	Password      Secret
	Encrypt       bool // STARTTLS is required, not only used when offered
	RemindersOnly bool
}

// Twilio is one text message per number.
type Twilio struct {
	To            []string
	ServiceSID    string // of the messaging service that sends, or ""
	From          string // the number that sends, where no service does
	AccountSID    string
	AuthToken     Secret
	APIURL        string // default "https://api.twilio.com"
	RemindersOnly bool
}

// Slack is an incoming webhook.
type Slack struct {
	HookURL        Secret
	MentionChannel bool
	RemindersOnly  bool
}

// Zulip is a bot that posts to a channel.
type Zulip struct {
	BotEmail      string
	BotAPIKey     Secret
	Channel       string
	APIURL        string // with or without the trailing slash
	RemindersOnly bool
}

// Telegram is a bot that posts to a chat.
type Telegram struct {
	BotToken        Secret
	ChatID          string // a number, negative for groups, or "@name"
	MessageThreadID int64  // 0: none
	APIURL          string // default "https://api.telegram.org"
	RemindersOnly   bool
}

// Pushover is one push message per user key.
type Pushover struct {
	AppToken      Secret
	UserKeys      []Secret
	APIURL        string // default "https://api.pushover.net"
	RemindersOnly bool
}

// Gotify is a self-hosted push server.
type Gotify struct {
	AppURL        string
	AppToken      Secret
	RemindersOnly bool
}

// XMPP is a chat message from one account to another.
type XMPP struct {
	To            string
	From          string
	Password      Secret
	RemindersOnly bool
}

// Matrix is a message to a room.
type Matrix struct {
	HomeserverURL string
	AccessToken   Secret
	RoomID        string
	RemindersOnly bool
}

// Webex is a bot that posts to a room.
type Webex struct {
	EndpointURL   string
	Token         Secret
	RoomID        string
	RemindersOnly bool
}

// Webhook is the alert as JSON, for everything else.
type Webhook struct {
	HookURL       Secret
	RemindersOnly bool
}
