package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// reload gives the play another config.
func (p *play) reload(at time.Duration, conf *Config) {
	p.until(p.begin.Add(at))
	p.st.reload(conf, p.now)
	p.replicas = replicas(conf.Services)
	p.until(p.now)
}

// expect compares the alerts since the last call.
func (p *play) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	if !slices.Equal(p.alerts, want) {
		t.Errorf("%s:\n\t%s\nwant:\n\t%s", what, strings.Join(p.alerts, "\n\t"), strings.Join(want, "\n\t"))
	}
	p.alerts = nil
}

// After a reload, a channel is told that all is well only when everything new
// was checked, and a node that is gone is not called recovered.
func TestNoAllClearThatNobodyChecked(t *testing.T) {
	const s = time.Second
	renamed := func(id string) *Config {
		conf := alertConfig(Alerting{})
		conf.Services[0].Nodes[0].ID = id
		return conf
	}
	otherURL := alertConfig(Alerting{})
	otherURL.Services[0].Nodes[0].Targets[0].Raw = "tcp://a:81"
	without := alertConfig(Alerting{})
	without.Services[0].Nodes = without.Services[0].Nodes[1:]
	begin := func() *play {
		p := newPlay(alertConfig(Alerting{}))
		p.at(0, "a=dead", "b=healthy", "c=healthy")
		p.until(p.begin.Add(s))
		p.expect(t, "the outage", "200ms changed dead +a")
		return p
	}

	p := begin()
	p.reload(10*s, renamed("z"))
	p.until(p.begin.Add(60 * s))
	p.expect(t, "renamed, not checked yet")
	p.at(60*s, "a=dead")
	p.until(p.begin.Add(90 * s))
	p.expect(t, "renamed and still dead", "1m0.2s changed dead +z ~a")

	p = begin()
	p.reload(10*s, renamed("z"))
	p.at(60*s, "a=healthy")
	p.until(p.begin.Add(90 * s))
	p.expect(t, "renamed and well", "1m0.2s changed healthy ~a")

	p = begin()
	p.reload(10*s, otherURL)
	p.until(p.begin.Add(60 * s))
	p.expect(t, "another URL, not checked yet")
	p.at(60*s, "a=dead")
	p.until(p.begin.Add(90 * s))
	p.expect(t, "another URL, and still dead")
	p.at(100*s, "a=healthy")
	p.until(p.begin.Add(120 * s))
	p.expect(t, "another URL, and well", "1m40.2s changed healthy -a")

	p = begin()
	p.reload(10*s, without)
	p.until(p.begin.Add(60 * s))
	p.expect(t, "taken out, with nothing new to check", "10.2s changed healthy ~a")
}

// A channel that is new during an outage hears of it once, as one that goes on.
func TestNewChannelDuringAnOutage(t *testing.T) {
	p := newPlay(alertConfig(Alerting{}))
	p.at(0, "a=dead", "b=healthy", "c=healthy")
	p.until(p.begin.Add(time.Minute))
	p.expect(t, "before", "200ms changed dead +a")
	conf := alertConfig(Alerting{})
	conf.Notify = channels("slack", "email")
	p.reload(time.Minute, conf)
	p.reload(2*time.Minute, conf)
	p.until(p.begin.Add(3 * time.Minute))
	p.expect(t, "a new channel", "1m0.2s changed dead a")
	p.at(4*time.Minute, "b=dead")
	p.at(5*time.Minute, "a=healthy")
	p.until(p.begin.Add(6 * time.Minute))
	p.expect(t, "both", "4m0.2s changed dead a +b", "4m0.2s changed dead a +b", "5m0.2s changed dead -a b", "5m0.2s changed dead -a b")
}

// Reminders that a reload turns on, off or makes more frequent do so for what is
// down already.
func TestRemindersAfterAReload(t *testing.T) {
	every := func(d time.Duration) *Config { return alertConfig(Alerting{BackoffLimit: 3, ReminderInterval: d}) }
	const m = time.Minute
	p := newPlay(every(0))
	p.at(0, "a=dead", "b=healthy", "c=healthy")
	p.until(p.begin.Add(30 * m))
	p.expect(t, "without reminders", "200ms changed dead +a")
	p.reload(30*m, every(10*m))
	p.until(p.begin.Add(55 * m))
	p.expect(t, "turned on", "40m0s reminder dead #1 a", "50m0s reminder dead #2 a")
	p.reload(55*m, every(2*m))
	p.until(p.begin.Add(63 * m))
	p.expect(t, "more often from the next one on", "1h0m0s reminder dead #3 a", "1h2m0s reminder dead #4 a")
	p.reload(63*m, every(0))
	p.until(p.begin.Add(90 * m))
	p.expect(t, "turned off")
}

// A node that is no longer monitored is called what its last config called it.
func TestLabelOfWhatIsGone(t *testing.T) {
	conf := func(label string) *Config {
		conf := alertConfig(Alerting{})
		conf.Services[0].Nodes[0].Label = label
		return conf
	}
	p := newPlay(conf("Shop"))
	p.at(0, "a=dead", "b=healthy", "c=healthy")
	p.reload(10*time.Second, conf("Store"))
	without := conf("")
	without.Services[0].Nodes = without.Services[0].Nodes[1:]
	p.reload(20*time.Second, without)
	p.until(p.begin.Add(time.Minute))
	if o := p.last.Outages; len(o) != 1 || !o[0].Gone || o[0].NodeLabel != "Store" {
		t.Errorf("told of %+v", o)
	}
}
