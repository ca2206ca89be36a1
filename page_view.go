package main

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strconv"
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
	maxNamed     = 4  // names of services in the general state
	maxIncidents = 50 // incidents on the page
)

// A PageView is what the template page.html sees.
type PageView struct {
	shell
	State     string // "healthy", "sick", "dead" or "pending"
	Sentence  string // the general state in a few words
	Headline  string // the same with numbers
	Lead      string // the same for people
	Ask       string // what goes before the link to support
	Affected  []string
	More      int     // affected services that are not named
	Stale     bool    // some of it is known from before a restart
	Offline   *Moment // since when the monitor's own connection is down; nil: it works
	Empty     bool    // nothing is configured
	Refreshed Moment
	Year      int

	Announcements []AnnouncementView // newest first
	Services      []template.HTML    // from service.html
	Incidents     []IncidentView     // newest first
	Older         int                // incidents that are not listed
	Watched       bool               // whether incidents would be known of
}

// A shell is what all templates of whole pages share.
type shell struct {
	site *site
	Base string // what links to the page's own routes start with
}

func (v shell) Branding() Branding             { return v.site.conf.Branding }
func (v shell) Style() template.CSS            { return v.site.style }
func (v shell) CustomHTML() any                { return v.site.head }
func (v shell) ThemeColor() string             { return v.site.brand.icon.String() }
func (v shell) LogoURL() template.URL          { return picture(v.site.conf.Branding.LogoURL) }
func (v shell) Support() template.URL          { return link(v.site.conf.Branding.SupportURL) }
func (v shell) Website() template.URL          { return link(v.site.conf.Branding.WebsiteURL) }
func (v shell) Address() template.URL          { return link(v.site.conf.Branding.PageURL) }
func (v shell) IconURL() template.URL          { return picture(v.site.conf.Branding.IconURL) }
func (v shell) HasLogo() bool                  { return v.LogoURL() != "" }
func (v shell) Title() string                  { return cmp.Or(v.site.conf.Branding.PageTitle, "Status Page") }
func (v shell) Company() string                { return cmp.Or(v.site.conf.Branding.CompanyName, v.Title()) }
func (v shell) Route(path string) template.URL { return template.URL(v.Base + path) }

// Asset returns an asset's address with the hash of its content, under which
// it can be cached for ever.
func (v shell) Asset(name string) template.URL {
	address := v.Base + "assets/" + name
	if a := v.site.assets[name]; a != nil {
		address += "?v=" + a.hash
	}
	return template.URL(address)
}

// Icon is the address of the page's icon.
func (v shell) Icon() template.URL {
	if u := v.IconURL(); u != "" {
		return u
	}
	return v.Asset("icon.svg")
}

// An AnnouncementView is an announcement on the page.
type AnnouncementView struct {
	ID, Title, Text string
	At              Moment
}

// An IncidentView is an incident on the page. It has no reason: that may
// tell of hosts.
type IncidentView struct {
	ID, Service, Node string
	Ongoing           bool
	Start, End        Moment
	Length            string
}

// newPageView says what s shows, but for its services.
func newPageView(st *site, s *snapshot) *PageView {
	zone := s.at.Location()
	v := &PageView{
		shell:     shell{st, st.base},
		State:     s.state(),
		Empty:     len(s.services) == 0,
		Refreshed: newMoment(s.at, zone, secondForm),
		Year:      s.at.Year(),
	}
	if !s.lineDown.IsZero() {
		m := newMoment(s.lineDown, zone, minuteForm)
		v.Offline = &m
	}
	v.describe(s)
	for _, a := range slices.Backward(s.announcements) {
		v.Announcements = append(v.Announcements, AnnouncementView{
			elementID("a", a.id), a.title, a.text, newMoment(a.at, zone, minuteForm)})
	}
	for i := range s.incidents {
		if i == maxIncidents {
			v.Older = len(s.incidents) - i
			break
		}
		v.Incidents = append(v.Incidents, newIncidentView(&s.incidents[i], s.at))
	}
	for _, sv := range s.services {
		for _, nv := range sv.nodes {
			v.Watched = v.Watched || nv.history.started()
			v.Stale = v.Stale || slices.ContainsFunc(nv.replicas, func(r *replicaView) bool { return r.stale })
		}
	}
	return v
}

