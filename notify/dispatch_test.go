package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestChannelsAreIndependent: whatever happens to some, the others get the
// alert at once, and every one is tried exactly as often as it should be.
func TestChannelsAreIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(map[string]func(context.Context, int, Alert) error{
			"good":    nil,
			"good2":   nil,
			"hanging": hanging,
			"refuses": failing(99, &FinalError{errors.New("HTTP 401: invalid_token")}),
			"down":    failing(2, errDown),
			"limited": failing(1, fmt.Errorf("slack: %w", &RetryError{errors.New("HTTP 429: slow down"), 3 * time.Second})),
			"broken": func(_ context.Context, try int, _ Alert) error {
				if try <= 2 {
					var none []int
					_ = none[try-1]
				}
				return nil
			},
		}).run()
		b.send(t, alert(Changed, "dead1"))
		for _, name := range []string{"good", "good2", "hanging", "refuses", "down", "limited", "broken"} {
			wantCalls(t, b.fakes[name], "0s dead1")
		}
		time.Sleep(20 * time.Second)
		b.send(t, alert(Changed, "healthy1"))
		time.Sleep(time.Second)
		wantCalls(t, b.fakes["good"], "0s dead1", "20s healthy1")
		wantCalls(t, b.fakes["good2"], "0s dead1", "20s healthy1")
		wantCalls(t, b.fakes["refuses"], "0s dead1", "20s healthy1")
		wantCalls(t, b.fakes["down"], "0s dead1", "2s dead1", "6s dead1", "20s healthy1")
		wantCalls(t, b.fakes["limited"], "0s dead1", "3s dead1", "20s healthy1")
		wantCalls(t, b.fakes["broken"], "0s dead1", "2s dead1", "6s dead1", "20s healthy1")
		wantCalls(t, b.fakes["hanging"], "0s dead1", "12s dead1") // 10 s, then 2 s

		var stats []string
		for _, s := range b.Stats() {
			stats = append(stats, fmt.Sprintf("%s delivered %d failed %d refused %d queued %d",
				s.Target, s.Delivered, s.Failed, s.Refused, s.Queued))
		}
		want := []string{
			"broken delivered 2 failed 2 refused 0 queued 0",
			"down delivered 2 failed 2 refused 0 queued 0",
			"good delivered 2 failed 0 refused 0 queued 0",
			"good2 delivered 2 failed 0 refused 0 queued 0",
			"hanging delivered 0 failed 1 refused 0 queued 2",
			"limited delivered 2 failed 1 refused 0 queued 0",
			"refuses delivered 0 failed 0 refused 2 queued 0",
		}
		if !slices.Equal(stats, want) {
			t.Errorf("stats %q, want %q", stats, want)
		}
		b.end()

		lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(b.log.String()), "\n"), func(s string) bool { return !strings.Contains(s, "target=") })
		slices.SortFunc(lines, func(a, b string) int {
			return cmp.Compare(a[strings.Index(a, "target="):], b[strings.Index(b, "target="):])
		})
		want = []string{
			`level=INFO msg="delivered after retries" target=broken alert=dead1 attempts=3`,
			`level=WARN msg="delivery failed, will retry" target=broken alert=dead1 attempts=1 wait=2s err="the notifier panicked: runtime error: index out of range [0] with length 0"`,
			`level=ERROR msg="notifier panicked" target=broken err="the notifier panicked: runtime error: index out of range [0] with length 0"`,
			`level=INFO msg="delivered after retries" target=down alert=dead1 attempts=3`,
			`level=WARN msg="delivery failed, will retry" target=down alert=dead1 attempts=1 wait=2s err="HTTP 503: Service Unavailable"`,
			`level=WARN msg="stopped with undelivered alerts" target=hanging alerts=2`,
			`level=WARN msg="delivery failed, will retry" target=hanging alert=dead1 attempts=1 wait=2s err="context deadline exceeded"`,
			`level=INFO msg="delivered after retries" target=limited alert=dead1 attempts=2`,
			`level=WARN msg="delivery failed, will retry" target=limited alert=dead1 attempts=1 wait=3s err="slack: HTTP 429: slow down"`,
			`level=ERROR msg="delivery refused, will not retry" target=refuses alert=dead1 attempts=1 err="HTTP 401: invalid_token"`,
			`level=ERROR msg="delivery refused, will not retry" target=refuses alert=healthy1 attempts=1 err="HTTP 401: invalid_token"`,
		}
		slices.Sort(lines)
		slices.Sort(want)
		if !slices.Equal(lines, want) {
			t.Errorf("log:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
		if got := ids(b.Undelivered()["hanging"]); got != "dead1 healthy1" {
			t.Errorf("undelivered %q", got)
		}
		if want := map[string][]string{"hanging": {"dead1", "healthy1"}}; !reflect.DeepEqual(b.journal.left, want) {
			t.Errorf("the journal has %v, want %v", b.journal.left, want)
		}
	})
}

