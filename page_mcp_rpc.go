package main

import (
	"encoding/json"
	"net/http"
	"slices"
)

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
	text, err := json.Marshal(newReport(snap))
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
