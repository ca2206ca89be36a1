package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"
)

const healthUsage = `usage: vigil health [-c config.cfg] [-url http://host:port/] [-timeout 5s]

Asks the Vigil that runs on this machine whether it serves its page, for the
health check of a container or for a supervisor. It prints the page's status,
but does not judge it: what Vigil monitors may well be dead.

  -c, --config file   the config of the running Vigil, for its address; default:
                      ./config.cfg or, if there is none, the built-in sample
  -url url            ask the page at this address instead
  -timeout time       how long to wait for the answer, like 500ms (default: 5s)

examples:

  vigil health -c /etc/vigil/config.cfg
  vigil health -url http://127.0.0.1:8080/ -timeout 2s

Exit status: 0 if Vigil serves its page, 1 if not, 2 for wrong usage.
`

// maxHealthBody is how much of an answer is read: one status word is short.
const maxHealthBody = 64

// runHealth is "vigil health".
func runHealth(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil health", flag.ContinueOnError)
	path := configFlag(fs)
	page := fs.String("url", "", "")
	timeout := durationFlag(fs, "timeout", 5*time.Second, time.Millisecond, time.Hour)
	if code, ok := parseFlags(fs, healthUsage, args, stdout, stderr); !ok {
		return code
	}
	pages := []string{*page}
	if *page == "" {
		conf, err := loadServer(*path, os.LookupEnv)
		if err == nil {
			pages, err = conf.localPages()
		}
		if err != nil {
			fmt.Fprintf(stderr, "vigil health: %v\n", err)
			return exitError
		}
	} else if _, err := parseURL(*page, "http", "https"); err != nil {
		fmt.Fprintf(stderr, "vigil health: -url %q %v\n", *page, err)
		return exitUsage
	}

	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	var errs []error
	for _, page := range pages {
		word, err := askStatus(ctx, page)
		if err == nil {
			fmt.Fprintf(stdout, "Vigil serves %s, its status is %s\n", page, word)
			return exitOK
		}
		errs = append(errs, fmt.Errorf("vigil health: %s: %w", page, err))
	}
	fmt.Fprintln(stderr, errors.Join(errs...))
	return exitError
}

// loadServer reads only the [server] table of a config: a mistake elsewhere does
// not change where the running Vigil listens.
func loadServer(path string, getenv func(string) (string, bool)) (Server, error) {
	name := cmp.Or(path, defaultConfig)
	text, err := readFile(name, maxConfig)
	switch {
	case path == "" && errors.Is(err, os.ErrNotExist):
		text = []byte(sampleFor(runtime.GOOS))
	case err != nil:
		return Server{}, unreadable(name, err)
	}
	doc, err := readDocument(bytes.NewReader(text), name, getenv)
	if err != nil {
		return Server{}, unreadable(name, err)
	}
	c := &Config{}
	if doc.root != nil {
		c.readServer(doc.root.table("server"))
	}
	return c.Server, joinProblems(doc.faults)
}

// localPages returns the URLs at which the page may be found from this machine:
// two when the server chooses among two addresses.
func (s *Server) localPages() ([]string, error) {
	host, port, err := net.SplitHostPort(s.Inet)
	if err != nil {
		return nil, fmt.Errorf("server.inet %q: %w", s.Inet, err)
	}
	if port == "0" {
		return nil, errors.New("server.inet lets the system choose the port: give -url with the address from the log")
	}
	hosts := []string{host}
	switch ip := net.ParseIP(host); {
	case host == "" || ip.Equal(net.IPv6unspecified):
		hosts = []string{"::1", "127.0.0.1"}
	case ip.Equal(net.IPv4zero):
		hosts = []string{"127.0.0.1"}
	case !s.InetSet:
		hosts = []string{host, "127.0.0.1"}
	}
	var pages []string
	for _, host := range hosts {
		pages = append(pages, "http://"+net.JoinHostPort(host, port)+s.PathPrefix+"/")
	}
	return pages, nil
}

// askStatus returns the status word of the page at a URL.
func askStatus(ctx context.Context, page string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(page, "/")+"/status/text", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("User-Agent", "vigil-health/"+version)
	// Without the proxies of the environment, and without following redirects.
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "", errors.New("no answer in time; is Vigil overloaded, or is another program on its port?")
	case err != nil:
		return "", fmt.Errorf("%w; is Vigil running?", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the answer is %s; is this a Vigil, and is the path right?", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHealthBody))
	if err != nil {
		return "", err
	}
	switch word := string(body); word {
	case "healthy", "sick", "dead":
		return word, nil
	}
	return "", fmt.Errorf("the answer is %q, which is not a status; is this a Vigil?", body)
}
