package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// mcpStateless is the version from which on there is no handshake any more:
// each request says which version it speaks.
const mcpStateless = "2026-07-28"

// mcpBatchVersion is the one version that has batches of requests, and the
// one that a request speaks that does not say.
const mcpBatchVersion = "2025-03-26"

// mcpVersions are the protocol versions that are spoken, the newest first.
var mcpVersions = []string{mcpStateless, "2025-11-25", "2025-06-18", mcpBatchVersion, "2024-11-05"}

// mcpListTTL is for how long clients may take the list of tools for true, in
// milliseconds.
const mcpListTTL = 3_600_000

// maxBatch is how many requests a batch may hold.
const maxBatch = 32

// An mcp serves the Model Context Protocol over streamable HTTP at
// /mcp/probes: agents read the status with its one tool. It keeps no sessions
// and opens no streams, as nothing needs either: every request stands for
// itself and is answered with JSON.
// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports
type mcp struct {
	board   *board
	version string // of this program
}

// newMCP returns the handler of /mcp.
func newMCP(b *board, version string) *mcp { return &mcp{b, version} }

func (m *mcp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	messages, batch, err := m.receive(w, r)
	if err != nil {
		respond(w, nil, err)
		return
	}
	var answers []*rpcResponse
	for _, message := range messages {
		if answer := m.answer(message, r.Header); answer != nil {
			answers = append(answers, answer)
		}
	}
	switch {
	case len(answers) == 0: // nothing but notifications
		w.WriteHeader(http.StatusAccepted)
	case batch:
		respondJSON(w, http.StatusOK, answers)
	default:
		respondJSON(w, answers[0].code, answers[0])
	}
}

// receive checks what the transport asks for and returns the messages of the
// request and whether they came as a batch. A message is not parsed yet.
func (m *mcp) receive(w http.ResponseWriter, r *http.Request) (messages []json.RawMessage, batch bool, err error) {
	conf := m.board.load().conf
	path, err := segments(r.URL)
	if err != nil {
		return nil, false, err
	}
	if len(path) != 2 || path[1].text != "probes" {
		return nil, false, errNoRoute
	}
	if !conf.Server.MCP {
		return nil, false, refuse(http.StatusNotFound, "MCP is switched off: set server.mcp_server in the config to use it")
	}
	if err := allow(r, "POST"); err != nil {
		return nil, false, err
	}
	if !originAllowed(r, conf.Branding.PageURL) {
		return nil, false, refuse(http.StatusForbidden, "requests from pages of other sites are not answered")
	}
	if !acceptsJSON(r.Header.Values("Accept")) {
		return nil, false, refuse(http.StatusNotAcceptable, "answers are application/json, which Accept does not take")
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, false, err
	}
	body = bytes.TrimSpace(body)
	version := r.Header.Get("Mcp-Protocol-Version")
	if len(body) == 0 || body[0] != '[' || version != "" && version != mcpBatchVersion {
		return []json.RawMessage{body}, false, nil
	}
	if json.Unmarshal(body, &messages) != nil || len(messages) == 0 {
		return []json.RawMessage{body}, false, nil // which is no request either
	}
	if len(messages) > maxBatch {
		return nil, false, refuse(http.StatusBadRequest, "a batch of more than %d messages", maxBatch)
	}
	return messages, true, nil
}

// originAllowed reports whether a page that a browser runs may ask: one of
// this host, of the machine itself or of the status page's host. Others could
// otherwise read, through a visitor's browser, what only he can reach.
func originAllowed(r *http.Request, pageURL string) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true // not a browser
	}
	o, err := url.Parse(origin)
	if err != nil || o.Host == "" || o.Scheme != "http" && o.Scheme != "https" {
		return false
	}
	host := o.Hostname()
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() || strings.EqualFold(host, "localhost") {
		return true
	}
	page, err := url.Parse(pageURL)
	return strings.EqualFold(o.Host, r.Host) || err == nil && strings.EqualFold(o.Host, page.Host)
}

// acceptsJSON reports whether one of the media ranges takes JSON. No range at
// all takes anything.
func acceptsJSON(values []string) bool {
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			media, _, _ := strings.Cut(part, ";")
			switch strings.ToLower(strings.TrimSpace(media)) {
			case "application/json", "application/*", "*/*":
				return true
			}
		}
	}
	return len(values) == 0
}
