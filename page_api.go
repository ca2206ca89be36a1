package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// maxRequest is the size limit of a request's body.
	maxRequest = 64 << 10

	// answerTimeout is how long a request waits for the aggregator. That
	// answers within milliseconds, but pauses during a reload.
	answerTimeout = 10 * time.Second
)

// A refusal is the answer to a request that is not granted.
type refusal struct {
	code   int
	text   string
	header string // one header field more, or ""
	value  string
}

func (r *refusal) Error() string { return r.text }

func refuse(code int, format string, args ...any) error {
	return &refusal{code: code, text: fmt.Sprintf(format, args...)}
}

var (
	errNoRoute = refuse(http.StatusNotFound, "no such route: PROTOCOL.md lists them")
	errBusy    = refuse(http.StatusServiceUnavailable, "the monitor is stopping or too busy: try again")
	errBody    = refuse(http.StatusRequestEntityTooLarge, "the body is over %d bytes", maxRequest)
)

// allow returns nil if the request's method is one of methods, written as in
// an Allow header field.
func allow(r *http.Request, methods string) error {
	for m := range strings.SplitSeq(methods, ", ") {
		if r.Method == m {
			return nil
		}
	}
	return &refusal{http.StatusMethodNotAllowed, "method not allowed: " + methods + " only", "Allow", methods}
}

// refusalOf returns the refusal that err is or, as it is something unforeseen,
// becomes; nil for nil.
func refusalOf(err error) *refusal {
	if err == nil {
		return nil
	}
	no, ok := errors.AsType[*refusal](err)
	if !ok {
		no = &refusal{code: http.StatusInternalServerError, text: err.Error()}
	}
	return no
}

// respond answers a request of the APIs: with the refusal that err is, else
// with body as JSON, else with nothing at all.
func respond(w http.ResponseWriter, body any, err error) {
	code := http.StatusOK
	if no := refusalOf(err); no != nil {
		if no.header != "" {
			w.Header().Set(no.header, no.value)
		}
		code, body = no.code, map[string]string{"error": no.text}
	}
	if body == nil {
		return
	}
	respondJSON(w, code, body)
}

func respondJSON(w http.ResponseWriter, code int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	w.Write(append(text, '\n'))
}

// readBody reads a body of at most maxRequest bytes, whatever type it claims.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxRequest {
		return nil, errBody
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, errBody
		}
		return nil, refuse(http.StatusBadRequest, "the body did not arrive whole")
	}
	return body, nil
}

// decodeBody decodes one JSON value and nothing after it into the fields of v.
func decodeBody(body []byte, v any) error {
	err := json.Unmarshal(body, v)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := wrong.Field
		if field == "" {
			field = "the body"
		}
		return refuse(http.StatusBadRequest, "wrong type for %s: %s", field, wrong.Value)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "invalid JSON: %v", err)
	}
	return nil
}

// A segment is one segment of a path, decoded. Some clients write a space as a
// plus there, as in a query; so plus is what the segment means to them.
type segment struct{ text, plus string }

// segments takes the path apart, with or without a slash at its end. It reads
// the path as it came: an id may contain slashes, percent-encoded.
func segments(u *url.URL) ([]segment, error) {
	path := u.RawPath // as it came, or "" where that is Path in the usual encoding
	if path == "" {
		path = u.EscapedPath()
	}
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	all := make([]segment, 0, 4)
	for raw := range strings.SplitSeq(path, "/") {
		text, err := url.PathUnescape(raw)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "the path is not well percent-encoded")
		}
		s := segment{text, text}
		if strings.Contains(raw, "+") {
			s.plus, _ = url.QueryUnescape(raw) // valid, as the path is
		}
		all = append(all, s)
	}
	return all, nil
}

// send gives an event to the aggregator.
func send(ctx context.Context, events chan<- event, ev event) error {
	select {
	case events <- ev:
		return nil
	default:
	}
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	select {
	case events <- ev:
		return nil
	case <-ctx.Done():
	case <-timer.C:
	}
	return errBusy
}

// ask sends an event and waits for the answer on done; when done is nil there
// is none.
func ask(ctx context.Context, events chan<- event, ev event, done <-chan error) error {
	if err := send(ctx, events, ev); err != nil || done == nil {
		return err
	}
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	case <-timer.C:
	}
	return errBusy
}
