package main

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

type historyNode struct {
	Name   string        `json:"name"`
	Status string        `json:"status"`
	Uptime historyUptime `json:"uptime"`
	Days   []historySum  `json:"days"`   // the last 90 at most, today last
	Months []historySum  `json:"months"` // all, this one last
}

// A historyUptime is the share of the known time in which the node was not
// dead, from 0 to 1; null where nothing is known. Windows are days of the
// calendar, with today.
type historyUptime struct {
	Today  *float64 `json:"today"`
	Days7  *float64 `json:"7d"`
	Days30 *float64 `json:"30d"`
	Days90 *float64 `json:"90d"`
}

// A historySum says how long a node had each status in a day or month, up to
// now. The four add up to its length.
type historySum struct {
	Date    string  `json:"date"` // 2026-03-01, of a month 2026-03
	Healthy float64 `json:"healthy"`
	Sick    float64 `json:"sick"`
	Dead    float64 `json:"dead"`
	Unknown float64 `json:"unknown"` // not checked, or Vigil did not run
}

type historyIncident struct {
	ID      string  `json:"id"`
	Probe   string  `json:"probe"`
	Node    string  `json:"node"`
	Start   string  `json:"start"`
	End     *string `json:"end"` // null while it lasts
	Seconds float64 `json:"seconds"`
}

// A historyWriter writes the past in the form of /status/history, as far as
// that is the whole of it:
//
//	{"page":{"name":"...","url":"..."},
//	 "time":"...",                          of the report, RFC 3339
//	 "probes":[{"name":"...","nodes":[...]}],
//	 "incidents":[...]}                     newest first, 90 days
//
// It names things as /status/report does. All lengths of time are in seconds,
// and days are those of the server's zone, the one that the time is written in.
// With many nodes this is long, so it is never in memory as a whole.
type historyWriter struct {
	out  *bufio.Writer
	json *json.Encoder // into out
	node historyNode   // the one being written; its lists are used again
	err  error         // of the first value that had no JSON
}

// writeHistory writes the past of s as it is now.
func writeHistory(w io.Writer, s *snapshot, now time.Time) error {
	out := bufio.NewWriterSize(w, 16<<10)
	h := &historyWriter{out: out, json: json.NewEncoder(out)}
	h.node.Days, h.node.Months = []historySum{}, []historySum{} // [] in JSON when empty
	h.text(`{"page":`)
	h.value(statusPage{s.conf.Branding.PageTitle, s.conf.Branding.PageURL})
	h.text(`,"time":`)
	h.value(now.Format(time.RFC3339))
	h.text(`,"probes":[`)
	c := newCalendar(now)
	for i, sv := range s.services {
		h.comma(i)
		h.text(`{"name":`)
		h.value(sv.conf.Label)
		h.text(`,"nodes":[`)
		for k, nv := range sv.nodes {
			h.comma(k)
			h.node.fill(nv, c)
			h.value(&h.node)
		}
		h.text(`]}`)
	}
	h.text(`],"incidents":[`)
	for i := range s.pastIncidents {
		h.comma(i)
		h.value(newHistoryIncident(&s.pastIncidents[i], now))
	}
	h.text(`]}`)
	return cmp.Or(h.err, h.out.Flush())
}

// text writes punctuation between values. The writer keeps its errors.
func (h *historyWriter) text(s string) { h.out.WriteString(s) }

// comma writes the one in front of every element of a list but the first.
func (h *historyWriter) comma(i int) {
	if i > 0 {
		h.text(",")
	}
}

func (h *historyWriter) value(v any) {
	if err := h.json.Encode(v); h.err == nil {
		h.err = err
	}
}

// A calendar is what the days and months of all nodes have in common.
type calendar struct {
	now    time.Time
	days   [keptDays]span // by how many days ago
	months map[date]span  // by their first day
}

// A span is a day or a month.
type span struct {
	name   string        // 2026-03-01, of a month 2026-03
	passed time.Duration // how much of it has
}

func newCalendar(now time.Time) *calendar {
	c := &calendar{now: now, months: make(map[date]span)}
	end, today := now, dateOf(now)
	for ago := range c.days {
		d := today - date(ago)
		start := d.start(now.Location())
		c.days[ago] = span{d.noon().Format(time.DateOnly), end.Sub(start)}
		end = start
	}
	return c
}

// month returns the month from that date.
func (c *calendar) month(from date) span {
	m, ok := c.months[from]
	if !ok {
		end, zone := (from + 31).month().start(c.now.Location()), c.now.Location()
		if end.After(c.now) {
			end = c.now
		}
		m = span{from.noon().Format("2006-01"), end.Sub(from.start(zone))}
		c.months[from] = m
	}
	return m
}

// fill makes it that of another node.
func (node *historyNode) fill(nv *nodeView, c *calendar) {
	h := nv.history.advance(c.now)
	*node = historyNode{
		Name:   nv.conf.Label,
		Status: nv.status.String(),
		Uptime: historyUptime{h.share(1, c.now), h.share(7, c.now), h.share(30, c.now), h.share(keptDays, c.now)},
		Days:   node.Days[:0],
		Months: node.Months[:0],
	}
	today, first := dateOf(c.now), -1
	var days [keptDays]sum // by how many days ago it was
	for ago, s := range h.recent(keptDays, c.now) {
		days[ago], first = s, max(first, ago)
	}
	for ago := first; ago >= 0; ago-- {
		node.Days = append(node.Days, newHistorySum(&days[ago], c.days[ago]))
	}
	for s := range h.months.all() {
		if s.from > today {
			break // booked under a clock that was wrong
		}
		node.Months = append(node.Months, newHistorySum(&s, c.month(s.from)))
	}
}

