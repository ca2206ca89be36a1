package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const probeUsage = `usage: vigil probe [-c config.cfg] [-json] URL
       vigil probe [flags] SELECTOR

Checks a target once, now, and prints everything about the answer: the addresses
and which one was used, how long lookup, connection, TLS and first byte took,
status and important headers, the certificates and when they expire, what
matched, and the verdict with the rule that decided it. A URL needs no running
Vigil. With a selector, the running Vigil checks all poll and script replicas of
these nodes, and uses the results.

  -c, --config file   for a URL: judge the answer by [metrics] of this config,
                      and by the keys of the node that has the URL as a replica,
                      if any, instead of the defaults. For a selector: the
                      config of the running Vigil; default: ./config.cfg
  -url url            ask the Vigil at this address instead, with the token in
                      VIGIL_MANAGER_TOKEN
  -json               print JSON

The URL is one that a config may have in replicas, like https://example.com/,
tcp://host:port or icmp://host. A selector is a service, a node as service:node,
or * for all.

examples:

  vigil probe https://status.example.com/
  vigil probe -c /etc/vigil/config.cfg -json tcp://db.example.com:5432
  vigil probe web:core

Exit status: 0 if nothing is dead, 1 if something is or cannot be checked, 2 for
wrong usage.
`

// probeAnswerTime is how long the running Vigil may take to check nodes and
// answer.
const probeAnswerTime = 40 * time.Second

// runProbe is "vigil probe".
func runProbe(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil probe", flag.ContinueOnError)
	flags := addClientFlags(fs)
	rest, code, ok := parseArgs(fs, probeUsage, args, stdout, stderr)
	if !ok {
		return code
	}
	if len(rest) != 1 {
		return wrongUsage(fs, stderr, fmt.Errorf("want one URL or selector, got %d arguments", len(rest)))
	}
	ctx, stop := notifyStop(ctx)
	defer stop()
	var fine bool
	var err error
	if strings.Contains(rest[0], "://") {
		target, fault := parseTarget(rest[0])
		if fault != nil {
			return wrongUsage(fs, stderr, fmt.Errorf("URL %q %w; allowed: %s", withoutUser(rest[0]), fault, targetForms))
		}
		fine, err = probeTarget(ctx, flags, target, newPrinter(stdout), stderr)
	} else {
		fine, err = probeNodes(ctx, flags, rest[0], newPrinter(stdout))
	}
	if err != nil {
		if !strings.Contains(rest[0], "://") && strings.ContainsAny(rest[0], "./") {
			err = fmt.Errorf("%w; a URL has a scheme, like https:// or tcp://", err)
		}
		return printError(fs, stderr, err)
	}
	if !fine {
		return exitError
	}
	return exitOK
}

// probeTarget checks a target in this process, prints the result and reports
// whether the target is not dead.
func probeTarget(ctx context.Context, flags *clientFlags, target Target, p *printer, stderr io.Writer) (fine bool, err error) {
	conf, err := probeConfig(ctx, *flags.config)
	if err != nil {
		return false, err
	}
	ch, err := newChecker(conf, slog.New(slog.NewTextHandler(stderr, nil)))
	if err != nil {
		return false, err
	}
	defer ch.close()
	report := ch.trace(ctx, replicaOf(conf, target))
	if ctx.Err() != nil {
		return false, errors.New("stopped before the answer")
	}
	if flags.json {
		err = p.json(report)
	} else {
		report.print(p)
	}
	return report.verdict.status != dead && !report.verdict.inconclusive, err
}

// probeNodes makes the running Vigil check the selected nodes, prints the
// results and reports whether none is dead.
func probeNodes(ctx context.Context, flags *clientFlags, selector string, p *printer) (fine bool, err error) {
	c, err := flags.client()
	if err != nil {
		return false, err
	}
	var answer struct {
		Results []managerResult `json:"results"`
	}
	err = c.callWithin(ctx, probeAnswerTime, http.MethodPost, "check/", map[string]string{"selector": selector}, &answer)
	if err != nil {
		return false, err
	}
	fine = !slices.ContainsFunc(answer.Results, func(r managerResult) bool { return r.Status == "dead" })
	if flags.json {
		return fine, p.json(answer)
	}
	var rows [][]cell
	for _, r := range answer.Results {
		rows = append(rows, []cell{statusCell(r.Status), {text: r.Service + ":" + r.Node}, {text: cmp.Or(r.Label, r.Replica)},
			{text: fmt.Sprintf("%.1f ms", r.Latency)}, {text: r.Reason}})
	}
	p.columns(rows)
	return fine, nil
}

