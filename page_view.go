package main

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What the page shows as a state: the three statuses, and one for what has
// not been checked or has not reported. They are class names too.
const (
	stateHealthy = "healthy"
	stateSick    = "sick"
	stateDead    = "dead"
	statePending = "pending"
)

const (
	foldAbove    = 12 // with more services than this, the healthy ones are folded
	maxNamed     = 6  // services named in the general state
	maxNamedOf   = 3  // nodes named of each
	maxIncidents = 50 // incidents on the page
)

// A shell is what all templates of whole pages see.
type shell struct {
	site *site
	base string // what links to the page's own routes start with

	Title, Company            string
	Address, Support, Website template.URL
	LogoURL, IconURL, Icon    template.URL
	ThemeColor                string
	Style                     template.CSS
	CustomHTML                template.HTML // the operator's own
}

func newShell(st *site, base string) shell {
	b := st.conf.Branding
	title := cmp.Or(steady(b.PageTitle), "Status Page")
	v := shell{
		site:       st,
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

// Route returns the address of one of the page's own routes.
func (v shell) Route(path string) template.URL { return template.URL(v.base + path) }

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

// A pageView is what page.html and embed.html see.
type pageView struct {
	shell
	State                         string
	Sentence, Headline, Lead, Ask string
	Affected                      []affectedView // what has the page's status
	More                          int            // services affected beyond those
	Empty                         bool
	Refreshed                     *moment
	Offline                       *moment // since when the monitor's own connection is down
	Stale                         bool    // some of it is known from before a restart
	Year                          int
	Announcements                 []announcementView // newest first
	Services                      []template.HTML
	Past                          bool           // whether incidents would be known
	Incidents                     []incidentView // newest first
	Older                         int            // incidents beyond those
}

type announcementView struct {
	ID, Title, Text string
	At              *moment
}

// An incidentView is what is shown of an incident: not its reason, which may
// name hosts.
type incidentView struct {
	ID, Service, Node string
	Ongoing           bool
	Start, End        *moment
	Length            string
}

// An affectedView says what of a service has its status, and since when.
type affectedView struct {
	ID, Link, Label string
	Nodes           []affectedNode
	More            int
	Start           *moment
	Length          string
}

type affectedNode struct {
	Comma bool
	Label string
}

// A cardView is what service.html sees.
type cardView struct {
	ID, Label, State, Word string
	Open                   bool
	Nodes                  []template.HTML
}

// newPageView returns what page.html and embed.html see of s, but for the
// services.
func newPageView(st *site, s *snapshot) *pageView {
	zone := s.at.Location()
	v := &pageView{
		shell:     newShell(st, st.base),
		State:     s.state(),
		Empty:     len(s.services) == 0,
		Refreshed: newMoment(s.at, zone, secondForm),
		Year:      s.at.Year(),
	}
	if !s.connectionDown.IsZero() {
		v.Offline = newMoment(s.connectionDown, zone, minuteForm)
	}
	v.sayState(s)
	for _, a := range slices.Backward(s.announcements) {
		v.Announcements = append(v.Announcements, announcementView{
			elementID("a", a.id), steady(a.title), steady(a.text), newMoment(a.at, zone, minuteForm),
		})
	}
	for i := range s.incidents[:min(len(s.incidents), maxIncidents)] {
		v.Incidents = append(v.Incidents, newIncidentView(&s.incidents[i], s.at))
	}
	v.Older = len(s.incidents) - len(v.Incidents)
	v.Past = len(v.Incidents) > 0
	for _, sv := range s.services {
		for _, nv := range sv.nodes {
			v.Past = v.Past || nv.history.started()
			v.Stale = v.Stale || nv.replicas.has(func(r *replicaView) bool { return r.stale })
		}
	}
	return v
}

func newIncidentView(in *incident, now time.Time) incidentView {
	zone := now.Location()
	v := incidentView{
		ID:      elementID("i", in.id),
		Service: steady(in.service.Label),
		Node:    steady(in.node.Label),
		Ongoing: in.end.IsZero(),
		Start:   newMoment(in.start, zone, minuteForm),
	}
	end := now
	if !in.end.IsZero() {
		end = in.end
		v.End = newMoment(end, zone, minuteForm)
	}
	v.Length = length(end.Sub(in.start))
	return v
}

// sayState puts the general state into words.
func (v *pageView) sayState(s *snapshot) {
	var worst []*serviceView // those with the page's status
	weak := 0                // those that are sick
	for _, sv := range s.services {
		if sv.status == s.status {
			worst = append(worst, sv)
		}
		if sv.status == sick {
			weak++
		}
	}
	all := plural(len(s.services), "service")
	some := fmt.Sprintf("%s of %s", thousands(len(worst)), all)
	if len(worst) == len(s.services) {
		some = all
	}
	verb := "are"
	if len(worst) == 1 {
		verb = "is"
	}
	var sentence, headline, lead string
	ask := "If something does not work for you," // before the link to support
	if s.status != healthy {
		ask = "If you see something else,"
	}
	switch state := s.state(); {
	case len(s.services) == 0:
		sentence = "Nothing is watched yet"
		headline = "No services yet"
		lead = "As soon as services are configured, their state is shown here."
	case state == statePending:
		sentence = "Checking all systems"
		headline = "The first checks are under way"
		lead = "Nothing was found to be wrong so far. What was not checked yet is shown with a dashed edge."
	case state == stateHealthy && !s.connectionDown.IsZero():
		sentence = "All systems were healthy when last checked"
		headline = "Everything worked when it was last checked"
		lead = "What changed since may not be shown yet."
	case state == stateHealthy:
		sentence = "All systems are healthy"
		headline = "Everything works as it should"
		lead = "All " + all + " are up and answer in time."
		if len(s.services) == 1 {
			lead = "The service is up and answers in time."
		}
	case state == stateSick:
		sentence = "Some systems are slow or under high load"
		headline = some + " " + verb + " slow or under high load"
		lead = "Things may take longer than usual."
	default:
		sentence = "Some systems are down"
		headline = "An outage affects " + some
		lead = "Some things will not work until this is repaired."
		if weak > 0 {
			verb = "are"
			if weak == 1 {
				verb = "is"
			}
			lead += fmt.Sprintf(" Besides, %s %s slow or under high load.", plural(weak, "service"), verb)
		}
	}
	v.Sentence, v.Headline, v.Lead, v.Ask = sentence, headline, lead, ask
	if s.status == healthy {
		worst = nil
	}
	for _, sv := range worst[:min(len(worst), maxNamed)] {
		v.Affected = append(v.Affected, newAffectedView(sv, s))
	}
	v.More = len(worst) - len(v.Affected)
}

func newAffectedView(sv *serviceView, s *snapshot) affectedView {
	var since time.Time
	earlier := func(t time.Time) {
		if since.IsZero() || t.Before(since) && !t.IsZero() {
			since = t
		}
	}
	var nodes []affectedNode
	bad := 0
	for _, nv := range sv.nodes {
		if nv.status != sv.status {
			continue
		}
		if bad++; bad <= maxNamedOf && len(sv.nodes) > 1 {
			nodes = append(nodes, affectedNode{bad > 1, steady(nv.conf.Label)})
		}
		for _, r := range nv.replicas.all() {
			if r.status == sv.status {
				earlier(r.since)
			}
		}
	}
	for i := range s.incidents {
		// It began with a replica that may be well again.
		if in := &s.incidents[i]; in.end.IsZero() && in.service.ID == sv.conf.ID && sv.status == dead {
			earlier(in.start)
		}
	}
	v := affectedView{
		ID:    elementID("h", sv.conf.ID),
		Link:  "#" + elementID("s", sv.conf.ID),
		Label: steady(sv.conf.Label),
		Nodes: nodes,
		More:  max(0, bad-maxNamedOf),
	}
	if len(sv.nodes) < 2 {
		v.More = 0
	}
	if !since.IsZero() {
		v.Start = newMoment(since, s.at.Location(), minuteForm)
		v.Length = length(max(0, s.at.Sub(since)))
	}
	return v
}

// state is what the page shows for the whole.
func (s *snapshot) state() string {
	if s.status != healthy {
		return s.status.String()
	}
	started := s.checked || !slices.ContainsFunc(s.services, (*serviceView).waits)
	known := slices.ContainsFunc(s.services, func(sv *serviceView) bool { return sv.state() != statePending })
	if started && known {
		return stateHealthy
	}
	return statePending
}

// state is what the page shows for the service.
func (sv *serviceView) state() string {
	known := func(nv *nodeView) bool { return nv.state() != statePending }
	if sv.status != healthy || slices.ContainsFunc(sv.nodes, known) {
		return sv.status.String()
	}
	return statePending
}

// waits reports whether some replica waits for its first check.
func (sv *serviceView) waits() bool {
	return slices.ContainsFunc(sv.nodes, func(nv *nodeView) bool {
		return nv.replicas.has(func(r *replicaView) bool { return r.state() == statePending })
	})
}

func newCardView(sv *serviceView, open bool, nodes []template.HTML) *cardView {
	state := sv.state()
	word := stateWord(state)
	if len(sv.nodes) > 1 && (state == stateSick || state == stateDead) {
		bad := 0
		for _, nv := range sv.nodes {
			if nv.status == sv.status {
				bad++
			}
		}
		word = strconv.Itoa(bad) + " of " + strconv.Itoa(len(sv.nodes)) + " " + word
	}
	return &cardView{
		ID:    elementID("s", sv.conf.ID),
		Label: steady(sv.conf.Label),
		State: state,
		Word:  word,
		Open:  open,
		Nodes: nodes,
	}
}

func stateWord(state string) string {
	if state == statePending {
		return "not checked yet"
	}
	return state
}
