package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// events lists what PagerDuty gets for an alert: "trigger o1 critical".
func events(t *testing.T, a Alert) (list []string) {
	t.Helper()
	p := PagerDuty{RoutingKey: "k"}
	reqs, err := p.requests(a, a.Time)
	if err != nil {
		t.Fatal(err)
	}
	for _, req := range reqs {
		body, _ := io.ReadAll(req.Body)
		var e pagerDutyEvent
		if err := json.Unmarshal(body, &e); err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprint(e.Action, " ", strings.TrimPrefix(e.DedupKey, "vigil-"), " ", e.Payload.Severity))
	}
	return list
}

// Each outage is one incident: opened once, closed once, whatever else is told.
func TestPagerDutyEvents(t *testing.T) {
	alerts := goldenAlerts()
	for name, want := range map[string][]string{
		"startup":   nil,
		"changed":   {"trigger o1 critical"}, // o2 has its incident
		"reminder":  {"trigger o1 critical"},
		"recovery":  {"resolve o1 critical"},
		"all_clear": {"resolve o1 critical"},
		"degraded":  {"trigger o1 warning"},
	} {
		if got := events(t, alerts[name]); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	old := alerts["changed"].with(func(a *Alert) { a.Outages = a.Outages[1:] })
	for name, tt := range map[string]struct {
		a    Alert
		want []string
	}{
		"a channel that is new":               {old, []string{"trigger o2 critical"}},
		"acknowledged":                        {old.with(func(a *Alert) { a.Kind = Acknowledged }), []string{"acknowledge o2 critical"}},
		"told for the first time beside news": {alerts["changed"].with(func(a *Alert) { a.Outages = slices.Clone(a.Outages); a.Outages[1].First = true }), []string{"trigger o1 critical", "trigger o2 critical"}},
		"test":                                {alerts["test"], []string{"trigger test-b7c1 info", "resolve test-b7c1 info"}},
	} {
		if got := events(t, tt.a); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	storm := downAlert()
	for i := range 5000 {
		storm.Outages = append(storm.Outages, outage(fmt.Sprint(i)).with(func(o *Outage) { o.New = true }))
	}
	if got := events(t, storm); len(got) != pagerDutyMost {
		t.Errorf("%d events in a storm", len(got))
	}
	req, err := (&PagerDuty{RoutingKey: "k"}).requests(storm, at)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(req[0].Body); !strings.Contains(string(body), " (and 4901 more)") {
		t.Errorf("the first event does not count the others: %s", body)
	}
}

// A service that takes 120 events and then asks for a pause gets the end of every
// incident, each once.
func TestPagerDutyEndsAll(t *testing.T) {
	ended := make(map[string]int)
	left, pauses := 120, 0
	n := (&PagerDuty{RoutingKey: "k"}).recipients(Page{})[0].Notifier.(httpNotifier)
	n.client = &http.Client{Transport: statusOf(func(req *http.Request) int {
		if left == 0 {
			left, pauses = 120, pauses+1
			return http.StatusTooManyRequests
		}
		left--
		var e pagerDutyEvent
		if err := json.NewDecoder(req.Body).Decode(&e); err != nil || e.Action != "resolve" {
			t.Errorf("%+v: %v", e, err)
		}
		ended[e.DedupKey]++
		return http.StatusAccepted
	})}
	a := Alert{ID: "1", Kind: Changed, Status: Healthy, Time: at}
	for i := range 500 {
		a.Outages = append(a.Outages, outage(fmt.Sprint(i)).with(func(o *Outage) { o.Over, o.Status, o.Until = true, Healthy, at }))
	}
	tries := 1
	for ; n.Notify(t.Context(), a.Trim()) != nil && tries < 10; tries++ {
	}
	for key, times := range ended {
		if times != 1 {
			t.Errorf("%s ended %d times", key, times)
		}
	}
	if len(ended) != 500 || pauses != 4 || tries != 5 {
		t.Errorf("%d ended, %d pauses, %d tries", len(ended), pauses, tries)
	}
}

// An event without a verdict is sent again, with those behind it, even when there is
// news: else an incident would stay open for ever.
func TestPagerDutyWithoutVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		tries := 0
		target := (Config{Channels: []Channel{{ID: "pager", Kind: "pagerduty", Service: &PagerDuty{RoutingKey: "k"}}}}).Targets("1")[0]
		n := target.Notifier.(httpNotifier)
		n.client = &http.Client{Transport: answering(func(req *http.Request) error {
			var e pagerDutyEvent
			if err := json.NewDecoder(req.Body).Decode(&e); err != nil {
				t.Error(err)
			}
			httptrace.ContextClientTrace(req.Context()).WroteRequest(httptrace.WroteRequestInfo{})
			if tries++; tries == 1 {
				return io.ErrUnexpectedEOF
			}
			got = append(got, e.Action+" "+strings.TrimPrefix(e.DedupKey, "vigil-"))
			return nil
		})}
		target.Notifier = n
		ended := func(id string) Outage {
			return outage(id).with(func(o *Outage) { o.Over, o.Status, o.Until = true, Healthy, at })
		}
		alerts := make(chan Alert, 2)
		d := NewDispatcher([]Target{target}, nil, slog.New(slog.DiscardHandler))
		done := make(chan error)
		go func() { done <- d.Run(t.Context(), alerts) }()
		alerts <- Alert{ID: "1", Kind: Changed, Status: Healthy, Time: at, Outages: []Outage{ended("a"), ended("b")}}
		synctest.Wait()
		alerts <- Alert{ID: "2", Kind: Changed, Status: Dead, Time: at, Outages: []Outage{outage("c").with(func(o *Outage) { o.New = true })}}
		time.Sleep(time.Minute)
		close(alerts)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if want := []string{"resolve a", "resolve b", "trigger c"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// An answering accepts a request, or breaks off.
type answering func(*http.Request) error

func (f answering) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := f(req); err != nil {
		return nil, err
	}
	return statusOf(func(*http.Request) int { return http.StatusAccepted }).RoundTrip(req)
}

// A statusOf answers a request with a status.
type statusOf func(*http.Request) int

func (f statusOf) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: f(req), Header: make(http.Header), Body: io.NopCloser(strings.NewReader("{}")), Request: req}, nil
}

