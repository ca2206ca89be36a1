package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A problem is one thing that is wrong, or merely odd, with a config file.
type problem struct {
	file string
	line int    // from 1, as written in the file
	key  string // with its path, e.g. "probe.service[0].node[2].mode"
	text string // what is wrong and what is allowed
	note bool   // a remark that no strictness turns into an error
}

// Error returns the problem in the one form that all of them have.
func (p problem) Error() string {
	return fmt.Sprintf("%s:%d: %s: %s", p.file, p.line, p.key, p.text)
}

// byLine sorts problems the way somebody mends them, from the top down.
func byLine(a, b problem) int { return cmp.Compare(a.line, b.line) }

// joinProblems makes one error of all problems, a line each, or nil of none.
func joinProblems(ps []problem) error {
	slices.SortStableFunc(ps, byLine)
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// maxShown is how many characters of a value a message repeats.
const maxShown = 80

// shorten cuts a long value for a message.
func shorten(s string) string {
	n := 0
	for i := range s {
		if n == maxShown {
			return s[:i] + "..."
		}
		n++
	}
	return s
}

// escapeControl escapes the line ends and other control characters of a message.
func escapeControl(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// oneOf words a choice for a message: "a", "b" or "c".
func oneOf(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	if last := len(quoted) - 1; last > 0 {
		return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
	}
	return strings.Join(quoted, "")
}

// hint returns a question that offers the word nearest to a wrong one, to be
// put behind a message, or "" when none is near enough to be what was meant.
func hint(wrong string, words []string) string {
	if near := nearest(wrong, words); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// nearest returns the word that takes the fewest edits to reach from s, or ""
// when even that takes more than a third of its letters.
func nearest(s string, words []string) string {
	const longest = 64 // no key is longer; keeps the work small
	if len(s) > longest {
		return ""
	}
	best, bestEdits := "", 0
	for _, w := range words {
		n := edits(strings.ToLower(s), strings.ToLower(w))
		if n <= max(1, len(w)/3) && (best == "" || n < bestEdits) {
			best, bestEdits = w, n
		}
	}
	return best
}

// edits counts how many bytes must be put in, left out, replaced or swapped
// with their neighbour to make b of a (the optimal string alignment distance).
func edits(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	next := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			replace := row[j]
			if a[i] != b[j] {
				replace++
			}
			next[j+1] = min(row[j+1]+1, next[j]+1, replace)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
