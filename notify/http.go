package notify

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// maxAnswer bounds how much of an answer is read. Gotify and Telegram echo
	// the message, which must fit: half an answer cannot be parsed.
	maxAnswer       = 256 << 10
	maxAnswerHeader = 64 << 10

	// maxRetryAfter bounds the wait that a service may ask for.
	maxRetryAfter = time.Hour

	// idleTimeout keeps a connection for a message to the next recipient, but
	// not until the next alert: by then it would be stale.
	idleTimeout = 15 * time.Second

	// stepTimeout bounds connecting, and then sending the request;
	// verdictTimeout the answer after that.
	stepTimeout    = 10 * time.Second
	verdictTimeout = 30 * time.Second

	maxRedirects = 5
)

// An httpNotifier is all that the HTTP services have in common. A service
// describes a request and reads an answer; nothing else of it touches the
// network.
type httpNotifier struct {
	client *http.Client
	agent  string // User-Agent
	hide   redactor

	// request is the message as the service wants it; the time is when it is
	// sent. It does no I/O.
	request func(Alert, time.Time) (*http.Request, error)

	// requests, where it is set, takes the place of request: it is for services
	// that want an event for each outage.
	requests func(Alert, time.Time) ([]*http.Request, error)

	// judge interprets an answer of the service.
	judge func(answer) verdict

	// again, when set, may return another form of a message that was refused, or
	// nil. It is called once per try.
	again func(Alert, time.Time, answer) (*http.Request, error)

	progress *progress // of an alert that takes many requests; nil: another try makes all of them again

	pause time.Duration // the shortest wait before another try; 0 for the queue's own
}

// newClient returns the client that all HTTP channels share. It follows no
// redirects, because it would turn a POST into a GET and take a token anywhere;
// send does. Time limits come with the context.
func newClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxResponseHeaderBytes = maxAnswerHeader
	t.IdleConnTimeout = idleTimeout
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// all returns the requests that an alert takes; there may be none.
func (n httpNotifier) all(a Alert, now time.Time) ([]*http.Request, error) {
	if n.requests != nil {
		return n.requests(a, now)
	}
	req, err := n.request(a, now)
	return []*http.Request{req}, err
}

// A progress says how many requests of the last alert were accepted. It belongs
// to one recipient, which has one delivery at a time.
type progress struct {
	alert string // its id
	done  int
}

// Notify implements Notifier. If one of several requests fails, the next try
// begins with that one where there is a progress, and else makes all of them.
func (n httpNotifier) Notify(ctx context.Context, a Alert) error {
	now := time.Now()
	reqs, err := n.all(a, now)
	if err != nil {
		return &FinalError{n.clean(err)}
	}
	p := n.progress
	if p == nil {
		p = new(progress)
	}
	if p.alert != a.ID {
		*p = progress{alert: a.ID}
	}
	for _, req := range reqs[min(p.done, len(reqs)):] {
		err := n.deliver(ctx, a, now, req)
		if unsure, ok := errors.AsType[*UnconfirmedError](err); ok && n.requests != nil {
			// An event that comes twice does no harm, and those behind it have not gone
			// out: a newer alert does not stand for them.
			return unsure.Err
		}
		if err != nil {
			return err
		}
		p.done++
	}
	*p = progress{}
	return nil
}

// deliver makes one request and interprets the answer.
func (n httpNotifier) deliver(ctx context.Context, a Alert, now time.Time, req *http.Request) error {
	r, err := n.send(ctx, req)
	if err == nil && n.again != nil {
		if req, err = n.again(a, now, r); err != nil {
			return &FinalError{n.clean(err)}
		} else if req != nil {
			r, err = n.send(ctx, req)
		}
	}
	if err != nil {
		return n.retry(err, 0)
	}
	v := n.judge(r)
	if v.outcome == accepted {
		return nil
	}
	err = errors.New(strings.TrimSuffix(fmt.Sprintf("HTTP %d: %s", r.status, n.hide.said(v.said)), ": "))
	switch v.outcome {
	case final:
		return &FinalError{err}
	case refused:
		err = &PermanentError{err}
	}
	return n.retry(err, v.after)
}

// send makes one request, and again where it is redirected to the same host.
// Its errors hold no secret.
func (n httpNotifier) send(ctx context.Context, req *http.Request) (answer, error) {
	for hops := 0; ; hops++ {
		r, err := n.exchange(ctx, req)
		if err != nil {
			return r, err
		}
		to := r.redirect(req.URL)
		if to == nil || hops == maxRedirects {
			return r, nil
		}
		next := req.Clone(ctx)
		next.URL, next.Host = to, ""
		if req.GetBody != nil {
			if next.Body, err = req.GetBody(); err != nil {
				return answer{}, n.clean(err)
			}
		}
		req = next
	}
}

