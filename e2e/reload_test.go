package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// reload gives the running program another config and waits until its log
// holds the text.
func (r *running) reload(config, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.cmd.Dir, "config.cfg"), []byte(config), 0o600); err != nil {
		r.t.Fatal(err)
	}
	before := r.logged()
	r.cmd.Process.Signal(syscall.SIGHUP)
	r.waitForLog(before, text)
}

func TestReload(t *testing.T) {
	t.Parallel()
	hook := newHook(t)
	config := func(inet, label, nodes string) string {
		return testPlan{
			inet: inet, label: label, hook: hook,
			server:  "manager_token = \"manager\"\nreporter_token = \"secret\"",
			metrics: "poll_retry_wait = 50",
			notify:  "startup_notification = false",
			nodes:   polledNode("gone", "Nobody there", "tcp://127.0.0.1:9") + pushedNode("app", "App") + nodes,
		}.String()
	}
	address := freeAddress(t)
	r := startVigil(t, config(address, "Before", ""))
	hook.next(t, "changed", "dead")
	report := func(node string) int {
		req, err := http.NewRequest("POST", r.url+"reporter/web/"+node, strings.NewReader(`{"replica":"a","interval":60,"load":{"cpu":0.1,"ram":0.1}}`))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("", "secret")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if code := report("app"); code != 200 {
		t.Fatalf("report answered %d", code)
	}

	const told = `vigil_deliveries_total{channel="webhook",result="delivered"} 1`
	await(t, func() bool { return deliveries(t, r.url) == told }, "deliveries are %s", told)

	r.reload(config(address, "Broken", "[[probe.service.node]]\nid = \"app\"\n"), "reload failed")
	if s := r.get(""); !strings.Contains(s, "Before") {
		t.Error("a config with faults changed the page")
	}
	r.reload(config(address, "After", pushedNode("more", "More")), "added=web:more")
	r.waitFor("", "the new page", func(s string) bool { return strings.Contains(s, "After") && strings.Contains(s, "More") })
	if code := report("more"); code != 200 {
		t.Errorf("report for the new node answered %d", code)
	}
	r.waitFor("status/report", "what it was, as no status is forgotten", func(s string) bool {
		return strings.Contains(s, `"name":"Nobody there","status":"dead"`) && strings.Contains(s, `"replicas":["healthy"]`)
	})

	if got := deliveries(t, r.url); got != told {
		t.Errorf("deliveries after a reload: %s, before it: %s", got, told)
	}

	// A busy address is refused, another one is taken over to.
	busy := hook.Listener.Addr().String()
	r.reload(config(busy, "Busy", ""), "cannot listen")
	if s := r.get("status/text"); s != "dead" {
		t.Errorf("status %q after a reload that was refused", s)
	}
	next := freeAddress(t)
	r.reload(config(next, "Moved", ""), "config reloaded")
	r.url = "http://" + next + "/"
	r.waitFor("", "at the new address", func(s string) bool { return strings.Contains(s, "Moved") && !strings.Contains(s, "More") })
	if resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + address + "/"); err == nil {
		resp.Body.Close()
		t.Error("the old address still answers")
	}

	// Through all that nobody was told again of the outage.
	select {
	case call := <-hook.calls:
		t.Errorf("told %s %s again", call.Type, call.Status)
	default:
	}
	r.stop(syscall.SIGTERM)
}

// deliveries is how many notifications the hook has, as the metrics tell it.
func deliveries(t *testing.T, base string) string {
	t.Helper()
	req, err := http.NewRequest("GET", base+"metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("", "manager")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), `vigil_deliveries_total{channel="webhook",result="delivered"}`) {
			return lines.Text()
		}
	}
	return ""
}

// The address may change on the same port, and back.
func TestReloadAddressOnSamePort(t *testing.T) {
	address := freeAddress(t)
	config := func(inet, prefix string) string {
		return fmt.Sprintf("[server]\nlog_level = \"info\"\ninet = %q\n%s\n[branding]\npage_url = \"https://status.example.com/\"\n[storage]\npath = \"\"\n", inet, prefix)
	}
	r := startVigil(t, config(address, `path_prefix = "/old"`))
	_, port, _ := strings.Cut(address, ":")
	for _, inet := range []string{"0.0.0.0:" + port, address, "[::]:" + port, ":" + port, address} {
		r.reload(config(inet, ""), "config reloaded")
		r.url = "http://" + address + "/"
		r.waitFor("status/text", "served at "+inet, func(s string) bool { return s == "healthy" })
	}
	// One that cannot be had leaves the old one open.
	r.reload(config("192.0.2.1:"+port, ""), "reload failed")
	if s := r.get("status/text"); s != "healthy" {
		t.Errorf("status %q after a reload that was refused", s)
	}
	r.stop(syscall.SIGTERM)
}
