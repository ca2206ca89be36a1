package main

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"vigil/notify"
)

// A Config is one checked configuration. It is built once, by parseConfig, and
// never changed afterwards: a reload builds another one.
type Config struct {
	Path     string // the file it came from; "" for the embedded sample
	Server   Server
	Assets   string // folder whose files replace embedded ones; "" when there is none
	Branding Branding
	Metrics  Metrics
	RabbitMQ *RabbitMQ // nil without [plugins.rabbitmq]
	Alerting Alerting
	Notify   notify.Config
	Routes   []Route  // none: every channel is told of every node
	Deadman  *Deadman // nil without [notify.deadman]
	Storage  Storage
	Mirror   *Mirror // nil without [mirror]
	Services []*Service

	Maintenance []Window

	// Connectivity are targets of which at least one must answer for a poll
	// result to count; none means that results always count.
	Connectivity []Target
}

// Server is how the program listens, logs and authenticates.
type Server struct {
	LogLevel      string        // "debug", "info", "warn" or "error"
	Inet          string        // host:port to listen on
	InetSet       bool          // whether the file says so, or Inet is the default
	PathPrefix    string        // "" or "/status": leading slash, no trailing one
	ManagerToken  notify.Secret // "" switches the Manager API off
	ReporterToken notify.Secret // "" switches the Reporter API off
	MCP           bool

	// ContentPolicy is the Content-Security-Policy of the page in place of its
	// own one; "" is none. Nil: the page's own.
	ContentPolicy *string
}

// Branding is what the page and the messages show of their owner. URLs are as
// written and may be empty.
type Branding struct {
	PageTitle   string
	PageURL     string
	CompanyName string
	IconColor   string // "#rrggbb" or "#rgb"
	IconURL     string
	LogoColor   string
	LogoURL     string
	WebsiteURL  string
	SupportURL  string
	CustomHTML  string
	Language    string // a file of templates/words, or "auto"
}

// Metrics are the intervals and thresholds of the probes.
type Metrics struct {
	PollInterval time.Duration
	// After a check that came back dead, RetryCount further ones follow,
	// RetryWait apart.
	RetryCount       int
	RetryWait        time.Duration
	retryCounted     bool // poll_retry is a number of checks, not a time
	HTTPHealthyAbove int  // status codes from this one ...
	HTTPHealthyBelow int  // ... and below this one are healthy
	PollDelayDead    time.Duration
	PollDelaySick    time.Duration
	PollParallelism  int

	PushDelayDead time.Duration
	CPUSickAbove  float64 // load average per CPU
	RAMSickAbove  float64 // used share of memory

	ScriptInterval    time.Duration
	ScriptParallelism int

	LocalDelayDead time.Duration
}

// RabbitMQ is the plugin that reads queue depths. A nil threshold is not set.
type RabbitMQ struct {
	APIURL            *url.URL
	Username          string
	Password          notify.Secret
	VirtualHost       string
	ReadyHealthyBelow *int64
	NackHealthyBelow  *int64
	ReadyDeadAbove    *int64
	NackDeadAbove     *int64
	LoadedRetryDelay  time.Duration // 0: a loaded queue is not asked again
}

// Alerting says when alerts are sent; notify.Config says to whom and how.
type Alerting struct {
	Startup          bool          // send an alert when the program has started
	ReminderInterval time.Duration // 0: no reminders
	BackoffExponent  int           // 0 none, 1 linear, 2 square, 3 cubic
	BackoffLimit     int           // highest N of interval x N^exponent
	Escalate         bool
}

// Storage is the folder for everything that survives a restart.
type Storage struct {
	Path string // "" keeps everything in memory
	Set  bool   // whether the file says so, or Path is the default
}

// Mirror is where a copy of the page is kept, and what brings it elsewhere.
type Mirror struct {
	Path     string        // absolute
	Command  []string      // program and arguments; none: the folder is enough
	Interval time.Duration // the least time from one run of the command to the next
	Timeout  time.Duration // of one run
}

// mode is where the results of a node's replicas come from.
type mode uint8

const (
	modePoll mode = iota
	modePush
	modeScript
	modeLocal
	modeHeartbeat
)

var modeNames = [...]string{"poll", "push", "script", "local", "heartbeat"}