// TestNotificationsAreLogged: the log tells of an outage once, by its nodes,
// whoever can be reached.
func TestNotificationsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(map[string]func(context.Context, int, Alert) error{"a": nil, "b": nil}).run()
		small := alert(Changed, "dead1")
		small.Recovered = []string{"web:x:1"}
		for _, node := range []string{"web:a", "web:a", "web:b"} {
			small.Dead = append(small.Dead, Replica{Path: node + ":http://me:secret@host/", Node: node})
		}
		big := alert(Reminder, "dead2")
		for i := range 20 {
			node := fmt.Sprintf("web:%d", i/2)
			big.Dead = append(big.Dead, Replica{Path: fmt.Sprintf("%s:%d", node, i), Node: node})
		}
		b.send(t, small, big, alert(Changed, "healthy1"))
		b.end()
		want := `level=WARN msg=notification alert=dead1 kind=changed status=dead dead=3 nodes="web:a, web:b" recovered=1
level=WARN msg=notification alert=dead2 kind=reminder status=dead dead=20 nodes="web:0, web:1, web:2, web:3, web:4 and 5 more"
level=INFO msg=notification alert=healthy1 kind=changed status=healthy
`
		if got := b.log.String(); got != want {
			t.Errorf("log:\n%swant:\n%s", got, want)
		}
	})
}

// TestOrderAndReminders: changes keep their order; a reminder that something
// newer follows makes way, but what it says came back is still told.
func TestOrderAndReminders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(map[string]func(context.Context, int, Alert) error{
			"down": failing(3, errDown),
			"reminders": func(context.Context, int, Alert) error {
				time.Sleep(time.Second)
				return nil
			},
		}).run()
		second := alert(Reminder, "reminder2")
		second.Recovered, second.Dead = []string{"a", "b"}, []Replica{{Path: "c"}}
		third := alert(Reminder, "reminder3")
		third.Dead = []Replica{{Path: "b"}, {Path: "c"}}
		b.send(t, alert(Startup, "healthy0"), alert(Changed, "dead1"), alert(Reminder, "reminder1"),
			second, third, alert(Changed, "healthy2"), alert(Changed, "dead3"))
		time.Sleep(time.Minute)
		got := b.fakes["down"].accepted()
		if got := ids(got); got != "healthy0 dead1 healthy2 dead3" {
			t.Errorf("delivered %q", got)
		}
		if a := got[2]; !slices.Equal(a.Recovered, []string{"a"}) || a.Merged != 0 || a.Kind != Changed {
			t.Errorf("the change after the reminders is %+v", a)
		}
		wantCalls(t, b.fakes["reminders"], "0s reminder1", "1s reminder3") // two came while one was under way
		b.end()
		if len(b.journal.left) > 0 {
			t.Errorf("the journal keeps %v", b.journal.left)
		}
	})
}

// TestSupersededReminder: news need not wait for a reminder that fails, but
// for the time that the service asked for.
func TestSupersededReminder(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{errDown, "20s healthy1"},
		{&RetryError{errDown, 25 * time.Second}, "25s healthy1"},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(map[string]func(context.Context, int, Alert) error{
				"down": func(_ context.Context, _ int, a Alert) error {
					if a.Kind == Reminder {
						return tt.err
					}
					return nil
				},
			}).run()
			b.send(t, alert(Reminder, "reminder1"))
			time.Sleep(20 * time.Second) // the fifth try is due at 30 s
			b.send(t, alert(Changed, "healthy1"))
			time.Sleep(time.Minute)
			calls := b.fakes["down"].calls()
			if got := calls[len(calls)-1]; got != tt.want {
				t.Errorf("%v: the last of %q should be %q", tt.err, calls, tt.want)
			}
			b.end()
		})
	}
}

