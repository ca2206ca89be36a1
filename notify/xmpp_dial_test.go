package notify

import (
	"net"
	"reflect"
	"slices"
	"testing"
)

func TestEndpoints(t *testing.T) {
	for _, tt := range []struct {
		name    string
		domain  string
		records []*net.SRV
		want    []endpoint
	}{{
		name: "no records",
		want: []endpoint{{host: "xmpp.test", port: 5222}},
	}, {
		name:   "an address in the place of a domain",
		domain: "[::1]",
		want:   []endpoint{{host: "::1", port: 5222}},
	}, {
		name: "both kinds by priority",
		records: []*net.SRV{
			{Target: srvStart + "b.xmpp.test.", Port: 5222, Priority: 20},
			{Target: srvStart + "d.xmpp.test.", Port: 5224, Priority: 40},
			{Target: srvDirect + "a.xmpp.test.", Port: 443, Priority: 10, Weight: 7},
			{Target: srvDirect + "c.xmpp.test.", Port: 5223, Priority: 30},
		},
		want: []endpoint{
			{"a.xmpp.test", 443, true, 10, 7},
			{"b.xmpp.test", 5222, false, 20, 0},
			{"c.xmpp.test", 5223, true, 30, 0},
			{"d.xmpp.test", 5224, false, 40, 0},
		},
	}, {
		name: "one kind denied",
		records: []*net.SRV{
			{Target: srvStart + ".", Port: 1},
			{Target: srvDirect + "a.xmpp.test.", Port: 443},
		},
		want: []endpoint{{"a.xmpp.test", 443, true, 0, 0}},
	}} {
		domain := tt.domain
		if domain == "" {
			domain = "xmpp.test"
		}
		got, err := endpoints(t.Context(), fakeDNS(tt.records...), domain)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v, %v; want %v", tt.name, got, err, tt.want)
		}
	}
	many := make([]*net.SRV, 50)
	for i := range many {
		many[i] = &net.SRV{Target: srvStart + "a.xmpp.test.", Port: 5222, Priority: uint16(i)}
	}
	if got, err := endpoints(t.Context(), fakeDNS(many...), "xmpp.test"); err != nil || len(got) != maxEndpoints || got[7].priority != 7 {
		t.Errorf("of 50 records: %v, %v; want the first %d", got, err, maxEndpoints)
	}
}

// TestShuffle draws every ticket once: the first place goes to each endpoint as
// often as its weight says.
func TestShuffle(t *testing.T) {
	list := []endpoint{{host: "later", priority: 1}, {host: "a", weight: 1}, {host: "b", weight: 3}, {host: "zero"}}
	first := make(map[string]int)
	for ticket := range 101 + 301 + 1 {
		drawn := false
		got := shuffle(slices.Clone(list), func(n int) int {
			if drawn {
				return n - 1
			}
			drawn = true
			if n != 403 {
				t.Fatalf("%d tickets, want 403", n)
			}
			return ticket
		})
		first[got[0].host]++
		hosts := []string{got[0].host, got[1].host, got[2].host}
		slices.Sort(hosts)
		if !slices.Equal(hosts, []string{"a", "b", "zero"}) || got[3].host != "later" {
			t.Fatalf("ticket %d: %v", ticket, got)
		}
	}
	if want := map[string]int{"a": 101, "b": 301, "zero": 1}; !reflect.DeepEqual(first, want) {
		t.Errorf("in the first place %v, want %v", first, want)
	}
}

func TestRedirectEndpoints(t *testing.T) {
	for host, want := range map[string]string{
		"two.xmpp.test":       "two.xmpp.test:5222",
		"two.xmpp.test:5299":  "two.xmpp.test:5299",
		"192.0.2.1":           "192.0.2.1:5222",
		"[2001:db8::1]":       "[2001:db8::1]:5222",
		"[2001:db8::1]:5299":  "[2001:db8::1]:5299",
		"2001:db8::1":         "[2001:db8::1]:5222",
		"":                    "",
		":5222":               "",
		"two.xmpp.test:":      "",
		"two.xmpp.test:0":     "",
		"two.xmpp.test:65536": "",
		"two.xmpp.test:http":  "",
		"a b":                 "",
		"a/b:1":               "",
	} {
		got := (&redirectError{host}).endpoints()
		switch {
		case want == "" && got != nil:
			t.Errorf("%q: %v, want none", host, got)
		case want != "" && (len(got) != 2 || got[0].addr() != want || got[1].addr() != want || got[0].direct || !got[1].direct):
			t.Errorf("%q: %v, want %s twice", host, got, want)
		}
	}
}
