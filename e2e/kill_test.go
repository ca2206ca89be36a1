package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const killConfig = `
[server]
log_level = "info"
inet = "127.0.0.1:0"
manager_token = "manager"
reporter_token = "reporter"

[branding]
page_title = "Example Status"
page_url = "https://status.example.com/"

[storage]
path = "./data/"

[notify]
startup_notification = false

[[notify.webhook]]
id = "all"
hook_url = "%[1]s/all"

[[notify.webhook]]
id = "flips"
hook_url = "%[1]s/flips"

[[notify.webhook]]
id = "loads"
hook_url = "%[1]s/loads"

[[notify.route]]
to = ["all"]

[[notify.route]]
match = ["web:flip"]
to = ["flips"]

[[notify.route]]
match = ["web:load"]
to = ["loads"] # which are never dead

[[maintenance]]
title = "Works"
selectors = ["web:works"]
start = %[3]s
duration = 31536000

[[probe.service]]
id = "web"
label = "Web"

[[probe.service.node]]
id = "flip"
label = "Local"
mode = "local"

[[probe.service.node]]
id = "works"
label = "Under maintenance"
mode = "local"

[[probe.service.node]]
id = "hush"
label = "Silenced"
mode = "local"

[[probe.service.node]]
id = "load"
label = "Push %[2]d"
mode = "push"
`

// flipChannels are those that hear of the outages of web:flip, and nothing else.
var flipChannels = []string{"all", "flips"}

// A victim is the program, killed and started again and again in one folder,
// and those who go on using it all the while.
type victim struct {
	t   *testing.T
	dir string
	url atomic.Pointer[string] // of the one that runs
	log bytes.Buffer

	hook  string    // URL of the channels
	works time.Time // the start of the maintenance

	mu    sync.Mutex
	told  map[string][]told // by channel
	miss  []string          // what nobody was told in time
	fatal chan struct{}     // a token: the receiver of the next alert wants it dead
	kill  chan struct{}     // now
}

// told is one call of the webhook.
type told struct {
	ID       string
	Type     string
	Replicas []string
	Repeat   bool
}

// ServeHTTP receives alerts. Some of them it does not survive.
func (v *victim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var call told
	if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
		return // cut off while it was sent
	}
	v.mu.Lock()
	channel := strings.Trim(r.URL.Path, "/")
	v.told[channel] = append(v.told[channel], call)
	v.mu.Unlock()
	select {
	case <-v.fatal:
		v.kill <- struct{}{}
		<-r.Context().Done()
	default:
	}
}

// alerts are the calls of a channel so far.
func (v *victim) alerts(channel string) []told {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.told[channel])
}

// configure writes the config, in which the label of a node has a number.
func (v *victim) configure(number int) {
	name := filepath.Join(v.dir, "config.cfg")
	err := os.WriteFile(name+".new", fmt.Appendf(nil, killConfig, v.hook, number, v.works.Format(time.RFC3339)), 0o600)
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		v.t.Error(err)
	}
}

// live runs the program, calls up as soon as it serves, and kills it when
// something comes from end, or an alert is fatal.
func (v *victim) live(up func(), end func() <-chan time.Time) {
	v.t.Helper()
	cmd := exec.Command(vigil)
	cmd.Dir = v.dir
	stderr, err := cmd.StderrPipe()
	if err != nil {
		v.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	serving := make(chan string, 1)
	var reader sync.WaitGroup
	reader.Go(func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(&v.log, lines.Text())
			if _, rest, ok := strings.Cut(lines.Text(), `"serving the status page" url=`); ok {
				url, _, _ := strings.Cut(rest, " ")
				serving <- url
			}
		}
	})
	select {
	case url := <-serving:
		v.url.Store(&url)
	case <-time.After(20 * time.Second):
		cmd.Process.Kill()
		v.t.Fatalf("the program does not serve:\n%s", &v.log)
	}
	up()
	select {
	case <-end():
	case <-v.kill:
	}
	v.url.Store(nil)
	cmd.Process.Kill()
	reader.Wait()
	cmd.Wait()
}

