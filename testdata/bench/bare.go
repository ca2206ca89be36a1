package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// serve serves on loopback until the process ends, with the time-outs that the
// program has: each costs a little.
func serve(h http.Handler) (addresses, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return addresses{}, err
	}
	server := &http.Server{Handler: h, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 75 * time.Second}
	go server.Serve(ln)
	return addresses{HTTP: ln.Addr().String()}, nil
}

func idle(order) (any, error) { return nil, nil }

// A pageTask is an answer of the program's.
type pageTask struct {
	Header http.Header
	Body   []byte
}

// playPage is package net/http with nothing but the bytes of the answer.
func playPage(raw json.RawMessage) (addresses, func(order) (any, error), error) {
	var task pageTask
	if err := json.Unmarshal(raw, &task); err != nil {
		return addresses{}, nil, err
	}
	tag := task.Header.Get("Etag")
	where, err := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for name, values := range task.Header {
			h[name] = values
		}
		if tag != "" && r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Write(task.Body)
	}))
	return where, idle, err
}

// playReport is package net/http that checks a token and decodes a report.
func playReport(raw json.RawMessage) (addresses, func(order) (any, error), error) {
	var token string
	if err := json.Unmarshal(raw, &token); err != nil {
		return addresses{}, nil, err
	}
	want := sha256.Sum256([]byte(token))
	where, err := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		got := sha256.Sum256([]byte(password))
		var body struct {
			Replica  *string  `json:"replica"`
			Interval *float64 `json:"interval"`
			Load     *struct {
				CPU *float64 `json:"cpu"`
				RAM *float64 `json:"ram"`
			} `json:"load"`
		}
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || json.NewDecoder(r.Body).Decode(&body) != nil {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	return where, idle, err
}

// A loopTask is what a bare loop checks, on how many goroutines, and how long
// each of them waits between two checks.
type loopTask struct {
	Scheme string // "tcp" or "http"
	Port   string
	Path   string
	Width  int
	Pause  time.Duration
	Apart  time.Duration // a check starts so often instead, each at its own time
}

// checked is what a bare loop has done.
type checked struct {
	Checks  int64
	CPU     float64 // seconds
	Latency float64 // seconds, on average
}

// playLoop is the barest loop of checks.
func playLoop(raw json.RawMessage) (addresses, func(order) (any, error), error) {
	var task loopTask
	if err := json.Unmarshal(raw, &task); err != nil {
		return addresses{}, nil, err
	}
	dialer := net.Dialer{Timeout: 10 * time.Second}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	check := func(n int) error {
		address := net.JoinHostPort(host(n), task.Port)
		if task.Scheme == "tcp" {
			conn, err := dialer.DialContext(context.Background(), "tcp", address)
			if err != nil {
				return err
			}
			return conn.Close()
		}
		resp, err := client.Head("http://" + address + task.Path)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	return addresses{}, func(o order) (any, error) {
		var done, faults atomic.Int64
		var mu sync.Mutex
		var took []float64
		before := ownCPU()
		end := time.Now().Add(time.Duration(o.Seconds * float64(time.Second)))
		var wg sync.WaitGroup
		if task.Apart > 0 {
			ticker := time.NewTicker(task.Apart)
			for n := 0; time.Now().Before(end); n++ {
				<-ticker.C
				wg.Go(func() {
					begin := time.Now()
					if check(n) != nil {
						faults.Add(1)
					}
					done.Add(1)
					mu.Lock()
					took = append(took, time.Since(begin).Seconds())
					mu.Unlock()
				})
			}
			ticker.Stop()
			task.Width = 0
		}
		for w := range task.Width {
			wg.Go(func() {
				for n := w; time.Now().Before(end); n += task.Width {
					begin := time.Now()
					if check(n) != nil {
						faults.Add(1)
					}
					done.Add(1)
					if task.Pause > 0 {
						mu.Lock()
						took = append(took, time.Since(begin).Seconds())
						mu.Unlock()
						time.Sleep(task.Pause)
					}
				}
			})
		}
		wg.Wait()
		if n := faults.Load(); n > done.Load()/100 {
			return nil, fmt.Errorf("%d of %d checks failed", n, done.Load())
		}
		return checked{done.Load(), ownCPU() - before, mean(took)}, nil
	}, nil
}

// ownCPU returns the processor time of this process in seconds.
func ownCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// discard reads an answer to its end.
func discard(resp *http.Response) {
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}
