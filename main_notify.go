package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"vigil/notify"
)

const notifyUsage = `usage: vigil notify [-c config.cfg] [-to slack] [-status dead]

Sends one message through each channel of the config, all at the same time, and
prints for each whether the service accepted it or why not. The messages are
marked as tests. Channels with reminders_only get one, too. Nothing is retried,
and a running Vigil takes no notice.

  -c, --config file   the config; default: ./config.cfg
  -to id              only this channel or recipient, like slack or pushover#2
  -status status      what the messages report: healthy (default), sick or dead

examples:

  vigil notify -c /etc/vigil/config.cfg
  vigil notify -to slack -status dead

Exit status: 0 if every message was accepted, 1 if one was not or the config
has an error, 2 for wrong usage.
`

// runNotify is "vigil notify".
func runNotify(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil notify", flag.ContinueOnError)
	path := configFlag(fs)
	var to string
	fs.StringVar(&to, "to", "", "")
	fs.StringVar(&to, "channel", "", "") // as in version 1
	word := fs.String("status", string(notify.Healthy), "")
	if code, ok := parseFlags(fs, notifyUsage, args, stdout, stderr); !ok {
		return code
	}
	status := notify.Status(*word)
	if !slices.Contains([]notify.Status{notify.Healthy, notify.Sick, notify.Dead}, status) {
		fmt.Fprintf(stderr, "vigil notify: -status %q: want healthy, sick or dead\n", *word)
		return exitUsage
	}
	conf, _, err := loadConfig(context.Background(), *path, os.LookupEnv)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitError
	}

	targets := conf.Notify.Targets(version)
	if len(targets) == 0 {
		fmt.Fprintf(stderr, "vigil notify: %s configures no channel: it needs a table like [notify.slack]\n", configName(conf))
		return exitError
	}
	if to != "" {
		var names []string
		var chosen []notify.Target
		for _, t := range targets {
			names = append(names, t.Name)
			if t.Channel == to || t.Name == to {
				chosen = append(chosen, t)
			}
		}
		if targets = chosen; len(targets) == 0 {
			fmt.Fprintf(stderr, "vigil notify: -to %q: %s configures %s\n", to, configName(conf), strings.Join(names, ", "))
			return exitUsage
		}
	}
	if !sendTest(ctx, targets, testAlert(status, conf.Notify.Page, time.Now()), stdout) {
		return exitError
	}
	return exitOK
}

// configName is how messages call the file that a config came from.
func configName(c *Config) string {
	if c.Path == "" {
		return "the built-in sample config"
	}
	return c.Path
}

// testAlert is an alert that nobody can take for a real one.
func testAlert(status notify.Status, page notify.Page, now time.Time) notify.Alert {
	a := notify.Alert{
		ID:     rand.Text(),
		Kind:   notify.Changed,
		Status: status,
		Time:   now,
		Page:   page,
		Test:   true,
	}
	if status != notify.Healthy {
		a.Outages = []notify.Outage{{
			ID: a.ID, Service: "vigil", Node: "notify", ServiceLabel: "Vigil", NodeLabel: "Test",
			Status: status, Since: now, New: true, Instances: 1,
			Replicas: []notify.Replica{{Path: "vigil:notify:test", Reason: "only a test"}},
		}}
	}
	return a
}

// sendTest delivers the alert to all targets at once, prints what became of it
// in their order and reports whether all accepted it.
func sendTest(ctx context.Context, targets []notify.Target, a notify.Alert, stdout io.Writer) bool {
	results := make([]chan error, len(targets))
	for i, t := range targets {
		results[i] = make(chan error, 1)
		go func() { results[i] <- t.Deliver(ctx, a) }()
	}
	all := true
	for i, t := range targets {
		if err := <-results[i]; err != nil {
			all = false
			fmt.Fprintf(stdout, "%s: %v\n", t.Name, err)
			continue
		}
		fmt.Fprintf(stdout, "%s: accepted\n", t.Name)
	}
	return all
}
