package main

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	eventFolder    = "events" // in the storage folder
	eventFormat    = 1        // of a file, in its first line
	eventDays      = 90       // that are kept
	eventBytes     = 64 << 20 // that all files may have; the oldest go first
	eventDayBytes  = 32 << 20 // that one day may have
	eventQueue     = 8192     // events that may wait for the disk
	eventDrainTime = time.Second
	eventReaders   = 4 // at a time
	maxEventLine   = 64 << 10
)

// A logEvent is one line of the log of events. Which fields it has depends on
// its kind.
type logEvent struct {
	Time time.Time `json:"time"`
	Kind string    `json:"kind"`

	// transition: a node's status changed. "unknown" is a status here. replica:
	// that of one replica did, where the node has several.
	Service string `json:"service,omitempty"`
	Node    string `json:"node,omitempty"`
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Outage  string `json:"outage,omitempty"`
	Replica string `json:"replica,omitempty"`

	// alert: a channel is told; delivery: a recipient of it was.
	Alert   string   `json:"alert,omitempty"` // the alert's id
	Channel string   `json:"channel,omitempty"`
	Type    string   `json:"type,omitempty"` // startup, changed, reminder, ...
	Status  string   `json:"status,omitempty"`
	Nodes   []string `json:"nodes,omitempty"` // as service:node; at most maxEventNodes
	Target  string   `json:"recipient,omitempty"`
	Result  string   `json:"result,omitempty"` // accepted or given up

	// reload, maintenance, silence, ack, call, start, stop: what was done, to which
	// nodes, and how it went.
	Text string `json:"text,omitempty"`
}

// errNoEvents is for a log that cannot be read, as it is not kept.
var errNoEvents = errors.New("no log of events is kept: storage.path is empty or cannot be written")

