package main

import (
	"bufio"
	"encoding/json"
	"encoding/xml"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

// rawAnswer is one answer of a conversation on a bare connection.
type rawAnswer struct {
	code     int
	location string
	body     string
}

// converse sends raw bytes to the whole server and returns every answer until
// it closes the connection, or is silent for quiet.
func converse(t *testing.T, addr, raw string, quiet time.Duration) (answers []rawAnswer, closed bool) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	for {
		c.SetReadDeadline(time.Now().Add(quiet))
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			ne, ok := err.(net.Error)
			return answers, !(ok && ne.Timeout())
		}
		body, _ := io.ReadAll(resp.Body) // may end early: what is refused is not read to its end
		answers = append(answers, rawAnswer{resp.StatusCode, resp.Header.Get("Location"), string(body)})
	}
}

// attackServer serves the page and the APIs as the program does.
func attackServer(t *testing.T) string {
	rig := newAPIRig(t, apiConfig())
	log := slog.New(slog.DiscardHandler)
	p, err := newPage(rig.snaps, log)
	if err != nil {
		t.Fatal(err)
	}
	throttle := newThrottle(log)
	return serveTest(t, p.handler(map[string]http.Handler{
		"reporter": rig.reporter,
		"manager":  newManagerAPI(rig.snaps, rig.events, nil, nil, nil, throttle),
		"mcp":      newMCP(rig.snaps, "1.2.3"),
	}))
}

// No path leads out of the assets, to another host or to a room without its
// key, however it is written.
func TestHostilePaths(t *testing.T) {
	t.Parallel()
	addr := attackServer(t)
	for target, want := range map[string]int{
		"//evil.example":                        404,
		"//evil.example/..":                     404,
		"/\\evil.example":                       404,
		"/%2f%2fevil.example":                   404,
		"/%5cevil.example/%2e%2e":               404,
		"/.":                                    404,
		"/..":                                   404,
		"/%2e%2e/":                              404,
		"/%2e%2e/%2e%2e/%2e%2e/etc/passwd":      404,
		"/../../../../etc/passwd":               404,
		"/assets/":                              404,
		"/assets/..":                            404,
		"/assets/../config.cfg":                 404,
		"/assets/..%2f..%2fconfig.cfg":          404,
		"/assets/%2e%2e%2fconfig.cfg":           404,
		"/assets/..%5c..%5cconfig.cfg":          404,
		"/assets/%252e%252e/config.cfg":         404,
		"/assets/./app.css":                     404,
		"/assets/app.css%00.txt":                404,
		"/assets/app.css%00":                    404,
		"/%00":                                  404,
		"/assets//etc/passwd":                   404,
		"/assets/templates/page.html":           404,
		"/templates/page.html":                  404,
		"/status/text%0d%0aX-Evil:%20yes":       404,
		"/feed/%0d%0aX-Evil:%20yes":             404,
		"/badge/%0d%0aX-Evil:%20yes":            404,
		"/x/../manager/announcements/":          404,
		"/%6danager/announcements/":             404,
		"/manager/announcements/":               401,
		"/manager//announcements/":              401,
		"/manager/./announcements/":             404,
		"/manager/x/../announcements/":          404,
		"/manager/prober%2falerts/":             401,
		"/reporter/%2e%2e/%2e%2e/":              405,
		"http://evil.example/":                  200,
		"http://evil.example//other.example/":   404,
		"http://user:password@evil.example/":    200,
		"http://evil.example/manager/x":         404,
		"/?u=//evil.example":                    200,
		"/status/text?x=%zz;%00":                200,
		"/" + strings.Repeat("../", 2000):       404,
		"/" + strings.Repeat("%2f", 4000):       404,
		"/assets/" + strings.Repeat("a/", 5000): 404,
	} {
		show := target[:min(len(target), 60)]
		answers, _ := converse(t, addr, "GET "+target+" HTTP/1.1\r\nHost: evil.example\r\nAccept: text/html\r\nConnection: close\r\n\r\n", 10*time.Second)
		if len(answers) != 1 || answers[0].code != want {
			t.Errorf("%s: %+.300v, want %d", show, answers, want)
			continue
		}
		a := answers[0]
		if a.location != "" {
			t.Errorf("%s leads to %s", show, a.location)
		}
		for _, leak := range []string{"evil", "other.example", "root:", "{{"} {
			if strings.Contains(a.body, leak) {
				t.Errorf("%s: the answer has %q in it", show, leak)
			}
		}
	}
}

