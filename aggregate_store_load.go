package main

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The store's files carry a generation. A state file holds all that was known
// when journals of its own generation began, so that what is to be read is the
// newest whole state file and the journals from its generation on, in order.
var storeFile = regexp.MustCompile(`^(state|journal)-([0-9]{6,9})\.jsonl$`)

func stateName(generation int) string   { return fmt.Sprintf("state-%06d.jsonl", generation) }
func journalName(generation int) string { return fmt.Sprintf("journal-%06d.jsonl", generation) }

// Marks of files that are not read. A time follows the last two.
const (
	unfinishedMark = ".tmp"
	damagedMark    = ".damaged-"
	foreignMark    = ".foreign-"
)

// keepDamaged is how many files of each mark are kept for people to look at.
const keepDamaged = 4

// errNewer is the fault of a file that this program cannot read, errForeign
// that of a file that was copied here from another storage folder.
var (
	errNewer   = errors.New("written by a newer program")
	errForeign = errors.New("belongs to another storage folder")
)

// A storedFile is a file of the store.
type storedFile struct {
	name       string
	state      bool
	generation int
}

// storedFiles returns those of the names that are such files, in the order in
// which they are to be read.
func storedFiles(names []string) (files []storedFile) {
	for _, name := range names {
		m := storeFile.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		generation, err := strconv.Atoi(m[2])
		if err != nil {
			continue
		}
		files = append(files, storedFile{name, m[1] == "state", generation})
	}
	slices.SortFunc(files, func(a, b storedFile) int {
		// "state" comes before the journal of its generation.
		return cmp.Or(cmp.Compare(a.generation, b.generation), -strings.Compare(a.name, b.name))
	})
	return files
}

// loaded is what the files of a folder hold.
type loaded struct {
	*restored
	generation int               // the newest one
	used       bool              // whether it must not be written again
	aside      map[string]string // files to set aside, each with its mark
}

// readFolder reads a folder. Whatever is broken in it is left out and logged; errors
// are what forbids to go on from there.
func readFolder(dir folder, log *slog.Logger) (loaded, error) {
	im := loaded{restored: newRestored(), aside: make(map[string]string)}
	names, err := dir.list()
	if err != nil {
		return im, err
	}
	files, foreign := ownFiles(dir, storedFiles(names))
	for _, f := range foreign {
		im.aside[f.name] = foreignMark
		log.Error("file of another storage folder ignored: to use it, stop Vigil, empty this folder and copy it again", "file", f.name)
	}
	for _, f := range files {
		im.generation, im.used = f.generation, false
		base := im.restored
		if f.state {
			base = newRestored()
		}
		sum, err := base.read(dir, f)
		if err != nil {
			return im, fmt.Errorf("%s: %w", f.name, err)
		}
		switch {
		case !f.state:
			im.used = sum.lines > 0 || sum.broken > 0
		case sum.whole() || f == files[0]:
			im.restored = base
		default: // what is before it may fill the gaps
			sum, err = im.restored.read(dir, f)
			if err != nil {
				return im, fmt.Errorf("%s: %w", f.name, err)
			}
		}
		if sum.broken > 0 || f.state && !sum.whole() {
			im.aside[f.name] = damagedMark
			attrs := []any{"file", f.name, "lines", sum.lines, "broken", sum.broken}
			if sum.fault != nil {
				attrs = append(attrs, "err", sum.fault)
			}
			log.Error("damaged file set aside, keeping what could be read", attrs...)
		}
	}
	if n := len(foreign); n > 0 {
		im.generation = max(im.generation, foreign[n-1].generation)
	}
	// The name of a file that is set aside must not be used for a new one.
	im.used = im.used || len(im.aside) > 0
	return im, nil
}

