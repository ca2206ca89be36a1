package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// log writes the events since ?since= (RFC 3339; without it, of 24 hours), oldest
// first, as newline-delimited JSON. With ?selector=, which may be repeated, it
// writes only what concerns the nodes that are selected.
func (m *managerAPI) log(c *managerCall) (any, error) {
	selected, err := c.selectors()
	if err != nil {
		return nil, err
	}
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, invalid("the query is not well percent-encoded")
	}
	since := time.Now().Add(-24 * time.Hour)
	if s := query.Get("since"); s != "" {
		if since, err = time.Parse(time.RFC3339, s); err != nil {
			return nil, invalid("since=%q is not a time like 2026-11-26T22:00:00Z", s)
		}
	}
	if m.eventLog == nil || m.eventLog.root == nil {
		return nil, refuse(http.StatusConflict, "%v", errNoEvents)
	}
	select {
	case m.eventLog.readers <- struct{}{}:
	case <-c.r.Context().Done():
		return nil, errBusy
	}
	all := !query.Has("selector")
	return answerFunc(func(w http.ResponseWriter) {
		defer func() { <-m.eventLog.readers }()
		w.Header().Set("Content-Type", "application/x-ndjson")
		out := bufio.NewWriterSize(w, 16<<10)
		defer out.Flush()
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		damaged, err := m.eventLog.read(c.r.Context(), since, func(e logEvent) bool {
			return !all && !e.concerns(selected) || enc.Encode(e) == nil
		})
		if err == nil && damaged > 0 {
			enc.Encode(logEvent{Time: time.Now().UTC(), Kind: "damage", Text: plural(damaged, "damaged line") + " skipped"})
		}
	}), nil
}

// concerns reports whether the event is about a node that is selected.
func (e *logEvent) concerns(selected selectors) bool {
	if e.Node != "" {
		return selected.matches(e.Service, e.Node)
	}
	return slices.ContainsFunc(e.Nodes, func(name string) bool {
		return slices.ContainsFunc(selected, func(s selector) bool {
			return s == "*" || name == string(s) || strings.HasPrefix(name, string(s)+":")
		})
	})
}
