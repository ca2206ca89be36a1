package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A row is one figure beside its limit.
type row struct {
	measure string
	what    string
	figure  string  // of the program
	limit   string  // of the bare one; "" where there is none
	got     float64 // what is held against wanted: often the ratio of the two
	ratio   bool    // it is
	wanted  bound
	short   bool
}

// A bound is what a figure must reach.
type bound struct {
	value float64
	least bool // it must be as much at least; else at most
	slack float64
	none  bool // it is for information
	exact bool // half of it is not enough, in a short run either
}

func atLeast(v float64) bound { return bound{value: v, least: true} }
func atMost(v float64) bound  { return bound{value: v} }

// but says how much more is let pass in a short run where twice the figure
// says nothing: a figure of 0, or a time that others on the machine stretch
// more than they do the rest.
func (b bound) but(slack float64) bound { b.slack = slack; return b }

// exactly is a bound that a short run must reach, too.
func (b bound) exactly() bound { b.exact = true; return b }

// informal is no bound at all.
var informal = bound{none: true}

const (
	metFigure    = "ok"
	missedFigure = "MISSED"
)

// verdict holds the figure against what is wanted. In a short run half of it
// is enough.
func (r row) verdict() string {
	w := r.wanted
	if r.short && !w.exact {
		if w.least {
			w.value /= 2
		} else {
			w.value = max(2*w.value, w.slack)
		}
	}
	switch {
	case w.none:
		return ""
	case w.least && r.got >= w.value, !w.least && r.got <= w.value:
		return metFigure
	}
	return missedFigure
}

func (b bound) String() string {
	switch {
	case b.none:
		return ""
	case b.least:
		return fmt.Sprintf(">= %v", b.value)
	}
	return fmt.Sprintf("<= %v", b.value)
}

// printTable prints the rows as a table of Markdown that people can read as it
// stands.
func printTable(w io.Writer, rows []row) {
	table := [][]string{{"what", "Vigil", "bare limit", "ratio", "wanted", ""}}
	for _, r := range rows {
		ratio := ""
		if r.ratio {
			ratio = fmt.Sprintf("%.2f", r.got)
			if r.got < 0.01 {
				ratio = fmt.Sprintf("%.4f", r.got)
			}
		}
		table = append(table, []string{r.what, r.figure, r.limit, ratio, r.wanted.String(), r.verdict()})
	}
	widths := make([]int, len(table[0]))
	for _, cells := range table {
		for i, cell := range cells {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for n, cells := range table {
		line := "|"
		for i, cell := range cells {
			line += " " + cell + strings.Repeat(" ", widths[i]-len(cell)) + " |"
		}
		fmt.Fprintln(w, line)
		if n == 0 {
			line = "|"
			for _, width := range widths {
				line += strings.Repeat("-", width+2) + "|"
			}
			fmt.Fprintln(w, line)
		}
	}
}

// median returns the middle of some values, which it sorts.
func median[T cmp.Ordered](values []T) T { return quantile(values, 0.5) }

// quantile returns the value that a share of them does not exceed.
func quantile[T cmp.Ordered](values []T, share float64) T {
	if len(values) == 0 {
		var none T
		return none
	}
	slices.Sort(values)
	return values[min(int(share*float64(len(values))), len(values)-1)]
}

// mean returns the average of some values.
func mean(values []float64) (sum float64) {
	for _, v := range values {
		sum += v
	}
	return sum / max(1, float64(len(values)))
}