// clear removes the files that the newest state file replaces. Those that were
// found damaged or foreign it sets aside, and of these it removes the oldest.
func (d *disk) clear() error {
	names, err := d.dir.list()
	if err != nil {
		return err
	}
	stamp := time.Now().UTC().Format("20060102T150405Z")
	for _, f := range storedFiles(names) {
		switch {
		case d.aside[f.name] != "":
			aside := f.name + d.aside[f.name] + stamp
			if err := d.dir.rename(f.name, aside); err != nil {
				return err
			}
			delete(d.aside, f.name)
			names = append(names, aside)
		case f.generation < d.generation:
			if err := d.dir.remove(f.name); err != nil {
				return err
			}
		}
	}
	for _, mark := range []string{damagedMark, foreignMark} {
		aside := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !strings.Contains(name, mark) })
		slices.SortFunc(aside, func(a, b string) int {
			return cmp.Compare(a[strings.Index(a, mark):], b[strings.Index(b, mark):])
		})
		for _, name := range aside[:max(0, len(aside)-keepDamaged)] {
			if err := d.dir.remove(name); err != nil {
				return err
			}
		}
	}
	for _, name := range names {
		if stale, ok := strings.CutSuffix(name, unfinishedMark); ok && storeFile.MatchString(stale) {
			if err := d.dir.remove(name); err != nil {
				return err
			}
		}
	}
	return d.dir.sync()
}

// ownFiles separates the files that were written in this folder from those that
// were copied here from another. A folder without an identity takes that of its
// newest file, or a new one.
func ownFiles(dir folder, files []storedFile) (own, foreign []storedFile) {
	id := dir.id()
	ids := make([]string, len(files))
	for i, f := range files {
		ids[i] = writtenIn(dir, f)
	}
	for i := len(ids) - 1; i >= 0 && id == ""; i-- {
		id = ids[i]
	}
	if id == "" {
		id = rand.Text()
	}
	dir.identify(id)
	for i, f := range files {
		if ids[i] == "" || ids[i] == id { // older versions wrote none
			own = append(own, f)
		} else {
			foreign = append(foreign, f)
		}
	}
	return own, foreign
}

// writtenIn returns the identity of the folder that the file says it was
// written in; "" when it does not say.
func writtenIn(dir folder, f storedFile) (id string) {
	file, err := dir.open(f.name)
	if err != nil {
		return ""
	}
	defer file.Close()
	// The head is the first line, and short.
	_, _ = readLines(io.LimitReader(file, 1<<10), func(rec record) error {
		if rec.Head != nil {
			id = rec.Head.Folder
		}
		return errForeign // the first line is enough
	})
	return id
}

// A readSum is what became of the reading of a file.
type readSum struct {
	lines  int // records that were read, but for the head and the end
	broken int // places that could not be read
	end    int // how many lines there should be; -1: it does not say
	fault  error
}

// whole reports whether a state file is all there.
func (s readSum) whole() bool { return s.broken == 0 && s.lines == s.end }

// read applies every readable record of the file. Its error means that this
// program must not read the file.
func (im *restored) read(dir folder, f storedFile) (sum readSum, err error) {
	sum.end = -1
	file, err := dir.open(f.name)
	if err != nil {
		return readSum{broken: 1, end: -1, fault: err}, nil
	}
	defer file.Close()
	in := &faultReader{in: file}
	sum.broken, err = readLines(in, func(rec record) error {
		switch {
		case rec.Head != nil:
			if rec.Head.Format > storeFormat {
				return fmt.Errorf("%w: format %d, this one knows up to %d", errNewer, rec.Head.Format, storeFormat)
			}
			return nil
		case rec.End != nil:
			sum.end = rec.End.Lines
			return nil
		}
		sum.lines++
		im.apply(rec)
		return nil
	})
	sum.fault = in.fault
	return sum, err
}

// A faultReader remembers what went wrong.
type faultReader struct {
	in    io.Reader
	fault error
}

func (r *faultReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if err != nil && err != io.EOF {
		r.fault = err
	}
	return n, err
}

