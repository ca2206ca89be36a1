package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// A strictFake plays one service. It refuses what the service refuses, and what
// the service takes without showing it to anybody.
type strictFake struct {
	path        string // with the query
	contentType string
	status      int
	answer      string
	check       func(c *checker, body map[string]any)
}

// A checker collects what is wrong with a request.
type checker struct{ problems []string }

func (c *checker) want(ok bool, format string, args ...any) {
	if !ok {
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	}
}

// keys wants an object with keys from the list only, and all that end with "!".
func (c *checker) keys(v any, allowed ...string) map[string]any {
	m, ok := v.(map[string]any)
	c.want(ok, "%v is no object", v)
	var names []string
	for _, key := range allowed {
		name := strings.TrimSuffix(key, "!")
		names = append(names, name)
		c.want(name == key || m[name] != nil, "no %s", name)
	}
	for key := range maps.Keys(m) {
		c.want(slices.Contains(names, key), "key %s", key)
	}
	return m
}

// text wants a string of at most so many, counted by size.
func (c *checker) text(v any, size func(string) int, most int) string {
	s, ok := v.(string)
	c.want(ok && strings.TrimSpace(s) != "", "%v is no text", v)
	c.want(size(s) <= most, "%d are over %d: %.80s", size(s), most, s)
	return s
}

