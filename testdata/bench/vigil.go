package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// token is that of both APIs.
const token = "tok/en+secret"

// A program is Vigil running on a config in a folder of its own.
type program struct {
	vigil   string // its binary
	args    []string
	dir     string // its folder
	cmd     *exec.Cmd
	address string
	debug   string // where it serves profiles
	log     string // the file
	first   time.Duration
}

// head is the beginning of every config. More of [metrics] may follow.
const head = `[server]
inet = %q
log_level = "error"
mcp_server = true
manager_token = "` + token + `"
reporter_token = "` + token + `"
[branding]
page_title = "Status"
page_url = "http://localhost/"
[storage]
path = "./data/"
[metrics]
`

// run starts the program on a config, without its head, and waits until it
// serves.
func (b *bench) run(config string, env ...string) (*program, error) {
	p, err := b.lay(config)
	if err != nil {
		return nil, err
	}
	return p, p.start(env...)
}

// lay makes the folder of a program, with its config and an empty storage
// folder.
func (b *bench) lay(config string) (*program, error) {
	dir, err := os.MkdirTemp(b.dir, "run")
	if err != nil {
		return nil, err
	}
	p := &program{vigil: b.vigil, dir: dir, log: filepath.Join(dir, "log")}
	if p.address, err = freeAddress(); err != nil {
		return nil, err
	}
	if p.debug, err = freeAddress(); err != nil {
		return nil, err
	}
	p.args = []string{"-debug-addr", p.debug}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		return nil, err
	}
	return p, p.configure(config)
}

// configure writes the config.
func (p *program) configure(config string) error {
	return os.WriteFile(filepath.Join(p.dir, "config.cfg"), []byte(fmt.Sprintf(head, p.address)+config), 0o600)
}

// start starts the program, or starts it again, and waits until it serves.
func (p *program) start(env ...string) error {
	log, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(p.vigil, p.args...)
	p.cmd.Dir = p.dir
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = log
	begin := time.Now()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	if err := untilServing(p.address); err != nil {
		p.stop()
		said, _ := os.ReadFile(p.log)
		return fmt.Errorf("%w; it says: %.2000s", err, said)
	}
	p.first = time.Since(begin)
	return nil
}

// untilServing waits until a page is answered.
func untilServing(address string) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(500 * time.Microsecond) {
		var resp *http.Response
		if resp, err = client.Get("http://" + address + "/"); err == nil {
			discard(resp)
			return nil
		}
	}
	return fmt.Errorf("does not serve: %w", err)
}

// freeAddress returns a loopback address on which nobody listens. Its port lies
// below those that the kernel gives to clients, so that it stays free.
func freeAddress() (address string, err error) {
	for range 100 {
		address = net.JoinHostPort("127.0.0.1", strconv.Itoa(20_000+rand.IntN(12_000)))
		var ln net.Listener
		if ln, err = net.Listen("tcp", address); err == nil {
			ln.Close()
			return address, nil
		}
	}
	return "", err
}

func (p *program) stop() {
	p.cmd.Process.Signal(os.Interrupt)
	stuck := time.AfterFunc(15*time.Second, func() { p.cmd.Process.Kill() })
	defer stuck.Stop()
	p.cmd.Wait()
}

// get answers a route with some header fields, names and values by turns.
func (p *program) get(route string, fields ...string) (*http.Response, []byte, error) {
	req, err := http.NewRequest("GET", "http://"+p.address+route, nil)
	if err != nil {
		return nil, nil, err
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	req.SetBasicAuth("", token)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}, Timeout: 20 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// metrics returns what /metrics says, by name and labels.
func (p *program) metrics() (map[string]float64, error) {
	resp, body, err := p.get("/metrics")
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("/metrics: %s", resp.Status)
	}
	if err != nil {
		return nil, err
	}
	all := make(map[string]float64)
	for line := range strings.Lines(string(body)) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
			all[line[:i]], _ = strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
		}
	}
	return all, nil
}

