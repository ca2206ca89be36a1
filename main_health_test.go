package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// health runs "vigil health" and returns its exit code and output.
func health(t *testing.T, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = runHealth(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

func TestHealth(t *testing.T) {
	answers := map[string]func(w http.ResponseWriter, r *http.Request){
		"/status/text":      func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "sick") },
		"/down/status/text": func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "dead") },
		"/long/status/text": func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, strings.Repeat("healthy", 1000)) },
		"/moved/status/text": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/status/text", http.StatusFound)
		},
		"/hung/status/text": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := answers[r.URL.Path]; answer != nil {
			answer(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	defer s.Close()
	address := s.Listener.Addr().String()

	t.Chdir(t.TempDir())
	config := func(name, inet, rest string) {
		if err := os.WriteFile(name, []byte("[server]\ninet = \""+inet+"\"\n"+rest), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, port, _ := net.SplitHostPort(address)
	config("good.cfg", address, "")
	config("all.cfg", "0.0.0.0:"+port, "[branding]\npage_url = 7\n") // wrong, but elsewhere
	config("prefix.cfg", address, "path_prefix = \"/down\"\n")
	config("any.cfg", "127.0.0.1:0", "")
	config("bad.cfg", "nowhere", "")
	config("rubbish.cfg", "", "rubbish")
	free := freeAddress(t)
	config("none.cfg", free, "")

	for _, tt := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"-c good.cfg", 0, "Vigil serves http://" + address + "/, its status is sick\n", ""},
		{"--config all.cfg", 0, "Vigil serves http://127.0.0.1:" + port + "/, its status is sick\n", ""},
		{"-c prefix.cfg", 0, "Vigil serves http://" + address + "/down/, its status is dead\n", ""},
		{"-url http://" + address, 0, "Vigil serves http://" + address + ", its status is sick\n", ""},
		{"-url http://" + address + "/other/", 1, "",
			"vigil health: http://" + address + "/other/: the answer is 404 Not Found; is this a Vigil, and is the path right?\n"},
		{"-url http://" + address + "/moved/", 1, "",
			"vigil health: http://" + address + "/moved/: the answer is 302 Found; is this a Vigil, and is the path right?\n"},
		{"-url http://" + address + "/long/", 1, "",
			"vigil health: http://" + address + "/long/: the answer is \"" + strings.Repeat("healthy", 10)[:64] + "\", which is not a status; is this a Vigil?\n"},
		{"-timeout 100ms -url http://" + address + "/hung/", 1, "",
			"vigil health: http://" + address + "/hung/: no answer in time; is Vigil overloaded, or is another program on its port?\n"},
		{"-c none.cfg", 1, "", "vigil health: http://" + free + "/: connect: connection refused; is Vigil running?\n"},
		{"-c any.cfg", 1, "", "vigil health: server.inet lets the system choose the port: give -url with the address from the log\n"},
		{"-c bad.cfg", 1, "", "vigil health: bad.cfg:2: server.inet: \"nowhere\" is not an address with a port; allowed: an address and a port, like [::1]:8080 or 0.0.0.0:8080\n"},
		{"-c missing.cfg", 1, "", "vigil health: missing.cfg: cannot be read: no such file or directory; name an existing file with -c\n"},
		{"-h", 0, healthUsage, ""},
		{"now", 2, "", "vigil health: unexpected argument \"now\" (see 'vigil health -h')\n"},
		{"-timeout 0s", 2, "", "vigil health: invalid value \"0s\" for flag -timeout: want 1ms to 1h (see 'vigil health -h')\n"},
		{"-url ftp://example.com", 2, "", "vigil health: -url \"ftp://example.com\" has a scheme that is not allowed; allowed: an http:// or https:// URL of a page (see 'vigil health -h')\n"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			code, stdout, stderr := health(t, strings.Fields(tt.args)...)
			if code != tt.code || stdout != tt.stdout || stderr != tt.stderr {
				t.Errorf("exit code %d\n%s%s\nwant %d\n%s%s", code, stdout, stderr, tt.code, tt.stdout, tt.stderr)
			}
		})
	}
	if code, _, stderr := health(t, "-c", "rubbish.cfg"); code != 1 || !strings.HasPrefix(stderr, "vigil health: rubbish.cfg:") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

func TestLocalPages(t *testing.T) {
	for _, tt := range []struct {
		server Server
		want   []string
	}{
		{Server{Inet: "[::1]:8080"}, []string{"http://[::1]:8080/", "http://127.0.0.1:8080/"}},
		{Server{Inet: "[::1]:8080", InetSet: true}, []string{"http://[::1]:8080/"}},
		{Server{Inet: "[::]:80", InetSet: true}, []string{"http://[::1]:80/", "http://127.0.0.1:80/"}},
		{Server{Inet: ":80", InetSet: true, PathPrefix: "/status"}, []string{"http://[::1]:80/status/", "http://127.0.0.1:80/status/"}},
		{Server{Inet: "0.0.0.0:80", InetSet: true}, []string{"http://127.0.0.1:80/"}},
		{Server{Inet: "10.1.2.3:80", InetSet: true}, []string{"http://10.1.2.3:80/"}},
		{Server{Inet: "localhost:80", InetSet: true}, []string{"http://localhost:80/"}},
	} {
		got, err := tt.server.localPages()
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %q, %v, want %q", tt.server, got, err, tt.want)
		}
	}
}

// TestUnmapProgram checks that the pages of the program leave its memory, and
// that it goes on.
func TestUnmapProgram(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("does nothing elsewhere")
	}
	resident := func() (kB int) {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(status), "RssFile:")
		if !ok {
			t.Skip("this system does not show the pages of files")
		}
		if kB, err = strconv.Atoi(strings.Fields(rest)[0]); err != nil {
			t.Fatal(err)
		}
		return kB
	}
	before := resident()
	unmapProgram()
	if after := resident(); after >= before-1024 {
		t.Errorf("%d KB of files are resident, %d KB before: want 1 MiB less", after, before)
	}
	if _, err := newSite(new(Config), "", slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("the program's files cannot be read any more: %v", err)
	}
}
