package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const logUsage = `usage: vigil log [-since 24h] [flags] [SELECTOR...]

Prints what changed and who was alerted, oldest first: nodes that went down or
came back with the reason, alerts by channel and when each was accepted,
reloads, and calls of the Manager API.

  -since time         how long ago to begin, like 90m or 7d, or when, like 22:00
                      or 2026-11-26T22:00:00Z (default: 24h)
` + clientHelp + `
With -json, each event is a line. A selector is a service, a node as
service:node, or * for all.

examples:

  vigil log
  vigil log -since 7d web db:primary

Exit status: 0 if the log was printed, 1 if not, 2 for wrong usage.
`

// runLog is "vigil log".
func runLog(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil log", flag.ContinueOnError)
	since := fs.String("since", "24h", "")
	c := newClientCommand(fs, logUsage, stdout, stderr)
	var begin time.Time
	check := func() (err error) {
		if begin, err = parseSince(*since, time.Now()); err != nil {
			return fmt.Errorf("-since %q: %w", *since, err)
		}
		return nil
	}
	return c.run(ctx, args, check, func(ctx context.Context) (int, error) {
		query := url.Values{"since": {begin.UTC().Format(time.RFC3339)}}
		if len(c.args) > 0 {
			query["selector"] = c.args
		}
		body, err := c.client.ask(ctx, clientTime, http.MethodGet, "log/?"+query.Encode(), nil)
		if err != nil {
			return exitError, err
		}
		if c.flags.json {
			_, err = stdout.Write(body)
			return exitOK, err
		}
		return exitOK, c.printLog(body)
	})
}

func (c *clientCommand) printLog(body []byte) error {
	var rows [][]cell
	now := time.Now()
	for line := range bytes.Lines(body) {
		var e logEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return errors.New("the log has lines that this program does not understand: update it")
		}
		rows = append(rows, append(plain(localTime(e.Time, now)), e.cells()...))
	}
	if len(rows) == 0 {
		fmt.Fprintln(c.stdout, "Nothing has happened.")
		return nil
	}
	c.out.columns(rows)
	return nil
}

// cells shows an event to people: what it is about, and what happened.
func (e *logEvent) cells() []cell {
	switch e.Kind {
	case "transition":
		status := statusCell(e.To)
		if e.Reason != "" {
			status.text += ": " + e.Reason
		}
		return []cell{{text: e.Service + ":" + e.Node}, status}
	case "alert":
		text := e.Type
		if e.Status != "" {
			text += ", the page is " + e.Status
		}
		if len(e.Nodes) > 0 {
			text += ": " + strings.Join(e.Nodes, ", ")
		}
		return plain("alert to "+cmp.Or(e.Channel, "all channels"), text)
	case "delivery":
		text := e.Result + " by " + e.Target
		if e.Reason != "" {
			text += ": " + e.Reason
		}
		return plain("alert to "+e.Channel, text)
	case "reload":
		return plain("reload", strings.TrimSuffix(e.Result+": "+cmp.Or(e.Reason, e.Text), ": "))
	}
	return plain(e.Kind, e.Text)
}
