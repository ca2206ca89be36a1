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
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vigil/notify"
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
		// A long log takes as long as the server writes at most.
		body, err := c.client.ask(ctx, writeTimeout+clientTime, http.MethodGet, "log/?"+query.Encode(), nil)
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

// cells returns an event as a row: what it is about, and what happened.
func (e *logEvent) cells() []cell {
	switch e.Kind {
	case "transition":
		status := statusCell(e.To)
		if e.Reason != "" {
			status.text += ": " + e.Reason
		}
		return []cell{{text: e.Service + ":" + e.Node}, status}
	case "replica":
		status := statusCell(e.To)
		if status.text = "replica " + e.Replica + " " + status.text; e.Reason != "" {
			status.text += ": " + e.Reason
		}
		return []cell{{text: e.Service + ":" + e.Node}, status}
	case "ack":
		return plain(e.Service+":"+e.Node, strings.TrimSuffix("outage "+e.Result+": "+e.Text, ": "))
	case "maintenance", "silence":
		return plain(e.Kind, e.Result+": "+strings.Join(slices.DeleteFunc([]string{e.Text, summary(e.Nodes)}, func(s string) bool { return s == "" }), ": "))
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

const replayUsage = `usage: vigil replay -c new.cfg [-since 30d] [flags]

Shows which alerts another config would have sent: it feeds the log of events to
the alerters of that config, at the original times, and counts the messages of
each channel, then and now. Nothing is sent. Start-up messages, notices about
Vigil itself and acknowledgements do not count. Replicas of a node are told
apart where the log has them. Acknowledgements, silences and maintenances made
by operators are not repeated; maintenances of the config are.

  -c, --config file   the config to try; its storage.path has the log
  -since time         how long ago to begin, like 90m or 30d, or when, like
                      2026-11-26T22:00:00Z (default: 30d)
  -data folder        the storage folder with the log, instead of storage.path
  -show               print each message that would have been sent
  -json               print JSON

examples:

  vigil replay -c new.cfg
  vigil replay -c new.cfg -since 7d -show -data /var/lib/vigil/data

Exit status: 0 if the log was replayed, 1 if not, 2 for wrong usage.
`

// A replayedMessage is one that a config would have sent.
type replayedMessage struct {
	Time    time.Time `json:"time"`
	Channel string    `json:"channel"`
	Type    string    `json:"type"`
	Subject string    `json:"subject"`
}

// A channelCount is how many messages a channel had, and would have had.
type channelCount struct {
	Channel string `json:"channel"`
	Then    int    `json:"then"`
	Now     int    `json:"now"`
}

// runReplay is "vigil replay".
func runReplay(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil replay", flag.ContinueOnError)
	path := configFlag(fs)
	since := fs.String("since", "30d", "")
	data := filledFlag(fs, "data", "a folder")
	show := fs.Bool("show", false, "")
	asJSON := fs.Bool("json", false, "")
	if code, ok := parseFlags(fs, replayUsage, args, stdout, stderr); !ok {
		return code
	}
	now := time.Now()
	begin, err := parseSince(*since, now)
	switch {
	case err != nil:
		return wrongUsage(fs, stderr, fmt.Errorf("-since %q: %w", *since, err))
	case *path == "":
		return wrongUsage(fs, stderr, errors.New("-c is missing: the config to try"))
	}
	ctx, stop := notifyStop(ctx)
	defer stop()
	conf, _, err := loadConfig(ctx, *path, os.LookupEnv)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitError
	}
	if *data == "" {
		*data = conf.Storage.Path
	}
	r := newReplay(conf, begin)
	r.listed = *show || *asJSON
	damaged, err := replayFolder(ctx, r, *data, now)
	if err == nil {
		err = printReplay(newPrinter(stdout), r, *show, *asJSON)
	}
	if err != nil {
		return printError(fs, stderr, err)
	}
	for _, key := range slices.SortedFunc(maps.Keys(r.unknown), nodeKey.compare) {
		fmt.Fprintf(stderr, "note: the config has no node %s:%s\n", key.service, key.node)
	}
	if damaged > 0 {
		fmt.Fprintf(stderr, "note: %s skipped\n", plural(damaged, "damaged line"))
	}
	return exitOK
}

// replayFolder replays the log of a storage folder.
func replayFolder(ctx context.Context, r *replay, folder string, end time.Time) (damaged int, err error) {
	if folder == "" {
		return 0, errors.New("storage.path is empty: name the storage folder with -data")
	}
	root, err := os.OpenRoot(filepath.Join(folder, eventFolder))
	if err != nil {
		return 0, fmt.Errorf("the storage folder %q has no log of events that can be read: %w; name another folder with -data", folder, withoutPath(err))
	}
	defer root.Close()
	return r.run(ctx, &eventLog{root: root, log: slog.New(slog.DiscardHandler)}, end)
}

func printReplay(p *printer, r *replay, show, asJSON bool) error {
	counts := make(map[string]*channelCount)
	count := func(channel string) *channelCount {
		if counts[channel] == nil {
			counts[channel] = &channelCount{Channel: channel}
		}
		return counts[channel]
	}
	then := 0
	for channel, n := range r.then {
		count(channel).Then = n
		then += n
	}
	now := 0
	for channel, n := range r.sent {
		count(channel).Now = n
		now += n
	}
	list := []channelCount{}
	for _, channel := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, *counts[channel])
	}
	if asJSON {
		return p.json(struct {
			Then        int               `json:"then"`
			Now         int               `json:"now"`
			Transitions int               `json:"transitions"`
			Channels    []channelCount    `json:"channels"`
			Messages    []replayedMessage `json:"messages"`
		}{then, now, r.transitions, list, r.messages})
	}
	fmt.Fprintf(p.w, "%s then, %d with this config.\n", plural(then, "message"), now)
	if len(list) > 0 {
		rows := [][]cell{plain("CHANNEL", "THEN", "NOW")}
		for _, c := range list {
			rows = append(rows, plain(c.Channel, fmt.Sprint(c.Then), fmt.Sprint(c.Now)))
		}
		fmt.Fprintln(p.w)
		p.columns(rows)
	}
	if show && len(r.messages) > 0 {
		var rows [][]cell
		for _, m := range r.messages {
			rows = append(rows, plain(m.Time.Local().Format("2006-01-02 15:04:05"), m.Channel, m.Subject))
		}
		fmt.Fprintln(p.w)
		p.columns(rows)
	}
	return nil
}