// exchange sends one request and reads the answer. An error after the request
// was sent is an UnconfirmedError.
func (n httpNotifier) exchange(ctx context.Context, req *http.Request) (answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.AfterFunc(stepTimeout, func() { cancel(context.DeadlineExceeded) })
	defer limit.Stop()
	var sent atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { limit.Reset(stepTimeout) },
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				sent.Store(true)
				limit.Reset(verdictTimeout)
			}
		},
	}))
	req.Header.Set("User-Agent", n.agent)
	resp, err := n.client.Do(req)
	if err != nil {
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			err = context.DeadlineExceeded
		}
		if err = n.clean(err); sent.Load() {
			err = &UnconfirmedError{err}
		}
		return answer{}, err
	}
	defer resp.Body.Close()
	r := answer{status: resp.StatusCode, header: resp.Header}
	// A body that breaks off is judged as far as it came: the status is known.
	r.body, _ = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return r, nil
}

// clean returns the error without the URL, which *url.Error prints and which
// holds the secret of some services. It unwraps nothing but the context's
// errors, on purpose.
func (n httpNotifier) clean(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return errNoAnswer
	}
	return errors.New(n.hide.said(err.Error()))
}

// retry classes an error as worth another try after the wait.
func (n httpNotifier) retry(err error, after time.Duration) error {
	if after = max(after, n.pause); after > 0 {
		return &RetryError{Err: err, After: after}
	}
	return err
}

// An answer is the response of a service.
type answer struct {
	status int
	header http.Header
	body   []byte // as much of it as came
}

// An outcome is the result of a try.
type outcome int

const (
	accepted outcome = iota
	failed           // worth another try
	refused          // looks permanent
	final            // must not be repeated
)

// A verdict is what an answer means.
type verdict struct {
	outcome
	said  string        // the service's own words, as they came
	after time.Duration // how long to wait before another try
}

// success reports whether the status is one of success.
func (r answer) success() bool { return r.status/100 == 2 }

// verdict interprets the status, for services without rules of their own.
func (r answer) verdict(said string) verdict {
	v := verdict{refused, cmp.Or(said, http.StatusText(r.status)), 0}
	switch {
	case r.success():
		v.outcome = accepted
	case r.status/100 == 3:
		v.said = "it redirects too often, or to nowhere"
		if to, err := url.Parse(r.header.Get("Location")); err == nil && to.Host != "" {
			v.said = fmt.Sprintf("it redirects to %s://%s, which is not followed", to.Scheme, to.Host)
		}
	case r.status/100 == 5,
		r.status == http.StatusRequestTimeout,
		r.status == http.StatusTooEarly,
		r.status == http.StatusTooManyRequests:
		v.outcome, v.after = failed, r.retryAfter(time.Now())
	}
	return v
}

// redirect returns where an answer redirects a request to, provided that it is
// the same host or its https form. Otherwise it returns nil, so that no other
// host gets to see a secret.
func (r answer) redirect(from *url.URL) *url.URL {
	location := r.header.Get("Location")
	if r.status/100 != 3 || location == "" {
		return nil
	}
	to, err := from.Parse(location)
	if err != nil || !strings.EqualFold(to.Hostname(), from.Hostname()) {
		return nil
	}
	sameOrigin := to.Scheme == from.Scheme && portOf(to) == portOf(from)
	upgrade := from.Scheme == "http" && to.Scheme == "https"
	if !sameOrigin && !upgrade {
		return nil
	}
	to.User = from.User
	return to
}

func portOf(u *url.URL) string {
	defaults := map[string]string{"http": "80", "https": "443"}
	return cmp.Or(u.Port(), defaults[u.Scheme])
}

// json reads the body into v and reports whether that worked.
func (r answer) json(v any) bool { return json.Unmarshal(r.body, v) == nil }

// retryAfter reads the header of that name: seconds or a date (RFC 9110,
// section 10.2.3).
func (r answer) retryAfter(now time.Time) time.Duration {
	value := strings.TrimSpace(r.header.Get("Retry-After"))
	if n, err := strconv.ParseFloat(value, 64); err == nil {
		return seconds(n)
	}
	if t, err := http.ParseTime(value); err == nil {
		return min(max(t.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// seconds is a wait as services give it, within bounds.
func seconds(n float64) time.Duration {
	if !(n > 0) { // NaN too
		return 0
	}
	return time.Duration(min(n, maxRetryAfter.Seconds()) * float64(time.Second))
}

// jsonRequest is a request with a JSON body.
func jsonRequest(method, url string, v any) (*http.Request, error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	body.Truncate(body.Len() - 1) // Encode's line end
	return newRequest(method, url, "application/json", body.Bytes())
}

// formRequest is a POST of a form.
func formRequest(url string, form url.Values) (*http.Request, error) {
	return newRequest(http.MethodPost, url, "application/x-www-form-urlencoded", []byte(form.Encode()))
}

func newRequest(method, url, contentType string, body []byte) (*http.Request, error) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	return req, nil
}

// join puts a path after a base URL, with one slash between.
func join(base, path string) string {
	return strings.TrimRight(base, "/") + "/" + path
}

// password is the password in a URL that is no secret itself.
func password(rawURL string) Secret {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	word, _ := u.User.Password()
	return Secret(word)
}
