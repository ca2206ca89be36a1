package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const loadOK = `{"replica":"r1","interval":30,"load":{"cpu":0.5,"ram":0.5}}`

func TestReporterAPI(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	const tok = "tok/en+secret"
	health := `{"replica":"tcp://h:80","interval":30,"health":"healthy"}`
	rig.table(t, []apiRow{
		{"load", "POST", "/reporter/web/jobs/", tok, loadOK, 200, ""},
		{"without the slash at the end", "POST", "/reporter/web/jobs", tok, loadOK, 200, ""},
		{"line end, unknown fields", "POST", "/reporter/web/jobs/", tok, `{"replica":"r1","interval":30,"load":{"cpu":0,"ram":0,"disk":"x"},"more":[1]}` + "\n", 200, ""},
		{"whole numbers as floats and the reverse", "POST", "/reporter/web/jobs/", tok, `{"replica":"r1","interval":30.0,"load":{"cpu":4,"ram":1}}`, 200, ""},
		{"interval 0", "POST", "/reporter/web/jobs/", tok, `{"replica":"r0","interval":0,"load":{"cpu":0,"ram":0}}`, 200, ""},
		{"health", "POST", "/reporter/web/far/", tok, health, 200, ""},
		{"service and node share an id", "POST", "/reporter/jobs/jobs/", tok, loadOK, 200, ""},
		{"ids percent-encoded", "POST", "/reporter/relay%20eu/a%2Fb.c%3A%C3%BC/", tok, loadOK, 200, ""},
		{"pluses for spaces", "POST", "/reporter/relay+eu/socket+client/", tok, loadOK, 200, ""},
		{"a plus is a plus first", "POST", "/reporter/relay+eu/c+d/", tok, `{"replica":"plus","interval":1,"load":{"cpu":0,"ram":0}}`, 200, ""},
		{"a space is no plus", "POST", "/reporter/relay+eu/c%20d/", tok, `{"replica":"space","interval":1,"load":{"cpu":0,"ram":0}}`, 200, ""},
		{"an encoded plus is none", "POST", "/reporter/relay%2Beu/c+d/", tok, loadOK, 404, fault(`no service \"relay+eu\"`)},
		{"load and health on a push node", "POST", "/reporter/web/jobs/", tok, `{"replica":"r1","interval":30,"load":{"cpu":0,"ram":0},"health":"dead"}`, 200, ""},

		{"load and health on a local node", "POST", "/reporter/web/far/", tok, `{"replica":"r1","interval":30,"load":{"cpu":0,"ram":0},"health":"dead"}`, 412, fault(`load reports are for push nodes: \"far\" is a local node`)},
		{"load for a local node", "POST", "/reporter/web/far/", tok, loadOK, 412, fault(`load reports are for push nodes: \"far\" is a local node`)},
		{"load for a poll node", "POST", "/reporter/web/core/", tok, loadOK, 412, fault(`load reports are for push nodes: \"core\" is a poll node`)},
		{"load for a script node", "POST", "/reporter/web/disk/", tok, loadOK, 412, fault(`load reports are for push nodes: \"disk\" is a script node`)},
		{"health for a push node", "POST", "/reporter/web/jobs/", tok, health, 412, fault(`health reports are for local nodes: \"jobs\" is a push node`)},
		{"health for a poll node", "POST", "/reporter/web/core/", tok, health, 412, fault(`health reports are for local nodes: \"core\" is a poll node`)},
		{"unknown service", "POST", "/reporter/wob/jobs/", tok, loadOK, 404, fault(`no service \"wob\"`)},
		{"unknown node", "POST", "/reporter/web/jibs/", tok, loadOK, 404, fault(`no node \"jibs\" in service \"web\"`)},
		{"no node", "POST", "/reporter/web/", tok, loadOK, 404, fault("no such route: PROTOCOL.md lists them")},
		{"nothing at all", "POST", "/reporter", tok, loadOK, 404, fault("no such route: PROTOCOL.md lists them")},
		{"too deep", "POST", "/reporter/web/jobs/r/x/", tok, loadOK, 404, fault("no such route: PROTOCOL.md lists them")},
		{"too large", "POST", "/reporter/web/jobs/", tok, loadOK + strings.Repeat(" ", maxRequest), 413, fault("the body is over 65536 bytes")},
		{"as large as may be", "POST", "/reporter/web/jobs/", tok, loadOK + strings.Repeat(" ", maxRequest-len(loadOK)), 200, ""},

		{"flush", "DELETE", "/reporter/web/jobs/r1/", tok, "", 200, ""},
		{"flush again", "DELETE", "/reporter/web/jobs/r1/", tok, "", 404, fault(`no replica \"r1\" of node \"jobs\"`)},
		{"flush a URL", "DELETE", "/reporter/web/far/tcp%3A%2F%2Fh%3A80", tok, "", 200, ""},
		{"flush from a poll node", "DELETE", "/reporter/web/core/r1/", tok, "", 412, fault(`only replicas that report can be flushed: \"core\" is a poll node`)},
		{"flush from a script node", "DELETE", "/reporter/web/disk/0/", tok, "", 412, fault(`only replicas that report can be flushed: \"disk\" is a script node`)},
		{"flush from an unknown service", "DELETE", "/reporter/wob/jobs/r1/", tok, "", 404, fault(`no service \"wob\"`)},
		{"flush from an unknown node", "DELETE", "/reporter/web/jibs/r1/", tok, "", 404, fault(`no node \"jibs\" in service \"web\"`)},
		{"report a replica with a space", "POST", "/reporter/web/jobs/", tok, `{"replica":"host one","interval":1,"load":{"cpu":0,"ram":0}}`, 200, ""},
		{"flush it with a plus", "DELETE", "/reporter/web/jobs/host+one/", tok, "", 200, ""},
	})
	// What was accepted is where it belongs.
	s := rig.until(t, "replicas of both c d and c+d", func(s *snapshot) bool {
		nodes := s.services[1].nodes
		return nodes[2].replicas.len() == 1 && nodes[3].replicas.len() == 1
	})
	for i, want := range []string{"r1", "r1", "plus", "space"} {
		if got := s.services[1].nodes[i].replicas; got.len() != 1 || got.at(0).id != want {
			t.Errorf("node %d: %v, want %s", i, got, want)
		}
	}
}

