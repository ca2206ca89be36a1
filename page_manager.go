package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of the Manager API.
const (
	maxTitle = 256             // characters of an announcement's title
	maxText  = 16 << 10        // bytes of its text
	maxMute  = 365 * 24 * 3600 // seconds without reminders
)

// A manager serves the Manager API below /manager: operators publish
// announcements, see what is wrong and silence reminders. PROTOCOL.md
// describes it.
type managerAPI struct {
	board    *board
	events   chan<- event
	reloads  chan<- reloadRequest
	throttle *throttle
}

// newManagerAPI returns the handler of the Manager API.
func newManagerAPI(b *board, events chan<- event, reloads chan<- reloadRequest, t *throttle) *managerAPI {
	return &managerAPI{b, events, reloads, t}
}

func (m *managerAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := m.serve(w, r)
	respond(w, body, m.throttle.judge(r, err))
}

// serve returns what is to be answered as JSON; nil is no body at all.
func (m *managerAPI) serve(w http.ResponseWriter, r *http.Request) (any, error) {
	path, err := segments(r.URL)
	if err != nil {
		return nil, err
	}
	route := ""
	for _, s := range path[1:] {
		route += "/" + s.text
	}
	const read = "GET, HEAD"
	var methods string
	var do func(http.ResponseWriter, *http.Request) (any, error)
	switch {
	case route == "/announcements":
		methods, do = read, m.announcements
	case route == "/announcement":
		methods, do = "POST", m.announce
	case len(path) == 3 && path[1].text == "announcement":
		methods, do = "DELETE", func(_ http.ResponseWriter, r *http.Request) (any, error) {
			return nil, m.call(r, func(st *state, _ time.Time, done chan<- error) { st.retract(path[2].text, done) })
		}
	case route == "/prober/alerts":
		methods, do = read, m.alerts
	case route == "/prober/alerts/ignored":
		methods, do = read+", PUT", m.ignored
	case route == "/reload":
		methods, do = "POST", m.reload
	default:
		return nil, errNoRoute
	}
	if err := allow(r, methods); err != nil {
		return nil, err
	}
	conf := m.board.load().conf
	if err := sameSite(r, conf.Branding.PageURL); err != nil {
		return nil, err
	}
	g := newTokenCheck("Manager", "server.manager_token", conf.Server.ManagerToken)
	if err := g.authorize(r); err != nil {
		return nil, err
	}
	return do(w, r)
}

// call has the aggregator do something and waits until it is done and stored.
func (m *managerAPI) call(r *http.Request, do func(st *state, now time.Time, done chan<- error)) error {
	done := make(chan error, 1)
	return ask(r.Context(), m.events, &call{do, done}, done)
}

// reloadTime is how long a reload may take to begin and to end.
const reloadTime = 20 * time.Second

// reload has the program read its config again, and answers with what changed.
// A config with faults is refused with all of them.
func (m *managerAPI) reload(_ http.ResponseWriter, r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), reloadTime)
	defer cancel()
	done := make(chan reloadAnswer, 1)
	select {
	case m.reloads <- reloadRequest{done}:
	case <-ctx.Done():
		return nil, errBusy
	}
	select {
	case a := <-done:
		if a.err != nil {
			return nil, &refusal{code: http.StatusUnprocessableEntity, text: "reload failed, keeping the current config",
				faults: strings.Split(a.err.Error(), "\n")}
		}
		return a.changes, nil
	case <-ctx.Done():
		return nil, errBusy
	}
}

type announcementTitle struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

