package main

import "strconv"

// scanReport reads the body of a report that is written as nearly every client
// writes it: the fields of a load report, each once, plain strings and numbers.
// It returns false for anything else, right or wrong, which encoding/json has
// to look at. That takes some six times as long, more than all the rest that is
// done with a report.
func scanReport(body []byte) (reportBody, bool) {
	// What the pointers of the body point to, in one piece.
	var all struct {
		replica  string
		interval float64
		load     loadBody
		cpu, ram float64
	}
	s := bodyScanner{rest: body}
	b := reportBody{}
	s.object(func(key []byte) bool {
		switch {
		case string(key) == "replica" && b.Replica == nil:
			all.replica, b.Replica = string(s.word()), &all.replica
		case string(key) == "interval" && b.Interval == nil:
			all.interval, b.Interval = s.number(), &all.interval
		case string(key) == "load" && b.Load == nil:
			b.Load = &all.load
			s.object(func(key []byte) bool {
				switch {
				case string(key) == "cpu" && all.load.CPU == nil:
					all.cpu, all.load.CPU = s.number(), &all.cpu
				case string(key) == "ram" && all.load.RAM == nil:
					all.ram, all.load.RAM = s.number(), &all.ram
				default:
					return false
				}
				return true
			})
		default:
			return false
		}
		return true
	})
	s.space()
	if s.failed || len(s.rest) > 0 {
		return reportBody{}, false
	}
	return b, true
}

// A bodyScanner takes JSON apart. After something that it does not know it has
// failed.
type bodyScanner struct {
	rest   []byte
	failed bool
}

func (s *bodyScanner) space() {
	for len(s.rest) > 0 && (s.rest[0] == ' ' || s.rest[0] == '\n' || s.rest[0] == '\r' || s.rest[0] == '\t') {
		s.rest = s.rest[1:]
	}
}

// take reports whether the next thing is c, and skips it then.
func (s *bodyScanner) take(c byte) bool {
	s.space()
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// object takes an object that is not empty and calls value for each key, to
// take what stands behind it or say that it does not know the key.
func (s *bodyScanner) object(value func(key []byte) bool) {
	for ok := s.take('{'); ok; ok = s.take(',') {
		key := s.word()
		if !s.take(':') || !value(key) {
			break
		}
		if s.take('}') {
			return
		}
	}
	s.failed = true
}

// word takes a string of printable ASCII without escapes.
func (s *bodyScanner) word() []byte {
	if s.take('"') {
		for i, c := range s.rest {
			if c == '"' {
				word := s.rest[:i]
				s.rest = s.rest[i+1:]
				return word
			}
			if c < ' ' || c > '~' || c == '\\' {
				break
			}
		}
	}
	s.failed = true
	return nil
}

// number takes a number like 30 or 0.25: no sign, no exponent.
func (s *bodyScanner) number() float64 {
	s.space()
	n, points := 0, 0
	for n < len(s.rest) && (s.rest[n] >= '0' && s.rest[n] <= '9' || s.rest[n] == '.') {
		if s.rest[n] == '.' {
			points++
		}
		n++
	}
	text := s.rest[:n]
	s.rest = s.rest[n:]
	// JSON wants a digit on both sides of the point and no idle zero in front.
	if n == 0 || points > 1 || text[0] == '.' || text[n-1] == '.' || n > 1 && text[0] == '0' && text[1] != '.' {
		s.failed = true
		return 0
	}
	x, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		s.failed = true
	}
	return x
}