func TestReportBodies(t *testing.T) {
	id := strings.Repeat("x", maxReplicaID)
	for _, tc := range []struct{ body, want string }{
		{`{"replica":"r","interval":30,"load":{"cpu":0.25,"ram":1}}`, "r 30s load 0.25 1"},
		{`{"replica":"r","interval":3e1,"load":{"cpu":0,"ram":1e-3},"health":null}`, "r 30s load 0 0.001"},
		{`{"replica":"r","interval":31536000,"health":"sick","load":null}`, "r 8760h0m0s sick"},
		{`{"replica":"ü/é","interval":0,"health":"dead"}`, "ü/é 0s dead"},
		{`{"replica":"` + id + `","interval":0,"health":"healthy"}`, id + " 0s healthy"},

		{``, "400 invalid JSON: unexpected end of JSON input"},
		{`{`, "400 invalid JSON: unexpected end of JSON input"},
		{`null`, "400 replica is missing or empty: the replica's id"},
		{`[]`, "400 wrong type for the body: array"},
		{`{"replica":"r","interval":30,"load":{"cpu":0,"ram":0}} x`, "400 invalid JSON: invalid character 'x' after top-level value"},
		{`{"replica":"r","interval":30,"load":{"cpu":0,"ram":0}}{}`, "400 invalid JSON: invalid character '{' after top-level value"},
		{`{"interval":30,"health":"dead"}`, "400 replica is missing or empty: the replica's id"},
		{`{"replica":"","interval":30,"health":"dead"}`, "400 replica is missing or empty: the replica's id"},
		{`{"replica":7,"interval":30,"health":"dead"}`, "400 wrong type for replica: number"},
		{`{"replica":"x` + id + `","interval":30,"health":"dead"}`, "400 replica is longer than 256 bytes"},
		{`{"replica":"a\nb","interval":30,"health":"dead"}`, "400 replica contains control characters"},
		{`{"replica":"r","health":"dead"}`, "400 interval is missing: seconds to the next report"},
		{`{"replica":"r","interval":null,"health":"dead"}`, "400 interval is missing: seconds to the next report"},
		{`{"replica":"r","interval":"30","health":"dead"}`, "400 wrong type for interval: string"},
		{`{"replica":"r","interval":-1,"health":"dead"}`, "400 interval -1 is not a whole number of seconds from 0 to 31536000"},
		{`{"replica":"r","interval":0.5,"health":"dead"}`, "400 interval 0.5 is not a whole number of seconds from 0 to 31536000"},
		{`{"replica":"r","interval":31536001,"health":"dead"}`, "400 interval 3.1536001e+07 is not a whole number of seconds from 0 to 31536000"},
		{`{"replica":"r","interval":1e400,"health":"dead"}`, "400 wrong type for interval: number 1e400"},
		{`{"replica":"r","interval":30}`, "400 load or health is missing: load with cpu and ram for push nodes, health for local ones"},
		{`{"replica":"r","interval":30,"health":"Dead"}`, `400 health "Dead" is not healthy, sick or dead`},
		{`{"replica":"r","interval":30,"health":""}`, `400 health "" is not healthy, sick or dead`},
		{`{"replica":"r","interval":30,"load":{"cpu":1}}`, "400 load.cpu or load.ram is missing"},
		{`{"replica":"r","interval":30,"load":{"ram":1}}`, "400 load.cpu or load.ram is missing"},
		{`{"replica":"r","interval":30,"load":{"cpu":-0.1,"ram":1}}`, "400 load -0.1 is not from 0 to 1e+06"},
		{`{"replica":"r","interval":30,"load":{"cpu":0,"ram":-1}}`, "400 load -1 is not from 0 to 1e+06"},
		{`{"replica":"r","interval":30,"load":{"cpu":0,"ram":1e300}}`, "400 load 1e+300 is not from 0 to 1e+06"},
		{`{"replica":"r","interval":30,"load":{"cpu":NaN,"ram":1}}`, "400 invalid JSON: invalid character 'N' looking for beginning of value"},
		{`{"replica":"r","interval":30,"load":{"cpu":"0.1","ram":1}}`, "400 wrong type for load.cpu: string"},
		{`{"replica":"r","interval":30,"load":1}`, "400 wrong type for load: number"},
	} {
		if got := describe(parseReport([]byte(tc.body))); got != tc.want {
			t.Errorf("%s\n%s\nwant %s", tc.body, got, tc.want)
		}
	}
}

