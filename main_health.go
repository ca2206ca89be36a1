package main

import (
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
health check of a container or for a supervisor. What Vigil watches may be dead
all the same: that is printed, and does not count.

  -c, --config file   the config of the running Vigil, which says where it
                      listens; without it ./config.cfg or, where there is none,
                      the sample that is built in
  -url url            ask the page at this address, whatever the config says
  -timeout time       how long an answer may take, like 500ms (default: 5s)

Exit status: 0 when Vigil serves, 1 when it does not, 2 for wrong usage.
`

// maxHealthBody is how much of an answer is read: one status word is short.
const maxHealthBody = 64

// runHealth is "vigil health". It returns the exit code.
func runHealth(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil health", flag.ContinueOnError)
	path := configFlag(fs)
	page := fs.String("url", "", "")
	timeout := fs.Duration("timeout", 5*time.Second, "")
	if code, ok := parseFlags(fs, healthUsage, args, stdout, stderr); !ok {
		return code
	}
	if *timeout <= 0 {
		fmt.Fprintf(stderr, "vigil health: -timeout %v: want more than nothing\n", *timeout)
		return exitUsage
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
			fmt.Fprintf(stdout, "Vigil serves %s, the status there is %s\n", page, word)
			return exitOK
		}
		errs = append(errs, fmt.Errorf("vigil health: %s: %w", page, err))
	}
	fmt.Fprintln(stderr, errors.Join(errs...))
	return exitError
}

// loadServer reads no more of a config than how its Vigil serves: a mistake
// elsewhere, which a running Vigil refuses to take over, is not the concern of
// those who ask how it is.
func loadServer(path string, getenv func(string) (string, bool)) (Server, error) {
	name := cmp.Or(path, defaultConfig)
	var r io.Reader
	f, err := os.Open(name)
	switch {
	case err == nil:
		defer f.Close()
		r = f
	case path == "" && errors.Is(err, os.ErrNotExist):
		r = strings.NewReader(sampleFor(runtime.GOOS))
	default:
		return Server{}, unreadable(name, err)
	}
	doc, err := readDocument(r, name, getenv)
	if err != nil {
		return Server{}, unreadable(name, err)
	}
	c := &Config{}
	if doc.root != nil {
		c.readServer(doc.root.table("server"))
	}
	return c.Server, joinProblems(doc.faults)
}

// localPages returns the URLs at which the page may be found from this
// machine; there are two where the server itself may choose.
func (s *Server) localPages() ([]string, error) {
	host, port, err := net.SplitHostPort(s.Inet)
	if err != nil {
		return nil, fmt.Errorf("server.inet %q: %w", s.Inet, err)
	}
	if port == "0" {
		return nil, errors.New("server.inet leaves the port to the system: say -url, with the address that the log tells")
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

// askStatus returns the status word of the page at that URL.
func askStatus(ctx context.Context, page string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(page, "/")+"/status/text", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("User-Agent", "vigil-health/"+version)
	// No proxy of the environment stands between a machine and itself, and no
	// answer sends elsewhere.
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "", errors.New("no answer in time; is Vigil overloaded, or another program at its port?")
	case err != nil:
		return "", fmt.Errorf("%w; is Vigil running?", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("it answers %s; is that a Vigil, and the path right?", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHealthBody))
	if err != nil {
		return "", err
	}
	switch word := string(body); word {
	case "healthy", "sick", "dead":
		return word, nil
	}
	return "", fmt.Errorf("it answers %q, which is no status; is that a Vigil?", body)
}
