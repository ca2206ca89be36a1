package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestReportUsage(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("VIGIL_TOKEN", "")
	const good = "-url https://s.example -service a -node b -token t"
	for _, test := range []struct{ args, want string }{
		{"", "-url is missing"},
		{"-url https://s.example", "-service is missing"},
		{"-url https://s.example -service a", "-node is missing"},
		{"-url https://s.example -service a -node b", "no token: set VIGIL_TOKEN in the environment"},
		{"-url s.example -service a -node b -token t", `-url "s.example" has no scheme`},
		{"-url https://t@s.example -service a -node b -token t", `-url "https://***@s.example" has a user name, but the token is all that a master asks for`},
		{"-url https://s.example?a=b -service a -node b -token t", `-url "https://s.example?a=b" has more than a host and a path`},
		{good + " -interval 0", `invalid value "0" for flag -interval: want whole seconds up to 31536000, or a duration like 30s or 5m`},
		{good + " -interval 31536001", `invalid value "31536001" for flag -interval: want whole seconds up to 31536000, or a duration like 30s or 5m`},
		{good + " -interval 1.5s", `invalid value "1.5s" for flag -interval: want whole seconds up to 31536000, or a duration like 30s or 5m`},
		{good + " -intervall 5", "unknown flag -intervall; did you mean -interval?"},
		{good + " -cpu NaN", `invalid value "NaN" for flag -cpu: want a number from 0 up, 1 for all there is`},
		{good + " -ram -1", `invalid value "-1" for flag -ram: want a number from 0 up, 1 for all there is`},
		{good + " now", `unexpected argument "now"`},
	} {
		t.Run(test.args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), append([]string{"report"}, strings.Fields(test.args)...), &stdout, &stderr)
			want := "vigil report: " + test.want + " (see 'vigil report -h')\n"
			if code != exitUsage || stdout.String() != "" || stderr.String() != want {
				t.Errorf("exit status %d, stdout %q, stderr\n%swant\n%s", code, &stdout, &stderr, want)
			}
		})
	}
	f := reportFlags{url: "https://s.example/", service: "a", node: "b", token: "t", interval: 30 * time.Second}
	if err := f.check(); err != nil || f.replica != host {
		t.Errorf("replica %q, %v, want %q", f.replica, err, host)
	}
}

// "vigil report" reaches the Reporter API of this program.
func TestReportOnce(t *testing.T) {
	conf := apiConfig()
	rig := newAPIRig(t, conf)
	t.Setenv("VIGIL_TOKEN", string(conf.Server.ReporterToken))
	report := func(args ...string) (int, string) {
		var out bytes.Buffer
		args = append([]string{"report", "-once", "-url", rig.URL + "/", "-replica", "box", "-service", "relay eu"}, args...)
		code := run(t.Context(), args, &out, &out)
		return code, out.String()
	}
	want := "reported replica box of relay eu:a/b.c:ü to " + rig.URL + "/; the next report is due within 1h\n"
	if code, out := report("-node", "a/b.c:ü", "-cpu", "0.5", "-ram", "0.95", "-interval", "1h"); code != exitOK || out != want {
		t.Errorf("exit status %d, output %q, want %q", code, out, want)
	}
	rig.until(t, "sick by its memory", func(s *snapshot) bool { return s.status == sick })
	want = rig.URL + "/ has forgotten replica box of relay eu:a/b.c:ü\n"
	if code, out := report("-node", "a/b.c:ü", "-flush"); code != exitOK || out != want {
		t.Errorf("exit status %d, output %q, want %q", code, out, want)
	}
	rig.until(t, "forgotten", func(s *snapshot) bool { return s.status == healthy })
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"-node", "none", "-cpu", "0", "-ram", "0"}, `: HTTP 404: no node "none" in service "relay eu"`},
		{[]string{"-node", "c d", "-cpu", "0", "-ram", "0", "-token", "s3cret"}, ": HTTP 403: wrong token"},
	} {
		code, out := report(test.args...)
		if want := "vigil report: " + rig.URL + test.want + "\n"; code != exitError || out != want {
			t.Errorf("exit status %d, stderr\n%swant\n%s", code, out, want)
		}
	}
}

