package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"vigil/notify"
)

// parseConfig reads a config file and checks all of it. The name begins each
// problem and becomes the Config's Path; it is empty for the sample.
func parseConfig(r io.Reader, name string, getenv func(string) (string, bool)) (*Config, []problem, error) {
	c := &Config{Path: name}
	warnings, err := readTables(r, cmp.Or(name, defaultConfig), getenv, c.read)
	if err != nil {
		return nil, warnings, err
	}
	return c, warnings, nil
}

// readTables parses a config file and has read look at its root. It returns the
// warnings, and an error of all mistakes, a line each.
func readTables(r io.Reader, file string, getenv func(string) (string, bool), read func(*table)) ([]problem, error) {
	doc, err := readDocument(r, file, getenv)
	if err != nil {
		return nil, unreadable(file, err)
	}
	if doc.root != nil {
		read(doc.root)
	}
	return doc.sortedWarnings(), joinProblems(doc.faults)
}

// read reads the whole file. The order matters where a part looks at another.
func (c *Config) read(t *table) {
	c.readServer(t.table("server"))
	c.readAssets(t.table("assets"))
	c.readBranding(t.table("branding"))
	c.readMetrics(t.table("metrics"))
	c.readPlugins(t.table("plugins"))
	c.readStorage(t.table("storage"))
	c.readProbe(t.table("probe"))
	c.readNotify(t.table("notify"))
	c.readMaintenance(t)
	c.readMirror(t.table("mirror"))
	t.rest()
}

// logLevels are the levels of server.log_level.
var logLevels = []string{"debug", "info", "warn", "error"}

func (c *Config) readServer(t *table) {
	s := &c.Server
	s.LogLevel = t.choice("log_level", "error", logLevels)
	s.InetSet = t.has("inet")
	s.Inet = t.text("inet", "[::1]:8080")
	if err := checkInet(s.Inet); err != nil {
		t.fault("inet", "%s %v; allowed: an address and a port, like [::1]:8080 or 0.0.0.0:8080", t.show("inet", s.Inet), err)
	}
	t.number("workers", 4, 0, math.MaxInt64, "")
	s.ManagerToken = t.token("manager_token", "Manager")
	s.ReporterToken = t.token("reporter_token", "Reporter")
	s.MCP = t.yes("mcp_server", false)
	s.PathPrefix = t.prefix("path_prefix")
	s.ContentPolicy = t.policy("content_security_policy")
	t.rest()
}

// checkInet checks an address to listen on. Port 0 lets the system choose one.
func checkInet(inet string) error {
	host, port, err := net.SplitHostPort(inet)
	if err != nil {
		return errors.New("is not an address with a port")
	}
	if n, err := strconv.ParseUint(port, 10, 32); err != nil || n > math.MaxUint16 {
		return errors.New("has a port out of range, 0 to 65535")
	}
	if strings.ContainsAny(host, "/@ \t\r\n") {
		return errors.New("has a host that is not an address")
	}
	return nil
}

// token reads the password of an HTTP API. Without one the API is off: also
// with a ${NAME} whose variable is not set, which anybody could guess.
func (t *table) token(key, api string) notify.Secret {
	s := t.text(key, "")
	switch {
	case !t.has(key):
	case t.vals[key] == "":
		t.fault(key, "is empty; allowed: any non-empty text, or no %s at all to switch the %s API off", key, api)
	case t.written(key) == "" && unsetVariable(s) != "":
		p := t.problem(key, "the environment variable %s is not set, so the %s API is off", unsetVariable(s), api)
		p.note = true
		t.doc.warnings = append(t.doc.warnings, p)
		return ""
	case strings.HasPrefix(s, "REPLACE_THIS_WITH_"):
		t.warn(key, "is the one of the sample, which everybody knows; allowed: a secret of your own")
	}
	return notify.Secret(s)
}

// prefix reads a path, which gets a slash at its start and none at its end.
func (t *table) prefix(key string) string {
	s := t.text(key, "")
	path := strings.Trim(s, "/")
	if path == "" {
		return ""
	}
	for part := range strings.SplitSeq(path, "/") {
		plain := strings.Trim(part, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") == ""
		if part == "" || part == "." || part == ".." || !plain {
			t.fault(key, "%s is not a path; allowed: names of letters, digits and -._~ with slashes between, like /status", t.show(key, s))
			break
		}
	}
	return "/" + path
}

// policy reads a Content-Security-Policy, nil when the key is not there.
func (t *table) policy(key string) *string {
	if !t.has(key) {
		return nil
	}
	s := strings.Join(strings.Fields(t.text(key, "")), " ") // it may be written over several lines
	if strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		t.fault(key, "%s has characters that a header field cannot hold; allowed: directives like \"default-src 'self'; frame-ancestors *\", or \"\" for none", t.show(key, s))
	}
	return &s
}

