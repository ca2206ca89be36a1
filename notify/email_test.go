package notify

import (
	"bytes"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"path/filepath"
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
	for _, tt := range []struct {
		name    string
		title   string
		alert   Alert
		from    string // as read back
		subject string
	}{{
		name:    "startup",
		title:   "Acme Status",
		alert:   Alert{ID: "1", Kind: Startup, Status: Healthy, Time: at},
		from:    `"Acme Status" <vigil@example.com>`,
		subject: "HEALTHY",
	}, {
		name:    "changed",
		title:   "Acme Status",
		alert:   Alert{ID: "2", Kind: Changed, Status: Dead, Time: at, Dead: many[:2], Recovered: []string{"db:main:0"}},
		from:    `"Acme Status" <vigil@example.com>`,
		subject: "DEAD | web:edge-a:https://edge.example.net/health, web:edge-b:https://edge.example.net/health",
	}, {
		name:    "reminder",
		title:   "Zażółć gęślą jaźń, der Zustand aller unserer Dienste in allen unseren Ländern",
		alert:   Alert{ID: "3", Kind: Reminder, Status: Dead, Time: at, Reminders: 1, Dead: []Replica{{Path: "größe:ß:☃ = .", Reason: "kein Anschluß\r\n.\r\nunter dieser Nummer"}}},
		from:    `=?utf-8?b?WmHFvMOzxYLEhyBnxJnFm2zEhSBqYcW6xYQsIGRlciBadXN0YW5kIGFsbGVyIHVuc2VyZXIgRGllbnN0ZSBpbiBhbGxlbiB1bnNlcmVuIEzDpG5kZXJu?= <vigil@example.com>`,
		subject: "DEAD | größe:ß:☃ = .",
	}, {
		name:    "many",
		title:   `Acme, "the" Status`,
		alert:   Alert{ID: "4", Kind: Changed, Status: Dead, Time: at, Dead: many},
		from:    `"Acme, \"the\" Status" <vigil@example.com>`,
		subject: "DEAD | web:edge-a:https://edge.example.net/health, web:edge-b:https://edge.example.net/health, web:edge-c:https://edge.example.net/health and 37 more",
	}, {
		name:    "injection",
		title:   "Acme\r\nBcc: <all@example.com>\x00",
		alert:   Alert{ID: "5\r\nBcc: x", Kind: Changed, Status: Dead, Time: at, Dead: []Replica{{Path: "a\r\nBcc: <all@example.com>\x00:b:" + strings.Repeat("c", 300)}}},
		from:    `"Acme  Bcc: <all@example.com>" <vigil@example.com>`,
		subject: "DEAD | a  Bcc: <all@example.com> :b:" + strings.Repeat("c", 111) + "...",
	}, {
		name:    "test",
		alert:   Alert{ID: "6", Kind: Changed, Status: Healthy, Time: at, Test: true},
		from:    `<vigil@example.com>`,
		subject: "TEST: HEALTHY",
	}, {
		name:    "notice",
		alert:   Alert{ID: "7", Kind: Notice, Status: Healthy, Time: at, Note: "note"},
		from:    `<vigil@example.com>`,
		subject: "NOTICE: HEALTHY",
	}} {
		t.Run(tt.name, func(t *testing.T) {
			n := newEmailNotifier(&Email{From: "vigil@example.com"}, "Ops <ops@example.com>", Page{Title: tt.title}).(*emailNotifier)
			tt.alert.Page = Page{tt.title, "https://status.example.com/"}
			env, err := n.envelope()
			if err != nil {
				t.Fatal(err)
			}
			msg, err := n.message(tt.alert, env, at.Add(time.Second))
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
			if len(parsed.Header) != 9 {
				t.Errorf("%d headers, want 9", len(parsed.Header))
			}
			body, err := io.ReadAll(quotedprintable.NewReader(parsed.Body))
			want := plainText(tt.alert, at.Add(time.Second)) + "\n"
			if got := strings.ReplaceAll(string(body), "\r\n", "\n"); err != nil || got != want {
				t.Errorf("body %q, want %q (%v)", got, want, err)
			}
		})
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
