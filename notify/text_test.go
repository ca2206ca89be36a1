package notify

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// at is when the alerts of the tests happened.
var at = time.Date(2026, 3, 29, 8, 58, 28, 0, time.FixedZone("", 2*60*60))

// deadAlert is the seed's example with one more replica and a reason.
func deadAlert() Alert {
	return Alert{
		ID: "b7c1", Kind: Changed, Status: Dead, Time: at,
		Dead: []Replica{
			{Path: "web:core:tcp://edge-3.example.net:80", Reason: "connection refused"},
			{Path: "web:core:tcp://edge-4.example.net:80"},
		},
		Page: Page{Title: "Crisp Status", URL: "https://status.example.com/"},
	}
}

// downAlert is one new outage beside an old one.
func downAlert() Alert {
	return Alert{
		ID: "b7c1", Kind: Changed, Status: Dead, Time: at,
		Outages: []Outage{{
			ID: "o1", Service: "web", Node: "shop", ServiceLabel: "Website", NodeLabel: "Shop",
			Status: Dead, Since: at, New: true, Instances: 2,
			Replicas: []Replica{{Path: "web:shop:https://shop.example.net/", Label: "Paris", Reason: "HTTP 503"}},
		}, {
			ID: "o2", Service: "api", Node: "login", ServiceLabel: "API", NodeLabel: "Sign-in",
			Status: Dead, Since: at.Add(-12 * time.Minute), Instances: 3,
			Replicas: []Replica{
				{Path: "api:login:tcp://a.example.net:80", Reason: "no answer in 3 s"},
				{Path: "api:login:tcp://b.example.net:80", Reason: "no answer in 3 s"},
			},
		}},
		Page: Page{Title: "Crisp Status", URL: "https://status.example.com/"},
	}
}

// with returns the alert after the changes.
func (a Alert) with(change func(*Alert)) Alert {
	change(&a)
	return a
}

// plainText is a whole message as a channel without markup sends it.
func plainText(a Alert, now time.Time) string {
	return plainStyle(0, utf8.RuneCountInString).message(newText(a, now))
}

