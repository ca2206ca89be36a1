package main

import (
	"cmp"
	"encoding/json"
	"html/template"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The states that the page shows: the three statuses, and one for what has not
// been checked or has not reported. They are class names of the style sheet too.
const (
	stateOK   = "ok"
	stateWarn = "warn"
	stateDown = "down"
	stateWait = "wait"

	// A node in maintenance is neither well nor ill, whatever its status.
	stateMaint = "maint"
)

// stateWords are the words for the states.
var stateWords = map[string]string{
	stateOK: "operational", stateWarn: "degraded", stateDown: "down", stateMaint: "maintenance", stateWait: "unchecked",
}

// state is what the page shows for a status that is known.
func (s status) state() string {
	return [...]string{healthy: stateOK, sick: stateWarn, dead: stateDown}[s]
}

const (
	foldAbove = 12 // with more services than this, those that are well are folded
	maxLines  = 20 // systems listed that are not well
)

// A shell is what the templates of whole pages see.
type shell struct {
	site *site
	lang *language
	base string // what links to the page's own routes start with

	Title, Company            string
	Address, Support, Website template.URL
	LogoURL, IconURL, Icon    template.URL
	ThemeColor                string
	Style                     template.CSS
	CustomHTML                template.HTML // the operator's own
}

func newShell(st *site, lang *language, base string) shell {
	b := st.conf.Branding
	title := cmp.Or(steady(b.PageTitle), "Status Page")
	v := shell{
		site:       st,
		lang:       lang,
		base:       base,
		Title:      title,
		Company:    cmp.Or(steady(b.CompanyName), title),
		Address:    link(b.PageURL),
		Support:    link(b.SupportURL),
		Website:    link(b.WebsiteURL),
		ThemeColor: st.brand.icon.String(),
		Style:      template.CSS(st.style),
		CustomHTML: template.HTML(b.CustomHTML),
	}
	v.LogoURL, v.IconURL = v.image(b.LogoURL), v.image(b.IconURL)
	v.Icon = cmp.Or(v.IconURL, v.Asset("icon.svg"))
	return v
}

// T returns a word of the page's language.
func (v shell) T(key string) string { return v.lang.words[key] }

// Lang is the page's language as HTML names it.
func (v shell) Lang() string { return v.lang.tag }

// Dir is the direction of the page's language where HTML has to name it.
func (v shell) Dir() string {
	base, _, _ := strings.Cut(v.lang.tag, "-")
	if slices.Contains(rightToLeft, base) {
		return "rtl"
	}
	return ""
}

// rightToLeft are the languages that are read from right to left.
var rightToLeft = []string{"ar", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"}

// Home returns the address of the page itself.
func (v shell) Home() template.URL { return template.URL(cmp.Or(v.base, "./")) }

// Route returns the address of one of the page's own routes.
func (v shell) Route(path string) template.URL {
	if !v.site.made.IsZero() {
		path = strings.TrimSuffix(copyFile(path), "index.html")
	}
	return template.URL(v.base + path)
}

// copyFile returns the file that a copy has for a route: one with an extension.
func copyFile(route string) string {
	switch first, _, _ := strings.Cut(route, "/"); {
	case first == "badge":
		return route + ".svg"
	case route == "status/text":
		return route + ".txt"
	case first == "status":
		return route + ".json"
	case first == "assets", first == "feed", strings.Contains(first, "."):
		return route
	}
	return strings.TrimPrefix(route+"/index.html", "/")
}

// Made is when a copy for other servers was made; "" on the page itself.
func (v shell) Made() string {
	if v.site.made.IsZero() {
		return ""
	}
	return v.site.made.UTC().Format(time.RFC3339)
}

// Late is the age in seconds at which such a copy is out of date.
func (v shell) Late() int { return int(v.site.late / time.Second) }

// Absolute returns the address of a route for use on other pages.
func (v shell) Absolute(path string) string {
	if v.Address == "" {
		return v.base + path
	}
	return strings.TrimSuffix(string(v.Address), "/") + "/" + path
}

// Frame is the HTML that shows the state on another page.
func (v shell) Frame() string {
	title := v.lang.say("embed_title", "company", v.Company)
	return `<iframe src="` + template.HTMLEscapeString(v.Absolute("embed")) + `" title="` + template.HTMLEscapeString(title) +
		`" width="320" height="40" style="border:0"></iframe>`
}

// Asset returns an asset's address with the hash of its content, under which it
// can be cached for ever.
func (v shell) Asset(name string) template.URL {
	if a := v.site.assets[name]; a != nil {
		name += "?v=" + a.hash
	}
	return v.Route("assets/" + name)
}

// image returns the address of a configured image. A path that starts with "./"
// is relative to the status page, from whichever page it is shown on.
func (v shell) image(raw string) template.URL {
	if name, ok := strings.CutPrefix(raw, "./"); ok {
		return picture(v.base + name)
	}
	return picture(raw)
}

// scriptWords are the words that the script needs.
var scriptWords = strings.Fields(`no_downtime no_data day_down day_degraded day_maintenance goes_on went_on from_to
	seconds minutes hours_short days_short copied close_all open_all out_of_date times_here`)

// Words returns what the script says, as JSON.
func (v shell) Words() (string, error) {
	return v.lang.json(scriptWords, "found")
}

// json returns the words of these keys, and the forms of others with a number.
func (l *language) json(keys []string, plurals ...string) (string, error) {
	words := make(map[string]any)
	for _, key := range keys {
		words[key] = l.words[key]
	}
	for _, key := range plurals {
		words[key] = l.plurals[key]
	}
	text, err := json.Marshal(words)
	return string(text), err
}

// A pageView is what the pages of a snapshot see.
type pageView struct {
	shell
	State, Sentence  string
	Said             template.HTML // the same, with times in the visitor's zone
	Checked          template.HTML // when
	Day, From, Shift string        // see calendarStart
	Zone             string        // the server's
	Year             int
	Feeds            []labelLink // of each service
	Empty            bool

	Lines         []lineView // systems that are not well
	More          string     // how many further ones
	Notes         []template.HTML
	Incidents     []noteView // what people wrote of them
	Maintenances  []noteView // running and planned, by their start
	Announcements []noteView // newest first

	Crowd  bool            // there are so many services that they can be searched
	Only   string          // "Only problems", with how many there are
	Open   []template.HTML // cards
	Folded [][]template.HTML
	Calm   string        // how many services are folded
	Key    template.HTML // of the folded ones' days
	Past   *recentView

	Months []monthView // of the history
	Anchor string      // of the service that embed.html speaks of
	Banner bool        // the state is not the page's heading
}

type labelLink struct {
	Label string
	Link  template.URL
}

// A lineView is a system that is not well.
type lineView struct {
	ID, State, Label, Service string
	Link                      template.URL
	For                       string
	Since                     template.HTML
}

// newPageView returns what all pages of a snapshot show, without services.
func newPageView(st *site, lang *language, base string, s *snapshot) *pageView {
	form := secondForm
	if !st.made.IsZero() {
		form = dateSecondForm // it may be found days later
	}
	v := &pageView{
		shell:   newShell(st, lang, base),
		Checked: lang.html("checked_at", "time", lang.element(s.at, form)),
		Zone:    lang.say("times_there", "zone", s.at.Format("MST")),
		Year:    s.at.Year(),
		Empty:   len(s.services) == 0,
	}
	v.Day, v.From, v.Shift = calendarStart(s.at)
	v.State, v.Sentence, v.Said = s.banner(lang)
	if v.State == stateWait { // nothing is checked
		v.Checked = lang.html("as_of", "time", lang.element(s.at, form))
	}
	for _, sv := range s.services {
		v.Feeds = append(v.Feeds, labelLink{steady(sv.conf.Label), v.Route("feed/" + url.PathEscape(sv.conf.ID) + ".atom")})
	}
	return v
}

// addNews adds what stands above the services.
func (v *pageView) addNews(s *snapshot, lasting map[*Node]*incident) {
	lang := v.lang
	stale, problems, covered := false, 0, v.addNotes(s, lasting)
	for _, sv := range s.services {
		for _, nv := range sv.nodes {
			ill := nv.ill() != healthy
			if ill {
				problems++
			}
			if ill && !covered[nv.conf] {
				v.Lines = append(v.Lines, newLineView(lang, sv, nv, lasting[nv.conf], s.at))
			}
			stale = stale || nv.replicas.has(func(r *replicaView) bool { return r.stale })
		}
	}
	slices.SortStableFunc(v.Lines, func(a, b lineView) int { // those that are down first
		return cmp.Compare(rank(b.State), rank(a.State))
	})
	v.Only = lang.count("only_problems_count", problems)
	if more := len(v.Lines) - maxLines; more > 0 {
		v.Lines, v.More = v.Lines[:maxLines], lang.count("more", more)
	}
	v.addMaintenances(s)
	if !s.connectionDown.IsZero() {
		v.Notes = append(v.Notes, lang.html("offline_note", "time", lang.moment(s.connectionDown, s.at)))
	}
	if stale {
		v.Notes = append(v.Notes, lang.html("restart_note"))
	}
}

func newLineView(lang *language, sv *serviceView, nv *nodeView, in *incident, now time.Time) lineView {
	v := lineView{
		ID:      elementID("l", sv.conf.ID, nv.conf.ID),
		State:   nv.status.state(),
		Label:   steady(nv.conf.Label),
		Service: steady(sv.conf.Label),
		Link:    template.URL("#" + nodePath(sv.conf, nv.conf)),
	}
	key := "degraded_for"
	if nv.status == dead {
		key = "down_for"
	}
	if since, _ := nv.since(in); !since.IsZero() {
		v.For = lang.say(key, "length", lang.length(max(0, now.Sub(since))))
		v.Since = lang.html("since", "time", lang.moment(since, now))
	} else {
		v.For = lang.words[stateWords[v.State]]
	}
	return v
}

// since returns since when the node has its status, zero when that is unknown,
// and the replica that gave it: the last one that got well or the first one
// that did not. With replicas_needed, a node is sick because of a dead one. An
// outage began with a replica that may be well again.
func (nv *nodeView) since(in *incident) (since time.Time, of *replicaView) {
	for _, r := range nv.replicas.all() {
		if r.since.IsZero() || nv.status == sick && r.status == healthy || nv.status != sick && r.status != nv.status {
			continue
		}
		if of == nil || r.since.Before(since) == (nv.status != healthy) {
			since, of = r.since, r
		}
	}
	if in != nil && nv.status == dead {
		since = in.start
	}
	return since, of
}

// lastingIncidents returns the incidents that have not ended, by node.
func lastingIncidents(s *snapshot) map[*Node]*incident {
	found := make(map[*Node]*incident)
	for i := range s.incidents {
		if in := &s.incidents[i]; in.end.IsZero() {
			found[in.node] = in
		}
	}
	return found
}

// banner returns the general state in one sentence, as text and as HTML. It
// counts nodes, which visitors call systems.
func (s *snapshot) banner(lang *language) (state, sentence string, said template.HTML) {
	if state, sentence = s.sentence(lang); sentence != "" {
		return state, sentence, template.HTML(template.HTMLEscapeString(sentence))
	}
	since, f := s.connectionDown.In(s.at.Location()), timeForm
	if dateOf(since) != dateOf(s.at) {
		f = dateTimeForm
	}
	return state, lang.say("offline", "time", lang.time(since, f)+since.Format(" MST")),
		"<span>" + lang.html("offline", "time", lang.moment(since, s.at)) + "</span>"
}

// sentence returns the general state and what is said of it; nothing while the
// monitor is offline, which is said with the time.
func (s *snapshot) sentence(lang *language) (state, sentence string) {
	all, down, weak := 0, 0, 0
	for _, sv := range s.services {
		for _, nv := range sv.nodes {
			all++
			switch nv.ill() {
			case dead:
				down++
			case sick:
				weak++
			}
		}
	}
	switch state = s.state(); {
	case len(s.services) == 0:
		return stateWait, lang.words["empty"]
	case down == all && down > 0:
		return state, lang.count("all_down", all)
	case down > 0:
		return state, lang.count("some_down", down, "all", all)
	case weak == all && weak > 0:
		return state, lang.count("all_degraded", all)
	case weak > 0:
		return state, lang.count("some_degraded", weak, "all", all)
	case !s.connectionDown.IsZero():
		return stateWait, ""
	case state == stateWait:
		return state, lang.words["checking"]
	case state == stateMaint:
		return state, lang.words["only_maintenance"]
	}
	return state, lang.words["all_operational"]
}

// ill is the node's status as far as it counts: during a maintenance it does
// not.
func (nv *nodeView) ill() status {
	if nv.maintenance != nil {
		return healthy
	}
	return nv.status
}

// state is what the page shows for the whole.
func (s *snapshot) state() string {
	worst, known := worstState(s.services)
	if worst != stateOK {
		return worst
	}
	if started := s.checked || !slices.ContainsFunc(s.services, (*serviceView).waits); started && known {
		return stateOK
	}
	return stateWait
}

// state is what the page shows for the service.
func (sv *serviceView) state() string {
	worst, known := worstState(sv.nodes)
	if !known {
		return stateWait
	}
	return worst
}

// worstState returns the worst state of the parts that are known, and whether
// any is.
func worstState[T interface{ state() string }](parts []T) (worst string, known bool) {
	worst = stateOK
	for _, part := range parts {
		state := part.state()
		known = known || state != stateWait
		if state != stateWait && rank(state) > rank(worst) {
			worst = state
		}
	}
	return worst, known
}

// waits reports whether some replica waits for its first check.
func (sv *serviceView) waits() bool {
	return slices.ContainsFunc(sv.nodes, func(nv *nodeView) bool {
		return nv.replicas.has(func(r *replicaView) bool { return r.state() == stateWait })
	})
}

// A cardView is what service.html and folded.html see.
type cardView struct {
	ID, Heading, Label string
	State, Word        string
	Nodes              []template.HTML
	Key, Mini          template.HTML
	Ago, Today, Column string // over the nodes' days
	Up                 string
	Full               bool // there was no downtime at all
	Empty              string
}

func newCardView(lang *language, sv *serviceView, rows []*drawnNode) (*cardView, outline) {
	v := &cardView{
		ID:      anchor(sv.conf),
		Heading: "h-" + anchor(sv.conf),
		Label:   steady(sv.conf.Label),
		State:   sv.state(),
		Ago:     lang.count("days_ago", historyDays),
		Today:   lang.words["today"],
		Column:  lang.words["uptime"],
		Empty:   lang.words["no_nodes"],
	}
	bad := 0
	var kinds [dayKinds]bool
	var all outline
	for i, row := range rows {
		v.Nodes = append(v.Nodes, row.html)
		all.add(&row.past.outline)
		row.past.have(&kinds)
		if sv.nodes[i].state() == v.State {
			bad++
		}
	}
	switch v.State {
	case stateWait:
		v.Word = lang.words["unchecked"]
	case stateDown:
		v.Word = lang.count("some_down_short", bad, "all", len(sv.nodes))
	case stateWarn:
		v.Word = lang.count("some_degraded_short", bad, "all", len(sv.nodes))
	case stateMaint:
		v.Word = lang.count("some_maintenance_short", bad, "all", len(sv.nodes))
	}
	v.Key = lang.legend(&kinds)
	v.Mini = all.drawing(nil)
	v.Up, v.Full = lang.uptimeText(all.share, all.known)
	return v, all
}

// anchor is a service's id on the page, the same one as in the Rust Vigil. An
// id cannot have white space.
func anchor(sv *Service) string { return "probe-" + strings.Join(strings.Fields(steady(sv.ID)), "-") }

// nodePath is the path of a node's page, and the id of its row: they stand
// beside each other on the page.
func nodePath(sv *Service, n *Node) string {
	return "node/" + url.PathEscape(sv.ID) + "/" + url.PathEscape(n.ID)
}
