package notify

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEmailMessage compares whole messages, and reads them back as a mail
// program would.
func TestEmailMessage(t *testing.T) {
	at := time.Date(2026, 11, 20, 23, 4, 5, 0, time.FixedZone("", 3600))
	many := make([]Replica, 40)
	for i := range many {
		many[i] = Replica{Path: "web:edge-" + string(rune('a'+i%26)) + ":https://edge.example.net/health", Reason: "HTTP 503"}
	}
	alerts := goldenAlerts()
	for _, tt := range []struct {
		name    string
		title   string
		alert   Alert
		from    string // as read back
		subject string
	}{
		{"startup", "Acme Status", alerts["startup"], `"Acme Status" <vigil@example.com>`, "[Acme Status] STARTED, UP"},
		{"changed", "Acme Status", alerts["changed"], `"Acme Status" <vigil@example.com>`, "[Acme Status] DOWN: Website > Shop (HTTP 503)"},
		{"recovery", "Acme Status", alerts["recovery"], `"Acme Status" <vigil@example.com>`,
			"[Acme Status] UP: Website > Shop (was down 1 min 29 s). Still down: API > Sign-in"},
		{"all_clear", "Acme Status", alerts["all_clear"], `"Acme Status" <vigil@example.com>`, "[Acme Status] UP: Website > Shop (was down 1 min 29 s)"},
		{"degraded", "Acme Status", alerts["degraded"], `"Acme Status" <vigil@example.com>`, "[Acme Status] DEGRADED: Website > Shop (slow: 6.2 s)"},
		{"reminder", "Zażółć gęślą jaźń, der Zustand aller Dienste", alerts["reminder"],
			`=?utf-8?b?WmHFvMOzxYLEhyBnxJnFm2zEhSBqYcW6xYQsIGRlciBadXN0YW5kIGFsbGVyIC4uLg==?= <vigil@example.com>`,
			"[Zażółć gęślą jaźń, der Zustand aller ...] STILL DOWN for 30 min: Website > Shop (HTTP 503), reminder 3"},
		{"repeat", "Acme Status", alerts["repeat"], `"Acme Status" <vigil@example.com>`, "[Acme Status] DOWN: Website > Shop (HTTP 503) (repeat)"},
		{"many", `Acme, "the" Status`, Alert{ID: "4", Kind: Changed, Status: Dead, Time: at, Dead: many}, `"Acme, \"the\" Status" <vigil@example.com>`,
			`[Acme, "the" Status] DOWN: web > edge-a (HTTP 503), web > edge-b (HTTP 503), web > edge-c (HTTP 503) and 23 more`},
		{"injection", "Acme\r\nBcc: <all@example.com>\x00", alerts["hostile"].with(func(a *Alert) { a.ID = "5\r\nBcc: x" }),
			`"Acme  Bcc: <all@example.com>" <vigil@example.com>`,
			"[Acme  Bcc: <all@example.com>] DOWN: @everyone <!channel> > _*[]()~`>#+-=|{}.!\\ (HTTP 503 & <b>more</b>)"},
		{"test", "", Alert{ID: "6", Kind: Changed, Status: Healthy, Time: at, Test: true}, `<vigil@example.com>`, "[Status page] TEST: UP"},
		{"depending", "", alerts["depending"], `<vigil@example.com>`, "[Status page] DOWN: Website > Shop (HTTP 503) and 12 nodes that depend on it"},
		{"gone", "", alerts["gone"], `<vigil@example.com>`, "[Status page] NO LONGER MONITORED: Website > Shop (was down 1 min 29 s)"},
		{"notice", "", alerts["notice"], `<vigil@example.com>`, "[Status page] NOTICE: Vigil's own connection was down for 5 min."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newEmailNotifier(&Email{From: "vigil@example.com"}, "Ops <ops@example.com>", Page{Title: tt.title}).(*emailNotifier)
			tt.alert.Page = Page{tt.title, "https://status.example.com/"}
			n.page = tt.alert.Page
			env, err := n.envelope()
			if err != nil {
				t.Fatal(err)
			}
			now := tt.alert.Time.Add(time.Second)
			msg, err := n.message(tt.alert, env, now)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", "email."+tt.name+".eml"), msg)
			for line := range strings.SplitSeq(string(msg), "\r\n") {
				// RFC 5322, section 2.1.1.
				if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") {
					t.Errorf("line %q is too long or broken", line)
				}
			}

			parsed, err := mail.ReadMessage(bytes.NewReader(msg))
			if err != nil {
				t.Fatal(err)
			}
			from, err := mail.ParseAddress(parsed.Header.Get("From"))
			if err != nil {
				t.Fatal(err)
			}
			if want, err := mail.ParseAddress(tt.from); err != nil || *from != *want {
				t.Errorf("from %q, want %q (%v)", from, want, err)
			}
			subject, err := new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject"))
			if err != nil || subject != tt.subject {
				t.Errorf("subject %q, want %q (%v)", subject, tt.subject, err)
			}
			for header := range parsed.Header {
				if !slices.Contains([]string{"From", "To", "Subject", "Date", "Message-Id", "References", "List-Id",
					"Auto-Submitted", "Mime-Version", "Content-Type"}, header) {
					t.Errorf("header %s", header)
				}
			}
			if got := parsed.Header.Get("List-Id"); got != "<alerts.status.example.com>" {
				t.Errorf("List-Id %s", got)
			}
			if got := len(strings.Fields(parsed.Header.Get("References"))); got != len(tt.alert.Outages) {
				t.Errorf("%d references to %d outages", got, len(tt.alert.Outages))
			}
			_, params, err := mime.ParseMediaType(parsed.Header.Get("Content-Type"))
			if err != nil {
				t.Fatal(err)
			}
			parts := multipart.NewReader(parsed.Body, params["boundary"])
			for _, kind := range []string{"text/plain", "text/html"} {
				part, err := parts.NextPart()
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(part) // the reader decodes quoted-printable
				if err != nil || !strings.HasPrefix(part.Header.Get("Content-Type"), kind+";") {
					t.Errorf("a part of %s, %v", part.Header.Get("Content-Type"), err)
				}
				text := string(body)
				if kind == "text/html" {
					if strings.Contains(text, "ZgotmplZ") || strings.Contains(text, "<img") || strings.Contains(text, "<b>more</b>") {
						t.Errorf("HTML\n%s", text)
					}
					text = html.UnescapeString(text)
				}
				for _, l := range newText(tt.alert, now).lines {
					if !strings.Contains(text, l.name) || !strings.Contains(text, l.mark) || !strings.Contains(text, l.when) {
						t.Errorf("%s lacks %+v:\n%s", kind, l, text)
					}
				}
			}
			if _, err := parts.NextPart(); err != io.EOF {
				t.Errorf("a third part, %v", err)
			}
		})
	}
}

