//go:build peer

package e2e

import (
	"os/exec"
	"testing"
)

// installPeer installs Debian packages that are missing.
func installPeer(t *testing.T, packages ...string) {
	t.Helper()
	if out, err := exec.Command("testdata/peers/install.sh", packages...).CombinedOutput(); err != nil {
		t.Fatalf("install.sh: %v\n%s", err, out)
	}
}

func TestPeerManyKills(t *testing.T) { killRounds(t, 200) }

func TestPeerManyReloads(t *testing.T) { reloadRounds(t, 100) }
