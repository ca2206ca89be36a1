package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// push measures 100,000 push replicas that report every 30 s: whether a report
// is lost or a replica dies, and what it takes.
func (b *bench) push() error {
	const replicas, interval = 100_000, 30 * time.Second
	// A replica is dead soon after the second report that is missing.
	p, err := b.run("push_delay_dead = 10\n" + nodes(10, 1, 0, "push", nil))
	if err != nil {
		return err
	}
	defer p.stop()
	l := load{conns: 64, request: reportsEvery(interval, replicas, 0.2, func(n int) string { return fmt.Sprintf("/reporter/s%d/n0/", n%10) })}
	begin := time.Now()
	if _, err := l.run(p.address, 0, replicas); err != nil {
		return err
	}
	first := time.Since(begin)

	l.every = interval / replicas
	reports := b.count(7, 3) * replicas / 3
	before, err := p.cpu()
	if err != nil {
		return err
	}
	begin = time.Now()
	if _, err := l.run(p.address, 0, reports); err != nil {
		return err
	}
	took := time.Since(begin)
	after, err := p.cpu()
	if err != nil {
		return err
	}
	most, err := p.memory("VmHWM")
	if err != nil {
		return err
	}
	if err := p.settled(replicas, 20*time.Second); err != nil {
		return err
	}
	all, err := p.metrics()
	if err != nil {
		return err
	}
	lost := float64(replicas+reports) - total(all, "vigil_reports_total", `code="200"`)
	ill := replicas - total(all, "vigil_replicas", "healthy")
	b.add(row{measure: "push", what: "100,000 push replicas every 30 s: reports lost, replicas dead", figure: fmt.Sprintf("%.0f of %d, %.0f", lost, replicas+reports, ill), got: lost + ill, wanted: atMost(0).but(replicas / 1000)})
	b.add(row{measure: "push", what: "... memory, at most", figure: fmt.Sprintf("%.0f MiB", most), got: most, wanted: atMost(150)})
	stored, err := p.stored()
	if err != nil {
		return err
	}
	b.add(row{measure: "push", what: "... storage folder", figure: fmt.Sprintf("%.0f MiB, %.0f bytes a replica", stored/(1<<20), stored/replicas), wanted: informal})
	b.add(row{measure: "push", what: "... processor, of one core", figure: fmt.Sprintf("%.0f %%, %.0f us a report", 100*(after-before)/took.Seconds(), 1e6*(after-before)/float64(reports)), wanted: informal})
	b.add(row{measure: "push", what: "... their first reports, as fast as can be", figure: perSecond(replicas / first.Seconds()), wanted: informal})
	return nil
}

// memory measures what one replica more takes of the heap, by the difference
// between many and few.
func (b *bench) memory() error {
	const few, many = 2000, 22_000
	p, err := b.run(nodes(10, 1, 0, "push", nil))
	if err != nil {
		return err
	}
	defer p.stop()
	l := load{conns: 16, request: reportRequests(many, 0.2, func(n int) string { return fmt.Sprintf("/reporter/s%d/n0/", n%10) })}
	var heap [2]float64
	for i, n := range [...]int{few, many} {
		if _, err := l.run(p.address, 0, n); err != nil {
			return err
		}
		if heap[i], err = p.settledHeap(n); err != nil {
			return err
		}
	}
	each := (heap[1] - heap[0]) / (many - few) / 1024
	b.add(row{measure: "memory", what: "memory of a push replica", figure: fmt.Sprintf("%.2f KiB", each), got: each, wanted: atMost(1)})

	farm, err := start("farm", nil)
	if err != nil {
		return err
	}
	defer farm.stop()
	for i, n := range [...]int{few, many} {
		if heap[i], err = b.pollHeap(n, farm.ready.HTTP); err != nil {
			return err
		}
	}
	each = (heap[1] - heap[0]) / (many - few) / 1024
	b.add(row{measure: "memory", what: "memory of a poll replica", figure: fmt.Sprintf("%.2f KiB", each), got: each, wanted: atMost(2)})
	return nil
}

// pollHeap returns the heap of a program with so many HTTP replicas.
func (b *bench) pollHeap(replicas int, port string) (float64, error) {
	p, err := b.run("poll_interval = 300\npoll_parallelism = 64\n" +
		nodes(100, 1, replicas/100, "poll", func(n int) string { return fmt.Sprintf("http://%s:%s/%d", host(n), port, n) }))
	if err != nil {
		return 0, err
	}
	defer p.stop()
	return p.settledHeap(replicas)
}

// settledHeap is the heap when all replicas are known and shown.
func (p *program) settledHeap(replicas int) (float64, error) {
	if err := p.settled(replicas, time.Minute); err != nil {
		return 0, err
	}
	time.Sleep(2 * time.Second) // the last rendering, connections that close
	return p.heap()
}

// growth measures, by the benchmarks of the parts, whether costs follow what
// changes and not what exists.
func (b *bench) growth() error {
	took := "1s"
	if b.short {
		took = "0.2s"
	}
	out, err := exec.Command("go", "test", "-run", "^$", "-bench", "^Benchmark(Growth|Latency|Snapshot|Ledger)$/^(result|own|1-of-1000|1-of-100000|100000-of-100000)$", "-benchtime", took, "-benchmem", "vigil").Output()
	if err != nil {
		return fmt.Errorf("go test: %w: %s", err, out)
	}
	all := benchmarks(out)
	few, many := all["Growth/result cpu-ns/result-of-1000"], all["Growth/result cpu-ns/result-of-100000"]
	b.add(row{measure: "growth", what: "a result, 100,000 replicas beside 1,000", figure: fmt.Sprintf("%.0f ns", many), limit: fmt.Sprintf("%.0f ns", few), got: many / few, ratio: true, wanted: atMost(1.3)})
	with, without := all["Latency/result cpu-ns/with"], all["Latency/result cpu-ns/without"]
	b.add(row{measure: "growth", what: "a result with a latency beside one without", figure: fmt.Sprintf("%.0f ns", with), limit: fmt.Sprintf("%.0f ns", without), got: with / without, ratio: true, wanted: atMost(1.3)})
	own, one := all["Growth/own cpu-ns/own-of-10000"], all["Growth/result cpu-ns/result-of-10000"]
	b.add(row{measure: "growth", what: "... 10,000 with intervals of their own beside one for all", figure: fmt.Sprintf("%.0f ns", own), limit: fmt.Sprintf("%.0f ns", one), got: own / one, ratio: true, wanted: atMost(1.1)})
	one, whole := all["Snapshot/1-of-100000 ns/op"], all["Snapshot/100000-of-100000 ns/op"]
	b.add(row{measure: "growth", what: "a snapshot, 1 of 100,000 changed beside all", figure: fmt.Sprintf("%.0f us", one/1000), limit: fmt.Sprintf("%.0f us", whole/1000), got: one / whole, ratio: true, wanted: atMost(0.01)})
	few, many = all["Ledger/1-of-1000 B/op"], all["Ledger/1-of-100000 B/op"]
	b.add(row{measure: "growth", what: "a batch of the journal, 1 of 100,000 reports beside 1 of 1,000", figure: fmt.Sprintf("%.0f B", many), limit: fmt.Sprintf("%.0f B", few), got: many / few, ratio: true, wanted: atMost(1.3)})
	return nil
}

// benchmarks reads what go test -bench prints: figures by the benchmark's name,
// without its beginning and the number of cores, and the unit.
func benchmarks(out []byte) map[string]float64 {
	all := make(map[string]float64)
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i]
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				all[name+" "+fields[i+1]] = v
			}
		}
	}
	return all
}
