package main

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// An mcpTool is a tool that reads something of a snapshot for visitors.
type mcpTool struct {
	name   string
	schema string // as tools/list shows it
	read   func(s *snapshot, services []*serviceView) any
}

var mcpToolList = []mcpTool{
	{"get_report", mcpReport, func(s *snapshot, _ []*serviceView) any { return newPublicStatus(s) }},
	{"get_status", mcpStatus, readProblems},
	{"get_outages", mcpOutages, readOutages},
	{"get_history", mcpHistory, readUptimes},
}

// mcpTools are the tools as tools/list shows them:
// https://modelcontextprotocol.io/specification/2025-11-25/server/tools
func mcpTools() json.RawMessage {
	var all []string
	for _, tool := range mcpToolList {
		all = append(all, tool.schema)
	}
	return json.RawMessage("[" + strings.Join(all, ",") + "]")
}

// callTool returns the result of a tool: the value as an object and, for
// clients that know no such results, as text. A service, by its label or id,
// narrows it.
func (m *mcp) callTool(name, service string) ([]byte, *rpcError) {
	i := slices.IndexFunc(mcpToolList, func(t mcpTool) bool { return t.name == name })
	if i < 0 {
		return nil, &rpcError{Code: rpcInvalidParams, Message: "unknown tool: " + name}
	}
	snap := m.snaps.public()
	services := snap.services
	if service != "" {
		k := slices.IndexFunc(services, func(sv *serviceView) bool { return sv.conf.Label == service || sv.conf.ID == service })
		if k < 0 {
			return nil, &rpcError{Code: rpcInvalidParams, Message: "unknown service: " + service}
		}
		services = services[k : k+1]
		service = services[0].conf.ID
	}
	made, err := m.cache.get(name+" "+service, snap, func() (*reply, error) {
		text, err := json.Marshal(mcpToolList[i].read(snap, services))
		if err != nil {
			return nil, err
		}
		result, err := json.Marshal(struct {
			Content []map[string]string `json:"content"`
			IsError bool                `json:"isError"`
			Value   json.RawMessage     `json:"structuredContent"`
		}{[]map[string]string{{"type": "text", "text": string(text)}}, false, text})
		return &reply{plain: variant{body: result}}, err
	})
	if err != nil {
		return nil, &rpcError{Code: rpcInternalError, Message: err.Error()}
	}
	return made.plain.body, nil
}

// Limits of what a tool lists.
const (
	maxToolProblems = 1000
	maxToolOutages  = 200
)

type toolStatus struct {
	Status   string        `json:"status"`
	Time     time.Time     `json:"time"`
	Problems []toolProblem `json:"problems"`
	More     int           `json:"more"`
}

type toolProblem struct {
	Service     string     `json:"service"`
	Node        string     `json:"node"`
	Status      string     `json:"status"`
	Since       *time.Time `json:"since,omitempty"`
	Maintenance bool       `json:"maintenance"`
}

// readProblems lists the nodes that are not healthy.
func readProblems(s *snapshot, services []*serviceView) any {
	v := toolStatus{s.status.String(), inSecond(s.at), []toolProblem{}, 0}
	if len(services) == 1 {
		v.Status = services[0].status.String()
	}
	lasting := lastingIncidents(s)
	for _, sv := range services {
		for _, nv := range sv.nodes {
			switch {
			case nv.status == healthy:
			case len(v.Problems) == maxToolProblems:
				v.More++
			default:
				since, _ := nv.since(lasting[nv.conf])
				v.Problems = append(v.Problems, toolProblem{sv.conf.Label, nv.conf.Label, nv.status.String(), timeOrNil(since), nv.maintenance != nil})
			}
		}
	}
	return v
}

type toolOutages struct {
	Outages []historyIncident `json:"outages"`
}

// readOutages lists outages without their reasons, newest first.
func readOutages(s *snapshot, services []*serviceView) any {
	v := toolOutages{[]historyIncident{}}
	for i := range s.pastIncidents {
		in := &s.pastIncidents[i]
		if len(v.Outages) < maxToolOutages && slices.ContainsFunc(services, func(sv *serviceView) bool { return sv.conf.ID == in.service.ID }) {
			v.Outages = append(v.Outages, newHistoryIncident(in, s.at))
		}
	}
	return v
}

type toolHistory struct {
	Services []toolService `json:"services"`
}

type toolService struct {
	Name  string       `json:"name"`
	Nodes []toolUptime `json:"nodes"`
}

type toolUptime struct {
	Name   string        `json:"name"`
	Status string        `json:"status"`
	Uptime historyUptime `json:"uptime"`
}

