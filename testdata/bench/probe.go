package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

func (b *bench) tcp() error  { return b.probe("tcp") }
func (b *bench) http() error { return b.probe("http") }

// probe measures the processor time of a check in the whole program, which
// has more to do than it can, beside a bare loop of the same checks at the same
// width. One of the two is held while the other runs.
func (b *bench) probe(scheme string) error {
	farm, err := start("farm", nil)
	if err != nil {
		return err
	}
	defer farm.stop()
	port := farm.ready.TCP
	if scheme == "http" {
		port = farm.ready.HTTP
	}
	widths := []int{16, 100}
	if b.short {
		widths = widths[:1]
	}
	for _, width := range widths {
		if err := b.probeAt(scheme, port, width); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) probeAt(scheme, port string, width int) error {
	loop, err := start("loop", loopTask{Scheme: scheme, Port: port, Path: "/", Width: width})
	if err != nil {
		return err
	}
	defer loop.stop()
	p, err := b.run(fmt.Sprintf("poll_interval = 1\npoll_delay_sick = 5\npoll_delay_dead = 10\npoll_parallelism = %d\n", width) +
		nodes(60, 1, 1000, "poll", func(n int) string { return scheme + "://" + host(n) + ":" + port + ifHTTP(scheme, "/") }))
	if err != nil {
		return err
	}
	defer p.stop()
	// In the first round every check finds a new status, which is saved and shown.
	if err := p.settled(60_000, 2*time.Minute); err != nil {
		return err
	}
	const name = "vigil_probe_duration_seconds_count"
	turn := b.length(1500*time.Millisecond, time.Second)
	var ours, bare, ratios []float64
	for i := range b.count(5, 3) + 1 {
		hold(p.cmd.Process, true)
		var done checked
		err := loop.ask(order{Do: "run", Seconds: turn.Seconds()}, &done)
		hold(p.cmd.Process, false)
		if err != nil {
			return fmt.Errorf("loop: %w", err)
		}
		time.Sleep(200 * time.Millisecond)
		before, err := p.metrics()
		if err != nil {
			return err
		}
		cpu, err := p.cpu()
		if err != nil {
			return err
		}
		time.Sleep(turn)
		used, err := p.cpu()
		if err != nil {
			return err
		}
		after, err := p.metrics()
		if err != nil {
			return err
		}
		checks := total(after, name, "poll") - total(before, name, "poll")
		if checks < 100 || total(after, "vigil_replicas", "dead") > 0 {
			return fmt.Errorf("%v checks, %v replicas dead", checks, total(after, "vigil_replicas", "dead"))
		}
		if i == 0 {
			continue // to warm up
		}
		mine, theirs := (used-cpu)/checks*1e6, done.CPU/float64(done.Checks)*1e6
		ours, bare, ratios = append(ours, mine), append(bare, theirs), append(ratios, mine/theirs)
	}
	b.add(row{measure: scheme, what: fmt.Sprintf("processor time of a check, %s, width %d", scheme, width),
		figure: fmt.Sprintf("%.0f us", median(ours)), limit: fmt.Sprintf("%.0f us", median(bare)), got: median(ratios), ratio: true, wanted: atMost(1.25)})
	return nil
}

// steady measures the processor time of a check at 200 checks a second, beside a
// bare loop that starts each at its own time, and what starting them together
// does to the latency of a target that takes a millisecond.
func (b *bench) steady() error {
	for _, t := range []struct{ scheme, path string }{{"tcp", ""}, {"http", "/"}, {"http", "/slow"}} {
		if err := b.steadyAt(t.scheme, t.path); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) steadyAt(scheme, path string) error {
	const rate, interval = 200, 10
	farm, err := start("farm", nil)
	if err != nil {
		return err
	}
	defer farm.stop()
	port := farm.ready.TCP
	if scheme == "http" {
		port = farm.ready.HTTP
	}
	loop, err := start("loop", loopTask{Scheme: scheme, Port: port, Path: path, Apart: time.Second / rate})
	if err != nil {
		return err
	}
	defer loop.stop()
	turn := b.length(20*time.Second, 10*time.Second)
	var bare checked
	if err := loop.ask(order{Do: "run", Seconds: turn.Seconds() / 2}, &bare); err != nil {
		return err
	}
	p, err := b.run(fmt.Sprintf("poll_interval = %d\n", interval) +
		nodes(20, 10, rate*interval/200, "poll", func(n int) string { return scheme + "://" + host(n) + ":" + port + path }))
	if err != nil {
		return err
	}
	defer p.stop()
	time.Sleep(5 * time.Second) // the first round
	const name = "vigil_probe_duration_seconds"
	before, err := p.metrics()
	if err != nil {
		return err
	}
	cpu, err := p.cpu()
	if err != nil {
		return err
	}
	time.Sleep(turn)
	used, err := p.cpu()
	if err != nil {
		return err
	}
	after, err := p.metrics()
	if err != nil {
		return err
	}
	checks := total(after, name+"_count", "poll") - total(before, name+"_count", "poll")
	if checks < 0.9*rate*turn.Seconds() || bare.Checks == 0 {
		return fmt.Errorf("%v checks in %v, %d of the bare loop", checks, turn, bare.Checks)
	}
	if path == "/slow" {
		ours := (total(after, name+"_sum", "poll") - total(before, name+"_sum", "poll")) / checks
		b.add(row{measure: "steady", what: "... latency of a target that takes 1 ms, more than alone", figure: fmt.Sprintf("%.2f ms", ours*1e3),
			limit: fmt.Sprintf("%.2f ms", bare.Latency*1e3), got: (ours - bare.Latency) * 1e3, wanted: atMost(1)})
		return nil
	}
	mine, theirs := (used-cpu)/checks*1e6, bare.CPU/float64(bare.Checks)*1e6
	b.add(row{measure: "steady", what: fmt.Sprintf("processor time of a check, %s, 200 a second", scheme),
		figure: fmt.Sprintf("%.0f us", mine), limit: fmt.Sprintf("%.0f us", theirs), got: mine / theirs, ratio: true, wanted: atMost(0.35)})
	return nil
}

func ifHTTP(scheme, s string) string {
	if scheme == "http" {
		return s
	}
	return ""
}

// scale measures whether 10,000 HTTP replicas keep their turn on two cores.
func (b *bench) scale() error {
	farm, err := start("farm", nil)
	if err != nil {
		return err
	}
	defer farm.stop()
	const replicas, interval = 10_000, 10.0
	p, err := b.run("poll_interval = 10\npoll_parallelism = 64\n"+
		nodes(100, 10, 10, "poll", func(n int) string { return fmt.Sprintf("http://%s:%s/%d", host(n), farm.ready.HTTP, n) }),
		"GOMAXPROCS=2")
	if err != nil {
		return err
	}
	defer p.stop()
	time.Sleep(b.length(54*time.Second, 27*time.Second))
	var g gaps
	if err := farm.ask(order{}, &g); err != nil {
		return err
	}
	all, err := p.metrics()
	if err != nil {
		return err
	}
	cpu, err := p.cpu()
	if err != nil {
		return err
	}
	resident, err := p.memory("VmRSS")
	if err != nil {
		return err
	}
	if g.Targets != replicas || g.Least < 3 || total(all, "vigil_replicas", "healthy") != replicas {
		return fmt.Errorf("%d targets checked, %d times at least; %v healthy", g.Targets, g.Least, total(all, "vigil_replicas", "healthy"))
	}
	overruns := total(all, "vigil_probe_overruns_total", "poll")
	b.add(row{measure: "scale", what: "10,000 HTTP replicas every 10 s: overruns", figure: fmt.Sprintf("%.0f of %d checks", overruns, g.Checks), got: overruns, wanted: atMost(0).but(replicas / 100)})
	b.add(row{measure: "scale", what: "... gap between checks, p99 / interval", figure: fmt.Sprintf("%.2f s (%.2f s at most)", g.P99, g.Max), limit: "10 s", got: g.P99 / interval, ratio: true, wanted: atMost(1.05)})
	b.add(row{measure: "scale", what: "... last first check, processor, memory", figure: fmt.Sprintf("%.1f s, %.0f us a check, %.0f MiB", g.First, cpu/float64(g.Checks)*1e6, resident), wanted: informal})
	return nil
}

// scaleOwn measures what 10,000 nodes take whose intervals are their own, beside
// as many with the same one. Both programs run at the same time.
func (b *bench) scaleOwn() error {
	farm, err := start("farm", nil)
	if err != nil {
		return err
	}
	defer farm.stop()
	config := "poll_interval = 20\npoll_parallelism = 64\n" +
		nodes(1000, 10, 1, "poll", func(n int) string { return fmt.Sprintf("http://%s:%s/%d", host(n), farm.ready.HTTP, n) })
	var programs [2]*program
	var before, cpu, resident [2]float64
	for i, config := range [...]string{config, ownTerms(config)} {
		p, err := b.run(config)
		if err != nil {
			return err
		}
		defer p.stop()
		programs[i] = p
	}
	time.Sleep(8 * time.Second) // the first round
	turn := b.length(40*time.Second, 12*time.Second)
	for i, p := range programs {
		all, err := p.metrics()
		if err != nil {
			return err
		}
		before[i] = total(all, "vigil_probe_duration_seconds_count", "poll")
		if cpu[i], err = p.cpu(); err != nil {
			return err
		}
	}
	time.Sleep(turn)
	for i, p := range programs {
		used, err := p.cpu()
		if err != nil {
			return err
		}
		all, err := p.metrics()
		if err != nil {
			return err
		}
		if resident[i], err = p.memory("VmRSS"); err != nil {
			return err
		}
		checks := total(all, "vigil_probe_duration_seconds_count", "poll") - before[i]
		if checks < 300*turn.Seconds() || total(all, "vigil_replicas", "healthy") != 10_000 {
			return fmt.Errorf("%v checks in %v, %v healthy", checks, turn, total(all, "vigil_replicas", "healthy"))
		}
		cpu[i] = (used - cpu[i]) / checks * 1e6
	}
	b.add(row{measure: "scale", what: "10,000 nodes with intervals of their own beside one for all: a check", figure: fmt.Sprintf("%.0f us", cpu[1]), limit: fmt.Sprintf("%.0f us", cpu[0]), got: cpu[1] / cpu[0], ratio: true, wanted: atMost(1.1)})
	b.add(row{measure: "scale", what: "... memory", figure: fmt.Sprintf("%.0f MiB", resident[1]), limit: fmt.Sprintf("%.0f MiB", resident[0]), got: resident[1] / resident[0], ratio: true, wanted: atMost(1.2)})
	return nil
}

// fair measures whether targets that hang delay the others, also at the default
// parallelism of 4, and whether names that a name server never answers do.
func (b *bench) fair() error {
	var all sync.WaitGroup
	var errs [3]error
	all.Go(func() { errs[0] = b.fairAt(100, 16, "targets") })
	all.Go(func() { errs[1] = b.fairAt(300, 4, "targets") })
	all.Go(func() { errs[2] = b.fairAt(500, 4, "names") })
	all.Wait()
	return errors.Join(errs[:]...)
}

func (b *bench) fairAt(each, width int, hang string) error {
	what := fmt.Sprintf("%d of %d %s hang, width %d: worst gap of the others", each, 2*each, hang, width)
	farm, err := start("farm", nil)
	if err != nil {
		return err
	}
	defer farm.stop()
	const interval = 10.0
	p, err := b.lay(fmt.Sprintf("poll_interval = 10\npoll_delay_dead = 5\npoll_delay_sick = 2\npoll_parallelism = %d\n", width) +
		nodes(each/5, 10, 1, "poll", func(n int) string {
			switch {
			case n%2 == 0:
				return fmt.Sprintf("http://%s:%s/%d", host(n), farm.ready.HTTP, n)
			case hang == "targets":
				return fmt.Sprintf("http://%s:%s/%d", host(n), farm.ready.Hang, n)
			}
			return fmt.Sprintf("http://name-%d.test/", n)
		}))
	if err != nil {
		return err
	}
	if hang == "names" {
		silent, err := p.askSilent()
		if err != nil {
			b.add(row{measure: "fair", what: what, figure: "takes root here: " + err.Error(), wanted: informal})
			return nil
		}
		defer silent.Close()
	}
	if err := p.start(); err != nil {
		return err
	}
	defer p.stop()
	time.Sleep(b.length(74*time.Second, 30*time.Second))
	var g gaps
	if err := farm.ask(order{}, &g); err != nil {
		return err
	}
	all, err := p.metrics()
	if err != nil {
		return err
	}
	healthy, dead := total(all, "vigil_replicas", "healthy"), total(all, "vigil_replicas", "dead")
	if g.Targets != each || g.Least < 3 || healthy != float64(each) || dead != float64(each) {
		return fmt.Errorf("%s: %.1f s; %d targets checked, %d times at least; %v healthy, %v dead", what, g.Max, g.Targets, g.Least, healthy, dead)
	}
	b.add(row{measure: "fair", what: what, figure: fmt.Sprintf("%.2f s", g.Max), limit: "10 s", got: g.Max / interval, ratio: true, wanted: atMost(1.1)})
	return nil
}

// askSilent makes the program, once it is started, ask a name server that never
// answers, which is returned. It is named in a file that only the program sees.
func (p *program) askSilent() (io.Closer, error) {
	const address = "127.53.53.53"
	if err := os.WriteFile(filepath.Join(p.dir, "resolv.conf"), []byte("nameserver "+address+"\n"), 0o644); err != nil {
		return nil, err
	}
	if err := exec.Command("unshare", "--mount", "true").Run(); err != nil {
		return nil, fmt.Errorf("unshare: %w", err)
	}
	p.args = append([]string{"--mount", "sh", "-c", `mount --bind resolv.conf /etc/resolv.conf && exec "$0" "$@"`, p.vigil}, p.args...)
	p.vigil = "unshare"
	return net.ListenPacket("udp", address+":53")
}

// icmp measures whether a reply is lost when thousands are pinged.
func (b *bench) icmp() error {
	const targets = 5000
	p, err := b.run("poll_interval = 10\npoll_parallelism = 64\n" +
		nodes(10, 10, targets/100, "poll", func(n int) string { return fmt.Sprintf("icmp://127.1.%d.%d", n/250, n%250+1) }))
	if err != nil {
		return err
	}
	defer p.stop()
	time.Sleep(b.length(64*time.Second, 24*time.Second))
	all, err := p.metrics()
	if err != nil {
		return err
	}
	const name = "vigil_probe_duration_seconds"
	checks := total(all, name+"_count", "poll")
	lost := checks - total(all, name+"_bucket", "poll", `le="0.5"`) // they take a second
	if dead := total(all, "vigil_replicas", "dead"); dead == targets {
		b.add(row{measure: "icmp", what: "5,000 ICMP targets every 10 s", figure: "may not ping here", wanted: informal})
		return nil
	}
	b.add(row{measure: "icmp", what: "5,000 ICMP targets every 10 s: replies lost", figure: fmt.Sprintf("%.0f of %.0f", lost, checks),
		got: lost + total(all, "vigil_probe_overruns_total", "poll"), wanted: atMost(0).but(checks / 100)})
	return nil
}
