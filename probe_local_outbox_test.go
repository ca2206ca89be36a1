package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// While the master is away it is asked again after growing waits, by one
// report at a time; when it is back it gets the newest of each replica.
func TestAgentMasterAway(t *testing.T) {
	playAgent(t, agentConfig(2*minute, "gate=a,b", "wiki=c"), 1, func(p *agentPlay) {
		p.check(healthy, "a", "b", "c")
		p.came("0s POST lan/gate/ a healthy", "0s POST lan/gate/ b healthy", "0s POST lan/wiki/ c healthy")

		p.answers(code(0))
		p.until(10 * sec)
		p.check(dead, "a")
		p.check(dead, "b")
		p.check(healthy, "b")
		p.until(5 * minute)
		var tries []string
		for _, line := range p.take() {
			at, _, _ := strings.Cut(line, " ")
			tries = append(tries, at)
		}
		if got, want := strings.Join(tries, " "), "10s 11s 13s 17s 25s 41s 1m13s 2m13s 3m13s 4m13s"; got != want {
			t.Errorf("tried at %s, want %s", got, want)
		}
		for at := 5 * minute; at < 24*time.Hour; at += 2 * minute {
			p.until(at)
			p.check(dead, "b", "c")
			p.check(sick, "a", "b", "c")
		}
		if got := len(p.take()); got > 24*60 {
			t.Errorf("%d tries in 24 h", got)
		}

		p.answers(code(200))
		p.check(dead, "a")
		p.check(healthy, "b")
		p.check(sick, "c")
		p.until(24*time.Hour + minute)
		got := p.take()
		for i, line := range got {
			_, got[i], _ = strings.Cut(line, " ")
		}
		slices.Sort(got)
		if want := []string{"POST lan/gate/ a dead", "POST lan/gate/ b healthy", "POST lan/wiki/ c sick"}; !slices.Equal(got, want) {
			t.Errorf("the master got %q, want %q", got, want)
		}

		logged := slices.DeleteFunc(p.takeLog(), func(s string) bool { return !strings.Contains(s, "msg=\"master") })
		if want := []string{
			`at=10s level=ERROR msg="master unreachable, reports wait" endpoint=https://status.example.com err="connection refused"`,
			`at=23h59m13s level=WARN msg="master accepts reports again" endpoint=https://status.example.com after=23h59m3s`,
		}; !slices.Equal(logged, want) {
			t.Errorf("logged\n%s\nwant\n%s", strings.Join(logged, "\n"), strings.Join(want, "\n"))
		}
	})
}

// With a short interval the master is asked as often as that, so that it
// hears of everything in time when it is back.
func TestAgentAsksEachInterval(t *testing.T) {
	playAgent(t, agentConfig(5*sec, "gate=a"), 1, func(p *agentPlay) {
		p.answers(code(503))
		p.check(healthy, "a")
		p.until(30 * sec)
		p.came("0s POST lan/gate/ a healthy", "1s POST lan/gate/ a healthy", "3s POST lan/gate/ a healthy",
			"7s POST lan/gate/ a healthy", "12s POST lan/gate/ a healthy", "17s POST lan/gate/ a healthy",
			"22s POST lan/gate/ a healthy", "27s POST lan/gate/ a healthy")
		p.logged(`at=0s level=ERROR msg="master unreachable, reports wait" endpoint=https://status.example.com err="HTTP 503: no, service unavailable"`)
	})
}

// A master that hangs is given up after the time limit, and reports sent
// together count as one try.
func TestAgentMasterHangs(t *testing.T) {
	playAgent(t, agentConfig(2*minute, "gate=a,b,c,d,e,f"), 1, func(p *agentPlay) {
		p.answers(hang)
		p.check(healthy, "a", "b", "c", "d", "e", "f")
		p.until(5 * sec)
		if got := p.take(); len(got) != minSends {
			t.Errorf("%d reports are under way, want %d", len(got), minSends)
		}
		p.until(10 * sec)
		p.came()
		p.until(11*sec + 500*time.Millisecond)
		p.came("11s POST lan/gate/ e healthy") // those that have not had a try go first
		p.logged(`at=10s level=ERROR msg="master unreachable, reports wait" endpoint=https://status.example.com err="no answer in 10 s"`)
		p.answers(code(200))
		p.until(25 * sec)
		if got := p.take(); len(got) != 6 {
			t.Errorf("%d reports when the master is back, want 6:\n%s", len(got), strings.Join(got, "\n"))
		}
	})
}

