//go:build peer

package e2e

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// libraryConfig is a server with a node for each library.
const libraryConfig = `
[server]
log_level = "info"
inet = "127.0.0.1:0"
reporter_token = "tok/en+secret"
manager_token = "manage"
[branding]
page_url = "https://status.example.net/"
[metrics]
push_delay_dead = 3
local_delay_dead = 3
push_system_cpu_sick_above = 1000
push_system_ram_sick_above = 10
[storage]
path = ""
[[probe.service]]
id = "relay eu"
label = "Relay EU"
[[probe.service.node]]
id = "py +1"
label = "Python"
mode = "push"
[[probe.service.node]]
id = "go/1 x"
label = "Go"
mode = "push"
[[probe.service]]
id = "relay"
label = "Relay"
[[probe.service.node]]
id = "rust"
label = "Rust"
mode = "push"
[[probe.service.node]]
id = "gate"
label = "Gate"
mode = "local"
`

// Each library that can be had reports its replica as healthy, with the load of
// the machine, and it is dead when the app has gone. All are given a URL with a
// slash at its end. The npm library has its own test, TestPeerReporter; those
// for Dart and C# are in registries that the tests do not reach.
func TestPeerReporterLibraries(t *testing.T) {
	t.Parallel()
	r := startVigil(t, libraryConfig)
	for _, tt := range []struct {
		name, service, node, label string
		program                    func(t *testing.T) *exec.Cmd
	}{
		{"python", "relay eu", "py +1", "Python", pythonReporter},
		{"go", "relay eu", "go/1 x", "Go", goReporter},
		{"rust", "relay", "rust", "Rust", rustReporter},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := r.under(t)
			cmd := tt.program(t)
			cmd.Args = append(cmd.Args, r.url, tt.node)
			stop := background(t, cmd)
			replica := fmt.Sprintf(`{"name":"%s","status":"healthy","replicas":["healthy"]}`, tt.label)
			// The page is rendered a moment after the report is booked, and some
			// libraries report ten seconds after their start for the first time.
			for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
				node := r.get("node/" + url.PathEscape(tt.service) + "/" + url.PathEscape(tt.node))
				if strings.Contains(r.get("status/report"), replica) &&
					strings.Contains(node, "CPU load ") && strings.Contains(node, "RAM load ") {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("it does not come to be healthy with a load: %s\n%s", r.get("status/report"), node)
				}
			}
			stop()
			r.alert(fmt.Sprintf(`{"probe":"%s","node":"%s","replica":"host/one","reason":"no report in 4s"`, tt.service, tt.node))
		})
	}
}

// under returns the running program for a subtest.
func (r *running) under(t *testing.T) *running {
	return &running{t: t, cmd: r.cmd, url: r.url, done: r.done}
}

// background starts a program and ends it when the test does, or earlier.
func background(t *testing.T, cmd *exec.Cmd) (stop func()) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("%s says\n%s", cmd, &out)
		}
	})
	return stop
}

// install runs a command in a folder, up to three times: registries are busy
// now and then.
func install(t *testing.T, dir string, env []string, name string, args ...string) {
	t.Helper()
	for try := 1; ; try++ {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		if err == nil {
			return
		}
		if try == 3 {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		time.Sleep(2 * time.Second)
	}
}

// testProgram returns the path of a program of testdata/api.
func testProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs("testdata/api/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func pythonReporter(t *testing.T) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	if exec.Command("python3", "-m", "pip", "--version").Run() != nil {
		install(t, ".", nil, "testdata/peers/install.sh", "python3", "python3-pip")
	}
	install(t, ".", nil, "python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", dir, "--require-hashes", "-r", "testdata/peers/reporter.txt")
	cmd := exec.Command("python3", testProgram(t, "report.py"))
	cmd.Env = append(os.Environ(), "PYTHONPATH="+dir)
	return cmd
}

func goReporter(t *testing.T) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	for name, as := range map[string]string{"report.go": "main.go", "go.mod": "go.mod", "go.sum": "go.sum"} {
		writeFile(t, dir, as, read(t, testProgram(t, name)))
	}
	install(t, dir, nil, "go", "build", "-mod=readonly", "-o", "reporter", ".")
	return exec.Command(filepath.Join(dir, "reporter"))
}

// rustFolder returns a folder that outlives the tests, as Rust takes minutes to
// build what it needs, and the environment that has it used.
func rustFolder(t *testing.T) (dir string, env []string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir = filepath.Join(cache, "vigil-peer")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, []string{"CARGO_TARGET_DIR=" + filepath.Join(dir, "target"), "CARGO_PROFILE_DEV_DEBUG=0"}
}

func rustReporter(t *testing.T) *exec.Cmd {
	t.Helper()
	cargo := cargoPath(t)
	shared, env := rustFolder(t)
	dir := t.TempDir()
	for _, name := range []string{"Cargo.toml", "Cargo.lock", "report.rs"} {
		writeFile(t, dir, name, read(t, testProgram(t, name)))
	}
	install(t, dir, env, cargo, "build", "--quiet", "--locked")
	return exec.Command(filepath.Join(shared, "target/debug/reporter"))
}

// The agent of the Rust kind reports to this server.
func TestPeerVigilLocal(t *testing.T) {
	t.Parallel()
	cargo := cargoPath(t)
	shared, env := rustFolder(t)
	if _, err := crate(t, cargo, "vigil-local", "1.3.1"); err != nil {
		t.Fatal(err)
	}
	install(t, t.TempDir(), env, cargo, "install", "--quiet", "--debug", "--locked", "--root", shared, "vigil-local@1.3.1")
	r := startVigil(t, libraryConfig)
	config := filepath.Join(t.TempDir(), "local.cfg")
	address := strings.TrimSuffix(strings.TrimPrefix(r.url, "http://"), "/")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
[server]
[report]
endpoint = %q
token = "tok/en+secret"
[metrics]
interval = 1
[probe]
[[probe.service]]
id = "relay"
[[probe.service.node]]
id = "gate"
mode = "poll"
replicas = ["tcp://%s"]
[[probe.service.node]]
id = "gate"
mode = "script"
report_prefix = "host-1"
scripts = ["exit 1"]
`, r.url, address), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := background(t, exec.Command(filepath.Join(shared, "bin/vigil-local"), "-c", config))
	r.waitFor("status/report", "as reported", func(body string) bool {
		return strings.Contains(body, `{"name":"Gate","status":"sick","replicas":["healthy","sick"]}`)
	})
	r.alert(`"sick":[{"probe":"relay","node":"gate","replica":"host-1:0"`)
	stop()
	r.alert(fmt.Sprintf(`"dead":[{"probe":"relay","node":"gate","replica":"tcp://%s","reason":"no report in 4s"`, address))
}
