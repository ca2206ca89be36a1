package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// An agentPlay runs an agent against a master that a test plays, by the clock
// of a synctest bubble.
type agentPlay struct {
	t       *testing.T
	start   time.Time
	conf    *LocalConfig
	results chan event
	reloads chan *LocalConfig

	mu     sync.Mutex
	log    bytes.Buffer
	lines  []string // what the master got, a line each
	answer masterPlay
}

// A masterPlay gives a master's answer to a request: its code, or 0 to cut the
// connection. It may take its time.
type masterPlay func(req *http.Request, replica string) int

// code returns the master that always gives one answer.
func code(n int) masterPlay { return func(*http.Request, string) int { return n } }

// hang is a master that does not answer.
func hang(req *http.Request, _ string) int {
	<-req.Context().Done()
	return 0
}

// agentConfig returns the config of an agent with a service "lan" that has the
// nodes, each written "id=replica,replica".
func agentConfig(interval time.Duration, nodes ...string) *LocalConfig {
	s := &Service{ID: "lan"}
	for _, node := range nodes {
		id, targets, _ := strings.Cut(node, "=")
		n := &Node{ID: id}
		for target := range strings.SplitSeq(targets, ",") {
			n.Targets = append(n.Targets, Target{Raw: target})
		}
		s.Nodes = append(s.Nodes, n)
	}
	return &LocalConfig{
		Endpoint: "https://status.example.com",
		Token:    "t0ken",
		Interval: interval,
		Metrics:  Metrics{PollDelayDead: 10 * time.Second, RetryCount: 1, RetryWait: 2 * time.Second},
		Services: []*Service{s},
	}
}

// playAgent runs f while an agent works by conf. Jitter is left out: random is
// always the same.
func playAgent(t *testing.T, conf *LocalConfig, random float64, f func(p *agentPlay)) {
	synctest.Test(t, func(t *testing.T) {
		p := &agentPlay{
			t: t, start: time.Now(), conf: conf,
			results: make(chan event), reloads: make(chan *LocalConfig),
			answer: code(200),
		}
		log := slog.New(slog.NewTextHandler(p, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.String("at", time.Since(p.start).Round(time.Second).String())
				}
				return a
			},
		}))
		client := newMasterClient()
		client.Transport = p
		a := newAgent(conf, client, log)
		a.box.random = func() float64 { return random }
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.run(ctx, p.results, p.reloads) }()
		f(p)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// RoundTrip plays the network between agent and master.
func (p *agentPlay) RoundTrip(req *http.Request) (*http.Response, error) {
	var msg reportMessage
	if req.Method == http.MethodPost {
		if err := json.NewDecoder(req.Body).Decode(&msg); err != nil {
			p.t.Error(err)
		}
	}
	line := strings.TrimRight(fmt.Sprintf("%v %s %s %s %s", time.Since(p.start).Round(time.Second),
		req.Method, strings.TrimPrefix(req.URL.EscapedPath(), "/reporter/"), msg.Replica, msg.Health), " ")
	p.mu.Lock()
	p.lines = append(p.lines, line)
	answer := p.answer
	p.mu.Unlock()
	code := answer(req, msg.Replica)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	if code == 0 {
		return nil, syscall.ECONNREFUSED
	}
	body := ""
	if code != 200 {
		body = `{"error":"no, ` + strings.ToLower(http.StatusText(code)) + `"}`
	}
	return &http.Response{StatusCode: code, Header: make(http.Header), Body: io.NopCloser(strings.NewReader(body))}, nil
}

// Write takes what the agent logs.
func (p *agentPlay) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(line)
}

// answers has the master give other answers from now on.
func (p *agentPlay) answers(f masterPlay) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = f
}

// take returns what the master got since it was last asked.
func (p *agentPlay) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := p.lines
	p.lines = nil
	return lines
}

// takeLog returns what was logged since it was last asked, from level warn up.
func (p *agentPlay) takeLog() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lines []string
	for line := range strings.Lines(p.log.String()) {
		if !strings.Contains(line, "level=INFO") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	p.log.Reset()
	return lines
}

// check hands the agent the result of a check of each replica.
func (p *agentPlay) check(s status, ids ...string) {
	p.t.Helper()
	all := replicas(p.conf.Services)
	for _, id := range ids {
		i := slices.IndexFunc(all, func(r *replica) bool { return r.id == id })
		if i < 0 {
			p.t.Fatalf("no replica %q", id)
		}
		p.results <- result{replica: all[i], status: s, reason: "as played", at: time.Now()}
		synctest.Wait()
	}
}

// until lets time pass up to d after the start.
func (p *agentPlay) until(d time.Duration) {
	time.Sleep(d - time.Since(p.start))
	synctest.Wait()
}

