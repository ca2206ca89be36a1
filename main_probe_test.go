package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// vigilProbe runs "vigil probe" with these arguments.
func vigilProbe(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var b bytes.Buffer
	code = run(t.Context(), append([]string{"probe"}, args...), &b, &b)
	return code, b.String()
}

func TestProbe(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "all is well") })
	mux.HandleFunc("/bad", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "evil\u009b31m")
		http.Redirect(w, r, "/good", http.StatusFound)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	secure := httptest.NewUnstartedServer(mux)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	names := (&dnsScript{answers: map[string][]dnsmessage.ResourceBody{"a.test": {&dnsmessage.TXTResource{TXT: []string{"v=spf1 -all"}}}},
		udp: func(_ string, answer []byte) [][]byte {
			cut := slices.Clone(answer)
			cut[2] |= 2 // TC
			return [][]byte{cut}
		}}).serve(t)
	config := filepath.Join(t.TempDir(), "config.cfg")
	text := fmt.Sprintf(`
[branding]
page_url = "https://status.example.com/"
[metrics]
poll_http_status_healthy_below = 300
[[probe.service]]
id = "web"
label = "Web"
[[probe.service.node]]
id = "shop"
label = "Shop"
mode = "poll"
http_body_healthy_match = "all is (well|fine)"
replicas = ["%[1]s/good"]
[[probe.service.node]]
id = "names"
label = "Names"
mode = "poll"
dns_match = "^v=spf1 "
replicas = ["dns://%[2]s/a.test?type=TXT"]
[[probe.service.node]]
id = "sick"
label = "Sick"
mode = "script"
scripts = ["echo a bit slow; exit 1"]
`, server.URL, names)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"good", []string{server.URL + "/good"}, 0, []string{
			"target   " + server.URL + "/good\n", ": connected  ", "request  HEAD " + server.URL + "/good?", "answer   HTTP/1.1 200  ",
			"verdict  healthy  ", "rule     answered within poll_delay_sick = 5 s, poll_http_status_healthy_above = 200"}},
		{"bad", []string{server.URL + "/bad"}, 1, []string{
			"answer   HTTP/1.1 503  ", "\n         Retry-After: 120\n", "verdict  dead: HTTP 503  ", "rule     poll_http_status_healthy_above = 200, poll_http_status_healthy_below = 400"}},
		{"a redirect, and nothing for the terminal to obey", []string{server.URL + "/moved"}, 0, []string{
			"\n         Server: evil31m\n", "\n         Location: /good\n"}},
		{"a stricter config", []string{"-c", config, server.URL + "/moved"}, 1, []string{
			"verdict  dead: HTTP 302", "poll_http_status_healthy_below = 300"}},
		{"a node's own terms", []string{server.URL + "/good", "-c", config}, 0, []string{
			"node     web:shop\n", "request  GET ", "match    http_body_healthy_match = all is (well|fine)  matched\n"}},
		{"TLS", []string{secure.URL + "/good"}, 1, []string{
			"TLS      certificate signed by unknown authority", "certificate of example.com by O=Acme Co: ", " days left, until 2084-01-29",
			"verdict  dead: certificate signed by unknown authority", "rule     tls_verify\n"}},
		{"not TLS", []string{strings.Replace(server.URL, "http", "tls", 1)}, 1, []string{
			"verdict  dead: plain HTTP where TLS was expected", "rule     a target that gives no good answer is dead\n"}},
		{"no scheme", []string{"-c", config, "db.example.com:5432"}, 1, []string{"; a URL has a scheme, like https:// or tcp://\n"}},
		{"TCP", []string{"tcp://" + ln.Addr().String()}, 0, []string{"connect  " + ln.Addr().String() + ": connected"}},
		{"DNS", []string{"-c", config, "dns://" + names + "/a.test?type=TXT"}, 0, []string{
			"connect  " + names + ": connected", "\n         " + names + ": connected", "answer   NOERROR, truncated, over UDP by " + names + "\n",
			"answer   NOERROR, over TCP by " + names + "\n         record: v=spf1 -all\n", "match    dns_match = ^v=spf1 "}},
		{"DNS without the name", []string{"dns://" + names + "/b.test?type=MX"}, 1, []string{"verdict  dead: no MX record"}},
		{"nobody there", []string{"tcp://127.0.0.1:1"}, 1, []string{"connect  127.0.0.1:1: connection refused", "verdict  dead: connection refused"}},
		{"no URL", nil, 2, []string{"vigil probe: want one URL or selector, got 0 arguments (see 'vigil probe -h')\n"}},
		{"no such scheme", []string{"gopher://example.com"}, 2, []string{`vigil probe: URL "gopher://example.com" has a scheme that is not allowed; allowed: `}},
		{"no such config", []string{"-c", "none.cfg", server.URL}, 1, []string{"none.cfg: cannot be read"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out := vigilProbe(t, tt.args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q is missing in\n%s", want, out)
				}
			}
		})
	}

	code, out := vigilProbe(t, "-json", secure.URL+"/good")
	var report struct {
		Status, Reason string
		TLS            struct {
			Certificates []struct {
				Name     string
				DaysLeft int `json:"days_left"`
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 1 || report.Status != "dead" ||
		len(report.TLS.Certificates) != 1 || report.TLS.Certificates[0].DaysLeft < 1000 {
		t.Errorf("exit code %d, %v, %+v of\n%s", code, err, report, out)
	}

	// All replicas of a config at once.
	var all bytes.Buffer
	if code := run(t.Context(), []string{"check", "-probe", "-c", config}, &all, io.Discard); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"\nhealthy  web:shop   " + server.URL + "/good  ", "\nhealthy  web:names  dns://" + names + "/a.test?type=TXT  ", "\nsick     web:sick   0  ", "  a bit slow\n"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &all)
		}
	}
	server.Close()
	all.Reset()
	if code := run(t.Context(), []string{"check", "-probe", "-c", config}, &all, &all); code != 1 {
		t.Errorf("exit code %d with a dead replica", code)
	}
	if want := ": valid\nvigil check: of 3 replicas, 1 is dead or cannot be checked\n"; !strings.HasSuffix(all.String(), want) {
		t.Errorf("%q is not at the end of\n%s", want, &all)
	}
}

// The rule of a verdict is the key to change.
func TestRuleOf(t *testing.T) {
	target, err := parseTarget("https://shop.example/")
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{node: &Node{Metrics: new(Metrics), Targets: []Target{target}}}
	for reason, want := range map[string]string{
		"certificate of shop.example ends in 9 d":   "tls_expiry_sick_below, tls_expiry_dead_below",
		"certificate of shop.example ended 2 d ago": "tls_expiry_sick_below, tls_expiry_dead_below", // without tls_verify
		"certificate expired 2 d ago":               "tls_verify",
		"JSON: state is down, which did not match":  "http_json_healthy_match",
	} {
		if got := ruleOf(verdict{status: dead, reason: reason}, r); got != want {
			t.Errorf("%s: %s, want %s", reason, got, want)
		}
	}
}
