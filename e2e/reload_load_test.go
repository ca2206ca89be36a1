package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// reloadRounds reloads the running program that many times while visitors read
// its page and apps report to it: no request is dropped, no report is lost, an
// outage is told once, and neither goroutines nor descriptors pile up.
func reloadRounds(t *testing.T, rounds int) {
	hook := newHook(t)
	target := listening(t, func(net.Conn) {})
	address := freeAddress(t)
	config := func(round int) string {
		nodes := polledNode("up", "Up", "tcp://"+target) +
			polledNode("down", "Down", "tcp://127.0.0.1:9") + pushedNode("app", "App")
		if round%2 == 1 {
			nodes += polledNode("more", "More", "tcp://"+target)
		}
		return testPlan{
			inet: address, title: fmt.Sprintf("Round %d", round), hook: hook,
			server:  "manager_token = \"manager\"\nreporter_token = \"reporter\"",
			metrics: fmt.Sprintf("poll_retry_wait = 20\npoll_parallelism = %d", 4+round%3),
			notify:  "startup_notification = false",
			nodes:   nodes,
		}.String()
	}
	r := startVigil(t, config(0))
	hook.next(t, "changed", "dead")
	r.reload(config(1), "config reloaded")
	r.reload(config(2), "config reloaded")
	goroutines, descriptors := r.goroutines(), r.descriptors()

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	var load sync.WaitGroup
	var pages, reports atomic.Int64
	for worker := range 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				resp, err := client.Get(r.url)
				if err != nil {
					t.Errorf("page: %v", err)
					return
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("page: status %d, %v", resp.StatusCode, err)
				}
				resp.Body.Close()
				pages.Add(1)
			}
		})
		load.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				body := fmt.Sprintf(`{"replica":"%d-%d","interval":600,"load":{"cpu":0.1,"ram":0.1}}`, worker, i%100)
				req, err := http.NewRequest("POST", r.url+"reporter/web/app/", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				req.SetBasicAuth("", "reporter")
				resp, err := client.Do(req)
				if err != nil {
					t.Errorf("report: %v", err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("report: status %d", resp.StatusCode)
				}
				reports.Add(1)
			}
		})
	}
	for round := range rounds {
		r.reload(config(3+round), "config reloaded")
		if t.Failed() {
			break
		}
	}
	// Every replica has reported by the time the last hundred are through.
	for enough := reports.Load() + 4*100; reports.Load() < enough && !t.Failed(); {
		time.Sleep(time.Millisecond)
	}
	stop()
	load.Wait()
	client.CloseIdleConnections()

	r.waitFor("status/report", "all 400 replicas", func(s string) bool { return strings.Count(s, `"healthy"`) >= 400 })
	select {
	case call := <-hook.calls:
		t.Errorf("told %s %s again", call.Type, call.Status)
	default:
	}
	http.DefaultClient.CloseIdleConnections()
	r.settle("goroutines", goroutines, r.goroutines)
	r.settle("descriptors", descriptors, r.descriptors)
	t.Logf("%d reloads during %d page requests and %d reports", rounds, pages.Load(), reports.Load())
	r.stop(syscall.SIGTERM)
}

// settle waits until there are no more of a kind than there were before. Two
// are granted for what comes and goes, such as a check that runs.
func (r *running) settle(what string, before int, count func() int) {
	r.t.Helper()
	now := count()
	for deadline := time.Now().Add(30 * time.Second); now > before+2; now = count() {
		if time.Now().After(deadline) {
			r.t.Errorf("%d %s, %d before", now, what, before)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// goroutines asks the program how many it has.
func (r *running) goroutines() int {
	r.t.Helper()
	req, err := http.NewRequest("GET", r.url+"metrics", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.SetBasicAuth("", "manager")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^go_goroutines (\d+)$`).FindSubmatch(body)
	if m == nil {
		r.t.Fatalf("no go_goroutines in:\n%s", body)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// descriptors counts the program's open files, where the system tells.
func (r *running) descriptors() int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	return len(entries)
}

// TestPeerManyReloads has more of them.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	reloadRounds(t, 5)
}
