package main

import (
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// quiet is a log that nobody reads.
var quiet = slog.New(slog.DiscardHandler)

// openDisk reads a folder and returns what writes it from then on.
func openDisk(t testing.TB, dir folder) (*disk, *restored) {
	t.Helper()
	im, err := readFolder(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return &disk{dir: dir, generation: im.generation, used: im.used, aside: im.aside}, im.restored
}

// note is an announcement's record.
func note(id string) record {
	return announced(announcement{id: id, title: "title of " + id, text: strings.Repeat("text ", 10), at: time.Unix(1e9, 0)})
}

func notes(ids ...string) iter.Seq[record] {
	var recs []record
	for _, id := range ids {
		recs = append(recs, note(id))
	}
	return slices.Values(recs)
}

func ids(im *restored) (all []string) {
	for _, a := range im.announcements {
		all = append(all, a.ID)
	}
	return all
}

// A workload is what a store writes in its life: single records, groups, and
// now and then a new state. It returns the ids that were acknowledged; notes
// that were not are tried again with the next job, as the store does.
func workload(d *disk) (acked []string) {
	var known, waiting []record
	whole := false
	for i := range 24 {
		rec := note(fmt.Sprintf("n%d", i))
		known, waiting = append(known, rec), append(waiting, rec)
		j := job{records: waiting}
		if whole = whole || i%7 == 3; whole {
			j.whole = slices.Values(slices.Clone(known))
		}
		out := d.do(j)
		whole = whole && (out.err != nil || out.whole != nil)
		if out.err != nil {
			continue
		}
		for _, rec := range waiting {
			acked = append(acked, rec.Announcement.ID)
		}
		waiting = nil
	}
	return acked
}

// Every call of the file system fails in turn, once or from then on. Whatever
// does, and whatever a crash leaves of the rest, what was acknowledged is there
// afterwards, and the next program can go on.
func TestStoreFaults(t *testing.T) {
	clean := newMemFolder()
	d, _ := openDisk(t, clean)
	first := clean.calls
	if acked := workload(d); len(acked) != 24 {
		t.Fatalf("%d of 24 acknowledged without a fault", len(acked))
	}
	calls := clean.calls
	lost, rejected := 0, 0
	for n := first; n < calls; n++ {
		for _, lasting := range []bool{false, true} {
			dir := newMemFolder()
			d, _ := openDisk(t, dir)
			dir.fault = func(call int, op string) error {
				if call == n || lasting && call > n && op != "list" {
					return errFake
				}
				return nil
			}
			acked := workload(d)
			if len(acked) < 24 {
				rejected++
			}
			if !lasting && len(acked) < 23 {
				t.Errorf("call %d (%s) fails once: only %d of 24 acknowledged", n, clean.log[n], len(acked))
			}
			dir.fault = nil
			for name, left := range map[string]*memFolder{
				"killed": dir.killed(), "cut": dir.cut(0), "cut late": dir.cut(0.5), "cut very late": dir.cut(0.99),
			} {
				d, im := openDisk(t, left)
				all := ids(im)
				for _, id := range acked {
					if !slices.Contains(all, id) {
						lost++
						t.Errorf("call %d (%s) fails, lasting %v, %s: %s is lost", n, clean.log[n], lasting, name, id)
					}
				}
				if out := d.do(job{records: []record{note("more")}, whole: notes("all")}); out.err != nil || out.whole != nil {
					t.Fatalf("call %d, %s: cannot go on: %+v", n, name, out)
				}
				if _, im := openDisk(t, left); !slices.Equal(ids(im), []string{"all", "more"}) {
					t.Fatalf("call %d, %s: went on with %v", n, name, ids(im))
				}
			}
			if lost > 10 {
				t.FailNow()
			}
		}
	}
	if rejected == 0 {
		t.Error("no fault had any effect")
	}
	t.Logf("%d calls", calls-first)
}

// A power cut between any two calls: the same.
func TestStoreCuts(t *testing.T) {
	clean := newMemFolder()
	d, _ := openDisk(t, clean)
	first := clean.calls
	workload(d)
	for n := first; n <= clean.calls; n++ {
		for _, share := range []float64{0, 0.3, 1} {
			dir := newMemFolder()
			d, _ := openDisk(t, dir)
			var left *memFolder
			var before []string
			var acked []string
			dir.fault = func(call int, _ string) error {
				if call == n {
					left, before = dir.cut(share), slices.Clone(acked)
				}
				return nil
			}
			for i := range 24 {
				j := job{records: []record{note(fmt.Sprintf("n%d", i))}}
				if i%7 == 3 {
					var known []string
					for k := range i + 1 {
						known = append(known, fmt.Sprintf("n%d", k))
					}
					j.whole = notes(known...)
				}
				if out := d.do(j); out.err != nil || out.whole != nil {
					t.Fatal(out)
				}
				acked = append(acked, fmt.Sprintf("n%d", i))
			}
			if left == nil {
				left, before = dir.cut(share), acked
			}
			_, im := openDisk(t, left)
			for _, id := range before {
				if !slices.Contains(ids(im), id) {
					t.Fatalf("cut before call %d, %v written: %s is lost", n, share, id)
				}
			}
		}
	}
}

// journalOf is a journal with three notes and the offsets where its lines end.
func journalOf(t *testing.T) (data []byte, ends []int) {
	t.Helper()
	dir := newMemFolder()
	d, _ := openDisk(t, dir)
	if out := d.do(job{records: []record{note("a"), note("b"), note("c")}}); out.err != nil {
		t.Fatal(out.err)
	}
	data = dir.files[journalName(1)].data
	for i, c := range data {
		if c == '\n' {
			ends = append(ends, i)
		}
	}
	if len(ends) != 4 {
		t.Fatalf("%d lines, want a head and three notes:\n%s", len(ends), data)
	}
	return data, ends
}

func TestJournalCutAtEveryByte(t *testing.T) {
	data, ends := journalOf(t)
	for n := range len(data) + 1 {
		dir := newMemFolder()
		dir.put(journalName(1), data[:n])
		im, err := readFolder(dir, quiet)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i, id := range []string{"a", "b", "c"} {
			if n >= ends[i+1] { // the line's end itself may be missing
				want = append(want, id)
			}
		}
		if got := ids(im.restored); !slices.Equal(got, want) {
			t.Errorf("cut after %d bytes: %v, want %v", n, got, want)
		}
		whole := n == 0 || data[n-1] == '\n'
		if damaged := im.aside[journalName(1)] != ""; damaged == whole {
			t.Errorf("cut after %d bytes: damaged %v", n, damaged)
		}
	}
}

func TestJournalDamagedAtEveryByte(t *testing.T) {
	data, ends := journalOf(t)
	for n := range data {
		for _, c := range []byte{0, '\n', '"', data[n] ^ 1, data[n] ^ 0x80} {
			if c == data[n] {
				continue
			}
			broken := slices.Clone(data)
			broken[n] = c
			dir := newMemFolder()
			dir.put(journalName(1), broken)
			im, err := readFolder(dir, quiet)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for i, id := range []string{"a", "b", "c"} {
				if n <= ends[i] || n >= ends[i+1] { // also without its end
					want = append(want, id)
				}
			}
			got := ids(im.restored)
			if c == '\n' { // where nothing but the start was cut off, a line is good
				got = slices.DeleteFunc(got, func(id string) bool { return !slices.Contains(want, id) })
			}
			if !slices.Equal(got, want) {
				t.Errorf("byte %d is %q: %v, want %v", n, c, got, want)
			}
			if im.aside[journalName(1)] == "" {
				t.Errorf("byte %d is %q: not called damaged", n, c)
			}
		}
	}
}

// A damaged file is set aside as soon as its content is safe elsewhere, and
// only so many of them are kept.
func TestDamagedFilesAreSetAside(t *testing.T) {
	data, _ := journalOf(t)
	dir := newMemFolder()
	for round := range keepDamaged + 2 {
		d, _ := openDisk(t, dir)
		dir.put(journalName(d.generation+1), data[:len(data)-5])
		dir.put(stateName(d.generation+2)+unfinishedMark, data[:7])
		d, im := openDisk(t, dir)
		if got := ids(im); !slices.Contains(got, "b") || slices.Contains(got, "c") {
			t.Fatalf("round %d: read %v", round, got)
		}
		if out := d.do(job{whole: notes("a", "b")}); out.err != nil || out.whole != nil {
			t.Fatal(out)
		}
		aside := 0
		for name := range dir.files {
			switch {
			case strings.Contains(name, damagedMark):
				aside++
			case name != stateName(d.generation) && name != journalName(d.generation):
				t.Errorf("round %d: %s is left", round, name)
			}
		}
		if want := min(round+1, keepDamaged); aside != want {
			t.Errorf("round %d: %d files set aside, want %d", round, aside, want)
		}
	}
}

// A damaged state file still has its good lines, and what was before it fills
// the gaps.
func TestDamagedState(t *testing.T) {
	dir := newMemFolder()
	d, _ := openDisk(t, dir)
	d.do(job{records: []record{note("old")}})
	older := dir.killed()
	if out := d.do(job{whole: notes("a", "b", "c")}); out.whole != nil {
		t.Fatal(out.whole)
	}
	state := dir.files[stateName(2)].data
	cut := state[:len(state)*3/4]
	dir.put(stateName(2), cut)
	im, err := readFolder(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if got := ids(im.restored); !slices.Equal(got, []string{"a", "b"}) || im.aside[stateName(2)] == "" {
		t.Errorf("alone: %v, damaged %v", got, im.aside)
	}
	older.put(stateName(2), cut)
	if im, err = readFolder(older, quiet); err != nil {
		t.Fatal(err)
	}
	if got := ids(im.restored); !slices.Equal(got, []string{"old", "a", "b"}) {
		t.Errorf("with what was before: %v", got)
	}
}

func TestNewerFormatIsLeftAlone(t *testing.T) {
	dir := newMemFolder()
	w := newLineWriter()
	if err := w.add(&record{Head: &headRecord{"journal", storeFormat + 1, 4, time.Unix(1e9, 0).UTC(), ""}}); err != nil {
		t.Fatal(err)
	}
	dir.put(journalName(4), w.buf.Bytes())
	_, err := readFolder(dir, quiet)
	if want := "journal-000004.jsonl: written by a newer program: format 2, this one knows up to 1"; err == nil || err.Error() != want {
		t.Errorf("error %v\nwant %s", err, want)
	}
}

// A disk that stays full does not gather files, nor does a file grow.
func TestFullDisk(t *testing.T) {
	dir := newMemFolder()
	d, _ := openDisk(t, dir)
	if out := d.do(job{records: []record{note("a")}}); out.err != nil {
		t.Fatal(out.err)
	}
	full := true
	dir.fault = func(_ int, op string) error {
		if full && op == "write" {
			return errFake
		}
		return nil
	}
	var recs []record
	for i := range 100 {
		recs = append(recs, note(fmt.Sprint(i)))
		if out := d.do(job{records: recs, whole: slices.Values(recs)}); out.err == nil {
			t.Fatal("written on a full disk")
		}
	}
	if n := len(dir.files); n > 2 {
		t.Errorf("%d files", n)
	}
	full = false
	if out := d.do(job{records: recs}); out.err != nil {
		t.Fatal(out.err)
	}
	im, err := readFolder(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if len(im.announcements) != 101 || len(im.aside) > 0 {
		t.Errorf("%d notes, damaged %v", len(im.announcements), im.aside)
	}
}

// A program that does not get beyond its start leaves no files behind, however
// often it is tried.
func TestManyStarts(t *testing.T) {
	dir := newMemFolder()
	d, _ := openDisk(t, dir)
	for range 10 {
		d, _ = openDisk(t, dir)
		if err := d.start(); err != nil {
			t.Fatal(err)
		}
	}
	if len(dir.files) != 1 {
		t.Errorf("%d files", len(dir.files))
	}
	d.do(job{records: []record{note("a")}})
	for range 10 {
		d, im := openDisk(t, dir)
		if err := d.start(); err != nil || len(ids(im)) != 1 {
			t.Fatal(err, ids(im))
		}
	}
	if len(dir.files) != 2 {
		t.Errorf("%d files", len(dir.files))
	}
}

// When the journal outgrows the state, it is time for a new one.
func TestCompactionIsDue(t *testing.T) {
	d, _ := openDisk(t, newMemFolder())
	now := time.Now()
	if !d.due(now) {
		t.Error("not due without any state")
	}
	if out := d.do(job{whole: notes("a")}); out.whole != nil || d.due(now) {
		t.Errorf("due just after: %+v", out)
	}
	if !d.due(now.Add(compactAge + time.Minute)) {
		t.Error("not due after a day")
	}
	for i := 0; d.grown <= compactSize; i++ {
		if d.due(now) {
			t.Fatalf("due with %d bytes in the journal", d.grown)
		}
		d.do(job{records: slices.Repeat([]record{note("a")}, 100)})
	}
	if !d.due(now) {
		t.Errorf("not due with %d bytes in the journal", d.grown)
	}
	if out := d.do(job{whole: notes("a")}); out.whole != nil || d.due(now) {
		t.Errorf("due just after: %+v", out)
	}
	if names, _ := d.dir.list(); len(names) != 2 {
		t.Errorf("left: %v", names)
	}
}

func FuzzStoreFiles(f *testing.F) {
	dir := newMemFolder()
	d := &disk{dir: dir, used: true}
	p := newPlay(alertConfig(Alerting{}))
	p.at(time.Second, "a=healthy", "b=sick", "c=dead")
	for i := range 5 {
		p.st.measure(p.st.services[0].nodes[0], result{latency: time.Second}, p.now.Add(time.Duration(i)*quarterLength))
	}
	past := p.st.services[0].nodes[0].track.past
	d.do(job{records: []record{note("a"), note("b"), {Past: newPastRecord(nodeKey{"web", "a"}, past, 0, 0)}}})
	journal := dir.files[journalName(1)].data
	d.do(job{whole: p.st.records(p.now)})
	state := dir.files[stateName(2)].data
	f.Add(state, journal)
	f.Add(state[:len(state)/2], journal[:len(journal)/2])
	f.Add([]byte(nil), []byte("\n\n\x00{\"sum\":\"00000000\",\n"))
	f.Add([]byte(`{"sum":"deadbeef","end":{"lines":-1}}`), []byte(lineStart+lineStart+lineHead))
	f.Fuzz(func(t *testing.T, state, journal []byte) {
		// Give some lines the sum that they lack, so that what is in them gets
		// looked at.
		journal = resum(journal)
		dir := newMemFolder()
		dir.put(stateName(3), state)
		dir.put(journalName(3), journal)
		im, err := readFolder(dir, quiet)
		if err != nil {
			return // of a newer format
		}
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		st := newState(alertConfig(Alerting{}), now)
		st.restore(im.restored, now)
		for _, nv := range st.snapshot(now).services[0].nodes {
			nv.latencyHours(now)
			nv.latencyDays(now)
		}
		for _, ns := range st.services[0].nodes {
			st.measure(ns, result{latency: time.Second}, now)
		}
		st.bookLatencies(now)
		d := &disk{dir: dir, generation: im.generation, used: im.used, aside: im.aside}
		if out := d.do(job{whole: st.records(now)}); out.err != nil || out.whole != nil {
			t.Fatal(out)
		}
		again, err := readFolder(dir, quiet)
		if err != nil || len(again.aside) > 0 {
			t.Fatal("what was written anew cannot be read", err, again.aside)
		}
	})
}

// resum corrects the sums of lines that look like some.
func resum(data []byte) []byte {
	var out []byte
	for line := range strings.Lines(string(data)) {
		body, ok := strings.CutPrefix(line, lineHead+",")
		if !ok {
			out = append(out, line...)
			continue
		}
		body = strings.TrimSuffix(body, "\n")
		out = fmt.Appendf(out, "%s%08x\",%s\n", lineStart, sumOf([]byte(body)), body)
	}
	return out
}
