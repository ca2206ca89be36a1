// Bench measures the program as a whole on this machine: it builds it, runs it
// against a farm of targets in a process of its own, and sets each figure
// beside its limit, a bare program of package net or net/http that does the
// same and nothing else, in the same run. All of it stays on loopback.
//
//	go run ./testdata/bench          # all figures, some fifteen minutes
//	go run ./testdata/bench -short   # shorter runs and half of each figure
//	go run ./testdata/bench -run 'page|alert'
//	go run ./testdata/bench -run soak -for 30m
//	go run ./testdata/bench -run peers -peer rust=PATH -peer gatus=PATH
//
// It prints one table and exits with 1 when a figure is missed.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// A bench is one run.
type bench struct {
	short  bool
	soaks  time.Duration
	rivals []rival // to be measured, too
	vigil  string  // the program
	dir    string  // for its folders

	mu   sync.Mutex
	rows []row
}

// A measure takes some figures. Those that run together use little of the
// machine but much time.
type measure struct {
	name     string
	do       func(*bench) error
	together bool
	hurried  bool // it runs with those in a short run
	asked    bool // it takes so long that a full run leaves it out unless it is named
}

var measures = []measure{
	{name: "small", do: (*bench).small},
	{name: "config", do: (*bench).config},
	{name: "start", do: (*bench).begin},
	{name: "log", do: (*bench).log},
	{name: "replay", do: (*bench).replay},
	{name: "page", do: (*bench).page},
	{name: "cached", do: (*bench).cached},
	{name: "render", do: (*bench).render},
	{name: "report", do: (*bench).report},
	{name: "growth", do: (*bench).growth},
	{name: "memory", do: (*bench).memory, hurried: true},
	{name: "tcp", do: (*bench).tcp},
	{name: "http", do: (*bench).http},
	{name: "steady", do: (*bench).steady},
	{name: "scale", do: (*bench).scale},
	{name: "stampede", do: (*bench).stampede},
	{name: "hostile", do: (*bench).hostile},
	{name: "churn", do: (*bench).churn},
	{name: "storm", do: (*bench).storm},
	{name: "scale", do: (*bench).scaleOwn, hurried: true},
	{name: "peers", do: (*bench).peers},
	{name: "push", do: (*bench).push, together: true},
	{name: "fair", do: (*bench).fair, together: true},
	{name: "icmp", do: (*bench).icmp, together: true},
	{name: "alert", do: (*bench).alert, together: true},
	{name: "soak", do: (*bench).soak, together: true, asked: true},
}

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
			os.Exit(1)
		}
		return
	}
	b := &bench{}
	flag.BoolVar(&b.short, "short", false, "shorter runs, and half of each figure is enough")
	run := flag.String("run", "", "only the measures that this expression matches: "+names())
	flag.DurationVar(&b.soaks, "for", 2*time.Minute, "how long the soak takes")
	flag.Var(b, "peer", "another program to measure beside this one: rust=PATH or gatus=PATH")
	flag.Parse()
	only, err := regexp.Compile(*run)
	if err == nil {
		err = b.runAll(only, *run != "")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func names() string {
	var all []string
	for _, m := range measures {
		all = append(all, m.name)
	}
	return strings.Join(all, ", ")
}

// runAll takes the figures, prints them and returns an error when one is
// missed.
func (b *bench) runAll(only *regexp.Regexp, named bool) (err error) {
	if b.dir, err = os.MkdirTemp("", "vigil-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.build(); err != nil {
		return err
	}
	start := time.Now()
	var together sync.WaitGroup
	var last []measure // those that run together
	for _, m := range measures {
		switch {
		case !only.MatchString(m.name) || m.asked && !named && !b.short:
		case m.together || m.hurried && b.short:
			last = append(last, m)
		default:
			b.take(m)
		}
	}
	for _, m := range last {
		together.Go(func() { b.take(m) })
	}
	together.Wait()
	fmt.Fprintf(os.Stderr, "%v\n", time.Since(start).Round(time.Second))

	fmt.Printf("%s, %s, %d cores, %s\n\n", time.Now().Format(time.DateOnly), processor(), runtime.NumCPU(), runtime.Version())
	order := func(r row) int {
		return slices.IndexFunc(measures, func(m measure) bool { return m.name == r.measure })
	}
	slices.SortStableFunc(b.rows, func(x, y row) int { return order(x) - order(y) })
	printTable(os.Stdout, b.rows)
	missed := 0
	for _, r := range b.rows {
		if r.verdict() == missedFigure {
			missed++
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d figures missed", missed)
	}
	return nil
}

// take takes the figures of one measure. One that fails is a missed figure.
func (b *bench) take(m measure) {
	fmt.Fprintf(os.Stderr, "%s...\n", m.name)
	if err := m.do(b); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", m.name, err)
		b.add(row{measure: m.name, what: m.name, figure: "failed: " + err.Error(), wanted: atMost(0), got: 1})
	}
}

func (b *bench) add(r row) {
	r.short = b.short
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rows = append(b.rows, r)
}

// build builds the program as it is released.
func (b *bench) build() error {
	b.vigil = b.dir + "/vigil"
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", b.vigil, "vigil")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// length returns how long a turn takes.
func (b *bench) length(full, short time.Duration) time.Duration {
	if b.short {
		return short
	}
	return full
}

// count returns how many turns are taken.
func (b *bench) count(full, short int) int {
	if b.short {
		return short
	}
	return full
}

// processor returns the name of the machine's processor.
func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
