package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestGivesUpAfterAnHour counts the tries of a target that stays down.
func TestGivesUpAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(map[string]func(context.Context, int, Alert) error{"down": failing(1000, errDown)}).run()
		b.send(t, alert(Changed, "dead1"))
		time.Sleep(10 * time.Minute)
		b.send(t, alert(Changed, "healthy1"))
		time.Sleep(55 * time.Minute)
		var want []string
		for _, s := range []int{0, 2, 6, 14, 30, 62, 126, 254, 510, 810, 1110, 1410, 1710, 2010, 2310, 2610, 2910, 3210, 3510, 3600} {
			want = append(want, fmt.Sprintf("%v dead1", time.Duration(s)*time.Second))
		}
		for _, s := range []int{3600, 3602, 3606, 3614, 3630, 3662, 3726, 3854} { // the next one has its own hour
			want = append(want, fmt.Sprintf("%v healthy1", time.Duration(s)*time.Second))
		}
		wantCalls(t, b.fakes["down"], want...)
		const line = `level=ERROR msg="delivery failed, giving up" target=down alert=dead1 attempts=20 err="HTTP 503: Service Unavailable"`
		if got := b.log.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, line) {
			t.Errorf("log:\n%swant once:\n%s", got, line)
		}
		if s := b.Stats()[0]; s.GivenUp != 1 || s.Queued != 1 {
			t.Errorf("stats %+v", s)
		}
		b.end()
	})
}

// TestPatienceIsOneHourInAll: an alert that goes from one queue to the next, as
// at a reload, takes along when it was first tried. The journal hears of that.
func TestPatienceIsOneHourInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parts := map[string]func(context.Context, int, Alert) error{"down": failing(1000, errDown)}
		b := newBench(parts).run()
		b.send(t, alert(Changed, "dead1"), alert(Changed, "healthy1"))
		time.Sleep(40 * time.Minute)
		b.end()
		left := b.Undelivered()["down"]
		if len(left) != 2 || !left[0].Tried.Equal(b.start) || !left[1].Tried.IsZero() {
			t.Fatalf("left %+v, want two of which the first was tried at once", left)
		}
		if got := b.journal.tried["dead1"]; !got.Equal(b.start) {
			t.Errorf("by the journal it was tried first at %v, want %v", got, b.start)
		}
		next := newBench(parts)
		next.Restore("down", left)
		next.run()
		time.Sleep(21 * time.Minute)
		next.end()
		calls := next.fakes["down"].calls()
		i := slices.Index(calls, "20m0s dead1")
		if i < 0 || calls[0] != "0s dead1" || calls[i+1] != "20m0s healthy1" {
			t.Errorf("tried at %q, want dead1 from 0s to 20m0s, then healthy1", calls)
		}
		if got := ids(next.Undelivered()["down"]); got != "healthy1" {
			t.Errorf("left %q", got)
		}
	})
}

// TestRetryAfterIsBounded: a service may ask for more than the hour, and gets
// one last try at its end.
func TestRetryAfterIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		day := &RetryError{errors.New("HTTP 429: tomorrow"), 24 * time.Hour}
		b := newBench(map[string]func(context.Context, int, Alert) error{"day": failing(9, day)}).run()
		b.send(t, alert(Changed, "dead1"))
		time.Sleep(3 * time.Hour)
		wantCalls(t, b.fakes["day"], "0s dead1", "1h0m0s dead1")
		b.end()
	})
}
