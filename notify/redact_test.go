package notify

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestRedactor(t *testing.T) {
	const token, hook = "s3cr=t/+ok&en\"", "https://joe:hunter2@hooks.example.com/services/T0000000/B0000000/x?key=longenough"
	r := newRedactor("AC1", token, hook)
	for _, s := range []string{
		token, "s3cr%3Dt%2F%2Bok%26en%22", `s3cr=t\/+ok&en\"`, "s3cr=t%2F+ok&en%22", `s3cr=t\/+ok\u0026en\"`, `s3cr=t/+ok\u0026en\"`, `s3cr=t/+ok&amp;en&#34;`,
		"Basic " + base64.StdEncoding.EncodeToString([]byte("joe:hunter2")),
		"Basic " + base64.StdEncoding.EncodeToString([]byte("AC1:"+token)),
		"POST " + hook + ": EOF", "/services/T0000000/B0000000/x", "T0000000", "longenough", "hunter2",
		`https:\/\/joe:hunter2@hooks.example.com\/services\/T0000000\/B0000000\/x?key=longenough`,
	} {
		got := r.said(s)
		for _, leak := range []string{"s3cr", "hunter2", "T0000000", "B0000000", "longenough", "QUMxO", "am9lOm"} {
			if strings.Contains(got, leak) {
				t.Errorf("said(%q) = %q", s, got)
			}
		}
		if !strings.Contains(got, redacted) {
			t.Errorf("said(%q) = %q, want it marked", s, got)
		}
	}
	if got, want := r.said("  no\r\nsuch\x00 room\u202e "), "no such room"; got != want {
		t.Errorf("said = %q, want %q", got, want)
	}
	if got := r.said(strings.Repeat("é", 5000)); got != strings.Repeat("é", maxSaid-3)+"..." {
		t.Errorf("a long answer was cut to %q", got)
	}
	if got := newRedactor("", "").hide("nothing to hide"); got != "nothing to hide" {
		t.Errorf("without secrets hide changed the text to %q", got)
	}
}
