package main

import (
	"encoding/json"
	"net/http"
)

// A report is the state in the form of /status/report. It names things by
// their labels, as the page does, and replicas not at all.
type report struct {
	Health string        `json:"health"`
	Page   reportPage    `json:"page"`
	Probes []reportProbe `json:"probes"`
}

type reportPage struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

type reportProbe struct {
	Name   string       `json:"name"`
	Status string       `json:"status"`
	Nodes  []reportNode `json:"nodes"`
}

type reportNode struct {
	Name     string   `json:"name"`
	Status   string   `json:"status"`
	Replicas []string `json:"replicas"`
}

// newReport returns the report of s. Its lists are never nil.
func newReport(s *snapshot) report {
	rep := report{
		Health: s.status.String(),
		Page:   reportPage{s.conf.Branding.PageTitle, s.conf.Branding.PageURL},
		Probes: make([]reportProbe, len(s.services)),
	}
	for i, sv := range s.services {
		nodes := make([]reportNode, len(sv.nodes))
		for j, nv := range sv.nodes {
			replicas := make([]string, nv.replicas.len())
			for k, r := range nv.replicas.all() {
				replicas[k] = r.status.String()
			}
			nodes[j] = reportNode{nv.conf.Label, nv.status.String(), replicas}
		}
		rep.Probes[i] = reportProbe{sv.conf.Label, sv.status.String(), nodes}
	}
	return rep
}

func (p *page) serveReport(w http.ResponseWriter, r *http.Request) {
	body, err := json.Marshal(newReport(p.board.load()))
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	newReply(body, reportFields).serve(w, r)
}

var reportFields = []field{
	newField("Content-Type", "application/json"),
	newField("Cache-Control", "no-cache"),
	newField("X-Content-Type-Options", "nosniff"),
	newField("Access-Control-Allow-Origin", "*"),
}
