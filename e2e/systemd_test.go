package e2e

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The program tells its supervisor of each turn in its life, and signs of life
// in between.
func TestSupervisor(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "notify")
	w := newWatcher(t, socket)
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
scripts = ['[ -z "$NOTIFY_SOCKET$WATCHDOG_USEC" ]']
`
	r := startWith(t, []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=100000", "WATCHDOG_PID="}, t.TempDir(), config, serving)
	if got, want := w.until("READY=1"), "READY=1\nSTATUS=serving "+r.url; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for range 3 {
		if got := w.next(); got != "WATCHDOG=1" {
			t.Errorf("got %q, want a sign of life", got)
		}
	}
	r.waitFor("status/report", "without the supervisor in the script's environment", func(body string) bool {
		return strings.Contains(body, `"replicas":["healthy"]`)
	})

	reload := func(text, want string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(r.cmd.Dir, "config.cfg"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r.cmd.Process.Signal(syscall.SIGHUP)
		if got, want := w.until("RELOADING=1"), "RELOADING=1\nSTATUS=reloading the config"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := w.until("READY=1"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	reload(strings.Replace(config, `label = "A"`, `label = "B"`, 1), "READY=1\nSTATUS=serving "+r.url)
	reload("rubbish", "READY=1\nSTATUS=serving with the current config: the log says what is wrong with the new one")
	w.until("WATCHDOG=1")

	r.stop(syscall.SIGTERM)
	if got, want := w.until("STOPPING=1"), "STOPPING=1\nSTATUS=stopping"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A watcher is the service manager's end of the socket.
type watcher struct {
	t        *testing.T
	messages chan string
}

func newWatcher(t *testing.T, address string) *watcher {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{t, make(chan string, 10000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Read at once: the kernel holds a few messages only.
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			w.messages <- string(buf[:n])
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return w
}

// next returns the next message, the lines of which stand for variables.
func (w *watcher) next() string {
	w.t.Helper()
	select {
	case message := <-w.messages:
		return message
	case <-time.After(time.Minute):
		w.t.Fatal("no message")
		return ""
	}
}

// until skips signs of life until a message begins like that.
func (w *watcher) until(start string) string {
	w.t.Helper()
	for {
		message := w.next()
		if strings.HasPrefix(message, start) {
			return message
		}
		if message != "WATCHDOG=1" {
			w.t.Fatalf("got %q, want %q", message, start)
		}
	}
}

func TestSupervisorAbstractSocket(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("sockets without a file are Linux's")
	}
	address := "@vigil-test-" + strconv.Itoa(os.Getpid())
	w := newWatcher(t, address)
	r := startWith(t, []string{"NOTIFY_SOCKET=" + address}, t.TempDir(), "[server]\nlog_level = \"info\"\ninet = \"127.0.0.1:0\"\n[branding]\npage_url = \"http://a.example\"\n[storage]\npath = \"\"\n", serving)
	if got, want := w.next(), "READY=1\nSTATUS=serving "+r.url; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