// TestFullQueue: with a target that is down for long, the queue stays bounded,
// nothing that changed is lost, and the newest state gets through.
func TestFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(map[string]func(context.Context, int, Alert) error{
			"down": func(_ context.Context, try int, a Alert) error {
				if try == 1 {
					time.Sleep(9 * time.Second)
					return errDown
				}
				return nil
			},
		}).run()
		const n = 1000
		for i := range n {
			a := alert(Changed, fmt.Sprintf("dead%d", i))
			if i%2 == 1 {
				a.Status, a.Recovered = Healthy, []string{fmt.Sprintf("r%d", i-1)}
			} else {
				a.Dead = []Replica{{Path: fmt.Sprintf("r%d", i)}}
			}
			b.send(t, a, alert(Reminder, fmt.Sprintf("reminder%d", i)))
		}
		if s := b.Stats()[0]; s.Queued > maxQueue {
			t.Errorf("%d alerts are queued, want at most %d", s.Queued, maxQueue)
		}
		time.Sleep(time.Minute)
		got := b.fakes["down"].accepted()
		stands := 0
		back := make(map[string]bool)
		for _, a := range got {
			stands += 1 + a.Merged
			for _, path := range a.Recovered {
				back[path] = true
			}
		}
		if len(got) > maxQueue || len(back) != n/2 || stands != n+1 { // one reminder is left
			t.Errorf("%d alerts arrived, which stand for %d changes and name %d recoveries, want %d and %d",
				len(got), stands, len(back), n+1, n/2)
		}
		if first, last := got[0], got[len(got)-1]; first.ID != "dead0" || last.ID != "reminder999" {
			t.Errorf("delivered from %s to %s", first.ID, last.ID)
		}
		if text := plainText(got[1], time.Now()); !strings.Contains(text, fmt.Sprintf("This also stands for %d earlier messages", got[1].Merged)) {
			t.Errorf("the merged message does not say so:\n%s", text)
		}
		b.end()
		if len(b.journal.left) > 0 {
			t.Errorf("the journal keeps %v", b.journal.left)
		}
	})
}

func TestAbsorb(t *testing.T) {
	older := Alert{ID: "1", Kind: Changed, Recovered: []string{"a", "b", "c"}, Note: "note", Merged: 2}
	newer := Alert{ID: "2", Kind: Reminder, Status: Dead, Dead: []Replica{{Path: "b"}}, Recovered: []string{"c", "d"}}
	want := Alert{ID: "2", Kind: Changed, Status: Dead, Dead: newer.Dead, Recovered: []string{"a", "c", "d"}, Note: "note", Merged: 3}
	if got := absorb(newer, older); !reflect.DeepEqual(got, want) {
		t.Errorf("absorb = %+v, want %+v", got, want)
	}
	if !slices.Equal(older.Recovered, []string{"a", "b", "c"}) || !slices.Equal(newer.Recovered, []string{"c", "d"}) {
		t.Error("absorb changed what it was given")
	}
}

// TestGrace: at the end, what is under way may finish, what is queued is tried
// once, and nothing holds the program longer than the grace.
func TestGrace(t *testing.T) {
	slow := func(d time.Duration, err error) func(context.Context, int, Alert) error {
		return func(ctx context.Context, _ int, _ Alert) error {
			select {
			case <-time.After(d):
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	deaf := make(chan struct{})
	for _, tt := range []struct {
		name  string
		play  func(context.Context, int, Alert) error
		calls []string
		left  string
		took  time.Duration
	}{
		{"good", nil, []string{"0s dead1", "0s healthy1", "0s dead2"}, "", 0},
		{"slow", slow(1800*time.Millisecond, nil), []string{"0s dead1", "1.8s healthy1", "3.6s dead2"}, "", 4400 * time.Millisecond},
		{"too slow", slow(4*time.Second, nil), []string{"0s dead1", "4s healthy1"}, "healthy1 dead2", 5 * time.Second},
		{"hanging", hanging, []string{"0s dead1"}, "dead1 healthy1 dead2", 5 * time.Second},
		{"deaf", func(context.Context, int, Alert) error { <-deaf; return nil }, []string{"0s dead1"}, "dead1 healthy1 dead2", 6 * time.Second},
		{"down", failing(9, errDown), []string{"0s dead1", "1s dead1"}, "dead1 healthy1 dead2", 0},
		{"limited", failing(9, &RetryError{errDown, time.Minute}), []string{"0s dead1"}, "dead1 healthy1 dead2", 0},
		{"refuses one", failing(1, &FinalError{errDown}), []string{"0s dead1", "0s healthy1", "0s dead2"}, "", 0},
		{"back again", failing(1, errDown), []string{"0s dead1", "1s dead1", "1s healthy1", "1s dead2"}, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				deaf = make(chan struct{})
				defer close(deaf)
				b := newBench(map[string]func(context.Context, int, Alert) error{"x": tt.play}).run()
				b.send(t, alert(Changed, "dead1"), alert(Changed, "healthy1"), alert(Changed, "dead2"))
				time.Sleep(time.Second)
				if took := b.end(); took != tt.took {
					t.Errorf("the end took %v, want %v", took, tt.took)
				}
				wantCalls(t, b.fakes["x"], tt.calls...)
				if got := ids(b.Undelivered()["x"]); got != tt.left {
					t.Errorf("undelivered %q, want %q", got, tt.left)
				}
				if got := strings.Join(b.journal.left["x"], " "); got != tt.left {
					t.Errorf("the journal keeps %q, want %q", got, tt.left)
				}
			})
		})
	}
}

