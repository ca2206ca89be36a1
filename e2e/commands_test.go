package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// command runs the program with these arguments beside the running one, as
// somebody does who stands in its folder.
func (r *running) command(args ...string) (code int, out string) {
	r.t.Helper()
	cmd := exec.Command(vigil, args...)
	cmd.Dir = r.cmd.Dir
	cmd.Env = append(os.Environ(), "VIGIL_MANAGER_TOKEN=manage", "TZ=UTC")
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState == nil {
			r.t.Fatal(err)
		}
	}
	return cmd.ProcessState.ExitCode(), b.String()
}

// want runs a command and compares its exit code and parts of what it prints.
func (r *running) want(code int, parts []string, args ...string) string {
	r.t.Helper()
	got, out := r.command(args...)
	if got != code {
		r.t.Errorf("vigil %s: exit code %d, want %d:\n%s", strings.Join(args, " "), got, code, out)
	}
	for _, part := range parts {
		if !strings.Contains(out, part) {
			r.t.Errorf("vigil %s: %q is missing in\n%s", strings.Join(args, " "), part, out)
		}
	}
	return out
}

// write gives the running program another config, which it does not read yet.
func (r *running) write(config string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.cmd.Dir, "config.cfg"), []byte(config), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func TestReloadCommand(t *testing.T) {
	t.Parallel()
	config := func(address, more string) string {
		return "[server]\nlog_level = \"info\"\ninet = \"" + address + "\"\nmanager_token = \"manage\"\n[branding]\npage_url = \"https://status.example.com/\"\n" +
			"[storage]\npath = \"\"\n[[probe.service]]\nid = \"web\"\nlabel = \"Web\"\n" + more
	}
	const app = "[[probe.service.node]]\nid = \"app\"\nlabel = \"App\"\nmode = \"push\"\n"
	address := freeAddress(t)
	r := startVigil(t, config(address, ""))
	r.want(0, []string{"Reloaded, nothing has changed.\n"}, "reload")
	r.write(config(address, app))
	r.want(0, []string{"Reloaded:\nadded  web:app\n"}, "reload")
	r.waitFor("status/report", "the new node", func(s string) bool { return strings.Contains(s, `"name":"App"`) })

	r.write(config(address, app+"interval = 1\nmode2 = 7\n[[probe.service]]\nid = 7\n"))
	out := r.want(1, []string{"vigil reload: config.cfg:", "probe.service[1].id"}, "reload")
	if n := strings.Count(out, "vigil reload: config.cfg:"); n < 2 {
		t.Errorf("%d faults of several:\n%s", n, out)
	}
	if s := r.get("status/report"); !strings.Contains(s, `"name":"App"`) {
		t.Errorf("a config with faults changed the page: %s", s)
	}

	// The command reads the address from a config that may have moved on; the
	// running program is found with -url.
	moved := freeAddress(t)
	r.write(config(moved, app))
	r.want(1, []string{"is Vigil running there?"}, "reload")
	out = r.want(0, []string{`"sections"`}, "reload", "-json", "-url", r.url)
	var changed struct{ Sections []string }
	if err := json.Unmarshal([]byte(out), &changed); err != nil || len(changed.Sections) != 1 || changed.Sections[0] != "server" {
		t.Errorf("%v: %s", err, out)
	}
	r.url = "http://" + moved + "/"
	r.want(0, []string{"nothing has changed"}, "reload")
	r.stop(syscall.SIGTERM)
}
