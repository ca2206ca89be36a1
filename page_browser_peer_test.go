//go:build peer

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPeerBrowser has browsers look at every state of the page: how it looks
// (screenshots go to $SHOTS), accessibility, keyboard and touch, live updates,
// without scripts, in frames, on paper, and what a first view costs. Chromium
// does all of it, Firefox what browsers may differ in, and Lighthouse judges
// three pages. It installs what it needs. $PARTS names the parts that are
// wanted, of look.mjs or lighthouse, when that is not all.
func TestPeerBrowser(t *testing.T) {
	work := t.TempDir()
	if err := os.CopyFS(work, os.DirFS(filepath.Join("testdata", "browser"))); err != nil {
		t.Fatal(err)
	}
	for path, packages := range map[string][]string{
		"/usr/bin/chromium":    {"chromium", "fonts-dejavu-core", "fonts-noto-core"},
		"/usr/bin/firefox-esr": {"firefox-esr"},
	} {
		if _, err := os.Stat(path); err != nil {
			runIn(t, work, "apt-get", "update")
			runIn(t, work, "apt-get", append([]string{"install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"}, packages...)...)
		}
	}
	runIn(t, work, "npm", "ci", "--no-audit", "--no-fund")

	// It measures time, so it is alone.
	t.Run("lighthouse", func(t *testing.T) {
		if parts := os.Getenv("PARTS"); parts != "" && !strings.Contains(parts, "lighthouse") {
			t.Skip("not asked for")
		}
		base := serveStates(t, judgedStates(t))
		runIn(t, work, "node", "lighthouse.mjs", base+"/healthy/", base+"/told/", base+"/crowd/")
	})
	for _, browser := range []string{"chromium", "firefox"} {
		t.Run(browser, func(t *testing.T) {
			t.Parallel()
			shots := filepath.Join(cmp.Or(os.Getenv("SHOTS"), filepath.Join(work, "shots")), browser)
			if err := os.MkdirAll(shots, 0o755); err != nil {
				t.Fatal(err)
			}
			h := browserStates(t)
			runIn(t, work, "node", "look.mjs", browser, serveStates(t, h), serveStates(t, h), shots)
		})
	}
}

func runIn(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1", "DEBIAN_FRONTEND=noninteractive", "TZ=Europe/Budapest")
	out, err := cmd.CombinedOutput()
	t.Logf("%s %s\n%s", name, strings.Join(args, " "), out)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// serveStates serves on a loopback port of its own and returns the base URL.
func serveStates(t *testing.T, h http.Handler) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := newServer(h, slog.New(slog.DiscardHandler))
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return "http://" + ln.Addr().String()
}

// judgedStates serves the pages for Lighthouse. They are of now, because an old
// page asks for a newer one at once.
func judgedStates(t *testing.T) http.Handler {
	mux := http.NewServeMux()
	for name, s := range map[string]*snapshot{"healthy": healthySample(), "told": toldSample(), "crowd": crowdSample(60)} {
		s.at = time.Now()
		s.conf.Server.PathPrefix = "/" + name
		mux.Handle("/"+name+"/", newTestPage(t, s).handler(nil))
	}
	return mux
}

// browserStates serves each sample in its own folder, and in /live/ the one
// that was last posted to /publish.
func browserStates(t *testing.T) http.Handler {
	mux := http.NewServeMux()
	serve := func(name string, s *snapshot) *page {
		s.conf.Server.PathPrefix = "/" + name
		p := newTestPage(t, s)
		mux.Handle("/"+name+"/", p.handler(nil))
		return p
	}
	var badges strings.Builder
	for name, sample := range samples {
		s := sample()
		serve(name, s)
		for _, target := range badgeTargets(s) {
			fmt.Fprintf(&badges, "<img src=\"/%s/%s\" alt=\"\">", name, target)
		}
	}
	mux.HandleFunc("GET /badges", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, "<!DOCTYPE html><title>Badges</title>%s<img id=broken src=\"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'>&</svg>\">", badges.String())
	})
	serve("crowd", crowdSample(100))
	serve("sixty", crowdSample(60))
	serve("mixedcrowd", mixedCrowdSample())
	serve("badcrowd", badCrowdSample())
	serve("twenty", twentySample())
	for _, tag := range languageTags("") {
		s := toldSample()
		s.conf.Branding.Language = tag
		serve("lang-"+tag, s)
	}
	serve("branded", brandedSample())
	serve("readme", readmeSample())

	serveBrands(mux, serve)

	mux.HandleFunc("GET /frame", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, "<!DOCTYPE html><iframe src=%q width=400 height=60></iframe>", r.FormValue("src"))
	})

	live := mixedSample()
	p := serve("live", live)
	states := map[string]*snapshot{"mixed": live, "later": laterSample(live)}
	states["written"], states["answered"] = writtenSamples(live)
	mux.HandleFunc("POST /publish", func(_ http.ResponseWriter, r *http.Request) { // one at a time
		p.snaps.publish(states[r.FormValue("state")])
		if err := p.refresh(p.snaps.public()); err != nil {
			t.Error(err)
		}
	})
	return mux
}

