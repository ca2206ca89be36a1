package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Checks that take long do not put off the next ones.
func movingChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := testMetrics()
		pl := runPool(t, newTestPool(m, pollReplicas(3), nil, nil), 10*time.Minute, func(*replica, int) (time.Duration, status) {
			return 5 * time.Second, healthy
		})
		for i, starts := range pl.starts {
			for k := 2; k < len(starts); k++ { // the first is at once, not in its turn
				if gap := starts[k] - starts[k-1]; gap != m.PollInterval {
					t.Errorf("replica %d: %v from check to check, want %v", i, gap, m.PollInterval)
				}
			}
		}
	})
}

func movingHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := testMetrics()
		m.PollParallelism = 4
		pl := runPool(t, newTestPool(m, pollReplicas(100), nil, nil), 10*time.Minute, func(r *replica, _ int) (time.Duration, status) {
			if r.ordinal%2 == 0 {
				return m.PollDelayDead, dead
			}
			return time.Millisecond, healthy
		})
		for i := 1; i < 100; i += 2 {
			if n := len(pl.starts[i]); n < 9 {
				t.Errorf("healthy replica %d was checked %d times in ten minutes", i, n)
			}
		}
	})
}

func movingRetry(t *testing.T) {
	for lines, want := range map[string]string{
		"[metrics]\npoll_retry = 3\n":                        "1 3s",
		"[metrics]\npoll_retry = 3\npoll_retry_wait = 500\n": "3 500ms",
	} {
		if m := movingRead(t, lines).Metrics; fmt.Sprint(m.RetryCount, m.RetryWait) != want {
			t.Errorf("%s: %d %v, want %s", lines, m.RetryCount, m.RetryWait, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		m := testMetrics()
		m.RetryCount, m.RetryWait = 3, 500*time.Millisecond
		pl := runPool(t, newTestPool(m, pollReplicas(1), nil, nil), 30*time.Second, func(*replica, int) (time.Duration, status) { return 0, dead })
		if got := fmt.Sprint(pl.starts[0]); got != "[0s 500ms 1s 1.5s]" {
			t.Errorf("checked at %s", got)
		}
	})
}

// localhost is ::1 as well, where nobody listens.
func movingAddresses(t *testing.T) {
	_, port, err := net.SplitHostPort(listening(t, silence))
	if err != nil {
		t.Fatal(err)
	}
	wantVerdict(t, testPoller(t, pollMetrics()).check(t.Context(), pollReplica(t, "tcp://localhost:"+port, Node{})), healthy, "")
}

func movingSSH(t *testing.T) {
	addr := listening(t, func(conn net.Conn) {
		io.WriteString(conn, "SSH-2.0-x\r\n"+sshPacket(sshKex()))
		silence(conn)
	})
	wantVerdict(t, testPoller(t, pollMetrics()).check(t.Context(), pollReplica(t, "ssh://"+addr, Node{})), healthy, "")
}

func movingBody(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		before int
		status status
		reason string
	}{{mib - len("fine"), healthy, ""}, {mib, dead, "body did not match"}} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, strings.Repeat(" ", tt.before)+"fine")
		}))
		defer server.Close()
		c := movingRead(t, fmt.Sprintf("[[probe.service]]\nid = \"a\"\nlabel = \"A\"\n[[probe.service.node]]\nid = \"n\"\nlabel = \"N\"\n"+
			"mode = \"poll\"\nreplicas = [%q]\nhttp_body_healthy_match = \"fine\"\n", server.URL))
		got := testPoller(t, pollMetrics()).check(t.Context(), replicas(c.Services)[0])
		if got.status != tt.status || !strings.HasPrefix(got.reason, tt.reason) {
			t.Errorf("after %d bytes: %v %q", tt.before, got.status, got.reason)
		}
	}
}

func movingScripts(t *testing.T) {
	s := newScripter(300*time.Millisecond, slog.New(slog.DiscardHandler))
	wantVerdict(t, s.check(t.Context(), scriptReplica("sleep 600")), dead, "still running after 300 ms, killed")
	s = newScripter(time.Minute, slog.New(slog.DiscardHandler))
	wantVerdict(t, s.check(t.Context(), scriptReplica("echo looking; echo disk full; exit 1")), sick, "disk full")
}