// With reminders_only, an incident opens with the first reminder, and its
// acknowledgement and its end still come.
func TestIncidentsOfRemindersOnly(t *testing.T) {
	alerts := goldenAlerts()
	var got []Alert
	target := Target{Channel: "pagerduty", RemindersOnly: true, incidents: true, Notifier: &fake{play: func(_ context.Context, _ int, a Alert) error {
		got = append(got, a)
		return nil
	}}}
	for _, name := range []string{"changed", "reminder", "acknowledged", "recovery"} {
		if target.Wants(alerts[name]) {
			if err := target.Deliver(t.Context(), alerts[name]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(got) != 3 || got[0].Kind != Reminder || got[1].Kind != Acknowledged || len(got[1].Outages) != 1 || len(got[2].Outages) != 1 || !got[2].Outages[0].Over {
		t.Errorf("delivered %+v", got)
	}
	if plain := (Target{RemindersOnly: true}); plain.Wants(alerts["recovery"]) {
		t.Error("another channel gets more than reminders")
	}
}

// An alertmanagerFake keeps alerts as Alertmanager does: an alert is its
// labels, the newest end counts, and it is over when that has passed.
type alertmanagerFake struct {
	t    *testing.T
	mu   sync.Mutex
	ends map[string]time.Time
	err  error // what it answers, when set
}

func newAlertmanagerFake(t *testing.T) *alertmanagerFake {
	return &alertmanagerFake{t: t, ends: make(map[string]time.Time)}
}

func (f *alertmanagerFake) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	var list []struct {
		Labels, Annotations map[string]string
		StartsAt, EndsAt    time.Time
		GeneratorURL        string
	}
	dec := json.NewDecoder(req.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&list); err != nil || req.Method != "POST" || req.URL.Path != "/api/v2/alerts" || req.Header.Get("Content-Type") != "application/json" {
		f.t.Errorf("%s %s: %v", req.Method, req.URL, err)
	}
	for _, a := range list {
		if a.EndsAt.Before(a.StartsAt) || a.StartsAt.IsZero() || a.Labels["alertname"] == "" {
			f.t.Errorf("alert %+v", a)
		}
		key := fmt.Sprint(a.Labels["alertname"], " ", a.Labels["service"], ":", a.Labels["node"])
		if _, known := f.ends[key]; known || a.EndsAt.After(time.Now()) {
			f.ends[key] = a.EndsAt
		}
	}
	return &http.Response{StatusCode: 200, Header: make(http.Header), Body: io.NopCloser(strings.NewReader("")), Request: req}, nil
}

// bench has a dispatcher with one channel, which posts to it.
func (f *alertmanagerFake) bench(remindersOnly bool) *bench {
	c := Config{Channels: channels(&Alertmanager{URLs: []string{"http://am.example:9093"}})}
	c.Channels[0].RemindersOnly = remindersOnly
	targets := c.Targets("1")
	n := targets[0].Notifier.(httpNotifier)
	n.client = &http.Client{Transport: f}
	targets[0].Notifier = n
	b := newBench(nil)
	b.Dispatcher = NewDispatcher(targets, b.journal, b.Dispatcher.log)
	return b
}

// downNow is an outage that begins now.
func downNow(id string) Outage {
	return outage(id).with(func(o *Outage) { o.Since = time.Now() })
}

// want checks what it takes to go on.
func (f *alertmanagerFake) want(step, want string) {
	f.t.Helper()
	synctest.Wait()
	if got := f.firing(); got != want {
		f.t.Errorf("%s: firing %q, want %q", step, got, want)
	}
}

// firing lists what it takes to go on.
func (f *alertmanagerFake) firing() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for key, end := range f.ends {
		if end.After(time.Now()) {
			list = append(list, key)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// restart makes it forget everything.
func (f *alertmanagerFake) restart(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ends, f.err = make(map[string]time.Time), err
}

// TestAlertmanagerIsToldAgain: what goes on is posted every minute, so that it
// does not end by itself, nor for a member that was restarted, and over
// restarts of this program.
func TestAlertmanagerIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newAlertmanagerFake(t)
		want := fake.want
		b := fake.bench(false).run()
		a, other := downNow("a"), downNow("b")
		b.send(t, Alert{ID: "1", Kind: Changed, Status: Dead, Time: time.Now(), Outages: []Outage{a, other}})
		want("told", "VigilNodeDown web:a, VigilNodeDown web:b")
		time.Sleep(30 * time.Minute)
		want("half an hour later", "VigilNodeDown web:a, VigilNodeDown web:b")
		fake.restart(nil)
		time.Sleep(postEvery + time.Second)
		want("after a restart of the member", "VigilNodeDown web:a, VigilNodeDown web:b")

		over := a.with(func(o *Outage) { o.Over, o.Status, o.Until = true, Healthy, time.Now() })
		sick := other.with(func(o *Outage) { o.Status = Sick })
		b.send(t, Alert{ID: "2", Kind: Changed, Status: Sick, Time: time.Now(), Outages: []Outage{over, sick}})
		time.Sleep(time.Second)
		want("one is over, one is degraded", "VigilNodeDegraded web:b")
		time.Sleep(20 * time.Minute)
		want("20 min later", "VigilNodeDegraded web:b")
		b.end()

		b = fake.bench(false)
		b.Told("alertmanager", Page{}, []Outage{sick})
		b.Told("slack", Page{}, []Outage{a})
		b.run()
		time.Sleep(10 * time.Minute)
		want("after a restart of Vigil", "VigilNodeDegraded web:b")
		fake.restart(errDown)
		b.send(t, Alert{ID: "3", Kind: Reminder, Status: Sick, Time: time.Now()})
		time.Sleep(90 * time.Minute)
		fake.restart(nil)
		time.Sleep(2 * postEvery)
		want("after the member was away for long", "VigilNodeDegraded web:b")
		b.end()
	})
}

// With reminders_only, what goes on is posted again, too: what there was a reminder
// of, and nothing else.
func TestAlertmanagerWithRemindersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newAlertmanagerFake(t)
		b := fake.bench(true).run()
		a, other := downNow("a"), downNow("b")
		b.send(t, Alert{ID: "1", Kind: Changed, Status: Dead, Time: time.Now(), Outages: []Outage{a}})
		time.Sleep(2 * postEvery)
		fake.want("before the reminder", "")
		b.send(t, Alert{ID: "2", Kind: Reminder, Status: Dead, Time: time.Now(), Reminders: 1, Outages: []Outage{a}})
		time.Sleep(30 * time.Minute)
		fake.want("half an hour after it", "VigilNodeDown web:a")
		over := a.with(func(o *Outage) { o.Over, o.Status, o.Until = true, Healthy, time.Now() })
		b.send(t, Alert{ID: "3", Kind: Changed, Status: Dead, Time: time.Now(), Outages: []Outage{over, other}})
		time.Sleep(2 * postEvery)
		fake.want("after its end", "")
		b.end()
	})
}
