package main

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A world is what a soak changes around the program: targets that die, and
// webhooks that fail in several ways.
type world struct {
	dead  atomic.Int32 // 1 + the last digit of targets that are; 0: none is
	fault atomic.Int32 // of the webhooks; 0: none
	told  atomic.Int64 // messages that were accepted
}

// Faults of a webhook.
const (
	refuses = 1 + iota
	hangs
	breaks
	allFaults
)

// ServeHTTP is a target below /target/, or a webhook.
func (o *world) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/target/") {
		if digit := o.dead.Load(); digit > 0 && r.URL.Path[len(r.URL.Path)-1] == byte('0'+digit-1) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return
	}
	drain(r.Body)
	switch o.fault.Load() {
	case refuses:
		w.WriteHeader(http.StatusInternalServerError)
	case hangs:
		<-r.Context().Done()
	case breaks:
		panic(http.ErrAbortHandler)
	default:
		o.told.Add(1)
	}
}

// soakConfig is a config of 2,000 replicas of all modes. An odd turn has
// another interval, one node less and another channel.
func soakConfig(turn int, world, port, tcp string) string {
	odd := turn % 2
	var b strings.Builder
	fmt.Fprintf(&b, "poll_interval = %d\npoll_retry = 1\npoll_retry_wait = 500\nscript_interval = 10\n[notify]\nreminder_interval = 5\n", 10+odd)
	for i := range 3 - odd {
		fmt.Fprintf(&b, "[[notify.webhook]]\nid = \"hook-%d\"\nhook_url = \"http://%s/hook/%d\"\n", i, world, i)
	}
	b.WriteString(nodes(10, 10-odd, 10, "poll", func(n int) string { return fmt.Sprintf("http://%s:%s/%d", host(n), port, n) }))
	service := func(id string, count int, mode string, more func(n int) string) {
		fmt.Fprintf(&b, "[[probe.service]]\nid = %q\nlabel = %q\n", id, id)
		for n := range count {
			fmt.Fprintf(&b, "[[probe.service.node]]\nid = \"n%d\"\nlabel = \"Node %d\"\nmode = %q\n%s\n", n, n, mode, more(n))
		}
	}
	service("tcp", 30, "poll", func(n int) string {
		var list []string
		for i := range 10 {
			list = append(list, fmt.Sprintf("%q", "tcp://"+host(10*n+i)+":"+tcp))
		}
		return "replicas = [" + strings.Join(list, ", ") + "]"
	})
	service("die", 100, "poll", func(n int) string { return fmt.Sprintf("replicas = [\"http://%s/target/%d\"]", world, n) })
	service("script", 20, "script", func(int) string { return `scripts = ["exit 0"]` })
	service("push", 10, "push", func(int) string { return "" })
	service("local", 10, "local", func(int) string { return "" })
	service("job", 80, "heartbeat", func(n int) string { return fmt.Sprintf("token = \"job-token-%016d\"\ninterval = 30\ngrace = 10", n) })
	return b.String()
}

// soakReport is the n-th of the reports that come from outside: 400 push and
// 100 local replicas and 80 jobs by turns.
func soakReport(n int) []byte {
	secret := base64.StdEncoding.EncodeToString([]byte(":" + token))
	n %= 580
	path, body := fmt.Sprintf("/reporter/push/n%d/", n%10), fmt.Sprintf(`{"replica":"host-%d","interval":30,"load":{"cpu":0.2,"ram":0.4}}`, n)
	switch {
	case n >= 500:
		path, body = fmt.Sprintf("/ping/job-token-%016d", n-500), ""
	case n >= 400:
		path, body = fmt.Sprintf("/reporter/local/n%d/", n%10), fmt.Sprintf(`{"replica":"host-%d","interval":30,"health":"healthy"}`, n)
	}
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, secret, len(body), body)
}

// vitals are what must not grow.
type vitals struct{ heap, goroutines, resident float64 }

func (p *program) vitals() (v vitals, err error) {
	var goroutines []float64
	for range 20 {
		all, err := p.metrics()
		if err != nil {
			return v, err
		}
		goroutines = append(goroutines, all["go_goroutines"])
		time.Sleep(100 * time.Millisecond)
	}
	v.goroutines = median(goroutines)
	if v.heap, err = p.heap(); err == nil {
		v.heap /= 1 << 20
		v.resident, err = p.memory("VmRSS")
	}
	return v, err
}

