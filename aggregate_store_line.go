package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

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
	w.json.SetEscapeHTML(false) // nobody puts these files on a page
	return w
}

// add appends the record's line to the buffer, or leaves that as it was.
func (w *lineWriter) add(rec *record) error {
	start := w.buf.Len()
	w.buf.WriteString(lineHead)
	err := w.json.Encode(rec) // ends the line
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
	if err := json.Unmarshal(body, &rec); err != nil {
		return rec, err
	}
	return rec, nil
}

// salvage reads what can be read of a line that parseLine refused: where an end
// of a line was damaged, whole lines stand in it. No string in a line holds
// the start of one, as its quotes would be escaped.
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
