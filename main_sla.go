package main

import (
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const slaUsage = `usage: vigil sla [-month 2026-11] [-csv] [flags] [SELECTOR...]

Prints the availability of each node in a month: minutes up, down, in
maintenance and unknown, outages with the longest one, and what is left of the
error budget of services with a target. Time in maintenance and unknown time
count neither as up nor as down.

  -month month        the month, like 2026-11; default: this one
  -csv                print comma-separated values
` + clientHelp + `
A selector is a service, or a node as service:node.

examples:

  vigil sla
  vigil sla -month 2026-10 -csv web

Exit status: 0 if the figures were printed, 1 if not, 2 for wrong usage.
`

// runSLA is "vigil sla".
func runSLA(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil sla", flag.ContinueOnError)
	month := fs.String("month", "", "")
	asCSV := fs.Bool("csv", false, "")
	c := newClientCommand(fs, slaUsage, stdout, stderr)
	check := func() error {
		if *month == "" {
			return nil
		}
		if _, err := time.Parse("2006-01", *month); err != nil {
			return fmt.Errorf("-month %q: want a month like 2026-11", *month)
		}
		return nil
	}
	return c.run(ctx, args, check, func(ctx context.Context) (int, error) {
		query := url.Values{}
		if *month != "" {
			query.Set("month", *month)
		}
		if len(c.args) > 0 {
			query["selector"] = c.args
		}
		var s slaReport
		if err := c.client.call(ctx, http.MethodGet, "sla/?"+query.Encode(), nil, &s); err != nil {
			return exitError, err
		}
		switch {
		case c.flags.json:
			return exitOK, c.out.json(s)
		case *asCSV:
			return exitOK, s.writeCSV(stdout)
		}
		fmt.Fprintf(stdout, "%s until %s\n\n", s.Month, s.To.Local().Format("2006-01-02 15:04"))
		c.out.columns(s.rows())
		return exitOK, nil
	})
}

// orUnknown writes what may be unknown.
func orUnknown[T any](v *T, write func(T) string) string {
	if v == nil {
		return "unknown"
	}
	return write(*v)
}

// percent writes a share of 1 in percent, rounded down as the page does, so
// that only no downtime at all is 100.
func percent(a float64) string {
	return strconv.FormatFloat(math.Floor(a*100000)/1000, 'f', 3, 64) + " %"
}

func (s *slaReport) rows() [][]cell {
	rows := [][]cell{plain("NODE", "AVAILABLE", "DOWN min", "MAINTENANCE min", "UNKNOWN min", "OUTAGES", "LONGEST", "BUDGET LEFT")}
	for _, service := range s.Services {
		for i, n := range service.Nodes {
			budget := ""
			if i == 0 && service.BudgetLeft != nil && service.Target != nil {
				budget = fmt.Sprintf("%.1f min of %v %%", *service.BudgetLeft, *service.Target)
			}
			longest := orUnknown(n.Longest, func(seconds int64) string { return writeDuration(time.Duration(seconds) * time.Second) })
			rows = append(rows, plain(service.ID+":"+n.ID, orUnknown(n.Availability, percent), fmt.Sprint(n.Minutes.Down),
				fmt.Sprint(n.Minutes.Maintenance), fmt.Sprint(n.Minutes.Unknown), orUnknown(n.Outages, strconv.Itoa), longest, budget))
		}
	}
	return rows
}

// writeCSV writes a row for each node (RFC 4180). What is unknown is empty.
func (s *slaReport) writeCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	number := func(v any) string {
		switch v := v.(type) {
		case *int:
			if v != nil {
				return fmt.Sprint(*v)
			}
		case *int64:
			if v != nil {
				return fmt.Sprint(*v)
			}
		case *float64:
			if v != nil {
				return strconv.FormatFloat(*v, 'f', -1, 64)
			}
		}
		return ""
	}
	errs := []error{out.Write([]string{"month", "service", "node", "label", "up_minutes", "down_minutes", "maintenance_minutes",
		"unknown_minutes", "outages", "longest_seconds", "availability", "availability_with_maintenance"})}
	for _, service := range s.Services {
		for _, n := range service.Nodes {
			m := n.Minutes
			errs = append(errs, out.Write([]string{s.Month, service.ID, n.ID, n.Label, fmt.Sprint(m.Up), fmt.Sprint(m.Down),
				fmt.Sprint(m.Maintenance), fmt.Sprint(m.Unknown), number(n.Outages), number(n.Longest),
				number(n.Availability), number(n.AvailabilityWithMaintenance)}))
		}
	}
	out.Flush()
	return errors.Join(append(errs, out.Error())...)
}
