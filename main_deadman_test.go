package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A fakeTrip answers requests and remembers them.
type fakeTrip struct {
	code  int
	err   error
	calls []string
}

func (f *fakeTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	f.calls = append(f.calls, r.Method+" "+r.URL.String())
	if f.err != nil {
		return nil, f.err
	}
	return &http.Response{StatusCode: f.code, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

// A deadmanRig is a deadman with an aggregator that answers or not.
type deadmanRig struct {
	*deadman
	trip       fakeTrip
	log        bytes.Buffer
	deliveries map[string]deliveryCounts
	broken     bool
}

func newDeadmanRig(t *testing.T) *deadmanRig {
	conf := &Config{
		Metrics:  Metrics{PollInterval: time.Minute, PollDelayDead: 10 * time.Second},
		Services: []*Service{{ID: "web", Nodes: []*Node{{ID: "core", Mode: modePoll, Targets: []Target{{Raw: "tcp://192.0.2.1:1"}}}}}},
		Deadman:  &Deadman{URL: "https://hc.example/s3cret", Interval: time.Minute},
		Notify:   channels("email"),
	}
	now := time.Now()
	st := newState(conf, now)
	rig := &deadmanRig{deliveries: make(map[string]deliveryCounts), trip: fakeTrip{code: 200}}
	events := make(chan event)
	rig.deadman = newDeadman(newSnapshots(st.snapshot(now)), events, &meters{}, &store{}, slog.New(slog.NewTextHandler(&rig.log, nil)))
	rig.deadman.deliveries = func() map[string]deliveryCounts { return rig.deliveries }
	rig.deadman.failing = func() bool { return rig.broken }
	rig.client.Transport = &rig.trip
	rig.began = now
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case ev := <-events:
				ev.apply(st, time.Now())
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return rig
}

// call makes a turn and wants a call or the reason why there is none.
func (rig *deadmanRig) call(t *testing.T, held string) {
	t.Helper()
	before := len(rig.trip.calls)
	rig.turn(t.Context(), rig.snaps.load().conf.Deadman)
	if called := len(rig.trip.calls) > before; rig.held != held || called != (held == "") || rig.holding.Load() == called {
		t.Errorf("held back %q, called %v; want %q", rig.held, called, held)
	}
}

func TestDeadman(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := newDeadmanRig(t)
		rig.call(t, "")
		if got := strings.Join(rig.trip.calls, " "); got != "GET https://hc.example/s3cret" {
			t.Error(got)
		}
		rig.broken = true
		rig.call(t, "the storage folder cannot be written")
		rig.broken = false
		rig.call(t, "")

		rig.deliveries["email"] = deliveryCounts{delivered: 1, retried: 1}
		rig.call(t, "")
		rig.deliveries["email"] = deliveryCounts{delivered: 1, retried: 2}
		rig.call(t, "")
		rig.began = rig.began.Add(24 * time.Hour) // checks are on time
		time.Sleep(time.Hour)
		rig.call(t, "channel email has been failing for over an hour")
		rig.deliveries["email"] = deliveryCounts{delivered: 2, retried: 9}
		rig.call(t, "")

		rig.trip.code = 500
		rig.call(t, "")
		rig.trip.code = 200
		rig.call(t, "")
		rig.trip.err = errors.New("dial tcp: connection refused")
		rig.call(t, "")
		rig.call(t, "")
		for _, want := range []string{"held back\" reason=\"the storage folder", "called again", "hc.example: HTTP 500", "can be called again", "connection refused"} {
			if n := strings.Count(rig.log.String(), want); n == 0 {
				t.Errorf("%q is not in the log\n%s", want, &rig.log)
			}
		}
		if n := strings.Count(rig.log.String(), "connection refused"); n != 1 {
			t.Errorf("logged %d times\n%s", n, &rig.log)
		}
		if strings.Contains(rig.log.String(), "s3cret") {
			t.Errorf("the URL is in the log\n%s", &rig.log)
		}
	})
}

// A channel that a reload took out because it failed holds nothing back.
func TestDeadmanWithoutTheFailingChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := newDeadmanRig(t)
		rig.deliveries["email"] = deliveryCounts{givenUp: 1}
		rig.call(t, "")
		rig.began = rig.began.Add(24 * time.Hour)
		time.Sleep(time.Hour)
		rig.call(t, "channel email has been failing for over an hour")
		conf := *rig.snaps.load().conf
		conf.Notify = channels("slack")
		rig.snaps.publish(newState(&conf, time.Now()).snapshot(time.Now()))
		rig.call(t, "")
	})
}

func TestDeadmanLateChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := newDeadmanRig(t)
		conf := rig.snaps.load().conf
		limit := conf.Metrics.lapse(modePoll)
		time.Sleep(limit)
		rig.call(t, "")
		time.Sleep(time.Second)
		rig.call(t, "web:core was last checked 191 s ago")
	})
}

// A node that a reload adds has its time from then on.
func TestDeadmanAfterAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := newDeadmanRig(t)
		rig.began = rig.began.Add(-24 * time.Hour)
		conf := *rig.snaps.load().conf
		conf.Services = []*Service{{ID: "web", Nodes: []*Node{{ID: "new", Mode: modePoll, Targets: []Target{{Raw: "tcp://192.0.2.2:1"}}}}}}
		rig.snaps.publish(newState(&conf, time.Now()).snapshot(time.Now()))
		rig.call(t, "")
		time.Sleep(conf.Metrics.lapse(modePoll) + time.Second)
		rig.call(t, "web:new was last checked 191 s ago")
	})
}

func TestDeadmanWithoutAggregator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := newDeadmanRig(t)
		rig.events = make(chan event) // nobody takes them
		rig.call(t, "the aggregator does not answer")
	})
}

// Without a config it makes no call; with one it calls at its interval.
func TestDeadmanRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := newDeadmanRig(t)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute-time.Second)
		defer cancel()
		if err := rig.run(ctx); err != nil || len(rig.trip.calls) != 3 {
			t.Errorf("%v, %d calls", err, len(rig.trip.calls))
		}

		// A reload makes it call more often at once, and elsewhere.
		slow, fast := *rig.snaps.load().conf, *rig.snaps.load().conf
		slow.Deadman, fast.Deadman = &Deadman{URL: "https://hc.example/slow", Interval: time.Hour}, &Deadman{URL: "https://hc.example/fast", Interval: time.Minute}
		publish := func(conf *Config) { rig.snaps.publish(newState(conf, time.Now()).snapshot(time.Now())) }
		publish(&slow)
		time.AfterFunc(2*time.Minute, func() { publish(&fast) })
		rig.trip.calls = nil
		ctx, cancel = context.WithTimeout(t.Context(), 3*time.Minute-time.Second)
		defer cancel()
		err := rig.run(ctx)
		if got := strings.Join(rig.trip.calls, ", "); err != nil || got != "GET https://hc.example/slow, GET https://hc.example/fast" {
			t.Errorf("%v, calls %s", err, got)
		}
	})
}