func movingPings(t *testing.T) {
	p := testPoller(t, pollMetrics())
	p.pinger.open = func(bool) (*echoer, error) { return nil, os.ErrPermission }
	wantVerdict(t, p.check(t.Context(), pollReplica(t, "icmp://127.0.0.1", Node{})), dead, errNotPermitted.Error())
	// TestPingLoopback sees what the log says where it is so.
	if remedy := errNotPermitted.Error(); runtime.GOOS == "linux" && !strings.Contains(remedy, "ping_group_range") {
		t.Errorf("the reason names no remedy: %s", remedy)
	}
}

func movingRabbitMQ(t *testing.T) {
	var broken atomic.Bool
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		io.WriteString(w, `{"messages_ready":12,"messages_unacknowledged":1}`)
	}))
	defer api.Close()
	rig := newAPIRig(t, rabbitConfig(t, api.URL))
	log := rig.runRabbit(t)
	sickQueue := func(s *snapshot) bool {
		all := s.services[1].nodes[0].replicas
		return all.len() == 1 && all.at(0).reason == "queue loaded: 12 ready"
	}
	report := func() { rig.do(t, "POST", "/reporter/relay%20eu/socket%20client/", "tok/en+secret", loadOK) }
	report()
	rig.until(t, "loaded", sickQueue)
	broken.Store(true)
	report()
	said := ""
	rig.until(t, "asked in vain", func(*snapshot) bool { said += log.take(); return strings.Contains(said, "HTTP 503") })
	rig.until(t, "as before", sickQueue)
}

func movingServerAway(t *testing.T) {
	playAgent(t, agentConfig(10*time.Minute, "gate=tcp://a:1"), 0.5, func(p *agentPlay) {
		p.answers(code(0))
		p.check(healthy, "tcp://a:1")
		p.until(5 * time.Minute)
		p.check(dead, "tcp://a:1")
		p.until(8 * time.Minute)
		if n := len(p.take()); n < 5 {
			t.Errorf("%d tries in eight minutes", n)
		}
		p.answers(code(200))
		p.until(9*time.Minute + 59*time.Second)
		if got := p.take(); len(got) != 1 || !strings.HasSuffix(got[0], "POST lan/gate/ tcp:%2F%2Fa:1 dead") && !strings.HasSuffix(got[0], "tcp://a:1 dead") {
			t.Errorf("the master got %q", got)
		}
	})
}

// movingLocal reads an agent's config that has what must be there.
func movingLocal(t *testing.T, lines string) *LocalConfig {
	t.Helper()
	c, problems, err := parseLocal(strings.NewReader("[report]\nendpoint = \"https://s.example\"\ntoken = \"t\"\n"+lines+`
[[probe.service]]
id = "a"
[[probe.service.node]]
id = "n"
mode = "poll"
replicas = ["http://a.example/"]
http_method = "POST"
http_body = "x"
http_body_healthy_match = "y"
http_headers = { "A" = "b" }
`), "local.cfg", func(string) (string, bool) { return "", false })
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	return c
}

func movingAgentRetry(t *testing.T) {
	for lines, want := range map[string]string{
		"":                            "1 2s",
		"[metrics]\npoll_retry = 3\n": "1 3s",
		"[metrics]\npoll_retry = 3\npoll_retry_wait = 200\n": "3 200ms",
	} {
		if m := movingLocal(t, lines).Metrics; fmt.Sprint(m.RetryCount, m.RetryWait) != want {
			t.Errorf("%q: %d %v, want %s", lines, m.RetryCount, m.RetryWait, want)
		}
	}
}

func movingAgentKeys(t *testing.T) {
	c := movingLocal(t, "[metrics]\npoll_parallelism = 9\nscript_parallelism = 8\npoll_retry_wait = 7\n")
	if m := c.Metrics; m.PollParallelism != 9 || m.ScriptParallelism != 8 || m.RetryWait != 7*time.Millisecond {
		t.Errorf("%+v", m)
	}
	if n := c.Services[0].Nodes[0]; n.HTTPMethod != "POST" || n.HTTPBody != "x" || n.HTTPMatch == nil || n.HTTPHeaders["A"] != "b" {
		t.Errorf("%+v", n)
	}
}
