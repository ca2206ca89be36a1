//go:build peer

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// cargoPath returns the path of Rust's package manager. A machine without one
// that can show what a package is cannot have the real peers, and says so.
func cargoPath(t *testing.T) string {
	t.Helper()
	home, _ := os.UserHomeDir()
	for _, name := range []string{"cargo", filepath.Join(home, ".cargo/bin/cargo")} {
		if path, err := exec.LookPath(name); err == nil && exec.Command(path, "info", "--help").Run() == nil {
			return path
		}
	}
	t.Skip("NOT CHECKED: there is no cargo of version 1.82 or newer on this machine")
	return ""
}

// crateSums has the checksums of the packages that crate downloads.
const crateSums = "testdata/peers/crates.sha256"

// crateVersions are the versions of a package in crateSums, oldest first.
func crateVersions(t *testing.T, name string) (versions []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m) `+name+`-(\S+)\.crate$`).FindAllStringSubmatch(read(t, crateSums), -1) {
		versions = append(versions, m[1])
	}
	return versions
}

// crate downloads a package of that checksum, and returns a folder with its
// sample config and its assets.
func crate(t *testing.T, cargo, name, version string) (dir string, err error) {
	t.Helper()
	dir = t.TempDir()
	install(t, dir, nil, cargo, "info", "--color", "never", name+"@"+version)
	home := os.Getenv("CARGO_HOME")
	if home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		home = filepath.Join(user, ".cargo")
	}
	file := name + "-" + version + ".crate"
	files, _ := filepath.Glob(filepath.Join(home, "registry/cache/*", file))
	if len(files) == 0 {
		return "", fmt.Errorf("cargo left no %s", file)
	}
	if line := fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(read(t, files[0]))), file); !strings.Contains(read(t, crateSums), line) {
		return "", fmt.Errorf("%s has no line %s", crateSums, line)
	}
	return dir, unpackCrate(files[0], name+"-"+version+"/", dir)
}

// unpackCrate writes what a package has of a config and assets into a folder.
func unpackCrate(path, prefix, dir string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for r := tar.NewReader(unzipped); ; {
		header, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name, _ := strings.CutPrefix(header.Name, prefix)
		if name != "config.cfg" && !strings.HasPrefix(name, "res/assets/") || header.Typeflag != tar.TypeReg {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(r, 1<<20))
		if err != nil {
			return err
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := root.WriteFile(name, text, 0o600); err != nil {
			return err
		}
	}
}

// The sample config of each minor version of the Rust Vigil, out of its own
// package, is taken or refused with the very words of docs/moving.md.
func TestPeerMovingSamples(t *testing.T) {
	t.Parallel()
	cargo := cargoPath(t)
	versions := crateVersions(t, "vigil-server")
	if len(versions) != movingVersions {
		t.Errorf("%d versions, want %d", len(versions), movingVersions)
	}
	for minor, version := range versions {
		dir, err := crate(t, cargo, "vigil-server", version)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(version, func(t *testing.T) {
			cmd := exec.Command(vigil, "check", "-c", "config.cfg")
			cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH")}
			out, err := cmd.CombinedOutput()
			faults, warnings, _ := strings.Cut(string(out), " warning")
			got := append(said("refused", faults), said("taken", warnings)...)
			slices.Sort(got)
			if want := movingSays(t, minor); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("vigil check says\n%s\ndocs/moving.md has\n%s\nall of it:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), out)
			}
			if refused := strings.Contains(fmt.Sprint(got), "refused "); refused != (err != nil) {
				t.Errorf("refused: %t, but vigil check ends with %v", refused, err)
			}
			switch minor {
			case 0, 12, 22, movingVersions - 1:
				startAlone(t, vigil, dir, "serving the status page", "-c", "config.cfg").page("Crisp Status</title>")
			}
		})
	}
}

// said returns the problems among the lines, without where they are, and with
// what becomes of the file before each.
func said(fate, lines string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)^config\.cfg:\d+: (.*)$`).FindAllStringSubmatch(lines, -1) {
		all = append(all, fate+" "+m[1])
	}
	return all
}

// The same of Vigil Local, whose sample no version is refused for.
func TestPeerMovingLocalSamples(t *testing.T) {
	t.Parallel()
	cargo := cargoPath(t)
	for _, version := range crateVersions(t, "vigil-local") {
		dir, err := crate(t, cargo, "vigil-local", version)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(version, func(t *testing.T) {
			a := startAlone(t, vigil, dir, "reporting", "local", "-c", "config.cfg")
			if log := a.log.String(); strings.Contains(log, "config warning") || !strings.Contains(log, "replicas=3") {
				t.Errorf("the agent says\n%s", log)
			}
		})
	}
}

// alone is a program in a network of its own, where nothing but itself can be
// reached: the samples name hosts of other people.
type alone struct {
	t     *testing.T
	cmd   *exec.Cmd
	vigil string
	log   *lockedBuffer
}

// startAlone starts the program and waits until its log contains ready.
func startAlone(t *testing.T, vigil, dir, ready string, args ...string) *alone {
	t.Helper()
	cmd := exec.Command("unshare", append([]string{"--net", "sh", "-c", `ip link set lo up && exec "$@"`, "sh", vigil}, args...)...)
	a := &alone{t: t, cmd: cmd, vigil: vigil, log: &lockedBuffer{}}
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH")}
	cmd.Stderr = a.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("log of the program:\n%s", a.log)
		}
	})
	for end := time.Now().Add(20 * time.Second); !strings.Contains(a.log.String(), ready); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the program does not get ready")
		}
	}
	return a
}

// page fetches the page, and has the program ask after its own health.
func (a *alone) page(want string) {
	a.t.Helper()
	for _, command := range [][]string{
		{a.vigil, "health", "-c", filepath.Join(a.cmd.Dir, "config.cfg")},
		{"node", "-e", `fetch("http://[::1]:8080/").then(r => r.text()).then(console.log)`},
	} {
		args := append([]string{"--target", strconv.Itoa(a.cmd.Process.Pid), "--net"}, command...)
		out, err := exec.Command("nsenter", args...).CombinedOutput()
		if err != nil || command[0] == "node" && !bytes.Contains(out, []byte(want)) {
			a.t.Errorf("%v: %v\n%s", command, err, out)
		}
	}
}
