package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"slices"
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

// Error codes of JSON-RPC 2.0, https://www.jsonrpc.org/specification#error_object,
// and of MCP itself.
const (
	rpcParseError     = -32700
	rpcInvalidRequest = -32600
	rpcUnknownMethod  = -32601
	rpcInvalidParams  = -32602
	rpcInternalError  = -32603
	rpcHeaderMismatch = -32020
	rpcUnknownVersion = -32022
)

type rpcRequest struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"` // nil: a notification
	Method  string          `json:"method"`
	Result  json.RawMessage `json:"result"`
	Error   json.RawMessage `json:"error"`
	Params  json.RawMessage `json:"params"`
}

// rpcParams are the params of all methods that there are.
type rpcParams struct {
	ProtocolVersion string `json:"protocolVersion"` // of initialize
	Name            string `json:"name"`            // of tools/call
	Cursor          string `json:"cursor"`          // of tools/list
	Meta            struct {
		ProtocolVersion string `json:"io.modelcontextprotocol/protocolVersion"`
	} `json:"_meta"`
}

type rpcResponse struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  map[string]any  `json:"result,omitzero"`
	Error   *rpcError       `json:"error,omitempty"`

	code int // of HTTP
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

// answer returns the answer to one message. It is nil for notifications, and
// for answers, which nobody asked for.
func (m *mcp) answer(message []byte, header http.Header) *rpcResponse {
	answer := &rpcResponse{Version: "2.0", ID: json.RawMessage("null"), code: http.StatusBadRequest}
	if !json.Valid(message) {
		answer.Error = &rpcError{Code: rpcParseError, Message: "invalid JSON"}
		return answer
	}
	var req rpcRequest
	if json.Unmarshal(message, &req) != nil || req.Version != "2.0" || !validID(req.ID) ||
		req.Method == "" && (req.Result == nil && req.Error == nil || req.ID == nil) {
		answer.Error = &rpcError{Code: rpcInvalidRequest, Message: "not a JSON-RPC 2.0 message with an id that is a string or a number"}
		return answer
	}
	if req.ID != nil {
		answer.ID = req.ID
	}
	if v := header.Get("Mcp-Protocol-Version"); v != "" && !slices.Contains(mcpVersions, v) {
		answer.Error = unknownVersion(v)
		return answer
	}
	if req.ID == nil || req.Method == "" {
		return nil
	}
	var params rpcParams
	if req.Params != nil && json.Unmarshal(req.Params, &params) != nil {
		answer.code = http.StatusOK
		answer.Error = &rpcError{Code: rpcInvalidParams, Message: "params do not fit the method"}
		return answer
	}
	if params.Meta.ProtocolVersion != "" {
		if answer.Error = checkStateless(req.Method, &params, header); answer.Error != nil {
			return answer
		}
	}
	answer.code = http.StatusOK
	answer.Result, answer.Error = m.call(req.Method, &params)
	if answer.Result != nil && params.Meta.ProtocolVersion != "" {
		answer.Result["resultType"] = "complete"
		answer.Result["_meta"] = map[string]any{"io.modelcontextprotocol/serverInfo": m.info()}
	}
	return answer
}

// validID reports whether id is a string or a number, or is not there.
func validID(id json.RawMessage) bool {
	return id == nil || id[0] == '"' || id[0] == '-' || id[0] >= '0' && id[0] <= '9'
}

// checkStateless checks a request that names its version itself, as they do
// since mcpStateless. The header repeats some of it for what stands between:
// https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
func checkStateless(method string, params *rpcParams, header http.Header) *rpcError {
	if v := params.Meta.ProtocolVersion; v != mcpStateless {
		return unknownVersion(v)
	}
	name := ""
	if method == "tools/call" {
		name = params.Name
	}
	for _, f := range [...]struct{ name, want string }{
		{"Mcp-Protocol-Version", mcpStateless}, {"Mcp-Method", method}, {"Mcp-Name", name},
	} {
		if f.want != "" && header.Get(f.name) != f.want {
			return &rpcError{Code: rpcHeaderMismatch, Message: f.name + " in the header is not what the request says"}
		}
	}
	return nil
}

