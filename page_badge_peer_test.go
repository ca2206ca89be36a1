//go:build peer

package main

import "testing"

// badgeTargets are the addresses of every badge of a page, without a leading
// slash.
func badgeTargets(s *snapshot) []string {
	var targets []string
	for _, kind := range []string{"color", "icon", "uptime"} {
		targets = append(targets, "badge/"+kind)
		for _, sv := range s.services {
			service := "badge/" + kind + "/" + escapeAll(sv.conf.ID)
			targets = append(targets, service)
			for _, nv := range sv.nodes {
				targets = append(targets, service+"/"+escapeAll(nv.conf.ID))
			}
		}
	}
	return targets
}

// Every badge of every state is XML to a parser that is not Go's.
// TestPeerBrowser draws them.
func TestPeerBadges(t *testing.T) {
	installPeer(t, "libxml2-utils")
	badges := make(map[string]string)
	for name, sample := range samples {
		s := sample()
		h := newTestPage(t, s).handler(nil)
		for _, target := range badgeTargets(s) {
			badges[name+"/"+target] = body(t, get(h, "GET", "/"+target))
		}
	}
	if status, said := xmllint(t, badges); status != 0 {
		t.Errorf("status %d\n%s", status, said)
	}
	if status, _ := xmllint(t, map[string]string{"broken": "<svg><title>a & b</title></svg>"}); status == 0 {
		t.Error("xmllint takes a lone ampersand")
	}
}
