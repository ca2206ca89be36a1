package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// An operator publishes announcements, takes them back and silences reminders,
// and remembers what was acknowledged.
type operator struct {
	*victim
	mu        sync.Mutex
	published []string        // ids, oldest first
	unsure    map[string]bool // ids that were perhaps taken back
	gone      map[string]bool
	silence   [2]time.Time // until when, at the earliest and the latest; zero: not sure
	acks      int
}

func (o *operator) act(rnd *rand.Rand) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch n := len(o.published); {
	case rnd.IntN(10) == 0:
		seconds := 1000 + rnd.IntN(1e6)
		o.silence = [2]time.Time{}
		asked := time.Now()
		if o.call("manager", "PUT", "manager/prober/alerts/ignored/", map[string]int{"reminders_seconds": seconds}, nil) == http.StatusOK {
			o.silence = [2]time.Time{asked.Add(time.Duration(seconds) * time.Second), time.Now().Add(time.Duration(seconds) * time.Second)}
			o.acks++
		}
	case n > 0 && (n > 30 || rnd.IntN(3) == 0):
		i := rnd.IntN(n)
		id := o.published[i]
		o.unsure[id] = true
		if code := o.call("manager", "DELETE", "manager/announcement/"+id+"/", nil, nil); code == http.StatusOK || code == http.StatusNotFound {
			o.published = slices.Delete(o.published, i, i+1)
			delete(o.unsure, id)
			o.gone[id] = true
			o.acks++
		}
	default:
		var made struct{ ID string }
		if o.call("manager", "POST", "manager/announcement/", map[string]string{"title": "t", "text": "x"}, &made) == http.StatusOK {
			o.published = append(o.published, made.ID)
			o.acks++
		}
	}
}

// plannerTitle is that of the planner's announcements, which no other operator
// removes.
const plannerTitle = "long"

// withdrawn stands for an acknowledgement that was taken back.
const withdrawn = "withdrawn"

// A planner makes maintenances and silences and ends them, edits and updates an
// announcement, acknowledges outages, takes that back and reloads the config, and
// remembers what was accepted.
type planner struct {
	*victim
	mu      sync.Mutex
	made    map[string]string // id of what is there: its kind
	unsure  map[string]bool   // ids that were perhaps ended
	note    string            // id of the announcement; "" before the first
	updates int               // accepted, at least
	text    string            // of the last edit; "" when not sure
	label   int               // in the config
	hushed  string            // id of the silence that stays
	edits   int               // accepted
	acked   map[string]string // id of an outage: its last accepted text, or withdrawn; "" when not sure
	acks    int
}

func (p *planner) act(rnd *rand.Rand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var made struct{ ID string }
	switch kind := []string{"maintenance", "silence"}[rnd.IntN(2)]; rnd.IntN(7) {
	case 0: // end one
		for id, kind := range p.made {
			if id == p.hushed {
				continue
			}
			p.unsure[id] = true
			if code := p.call("manager", "DELETE", "manager/"+kind+"/"+id+"/", nil, nil); code == http.StatusOK || code == http.StatusNotFound {
				delete(p.made, id)
				p.acks++
			}
			break
		}
	case 1: // write of the announcement
		if p.note == "" || p.updates > 80 {
			if p.call("manager", "POST", "manager/announcement/", map[string]string{"title": plannerTitle, "text": "x"}, &made) == http.StatusOK {
				p.note, p.updates, p.text = made.ID, 0, "x"
				p.acks++
			}
		} else if p.call("manager", "POST", "manager/announcement/"+p.note+"/update/", map[string]string{"text": "more"}, nil) == http.StatusOK {
			p.updates++
			p.acks++
		}
	case 3: // edit it, as it was read last
		var read struct{ Revision int }
		if p.note == "" || p.call("manager", "GET", "manager/announcement/"+p.note+"/", nil, &read) != http.StatusOK {
			return
		}
		text := fmt.Sprint("text ", rnd.IntN(1e9))
		p.text = ""
		body := map[string]any{"title": plannerTitle, "text": text, "revision": read.Revision}
		if p.call("manager", "PUT", "manager/announcement/"+p.note+"/", body, nil) == http.StatusOK {
			p.text = text
			p.edits++
			p.acks++
		}
	case 4:
		p.label++
		p.configure(p.label)
		if p.call("manager", "POST", "manager/reload/", nil, nil) == http.StatusOK {
			p.acks++
		}
	case 2: // acknowledge an open outage, or take that back
		var open []struct {
			ID  string
			End *time.Time
		}
		p.call("manager", "GET", "manager/outages/", nil, &open)
		if len(open) == 0 || open[0].End != nil {
			return
		}
		method, text := "PUT", fmt.Sprint("text ", rnd.IntN(1e9))
		var body any = map[string]any{"text": text, "seconds": 3600}
		if rnd.IntN(3) == 0 {
			method, text, body = "DELETE", withdrawn, nil
		}
		p.acked[open[0].ID] = ""
		if p.call("manager", method, "manager/outage/"+open[0].ID+"/ack/", body, nil) == http.StatusOK {
			p.acked[open[0].ID] = text
			p.acks++
		}
	default: // make one, for a node that has no outages
		if len(p.made) > 30 {
			return
		}
		body := map[string]any{"selectors": []string{"web:load"}, "text": "x"}
		if kind == "silence" {
			body["seconds"] = 3600
		} else {
			body["title"], body["end"] = "t", time.Now().Add(time.Hour)
		}
		if p.call("manager", "POST", "manager/"+kind+"s/", body, &made) == http.StatusOK {
			p.made[made.ID] = kind
			p.acks++
		}
	}
}

