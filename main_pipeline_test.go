package main

import (
	"slices"
	"testing"
	"time"
)

func TestChanges(t *testing.T) {
	node := func(id, label string) *Node { return &Node{ID: id, Label: label} }
	old := &Config{Path: "config.cfg", Services: []*Service{{ID: "s", Nodes: []*Node{node("a", "A"), node("b", "B"), node("c", "C")}}}}
	conf := *old
	if got, want := changes(old, &conf), []any{"path", "config.cfg", "changes", "none"}; !slices.Equal(got, want) {
		t.Errorf("changes %v, want %v", got, want)
	}
	conf.Branding.PageTitle = "New"
	conf.Notify.Page.Title = "New"
	conf.Metrics.PollInterval = time.Second
	conf.Alerting.Startup = true
	conf.Services = []*Service{{ID: "s", Nodes: []*Node{node("a", "A"), node("b", "New"), node("d", "D")}}}
	want := []any{"path", "config.cfg", "sections", "branding, metrics, notify", "added", "s:d", "removed", "s:c", "changed", "s:b"}
	if got := changes(old, &conf); !slices.Equal(got, want) {
		t.Errorf("changes %v, want %v", got, want)
	}
	if got := summary([]string{"l", "k", "j", "i", "h", "g", "f", "e", "d", "c", "b", "a"}); got != "a, b, c, d, e, f, g, h, i, j and 2 more" {
		t.Errorf("summary %q", got)
	}
}