// A replay feeds the events of a log to the alerters of another config, at
// their original times. It is the state of a running Vigil with another clock,
// so the same code decides which alerts are sent.
//
// Where the log has no replicas of a node, all of them have its status.
// Acknowledgements, silences and other actions of operators are not repeated;
// the maintenances of the config are.
type replay struct {
	st  *state
	now time.Time

	sent     map[string]int    // messages that the config would have sent, by channel
	listed   bool              // whether these are listed, too
	messages []replayedMessage // oldest first

	nodes       map[nodeKey]*nodeState
	changed     map[*nodeState]time.Time // when a replica of a node last did
	transitions int                      // that were fed
	unknown     map[nodeKey]bool         // nodes of the log that the config does not have
	then        map[string]int           // messages of the log, by channel
}

// newReplay returns a replay of a config that begins with everything healthy.
func newReplay(conf *Config, begin time.Time) *replay {
	quiet := *conf
	quiet.Alerting.Startup = false // a replay is no start
	r := &replay{st: newState(&quiet, begin), now: begin, nodes: make(map[nodeKey]*nodeState), changed: make(map[*nodeState]time.Time),
		unknown: make(map[nodeKey]bool), then: make(map[string]int), sent: make(map[string]int), messages: []replayedMessage{}}
	for ns := range r.st.allNodes() {
		r.nodes[ns.key()] = ns
		if len(ns.replicas) == 0 {
			r.st.addReplica(ns, "replay")
		}
		for _, rs := range ns.replicas {
			r.st.set(rs, healthy, "", begin)
		}
	}
	r.st.waiting = 0
	r.st.alerter.roundDone(r.st, begin)
	return r
}

// until advances the time, stopping whenever the alerters or a maintenance of
// the config need it.
func (r *replay) until(t time.Time) {
	for {
		if due := r.st.quietDue; !due.IsZero() && !r.now.Before(due) {
			r.st.replan(r.now)
		}
		for alert, ok := r.st.alerter.due(r.st, r.now); ok; alert, ok = r.st.alerter.due(r.st, r.now) {
			r.sent[alert.Channel]++
			if r.listed {
				r.messages = append(r.messages, replayedMessage{alert.Time, alert.Channel, string(alert.Kind), notify.Subject(alert)})
			}
		}
		at, ok := r.st.alerter.wake(r.st, r.now)
		if due := r.st.quietDue; !due.IsZero() && (!ok || due.Before(at)) {
			at, ok = due, true
		}
		if !ok || at.After(t) {
			break
		}
		r.now = at
	}
	if t.After(r.now) {
		r.now = t
	}
}

// feed takes one event of the log.
func (r *replay) feed(e logEvent) {
	switch e.Kind {
	case "alert":
		if kind := notify.Kind(e.Type); kind == notify.Changed || kind == notify.Reminder {
			r.then[e.Channel]++
		}
		return
	case "transition", "replica":
	default:
		return
	}
	s, ok := statusOf(e.To)
	if !ok {
		return // an unknown status sends no alert
	}
	r.until(e.Time)
	ns := r.nodes[nodeKey{e.Service, e.Node}]
	if ns == nil {
		r.unknown[nodeKey{e.Service, e.Node}] = true
		return
	}
	if e.Kind == "replica" {
		r.replica(ns, e, s)
		return
	}
	r.transitions++
	// What replicas have brought about is there already, on this config's terms.
	better := !slices.ContainsFunc(ns.replicas, func(rs *replicaState) bool { return rs.status >= s })
	for _, rs := range ns.replicas {
		if better || rs.status > s && (s == healthy || !r.changed[ns].Equal(e.Time)) {
			r.st.set(rs, s, e.Reason, r.now)
		}
	}
	r.until(r.now)
}

// replica takes a change of one replica. A reporter may be new; but where some
// are enough, those that never changed count, and the log does not have them.
func (r *replay) replica(ns *nodeState, e logEvent, s status) {
	i := slices.IndexFunc(ns.replicas, func(rs *replicaState) bool { return rs.id == e.Replica })
	if i < 0 {
		if ns.byID == nil || ns.conf.Needed != (Needed{}) {
			return
		}
		i = len(ns.replicas)
		r.st.addReplica(ns, e.Replica)
	}
	r.st.set(ns.replicas[i], s, e.Reason, r.now)
	r.changed[ns] = e.Time
	r.until(r.now)
}

// run feeds all events of the log since the replay's beginning, and advances
// the time to the end.
func (r *replay) run(ctx context.Context, l *eventLog, end time.Time) (damaged int, err error) {
	damaged, err = l.read(ctx, r.now, func(e logEvent) bool {
		r.feed(e)
		return true
	})
	r.until(end)
	return damaged, err
}
