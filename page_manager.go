package main

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxMute is how many seconds reminders may be ignored.
const maxMute = 365 * 24 * 3600

// A managerAPI serves the Manager API below /manager: operators see what is
// wrong, publish announcements and decide who is told. PROTOCOL.md describes
// it.
type managerAPI struct {
	snaps    *snapshots
	events   chan<- event
	reloads  chan<- reloadRequest
	probes   *probes
	eventLog *eventLog
	throttle *throttle
}

// newManagerAPI returns the handler of the Manager API.
func newManagerAPI(b *snapshots, events chan<- event, reloads chan<- reloadRequest, p *probes, l *eventLog, t *throttle) *managerAPI {
	return &managerAPI{b, events, reloads, p, l, t}
}

// A managerRoute is a method on a path. A star is an id.
type managerRoute struct {
	method string
	path   []string
	do     func(*managerAPI, *managerCall) (any, error)
}

var managerRoutes = []managerRoute{
	{"GET", []string{"status"}, (*managerAPI).status},
	{"POST", []string{"check"}, (*managerAPI).check},
	{"GET", []string{"log"}, (*managerAPI).log},
	{"GET", []string{"announcements"}, (*managerAPI).announcements},
	{"POST", []string{"announcement"}, (*managerAPI).announce},
	{"GET", []string{"announcement", "*"}, (*managerAPI).announcement},
	{"PUT", []string{"announcement", "*"}, (*managerAPI).editAnnouncement},
	{"DELETE", []string{"announcement", "*"}, (*managerAPI).retract},
	{"POST", []string{"announcement", "*", "update"}, (*managerAPI).updateAnnouncement},
	{"GET", []string{"sla"}, (*managerAPI).sla},
	{"GET", []string{"outages"}, (*managerAPI).outages},
	{"GET", []string{"outage", "*"}, (*managerAPI).outage},
	{"PUT", []string{"outage", "*", "ack"}, (*managerAPI).acknowledge},
	{"DELETE", []string{"outage", "*", "ack"}, (*managerAPI).unacknowledge},
	{"GET", []string{"maintenances"}, (*managerAPI).maintenances},
	{"POST", []string{"maintenances"}, (*managerAPI).plan},
	{"DELETE", []string{"maintenance", "*"}, (*managerAPI).endMaintenance},
	{"GET", []string{"silences"}, (*managerAPI).silences},
	{"POST", []string{"silences"}, (*managerAPI).silence},
	{"DELETE", []string{"silence", "*"}, (*managerAPI).endSilence},
	{"POST", []string{"reload"}, (*managerAPI).reload},
	{"GET", []string{"prober", "alerts"}, (*managerAPI).alerts},
	{"GET", []string{"prober", "alerts", "ignored"}, (*managerAPI).ignored},
	{"PUT", []string{"prober", "alerts", "ignored"}, (*managerAPI).ignore},
}

// match reports whether the route's path is that one, and the id in it.
func (route *managerRoute) match(path []string) (id string, ok bool) {
	if len(path) != len(route.path) {
		return "", false
	}
	for i, want := range route.path {
		switch want {
		case path[i]:
		case "*":
			id = path[i]
		default:
			return "", false
		}
	}
	return id, true
}

// A managerCall is a request of the Manager API with the right token.
type managerCall struct {
	w    http.ResponseWriter
	r    *http.Request
	id   string // in the path, or ""
	conf *Config
}

// An answerFunc is an answer that is written piece by piece.
type answerFunc func(http.ResponseWriter)

func (m *managerAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := m.serve(w, r)
	if write, ok := body.(answerFunc); ok && err == nil {
		h := w.Header()
		h["Content-Type"] = jsonType
		h["Cache-Control"] = noStore
		h["X-Content-Type-Options"] = nosniff
		write(w)
		return
	}
	respond(w, body, m.throttle.judge(r, err))
}