// came compares what the master got since it was last asked.
func (p *agentPlay) came(want ...string) {
	p.t.Helper()
	if got := p.take(); !slices.Equal(got, want) {
		p.t.Errorf("the master got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// logged compares what was logged since, from level warn up.
func (p *agentPlay) logged(want ...string) {
	p.t.Helper()
	if got := p.takeLog(); !slices.Equal(got, want) {
		p.t.Errorf("logged\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

const (
	sec    = time.Second
	minute = time.Minute
)

// A status is reported when it is known, when it changes, and when the
// interval is about to be over.
func TestAgentReports(t *testing.T) {
	playAgent(t, agentConfig(2*minute, "gate=a,b"), 0.5, func(p *agentPlay) {
		p.came() // nothing is known yet
		p.check(healthy, "a")
		p.came("0s POST lan/gate/ a healthy")
		p.until(10 * sec)
		p.check(sick, "b")
		p.came("10s POST lan/gate/ b sick")
		p.until(100 * sec)
		p.check(healthy, "a")
		p.check(healthy, "b")
		p.came("1m40s POST lan/gate/ b healthy") // of a there is no news
		p.until(3*minute - 1)
		p.came("1m54s POST lan/gate/ a healthy")
		p.until(4 * minute)
		p.came("3m34s POST lan/gate/ b healthy", "3m48s POST lan/gate/ a healthy")
		p.check(dead, "a")
		p.check(healthy, "a")
		p.came("4m0s POST lan/gate/ a dead", "4m0s POST lan/gate/ a healthy")
		p.logged(`at=4m0s level=WARN msg="replica is dead" service=lan node=gate replica=a reason="as played"`)
	})
}

// However checks come in, the master hears of each replica within each
// interval, and of each change at once.
func TestAgentKeepsTheInterval(t *testing.T) {
	playAgent(t, agentConfig(30*sec, "gate=a,b,c"), 0, func(p *agentPlay) {
		rnd := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		last := make(map[string]time.Time)
		reports := 0
		p.answers(func(_ *http.Request, id string) int {
			mu.Lock()
			defer mu.Unlock()
			if before, ok := last[id]; ok && time.Since(before) > 30*sec {
				t.Errorf("%s: %v between two reports", id, time.Since(before))
			}
			last[id] = time.Now()
			reports++
			return 200
		})
		now := map[string]status{}
		for at := time.Duration(0); at < 2*time.Hour; at += time.Duration(rnd.IntN(20)) * sec {
			p.until(at)
			id := string("abc"[rnd.IntN(3)])
			if rnd.IntN(10) == 0 {
				now[id] = status(rnd.IntN(3))
			}
			p.check(now[id], id)
		}
		if least := 3 * 240; reports < least || reports > least*3/2 {
			t.Errorf("%d reports in 2 hours, want about %d", reports, least)
		}
	})
}

// An agent whose checks do not end any more must not go on to say what the
// last one saw.
func TestAgentFallsSilent(t *testing.T) {
	playAgent(t, agentConfig(minute, "gate=http://me:s3cret@a/"), 0, func(p *agentPlay) {
		const a = "http://me:s3cret@a/"
		p.check(healthy, a)
		patience := 10 * (minute + 10*sec + 2*sec + 10*sec)
		p.until(patience)
		if got := p.take(); len(got) != int(patience/minute)+1 {
			t.Errorf("%d reports in %v", len(got), patience)
		}
		p.until(time.Hour)
		p.came()
		p.logged(`at=14m0s level=ERROR msg="replica no longer reported: its checks do not finish" service=lan node=gate replica=http://***@a/`)
		p.check(healthy, a)
		p.came("1h0m0s POST lan/gate/ " + a + " healthy")
	})
}

// The more there is to report, the more of it goes out at a time, up to a
// limit.
func TestAgentWidth(t *testing.T) {
	for _, test := range []struct{ replicas, seconds, want int }{
		{3, 60, 3}, {100, 60, minSends}, {1000, 60, 16}, {1000, 1, maxSends},
	} {
		t.Run(fmt.Sprint(test.replicas, " every ", test.seconds), func(t *testing.T) {
			ids := make([]string, test.replicas)
			for i := range ids {
				ids[i] = fmt.Sprint("r", i)
			}
			conf := agentConfig(time.Duration(test.seconds)*sec, "gate="+strings.Join(ids, ","))
			playAgent(t, conf, 0, func(p *agentPlay) {
				var in, most atomic.Int64
				p.answers(func(*http.Request, string) int {
					if n := in.Add(1); n > most.Load() {
						most.Store(n)
					}
					time.Sleep(sec)
					in.Add(-1)
					return 200
				})
				for _, r := range replicas(conf.Services) {
					p.results <- result{replica: r, at: time.Now()}
				}
				p.until(20 * sec)
				if got := int(most.Load()); got != test.want {
					t.Errorf("%d reports at a time, want %d", got, test.want)
				}
			})
		})
	}
}

// A stop does not wait for a master that hangs, and flushes nothing.
func TestAgentStop(t *testing.T) {
	var play *agentPlay
	playAgent(t, agentConfig(minute, "gate=a"), 0, func(p *agentPlay) {
		p.answers(hang)
		p.check(healthy, "a")
		p.came("0s POST lan/gate/ a healthy")
		play = p
	})
	play.came()
}