func (m mode) String() string { return modeNames[m] }

// A Service is a group of nodes on the page.
type Service struct {
	ID     string
	Label  string
	Hidden bool    // not shown to visitors, like each of its nodes
	Target float64 // percent of a month in which all nodes are to be up; 0: none
	Nodes  []*Node
}

// A Node is one monitored thing.
type Node struct {
	ID        string
	Label     string
	Mode      mode
	Metrics   *Metrics // the config's, or a copy with the node's own values
	Targets   []Target // of a poll node
	Scripts   []string // of a script node
	LinkURL   string
	LinkLabel string

	Hidden    bool              // not shown to visitors; also when its service is
	Labels    map[string]string // of replicas, by id; shown to everybody
	Needed    Needed
	DependsOn []*Node // what it depends on, by itself or by its service

	HTTPHeaders     map[string]string
	HTTPMethod      string         // "" chooses HEAD or GET
	HTTPBody        string         // sent with POST, PUT and PATCH
	HTTPMatch       *regexp.Regexp // nil: any body will do
	FollowRedirects bool
	NoCacheBuster   bool
	HeaderMatch     map[string]*regexp.Regexp // by canonical name; all must match
	JSONMatch       []JSONMatch               // all must match
	Proxy           *url.URL
	ProxySet        bool // Proxy goes before the environment's; nil is none

	TLS      TLS
	IPFamily string         // "", "ipv4" or "ipv6"
	DNSMatch *regexp.Regexp // nil: any record will do

	Heartbeat *Heartbeat // of a heartbeat node

	RevealReplicaName bool
	ReportPrefix      string // of an agent's node: before its replicas' ids, with a colon

	RabbitMQQueue    string
	NackHealthyBelow *int64 // overrides the plugin's
	NackDeadAbove    *int64
}

// A Target is a replica URL of a poll node, taken apart.
type Target struct {
	Raw    string // as configured, but for user and password: the replica's id
	Scheme string // a key of schemes
	Host   string // name or address, without brackets
	Port   string // decimal; "" for icmp; the scheme's own for http without one
	URL    *url.URL

	DNSName string // of a dns target: what is asked for, with its final dot
	DNSType dnsmessage.Type
}

// nodes returns each node with its service, in the order of the file.
func (c *Config) nodes() iter.Seq2[*Service, *Node] {
	return func(yield func(*Service, *Node) bool) {
		for _, s := range c.Services {
			for _, n := range s.Nodes {
				if !yield(s, n) {
					return
				}
			}
		}
	}
}

// defaultConfig is the file that is read when none is named.
const defaultConfig = "config.cfg"

// sampleConfig is the config that the program runs on when it finds no file.
//
//go:embed config.cfg
var sampleConfig string

// fileLimit bounds each read of a path that the config names, and of the config
// itself. A pipe without a writer or a network file system can block for ever.
const fileLimit = 5 * time.Second

var errNoAnswer = fmt.Errorf("no answer within %d s", fileLimit/time.Second)

// within returns what f returns, or an error when f takes longer than fileLimit
// or ctx ends first. An f that is given up runs on alone.
func within[T any](ctx context.Context, f func() (T, error)) (T, error) {
	limited, cancel := context.WithTimeoutCause(ctx, fileLimit, errNoAnswer)
	defer cancel()
	return interruptible(limited, f)
}

