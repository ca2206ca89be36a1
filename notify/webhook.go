package notify

import (
	"net/http"
	"time"
)

// Webhook is the alert as JSON, for everything else.
type Webhook struct {
	HookURL Secret
}

// webhookPayload is the alert as JSON. The fields up to Page are the seed's
// and never change; the others may grow in number.
type webhookPayload struct {
	Type     Kind        `json:"type"`
	Status   Status      `json:"status"`
	Time     string      `json:"time"`
	Replicas []string    `json:"replicas"`
	Page     webhookPage `json:"page"`

	ID          string            `json:"id"`
	Timestamp   string            `json:"timestamp"` // RFC 3339
	Reasons     map[string]string `json:"reasons"`   // by path
	Recovered   []string          `json:"recovered"`
	Note        string            `json:"note,omitempty"`
	Reminder    int               `json:"reminder,omitempty"` // which one, from 1
	Merged      int               `json:"merged,omitempty"`
	Repeat      bool              `json:"repeat,omitempty"` // it may have come before
	LateSeconds int               `json:"late_seconds,omitempty"`
	Test        bool              `json:"test,omitempty"`
}

type webhookPage struct {
	Title string `json:"title"`
	URL   string `json:"url"`
}

func readWebhook(k Keys) Service {
	return &Webhook{HookURL: Secret(k.URL("hook_url", "https://example.com/webhooks/..."))}
}

// Describe implements Service.
func (w *Webhook) Describe() string { return "at " + hostOf(string(w.HookURL)) }

func (w *Webhook) recipients(Page) []recipient { return []recipient{{"", w.notifier()}} }

func (w *Webhook) notifier() httpNotifier {
	return httpNotifier{
		hide:    newRedactor("", w.HookURL),
		request: w.request,
		judge:   func(r answer) verdict { return r.verdict(string(r.body)) },
	}
}

func (w *Webhook) request(a Alert, now time.Time) (*http.Request, error) {
	p := webhookPayload{
		Type:        a.Kind,
		Status:      a.Status,
		Time:        clock(a, a.Time),
		Replicas:    make([]string, 0, len(a.Dead)),
		Page:        webhookPage{a.Page.Title, a.Page.URL},
		ID:          a.ID,
		Timestamp:   a.Time.Format(time.RFC3339),
		Reasons:     make(map[string]string),
		Recovered:   append([]string{}, a.Recovered...),
		Note:        a.Note,
		Merged:      a.Merged,
		Repeat:      a.Repeat,
		LateSeconds: int(lateness(a, now).Seconds()),
		Test:        a.Test,
	}
	switch a.Kind {
	case Reminder:
		p.Reminder = a.Reminders
	case Notice: // receivers know three types; what is told beside them stands in the note
		p.Type = Changed
	}
	for _, r := range a.Dead {
		p.Replicas = append(p.Replicas, r.Path)
		if r.Reason != "" {
			p.Reasons[r.Path] = r.Reason
		}
	}
	req, err := jsonRequest(http.MethodPost, string(w.HookURL), p)
	if err != nil {
		return nil, err
	}
	// The same over all tries, so that a receiver can tell a repetition.
	req.Header.Set("Idempotency-Key", a.ID)
	return req, nil
}
