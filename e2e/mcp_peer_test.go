//go:build peer

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// The published client SDKs, in each way that they agree on a version.
func TestPeerMCP(t *testing.T) {
	r := startVigil(t, fmt.Sprintf(peerConfig, 0.9, 0.9, "", ""))
	dir := npmFolder(t, "@modelcontextprotocol/sdk@1.32.2", "@modelcontextprotocol/client@2.4.0")
	for _, tc := range []struct{ sdk, mode, spoken string }{
		{"@modelcontextprotocol/sdk", "", "2025-11-25"},
		{"@modelcontextprotocol/client", "", "2025-11-25"},
		{"@modelcontextprotocol/client", `"auto"`, "2026-07-28"},
		{"@modelcontextprotocol/client", `{"pin":"2026-07-28"}`, "2026-07-28"},
	} {
		t.Run(tc.sdk+tc.mode, func(t *testing.T) {
			cmd := nodeScript(t, dir, "testdata/mcp/session.mjs", strings.TrimSuffix(r.url, "/")+"/mcp/probes", tc.sdk, tc.mode)
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var said struct {
				Server     struct{ Name, Version string }
				Version    string
				Tools      []string
				Text       string
				Structured json.RawMessage
				Refusal    string
				Errors     []string
			}
			if err := json.Unmarshal(out, &said); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			const report = `{"health":"healthy","page":{"name":"Acme Status","url":"https://status.example.net/"},"probes":[` +
				`{"name":"Relay","status":"healthy","nodes":[{"name":"Socket client","status":"healthy","replicas":[]}]}]}`
			got := fmt.Sprint(said.Server, said.Version, said.Tools, said.Text, string(said.Structured), said.Refusal, said.Errors)
			if want := fmt.Sprint(struct{ Name, Version string }{"vigil", version}, tc.spoken, []string{"get_report"}, report, report, "-32602", []string{}); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
		})
	}
}
