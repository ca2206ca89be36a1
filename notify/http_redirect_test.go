package notify

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestRedirectsElsewhere: a token must not go wherever a redirect says.
func TestRedirectsElsewhere(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		var followed atomic.Int32
		other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
		srv := httptest.NewServer(http.RedirectHandler(other.URL, status))
		for _, target := range webConfig(srv.URL).Targets("1.2.3") {
			err := target.Deliver(t.Context(), deadAlert())
			if !isPermanent(err) || isFinal(err) {
				t.Errorf("%s: a %d came out as %v, want a refusal", target.Name, status, err)
			} else if want := "redirects to " + other.URL + ","; !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not say %q", target.Name, err, want)
			}
		}
		if n := followed.Load(); n != 0 {
			t.Errorf("%d redirects with %d were followed", n, status)
		}
		srv.Close()
		other.Close()
	}
}

// TestRedirectsToTheSameHost: a hook that moved on its host, or to https there,
// gets the same message, with its method, body and credentials.
func TestRedirectsToTheSameHost(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, target := range webConfig("http://a.example").Targets("1.2.3") {
			type request struct{ method, header, body string }
			var got []request
			record := func(r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				r.Header.Del("Accept-Encoding")
				got = append(got, request{r.Method, fmt.Sprint(r.Header), string(body)})
			}
			secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { record(r) }))
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				record(r)
				to := "/moved"
				if r.URL.Path == to {
					to = secure.URL + "/secure"
				}
				http.Redirect(w, r, to, status)
			}))
			n := target.Notifier.(httpNotifier)
			n.client = secure.Client()
			n.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			all := n // with its own address
			n.requests = func(a Alert, now time.Time) ([]*http.Request, error) {
				reqs, err := all.all(a, now)
				for _, req := range reqs[:1] {
					req.URL.Host = strings.TrimPrefix(srv.URL, "http://")
				}
				return reqs[:1], err
			}
			if err := n.Notify(t.Context(), deadAlert()); err != nil {
				t.Errorf("%s, %d: %v", target.Name, status, err)
			}
			if len(got) != 3 || got[1] != got[0] || got[2] != got[0] || got[0].body == "" {
				t.Errorf("%s, %d: requests\n%+v", target.Name, status, got)
			}
			srv.Close()
			secure.Close()
		}
	}
}

func TestRedirectRules(t *testing.T) {
	for _, tt := range []struct{ from, to, want string }{
		{"https://a.example/x", "/y?z", "https://a.example/y?z"},
		{"https://a.example/x", "https://A.example:443/y", "https://A.example:443/y"},
		{"http://a.example/x", "https://a.example/x", "https://a.example/x"},
		{"https://user:pw@a.example/x", "/y", "https://user:pw@a.example/y"},
		{"https://a.example/x", "http://a.example/x", ""},
		{"https://a.example/x", "https://b.example/x", ""},
		{"https://a.example/x", "https://a.example:8443/x", ""},
		{"https://a.example/x", "//b.example/x", ""},
		{"https://a.example/x", "ftp://a.example/x", ""},
		{"https://a.example/x", ":", ""},
		{"https://a.example/x", "", ""},
	} {
		from, err := url.Parse(tt.from)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if to := (answer{status: 302, header: http.Header{"Location": {tt.to}}}).redirect(from); to != nil {
			got = to.String()
		}
		if got != tt.want {
			t.Errorf("%s redirects to %q: %q, want %q", tt.from, tt.to, got, tt.want)
		}
	}
	loops := 0
	target := channelTarget(t, "webhook", func(w http.ResponseWriter, r *http.Request) {
		loops++
		http.Redirect(w, r, "/again", http.StatusFound)
	})
	if err := target.Deliver(t.Context(), deadAlert()); class(err) != "refused" || loops != maxRedirects+1 {
		t.Errorf("a loop came out as %v after %d requests", err, loops)
	}
}