// noPing wants no live mention.
func (c *checker) noPing(s string) {
	for _, mention := range []string{"@everyone", "@here", "@all", "@channel", "@room", "<users/", "<!channel>", "<!here>", "](http"} {
		c.want(!strings.Contains(s, mention) || strings.Contains(s, `\`+mention) || mention == "](http" && strings.Contains(s, `\](http`),
			"%q in %.200q", mention, s)
	}
}

var strictFakes = map[string]strictFake{
	"discord": {"/api/v10/webhooks/1234567890/discord-secret-token?wait=true", "application/json", 200, `{"id":"1"}`, func(c *checker, body map[string]any) {
		m := c.keys(body, "content!", "embeds!", "allowed_mentions!")
		c.noPing(c.text(m["content"], utf16Count, 2000))
		parse, ok := c.keys(m["allowed_mentions"], "parse!")["parse"].([]any)
		c.want(ok && len(parse) == 0, "allowed_mentions")
		for _, e := range m["embeds"].([]any) {
			embed := c.keys(e, "description!", "color!", "timestamp!")
			c.noPing(c.text(embed["description"], utf16Count, 4096))
			_, err := time.Parse(time.RFC3339, embed["timestamp"].(string))
			c.want(err == nil, "timestamp %v", embed["timestamp"])
		}
	}},
	"teams": {"/powerautomate/workflows/0a1b/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=teams-secret-sig",
		"application/json", 202, "", func(c *checker, body map[string]any) {
			m := c.keys(body, "type!", "attachments!")
			list, _ := m["attachments"].([]any)
			c.want(m["type"] == "message" && len(list) == 1, "message %v", m["type"])
			a := c.keys(list[0], "contentType!", "contentUrl", "content!")
			c.want(a["contentType"] == "application/vnd.microsoft.card.adaptive", "content type")
			card := c.keys(a["content"], "$schema!", "type!", "version!", "body!", "actions", "msteams!")
			c.want(card["type"] == "AdaptiveCard" && slices.Contains([]any{"1.2", "1.3", "1.4"}, card["version"]), "card %v", card["version"])
			for _, b := range card["body"].([]any) {
				block := c.keys(b, "type!", "text!", "wrap!", "weight", "size", "color", "spacing")
				c.want(block["type"] == "TextBlock" && block["wrap"] == true, "block %v", block)
				c.noPing(strings.ReplaceAll(c.text(block["text"], byteCount, 2000), "<!", "<")) // which is Slack's
			}
			if actions, ok := card["actions"].([]any); ok {
				action := c.keys(actions[0], "type!", "title!", "url!")
				c.want(action["type"] == "Action.OpenUrl" && strings.HasPrefix(action["url"].(string), "https://"), "action %v", action)
			}
		}},
	"mattermost": {"/hooks/mattermost-secret-hook", "application/json", 200, "ok", func(c *checker, body map[string]any) {
		m := c.keys(body, "text!", "attachments!")
		c.noPing(c.text(m["text"], utf8.RuneCountInString, 16383))
		for _, a := range m["attachments"].([]any) {
			attachment := c.keys(a, "fallback!", "color!", "title", "title_link", "text!")
			c.noPing(c.text(attachment["text"], utf8.RuneCountInString, 16383))
			c.want(regexp.MustCompile("^#[0-9a-f]{6}$").MatchString(attachment["color"].(string)), "colour")
		}
	}},
	"googlechat": {"/v1/spaces/AAAA/messages?key=googlechat-secret-key&token=googlechat-secret-token%3D", "application/json; charset=UTF-8", 200, `{"name":"spaces/AAAA/messages/1"}`,
		func(c *checker, body map[string]any) {
			m := c.keys(body, "text!", "thread")
			c.noPing(c.text(m["text"], byteCount, 4096))
			if m["thread"] != nil {
				c.text(c.keys(m["thread"], "threadKey!")["threadKey"], byteCount, 4000)
			}
		}},
	"ntfy": {"/", "application/json", 200, `{"id":"x"}`, func(c *checker, body map[string]any) {
		m := c.keys(body, "topic!", "title!", "message!", "priority!", "tags!", "click")
		c.want(m["topic"] == "ntfy-secret-topic", "topic")
		c.text(m["title"], byteCount, 500)
		c.text(m["message"], byteCount, 4095)
		priority, ok := m["priority"].(float64)
		c.want(ok && priority >= 1 && priority <= 5 && priority == float64(int(priority)), "priority %v", m["priority"])
		for _, tag := range m["tags"].([]any) {
			c.want(regexp.MustCompile("^[a-z_]+$").MatchString(tag.(string)), "tag %v", tag)
		}
	}},
	"pagerduty": {"/v2/enqueue", "application/json", 202, `{"status":"success","message":"Event processed"}`, func(c *checker, body map[string]any) {
		m := c.keys(body, "routing_key!", "event_action!", "dedup_key!", "payload!", "links", "client!", "client_url")
		c.want(len(m["routing_key"].(string)) == 32, "routing key")
		c.want(slices.Contains([]any{"trigger", "acknowledge", "resolve"}, m["event_action"]), "action %v", m["event_action"])
		c.text(m["dedup_key"], byteCount, 255)
		p := c.keys(m["payload"], "summary!", "source!", "severity!", "timestamp", "component", "group", "custom_details!")
		c.text(p["summary"], utf8.RuneCountInString, 1024)
		c.want(slices.Contains([]any{"critical", "error", "warning", "info"}, p["severity"]), "severity %v", p["severity"])
		_, ok := p["custom_details"].(map[string]any)
		c.want(ok, "details are no object")
	}},
}

// hostileStorm has more outages, and nastier names, than any message can hold.
func hostileStorm() Alert {
	a := goldenAlerts()["hostile"]
	hostile := a.Outages[0]
	for i := range 3000 {
		o := hostile
		o.ID, o.Node = fmt.Sprint("o", i), fmt.Sprint(hostile.Node, i)
		o.New, o.Over = i%3 == 0, i%3 == 1
		a.Outages = append(a.Outages, o)
	}
	return a
}

// TestStrictFakes sends every kind of alert to services that take nothing but
// what is right, one request at a time.
func TestStrictFakes(t *testing.T) {
	alerts := goldenAlerts()
	alerts["storm"] = hostileStorm()
	for kind, fake := range strictFakes {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := new(checker)
			body, _ := io.ReadAll(r.Body)
			uri := strings.TrimSuffix(r.URL.RequestURI(), "&messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD")
			c.want(r.Method == "POST" && uri == fake.path, "%s %s", r.Method, r.URL.RequestURI())
			c.want(r.Header.Get("Content-Type") == fake.contentType, "content type %s", r.Header.Get("Content-Type"))
			c.want(strings.HasPrefix(r.Header.Get("User-Agent"), "vigil/"), "agent %s", r.Header.Get("User-Agent"))
			c.want(utf8.Valid(body) && len(body) <= 28000, "%d bytes", len(body))
			c.want((r.Header.Get("Authorization") != "") == (kind == "ntfy"), "a login %q", r.Header.Get("Authorization"))
			c.want(kind != "ntfy" || len(body) <= 8192, "%d bytes", len(body))
			dec := json.NewDecoder(bytes.NewReader(body))
			var m map[string]any
			c.want(dec.Decode(&m) == nil && !dec.More(), "no JSON")
			for _, secret := range secrets {
				c.want(kind == "ntfy" || kind == "pagerduty" || !bytes.Contains(body, []byte(secret)), "a secret in the body")
			}
			c.want((m["thread"] != nil) == strings.Contains(r.URL.RawQuery, "messageReplyOption="), "a thread without the option")
			fake.check(c, m)
			for _, p := range c.problems {
				t.Errorf("%s: %s", kind, p)
			}
			w.WriteHeader(fake.status)
			io.WriteString(w, fake.answer)
		}))
		for _, target := range webConfig(srv.URL).Targets("1.2.3") {
			if target.Channel != kind {
				continue
			}
			for name, a := range alerts {
				if err := target.Deliver(t.Context(), a); err != nil {
					t.Errorf("%s: %s: %v", kind, name, err)
				}
			}
		}
		srv.Close()
	}
}