// A wrong token is told once, and asked about now and then.
func TestAgentWrongToken(t *testing.T) {
	playAgent(t, agentConfig(2*minute, "gate=a,b"), 1, func(p *agentPlay) {
		p.answers(code(403))
		p.check(healthy, "a", "b")
		p.until(130 * sec)
		p.came("0s POST lan/gate/ a healthy", "1m0s POST lan/gate/ a healthy", "2m0s POST lan/gate/ b healthy")
		p.answers(code(401))
		p.until(190 * sec)
		p.answers(code(0))
		p.until(245 * sec)
		p.answers(code(200))
		p.until(250 * sec)
		p.came("3m0s POST lan/gate/ a healthy", "4m0s POST lan/gate/ b healthy", "4m1s POST lan/gate/ a healthy",
			"4m3s POST lan/gate/ b healthy", "4m7s POST lan/gate/ a healthy", "4m7s POST lan/gate/ b healthy")
		const refused = `msg="master rejects reports: check endpoint and token" endpoint=https://status.example.com err=`
		p.logged(
			`at=0s level=ERROR `+refused+`"HTTP 403: no, forbidden"`,
			`at=3m0s level=ERROR `+refused+`"HTTP 401: no, unauthorized"`,
			`at=4m0s level=ERROR msg="master unreachable, reports wait" endpoint=https://status.example.com err="connection refused"`,
			`at=4m7s level=WARN msg="master accepts reports again" endpoint=https://status.example.com after=4m7s`,
		)
	})
}

// A node that the master does not take is told once, and keeps no other back.
func TestAgentUnknownNode(t *testing.T) {
	playAgent(t, agentConfig(minute, "gate=a,b", "wiki=c"), 0, func(p *agentPlay) {
		ofGate := func(code int) masterPlay {
			return func(req *http.Request, _ string) int {
				if strings.Contains(req.URL.Path, "/gate/") {
					return code
				}
				return 200
			}
		}
		p.answers(ofGate(404))
		p.check(dead, "a", "b", "c")
		p.logged(
			`at=0s level=WARN msg="replica is dead" service=lan node=gate replica=a reason="as played"`,
			`at=0s level=ERROR msg="master rejects this node: it must have mode local there" service=lan node=gate err="HTTP 404: no, not found"`,
			`at=0s level=WARN msg="replica is dead" service=lan node=gate replica=b reason="as played"`,
			`at=0s level=WARN msg="replica is dead" service=lan node=wiki replica=c reason="as played"`,
		)
		p.until(minute - 1)
		p.check(dead, "a", "b", "c")
		p.came("0s POST lan/gate/ a dead", "0s POST lan/gate/ b dead", "0s POST lan/wiki/ c dead")
		p.logged()
		p.until(minute)
		p.answers(ofGate(412))
		p.until(2 * minute)
		p.answers(ofGate(200))
		p.until(3 * minute)
		count, got := 0, p.take()
		for _, line := range got {
			if strings.Contains(line, "wiki") {
				count++
			}
		}
		if count != 3 || len(got) != 9 {
			t.Errorf("%d reports, %d of them for wiki, want 9 and 3:\n%s", len(got), count, strings.Join(got, "\n"))
		}
		const refused = `msg="master rejects this node: it must have mode local there" service=lan node=gate err=`
		p.logged(
			`at=2m0s level=ERROR `+refused+`"HTTP 412: no, precondition failed"`,
			`at=3m0s level=WARN msg="master accepts this node again" service=lan node=gate`,
		)
	})
}