func newIncidentView(in *incident, now time.Time) IncidentView {
	zone := now.Location()
	v := IncidentView{
		ID:      elementID("i", in.id),
		Service: in.service.Label,
		Node:    in.node.Label,
		Ongoing: in.end.IsZero(),
		Start:   newMoment(in.start, zone, minuteForm),
	}
	end := now
	if !v.Ongoing {
		end = in.end
		v.End = newMoment(end, zone, minuteForm)
	}
	v.Length = length(end.Sub(in.start))
	return v
}

// describe puts the general state into words.
func (v *PageView) describe(s *snapshot) {
	var worst []string // services with the page's status
	for _, sv := range s.services {
		if sv.status == s.status {
			worst = append(worst, sv.conf.Label)
		}
	}
	all := count(len(s.services), "service")
	some := fmt.Sprintf("%s of %s", thousands(len(worst)), all)
	if len(worst) == len(s.services) {
		some = all
	}
	verb := "are"
	if len(worst) == 1 {
		verb = "is"
	}
	v.Ask = "If something does not work for you,"
	if s.status != healthy {
		v.Ask = "If you see something else,"
	}
	switch {
	case v.Empty:
		v.Sentence = "Nothing is watched yet"
		v.Headline = "No services yet"
		v.Lead = "As soon as services are configured, their state is shown here."
	case v.State == statePending:
		v.Sentence = "Checking all systems"
		v.Headline = "The first checks are under way"
		v.Lead = "Nothing was found to be wrong so far. What was not checked yet is shown with a dashed edge."
	case v.State == stateHealthy && v.Offline != nil:
		v.Sentence = "All systems were healthy when last checked"
		v.Headline = "Everything worked when it was last checked"
		v.Lead = "What changed since may not be shown yet."
		v.Ask = "If something does not work for you,"
	case v.State == stateHealthy:
		v.Sentence = "All systems are healthy"
		v.Headline = "Everything works as it should"
		v.Lead = "All " + all + " are up and answer in time."
		if len(s.services) == 1 {
			v.Lead = "The service is up and answers in time."
		}
	case v.State == stateSick:
		v.Sentence = "Some systems are slow or under high load"
		v.Headline = some + " " + verb + " slow or under high load"
		v.Lead = "Things may take longer than usual."
	default:
		v.Sentence = "Some systems are down"
		v.Headline = "An outage affects " + some
		v.Lead = "Some things will not work until this is repaired."
	}
	if s.status != healthy {
		v.Affected = worst[:min(len(worst), maxNamed)]
		v.More = len(worst) - len(v.Affected)
	}
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
		return slices.ContainsFunc(nv.replicas, func(r *replicaView) bool { return r.state() == statePending })
	})
}

// An EmbedView is what the template embed.html sees: a widget of one line,
// made for a frame on another site.
type EmbedView struct {
	shell
	State, Sentence string
}

// A ServiceView is what the template service.html sees.
type ServiceView struct {
	ID, Label string
	State     string
	Word      string // the state in words
	Open      bool
	Nodes     []template.HTML // from node.html
}

func newServiceView(sv *serviceView, open bool, nodes []template.HTML) *ServiceView {
	v := &ServiceView{
		ID:    elementID("s", sv.conf.ID),
		Label: sv.conf.Label,
		State: sv.state(),
		Open:  open,
		Nodes: nodes,
	}
	v.Word = stateWord(v.State)
	if v.State == stateSick || v.State == stateDead {
		bad := 0
		for _, nv := range sv.nodes {
			if nv.status == sv.status {
				bad++
			}
		}
		if len(sv.nodes) > 1 {
			v.Word = strconv.Itoa(bad) + " of " + strconv.Itoa(len(sv.nodes)) + " " + v.Word
		}
	}
	return v
}

func stateWord(state string) string {
	if state == statePending {
		return "not checked yet"
	}
	return state
}
