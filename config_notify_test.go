package main

import (
	"fmt"
	"strings"
	"testing"
)

// A kind may have one channel without an id, or several with ids.
func TestChannelIDs(t *testing.T) {
	const hook = "\nhook_url = \"https://a.example/x\"\n"
	const gotify = "\napp_url = \"https://g.example\"\napp_token = \"t\"\n"
	for _, tt := range []struct {
		name, text string
		want       string // the channels, or what is wrong
	}{
		{"none", "[notify]", "[]"},
		{"a plain table", "[notify.slack]" + hook, "[slack by a hook at a.example]"},
		{"a plain table with an id", "[notify.slack]\nid = \"ops\"" + hook, "[ops: slack by a hook at a.example]"},
		{"two of a kind", "[[notify.slack]]" + hook + "[[notify.slack]]\nid = \"db-team\"\nreminders_only = true" + hook,
			"[slack by a hook at a.example db-team: slack by a hook at a.example (reminders only)]"},
		{"inline tables", "[notify]\nwebhook = [{ id = \"a\", hook_url = \"https://a.example\" }, { id = \"b\", hook_url = \"https://b.example\" }]",
			"[a: webhook at a.example b: webhook at b.example]"},
		{"of two kinds", "[[notify.slack]]\nid = \"ops\"" + hook + "[notify.gotify]" + gotify,
			"[ops: slack by a hook at a.example gotify at g.example]"},
		{"two of one id", "[[notify.slack]]" + hook + "[[notify.slack]]" + hook,
			`config.cfg:3: notify.slack[1].id: "slack" is also the id of the channel in line 1; allowed: a different id for each channel`},
		{"two kinds with one id", "[notify.slack]" + hook + "[[notify.gotify]]\nid = \"slack\"" + gotify,
			`config.cfg:4: notify.gotify[0].id: "slack" is also the id of the channel in line 1; allowed: a different id for each channel`},
		{"not an id", "[notify.slack]\nid = \"db team\"" + hook,
			`config.cfg:2: notify.slack.id: "db team" is not an id; allowed: letters, digits, dots, hyphens and underscores, at most 64`},
		{"an empty id", "[notify.slack]\nid = \"\"" + hook,
			`config.cfg:2: notify.slack.id: is empty; allowed: letters, digits, dots, hyphens and underscores, at most 64`},
		{"both forms of a kind", "[notify.slack]" + hook + "[[notify.slack]]" + hook,
			"config.cfg:3: notify: Key 'notify.slack' was already created and cannot be used as an array."},
		{"a channel that is no table", "[notify]\nslack = \"https://a.example\"",
			"config.cfg:2: notify.slack: is a string; allowed: one table, [notify.slack]"},
		{"addresses with commas", "[notify.email]\nto = \"a@example.com, B <b@example.com>\"\nfrom = \"v@example.com\"\n",
			"[email to a@example.com, b@example.com over localhost port 587]"},
		{"several senders", "[notify.email]\nto = \"a@example.com\"\nfrom = \"v@example.com, w@example.com\"\n",
			`config.cfg:3: notify.email.from: "v@example.com, w@example.com" is several addresses; allowed: one`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, warnings, err := parseConfig(strings.NewReader(tt.text+"\n[branding]\npage_url = \"https://s.example\""), "config.cfg", environ(nil))
			got := fmt.Sprint(err)
			if err == nil {
				got = fmt.Sprint(c.Notify.Channels)
			}
			if got != tt.want || len(warnings) > 0 {
				t.Errorf("got %s\nwant %s; warnings %v", got, tt.want, warnings)
			}
		})
	}
}
