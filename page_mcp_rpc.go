package main

import (
	"encoding/json"
	"slices"
)

// Error codes of JSON-RPC 2.0: https://www.jsonrpc.org/specification#error_object
const (
	rpcParseError     = -32700
	rpcInvalidRequest = -32600
	rpcUnknownMethod  = -32601
	rpcInvalidParams  = -32602
	rpcInternalError  = -32603
)

type rpcRequest struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"` // empty: a notification
	Method  string          `json:"method"`
	Result  json.RawMessage `json:"result"`
	Error   json.RawMessage `json:"error"`
	Params  json.RawMessage `json:"params"`
}

type rpcResponse struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result,omitempty"`
	Error   *rpcError       `json:"error,omitempty"`
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// answer returns the answer to one message. It is nil for notifications,
// and for answers, which nobody asked for.
func (m *mcp) answer(message []byte, snap *snapshot) *rpcResponse {
	answer := &rpcResponse{Version: "2.0", ID: json.RawMessage("null")}
	if !json.Valid(message) {
		answer.Error = &rpcError{rpcParseError, "invalid JSON"}
		return answer
	}
	var req rpcRequest
	if json.Unmarshal(message, &req) != nil || req.Version != "2.0" || !validID(req.ID) ||
		req.Method == "" && (req.Result == nil && req.Error == nil || req.ID == nil) {
		answer.Error = &rpcError{rpcInvalidRequest, "not a JSON-RPC 2.0 message with an id that is a string or a number"}
		return answer
	}
	if req.ID == nil || req.Method == "" {
		return nil
	}
	answer.ID = req.ID
	answer.Result, answer.Error = m.call(req, snap)
	return answer
}

// validID reports whether id is a string or a number, or is not there.
func validID(id json.RawMessage) bool {
	return id == nil || id[0] == '"' || id[0] == '-' || id[0] >= '0' && id[0] <= '9'
}

// call does what a request asks for.
func (m *mcp) call(req rpcRequest, snap *snapshot) (any, *rpcError) {
	var params struct {
		ProtocolVersion string `json:"protocolVersion"`
		Name            string `json:"name"`
		Cursor          string `json:"cursor"`
	}
	if req.Params != nil && json.Unmarshal(req.Params, &params) != nil {
		return nil, &rpcError{rpcInvalidParams, "params do not fit the method"}
	}
	switch req.Method {
	case "initialize":
		spoken := params.ProtocolVersion
		if !slices.Contains(mcpVersions, spoken) {
			spoken = mcpVersions[0]
		}
		return map[string]any{
			"protocolVersion": spoken,
			"capabilities":    map[string]any{"tools": map[string]any{}},
			"serverInfo":      map[string]any{"name": "vigil", "title": "Vigil status page", "version": m.version},
			"instructions":    "get_report tells which of the monitored services are healthy, sick or dead.",
		}, nil
	case "ping":
		return map[string]any{}, nil
	case "tools/list":
		if params.Cursor != "" {
			return nil, &rpcError{rpcInvalidParams, "unknown cursor: there is one page of tools"}
		}
		return json.RawMessage(mcpTools), nil
	case "tools/call":
		if params.Name != "get_report" {
			return nil, &rpcError{rpcInvalidParams, "unknown tool: " + params.Name}
		}
		return callReport(snap)
	}
	return nil, &rpcError{rpcUnknownMethod, "unknown method: " + req.Method}
}

// callReport answers the report as an object and, for clients that know no
// such results, as text.
func callReport(snap *snapshot) (any, *rpcError) {
	text, err := json.Marshal(newReport(snap))
	if err != nil {
		return nil, &rpcError{rpcInternalError, err.Error()}
	}
	return map[string]any{
		"content":           []any{map[string]string{"type": "text", "text": string(text)}},
		"structuredContent": json.RawMessage(text),
		"isError":           false,
	}, nil
}

// mcpTools is the answer to tools/list:
// https://modelcontextprotocol.io/specification/2025-11-25/server/tools
const mcpTools = `{"tools": [{
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
}]}`