// interruptible returns what f returns, or the cause of ctx's end.
func interruptible[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type answer struct {
		val T
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		val, err := f()
		answers <- answer{val, err}
	}()
	select {
	case a := <-answers:
		return a.val, a.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// statPath is os.Stat with a limit of time.
func statPath(path string) (fs.FileInfo, error) {
	return within(context.Background(), func() (fs.FileInfo, error) { return os.Stat(path) })
}

// readFile reads a file of at most limit bytes within a limit of time.
func readFile(path string, limit int64) ([]byte, error) {
	return within(context.Background(), func() ([]byte, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.Size() > limit {
			return nil, tooLarge(limit)
		}
		return readUpTo(f, limit)
	})
}

// readUpTo reads everything from r, which must not be more than limit bytes.
func readUpTo(r io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = tooLarge(limit)
	}
	return text, err
}

// tooLarge is the error of a file with more bytes than that.
type tooLarge int64

func (limit tooLarge) Error() string { return fmt.Sprintf("is larger than %d MiB", limit>>20) }

// A configRead is the outcome of loading a config of either kind.
type configRead[C any] struct {
	conf     C
	warnings []problem
}

// loadConfig reads the config file at path. With an empty path that is
// config.cfg in the working directory or, where there is none, the sample,
// whose Config has no Path. The problems are warnings; the error holds
// everything that must be corrected first, a line each. The end of ctx
// interrupts a path that does not answer.
func loadConfig(ctx context.Context, path string, getenv func(string) (string, bool)) (*Config, []problem, error) {
	l, err := interruptible(ctx, func() (configRead[*Config], error) {
		name := cmp.Or(path, defaultConfig)
		text, err := readFile(name, maxConfig)
		switch {
		case path == "" && errors.Is(err, fs.ErrNotExist):
			text, name = []byte(sampleFor(runtime.GOOS)), ""
		case errors.Is(err, fs.ErrNotExist):
			return configRead[*Config]{}, fmt.Errorf("%s: cannot be read: no such file or directory; 'vigil init -o %s' writes one to start from", name, name)
		case err != nil:
			return configRead[*Config]{}, unreadable(name, err)
		}
		conf, warnings, err := parseConfig(strings.NewReader(string(text)), name, getenv)
		if text := unknownZone(getenv); text != "" {
			warnings = append([]problem{{file: cmp.Or(name, defaultConfig), line: 1, key: "TZ", text: text}}, warnings...)
		}
		return configRead[*Config]{conf, warnings}, err
	})
	return l.conf, l.warnings, err
}

// unknownZone says what is wrong with the time zone of the environment, which
// Go silently replaces with UTC; "" when it is valid.
func unknownZone(getenv func(string) (string, bool)) string {
	tz, _ := getenv("TZ")
	name := strings.TrimPrefix(tz, ":")
	if name == "" || strings.HasPrefix(name, "/") {
		return ""
	}
	if _, err := time.LoadLocation(name); err == nil {
		return ""
	}
	return fmt.Sprintf("the environment variable TZ is %q, which is not a time zone that this machine knows, so times are in UTC; allowed: a name like Europe/Paris", shorten(tz))
}

// unreadable returns the message for an error of reading a config file.
func unreadable(name string, err error) error {
	err = withoutPath(err)
	remedy := "allowed: a file that this user may read"
	_, large := errors.AsType[tooLarge](err)
	switch {
	case large:
		remedy = "is it a config?"
	case errors.Is(err, fs.ErrPermission):
		remedy = fmt.Sprintf("Vigil runs as user %d, who must be allowed to read it and to enter its folder", os.Getuid())
	case errors.Is(err, fs.ErrNotExist):
		remedy = "name an existing file with -c"
	case errors.Is(err, syscall.EISDIR):
		remedy = "name the file in it with -c"
	case errors.Is(err, errNoAnswer):
		remedy = "is it a pipe without a writer, or on a file system that hangs?"
	}
	return fmt.Errorf("%s: cannot be read: %w; %s", name, err, remedy)
}

// withoutPath returns what is wrong with a path, without the path itself.
func withoutPath(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	return err
}

// withoutURL returns what went wrong with a request, without its URL, which may
// hold a secret.
func withoutURL(err error) error {
	if urlErr, ok := errors.AsType[*url.Error](err); ok {
		return urlErr.Err
	}
	return err
}

// sampleFor returns the sample for a system: without a shell, the node that
// needs one is left out.
func sampleFor(goos string) string {
	if hasShell(goos) {
		return sampleConfig
	}
	head, rest, _ := strings.Cut(sampleConfig, sampleScript)
	_, ending, _ := strings.Cut(rest, sampleEnding)
	return head + sampleEnding + ending
}

// The sample's node that runs a script, and the remark that comes after it and
// ends the sample.
const (
	sampleScript = "[[probe.service.node]]\n\nid = \"disk\"\n"
	sampleEnding = "# A node that waits for the reports"
)

// hasShell reports whether scripts can be run: they are for /bin/sh.
func hasShell(goos string) bool { return goos != "windows" }
