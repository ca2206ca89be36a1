package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// maxHostFile bounds what is read of one file, in bytes. A host with 1,000
// CPUs has a /proc/stat of 100 KB.
const maxHostFile = 1 << 20

// A hostMeter measures how loaded this host is, from what Linux shows of it in
// files. Where the process is in a control group with a limit of its own, as
// in a container, the load is that of the host or of the group, whichever has
// less left: a container that is out of memory is in trouble on an idle host.
type hostMeter struct {
	root fs.FS                // with proc and sys in it
	last map[string]cpuSample // of the groups with a limit, by folder
}

// A cpuSample is how much CPU time a group had used at some time.
type cpuSample struct {
	used time.Duration
	at   time.Time
}

// load returns the CPU load and the share of memory in use. Over 1, the CPUs
// are overloaded. A group's CPU load is measured since the last call; the first
// call knows only the host's.
func (m *hostMeter) load(now time.Time) (loadMessage, error) {
	cpu, err := m.hostCPU()
	if err != nil {
		return loadMessage{}, err
	}
	ram, err := m.hostRAM()
	if err != nil {
		return loadMessage{}, err
	}
	groups := parseGroups(m.read("proc/self/cgroup"))
	return loadMessage{
		CPU: round4(max(cpu, m.groupCPU(groups, now))),
		RAM: round4(max(ram, m.groupRAM(groups))),
	}, nil
}

// round4 keeps the significant digits of a load.
func round4(x float64) float64 { return math.Round(x*1e4) / 1e4 }

// read returns a file's text, cut at the limit; "" for one that cannot be
// read.
func (m *hostMeter) read(name string) string {
	f, err := m.root.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxHostFile))
	if err != nil {
		return ""
	}
	return string(text)
}

// hostCPU returns the load average of the last minute for each CPU.
func (m *hostMeter) hostCPU() (float64, error) {
	average, err := parseLoadavg(m.read("proc/loadavg"))
	if err != nil {
		return 0, fmt.Errorf("/proc/loadavg: %w", err)
	}
	cpus := countCPUs(m.read("proc/stat"))
	if cpus == 0 {
		cpus = runtime.NumCPU()
	}
	return average / float64(cpus), nil
}

// parseLoadavg returns the first number of /proc/loadavg, the average over one
// minute: proc_loadavg(5).
func parseLoadavg(text string) (float64, error) {
	first, _, _ := strings.Cut(text, " ")
	average, err := strconv.ParseFloat(first, 64)
	if err != nil || !(average >= 0 && average <= maxLoad) {
		return 0, errors.New("has no load average, or cannot be read")
	}
	return average, nil
}

// countCPUs returns how many CPUs /proc/stat has a line for, which are those
// that are online: proc_stat(5).
func countCPUs(text string) int {
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		rest, ok := strings.CutPrefix(line, "cpu")
		if ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
			n++
		}
	}
	return n
}

// hostRAM returns the share of memory that cannot be had without swapping.
func (m *hostMeter) hostRAM() (float64, error) {
	share, err := parseMeminfo(m.read("proc/meminfo"))
	if err != nil {
		return 0, fmt.Errorf("/proc/meminfo: %w", err)
	}
	return share, nil
}

// parseMeminfo returns the share of memory in use by /proc/meminfo:
// proc_meminfo(5). Kernels before 3.14 do not estimate what is available.
func parseMeminfo(text string) (float64, error) {
	total, ok := amountAt(text, "MemTotal:")
	if !ok || total == 0 {
		return 0, errors.New("has no MemTotal, or cannot be read")
	}
	available, ok := amountAt(text, "MemAvailable:")
	if !ok {
		free, ok1 := amountAt(text, "MemFree:")
		buffers, ok2 := amountAt(text, "Buffers:")
		cached, ok3 := amountAt(text, "Cached:")
		if !ok1 || !ok2 || !ok3 {
			return 0, errors.New("has neither MemAvailable nor MemFree, Buffers and Cached")
		}
		available = free + buffers + cached
	}
	return max(0, 1-available/total), nil
}

// amountAt returns the amount behind a key at the start of a line.
func amountAt(text, key string) (float64, bool) {
	for line := range strings.SplitSeq(text, "\n") {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == key {
			return amount(fields[1])
		}
	}
	return 0, false
}

