//go:build peer

package notify

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A server is a real one, started by a script of testdata/peers.
type server struct {
	dir   string // everybody may look into it
	ports map[string]int
	pid   int // of the server, when the script tells
	roots *x509.CertPool
}

// startServer runs a script until the test ends, with a free port for each of
// the names in its environment, and a certificate for the hosts. Installing
// what is missing may take minutes.
func startServer(t *testing.T, script string, ports, hosts []string) *server {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("peer tests install and start servers, and have to run as root")
	}
	// Not t.TempDir, which the servers' own users cannot enter.
	dir, err := os.MkdirTemp("", "vigil-peer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}

	s := &server{dir: dir, ports: make(map[string]int)}
	ca := newAuthority(t)
	s.roots = ca.pool
	cert := ca.issue(t, 2100, hosts...)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, "srv.crt"), "CERTIFICATE", cert.Certificate[0])
	writePEM(t, filepath.Join(dir, "srv.key"), "PRIVATE KEY", key)

	cmd := exec.Command("../testdata/peers/"+script, dir)
	cmd.Env = os.Environ()
	for _, name := range ports {
		s.ports[name] = freePort(t)
		cmd.Env = append(cmd.Env, name+"="+strconv.Itoa(s.ports[name]))
	}
	var log strings.Builder
	cmd.Stderr = &log
	// The script stops the server when its input ends, also because this
	// program is gone.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		stuck := time.AfterFunc(time.Minute, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		defer stuck.Stop()
		io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", script, err)
		}
		if t.Failed() {
			t.Logf("%s:\n%s", script, &log)
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	ready, pid, _ := strings.Cut(strings.TrimSpace(line), " ")
	if ready != "ready" {
		t.Fatalf("%s did not start: %q, %v", script, line, err)
	}
	s.pid, _ = strconv.Atoi(pid)
	return s
}

// freePort returns a port of 127.0.0.1 that nobody listens on. It lies below
// those that the kernel gives to clients, so that it stays free.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20_000 + rand.IntN(12_000)
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
}

// dialPort takes every connection to one of the server's ports.
func (s *server) dialPort(name string) dialFunc {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(s.ports[name]))
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}
