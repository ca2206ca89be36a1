package notify

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// Ntfy is a topic of ntfy.sh or of a server of one's own.
type Ntfy struct {
	URL      string // default "https://ntfy.sh"
	Topic    Secret // who knows it can read it
	Token    Secret // or
	Username string
	Password Secret
}

const (
	ntfyURL = "https://ntfy.sh"

	// ntfyLimit is how many bytes a message has as JSON. From 4,096 on it
	// becomes an attachment, or is refused.
	ntfyLimit = 3900

	// ntfyPause is the shortest wait before another try: one request more is
	// allowed every 5 s. ntfyRefusalPause is that after a rejection, because
	// about 30 wrong logins lock out everybody with this address.
	ntfyPause        = 5 * time.Second
	ntfyRefusalPause = 2 * time.Minute
)

// The codes of ntfy's limits: a day's messages, and failed logins.
const (
	ntfyDayLimit   = 42908
	ntfyLoginLimit = 42909
)

// ntfyMessage is the body of a POST to the server's root.
// https://docs.ntfy.sh/publish/#publish-as-json
type ntfyMessage struct {
	Topic    string   `json:"topic"`
	Title    string   `json:"title"`
	Message  string   `json:"message"`
	Priority int      `json:"priority"`
	Tags     []string `json:"tags"`
	Click    string   `json:"click,omitempty"`
}

// ntfyTopic is what the server takes as a topic.
var ntfyTopic = regexp.MustCompile(`^[-_A-Za-z0-9]{1,64}$`)

func readNtfy(k Keys) Service {
	n := &Ntfy{URL: k.BaseURL("url", ntfyURL), Topic: k.Secret("topic")}
	if t := string(n.Topic); t != "" && !ntfyTopic.MatchString(t) && !strings.Contains(t, "${") {
		k.Fault("topic", "is not a topic; allowed: letters, digits, hyphens and underscores, at most 64")
	}
	switch {
	case k.Has("token"):
		n.Token = k.HeaderSecret("token")
		for _, key := range []string{"username", "password"} {
			if k.Text(key, ""); k.Has(key) {
				k.Fault(key, "is beside token; allowed: either token, or username and password")
			}
		}
	case k.Has("username") || k.Has("password"):
		k.Text("token", "")
		n.Username = k.Required("username", anyText)
		n.Password = k.Secret("password")
	default:
		k.Text("token", "")
		k.Text("username", "")
		k.Text("password", "")
	}
	return n
}

// Describe implements Service. On a public server the topic is the secret.
func (n *Ntfy) Describe() string { return "to a topic at " + hostOf(n.URL) }

func (n *Ntfy) recipients(Page) []recipient {
	return []recipient{{"", httpNotifier{
		hide:    newRedactor(n.Username, n.Topic, n.Token, n.Password, password(n.URL)),
		request: n.request,
		judge:   judgeNtfy,
		pause:   ntfyPause,
	}}}
}

func (n *Ntfy) request(a Alert, now time.Time) (*http.Request, error) {
	t := newText(a, now)
	m := ntfyMessage{
		Topic: string(n.Topic), Title: t.subject, Priority: 3, Click: t.link,
		Tags: []string{map[Status]string{Dead: "rotating_light", Sick: "warning", Healthy: "white_check_mark"}[t.mood]},
	}
	switch {
	case a.Urgent(0):
		m.Priority = 5
	case t.mood == Dead:
		m.Priority = 4
	}
	t.link = "" // it has its own place
	m.Message = plainStyle(ntfyLimit, func(s string) int { return len(jsonText(s, false)) }).body(t)
	req, err := jsonRequest(http.MethodPost, join(n.URL, ""), m)
	if err != nil {
		return nil, err
	}
	if n.Token != "" {
		req.Header.Set("Authorization", "Bearer "+string(n.Token))
	} else if n.Username != "" {
		req.SetBasicAuth(n.Username, string(n.Password))
	}
	return req, nil
}

// judgeNtfy reads an answer.
func judgeNtfy(r answer) verdict {
	var reply struct {
		Code  int
		Error string
	}
	said := string(r.body)
	if r.json(&reply) && reply.Error != "" {
		said = fmt.Sprintf("%s (code %d)", reply.Error, reply.Code)
	}
	v := r.verdict(said)
	switch {
	case v.outcome == refused:
		v.after = ntfyRefusalPause
	case reply.Code == ntfyLoginLimit:
		v.after = max(v.after, 5*time.Minute)
	case reply.Code == ntfyDayLimit:
		v.after = max(v.after, 30*time.Minute)
	}
	return v
}
