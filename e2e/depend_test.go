package e2e

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// A chat is a Slack channel: it keeps the first line of each message.
type chat struct {
	*httptest.Server
	mu   sync.Mutex
	said []string
}

func newChat(t *testing.T) *chat {
	c := new(chat)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, text, _ := strings.Cut(string(body), `"text":"`)
		text, _, _ = strings.Cut(text, `"`)
		text, _, _ = strings.Cut(text, `\n`)
		c.mu.Lock()
		c.said = append(c.said, html.UnescapeString(text))
		c.mu.Unlock()
		io.WriteString(w, "ok")
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *chat) all() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.said, "\n")
}

// reopen listens at an address, where a test may have listened before.
func reopen(t *testing.T, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	return ln
}

// A router and 1,000 nodes behind it die at once. The router, which is checked
// once an hour, is checked because of them, and one message tells of it all;
// what is still dead when it is back follows.
func TestStormOfDependents(t *testing.T) {
	t.Parallel()
	const children = 1000
	chat := newChat(t)
	router, farm, lone := reopen(t, freeAddress(t)), reopen(t, freeAddress(t)), reopen(t, freeAddress(t))
	var config strings.Builder
	fmt.Fprintf(&config, `[server]
log_level = "info"
inet = "127.0.0.1:0"
manager_token = "manage"
[branding]
page_title = "Acme"
page_url = "https://status.example.com/"
[metrics]
poll_interval = 2
poll_retry = 1
[notify]
startup_notification = false
[notify.slack]
hook_url = "%s/services/x"
[[probe.service]]
id = "net"
label = "Net"
%s
poll_interval = 3600
[[probe.service]]
id = "farm"
label = "Farm"
depends_on = ["net:router"]
`, chat.URL, polledNode("router", "Router", "tcp://"+router.Addr().String()))
	for i := range children - 1 {
		config.WriteString(polledNode(fmt.Sprint("n", i), fmt.Sprint("Node ", i), "tcp://"+farm.Addr().String()))
	}
	config.WriteString(polledNode("lone", "Lone", "tcp://"+lone.Addr().String()))
	r := startVigil(t, config.String())
	// lines waits until so many lines of the metrics begin and end like that.
	lines := func(begin, end string, n int) {
		t.Helper()
		await(t, func() bool {
			got := 0
			_, metrics := r.manage("GET", "metrics", "")
			for line := range strings.Lines(metrics) {
				if strings.HasPrefix(line, begin) && strings.HasSuffix(line, end+"\n") {
					got++
				}
			}
			return got == n
		}, "%d times %s...%s", n, begin, end)
	}
	dead := func(n int) { t.Helper(); lines("vigil_node_status{", "} 2", n) }
	lines("vigil_replicas{", `status="healthy"} 1`, children+1)
	r.waitFor("/status/text", "healthy", func(s string) bool { return s == "healthy" })

	for _, ln := range []net.Listener{router, farm, lone} {
		ln.Close()
	}
	dead(children + 1)
	down := fmt.Sprintf("[Acme] DOWN: Net > Router (connection refused) and %d nodes that depend on it", children)
	await(t, func() bool { return chat.all() != "" }, "a message")
	if got := chat.all(); got != down {
		t.Fatalf("told:\n%s\nwant:\n%s", got, down)
	}
	r.waitFor("/", "what the nodes are down because of", func(page string) bool {
		return strings.Contains(page, "because of Net") || strings.Contains(page, "because of Router")
	})

	reopen(t, farm.Addr().String())
	dead(2)
	reopen(t, router.Addr().String())
	if code, body := r.manage("POST", "manager/check/", `{"selector": "net:router"}`); code != http.StatusOK {
		t.Fatalf("check: %d %s", code, body)
	}
	await(t, func() bool { return strings.Count(chat.all(), "\n") >= 2 }, "two more messages")
	said := strings.Split(chat.all(), "\n")
	if len(said) != 3 || !strings.HasPrefix(said[1], "[Acme] UP: Net > Router (was down ") ||
		said[2] != "[Acme] DOWN: Farm > Lone (connection refused)" {
		t.Errorf("told:\n%s", strings.Join(said, "\n"))
	}

	// The proof of delivery: in the metrics, and for each outage.
	lines("vigil_alert_delivery_seconds_count", " 3", 1)
	var outages []struct {
		Node   string
		Alerts []struct {
			Channel      string
			At, Accepted *time.Time
		}
	}
	_, body := r.manage("GET", "manager/outages/", "")
	if err := json.Unmarshal([]byte(body), &outages); err != nil {
		t.Fatal(err)
	}
	proved := make(map[string]bool)
	for _, o := range outages {
		for _, a := range o.Alerts {
			if a.Channel == "slack" && a.At != nil && a.Accepted != nil && !a.Accepted.Before(*a.At) {
				proved[o.Node] = true
			}
		}
	}
	if len(proved) != 2 || !proved["router"] || !proved["lone"] {
		t.Errorf("told and accepted: %v", proved)
	}
}
