//go:build peer && linux

package e2e

import (
	"context"
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

// nobody is the user without rights.
const nobody = 65534

// nobodysFolder is a folder with the program in it that everybody may enter,
// unlike those of tests.
func nobodysFolder(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("it takes root to become nobody")
	}
	program, err := os.ReadFile(vigil)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "vigil")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "vigil"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

const pingConfig = `
[server]
inet = "127.0.0.1:8080"
[branding]
page_url = "https://status.example.com/"
[[probe.service]]
id = "a"
label = "A"
[[probe.service.node]]
id = "b"
label = "B"
mode = "poll"
replicas = ["icmp://127.0.0.1"]
`

// Nobody, without rights, in an own network that has no IPv6 and lets nobody
// ping, is told in one line each what is missing and what to do.
func TestPeerFirstHourOfNobody(t *testing.T) {
	dir := nobodysFolder(t)
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "closed"), 0o700); err != nil {
		t.Fatal(err)
	}
	const page = "[branding]\npage_url = \"https://status.example.com/\"\n"
	write("secret.cfg", page, 0o600)
	write("closed/config.cfg", page, 0o644)
	write("plain.cfg", page, 0o644)
	write("six.cfg", "[server]\ninet = \"[::1]:8080\"\n[storage]\npath = \"\"\n"+page, 0o644)
	write("low.cfg", "[server]\ninet = \"127.0.0.1:80\"\n[storage]\npath = \"\"\n"+page, 0o644)
	write("storage.cfg", page+"[storage]\npath = \"closed/data\"\n", 0o644)
	write("warn.cfg", "[server]\nlog_level = \"warn\"\n"+page, 0o644)
	write("ping.cfg", pingConfig, 0o644)

	unreadable := fmt.Sprintf(": cannot be read: permission denied; Vigil runs as user %d, who must be allowed to read it and to enter its folder", nobody)
	for _, tt := range []struct {
		args string
		code int    // -1: it runs, until it has said enough
		want string // the one line, or one of those of a program that runs
	}{
		{"-c secret.cfg", 1, "secret.cfg" + unreadable},
		{"check -c secret.cfg", 1, "secret.cfg" + unreadable},
		{"-c closed/config.cfg", 1, "closed/config.cfg" + unreadable},
		{"-c six.cfg", 1, `cannot listen on "[::1]:8080": this machine does not have that address: set server.inet to one that it has, or to 0.0.0.0:8080`},
		{"-c low.cfg", 1, `cannot listen on "127.0.0.1:80": no permission for port 80: set server.inet to a port from 1024, or run setcap cap_net_bind_service+ep on the program`},
		{"-c storage.cfg", 1, `storage folder "` + dir + `/closed/data": mkdir ` + dir + `/closed/data: permission denied; let the user that runs Vigil write there, or set storage.path to another folder`},
		{"init", 1, "vigil init: config.cfg cannot be written: permission denied; go to a folder of yours, or name a file in one with -o"},
		{"-c plain.cfg", -1, "Vigil serves http://127.0.0.1:8080/"},
		{"-c warn.cfg", -1, `msg="storage folder cannot be used, nothing will survive a restart" path=` + dir + `/data err="mkdir ` + dir + `/data: permission denied"`},
		{"-c ping.cfg", -1, `msg="cannot ping" err="ICMP not permitted: needs sysctl net.ipv4.ping_group_range=\"0 2147483647\" or setcap cap_net_raw+ep on the program"`},
	} {
		t.Run(tt.args, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			out := &lockedBuffer{}
			cmd := exec.CommandContext(ctx, filepath.Join(dir, "vigil"), strings.Fields(tt.args)...)
			cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, []string{}, out, out
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Credential: &syscall.Credential{Uid: nobody, Gid: nobody},
				Cloneflags: syscall.CLONE_NEWNET,
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for tt.code < 0 && ctx.Err() == nil && !strings.Contains(out.String(), tt.want+"\n") {
				time.Sleep(20 * time.Millisecond)
			}
			if tt.code < 0 {
				cancel()
			}
			cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			got := out.String()
			if tt.code >= 0 && got != tt.want+"\n" || !strings.Contains(got, tt.want+"\n") {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

// Each of the documented remedies lets nobody ping.
func TestPeerPingsOfDocuments(t *testing.T) {
	installPeer(t, "iproute2", "libcap2-bin", "procps")
	_, row, _ := strings.Cut(read(t, "docs/troubleshooting.md"), "| `ICMP not permitted` |")
	row, _, _ = strings.Cut(row, "\n")
	remedies := regexp.MustCompile("`((?:sysctl|setcap) [^`]*)`").FindAllStringSubmatch(row, -1)
	if len(remedies) != 2 {
		t.Fatalf("remedies %q in %s", remedies, row)
	}
	for remedy, want := range map[string]string{":": "dead", remedies[0][1]: "healthy", remedies[1][1]: "healthy"} {
		t.Run(remedy, func(t *testing.T) {
			dir := nobodysFolder(t)
			if err := os.WriteFile(filepath.Join(dir, "ping.cfg"), []byte(pingConfig), 0o644); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, "unshare", "-n", "sh", "-ec", `
				ip link set lo up
				`+strings.ReplaceAll(remedy, "/usr/bin/vigil", "./vigil")+`
				setpriv --reuid 65534 --regid 65534 --clear-groups ./vigil -c ping.cfg &
				until ./vigil health -c ping.cfg | tee /dev/stderr | grep -q `+want+`; do sleep 0.1; done
				kill $!
				wait $!`)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
