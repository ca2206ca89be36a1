package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"
)

// BenchmarkReports measures report POSTs over 64 connections for 10,000
// replicas beside a bare handler that checks the token and decodes the same
// JSON, in turns. The metric "ratio" must be 0.80 or more.
func BenchmarkReports(b *testing.B) {
	const conns, replicas = 64, 10_000
	rig := newAPIRig(b, apiConfig())
	want := sha256.Sum256([]byte("tok/en+secret"))
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		got := sha256.Sum256([]byte(password))
		var body reportBody
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || json.NewDecoder(r.Body).Decode(&body) != nil {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer bare.Close()
	requests := make([][]byte, replicas)
	for i := range requests {
		body := fmt.Sprintf(`{"replica":"host-%d.example.net","interval":30,"load":{"cpu":0.%d,"ram":0.4}}`, i, i)
		requests[i] = fmt.Appendf(nil, "POST /reporter/web/jobs/ HTTP/1.1\r\nHost: status.example.net\r\nAuthorization: Basic OnRvay9lbitzZWNyZXQ=\r\n"+
			"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	// load sends the n-th part of all requests over each connection and
	// returns how long that took.
	load := func(addr string, n int) time.Duration {
		start := time.Now()
		var wg sync.WaitGroup
		for c := range conns {
			wg.Go(func() {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					b.Error(err)
					return
				}
				defer conn.Close()
				in := bufio.NewReader(conn)
				for i := c; i < n; i += conns {
					if _, err := conn.Write(requests[i%replicas]); err != nil {
						b.Error(err)
						return
					}
					resp, err := http.ReadResponse(in, nil)
					if err != nil || resp.StatusCode != http.StatusOK {
						b.Error(resp, err)
						return
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		}
		wg.Wait()
		return time.Since(start)
	}
	load(rig.Listener.Addr().String(), replicas)
	load(bare.Listener.Addr().String(), replicas)
	const round = 20_000
	var ours, theirs time.Duration
	rounds := 0
	for b.Loop() {
		theirs += load(bare.Listener.Addr().String(), round)
		ours += load(rig.Listener.Addr().String(), round)
		rounds++
	}
	b.ReportMetric(float64(rounds*round)/ours.Seconds(), "reports/s")
	b.ReportMetric(float64(rounds*round)/theirs.Seconds(), "bare/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
}

// 100,000 push replicas must fit into 150 MiB. The collector lets the heap grow
// to twice of what lives, and the rest of the process takes some 10 MiB: so
// replicas, with the snapshot that shows them, may take 65 MiB.
func TestReportedMemory(t *testing.T) {
	const count = 100_000
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	conf := apiConfig()
	now := time.Now()
	st := newState(conf, now)
	for i := range count {
		body := fmt.Appendf(nil, `{"replica":"host-%d.example.net","interval":30,"load":{"cpu":0.%d,"ram":0.4}}`, i, i)
		rep, err := parseReport(body)
		if err != nil {
			t.Fatal(err)
		}
		(&loadReport{conf.Services[0].Nodes[1], rep, nil}).apply(st, now)
	}
	brd := newSnapshots(st.snapshot(now))
	used := (live() - before) >> 20
	t.Logf("%d MiB", used)
	if n := brd.load().services[0].nodes[1].replicas.len(); n != count || used > 65 {
		t.Errorf("%d replicas take %d MiB", n, used)
	}
	runtime.KeepAlive(st)
}
