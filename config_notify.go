package main

import (
	"maps"
	"slices"

	"vigil/notify"
)

// readNotify reads [notify]: when people are told, and through which channels.
func (c *Config) readNotify(t *table) {
	a := &c.Alerting
	a.Startup = t.yes("startup_notification", true)
	r := Reminders{BackoffLimit: 3}
	t.readReminders(&r, 1)
	a.ReminderInterval, a.BackoffExponent, a.BackoffLimit = r.ReminderInterval, r.BackoffExponent, r.BackoffLimit
	a.Escalate = t.yes("reminder_escalate", false)

	c.Notify.Page = notify.Page{Title: c.Branding.PageTitle, URL: c.Branding.PageURL}
	lines := make(map[string]int) // by id: where a channel was opened
	for _, kind := range notify.Kinds() {
		for _, sub := range t.channelTables(kind) {
			ch := notify.Read(kind, channelKeys{sub})
			sub.rest()
			if line, taken := lines[ch.ID]; taken && ch.ID != "" {
				sub.fault("id", "%q is also the id of the channel in line %d; allowed: a different id for each channel", ch.ID, line)
				continue
			}
			lines[ch.ID] = sub.line
			c.Notify.Channels = append(c.Notify.Channels, ch)
		}
	}
	c.readRoutes(t)
	c.readDeadman(t)
	t.rest()
}

// backoffs are the backoff functions; the index is the exponent.
var backoffs = []string{"none", "linear", "square", "cubic"}

// channelTables returns the tables of the channels of a kind: [notify.KIND] or
// each [[notify.KIND]].
func (t *table) channelTables(kind string) []*table {
	switch t.vals[kind].(type) {
	case nil:
		t.get(kind) // now it is known
		return nil
	case []any, []map[string]any:
		return t.tables(kind)
	}
	if sub := t.table(kind); sub.vals != nil {
		return []*table{sub}
	}
	return nil
}

// channelKeys reads the keys of a channel's table for package notify. It
// implements notify.Keys.
type channelKeys struct{ t *table }

func (k channelKeys) Text(key, def string) string           { return k.t.text(key, def) }
func (k channelKeys) Required(key, allowed string) string   { return k.t.required(key, allowed) }
func (k channelKeys) HeaderSecret(key string) notify.Secret { return k.t.headerSecret(key) }
func (k channelKeys) URL(key, example string) string        { return k.t.endpoint(key, example) }
func (k channelKeys) BaseURL(key, def string) string        { return k.t.base(key, def) }
func (k channelKeys) Bool(key string, def bool) bool        { return k.t.yes(key, def) }
func (k channelKeys) Get(key string) (any, bool)            { return k.t.get(key) }
func (k channelKeys) Has(key string) bool                   { return k.t.has(key) }
func (k channelKeys) Mistyped(key string, value any, allowed string) {
	k.t.mistyped(key, value, allowed)
}
func (k channelKeys) Show(key, value string) string         { return k.t.show(key, value) }
func (k channelKeys) Fault(key, format string, args ...any) { k.t.fault(key, format, args...) }
func (k channelKeys) Warn(key, format string, args ...any)  { k.t.warn(key, format, args...) }
func (k channelKeys) CheckSecret(key, value string)         { k.t.checkSecret(key, value) }

func (k channelKeys) Secret(key string) notify.Secret { return k.t.secret(key, anyText) }

func (k channelKeys) Number(key string, def, lo, hi int64) int64 {
	return k.t.number(key, def, lo, hi, "")
}

// List reads one string or a list of strings, of which there must be one.
func (k channelKeys) List(key, allowed string, each func(item, s string)) {
	if s, ok := k.t.vals[key].(string); ok {
		if k.t.required(key, allowed); s != "" {
			each(key, s)
		}
		return
	}
	k.t.recipients(key, allowed, each)
}

// Table reads a table of strings.
func (k channelKeys) Table(key, allowed string) map[string]string {
	if !k.t.has(key) {
		k.t.get(key)
		return nil
	}
	if v := k.t.vals[key]; kind(v) != "a table" {
		k.t.get(key)
		k.t.mistyped(key, v, allowed)
		return nil
	}
	sub := k.t.table(key)
	m := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(sub.vals)) {
		m[name] = sub.text(name, "")
	}
	return m
}

const anyText = "any non-empty text"
