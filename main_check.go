package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/http/httpproxy"
)

const checkUsage = `usage: vigil check [-c config.cfg] [-strict] [-probe]

Reads a config and prints what Vigil does with it, or every mistake in it: each
with its line in the file, the key and what is allowed. Nothing is started
without -probe, and no secrets are shown.

  -c, --config file   the config; default: ./config.cfg or, if there is none,
                      the built-in sample
  -strict             treat warnings as errors, e.g. before a roll-out
  -probe              also check every poll and script replica once, ask
                      RabbitMQ for every queue, and print the results

examples:

  vigil check
  vigil check -strict -c /etc/vigil/config.cfg
  vigil check -probe

Exit status: 0 if the config is valid, 1 if it is not or -probe found a dead
replica or a queue that cannot be watched, 2 for wrong usage.
`

// runCheck is "vigil check".
func runCheck(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil check", flag.ContinueOnError)
	path := configFlag(fs)
	strict := fs.Bool("strict", false, "")
	probe := fs.Bool("probe", false, "")
	if code, ok := parseFlags(fs, checkUsage, args, stdout, stderr); !ok {
		return code
	}

	c, warnings, err := loadConfig(ctx, *path, os.LookupEnv)
	notes := slices.DeleteFunc(slices.Clone(warnings), func(p problem) bool { return !p.note })
	warnings = slices.DeleteFunc(warnings, func(p problem) bool { return p.note })
	if *strict && err == nil {
		err, warnings = joinProblems(warnings), nil
	}
	if err == nil { // faults in templates and words keep Vigil from starting, too
		_, err = newSite(c, c.Assets, slog.New(slog.DiscardHandler))
		err = hangingAssets(c, err)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		if len(warnings) > 0 {
			fmt.Fprintln(stderr)
			printProblems(stderr, "warning", warnings)
		}
		return exitError
	}
	if c.Path == "" {
		fmt.Fprintf(stdout, "There is no %s here, so this is the sample that is built in.\n\n", defaultConfig)
	}
	for _, said := range []struct {
		what string
		list []problem
	}{{"warning", warnings}, {"note", notes}} {
		if len(said.list) > 0 {
			printProblems(stdout, said.what, said.list)
			fmt.Fprintln(stdout)
		}
	}
	printPlan(stdout, c, time.Now())
	var faults []error
	if *probe {
		ctx, stop := notifyStop(ctx)
		defer stop()
		fmt.Fprintln(stdout)
		faults = append(faults, checkAll(ctx, c, stdout, stderr))
		for _, fault := range queueFaults(ctx, c) {
			faults = append(faults, errors.New(fault))
		}
	}
	verdict := "valid"
	if n := len(warnings); n > 0 {
		verdict += ", with " + plural(n, "warning")
	}
	fmt.Fprintf(stdout, "\n%s: %s\n", configName(c), verdict)
	if err := errors.Join(faults...); err != nil {
		return printError(fs, stderr, err)
	}
	return exitOK
}

// printProblems prints problems that do not keep Vigil from starting.
func printProblems(w io.Writer, what string, ps []problem) {
	fmt.Fprintf(w, "%s:\n", plural(len(ps), what))
	for _, p := range ps {
		fmt.Fprintln(w, p)
	}
}

// thousands writes n with commas.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural counts things in English.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return thousands(n) + " " + thing + "s"
}

// printPlan says what Vigil would do with a config from now on.
func printPlan(w io.Writer, c *Config, now time.Time) {
	line := func(label, format string, args ...any) {
		fmt.Fprintf(w, "%-11s %s\n", label, fmt.Sprintf(format, args...))
	}

	address := c.Server.Inet
	if !c.Server.InetSet {
		address += ", or 127.0.0.1:8080 without IPv6"
	}
	line("listens on", "%s", address+c.prefixNote())
	line("page", "%s, %s", c.Branding.PageTitle, c.Branding.PageURL)
	line("APIs", "Manager %s, Reporter %s, MCP %s",
		onOff(c.Server.ManagerToken != ""), onOff(c.Server.ReporterToken != ""), onOff(c.Server.MCP))
	line("logs", "from level %s on", c.Server.LogLevel)
	line("storage", "%s", c.Storage.describe())
	if c.Mirror != nil {
		line("mirror", "%s", c.Mirror.describe())
	}
	if c.Assets != "" {
		line("assets", "files in %s go before the built-in ones", c.Assets)
	}
	fmt.Fprintln(w)

	printWatched(line, c)
	printOwn(w, c)
	printProxies(w, c)
	for i := range c.Maintenance {
		line("maintenance", "%s", c.Maintenance[i].describe(now))
	}
	fmt.Fprintln(w)

	for i, channel := range c.Notify.Channels {
		label := ""
		if i == 0 {
			label = "tells"
		}
		line(label, "%s", channel)
	}
	if len(c.Notify.Channels) == 0 {
		line("tells", "nobody, as no channel is configured")
		return
	}
	line("when", "%s", c.Alerting.describe())
	printRoutes(w, c)
}

