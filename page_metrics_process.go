package main

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// process tells of the process under the names that Prometheus has for that,
// on systems with Linux's /proc.
func (x *metricText) process() {
	// Fields of proc_pid_stat(5), from the third one on: what is before may
	// hold spaces.
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	field := func(n int) float64 {
		if n-3 >= len(fields) {
			return 0
		}
		v, _ := strconv.ParseFloat(fields[n-3], 64) // numbers, all of them
		return v
	}
	const ticks = 100 // a second, on all of Linux: USER_HZ
	x.metric("process_cpu_seconds_total", "counter", "Processor time of the program.", (field(14)+field(15))/ticks)
	x.metric("process_virtual_memory_bytes", "gauge", "Addresses that are mapped.", field(23))
	x.metric("process_resident_memory_bytes", "gauge", "Memory in use.", field(24)*float64(os.Getpagesize()))
	if files, err := os.ReadDir("/proc/self/fd"); err == nil {
		x.metric("process_open_fds", "gauge", "Files that are open.", float64(len(files)))
	}
	limits, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(limits)) {
		rest, ok := strings.CutPrefix(line, "Max open files")
		if !ok {
			continue
		}
		if most, err := strconv.ParseFloat(strings.Fields(rest)[0], 64); err == nil {
			x.metric("process_max_fds", "gauge", "Files that may be open.", most)
		}
	}
}