// probeConfig loads the config at path, or one with the defaults only.
func probeConfig(ctx context.Context, path string) (conf *Config, err error) {
	if path != "" {
		conf, _, err = loadConfig(ctx, path, os.LookupEnv)
		return conf, err
	}
	const defaults = "[branding]\npage_url = \"http://localhost/\"\n"
	conf, _, err = parseConfig(strings.NewReader(defaults), "defaults", os.LookupEnv)
	if err == nil {
		conf.Branding.PageURL = "" // no Vigil to ask there
	}
	return conf, err
}

// replicaOf returns the replica that has the target, or one of a node without
// keys of its own.
func replicaOf(conf *Config, target Target) *replica {
	for _, r := range replicas(conf.Services) {
		if r.node.Mode == modePoll && r.target().Raw == target.Raw {
			return r
		}
	}
	node := &Node{Mode: modePoll, Targets: []Target{target}, Metrics: &conf.Metrics}
	return &replica{service: new(Service), node: node, id: target.Raw}
}

// A checker makes single checks as a running Vigil would.
type checker struct {
	conf     *Config
	poller   *poller
	pinger   *pinger
	scripter *scripter
}

func newChecker(conf *Config, log *slog.Logger) (*checker, error) {
	pinger := newPinger(log)
	poller, err := newPoller(conf.Metrics, conf.Branding.PageURL, pinger)
	if err != nil {
		return nil, err
	}
	return &checker{conf, poller, pinger, newScripter(conf.Metrics.ScriptInterval, log)}, nil
}

func (c *checker) close() { c.pinger.close() }

// check makes one check of a replica of either mode.
func (c *checker) check(ctx context.Context, r *replica) verdict {
	if r.node.Mode == modeScript {
		return c.scripter.check(ctx, r)
	}
	return c.poller.check(ctx, r)
}

// A probeReport is everything that one check found out.
type probeReport struct {
	Target  string  `json:"target"`
	Node    string  `json:"node,omitempty"` // as service:node, if a config has it
	Status  string  `json:"status"`
	Reason  string  `json:"reason,omitempty"`
	Rule    string  `json:"rule"` // what made the verdict
	Latency float64 `json:"latency_ms"`
	*trace

	verdict verdict
}

// trace makes one check and records it.
func (c *checker) trace(ctx context.Context, r *replica) probeReport {
	t := new(trace)
	v := c.check(withTrace(ctx, t), r)
	report := probeReport{
		Target:  r.id,
		Status:  v.status.String(),
		Reason:  v.reason,
		Rule:    ruleOf(v, r),
		Latency: float64(v.latency.Round(100*time.Microsecond)) / float64(time.Millisecond),
		trace:   t,
		verdict: v,
	}
	if r.node.ID != "" {
		report.Node = r.service.ID + ":" + r.node.ID
	}
	return report
}

// ruleOf names the key of the config, with its value, that decided the verdict.
func ruleOf(v verdict, r *replica) string {
	m := r.node.Metrics
	has := func(prefixes ...string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.Contains(v.reason, p) })
	}
	statuses := fmt.Sprintf("poll_http_status_healthy_above = %d, poll_http_status_healthy_below = %d", m.HTTPHealthyAbove, m.HTTPHealthyBelow)
	switch {
	case v.inconclusive:
		return "a check that this machine could not make says nothing of the target"
	case v.status == healthy:
		rule := "answered within poll_delay_sick = " + seconds(m.PollDelaySick)
		if scheme := r.target().Scheme; scheme == "http" || scheme == "https" {
			rule += ", " + statuses
		}
		return rule
	case has("slow: "):
		return "poll_delay_sick = " + seconds(m.PollDelaySick)
	case strings.HasPrefix(v.reason, "HTTP "):
		return statuses
	case has("no answer in "):
		return "poll_delay_dead = " + seconds(m.PollDelayDead) + ", and 1 s at most for icmp"
	case has("body did not match"):
		return "http_body_healthy_match"
	case strings.HasPrefix(v.reason, "header "):
		return "http_header_healthy_match"
	case has("JSON"):
		return "http_json_healthy_match"
	case strings.HasPrefix(v.reason, "no record matches"):
		return "dns_match"
	case has(" ends in ", " ended "):
		return "tls_expiry_sick_below, tls_expiry_dead_below"
	case strings.HasPrefix(v.reason, "certificate"):
		return "tls_verify"
	}
	return "a target that gives no good answer is dead"
}

