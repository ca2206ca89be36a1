package main

import (
	"net/url"
	"regexp"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"vigil/notify"
)

// A Config is one checked configuration. It is built once, by parseConfig, and
// never changed afterwards: a reload builds another one.
type Config struct {
	Path     string // the file it came from; "" for the embedded sample
	Server   Server
	Assets   string // folder laid over the embedded assets; "" when there is none
	Branding Branding
	Metrics  Metrics
	RabbitMQ *RabbitMQ // nil without [plugins.rabbitmq]
	Alerting Alerting
	Notify   notify.Config
	Routes   []Route  // none: every channel is told of every node
	Deadman  *Deadman // nil without [notify.deadman]
	Storage  Storage
	Services []*Service

	Maintenance []Window

	// Connectivity are targets of which at least one must answer for a poll
	// result to count; none means that results always count.
	Connectivity []Target
}

// Server is how the program listens, logs and lets people in.
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

// Branding is what the page and the messages say of their owner. URLs are as
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

// Alerting says when people are told; notify.Config says whom and how.
type Alerting struct {
	Startup          bool          // tell when the program started up
	ReminderInterval time.Duration // 0: no reminders
	BackoffExponent  int           // 0 none, 1 linear, 2 square, 3 cubic
	BackoffLimit     int           // highest N of interval x N^exponent
	Escalate         bool
}

// Storage is the folder for what must survive.
type Storage struct {
	Path string // "" keeps everything in memory
	Set  bool   // whether the file says so, or Path is the default
}

// mode is how a node's replicas become known.
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