// hush silences a node for good.
func (p *planner) hush() {
	var made struct{ ID string }
	body := map[string]any{"selectors": []string{"web:hush"}, "text": "x", "seconds": 1_000_000}
	if code := p.call("manager", "POST", "manager/silences/", body, &made); code != http.StatusOK {
		p.t.Fatalf("silence: status %d", code)
	}
	p.made[made.ID], p.hushed = "silence", made.ID
}

// readLog reads the log of events: each line is one, the oldest first.
func (p *planner) readLog() {
	req, err := http.NewRequest(http.MethodGet, *p.url.Load()+"manager/log/", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.SetBasicAuth("", "manager")
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Error(err)
		return
	}
	defer answer.Body.Close()
	seen := make(map[string]int)
	var last time.Time
	for lines := json.NewDecoder(answer.Body); ; {
		var e struct {
			Time time.Time
			Kind string
		}
		if err := lines.Decode(&e); err == io.EOF {
			break
		} else if err != nil {
			p.t.Errorf("log of events: %v", err)
			break
		}
		if last.Sub(e.Time) > time.Second { // they come from many goroutines
			p.t.Errorf("log of events: %v after %v", e.Time, last)
		}
		last = e.Time
		seen[e.Kind]++
	}
	for _, kind := range []string{"transition", "alert", "delivery", "reload", "call"} {
		if seen[kind] == 0 {
			p.t.Errorf("log of events: no %s among %v", kind, seen)
		}
	}
}

func (p *planner) check() {
	p.mu.Lock()
	defer p.mu.Unlock()
	have := make(map[string]bool)
	for _, kind := range []string{"maintenance", "silence"} {
		var list []struct{ ID string }
		if code := p.call("manager", "GET", "manager/"+kind+"s/", nil, &list); code != http.StatusOK {
			p.t.Errorf("%ss: status %d", kind, code)
			return
		}
		for _, it := range list {
			have[it.ID] = true
			if p.made[it.ID] == "" && p.unsure[it.ID] {
				p.t.Errorf("%s %s is back", kind, it.ID)
			}
		}
	}
	for id, kind := range p.made {
		if !have[id] && !p.unsure[id] {
			p.t.Errorf("%s %s is lost", kind, id)
		}
	}
	var note struct {
		Text    string
		Updates []any
	}
	if p.note != "" {
		if code := p.call("manager", "GET", "manager/announcement/"+p.note+"/", nil, &note); code != http.StatusOK || len(note.Updates) < p.updates {
			p.t.Errorf("announcement %s: status %d, %d of %d updates", p.note, code, len(note.Updates), p.updates)
		}
		if p.text != "" && note.Text != p.text {
			p.t.Errorf("announcement %s: text %q, want %q", p.note, note.Text, p.text)
		}
		p.updates = len(note.Updates)
	}
	for id, text := range p.acked {
		var out struct {
			Acknowledgement *struct{ Text string }
		}
		code := p.call("manager", "GET", "manager/outage/"+id+"/", nil, &out)
		got := withdrawn
		if out.Acknowledgement != nil {
			got = out.Acknowledgement.Text
		}
		// An outage of less than 5 s is forgotten unless it is acknowledged.
		if text != "" && (got != text || code != http.StatusOK && (code != http.StatusNotFound || text != withdrawn)) {
			p.t.Errorf("acknowledgement %q of outage %s: status %d, %q", text, id, code, got)
		}
	}
}

// check compares what the program knows with what it acknowledged.
func (o *operator) check() {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []struct{ ID, Title string }
	if code := o.call("manager", "GET", "manager/announcements/", nil, &list); code != http.StatusOK {
		o.t.Errorf("announcements: status %d", code)
		return
	}
	have := make(map[string]bool)
	for _, a := range list {
		if a.Title == plannerTitle {
			continue
		}
		have[a.ID] = true
		if o.gone[a.ID] {
			o.t.Errorf("announcement %s is back", a.ID)
		}
	}
	for _, id := range o.published {
		if !have[id] && !o.unsure[id] {
			o.t.Errorf("announcement %s is lost", id)
		}
	}
	// Those whose answer was lost may be there as well: clear them away before
	// they are too many.
	for id := range have {
		if !slices.Contains(o.published, id) {
			o.published = append(o.published, id)
		}
	}
	var ignored struct {
		Seconds *float64 `json:"reminders_seconds"`
	}
	asked := time.Now()
	o.call("manager", "GET", "manager/prober/alerts/ignored/", nil, &ignored)
	if o.silence[0].IsZero() {
		return
	}
	least, most := time.Until(o.silence[0]).Seconds()-2, o.silence[1].Sub(asked).Seconds()+2
	if got := ignored.Seconds; got == nil {
		o.t.Error("silence: it is lost")
	} else if *got < least || *got > most {
		o.t.Errorf("silence: %.0f s left, want %.0f to %.0f", *got, least, most)
	}
}
