//go:build peer && linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// As process 1 of a container the program reaps what scripts leave behind: with
// a script a second that starts a process in the background, no zombie stays
// for long, and none at all when scripts have been quiet.
func TestProcessOne(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to be process 1 of a namespace")
	}
	dir := t.TempDir()
	config := `
[server]
log_level = "info"
inet = "127.0.0.1:0"
[branding]
page_url = "https://status.example.com/"
[storage]
path = ""
[metrics]
script_interval = 1
[[probe.service]]
id = "a"
label = "A"
[[probe.service.node]]
id = "script"
label = "Script"
mode = "script"
scripts = ["sleep 300 & echo ok", "setsid sleep 301 & echo ok", "(setsid sh -c 'sleep 0.3' &); sleep 0.1"]
`
	if err := os.WriteFile(filepath.Join(dir, "config.cfg"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	cmd := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", vigil)
	cmd.Dir, cmd.Stderr = dir, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	}()
	await(t, func() bool { return strings.Contains(log.String(), "serving") }, "it does not serve:\n%s", &log)

	// The only child of unshare is process 1 of the namespace.
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
	if err != nil || len(strings.Fields(string(children))) != 1 {
		t.Fatalf("children of unshare: %q, %v", children, err)
	}
	one := strings.TrimSpace(string(children))
	count := func() (zombies, sleepers int) {
		lists, _ := filepath.Glob("/proc/" + one + "/task/*/children")
		for _, list := range lists {
			pids, _ := os.ReadFile(list)
			for _, pid := range strings.Fields(string(pids)) {
				stat, _ := os.ReadFile("/proc/" + pid + "/stat")
				switch {
				case regexp.MustCompile(`\) Z `).Match(stat):
					zombies++
				case strings.Contains(string(stat), "(sleep)"):
					sleepers++
				}
			}
		}
		return zombies, sleepers
	}
	time.Sleep(12 * time.Second) // 36 runs, which left 39 zombies once
	zombies, sleepers := count()
	if zombies > 6 || sleepers > 6 {
		t.Errorf("%d zombies and %d processes left behind", zombies, sleepers)
	}
}
