package main

import (
	"cmp"
	"container/heap"
	"context"
	"log/slog"
	"time"
)

const (
	// An agent sends so many reports at a time that it keeps up as long as the
	// master answers within a second, within these limits.
	minSends = 4
	maxSends = 64

	// While the master is away it is asked again after 1 s at first, then
	// after growing waits of up to 1 min.
	firstRetry = time.Second
	lastRetry  = time.Minute

	// A status is repeated for this many times the time that the next one
	// takes. Then something is wrong with this agent, and it must stop
	// reporting rather than report what it no longer checks.
	staleAfter = 10
)

// A place in the outbox is a replica by its ids.
type replicaPath struct{ service, node, replica string }

// An outbox holds the newest status of each replica and decides when to send it
// to the master: at once when it differs from the last one sent, and again
// before the interval is over, so that the master's deadline does not pass
// while a check is slow. When the master is away it sends one report at a time,
// to see whether it is back; nothing piles up meanwhile.
//
// It has no clock, no goroutine and no network: it belongs to its agent.
type outbox struct {
	log    *slog.Logger
	random func() float64 // in [0, 1)

	conf    *LocalConfig
	master  *master
	items   map[replicaPath]*outItem
	due     outHeap
	sending int // reports under way

	accepted bool       // a report was accepted since the start
	trouble  *sendError // why the master takes nothing now; nil: it does
	since    time.Time  // of the trouble
	tries    int        // in a row that failed
	quiet    time.Time  // until then nothing is sent

	refusals map[[2]string]string // why the master rejects a node, by its ids
}

// An outItem is the newest status of one replica.
type outItem struct {
	replicaPath
	known    bool // it was checked
	status   status
	checked  time.Time
	patience time.Duration // for how long that holds
	told     bool          // the master answered a report, be it that it does not want it
	last     status
	sent     time.Time // when that report, which said last, was sent
	gone     bool      // no longer in the config, to be flushed
	sending  bool      // being sent, and not in the heap

	at     time.Time // when it is due
	heaped int       // its index in the heap plus 1; 0 when it is not due at all
}

// A parcel is one report, or one flush, on its way to the master.
type parcel struct {
	item   *outItem
	to     *master
	flush  bool
	status status
	every  time.Duration
	sent   time.Time
}

// newOutbox returns an outbox that is empty until it adopts a config.
func newOutbox(log *slog.Logger, random func() float64) *outbox {
	return &outbox{log: log, random: random, items: make(map[replicaPath]*outItem)}
}

