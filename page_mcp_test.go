package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

const reportText = `{"health":"healthy","page":{"name":"Acme Status","url":"https://status.example.net/"},"probes":[` +
	`{"name":"Web","status":"healthy","nodes":[{"name":"Core","status":"healthy","replicas":["healthy"]},{"name":"Jobs","status":"healthy","replicas":[]},` +
	`{"name":"Disk","status":"healthy","replicas":["healthy"]},{"name":"Far","status":"healthy","replicas":[]}]}]}`

func TestMCP(t *testing.T) {
	conf := apiConfig()
	conf.Services = conf.Services[:1]
	rig := newAPIRig(t, conf)
	initialize := func(asked, spoken string) apiRow {
		return apiRow{"initialize " + asked, "POST", "/mcp/probes", "",
			`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"` + asked + `","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`, 200,
			`{"jsonrpc":"2.0","id":0,"result":{"capabilities":{"tools":{}},"instructions":"get_status lists what is down or degraded now, get_report the status of everything, get_outages past and present outages, get_history the uptime.",` +
				`"protocolVersion":"` + spoken + `","serverInfo":{"name":"vigil","title":"Vigil status page","version":"1.2.3"}}}` + "\n"}
	}
	quoted, err := json.Marshal(reportText)
	if err != nil {
		t.Fatal(err)
	}
	report := `"result":{"content":[{"text":` + string(quoted) + `,"type":"text"}],"isError":false,"structuredContent":` + reportText + `}}`
	invalid := `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"not a JSON-RPC 2.0 message with an id that is a string or a number"}}`
	rig.table(t, []apiRow{
		initialize("2025-11-25", "2025-11-25"),
		initialize("2025-06-18", "2025-06-18"),
		initialize("2025-03-26", "2025-03-26"),
		initialize("2024-11-05", "2024-11-05"),
		initialize("1999-01-01", "2025-11-25"),
		initialize("2026-07-28", "2025-11-25"),
		{"initialized", "POST", "/mcp/probes/", "", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, 202, ""},
		{"unknown notification", "POST", "/mcp/probes", "", `{"jsonrpc":"2.0","method":"notifications/nope","params":[]}`, 202, ""},
		{"an answer", "POST", "/mcp/probes", "", `{"jsonrpc":"2.0","id":3,"result":{}}`, 202, ""},
		{"ping", "POST", "/mcp/probes", "", `{"jsonrpc":"2.0","id":"a","method":"ping"}`, 200, `{"jsonrpc":"2.0","id":"a","result":{}}` + "\n"},
		{"call", "POST", "/mcp/probes", "", `{"jsonrpc":"2.0","id":-7,"method":"tools/call","params":{"name":"get_report","arguments":{}}}`, 200, `{"jsonrpc":"2.0","id":-7,` + report + "\n"},
		{"call without arguments", "POST", "/mcp/probes", "", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_report"}}`, 200, `{"jsonrpc":"2.0","id":1,` + report + "\n"},
		{"unknown tool", "POST", "/mcp/probes", "", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`, 200, `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"unknown tool: x"}}` + "\n"},
		{"no tool", "POST", "/mcp/probes", "", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":null}`, 200, `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"unknown tool: "}}` + "\n"},
		{"params in a list", "POST", "/mcp/probes", "", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}`, 200, `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"params do not fit the method"}}` + "\n"},
		{"unknown cursor", "POST", "/mcp/probes", "", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"x"}}`, 200, `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"unknown cursor: there is one page of tools"}}` + "\n"},
		{"unknown method", "POST", "/mcp/probes", "", `{"jsonrpc":"2.0","id":1,"method":"resources/list"}`, 200, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"unknown method: resources/list"}}` + "\n"},
		{"not JSON", "POST", "/mcp/probes", "", `{`, 400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"invalid JSON"}}` + "\n"},
		{"two values", "POST", "/mcp/probes", "", `{} {}`, 400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"invalid JSON"}}` + "\n"},
		{"no body", "POST", "/mcp/probes", "", ``, 400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"invalid JSON"}}` + "\n"},
		{"another protocol", "POST", "/mcp/probes", "", `{"id":1,"method":"ping"}`, 400, invalid + "\n"},
		{"no method", "POST", "/mcp/probes", "", `{"jsonrpc":"2.0","id":1}`, 400, invalid + "\n"},
		{"an id of null", "POST", "/mcp/probes", "", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, 400, invalid + "\n"},
		{"an id that is an object", "POST", "/mcp/probes", "", `{"jsonrpc":"2.0","id":{},"method":"ping"}`, 400, invalid + "\n"},
		{"not an object", "POST", "/mcp/probes", "", `7`, 400, invalid + "\n"},
		{"batch", "POST", "/mcp/probes", "", `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, 400, invalid + "\n"},
		{"too large", "POST", "/mcp/probes", "", strings.Repeat(" ", maxMCPRequest+1), 413, fault("the body is over 16384 bytes")},
		{"stream", "GET", "/mcp/probes", "", "", 405, fault("method not allowed: POST only")},
		{"end of session", "DELETE", "/mcp/probes", "", "", 405, fault("method not allowed: POST only")},
		{"elsewhere", "POST", "/mcp/nope", "", "{}", 404, fault("no such route: PROTOCOL.md lists them")},
	})

	off := apiConfig()
	off.Server.MCP = false
	if resp, body := newAPIRig(t, off).do(t, "POST", "/mcp/probes", "", `{"jsonrpc":"2.0","id":1,"method":"ping"}`); resp.StatusCode != 404 ||
		body != fault("MCP is switched off: set server.mcp_server in the config to use it") {
		t.Errorf("switched off: %d %s", resp.StatusCode, body)
	}
}

func TestMCPHeaders(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	for _, tc := range []struct {
		field, value, body string
		code               int
	}{
		{"Accept", "application/json, text/event-stream", ping, 200},
		{"Accept", "text/event-stream;q=0.5, */*;q=0.1", ping, 200},
		{"Accept", "application/*", ping, 200},
		{"Accept", "text/event-stream", ping, 406},
		{"Mcp-Protocol-Version", "2025-06-18", ping, 200},
		{"Mcp-Protocol-Version", "2024-11-05", ping, 200},
		{"Mcp-Protocol-Version", "2030-01-01", ping, 400},
		{"Origin", rig.URL, ping, 200},
		{"Origin", "http://localhost:3000", ping, 200},
		{"Origin", "http://127.0.0.1", ping, 200},
		{"Origin", "http://[::1]:6274", ping, 200},
		{"Origin", "https://Status.example.net", ping, 200},
		{"Origin", "https://evil.example", ping, 403},
		{"Origin", "https://status.example.net.evil.example", ping, 403},
		{"Origin", "https://localhost.evil.example", ping, 403},
		{"Origin", "http://status.example.net", ping, 403},
		{"Origin", "file://localhost", ping, 403},
		{"Origin", "null", ping, 403},
	} {
		if resp, body := rig.do(t, "POST", "/mcp/probes", "", tc.body, tc.field, tc.value); resp.StatusCode != tc.code {
			t.Errorf("%s: %s and %s: %d %s, want %d", tc.field, tc.value, tc.body, resp.StatusCode, body, tc.code)
		}
	}
}

// Since 2026-07-28 there is no handshake: each request says what it speaks, and
// the header repeats it.
func TestMCPStateless(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	const discover = `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{` + meta + `}}`
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_report",` + meta + `}}`
	const info = `"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"vigil","title":"Vigil status page","version":"1.2.3"}}`
	mismatch := func(name string) string {
		return `{"jsonrpc":"2.0","id":1,"error":{"code":-32020,"message":"` + name + ` in the header is not what the request says"}}` + "\n"
	}
	for _, tc := range []struct {
		body, version, method, name string
		code                        int
		want                        string
	}{
		{discover, "2026-07-28", "server/discover", "", 200, `{"jsonrpc":"2.0","id":1,"result":{` + info + `,"cacheScope":"public","capabilities":{"tools":{}},` +
			`"instructions":"get_status lists what is down or degraded now, get_report the status of everything, get_outages past and present outages, get_history the uptime.","resultType":"complete",` +
			`"supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"],"ttlMs":3600000}}` + "\n"},
		{call, "2026-07-28", "tools/call", "get_report", 200, ""},
		{discover, "2025-11-25", "server/discover", "", 400, mismatch("Mcp-Protocol-Version")},
		{discover, "", "server/discover", "", 400, mismatch("Mcp-Protocol-Version")},
		{discover, "2026-07-28", "", "", 400, mismatch("Mcp-Method")},
		{discover, "2026-07-28", "ping", "", 400, mismatch("Mcp-Method")},
		{call, "2026-07-28", "tools/call", "", 400, mismatch("Mcp-Name")},
		{call, "2026-07-28", "tools/call", "x", 400, mismatch("Mcp-Name")},
		{strings.Replace(discover, "2026-07-28", "2031-01-01", 1), "2031-01-01", "server/discover", "", 400, `{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"unsupported protocol version",` +
			`"data":{"requested":"2031-01-01","supported":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"]}}}` + "\n"},
	} {
		var fields []string
		for _, f := range [...][2]string{{"Mcp-Protocol-Version", tc.version}, {"Mcp-Method", tc.method}, {"Mcp-Name", tc.name}} {
			if f[1] != "" {
				fields = append(fields, f[0], f[1])
			}
		}
		resp, body := rig.do(t, "POST", "/mcp/probes", "", tc.body, fields...)
		if resp.StatusCode != tc.code || tc.want != "" && body != tc.want || tc.want == "" && !strings.Contains(body, `"resultType":"complete"`) {
			t.Errorf("%s with %q: %d %s\nwant %d %s", tc.body, fields, resp.StatusCode, body, tc.code, tc.want)
		}
	}
}

