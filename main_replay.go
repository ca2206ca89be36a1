package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vigil/notify"
)

const replayUsage = `usage: vigil replay -c new.cfg [-since 30d] [flags]

Tells what another config would have told whom: it feeds the log of events to
the alerters of that config, with time as it was, and counts the messages of
each channel, then and now. Nothing is sent. Start-up messages do not count. All
replicas of a node have its status. Acknowledgements, silences and maintenances
that people made are not repeated; those of the config are.

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
	data := fs.String("data", "", "")
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
	damaged, err := replayFolder(ctx, r, *data, now)
	if err == nil {
		err = printReplay(newPrinter(stdout), r, *show, *asJSON)
	}
	if err != nil {
		fmt.Fprintf(stderr, "vigil replay: %v\n", err)
		return exitError
	}
	for _, key := range slices.SortedFunc(maps.Keys(r.unknown), nodeKey.compare) {
		fmt.Fprintf(stderr, "note: the config has no node %s:%s\n", key.service, key.node)
	}
	if damaged > 0 {
		fmt.Fprintf(stderr, "note: %s skipped\n", plural(damaged, "damaged line"))
	}
	return exitOK
}

// compare orders keys by service and node.
func (k nodeKey) compare(other nodeKey) int {
	return strings.Compare(k.service+"\x00"+k.node, other.service+"\x00"+other.node)
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
	messages := []replayedMessage{}
	for _, a := range r.alerts {
		count(a.Channel).Now++
		messages = append(messages, replayedMessage{a.Time, a.Channel, string(a.Kind), notify.Subject(a)})
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
		}{then, len(messages), r.transitions, list, messages})
	}
	fmt.Fprintf(p.w, "%s then, %d with this config.\n", plural(then, "message"), len(messages))
	if len(list) > 0 {
		rows := [][]cell{plain("CHANNEL", "THEN", "NOW")}
		for _, c := range list {
			rows = append(rows, plain(c.Channel, fmt.Sprint(c.Then), fmt.Sprint(c.Now)))
		}
		fmt.Fprintln(p.w)
		p.columns(rows)
	}
	if show && len(messages) > 0 {
		var rows [][]cell
		for _, m := range messages {
			rows = append(rows, plain(m.Time.Local().Format("2006-01-02 15:04:05"), m.Channel, m.Subject))
		}
		fmt.Fprintln(p.w)
		p.columns(rows)
	}
	return nil
}
