package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const statusUsage = `usage: vigil status [-all] [flags] [SELECTOR...]

Asks the running Vigil what is down or degraded, why and since when.

  -all                list every node
` + clientHelp + `
A selector is a service, a node as service:node, or * for all.

examples:

  vigil status
  vigil status -all web db:primary

Exit status: 0 if nothing is dead, 3 if something is, 1 if Vigil does not
answer, 2 for wrong usage.
`

// exitDead is the exit code of "vigil status" when something is dead.
const exitDead = 3

// A statusAnswer is the answer to GET /manager/status/.
type statusAnswer struct {
	Status string        `json:"status"`
	At     time.Time     `json:"at"`
	Nodes  []managerNode `json:"nodes"`
}

// runStatus is "vigil status".
func runStatus(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil status", flag.ContinueOnError)
	all := fs.Bool("all", false, "")
	c := newClientCommand(fs, statusUsage, stdout, stderr)
	return c.run(ctx, args, nil, func(ctx context.Context) (int, error) {
		var s statusAnswer
		if err := c.client.call(ctx, http.MethodGet, "status/"+selectorQuery(c.args), nil, &s); err != nil {
			return exitError, err
		}
		code, total := exitOK, len(s.Nodes)
		var dead, sick int
		for _, n := range s.Nodes {
			switch n.Status {
			case "dead":
				dead++
				code = exitDead
			case "sick":
				sick++
			}
		}
		if !*all {
			s.Nodes = slices.DeleteFunc(s.Nodes, func(n managerNode) bool { return n.Status == "healthy" })
		}
		if c.flags.json {
			return code, c.out.json(s)
		}
		switch {
		case total == 0:
			fmt.Fprintln(stdout, "No node is monitored.")
		case dead+sick == 0:
			fmt.Fprintf(stdout, "%s, none is dead or sick.\n", plural(total, "node"))
		default:
			fmt.Fprintf(stdout, "%s, %d dead, %d sick.\n", plural(total, "node"), dead, sick)
		}
		if len(s.Nodes) > 0 {
			fmt.Fprintln(stdout)
			c.out.columns(statusRows(s.Nodes, s.At))
		}
		return code, nil
	})
}

// selectorQuery returns the query that names the selectors, or "".
func selectorQuery(selectors []string) string {
	if len(selectors) == 0 {
		return ""
	}
	return "?" + url.Values{"selector": selectors}.Encode()
}

// remarks returns why nobody is alerted of the node, in brackets.
func (n *managerNode) remarks() string {
	var all []string
	if n.Maintenance != nil {
		all = append(all, "maintenance: "+*n.Maintenance)
	}
	if n.Silence != nil {
		all = append(all, "silence: "+*n.Silence)
	}
	if n.Acknowledged {
		all = append(all, "acknowledged")
	}
	if n.Cause != nil {
		all = append(all, "because of "+*n.Cause)
	}
	if all == nil {
		return ""
	}
	return " (" + strings.Join(all, ", ") + ")"
}

// statusRows returns a row for each node and, where a node has several replicas
// of which some are not well, one for each of those.
func statusRows(nodes []managerNode, now time.Time) [][]cell {
	rows := [][]cell{plain("STATUS", "NODE", "LABEL", "SINCE", "REASON")}
	since := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return localTime(*t, now)
	}
	for _, n := range nodes {
		status := statusCell(n.Status)
		if !n.Checked && n.Status == "healthy" {
			status = cell{text: "unchecked"}
		}
		rows = append(rows, []cell{status, {text: n.Service + ":" + n.Node}, {text: n.Label},
			{text: since(n.Since)}, {text: strings.TrimSpace(n.Reason + n.remarks())}})
		if len(n.Replicas) < 2 {
			continue
		}
		for _, r := range n.Replicas {
			if r.Status == "healthy" {
				continue
			}
			name := r.ID
			if r.Label != "" {
				name = r.Label + " (" + r.ID + ")"
			}
			rows = append(rows, []cell{{text: ""}, {text: "  " + name}, statusCell(r.Status), {text: since(r.Since)}, {text: r.Reason}})
		}
	}
	return rows
}
