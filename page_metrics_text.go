package main

import (
	"strconv"
	"strings"
)

// A metricText is written in the text format of Prometheus, version 0.0.4.
// https://prometheus.io/docs/instrumenting/exposition_formats/
type metricText struct {
	b    []byte
	name string // of the family being written
}

// family begins a family of samples; all of its samples follow at once.
func (x *metricText) family(name, kind, help string) {
	x.name = name
	x.b = append(x.b, "# HELP "+name+" "+help+"\n# TYPE "+name+" "+kind+"\n"...)
}

// sample adds a sample of the family. Labels are names and values by turns.
func (x *metricText) sample(value float64, labels ...string) { x.add("", value, labels...) }

func (x *metricText) add(suffix string, value float64, labels ...string) {
	x.b = append(x.b, x.name...)
	x.b = append(x.b, suffix...)
	for i := 0; i < len(labels); i += 2 {
		if i == 0 {
			x.b = append(x.b, '{')
		} else {
			x.b = append(x.b, ',')
		}
		x.b = append(x.b, labels[i]...)
		x.b = append(x.b, `="`...)
		x.b = appendLabel(x.b, labels[i+1])
		x.b = append(x.b, '"')
	}
	if len(labels) > 0 {
		x.b = append(x.b, '}')
	}
	x.b = append(x.b, ' ')
	x.b = strconv.AppendFloat(x.b, value, 'g', -1, 64)
	x.b = append(x.b, '\n')
}

// metric adds a family of one sample.
func (x *metricText) metric(name, kind, help string, value float64) {
	x.family(name, kind, help)
	x.sample(value)
}

// histogram adds the samples of h, whose buckets are in seconds. What is
// counted meanwhile is in all of them or in none.
func (x *metricText) histogram(h *histogram, labels ...string) {
	total := uint64(0)
	for i := range h.counts {
		total += h.counts[i].Load()
		bound := "+Inf"
		if i < len(meterBounds) {
			bound = strconv.FormatFloat(meterBounds[i].Seconds(), 'g', -1, 64)
		}
		x.add("_bucket", float64(total), append(labels[:len(labels):len(labels)], "le", bound)...)
	}
	x.add("_sum", float64(h.sum.Load())/1e9, labels...)
	x.add("_count", float64(total), labels...)
}

// appendLabel adds a label's value, escaped. It has to be valid UTF-8.
func appendLabel(b []byte, value string) []byte {
	value = strings.ToValidUTF8(value, "\ufffd")
	for i := range len(value) {
		switch c := value[i]; c {
		case '\\', '"':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		default:
			b = append(b, c)
		}
	}
	return b
}
