package main

import (
	"bytes"
	"testing"
	"time"
)

func TestBadges(t *testing.T) {
	s := newSampler().service("Web <shop>", node("Front & pages", modePoll, polled("x", sick, 1)).past(90, map[int]time.Duration{3: time.Hour}, nil)).snapshot
	var all bytes.Buffer
	p := newTestPage(t, s)
	for _, target := range []string{
		"/badge/color", "/badge/icon", "/badge/uptime", "/badge/color/id-Web%20%3Cshop%3E",
		"/badge/icon/id-Web%20%3Cshop%3E/id-Front%20&%20pages", "/badge/uptime/id-Web%20%3Cshop%3E/id-Front%20&%20pages",
	} {
		all.WriteString("<!-- " + target + " -->\n" + body(t, get(p.handler(nil), "GET", target)) + "\n")
	}
	s = newSampler().service("New", node("New", modePush)).snapshot
	all.WriteString("<!-- nothing known -->\n" + body(t, get(newTestPage(t, s).handler(nil), "GET", "/badge/uptime/id-New")) + "\n")
	golden(t, "page/badges.svg.txt", all.Bytes())
}

// A badge is of the board's state, not of the last rendering's.
func TestCurrentStatus(t *testing.T) {
	b := newBoard(healthySample())
	p := newTestPage(t, healthySample())
	p.board = b
	b.publish(deadSample())
	h := p.handler(nil)
	if got := body(t, get(h, "GET", "/status/text")); got != "dead" {
		t.Errorf("/status/text: %s", got)
	}
	if got := get(h, "GET", "/badge/color"); !bytes.Contains([]byte(body(t, got)), []byte(badgeLooks[stateDown].fill)) {
		t.Error("/badge/color is not that of dead")
	}
}
