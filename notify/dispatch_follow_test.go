package notify

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestFollow: where one dispatcher takes over from another, each target goes on
// as soon as its own queue can, in order, and what is gone is given up.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(map[string]func(context.Context, int, Alert) error{
			"good": nil, "hanging": hanging, "down": failing(99, errDown), "gone": hanging,
			"limited": failing(99, &RetryError{errors.New("HTTP 429: slow down"), time.Minute}),
		}).run()
		b.send(t, alert(Changed, "dead1"))
		time.Sleep(time.Second)
		b.send(t, alert(Changed, "healthy1"))
		next := b.follow(map[string]func(context.Context, int, Alert) error{
			"good": nil, "hanging": nil, "down": nil, "limited": nil, "new": nil,
		})
		next.send(t, alert(Changed, "dead2"))
		time.Sleep(2 * time.Minute)
		wantCalls(t, b.fakes["good"], "0s dead1", "1s healthy1")
		wantCalls(t, next.fakes["good"], "0s dead2")
		wantCalls(t, next.fakes["new"], "0s dead2")
		wantCalls(t, b.fakes["hanging"], "0s dead1")
		wantCalls(t, next.fakes["hanging"], "9s dead1", "9s healthy1", "9s dead2")
		wantCalls(t, b.fakes["down"], "0s dead1")
		wantCalls(t, next.fakes["down"], "1s dead1", "1s healthy1", "1s dead2") // 2 s after the first try
		wantCalls(t, b.fakes["limited"], "0s dead1")
		wantCalls(t, next.fakes["limited"], "59s dead1", "59s healthy1", "59s dead2")
		for _, s := range append(b.Stats(), next.Stats()...) {
			if s.Queued != 0 {
				t.Errorf("%s: %d queued", s.Target, s.Queued)
			}
		}
		next.end()
		if len(b.journal.left) > 0 {
			t.Errorf("the journal keeps %v", b.journal.left)
		}
		if log := b.log.String(); strings.Contains(log, "left to be delivered") {
			t.Errorf("log:\n%s", log)
		}
		if want := `level=WARN msg="gave up alerts of a recipient that is no longer configured" target=gone alerts=2`; !strings.Contains(next.log.String(), want) {
			t.Errorf("log lacks %s:\n%s", want, next.log)
		}
	})
}

// TestFollowMany: however many dispatchers follow each other while a target
// hangs, the others get everything at once, and that one when its try ends.
func TestFollowMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parts := map[string]func(context.Context, int, Alert) error{"good": nil, "hanging": hanging}
		b := newBench(parts).run()
		b.send(t, alert(Changed, "dead1"))
		begin := time.Now()
		for range 100 {
			b = b.follow(parts)
			time.Sleep(10 * time.Millisecond)
		}
		b.send(t, alert(Changed, "healthy1"))
		wantCalls(t, b.fakes["good"], "10ms healthy1")
		time.Sleep(time.Until(begin.Add(13 * time.Second)))
		wantCalls(t, b.fakes["hanging"], "9.01s dead1") // when the first try ended, which was not cut
		if took := b.end(); took != grace {
			t.Errorf("the end took %v, want %v", took, grace)
		}
		if got := ids(b.Undelivered()["hanging"]); got != "dead1 healthy1" {
			t.Errorf("undelivered %q", got)
		}
	})
}

// TestReloadCutsNothing: a reload lets a delivery under way finish, however
// long it takes, so that it's neither lost nor sent twice; the end does not.
func TestReloadCutsNothing(t *testing.T) {
	slow := func(ctx context.Context, _ int, _ Alert) error {
		select {
		case <-time.After(90 * time.Second):
			return nil
		case <-ctx.Done():
			return &UnconfirmedError{ctx.Err()}
		}
	}
	parts := map[string]func(context.Context, int, Alert) error{"slow": slow}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(parts).run()
		b.send(t, alert(Changed, "dead1"))
		time.Sleep(time.Second)
		next := b.follow(parts)
		last := next.follow(parts)
		time.Sleep(3 * time.Minute)
		if got := ids(b.fakes["slow"].accepted()); got != "dead1" {
			t.Errorf("delivered %q", got)
		}
		wantCalls(t, next.fakes["slow"])
		wantCalls(t, last.fakes["slow"])
		last.end()
		if left := last.Undelivered(); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBench(parts).run()
		b.send(t, alert(Changed, "dead1"))
		last := b.follow(parts).follow(parts)
		time.Sleep(time.Second)
		if took := last.end(); took != grace {
			t.Errorf("the end took %v, want %v", took, grace)
		}
		if left := last.Undelivered()["slow"]; len(left) != 1 || !left[0].Repeat || !left[0].Sent {
			t.Errorf("left %+v, want one that is marked as a repeat", left)
		}
	})
}

// TestEndWhileFollowing: the end comes while the dispatcher before is still at
// work. All is tried that can be, nothing is lost, and it is over soon.
func TestEndWhileFollowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(map[string]func(context.Context, int, Alert) error{"hanging": hanging, "deaf": func(context.Context, int, Alert) error {
			time.Sleep(5500 * time.Millisecond)
			return nil
		}}).run()
		b.send(t, alert(Changed, "dead1"))
		next := b.follow(map[string]func(context.Context, int, Alert) error{"hanging": hanging, "deaf": hanging})
		next.send(t, alert(Changed, "healthy1"))
		time.Sleep(time.Second)
		if took := next.end(); took > 7*time.Second {
			t.Errorf("the end took %v", took)
		}
		left := next.Undelivered()
		if got := ids(left["hanging"]) + ", " + ids(left["deaf"]); got != "dead1 healthy1, healthy1" {
			t.Errorf("undelivered %q", got)
		}
	})
}
