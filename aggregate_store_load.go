package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The store's files carry a generation. A state file holds all that was known
// when journals of its own generation began, so that what is to be read is the
// newest whole state file and the journals from its generation on, in order.
var storeFile = regexp.MustCompile(`^(state|journal)-([0-9]{6,9})\.jsonl$`)

func stateName(generation int) string   { return fmt.Sprintf("state-%06d.jsonl", generation) }
func journalName(generation int) string { return fmt.Sprintf("journal-%06d.jsonl", generation) }

// Marks of files that are not read.
const (
	unfinishedMark = ".tmp"
	damagedMark    = ".damaged-" // a time follows
)

// errNewer is the fault of a file that is not for this program to read.
var errNewer = errors.New("written by a newer program")

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
	generation int             // the newest one
	used       bool            // whether a journal of it says something
	damaged    map[string]bool // files of which some part could not be read
}

// readFolder reads a folder. Whatever is broken in it is left out and logged; errors
// are what forbids to go on from there.
func readFolder(dir folder, log *slog.Logger) (loaded, error) {
	im := loaded{restored: newRestored(), damaged: make(map[string]bool)}
	names, err := dir.list()
	if err != nil {
		return im, err
	}
	files := storedFiles(names)
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
			im.damaged[f.name] = true
			attrs := []any{"file", f.name, "lines", sum.lines, "broken", sum.broken}
			if sum.fault != nil {
				attrs = append(attrs, "err", sum.fault)
			}
			log.Error("damaged file, going on with what could be read of it and setting it aside", attrs...)
		}
	}
	return im, nil
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

// read books all that can be read of the file. Its error is that of a file
// that is not for this program to read.
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
