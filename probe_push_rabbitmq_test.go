package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// rabbitConfig has two push nodes with queues, the first of which has
// thresholds of its own for unacknowledged messages.
func rabbitConfig(t testing.TB, api string) *Config {
	u, err := url.Parse(api)
	if err != nil {
		t.Fatal(err)
	}
	conf := apiConfig()
	conf.RabbitMQ = &RabbitMQ{
		APIURL: u, Username: "vigil", Password: "pass-vigil", VirtualHost: "/",
		ReadyHealthyBelow: new(int64(10)), ReadyDeadAbove: new(int64(100)),
		NackHealthyBelow: new(int64(20)), NackDeadAbove: new(int64(200)),
	}
	nodes := conf.Services[1].Nodes
	nodes[0].RabbitMQQueue = "jobs/a b%?"
	nodes[0].NackHealthyBelow, nodes[0].NackDeadAbove = new(int64(2)), new(int64(4))
	nodes[2].RabbitMQQueue = "plain"
	return conf
}

func TestQueueThresholds(t *testing.T) {
	conf := rabbitConfig(t, "http://127.0.0.1/")
	ix := newNodeIndex(conf)
	own, global := ix.nodes[[2]string{"relay eu", "socket client"}], ix.nodes[[2]string{"relay eu", "c+d"}]
	for _, tc := range []struct {
		at             *reportedNode
		ready, unacked int64
		want           string
	}{
		{global, 0, 0, "healthy "},
		{global, 9, 19, "healthy "},
		{global, 10, 0, "sick queue loaded: 10 ready"},
		{global, 0, 20, "sick queue loaded: 20 unacked"},
		{global, 100, 0, "sick queue loaded: 100 ready"},
		{global, 101, 0, "dead queue stalled: 101 ready"},
		{global, 0, 200, "sick queue loaded: 200 unacked"},
		{global, 0, 201, "dead queue stalled: 201 unacked"},
		{global, 10, 201, "dead queue stalled: 201 unacked"},
		{own, 9, 1, "healthy "},
		{own, 0, 2, "sick queue loaded: 2 unacked"},
		{own, 0, 4, "sick queue loaded: 4 unacked"},
		{own, 0, 5, "dead queue stalled: 5 unacked"},
		{own, 101, 0, "dead queue stalled: 101 ready"},
	} {
		if d := weigh(tc.at, tc.ready, tc.unacked); d.status.String()+" "+d.reason != tc.want || !d.known {
			t.Errorf("%s, %d ready, %d unacked: %s %s, want %s", tc.at.node.ID, tc.ready, tc.unacked, d.status, d.reason, tc.want)
		}
	}
	*conf.RabbitMQ = RabbitMQ{}
	if d := weigh(global, 1e9, 1e9); d.status != healthy {
		t.Errorf("without thresholds: %v", d)
	}
}

// A log that tests may read while it is written.
type safeLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// take returns what was logged since the last time, without times.
func (l *safeLog) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.buf.Reset()
	return l.buf.String()
}

