package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"vigil/notify"
)

// clientHelp describes the shared flags in the usage text of every command that
// talks to a running Vigil.
const clientHelp = `  -c, --config file   the config of the running Vigil, for its address and its
                      manager_token; default: ./config.cfg
  -url url            ask the Vigil at this address instead, with the token in
                      VIGIL_MANAGER_TOKEN
  -json               print JSON
`

const (
	// clientTime is how long an answer of the Manager API may take.
	clientTime = 10 * time.Second

	// maxAnswer is how much of an answer is read, in bytes: the status of
	// 100,000 replicas is about 30 MB.
	maxAnswer = 128 << 20
)

// A clientFlags holds the flags that those commands share.
type clientFlags struct {
	config, url *string
	json        bool
}

// addClientFlags adds them to a command's own.
func addClientFlags(fs *flag.FlagSet) *clientFlags {
	f := &clientFlags{config: configFlag(fs), url: filledFlag(fs, "url", "a URL")}
	fs.BoolVar(&f.json, "json", false, "")
	return f
}

// A client calls the Manager API of a running Vigil.
type client struct {
	bases     []string // URLs of the page, one of which answers
	token     notify.Secret
	transport *http.Transport
}

// client returns a client for the Vigil that the flags name.
func (f *clientFlags) client() (*client, error) {
	c := &client{transport: &http.Transport{DisableKeepAlives: true}}
	if *f.url != "" {
		u, err := parseURL(*f.url, "http", "https")
		if err == nil && (u.RawQuery != "" || u.ForceQuery || u.Fragment != "") {
			err = errors.New("has more than a host and a path")
		}
		if err != nil {
			return nil, fmt.Errorf("-url %q %w; allowed: an http:// or https:// URL of a page", withoutUser(*f.url), err)
		}
		c.bases, c.token = []string{strings.TrimRight(*f.url, "/")}, notify.Secret(os.Getenv("VIGIL_MANAGER_TOKEN"))
		c.transport.Proxy = http.ProxyFromEnvironment
		if c.token == "" {
			return nil, errors.New("no token: set VIGIL_MANAGER_TOKEN to the manager_token of that Vigil")
		}
		return c, nil
	}
	conf, err := loadServer(*f.config, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	if c.bases, err = conf.localPages(); err != nil {
		return nil, err
	}
	for i, base := range c.bases {
		c.bases[i] = strings.TrimSuffix(base, "/")
	}
	if c.token = notify.Secret(cmp.Or(string(conf.ManagerToken), os.Getenv("VIGIL_MANAGER_TOKEN"))); c.token == "" {
		name := cmp.Or(*f.config, defaultConfig)
		if *f.config == "" && !fileExists(name) {
			return nil, fmt.Errorf("there is no %s in this folder: name the config with -c, or give -url and VIGIL_MANAGER_TOKEN", name)
		}
		return nil, fmt.Errorf("%s: server.manager_token is not set, so the Manager API is off: set it, and the variable that it names, and reload", name)
	}
	return c, nil
}

// call makes one call of the Manager API. The path begins after /manager/, or with
// a slash at the page's own. What in holds is sent as JSON, and the answer goes to
// out; both may be nil.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	return c.callWithin(ctx, clientTime, method, path, in, out)
}

func (c *client) callWithin(ctx context.Context, limit time.Duration, method, path string, in, out any) error {
	body, err := c.ask(ctx, limit, method, path, in)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%s answers with something other than the JSON of a Vigil: %w", c.bases[0], err)
	}
	return nil
}

// ask makes one call and returns the body of the answer.
func (c *client) ask(ctx context.Context, limit time.Duration, method, path string, in any) ([]byte, error) {
	var sent []byte
	if in != nil {
		var err error
		if sent, err = json.Marshal(in); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var err error
	for i, base := range c.bases {
		var body []byte
		body, err = c.askAt(ctx, base, method, path, sent)
		if opErr, ok := errors.AsType[*net.OpError](err); ok && opErr.Op == "dial" && i < len(c.bases)-1 {
			continue // the server has chosen the other address
		}
		c.bases = c.bases[i : i+1]
		return body, err
	}
	return nil, err
}

func (c *client) askAt(ctx context.Context, base, method, path string, sent []byte) ([]byte, error) {
	if !strings.HasPrefix(path, "/") {
		path = "/manager/" + path
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(sent))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "vigil/"+version)
	req.SetBasicAuth("", string(c.token))
	if len(sent) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, clientError(base, err)
	}
	base = withoutUser(base) // for messages
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, clientError(base, err)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("%s: the answer is larger than %d MiB: ask for less, by a selector or -since", base, maxAnswer>>20)
	}
	return body, answerError(base, path, resp, body)
}

// clientError words an error of the way to a Vigil and back.
func clientError(base string, err error) error {
	err, base = atAddress(base, withoutURL(err)), withoutUser(base)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: no answer in time; is Vigil overloaded, or is another program on its port?", base)
	case errors.Is(err, context.Canceled):
		return errors.New("stopped before the answer")
	}
	return fmt.Errorf("%s: %w; is Vigil running there?", base, err)
}

// atAddress drops the address from an error about a connection when the URL in
// front of it names it.
func atAddress(page string, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil && strings.Contains(page, "//"+op.Addr.String()) {
		return op.Err
	}
	return err
}

// An apiFault is an error that a Vigil answered with.
type apiFault struct {
	base   string
	code   int
	text   string
	faults []string // of a config, a line each
}

func (e *apiFault) Error() string {
	if len(e.faults) > 0 {
		return strings.Join(e.faults, "\n")
	}
	return e.text
}

