package main

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of what operators write.
const (
	maxTitle     = 256      // characters of a title
	maxText      = 16 << 10 // bytes of a text
	maxSelectors = 100
	maxAhead     = 366 * 24 * time.Hour // how far ahead a time may be
)

type announcementTitle struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

// announcements lists what is published, oldest first.
func (m *managerAPI) announcements(c *managerCall) (any, error) {
	list := []announcementTitle{}
	err := m.call(c.r, func(st *state, _ time.Time, done chan<- error) {
		for _, a := range st.announcements {
			list = append(list, announcementTitle{a.id, a.title})
		}
		done <- nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// An announcementBody is an announcement as operators write it. Nil is a field
// that is not there.
type announcementBody struct {
	Title     *string    `json:"title"`
	Text      *string    `json:"text"`
	Type      *string    `json:"type"`
	Selectors []string   `json:"selectors"`
	State     *string    `json:"state"`
	Until     *time.Time `json:"until"`
}

// announcementJSON is an announcement as operators read it.
type announcementJSON struct {
	ID        string       `json:"id"`
	Title     string       `json:"title"`
	Text      string       `json:"text"`
	Type      string       `json:"type"`
	Selectors []string     `json:"selectors"`
	State     *string      `json:"state"`
	Until     *time.Time   `json:"until"`
	Published time.Time    `json:"published"`
	Updates   []updateJSON `json:"updates"` // oldest first
	Revision  int          `json:"revision"`
}

type updateJSON struct {
	Time  time.Time `json:"time"`
	State *string   `json:"state"`
	Text  string    `json:"text"`
}

var announcementTypes = []string{"notice", "incident"}

func newAnnouncementJSON(a announcement) announcementJSON {
	v := announcementJSON{ID: a.id, Title: a.title, Text: a.text, Type: announcementTypes[0], Selectors: append([]string{}, a.match...),
		State: textOrNil(a.state), Until: timeOrNil(a.until), Published: inSecond(a.at), Updates: []updateJSON{}, Revision: a.revision}
	if a.incident {
		v.Type = announcementTypes[1]
	}
	for _, u := range a.updates {
		v.Updates = append(v.Updates, updateJSON{inSecond(u.at), textOrNil(u.state), u.text})
	}
	return v
}

// announcement answers with one of them, whole.
func (m *managerAPI) announcement(c *managerCall) (any, error) {
	found, err := m.find(c)
	if err != nil {
		return nil, err
	}
	return newAnnouncementJSON(found), nil
}

// find returns the announcement that the call names.
func (m *managerAPI) find(c *managerCall) (found announcement, err error) {
	err = m.call(c.r, func(st *state, _ time.Time, done chan<- error) {
		if i := st.announcementAt(c.id, done); i >= 0 {
			found = st.announcements[i]
			done <- nil
		}
	})
	return found, err
}

// announce publishes an announcement and answers with its id.
func (m *managerAPI) announce(c *managerCall) (any, error) {
	var b announcementBody
	if err := c.decode(&b, decodeJSON); err != nil {
		return nil, err
	}
	a, err := b.announcement(c.conf, time.Now())
	if err != nil {
		return nil, err
	}
	a.id = newUUID()
	err = m.call(c.r, func(st *state, now time.Time, done chan<- error) {
		a.at = now
		st.announce(a, done)
	})
	if err != nil {
		return nil, err
	}
	return map[string]string{"id": a.id}, nil
}

// editAnnouncement replaces what an announcement says. The body is as for a new
// one, with the revision that the editor has read.
func (m *managerAPI) editAnnouncement(c *managerCall) (any, error) {
	var b struct {
		announcementBody
		Revision *int `json:"revision"`
	}
	if err := c.decode(&b, decodeStrict); err != nil {
		return nil, err
	}
	if b.Revision == nil {
		return nil, invalid("revision is missing: that of the announcement as you have read it")
	}
	old, err := m.find(c)
	if err != nil {
		return nil, err
	}
	same := b.Until != nil && b.Until.Equal(inSecond(old.until))
	if same {
		b.Until = nil // it may have passed
	}
	a, err := b.announcement(c.conf, time.Now())
	if err != nil {
		return nil, err
	}
	if same {
		a.until = old.until
	}
	a.id, a.revision = c.id, *b.Revision
	return nil, m.call(c.r, func(st *state, now time.Time, done chan<- error) { st.editAnnouncement(a, now, done) })
}

// updateAnnouncement adds what became known.
func (m *managerAPI) updateAnnouncement(c *managerCall) (any, error) {
	u, err := c.update()
	if err != nil {
		return nil, err
	}
	return nil, m.call(c.r, func(st *state, now time.Time, done chan<- error) {
		u.at = now
		st.updateAnnouncement(c.id, u, done)
	})
}

// update reads the body of an update.
func (c *managerCall) update() (u announcementUpdate, err error) {
	var b struct {
		State *string `json:"state"`
		Text  *string `json:"text"`
	}
	if err := c.decode(&b, decodeStrict); err != nil {
		return u, err
	}
	if u.state, err = checkState(b.State); err != nil {
		return u, err
	}
	u.text, err = checkText("text", b.Text)
	return u, err
}

// retract removes an announcement.
func (m *managerAPI) retract(c *managerCall) (any, error) {
	return nil, m.call(c.r, func(st *state, _ time.Time, done chan<- error) { st.retract(c.id, done) })
}

// announcement checks the body and returns what it says, without an id.
func (b *announcementBody) announcement(conf *Config, now time.Time) (a announcement, err error) {
	if a.title, err = checkTitle(b.Title); err != nil {
		return a, err
	}
	if a.text, err = checkText("text", b.Text); err != nil {
		return a, err
	}
	if b.Type != nil {
		i := slices.Index(announcementTypes, *b.Type)
		if i < 0 {
			return a, invalid("type %q is not one of: %s", *b.Type, strings.Join(announcementTypes, ", "))
		}
		a.incident = i == 1
	}
	if _, err := checkSelectors(conf, b.Selectors); err != nil {
		return a, err
	}
	a.match = b.Selectors
	if a.state, err = checkState(b.State); err != nil {
		return a, err
	}
	if b.Until != nil {
		if !b.Until.After(now) || b.Until.After(now.Add(maxAhead)) {
			return a, invalid("until is not a time within the next 366 days")
		}
		a.until = b.Until.Local()
	}
	return a, nil
}

// checkTitle checks a title, which is required.
func checkTitle(title *string) (string, error) {
	switch {
	case title == nil || strings.TrimSpace(*title) == "":
		return "", invalid("title is missing or empty")
	case utf8.RuneCountInString(*title) > maxTitle:
		return "", invalid("title is longer than %d characters", maxTitle)
	case strings.ContainsFunc(*title, unicode.IsControl):
		return "", invalid("title contains control characters")
	}
	return *title, nil
}

// checkText checks a text, which is required.
func checkText(field string, text *string) (string, error) {
	switch {
	case text == nil || strings.TrimSpace(*text) == "":
		return "", invalid("%s is missing or empty", field)
	case len(*text) > maxText:
		return "", invalid("%s is longer than %d bytes", field, maxText)
	case strings.ContainsFunc(*text, func(c rune) bool { return unicode.IsControl(c) && !strings.ContainsRune("\t\n\r", c) }):
		return "", invalid("%s contains control characters other than tabs and line ends", field)
	}
	return *text, nil
}

// checkState checks the state of an announcement or update; none is "".
func checkState(state *string) (string, error) {
	if state == nil {
		return "", nil
	}
	if !slices.Contains(announcementStates, *state) {
		return "", invalid("state %q is not one of: %s", *state, strings.Join(announcementStates, ", "))
	}
	return *state, nil
}

// checkSelectors checks selectors, of which each must select something.
func checkSelectors(conf *Config, all []string) (selectors, error) {
	if len(all) > maxSelectors {
		return nil, invalid("more than %d selectors", maxSelectors)
	}
	var ss selectors
	for _, s := range all {
		if err := conf.checkSelector(selector(s)); err != nil {
			return nil, invalid("selector %q %v", s, err)
		}
		ss = append(ss, selector(s))
	}
	return ss, nil
}

// newUUID returns a random UUID, version 4: RFC 9562, section 5.4.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// inSecond returns a time as the API writes it.
func inSecond(t time.Time) time.Time { return t.Truncate(time.Second) }

// timeOrNil is null in JSON for the zero time.
func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = inSecond(t)
	return &t
}

// textOrNil is null in JSON for an empty text.
func textOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
