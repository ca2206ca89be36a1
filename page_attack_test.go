package main

import (
	"bufio"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
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

// spoken is a page on which every text that somebody writes is this one.
func spoken(text string) *snapshot {
	job := polled("a", dead, 1)
	job.reason = text
	s := newSampler().service("s", node("n", modePoll, job, polled("b", sick, 1)).revealed().linked("https://x.example/", text).past(90, map[int]time.Duration{0: time.Hour}, nil)).snapshot
	sv := s.services[0].conf
	sv.Label, sv.Nodes[0].Label, sv.Nodes[0].Labels = text, text, map[string]string{"a": text}
	b := &s.conf.Branding
	b.PageTitle, b.CompanyName = text, text
	at := func(hours int) time.Time { return sampleTime.Add(time.Duration(hours) * time.Hour) }
	updates := []announcementUpdate{{at: at(-2), state: "identified", text: text}}
	s.announcements = []announcement{
		{id: "a", title: text, text: text + ".", at: at(-3)},
		{id: "b", title: text, text: text + ".", at: at(-3), incident: true, state: "identified", match: []string{sv.ID}, updates: updates},
	}
	s.pastAnnouncements = []announcement{{id: "c", title: text, text: text + ".", at: at(-40), incident: true, state: stateResolved, match: []string{sv.ID},
		updates: []announcementUpdate{{at: at(-38), state: stateResolved, text: text}}}}
	s.quietTimes = []*quietTime{{id: "d", title: text, text: text, selectors: selectors{"*"}, start: at(1), end: at(2)}}
	s.maintained = []*quietTime{{id: "e", title: text, text: text, selectors: selectors{"*"}, start: at(-80), end: at(-79)}}
	s.incidents = []incident{
		{id: "f", service: sv, node: sv.Nodes[0], start: at(-1), reason: text},
		{id: "g", service: sv, node: sv.Nodes[0], start: at(-39), end: at(-38), reason: text},
		{id: "h", service: sv, node: sv.Nodes[0], start: at(-90), end: at(-89), reason: text},
	}
	return s
}

// spokenRoutes are the routes that say something of that page.
var spokenRoutes = []string{
	"/", "/history", "/node/id-s/id-n", "/embed", "/embed/id-s", "/nothing", "/feed.atom", "/feed/id-s.atom",
	"/badge/color", "/badge/icon/id-s", "/badge/uptime/id-s/id-n",
	"/status/report", "/status/history", "/status/sla", "/status/node/id-s/id-n",
}

// Whatever labels, reasons, announcements, updates and translations hold, every
// route answers with it as text: it adds no element and no attribute, and turns
// no other text round.
func TestHostileText(t *testing.T) {
	plain := newTestPage(t, spoken("a")).handler(nil)
	for name, text := range map[string]string{
		"script": "<script>alert(1)</script>\"'`&{{.}} --> ]]> </title></style></bdi></svg><img src=x onerror=alert(1)>",
		"turned": "\u202Eturned\u2066 \u202Dround",
		"long":   strings.Repeat("x", 10_000),
		"NUL":    "a\x00b\x00",
	} {
		t.Run(name, func(t *testing.T) {
			h := newTestPage(t, spoken(text)).handler(nil)
			for _, route := range spokenRoutes {
				sameElements(t, route, plain, h, strings.NewReplacer("\u202E", "", "\u202D", "", "\u2066", "", "\x00", "\ufffd").Replace(text))
			}
		})
	}
	t.Run("translation", func(t *testing.T) {
		const evil = "<script>alert(1)</script>\"'`&</title></style></svg>\x00"
		dir := t.TempDir()
		words := filepath.Join(dir, "templates", "words")
		if err := os.MkdirAll(words, 0o755); err != nil {
			t.Fatal(err)
		}
		quote := func(s string) string {
			quoted, err := json.Marshal(s + evil)
			if err != nil {
				t.Fatal(err)
			}
			return string(quoted)
		}
		var file strings.Builder
		en := builtInLanguages(t)[english]
		for key, word := range en.words {
			fmt.Fprintf(&file, "%s = %s\n", key, quote(word))
		}
		for key, forms := range en.plurals {
			fmt.Fprintf(&file, "%s = { one = %s, other = %s }\n", key, quote(forms["one"]), quote(forms["other"]))
		}
		for key, names := range en.names {
			var quoted []string
			for _, name := range names {
				quoted = append(quoted, quote(name))
			}
			fmt.Fprintf(&file, "%s = [%s]\n", key, strings.Join(quoted, ", "))
		}
		if err := os.WriteFile(filepath.Join(words, "xx.toml"), []byte(file.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		s := spoken("a")
		s.conf.Assets, s.conf.Branding.Language = dir, "xx"
		h := newTestPage(t, s).handler(nil)
		for _, route := range spokenRoutes {
			sameElements(t, route, plain, h, "")
		}
	})
}

// sameElements holds what one handler answers to have the structure of what
// another does, and to say a text where it is on a page at all.
func sameElements(t *testing.T, route string, plain, hostile http.Handler, text string) {
	t.Helper()
	want, got := body(t, get(plain, "GET", route, "Accept: text/html")), body(t, get(hostile, "GET", route, "Accept: text/html"))
	if strings.HasPrefix(route, "/status/") {
		if !json.Valid([]byte(got)) {
			t.Errorf("%s is not JSON: %.300s", route, got)
		}
		return
	}
	if strings.ContainsAny(got, "\x00\u202E\u202D\u2066") {
		t.Errorf("%s has NUL, or marks that turn text round", route)
	}
	if !strings.HasPrefix(got, "<!DOCTYPE html>") {
		if a, b := xmlElements(t, route, want), xmlElements(t, route, got); a != b {
			t.Errorf("%s has other elements:\n%.300s\nwant\n%.300s", route, b, a)
		}
		return
	}
	isText := func(n *html.Node) bool { return slices.Contains([]string{"title", "bdi", "p", "li"}, n.Data) }
	a, _ := published(t, want, isText)
	b, texts := published(t, got, isText)
	if !maps.Equal(a, b) {
		t.Errorf("%s has other elements:\n%v\nwant\n%v", route, b, a)
	}
	said := strings.Join(texts, "\n")
	if !strings.Contains(said, text) {
		t.Errorf("%s does not say %.100q:\n%.1000q", route, text, said)
	}
}

// xmlElements returns the elements of a feed or badge, with their attributes'
// names.
func xmlElements(t *testing.T, route, text string) string {
	t.Helper()
	var all strings.Builder
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		token, err := d.Token()
		if err == io.EOF {
			return all.String()
		} else if err != nil {
			t.Fatalf("%s: %v", route, err)
		}
		if e, ok := token.(xml.StartElement); ok {
			all.WriteString(e.Name.Local)
			for _, a := range e.Attr {
				all.WriteString(" " + a.Name.Local)
			}
			all.WriteByte('\n')
		}
	}
}