// What is no single, clear request is refused, and never taken for two.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	addr := attackServer(t)
	const (
		head   = "POST /reporter/web/jobs/ HTTP/1.1\r\nHost: x\r\n"
		hidden = "GET /status/text HTTP/1.1\r\nHost: x\r\n\r\n"
	)
	for _, tt := range []struct {
		name, request string
		want          []int
		closed        bool
	}{
		{"two lengths", head + "Content-Length: 5\r\nContent-Length: 43\r\n\r\n" + hidden, []int{400}, true},
		{"a list of lengths", head + "Content-Length: 5, 43\r\n\r\n" + hidden, []int{400}, true},
		{"a negative length", head + "Content-Length: -1\r\n\r\n" + hidden, []int{400}, true},
		{"a length with a sign", head + "Content-Length: +5\r\n\r\n" + hidden, []int{400}, true},
		{"a length in hex", head + "Content-Length: 0x5\r\n\r\n" + hidden, []int{400}, true},
		{"an unknown coding", head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden, []int{501}, true},
		{"two codings", head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden, []int{501}, true},
		{"a list of codings", head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + hidden, []int{501}, true},
		{"a space before the colon", head + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden, []int{400}, true},
		{"a line that begins with a space", head + " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, []int{400}, true},
		{"a control character in a coding", head + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + hidden, []int{400}, true},
		{"a bad chunk size", head + "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + hidden, []int{401}, true},
		{"NUL in the path", "GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n" + hidden, []int{400}, true},
		{"NUL in a value", "GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n" + hidden, []int{400}, true},
		{"NUL in a name", "GET / HTTP/1.1\r\nHost: x\r\nX\x00: a\r\n\r\n" + hidden, []int{400}, true},
		{"a space in the path", "GET / / HTTP/1.1\r\nHost: x\r\n\r\n" + hidden, []int{400}, true},
		{"no host", "GET / HTTP/1.1\r\n\r\n" + hidden, []int{400}, true},
		{"two hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + hidden, []int{400}, true},
		{"a host with a path", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n" + hidden, []int{400}, true},
		{"another protocol", "GET / HTTP/3.0\r\nHost: x\r\n\r\n" + hidden, []int{505}, true},
		{"HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hidden, []int{404}, true},
		{"a long line", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", []int{431}, true},
		{"a long name", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("x", 20<<10) + ": x\r\n\r\n", []int{431}, true},
		{"a long path", "GET /" + strings.Repeat("x", 20<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", []int{431}, true},
		{"many lines", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 4000) + "\r\n", []int{431}, true},
		{"no request", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}, true},
		{"HTTP/1.0 with a length and a coding", "POST /reporter/web/jobs/ HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, []int{401}, true},
		{"a folded line", head + "X: a\r\n Content-Length: 40\r\n\r\n" + hidden, []int{401}, true},
		{"a folded length", head + "Content-Length:\r\n 5\r\n\r\nhello" + hidden, []int{401}, true},
		{"a length with a zero in front", head + "Content-Length: 05\r\n\r\nhello" + hidden, []int{401}, true},
		{"a line end without CR", head + "X: a\nContent-Length: 5\r\n\r\nhello" + hidden, []int{401}, true},
		{"a length and a coding", head + "Content-Length: 48\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, []int{401}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			answers, closed := converse(t, addr, tt.request, 2*time.Second)
			var codes []int
			for _, a := range answers {
				codes = append(codes, a.code)
			}
			if len(codes) != len(tt.want) || codes[0] != tt.want[0] || closed != tt.closed {
				t.Errorf("answers %v, closed %v; want %v, %v", codes, closed, tt.want, tt.closed)
			}
		})
	}
}

// published is how a page or feed comes out: how often it has each element,
// with its attributes' names, and the text of those with an announcement's.
func published(t *testing.T, page string, isText func(n *html.Node) bool) (elements map[string]int, texts []string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	elements = make(map[string]int)
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		name := n.Data
		for _, a := range n.Attr {
			name += " " + a.Key
		}
		elements[name]++
		if isText(n) {
			text := ""
			for c := range n.Descendants() {
				text += c.Data
			}
			texts = append(texts, text)
		}
	}
	return elements, texts
}

// Whatever an announcement says, on the page and in the feed it is text, all
// of it, and nothing but text.
func FuzzPublished(f *testing.F) {
	f.Add("Maintenance", "From 10:00\nto 11:00")
	f.Add(hostileLabel, hostileLabel)
	f.Add("</bdi></h2><script>alert(1)</script>", "</p><img src=x onerror=alert(1)>")
	f.Add("]]><x/>", "&amp;&#0;&#x110000; {{.Title}} <!-- -->")
	f.Add("\u2028\ufffe\uffff", "\r\n\r\t\v")
	f.Add("\u202eelyts", "a\u202eb")
	f.Add("a", "\u202e")
	f.Add("0", "0")
	plain := newTestPage(f, announcing("a", "b"))
	f.Fuzz(func(t *testing.T, title, text string) {
		post, err := json.Marshal(map[string]string{"title": title, "text": text})
		if err != nil {
			t.Fatal(err)
		}
		a, err := parseAnnouncement(post)
		// Characters that turn the direction of what follows are not shown: a text of
		// nothing else has no paragraph. Nor has one that only repeats the title.
		if err != nil || steady(a.text) == "" || len(a.body()) == 0 {
			return
		}
		h := newTestPage(t, announcing(a.title, a.text)).handler(nil)
		isText := func(n *html.Node) bool {
			return n.Data == "p" && slices.Contains(n.Attr, html.Attribute{Key: "class", Val: "text"})
		}
		want, _ := published(t, string(plain.now.Load().page.plain.body), isText)
		page := body(t, get(h, "GET", "/"))
		got, texts := published(t, page, isText)
		if !maps.Equal(got, want) {
			t.Errorf("%q, %q: the page has other elements:\n%v\nwant\n%v", title, text, got, want)
		}
		// The parser reads line ends as browsers do.
		shown := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(steady(a.text))
		if len(texts) != 1 || texts[0] != shown {
			t.Errorf("the page says %q, want %q", texts, shown)
		}

		var feed struct {
			Entries []struct {
				Title   string `xml:"title"`
				Content string `xml:"content"`
			} `xml:"entry"`
		}
		if err := xml.Unmarshal([]byte(body(t, get(h, "GET", "/feed.atom"))), &feed); err != nil {
			t.Fatalf("the feed is not well-formed: %v", err)
		}
		// XML has no way to write some characters.
		legal := func(s string) string {
			return strings.Map(func(r rune) rune {
				if r == 0xfffe || r == 0xffff {
					return 0xfffd
				}
				return r
			}, s)
		}
		if len(feed.Entries) != 1 || feed.Entries[0].Title != legal(steady(a.title)) || feed.Entries[0].Content != legal(steady(a.text)) {
			t.Errorf("the feed says %q, want %q and %q", feed.Entries, legal(steady(a.title)), legal(steady(a.text)))
		}
	})
}

// announcing is a healthy page with one announcement.
func announcing(title, text string) *snapshot {
	s := healthySample()
	s.announcements = []announcement{{id: "6f0c0f1e-8f6e-4d0a-9a52-35b7a1a5a001", title: title, text: text, at: sampleTime}}
	return s
}