// TestSurvives: what a run leaves undelivered goes through JSON into the next
// one, in its order and with the time it happened.
func TestSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parts := map[string]func(context.Context, int, Alert) error{"a": failing(9, errDown), "gone": failing(9, errDown)}
		b := newBench(parts).run()
		first := alert(Changed, "dead1")
		first.Dead = []Replica{{Path: "web:core:a", Reason: "HTTP 503"}}
		first.Recovered, first.Note, first.Page = []string{"web:core:b"}, "note", Page{"Title", "https://x/"}
		b.send(t, first, alert(Reminder, "reminder1"))
		b.end()

		raw, err := json.Marshal(b.Undelivered())
		if err != nil {
			t.Fatal(err)
		}
		var left map[string][]Alert
		if err := json.Unmarshal(raw, &left); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Minute)

		next := newBench(map[string]func(context.Context, int, Alert) error{"a": nil, "reminders": nil})
		next.journal = b.journal
		next.Dispatcher.journal = b.journal
		for _, q := range next.queues {
			q.journal = b.journal
		}
		for target, alerts := range left {
			next.Restore(target, alerts)
		}
		next.Restore("reminders", []Alert{alert(Changed, "dead0"), alert(Reminder, "reminder0")})
		next.run()
		synctest.Wait()
		next.send(t, alert(Changed, "healthy2"))
		next.end()

		got := next.fakes["a"].accepted()
		if ids(got) != "dead1 reminder1 healthy2" {
			t.Fatalf("delivered %q", ids(got))
		}
		if !got[0].Time.Equal(first.Time) || !reflect.DeepEqual(got[0].Dead, first.Dead) {
			t.Errorf("restored %+v, want %+v", got[0], first)
		}
		if text := plainText(got[0], next.start); !strings.Contains(text, "sent 4 min late") {
			t.Errorf("the late message does not say so:\n%s", text)
		}
		wantCalls(t, next.fakes["reminders"], "0s reminder0")
		if len(b.journal.left) > 0 {
			t.Errorf("the journal keeps %v", b.journal.left)
		}
		if want := `level=WARN msg="gave up alerts of a recipient that is no longer configured" target=gone alerts=2`; !strings.Contains(next.log.String(), want) {
			t.Errorf("log lacks %s:\n%s", want, next.log)
		}
	})
}

// TestJournalOfTheUnwanted: who takes an alert for pending until it is done
// must hear of those that a target does not want, too.
func TestJournalOfTheUnwanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(map[string]func(context.Context, int, Alert) error{"reminders": nil}).run()
		b.send(t, alert(Changed, "dead1"), alert(Reminder, "reminder1"))
		b.end()
		if want := []string{"reminders dead1", "reminders reminder1"}; !slices.Equal(b.journal.done, want) {
			t.Errorf("done %q, want %q", b.journal.done, want)
		}
	})
}

func TestAlertsSentBeforeTheEndCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(map[string]func(context.Context, int, Alert) error{"a": nil})
		b.alerts = make(chan Alert, 2)
		b.alerts <- alert(Changed, "dead1")
		b.alerts <- alert(Changed, "dead2")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := b.Run(ctx, b.alerts); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		wantCalls(t, b.fakes["a"], "0s dead1", "0s dead2")
	})
}

func TestTestsReachReminderTargets(t *testing.T) {
	quiet := Target{RemindersOnly: true}
	for _, tt := range []struct {
		a    Alert
		want bool
	}{
		{Alert{Kind: Startup}, false},
		{Alert{Kind: Changed}, false},
		{Alert{Kind: Reminder}, true},
		{Alert{Kind: Changed, Test: true}, true},
	} {
		if got := quiet.Wants(tt.a); got != tt.want {
			t.Errorf("a target for reminders only wants %+v: %v", tt.a, got)
		}
	}
}

// TestStatsWhileRunning reads the stats while real deliveries go on; the race
// detector watches.
func TestStatsWhileRunning(t *testing.T) {
	target := channelTarget(t, "webhook", func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	d := NewDispatcher([]Target{target}, nil, slog.New(slog.DiscardHandler))
	alerts := make(chan Alert)
	done := make(chan struct{})
	go func() {
		d.Run(t.Context(), alerts)
		close(done)
	}()
	for i := range 20 {
		alerts <- alert(Changed, fmt.Sprint(i))
		d.Stats()
	}
	close(alerts)
	<-done
	if s := d.Stats()[0]; s.Delivered != 20 || s.Queued != 0 {
		t.Errorf("stats %+v, want 20 delivered", s)
	}
}
