//go:build unix

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A config that cannot be read, because it is a pipe that nobody writes to, does
// not keep the program from being stopped: not at the start, and not at a reload.
func TestStopWhileReadingHangs(t *testing.T) {
	const config = "[server]\nlog_level = \"info\"\ninet = \"127.0.0.1:0\"\n[branding]\npage_url = \"https://status.example.com/\"\n[storage]\npath = \"\"\n"
	for _, command := range []string{"", "local"} {
		dir := t.TempDir()
		pipe := filepath.Join(dir, "config.cfg")
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(vigil, strings.Fields(command+" -c config.cfg")...)
		cmd.Dir = dir
		var out bytes.Buffer
		cmd.Stderr = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// SIGTERM may come before the program has begun to wait for it, and then
		// kills it. So it comes once the program has opened the pipe.
		f, err := os.OpenFile(pipe, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Process.Signal(syscall.SIGTERM)
		err = cmd.Wait()
		f.Close()
		if err != nil || !strings.Contains(out.String(), "stopped") {
			t.Errorf("vigil %s: %v\n%s", command, err, &out)
		}
	}

	r := startVigil(t, config)
	name := filepath.Join(r.cmd.Dir, "config.cfg")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	before := r.logged()
	r.cmd.Process.Signal(syscall.SIGHUP)
	r.waitForLog(before, "no answer within 5 s")
	r.stop(syscall.SIGTERM)
}
