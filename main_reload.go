package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

const reloadUsage = `usage: vigil reload [-c config.cfg] [-url url] [-json]

Has the running Vigil read its config again, and prints what changed. If the
config has mistakes, it prints all of them, and the current config stays.

` + clientHelp + `
examples:

  vigil reload -c /etc/vigil/config.cfg
  VIGIL_MANAGER_TOKEN=secret vigil reload -url https://status.example.com/

Exit status: 0 if the config was reloaded, 1 if not, 2 for wrong usage.
`

// runReload is "vigil reload".
func runReload(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := newClientCommand(flag.NewFlagSet("vigil reload", flag.ContinueOnError), reloadUsage, stdout, stderr)
	return c.run(ctx, args, c.noArgs, func(ctx context.Context) (int, error) {
		var changed configChanges
		if err := c.client.callWithin(ctx, reloadTime+clientTime, http.MethodPost, "reload/", nil, &changed); err != nil {
			return exitError, err
		}
		if c.flags.json {
			return exitOK, c.out.json(changed)
		}
		var rows [][]cell
		for _, list := range changed.lists() {
			if len(list.items) > 0 {
				rows = append(rows, plain(list.name, strings.Join(list.items, ", ")))
			}
		}
		if len(rows) == 0 {
			fmt.Fprintln(stdout, "Reloaded, nothing has changed.")
			return exitOK, nil
		}
		fmt.Fprintln(stdout, "Reloaded:")
		c.out.columns(rows)
		return exitOK, nil
	})
}

// A reloadRequest asks for the config to be read again. The answer goes to
// done, which has a capacity of 1, or nowhere when done is nil.
type reloadRequest struct{ done chan<- reloadAnswer }

// A reloadAnswer says what a reload changed, or why it failed.
type reloadAnswer struct {
	changes configChanges
	err     error
}

func (r reloadRequest) answer(a reloadAnswer) {
	if r.done != nil {
		r.done <- a
	}
}

// forwardHangups turns each SIGHUP into a request, until ctx ends.
func forwardHangups(ctx context.Context, hangup <-chan os.Signal, requests chan<- reloadRequest) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
		}
		select {
		case <-ctx.Done():
			return nil
		case requests <- reloadRequest{}:
		}
	}
}

// runUntilReload runs what one config asks for, until ctx ends or until reload
// has built what the next config asks for. It returns that, and whether there
// is any.
func runUntilReload[T any](ctx context.Context, requests <-chan reloadRequest,
	run func(context.Context) error, reload func(context.Context, reloadRequest) (T, bool)) (next T, ok bool, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return run(ctx) })
	g.Go(func() error {
		for !ok {
			select {
			case <-ctx.Done():
				return nil
			case request := <-requests:
				next, ok = reload(ctx, request)
			}
		}
		stop()
		return nil
	})
	err = g.Wait()
	return next, ok, err
}

// logFailedReload logs each line of err, which is why a config is not used.
func logFailedReload(log *slog.Logger, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		log.Error("reload failed, keeping the current config", "problem", line)
	}
}

// configChanges are the differences between two configs.
type configChanges struct {
	Sections []string `json:"sections"` // tables that differ, other than [probe]
	Added    []string `json:"added"`    // nodes, as service:node
	Removed  []string `json:"removed"`
	Changed  []string `json:"changed"`
}

// changes compares two configs.
func changes(old, conf *Config) configChanges {
	c := configChanges{Sections: []string{}, Added: []string{}, Removed: []string{}, Changed: []string{}}
	section := func(name string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			c.Sections = append(c.Sections, name)
		}
	}
	section("server", old.Server, conf.Server)
	section("assets", old.Assets, conf.Assets)
	section("branding", old.Branding, conf.Branding)
	section("metrics", old.Metrics, conf.Metrics)
	section("plugins", old.RabbitMQ, conf.RabbitMQ)
	oldNotify, notify := old.Notify, conf.Notify
	oldNotify.Page, notify.Page = conf.Notify.Page, conf.Notify.Page // belongs to branding
	section("notify", []any{old.Alerting, oldNotify, old.Routes, old.Deadman}, []any{conf.Alerting, notify, conf.Routes, conf.Deadman})
	section("storage", old.Storage, conf.Storage)
	section("maintenance", old.Maintenance, conf.Maintenance)
	section("probe", old.Connectivity, conf.Connectivity)

	nodes := func(c *Config) map[nodeKey]*Node {
		m := make(map[nodeKey]*Node)
		for _, s := range c.Services {
			for _, n := range s.Nodes {
				m[nodeKey{s.ID, n.ID}] = n
			}
		}
		return m
	}
	before, after := nodes(old), nodes(conf)
	for key, n := range after {
		name := key.service + ":" + key.node
		if was := before[key]; was == nil {
			c.Added = append(c.Added, name)
		} else if !sameNode(was, n, &old.Metrics, &conf.Metrics) {
			c.Changed = append(c.Changed, name)
		}
	}
	for key := range before {
		if after[key] == nil {
			c.Removed = append(c.Removed, key.service+":"+key.node)
		}
	}
	slices.Sort(c.Added)
	slices.Sort(c.Removed)
	slices.Sort(c.Changed)
	return c
}

// A changeList is one kind of change with what it befell.
type changeList struct {
	name  string
	items []string
}

func (c configChanges) lists() []changeList {
	return []changeList{{"sections", c.Sections}, {"added", c.Added}, {"removed", c.Removed}, {"changed", c.Changed}}
}

// attrs returns the changes as attributes of a log line.
func (c configChanges) attrs() (attrs []any) {
	for _, list := range c.lists() {
		if len(list.items) > 0 {
			attrs = append(attrs, list.name, summary(list.items))
		}
	}
	if attrs == nil {
		attrs = []any{"changes", "none"}
	}
	return attrs
}

// String returns the changes on one line.
func (c configChanges) String() string {
	var parts []string
	for _, list := range c.lists() {
		if len(list.items) > 0 {
			parts = append(parts, list.name+" "+summary(list.items))
		}
	}
	return strings.Join(parts, "; ")
}

// summary lists the first names and counts the others.
func summary(names []string) string {
	const most = 10
	if rest := len(names) - most; rest > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), rest)
	}
	return strings.Join(names, ", ")
}

// sameNode reports whether two configs have the same node. A change of [metrics]
// or of a node that it depends on is no change of its own.
func sameNode(a, b *Node, metricsA, metricsB *Metrics) bool {
	x, y := *a, *b
	if x.Metrics == metricsA && y.Metrics == metricsB {
		x.Metrics, y.Metrics = nil, nil
	}
	if (x.TLS.Roots == nil) != (y.TLS.Roots == nil) || x.TLS.Roots != nil && !x.TLS.Roots.Equal(y.TLS.Roots) {
		return false
	}
	if !slices.EqualFunc(x.DependsOn, y.DependsOn, func(m, n *Node) bool { return m.ID == n.ID }) {
		return false
	}
	x.TLS.Roots, y.TLS.Roots, x.DependsOn, y.DependsOn = nil, nil, nil, nil
	return reflect.DeepEqual(&x, &y)
}
