package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// kinds lists every kind of channel, in the order in which they are shown. To
// add one, add its file and its entry here.
var kinds = []kind{
	{name: "email", read: readEmail},
	{name: "twilio", read: readTwilio},
	{name: "slack", read: readSlack},
	{name: "zulip", read: readZulip},
	{name: "telegram", read: readTelegram},
	{name: "pushover", read: readPushover, inTurn: true},
	{name: "gotify", read: readGotify},
	{name: "xmpp", read: readXMPP},
	{name: "matrix", read: readMatrix},
	{name: "webex", read: readWebex},
	{name: "discord", read: readDiscord},
	{name: "teams", read: readTeams},
	{name: "mattermost", read: readMattermost},
	{name: "googlechat", read: readGoogleChat},
	{name: "ntfy", read: readNtfy},
	{name: "pagerduty", read: readPagerDuty, incidents: true},
	{name: "alertmanager", read: readAlertmanager, incidents: true, forgets: true},
	{name: "webhook", read: readWebhook},
}

// A kind is one entry of that list.
type kind struct {
	name   string             // of its table in the config
	read   func(Keys) Service // nil: the channel is off, and a warning says so
	inTurn bool               // its recipients are served one after another

	// It keeps incidents of its own: it gets acknowledgements, and ends of
	// outages even where it gets reminders only.
	incidents bool

	// It closes an outage unless the outage is posted again and again.
	forgets bool
}

// A Service is what a kind of channel has of its own: its part of the config,
// and how to send a message.
type Service interface {
	// Describe says in a few words where messages go. It holds no secret.
	Describe() string

	// recipients returns a notifier for each recipient.
	recipients(page Page) []recipient
}

// A recipient is who gets the messages of one notifier.
type recipient struct {
	address string // distinguishes it from the channel's other recipients; "" for channels with one
	Notifier
}

// Keys reads the keys of a channel's table in the config file. Each method
// reads one key, reports what is wrong with its value, and returns the value
// or the default.
type Keys interface {
	Text(key, def string) string
	Required(key, allowed string) string                 // must not be missing or empty
	List(key, allowed string, each func(item, s string)) // one string, or a list of at least one
	Secret(key string) Secret                            // required; never shown
	HeaderSecret(key string) Secret                      // a Secret without control characters
	URL(key, example string) string                      // required; http or https; never shown
	BaseURL(key, def string) string                      // the same, with a default
	Bool(key string, def bool) bool                      //
	Number(key string, def, lo, hi int64) int64          //
	Table(key, allowed string) map[string]string         // of strings; nil where there is none
	Get(key string) (value any, ok bool)                 // of any type
	Has(key string) bool                                 //
	Mistyped(key string, value any, allowed string)      // reports a value of the wrong type
	Show(key, value string) string                       // quotes a value for a message
	Fault(key, format string, args ...any)               // makes the config unusable
	Warn(key, format string, args ...any)                //
	CheckSecret(key, value string)                       // warns of a variable that is not set
}

const anyText = "any non-empty text"

// Kinds returns the names of all kinds of channels.
func Kinds() []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

func kindOf(name string) kind {
	return kinds[slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })]
}

// Read reads the table of a channel of that kind. A channel without a Service
// is off.
func Read(name string, keys Keys) Channel {
	k := kindOf(name)
	c := Channel{Kind: name, ID: name}
	if keys.Has("id") {
		const allowed = "letters, digits, dots, hyphens and underscores, at most 64"
		if c.ID = keys.Required("id", allowed); !isChannelID(c.ID) {
			keys.Fault("id", "%s is not an id; allowed: %s", keys.Show("id", c.ID), allowed)
		}
	}
	c.Service = k.read(keys)
	c.RemindersOnly = keys.Bool("reminders_only", false)
	return c
}

func isChannelID(s string) bool {
	return len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(".-_", r))
	})
}

// Config is the channels of a config file.
type Config struct {
	Page     Page
	Channels []Channel
	Off      []string // ids of tables that are no channel, because they lack something
}

// A Channel is one [notify.KIND] table, or one entry of [[notify.KIND]].
type Channel struct {
	ID            string // unique; the kind where the config has no id
	Kind          string
	RemindersOnly bool
	Service
}

// String says what the channel is and where its messages go, without any
// secret.
func (c Channel) String() string {
	s := c.Kind + " " + c.Describe()
	if c.ID != c.Kind {
		s = c.ID + ": " + s
	}
	if c.RemindersOnly {
		s += " (reminders only)"
	}
	return s
}

// IDs returns the ids of all channels.
func (c Config) IDs() []string {
	var ids []string
	for _, ch := range c.Channels {
		ids = append(ids, ch.ID)
	}
	return ids
}

// Targets lists one target for each recipient of each channel. The version
// goes into the User-Agent.
func (c Config) Targets(version string) []Target {
	client := newClient()
	var targets []Target
	for _, ch := range c.Channels {
		var turn chan struct{}
		k := kindOf(ch.Kind)
		if k.inTurn {
			turn = make(chan struct{}, 1)
		}
		list := ch.recipients(c.Page)
		for i, r := range list {
			if web, ok := r.Notifier.(httpNotifier); ok {
				web.client, web.agent = client, "vigil/"+version
				r.Notifier = web
			}
			t := Target{
				Key: recipientKey(ch.ID, r.address), Name: ch.ID, Channel: ch.ID,
				RemindersOnly: ch.RemindersOnly, Notifier: r.Notifier, turn: turn, incidents: k.incidents, forgets: k.forgets,
			}
			if len(list) > 1 {
				t.Name = fmt.Sprintf("%s#%d", ch.ID, i+1)
			}
			if !slices.ContainsFunc(targets, func(o Target) bool { return o.Key == t.Key }) { // an address listed twice
				targets = append(targets, t)
			}
		}
	}
	return targets
}

// recipientKey identifies a recipient of a channel, at any position in the
// list, without showing the address.
func recipientKey(channel, address string) string {
	if address == "" {
		return channel
	}
	sum := sha256.Sum256([]byte(address))
	return channel + "@" + hex.EncodeToString(sum[:8])
}

// targetOf returns the index of the target with that key, or -1. Versions
// before 2.0 knew a recipient by its position: "pushover#2", or "email" where
// there was one.
func targetOf(targets []Target, key string) int {
	if i := slices.IndexFunc(targets, func(t Target) bool { return t.Key == key }); i >= 0 {
		return i
	}
	channel, _, _ := strings.Cut(key, "#")
	return slices.IndexFunc(targets, func(t Target) bool {
		return t.Name == key || key == channel && t.Name == channel+"#1" || t.Name == channel && key == channel+"#1"
	})
}

// hostOf returns the host, the one part of a hook URL that is no secret.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "?"
	}
	return u.Host
}
