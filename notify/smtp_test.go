package notify

import (
	"context"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

// At this time a synctest bubble begins.
var bubbleTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func mailAlert() Alert {
	return Alert{
		ID:     "a1",
		Kind:   Changed,
		Status: Dead,
		Time:   bubbleTime,
		Dead:   []Replica{{Path: "web:core:tcp://edge-3.example.net:80", Reason: "connection refused"}},
		Page:   Page{Title: "Acme Status", URL: "https://status.example.com/"},
	}
}

// TestSMTP plays the dialogues of testdata/smtp.
func TestSMTP(t *testing.T) {
	ca := newAuthority(t)
	for _, d := range dialogues(t, "smtp") {
		t.Run(d.name, func(t *testing.T) {
			n := testEmail()
			n.roots = map[string]*x509.CertPool{"ours": ca.pool, "none": x509.NewCertPool(), "system": nil}[d.get("roots", "ours")]
			n.cfg.Encrypt = d.get("encrypt", "yes") == "yes"
			n.to = d.get("to", n.to)
			switch user := strings.Fields(d.get("user", "")); len(user) {
			case 1: // none
				n.cfg.Username = ""
			case 2:
				n.cfg.Username, n.cfg.Password = user[0], Secret(user[1])
			}
			if d.get("port", "") == "465" {
				n.cfg.Port = 465
			}
			p := &peer{t: t, eol: "\r\n", scripts: d.scripts, cert: d.cert(t, ca, "mail.example.com")}
			n.dial = p.dial
			took, err := converse(t, p, func(ctx context.Context) error { return n.Notify(ctx, mailAlert()) })
			checkError(t, err, "mail.example.com:587: ", d.get("error", ""), d.has("permanent"))
			if took != d.took(t) {
				t.Errorf("took %v, want %v", took, d.took(t))
			}
		})
	}
}

// testEmail is an account at mail.example.com.
func testEmail() *emailNotifier {
	n := newEmailNotifier(&Email{
		From:     "vigil@example.com",
		Host:     "mail.example.com",
		Port:     587,
		Username: "vigil",
		Password: "pass-vigil",
		Encrypt:  true,
	}, "ops@example.com", Page{Title: "Acme Status"}).(*emailNotifier)
	n.hostname = "box"
	return n
}

// checkError compares err with what is wanted; want without the prefix, "" for
// none.
func checkError(t *testing.T, err error, prefix, want string, permanent bool) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("error %v, want none", err)
	case want != "" && (err == nil || strings.TrimPrefix(err.Error(), prefix) != want):
		t.Errorf("error\n\t%v, want\n\t%s%s", err, prefix, want)
	case isPermanent(err) != permanent:
		t.Errorf("%v: permanent %v, want %v", err, isPermanent(err), permanent)
	}
}
