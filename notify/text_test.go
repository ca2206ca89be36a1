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

// with returns the alert after the changes.
func (a Alert) with(change func(*Alert)) Alert {
	change(&a)
	return a
}

func TestPlainText(t *testing.T) {
	tests := []struct {
		name  string
		alert Alert
		late  time.Duration
		want  string
	}{
		{"startup healthy", deadAlert().with(func(a *Alert) { a.Kind, a.Status, a.Dead = Startup, Healthy, nil }), 0,
			`Crisp Status started up: healthy

Time: 08:58:28 UTC+0200
Page: https://status.example.com/`},
		{"changed dead", deadAlert(), time.Second,
			`Crisp Status changed: dead

2 replicas dead:
- web:core:tcp://edge-3.example.net:80 (connection refused)
- web:core:tcp://edge-4.example.net:80

Time: 08:58:28 UTC+0200
Page: https://status.example.com/`},
		{"second outage, one back, late, with a note", deadAlert().with(func(a *Alert) {
			a.Dead, a.Recovered, a.Note = a.Dead[:1], []string{"api:main:0"}, "The monitor's own line was down until 08:50."
		}), 4*time.Minute + 59*time.Second,
			`Crisp Status changed: dead

1 replica dead:
- web:core:tcp://edge-3.example.net:80 (connection refused)

1 replica recovered:
- api:main:0

The monitor's own line was down until 08:50.

Time: 08:58:28 UTC+0200, sent 4 min late
Page: https://status.example.com/`},
		{"reminder without a page", deadAlert().with(func(a *Alert) {
			a.Kind, a.Reminders, a.Dead, a.Page = Reminder, 3, a.Dead[1:], Page{}
		}), 0,
			`Status page is still dead

1 replica dead:
- web:core:tcp://edge-4.example.net:80

Time: 08:58:28 UTC+0200`},
		{"recovery, merged", deadAlert().with(func(a *Alert) {
			a.Status, a.Dead, a.Recovered, a.Merged = Healthy, nil, []string{"web:core:a", "web:core:b"}, 2
		}), 26 * time.Hour,
			`Crisp Status changed: healthy

2 replicas recovered:
- web:core:a
- web:core:b

This stands for 2 earlier notifications too, which were still waiting.

Time: 08:58:28 UTC+0200, sent 1 d 2 h late
Page: https://status.example.com/`},
		{"repeat", deadAlert().with(func(a *Alert) { a.Repeat, a.Dead = true, a.Dead[1:] }), 0,
			`Crisp Status changed: dead

1 replica dead:
- web:core:tcp://edge-4.example.net:80

This may be a repeat: the monitor was restarted before it knew whether this had arrived.

Time: 08:58:28 UTC+0200
Page: https://status.example.com/`},
		{"notice", deadAlert().with(func(a *Alert) { a.Kind, a.Dead, a.Note = Notice, a.Dead[1:], "The monitor's own line is down." }), 0,
			`Crisp Status, a notice on the monitor itself: dead

1 replica dead:
- web:core:tcp://edge-4.example.net:80

The monitor's own line is down.

Time: 08:58:28 UTC+0200
Page: https://status.example.com/`},
		{"test", deadAlert().with(func(a *Alert) { a.Test, a.Status, a.Dead = true, Healthy, nil }), 0,
			`TEST: Crisp Status changed: healthy

This is a test message. Nothing happened.

Time: 08:58:28 UTC+0200
Page: https://status.example.com/`},
		{"hostile labels stay on their line", deadAlert().with(func(a *Alert) {
			a.Dead = []Replica{{Path: "a:b:\r\nSubject: x\u2028y\u202e\u200f\x1b[0m\xff", Reason: "\tno\nanswer "}}
		}), 0,
			"Crisp Status changed: dead\n\n1 replica dead:\n" +
				"- a:b:  Subject: x y [0m\uFFFD (no answer)\n\n" +
				"Time: 08:58:28 UTC+0200\nPage: https://status.example.com/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := plainText(tt.alert, tt.alert.Time.Add(tt.late)); got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}

func TestLongListsAreCut(t *testing.T) {
	a := deadAlert()
	a.Dead = nil
	for i := range 5000 {
		a.Dead = append(a.Dead, Replica{Path: fmt.Sprintf("web:core:tcp://edge-%d.example.net:80", i), Reason: "connection refused"})
		a.Recovered = append(a.Recovered, fmt.Sprintf("db:core:%d", i))
	}
	got := plainText(a, at)
	for _, want := range []string{
		"5000 replicas dead:\n- web:core:tcp://edge-0.", "edge-99.example.net:80 (connection refused)\n- and 4900 more\n\n",
		"5000 replicas recovered:\n- db:core:0\n", "- db:core:99\n- and 4900 more\n\n", "\nPage: https://status.example.com/",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}

	for limit := 150; limit < 3000; limit += 7 {
		for _, size := range []func(string) int{byteCount, utf8.RuneCountInString} {
			got := plainStyle(limit, size).message(a, at)
			if size(got) > limit {
				t.Fatalf("limit %d: the message is %d long:\n%s", limit, size(got), got)
			}
			if !strings.HasPrefix(got, "Crisp Status changed: dead\n\n5000 replicas dead") ||
				!strings.Contains(got, "5000 replicas recovered") ||
				!strings.HasSuffix(got, "Page: https://status.example.com/") {
				t.Fatalf("limit %d: head or link is missing:\n%s", limit, got)
			}
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Minute:                 "1 min",
		59*time.Minute + 59e9:       "59 min",
		time.Hour:                   "1 h",
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
