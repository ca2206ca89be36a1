package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vigil/notify"
)

// alertConfig is one service with nodes a, b and c of one poll replica each.
func alertConfig(alerting Alerting) *Config {
	service := &Service{ID: "web"}
	for _, id := range []string{"a", "b", "c"} {
		service.Nodes = append(service.Nodes, &Node{ID: id, Mode: modePoll, Targets: []Target{{Raw: "tcp://" + id + ":80"}}})
	}
	return &Config{
		Alerting: alerting,
		Notify:   channels("slack"),
		Branding: Branding{PageTitle: "Status", PageURL: "https://status.example/"},
		Services: []*Service{service},
	}
}

// channels is a config with these channels.
func channels(ids ...string) (c notify.Config) {
	for _, id := range ids {
		c.Channels = append(c.Channels, notify.Channel{ID: id, Kind: "slack"})
	}
	return c
}

// A play runs a state through time: it applies events at given seconds and
// writes down the alerts as they become due.
type play struct {
	st       *state
	replicas []*replica
	begin    time.Time
	now      time.Time
	alerts   []string
	last     notify.Alert
	sent     []notify.Alert
}

func newPlay(conf *Config) *play {
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := &play{st: newState(conf, begin), replicas: replicas(conf.Services), begin: begin, now: begin}
	p.until(begin)
	return p
}

// until lets time pass, stopping wherever the state wants to be woken.
func (p *play) until(t time.Time) {
	for {
		p.st.expire(p.now)
		for alert, ok := p.st.alerter.due(p.st, p.now); ok; alert, ok = p.st.alerter.due(p.st, p.now) {
			p.alerts, p.last, p.sent = append(p.alerts, p.describe(alert)), alert, append(p.sent, alert)
		}
		at, ok := p.st.wake(p.now)
		if !ok || at.After(t) {
			break
		}
		p.now = at
	}
	p.now = t
}

// describe writes an alert as "at kind status", and then each outage: "+node"
// when it is new, "node" when it goes on, "-node" when it is over, and "~node"
// when the node is no longer monitored.
func (p *play) describe(a notify.Alert) string {
	s := fmt.Sprintf("%v %s %s", a.Time.Sub(p.begin), a.Kind, a.Status)
	if a.Kind == notify.Reminder {
		s += fmt.Sprintf(" #%d", a.Reminders)
	}
	for _, o := range a.Outages {
		s += " "
		switch {
		case o.Gone:
			s += "~"
		case o.Over:
			s += "-"
		case o.New:
			s += "+"
		}
		s += o.Node
		if !o.Over && o.Status == notify.Sick {
			s += "?"
		}
		if !o.Over && len(o.Replicas) > 0 && o.Replicas[0].Reason != "" {
			s += "(" + o.Replicas[0].Reason + ")"
		}
	}
	if a.Note != "" {
		s += " | " + a.Note
	}
	return s
}

// at applies steps at a time since the beginning, each as "a=dead" (the
// result of a check), "a=?" (an inconclusive one), "mute=60s", "unmute",
// "connection=down" or "connection=up".
func (p *play) at(t time.Duration, steps ...string) {
	p.until(p.begin.Add(t))
	for _, step := range steps {
		name, value, _ := strings.Cut(step, "=")
		switch name {
		case "mute":
			d, err := time.ParseDuration(value)
			if err != nil {
				panic(err)
			}
			p.st.alerter.muted = p.now.Add(d)
		case "unmute":
			p.st.alerter.muted = time.Time{}
		case "connection":
			connectionReport{value == "down"}.apply(p.st, p.now)
		default:
			if value == "?" {
				inconclusive{p.replicas[name[0]-'a']}.apply(p.st, p.now)
				continue
			}
			s := status(slices.Index(statusNames[:], value))
			p.st.applyResult(result{replica: p.replicas[name[0]-'a'], status: s, at: p.now}, p.now)
		}
	}
	p.until(p.now)
}