// soak runs a program with 2,000 replicas of all modes for a long time, through
// reloads, outages of targets and of channels, and visitors, and holds its
// memory and goroutines at the end against those early on.
func (b *bench) soak() error {
	const replicas, cycle = 2000, 20 * time.Second
	cycles := max(int(b.soaks/cycle), 3)
	early := min(6, cycles/3)
	early += (cycles - early) % allFaults // after the same kind of cycle as the last
	farm, err := start("farm", nil)
	if err != nil {
		return err
	}
	defer farm.stop()
	o := &world{}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	go http.Serve(ln, o)
	config := func(turn int) string { return soakConfig(turn, ln.Addr().String(), farm.ready.HTTP, farm.ready.TCP) }
	var around sync.WaitGroup
	defer around.Wait()
	p, err := b.lay(config(0))
	if err != nil {
		return err
	}
	// It begins with as many outages as are kept, so that no more are gathered.
	if err := p.writePast(10, 9, 13, time.Now()); err != nil {
		return err
	}
	if err := p.start(); err != nil {
		return err
	}
	defer p.stop() // and what is around it

	busy := make(chan error, 3)
	length := time.Duration(cycles) * cycle
	use := func(l load) {
		around.Go(func() {
			if _, err := l.run(p.address, length+5*time.Second, 0); err != nil {
				busy <- err
			}
		})
	}
	use(load{conns: 2, request: soakReport, every: 10 * time.Second / 580})
	routes := []string{"/", "/status/report", "/feed.atom", "/history", "/status/text", "/badge/icon", "/status/history"}
	use(load{conns: 20, request: func(n int) []byte { return getRequest(routes[n%len(routes)], "Accept-Encoding: gzip")(0) }, pause: 200 * time.Millisecond})
	if err := p.settled(replicas, 30*time.Second); err != nil {
		return err
	}

	var first, last vitals
	begin := time.Now()
	for i := range cycles {
		at := begin.Add(time.Duration(i) * cycle)
		for _, step := range []struct {
			after time.Duration
			do    func() error
		}{
			{0, func() error {
				if err := p.configure(config(i)); err != nil {
					return err
				}
				return p.cmd.Process.Signal(syscall.SIGHUP)
			}},
			{2 * time.Second, func() error { o.fault.Store(int32(i % allFaults)); o.dead.Store(int32(1 + i%10)); return nil }},
			{9 * time.Second, func() error { o.fault.Store(0); return nil }},
			{10 * time.Second, func() error { o.dead.Store(0); return nil }},
			{17 * time.Second, func() (err error) {
				if i+1 != early && i+1 != cycles {
					return nil
				}
				if last, err = p.vitals(); i+1 == early {
					first = last
				}
				return err
			}},
			{cycle, func() error { return nil }},
		} {
			select {
			case err := <-busy:
				return err
			case <-time.After(time.Until(at.Add(step.after))):
			}
			if err := step.do(); err != nil {
				return err
			}
		}
	}
	all, err := p.metrics()
	if err != nil {
		return err
	}
	const name = "vigil_config_reloads_total"
	if panics, good, refused, told := total(all, "vigil_panics_total"), total(all, name, "good"), total(all, name, "refused"), o.told.Load(); panics > 0 || good < float64(cycles) || refused > 0 || told < int64(cycles) {
		return fmt.Errorf("%v panics, %v reloads, %v refused, %d messages", panics, good, refused, told)
	}
	most := atMost(1.1)
	if b.short {
		most = atMost(1.25).exactly() // what is cached is not all there so early
	}
	b.add(row{measure: "soak", what: fmt.Sprintf("%v of 2,000 replicas, reloads, outages, visitors: heap", length), figure: fmt.Sprintf("%.1f MiB", last.heap),
		limit: fmt.Sprintf("%.1f MiB after %v", first.heap, time.Duration(early)*cycle), got: last.heap / first.heap, ratio: true, wanted: most})
	b.add(row{measure: "soak", what: "... goroutines", figure: fmt.Sprintf("%.0f", last.goroutines), limit: fmt.Sprintf("%.0f", first.goroutines), got: last.goroutines / first.goroutines, ratio: true, wanted: most})
	b.add(row{measure: "soak", what: "... resident memory, messages", figure: fmt.Sprintf("%.0f MiB, %d", last.resident, o.told.Load()), limit: fmt.Sprintf("%.0f MiB", first.resident), wanted: informal})
	return nil
}