// A file of the store is lines of JSON, each with a checksum of its own:
//
//	{"sum":"89ab12cd","muted":"2026-03-01T12:00:00Z"}
//
// The sum is the CRC-32C, in hex, of what follows the comma after it. So a
// line can be believed or not, whatever happened to the rest of the file, and
// be read by people and their tools.
const (
	lineStart = `{"sum":"`
	lineHead  = lineStart + `00000000"` // as long as with any sum

	// maxLine bounds a line, and so what a broken file can take of memory. The
	// longest lines are alerts that name 100,000 replicas.
	maxLine = 32 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sumOf(body []byte) uint32 { return crc32.Checksum(body, castagnoli) }

// A lineWriter writes records as lines.
type lineWriter struct {
	buf  bytes.Buffer
	json *json.Encoder
}

func newLineWriter() *lineWriter {
	w := &lineWriter{}
	w.json = json.NewEncoder(&w.buf)
	w.json.SetEscapeHTML(false) // these files are never part of a page
	return w
}

// add appends the record's line to the buffer, or leaves that as it was.
func (w *lineWriter) add(rec *record) error {
	start := w.buf.Len()
	w.buf.WriteString(lineHead)
	err := w.json.Encode(rec) // ends the line
	if err == nil && rec.Past != nil {
		w.buf.Truncate(w.buf.Len() - len("}}\n"))
		w.buf.Write(rec.Past.appendSums(w.buf.AvailableBuffer()))
		w.buf.WriteString("}}\n")
	}
	if err == nil && w.buf.Len()-start > maxLine {
		err = fmt.Errorf("longer than %d bytes", maxLine)
	}
	if err != nil {
		w.buf.Truncate(start)
		return fmt.Errorf("record: %w", err)
	}
	line := w.buf.Bytes()[start:]
	line[len(lineHead)] = ',' // for the record's opening brace
	copy(line[len(lineStart):], fmt.Appendf(nil, "%08x", sumOf(line[len(lineHead)+1:len(line)-1])))
	return nil
}

// errSum is the fault of a line that is not what was written.
var errSum = errors.New("checksum does not match")

// parseLine reads a line without its end. It uses the line as scratch space.
func parseLine(line []byte) (record, error) {
	var rec record
	if len(line) <= len(lineHead) {
		return rec, errSum
	}
	head, body := line[:len(lineHead)+1], line[len(lineHead):]
	if string(head) != fmt.Sprintf(`%s%08x",`, lineStart, sumOf(body[1:])) {
		return rec, errSum
	}
	body[0] = '{'
	days, body, err := cutSums(body, "days")
	if err != nil {
		return rec, err
	}
	months, body, err := cutSums(body, "months")
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(body, &rec); err != nil {
		return rec, err
	}
	if rec.Past != nil {
		rec.Past.Days, rec.Past.Months = days, months
	}
	return rec, nil
}

// salvage reads what it can of a line that parseLine rejected: if a line end
// was damaged, it contains whole lines. No string in a line contains the start
// of another, as its quotes would be escaped.
func salvage(line []byte) (recs []record) {
	for piece := range bytes.SplitSeq(line, []byte(lineStart)) {
		piece = append([]byte(lineStart), piece...)
		rec, err := parseLine(piece)
		if err != nil && len(piece) > 0 {
			rec, err = parseLine(piece[:len(piece)-1]) // but for the damaged end
		}
		if err == nil {
			recs = append(recs, rec)
		}
	}
	return recs
}

// readLines hands each readable record of r to use, and counts the places where
// there was none. An error of r counts as one: all before it is used. An error
// of use ends the reading.
func readLines(r io.Reader, use func(record) error) (broken int, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	var line []byte
	long := false
	for {
		piece, fault := in.ReadSlice('\n')
		if len(line)+len(piece) > maxLine {
			long = true // and skipped, up to its end
		}
		if !long {
			line = append(line, piece...)
		}
		if errors.Is(fault, bufio.ErrBufferFull) {
			continue
		}
		if line, ended := bytes.CutSuffix(line, []byte{'\n'}); long || len(line) > 0 {
			recs, ok := readLine(line)
			if !ok || !ended {
				broken++
			}
			for _, rec := range recs {
				if err := use(rec); err != nil {
					return broken, err
				}
			}
		}
		switch {
		case errors.Is(fault, io.EOF):
			return broken, nil
		case fault != nil:
			return broken + 1, nil
		}
		line, long = line[:0], false
	}
}

// readLine returns what can be read of a line and whether that is all of it.
func readLine(line []byte) (recs []record, ok bool) {
	rec, err := parseLine(line)
	if err != nil {
		return salvage(line), false
	}
	return []record{rec}, true
}
