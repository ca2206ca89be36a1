package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// flaps are targets that die and come back, and the webhook that is told.
type flaps struct {
	mu      sync.Mutex
	each    map[string]*flap
	largest int64 // bytes of a message
}

// A flap is one target.
type flap struct {
	dead   bool
	turned time.Time      // of the first answer since it changed
	told   chan time.Time // when an alert said so; of capacity 1
}

// newFlaps serves on loopback.
func newFlaps() (*flaps, string, error) {
	f := &flaps{each: make(map[string]*flap)}
	where, err := serve(f)
	return f, where.HTTP, err
}

// ServeHTTP is the target /NAME, or its webhook /hook/NAME.
func (f *flaps) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	name := strings.TrimPrefix(r.URL.Path, "/")
	hook, isHook := strings.CutPrefix(name, "hook/")
	f.mu.Lock()
	defer f.mu.Unlock()
	if !isHook {
		if it := f.each[name]; it != nil {
			if it.turned.IsZero() {
				it.turned = now
			}
			if it.dead {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
		return
	}
	var alert struct{ Type, Status string }
	err := json.NewDecoder(r.Body).Decode(&alert)
	drain(r.Body)
	f.largest = max(f.largest, r.ContentLength)
	it := f.each[hook]
	if err != nil || it == nil || it.turned.IsZero() || (alert.Status == "dead") != it.dead {
		return
	}
	select {
	case it.told <- now:
	default:
	}
}

// forgetLargest returns the size of the largest message since the last time.
func (f *flaps) forgetLargest() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.largest
	f.largest = 0
	return n
}

// turn makes a target die or come back and returns how long after the first
// answer that said so the webhook was told.
func (f *flaps) turn(name string, dead bool) (time.Duration, error) {
	return f.turnWithin(20*time.Second, name, dead)
}

func (f *flaps) turnWithin(limit time.Duration, name string, dead bool) (time.Duration, error) {
	f.mu.Lock()
	it := &flap{dead: dead, told: make(chan time.Time, 1)}
	f.each[name] = it
	f.mu.Unlock()
	select {
	case at := <-it.told:
		f.mu.Lock()
		defer f.mu.Unlock()
		return at.Sub(it.turned), nil
	case <-time.After(limit):
		return 0, fmt.Errorf("no alert that %s is dead (%v)", name, dead)
	}
}

// flapConfig is a config whose poll nodes are checked every second, and whose
// alerts go to the webhook of a flap.
func flapConfig(address, name string) string {
	return fmt.Sprintf("poll_interval = 1\npoll_retry = 0\npoll_retry_wait = 100\n[notify]\nstartup_notification = false\n[notify.webhook]\nhook_url = \"http://%s/hook/%s\"\n", address, name)
}

// alert measures how long after the check that found an outage or its end the
// webhook is told, in several programs at once.
func (b *bench) alert() error {
	const programs = 8
	trials := b.count(200, 40) / programs
	f, address, err := newFlaps()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var took []float64
	var faults []error
	var wg sync.WaitGroup
	for i := range programs {
		wg.Go(func() {
			name := "t" + strconv.Itoa(i)
			all, err := b.flapIn(f, address, name, trials)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, all...)
			if err != nil {
				faults = append(faults, err)
			}
		})
	}
	wg.Wait()
	if len(faults) > 0 {
		return faults[0]
	}
	worst := quantile(took, 1)
	b.add(row{measure: "alert", what: fmt.Sprintf("from a check's answer to the webhook, worst of %d", len(took)),
		figure: fmt.Sprintf("%.3f s (median %.3f s)", worst, median(took)), limit: "0.2 s of gathering", got: worst, wanted: atMost(0.4).but(1.5)})
	return nil
}

// flapIn runs a program whose only target flaps.
func (b *bench) flapIn(f *flaps, address, name string, trials int) (took []float64, err error) {
	p, err := b.run(flapConfig(address, name) + nodes(1, 1, 1, "poll", func(int) string { return "http://" + address + "/" + name }))
	if err != nil {
		return nil, err
	}
	defer p.stop()
	if err := p.settled(1, 10*time.Second); err != nil {
		return nil, err
	}
	for i := range trials {
		d, err := f.turn(name, i%2 == 0)
		if err != nil {
			return took, err
		}
		took = append(took, d.Seconds())
	}
	return took, nil
}