// announcements lists what is published, oldest first.
func (m *managerAPI) announcements(_ http.ResponseWriter, r *http.Request) (any, error) {
	list := []announcementTitle{}
	err := m.call(r, func(st *state, _ time.Time, done chan<- error) {
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

// announce publishes an announcement and answers its id.
func (m *managerAPI) announce(w http.ResponseWriter, r *http.Request) (any, error) {
	body, err := readBody(w, r, maxRequest)
	if err != nil {
		return nil, err
	}
	a, err := parseAnnouncement(body)
	if err != nil {
		return nil, err
	}
	a.id = newUUID()
	err = m.call(r, func(st *state, now time.Time, done chan<- error) {
		a.at = now
		st.announce(a, done)
	})
	if err != nil {
		return nil, err
	}
	return map[string]string{"id": a.id}, nil
}

// parseAnnouncement reads and checks the body of an announcement.
func parseAnnouncement(body []byte) (announcement, error) {
	var b struct {
		Title *string `json:"title"`
		Text  *string `json:"text"`
	}
	if err := decodeJSON(body, &b); err != nil {
		return announcement{}, err
	}
	bad := func(format string, args ...any) (announcement, error) {
		return announcement{}, refuse(http.StatusBadRequest, format, args...)
	}
	switch {
	case b.Title == nil || strings.TrimSpace(*b.Title) == "":
		return bad("title is missing or empty")
	case b.Text == nil || strings.TrimSpace(*b.Text) == "":
		return bad("text is missing or empty")
	case utf8.RuneCountInString(*b.Title) > maxTitle:
		return bad("title is longer than %d characters", maxTitle)
	case len(*b.Text) > maxText:
		return bad("text is longer than %d bytes", maxText)
	case strings.ContainsFunc(*b.Title, unicode.IsControl):
		return bad("title contains control characters")
	case strings.ContainsFunc(*b.Text, func(c rune) bool { return unicode.IsControl(c) && !strings.ContainsRune("\t\n\r", c) }):
		return bad("text contains control characters other than tabs and line ends")
	}
	return announcement{title: *b.Title, text: *b.Text}, nil
}

// newUUID returns a random UUID, version 4: RFC 9562, section 5.4.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

type alertList struct {
	Dead []alertEntry `json:"dead"`
	Sick []alertEntry `json:"sick"`
}

type alertEntry struct {
	Probe   string    `json:"probe"`
	Node    string    `json:"node"`
	Replica string    `json:"replica"`
	Reason  string    `json:"reason"`
	Since   time.Time `json:"since"`
}

// alerts lists the dead and the sick replicas in the order of the config.
func (m *managerAPI) alerts(http.ResponseWriter, *http.Request) (any, error) {
	list := alertList{[]alertEntry{}, []alertEntry{}}
	for _, service := range m.board.load().services {
		for _, node := range service.nodes {
			if node.status == healthy {
				continue
			}
			for _, r := range node.replicas.all() {
				if r.status == healthy {
					continue
				}
				entry := alertEntry{service.conf.ID, node.conf.ID, r.id, r.reason, r.since.Truncate(time.Second)}
				if r.status == dead {
					list.Dead = append(list.Dead, entry)
				} else {
					list.Sick = append(list.Sick, entry)
				}
			}
		}
	}
	return list, nil
}

type ignoreRules struct {
	// RemindersSeconds is how long no reminders are sent; nil is not at all.
	RemindersSeconds *int64 `json:"reminders_seconds"`
}

// ignored shows or sets for how long reminders are silenced.
func (m *managerAPI) ignored(w http.ResponseWriter, r *http.Request) (any, error) {
	if r.Method == http.MethodPut {
		return nil, m.ignore(w, r)
	}
	var rules ignoreRules
	err := m.call(r, func(st *state, now time.Time, done chan<- error) {
		if left := st.alerter.muted.Sub(now); left > 0 {
			seconds := int64(math.Ceil(left.Seconds()))
			rules.RemindersSeconds = &seconds
		}
		done <- nil
	})
	if err != nil {
		return nil, err
	}
	return rules, nil
}

func (m *managerAPI) ignore(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r, maxRequest)
	if err != nil {
		return err
	}
	left, err := parseIgnore(body)
	if err != nil {
		return err
	}
	return m.call(r, func(st *state, now time.Time, done chan<- error) {
		var until time.Time
		if left > 0 {
			until = now.Add(left)
		}
		st.mute(until, done)
	})
}

// parseIgnore reads how long reminders are to be silenced. That the field is
// not there at all is more likely a slip than a wish to lift the silence.
func parseIgnore(body []byte) (time.Duration, error) {
	var b struct {
		Seconds json.RawMessage `json:"reminders_seconds"`
	}
	if err := decodeJSON(body, &b); err != nil {
		return 0, err
	}
	if string(b.Seconds) == "null" {
		return 0, nil
	}
	var s float64
	err := json.Unmarshal(b.Seconds, &s)
	if err != nil || s < 0 || s > maxMute || s != math.Trunc(s) {
		return 0, refuse(http.StatusBadRequest, "reminders_seconds is not a whole number from 0 to %d, or null", maxMute)
	}
	return time.Duration(s) * time.Second, nil
}