func describe(rep report, err error) string {
	if err != nil {
		return fmt.Sprint(refusalOf(err).code, " ", err)
	}
	if rep.load != nil {
		return fmt.Sprint(rep.replica, " ", rep.interval, " load ", rep.load.cpu, " ", rep.load.ram)
	}
	return fmt.Sprint(rep.replica, " ", rep.interval, " ", rep.health)
}

func FuzzReport(f *testing.F) {
	f.Add([]byte(loadOK))
	f.Add([]byte(`{"replica":"\u0000","interval":1e3,"health":"dead"}`))
	f.Add([]byte(`{"replica":"r","interval":-0,"load":{"cpu":1E+2,"ram":0}} `))
	f.Fuzz(func(t *testing.T, body []byte) {
		rep, err := parseReport(body)
		if err != nil {
			if !errors.Is(err, errInvalid) {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if rep.replica == "" || len(rep.replica) > maxReplicaID || rep.interval < 0 || rep.interval > maxInterval*time.Second {
			t.Errorf("accepted %+v", rep)
		}
		if l := rep.load; l != nil && !(l.cpu >= 0 && l.cpu <= maxLoad && l.ram >= 0 && l.ram <= maxLoad) {
			t.Errorf("accepted %+v", l)
		}
	})
}

// What clients in the wild put on the wire, byte for byte.
func TestReporterClients(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	const auth = "Authorization: Basic OnRvay9lbitzZWNyZXQ=\r\n"
	body := func(s string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(s), s) }
	for _, tc := range []struct{ name, request string }{
		{"node", "POST /reporter/relay%20eu/socket%20client/ HTTP/1.1\r\nHost: h\r\n" + auth +
			"Content-Type: application/json; charset=utf-8\r\n" + body(`{"replica":"n","interval":30,"load":{"cpu":4,"ram":0.3}}`)},
		{"go", "POST /reporter/relay+eu/socket+client/ HTTP/1.1\r\nHost: h\r\nUser-Agent: Go-http-client/1.1\r\n" + auth +
			"Content-Type: application/json\r\nAccept-Encoding: gzip\r\n" + body(`{"replica":"n","interval":30,"load":{"cpu":4,"ram":0.3}}`+"\n")},
		{"ts", "POST /reporter/relay%20eu/socket%20client/ HTTP/1.1\r\nHost: h\r\n" + auth +
			"Content-Type: application/json; charset=urf-8\r\n" + body(`{"replica":"n","interval":30,"load":{"cpu":4,"ram":0.3}}`)},
		{"chunked", "POST /reporter/relay%20eu/socket%20client/ HTTP/1.1\r\nHost: h\r\n" + auth +
			"Transfer-Encoding: chunked\r\n\r\n1f\r\n{\"replica\":\"n\",\"interval\":30.0,\r\n1b\r\n\"load\":{\"cpu\":4.0,\"ram\":0}}\r\n0\r\n\r\n"},
		{"not all encoded", "POST /reporter/relay+eu/a%2Fb.c:ü/ HTTP/1.1\r\nHost: h\r\n" + auth +
			body(`{"replica":"n","interval":30,"load":{"cpu":4,"ram":0.3}}`)},
		{"no type, old protocol", "POST /reporter/relay%20eu/socket%20client HTTP/1.0\r\n" + auth +
			body(`{"replica":"n","interval":30,"load":{"cpu":4,"ram":0.3}}`)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if resp := rig.raw(t, tc.request); resp.StatusCode != 200 || resp.ContentLength != 0 {
				t.Errorf("%s, %d bytes", resp.Status, resp.ContentLength)
			}
		})
	}
	for _, tc := range []struct {
		name, request string
		code          int
	}{
		{"chunked and too large", "POST /reporter/web/jobs/ HTTP/1.1\r\nHost: h\r\n" + auth +
			"Transfer-Encoding: chunked\r\n\r\n10001\r\n" + strings.Repeat(" ", 0x10001) + "\r\n0\r\n\r\n", 413},
		{"said to be too large", "POST /reporter/web/jobs/ HTTP/1.1\r\nHost: h\r\n" + auth + "Content-Length: 9999999\r\n\r\n", 413},
		{"broken chunk", "POST /reporter/web/jobs/ HTTP/1.1\r\nHost: h\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if resp := rig.raw(t, tc.request); resp.StatusCode != tc.code {
				t.Errorf("%s, want %d", resp.Status, tc.code)
			}
		})
	}
}