// serve returns the answer: a value to send as JSON, an answerFunc, or nil for
// no body.
func (m *managerAPI) serve(w http.ResponseWriter, r *http.Request) (any, error) {
	decoded, err := segments(r.URL)
	if err != nil {
		return nil, err
	}
	var path []string
	for _, s := range decoded[1:] {
		for part := range strings.SplitSeq(s.text, "/") {
			path = append(path, part)
		}
	}
	var route *managerRoute
	call := &managerCall{w: w, r: r, conf: m.snaps.load().conf}
	var methods []string
	for i := range managerRoutes {
		candidate := &managerRoutes[i]
		id, ok := candidate.match(path)
		if !ok {
			continue
		}
		methods = append(methods, candidate.method)
		if candidate.method == "GET" {
			methods = append(methods, "HEAD")
		}
		if candidate.method == r.Method || candidate.method == "GET" && r.Method == "HEAD" {
			route, call.id = candidate, id
		}
	}
	if methods == nil {
		return nil, errNoRoute
	}
	if err := allow(r, strings.Join(methods, ", ")); err != nil {
		return nil, err
	}
	if err := sameSite(r, call.conf.Branding.PageURL); err != nil {
		return nil, err
	}
	token := newTokenCheck("Manager", "server.manager_token", call.conf.Server.ManagerToken)
	if err := token.authorize(r); err != nil {
		return nil, err
	}
	body, err := route.do(m, call)
	if err == nil && route.method != "GET" {
		m.eventLog.add(logEvent{Time: time.Now(), Kind: "call", Text: route.method + " /manager/" + strings.Join(path, "/")})
	}
	return body, err
}

// call has the aggregator do something and waits until it is done and stored.
func (m *managerAPI) call(r *http.Request, do func(st *state, now time.Time, done chan<- error)) error {
	done := make(chan error, 1)
	return ask(r.Context(), m.events, &call{do, done}, done)
}

// decode reads the body into the fields of v with a decoder: decodeJSON for the
// calls of version 1.0, decodeStrict for all others.
func (c *managerCall) decode(v any, decoder func([]byte, any) error) error {
	body, err := readBody(c.w, c.r, maxRequest)
	if err != nil {
		return err
	}
	return decoder(body, v)
}

// selectors returns those in the query, or one that selects everything.
func (c *managerCall) selectors() (selectors, error) {
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, invalid("the query is not well percent-encoded")
	}
	if len(query["selector"]) == 0 {
		return selectors{"*"}, nil
	}
	return checkSelectors(c.conf, query["selector"])
}

// reloadTime is how long a reload may take to begin and to end.
const reloadTime = 20 * time.Second

// reload makes the program read its config again, and answers with the changes.
// A faulty config is rejected with all of its mistakes.
func (m *managerAPI) reload(c *managerCall) (any, error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), reloadTime)
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
func (m *managerAPI) alerts(*managerCall) (any, error) {
	list := alertList{[]alertEntry{}, []alertEntry{}}
	for service, node := range m.snaps.load().nodes() {
		if node.status == healthy {
			continue
		}
		for _, r := range node.replicas.all() {
			entry := alertEntry{service.conf.ID, node.conf.ID, r.id, r.reason, inSecond(r.since)}
			switch r.status {
			case dead:
				list.Dead = append(list.Dead, entry)
			case sick:
				list.Sick = append(list.Sick, entry)
			}
		}
	}
	return list, nil
}

type ignoreRules struct {
	// RemindersSeconds is how long no reminders are sent; nil is not at all.
	RemindersSeconds *int64 `json:"reminders_seconds"`
}

// ignored answers for how long reminders are still ignored.
func (m *managerAPI) ignored(c *managerCall) (any, error) {
	var rules ignoreRules
	err := m.call(c.r, func(st *state, now time.Time, done chan<- error) {
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

// ignore sets for how long reminders are ignored.
func (m *managerAPI) ignore(c *managerCall) (any, error) {
	body, err := readBody(c.w, c.r, maxRequest)
	if err != nil {
		return nil, err
	}
	left, err := parseIgnore(body)
	if err != nil {
		return nil, err
	}
	return nil, m.call(c.r, func(st *state, now time.Time, done chan<- error) {
		var until time.Time
		if left > 0 {
			until = now.Add(left)
		}
		st.mute(until, done)
	})
}

// parseIgnore reads how long reminders are to be ignored. A missing field is
// more likely a mistake than a wish to resume reminders, so it is rejected.
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
		return 0, invalid("reminders_seconds is not a whole number from 0 to %d, or null", maxMute)
	}
	return time.Duration(s) * time.Second, nil
}