// amount parses a number of bytes, ticks or the like. Kernels write what is
// unlimited as "max", as -1 or as close to 1<<63: that is no amount.
func amount(text string) (float64, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	return float64(n), err == nil && n < 1<<62
}

// parseGroups returns the paths in /proc/self/cgroup by controller; version 2
// has all in one, with an empty name: cgroups(7).
func parseGroups(text string) map[string]string {
	groups := make(map[string]string)
	for line := range strings.SplitSeq(text, "\n") {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) != 3 {
			continue
		}
		for name := range strings.SplitSeq(parts[1], ",") {
			groups[name] = parts[2]
		}
	}
	return groups
}

// levels returns the folders of a group and of all that it is in, under a
// mount point: each may have a limit. In a container the path may be one of
// the host, which is not there; then only the mount point itself is.
func levels(mount, group string) []string {
	var dirs []string
	for p := path.Clean("/" + group); ; p = path.Dir(p) {
		dirs = append(dirs, path.Join(mount, p))
		if p == "/" {
			return dirs
		}
	}
}

// groupCPU returns how much of the CPU time that its limit gives a group it
// used, or 0 when there is no limit. It takes samples for the next call.
func (m *hostMeter) groupCPU(groups map[string]string, now time.Time) float64 {
	samples := make(map[string]cpuSample)
	share := 0.0
	look := func(dir string, cpus float64, used time.Duration) {
		if before, ok := m.last[dir]; ok && used >= before.used && now.After(before.at) {
			share = max(share, float64(used-before.used)/float64(now.Sub(before.at))/cpus)
		}
		samples[dir] = cpuSample{used, now}
	}
	if group, ok := groups[""]; ok {
		for _, dir := range levels("sys/fs/cgroup", group) {
			quota, period, _ := strings.Cut(m.read(path.Join(dir, "cpu.max")), " ")
			cpus, limited := quotient(quota, period)
			used, ok := amountAt(m.read(path.Join(dir, "cpu.stat")), "usage_usec")
			if limited && ok {
				look(dir, cpus, time.Duration(min(used, math.MaxInt64/2e3))*time.Microsecond)
			}
		}
	}
	if group, ok := groups["cpu"]; ok {
		for _, dir := range levels("", group) {
			in := path.Join("sys/fs/cgroup/cpu", dir)
			cpus, limited := quotient(m.read(path.Join(in, "cpu.cfs_quota_us")), m.read(path.Join(in, "cpu.cfs_period_us")))
			used, ok := amount(m.read(path.Join("sys/fs/cgroup/cpuacct", dir, "cpuacct.usage")))
			if limited && ok {
				look(in, cpus, time.Duration(used))
			}
		}
	}
	m.last = samples
	return share
}

// quotient returns how many CPUs a quota for each period amounts to.
func quotient(quota, period string) (cpus float64, limited bool) {
	q, ok := amount(quota)
	p, ok2 := amount(period)
	if !ok || !ok2 || q == 0 || p == 0 {
		return 0, false
	}
	return q / p, true
}

// groupRAM returns how much of the memory that its limit gives a group it
// uses, or 0 when there is no limit. What can be dropped at once, as it is in
// a file and was not read for a while, does not count.
func (m *hostMeter) groupRAM(groups map[string]string) float64 {
	share := 0.0
	look := func(dir, limitFile, currentFile, droppable string) {
		limit, limited := amount(m.read(path.Join(dir, limitFile)))
		current, ok := amount(m.read(path.Join(dir, currentFile)))
		if !limited || !ok || limit == 0 {
			return
		}
		inactive, _ := amountAt(m.read(path.Join(dir, "memory.stat")), droppable)
		share = max(share, (current-inactive)/limit)
	}
	if group, ok := groups[""]; ok {
		for _, dir := range levels("sys/fs/cgroup", group) {
			look(dir, "memory.max", "memory.current", "inactive_file")
		}
	}
	if group, ok := groups["memory"]; ok {
		for _, dir := range levels("sys/fs/cgroup/memory", group) {
			look(dir, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
		}
	}
	return share
}