func (l *safeLog) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// runRabbit runs a rabbit for the rig's reporter and returns its log.
func (rig *apiRig) runRabbit(t testing.TB) *safeLog {
	log := new(safeLog)
	q := newRabbit(rig.asks, rig.events, log.logger())
	done := make(chan error, 1)
	go func() { done <- q.run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return log
}

// From a report to the queue's verdict, with each answer that RabbitMQ gives.
func TestQueueAnswers(t *testing.T) {
	var answer atomic.Value
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if r.Method != "GET" || r.RequestURI != "/base/api/queues/%2F/jobs%2Fa%20b%25%3F" || user != "vigil" || password != "pass-vigil" {
			t.Errorf("%s %s as %s", r.Method, r.RequestURI, user)
		}
		code, body, _ := strings.Cut(answer.Load().(string), " ")
		var n int
		fmt.Sscan(code, &n)
		if n == 302 {
			w.Header().Set("Location", "/base/api/queues/%2F/jobs%2Fa%20b%25%3F")
		}
		w.WriteHeader(n)
		fmt.Fprint(w, body)
	}))
	defer api.Close()
	rig := newAPIRig(t, rabbitConfig(t, strings.Replace(api.URL, "//", "//u:hunter2@", 1)+"/base/"))
	log := rig.runRabbit(t)
	at := rig.reporter.current().nodes[[2]string{"relay eu", "socket client"}]
	const prefix = `service="relay eu" node="socket client" queue="jobs/a b%?"`
	for _, step := range []struct {
		answer, want, log string
	}{
		{`200 {"name":"jobs"}`, "healthy {cpu:0.5 ram:0.5 queue:false ready:0 unacked:0} ", `level=WARN msg="rabbitmq queue not known" ` + prefix + ` err="answer without counts"` + "\n"},
		{`200 {"messages_ready":7}`, "healthy {cpu:0.5 ram:0.5 queue:false ready:0 unacked:0} ", ""},
		{`200 {"messages_ready":7,"messages_unacknowledged":1,"messages":8}`, "healthy {cpu:0.5 ram:0.5 queue:true ready:7 unacked:1} ", `level=INFO msg="rabbitmq queue known again" ` + prefix + "\n"},
		{`200 {"messages_ready":12,"messages_unacknowledged":1}`, "sick {cpu:0.5 ram:0.5 queue:true ready:12 unacked:1} queue loaded: 12 ready", ""},
		{`404 {"error":"Object Not Found"}`, "sick {cpu:0.5 ram:0.5 queue:true ready:12 unacked:1} queue loaded: 12 ready", `level=ERROR msg="rabbitmq queue not known" ` + prefix + ` err="HTTP 404"` + "\n"},
		{`404 {"error":"Object Not Found"}`, "sick {cpu:0.5 ram:0.5 queue:true ready:12 unacked:1} queue loaded: 12 ready", ""},
		{`401 {"error":"not_authorized"}`, "sick {cpu:0.5 ram:0.5 queue:true ready:12 unacked:1} queue loaded: 12 ready", `level=ERROR msg="rabbitmq queue not known" ` + prefix + ` err="HTTP 401"` + "\n"},
		{`302 `, "sick {cpu:0.5 ram:0.5 queue:true ready:12 unacked:1} queue loaded: 12 ready", `level=ERROR msg="rabbitmq queue not known" ` + prefix + ` err="HTTP 302"` + "\n"},
		{`200 <html>`, "sick {cpu:0.5 ram:0.5 queue:true ready:12 unacked:1} queue loaded: 12 ready", `level=ERROR msg="rabbitmq queue not known" ` + prefix + ` err="answer: invalid character '<' looking for beginning of value"` + "\n"},
		{`200 ` + strings.Repeat(" ", maxQueueBody+1) + `{"messages_ready":0,"messages_unacknowledged":0}`, "sick {cpu:0.5 ram:0.5 queue:true ready:12 unacked:1} queue loaded: 12 ready", `level=ERROR msg="rabbitmq queue not known" ` + prefix + ` err="answer: EOF"` + "\n"},
		{`200 {"messages_ready":0,"messages_unacknowledged":5}`, "dead {cpu:0.5 ram:0.5 queue:true ready:0 unacked:5} queue stalled: 5 unacked", `level=INFO msg="rabbitmq queue known again" ` + prefix + "\n"},
		{`200 {"messages_ready":0,"messages_unacknowledged":0}`, "healthy {cpu:0.5 ram:0.5 queue:true ready:0 unacked:0} ", ""},
	} {
		answer.Store(step.answer)
		if resp, body := rig.do(t, "POST", "/reporter/relay%20eu/socket%20client/", "tok/en+secret", loadOK); resp.StatusCode != 200 {
			t.Fatal(body)
		}
		shown := ""
		rig.until(t, step.answer[:min(60, len(step.answer))], func(s *snapshot) bool {
			if all := s.services[1].nodes[0].replicas; all.len() == 1 {
				r := all.at(0)
				shown = fmt.Sprintf("%s %+v %s", r.status, *r.load, r.reason)
			}
			return !at.asking.Load() && shown == step.want
		})
		if got := log.take(); got != step.log {
			t.Errorf("logged %swant   %s", got, step.log)
		}
	}
	// Nobody answers any more.
	api.Close()
	rig.do(t, "POST", "/reporter/relay%20eu/socket%20client/", "tok/en+secret", loadOK)
	rig.until(t, "asked", func(*snapshot) bool { return !at.asking.Load() })
	if got := log.take(); !strings.Contains(got, "connection refused") || strings.Contains(got, "pass") || strings.Contains(got, "hunter2") {
		t.Errorf("logged %s", got)
	}
}