// raw sends a request as it stands.
func (rig *apiRig) raw(t *testing.T, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", rig.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

// Push and local replicas through time: what they report, silence, queues.
func TestReportedReplicas(t *testing.T) {
	conf := apiConfig()
	push, local := conf.Services[0].Nodes[1], conf.Services[0].Nodes[3]
	p := newPlay(conf)
	show := func(node int) string {
		var out []string
		for _, r := range p.st.snapshot(p.now).services[0].nodes[node].replicas.all() {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.id, r.status, r.reason)))
		}
		return strings.Join(out, ", ")
	}
	at := func(d time.Duration, events ...event) {
		p.until(p.begin.Add(d))
		for _, ev := range events {
			ev.apply(p.st, p.now)
		}
	}
	load := func(id string, interval time.Duration, cpu, ram float64) event {
		return &loadReport{push, report{replica: id, interval: interval, load: &replicaLoad{cpu: cpu, ram: ram}}, nil}
	}
	health := func(id string, interval time.Duration, s status) event {
		return &healthReport{local, report{replica: id, interval: interval, health: s}, nil}
	}
	stalled := queueDepth{true, 1200, 3, dead, "queue stalled: 1200 ready"}
	drained := queueDepth{known: true}
	loaded := queueDepth{true, 40, 3, sick, "queue loaded: 40 ready"}
	for _, step := range []struct {
		at    time.Duration
		event event
		node  int
		want  string
	}{
		{0, load("a", 30*time.Second, 0.9, 0.9), 1, "a healthy"},
		{0, load("b", 0, 0.97, 0.99), 1, "a healthy, b sick cpu 0.97 over 0.90"},
		{0, load("c", 100*time.Second, 0, 0.95), 1, "a healthy, b sick cpu 0.97 over 0.90, c sick ram 0.95 over 0.90"},
		// b's time is 0 + 20 s, a's 30 + 20 s: dead at that moment, not before.
		{20*time.Second - 1, nil, 1, "a healthy, b sick cpu 0.97 over 0.90, c sick ram 0.95 over 0.90"},
		{20 * time.Second, nil, 1, "a healthy, b dead no report in 20s, c sick ram 0.95 over 0.90"},
		{30 * time.Second, load("b", 60*time.Second, 0.1, 0.1), 1, "a healthy, b healthy, c sick ram 0.95 over 0.90"},
		{50 * time.Second, nil, 1, "a dead no report in 50s, b healthy, c sick ram 0.95 over 0.90"},
		// The queue counts for those that are alive and not overloaded.
		{51 * time.Second, &queueReport{push, stalled}, 1, "a dead no report in 50s, b dead queue stalled: 1200 ready, c sick ram 0.95 over 0.90"},
		{52 * time.Second, load("d", 60*time.Second, 0, 0), 1, "a dead no report in 50s, b dead queue stalled: 1200 ready, c sick ram 0.95 over 0.90, d dead queue stalled: 1200 ready"},
		{53 * time.Second, &queueReport{push, loaded}, 1, "a dead no report in 50s, b sick queue loaded: 40 ready, c sick ram 0.95 over 0.90, d sick queue loaded: 40 ready"},
		{54 * time.Second, &queueReport{push, drained}, 1, "a dead no report in 50s, b healthy, c sick ram 0.95 over 0.90, d healthy"},
		// A replica dead of its queue is also overdue when its time comes.
		{55 * time.Second, &queueReport{push, stalled}, 1, "a dead no report in 50s, b dead queue stalled: 1200 ready, c sick ram 0.95 over 0.90, d dead queue stalled: 1200 ready"},
		{110 * time.Second, &queueReport{push, drained}, 1, "a dead no report in 50s, b dead no report in 1m20s, c sick ram 0.95 over 0.90, d healthy"},

		{110 * time.Second, health("x", 10*time.Second, healthy), 3, "x healthy"},
		{110 * time.Second, health("y", 10*time.Second, sick), 3, "x healthy, y sick reported sick"},
		{110 * time.Second, health("z", 100*time.Second, dead), 3, "x healthy, y sick reported sick, z dead reported dead"},
		{160*time.Second - 1, nil, 3, "x healthy, y sick reported sick, z dead reported dead"},
		{160 * time.Second, nil, 3, "x dead no report in 50s, y dead no report in 50s, z dead reported dead"},
		{161 * time.Second, health("x", 10*time.Second, sick), 3, "x sick reported sick, y dead no report in 50s, z dead reported dead"},
		{250 * time.Second, nil, 3, "x dead no report in 50s, y dead no report in 50s, z dead no report in 2m20s"},
	} {
		if step.event != nil {
			at(step.at, step.event)
		} else {
			at(step.at)
		}
		if got := show(step.node); got != step.want {
			t.Errorf("at %v: %s\nwant %s", step.at, got, step.want)
		}
	}
	// After a reload the queue is as it was, unless it is another one.
	at(111*time.Second, &queueReport{push, stalled})
	next := apiConfig()
	p.st.reload(next, p.now)
	push = next.Services[0].Nodes[1]
	at(112*time.Second, load("d", 600*time.Second, 0, 0))
	if got := p.st.nodes[push].byID["d"]; got.status != dead || got.reason != stalled.reason {
		t.Errorf("after a reload: %s %s", got.status, got.reason)
	}
	next = apiConfig()
	push = next.Services[0].Nodes[1]
	push.RabbitMQQueue = "another"
	p.st.reload(next, p.now)
	at(113*time.Second, load("d", 600*time.Second, 0, 0))
	if got := p.st.nodes[push].byID["d"]; got.status != healthy {
		t.Errorf("with another queue: %s %s", got.status, got.reason)
	}
	at(300*time.Second, &queueReport{push, drained})
	view := p.st.snapshot(p.now).services[0].nodes[1].replicas.at(3)
	if want := (replicaLoad{queue: true}); *view.load != want {
		t.Errorf("load %+v, want %+v", *view.load, want)
	}
}