func TestPlainText(t *testing.T) {
	down := downAlert()
	tests := []struct {
		name  string
		alert Alert
		late  time.Duration
		want  string
	}{
		{"changed", down, time.Second,
			`[Crisp Status] DOWN: Website > Shop (HTTP 503)

DOWN  Website > Shop (web:shop)  Paris: HTTP 503  since 08:58:28
STILL  API > Sign-in (api:login)  2 of 3: no answer in 3 s  for 12 min
  - tcp://a.example.net:80: no answer in 3 s
  - tcp://b.example.net:80: no answer in 3 s

29 Mar 2026 08:58:28 UTC+0200, https://status.example.com/`},
		{"one node, late, with a note", down.with(func(a *Alert) {
			a.Outages, a.Note = a.Outages[:1], "The monitor's own connection was down until 08:50."
		}), 4*time.Minute + 59*time.Second,
			`[Crisp Status] DOWN: Website > Shop (HTTP 503)

DOWN  Website > Shop (web:shop)  Paris: HTTP 503  since 08:58:28

The monitor's own connection was down until 08:50.
29 Mar 2026 08:58:28 UTC+0200, sent 4 min 59 s late, https://status.example.com/#probe-web`},
		{"reminder without a page", down.with(func(a *Alert) {
			a.Kind, a.Reminders, a.Outages, a.Page = Reminder, 3, a.Outages[1:], Page{}
		}), 0,
			`[Status page] STILL DOWN for 12 min: API > Sign-in (no answer in 3 s), reminder 3

STILL  API > Sign-in (api:login)  2 of 3: no answer in 3 s  for 12 min
  - tcp://a.example.net:80: no answer in 3 s
  - tcp://b.example.net:80: no answer in 3 s

29 Mar 2026 08:58:28 UTC+0200`},
		{"with nodes that depend on it", down.with(func(a *Alert) {
			a.Outages = []Outage{{
				ID: "o", Service: "net", Node: "router", NodeLabel: "Router", Status: Dead, Since: at.Add(-26 * time.Hour), New: true,
				Instances: 1, Depending: 12, Replicas: []Replica{{Path: "net:router:icmp://10.0.0.1", Reason: "no answer in 3 s"}},
			}}
		}), 0,
			`[Crisp Status] DOWN: net > Router (no answer in 3 s) and 12 nodes that depend on it

DOWN  net > Router  no answer in 3 s  since 28 Mar 06:58, and 12 nodes that depend on it

29 Mar 2026 08:58:28 UTC+0200, https://status.example.com/#probe-net`},
		{"no longer monitored, and degraded", down.with(func(a *Alert) {
			gone, better := a.Outages[0], a.Outages[1]
			gone.New, gone.Over, gone.Gone, gone.Status, gone.Until = false, true, true, Healthy, at.Add(time.Minute)
			better.Over, better.Status, better.Until = true, Sick, at
			a.Status, a.Outages = Sick, []Outage{gone, better}
		}), 0,
			`[Crisp Status] UP: Website > Shop (was down 1 min), API > Sign-in (degraded, was down 12 min)

GONE  Website > Shop (web:shop)  no longer monitored  was down 1 min
BACK  API > Sign-in (api:login)  degraded  was down 12 min

29 Mar 2026 08:58:28 UTC+0200, https://status.example.com/`},
		{"no longer degraded, and still degraded", down.with(func(a *Alert) {
			better, still := a.Outages[0], a.Outages[1]
			better.New, better.Over, better.Degraded, better.Status, better.Until = false, true, true, Healthy, at.Add(time.Minute)
			still.Status = Sick
			a.Status, a.Outages = Sick, []Outage{better, still}
		}), 0,
			`[Crisp Status] UP: Website > Shop (was degraded 1 min). Still degraded: API > Sign-in

BACK  Website > Shop (web:shop)  was degraded 1 min
STILL  API > Sign-in (api:login)  degraded: 2 of 3: no answer in 3 s  for 12 min
  - tcp://a.example.net:80: no answer in 3 s
  - tcp://b.example.net:80: no answer in 3 s

29 Mar 2026 08:58:28 UTC+0200, https://status.example.com/`},
		{"reminder of one that is down and one that is degraded", down.with(func(a *Alert) {
			ill := a.Outages[0]
			ill.New, ill.Status, ill.Since, ill.Replicas = false, Sick, at.Add(-2*time.Hour), nil
			a.Kind, a.Reminders, a.Outages = Reminder, 1, []Outage{ill, a.Outages[1]}
			a.Outages[1].Replicas = a.Outages[1].Replicas[:1]
		}), 0,
			`[Crisp Status] STILL DOWN for 12 min: API > Sign-in (no answer in 3 s), reminder 1

STILL  Website > Shop (web:shop)  degraded  for 2 h
STILL  API > Sign-in (api:login)  tcp://a.example.net:80: no answer in 3 s  for 12 min

29 Mar 2026 08:58:28 UTC+0200, https://status.example.com/`},
		{"of an earlier version", deadAlert().with(func(a *Alert) { a.Recovered, a.Merged = []string{"api:main:0"}, 1 }), 0,
			`[Crisp Status] DOWN: web > core (connection refused). Back: api > main

DOWN  web > core  2 instances: connection refused and others
  - tcp://edge-3.example.net:80: connection refused
  - tcp://edge-4.example.net:80
BACK  api > main

This also stands for an earlier message that could not be delivered.
29 Mar 2026 08:58:28 UTC+0200, https://status.example.com/`},
		{"repeat", down.with(func(a *Alert) { a.Repeat, a.Outages = true, a.Outages[:1] }), 0,
			`[Crisp Status] DOWN: Website > Shop (HTTP 503) (repeat)

DOWN  Website > Shop (web:shop)  Paris: HTTP 503  since 08:58:28

This may be a repeat: the first delivery was not confirmed.
29 Mar 2026 08:58:28 UTC+0200, https://status.example.com/#probe-web`},
		{"hostile labels stay on their line", deadAlert().with(func(a *Alert) {
			a.Dead = []Replica{{Path: "a:b:\r\nSubject: x\u2028y\u202e\u200f\x1b[0m\xff", Reason: "\tno\nanswer "}}
		}), 0,
			"[Crisp Status] DOWN: a > b (no answer)\n\n" +
				"DOWN  a > b  Subject: x y [0m\uFFFD: no answer\n\n" +
				"29 Mar 2026 08:58:28 UTC+0200, https://status.example.com/#probe-a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := plainText(tt.alert, tt.alert.Time.Add(tt.late)); got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}

// Mail is read in a font of fixed width.
func TestColumns(t *testing.T) {
	s := plainStyle(0, utf8.RuneCountInString)
	s.columns = true
	a := downAlert()
	a.Outages[1].Replicas = a.Outages[1].Replicas[:1]
	a.Outages = append(a.Outages, outage("c").with(func(o *Outage) { o.Over, o.Until = true, at.Add(time.Second) }))
	const want = `DOWN   Website > Shop (web:shop)  Paris: HTTP 503                           since 08:58:28
BACK   web > c                                                              was down 1 s
STILL  API > Sign-in (api:login)  tcp://a.example.net:80: no answer in 3 s  for 12 min`
	if got := s.list(newText(a, at), 0); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// However many nodes and however long their names, a phone shows what happened.
func TestSubjectsAreShort(t *testing.T) {
	for _, label := range []string{"x", "Shop", strings.Repeat("long name ", 20), strings.Repeat("日本語", 50)} {
		for n := range 8 {
			for name, a := range goldenAlerts() {
				var list []Outage
				for i := range n {
					for _, o := range a.Outages {
						o.ID, o.NodeLabel, o.Depending = fmt.Sprint(o.ID, i), label+fmt.Sprint(i), i*100
						list = append(list, o)
					}
				}
				a.Outages, a.Repeat = list, n%2 == 0
				for _, title := range []string{"Crisp Status", label} {
					a.Page.Title = title
					s := newText(a, a.Time).subject
					if utf8.RuneCountInString(s) > maxSubject {
						t.Errorf("%s: the subject has %d characters: %q", name, utf8.RuneCountInString(s), s)
					}
					if a.Repeat != strings.HasSuffix(s, " (repeat)") {
						t.Errorf("%s: a repeat's subject is %q", name, s)
					}
					if a.Kind == Reminder && n > 0 && !strings.Contains(s, ", reminder ") {
						t.Errorf("%s: the subject is %q", name, s)
					}
					if sms := newText(a, a.Time.Add(99*time.Minute)).sms(); utf8.RuneCountInString(sms) > maxSubject || !strings.HasSuffix(sms, ", sent 1 h 39 min late") {
						t.Errorf("%s: the text message is %q", name, sms)
					}
				}
			}
		}
	}
}

// The link leads to the node, whatever its service's id holds.
func TestLinks(t *testing.T) {
	for _, tt := range []struct{ url, service, want string }{
		{"https://s.example/", "web", "https://s.example/#probe-web"},
		{"https://s.example/status", "a b/c#é", "https://s.example/status#probe-a%20b%2Fc%23%C3%A9"},
		{"https://s.example/#top", "web", "https://s.example/#probe-web"},
		{"", "web", ""},
	} {
		if got := (Page{URL: tt.url}).link([]Outage{{Service: tt.service}}); got != tt.want {
			t.Errorf("%s, %s: %s, want %s", tt.url, tt.service, got, tt.want)
		}
	}
}

func TestLongListsAreCut(t *testing.T) {
	a := downAlert()
	a.Outages = nil
	for i := range 5000 {
		a.Outages = append(a.Outages, outage(fmt.Sprint("edge-", i)).with(func(o *Outage) { o.New = true }),
			outage(fmt.Sprint("db-", i)).with(func(o *Outage) { o.Over, o.Until = true, at }))
	}
	got := plainText(a, at)
	for _, want := range []string{
		"[Crisp Status] DOWN: web > edge-0 (HTTP 503), web > edge-1 (HTTP 503) and 4998 more. Back: web > db-0 and 4999 more\n",
		"\nDOWN  web > edge-99  HTTP 503  since 08:58:28\nand 4900 more down, 5000 more back\n\n", ", https://status.example.com/#probe-web",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}

	cut := newText(a, at)
	for limit := 350; limit < 3000; limit += 7 {
		for _, size := range []func(string) int{byteCount, utf8.RuneCountInString} {
			got := plainStyle(limit, size).message(cut)
			if size(got) > limit {
				t.Fatalf("limit %d: the message is %d long:\n%s", limit, size(got), got)
			}
			if !strings.HasPrefix(got, "[Crisp Status] DOWN: web > edge-0 (HTTP 503), ") ||
				!strings.Contains(got, " more down, 5000 more back\n\n") ||
				!strings.HasSuffix(got, "https://status.example.com/#probe-web") {
				t.Fatalf("limit %d: head, count or link is missing:\n%s", limit, got)
			}
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second:                "0 s",
		0:                           "0 s",
		59 * time.Second:            "59 s",
		time.Minute:                 "1 min",
		89 * time.Second:            "1 min 29 s",
		59*time.Minute + 59e9:       "59 min 59 s",
		time.Hour:                   "1 h",
		time.Hour + 5*time.Second:   "1 h",
		65 * time.Minute:            "1 h 5 min",
		24 * time.Hour:              "1 d",
		49*time.Hour + 30*time.Hour: "3 d 7 h",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestClip(t *testing.T) {
	for _, tt := range []struct {
		in   string
		n    int
		want string
	}{
		{"short", 5, "short"},
		{"longer", 5, "lo..."},
		{"日本語日本語", 6, "日本語日本語"},
		{"日本語日本語日", 6, "日本語..."},
		{"🔴🔴🔴🔴🔴", 4, "🔴..."},
	} {
		if got := clip(tt.in, tt.n); got != tt.want {
			t.Errorf("clip(%q, %d) = %q, want %q", tt.in, tt.n, got, tt.want)
		}
	}
}