// However many replicas report, a node's queue is asked for once at a time,
// and a slow answer holds up neither reports nor another node's queue.
func TestQueueAskedOnceAtATime(t *testing.T) {
	var asked, busy, most atomic.Int32
	release := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/plain") {
			fmt.Fprint(w, `{"messages_ready":1000,"messages_unacknowledged":0}`)
			return
		}
		asked.Add(1)
		most.Store(max(most.Load(), busy.Add(1)))
		defer busy.Add(-1)
		<-release
		fmt.Fprint(w, `{"messages_ready":0,"messages_unacknowledged":3}`)
	}))
	defer api.Close()
	rig := newAPIRig(t, rabbitConfig(t, api.URL))
	rig.runRabbit(t)
	report := func(node string, n int) {
		for i := range n {
			body := fmt.Sprintf(`{"replica":"%d","interval":60,"load":{"cpu":0,"ram":0}}`, i)
			if resp, text := rig.do(t, "POST", "/reporter/relay+eu/"+node+"/", "tok/en+secret", body); resp.StatusCode != 200 {
				t.Fatal(text)
			}
		}
	}
	report("socket+client", 200)
	report("c+d", 1)
	rig.until(t, "the other node's queue", func(s *snapshot) bool { return s.services[1].nodes[2].status == dead })
	if asked.Load() > 1 {
		t.Errorf("asked %d times while the first answer is out", asked.Load())
	}
	close(release)
	s := rig.until(t, "the queue", func(s *snapshot) bool { return s.services[1].nodes[0].status == sick })
	for _, r := range s.services[1].nodes[0].replicas.all() {
		if r.status != sick || r.load.unacked != 3 {
			t.Fatalf("%s is %s with %+v", r.id, r.status, r.load)
		}
	}
	report("socket+client", 50)
	rig.until(t, "asked again", func(*snapshot) bool { return asked.Load() > 1 })
	if most.Load() != 1 {
		t.Errorf("asked %d times at once", most.Load())
	}
}

// A loaded queue gets a second look, whose answer counts.
func TestQueueSecondLook(t *testing.T) {
	for _, tc := range []struct {
		second string
		want   string
		looks  int32
	}{
		{`{"messages_ready":0,"messages_unacknowledged":0}`, "{known:true ready:0 unacked:0 status:0 reason:} <nil>", 2},
		{`{"messages_ready":101,"messages_unacknowledged":0}`, "{known:true ready:101 unacked:0 status:2 reason:queue stalled: 101 ready} <nil>", 2},
		{`{}`, "{known:false ready:0 unacked:0 status:0 reason:} answer without counts", 2},
	} {
		var looks atomic.Int32
		var first time.Time
		const delay = 50 * time.Millisecond
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if looks.Add(1) == 1 {
				first = time.Now()
				fmt.Fprint(w, `{"messages_ready":11,"messages_unacknowledged":0}`)
				return
			}
			if gap := time.Since(first); gap < delay {
				t.Errorf("second look after %v", gap)
			}
			fmt.Fprint(w, tc.second)
		}))
		conf := rabbitConfig(t, api.URL)
		conf.RabbitMQ.LoadedRetryDelay = delay
		q := newRabbit(nil, nil, slog.New(slog.DiscardHandler))
		depth, err := q.depth(t.Context(), newNodeIndex(conf).nodes[[2]string{"relay eu", "c+d"}])
		if got := fmt.Sprintf("%+v %v", depth, err); got != tc.want || looks.Load() != tc.looks {
			t.Errorf("%s after %d looks\nwant %s", got, looks.Load(), tc.want)
		}
		api.Close()
	}
}