// readAssets reads the folder whose files replace the embedded assets. The
// default one, which configs of the Rust Vigil name, may be missing without a
// warning.
func (c *Config) readAssets(t *table) {
	const def = "./res/assets/"
	c.Assets = t.text("path", def)
	if c.Assets != "" {
		info, err := statPath(c.Assets)
		switch {
		case errors.Is(err, fs.ErrNotExist) && filepath.Clean(c.Assets) == filepath.Clean(def):
			c.Assets = ""
		case err == nil && !info.IsDir():
			t.fault("path", "%s is not a folder; allowed: a folder that exists", t.show("path", c.Assets))
		case err != nil && !errors.Is(err, errNoAnswer):
			t.warn("path", "%s cannot be read (%v), so the built-in files are used", t.show("path", c.Assets), withoutPath(err))
			c.Assets = ""
		case err != nil:
			t.fault("path", "%s: %v; allowed: a folder that exists", t.show("path", c.Assets), err)
		}
	}
	t.rest()
}

func (c *Config) readBranding(t *table) {
	const web = "an http:// or https:// URL, like https://status.example.com"
	b := &c.Branding
	b.PageTitle = t.text("page_title", "Status Page")
	b.PageURL = t.required("page_url", web)
	if u, err := parseURL(b.PageURL, "http", "https"); b.PageURL != "" && err != nil {
		t.fault("page_url", "%s %v; allowed: %s", t.show("page_url", b.PageURL), err, web)
	} else if err == nil && u.Path == "" && u.RawQuery == "" && u.Fragment == "" {
		b.PageURL += "/"
	}
	b.CompanyName = t.text("company_name", "")
	b.IconColor = t.colour("icon_color")
	b.IconURL = t.image("icon_url")
	b.LogoColor = t.colour("logo_color")
	b.LogoURL = t.image("logo_url")
	b.WebsiteURL = t.site("website_url")
	b.SupportURL = t.site("support_url")
	b.CustomHTML = t.text("custom_html", "")
	b.Language = strings.ToLower(t.text("language", english))
	if tags := languageTags(c.Assets); b.Language != autoLanguage && !slices.Contains(tags, b.Language) {
		t.fault("language", "%s is unknown; allowed: %s, or one of %s", t.show("language", b.Language), autoLanguage, strings.Join(tags, ", "))
	}
	t.rest()
}

func (c *Config) readMetrics(t *table) {
	c.Metrics = Metrics{
		PollInterval: 2 * time.Minute, RetryCount: 1, RetryWait: 2 * time.Second,
		HTTPHealthyAbove: 200, HTTPHealthyBelow: 400,
		PollDelayDead: 10 * time.Second, PollDelaySick: 5 * time.Second,
		PushDelayDead: 20 * time.Second, CPUSickAbove: 0.90, RAMSickAbove: 0.90,
		ScriptInterval: 5 * time.Minute, LocalDelayDead: 40 * time.Second,
	}
	c.Metrics.read(t)
	c.Metrics.readParallelism(t)
	t.rest()
}

// read reads the values that [metrics] and each node may have, where m holds
// the defaults.
func (m *Metrics) read(t *table) {
	m.PollInterval = t.seconds("poll_interval", m.PollInterval, 1)
	m.ScriptInterval = t.seconds("script_interval", m.ScriptInterval, 1)
	m.readChecks(t)

	m.PushDelayDead = t.seconds("push_delay_dead", m.PushDelayDead, 1)
	m.CPUSickAbove = t.float("push_system_cpu_sick_above", m.CPUSickAbove, 0, 1000)
	m.RAMSickAbove = t.float("push_system_ram_sick_above", m.RAMSickAbove, math.Inf(-1), math.MaxFloat64)
	if t.has("push_system_ram_sick_above") && m.RAMSickAbove > 1 {
		t.warn("push_system_ram_sick_above", "%s is over 1, which is all of the memory, so no replica is sick because of it",
			t.shownNumber("push_system_ram_sick_above", m.RAMSickAbove))
	}
	m.LocalDelayDead = t.seconds("local_delay_dead", m.LocalDelayDead, 1)
}

