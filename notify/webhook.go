package notify

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"time"
)

// Webhook is the alert as JSON, for everything else.
type Webhook struct {
	HookURL Secret
	Method  string            // default "POST"
	Headers map[string]Secret // beside its own
	Body    string            // a template; "": the default body
}

// webhookPayload is the alert as JSON. The fields up to Page are those of the
// Rust Vigil and never change; the others may grow in number.
type webhookPayload struct {
	Type     Kind        `json:"type"`
	Status   Status      `json:"status"`
	Time     string      `json:"time"`
	Replicas []string    `json:"replicas"` // the dead ones, at most 1,000
	Page     webhookPage `json:"page"`

	ID            string            `json:"id"`
	Timestamp     string            `json:"timestamp"` // RFC 3339
	Reasons       map[string]string `json:"reasons"`   // by path
	Recovered     []string          `json:"recovered"`
	Outages       []webhookOutage   `json:"outages"`
	ReplicasTotal int               `json:"replicas_total,omitempty"` // where replicas is cut
	OutagesTotal  int               `json:"outages_total,omitempty"`  // where outages is cut
	Note          string            `json:"note,omitempty"`
	Reminder      int               `json:"reminder,omitempty"` // which one, from 1
	Merged        int               `json:"merged,omitempty"`
	Repeat        bool              `json:"repeat,omitempty"` // it may have come before
	LateSeconds   int               `json:"late_seconds,omitempty"`
	Test          bool              `json:"test,omitempty"`
}

// A webhookOutage is one node's outage.
type webhookOutage struct {
	ID      string            `json:"id"`
	Service string            `json:"service"`
	Node    string            `json:"node"`
	Label   string            `json:"label"` // of service and node, for people
	Status  Status            `json:"status"`
	Since   *time.Time        `json:"since"`
	Until   *time.Time        `json:"until"` // null while it goes on
	New     bool              `json:"new"`
	Reasons map[string]string `json:"reasons"` // by path
}

type webhookPage struct {
	Title string `json:"title"`
	URL   string `json:"url"`
}

func readWebhook(k Keys) Service {
	w := &Webhook{HookURL: Secret(k.URL("hook_url", "https://example.com/webhooks/..."))}
	w.readRequestForm(k)
	return w
}

// Describe implements Service.
func (w *Webhook) Describe() string { return "at " + hostOf(string(w.HookURL)) }

func (w *Webhook) recipients(Page) []recipient { return []recipient{{"", w.notifier()}} }

func (w *Webhook) notifier() httpNotifier {
	return httpNotifier{
		hide:    newRedactor("", append(slices.Collect(maps.Values(w.Headers)), w.HookURL)...),
		request: w.request,
		judge:   func(r answer) verdict { return r.verdict(string(r.body)) },
	}
}

func (w *Webhook) request(a Alert, now time.Time) (*http.Request, error) {
	method := cmp.Or(w.Method, http.MethodPost)
	var req *http.Request
	var err error
	switch {
	case method == http.MethodGet:
		req, err = http.NewRequest(method, string(w.HookURL), nil)
	case w.Body != "":
		var body []byte
		if body, err = w.body(a, now); err == nil {
			req, err = newRequest(method, string(w.HookURL), "application/json", body)
		}
	default:
		req, err = jsonRequest(method, string(w.HookURL), newWebhookPayload(a, now))
	}
	if err != nil {
		return nil, err
	}
	// The same over all tries, so that a receiver can recognise a repetition.
	req.Header.Set("Idempotency-Key", a.ID)
	for name, value := range w.Headers {
		req.Header.Set(name, string(value))
	}
	return req, nil
}

// newWebhookPayload is what a webhook says of an alert.
func newWebhookPayload(a Alert, now time.Time) webhookPayload {
	dead, recovered := a.dead(), a.recovered()
	p := webhookPayload{
		Type:        a.Kind,
		Status:      a.Status,
		Time:        a.Time.Format("15:04:05 UTC-0700"),
		Replicas:    make([]string, 0, len(dead)),
		Page:        webhookPage{a.Page.Title, a.Page.URL},
		ID:          a.ID,
		Timestamp:   a.Time.Format(time.RFC3339),
		Reasons:     make(map[string]string),
		Recovered:   append([]string{}, recovered[:min(len(recovered), maxReplicas)]...),
		Outages:     []webhookOutage{},
		Note:        a.Note,
		Merged:      a.Merged,
		Repeat:      a.Repeat,
		LateSeconds: int(lateness(a, now).Seconds()),
		Test:        a.Test,
	}
	switch a.Kind {
	case Reminder:
		p.Reminder = a.Reminders
	case Notice: // receivers know three types; the note has the message
		p.Type = Changed
	}
	for _, r := range dead[:min(len(dead), maxReplicas)] {
		p.Replicas = append(p.Replicas, r.Path)
		if r.Reason != "" {
			p.Reasons[r.Path] = r.Reason
		}
	}
	if total := len(dead) + a.MoreDead; total > len(p.Replicas) {
		p.ReplicasTotal = total
	}
	outages := a.outages()
	for _, o := range outages[:min(len(outages), maxReplicas)] {
		w := webhookOutage{ID: o.ID, Service: o.Service, Node: o.Node, Label: o.name(), Status: o.Status, New: o.New, Reasons: make(map[string]string)}
		if since := o.Since.Truncate(time.Second); !o.Since.IsZero() {
			w.Since = &since
		}
		if until := o.Until.Truncate(time.Second); !o.Until.IsZero() {
			w.Until = &until
		}
		for _, r := range o.Replicas {
			if r.Reason != "" {
				w.Reasons[r.Path] = r.Reason
			}
		}
		p.Outages = append(p.Outages, w)
	}
	if total := len(outages) + a.MoreDown + a.MoreOver; total > len(p.Outages) {
		p.OutagesTotal = total
	}
	return p
}