// The schema of the tool's output says what the report looks like.
func TestMCPTools(t *testing.T) {
	rig := newAPIRig(t, apiConfig())
	_, body := rig.do(t, "POST", "/mcp/probes", "", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}`)
	var list struct {
		Result struct {
			Tools []struct {
				Name         string
				Description  string
				InputSchema  schema
				OutputSchema json.RawMessage
				Annotations  map[string]bool
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Result.Tools) != len(mcpToolList) {
		t.Fatal(err, body)
	}
	tool := list.Result.Tools[0]
	if tool.Name != "get_report" || tool.Description == "" || tool.InputSchema.Type != "object" || !tool.Annotations["readOnlyHint"] {
		t.Errorf("tool %+v", tool)
	}
	var value any
	if err := json.Unmarshal([]byte(reportText), &value); err != nil {
		t.Fatal(err)
	}
	var output schema
	if err := json.Unmarshal(tool.OutputSchema, &output); err != nil {
		t.Fatal(err)
	}
	output.check(t, "report", value)
}

// A schema is as much of JSON Schema as the tool uses.
type schema struct {
	Type       string
	Enum       []string
	Properties map[string]schema
	Items      *schema
	Required   []string
}

func (s schema) check(t *testing.T, at string, value any) {
	switch value := value.(type) {
	case map[string]any:
		if s.Type != "object" || len(s.Properties) != len(value) || len(s.Required) != len(value) {
			t.Errorf("%s: %v is not as the schema says", at, value)
		}
		for k, v := range value {
			s.Properties[k].check(t, at+"."+k, v)
		}
	case []any:
		if s.Type != "array" || s.Items == nil {
			t.Errorf("%s: %v is not as the schema says", at, value)
			return
		}
		for _, v := range value {
			s.Items.check(t, at+"[]", v)
		}
	case string:
		if s.Type != "string" || s.Enum != nil && strings.Join(s.Enum, " ") != strings.Join(statusNames[:], " ") {
			t.Errorf("%s: %v is not as the schema says", at, value)
		}
	default:
		t.Errorf("%s: %v is not as the schema says", at, value)
	}
}

// Each tool answers what its schema says, of a service when asked for it.
func TestMCPToolResults(t *testing.T) {
	t.Parallel() // an outage is shown after 5 s
	rig := newAPIRig(t, apiConfig())
	if resp, body := rig.do(t, "POST", "/reporter/web/far/", "tok/en+secret", `{"replica":"secret.internal","interval":600,"health":"dead"}`); resp.StatusCode != 200 {
		t.Fatal(body)
	}
	rig.until(t, "an outage", func(s *snapshot) bool { return len(s.pastIncidents) == 1 })
	call := func(tool, arguments string) (code int, value map[string]any, fault string) {
		t.Helper()
		_, body := rig.do(t, "POST", "/mcp/probes", "", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`","arguments":`+arguments+`}}`)
		var answer struct {
			Result struct {
				Content           []struct{ Text string }
				StructuredContent map[string]any
			}
			Error struct {
				Code    int
				Message string
			}
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatalf("%v %s", err, body)
		}
		if strings.Contains(body, "secret.internal") || strings.Contains(body, "reported dead") {
			t.Errorf("%s reveals a replica or a reason: %s", tool, body)
		}
		return answer.Error.Code, answer.Result.StructuredContent, answer.Error.Message
	}
	count := func(tool, arguments, list string, want int) {
		t.Helper()
		if code, value, fault := call(tool, arguments); code != 0 || len(value[list].([]any)) != want {
			t.Errorf("%s %s: %v %s", tool, arguments, value, fault)
		}
	}
	count("get_status", `{}`, "problems", 1)
	count("get_status", `{"service":"Web"}`, "problems", 1)
	count("get_status", `{"service":"jobs"}`, "problems", 0)
	count("get_outages", `{}`, "outages", 1)
	count("get_outages", `{"service":"jobs"}`, "outages", 0)
	count("get_history", `{}`, "services", 3)
	count("get_history", `{"service":"web"}`, "services", 1)
	if code, _, fault := call("get_history", `{"service":"nope"}`); code != rpcInvalidParams || fault != "unknown service: nope" {
		t.Errorf("%d %s", code, fault)
	}
	if code, _, _ := call("get_history", `{"service":7}`); code != rpcInvalidParams {
		t.Errorf("a number: %d", code)
	}
	for _, tool := range mcpToolList {
		var schema struct{ OutputSchema struct{ Required []string } }
		if err := json.Unmarshal([]byte(tool.schema), &schema); err != nil {
			t.Fatalf("%s: %v", tool.name, err)
		}
		_, value, _ := call(tool.name, `{}`)
		if len(value) != len(schema.OutputSchema.Required) {
			t.Errorf("%s answers %v, its schema wants %q", tool.name, value, schema.OutputSchema.Required)
		}
	}
}

func FuzzMCP(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_report"}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":null}`))
	f.Add([]byte(`[{"jsonrpc":"2.0","id":"x","method":"ping","params":null}]`))
	p := newPlay(apiConfig())
	m := newMCP(newSnapshots(p.st.snapshot(p.now)), "1.2.3")
	f.Fuzz(func(t *testing.T, message []byte) {
		answer := m.answer(message, http.Header{})
		if answer == nil {
			return
		}
		text, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		if (answer.Result == nil) == (answer.Error == nil) || !json.Valid(text) {
			t.Errorf("answered %s", text)
		}
	})
}
