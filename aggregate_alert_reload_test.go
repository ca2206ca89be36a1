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
