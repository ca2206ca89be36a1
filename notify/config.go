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