// share returns the uptime over n days; nil where nothing is known.
func (h *nodeHistory) share(n int, now time.Time) *float64 {
	up, known := h.uptime(n, now)
	if known <= 0 {
		return nil
	}
	share := up.Seconds() / known.Seconds()
	return &share
}

// newHistorySum returns a sum as that of the day or month.
func newHistorySum(s *sum, of span) historySum {
	return historySum{
		Date:    of.name,
		Healthy: inSeconds(s.parts[healthy]),
		Sick:    inSeconds(s.parts[sick]),
		Dead:    inSeconds(s.parts[dead]),
		Unknown: inSeconds(max(of.passed-s.total(), 0)),
	}
}

func newHistoryIncident(in *incident, now time.Time) historyIncident {
	rep := historyIncident{
		ID:      in.id,
		Probe:   in.service.Label,
		Node:    in.node.Label,
		Start:   in.start.In(now.Location()).Format(time.RFC3339),
		Seconds: inSeconds(in.length(now)),
	}
	if !in.end.IsZero() {
		end := in.end.In(now.Location()).Format(time.RFC3339)
		rep.End = &end
	}
	return rep
}

// inSeconds returns d to the millisecond.
func inSeconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

const (
	// historyEvery is for how long an answer of /status/history is good.
	historyEvery = 5 * time.Second

	// historyPlain is the size, in bytes, up to which an answer is kept as it
	// is, too. A larger one, which may have 65 MB for 10,000 nodes, is kept in
	// gzip alone and unpacked for those who do not take that, so many at a
	// time at most; each costs about 80 KB while it lasts.
	historyPlain     = 1 << 20
	historyUnpacking = 32

	// historyLevel makes little more of it than the best one, in much less time.
	historyLevel = 3
)

// A historyAnswer is a report that is ready to serve.
type historyAnswer struct {
	*reply
	stale time.Time // when it is to be made anew
}

// A historyCache keeps the answer for a while: it is large, and it is made
// only when somebody asks, by one of those who do.
type historyCache struct {
	answer    atomic.Pointer[historyAnswer]
	making    singleflight.Group
	unpacking atomic.Int32 // answers being unpacked
}

var historyFields = []field{
	newField("Content-Type", "application/json"),
	newField("Cache-Control", "public, max-age=5"),
	newField("X-Content-Type-Options", "nosniff"),
	newField("Access-Control-Allow-Origin", "*"),
}

func (p *page) serveHistory(w http.ResponseWriter, r *http.Request) {
	answer := p.history.answer.Load()
	if answer == nil || time.Now().After(answer.stale) {
		made, err, _ := p.history.making.Do("", p.makeHistory)
		if err != nil {
			p.log.Error("history not served", "err", err)
			http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
			return
		}
		answer = made.(*historyAnswer)
	}
	answer.serve(w, r)
}

// makeHistory returns a fresh *historyAnswer.
func (p *page) makeHistory() (any, error) {
	now := time.Now()
	r, err := p.history.newReply(p.snaps.public(), now)
	if err != nil {
		return nil, err
	}
	answer := &historyAnswer{r, now.Add(max(historyEvery, renderShare*time.Since(now)))}
	p.history.answer.Store(answer)
	return answer, nil
}

// newReply returns the past of s. While it is made, no more of it than the
// packed form is in memory.
func (c *historyCache) newReply(s *snapshot, now time.Time) (*reply, error) {
	var packed bytes.Buffer
	zw, err := gzip.NewWriterLevel(&packed, historyLevel)
	if err != nil {
		return nil, err
	}
	plain := &countWriter{out: zw}
	if err := writeHistory(plain, s, now); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	body := bytes.Clone(packed.Bytes()) // without the buffer's spare capacity
	if plain.n <= historyPlain {
		text := bytes.NewBuffer(make([]byte, 0, plain.n))
		if err := gunzip(text, body); err != nil {
			return nil, err
		}
		return newReply(text.Bytes(), historyFields), nil
	}
	tag := tagOf(body)
	d := &reply{
		plain:  variant{nil, []string{`"` + tag + `"`}, []string{strconv.FormatInt(plain.n, 10)}},
		packed: newVariant(body, tag+".gz"),
		fields: historyFields,
		cache:  caching(historyFields),
		vary:   varyValue,
	}
	d.unpack = func(w http.ResponseWriter) { c.unpack(w, body) }
	return d, nil
}

// unpack answers with the plain text of body, unless too many do already.
func (c *historyCache) unpack(w http.ResponseWriter, body []byte) {
	defer c.unpacking.Add(-1)
	if c.unpacking.Add(1) > historyUnpacking {
		h := w.Header()
		h.Del("Etag")
		h.Del("Cache-Control")
		h.Set("Retry-After", "5")
		http.Error(w, "too many requests without gzip, send Accept-Encoding: gzip", http.StatusServiceUnavailable)
		return
	}
	_ = gunzip(w, body) // it ends early when the client has left
}

// gunzip writes the plain text of what is in gzip.
func gunzip(w io.Writer, packed []byte) error {
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("gunzip: %w", err)
	}
	_, err = io.Copy(w, zr)
	return err
}

// A countWriter counts what goes through it.
type countWriter struct {
	out io.Writer
	n   int64
}

func (w *countWriter) Write(p []byte) (int, error) {
	n, err := w.out.Write(p)
	w.n += int64(n)
	return n, err
}