// adopt takes over a config. Replicas that are no longer in it are flushed,
// unless the config is about another master: then the old one is left alone.
func (o *outbox) adopt(conf *LocalConfig, to *master, now time.Time) {
	if o.master != nil && o.master.base != to.base {
		o.log.Warn("endpoint changed: replicas at the old one will time out",
			"endpoint", o.master.base, "replicas", len(o.items))
		clear(o.items)
		o.due = nil
	}
	if o.master == nil || *o.master != *to {
		o.master, o.trouble, o.tries, o.quiet = to, nil, 0, time.Time{}
	}
	o.conf = conf
	o.refusals = make(map[[2]string]string)

	kept := make(map[replicaPath]bool)
	for _, r := range replicas(conf.Services) {
		path := replicaPath{r.service.ID, r.node.ID, r.id}
		kept[path] = true
		it := o.items[path]
		switch {
		case it == nil:
			it = &outItem{replicaPath: path}
			o.items[path] = it
		case it.gone:
			it.gone, it.known, it.told = false, false, false
			o.cancel(it)
		case it.heaped > 0 && it.told:
			o.schedule(it, earliest(it.at, o.repeat(it)))
		}
		it.patience = conf.patience(r.node)
	}
	for path, it := range o.items {
		if !kept[path] && !it.gone {
			it.gone = true
			o.schedule(it, now)
		}
	}
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// repeat returns when the status that was sent last must be sent again: a bit
// before the interval is over, and not all replicas at once.
func (o *outbox) repeat(it *outItem) time.Time {
	return it.sent.Add(o.conf.Interval - time.Duration(o.random()*float64(o.conf.Interval)/10))
}

// schedule sets when an item is due. One that is being sent is scheduled again
// when that ends.
func (o *outbox) schedule(it *outItem, at time.Time) {
	if it.sending {
		return
	}
	it.at = at
	if it.heaped > 0 {
		heap.Fix(&o.due, it.heaped-1)
	} else {
		heap.Push(&o.due, it)
	}
}

// cancel takes an item off the schedule.
func (o *outbox) cancel(it *outItem) {
	if it.heaped > 0 {
		heap.Remove(&o.due, it.heaped-1)
	}
}

// setResult takes the result of a check.
func (o *outbox) setResult(res result, now time.Time) {
	it := o.items[replicaPath{res.replica.service.ID, res.replica.node.ID, res.replica.id}]
	if it == nil || it.gone { // a reload came in between
		return
	}
	if !it.known || it.status != res.status {
		level := slog.LevelInfo
		if res.status == dead {
			level = slog.LevelWarn
		}
		o.log.Log(context.Background(), level, "replica is "+res.status.String(), append(it.attrs(), "reason", res.reason)...)
	}
	it.known, it.status, it.checked = true, res.status, res.at
	if !it.told || it.status != it.last {
		o.schedule(it, now)
	}
}

func (it *outItem) attrs() []any {
	return []any{"service", it.service, "node", it.node, "replica", withoutUser(it.replica)}
}

// next returns what is to be sent now, or nil.
func (o *outbox) next(now time.Time) *parcel {
	for o.maySend() && !now.Before(o.quiet) && len(o.due) > 0 && !now.Before(o.due[0].at) {
		it := heap.Pop(&o.due).(*outItem)
		if !it.gone && now.Sub(it.checked) > it.patience {
			o.log.Error("replica no longer reported: its checks do not finish", it.attrs()...)
			it.told = false
			continue
		}
		it.sending = true
		o.sending++
		return &parcel{item: it, to: o.master, flush: it.gone, status: it.status, every: o.conf.Interval, sent: now}
	}
	return nil
}

// patience is for how long a status of the node holds without another check.
func (c *LocalConfig) patience(n *Node) time.Duration {
	m := cmp.Or(n.Metrics, &c.Metrics)
	interval := m.PollInterval
	if n.Mode == modeScript {
		interval = m.ScriptInterval
	}
	return staleAfter * (max(c.Interval, interval) + m.PollDelayDead + time.Duration(m.RetryCount)*(m.RetryWait+m.PollDelayDead))
}

// maySend reports whether one more report may be under way.
func (o *outbox) maySend() bool {
	if o.trouble != nil {
		return o.sending == 0
	}
	perSecond := len(o.items) / int(o.conf.Interval/time.Second)
	return o.sending < min(maxSends, max(minSends, perSecond))
}

// wake returns when next may have something, given that it has nothing now;
// false when that depends on a result or on the end of a report.
func (o *outbox) wake() (time.Time, bool) {
	if len(o.due) == 0 || !o.maySend() {
		return time.Time{}, false
	}
	if at := o.due[0].at; at.After(o.quiet) {
		return at, true
	}
	return o.quiet, true
}

// finish takes the outcome of a parcel.
func (o *outbox) finish(p *parcel, err *sendError, now time.Time) {
	o.sending--
	it := p.item
	it.sending = false
	if p.to == o.master {
		o.judge(p, err, now)
	}
	answered := err == nil || err.kind == faultNode
	switch {
	case o.items[it.replicaPath] != it: // dropped while it was under way
	case p.flush && !it.gone: // back in the config since
		if it.known {
			o.schedule(it, now)
		}
	case p.flush && answered:
		delete(o.items, it.replicaPath)
	case it.gone && !p.flush:
		o.schedule(it, now)
	case !answered:
		o.schedule(it, now) // after those that waited meanwhile
	default:
		it.told, it.last, it.sent = true, p.status, p.sent
		if it.status == it.last {
			now = o.repeat(it)
		}
		o.schedule(it, now)
	}
}

// judge concludes from the outcome of a parcel whether the master and the node
// are all right, and logs changes.
func (o *outbox) judge(p *parcel, err *sendError, now time.Time) {
	if err == nil || err.kind == faultNode {
		switch {
		case o.trouble != nil:
			o.log.Warn("master accepts reports again", "endpoint", o.master.base, "after", now.Sub(o.since).Round(time.Second))
		case err == nil && !o.accepted:
			o.log.Info("first report accepted", "endpoint", o.master.base)
		}
		o.accepted = o.accepted || err == nil
		o.trouble, o.tries, o.quiet = nil, 0, time.Time{}
		o.judgeNode(p, err)
		return
	}
	if p.sent.Before(o.quiet) {
		return // sent together with the one that failed first
	}
	was := o.trouble
	if was == nil {
		o.since = now
	}
	o.trouble = err
	wait := lastRetry
	if err.kind == faultAway {
		// Not longer than the interval, or the first report to a master that
		// is back would come too late.
		wait = min(firstRetry<<min(o.tries, 10), lastRetry, max(firstRetry, o.conf.Interval))
		o.tries++
		if was == nil || was.kind != faultAway {
			o.log.Error("master unreachable, reports wait", "endpoint", o.master.base, "err", err)
		}
	} else if was == nil || *was != *err {
		o.log.Error("master rejects reports: check endpoint and token", "endpoint", o.master.base, "err", err)
	}
	o.quiet = now.Add(wait/2 + time.Duration(o.random()*float64(wait)/2))
}

// judgeNode logs once that the master rejects a node's reports, and once that
// it accepts them again.
func (o *outbox) judgeNode(p *parcel, err *sendError) {
	if p.flush {
		return
	}
	node := [2]string{p.item.service, p.item.node}
	why, refused := o.refusals[node]
	switch {
	case err == nil && refused:
		delete(o.refusals, node)
		o.log.Warn("master accepts this node again", "service", node[0], "node", node[1])
	case err != nil && why != err.text:
		o.refusals[node] = err.text
		o.log.Error("master rejects this node: it must have mode local there",
			"service", node[0], "node", node[1], "err", err)
	}
}

// outHeap is a heap of items, the one due first on top.
type outHeap []*outItem

func (h outHeap) Len() int           { return len(h) }
func (h outHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h outHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heaped, h[j].heaped = i+1, j+1
}

func (h *outHeap) Push(x any) {
	it := x.(*outItem)
	*h = append(*h, it)
	it.heaped = len(*h)
}

func (h *outHeap) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	it.heaped = 0
	return it
}