// describe says what a maintenance is about and when it comes.
func (w *Window) describe(now time.Time) string {
	const form = "2006-01-02 15:04 MST"
	text := fmt.Sprintf("%q of", w.Title)
	for i, s := range w.Selectors {
		if i > 0 {
			text += ","
		}
		text += " " + string(s)
	}
	begin, end, ok := w.next(now)
	switch {
	case !ok:
		return text + ", over since " + w.Start.Add(w.Duration).Format(form) + ": it does not repeat"
	case w.Repeat != repeatNever:
		text += ", " + repeatNames[w.Repeat]
	}
	return text + ", from " + begin.Format(form) + " to " + end.Format(form)
}

// describe says where the folder is, whether it can be written, and whether only
// by Vigil.
func (s *Storage) describe() string {
	if s.Path == "" {
		return "none: everything is forgotten at the end"
	}
	path, err := filepath.Abs(s.Path)
	if err != nil {
		path = s.Path
	}
	if err := canWrite(path); err != nil {
		outcome := "everything is forgotten at the end"
		if s.Set {
			outcome = "Vigil would not start"
		}
		return fmt.Sprintf("%s, which cannot be written (%v): %s", path, withoutPath(err), outcome)
	}
	if mode := othersWrite(path); mode != "" {
		return fmt.Sprintf("%s, which other users can write to (%s)", path, mode)
	}
	return path
}

// describe says where the copy of the page is kept, and what brings it elsewhere.
func (m *Mirror) describe() string {
	text := "a copy of the page"
	if len(m.Command) > 0 {
		text += fmt.Sprintf(" and a command, run every %s at most, for up to %s,", seconds(m.Interval), seconds(m.Timeout))
	}
	text += " in " + m.Path
	if err := canWrite(m.Path); err != nil {
		text += fmt.Sprintf(", which cannot be written (%v)", withoutPath(err))
	}
	return text
}

// canWrite reports whether files can be created in a folder, or the folder can
// be. It leaves nothing behind.
func canWrite(path string) error {
	_, err := within(context.Background(), func() (any, error) {
		for {
			info, err := os.Stat(path)
			if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
				path = parent
				continue
			}
			if err == nil && !info.IsDir() {
				err = syscall.ENOTDIR
			}
			if err != nil {
				return nil, err
			}
			f, err := os.CreateTemp(path, ".vigil-check-*")
			if err != nil {
				return nil, err
			}
			return nil, errors.Join(f.Close(), os.Remove(f.Name()))
		}
	})
	return err
}

// printOwn says for each node which of its values differ from [metrics].
func printOwn(w io.Writer, c *Config) {
	var rows [][]cell
	for s, n := range c.nodes() {
		if own := n.Metrics.differences(&c.Metrics); len(own) > 0 {
			rows = append(rows, plain("  "+s.ID+":"+n.ID, strings.Join(own, ", ")))
		}
	}
	if len(rows) > 0 {
		fmt.Fprintln(w, "with values of their own")
		newPrinter(w).columns(rows)
	}
}

// printProxies says for each node through which proxy its HTTP checks go, if
// any do. A proxy's user and password are not shown.
func printProxies(w io.Writer, c *Config) {
	environment := httpproxy.FromEnvironment().ProxyFunc()
	var rows [][]cell
	for s, n := range c.nodes() {
		origin := "of the environment"
		if n.ProxySet {
			origin = "of http_proxy"
		}
		var proxies []string
		for _, t := range n.Targets {
			if t.Scheme != "http" && t.Scheme != "https" {
				continue
			}
			proxy, err := n.proxyOf(t.URL, environment)
			name := ""
			switch {
			case err != nil:
				name = "none, every check fails: " + err.Error()
			case proxy != nil:
				name = proxy.Scheme + "://" + proxy.Host + " " + origin
			}
			if name != "" && !slices.Contains(proxies, name) {
				proxies = append(proxies, name)
			}
		}
		if len(proxies) > 0 {
			rows = append(rows, plain("  "+s.ID+":"+n.ID, strings.Join(proxies, ", ")))
		}
	}
	if len(rows) > 0 {
		fmt.Fprintln(w, "through a proxy")
		newPrinter(w).columns(rows)
	}
}

// differences lists the values of m that differ from those of all.
func (m *Metrics) differences(all *Metrics) (own []string) {
	add := func(key string, value, other any) {
		if value == other {
			return
		}
		if d, ok := value.(time.Duration); ok {
			value = seconds(d)
		}
		own = append(own, fmt.Sprintf("%s %v", key, value))
	}
	add("poll_interval", m.PollInterval, all.PollInterval)
	add("poll_delay_dead", m.PollDelayDead, all.PollDelayDead)
	add("poll_delay_sick", m.PollDelaySick, all.PollDelaySick)
	if m.RetryCount != all.RetryCount || m.RetryWait != all.RetryWait {
		own = append(own, "checked again "+m.describeRetry())
	}
	add("poll_http_status_healthy_above", m.HTTPHealthyAbove, all.HTTPHealthyAbove)
	add("poll_http_status_healthy_below", m.HTTPHealthyBelow, all.HTTPHealthyBelow)
	add("push_delay_dead", m.PushDelayDead, all.PushDelayDead)
	add("push_system_cpu_sick_above", m.CPUSickAbove, all.CPUSickAbove)
	add("push_system_ram_sick_above", m.RAMSickAbove, all.RAMSickAbove)
	add("script_interval", m.ScriptInterval, all.ScriptInterval)
	add("local_delay_dead", m.LocalDelayDead, all.LocalDelayDead)
	return own
}