// total adds up the samples of a name whose labels hold all of some texts.
func total(all map[string]float64, name string, labels ...string) (sum float64) {
next:
	for key, value := range all {
		rest, ok := strings.CutPrefix(key, name)
		if !ok || rest != "" && rest[0] != '{' {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(rest, label) {
				continue next
			}
		}
		sum += value
	}
	return sum
}

// settled waits until every replica was checked once.
func (p *program) settled(replicas int, limit time.Duration) error {
	return p.await(limit, fmt.Sprintf("%d replicas to be checked", replicas), func(all map[string]float64) bool {
		return total(all, "vigil_replicas") == float64(replicas) && total(all, "vigil_replicas", `status="unchecked"`) == 0
	})
}

// await waits until the metrics are as they should be.
func (p *program) await(limit time.Duration, what string, good func(all map[string]float64) bool) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		all, err := p.metrics()
		if err != nil || good(all) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s: %v unchecked, %v dead, %v in all", limit, what, total(all, "vigil_replicas", `status="unchecked"`),
				total(all, "vigil_replicas", "dead"), total(all, "vigil_replicas"))
		}
	}
}

// memory returns a figure of the process in MiB: VmRSS is what is resident,
// VmHWM the most that ever was.
func (p *program) memory(name string) (float64, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			kB, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kB / 1024, err
		}
	}
	return 0, fmt.Errorf("no %s", name)
}

// stored returns the size of the storage folder in bytes.
func (p *program) stored() (sum float64, err error) {
	err = filepath.WalkDir(filepath.Join(p.dir, "data"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += float64(info.Size())
		}
		return err
	})
	return sum, err
}

// heap returns the bytes of all objects that are in use, after a collection: the
// least of a few times, as requests may be under way. The profile says it as it
// was before the profile itself was made.
func (p *program) heap() (float64, error) {
	least := math.Inf(1)
	for range 5 {
		resp, err := http.Get("http://" + p.debug + "/debug/pprof/heap?gc=1&debug=1")
		if err != nil {
			return 0, err
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return 0, err
		}
		_, after, _ := strings.Cut(string(text), "\n# HeapAlloc = ")
		line, _, _ := strings.Cut(after, "\n")
		bytes, err := strconv.ParseFloat(line, 64)
		if err != nil {
			return 0, fmt.Errorf("heap: %s, %w", resp.Status, err)
		}
		least = min(least, bytes)
	}
	return least, nil
}

// cpu returns the processor time of the process in seconds, to 10 ms.
func (p *program) cpu() (float64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100, err
}

// nodes writes services with nodes of replicas. The replica function names
// the n-th of all; without it nodes have none and take reports.
func nodes(services, each, replicas int, mode string, replica func(n int) string) string {
	var b strings.Builder
	n := 0
	for s := range services {
		fmt.Fprintf(&b, "[[probe.service]]\nid = \"s%d\"\nlabel = \"Service %d\"\n", s, s)
		for k := range each {
			fmt.Fprintf(&b, "[[probe.service.node]]\nid = \"n%d\"\nlabel = \"Node %d\"\nmode = %q\n", k, k, mode)
			if replica == nil {
				continue
			}
			var list []string
			for range replicas {
				list = append(list, strconv.Quote(replica(n)))
				n++
			}
			fmt.Fprintf(&b, "replicas = [%s]\n", strings.Join(list, ", "))
		}
	}
	return b.String()
}

// ownTerms gives each node of a config an interval and limits of its own.
func ownTerms(config string) string {
	var b strings.Builder
	n := 0
	for line := range strings.Lines(config) {
		if strings.HasPrefix(line, "replicas = ") {
			fmt.Fprintf(&b, "poll_interval = %d\npoll_delay_dead = %d\npoll_delay_sick = %d\n", 15+n%11, 9+n%2, 4+n%2)
			n++
		}
		b.WriteString(line)
	}
	return b.String()
}
