package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxBody   = 1 << 20  // of an answer's body, what is matched
	maxHeader = 64 << 10 // of an answer's header, what is accepted
)

// newTransport returns what opens the connections of HTTP checks. It asks no
// proxy and keeps neither connections nor TLS sessions.
func newTransport(d *net.Dialer) *http.Transport {
	t := &http.Transport{
		DialContext:            d.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		Protocols:              new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(true) // over TLS, where the server prefers it
	return t
}

// checkHTTP sends one request to u over a connection of its own to addr and
// judges the answer's status and body by what n asks for.
func (p *poller) checkHTTP(ctx context.Context, u *url.URL, addr string, n *Node) error {
	// A connection taken by hand, because HTTP/2 connections of a Transport
	// may serve two checks even with keep-alives off.
	conn, err := p.transport.NewClientConn(ctx, u.Scheme, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	resp, err := conn.RoundTrip(p.request(ctx, u, n, time.Now()))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	seen := traceOf(ctx)
	seen.answer(resp)
	if resp.StatusCode < p.metrics.HTTPHealthyAbove || resp.StatusCode >= p.metrics.HTTPHealthyBelow {
		return fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	if n.HTTPMatch == nil {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("reading the body: %w", err)
	}
	matched := n.HTTPMatch.Match(body)
	seen.match("http_body_healthy_match", n.HTTPMatch.String(), matched)
	if !matched {
		return errors.New("body did not match")
	}
	return nil
}

// request builds the request of a check made at now.
func (p *poller) request(ctx context.Context, u *url.URL, n *Node, now time.Time) *http.Request {
	// The seconds keep caches out. They follow the configured query, which is
	// sent byte for byte: servers may sign or compare it.
	busted := *u
	if busted.RawQuery != "" {
		busted.RawQuery += "&"
	}
	busted.RawQuery += strconv.FormatInt(now.Unix(), 10)
	busted.User = nil

	req := &http.Request{
		Method:     n.HTTPMethod,
		URL:        &busted,
		Host:       u.Host,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     make(http.Header, len(n.HTTPHeaders)+2),
	}
	switch {
	case req.Method != "":
	case n.HTTPMatch != nil:
		req.Method = http.MethodGet
	default:
		req.Method = http.MethodHead
	}
	switch req.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		if n.HTTPBody != "" {
			req.Body = io.NopCloser(strings.NewReader(n.HTTPBody))
			req.ContentLength = int64(len(n.HTTPBody))
		}
	}
	req.Header.Set("User-Agent", p.agent)
	if u.User != nil {
		password, _ := u.User.Password()
		req.SetBasicAuth(u.User.Username(), password)
	}
	for key, value := range n.HTTPHeaders {
		if strings.EqualFold(key, "Host") {
			req.Host = value
			continue
		}
		req.Header.Set(key, value)
	}
	return req.WithContext(ctx)
}
