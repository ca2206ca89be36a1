package main

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// churn measures what somebody can do who has got hold of the reporter token:
// report under ever new names, leave them to die, and flush them.
func (b *bench) churn() error {
	f, address, err := newFlaps()
	if err != nil {
		return err
	}
	for _, do := range []func(*flaps, string) error{b.newNames, b.silentNames, b.flushedNames} {
		if err := do(f, address); err != nil {
			return err
		}
	}
	return b.deadStarts()
}

// leaked is the config of push nodes and of one that flaps.
func leaked(address string) string {
	return strings.Replace(flapConfig(address, "t"), "[notify]", "push_delay_dead = 1\n[notify]", 1) + nodes(100, 1, 0, "push", nil) + `
[[probe.service]]
id = "polled"
label = "Polled"
[[probe.service.node]]
id = "flap"
label = "Flap"
mode = "poll"
replicas = ["http://` + address + `/t"]
`
}

// namedReport is a report of a replica with that name, or its flush.
func namedReport(name string, n int, interval time.Duration, flush bool) []byte {
	secret := base64.StdEncoding.EncodeToString([]byte(":" + token))
	method, path, body := "POST", fmt.Sprintf("/reporter/s%d/n0/", n%100), fmt.Sprintf(`{"replica":%q,"interval":%d,"load":{"cpu":0.2,"ram":0.4}}`, name, int(interval.Seconds()))
	if flush {
		method, path, body = "DELETE", path+name+"/", ""
	}
	return fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", method, path, secret, len(body), body)
}

// longName is as long as a name may be.
func longName(n int) string { return fmt.Sprintf("%0256d", n) }

// newNames reports twice under each of ever new names and flushes it.
func (b *bench) newNames(_ *flaps, address string) error {
	p, err := b.run(leaked(address))
	if err != nil {
		return err
	}
	defer p.stop()
	run := func(d time.Duration) (names int64, err error) {
		var next atomic.Int64
		var mu sync.Mutex
		var all sync.WaitGroup
		end := time.Now().Add(d)
		for range 8 {
			all.Go(func() {
				var name string
				var n int
				l := load{conns: 1, request: func(turn int) []byte {
					if turn%3 == 0 {
						n = int(next.Add(1))
						name = longName(n)
					}
					return namedReport(name, n, 5*time.Minute, turn%3 == 2)
				}}
				for time.Now().Before(end) {
					if _, e := l.run(p.address, 0, 3*200); e != nil {
						mu.Lock()
						err = e
						mu.Unlock()
						return
					}
				}
			})
		}
		all.Wait()
		return next.Load(), err
	}
	if _, err := run(time.Second); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	before, err := p.heap()
	if err != nil {
		return err
	}
	names, err := run(b.length(20*time.Second, 3*time.Second))
	if err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	after, err := p.heap()
	if err != nil {
		return err
	}
	const mib = 1 << 20
	b.add(row{measure: "churn", what: fmt.Sprintf("%d names that report twice and are flushed: heap", names), figure: fmt.Sprintf("%.1f MiB", after/mib),
		limit: fmt.Sprintf("%.1f MiB before", before/mib), got: (after - before) / mib, wanted: atMost(4)})
	return nil
}

// silentNames reports under as many names as there may be, which all fall
// silent.
func (b *bench) silentNames(f *flaps, address string) error {
	const names = 150_000
	p, err := b.run(leaked(address))
	if err != nil {
		return err
	}
	defer p.stop()
	f.forgetLargest()
	l := load{conns: 16, request: func(n int) []byte { return namedReport(longName(n), n, 20*time.Second, false) }}
	if _, err := l.run(p.address, 0, names); err != nil {
		return err
	}
	if err := p.await(time.Minute, "all names to be dead", func(all map[string]float64) bool { return total(all, "vigil_replicas", "dead") == names }); err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	most, err := p.memory("VmHWM")
	if err != nil {
		return err
	}
	b.add(row{measure: "churn", what: "150,000 names of 256 bytes that fall silent: memory, at most", figure: fmt.Sprintf("%.0f MiB", most), got: most, wanted: atMost(500)})
	largest := float64(f.forgetLargest()) / 1024
	if largest == 0 {
		return fmt.Errorf("nobody was told that %d replicas are dead", names)
	}
	b.add(row{measure: "churn", what: "... largest webhook", figure: fmt.Sprintf("%.0f KiB", largest), got: largest, wanted: atMost(600)})
	p.stop()
	if err := p.start(); err != nil {
		return err
	}
	b.add(row{measure: "churn", what: "... first page of a start with them, all told dead", figure: fmt.Sprintf("%.2f s", p.first.Seconds()), got: p.first.Seconds(), wanted: atMost(2).but(8)})
	return nil
}

