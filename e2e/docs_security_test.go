package e2e

import (
	"fmt"
	"go/constant"
	"go/token"
	"go/types"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// figures are the constants behind the table of SECURITY.md: the bound, where the
// constant is, and its unit.
var figures = []struct{ bound, file, constant, unit string }{
	{"header of a request", "page_server.go", "maxRequestHeader", "bytes"},
	{"body of a request", "page_api.go", "maxRequest", "bytes"},
	{"body of a request to MCP", "page_mcp.go", "maxMCPRequest", "bytes"},
	{"body of a ping, of which the last line is kept", "page_reporter.go", "maxPingBody", "bytes"},
	{"time for a request to arrive", "page_server.go", "readTimeout", "time"},
	{"time for its answer to leave", "page_server.go", "writeTimeout", "time"},
	{"time that an unused connection is kept", "page_server.go", "idleTimeout", "time"},
	{"connections", "page_server.go", "maxConns", ""},
	{"answers on their way to clients that don't read, all together", "page_cache.go", "maxUnread", "bytes"},
	{"answers kept to be sent again", "page_cache.go", "maxCached", ""},
	{"size of the answers kept", "page_cache.go", "maxCachedSize", "bytes"},
	{"wrong tokens of one address in a minute", "page_api.go", "wrongTokens", ""},
	{"replicas that report", "aggregate_report.go", "maxReported", ""},
	{"id of a replica", "probe_push.go", "maxReplicaID", "bytes"},
	{"size of the list in an alert", "notify/alert.go", "maxAlert", "bytes"},
	{"announcements", "aggregate_announce.go", "maxKeptAnnouncements", ""},
	{"maintenances and silences", "aggregate_announce.go", "maxQuietTimes", ""},
	{"updates of an announcement", "aggregate_announce.go", "maxUpdates", ""},
	{"title of an announcement", "page_manager_announce.go", "maxTitle", "characters"},
	{"text of an announcement", "page_manager_announce.go", "maxText", "bytes"},
	{"time that a call waits for the disk", "aggregate_store.go", "ackTime", "time"},
	{"body of an answer", "probe_poll_http.go", "maxBody", "bytes"},
	{"header of an answer", "probe_poll_http.go", "maxHeader", "bytes"},
	{"redirects in a row", "probe_poll_http.go", "maxRedirects", ""},
	{"answer of a name server", "probe_poll_dns.go", "maxDNSOver", "bytes"},
	{"reason of a state", "probe.go", "maxReason", "bytes"},
	{"what is logged of a script's output", "probe_script.go", "maxScriptLog", "bytes"},
	{"answer", "probe_push.go", "maxQueueBody", "bytes"},
	{"answer", "notify/http.go", "maxAnswer", "bytes"},
	{"redirects in a row", "notify/http.go", "maxRedirects", ""},
	{"time for each step", "notify/http.go", "stepTimeout", "time"},
	{"pending messages of a recipient", "notify/queue.go", "maxQueue", ""},
	{"time in which a delivery is tried", "notify/queue.go", "patience", "time"},
	{"time in which a rejected delivery is tried", "notify/queue.go", "refusalPatience", "time"},
	{"wait that a service may ask for", "notify/http.go", "maxRetryAfter", "time"},
	{"instances listed in a message", "notify/text.go", "maxListed", ""},
	{"instances listed in a webhook", "notify/alert.go", "maxReplicas", ""},
	{"config", "config_document.go", "maxConfig", "bytes"},
	{"file of certificates", "config_check.go", "maxPEM", "bytes"},
	{"file of assets", "page_assets.go", "maxAsset", "bytes"},
	{"folder of assets", "page_assets.go", "maxAssets", "bytes"},
	{"time to read the config and its files", "config.go", "fileLimit", "time"},
	{"records that wait for the disk", "aggregate_store.go", "maxUnsaved", ""},
	{"log of events", "aggregate_log.go", "eventBytes", "bytes"},
	{"days in the log of events", "aggregate_log.go", "eventDays", ""},
	{"time of a stop", "main_serve.go", "stopLimit", "time"},
}

// Each figure of SECURITY.md is what the code has, and each constant behind one is
// used.
func TestFiguresOfSecurity(t *testing.T) {
	code := map[bool]string{false: sources(t, "*.go"), true: sources(t, "notify/*.go")}
	var want []string
	for _, f := range figures {
		source := read(t, f.file)
		m := regexp.MustCompile(`(?m)^(?:const )?\t*` + f.constant + ` += ([^/\n]+)`).FindStringSubmatch(source)
		if m == nil {
			t.Errorf("%s has no constant %s", f.file, f.constant)
			continue
		}
		units := strings.NewReplacer("time.Millisecond", "1000000", "time.Second", "1000000000", "time.Minute", "60000000000", "time.Hour", "3600000000000")
		v, err := types.Eval(token.NewFileSet(), nil, token.NoPos, units.Replace(m[1]))
		if err != nil {
			t.Errorf("%s: %s: %v", f.file, f.constant, err)
			continue
		}
		n, _ := constant.Int64Val(v.Value)
		want = append(want, f.bound+" | "+figure(n, f.unit))
		used := regexp.MustCompile(`\b`+f.constant+`\b`).FindAllString(code[strings.HasPrefix(f.file, "notify/")], -1)
		if len(used) < 2 {
			t.Errorf("nothing uses %s of %s", f.constant, f.file)
		}
	}
	_, table, _ := strings.Cut(read(t, "SECURITY.md"), "## The figures\n")
	table, _, _ = strings.Cut(table, "\n## ")
	var got []string
	for _, row := range regexp.MustCompile(`(?m)^\|[^|]*\| ([^|]+) \| ([^|]+) \|$`).FindAllStringSubmatch(table, -1)[1:] {
		got = append(got, row[1]+" | "+row[2])
	}
	if !slices.Equal(got, want) {
		t.Errorf("SECURITY.md has\n\t%s\nthe code has\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// figure returns a number as documents have it.
func figure(n int64, unit string) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	switch d := time.Duration(n); unit {
	case "time":
		switch {
		case d%time.Hour == 0:
			return fmt.Sprintf("%d h", d/time.Hour)
		case d%time.Minute == 0:
			return fmt.Sprintf("%d min", d/time.Minute)
		}
		return fmt.Sprintf("%d s", d/time.Second)
	case "bytes":
		switch {
		case n%(1<<20) == 0:
			return fmt.Sprintf("%d MiB", n>>20)
		case n%(1<<10) == 0:
			return fmt.Sprintf("%d KiB", n>>10)
		}
	case "":
		return digits
	}
	return digits + " " + unit
}

// sources returns the code that matches, without its tests.
func sources(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			all.WriteString(read(t, file))
		}
	}
	return all.String()
}
