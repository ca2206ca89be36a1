package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What goes wrong in the first hour is told in one line that says what to do.
// What takes another user, or a machine without IPv6 or pings, is in the test
// of nobody's first hour.
func TestFirstHour(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const branding = "[branding]\npage_url = \"https://status.example.com/\"\n"
	write("file", "")
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("windows.cfg", "\ufeff[server]\r\ninet = \"127.0.0.1:"+port+"\"\r\n[storage]\r\npath = \"\"\r\n"+strings.ReplaceAll(branding, "\n", "\r\n"))
	write("utf16.cfg", "\xff\xfe[\x00s\x00]\x00")
	write("host.cfg", "[server]\ninet = \"no..host:8080\"\n[storage]\npath = \"\"\n"+branding)
	write("yaml.cfg", "server:\n  inet: 127.0.0.1:8080\n")
	write("taken.cfg", fmt.Sprintf("[server]\ninet = \"127.0.0.1:%s\"\n[storage]\npath = \"\"\n%s", port, branding))
	write("quote.cfg", "[branding]\npage_url = \"https://status.example.com/\n")
	write("bare.cfg", "[branding]\npage_url = https://status.example.com/\n")
	write("word.cfg", branding+"[server]\nlog_levle = \"info\"\nlog_level = \"loud\"\n")
	write("storage.cfg", branding+"[storage]\npath = \"file/data\"\n")
	for _, tt := range []struct{ config, want string }{
		{"none.cfg", "none.cfg: cannot be read: no such file or directory; 'vigil init -o none.cfg' writes one to start from"},
		{"taken.cfg", `cannot listen on "127.0.0.1:` + port + `": port ` + port + " is taken: stop the program that has it, or set server.inet to another port"},
		{"windows.cfg", `cannot listen on "127.0.0.1:` + port + `": port ` + port + " is taken: stop the program that has it, or set server.inet to another port"},
		{"host.cfg", `cannot listen on "no..host:8080": no address is known for that name: set server.inet to an address of this machine, or to 0.0.0.0:8080`},
		{"folder", "folder: cannot be read: is a directory; name the file in it with -c"},
		{"file", "file:1: branding.page_url: is missing; allowed: an http:// or https:// URL, like https://status.example.com"},
		{"utf16.cfg", "utf16.cfg:1: syntax: files cannot contain NULL bytes; probably using UTF-16; TOML files must be UTF-8"},
		{"yaml.cfg", "yaml.cfg:1: syntax: expected '.' or '=', but got ':' instead; allowed: key = value"},
		{"quote.cfg", `quote.cfg:2: branding.page_url: what begins here with " is never closed; allowed: a closing "`},
		{"bare.cfg", "bare.cfg:2: branding.page_url: is not a valid TOML value (missing quotes?); allowed: text in quotes, a number, true, false, a list or a table"},
		{"word.cfg", `word.cfg:5: server.log_level: "loud" is unknown; allowed: "debug", "info", "warn" or "error"`},
		{"storage.cfg", `storage folder "` + dir + `/file/data": mkdir ` + dir + `/file: not a directory; let the user that runs Vigil write there, or set storage.path to another folder`},
	} {
		t.Run(tt.config, func(t *testing.T) {
			cmd := exec.Command(vigil, "-c", tt.config)
			cmd.Dir = dir
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if got := strings.TrimSuffix(stderr.String(), "\n"); got != tt.want || stdout.Len() > 0 {
				t.Errorf("got\n%s%s\nwant\n%s", stdout.String(), got, tt.want)
			}
		})
	}
}

// At the default log level, which is for errors, the address is told all the
// same.
func TestAddressIsToldAtAnyLevel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	address := freeAddress(t)
	config := dir + "/config.cfg"
	if err := os.WriteFile(config, []byte("[server]\ninet = \""+address+"\"\n[branding]\npage_url = \"https://status.example.com/\"\n[storage]\npath = \"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := firstLine(t, vigil, "-c", config), "Vigil serves http://"+address+"/"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// firstLine runs a program until it has printed a line.
func firstLine(t *testing.T, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	cancel()
	cmd.Wait()
	return strings.TrimSuffix(line, "\n")
}
