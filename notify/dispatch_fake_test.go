package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A fake is a notifier that plays a part. It notes when it was asked for what.
type fake struct {
	play func(ctx context.Context, try int, a Alert) error // nil: accept
	from time.Time

	mu  sync.Mutex
	log []string // "2s dead1"
	got []Alert  // what it accepted
}

func (f *fake) Notify(ctx context.Context, a Alert) error {
	f.mu.Lock()
	f.log = append(f.log, fmt.Sprintf("%v %s", time.Since(f.from), a.ID))
	try := len(f.log)
	f.mu.Unlock()
	if f.play != nil {
		if err := f.play(ctx, try, a); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, a)
	return nil
}

// accepted returns what it accepted so far.
func (f *fake) accepted() []Alert {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.got)
}

// calls returns what it was asked for so far.
func (f *fake) calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log)
}

var errDown = errors.New("HTTP 503: Service Unavailable")

// failing fails the first n tries.
func failing(n int, err error) func(context.Context, int, Alert) error {
	return func(_ context.Context, try int, _ Alert) error {
		if try <= n {
			return err
		}
		return nil
	}
}

// hanging never answers and gives up after 10 s.
func hanging(ctx context.Context, _ int, _ Alert) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	<-ctx.Done()
	return ctx.Err()
}

// A bench runs a dispatcher over fakes in a bubble.
type bench struct {
	*Dispatcher
	fakes   map[string]*fake
	alerts  chan Alert
	journal *journal
	log     *bytes.Buffer
	stop    context.CancelFunc
	done    chan struct{}
	start   time.Time
}

// newBench prepares one fake per part; start runs it.
func newBench(parts map[string]func(context.Context, int, Alert) error) *bench {
	b := &bench{
		fakes: make(map[string]*fake), alerts: make(chan Alert), journal: newJournal(),
		log: new(bytes.Buffer), done: make(chan struct{}), start: time.Now(),
	}
	var targets []Target
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		f := &fake{play: parts[name], from: b.start}
		b.fakes[name] = f
		targets = append(targets, Target{Key: name, Name: name, Channel: name, Notifier: f, RemindersOnly: name == "reminders"})
	}
	logger := slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "stack" {
				return slog.Attr{}
			}
			return a
		},
	}))
	b.Dispatcher = NewDispatcher(targets, b.journal, logger)
	return b
}

// follow runs a dispatcher over fakes of these parts, to which b hands over.
func (b *bench) follow(parts map[string]func(context.Context, int, Alert) error) *bench {
	next := newBench(parts)
	next.journal = b.journal
	next.Dispatcher.journal = b.journal
	for _, q := range next.queues {
		q.journal = b.journal
	}
	b.HandOver()
	next.Follow(b.Dispatcher)
	b.stop()
	return next.run()
}

func (b *bench) run() *bench {
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	go func() {
		b.Run(ctx, b.alerts)
		close(b.done)
	}()
	return b
}

// send hands alerts over, which must not take time.
func (b *bench) send(t *testing.T, alerts ...Alert) {
	t.Helper()
	before := time.Now()
	for _, a := range alerts {
		b.alerts <- a
	}
	synctest.Wait()
	if took := time.Since(before); took > 0 {
		t.Errorf("the hand-over took %v", took)
	}
}

// end stops the dispatcher and returns how long that took.
func (b *bench) end() time.Duration {
	before := time.Now()
	b.stop()
	<-b.done
	return time.Since(before)
}

// journal is a Journal in memory.
type journal struct {
	mu    sync.Mutex
	left  map[string][]string  // by target: ids
	tried map[string]time.Time // by id: when it was first
	sent  map[string]bool      // by id: whether it was handed over without a verdict
	done  []string             // "target id"
}

func newJournal() *journal {
	return &journal{left: make(map[string][]string), tried: make(map[string]time.Time), sent: make(map[string]bool)}
}

func (j *journal) Queued(target string, a Alert) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tried[a.ID] = a.Tried
	j.sent[a.ID] = j.sent[a.ID] || a.Sent
	if !slices.Contains(j.left[target], a.ID) {
		j.left[target] = append(j.left[target], a.ID)
	}
}

func (j *journal) Done(target, id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.done = append(j.done, target+" "+id)
	j.left[target] = slices.DeleteFunc(j.left[target], func(s string) bool { return s == id })
	if len(j.left[target]) == 0 {
		delete(j.left, target)
	}
}

// alert is one of a kind with an id; its status follows from the id.
func alert(kind Kind, id string) Alert {
	a := Alert{ID: id, Kind: kind, Status: Dead, Time: time.Now()}
	if strings.HasPrefix(id, "healthy") {
		a.Status = Healthy
	}
	return a
}

func ids(alerts []Alert) string {
	var s []string
	for _, a := range alerts {
		s = append(s, a.ID)
	}
	return strings.Join(s, " ")
}

func wantCalls(t *testing.T, f *fake, want ...string) {
	t.Helper()
	if got := f.calls(); !slices.Equal(got, want) {
		t.Errorf("tried at %q, want %q", got, want)
	}
}
