package notify

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// outage is a dead node of one replica.
func outage(id string) Outage {
	return Outage{
		ID: id, Service: "web", Node: id, Status: Dead, Since: at,
		Replicas: []Replica{{Path: "web:" + id + ":0", Reason: "HTTP 503"}}, Instances: 1,
	}
}

func (o Outage) with(change func(*Outage)) Outage {
	change(&o)
	return o
}

// A storm fits into the journal, and what is left out is counted.
func TestTrim(t *testing.T) {
	a := Alert{ID: "1", Kind: Changed, Status: Dead, Time: at}
	for i := range 5000 {
		o := outage(fmt.Sprint("node", i))
		for r := range 3 {
			o.Replicas = append(o.Replicas, Replica{Path: fmt.Sprintf("web:%s:%s%d", o.Node, strings.Repeat("x", 250), r), Reason: "no answer"})
		}
		a.Outages = append(a.Outages, o, outage(fmt.Sprint("over", i)).with(func(o *Outage) { o.Over = true }))
	}
	got := a.Trim()
	text, err := json.Marshal(got)
	if err != nil || len(text) > 256<<10 {
		t.Errorf("an alert of %d bytes, %v", len(text), err)
	}
	down, over, dead := got.MoreDown, got.MoreOver, got.MoreDead
	for _, o := range got.Outages {
		if o.Over {
			over++
		} else {
			down++
			dead += len(o.Replicas)
		}
	}
	if down != 5000 || over != 5000 || dead != 20000 || len(got.Outages) < 100 {
		t.Errorf("listed and left out: %d down, %d over, %d replicas; %d listed", down, over, dead, len(got.Outages))
	}
	if again := got.Trim(); !slices.EqualFunc(again.Outages, got.Outages, func(a, b Outage) bool { return a.ID == b.ID }) || again.MoreDead != got.MoreDead {
		t.Error("trimming twice changes the alert")
	}
	small := Alert{Outages: []Outage{outage("a")}}
	if got := small.Trim(); len(got.Outages) != 1 || got.MoreDead+got.MoreDown != 0 || len(got.Outages[0].Replicas) != 1 {
		t.Errorf("a small alert becomes %+v", got)
	}
}

// What an earlier version stored is told by node.
func TestOutagesOfOlderAlerts(t *testing.T) {
	var a Alert
	const stored = `{"id":"1","kind":"changed","status":"dead","time":"2026-03-29T06:58:28Z","page":{},
		"dead":[{"path":"web:core:tcp://a:80","reason":"connection refused"},{"path":"web:core:tcp://b:80"}],
		"recovered":["api:main:0"]}`
	if err := json.Unmarshal([]byte(stored), &a); err != nil {
		t.Fatal(err)
	}
	got := a.outages()
	if len(got) != 2 || got[0].Node != "core" || !got[0].New || len(got[0].Replicas) != 2 || got[0].Replicas[0].Reason == "" ||
		got[1].Service != "api" || !got[1].Over || got[1].Replicas[0].Path != "api:main:0" {
		t.Errorf("outages %+v", got)
	}
	if len(a.dead()) != 2 || !slices.Equal(a.recovered(), []string{"api:main:0"}) {
		t.Errorf("dead %v, recovered %v", a.dead(), a.recovered())
	}
}

// An alert that stands for an earlier one announces what that one had to.
func TestAbsorbOutages(t *testing.T) {
	began := func(id string) Outage { return outage(id).with(func(o *Outage) { o.New = true }) }
	over := func(id string) Outage { return outage(id).with(func(o *Outage) { o.Over = true }) }
	older := Alert{ID: "1", Kind: Changed, Outages: []Outage{began("a"), began("b"), over("c"), over("d")}}
	newer := Alert{ID: "2", Kind: Reminder, Outages: []Outage{outage("a"), over("b"), began("d")}}
	var got []string
	for _, o := range absorb(newer, older).Outages {
		got = append(got, fmt.Sprintf("%s new=%v over=%v", o.ID, o.New, o.Over))
	}
	want := []string{"a new=true over=false", "b new=false over=true", "d new=true over=false", "c new=false over=true"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if newer.Outages[0].New {
		t.Error("the newer alert was changed")
	}
}

// An alert for one channel goes to its recipients only.
func TestAlertOfOneChannel(t *testing.T) {
	for _, tt := range []struct {
		channel string
		kind    Kind
		only    bool
		want    bool
	}{
		{"", Changed, false, true},
		{"slack", Changed, false, true},
		{"email", Changed, false, false},
		{"slack", Changed, true, false},
		{"slack", Reminder, true, true},
		{"email", Reminder, true, false},
		{"slack", Acknowledged, false, false},
	} {
		target := Target{Channel: "slack", RemindersOnly: tt.only}
		if got := target.Wants(Alert{Channel: tt.channel, Kind: tt.kind, Time: time.Now()}); got != tt.want {
			t.Errorf("%s for %q, reminders only %v: %v", tt.kind, tt.channel, tt.only, got)
		}
	}
}