// answerError returns an error for an answer that is not a success, with the
// remedy, or nil.
func answerError(base, path string, resp *http.Response, body []byte) error {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	var fault struct {
		Error  string   `json:"error"`
		Errors []string `json:"errors"`
	}
	known := kind == "application/json" && json.Unmarshal(body, &fault) == nil && (fault.Error != "" || len(fault.Errors) > 0)
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300 && kind == "text/html":
		return fmt.Errorf("%s answers with an HTML page: a proxy or another server is in between; give the address of Vigil itself with -url", base)
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 400:
		return fmt.Errorf("%s redirects to %s: give the address that it leads to with -url", base, oneCell(resp.Header.Get("Location")))
	case code == http.StatusUnauthorized, code == http.StatusForbidden && known && strings.Contains(fault.Error, "wrong token"):
		return fmt.Errorf("%s: wrong token: it is not the manager_token of the Vigil that runs there", base)
	case known && code == http.StatusNotFound && strings.HasPrefix(fault.Error, "no such route"):
		route, _, _ := strings.Cut(path, "?")
		return fmt.Errorf("%s: the Vigil there is older than this command and has no %s: update and restart it", base, route)
	case known:
		return &apiFault{base, code, oneCell(fault.Error), fault.Errors}
	case code == http.StatusNotFound:
		return fmt.Errorf("%s: HTTP 404, which is not the answer of a Vigil: is server.path_prefix missing in the address?", base)
	}
	return fmt.Errorf("%s: HTTP %d, which is not the answer of a Vigil: is a proxy in between, or another program on its port?", base, resp.StatusCode)
}

// A clientCommand is what the commands that talk to a running Vigil have in
// common: arguments, a client, an answer in text or JSON, an exit code.
type clientCommand struct {
	fs     *flag.FlagSet
	flags  *clientFlags
	usage  string
	stdout io.Writer
	stderr io.Writer

	args   []string // those that are no flags
	client *client
	out    *printer
}

func newClientCommand(fs *flag.FlagSet, usage string, stdout, stderr io.Writer) *clientCommand {
	return &clientCommand{fs: fs, flags: addClientFlags(fs), usage: usage, stdout: stdout, stderr: stderr, out: newPrinter(stdout)}
}

// noArgs is the check of a command that takes flags only.
func (c *clientCommand) noArgs() error {
	if len(c.args) > 0 {
		return fmt.Errorf("unexpected argument %q", c.args[0])
	}
	return nil
}

// run parses args, has check look at them, and then makes the calls of do. A
// check may be nil. It returns the exit code.
func (c *clientCommand) run(ctx context.Context, args []string, check func() error, do func(context.Context) (int, error)) int {
	var code int
	var ok bool
	if c.args, code, ok = parseArgs(c.fs, c.usage, args, c.stdout, c.stderr); !ok {
		return code
	}
	if check != nil {
		if err := check(); err != nil {
			return wrongUsage(c.fs, c.stderr, err)
		}
	}
	ctx, stop := notifyStop(ctx)
	defer stop()
	var err error
	if c.client, err = c.flags.client(); err == nil {
		code, err = do(ctx)
	}
	if err != nil {
		return printError(c.fs, c.stderr, err)
	}
	return code
}

// Colours of a terminal: ECMA-48, section 8.3.117.
const (
	colourRed    = "\x1b[31m"
	colourGreen  = "\x1b[32m"
	colourYellow = "\x1b[33m"
	colourBold   = "\x1b[1m"
	colourOff    = "\x1b[0m"
)

// isTerminal reports whether a person may be looking at w.
func isTerminal(w io.Writer) bool {
	if o, ok := w.(*output); ok {
		w = o.Writer
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// A printer prints what a command found out, for people or as JSON. Colour is
// for terminals only, and not when NO_COLOR is set: https://no-color.org
type printer struct {
	w      io.Writer
	colour bool
}

func newPrinter(w io.Writer) *printer {
	return &printer{w, isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// A cell is one field of a row, in a colour or none.
type cell struct {
	text, colour string
}

// plain returns cells without a colour.
func plain(texts ...string) []cell {
	cells := make([]cell, len(texts))
	for i, text := range texts {
		cells[i].text = text
	}
	return cells
}

// statusCell shows a status in its colour.
func statusCell(status string) cell {
	switch status {
	case "healthy", "up":
		return cell{status, colourGreen}
	case "sick":
		return cell{status, colourYellow}
	case "dead", "down":
		return cell{status, colourRed}
	}
	return cell{text: status}
}

// columns prints rows in columns, two spaces apart. A column is as wide as its
// widest field that has another one behind it. What a server sent may hold
// anything, so control characters are dropped.
func (p *printer) columns(rows [][]cell) {
	var widths []int
	for _, row := range rows {
		for i := range row {
			row[i].text = oneCell(row[i].text)
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if i < len(row)-1 {
				widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
			}
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, c := range row {
			text := c.text
			if p.colour && c.colour != "" && text != "" {
				text = c.colour + text + colourOff
			}
			line.WriteString(text)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		fmt.Fprintln(p.w, strings.TrimRight(line.String(), " "))
	}
}

// oneCell returns text on one line and without control sequences of a terminal.
func oneCell(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0:
			return -1
		}
		return r
	}, text)
}

// json prints v as JSON for programs.
func (p *printer) json(v any) error {
	enc := json.NewEncoder(p.w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// localTime writes a time for people: in this machine's zone, without the day
// when it is today's.
func localTime(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	t, now = t.Local(), now.Local()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04")
}
