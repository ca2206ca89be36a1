package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A rival is another program of its kind, or ours: given the same targets, it
// shows what can be had. All have their default settings.
type rival struct {
	name   string
	binary string
	page   string // what its visitors' browsers load most
	config func(binary, address string, s scene) (string, error)
	args   []string
	env    []string
}

// A scene is what the rivals monitor.
type scene struct {
	interval int      // seconds
	targets  []string // ten to a group
	hook     string   // told when one dies
}

// rivals are those that can be given by -peer, by name.
var rivals = map[string]rival{
	"rust":  {page: "/", config: rustConfig, args: []string{"-c", "config.cfg"}},
	"gatus": {page: "/api/v1/endpoints/statuses", config: gatusConfig, env: []string{"GATUS_CONFIG_PATH=config.cfg"}},
}

// Set is for the flag -peer, which may come several times.
func (b *bench) Set(text string) error {
	name, path, _ := strings.Cut(text, "=")
	r, known := rivals[name]
	if !known || path == "" {
		return errors.New("want rust=PATH or gatus=PATH")
	}
	if _, err := exec.LookPath(path); err != nil {
		return err
	}
	r.name, r.binary = name, path
	b.rivals = append(b.rivals, r)
	return nil
}

func (b *bench) String() string { return "" }

func ourConfig(_, address string, s scene) (string, error) {
	config := fmt.Sprintf(head, address) + fmt.Sprintf("poll_interval = %d\n", s.interval)
	if s.hook != "" {
		config += fmt.Sprintf("poll_retry = 0\npoll_retry_wait = 100\n[notify]\nstartup_notification = false\n[notify.webhook]\nhook_url = %q\n", s.hook)
	}
	return config + pollNodes(s), nil
}

func rustConfig(binary, address string, s scene) (string, error) {
	assets, err := rustAssets(binary)
	if err != nil {
		return "", err
	}
	config := fmt.Sprintf(`[server]
log_level = "error"
inet = %q
manager_token = "manage"
reporter_token = "report"
[assets]
path = %q
[branding]
page_title = "Status"
page_url = "http://localhost/"
company_name = "Acme"
icon_color = "#1972F5"
icon_url = "http://localhost/icon.png"
logo_color = "#1972F5"
logo_url = "http://localhost/logo.png"
website_url = "http://localhost/"
support_url = "http://localhost/"
custom_html = ""
[metrics]
poll_interval = %d
poll_retry = 1
poll_http_status_healthy_above = 200
poll_http_status_healthy_below = 400
poll_delay_dead = 10
poll_delay_sick = 5
push_delay_dead = 20
push_system_cpu_sick_above = 0.90
push_system_ram_sick_above = 0.90
script_interval = 300
local_delay_dead = 40
[plugins]
[notify]
startup_notification = false
reminder_interval = 3600
`, address, assets, s.interval)
	if s.hook != "" {
		config += fmt.Sprintf("[notify.webhook]\nhook_url = %q\n", s.hook)
	}
	return config + "[probe]\n" + pollNodes(s), nil
}

// rustAssets finds the templates that the Rust Vigil needs: beside it, or where
// cargo keeps the source of that version.
func rustAssets(binary string) (string, error) {
	out, err := exec.Command(binary, "-V").Output()
	fields := strings.Fields(string(out))
	if err != nil || len(fields) == 0 {
		return "", fmt.Errorf("%s -V: %v, %q", binary, err, out)
	}
	home := os.Getenv("CARGO_HOME")
	if home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		home = filepath.Join(user, ".cargo")
	}
	for _, pattern := range []string{
		filepath.Join(filepath.Dir(binary), "res/assets"),
		filepath.Join(home, "registry/src/*/vigil-server-"+fields[len(fields)-1], "res/assets"),
	} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("no res/assets beside %s, nor in cargo's registry", binary)
}

// pollNodes are the targets as both Vigils read them, each a node of its own.
func pollNodes(s scene) string {
	each := min(10, len(s.targets))
	return nodes(len(s.targets)/each, each, 1, "poll", func(n int) string { return s.targets[n] })
}

func gatusConfig(_, address string, s scene) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "web:\n  address: %s\n  port: %s\n", host, port)
	if s.hook != "" {
		fmt.Fprintf(&b, `alerting:
  custom:
    url: %q
    method: POST
    headers:
      Content-Type: application/json
    body: '{"type":"changed","status":"[ALERT_TRIGGERED_OR_RESOLVED]"}'
    placeholders:
      ALERT_TRIGGERED_OR_RESOLVED:
        TRIGGERED: dead
        RESOLVED: healthy
`, s.hook)
	}
	b.WriteString("endpoints:\n")
	for n, target := range s.targets {
		fmt.Fprintf(&b, "  - name: n%d\n    group: s%d\n    url: %q\n    method: HEAD\n    interval: %ds\n    conditions:\n      - \"[STATUS] < 400\"\n", n%10, n/10, target, s.interval)
		if s.hook != "" {
			b.WriteString("    alerts:\n      - type: custom\n        failure-threshold: 1\n        success-threshold: 1\n        send-on-resolved: true\n")
		}
	}
	return b.String(), nil
}