// A reload flushes the replicas that are gone, and keeps the others' place.
func TestAgentReload(t *testing.T) {
	playAgent(t, agentConfig(minute, "gate=a,b", "wiki=c"), 0, func(p *agentPlay) {
		adopt := func(conf *LocalConfig) {
			p.conf = conf
			p.reloads <- conf
			synctest.Wait()
		}
		p.check(healthy, "a", "b", "c")
		p.take()

		p.until(10 * sec)
		adopt(agentConfig(minute, "gate=a,d"))
		flushed := p.take()
		slices.Sort(flushed)
		if want := []string{"10s DELETE lan/gate/b/", "10s DELETE lan/wiki/c/"}; !slices.Equal(flushed, want) {
			t.Errorf("flushed %q, want %q", flushed, want)
		}
		p.results <- result{replica: replicas(agentConfig(minute, "gate=b").Services)[0], status: dead} // of before
		p.check(healthy, "a")
		p.check(sick, "d")
		p.came("10s POST lan/gate/ d sick")
		p.until(minute)
		p.came("1m0s POST lan/gate/ a healthy")

		// A shorter interval counts at once.
		p.until(80 * sec)
		p.came("1m10s POST lan/gate/ d sick")
		adopt(agentConfig(20*sec, "gate=a,d"))
		p.came("1m20s POST lan/gate/ a healthy")
		p.until(90 * sec)
		p.came("1m30s POST lan/gate/ d sick")

		// A flush waits for a master that is away, and for one that is not
		// needed any more nobody waits.
		p.answers(code(0))
		adopt(agentConfig(minute, "gate=a"))
		p.came("1m30s DELETE lan/gate/d/")
		adopt(agentConfig(minute, "gate=d"))
		p.answers(code(404))
		p.until(95 * sec)
		p.came("1m31s DELETE lan/gate/a/")
		p.check(dead, "d")
		p.came("1m35s POST lan/gate/ d dead")

		// Another token is tried at once.
		p.answers(code(403))
		p.check(sick, "d")
		p.came("1m35s POST lan/gate/ d sick")
		p.answers(code(200))
		conf := agentConfig(minute, "gate=d")
		conf.Token = "other"
		adopt(conf)
		p.came("1m35s POST lan/gate/ d sick")

		// Another master hears nothing of what was before.
		p.takeLog()
		conf = agentConfig(minute, "gate=e")
		conf.Endpoint = "https://other.example.com"
		adopt(conf)
		p.check(healthy, "e")
		p.until(4 * minute)
		p.came("1m35s POST lan/gate/ e healthy", "2m35s POST lan/gate/ e healthy", "3m35s POST lan/gate/ e healthy")
		p.logged(`at=1m35s level=WARN msg="endpoint changed: replicas at the old one will time out" endpoint=https://status.example.com replicas=1`)
	})
}

// A reload may come while reports are under way.
func TestAgentReloadMeanwhile(t *testing.T) {
	for _, test := range []struct {
		name  string
		conf  *LocalConfig
		flush string // comes with a second reload while the flush is under way
		want  []string
	}{
		{"flushed after the report", agentConfig(minute, "gate=b"), "",
			[]string{"0s POST lan/gate/ a healthy", "5s DELETE lan/gate/a/"}},
		{"back during the flush", agentConfig(minute, "gate=b"), "gate=a,b",
			[]string{"0s POST lan/gate/ a healthy", "5s DELETE lan/gate/a/", "10s POST lan/gate/ a sick"}},
		{"other master", &LocalConfig{Endpoint: "https://other.example.com", Interval: minute}, "",
			[]string{"0s POST lan/gate/ a healthy"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			playAgent(t, agentConfig(minute, "gate=a,b"), 0, func(p *agentPlay) {
				p.answer = func(*http.Request, string) int { time.Sleep(5 * sec); return 200 }
				p.check(healthy, "a")
				p.until(sec)
				p.reloads <- test.conf
				p.until(6 * sec)
				if test.flush != "" {
					p.reloads <- agentConfig(minute, test.flush)
					p.check(sick, "a")
				}
				p.until(50 * sec)
				p.came(test.want...)
			})
		})
	}
}
