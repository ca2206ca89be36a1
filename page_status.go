package main

import (
	"encoding/json"
	"net/http"
)

// A publicStatus is the state in the form of /status/report. It names things by
// their labels, as the page does, and replicas not at all.
type publicStatus struct {
	Health string          `json:"health"`
	Page   statusPage      `json:"page"`
	Probes []statusService `json:"probes"`
}

type statusPage struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

type statusService struct {
	Name   string       `json:"name"`
	Status string       `json:"status"`
	Nodes  []statusNode `json:"nodes"`
}

type statusNode struct {
	Name     string   `json:"name"`
	Status   string   `json:"status"`
	Replicas []string `json:"replicas"`
}

// newPublicStatus returns that of s. Its lists are never nil.
func newPublicStatus(s *snapshot) publicStatus {
	rep := publicStatus{
		Health: s.status.String(),
		Page:   statusPage{s.conf.Branding.PageTitle, s.conf.Branding.PageURL},
		Probes: make([]statusService, len(s.services)),
	}
	for i, sv := range s.services {
		nodes := make([]statusNode, len(sv.nodes))
		for j, nv := range sv.nodes {
			replicas := make([]string, nv.replicas.len())
			for k, r := range nv.replicas.all() {
				replicas[k] = r.status.String()
			}
			nodes[j] = statusNode{nv.conf.Label, nv.status.String(), replicas}
		}
		rep.Probes[i] = statusService{sv.conf.Label, sv.status.String(), nodes}
	}
	return rep
}

func (p *page) serveReport(w http.ResponseWriter, r *http.Request) {
	p.serveCached(w, r, "report", func(s *snapshot) (*reply, error) {
		body, err := json.Marshal(newPublicStatus(s))
		return newReply(body, statusFields), err
	})
}

var statusFields = []field{
	newField("Content-Type", "application/json"),
	newField("Cache-Control", "no-cache"),
	newField("X-Content-Type-Options", "nosniff"),
	newField("Access-Control-Allow-Origin", "*"),
}
