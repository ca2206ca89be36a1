package main

import (
	"cmp"
	"context"
	"io"
	"strings"
	"time"

	"vigil/notify"
)

// A LocalConfig is the checked configuration of an agent, in the format of
// Vigil Local. Like a Config it is never changed once it is built.
type LocalConfig struct {
	LogLevel string
	Endpoint string // URL of the master's page, without a slash at its end
	Token    notify.Secret
	Interval time.Duration // between two checks of a replica, and two reports
	Metrics  Metrics       // of the checks; both intervals are Interval
	Services []*Service    // their nodes are poll and script nodes
}

// loadLocal reads the config file of an agent at path, or else config.cfg in
// the working directory. What it returns is like that of loadConfig.
func loadLocal(ctx context.Context, path string, getenv func(string) (string, bool)) (*LocalConfig, []problem, error) {
	l, err := interruptible(ctx, func() (configRead[*LocalConfig], error) {
		name := cmp.Or(path, defaultConfig)
		text, err := readFile(name, maxConfig)
		if err != nil {
			return configRead[*LocalConfig]{}, unreadable(name, err)
		}
		conf, warnings, err := parseLocal(strings.NewReader(string(text)), name, getenv)
		return configRead[*LocalConfig]{conf, warnings}, err
	})
	return l.conf, l.warnings, err
}

// parseLocal reads an agent's config file and checks all of it. The name begins
// each problem.
func parseLocal(r io.Reader, name string, getenv func(string) (string, bool)) (*LocalConfig, []problem, error) {
	doc, err := readDocument(r, name, getenv)
	if err != nil {
		return nil, nil, unreadable(name, err)
	}
	c := &LocalConfig{}
	if doc.root != nil {
		c.read(doc.root)
	}
	if err := joinProblems(doc.faults); err != nil {
		return nil, doc.sortedWarnings(), err
	}
	return c, doc.sortedWarnings(), nil
}

func (c *LocalConfig) read(t *table) {
	server := t.table("server")
	c.LogLevel = server.choice("log_level", "error", logLevels)
	server.rest()

	report := t.table("report")
	c.Endpoint = report.master("endpoint")
	c.Token = report.headerSecret("token")
	report.rest()

	metrics := t.table("metrics")
	c.Interval = metrics.seconds("interval", 2*time.Minute, 1)
	c.Metrics = Metrics{
		PollInterval: c.Interval, ScriptInterval: c.Interval, RetryCount: 1, RetryWait: 2 * time.Second,
		HTTPHealthyAbove: 200, HTTPHealthyBelow: 400, PollDelayDead: 10 * time.Second, PollDelaySick: time.Second,
	}
	c.Metrics.readChecks(metrics)
	c.Metrics.readParallelism(metrics)
	metrics.rest()

	c.readProbe(t.table("probe"))
	t.rest()
}

// master reads the URL of the page that reports go to.
func (t *table) master(key string) string {
	const like = "https://status.example.com"
	s := t.endpoint(key, like)
	u, err := parseURL(s, "http", "https")
	if err != nil {
		return "" // endpoint noted what is wrong
	}
	if err := checkMaster(u); err != nil {
		t.fault(key, "%v; allowed: an http:// or https:// URL of a page, like %s", err, like)
	}
	return strings.TrimRight(s, "/")
}

// localModes are the modes that a node of an agent can have.
var localModes = []string{modePoll.String(), modeScript.String()}

// readProbe reads [probe]: what is watched. Labels belong to the page and are
// the master's, but may stand in tables that were copied from its config.
func (c *LocalConfig) readProbe(t *table) {
	count := 0
	first := make(map[string]*table)
	for _, sub := range t.tables("service") {
		s := &Service{ID: sub.id("service", "", first)}
		sub.get("label")
		nodes := make(map[string]*table)
		for _, node := range sub.tables("node") {
			n := &Node{ID: node.id("node", " of this service", nodes)}
			node.get("label")
			hasMode := node.checks(n, &c.Metrics, localModes)
			n.ReportPrefix = node.text("report_prefix", "")
			node.restOfNode(n, hasMode)
			s.Nodes = append(s.Nodes, n)
			count += len(n.Targets) + len(n.Scripts)
		}
		sub.rest()
		c.Services = append(c.Services, s)
	}
	if count == 0 && len(t.doc.faults) == 0 {
		t.warn("service", "names no replica to check, so nothing is reported")
	}
	t.rest()
}
