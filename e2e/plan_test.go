package e2e

import (
	"fmt"
	"strings"
)

// A testPlan is a config for a test of the whole program: one service, web,
// whose nodes are checked every second, and a hook that is told. The texts
// without another meaning are further lines of the table of that name.
type testPlan struct {
	inet     string // "": any free port
	title    string // of the page; "": Example Status
	label    string // of the service; "": Web
	hook     *hook
	inMemory bool
	nodes    string

	server, metrics, notify string
}

func (p testPlan) String() string {
	var b strings.Builder
	inet, title, label := p.inet, p.title, p.label
	if inet == "" {
		inet = "127.0.0.1:0"
	}
	if title == "" {
		title = "Example Status"
	}
	if label == "" {
		label = "Web"
	}
	fmt.Fprintf(&b, "[server]\nlog_level = \"info\"\ninet = %q\n%s\n", inet, p.server)
	fmt.Fprintf(&b, "[branding]\npage_title = %q\npage_url = \"https://status.example.com/\"\n", title)
	fmt.Fprintf(&b, "[metrics]\npoll_interval = 1\npoll_retry = 1\n%s\n", p.metrics)
	fmt.Fprintf(&b, "[notify]\n%s\n[notify.webhook]\nhook_url = %q\n", p.notify, p.hook.URL)
	if p.inMemory {
		b.WriteString("[storage]\npath = \"\"\n")
	}
	fmt.Fprintf(&b, "[[probe.service]]\nid = \"web\"\nlabel = %q\n%s", label, p.nodes)
	return b.String()
}

// planNode is a node of a testPlan. The text is further lines of it.
func planNode(id, label, mode, text string) string {
	return fmt.Sprintf("[[probe.service.node]]\nid = %q\nlabel = %q\nmode = %q\n%s\n", id, label, mode, text)
}

// polledNode is a poll node with one replica.
func polledNode(id, label, replica string) string {
	return planNode(id, label, "poll", fmt.Sprintf("replicas = [%q]", replica))
}

// pushedNode is a push node.
func pushedNode(id, label string) string { return planNode(id, label, "push", "") }
