package notify

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"
)

// Twilio is one text message per number.
type Twilio struct {
	To            []string
	ServiceSID    string // of the messaging service that sends, or ""
	From          string // the number that sends, where no service does
	AccountSID    string
	AuthToken     Secret
	APIURL        string // default "https://api.twilio.com"
	RemindersOnly bool
}

const (
	twilioURL = "https://api.twilio.com"

	// twilioLimit is how many characters a text message has. Twilio takes 1600
	// and bills each 160. https://www.twilio.com/docs/errors/14103
	twilioLimit = 1000
)

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
		"Body": {plainStyle(twilioLimit, utf8.RuneCountInString).message(a, now)},
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

// judgeTwilio reads an answer: 201 is a message taken, and nothing else is.
func judgeTwilio(r answer) verdict {
	var reply struct {
		Code    int
		Message string
	}
	said := string(r.body)
	if r.json(&reply) && reply.Message != "" {
		said = fmt.Sprintf("%s (code %d)", reply.Message, reply.Code)
	}
	v := r.verdict(said)
	if r.success() && r.status != http.StatusCreated {
		v.outcome = refused
	}
	return v
}
