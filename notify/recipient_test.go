package notify

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
)

func TestTargets(t *testing.T) {
	c := webConfig("https://service.example")
	c.Channels = append(channels(
		&Email{To: []string{"ops@example.com", "boss@example.com", "ops@example.com"}, From: "vigil@example.com", Host: "localhost", Port: 587},
		&XMPP{To: "ops@example.com", From: "vigil@example.com", Password: "xmpp-secret"},
	), c.Channels...)
	c.Channels = append(c.Channels, Channel{ID: "db-team", Kind: "slack", RemindersOnly: true, Service: &Slack{HookURL: "https://a.example/x"}})
	var names, quiet []string
	for _, target := range c.Targets("1.2.3") {
		names = append(names, target.Name)
		if target.RemindersOnly {
			quiet = append(quiet, target.Name)
		}
	}
	if want := []string{"email#1", "email#2", "xmpp", "twilio#1", "twilio#2", "slack", "zulip", "telegram", "pushover#1", "pushover#2",
		"gotify", "matrix", "webex", "discord", "teams", "mattermost", "googlechat", "ntfy", "pagerduty", "alertmanager#1", "alertmanager#2",
		"webhook", "db-team"}; !slices.Equal(names, want) {
		t.Errorf("targets %q, want %q", names, want)
	}
	if want := []string{"db-team"}; !slices.Equal(quiet, want) {
		t.Errorf("targets that want reminders only %q, want %q", quiet, want)
	}
	if n := len((Config{}).Targets("")); n != 0 {
		t.Errorf("without channels there are %d targets", n)
	}
	var described []string
	for _, ch := range c.Channels {
		described = append(described, ch.String())
	}
	all := strings.Join(described, "\n")
	if len(described) != len(c.IDs()) || !strings.HasSuffix(all, "\ndb-team: slack by a hook at a.example (reminders only)") {
		t.Errorf("described as\n%s", all)
	}
	for _, secret := range secrets {
		if strings.Contains(all, secret) {
			t.Errorf("%q shows in\n%s", secret, all)
		}
	}
}

// A recipient keeps its pending alerts wherever it stands in the list.
func TestRecipientsKeepTheirKeys(t *testing.T) {
	keys := func(users ...Secret) map[string]string {
		m := make(map[string]string)
		c := Config{Channels: channels(&Pushover{UserKeys: users})}
		for i, target := range c.Targets("") {
			m[string(users[i])] = target.Key
		}
		return m
	}
	two := keys("anna-key", "bert-key")
	for name, other := range map[string]map[string]string{
		"the first one is removed":    keys("bert-key"),
		"the second one is removed":   keys("anna-key"),
		"one is put in front":         keys("carl-key", "anna-key", "bert-key"),
		"one is added":                keys("anna-key", "bert-key", "carl-key"),
		"they are in another order":   keys("bert-key", "anna-key"),
		"one is listed a second time": keys("anna-key", "bert-key", "anna-key"),
	} {
		for user, key := range other {
			if user != "carl-key" && key != two[user] && key != "" {
				t.Errorf("%s: %s is %s and was %s", name, user, key, two[user])
			}
			if strings.Contains(key, user) {
				t.Errorf("%s shows in %s", user, key)
			}
		}
	}
	mail := Config{Channels: channels(&Email{To: []string{"ops@example.com"}})}.Targets("")[0].Key
	both := Config{Channels: channels(&Email{To: []string{"boss@example.com", "ops@example.com"}})}.Targets("")
	if both[1].Key != mail || both[1].Name != "email#2" {
		t.Errorf("with a second address %s is %s, %s", mail, both[1].Key, both[1].Name)
	}
}

// What a version that knew recipients by position left goes to who has that
// position now, under its new key.
func TestRestoreOfOlderVersions(t *testing.T) {
	for _, tt := range []struct {
		users  []Secret
		stored string
		want   string // names of the recipients that get it
	}{
		{[]Secret{"a", "b"}, "pushover#2", "pushover#2"},
		{[]Secret{"a", "b"}, "pushover#1", "pushover#1"},
		{[]Secret{"a", "b"}, "pushover", "pushover#1"},
		{[]Secret{"a"}, "pushover", "pushover"},
		{[]Secret{"a"}, "pushover#1", "pushover"},
		{[]Secret{"a"}, "pushover#2", ""},
		{[]Secret{"a"}, "slack", "slack"},
		{[]Secret{"a"}, "zulip", ""},
	} {
		c := Config{Channels: channels(&Pushover{UserKeys: tt.users}, &Slack{HookURL: "https://a.example"})}
		j := newJournal()
		j.Queued(tt.stored, alert(Changed, "dead1"))
		d := NewDispatcher(c.Targets(""), j, slog.New(slog.DiscardHandler))
		d.Restore(tt.stored, []Alert{alert(Changed, "dead1")})
		got := ""
		for _, q := range d.queues {
			if len(q.backlog) == 1 {
				got += q.target.Name
				if left := j.left[q.target.Key]; len(left) != 1 {
					t.Errorf("%s: the journal has %v for %s", tt.stored, left, q.target.Key)
				}
			}
		}
		if got != tt.want || got != "" && len(j.left) != 1 || got == "" && len(j.left) != 0 {
			t.Errorf("%v, stored for %s: queued for %q, want %q; the journal has %v", tt.users, tt.stored, got, tt.want, j.left)
		}
	}
}