// More replicas than the limit are refused, those that are known are not.
func TestTooManyReplicas(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	push := rig.snaps.load().conf.Services[0].Nodes[1]
	for i := range maxReported {
		rig.events <- &loadReport{push, report{replica: fmt.Sprint(i), interval: time.Minute, load: &replicaLoad{}}, nil}
	}
	rig.until(t, "all have arrived", func(s *snapshot) bool { return s.services[0].nodes[1].replicas.len() == maxReported })
	const tok = "tok/en+secret"
	full := fault("150000 replicas report already, no more are accepted: flush some")
	rig.table(t, []apiRow{
		{"one more", "POST", "/reporter/relay+eu/c+d/", tok, loadOK, 507, full},
		{"one more, local", "POST", "/reporter/web/far/", tok, `{"replica":"x","interval":1,"health":"dead"}`, 507, full},
		{"one that is known", "POST", "/reporter/web/jobs/", tok, `{"replica":"7","interval":1,"load":{"cpu":0,"ram":0}}`, 200, ""},
		{"flush one", "DELETE", "/reporter/web/jobs/9/", tok, "", 200, ""},
		{"now there is room", "POST", "/reporter/relay+eu/c+d/", tok, loadOK, 200, ""},
		{"for one", "POST", "/reporter/relay+eu/c%20d/", tok, loadOK, 507, full},
	})
}