// call sends a request to whatever runs and returns the status, or 0 when
// there was no answer.
func (v *victim) call(token, method, route string, in, out any) int {
	url := v.url.Load()
	if url == nil {
		time.Sleep(2 * time.Millisecond)
		return 0
	}
	var body []byte
	if in != nil {
		body, _ = json.Marshal(in)
	}
	req, err := http.NewRequest(method, *url+route, bytes.NewReader(body))
	if err != nil {
		v.t.Error(err)
		return 0
	}
	req.SetBasicAuth("", token)
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0
	}
	if out != nil && resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(answer, out); err != nil {
			v.t.Errorf("%s %s: %v in %q", method, route, err, answer)
			return 0
		}
	}
	return resp.StatusCode
}

// flip has one outage after the other, each with two replicas of its own, of which
// one may follow the other. As any agent does, it reports again and again; it goes
// on when people know.
func (v *victim) flip(ctx context.Context, rnd *rand.Rand) (outages int) {
	for i := 0; ctx.Err() == nil; i++ {
		ids := []string{fmt.Sprint("r0-", i), fmt.Sprint("r1-", i)}
		report := func(health string, until func(last told, path string) bool) bool {
			pause := time.Duration(rnd.Int64N(int64(800*time.Millisecond))) - 400*time.Millisecond
			limit := time.Now().Add(2 * time.Minute) // the kills leave it little time on a busy machine
			for time.Now().Before(limit) {
				for _, id := range ids {
					v.call("reporter", "POST", "reporter/web/flip/",
						map[string]any{"replica": id, "interval": 300, "health": health}, nil)
					time.Sleep(pause)
				}
				pause = 0
				know := 0
				for _, channel := range flipChannels {
					all := v.alerts(channel)
					for _, id := range ids {
						if len(all) > 0 && until(all[len(all)-1], "web:flip:"+id) {
							know++
						}
					}
				}
				if know == len(flipChannels)*len(ids) {
					return true
				}
				time.Sleep(20 * time.Millisecond)
			}
			return false
		}
		if !report("dead", func(last told, path string) bool { return slices.Contains(last.Replicas, path) }) {
			v.missed(fmt.Sprint("not everybody was told of the outages of ", ids))
		}
		if !report("healthy", func(last told, path string) bool { return !slices.Contains(last.Replicas, path) }) {
			v.missed(fmt.Sprint("not everybody was told of the end of the outages of ", ids))
		}
		outages += len(ids)
	}
	return outages
}

// flipQuietly has outages that a maintenance and a silence keep from everybody.
func (v *victim) flipQuietly(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		for _, node := range []string{"works", "hush"} {
			v.call("reporter", "POST", "reporter/web/"+node+"/",
				map[string]any{"replica": fmt.Sprint("quiet-", i/2%10), "interval": 300, "health": []string{"dead", "healthy"}[i%2]}, nil)
		}
		time.Sleep(30 * time.Millisecond)
	}
}

func (v *victim) missed(what string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.miss = append(v.miss, what)
}

// judge reads all that a channel was told. Each alert must say something new;
// one that came again must say so. It returns how many did.
func (v *victim) judge(channel string) (alerts, repeats int) {
	seen := make(map[string]bool)
	over := make(map[string]bool) // paths that were dead and are not any more
	var last []string
	for i, call := range v.alerts(channel) {
		if seen[call.ID] {
			repeats++
			if !call.Repeat {
				v.t.Errorf("%s: alert %d came again and does not say that it may have: %+v", channel, i, call)
			}
			continue
		}
		seen[call.ID] = true
		alerts++
		fresh := len(call.Replicas) == 0 != (len(last) == 0)
		for _, path := range call.Replicas {
			if over[path] {
				v.t.Errorf("%s: alert %d tells of %s again", channel, i, path)
			}
			if !strings.HasPrefix(path, "web:flip:") {
				v.t.Errorf("%s: alert %d tells of %s, which is kept from everybody", channel, i, path)
			}
			fresh = fresh || !slices.Contains(last, path)
		}
		if !fresh {
			v.t.Errorf("%s: alert %d says nothing new: %+v after %v", channel, i, call, last)
		}
		for _, path := range last {
			if !slices.Contains(call.Replicas, path) {
				over[path] = true
			}
		}
		last = call.Replicas
	}
	return alerts, repeats
}

