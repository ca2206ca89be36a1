package notify

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Twilio is one text message per number. It holds the subject only, because
// each 160 characters, or 70 with any beyond GSM's, are billed as a message.
type Twilio struct {
	To         []string
	ServiceSID string // of the messaging service that sends, or ""
	From       string // the number that sends, where no service does
	AccountSID string
	AuthToken  Secret
	APIURL     string // default "https://api.twilio.com"
}

const twilioURL = "https://api.twilio.com"

func readTwilio(k Keys) Service {
	t := &Twilio{From: k.Text("from", "")}
	k.List("to", `a list of phone numbers, like ["+33600000000"]`, func(item, s string) {
		checkPhone(k, item, s)
		t.To = append(t.To, s)
	})
	if t.From == "" || k.Has("service_sid") {
		t.ServiceSID = k.Required("service_sid", "the SID of a messaging service; or from, with a phone number, in its place")
	} else {
		checkPhone(k, "from", t.From)
	}
	t.AccountSID = k.Required("account_sid", anyText)
	t.AuthToken = k.Secret("auth_token")
	t.APIURL = k.BaseURL("api_url", twilioURL)
	return t
}

// checkPhone warns of a number that no message can be sent to. The samples of
// the Rust Vigil hold such numbers, so it is not an error.
func checkPhone(k Keys, key, s string) {
	if s != "" && !isPhone(s) {
		k.Warn(key, "%s is not a phone number; allowed: a + and up to 15 digits, like +33600000000", k.Show(key, s))
	}
}

// isPhone reports whether s may be a phone number, as people write them, or a
// Twilio address like "whatsapp:+33600000000".
// https://www.twilio.com/docs/messaging/api/message-resource
func isPhone(s string) bool {
	if _, number, ok := strings.Cut(s, ":"); ok {
		s = number
	}
	digits := 0
	for i, r := range s {
		switch {
		case '0' <= r && r <= '9':
			digits++
		case r == '+' && i == 0:
		case strings.ContainsRune(" -.()", r) && i > 0:
		default:
			return false
		}
	}
	return digits >= 3 && digits <= 15
}

// Describe implements Service.
func (t *Twilio) Describe() string { return "to " + strings.Join(t.To, ", ") }

func (t *Twilio) recipients(Page) (list []recipient) {
	for _, to := range t.To {
		list = append(list, recipient{to, t.notifier(to)})
	}
	return list
}

func (t *Twilio) notifier(to string) httpNotifier {
	return httpNotifier{
		hide: newRedactor(t.AccountSID, t.AuthToken, password(t.APIURL)),
		request: func(a Alert, now time.Time) (*http.Request, error) {
			return t.request(to, a, now)
		},
		judge: judgeTwilio,
	}
}

func (t *Twilio) request(to string, a Alert, now time.Time) (*http.Request, error) {
	path := "2010-04-01/Accounts/" + url.PathEscape(t.AccountSID) + "/Messages.json"
	form := url.Values{
		"To":   {to},
		"Body": {newText(a, now).sms()},
	}
	if t.ServiceSID != "" {
		form.Set("MessagingServiceSid", t.ServiceSID)
	} else {
		form.Set("From", t.From)
	}
	req, err := formRequest(join(cmp.Or(t.APIURL, twilioURL), path), form)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(t.AccountSID, string(t.AuthToken))
	return req, nil
}

// judgeTwilio reads an answer.
func judgeTwilio(r answer) verdict {
	var reply struct {
		Code    int
		Message string
	}
	said := string(r.body)
	if r.json(&reply) && reply.Message != "" {
		said = fmt.Sprintf("%s (code %d)", reply.Message, reply.Code)
	}
	return r.verdict(said)
}