// readChecks reads how targets and scripts are checked, but not how often.
func (m *Metrics) readChecks(t *table) {
	// With poll_retry_wait, poll_retry counts checks; without, it is a wait.
	if t.has("poll_retry_wait") && !m.retryCounted {
		m.retryCounted, m.RetryCount = true, 2
	}
	if m.retryCounted {
		m.RetryWait = t.millis("poll_retry_wait", m.RetryWait)
		m.RetryCount = int(t.number("poll_retry", int64(m.RetryCount), 0, 100, " checks, as there is poll_retry_wait"))
	} else {
		t.get("poll_retry_wait")
		m.RetryWait = t.seconds("poll_retry", m.RetryWait, 0)
	}

	m.HTTPHealthyAbove = int(t.number("poll_http_status_healthy_above", int64(m.HTTPHealthyAbove), 1, 65535, ""))
	m.HTTPHealthyBelow = int(t.number("poll_http_status_healthy_below", int64(m.HTTPHealthyBelow), 1, 65535, ""))
	if m.HTTPHealthyAbove >= m.HTTPHealthyBelow {
		t.fault(t.either("poll_http_status_healthy_above", "poll_http_status_healthy_below"),
			"no status is from %d on and below %d; allowed: poll_http_status_healthy_above under poll_http_status_healthy_below",
			m.HTTPHealthyAbove, m.HTTPHealthyBelow)
	}

	m.PollDelayDead = t.seconds("poll_delay_dead", m.PollDelayDead, 1)
	m.PollDelaySick = t.seconds("poll_delay_sick", min(m.PollDelaySick, m.PollDelayDead), 1)
	if m.PollDelaySick > m.PollDelayDead {
		t.fault("poll_delay_sick", "%d is over poll_delay_dead, which is %d; allowed: up to that",
			m.PollDelaySick/time.Second, m.PollDelayDead/time.Second)
	}
}

// readParallelism reads how much runs at once.
func (m *Metrics) readParallelism(t *table) {
	m.PollParallelism = t.count("poll_parallelism", 4, 65536)
	m.ScriptParallelism = t.count("script_parallelism", 2, 65536)
}

// ownKeys are the keys of [metrics] that a node may have, too.
var ownKeys = []string{
	"poll_interval", "poll_retry", "poll_retry_wait", "poll_http_status_healthy_above", "poll_http_status_healthy_below",
	"poll_delay_dead", "poll_delay_sick", "push_delay_dead", "push_system_cpu_sick_above", "push_system_ram_sick_above",
	"script_interval", "local_delay_dead",
}

// ownMetrics returns m with the values that a node's table has of its own, or m
// itself when it has none.
func (t *table) ownMetrics(m *Metrics) *Metrics {
	t.known = append(t.known, ownKeys...)
	if !slices.ContainsFunc(ownKeys, t.has) {
		return m
	}
	own := *m
	own.read(t)
	return &own
}

// either returns the first of two keys that the file has.
func (t *table) either(a, b string) string {
	if !t.has(a) && t.has(b) {
		return b
	}
	return a
}

func (c *Config) readPlugins(t *table) {
	if sub := t.table("rabbitmq"); sub.vals != nil {
		c.readRabbitMQ(sub)
		sub.rest()
	}
	t.rest()
}

func (c *Config) readRabbitMQ(t *table) {
	r := &RabbitMQ{}
	api := t.endpoint("api_url", "http://127.0.0.1:15672") // reports a wrong URL
	if u, err := parseURL(api, "http", "https"); err == nil {
		r.APIURL = u
		if path, ok := strings.CutSuffix(strings.TrimSuffix(r.APIURL.Path, "/"), "/api"); ok {
			r.APIURL.Path, r.APIURL.RawPath = path, "" // each query adds it
		}
	}
	r.Username = t.required("auth_username", anyText)
	r.Password = t.secret("auth_password", anyText)
	r.VirtualHost = t.required("virtualhost", `the name of a virtual host, like "/"`)
	if name, err := url.PathUnescape(r.VirtualHost); err == nil {
		r.VirtualHost = name // the Rust Vigil needs "%2F"
	}
	r.ReadyHealthyBelow = t.threshold("queue_ready_healthy_below")
	r.NackHealthyBelow = t.threshold("queue_nack_healthy_below")
	r.ReadyDeadAbove = t.threshold("queue_ready_dead_above")
	r.NackDeadAbove = t.threshold("queue_nack_dead_above")
	t.checkOrder("queue_ready_healthy_below", r.ReadyHealthyBelow, "queue_ready_dead_above", r.ReadyDeadAbove)
	t.checkOrder("queue_nack_healthy_below", r.NackHealthyBelow, "queue_nack_dead_above", r.NackDeadAbove)
	r.LoadedRetryDelay = t.millis("queue_loaded_retry_delay", 0)
	c.RabbitMQ = r
}

// checkOrder warns of a queue that turns dead before it turns sick.
func (t *table) checkOrder(lowKey string, low *int64, highKey string, high *int64) {
	if low != nil && high != nil && *low > *high {
		t.warn(lowKey, "%d is over %s, which is %d, so the queue is never sick", *low, highKey, *high)
	}
}