func TestAlerts(t *testing.T) {
	type step struct {
		at    time.Duration
		steps []string
	}
	const s, ms, m, h = time.Second, time.Millisecond, time.Minute, time.Hour
	allHealthy := step{0, []string{"a=healthy", "b=healthy", "c=healthy"}}
	quiet := Alerting{BackoffLimit: 3}
	reminding := Alerting{BackoffLimit: 3, ReminderInterval: 5 * time.Minute}
	backoff := func(exponent int) Alerting {
		return Alerting{BackoffLimit: 3, ReminderInterval: time.Minute, BackoffExponent: exponent}
	}
	tests := []struct {
		name     string
		alerting Alerting
		steps    []step
		until    time.Duration
		want     []string
	}{
		{"startup waits for the first round", Alerting{Startup: true}, []step{
			{0, []string{"a=healthy", "b=healthy"}}, {3 * s, []string{"c=healthy"}},
		}, h, []string{"3s startup healthy"}},
		{"startup tells the truth", Alerting{Startup: true}, []step{
			{0, []string{"a=healthy", "b=healthy"}}, {3 * s, []string{"c=dead"}},
		}, h, []string{"3s startup dead +c"}},
		{"startup sick", Alerting{Startup: true}, []step{
			{0, []string{"a=healthy", "b=healthy"}}, {3 * s, []string{"c=sick"}},
		}, h, []string{"3s startup sick"}},
		{"a death is not held back by a slow first round", Alerting{Startup: true}, []step{
			{0, []string{"a=dead", "b=healthy"}}, {30 * s, []string{"c=healthy"}},
		}, h, []string{"200ms changed dead +a", "30s startup dead a"}},
		{"without startup", quiet, []step{allHealthy}, h, nil},
		{"without startup, dead from the start", quiet, []step{
			{0, []string{"a=dead", "b=healthy", "c=healthy"}},
		}, h, []string{"200ms changed dead +a"}},
		{"dies and comes back", quiet, []step{
			allHealthy, {m, []string{"a=dead"}}, {2 * m, []string{"a=dead"}}, {3 * m, []string{"a=healthy"}},
		}, h, []string{"1m0.2s changed dead +a", "3m0.2s changed healthy -a"}},
		{"sick is not told", quiet, []step{
			allHealthy, {m, []string{"a=sick"}}, {2 * m, []string{"a=healthy"}},
		}, h, nil},
		{"from dead to sick is", quiet, []step{
			allHealthy, {m, []string{"a=dead"}}, {2 * m, []string{"a=sick"}},
		}, h, []string{"1m0.2s changed dead +a", "2m0.2s changed sick -a"}},
		{"deaths close together are one alert", quiet, []step{
			allHealthy, {m, []string{"a=dead"}}, {m + 150*ms, []string{"c=dead"}},
		}, h, []string{"1m0.35s changed dead +a +c"}},
		{"back before it is told", quiet, []step{
			allHealthy, {m, []string{"a=dead"}}, {m + 150*ms, []string{"a=healthy"}},
		}, h, nil},
		{"a blip of health", quiet, []step{
			allHealthy, {m, []string{"a=dead"}}, {2 * m, []string{"a=healthy"}}, {2*m + 100*ms, []string{"a=dead"}},
		}, h, []string{"1m0.2s changed dead +a"}},
		{"a second outage is not hidden by the first", quiet, []step{
			allHealthy, {m, []string{"a=dead"}}, {2 * m, []string{"b=dead"}},
		}, h, []string{"1m0.2s changed dead +a", "2m0.2s changed dead a +b"}},
		{"one comes back while another dies", quiet, []step{
			allHealthy, {m, []string{"a=dead"}}, {2 * m, []string{"a=healthy", "b=dead"}},
		}, h, []string{"1m0.2s changed dead +a", "2m0.2s changed dead -a +b"}},
		{"recoveries are told while something else is down", quiet, []step{
			allHealthy, {m, []string{"a=dead", "b=dead"}}, {2 * m, []string{"a=healthy"}}, {3 * m, []string{"b=healthy"}},
		}, h, []string{"1m0.2s changed dead +a +b", "2m0.2s changed dead -a b", "3m0.2s changed healthy -b"}},
		{"what flaps behind another is told each time", quiet, []step{
			allHealthy, {m, []string{"a=dead", "b=dead"}}, {2 * m, []string{"a=healthy"}},
			{3 * m, []string{"a=dead"}}, {4 * m, []string{"a=healthy", "b=healthy"}},
		}, h, []string{"1m0.2s changed dead +a +b", "2m0.2s changed dead -a b", "3m0.2s changed dead +a b", "4m0.2s changed healthy -a -b"}},
		{"reminders", reminding, []step{
			allHealthy, {m, []string{"a=dead"}}, {17 * m, []string{"a=healthy"}},
		}, h, []string{"1m0.2s changed dead +a", "6m0.2s reminder dead #1 a", "11m0.2s reminder dead #2 a", "16m0.2s reminder dead #3 a", "17m0.2s changed healthy -a"}},
		{"reminders name recoveries", reminding, []step{
			allHealthy, {m, []string{"a=dead", "b=dead"}}, {2 * m, []string{"b=healthy"}},
		}, 12 * m, []string{"1m0.2s changed dead +a +b", "2m0.2s changed dead a -b", "6m0.2s reminder dead #1 a", "11m0.2s reminder dead #2 a"}},
		{"reminders start anew", reminding, []step{
			allHealthy, {m, []string{"a=dead"}}, {7 * m, []string{"a=healthy"}}, {10 * m, []string{"b=dead"}},
		}, 16 * m, []string{"1m0.2s changed dead +a", "6m0.2s reminder dead #1 a", "7m0.2s changed healthy -a", "10m0.2s changed dead +b", "15m0.2s reminder dead #1 b"}},
		{"no reminder of what is over", reminding, []step{
			allHealthy, {m, []string{"a=dead"}}, {6*m + 100*ms, []string{"a=healthy"}},
		}, h, []string{"1m0.2s changed dead +a", "6m0.3s changed healthy -a"}},
		{"linear backoff", backoff(1), []step{allHealthy, {0, []string{"a=dead"}}}, 14 * m,
			[]string{"200ms changed dead +a", "1m0.2s reminder dead #1 a", "3m0.2s reminder dead #2 a", "6m0.2s reminder dead #3 a", "9m0.2s reminder dead #4 a", "12m0.2s reminder dead #5 a"}},
		{"square backoff", backoff(2), []step{allHealthy, {0, []string{"a=dead"}}}, 25 * m,
			[]string{"200ms changed dead +a", "1m0.2s reminder dead #1 a", "5m0.2s reminder dead #2 a", "14m0.2s reminder dead #3 a", "23m0.2s reminder dead #4 a"}},
		{"cubic backoff", backoff(3), []step{allHealthy, {0, []string{"a=dead"}}}, h + 5*m,
			[]string{"200ms changed dead +a", "1m0.2s reminder dead #1 a", "9m0.2s reminder dead #2 a", "36m0.2s reminder dead #3 a", "1h3m0.2s reminder dead #4 a"}},
		{"silence", reminding, []step{
			allHealthy, {m, []string{"a=dead"}}, {5 * m, []string{"mute=8m"}},
		}, 19 * m, []string{"1m0.2s changed dead +a", "13m0s reminder dead #1 a", "18m0s reminder dead #2 a"}},
		{"silence lifted", reminding, []step{
			allHealthy, {m, []string{"a=dead"}}, {5 * m, []string{"mute=8h"}}, {20 * m, []string{"unmute"}},
		}, 21 * m, []string{"1m0.2s changed dead +a", "20m0s reminder dead #1 a"}},
		{"silence is for reminders only", reminding, []step{
			allHealthy, {m, []string{"mute=1h", "a=dead"}}, {10 * m, []string{"b=dead"}}, {20 * m, []string{"a=healthy", "b=healthy"}},
		}, h, []string{"1m0.2s changed dead +a", "10m0.2s changed dead a +b", "20m0.2s changed healthy -a -b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlay(alertConfig(tt.alerting))
			for _, step := range tt.steps {
				p.at(step.at, step.steps...)
			}
			p.until(p.begin.Add(tt.until))
			if !slices.Equal(p.alerts, tt.want) {
				t.Errorf("alerts:\n\t%s\nwant:\n\t%s", strings.Join(p.alerts, "\n\t"), strings.Join(tt.want, "\n\t"))
			}
		})
	}
}