func unknownVersion(v string) *rpcError {
	return &rpcError{rpcUnknownVersion, "unsupported protocol version", map[string]any{"supported": mcpVersions, "requested": v}}
}

// info says what this program is.
func (m *mcp) info() map[string]string {
	return map[string]string{"name": "vigil", "title": "Vigil status page", "version": m.version}
}

// call does what a request asks for. A result is a map of its own.
func (m *mcp) call(method string, params *rpcParams) (map[string]any, *rpcError) {
	const instructions = "get_report tells which of the monitored services are healthy, sick or dead."
	capabilities := map[string]any{"tools": map[string]any{}}
	switch method {
	case "initialize":
		spoken := params.ProtocolVersion
		if spoken == mcpStateless || !slices.Contains(mcpVersions, spoken) {
			spoken = mcpVersions[1] // the newest that knows this method
		}
		return map[string]any{
			"protocolVersion": spoken,
			"capabilities":    capabilities,
			"serverInfo":      m.info(),
			"instructions":    instructions,
		}, nil
	case "server/discover":
		return map[string]any{
			"supportedVersions": mcpVersions,
			"capabilities":      capabilities,
			"instructions":      instructions,
			"ttlMs":             mcpListTTL,
			"cacheScope":        "public",
		}, nil
	case "ping":
		return map[string]any{}, nil
	case "tools/list":
		if params.Cursor != "" {
			return nil, &rpcError{Code: rpcInvalidParams, Message: "unknown cursor: there is one page of tools"}
		}
		return map[string]any{"tools": json.RawMessage(mcpTools), "ttlMs": mcpListTTL, "cacheScope": "public"}, nil
	case "tools/call":
		if params.Name != "get_report" {
			return nil, &rpcError{Code: rpcInvalidParams, Message: "unknown tool: " + params.Name}
		}
		return callReport(m.board.load())
	}
	return nil, &rpcError{Code: rpcUnknownMethod, Message: "unknown method: " + method}
}

// callReport answers the report as an object and, for clients that know no
// such results, as text.
func callReport(snap *snapshot) (map[string]any, *rpcError) {
	text, err := json.Marshal(newPublicStatus(snap))
	if err != nil {
		return nil, &rpcError{Code: rpcInternalError, Message: err.Error()}
	}
	return map[string]any{
		"content":           []any{map[string]string{"type": "text", "text": string(text)}},
		"structuredContent": json.RawMessage(text),
		"isError":           false,
	}, nil
}

// mcpTools are the tools as tools/list shows them:
// https://modelcontextprotocol.io/specification/2025-11-25/server/tools
const mcpTools = `[{
	"name": "get_report",
	"title": "Get status report",
	"description": "Reports the current status of everything that this status page monitors: overall, of each service (probe), of each of its nodes and of each node's replicas. A status is healthy, sick (slow or overloaded) or dead (down), and that of a whole is the worst of its parts.",
	"inputSchema": {"type": "object", "properties": {}, "additionalProperties": false},
	"outputSchema": {
		"type": "object",
		"properties": {
			"health": {"type": "string", "enum": ["healthy", "sick", "dead"], "description": "Status of everything together"},
			"page": {
				"type": "object",
				"properties": {
					"name": {"type": "string", "description": "Title of the status page"},
					"url": {"type": "string", "description": "Where people find it"}
				},
				"required": ["name", "url"]
			},
			"probes": {
				"type": "array",
				"description": "The services",
				"items": {
					"type": "object",
					"properties": {
						"name": {"type": "string"},
						"status": {"type": "string", "enum": ["healthy", "sick", "dead"]},
						"nodes": {
							"type": "array",
							"items": {
								"type": "object",
								"properties": {
									"name": {"type": "string"},
									"status": {"type": "string", "enum": ["healthy", "sick", "dead"]},
									"replicas": {
										"type": "array",
										"description": "One status for each replica",
										"items": {"type": "string", "enum": ["healthy", "sick", "dead"]}
									}
								},
								"required": ["name", "status", "replicas"]
							}
						}
					},
					"required": ["name", "status", "nodes"]
				}
			}
		},
		"required": ["health", "page", "probes"]
	},
	"annotations": {"readOnlyHint": true, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false}
}]`
