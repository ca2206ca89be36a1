package notify

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"
)

// deliveryLimit is how long one try of one delivery may take.
const deliveryLimit = 10 * time.Second

// Targets lists one target per recipient of each configured channel. The
// version goes into the User-Agent.
func (c Config) Targets(version string) []Target {
	client := newClient()
	var targets []Target
	add := func(channel string, remindersOnly bool, notifiers ...Notifier) {
		for i, n := range notifiers {
			t := Target{Name: channel, Channel: channel, RemindersOnly: remindersOnly, Notifier: n}
			if len(notifiers) > 1 {
				t.Name = fmt.Sprintf("%s#%d", channel, i+1)
			}
			t.Key = t.Name
			targets = append(targets, t)
		}
	}
	web := func(n httpNotifier) Notifier {
		n.client, n.agent = client, "vigil/"+version
		return n
	}

	if c.Email != nil {
		var each []Notifier
		for _, to := range c.Email.To {
			each = append(each, newEmailNotifier(c.Email, to, c.Page))
		}
		add("email", c.Email.RemindersOnly, each...)
	}
	if c.Twilio != nil {
		var each []Notifier
		for _, to := range c.Twilio.To {
			each = append(each, web(c.Twilio.notifier(to)))
		}
		add("twilio", c.Twilio.RemindersOnly, each...)
	}
	if c.Slack != nil {
		add("slack", c.Slack.RemindersOnly, web(c.Slack.notifier()))
	}
	if c.Zulip != nil {
		add("zulip", c.Zulip.RemindersOnly, web(c.Zulip.notifier()))
	}
	if c.Telegram != nil {
		add("telegram", c.Telegram.RemindersOnly, web(c.Telegram.notifier()))
	}
	if c.Pushover != nil {
		first := len(targets)
		var each []Notifier
		for rank := range c.Pushover.UserKeys {
			each = append(each, web(c.Pushover.notifier(rank)))
		}
		add("pushover", c.Pushover.RemindersOnly, each...)
		turn := make(chan struct{}, 1) // Pushover wants messages in sequence
		for i := range targets[first:] {
			targets[first+i].turn = turn
		}
	}
	if c.Gotify != nil {
		add("gotify", c.Gotify.RemindersOnly, web(c.Gotify.notifier()))
	}
	if c.XMPP != nil {
		add("xmpp", c.XMPP.RemindersOnly, newXMPPNotifier(c.XMPP))
	}
	if c.Matrix != nil {
		add("matrix", c.Matrix.RemindersOnly, web(c.Matrix.notifier()))
	}
	if c.Webex != nil {
		add("webex", c.Webex.RemindersOnly, web(c.Webex.notifier()))
	}
	if c.Webhook != nil {
		add("webhook", c.Webhook.RemindersOnly, web(c.Webhook.notifier()))
	}
	return targets
}

// Wants reports whether the target is to get the alert.
func (t Target) Wants(a Alert) bool {
	switch {
	case a.Channel != "" && a.Channel != t.Channel, a.Kind == Acknowledged:
		return false
	}
	return !t.RemindersOnly || a.Kind == Reminder || a.Test
}

// Deliver makes one try. It ends with ctx or after 10 s, not counting the time
// it waits for its turn. A panic comes back as an error.
func (t Target) Deliver(ctx context.Context, a Alert) (err error) {
	if t.turn != nil {
		select {
		case t.turn <- struct{}{}:
			defer func() { <-t.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, deliveryLimit)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError(v)
		}
	}()
	return t.Notify(ctx, a)
}

// A panicError is a fault in a notifier. It counts as a failure that passes.
type panicError struct {
	what  string
	stack string
}

func (e *panicError) Error() string { return "the notifier panicked: " + e.what }

// newPanicError quotes what the runtime says, and of other values the type
// only, for these may hold anything.
func newPanicError(v any) *panicError {
	what := fmt.Sprintf("%T", v)
	if fault, ok := v.(runtime.Error); ok {
		what = fault.Error()
	}
	return &panicError{what, string(debug.Stack())}
}
