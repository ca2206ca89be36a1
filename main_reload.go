package main

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// reload reads the config again and builds its pipeline. With anything wrong
// in it, it logs that and returns nil: the old one stays in force.
func (h *host) reload(ctx context.Context, old *Config, s *store) *pipeline {
	const refused = "config not reloaded, the old one stays in force"
	conf, err := h.load()
	if err == nil {
		// A template or an asset may be broken, too.
		_, err = newSite(conf, conf.Assets, h.log)
	}
	var p *pipeline
	if err == nil {
		p, err = newPipeline(conf, h.events, s, &h.meters, h.log)
	}
	if err == nil {
		if err = h.front.move(ctx, conf.Server); err != nil {
			p.poller.close()
		}
	}
	if err != nil {
		h.meters.reloads.took(false, time.Now())
		h.level.Set(logLevel(old.Server.LogLevel))
		for line := range strings.SplitSeq(err.Error(), "\n") {
			h.log.Error(refused, "problem", line)
		}
		return nil
	}
	if conf.Storage != old.Storage {
		h.log.Warn("storage.path takes effect at the next start only", "path", conf.Storage.Path)
	}
	h.meters.reloads.took(true, time.Now())
	h.log.Info("config reloaded", changes(old, conf)...)
	return p
}

// changes says what is different in the new config, as attributes of a log
// line: the sections that differ, and the nodes that came, went or differ.
func changes(old, conf *Config) []any {
	var sections []string
	section := func(name string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			sections = append(sections, name)
		}
	}
	section("server", old.Server, conf.Server)
	section("assets", old.Assets, conf.Assets)
	section("branding", old.Branding, conf.Branding)
	section("metrics", old.Metrics, conf.Metrics)
	section("plugins", old.RabbitMQ, conf.RabbitMQ)
	oldNotify, notify := old.Notify, conf.Notify
	oldNotify.Page, notify.Page = conf.Notify.Page, conf.Notify.Page // that is of branding
	section("notify", []any{old.Alerting, oldNotify}, []any{conf.Alerting, notify})
	section("storage", old.Storage, conf.Storage)

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
	var added, removed, changed []string
	for key, n := range after {
		name := key.service + ":" + key.node
		if was := before[key]; was == nil {
			added = append(added, name)
		} else if !reflect.DeepEqual(was, n) {
			changed = append(changed, name)
		}
	}
	for key := range before {
		if after[key] == nil {
			removed = append(removed, key.service+":"+key.node)
		}
	}
	attrs := []any{"path", conf.Path}
	for _, list := range []struct {
		name  string
		items []string
	}{{"sections", sections}, {"added", added}, {"removed", removed}, {"changed", changed}} {
		if len(list.items) > 0 {
			attrs = append(attrs, list.name, summary(list.items))
		}
	}
	if len(attrs) == 2 {
		attrs = append(attrs, "changes", "none")
	}
	return attrs
}

// summary lists a few names and counts the others.
func summary(names []string) string {
	const most = 10
	slices.Sort(names)
	if rest := len(names) - most; rest > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), rest)
	}
	return strings.Join(names, ", ")
}