// Replicas with labels are called by these.
func TestLabelsInAlerts(t *testing.T) {
	conf := alertConfig(Alerting{})
	node := conf.Services[0].Nodes[0]
	node.Targets = append(node.Targets, Target{Raw: "tcp://a:81"})
	node.Labels = map[string]string{"tcp://a:81": "Paris"}
	p := newPlay(conf)
	p.at(0, "a=dead", "b=dead", "c=healthy", "d=healthy")
	p.until(p.begin.Add(time.Second))
	var got []string
	for _, r := range p.last.Outages[0].Replicas {
		got = append(got, r.Path+" "+r.Label)
	}
	if want := []string{"web:a:tcp://a:80 ", "web:a:tcp://a:81 Paris"}; !slices.Equal(got, want) {
		t.Errorf("told of %q, want %q", got, want)
	}
}

// A channel counts as told only of what it gets: reminders, where it gets
// nothing else, and acknowledgements, where it keeps incidents of its own.
func TestAlertsThatChannelsGet(t *testing.T) {
	const m = time.Minute
	conf := alertConfig(Alerting{BackoffLimit: 3, ReminderInterval: 10 * m})
	conf.Notify = channels("team", "boss", "pager", "night")
	conf.Notify.Channels[1].RemindersOnly = true
	conf.Notify.Channels[2].Kind = "pagerduty"
	conf.Notify.Channels[3].Kind, conf.Notify.Channels[3].RemindersOnly = "pagerduty", true
	p := newPlay(conf)
	p.at(0, "a=healthy", "b=healthy", "c=healthy")
	p.at(m, "a=dead")
	p.until(p.begin.Add(10 * m))
	if open := p.st.openOutages(); len(open["team"]) != 1 || len(open["boss"]) != 0 {
		t.Errorf("before the first reminder, told of %+v", open)
	}
	p.until(p.begin.Add(12 * m))
	if open := p.st.openOutages(); len(open["team"]) != 1 || len(open["boss"]) != 1 {
		t.Errorf("after the first reminder, told of %+v", open)
	}
	p.expect(t, "reminders only", "1m0.2s changed dead +a", "1m0.2s changed dead +a",
		"11m0.2s reminder dead #1 a", "11m0.2s reminder dead #1 a", "11m0.2s reminder dead #1 a", "11m0.2s reminder dead #1 a")
	in := p.st.snapshot(p.now).incidents[0]
	for channel, at := range map[string]time.Duration{"team": m, "pager": m, "boss": 11 * m, "night": 11 * m} {
		if !slices.Contains(in.tellings, telling{channel: channel, at: p.begin.Add(at + gatherQuiet)}) {
			t.Errorf("%s is not told after %v: %+v", channel, at, in.tellings)
		}
	}

	p.st.acknowledge(in.id, &acknowledgement{by: "Ann", at: p.now, until: p.now.Add(24 * time.Hour)}, p.now, make(chan error, 1))
	p.until(p.begin.Add(13 * m))
	p.expect(t, "acknowledged", "12m0s acknowledged dead a | Acknowledged by Ann", "12m0s acknowledged dead a | Acknowledged by Ann")
	p.st.eventLog = newTestLog(t, new(bytes.Buffer))
	p.st.acknowledge(in.id, &acknowledgement{text: "on it", at: p.now, until: p.now.Add(24 * time.Hour)}, p.now, make(chan error, 1))
	p.until(p.begin.Add(14 * m))
	p.expect(t, "acknowledged without a name", "13m0s acknowledged dead a | Acknowledged: on it", "13m0s acknowledged dead a | Acknowledged: on it")
	if e := <-p.st.eventLog.in; e.Kind != "ack" || e.Text != "on it" {
		t.Errorf("the log has %+v", e)
	}
	p.at(20*m, "a=healthy")
	p.until(p.begin.Add(21 * m))
	p.expect(t, "over", "20m0.2s changed healthy -a", "20m0.2s changed healthy -a", "20m0.2s changed healthy -a")

	p.at(30*m, "a=dead")
	p.until(p.begin.Add(31 * m))
	p.st.acknowledge(outagesAt(p.st, "a")[0], &acknowledgement{at: p.now, until: p.now.Add(24 * time.Hour)}, p.now, make(chan error, 1))
	p.until(p.begin.Add(32 * m))
	p.expect(t, "acknowledged before the first reminder", "30m0.2s changed dead +a", "30m0.2s changed dead +a", "31m0s acknowledged dead a | Acknowledged")
}
