package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"vigil/notify"
)

// An agent sends the results of checks to a master, as reports on replicas of
// local nodes.
type agent struct {
	client *http.Client
	log    *slog.Logger
	box    *outbox
	back   chan delivered
}

// A delivered is a parcel with its outcome.
type delivered struct {
	parcel *parcel
	err    *sendError // nil: the master accepted it
}

// newAgent returns an agent that is to work by conf.
func newAgent(conf *LocalConfig, client *http.Client, log *slog.Logger) *agent {
	a := &agent{client: client, log: log, box: newOutbox(log, rand.Float64), back: make(chan delivered, maxSends)}
	a.adopt(conf)
	return a
}

func (a *agent) adopt(conf *LocalConfig) {
	a.box.adopt(conf, &master{client: a.client, base: conf.Endpoint, token: conf.Token}, time.Now())
}

// run sends reports until ctx ends, which is no error, and by each config that
// comes from reloads. It is the only goroutine that touches the outbox. It
// returns when no report is under way any more.
func (a *agent) run(ctx context.Context, results <-chan event, reloads <-chan *LocalConfig) error {
	var sends sync.WaitGroup
	defer sends.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		for p := a.box.next(now); p != nil; p = a.box.next(now) {
			sends.Go(func() { a.deliver(ctx, p) })
		}
		var due <-chan time.Time
		if at, ok := a.box.wake(); ok {
			timer.Reset(at.Sub(now))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-due:
		case ev := <-results:
			if res, ok := ev.(result); ok {
				a.box.setResult(res, time.Now())
			}
		case d := <-a.back:
			a.box.finish(d.parcel, d.err, time.Now())
		case conf := <-reloads:
			a.adopt(conf)
		}
	}
}

// deliver sends one parcel. What the end of ctx cuts short is dropped.
func (a *agent) deliver(ctx context.Context, p *parcel) {
	it := p.item
	var err error
	if p.flush {
		err = p.to.flush(ctx, it.service, it.node, it.replica)
	} else {
		err = p.to.report(ctx, it.service, it.node, reportMessage{
			Replica:  it.replica,
			Interval: int64(p.every / time.Second),
			Health:   p.status.String(),
		})
	}
	a.log.Debug("sent", append(it.attrs(), "health", p.status.String(), "flush", p.flush, "err", err)...)
	fault, _ := errors.AsType[*sendError](err)
	select {
	case a.back <- delivered{p, fault}:
	case <-ctx.Done():
	}
}

const (
	// sendTimeout is how long a master may take to answer a report.
	sendTimeout = 10 * time.Second

	// maxSendAnswer bounds what is read of an answer: none is longer than the
	// words of a refusal.
	maxSendAnswer = 16 << 10
)

// A master is the Vigil that reports go to, and how to get into its Reporter
// API.
type master struct {
	client *http.Client
	base   string // URL of its page, without a slash at its end
	token  notify.Secret
}

// newMasterClient returns a client for reports. It keeps its connections. It
// follows no redirects: a POST would become a GET, and the token would go to an
// unknown host.
func newMasterClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = maxSends
	t.MaxResponseHeaderBytes = maxSendAnswer
	return &http.Client{
		Transport:     t,
		Timeout:       sendTimeout,
		CheckRedirect: followNone,
	}
}

// followNone makes a client return redirects instead of following them.
func followNone(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// checkMaster says why a URL cannot be that of a page.
func checkMaster(u *url.URL) error {
	switch {
	case u.User != nil:
		return errors.New("has a user name, but the token is all that a master asks for")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("has more than a host and a path")
	}
	return nil
}

// A reportMessage is the body of a report: of a replica's health or its load.
type reportMessage struct {
	Replica  string       `json:"replica"`
	Interval int64        `json:"interval"` // seconds until the next report
	Health   string       `json:"health,omitempty"`
	Load     *loadMessage `json:"load,omitempty"`
}

type loadMessage struct {
	CPU float64 `json:"cpu"`
	RAM float64 `json:"ram"`
}

// report reports a replica of a node to the master. Any error is a *sendError.
func (m *master) report(ctx context.Context, service, node string, msg reportMessage) error {
	body, err := json.Marshal(msg)
	if err != nil {
		return &sendError{faultNode, err.Error()}
	}
	return m.send(ctx, http.MethodPost, body, service, node)
}

// flush makes the master forget a replica. Any error is a *sendError.
func (m *master) flush(ctx context.Context, service, node, replica string) error {
	return m.send(ctx, http.MethodDelete, nil, service, node, replica)
}

// send makes a request for what the ids name.
func (m *master) send(ctx context.Context, method string, body []byte, ids ...string) error {
	path := m.base + "/reporter/"
	for _, id := range ids {
		path += escapeSegment(id) + "/"
	}
	req, err := http.NewRequestWithContext(ctx, method, path, bytes.NewReader(body))
	if err != nil {
		return &sendError{faultNode, "cannot be asked for: " + oneLine(err.Error())}
	}
	req.SetBasicAuth("", string(m.token))
	req.Header.Set("User-Agent", "vigil/"+version)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	// Said twice a report does no harm. Knowing that, package net/http tries
	// again when a kept connection turns out to be closed; the empty value
	// keeps the header itself from being sent.
	req.Header["Idempotency-Key"] = []string{}

	resp, err := m.client.Do(req)
	if err != nil {
		return &sendError{faultAway, reasonFor(err, sendTimeout, time.Now())}
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxSendAnswer)) // may help to say why
	return judgeAnswer(resp, answer)
}

// escapeSegment encodes an id as one segment of a path, so that no server or
// proxy reads it as two, as a parent folder or as a space.
func escapeSegment(id string) string {
	if strings.Trim(id, ".") == "" {
		return strings.ReplaceAll(id, ".", "%2E")
	}
	return strings.ReplaceAll(url.PathEscape(id), "+", "%2B")
}

// A sendError says why the master did not accept a report.
type sendError struct {
	kind sendFault
	text string
}

// A sendFault is what must change before another try is worth it.
type sendFault uint8

const (
	faultAway   sendFault = iota // only time: the master is away or overloaded
	faultAccess                  // the token or the address: the master rejects everything
	faultNode                    // the node, which the master does not know or not like this
)

func (e *sendError) Error() string { return e.text }

// judgeAnswer returns nil when the master accepted the report.
func judgeAnswer(resp *http.Response, body []byte) error {
	code := resp.StatusCode
	if code >= 200 && code < 300 {
		if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "text/html" {
			return &sendError{faultAccess, fmt.Sprintf("HTTP %d with an HTML page: a proxy or another server is in between", code)}
		}
		return nil
	}
	text := fmt.Sprintf("HTTP %d", code)
	var said struct{ Error string }
	if json.Unmarshal(body, &said) == nil && said.Error != "" {
		text = oneLine(text + ": " + said.Error)
	}
	switch {
	case code >= 300 && code < 400:
		to := resp.Header.Get("Location")
		return &sendError{faultAccess, oneLine(fmt.Sprintf("HTTP %d: the page has moved to %q: name that as the endpoint", code, to))}
	case code == http.StatusUnauthorized || code == http.StatusForbidden || code == http.StatusProxyAuthRequired:
		return &sendError{faultAccess, text}
	case code == http.StatusRequestTimeout || code == http.StatusTooEarly || code == http.StatusTooManyRequests,
		code >= 500 && code != http.StatusInsufficientStorage:
		return &sendError{faultAway, text}
	}
	return &sendError{faultNode, text}
}