// 64 clients, 10,000 replicas: each report arrives.
func TestReporterConcurrent(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	rig.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	const clients, each = 64, 157
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				body := fmt.Sprintf(`{"replica":"%d-%d","interval":60,"load":{"cpu":%d,"ram":0}}`, c, i, i%2)
				if resp, text := rig.do(t, "POST", "/reporter/web/jobs/", "tok/en+secret", body); resp.StatusCode != 200 {
					t.Errorf("%d %s", resp.StatusCode, text)
				}
				if i%16 == 0 {
					if resp, text := rig.do(t, "DELETE", fmt.Sprintf("/reporter/web/jobs/%d-%d", c, i), "tok/en+secret", ""); resp.StatusCode != 200 {
						t.Errorf("%d %s", resp.StatusCode, text)
					}
				}
			}
		})
	}
	wg.Wait()
	want := clients * (each - 10)
	s := rig.until(t, "all reports arrived", func(s *snapshot) bool { return s.services[0].nodes[1].replicas.len() == want })
	ill := 0
	var ids []string
	for _, r := range s.services[0].nodes[1].replicas.all() {
		if r.status == sick {
			ill++
		}
		ids = append(ids, r.id)
	}
	slices.Sort(ids)
	if ill != clients*78 || len(slices.Compact(ids)) != want {
		t.Errorf("%d sick of %d, want %d of %d", ill, len(ids), clients*78, want)
	}
}

// Behind a path prefix, and through the page's router, ids keep their slashes.
func TestReporterBehindPrefix(t *testing.T) {
	conf := apiConfig()
	conf.Server.PathPrefix = "/our status/x"
	rig := newAPIRig(t, conf)
	page, err := newPage(rig.snaps, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(page.handler(map[string]http.Handler{"reporter": rig.reporter}))
	defer server.Close()
	rig.URL = server.URL
	rig.table(t, []apiRow{
		{"load", "POST", "/our%20status/x/reporter/relay+eu/a%2Fb.c%3A%C3%BC/", "tok/en+secret", loadOK, 200, ""},
		{"flush", "DELETE", "/our%20status/x/reporter/relay%20eu/a%2Fb.c%3A%C3%BC/r1", "tok/en+secret", "", 200, ""},
		{"flush again", "DELETE", "/our%20status/x/reporter/relay%20eu/a%2Fb.c%3A%C3%BC/r1", "tok/en+secret", "", 404, fault(`no replica \"r1\" of node \"a/b.c:ü\"`)},
	})
	if resp, _ := rig.do(t, "POST", "/reporter/relay+eu/a%2Fb.c%3A%C3%BC/", "tok/en+secret", loadOK); resp.StatusCode != 404 {
		t.Errorf("without the prefix: %d", resp.StatusCode)
	}
}
