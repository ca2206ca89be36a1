package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// unconfirmed takes the message and gives no verdict, the first n times.
func unconfirmed(n int) func(context.Context, int, Alert) error {
	return func(_ context.Context, try int, _ Alert) error {
		time.Sleep(10 * time.Second)
		if try <= n {
			return &UnconfirmedError{errors.New("no answer in time")}
		}
		return nil
	}
}

// marks lists ids of alerts, those of repeats with a mark.
func marks(alerts []Alert) string {
	var s []string
	for _, a := range alerts {
		if a.Repeat {
			a.ID += "(repeat)"
		}
		s = append(s, a.ID)
	}
	return strings.Join(s, " ")
}

// TestUnconfirmed: a message that was handed over counts as told. It is
// repeated, marked as such, as long as nothing newer says otherwise.
func TestUnconfirmed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		tries int           // without a verdict
		newer time.Duration // when a second alert comes; 0: never
		calls []string
		got   string
		sent  bool // whether the journal was told
	}{
		{"repeated", 1, 0, []string{"0s dead1", "40s dead1"}, "dead1(repeat)", true},
		{"news while it waits", 1, 15 * time.Second, []string{"0s dead1", "15s healthy1"}, "healthy1", true},
		{"news while the service thinks", 1, 5 * time.Second, []string{"0s dead1", "10s healthy1"}, "healthy1", true},
		{"news during the repeat", 2, 42 * time.Second, []string{"0s dead1", "40s dead1", "50s healthy1"}, "healthy1", true},
		{"verdict in time", 0, 5 * time.Second, []string{"0s dead1", "10s healthy1"}, "dead1 healthy1", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(map[string]func(context.Context, int, Alert) error{"slow": unconfirmed(tt.tries)}).run()
				b.send(t, alert(Changed, "dead1"))
				if tt.newer > 0 {
					time.Sleep(tt.newer)
					b.send(t, alert(Changed, "healthy1"))
				}
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				wantCalls(t, b.fakes["slow"], tt.calls...)
				if got := marks(b.fakes["slow"].accepted()); got != tt.got {
					t.Errorf("delivered %q, want %q", got, tt.got)
				}
				if b.journal.sent["dead1"] != tt.sent || len(b.journal.left) > 0 {
					t.Errorf("the journal has %v and %v", b.journal.sent, b.journal.left)
				}
				b.end()
			})
		})
	}
}

// TestUnconfirmedOverRestart: what was handed over before a restart is not
// repeated when something newer is queued behind it.
func TestUnconfirmedOverRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(map[string]func(context.Context, int, Alert) error{"x": nil})
		sent := alert(Changed, "dead1")
		sent.Sent, sent.Repeat = true, true
		b.Restore("x", []Alert{sent, alert(Changed, "healthy1")})
		b.run()
		time.Sleep(time.Minute)
		wantCalls(t, b.fakes["x"], "0s healthy1")
		b.end()
	})
}

// TestRefusedDuringDeploy: a proxy that redirects or knows no such path for a
// while loses nothing, and the order stays.
func TestRefusedDuringDeploy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		b := newBench(map[string]func(context.Context, int, Alert) error{"x": func(context.Context, int, Alert) error {
			if time.Since(begin) < 5*time.Minute {
				return &PermanentError{errors.New("HTTP 404: Not Found")}
			}
			return nil
		}}).run()
		b.send(t, alert(Changed, "dead1"))
		time.Sleep(time.Minute)
		b.send(t, alert(Changed, "healthy1"))
		time.Sleep(20 * time.Minute)
		if got := marks(b.fakes["x"].accepted()); got != "dead1 healthy1" {
			t.Errorf("delivered %q", got)
		}
		const line = `level=ERROR msg="delivery refused, will retry for 10 minutes" target=x alert=dead1 attempts=1 wait=2s err="HTTP 404: Not Found"`
		if log := b.log.String(); strings.Count(log, "ERROR") != 1 || !strings.Contains(log, line) {
			t.Errorf("log:\n%swant\n%s", log, line)
		}
		b.end()
	})
}

// TestRefusedForGood: a rejection that lasts is given up after 10 minutes with
// one more line, over reloads and restarts too.
func TestRefusedForGood(t *testing.T) {
	parts := map[string]func(context.Context, int, Alert) error{"x": failing(99, &PermanentError{errors.New("HTTP 401: no")})}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(parts).run()
		b.send(t, alert(Changed, "dead1"))
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		var want []string
		for _, s := range []int{0, 2, 6, 14, 30, 62, 126, 254, 510, 600} {
			want = append(want, fmt.Sprintf("%v dead1", time.Duration(s)*time.Second))
		}
		wantCalls(t, b.fakes["x"], want...)
		const line = `level=ERROR msg="delivery still refused, giving up" target=x alert=dead1 attempts=10 err="HTTP 401: no"`
		if log := b.log.String(); strings.Count(log, "ERROR") != 2 || !strings.Contains(log, line) {
			t.Errorf("log:\n%swant\n%s", log, line)
		}
		if s := b.Stats()[0]; s.Refused != 1 || s.Queued != 0 || len(b.journal.left) > 0 {
			t.Errorf("stats %+v, journal %v", s, b.journal.left)
		}
		b.end()
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBench(parts).run()
		b.send(t, alert(Changed, "dead1"))
		time.Sleep(6 * time.Minute)
		b.end()
		next := newBench(parts)
		next.Restore("x", b.Undelivered()["x"])
		next.run()
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if calls := next.fakes["x"].calls(); calls[len(calls)-1] != "4m0s dead1" {
			t.Errorf("tried at %q, want the last try 10 minutes after the first", calls)
		}
		next.end()
	})
}
