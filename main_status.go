package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
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

const healthUsage = `usage: vigil health [-c config.cfg] [-url http://host:port/] [-timeout 5s]

Asks the Vigil that runs on this machine whether it serves its page, for the
health check of a container or for a supervisor. It prints the page's status,
but does not judge it: what Vigil monitors may well be dead.

  -c, --config file   the config of the running Vigil, for its address; default:
                      ./config.cfg or, if there is none, the built-in sample
  -url url            ask the page at this address instead
  -timeout time       how long to wait for the answer, like 500ms (default: 5s)

examples:

  vigil health -c /etc/vigil/config.cfg
  vigil health -url http://127.0.0.1:8080/ -timeout 2s

Exit status: 0 if Vigil serves its page, 1 if not, 2 for wrong usage.
`

// maxHealthBody is how much of an answer is read: one status word is short.
const maxHealthBody = 64

// runHealth is "vigil health".
func runHealth(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil health", flag.ContinueOnError)
	path := configFlag(fs)
	page := filledFlag(fs, "url", "a URL")
	timeout := durationFlag(fs, "timeout", 5*time.Second, time.Millisecond, time.Hour)
	if code, ok := parseFlags(fs, healthUsage, args, stdout, stderr); !ok {
		return code
	}
	pages := []string{*page}
	if *page == "" {
		conf, err := loadServer(*path, os.LookupEnv)
		if err == nil {
			pages, err = conf.localPages()
		}
		if err != nil {
			return printError(fs, stderr, err)
		}
	} else if _, err := parseURL(*page, "http", "https"); err != nil {
		return wrongUsage(fs, stderr, fmt.Errorf("-url %q %w; allowed: an http:// or https:// URL of a page", withoutUser(*page), err))
	}

	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	var errs []error
	for _, page := range pages {
		word, err := askStatus(ctx, page)
		if err == nil {
			fmt.Fprintf(stdout, "Vigil serves %s, its status is %s\n", withoutUser(page), word)
			return exitOK
		}
		errs = append(errs, fmt.Errorf("%s: %w", withoutUser(page), err))
	}
	return printError(fs, stderr, errors.Join(errs...))
}

// loadServer reads only the [server] table of a config: a mistake elsewhere does
// not change where the running Vigil listens.
func loadServer(path string, getenv func(string) (string, bool)) (Server, error) {
	name := cmp.Or(path, defaultConfig)
	text, err := readFile(name, maxConfig)
	switch {
	case path == "" && errors.Is(err, os.ErrNotExist):
		text = []byte(sampleFor(runtime.GOOS))
	case err != nil:
		return Server{}, unreadable(name, err)
	}
	c := &Config{}
	_, err = readTables(bytes.NewReader(text), name, getenv, func(t *table) { c.readServer(t.table("server")) })
	return c.Server, err
}

// localPages returns the URLs at which the page may be found from this machine:
// two when the server chooses among two addresses.
func (s *Server) localPages() ([]string, error) {
	host, port, err := net.SplitHostPort(s.Inet)
	if err != nil {
		return nil, fmt.Errorf("server.inet %q: %w", s.Inet, err)
	}
	if port == "0" {
		return nil, errors.New("server.inet lets the system choose the port: give -url with the address from the log")
	}
	hosts := []string{host}
	switch ip := net.ParseIP(host); {
	case host == "" || ip.Equal(net.IPv6unspecified):
		hosts = []string{"::1", "127.0.0.1"}
	case ip.Equal(net.IPv4zero):
		hosts = []string{"127.0.0.1"}
	case !s.InetSet:
		hosts = []string{host, "127.0.0.1"}
	}
	var pages []string
	for _, host := range hosts {
		pages = append(pages, "http://"+net.JoinHostPort(host, port)+s.PathPrefix+"/")
	}
	return pages, nil
}

// askStatus returns the status word of the page at a URL.
func askStatus(ctx context.Context, page string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(page, "/")+"/status/text", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("User-Agent", "vigil-health/"+version)
	// Without the proxies of the environment, and without following redirects.
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "", errors.New("no answer in time; is Vigil overloaded, or is another program on its port?")
	case err != nil:
		return "", fmt.Errorf("%w; is Vigil running?", atAddress(page, err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the answer is %s; is this a Vigil, and is the path right?", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHealthBody))
	if err != nil {
		return "", err
	}
	switch word := string(body); word {
	case "healthy", "sick", "dead":
		return word, nil
	}
	return "", fmt.Errorf("the answer is %q, which is not a status; is this a Vigil?", body)
}

const slaUsage = `usage: vigil sla [-month 2026-11] [-csv] [flags] [SELECTOR...]

Prints the availability of each node in a month: minutes up, down, in
maintenance and unknown, the number of outages and the longest one, and what is
left of the error budget of services with a target. Time in maintenance and
unknown time count neither as up nor as down.

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
	month := filledFlag(fs, "month", "a month like 2026-11")
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

// orUnknown writes a value that may be unknown.
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