// run starts a rival on a scene.
func (b *bench) rival(r rival, s scene) (*program, error) {
	dir, err := os.MkdirTemp(b.dir, "rival")
	if err != nil {
		return nil, err
	}
	p := &program{vigil: r.binary, args: r.args, dir: dir, log: filepath.Join(dir, "log")}
	if p.address, err = freeAddress(); err != nil {
		return nil, err
	}
	config, err := r.config(r.binary, p.address, s)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.cfg"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	return p, p.start(r.env...)
}

// peers measures the programs of -peer beside ours.
func (b *bench) peers() error {
	if len(b.rivals) == 0 {
		return nil
	}
	ours := rival{name: "Vigil", binary: b.vigil, page: "/", config: ourConfig}
	var rows []row
	for i, r := range append([]rival{ours}, b.rivals...) {
		figures, err := b.figuresOf(r)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		for k, f := range figures {
			if i == 0 {
				rows = append(rows, row{measure: "peers", what: f.what, figure: f.figure, wanted: informal})
				continue
			}
			if rows[k].limit != "" {
				rows[k].limit += "; "
			}
			rows[k].limit += r.name + ": " + f.figure
		}
	}
	for _, r := range rows {
		b.add(r)
	}
	return nil
}

// figuresOf measures one of them.
func (b *bench) figuresOf(r rival) (figures []row, err error) {
	farm, err := start("farm", nil)
	if err != nil {
		return nil, err
	}
	defer farm.stop()
	add := func(what, format string, args ...any) {
		figures = append(figures, row{what: what, figure: fmt.Sprintf(format, args...)})
	}
	target := func(n int) string { return fmt.Sprintf("http://%s:%s/%d", host(n), farm.ready.HTTP, n) }

	// 200 checks a second.
	s := scene{interval: 5}
	for n := range 1000 {
		s.targets = append(s.targets, target(n))
	}
	p, err := b.rival(r, s)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	checks, cpu, took, err := watch(p, farm, 10*time.Second, b.length(30*time.Second, 15*time.Second))
	if err != nil {
		return nil, err
	}
	resident, err := p.memory("VmRSS")
	if err != nil {
		return nil, err
	}
	turn := b.length(3*time.Second, time.Second)
	l := load{conns: 64, request: getRequest(r.page)}
	if _, err := l.run(p.address, turn/2, 0); err != nil { // to warm up
		return nil, err
	}
	pages, err := l.run(p.address, turn, 0)
	if err != nil {
		return nil, err
	}
	size, err := sizeOf("http://" + p.address + r.page)
	if err != nil {
		return nil, err
	}
	p.stop()
	add("peers: 1,000 HTTP targets every 5 s: checks done of those wanted", "%d of %.0f", checks.Checks, 200*took)
	add("... processor time of a check", "%.0f us", cpu/float64(max(checks.Checks, 1))*1e6)
	add("... memory", "%.0f MiB", resident)
	add("... its page, 64 connections", "%.0f/s of %d KiB", float64(pages)/turn.Seconds(), size>>10)

	// Half of the targets hang.
	s = scene{interval: 10}
	for n := range 200 {
		if n%2 == 1 {
			s.targets = append(s.targets, fmt.Sprintf("http://%s:%s/%d", host(n), farm.ready.Hang, n))
		} else {
			s.targets = append(s.targets, target(n))
		}
	}
	if p, err = b.rival(r, s); err != nil {
		return nil, err
	}
	defer p.stop()
	if checks, _, took, err = watch(p, farm, 10*time.Second, b.length(60*time.Second, 30*time.Second)); err != nil {
		return nil, err
	}
	p.stop()
	add("... 100 of 200 targets hang: checks of the others, of those wanted", "%d of %.0f", checks.Checks, 10*took)

	// One target dies and comes back.
	f, address, err := newFlaps()
	if err != nil {
		return nil, err
	}
	if p, err = b.rival(r, scene{interval: 1, targets: []string{"http://" + address + "/t"}, hook: "http://" + address + "/hook/t"}); err != nil {
		return nil, err
	}
	defer p.stop()
	time.Sleep(5 * time.Second) // it is checked
	var alerts []float64
	for i := range b.count(6, 2) {
		d, err := f.turnWithin(time.Minute, "t", i%2 == 0)
		if err != nil {
			return nil, err
		}
		alerts = append(alerts, d.Seconds())
	}
	p.stop()
	add("... from a check's answer to the webhook, at worst", "%.2f s", quantile(alerts, 1))
	return figures, nil
}

// sizeOf returns how many bytes an answer has that is not compressed.
func sizeOf(url string) (int64, error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Accept-Encoding", "identity")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	return io.Copy(io.Discard, answer.Body)
}

// watch returns the checks that came to the farm, and the processor time of the
// program, in a turn that begins after a while, and how long that was in seconds.
func watch(p *program, farm *child, after, turn time.Duration) (g gaps, cpu, took float64, err error) {
	time.Sleep(after)
	if err := farm.ask(order{Do: "forget"}, &g); err != nil {
		return g, 0, 0, err
	}
	begin := time.Now()
	before, err := p.cpu()
	if err != nil {
		return g, 0, 0, err
	}
	time.Sleep(turn)
	if err := farm.ask(order{}, &g); err != nil {
		return g, 0, 0, err
	}
	took = time.Since(begin).Seconds()
	used, err := p.cpu()
	return g, used - before, took, err
}
