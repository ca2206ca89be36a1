package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestClientNet(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7:4711":              "192.0.2.7/32",
		"[::ffff:192.0.2.7]:4711":     "192.0.2.7/32",
		"[2001:db8:1:2:3:4:5:6]:4711": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:4711":         "fe80::/64",
		"@":                           "invalid Prefix",
		"":                            "invalid Prefix",
	} {
		if got := clientNet(addr).String(); got != want {
			t.Errorf("%q comes from %s, want %s", addr, got, want)
		}
	}
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		th := newThrottle(slog.New(slog.NewTextHandler(&text, nil)))
		// The other one has a counter of its own, as most have.
		attacker, other := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/64")
		for th.slot(attacker) == th.slot(other) {
			th = newThrottle(th.log)
		}
		time.Sleep(time.Until(time.Now().Truncate(throttleWindow).Add(throttleWindow + 20*time.Second)))
		for i := range wrongTokens {
			if wait := th.count(attacker, time.Now()); wait != 0 {
				t.Fatalf("wrong token %d has to wait for %v", i+1, wait)
			}
		}
		if text.Len() > 0 {
			t.Errorf("warned of a few wrong tokens: %s", text.String())
		}
		for range 1000 {
			if wait := th.count(attacker, time.Now()); wait != 40*time.Second {
				t.Fatalf("one more waits for %v, want 40 s", wait)
			}
		}
		if wait := th.count(other, time.Now()); wait != 0 {
			t.Errorf("another address waits for %v", wait)
		}
		for range wrongTokens {
			th.count(other, time.Now())
		}
		if n := strings.Count(text.String(), "\n"); n != 1 ||
			!strings.Contains(text.String(), `level=WARN msg="wrong tokens keep coming" from=192.0.2.1/32 "since start"=11`) {
			t.Errorf("log:\n%s", text.String())
		}
		time.Sleep(40 * time.Second)
		if wait := th.count(attacker, time.Now()); wait != 0 {
			t.Errorf("in the next window it waits for %v", wait)
		}
		if n := th.wrong.Load(); n != wrongTokens+1000+1+wrongTokens+1 {
			t.Errorf("%d wrong tokens counted", n)
		}
	})
}

// Many wrong tokens, and the right one among them from the same address.
func TestThrottledRequests(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	const report = `{"replica":"r","interval":30,"load":{"cpu":0,"ram":0}}`
	for _, api := range []struct{ method, path, body, token string }{
		{"POST", "/reporter/web/jobs/", report, "tok/en+secret"},
		{"GET", "/manager/announcements/", "", "manage me"},
	} {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 2 * wrongTokens { // more than in two windows
					resp, body := rig.do(t, api.method, api.path, "wrong", api.body)
					switch resp.StatusCode {
					case http.StatusForbidden:
						if body != fault("wrong token") {
							t.Errorf("403 %s", body)
						}
					case http.StatusTooManyRequests:
						if resp.Header.Get("Retry-After") == "" || body != fault("too many wrong tokens from this address: wait before the next one") {
							t.Errorf("429 %q %s", resp.Header.Get("Retry-After"), body)
						}
					default:
						t.Errorf("wrong token: %d", resp.StatusCode)
					}
					if resp, _ := rig.do(t, api.method, api.path, api.token, api.body); resp.StatusCode != http.StatusOK {
						t.Errorf("right token: %d", resp.StatusCode)
					}
				}
			})
		}
		wg.Wait()
		limited := false
		for range 2*wrongTokens + 1 {
			resp, _ := rig.do(t, api.method, api.path, "wrong", api.body)
			limited = limited || resp.StatusCode == http.StatusTooManyRequests
		}
		if !limited {
			t.Errorf("%s: wrong tokens are not throttled", api.path)
		}
		if resp, _ := rig.do(t, api.method, api.path, "", api.body); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("no token: %d, want 401", resp.StatusCode)
		}
	}
}
