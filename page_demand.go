package main

import (
	"bytes"
	"html/template"
	"net/http"
	"strings"
)

// language returns the one in which a request is answered.
func (st *site) language(r *http.Request) *language {
	if st.auto {
		return pickLanguage(st.languages, r.Header["Accept-Language"])
	}
	return st.lang
}

// depthBase returns what links start with on a page at the request's path: with
// no fixed prefix they are relative, from however deep.
func (st *site) depthBase(r *http.Request) string {
	if st.base != "" {
		return st.base
	}
	depth := strings.Count(oneSlash(r.URL.EscapedPath()), "/") - 1
	return strings.Repeat("../", min(max(depth, 0), 32))
}

// serveMade answers with what make returns, kept by language and key.
func (p *page) serveMade(w http.ResponseWriter, r *http.Request, now *rendering, key string, make func(*language) (*reply, error)) {
	lang := now.site.language(r)
	made, err := p.cache.get(lang.tag+" "+key, now.snap, func() (*reply, error) { return make(lang) })
	if err != nil {
		p.log.Error("page not rendered", "err", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	made.serve(w, r)
}

// servePage answers with the page, or with the widget.
func (p *page) servePage(w http.ResponseWriter, r *http.Request, now *rendering, embed bool) {
	pick := func(page, widget *reply) *reply {
		if embed {
			return widget
		}
		return page
	}
	lang := now.site.language(r)
	if lang == now.site.lang {
		pick(now.page, now.embed).serve(w, r)
		return
	}
	key := map[bool]string{false: "page", true: "embed"}[embed]
	p.serveMade(w, r, now, key, func(lang *language) (*reply, error) {
		page, widget, err := p.renderIn(lang, now)
		return pick(page, widget), err
	})
}

// renderIn renders a snapshot in another language than the site's own.
func (p *page) renderIn(lang *language, now *rendering) (page, embed *reply, err error) {
	p.othersMu.Lock()
	defer p.othersMu.Unlock()
	r := p.others[lang.tag]
	if r == nil || r.site != now.site {
		r = newRenderer(now.site, lang)
		if p.others == nil {
			p.others = make(map[string]*renderer)
		}
		p.others[lang.tag] = r
	}
	return r.render(now.snap)
}

// serveNode returns what serves the page of one node: its row, opened. It is
// where the row's link leads without scripts, and where the script gets what
// it shows when a row is opened. It is nil when there is no such node.
func (p *page) serveNode(now *rendering, service, node string) http.HandlerFunc {
	s := now.snap
	sv, nv := s.node(service, node)
	if nv == nil {
		return nil
	}
	return func(w http.ResponseWriter, r *http.Request) {
		base := now.site.depthBase(r)
		p.serveMade(w, r, now, "node "+base+" "+service+"\x00"+node, func(lang *language) (*reply, error) {
			v := newPageView(now.site, lang, base, s)
			incidents := s.byNode()[nv.conf]
			past := newDrawnPast(lang, nv.history, incidents, s.at)
			var row rowView
			row.set(lang, base, sv, nv, lastingIncidents(s)[nv.conf], s.at, nil)
			row.setDays(lang, &past)
			row.Opened = newOpenedView(lang, base, nv, incidents, s.at)
			html, err := execute(now.site, "node.html", &row)
			if err != nil {
				return nil, err
			}
			one := *sv
			one.nodes = []*nodeView{nv}
			one.status = nv.status
			card, _ := newCardView(lang, &one, []*drawnNode{{html: html, past: past}})
			card.Word = ""
			if html, err = execute(now.site, "service.html", card); err != nil {
				return nil, err
			}
			v.Open = []template.HTML{html}
			html, err = execute(now.site, "single.html", v)
			return newReply([]byte(html), now.site.pageFields), err
		})
	}
}

// serveOutages serves the page of the history.
func (p *page) serveOutages(now *rendering) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		base := now.site.depthBase(r)
		p.serveMade(w, r, now, "history "+base, func(lang *language) (*reply, error) {
			v := newPageView(now.site, lang, base, now.snap)
			v.Banner = true
			v.Months = newHistoryView(lang, base, now.snap)
			html, err := execute(now.site, "history.html", v)
			return newReply([]byte(html), now.site.pageFields), err
		})
	}
}

// serveWidget serves the widget of one service; nil when there is none.
func (p *page) serveWidget(now *rendering, service string) http.HandlerFunc {
	for _, sv := range now.snap.services {
		if sv.conf.ID != service {
			continue
		}
		return func(w http.ResponseWriter, r *http.Request) {
			base := now.site.depthBase(r)
			p.serveMade(w, r, now, "embed "+base+" "+service, func(lang *language) (*reply, error) {
				v := newPageView(now.site, lang, base, now.snap)
				v.State, v.Anchor = sv.state(), anchor(sv.conf)
				v.Sentence = lang.say("service_state", "service", steady(sv.conf.Label), "state", lang.words[stateWords[v.State]])
				html, err := execute(now.site, "embed.html", v)
				return newReply([]byte(html), now.site.embedFields), err
			})
		}
	}
	return nil
}

// execute returns a template's HTML.
func execute(st *site, name string, v any) (template.HTML, error) {
	var buf bytes.Buffer
	err := st.templates.ExecuteTemplate(&buf, name, v)
	return template.HTML(buf.String()), err
}