// bound lowers the limit to the reminder before which the wait passes a
// century, so that the product cannot overflow.
func (r *Reminders) bound() {
	const century = 100 * 365 * 24 * time.Hour
	if r.ReminderInterval > 0 && r.BackoffExponent > 0 {
		most := math.Pow(float64(century/r.ReminderInterval), 1/float64(r.BackoffExponent))
		r.BackoffLimit = max(1, min(r.BackoffLimit, int(most)))
	}
}

func (c *Config) readStorage(t *table) {
	c.Storage.Set = t.has("path")
	c.Storage.Path = t.text("path", "./data/")
	t.rest()
}

// A LocalConfig is the checked configuration of an agent, in the format of
// Vigil Local. Like a Config it is never changed once it is built.
type LocalConfig struct {
	LogLevel string
	Endpoint string // URL of the master's page, without a slash at its end
	Token    notify.Secret
	Interval time.Duration // between two checks of a replica, and two reports
	Metrics  Metrics       // of the checks; both intervals are Interval
	Services []*Service    // their nodes are poll and script nodes
}

// loadLocal reads the config file of an agent at path, or else config.cfg in
// the working directory. What it returns is like that of loadConfig.
func loadLocal(ctx context.Context, path string, getenv func(string) (string, bool)) (*LocalConfig, []problem, error) {
	l, err := interruptible(ctx, func() (configRead[*LocalConfig], error) {
		name := cmp.Or(path, defaultConfig)
		text, err := readFile(name, maxConfig)
		if err != nil {
			return configRead[*LocalConfig]{}, unreadable(name, err)
		}
		conf, warnings, err := parseLocal(strings.NewReader(string(text)), name, getenv)
		return configRead[*LocalConfig]{conf, warnings}, err
	})
	return l.conf, l.warnings, err
}

// parseLocal reads an agent's config file and checks all of it. The name begins
// each problem.
func parseLocal(r io.Reader, name string, getenv func(string) (string, bool)) (*LocalConfig, []problem, error) {
	c := &LocalConfig{}
	warnings, err := readTables(r, name, getenv, c.read)
	if err != nil {
		return nil, warnings, err
	}
	return c, warnings, nil
}

func (c *LocalConfig) read(t *table) {
	server := t.table("server")
	c.LogLevel = server.choice("log_level", "error", logLevels)
	server.rest()

	report := t.table("report")
	c.Endpoint = report.master("endpoint")
	c.Token = report.headerSecret("token")
	report.rest()

	metrics := t.table("metrics")
	c.Interval = metrics.seconds("interval", 2*time.Minute, 1)
	c.Metrics = Metrics{
		PollInterval: c.Interval, ScriptInterval: c.Interval, RetryCount: 1, RetryWait: 2 * time.Second,
		HTTPHealthyAbove: 200, HTTPHealthyBelow: 400, PollDelayDead: 10 * time.Second, PollDelaySick: time.Second,
	}
	c.Metrics.readChecks(metrics)
	c.Metrics.readParallelism(metrics)
	metrics.rest()

	c.readProbe(t.table("probe"))
	t.rest()
}

// master reads the URL of the page that reports go to.
func (t *table) master(key string) string {
	const like = "https://status.example.com"
	s := t.endpoint(key, like)
	u, err := parseURL(s, "http", "https")
	if err != nil {
		return "" // endpoint noted what is wrong
	}
	if err := checkMaster(u); err != nil {
		t.fault(key, "%v; allowed: an http:// or https:// URL of a page, like %s", err, like)
	}
	return strings.TrimRight(s, "/")
}

// localModes are the modes that a node of an agent can have.
var localModes = []string{modePoll.String(), modeScript.String()}

// readProbe reads [probe]: what is watched. Labels belong to the page and are
// the master's, but may stand in tables that were copied from its config.
func (c *LocalConfig) readProbe(t *table) {
	count := 0
	first := make(map[string]*table)
	for _, sub := range t.tables("service") {
		s := &Service{ID: sub.id("service", "", first)}
		sub.get("label")
		nodes := make(map[string]*table)
		for _, node := range sub.tables("node") {
			n := &Node{ID: node.id("node", " of this service", nodes)}
			node.get("label")
			hasMode := node.checks(n, &c.Metrics, localModes)
			n.ReportPrefix = node.text("report_prefix", "")
			node.restOfNode(n, hasMode)
			s.Nodes = append(s.Nodes, n)
			count += len(n.Targets) + len(n.Scripts)
		}
		sub.rest()
		c.Services = append(c.Services, s)
	}
	if count == 0 && len(t.doc.faults) == 0 {
		t.warn("service", "names no replica to check, so nothing is reported")
	}
	t.rest()
}
