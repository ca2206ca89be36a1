package notify

import (
	"cmp"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// Pushover is one push message per user key.
type Pushover struct {
	AppToken Secret
	UserKeys []Secret
	APIURL   string // default "https://api.pushover.net"
}

// Limits in characters, and rules for retries: https://pushover.net/api#limits and
// https://pushover.net/api#friendly.
const (
	pushoverURL           = "https://api.pushover.net"
	pushoverLimit         = 1024
	pushoverTitleLimit    = 250
	pushoverURLLimit      = 512
	pushoverURLTitleLimit = 100
	pushoverPause         = 5 * time.Second // between a failed try and the next
)

func readPushover(k Keys) Service {
	p := &Pushover{AppToken: k.Secret("app_token")}
	k.List("user_keys", "a list of user keys", func(item, s string) {
		k.CheckSecret(item, s)
		p.UserKeys = append(p.UserKeys, Secret(s))
	})
	p.APIURL = k.BaseURL("api_url", pushoverURL)
	return p
}

// Describe implements Service.
func (p *Pushover) Describe() string {
	if len(p.UserKeys) == 1 {
		return "to 1 user"
	}
	return fmt.Sprintf("to %d users", len(p.UserKeys))
}

func (p *Pushover) recipients(Page) (list []recipient) {
	for rank, key := range p.UserKeys {
		list = append(list, recipient{string(key), p.notifier(rank)})
	}
	return list
}

func (p *Pushover) notifier(rank int) httpNotifier {
	return httpNotifier{
		hide: newRedactor("", append([]Secret{p.AppToken, password(p.APIURL)}, p.UserKeys...)...),
		request: func(a Alert, now time.Time) (*http.Request, error) {
			return p.request(rank, a, now)
		},
		judge: judgePushover,
		pause: pushoverPause,
	}
}

func (p *Pushover) request(rank int, a Alert, now time.Time) (*http.Request, error) {
	write := style{
		text:  html.EscapeString,
		label: html.EscapeString,
		link:  html.EscapeString,
		size:  utf8.RuneCountInString,
		limit: pushoverLimit,
	}
	t := newText(a, now)
	form := url.Values{
		"token": {string(p.AppToken)},
		"user":  {string(p.UserKeys[rank])},
		"title": {clip(t.subject, pushoverTitleLimit)},
		"html":  {"1"},
	}
	if t.link != "" && utf8.RuneCountInString(t.link) <= pushoverURLLimit {
		form.Set("url", t.link)
		form.Set("url_title", clip(cmp.Or(oneLine(a.Page.Title), "Status page"), pushoverURLTitleLimit))
		t.link = "" // it has its own place
	}
	form.Set("message", write.body(t))
	if a.Urgent(rank) {
		form.Set("priority", "1")
	}
	return formRequest(join(cmp.Or(p.APIURL, pushoverURL), "1/messages.json"), form)
}

// judgePushover reads an answer. Every 4xx is final, including 429, a monthly
// quota that is used up: Pushover blocks senders that repeat them.
func judgePushover(r answer) verdict {
	var reply struct {
		Status  *int
		Request string
		Errors  []string
	}
	r.json(&reply)
	said := string(r.body)
	if len(reply.Errors) > 0 {
		said = strings.Join(reply.Errors, ", ") + " (request " + reply.Request + ")"
	}
	v := r.verdict(said)
	if r.status/100 == 4 || r.success() && reply.Status != nil && *reply.Status != 1 {
		return verdict{outcome: final, said: v.said}
	}
	return v
}
