//go:build peer

package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestPeerTextBrowser reads the page in a browser that knows neither colours
// nor scripts: what is bad is said in words.
func TestPeerTextBrowser(t *testing.T) {
	installPeer(t, "w3m")
	base := serveStates(t, newTestPage(t, mixedSample()).handler(nil))
	out, err := exec.CommandContext(t.Context(), "w3m", "-dump", "-cols", "100", base+"/").Output()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(out)), " ")
	for _, want := range []string{
		"Acme Status Website Get support Some systems are down Refreshed 20 Nov 2026, 14:05:12 UTC An outage affects 2 of 3 services",
		"Website Front pages, Old shop for 2 d 2 h, since 18 Nov 2026, 12:05 UTC",
		"Announcement 20 Nov 2026, 13:45 UTC Front pages are down for some We found the cause and are working on it.",
		"Front pages dead □ 1 □ 2 sick □ 3 dead 98.41 % uptime, last 90 days",
		"1,237 healthy, 2 sick, 1 dead □ 18 sick □ 701 dead □ 904 sick",
		"Reports no reports yet Waiting for the first report.",
		"Was down for 40 min, from 17 Nov 2026, 14:05 UTC to 17 Nov 2026, 14:45 UTC",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("not said: %s\n%s", want, text)
		}
		_, text, _ = strings.Cut(text, want)
	}
}
