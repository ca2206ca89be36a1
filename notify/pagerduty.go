package notify

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// PagerDuty is a service's integration of the Events API v2. Each outage is an
// incident of its own.
type PagerDuty struct {
	RoutingKey Secret
	APIURL     string // default "https://events.pagerduty.com"
}

const (
	pagerDutyURL = "https://events.pagerduty.com"

	// pagerDutyMost is how many incidents one alert opens: a service takes about
	// 120 events a minute. The first one counts the others. Whatever is open is
	// closed, however long that takes.
	pagerDutyMost = 100

	// pagerDutyPause is the wait after a 429.
	pagerDutyPause = 30 * time.Second

	pagerDutySummary = 1000 // of 1,024 characters
)

// pagerDutyEvent is the body of an event.
// https://developer.pagerduty.com/docs/send-alert-event
type pagerDutyEvent struct {
	RoutingKey string           `json:"routing_key"`
	Action     string           `json:"event_action"`
	DedupKey   string           `json:"dedup_key"`
	Payload    pagerDutyPayload `json:"payload"`
	Links      []pagerDutyLink  `json:"links,omitempty"`
	Client     string           `json:"client"`
	ClientURL  string           `json:"client_url,omitempty"`
}

type pagerDutyPayload struct {
	Summary   string            `json:"summary"`
	Source    string            `json:"source"`
	Severity  string            `json:"severity"`
	Timestamp string            `json:"timestamp,omitempty"`
	Component string            `json:"component"`
	Group     string            `json:"group"`
	Details   map[string]string `json:"custom_details"`
}

type pagerDutyLink struct {
	Href string `json:"href"`
	Text string `json:"text"`
}

func readPagerDuty(k Keys) Service {
	return &PagerDuty{RoutingKey: k.Secret("routing_key"), APIURL: k.BaseURL("api_url", pagerDutyURL)}
}

// Describe implements Service.
func (p *PagerDuty) Describe() string { return "by events to " + hostOf(p.base()) }

func (p *PagerDuty) base() string {
	if p.APIURL == "" {
		return pagerDutyURL
	}
	return p.APIURL
}

func (p *PagerDuty) recipients(Page) []recipient {
	return []recipient{{"", httpNotifier{
		hide:     newRedactor("", p.RoutingKey, password(p.APIURL)),
		requests: p.requests,
		progress: new(progress),
		judge:    judgePagerDuty,
	}}}
}

// requests has an event for each outage that begins or ends. An ongoing one
// that was reported gets another event only with a reminder, or when this
// channel is told of it for the first time.
func (p *PagerDuty) requests(a Alert, now time.Time) ([]*http.Request, error) {
	outages := slices.Clone(a.outages())
	slices.SortStableFunc(outages, func(x, y Outage) int { return rank(x) - rank(y) })
	onlyOld := !slices.ContainsFunc(outages, func(o Outage) bool { return o.New || o.Over })
	if a.Test && len(outages) == 0 { // it must show that the key is right
		outages = []Outage{{ID: "test-" + a.ID, Service: "Vigil", Node: "Test", Status: Sick, New: true, Since: a.Time}}
	}
	type event struct {
		action string
		Outage
	}
	var events []event
	opened, more := 0, a.MoreDown
	for _, o := range outages {
		switch {
		case a.Kind == Acknowledged:
			events = append(events, event{"acknowledge", o})
		case o.Over:
			events = append(events, event{"resolve", o})
		case o.New, o.First, onlyOld, a.Kind == Reminder:
			if opened++; opened > pagerDutyMost {
				more++
				continue
			}
			events = append(events, event{"trigger", o})
		}
		if a.Test { // a test leaves no incident behind
			events = append(events, event{"resolve", o})
		}
	}
	var reqs []*http.Request
	for _, e := range events {
		req, err := p.event(e.action, e.Outage, a, more)
		if err != nil {
			return nil, err
		}
		reqs = append(reqs, req)
		more = 0 // the first one says it
	}
	return reqs, nil
}

// event is one event about an outage, and about how many more there are.
func (p *PagerDuty) event(action string, o Outage, a Alert, more int) (*http.Request, error) {
	e := pagerDutyEvent{
		RoutingKey: string(p.RoutingKey), Action: action, DedupKey: dedupKey(o), Client: "Vigil", ClientURL: oneLine(a.Page.URL),
		Payload: pagerDutyPayload{
			Severity: "critical", Component: clip(oneLine(o.Node), maxLabel), Group: clip(oneLine(o.Service), maxLabel),
			Source: "vigil", Details: make(map[string]string),
		},
	}
	l := newLine(o, a)
	word := map[string]string{"DOWN": "down", "STILL": "still down", "BACK": "back", "GONE": "no longer monitored"}[l.mark]
	if o.Status == Sick && !o.Over {
		word, e.Payload.Severity = "degraded", "warning"
	}
	if a.Test {
		word, e.Payload.Severity = word+" (a test, nothing happened)", "info"
	}
	e.Payload.Summary = l.name + " is " + word
	if l.what != "" && l.mark != "GONE" {
		e.Payload.Summary += ": " + l.what
	}
	if o.Depending > 0 {
		e.Payload.Summary += ", " + o.depending()
	}
	e.Payload.Summary = clip(e.Payload.Summary, pagerDutySummary)
	if more > 0 {
		e.Payload.Summary = fmt.Sprintf("%s (and %d more)", clip(e.Payload.Summary, pagerDutySummary-20), more)
	}
	if u, err := url.Parse(a.Page.URL); err == nil && u.Host != "" {
		e.Payload.Source = u.Host
	}
	if !o.Since.IsZero() {
		e.Payload.Timestamp = o.Since.Format(time.RFC3339)
	}
	for i, r := range l.replicas {
		if i < maxListed {
			e.Payload.Details[fmt.Sprintf("replica %d", i+1)] = r
		}
	}
	if a.Note != "" {
		e.Payload.Details["note"] = clip(oneLine(a.Note), maxNote)
	}
	if l.link != "" {
		e.Links = []pagerDutyLink{{l.link, "Status page"}}
	}
	return jsonRequest(http.MethodPost, join(p.base(), "v2/enqueue"), e)
}

// dedupKey identifies an incident: the outage's id, which is new for each.
func dedupKey(o Outage) string {
	if len(o.ID) <= 200 {
		return "vigil-" + o.ID
	}
	return "vigil-" + deliveryID(Alert{ID: o.ID}, "")
}

// judgePagerDuty reads an answer.
func judgePagerDuty(r answer) verdict {
	var reply struct {
		Message string
		Errors  []string
	}
	said := string(r.body)
	if r.json(&reply) && reply.Message != "" {
		said = strings.Join(append([]string{reply.Message}, reply.Errors...), ", ")
	}
	v := r.verdict(said)
	if r.status == http.StatusTooManyRequests {
		v.after = max(v.after, pagerDutyPause)
	}
	return v
}
