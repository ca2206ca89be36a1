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

[notify.webhook]
hook_url = "%s"

[[probe.service]]
id = "web"
label = "Web"

[[probe.service.node]]
id = "flip"
label = "Local"
mode = "local"

[[probe.service.node]]
id = "load"
label = "Push"
mode = "push"
`

// A victim is the program, killed and started again and again in one folder,
// and those who go on using it all the while.
type victim struct {
	t   *testing.T
	dir string
	url atomic.Pointer[string] // of the one that runs
	log bytes.Buffer

	mu    sync.Mutex
	told  []told
	miss  []string      // what nobody was told in time
	fatal chan struct{} // a token: the receiver of the next alert wants it dead
	kill  chan struct{} // now
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
	v.told = append(v.told, call)
	v.mu.Unlock()
	select {
	case <-v.fatal:
		v.kill <- struct{}{}
		<-r.Context().Done()
	default:
	}
}

// alerts are the calls so far.
func (v *victim) alerts() []told {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.told)
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

// An operator publishes announcements, takes them back and silences reminders,
// and remembers what was acknowledged.
type operator struct {
	*victim
	mu        sync.Mutex
	published []string        // ids, oldest first
	unsure    map[string]bool // ids that were perhaps taken back
	gone      map[string]bool
	silence   time.Time // until when; zero: not sure
	acks      int
}

func (o *operator) act(rnd *rand.Rand) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch n := len(o.published); {
	case rnd.IntN(10) == 0:
		seconds := 1000 + rnd.IntN(1e6)
		o.silence = time.Time{}
		if o.call("manager", "PUT", "manager/prober/alerts/ignored/", map[string]int{"reminders_seconds": seconds}, nil) == http.StatusOK {
			o.silence = time.Now().Add(time.Duration(seconds) * time.Second)
			o.acks++
		}
	case n > 0 && (n > 30 || rnd.IntN(3) == 0):
		i := rnd.IntN(n)
		id := o.published[i]
		o.unsure[id] = true
		if code := o.call("manager", "DELETE", "manager/announcement/"+id+"/", nil, nil); code == http.StatusOK || code == http.StatusNotFound {
			o.published = slices.Delete(o.published, i, i+1)
			delete(o.unsure, id)
			o.gone[id] = true
			o.acks++
		}
	default:
		var made struct{ ID string }
		if o.call("manager", "POST", "manager/announcement/", map[string]string{"title": "t", "text": "x"}, &made) == http.StatusOK {
			o.published = append(o.published, made.ID)
			o.acks++
		}
	}
}

// plannerTitle is that of the planner's announcements, which no other operator
// removes.
const plannerTitle = "long"

// A planner makes maintenances and silences and ends them, edits and updates an
// announcement, and acknowledges outages, and remembers what was accepted.
type planner struct {
	*victim
	mu      sync.Mutex
	made    map[string]string // id of what is there: its kind
	unsure  map[string]bool   // ids that were perhaps ended
	note    string            // id of the announcement; "" before the first
	updates int               // accepted, at least
	acked   map[string]string // id of an outage: its last accepted text; "" when not sure
	acks    int
}

func (p *planner) act(rnd *rand.Rand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var made struct{ ID string }
	switch kind := []string{"maintenance", "silence"}[rnd.IntN(2)]; rnd.IntN(5) {
	case 0: // end one
		for id, kind := range p.made {
			p.unsure[id] = true
			if code := p.call("manager", "DELETE", "manager/"+kind+"/"+id+"/", nil, nil); code == http.StatusOK || code == http.StatusNotFound {
				delete(p.made, id)
				p.acks++
			}
			break
		}
	case 1: // write of the announcement
		if p.note == "" || p.updates > 80 {
			if p.call("manager", "POST", "manager/announcement/", map[string]string{"title": plannerTitle, "text": "x"}, &made) == http.StatusOK {
				p.note, p.updates = made.ID, 0
				p.acks++
			}
		} else if p.call("manager", "POST", "manager/announcement/"+p.note+"/update/", map[string]string{"text": "more"}, nil) == http.StatusOK {
			p.updates++
			p.acks++
		}
	case 2: // acknowledge an open outage
		var open []struct {
			ID  string
			End *time.Time
		}
		p.call("manager", "GET", "manager/outages/", nil, &open)
		if len(open) == 0 || open[0].End != nil {
			return
		}
		text := fmt.Sprint("text ", rnd.IntN(1e9))
		p.acked[open[0].ID] = ""
		if p.call("manager", "PUT", "manager/outage/"+open[0].ID+"/ack/", map[string]any{"text": text, "seconds": 3600}, nil) == http.StatusOK {
			p.acked[open[0].ID] = text
			p.acks++
		}
	default: // make one, for a node that has no outages
		if len(p.made) > 30 {
			return
		}
		body := map[string]any{"selectors": []string{"web:load"}, "text": "x"}
		if kind == "silence" {
			body["seconds"] = 3600
		} else {
			body["title"], body["end"] = "t", time.Now().Add(time.Hour)
		}
		if p.call("manager", "POST", "manager/"+kind+"s/", body, &made) == http.StatusOK {
			p.made[made.ID] = kind
			p.acks++
		}
	}
}

func (p *planner) check() {
	p.mu.Lock()
	defer p.mu.Unlock()
	have := make(map[string]bool)
	for _, kind := range []string{"maintenance", "silence"} {
		var list []struct{ ID string }
		if code := p.call("manager", "GET", "manager/"+kind+"s/", nil, &list); code != http.StatusOK {
			p.t.Errorf("%ss: status %d", kind, code)
			return
		}
		for _, it := range list {
			have[it.ID] = true
			if p.made[it.ID] == "" && p.unsure[it.ID] {
				p.t.Errorf("%s %s is back", kind, it.ID)
			}
		}
	}
	for id, kind := range p.made {
		if !have[id] && !p.unsure[id] {
			p.t.Errorf("%s %s is lost", kind, id)
		}
	}
	var note struct{ Updates []any }
	if p.note != "" {
		if code := p.call("manager", "GET", "manager/announcement/"+p.note+"/", nil, &note); code != http.StatusOK || len(note.Updates) < p.updates {
			p.t.Errorf("announcement %s: status %d, %d of %d updates", p.note, code, len(note.Updates), p.updates)
		}
		p.updates = len(note.Updates)
	}
	for id, text := range p.acked {
		var out struct {
			Acknowledgement *struct{ Text string }
		}
		code := p.call("manager", "GET", "manager/outage/"+id+"/", nil, &out)
		if text != "" && (code != http.StatusOK || out.Acknowledgement == nil || out.Acknowledgement.Text != text) {
			p.t.Errorf("acknowledgement %q of outage %s: status %d, %+v", text, id, code, out.Acknowledgement)
		}
	}
}

// check compares what the program knows with what it acknowledged.
func (o *operator) check() {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []struct{ ID, Title string }
	if code := o.call("manager", "GET", "manager/announcements/", nil, &list); code != http.StatusOK {
		o.t.Errorf("announcements: status %d", code)
		return
	}
	have := make(map[string]bool)
	for _, a := range list {
		if a.Title == plannerTitle {
			continue
		}
		have[a.ID] = true
		if o.gone[a.ID] {
			o.t.Errorf("announcement %s is back", a.ID)
		}
	}
	for _, id := range o.published {
		if !have[id] && !o.unsure[id] {
			o.t.Errorf("announcement %s is lost", id)
		}
	}
	// Those whose answer was lost may be there as well: clear them away before
	// they are too many.
	for id := range have {
		if !slices.Contains(o.published, id) {
			o.published = append(o.published, id)
		}
	}
	var ignored struct {
		Seconds *float64 `json:"reminders_seconds"`
	}
	o.call("manager", "GET", "manager/prober/alerts/ignored/", nil, &ignored)
	if !o.silence.IsZero() {
		if want := time.Until(o.silence).Seconds(); ignored.Seconds == nil || *ignored.Seconds < want-2 || *ignored.Seconds > want+2 {
			o.t.Errorf("silence: %v s left, want about %.0f", ignored.Seconds, want)
		}
	}
}

// flip has one outage after the other, each with a replica of its own. As any
// agent does, it reports again and again; it goes on when people know.
func (v *victim) flip(ctx context.Context, name string) (outages int) {
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("%s-%d", name, i)
		path := "web:flip:" + id
		report := func(health string, until func(last told) bool) bool {
			limit := time.Now().Add(2 * time.Minute) // the kills leave it little time on a busy machine
			for time.Now().Before(limit) {
				v.call("reporter", "POST", "reporter/web/flip/",
					map[string]any{"replica": id, "interval": 300, "health": health}, nil)
				if all := v.alerts(); len(all) > 0 && until(all[len(all)-1]) {
					return true
				}
				time.Sleep(20 * time.Millisecond)
			}
			return false
		}
		if !report("dead", func(last told) bool { return slices.Contains(last.Replicas, path) }) {
			v.missed("nobody was told of the outage of " + path)
		}
		if !report("healthy", func(last told) bool { return !slices.Contains(last.Replicas, path) }) {
			v.missed("nobody was told of the end of the outage of " + path)
		}
		outages++
	}
	return outages
}

func (v *victim) missed(what string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.miss = append(v.miss, what)
}

// judge reads all that people were told. Each alert must say something new;
// one that came again must say so. It returns how many did.
func (v *victim) judge() (alerts, repeats int) {
	seen := make(map[string]bool)
	over := make(map[string]bool) // paths that were dead and are not any more
	var last []string
	for i, call := range v.alerts() {
		if seen[call.ID] {
			repeats++
			if !call.Repeat {
				v.t.Errorf("alert %d came again and does not say that it may have: %+v", i, call)
			}
			continue
		}
		seen[call.ID] = true
		alerts++
		fresh := len(call.Replicas) == 0 != (len(last) == 0)
		for _, path := range call.Replicas {
			if over[path] {
				v.t.Errorf("alert %d tells of %s again", i, path)
			}
			fresh = fresh || !slices.Contains(last, path)
		}
		if !fresh {
			v.t.Errorf("alert %d says nothing new: %+v after %v", i, call, last)
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

// killRounds kills the program at so many moments, while announcements, loads
// and outages come in: whatever was acknowledged is there afterwards, and every
// outage is told once, or again with a mark if the kill came between sending
// it and taking note of that.
func killRounds(t *testing.T, rounds int) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	v := &victim{t: t, dir: t.TempDir(), fatal: make(chan struct{}, 1), kill: make(chan struct{})}
	hook := httptest.NewServer(v)
	defer hook.Close()
	if err := os.WriteFile(filepath.Join(v.dir, "config.cfg"), fmt.Appendf(nil, killConfig, hook.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	op := &operator{victim: v, unsure: make(map[string]bool), gone: make(map[string]bool)}
	plans := &planner{victim: v, made: make(map[string]string), unsure: make(map[string]bool), acked: make(map[string]string)}
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
	flipping, calm := context.WithCancel(ctx)
	defer calm()
	outages := make([]int, 2)
	for i := range outages {
		flips.Go(func() { outages[i] = v.flip(flipping, fmt.Sprint("r", i)) })
	}

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
	}, func() <-chan time.Time { return time.After(1500 * time.Millisecond) })
	cancel()
	users.Wait()

	// An alert that a slow disk did not take in time is sent all the same; a kill
	// right behind it has the program forget that it told.
	report := t.Errorf
	if strings.Contains(v.log.String(), "alert sent before it was saved") {
		report = t.Logf
	}
	for _, what := range v.miss {
		report("%s", what)
	}
	alerts, repeats := v.judge()
	total := 0
	for _, n := range outages {
		total += n
	}
	if total == 0 || op.acks < rounds || plans.acks < rounds {
		t.Errorf("only %d outages, %d and %d acknowledged calls", total, op.acks, plans.acks)
	}
	if strings.Contains(v.log.String(), "level=ERROR") && !strings.Contains(v.log.String(), "damaged file") || t.Failed() {
		t.Errorf("log:\n%s", tail(v.log.String(), 4000))
	}
	t.Logf("%d kills: %d acknowledged calls, none lost; %d outages in %d alerts, %d of which came again, marked; %d files damaged",
		kills, op.acks+plans.acks, total, alerts, repeats, strings.Count(v.log.String(), "damaged file"))
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// TestPeerManyKills has more of them.
func TestKills(t *testing.T) {
	t.Parallel()
	killRounds(t, 6)
}
