package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Reporters in the wild are written in anything. What each sends here stands
// as it goes over the wire to the whole program, "<body>" and "<n>" being a
// good report and its length.
func TestOddClients(t *testing.T) {
	t.Parallel()
	r := startVigil(t, `
[server]
log_level = "info"
inet = "127.0.0.1:0"
reporter_token = "a:b/c+d"
[branding]
page_url = "https://status.example.com/"
[storage]
path = ""
[[probe.service]]
id = "a/b c"
label = "A"
[[probe.service.node]]
id = "ü+1"
label = "Ü"
mode = "push"
[[probe.service]]
id = "app"
label = "App"
[[probe.service.node]]
id = "jobs"
label = "Jobs"
mode = "push"
`)
	address := strings.TrimSuffix(strings.TrimPrefix(r.url, "http://"), "/")
	const (
		report = `{"replica":"one","interval":30,"load":{"cpu":0.1,"ram":0.2}}`
		auth   = "Authorization: Basic OmE6Yi9jK2Q=\r\n" // ":a:b/c+d"
		host   = "Host: h\r\n"
		length = "Content-Length: <n>\r\n"
	)
	for _, tt := range []struct{ name, request, want string }{
		{"HTTP/1.0 without a host", "POST /reporter/app/jobs/ HTTP/1.0\r\n" + auth + length + "\r\n<body>", "200"},
		{"HTTP/1.0 that stays", "POST /reporter/app/jobs/ HTTP/1.0\r\nConnection: keep-alive\r\n" + auth + length + "\r\n<body>", "200"},
		{"HTTP/1.1 that goes", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + "Connection: Close\r\n" + auth + length + "\r\n<body>", "200"},
		{"HTTP/1.1 without a host", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + auth + length + "\r\n<body>", "400"},
		{"whole URL", "POST http://status.example.com/reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "200"},
		{"lower case", "POST /reporter/app/jobs/ HTTP/1.1\r\nhost: h\r\nauthorization: basic OmE6Yi9jK2Q=\r\ncontent-type: application/json\r\ncontent-length: <n>\r\n\r\n<body>", "200"},
		{"upper case", "POST /reporter/app/jobs/ HTTP/1.1\r\nHOST: h\r\nAUTHORIZATION: BASIC OmE6Yi9jK2Q=\r\nCONTENT-LENGTH: <n>\r\n\r\n<body>", "200"},
		{"with a user", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + "Authorization: Basic QXV0aG9yaXphdGlvbjphOmIvYytk\r\n" + length + "\r\n<body>", "200"},
		{"bare line ends", strings.ReplaceAll("POST /reporter/app/jobs/ HTTP/1.1\r\n"+host+auth+length, "\r\n", "\n") + "\n<body>", "200"},
		{"charset", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + "Content-Type: application/json; charset=urf-8\r\n" + length + "\r\n<body>", "200"},
		{"as a form", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + "Content-Type: application/x-www-form-urlencoded\r\n" + length + "\r\n<body>", "200"},
		{"with a query", "POST /reporter/app/jobs/?from=cron HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "200"},
		{"chunked", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + "Transfer-Encoding: chunked\r\n\r\n" +
			"2;x=y\r\n{\"\r\n3A\r\n" + report[2:] + "\r\n0\r\nTrailer: x\r\n\r\n", "200"},
		{"length and chunks", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + length + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		{"two lengths", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + length + "Content-Length: 3\r\n\r\n<body>", "400"},
		{"no body", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + "\r\n", "400"},
		{"two at once", strings.Repeat("POST /reporter/app/jobs/ HTTP/1.1\r\n"+host+auth+length+"\r\n<body>", 2), "200 200"},
		{"one after a refused one", "POST /reporter/app/jibs/ HTTP/1.1\r\n" + host + auth + length + "\r\n<body>" +
			"POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "404 200"},

		{"asks first", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + length + "Expect: 100-continue\r\n\r\n|<body>", "100 200"},
		{"asks first, does not wait", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + length + "Expect: 100-continue\r\n\r\n<body>", "100 200"},
		{"asks first, without the token", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + length + "Expect: 100-continue\r\n\r\n", "401"},
		{"asks first, with too much", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + "Content-Length: 65537\r\nExpect: 100-continue\r\n\r\n", "413"},
		{"expects something else", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + length + "Expect: the-worst\r\n\r\n<body>", "417"},

		{"no slash at the end", "POST /reporter/app/jobs HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "200"},
		{"two slashes before", "POST //reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "200"},
		{"slashes all over", "POST ///reporter//app///jobs// HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "200"},
		{"all encoded", "POST /reporter/a%2Fb%20c/%C3%BC%2B1/ HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "200"},
		{"small digits", "POST /reporter/a%2fb%20c/%c3%bc%2b1/ HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "200"},
		{"as little as may be", "POST /reporter/a%2Fb%20c/ü+1/ HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "200"},
		{"plus for a space", "POST /reporter/a%2Fb+c/%C3%BC+1/ HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "200"},
		{"a slash that is none", "POST /reporter/a/b%20c/%C3%BC%2B1/ HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "405"},
		{"badly encoded", "POST /reporter/app/jobs%zz/ HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "400"},
		{"a space in the path", "POST /reporter/a b/jobs/ HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "400"},
		{"other letter case", "POST /Reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "404"},

		{"GET", "GET /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + "\r\n", "405 Allow: POST"},
		{"HEAD", "HEAD /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + "Connection: close\r\n\r\n", "405 Allow: POST"},
		{"PUT", "PUT /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "405 Allow: POST"},
		{"PATCH", "PATCH /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "405 Allow: POST"},
		{"OPTIONS", "OPTIONS /reporter/app/jobs/ HTTP/1.1\r\n" + host + "\r\n", "405 Allow: POST"},
		{"small post", "post /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "405 Allow: POST"},
		{"DELETE of a node", "DELETE /reporter/app/jobs/ HTTP/1.1\r\n" + host + auth + "\r\n", "405 Allow: POST"},
		{"POST to a replica", "POST /reporter/app/jobs/one/ HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "405 Allow: DELETE"},

		{"no token", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + length + "\r\n<body>", "401"},
		{"bearer", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + "Authorization: Bearer a:b/c+d\r\n" + length + "\r\n<body>", "401"},
		{"not base64", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + "Authorization: Basic :a:b/c+d\r\n" + length + "\r\n<body>", "401"},
		{"without a colon", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + "Authorization: Basic YQ==\r\n" + length + "\r\n<body>", "401"},
		{"token as the user", "POST /reporter/app/jobs/ HTTP/1.1\r\n" + host + "Authorization: Basic YTpiL2MrZDo=\r\n" + length + "\r\n<body>", "403"},

		{"DELETE with a body", "DELETE /reporter/app/jobs/one HTTP/1.1\r\n" + host + auth + length + "\r\n<body>", "200"},
		{"DELETE again", "DELETE /reporter/app/jobs/one/ HTTP/1.1\r\n" + host + auth + "\r\n", "404"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			request := strings.NewReplacer("<n>", fmt.Sprint(len(report)), "<body>", report).Replace(tt.request)
			if got := exchange(t, address, request, strings.Count(tt.request, " HTTP/1.")); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// exchange sends requests as they stand and returns the codes of all answers,
// and what Allow says in one with 405. It waits for an answer at each "|".
func exchange(t *testing.T, address, requests string, n int) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	answers := bufio.NewReader(conn)
	var got []string
	read := func() (code int) {
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		defer resp.Body.Close()
		if method, _, _ := strings.Cut(requests, " "); method != "HEAD" {
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Fatal(err)
			}
		}
		got = append(got, fmt.Sprint(resp.StatusCode))
		if allow := resp.Header.Get("Allow"); allow != "" && strings.Contains(requests, "/reporter/app/jobs/") {
			got = append(got, "Allow: "+allow)
		}
		return resp.StatusCode
	}
	head, rest, waits := strings.Cut(requests, "|")
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	if waits {
		read()
		if _, err := io.WriteString(conn, rest); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		for read() == http.StatusContinue {
		}
	}
	return strings.Join(got, " ")
}
