package notify

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Alertmanager is one or more members of a cluster of Prometheus Alertmanagers,
// each of which gets every alert. What is firing is posted again every minute.
type Alertmanager struct {
	URLs     []string
	Username string
	Password Secret
}

const (
	// postEvery is how often what is firing is posted again, and firingFor how
	// long after the last post Alertmanager takes it to be over.
	postEvery = time.Minute
	firingFor = 4 * time.Minute

	// endedFor is how long an end is posted again. For as long, another Vigil that
	// still sees the node down is contradicted.
	endedFor = 5 * time.Minute
)

// alertmanagerAlert is one alert of POST /api/v2/alerts. Its labels identify
// it, so nothing that changes is one.
type alertmanagerAlert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     string            `json:"startsAt"`
	EndsAt       string            `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
}

func readAlertmanager(k Keys) Service {
	m := &Alertmanager{}
	const like = "http://alertmanager.example.com:9093"
	k.List("urls", "a list of URLs, like "+like, func(item, s string) {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			k.Fault(item, "%s is not a URL of http or https; allowed: one like %s", k.Show(item, s), like)
			return
		}
		m.URLs = append(m.URLs, s)
	})
	m.Username = k.Text("username", "")
	if m.Username != "" || k.Has("password") {
		m.Username = k.Required("username", anyText)
		m.Password = k.Secret("password")
	} else {
		k.Text("password", "")
	}
	return m
}

// Describe implements Service.
func (m *Alertmanager) Describe() string {
	var hosts []string
	for _, u := range m.URLs {
		hosts = append(hosts, hostOf(u))
	}
	return "at " + strings.Join(hosts, ", ")
}

func (m *Alertmanager) recipients(Page) (list []recipient) {
	for _, base := range m.URLs {
		list = append(list, recipient{base, httpNotifier{
			hide: newRedactor(m.Username, m.Password, password(base)),
			requests: func(a Alert, now time.Time) ([]*http.Request, error) {
				return m.requests(base, a, now)
			},
			judge: judgeAlertmanager,
		}})
	}
	return list
}

// requests is one post of all outages, or none.
func (m *Alertmanager) requests(base string, a Alert, now time.Time) ([]*http.Request, error) {
	outages := a.outages()
	if a.Test && len(outages) == 0 {
		outages = []Outage{{Service: "vigil", Node: "test", Status: Sick, Since: now}}
	}
	var alerts []alertmanagerAlert
	for _, o := range outages {
		if o.Since.IsZero() {
			o.Since = a.Time
		}
		// A node that is degraded is no longer down, and the other way round.
		// Alertmanager ignores the end of an alert that it does not know.
		names := []string{"VigilNodeDown", "VigilNodeDegraded"}
		if a.Test {
			names = []string{"VigilTest"}
		}
		for _, name := range names {
			until := now.Add(firingFor)
			switch {
			case a.Test:
			case o.Over && o.Until.After(o.Since):
				until = o.Until
			case o.Over || (o.Status == Sick) != (name == "VigilNodeDegraded"):
				until = now
			}
			alerts = append(alerts, newAlertmanagerAlert(name, o, a, until))
		}
	}
	if len(alerts) == 0 {
		return nil, nil
	}
	req, err := jsonRequest(http.MethodPost, join(base, "api/v2/alerts"), alerts)
	if err != nil {
		return nil, err
	}
	if m.Username != "" {
		req.SetBasicAuth(m.Username, string(m.Password))
	}
	return []*http.Request{req}, nil
}

func newAlertmanagerAlert(name string, o Outage, a Alert, until time.Time) alertmanagerAlert {
	l := newLine(o, a)
	summary := l.name + " is down"
	if o.Status == Sick && !o.Over {
		summary = l.name + " is degraded"
	}
	if o.Depending > 0 {
		summary += ", " + o.depending()
	}
	if a.Test {
		summary = "This is a test message. Nothing happened."
	}
	if until.Before(o.Since) {
		until = o.Since
	}
	return alertmanagerAlert{
		Labels: map[string]string{
			"alertname": name, "service": oneLine(o.Service), "node": oneLine(o.Node), "page": oneLine(a.Page.Title),
		},
		Annotations: map[string]string{
			"summary":     summary,
			"description": clip(strings.Join(append([]string{l.what}, l.replicas...), "\n"), 2000),
		},
		StartsAt:     o.Since.UTC().Format(time.RFC3339),
		EndsAt:       until.UTC().Format(time.RFC3339),
		GeneratorURL: l.link,
	}
}

// judgeAlertmanager reads an answer. In a batch with a bad alert the good ones
// are stored, and the answer is 400 all the same.
func judgeAlertmanager(r answer) verdict {
	v := r.verdict(strings.Trim(string(r.body), "\"\n"))
	if r.status == http.StatusBadRequest || r.status == http.StatusUnprocessableEntity {
		v.outcome = final
	}
	return v
}

// A posted holds the outages to post again to a service that forgets them.
type posted struct {
	page  Page
	open  []Outage
	ended []Outage
}

// add takes in an alert on its way to the service. What an alert leaves out,
// as reminders do, goes on.
func (p *posted) add(a Alert) {
	p.page = a.Page
	same := func(x Outage) func(Outage) bool {
		return func(o Outage) bool { return o.Service == x.Service && o.Node == x.Node }
	}
	for _, o := range a.Outages {
		p.open = slices.DeleteFunc(p.open, same(o))
		p.ended = slices.DeleteFunc(p.ended, same(o))
		if o.Over {
			p.ended = append(p.ended, o)
		} else {
			p.open = append(p.open, o)
		}
	}
}

// again returns the alert to post now, if any. It reminds, so that a target with
// reminders_only gets all of it.
func (p *posted) again(now time.Time) (Alert, bool) {
	p.ended = slices.DeleteFunc(p.ended, func(o Outage) bool { return now.Sub(o.Until) > endedFor })
	a := Alert{ID: "again", Kind: Reminder, Time: now, Page: p.page, Outages: slices.Concat(p.open, p.ended)}
	return a, len(a.Outages) > 0
}