// printRoutes says which channel is told of which nodes, where routes decide
// it: a row for each node, or for each service whose nodes are alike.
func printRoutes(w io.Writer, c *Config) {
	if len(c.Routes) == 0 {
		return
	}
	ids := c.Notify.IDs()
	rows := [][]cell{plain(append([]string{""}, ids...)...)}
	for _, s := range c.Services {
		var of [][]string // the nodes' rows, without their names
		alike := true
		for _, n := range s.Nodes {
			var row []string
			for _, id := range ids {
				row = append(row, c.describeRoutes(s.ID, n.ID, id))
			}
			of = append(of, row)
			alike = alike && slices.Equal(row, of[0])
		}
		if alike && len(of) > 1 {
			name := fmt.Sprintf("%s (%s)", s.ID, plural(len(of), "node"))
			rows = append(rows, plain(append([]string{name}, of[0]...)...))
			continue
		}
		for i, n := range s.Nodes {
			rows = append(rows, plain(append([]string{s.ID + ":" + n.ID}, of[i]...)...))
		}
	}
	fmt.Fprintln(w, "\nroutes")
	newPrinter(w).columns(rows)
}

// describeRoutes says when a channel is told of a node.
func (c *Config) describeRoutes(service, node, channel string) string {
	var routes []string
	for _, i := range c.routes(service, node, channel) {
		r := &c.Routes[i]
		text := r.MinStatus.String()
		if r.After > 0 {
			text += " after " + seconds(r.After)
		}
		routes = append(routes, text)
	}
	return cmp.Or(strings.Join(routes, ", "), "-")
}

func (c *Config) prefixNote() string {
	if c.Server.PathPrefix == "" {
		return ""
	}
	return ", under " + c.Server.PathPrefix
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// printWatched says how many nodes there are of each mode and how they are
// checked.
func printWatched(line func(label, format string, args ...any), c *Config) {
	var nodes, replicas [len(modeNames)]int
	all := 0
	for _, n := range c.nodes() {
		all++
		nodes[n.Mode]++
		replicas[n.Mode] += len(n.Targets) + len(n.Scripts)
	}
	line("watches", "%s with %s", plural(len(c.Services), "service"), plural(all, "node"))
	m := &c.Metrics
	if nodes[modePoll] > 0 {
		line("  poll", "%s, %s, each every %s, %d at once", plural(nodes[modePoll], "node"),
			plural(replicas[modePoll], "replica"), seconds(m.PollInterval), m.PollParallelism)
		line("", "sick from %s on, dead from %s on, then checked again %s",
			seconds(m.PollDelaySick), seconds(m.PollDelayDead), m.describeRetry())
	}
	if nodes[modeScript] > 0 {
		line("  script", "%s, %s, each every %s, %d at once", plural(nodes[modeScript], "node"),
			plural(replicas[modeScript], "script"), seconds(m.ScriptInterval), m.ScriptParallelism)
	}
	if nodes[modePush] > 0 {
		line("  push", "%s, sick above %v CPU or %v RAM, dead %s after a report was due", plural(nodes[modePush], "node"),
			m.CPUSickAbove, m.RAMSickAbove, seconds(m.PushDelayDead))
		if c.RabbitMQ != nil {
			line("", "queues are read from RabbitMQ at %s", c.RabbitMQ.APIURL.Host)
		}
	}
	if nodes[modeLocal] > 0 {
		line("  local", "%s, dead %s after a report was due", plural(nodes[modeLocal], "node"), seconds(m.LocalDelayDead))
	}
	if nodes[modeHeartbeat] > 0 {
		line("  heartbeat", "%s, dead when a ping is overdue", plural(nodes[modeHeartbeat], "node"))
	}
	for i, t := range c.Connectivity {
		label := ""
		if i == 0 {
			label = "online when"
		}
		line(label, "%s answers", t.Raw)
	}
}

func (m *Metrics) describeRetry() string {
	switch {
	case m.RetryCount == 0:
		return "at the next interval"
	case m.RetryWait == 0:
		return "at once"
	case m.RetryCount == 1:
		return "after " + seconds(m.RetryWait)
	}
	return fmt.Sprintf("up to %d times, %s apart", m.RetryCount, seconds(m.RetryWait))
}

func (a *Alerting) describe() string {
	when := "at each outage and recovery"
	if a.Startup {
		when += ", at the start"
	}
	switch {
	case a.ReminderInterval == 0:
		return when + "; without reminders"
	case a.BackoffExponent == 0:
		return when + "; reminders every " + seconds(a.ReminderInterval)
	}
	return fmt.Sprintf("%s; reminders after %s, growing by the %s of their number up to %d",
		when, seconds(a.ReminderInterval), backoffs[a.BackoffExponent], a.BackoffLimit)
}