// flushedNames flushes a great many names while a target dies and comes back.
func (b *bench) flushedNames(f *flaps, address string) error {
	names := b.count(50_000, 20_000)
	p, err := b.run(leaked(address))
	if err != nil {
		return err
	}
	defer p.stop()
	l := load{conns: 16, request: func(n int) []byte { return namedReport(longName(n), 0, 5*time.Minute, false) }}
	if _, err := l.run(p.address, 0, names); err != nil {
		return err
	}
	if err := p.settled(names+1, 20*time.Second); err != nil {
		return err
	}
	var took []float64
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				if i%2 == 0 {
					done <- nil
					return
				}
			default:
			}
			d, err := f.turn("t", i%2 == 0)
			if err != nil {
				done <- err
				return
			}
			took = append(took, d.Seconds())
		}
	}()
	l.request = func(n int) []byte { return namedReport(longName(n), 0, 0, true) }
	begin := time.Now()
	_, err = l.run(p.address, 0, names)
	flushed := time.Since(begin)
	close(stop)
	if e := <-done; err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	worst := quantile(took, 1)
	b.add(row{measure: "churn", what: fmt.Sprintf("%d replicas of one node flushed: worst of %d alerts meanwhile", names, len(took)), figure: fmt.Sprintf("%.3f s", worst),
		limit: perSecond(float64(names)/flushed.Seconds()) + " flushed", got: worst, wanted: atMost(1).but(5)})
	return nil
}

// deadStarts measures a start from files that version 1 wrote: replicas that
// were told dead, of which many are gone.
func (b *bench) deadStarts() error {
	for _, c := range []struct {
		what         string
		replicas, to int // those from there on are gone
	}{
		{"a start with 150,000 told dead by version 1", 150_000, 150_000},
		{"a start with 60,000 told dead and 60,000 gone", 120_000, 60_000},
	} {
		p, err := b.lay(nodes(100, 1, 0, "push", nil) + "[notify.webhook]\nhook_url = \"http://127.0.0.1:9/\"\n")
		if err != nil {
			return err
		}
		now := time.Now()
		name := func(n int) map[string]any {
			return map[string]any{"service": fmt.Sprintf("s%d", n%100), "node": "n0", "id": fmt.Sprintf("host-%d.example.net", n)}
		}
		err = p.writeState(now, func(yield func(journaled) bool) {
			ok := true
			keep := func(kind string, record any) { ok = ok && yield(journaled{kind, record}) }
			keep("alive", now)
			var paths []string
			for n := range c.replicas {
				rec := name(n)
				paths = append(paths, fmt.Sprintf("%s:%s:%s", rec["service"], rec["node"], rec["id"]))
				rec["status"], rec["reason"], rec["since"], rec["grace"] = "dead", "no report in 50 s", now, 50
				rec["load"] = map[string]float64{"cpu": 0.2, "ram": 0.4}
				keep("replica", rec)
			}
			keep("told", map[string]any{"page": true, "dead": paths})
			for n := c.to; n < c.replicas; n++ {
				keep("gone", name(n))
			}
		})
		if err != nil {
			return err
		}
		if err := p.start(); err != nil {
			return err
		}
		all, err := p.metrics()
		p.stop()
		if err != nil {
			return err
		}
		if dead := total(all, "vigil_replicas", "dead"); dead != float64(c.to) {
			return fmt.Errorf("%s: %v replicas are dead", c.what, dead)
		}
		b.add(row{measure: "churn", what: c.what, figure: fmt.Sprintf("%.2f s", p.first.Seconds()), got: p.first.Seconds(), wanted: atMost(2).but(8)})
	}
	return nil
}