// TestEmailThreads: all messages about an outage name its thread, and no other.
func TestEmailThreads(t *testing.T) {
	n := newEmailNotifier(&Email{From: "vigil@example.com"}, "ops@example.com", Page{}).(*emailNotifier)
	env, err := n.envelope()
	if err != nil {
		t.Fatal(err)
	}
	alerts := goldenAlerts()
	thread := n.references(alerts["reminder"], env)
	for _, name := range []string{"changed", "recovery", "all_clear"} {
		if refs := n.references(alerts[name], env); thread == "" || !strings.Contains(refs, thread) {
			t.Errorf("the %s message has references %s, want %s among them", name, refs, thread)
		}
	}
	many := downAlert()
	for i := range 100 {
		many.Outages = append(many.Outages, outage(fmt.Sprint(i)))
	}
	if got := len(strings.Fields(n.references(many, env))); got != maxReferences {
		t.Errorf("%d references", got)
	}
}

// TestEmailMessageID: a mailbox tells a message that came twice by its id.
func TestEmailMessageID(t *testing.T) {
	at := time.Date(2026, 11, 20, 23, 4, 5, 0, time.UTC)
	id := func(from, to string, a Alert) string {
		n := newEmailNotifier(&Email{From: from}, to, Page{}).(*emailNotifier)
		n.hostname = "box"
		env, err := n.envelope()
		if err != nil {
			t.Fatal(err)
		}
		return n.messageID(a, env)
	}
	first := id("vigil@example.com", "ops@example.com", Alert{ID: "1", Time: at})
	if again := id("vigil@example.com", "ops@example.com", Alert{ID: "1", Time: at}); again != first {
		t.Errorf("second try has id %s, first %s", again, first)
	}
	for name, other := range map[string]string{
		"another notification":    id("vigil@example.com", "ops@example.com", Alert{ID: "2", Time: at}),
		"another time":            id("vigil@example.com", "ops@example.com", Alert{ID: "1", Time: at.Add(1)}),
		"another recipient":       id("vigil@example.com", "dev@example.com", Alert{ID: "1", Time: at}),
		"a domain outside ASCII":  id("vigil@exämple.com", "ops@example.com", Alert{ID: "1", Time: at}),
		"a domain in other words": id("vigil@[192.0.2.1]", "ops@example.com", Alert{ID: "1", Time: at}),
	} {
		if other == first {
			t.Errorf("%s: the same id %s", name, other)
		}
		if !isASCII(other) || strings.Count(other, "@") != 1 {
			t.Errorf("%s: id %s", name, other)
		}
	}
}

// TestEmailBadAddresses: what cannot be sent safely is not sent at all.
func TestEmailBadAddresses(t *testing.T) {
	for _, bad := range []string{
		"",
		"ops",
		"ops@example.com\r\nRCPT TO:<all@example.com>",
		"ops@example.com> SIZE=1",
		"\"a\r\nb\"@example.com",
		"a@example.com, b@example.com",
	} {
		for _, cfg := range []struct{ from, to string }{{bad, "ops@example.com"}, {"vigil@example.com", bad}} {
			n := newEmailNotifier(&Email{From: cfg.from, Host: "mail.example.com", Port: 587}, cfg.to, Page{}).(*emailNotifier)
			n.dial = (&peer{t: t}).dial
			if err := n.Notify(t.Context(), mailAlert()); err == nil || !isPermanent(err) || !strings.HasPrefix(err.Error(), "address ") {
				t.Errorf("from %q to %q: %v, want a permanent error about the address", cfg.from, cfg.to, err)
			}
		}
	}
}

func TestWriteHeader(t *testing.T) {
	long := strings.Repeat("x", 80)
	for _, tt := range []struct{ value, want string }{
		{"", "Subject: \r\n"},
		{"a  b", "Subject: a  b\r\n"},
		{long, "Subject: " + long + "\r\n"},
		{"a " + long + " b", "Subject: a\r\n " + long + "\r\n b\r\n"},
		{strings.Repeat("word ", 20), "Subject: " + strings.Repeat("word ", 13) + "word\r\n " + strings.Repeat("word ", 6) + "\r\n"},
	} {
		var b bytes.Buffer
		if err := writeHeader(&b, "Subject", tt.value); err != nil || b.String() != tt.want {
			t.Errorf("%q: %q, %v; want %q", tt.value, b.String(), err, tt.want)
		}
	}
	for _, bad := range []string{"a\r\nBcc: b", "a\nb", "a\rb", "a\x00b"} {
		if err := writeHeader(new(bytes.Buffer), "Subject", bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
