package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// onTerminal runs the program with its standard error, and with its standard
// output unless piped, on a terminal (pty(7)), and returns what that shows.
func onTerminal(t *testing.T, dir string, env []string, piped bool, args ...string) (code int, shown, output string) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("this machine has no terminals: ", err)
	}
	defer screen.Close()
	var number, unlock uint32
	for _, call := range []struct {
		request uintptr
		arg     *uint32
	}{{syscall.TIOCSPTLCK, &unlock}, {syscall.TIOCGPTN, &number}} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, screen.Fd(), call.request, uintptr(unsafe.Pointer(call.arg))); errno != 0 {
			t.Fatal(errno)
		}
	}
	terminal, err := os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(vigil, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(append(os.Environ(), "TERM=xterm", "NO_COLOR="), env...), terminal, terminal
	if piped {
		cmd.Stdout = &out
	}
	err = cmd.Start()
	terminal.Close()
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	all.ReadFrom(screen) // until the program has closed its end, which is an error here
	cmd.Wait()
	return cmd.ProcessState.ExitCode(), all.String(), out.String()
}

// Progress and colour are for terminals, and colour only for those who want it.
func TestTerminal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := "[branding]\npage_url = \"http://127.0.0.1/\"\n[storage]\npath = \"\"\n[[probe.service]]\nid = \"web\"\nlabel = \"Web\"\n" +
		"[[probe.service.node]]\nid = \"shop\"\nlabel = \"Shop\"\nmode = \"poll\"\nreplicas = [\"tcp://127.0.0.1:1\", \"tcp://127.0.0.1:2\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "config.cfg"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	const progress, end, red = "\rchecked 0 of 2\rchecked 1 of 2", "\r\x1b[K", "\x1b[31mdead\x1b[0m  web:shop"
	for _, tt := range []struct {
		env     string
		piped   bool
		colours bool
	}{{"LANG=C", false, true}, {"NO_COLOR=1", false, false}, {"TERM=dumb", false, false}, {"LANG=C", true, false}} {
		code, shown, output := onTerminal(t, dir, []string{tt.env}, tt.piped, "check", "-probe")
		if code != 1 || !strings.Contains(shown, progress+end) || !strings.HasSuffix(shown, "vigil check: of 2 replicas, 2 are dead or cannot be checked\r\n") {
			t.Errorf("%s: exit code %d\n%q", tt.env, code, shown)
		}
		if got := strings.Contains(shown+output, red); got != tt.colours || !strings.Contains(shown+output, "web:shop") {
			t.Errorf("%s, piped: %v: in colour: %v\n%q", tt.env, tt.piped, got, shown+output)
		}
	}
	cmd := exec.Command(vigil, "check", "-probe")
	cmd.Dir = dir
	if out, _ := cmd.CombinedOutput(); bytes.ContainsAny(out, "\r\x1b") {
		t.Errorf("without a terminal it prints %q", out)
	}
}
