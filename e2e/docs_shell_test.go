//go:build unix

package e2e

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ofBoxes are blocks that take apt, systemd or Docker: packaging/ checks what
// they do, on machines of its own.
var ofBoxes = regexp.MustCompile(`\bapt\b|\bsystemctl\b|\bdocker\b`)

// A desk is a folder where the blocks of a document are typed into a shell:
// "vigil" is the program among the fakes, and "sudo" has a root of its own.
type desk struct {
	dir, root string
	env       []string
}

func newDesk(t *testing.T, f *fakes) *desk {
	t.Helper()
	d := &desk{dir: t.TempDir(), root: t.TempDir()}
	bin := t.TempDir()
	for name, script := range map[string]string{
		"vigil": "exec '" + f.vigil + "' \"$@\"\n",
		"sudo":  "for a; do shift; case $a in /*) a='" + d.root + "'$a ;; esac; set -- \"$@\" \"$a\"; done\nexec \"$@\"\n",
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d.env = append(append(os.Environ(), f.env...), "PATH="+bin+":"+os.Getenv("PATH"))
	return d
}

// write puts a file where the blocks are typed.
func (d *desk) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start types a text and returns what waits for its end.
func (d *desk) start(ctx context.Context, t *testing.T, text string) (out *lockedBuffer, wait func() error) {
	t.Helper()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", text)
	out = &lockedBuffer{}
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = d.dir, d.env, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return out, cmd.Wait
}

// do types a text that comes to an end.
func (d *desk) do(t *testing.T, f fence, text string) string {
	t.Helper()
	out, wait := d.start(t.Context(), t, text)
	if err := wait(); err != nil {
		t.Errorf("%v: %v\n%s", f, err, out)
	}
	return out.String()
}

// Each block of shell commands is run: in a desk, or on a machine of its own.
func TestShellOfDocuments(t *testing.T) {
	t.Parallel()
	f := newFakes(t)
	for _, document := range documents(t) {
		for _, block := range fences(t, document) {
			if block.language != "sh" || ofBoxes.MatchString(block.text) {
				continue
			}
			t.Run(block.String(), func(t *testing.T) {
				d := newDesk(t, f)
				switch text := block.text; {
				case document == "CONTRIBUTING.md":
					areChecks(t, block)
				case strings.Contains(text, "sha256sum"):
					installRelease(t, d, block)
				case strings.Contains(text, "go build"):
					buildSources(t, d, block)
				case strings.Contains(text, "vigil report"):
					reportToPage(t, d, f, block)
				case strings.Contains(text, "vigil-backup"): // see TestDocumentedBackup
				case strings.Contains(text, "/etc/vigil.cfg"):
					d.write(t, "vigil.cfg", f.channels(t))
					out := d.do(t, block, strings.ReplaceAll(text, "/etc/vigil.cfg", "vigil.cfg"))
					if t.Failed() {
						t.Logf("nobody accepts\n%s", f.told["nobody"])
					}
					if !strings.HasSuffix(out, "\nvigil.cfg: valid\n") && !strings.HasPrefix(out, "email: accepted\n") {
						t.Errorf("%v answers\n%s", block, out)
					}
				default:
					t.Errorf("nobody runs this:\n%s", text)
				}
			})
		}
	}
}

// areChecks holds commands to be some of .ci/run, but for the race detector.
func areChecks(t *testing.T, block fence) {
	ci, err := os.ReadFile(".ci/run")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(block.text) {
		command, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
		bare := strings.ReplaceAll(string(ci), "-race ", "")
		if command != ".ci/run" && !strings.Contains(bare, "\n"+strings.ReplaceAll(command, "-race ", "")+"\n") {
			t.Errorf("%v: .ci/run does not run %q", block, command)
		}
	}
}

// installRelease has the commands take a release's files in the folder, and put
// the program into the desk's root.
func installRelease(t *testing.T, d *desk, block fence) {
	name := regexp.MustCompile(`vigil-\S+\.tar\.gz`).FindString(block.text)
	if want := "vigil-" + version + "-linux-amd64.tar.gz"; name != want {
		t.Fatalf("%v installs %s, not %s", block, name, want)
	}
	const program = "#!/bin/sh\necho installed\n"
	var b strings.Builder
	packed := gzip.NewWriter(&b)
	files := tar.NewWriter(packed)
	if err := files.WriteHeader(&tar.Header{Name: strings.TrimSuffix(name, ".tar.gz") + "/vigil", Mode: 0o755, Size: int64(len(program))}); err != nil {
		t.Fatal(err)
	}
	files.Write([]byte(program))
	files.Close()
	packed.Close()
	d.write(t, name, b.String())
	d.write(t, "SHA256SUMS", fmt.Sprintf("%x  %s\n%x  vigil-other.zip\n", sha256.Sum256([]byte(b.String())), name, sha256.Sum256(nil)))
	if err := os.MkdirAll(filepath.Join(d.root, "usr/bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	d.do(t, block, block.text)
	if out, err := exec.Command(filepath.Join(d.root, "usr/bin/vigil")).Output(); err != nil || string(out) != "installed\n" {
		t.Errorf("%v installs a program that says %q (%v)", block, out, err)
	}

	// A file that is not the one that was released is not installed.
	d.write(t, name, b.String()+" ")
	if _, wait := d.start(t.Context(), t, block.text); wait() == nil {
		t.Errorf("%v installs a damaged file", block)
	}
}

// buildSources has the commands build the program from a copy of its sources.
func buildSources(t *testing.T, d *desk, block fence) {
	if out, err := exec.Command("sh", "-c", `cp -r *.go go.mod go.sum config.cfg assets templates notify "$1"`, "sh", d.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	d.do(t, block, block.text)
	if out, err := exec.Command(filepath.Join(d.dir, "vigil"), "version").Output(); err != nil || !strings.HasPrefix(string(out), "vigil "+version+", ") {
		t.Errorf("%v builds a program that says %q (%v)", block, out, err)
	}
}

// reportToPage runs the README's first config, reports to it as the block does,
// and then by the documented agent.
func reportToPage(t *testing.T, d *desk, f *fakes, block fence) {
	site := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer site.Close()
	second := listening(t, func(net.Conn) {})
	server := strings.Replace(fenceWith(t, "docs/reporting.md", `token = "${VIGIL_REPORTER_TOKEN}"`).text, "[server]", "[server]\ninet = \"127.0.0.1:0\"\nlog_level = \"info\"", 1)
	first := strings.NewReplacer("https://www.example.com/", site.URL, "www-2.example.com:443", second).Replace(fenceWith(t, "README.md", `page_title = "Acme Status"`).text)
	token := regexp.MustCompile(`VIGIL_TOKEN=(\S+)`).FindStringSubmatch(block.text)[1]
	r := startWith(t, []string{"VIGIL_REPORTER_TOKEN=" + token}, t.TempDir(), server+first+`
[[probe.service]]
id = "office"
label = "Office"
[[probe.service.node]]
id = "gateway"
label = "Gateway"
mode = "local"
`, serving)
	f.showPage(t, r.url)
	awaitReport := func(part string) {
		t.Helper()
		r.waitFor("status/report", part, func(report string) bool { return strings.Contains(report, part) })
	}
	awaitReport(`{"name":"Website","status":"healthy","replicas":["healthy","healthy"]}`)

	ctx, stop := context.WithCancel(t.Context())
	_, wait := d.start(ctx, t, block.text)
	awaitReport(`{"name":"Workers","status":"`)
	r.waitFor("status/report", "told of workers", func(report string) bool {
		return !strings.Contains(report, `{"name":"Workers","status":"healthy","replicas":[]}`)
	})
	stop()
	wait()

	address := listening(t, func(net.Conn) {})
	d.write(t, "local.cfg", strings.NewReplacer("icmp://192.168.1.1", "tcp://"+address, "192.168.1.2:22", address).Replace(fenceWith(t, "docs/reporting.md", "[report]").text))
	d.env = append(d.env, "VIGIL_TOKEN="+token)
	ctx, stop = context.WithCancel(t.Context())
	out, wait := d.start(ctx, t, "vigil local -c local.cfg")
	awaitReport(`{"name":"Gateway","status":"healthy","replicas":["healthy"`)
	stop()
	wait()
	if t.Failed() {
		t.Logf("the agent says\n%s", out)
	}
}