// A server that does not answer is given up, and a stop does not wait for it.
func TestQueueTimeout(t *testing.T) {
	hang := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer api.Close()
	defer close(hang)
	at := newNodeIndex(rabbitConfig(t, api.URL)).nodes[[2]string{"relay eu", "c+d"}]
	q := newRabbit(nil, nil, slog.New(slog.DiscardHandler))
	if q.client.Timeout != queueTimeout {
		t.Errorf("timeout %v, want %v", q.client.Timeout, queueTimeout)
	}
	q.client.Timeout = 20 * time.Millisecond
	if _, err := q.depth(t.Context(), at); err == nil || !strings.Contains(err.Error(), "Client.Timeout exceeded") {
		t.Errorf("error %v", err)
	}
}

// A look that panics is counted, and the next one is taken.
func TestQueuePanic(t *testing.T) {
	asks, log := make(chan *reportedNode), new(safeLog)
	q := newRabbit(asks, nil, log.logger())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- q.run(ctx) }()
	broken := &reportedNode{service: &Service{ID: "web"}, node: &Node{ID: "jobs"}} // nothing knows its queue
	for range 2 {
		broken.asking.Store(true)
		asks <- broken
		for broken.asking.Load() && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	const want = `level=ERROR msg="look at a queue panicked" service=web node=jobs panic="runtime error: invalid memory address or nil pointer dereference"`
	if got := log.take(); q.panics.Load() != 2 || broken.asking.Load() || !strings.Contains(got, want) {
		t.Errorf("%d panics counted, still asking: %v, log:\n%s", q.panics.Load(), broken.asking.Load(), got)
	}
}

// Hosts and virtual hosts as the Rust Vigil needs them, and as people write
// them, lead to the same queue. A check of the config names those that cannot
// be watched.
func TestQueueAddresses(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.RequestURI {
		case "/api/queues/%2F/plain", "/base/api/queues/a%2Fb%25/plain":
			fmt.Fprint(w, `{"messages_ready":0,"messages_unacknowledged":0}`)
		default:
			http.NotFound(w, r)
		}
	}))
	defer api.Close()
	for _, tc := range []struct{ url, vhost, fault string }{
		{"", "/", ""},
		{"/", "%2F", ""},
		{"/api", "%2f", ""},
		{"/api/", "/", ""},
		{"/base/api", "a/b%", ""},
		{"/base", "a%2Fb%25", ""},
		{"/other", "/", `queue "plain" of web:jobs cannot be watched: HTTP 404`},
	} {
		conf, _, err := parseConfig(strings.NewReader(fmt.Sprintf(`[server]
[branding]
page_title = "a"
page_url = "http://a/"
company_name = "a"
[plugins.rabbitmq]
api_url = %q
auth_username = "a"
auth_password = "b"
virtualhost = %q
[[probe.service]]
id = "web"
label = "Web"
[[probe.service.node]]
id = "jobs"
label = "Jobs"
mode = "push"
rabbitmq_queue = "plain"
`, api.URL+tc.url, tc.vhost)), "", func(string) (string, bool) { return "", false })
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(queueFaults(t.Context(), conf), "\n"); got != tc.fault {
			t.Errorf("%q and %q: %s", tc.url, tc.vhost, got)
		}
	}
}