// serveBrands serves a page for each of many colours, the hard ones and some by
// chance, and at /brands their names.
func serveBrands(mux *http.ServeMux, serve func(string, *snapshot) *page) {
	colours := []string{
		"#ffffff", "#000000", "#ffff00", "#808080", "#777777", "#767676", "#949494", "#959595",
		"#ff0000", "#00ff00", "#0000ff", "#00ffff", "#ff00ff", "#ff8800", "#1972f5", "#15803d",
	}
	chance := rand.New(rand.NewPCG(1, 2))
	for range 16 {
		colours = append(colours, fmt.Sprintf("#%06x", chance.IntN(1<<24)))
	}
	var names []string
	for _, c := range colours {
		s := healthySample()
		s.conf.Branding.LogoColor, s.conf.Branding.IconColor = c, c
		names = append(names, "brand-"+c[1:])
		serve(names[len(names)-1], s)
	}
	mux.HandleFunc("GET /brands", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(names)
	})
}

// laterSample is what a snapshot became: one service works again, another is
// slow, and an announcement was taken back.
func laterSample(s *snapshot) *snapshot {
	next := *s
	next.at = s.at.Add(time.Minute)
	next.announcements = s.announcements[:1]
	next.services = append([]*serviceView(nil), s.services...)
	next.status = sick
	for i, sv := range next.services[:2] {
		changed := *sv
		changed.status = status(i) // healthy, then sick
		changed.nodes = nil
		for _, nv := range sv.nodes {
			n := *nv
			n.status = changed.status
			n.replicas = listViews(func(yield func(*replicaView) bool) {
				for _, r := range nv.replicas.all() {
					better := *r
					better.status = min(r.status, n.status)
					if !yield(&better) {
						return
					}
				}
			})
			changed.nodes = append(changed.nodes, &n)
		}
		next.services[i] = &changed
	}
	return &next
}

// writtenSamples are a snapshot of which people write, and what they have written
// a minute later: one incident has news, another is over, and a maintenance has
// begun.
func writtenSamples(s *snapshot) (*snapshot, *snapshot) {
	written := *s
	written.announcements = toldSample().announcements[1:]
	written.quietTimes = []*quietTime{{id: "m", title: "New disks", text: "t", selectors: selectors{"id-Mail"}, start: s.at.Add(30 * time.Second), end: s.at.Add(time.Hour)}}
	answered := written
	answered.at = s.at.Add(time.Minute)
	news, over := written.announcements[0], written.announcements[1]
	news.state = "monitoring"
	news.updates = append(slices.Clone(news.updates), announcementUpdate{at: answered.at, state: "monitoring", text: "The new one is in place."})
	over.state = stateResolved
	over.updates = []announcementUpdate{{at: answered.at, state: stateResolved, text: "It is over."}}
	answered.announcements, answered.pastAnnouncements = []announcement{news}, []announcement{over}
	return &written, &answered
}

// brandedSample has everything that an operator can add.
func brandedSample() *snapshot {
	s := healthySample()
	b := &s.conf.Branding
	b.LogoURL = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 150 48'%3E%3Crect width='48' height='48' rx='10' fill='%231b2a4a'/%3E%3Ctext x='60' y='34' font-size='30' fill='%231b2a4a' font-family='sans-serif'%3EAcme%3C/text%3E%3C/svg%3E"
	b.LogoColor, b.IconColor = "#ffe14d", "#1b2a4a"
	b.CustomHTML = "<style>body { --custom: set }</style>\n<script>\r\nwindow.customScript = 'ran'\r\n</script>"
	return s
}

// readmeSample is the page of the README's picture.
func readmeSample() *snapshot {
	hour := func(n float64) time.Duration { return time.Duration(n * float64(time.Hour)) }
	broken := polled("https://api-2.internal/", dead, 10000)
	broken.since = sampleTime.Add(-hour(0.3))
	s := newSampler().
		service("Web",
			node("Website", modePoll, polled("https://www.internal/", healthy, 23), polled("https://www-2.internal/", healthy, 31), polled("https://www-3.internal/", healthy, 27)).past(90, map[int]time.Duration{9: hour(0.4), 51: hour(2)}, map[int]time.Duration{23: hour(3)}),
			node("API", modePoll, polled("https://api.internal/", healthy, 48), broken).past(90, map[int]time.Duration{0: hour(0.3)}, map[int]time.Duration{0: hour(1), 1: hour(6), 37: hour(2)}).linked("https://docs.acme.example/", "Docs")).
		service("Mail",
			node("Outgoing mail", modePoll, polled("tcp://mx.internal:25", healthy, 2)).past(90, nil, map[int]time.Duration{60: hour(5)}),
			node("Delivery workers", modePush, pushed("worker-1", healthy, 0.2, 0.4), pushed("worker-2", healthy, 0.3, 0.4), pushed("worker-3", healthy, 0.2, 0.5)).past(90, nil, nil)).
		snapshot
	s.announcements = []announcement{{id: "a", title: "The API is slow", text: "One of its machines has failed; the other one carries all. We are replacing it.", at: sampleTime.Add(-hour(0.2))}}
	web := s.services[0].conf
	s.incidents = []incident{
		{id: "i2", service: web, node: web.Nodes[1], start: broken.since},
		{id: "i1", service: web, node: web.Nodes[0], start: sampleTime.Add(-9 * hour(24)), end: sampleTime.Add(-9*hour(24) + hour(0.4))},
	}
	return s
}