// killRounds kills the program at so many moments, while calls of the Manager
// API, loads and outages come in: whatever was acknowledged is there afterwards,
// and each channel that its routes lead to is told of every outage once, or again
// with a mark if the kill came between sending it and taking note of that. Nobody
// is told of what a route, a maintenance or a silence keeps from them.
func killRounds(t *testing.T, rounds int) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	v := &victim{t: t, dir: t.TempDir(), told: make(map[string][]told), fatal: make(chan struct{}, 1), kill: make(chan struct{})}
	hook := httptest.NewServer(v)
	defer hook.Close()
	v.hook, v.works = hook.URL, time.Now().Add(-time.Hour)
	v.configure(0)
	op := &operator{victim: v, unsure: make(map[string]bool), gone: make(map[string]bool)}
	plans := &planner{victim: v, made: make(map[string]string), unsure: make(map[string]bool), acked: make(map[string]string)}
	v.live(plans.hush, func() <-chan time.Time { return time.After(0) })
	check := func() { op.check(); plans.check() }

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var users, flips sync.WaitGroup
	users.Go(func() {
		for rnd := rand.New(rand.NewPCG(seed, 1)); ctx.Err() == nil; {
			op.act(rnd)
		}
	})
	users.Go(func() {
		for rnd := rand.New(rand.NewPCG(seed, 2)); ctx.Err() == nil; {
			plans.act(rnd)
		}
	})
	users.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			v.call("reporter", "POST", "reporter/web/load/", map[string]any{
				"replica": fmt.Sprint("host-", i%500), "interval": 300, "load": map[string]float64{"cpu": float64(i%100) / 100, "ram": 0.5},
			}, nil)
		}
	})
	users.Go(func() { v.flipQuietly(ctx) })
	flipping, calm := context.WithCancel(ctx)
	defer calm()
	outages := 0
	flips.Go(func() { outages = v.flip(flipping, rand.New(rand.NewPCG(seed, 3))) })

	kills := 0
	for range rounds {
		v.live(check, func() <-chan time.Time {
			if rnd.IntN(4) > 0 {
				return time.After(time.Duration(rnd.Int64N(int64(600 * time.Millisecond))))
			}
			select {
			case v.fatal <- struct{}{}: // the next alert is the last
			default:
			}
			return time.After(1500 * time.Millisecond)
		})
		kills++
	}
	select {
	case <-v.fatal:
	default:
	}
	calm()
	v.live(func() {
		flips.Wait() // all are told
		check()
		plans.readLog()
	}, func() <-chan time.Time { return time.After(1500 * time.Millisecond) })
	cancel()
	users.Wait()

	for _, what := range v.miss {
		t.Error(what)
	}
	alerts, repeats := 0, 0
	for _, channel := range flipChannels {
		a, r := v.judge(channel)
		alerts, repeats = alerts+a, repeats+r
	}
	if all := v.alerts("loads"); len(all) > 0 {
		t.Errorf("a channel was told what no route tells it: %+v", all)
	}
	if outages == 0 || op.acks < rounds || plans.acks < rounds || plans.edits < rounds/2 {
		t.Errorf("only %d outages, %d and %d acknowledged calls, %d of them edits", outages, op.acks, plans.acks, plans.edits)
	}
	if strings.Contains(v.log.String(), "level=ERROR") && !strings.Contains(v.log.String(), "damaged file") || t.Failed() {
		t.Errorf("log:\n%s", tail(v.log.String(), 4000))
	}
	t.Logf("%d kills: %d acknowledged calls, none lost; %d outages in %d alerts of two channels, %d of which came again, marked; %d files damaged",
		kills, op.acks+plans.acks, outages, alerts, repeats, strings.Count(v.log.String(), "damaged file"))
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// TestPeerManyKills has more of them.
func TestKills(t *testing.T) {
	t.Parallel()
	killRounds(t, 6)
}
