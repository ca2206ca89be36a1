package main

import (
	"cmp"
	"fmt"
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

// newShell returns what all templates of whole pages see. Base is what links
// to the page's own routes start with.
func newShell(st *site, base string) view {
	b := st.conf.Branding
	title := cmp.Or(steady(b.PageTitle), "Status Page")
	route := func(path string) string { return base + path }
	// An image beside the page is found from wherever the page is shown.
	own := func(raw string) string {
		if name, ok := strings.CutPrefix(raw, "./"); ok {
			return picture(route(name))
		}
		return picture(raw)
	}
	// An asset's address has the hash of its content, under which it can be
	// cached for ever.
	file := func(name string) string {
		if a := st.assets[name]; a != nil {
			name += "?v=" + a.hash
		}
		return route("assets/" + name)
	}
	return view{
		"Title":      title,
		"Company":    cmp.Or(steady(b.CompanyName), title),
		"Address":    link(b.PageURL),
		"Support":    link(b.SupportURL),
		"Website":    link(b.WebsiteURL),
		"LogoURL":    own(b.LogoURL),
		"IconURL":    own(b.IconURL),
		"Icon":       cmp.Or(own(b.IconURL), file("icon.svg")),
		"ThemeColor": st.brand.icon.String(),
		"Style":      markup(st.style),
		"CustomHTML": markup(b.CustomHTML), // the operator's own
		"Base":       base,
		"Route":      route,
		"Asset":      file,
	}
}

// newPageView returns what page.html and embed.html see of s, but for the
// services.
func newPageView(st *site, s *snapshot) view {
	zone := s.at.Location()
	v := newShell(st, st.base)
	v["State"] = s.state()
	v["Empty"] = len(s.services) == 0
	v["Refreshed"] = moment(s.at, zone, secondForm)
	v["Year"] = s.at.Year()
	v["Offline"] = view(nil) // since when the monitor's own connection is down
	if !s.connectionDown.IsZero() {
		v["Offline"] = moment(s.connectionDown, zone, minuteForm)
	}
	sayState(v, s)
	var news, past []view
	for _, a := range slices.Backward(s.announcements) {
		news = append(news, view{
			"ID": elementID("a", a.id), "Title": steady(a.title), "Text": steady(a.text), "At": moment(a.at, zone, minuteForm),
		})
	}
	for i := range s.incidents[:min(len(s.incidents), maxIncidents)] {
		past = append(past, newIncidentView(&s.incidents[i], s.at))
	}
	watched, stale := len(past) > 0, false
	for _, sv := range s.services {
		for _, nv := range sv.nodes {
			watched = watched || nv.history.started()
			stale = stale || nv.replicas.has(func(r *replicaView) bool { return r.stale })
		}
	}
	v["Announcements"] = news // newest first
	v["Past"] = watched       // whether incidents are known of, if there were any
	v["Incidents"] = past     // newest first
	v["Older"] = len(s.incidents) - len(past)
	v["Stale"] = stale // some of it is known from before a restart
	return v
}

// newIncidentView returns what is shown of an incident: not its reason, which
// may tell of hosts.
func newIncidentView(in *incident, now time.Time) view {
	zone := now.Location()
	v := view{
		"ID":      elementID("i", in.id),
		"Service": steady(in.service.Label),
		"Node":    steady(in.node.Label),
		"Ongoing": in.end.IsZero(),
		"Start":   moment(in.start, zone, minuteForm),
		"End":     view(nil),
	}
	end := now
	if !in.end.IsZero() {
		end = in.end
		v["End"] = moment(end, zone, minuteForm)
	}
	v["Length"] = length(end.Sub(in.start))
	return v
}

// sayState puts the general state into words.
func sayState(v view, s *snapshot) {
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
	all := count(len(s.services), "service")
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
			lead += fmt.Sprintf(" Besides, %s %s slow or under high load.", count(weak, "service"), verb)
		}
	}
	v["Sentence"], v["Headline"], v["Lead"], v["Ask"] = sentence, headline, lead, ask
	var named []view
	if s.status == healthy {
		worst = nil
	}
	for _, sv := range worst[:min(len(worst), maxNamed)] {
		named = append(named, newAffectedView(sv, s))
	}
	v["Affected"], v["More"] = named, len(worst)-len(named)
}

// newAffectedView tells what of a service has its status, and since when.
func newAffectedView(sv *serviceView, s *snapshot) view {
	var since time.Time
	earlier := func(t time.Time) {
		if since.IsZero() || t.Before(since) && !t.IsZero() {
			since = t
		}
	}
	var nodes []view
	bad := 0
	for _, nv := range sv.nodes {
		if nv.status != sv.status {
			continue
		}
		if bad++; bad <= maxNamedOf && len(sv.nodes) > 1 {
			nodes = append(nodes, view{"Comma": bad > 1, "Label": steady(nv.conf.Label)})
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
	v := view{
		"ID":    elementID("h", sv.conf.ID),
		"Link":  "#" + elementID("s", sv.conf.ID),
		"Label": steady(sv.conf.Label),
		"Nodes": nodes,
		"More":  max(0, bad-maxNamedOf),
		"Start": view(nil),
	}
	if len(sv.nodes) < 2 {
		v["More"] = 0
	}
	if !since.IsZero() {
		v["Start"] = moment(since, s.at.Location(), minuteForm)
		v["Length"] = length(max(0, s.at.Sub(since)))
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

// newServiceView returns what service.html sees.
func newServiceView(sv *serviceView, open bool, nodes []markup) view {
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
	return view{
		"ID":    elementID("s", sv.conf.ID),
		"Label": steady(sv.conf.Label),
		"State": state,
		"Word":  word,
		"Open":  open,
		"Nodes": nodes,
	}
}

func stateWord(state string) string {
	if state == statePending {
		return "not checked yet"
	}
	return state
}