// print prints the report for people.
func (r *probeReport) print(p *printer) {
	ms := func(x float64) string { return fmt.Sprintf("%.1f ms", x) }
	rows := [][]cell{plain("target", r.Target)}
	add := func(texts ...string) { rows = append(rows, plain(texts...)) }
	if r.Node != "" {
		add("node", r.Node)
	}
	if l := r.Lookup; l != nil {
		add("name", l.Name+": "+cmp.Or(l.Error, strings.Join(l.Addresses, ", ")), ms(l.Millis))
	}
	for i, c := range r.Connects {
		label, text := "connect", c.Address
		if i > 0 {
			label = ""
		}
		switch {
		case c.Error != "":
			text += ": " + c.Error
		case c.Used:
			text += ": connected"
		default:
			text += ": not waited for"
		}
		add(label, text, ms(c.Millis))
	}
	for i, e := range r.Echoes {
		label := "echo"
		if i > 0 {
			label = ""
		}
		add(label, e.Address+": "+cmp.Or(e.Error, "answered"), ms(e.Millis))
	}
	if h := r.TLS; h != nil {
		text := cmp.Or(h.Error, h.Version)
		if h.Protocol != "" {
			text += ", " + h.Protocol
		}
		add("TLS", text, ms(h.Millis))
		for _, c := range h.Certificates {
			left := fmt.Sprintf("%d days left, until %s", c.DaysLeft, c.NotAfter.UTC().Format(time.DateOnly))
			if c.DaysLeft < 0 {
				left = fmt.Sprintf("expired %d days ago, on %s", -c.DaysLeft, c.NotAfter.UTC().Format(time.DateOnly))
			}
			add("", fmt.Sprintf("certificate of %s by %s: %s", c.Name, c.Issuer, left))
		}
	}
	for _, a := range r.Answers {
		add("request", a.Request)
		add("answer", fmt.Sprintf("%s %d", a.Protocol, a.Status), ms(a.FirstByte)+" to the first byte")
		for _, name := range traceHeaders {
			if value := a.Header[name]; value != "" {
				add("", name+": "+value)
			}
		}
	}
	for _, a := range r.DNS {
		text := a.Code
		if a.Truncated {
			text += ", truncated"
		}
		add("answer", text+", over "+strings.ToUpper(a.Network)+" by "+a.Server)
		for _, record := range a.Records {
			add("", "record: "+record)
		}
	}
	for _, m := range r.Matches {
		text := "matched"
		if !m.Matched {
			text = "did not match"
		}
		add("match", m.Key+" = "+m.Pattern, text)
	}
	status := statusCell(r.Status)
	if r.Reason != "" {
		status.text += ": " + r.Reason
	}
	rows = append(rows, []cell{{text: "verdict"}, status, {text: ms(r.Latency)}})
	add("rule", r.Rule)
	p.columns(wideRows(rows))
}

// wideRows keeps the second column from being as wide as its longest field: a
// long text without anything behind it does not move the third column.
func wideRows(rows [][]cell) [][]cell {
	const most = 60
	for i, row := range rows {
		if len(row) > 2 && len(row[1].text) > most {
			rows[i] = append(row[:1:1], cell{row[1].text + "  " + row[2].text, row[1].colour})
		}
	}
	return rows
}

// checkAll checks every poll and script replica of a config once and prints a
// row for each. The error counts those that are dead. Progress goes to stderr
// when that is a terminal.
func checkAll(ctx context.Context, conf *Config, stdout, stderr io.Writer) error {
	const width = 16
	log := slog.New(slog.NewTextHandler(stderr, nil))
	ch, err := newChecker(conf, log)
	if err != nil {
		return err
	}
	defer ch.close()
	all := replicas(conf.Services)
	verdicts := make([]verdict, len(all))
	slots := make(chan struct{}, width)
	done := make(chan struct{}, len(all))
	var checks sync.WaitGroup
	for i, r := range all {
		checks.Go(func() {
			select {
			case slots <- struct{}{}:
				verdicts[i] = ch.check(ctx, r)
				<-slots
			case <-ctx.Done():
			}
			done <- struct{}{}
		})
	}
	progress := isTerminal(stderr)
	for n := range all {
		if progress {
			fmt.Fprintf(stderr, "\rchecked %d of %d", n, len(all))
		}
		<-done
	}
	if progress {
		fmt.Fprint(stderr, "\r\x1b[K")
	}
	checks.Wait()
	if ctx.Err() != nil {
		return errors.New("stopped before all was checked")
	}

	bad := 0
	var rows [][]cell
	for i, r := range all {
		v := verdicts[i]
		status := v.status.String()
		if v.inconclusive {
			status = "unknown"
		}
		if v.status == dead || v.inconclusive {
			bad++
		}
		rows = append(rows, []cell{statusCell(status), {text: r.service.ID + ":" + r.node.ID}, {text: r.id},
			{text: seconds(v.latency)}, {text: v.reason}})
	}
	newPrinter(stdout).columns(rows)
	if bad > 0 {
		return fmt.Errorf("of %s, %s dead or cannot be checked", plural(len(all), "replica"), areCount(bad))
	}
	return nil
}

// areCount writes "1 is" or "2 are".
func areCount(n int) string {
	if n == 1 {
		return "1 is"
	}
	return thousands(n) + " are"
}