// eventFile is the name of a day's file; old days are compressed.
var eventFile = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)\.ndjson(\.gz)?$`)

// An eventLog keeps what happened: a file for each day (UTC) of
// newline-delimited JSON. Adding an event never blocks: one goroutine writes,
// and events that come faster than the disk takes them are dropped and counted.
// A nil eventLog keeps nothing.
type eventLog struct {
	root    *os.Root // nil: events only go to the program's own log
	log     *slog.Logger
	in      chan *logEvent
	readers chan struct{} // of a capacity: each reader reads files
	dropped atomic.Uint64

	// Of the goroutine in run:
	file    *os.File
	day     string
	size    int64
	failing bool
	full    bool // the day has all that it may have
}

// newEventLog opens the log in the store's folder. Without one, or with one that
// cannot be used, nothing is kept.
func newEventLog(s *store, log *slog.Logger) *eventLog {
	l := &eventLog{log: log, in: make(chan *logEvent, eventQueue), readers: make(chan struct{}, eventReaders)}
	if s.disk == nil {
		return l
	}
	dir, ok := s.disk.dir.(*diskFolder)
	if !ok {
		return l
	}
	err := dir.root.Mkdir(eventFolder, 0o700)
	if err == nil || errors.Is(err, fs.ErrExist) {
		l.root, err = dir.root.OpenRoot(eventFolder)
	}
	if err != nil {
		log.Error("log of events cannot be kept", "path", eventFolder, "err", err)
	}
	return l
}

// logTransition notes a change of a node's status, during a maintenance too.
func (st *state) logTransition(ns *nodeState, now time.Time) {
	const unknown = "unknown"
	// A node under maintenance has a status of its own there.
	s, known := ns.alert.status, ns.alert.known && !ns.track.lapsed
	from, to := cmp.Or(ns.logged, unknown), unknown
	if known {
		to = s.String()
	}
	if from == to {
		return
	}
	ns.logged = to
	e := logEvent{Time: now, Kind: "transition", Service: ns.service.conf.ID, Node: ns.conf.ID, From: from, To: to, Outage: ns.alert.id}
	if known && s != healthy {
		for _, r := range ns.replicas {
			if r.status >= s && r.reason != "" {
				e.Reason = r.reason
				break
			}
		}
	}
	st.eventLog.add(e)
}

// add adds an event. It never waits. Replicas, of which there may be very many,
// have half of the queue and half of a day at most.
func (l *eventLog) add(e logEvent) {
	if l == nil {
		return
	}
	if e.Kind == "replica" && len(l.in) > eventQueue/2 {
		l.dropped.Add(1)
		return
	}
	select {
	case l.in <- &e:
	default:
		l.dropped.Add(1)
	}
}

// run writes events until ctx ends, which is no error. A disk that hangs then is
// left alone.
func (l *eventLog) run(ctx context.Context) error {
	if l == nil {
		return nil
	}
	written := make(chan struct{})
	go l.writeAll(ctx, written)
	<-ctx.Done()
	select {
	case <-written:
	case <-time.After(2 * eventDrainTime):
		l.log.Error("stopped before all events were written", "waiting", len(l.in))
	}
	return nil
}

// writeAll writes events until ctx ends, and then those that were added before.
func (l *eventLog) writeAll(ctx context.Context, written chan<- struct{}) {
	defer close(written)
	defer l.close()
	for {
		select {
		case e := <-l.in:
			l.write(l.gather(e))
		case <-ctx.Done():
			for until := time.Now().Add(eventDrainTime); len(l.in) > 0 && time.Now().Before(until); {
				l.write(l.gather(<-l.in))
			}
			return
		}
	}
}

func (l *eventLog) close() {
	_ = l.file.Close() // nil has a Close too, and what it says changes nothing any more
	l.file = nil
}

// gather returns the event and those that wait behind it.
func (l *eventLog) gather(e *logEvent) []logEvent {
	events := []logEvent{*e}
	for len(events) < 512 {
		select {
		case e := <-l.in:
			events = append(events, *e)
		default:
			return events
		}
	}
	return events
}

// write logs transitions, for those who read the program's own log, and appends
// all events to the files of their days.
func (l *eventLog) write(events []logEvent) {
	var lines bytes.Buffer
	slices.SortStableFunc(events, func(a, b logEvent) int { return a.Time.Compare(b.Time) })
	for i, e := range events {
		l.note(e)
		e.Time = e.Time.UTC()
		day := e.Time.Format(time.DateOnly)
		line, err := json.Marshal(e)
		if err != nil || len(line) > maxEventLine || e.Kind == "replica" && day == l.day && l.size+int64(lines.Len()) > eventDayBytes/2 {
			l.dropped.Add(1)
		} else {
			lines.Write(append(line, '\n'))
		}
		if i < len(events)-1 && events[i+1].Time.UTC().Format(time.DateOnly) == day {
			continue
		}
		if lines.Len() > 0 {
			l.report(l.append(day, lines.Bytes()))
			lines.Reset()
		}
	}
}

// note writes a transition to the program's log.
func (l *eventLog) note(e logEvent) {
	if e.Kind != "transition" || e.From == "unknown" && e.To == "healthy" {
		return
	}
	attrs := []any{"node", e.Service + ":" + e.Node, "from", e.From, "to", e.To}
	if e.Reason != "" {
		attrs = append(attrs, "reason", e.Reason)
	}
	l.log.Info("node changed", attrs...)
}

// report logs that the log cannot be written, and that it can again, once each.
func (l *eventLog) report(err error) {
	switch {
	case err != nil && !l.failing:
		l.log.Error("log of events not written", "err", err)
	case err == nil && l.failing:
		l.log.Info("log of events written again", "dropped", l.dropped.Load())
	}
	l.failing = err != nil
}

// append appends lines to the file of a day.
func (l *eventLog) append(day string, lines []byte) error {
	if l.root == nil {
		return nil
	}
	defer func() { l.dropped.Add(uint64(bytes.Count(lines, []byte("\n")))) }() // what is left of them
	if l.file == nil || l.day != day {
		if err := l.open(day); err != nil {
			return err
		}
	}
	if l.size+int64(len(lines)) > eventDayBytes {
		if !l.full {
			l.full = true
			l.log.Warn("log of events is full for today", "limit", eventDayBytes)
		}
		return nil
	}
	n, err := l.file.Write(lines)
	l.size += int64(n)
	if lines = lines[n:]; err != nil {
		l.close()
	}
	return err
}

// open opens the file of a day, and clears away what is too old or too much.
func (l *eventLog) open(day string) error {
	l.close()
	if _, err := l.root.Lstat(day + ".ndjson"); errors.Is(err, fs.ErrNotExist) {
		if err := l.uncompress(day + ".ndjson"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := l.root.OpenFile(day+".ndjson", os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err == nil && info.Size() == 0 {
		_, err = fmt.Fprintf(f, "{\"vigil_events\":%d}\n", eventFormat)
	} else if err == nil {
		err = endLine(f, info.Size())
	}
	if err != nil {
		f.Close()
		return err
	}
	l.file, l.day, l.size, l.full = f, day, info.Size(), false
	return l.clean(day)
}

// endLine ends the last line of a file, which a kill or a full disk may have
// cut in two.
func endLine(f *os.File, size int64) error {
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, size-1); err != nil || last[0] == '\n' {
		return err
	}
	_, err := f.Write([]byte("\n"))
	return err
}

// clean compresses the files of other days, and removes those that are too old
// or over the limit of all together.
func (l *eventLog) clean(today string) error {
	days, err := l.days()
	if err != nil {
		return err
	}
	now, err := time.Parse(time.DateOnly, today)
	if err != nil {
		return err
	}
	oldest := now.AddDate(0, 0, 1-eventDays).Format(time.DateOnly)
	var all int64 = eventDayBytes // for today
	for _, d := range slices.Backward(days) {
		if d.day == today {
			continue
		}
		if !strings.HasSuffix(d.name, ".gz") && d.day < today {
			if err := l.compress(d.name); err != nil {
				return err
			}
			d.name += ".gz"
		}
		if info, err := l.root.Stat(d.name); err == nil {
			all += info.Size()
		}
		if d.day < oldest || all > eventBytes {
			if err := l.root.Remove(d.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// compress replaces a file by a compressed one.
func (l *eventLog) compress(name string) error {
	return l.replace(name, name+".gz", func(to io.Writer, from io.Reader) error {
		zip := gzip.NewWriter(to)
		_, err := io.Copy(zip, from)
		return errors.Join(err, zip.Close())
	})
}

// uncompress undoes that: an event came late, or the clock was set back.
func (l *eventLog) uncompress(name string) error {
	return l.replace(name+".gz", name, func(to io.Writer, from io.Reader) error {
		zip, err := gzip.NewReader(from)
		if err == nil {
			_, err = io.Copy(to, io.LimitReader(zip, eventDayBytes))
		}
		return err
	})
}

// replace replaces a file by what convert makes of it.
func (l *eventLog) replace(name, by string, convert func(io.Writer, io.Reader) error) error {
	from, err := l.root.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	_ = l.root.Remove(name + ".tmp") // what a kill left, or a link: it is not written through
	to, err := l.root.OpenFile(name+".tmp", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer l.root.Remove(name + ".tmp") // after a fault
	if err = errors.Join(convert(to, from), to.Sync(), to.Close()); err == nil {
		err = l.root.Rename(name+".tmp", by)
	}
	if err == nil {
		err = l.root.Remove(name)
	}
	return err
}

// An eventDay is the file of a day.
type eventDay struct{ day, name string }

// days returns the files, oldest first. While a day is being compressed it has
// two; the plain one counts.
func (l *eventLog) days() (days []eventDay, err error) {
	entries, err := fs.ReadDir(l.root.FS(), ".")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if m := eventFile.FindStringSubmatch(e.Name()); m != nil && e.Type().IsRegular() {
			days = append(days, eventDay{m[1], e.Name()})
		}
	}
	slices.SortFunc(days, func(a, b eventDay) int { return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.name, b.name)) })
	return slices.CompactFunc(days, func(a, b eventDay) bool { return a.day == b.day }), nil
}

// read yields the events since a time, oldest first, until ctx ends or yield
// returns false. It skips damaged lines and files and returns how many there
// were.
func (l *eventLog) read(ctx context.Context, since time.Time, yield func(e logEvent) bool) (damaged int, err error) {
	if l == nil || l.root == nil {
		return 0, errNoEvents
	}
	days, err := l.days()
	if err != nil {
		return 0, err
	}
	first := since.UTC().Format(time.DateOnly)
	for _, d := range days {
		if d.day < first {
			continue
		}
		bad, more := l.readDay(ctx, d.name, since, yield)
		damaged += bad
		if !more {
			break
		}
	}
	return damaged, ctx.Err()
}

func (l *eventLog) readDay(ctx context.Context, name string, since time.Time, yield func(e logEvent) bool) (damaged int, more bool) {
	f, err := l.root.Open(name)
	if err != nil {
		return 1, true
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		zip, err := gzip.NewReader(f)
		if err != nil {
			return 1, true
		}
		r = zip
	}
	bad, more, err := readEvents(ctx, r, since, yield)
	if err != nil {
		bad++
	}
	return bad, more
}

// readEvents yields the events since a time that a file holds. Lines that are
// no events, however long, are counted.
func readEvents(ctx context.Context, r io.Reader, since time.Time, yield func(e logEvent) bool) (damaged int, more bool, err error) {
	lines := bufio.NewReaderSize(r, maxEventLine+1)
	for n := 0; err == nil; n++ {
		if n%1000 == 0 && ctx.Err() != nil {
			return damaged, false, nil
		}
		var line []byte
		line, err = lines.ReadSlice('\n')
		bad := err == bufio.ErrBufferFull // and line is lost
		for err == bufio.ErrBufferFull {
			_, err = lines.ReadSlice('\n')
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			continue
		}
		var e struct {
			logEvent
			Format int `json:"vigil_events"`
		}
		bad = bad || json.Unmarshal(line, &e) != nil
		switch {
		case n == 0 && e.Format > eventFormat:
			return damaged, true, fmt.Errorf("format %d is newer than this program", e.Format)
		case n == 0 && e.Format != 0:
		case bad || e.Kind == "" || e.Time.IsZero():
			damaged++
		case !e.Time.Before(since) && !yield(e.logEvent):
			return damaged, false, nil
		}
	}
	if err == io.EOF {
		err = nil
	}
	return damaged, true, err
}
