package main

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// hostile measures what clients can do that request the largest answers of a
// page with 10,000 replicas, whose statuses change all the time, and never read
// them.
func (b *bench) hostile() error {
	const replicas, readers = 10_000, 300
	f, address, err := newFlaps()
	if err != nil {
		return err
	}
	p, err := b.run(flapConfig(address, "t") + nodes(100, 1, 0, "push", nil) + `
[[probe.service]]
id = "polled"
label = "Polled"
[[probe.service.node]]
id = "flap"
label = "Flap"
mode = "poll"
replicas = ["http://` + address + `/t"]
`)
	if err != nil {
		return err
	}
	defer p.stop()
	report := func(cpu float64, count int) error {
		l := load{conns: 4, request: reportRequests(replicas, cpu, func(n int) string { return fmt.Sprintf("/reporter/s%d/n0/", n%100) })}
		_, err := l.run(p.address, 0, count)
		return err
	}
	if err := report(0.1, replicas); err != nil {
		return err
	}
	if err := p.settled(replicas+1, 20*time.Second); err != nil {
		return err
	}
	before, err := p.memory("VmRSS")
	if err != nil {
		return err
	}

	end := time.Now().Add(b.length(20*time.Second, 8*time.Second))
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_report"}}`
	requests := [][]byte{
		getRequest("/status/report")(0), getRequest("/status/history")(0), getRequest("/")(0), getRequest("/feed.atom")(0),
		mcpRequest(call), mcpRequest("[" + strings.Repeat(call+",", 31) + call + "]"),
	}
	var all sync.WaitGroup
	for i := range readers {
		all.Go(func() { ignoreAnswers(p.address, requests[i%len(requests)], end) })
	}
	busy := make(chan error, 2)
	go func() { // each snapshot is another one
		for i := 1; time.Now().Before(end); i++ {
			if err := report(0.1+0.85*float64(i%2), replicas/10); err != nil {
				busy <- err
				return
			}
			time.Sleep(500 * time.Millisecond)
		}
		busy <- nil
	}()
	var took, times []float64
	go func() {
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
	visitor := load{conns: 2, request: getRequest("/status/text"), pause: 20 * time.Millisecond}
	var mu sync.Mutex
	visitor.took = func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		times = append(times, 1000*d.Seconds())
	}
	if _, err := visitor.run(p.address, time.Until(end), 0); err != nil {
		return err
	}
	for range cap(busy) {
		if err := <-busy; err != nil {
			return err
		}
	}
	all.Wait()
	most, err := p.memory("VmHWM")
	if err != nil {
		return err
	}
	b.add(row{measure: "hostile", what: "300 clients that do not read, 10,000 replicas: memory, at most", figure: fmt.Sprintf("%.0f MiB", most),
		limit: fmt.Sprintf("%.0f MiB before", before), got: most, wanted: atMost(150)})
	b.add(row{measure: "hostile", what: "... /status/text meanwhile: p50", figure: fmt.Sprintf("%.1f ms", median(times)), got: median(times), wanted: atMost(50)})
	worst := quantile(took, 1)
	b.add(row{measure: "hostile", what: fmt.Sprintf("... worst of %d alerts meanwhile", len(took)), figure: fmt.Sprintf("%.3f s", worst), got: worst, wanted: atMost(1.5).but(5)})
	return nil
}

func mcpRequest(body string) []byte {
	return fmt.Appendf(nil, "POST /mcp/probes HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// ignoreAnswers sends a request many times over one connection, reads nothing,
// and comes back when it is cut off.
func ignoreAnswers(address string, request []byte, end time.Time) {
	for time.Now().Before(end) {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		c.(*net.TCPConn).SetReadBuffer(4 << 10)
		c.SetDeadline(end)
		for err == nil {
			if _, err = c.Write(request); err == nil {
				time.Sleep(10 * time.Millisecond)
			}
		}
		c.Close()
		time.Sleep(100 * time.Millisecond)
	}
}