// stampede measures what 2,000 connections get that ask for the page all the
// time, while statuses change every second, beside the bare handler; and
// whether alerts and latencies stay what they are meanwhile.
func (b *bench) stampede() error {
	farm, err := start("farm", nil)
	if err != nil {
		return err
	}
	defer farm.stop()
	prober, err := start("loop", loopTask{Scheme: "http", Port: farm.ready.HTTP, Path: "/slow", Width: 10, Pause: time.Second})
	if err != nil {
		return err
	}
	defer prober.stop()
	f, address, err := newFlaps()
	if err != nil {
		return err
	}
	const reporting = 297
	config := flapConfig(address, "t") + nodes(reporting/3, 3, 0, "push", nil) + `
[[probe.service]]
id = "polled"
label = "Polled"
[[probe.service.node]]
id = "flap"
label = "Flap"
mode = "poll"
replicas = ["http://` + address + `/t"]
[[probe.service.node]]
id = "slow"
label = "Slow"
mode = "poll"
replicas = [`
	for n := range 10 {
		config += fmt.Sprintf("\"http://%s:%s/slow\", ", host(n), farm.ready.HTTP)
	}
	p, err := b.run(config + "]\n")
	if err != nil {
		return err
	}
	defer p.stop()

	// Every second, all push nodes report and change.
	report := func(cpu float64) error {
		l := load{conns: 2, request: reportRequests(reporting, cpu, func(n int) string { return fmt.Sprintf("/reporter/s%d/n%d/", n/3, n%3) })}
		_, err := l.run(p.address, 0, reporting)
		return err
	}
	if err := report(0.1); err != nil {
		return err
	}
	resp, body, err := p.get("/", "Accept-Encoding", "gzip")
	if err != nil {
		return err
	}
	resp.Header.Del("Date")
	resp.Header.Del("Connection")
	limit, err := start("page", pageTask{resp.Header, body})
	if err != nil {
		return err
	}
	defer limit.stop()

	var mu sync.Mutex
	var times []float64
	crowd := load{conns: 2000, request: getRequest("/", "Accept-Encoding: gzip"), pause: time.Second, took: func(d time.Duration) {
		mu.Lock()
		times = append(times, d.Seconds())
		mu.Unlock()
	}}
	turn := b.length(6*time.Second, 3500*time.Millisecond)
	var ours, bare, took, latency, bareLatency []float64
	for range b.count(5, 3) {
		times = nil
		if _, err := crowd.run(limit.ready.HTTP, turn, 0); err != nil {
			return fmt.Errorf("limit: %w", err)
		}
		theirs := quantile(times, 0.99)

		times = nil
		busy := make(chan error, 3)
		end := time.Now().Add(turn)
		go func() { // statuses change
			for i := 1; time.Now().Before(end); i++ {
				if err := report(0.1 + 0.85*float64(i%2)); err != nil {
					busy <- err
					return
				}
				time.Sleep(time.Second)
			}
			busy <- nil
		}()
		go func() { // and with them the page's
			for i := 0; time.Now().Before(end.Add(-2*time.Second)) || i%2 == 1; i++ {
				d, err := f.turn("t", i%2 == 0)
				if err != nil {
					busy <- err
					return
				}
				took = append(took, d.Seconds())
			}
			busy <- nil
		}()
		var seen checked
		go func() { busy <- prober.ask(order{Do: "run", Seconds: turn.Seconds()}, &seen) }()
		before, err := p.metrics()
		if err != nil {
			return err
		}
		_, err = crowd.run(p.address, turn, 0)
		if err != nil {
			return err
		}
		mine := quantile(times, 0.99)
		for range cap(busy) {
			if err := <-busy; err != nil {
				return err
			}
		}
		after, err := p.metrics()
		if err != nil {
			return err
		}
		const name = "vigil_probe_duration_seconds"
		checks := total(after, name+"_count", "poll") - total(before, name+"_count", "poll")
		latency = append(latency, 1000*(total(after, name+"_sum", "poll")-total(before, name+"_sum", "poll"))/checks)
		bareLatency = append(bareLatency, 1000*seen.Latency)
		ours, bare = append(ours, 1000*mine), append(bare, 1000*theirs)
	}
	b.add(row{measure: "stampede", what: "2,000 visitors at once, statuses change: p99", figure: fmt.Sprintf("%.1f ms", median(ours)), limit: fmt.Sprintf("%.1f ms", median(bare)), got: median(ours) / median(bare), ratio: true, wanted: atMost(2).but(12)})
	worst := quantile(took, 1)
	b.add(row{measure: "stampede", what: fmt.Sprintf("... worst of %d alerts meanwhile", len(took)), figure: fmt.Sprintf("%.3f s", worst), limit: "1 s of gathering", got: worst, wanted: atMost(1.5)})
	b.add(row{measure: "stampede", what: "... latency recorded of a target that takes 1 ms", figure: fmt.Sprintf("%.2f ms", median(latency)), limit: fmt.Sprintf("%.2f ms", median(bareLatency)), got: median(latency) / median(bareLatency), ratio: true, wanted: atMost(1.5).but(8)})
	return nil
}