// A reportPlay is a master that counts, by the clock of a synctest bubble.
type reportPlay struct {
	mu    sync.Mutex
	start time.Time
	log   bytes.Buffer
	lines []string
	code  int // of the answer; 0 cuts the connection
}

func (p *reportPlay) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(line)
}

func (p *reportPlay) RoundTrip(req *http.Request) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	p.lines = append(p.lines, strings.TrimSpace(time.Since(p.start).String()+" "+req.Method+" "+req.URL.Path+" "+string(body)))
	if p.code == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return &http.Response{StatusCode: p.code, Header: make(http.Header), Body: http.NoBody}, nil
}

func (p *reportPlay) answers(code int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.code = code
}

func TestReportRun(t *testing.T) {
	for _, flush := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := &reportPlay{start: time.Now(), code: 200}
			client := newMasterClient()
			client.Transport = p
			load := 0.0
			h := &hostReporter{
				master:  &master{client, "https://s.example", "t0ken"},
				service: "eu", node: "db", replica: "box",
				every:   30 * time.Second,
				measure: func(time.Time) (loadMessage, error) { load += 0.125; return loadMessage{load, 0.5}, nil },
				lead:    time.Second,
				random:  func() float64 { return 0.4 },
				log: slog.New(slog.NewTextHandler(p, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
					if a.Key == slog.TimeKey {
						return slog.Attr{}
					}
					return a
				}})),
			}
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { h.run(ctx, flush) })
			for _, step := range []struct {
				until time.Duration
				code  int // from then on
			}{{40, 0}, {70, 503}, {80, 403}, {100, 200}, {140, 200}} {
				time.Sleep(step.until*time.Second - time.Since(p.start))
				synctest.Wait()
				p.answers(step.code)
			}
			stop()
			wg.Wait()

			want := `3s POST /reporter/eu/db/ {"replica":"box","interval":30,"load":{"cpu":0.125,"ram":0.5}}
33s POST /reporter/eu/db/ {"replica":"box","interval":30,"load":{"cpu":0.25,"ram":0.5}}
1m3s POST /reporter/eu/db/ {"replica":"box","interval":30,"load":{"cpu":0.375,"ram":0.5}}
1m18s POST /reporter/eu/db/ {"replica":"box","interval":30,"load":{"cpu":0.5,"ram":0.5}}
1m33s POST /reporter/eu/db/ {"replica":"box","interval":30,"load":{"cpu":0.625,"ram":0.5}}
1m48s POST /reporter/eu/db/ {"replica":"box","interval":30,"load":{"cpu":0.75,"ram":0.5}}
2m18s POST /reporter/eu/db/ {"replica":"box","interval":30,"load":{"cpu":0.875,"ram":0.5}}`
			logged := `level=INFO msg="reporting this host" url=https://s.example service=eu node=db replica=box interval=30s
level=INFO msg="first report accepted" url=https://s.example
level=ERROR msg="report failed, will retry" url=https://s.example err="connection closed in the middle of the answer"
level=ERROR msg="report failed, will retry" url=https://s.example err="HTTP 403"
level=INFO msg="reports accepted again" after=45s
`
			if flush {
				want += "\n2m20s DELETE /reporter/eu/db/box/"
				logged += "level=INFO msg=flushed replica=box\n"
			}
			logged += "level=INFO msg=stopped\n"
			if got := strings.Join(p.lines, "\n"); got != want {
				t.Errorf("the master got\n%s\nwant\n%s", got, want)
			}
			if got := p.log.String(); got != logged {
				t.Errorf("logged\n%s\nwant\n%s", got, logged)
			}
		})
	}
}
