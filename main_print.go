package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// Colours of a terminal: ECMA-48, section 8.3.117.
const (
	colourRed    = "\x1b[31m"
	colourGreen  = "\x1b[32m"
	colourYellow = "\x1b[33m"
	colourBold   = "\x1b[1m"
	colourOff    = "\x1b[0m"
)

// isTerminal reports whether a person may be looking at w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// A printer prints what a command found out, for people or as JSON. Colour is
// for terminals only, and not when NO_COLOR is set: https://no-color.org
type printer struct {
	w      io.Writer
	colour bool
}

func newPrinter(w io.Writer) *printer {
	return &printer{w, isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// A cell is one field of a row, in a colour or none.
type cell struct {
	text, colour string
}

// plain returns cells without a colour.
func plain(texts ...string) []cell {
	cells := make([]cell, len(texts))
	for i, text := range texts {
		cells[i].text = text
	}
	return cells
}

// statusCell shows a status in its colour.
func statusCell(status string) cell {
	switch status {
	case "healthy", "up":
		return cell{status, colourGreen}
	case "sick":
		return cell{status, colourYellow}
	case "dead", "down":
		return cell{status, colourRed}
	}
	return cell{text: status}
}

// columns prints rows in columns, two spaces apart. A column is as wide as its
// widest field that has another one behind it. What a server sent may hold
// anything, so control characters are dropped.
func (p *printer) columns(rows [][]cell) {
	var widths []int
	for _, row := range rows {
		for i := range row {
			row[i].text = oneCell(row[i].text)
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if i < len(row)-1 {
				widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
			}
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, c := range row {
			text := c.text
			if p.colour && c.colour != "" && text != "" {
				text = c.colour + text + colourOff
			}
			line.WriteString(text)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		fmt.Fprintln(p.w, strings.TrimRight(line.String(), " "))
	}
}

// oneCell returns text on one line and without what a terminal would obey.
func oneCell(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0:
			return -1
		}
		return r
	}, text)
}

// json prints v as JSON for programs.
func (p *printer) json(v any) error {
	enc := json.NewEncoder(p.w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// localTime writes a time for people: in this machine's zone, without the day
// when it is today's.
func localTime(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	t, now = t.Local(), now.Local()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04")
}
