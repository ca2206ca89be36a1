package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// mcpStateless is the version from which on there is no handshake any more:
// each request says which version it speaks.
const mcpStateless = "2026-07-28"

// mcpVersions are the supported protocol versions, the newest first. Batches
// of requests, which 2025-03-26 alone has, are not supported.
var mcpVersions = []string{mcpStateless, "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"}

// mcpListTTL is how long clients may keep the list of tools, in milliseconds.
const mcpListTTL = 3_600_000

// maxMCPRequest is the size limit of a request's body, in bytes.
const maxMCPRequest = 16 << 10

// An mcp serves the Model Context Protocol over streamable HTTP at /mcp/probes:
// agents read the status with its tools. It keeps no sessions and opens no
// streams: requests are independent and answered with JSON.
// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports
type mcp struct {
	snaps   *snapshots
	version string // of this program
	cache   replyCache
}

// newMCP returns the handler of /mcp.
func newMCP(snaps *snapshots, version string) *mcp { return &mcp{snaps: snaps, version: version} }

func (m *mcp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	message, err := m.receive(w, r)
	if err != nil {
		respond(w, nil, err)
		return
	}
	answer := m.answer(message, r.Header)
	switch {
	case answer == nil: // to a notification
		w.WriteHeader(http.StatusAccepted)
	case answer.shared != nil:
		answer.write(w, r)
	default:
		respondJSON(w, answer.code, answer)
	}
}

// receive checks what the transport requires and returns the message of the
// request. It is not parsed yet.
func (m *mcp) receive(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	conf := m.snaps.load().conf
	path, err := segments(r.URL)
	if err != nil {
		return nil, err
	}
	if len(path) != 2 || path[1].text != "probes" {
		return nil, errNoRoute
	}
	if !conf.Server.MCP {
		return nil, refuse(http.StatusNotFound, "MCP is switched off: set server.mcp_server in the config to use it")
	}
	if err := allow(r, "POST"); err != nil {
		return nil, err
	}
	if !localOrigin(r, conf.Branding.PageURL) {
		return nil, refuse(http.StatusForbidden, "requests from pages of other sites are refused")
	}
	if !acceptsJSON(r.Header.Values("Accept")) {
		return nil, refuse(http.StatusNotAcceptable, "answers are application/json, which Accept does not take")
	}
	return readBody(w, r, maxMCPRequest)
}

// acceptsJSON reports whether one of the media ranges accepts JSON. Without
// any, everything is accepted.
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
	Arguments       struct {
		Service string `json:"service"`
	} `json:"arguments"` // of tools/call
	Meta struct {
		ProtocolVersion string `json:"io.modelcontextprotocol/protocolVersion"`
	} `json:"_meta"`
}

type rpcResponse struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  map[string]any  `json:"result,omitzero"`
	Error   *rpcError       `json:"error,omitempty"`

	// shared, where it is set, is a JSON object whose fields belong to the
	// result, too. It is the same bytes for all who ask.
	shared []byte

	code int // of HTTP
}

// write writes an answer whose result has a shared part. Other than the rest,
// it is not copied.
func (a *rpcResponse) write(w http.ResponseWriter, r *http.Request) {
	own, err := json.Marshal(a.Result)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	front := fmt.Appendf(nil, `{"jsonrpc":%q,"id":%s,"result":`, a.Version, a.ID)
	front = append(front, own[:len(own)-1]...)
	if len(own) > len("{}") {
		front = append(front, ',')
	}
	shared := a.shared[1:] // it ends with the brace that ends the result
	defer countUnread(r, a.shared)()
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Cache-Control"] = []string{"no-store"}
	h["X-Content-Type-Options"] = nosniff
	h.Set("Content-Length", strconv.Itoa(len(front)+len(shared)+len("}\n")))
	w.WriteHeader(a.code)
	w.Write(front)
	w.Write(shared)
	w.Write([]byte("}\n"))
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
	if req.Method == "tools/call" {
		answer.Result = map[string]any{}
		answer.shared, answer.Error = m.callTool(params.Name, params.Arguments.Service)
	} else {
		answer.Result, answer.Error = m.call(req.Method, &params)
	}
	if answer.Error != nil {
		answer.Result = nil
	}
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

// call carries out a request. A result is a map of its own.
func (m *mcp) call(method string, params *rpcParams) (map[string]any, *rpcError) {
	const instructions = "get_status lists what is down or degraded now, get_report the status of everything, get_outages past and present outages, get_history the uptime."
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
		return map[string]any{"tools": mcpTools(), "ttlMs": mcpListTTL, "cacheScope": "public"}, nil
	}
	return nil, &rpcError{Code: rpcUnknownMethod, Message: "unknown method: " + method}
}