// readUptimes lists the uptime of all nodes.
func readUptimes(s *snapshot, services []*serviceView) any {
	v := toolHistory{[]toolService{}}
	for _, sv := range services {
		service := toolService{sv.conf.Label, []toolUptime{}}
		for _, nv := range sv.nodes {
			h := nv.history.advance(s.at)
			service.Nodes = append(service.Nodes, toolUptime{nv.conf.Label, nv.status.String(),
				historyUptime{h.share(1, s.at), h.share(7, s.at), h.share(30, s.at), h.share(keptDays, s.at)}})
		}
		v.Services = append(v.Services, service)
	}
	return v
}

// The tools' schemas. All of them only read.
const (
	mcpInput = `"inputSchema": {
		"type": "object",
		"properties": {"service": {"type": "string", "description": "Only this service, by its name"}},
		"additionalProperties": false
	}`
	mcpAnnotations = `"annotations": {"readOnlyHint": true, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false}`
	mcpEnum        = `{"type": "string", "enum": ["healthy", "sick", "dead"]}`
	mcpText        = `{"type": "string"}`
	mcpTime        = `{"type": "string", "format": "date-time"}`
	mcpShare       = `{"type": ["number", "null"], "minimum": 0, "maximum": 1}`

	mcpStatus = `{
	"name": "get_status",
	"title": "Get current problems",
	"description": "Lists the nodes that are sick (slow or overloaded) or dead (down) right now, and since when. An empty list means that everything is well.",
	` + mcpInput + `,
	"outputSchema": {
		"type": "object",
		"properties": {
			"status": ` + mcpEnum + `,
			"time": ` + mcpTime + `,
			"problems": {"type": "array", "items": {
				"type": "object",
				"properties": {"service": ` + mcpText + `, "node": ` + mcpText + `, "status": ` + mcpEnum + `, "since": ` + mcpTime + `, "maintenance": {"type": "boolean"}},
				"required": ["service", "node", "status", "maintenance"]
			}},
			"more": {"type": "integer", "description": "How many further problems are left out"}
		},
		"required": ["status", "time", "problems", "more"]
	},
	` + mcpAnnotations + `
}`
	mcpOutages = `{
	"name": "get_outages",
	"title": "Get outages",
	"description": "Lists the outages of the last 90 days, the newest first, 200 at most. The end of an outage that goes on is null.",
	` + mcpInput + `,
	"outputSchema": {
		"type": "object",
		"properties": {
			"outages": {"type": "array", "items": {
				"type": "object",
				"properties": {"id": ` + mcpText + `, "probe": {"type": "string", "description": "Service"}, "node": ` + mcpText + `, "start": ` + mcpTime + `, "end": {"type": ["string", "null"], "format": "date-time"}, "seconds": {"type": "number"}},
				"required": ["id", "probe", "node", "start", "end", "seconds"]
			}}
		},
		"required": ["outages"]
	},
	` + mcpAnnotations + `
}`
	mcpHistory = `{
	"name": "get_history",
	"title": "Get uptime",
	"description": "Lists the uptime of every node today and over 7, 30 and 90 days: the share, from 0 to 1, of the known time in which it was not down. Null where nothing is known.",
	` + mcpInput + `,
	"outputSchema": {
		"type": "object",
		"properties": {
			"services": {"type": "array", "items": {
				"type": "object",
				"properties": {"name": ` + mcpText + `, "nodes": {"type": "array", "items": {
					"type": "object",
					"properties": {"name": ` + mcpText + `, "status": ` + mcpEnum + `, "uptime": {
						"type": "object",
						"properties": {"today": ` + mcpShare + `, "7d": ` + mcpShare + `, "30d": ` + mcpShare + `, "90d": ` + mcpShare + `},
						"required": ["today", "7d", "30d", "90d"]
					}},
					"required": ["name", "status", "uptime"]
				}}},
				"required": ["name", "nodes"]
			}}
		},
		"required": ["services"]
	},
	` + mcpAnnotations + `
}`
	mcpReport = `{
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
			"probes": {"type": "array", "description": "The services", "items": {
				"type": "object",
				"properties": {"name": ` + mcpText + `, "status": ` + mcpEnum + `, "nodes": {"type": "array", "items": {
					"type": "object",
					"properties": {"name": ` + mcpText + `, "status": ` + mcpEnum + `, "replicas": {"type": "array", "description": "One status for each replica", "items": ` + mcpEnum + `}},
					"required": ["name", "status", "replicas"]
				}}},
				"required": ["name", "status", "nodes"]
			}}
		},
		"required": ["health", "page", "probes"]
	},
	` + mcpAnnotations + `
}`
)
