package main

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestChanges(t *testing.T) {
	node := func(id, label string) *Node { return &Node{ID: id, Label: label} }
	old := &Config{Path: "config.cfg", Services: []*Service{{ID: "s", Nodes: []*Node{node("a", "A"), node("b", "B"), node("c", "C")}}}}
	conf := *old
	if got, want := changes(old, &conf).attrs(), []any{"changes", "none"}; !slices.Equal(got, want) {
		t.Errorf("changes %v, want %v", got, want)
	}
	conf.Branding.PageTitle = "New"
	conf.Notify.Page.Title = "New"
	conf.Metrics.PollInterval = time.Second
	conf.Alerting.Startup = true
	conf.Services = []*Service{{ID: "s", Nodes: []*Node{node("a", "A"), node("b", "New"), node("d", "D")}}}
	want := []any{"sections", "branding, metrics, notify", "added", "s:d", "removed", "s:c", "changed", "s:b"}
	if got := changes(old, &conf).attrs(); !slices.Equal(got, want) {
		t.Errorf("changes %v, want %v", got, want)
	}
	if got := summary(strings.Split("abcdefghijkl", "")); got != "a, b, c, d, e, f, g, h, i, j and 2 more" {
		t.Errorf("summary %q", got)
	}
}

// The default address, once chosen, may be written out.
func TestMoveToTheSameAddress(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	w := &webServer{conf: Server{Inet: "[::1]:8080", PathPrefix: "/old"}, ln: ln}
	if err := w.move(t.Context(), Server{Inet: ln.Addr().String(), InetSet: true, PathPrefix: "/new"}); err != nil || w.ln != ln {
		t.Errorf("moved to the address that it has: %v", err)
	}
	if got, want := w.address(), "http://"+ln.Addr().String()+"/new/"; got != want {
		t.Errorf("address %s, want %s", got, want)
	}
}

// A stop takes no longer than its limit, whatever hangs.
func TestStopLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		hung := make(chan struct{})
		defer close(hung)
		begin := time.Now()
		err := waitStopped(ctx, slog.New(slog.DiscardHandler), func() error { <-hung; return nil })
		if took := time.Since(begin); err == nil || took != time.Minute+stopLimit {
			t.Errorf("ended after %v with %v, want %v and an error", took, err, time.Minute+stopLimit)
		}
		if err := waitStopped(ctx, slog.New(slog.DiscardHandler), func() error { return nil }); err != nil {
			t.Errorf("a stop in time: %v", err)
		}
	})
}
