package main

import (
	"io/fs"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// tree returns the files of a host, and of those given as path and text.
func tree(files ...string) fstest.MapFS {
	root := fstest.MapFS{
		"proc/loadavg": {Data: []byte("1.00 0.50 0.25 2/345 6789\n")},
		"proc/stat":    {Data: []byte("cpu  9 9 9 9\ncpu0 3 3 3 3\ncpu1 3 3 3 3\ncpu2 2 2 2 2\ncpu3 1 1 1 1\nintr 5 6 7\nctxt 8\n")},
		"proc/meminfo": {Data: []byte("MemTotal:       8000000 kB\nMemFree:         500000 kB\nMemAvailable:   6000000 kB\nBuffers:         100000 kB\nCached:         2000000 kB\n")},
	}
	for i := 0; i < len(files); i += 2 {
		if files[i+1] == "" {
			delete(root, files[i])
			continue
		}
		root[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return root
}

const (
	v2Unit = "sys/fs/cgroup/system.slice/app.service/"
	v1Unit = "sys/fs/cgroup/memory/docker/abc/"
	noMax  = "9223372036854771712\n" // as version 1 writes it
)

func TestHostMeter(t *testing.T) {
	for _, test := range []struct {
		name     string
		root     fstest.MapFS
		cpu, ram float64
	}{
		{"host", tree(), 0.25, 0.25},
		{"overloaded", tree("proc/loadavg", "9.60 1.00 1.00 2/345 6789\n"), 2.4, 0.25},
		{"idle", tree("proc/loadavg", "0.00 0.00 0.00 1/1 1\n", "proc/meminfo", "MemTotal: 100 kB\nMemAvailable: 101 kB\n"), 0, 0},
		{"old kernel", tree("proc/meminfo", "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 50 kB\nCached: 250 kB\n"), 0.25, 0.6},
		{"no group", tree("proc/self/cgroup", "0::/\n"), 0.25, 0.25},
		{"v2 without limits", tree("proc/self/cgroup", "0::/system.slice/app.service\n",
			v2Unit+"cpu.max", "max 100000\n", v2Unit+"cpu.stat", "usage_usec 5000000\n",
			v2Unit+"memory.max", "max\n", v2Unit+"memory.current", "123456\n"), 0.25, 0.25},
		{"v2 memory limit", tree("proc/self/cgroup", "0::/system.slice/app.service\n",
			v2Unit+"memory.max", "1000000\n", v2Unit+"memory.current", "900000\n",
			v2Unit+"memory.stat", "anon 400000\nfile 500000\ninactive_anon 7\ninactive_file 100000\n"), 0.25, 0.8},
		{"v2 memory limit that is far", tree("proc/self/cgroup", "0::/system.slice/app.service\n",
			v2Unit+"memory.max", "1000000\n", v2Unit+"memory.current", "100000\n"), 0.25, 0.25},
		{"v2 limit of the slice around", tree("proc/self/cgroup", "0::/system.slice/app.service\n",
			v2Unit+"memory.max", "1000000\n", v2Unit+"memory.current", "100000\n",
			"sys/fs/cgroup/system.slice/memory.max", "4000000\n", "sys/fs/cgroup/system.slice/memory.current", "3600000\n"), 0.25, 0.9},
		{"v2 container with a path of the host", tree("proc/self/cgroup", "0::/../../host/path\n",
			"sys/fs/cgroup/memory.max", "1000\n", "sys/fs/cgroup/memory.current", "500\n"), 0.25, 0.5},
		{"v1 without limits", tree("proc/self/cgroup", "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/\n",
			v1Unit+"memory.limit_in_bytes", noMax, v1Unit+"memory.usage_in_bytes", "123\n"), 0.25, 0.25},
		{"v1 memory limit", tree("proc/self/cgroup", "4:memory:/docker/abc\n",
			v1Unit+"memory.limit_in_bytes", "1000\n", v1Unit+"memory.usage_in_bytes", "900\n",
			v1Unit+"memory.stat", "inactive_file 1\ntotal_inactive_file 300\n"), 0.25, 0.6},
		{"v1 container with a path of the host", tree("proc/self/cgroup", "4:memory:/docker/abc\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n", "sys/fs/cgroup/memory/memory.usage_in_bytes", "700\n"), 0.25, 0.7},
		{"broken group files", tree("proc/self/cgroup", "no group\n0:\n::\n4:memory:/docker/abc\n0::/system.slice/app.service\n",
			v2Unit+"memory.max", "0\n", v2Unit+"memory.current", "1\n",
			v2Unit+"cpu.max", "1\n", v2Unit+"cpu.stat", "usage_usec\n",
			v1Unit+"memory.limit_in_bytes", "1e3\n", v1Unit+"memory.usage_in_bytes", "900\n"), 0.25, 0.25},
		{"limit without use", tree("proc/self/cgroup", "0::/system.slice/app.service\n", v2Unit+"memory.max", "1000\n"), 0.25, 0.25},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := (&hostMeter{root: test.root}).load(time.Now())
			if want := (loadMessage{test.cpu, test.ram}); err != nil || got != want {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
		})
	}
}

// What a group uses of its CPU time is known from the second call on.
func TestHostMeterGroupCPU(t *testing.T) {
	const second = int64(time.Second)
	v1 := "sys/fs/cgroup/cpu/docker/abc/"
	for _, test := range []struct {
		name  string
		root  fstest.MapFS
		usage string // the file with the CPU time used
		lines [3]string
		want  [3]float64
	}{
		{"v2 half of two CPUs", tree("proc/self/cgroup", "0::/system.slice/app.service\n", v2Unit+"cpu.max", "200000 100000\n"),
			v2Unit + "cpu.stat", [3]string{"usage_usec 1000000\n", "usage_usec 11000000\n", "usage_usec 12000000\n"}, [3]float64{0.25, 0.5, 0.25}},
		{"v2 a tenth of a CPU, all of it", tree("proc/self/cgroup", "0::/system.slice/app.service\n", v2Unit+"cpu.max", "10000 100000\n"),
			v2Unit + "cpu.stat", [3]string{"usage_usec 0\n", "usage_usec 1000000\n", "usage_usec 1900000\n"}, [3]float64{0.25, 1, 0.9}},
		{"v2 moved to a new group", tree("proc/self/cgroup", "0::/system.slice/app.service\n", v2Unit+"cpu.max", "100000 100000\n"),
			v2Unit + "cpu.stat", [3]string{"usage_usec 50000000\n", "usage_usec 1000000\n", "usage_usec 9000000\n"}, [3]float64{0.25, 0.25, 0.8}},
		{"v2 without a limit", tree("proc/self/cgroup", "0::/system.slice/app.service\n", v2Unit+"cpu.max", "max 100000\n"),
			v2Unit + "cpu.stat", [3]string{"usage_usec 0\n", "usage_usec 90000000\n", ""}, [3]float64{0.25, 0.25, 0.25}},
		{"v1 one and a half CPUs", tree("proc/self/cgroup", "1:cpu,cpuacct:/docker/abc\n", v1+"cpu.cfs_quota_us", "150000\n", v1+"cpu.cfs_period_us", "100000\n"),
			"sys/fs/cgroup/cpuacct/docker/abc/cpuacct.usage", [3]string{"0\n", "7500000000\n", "21000000000\n"}, [3]float64{0.25, 0.5, 0.9}},
		{"v1 without a limit", tree("proc/self/cgroup", "1:cpu,cpuacct:/docker/abc\n", v1+"cpu.cfs_quota_us", "-1\n", v1+"cpu.cfs_period_us", "100000\n"),
			"sys/fs/cgroup/cpuacct/docker/abc/cpuacct.usage", [3]string{"0\n", "9000000000\n", "21000000000\n"}, [3]float64{0.25, 0.25, 0.25}},
	} {
		t.Run(test.name, func(t *testing.T) {
			meter := &hostMeter{root: test.root}
			now := time.Unix(second, 0)
			for i, line := range test.lines {
				test.root[test.usage] = &fstest.MapFile{Data: []byte(line)}
				got, err := meter.load(now)
				if err != nil || got.CPU != test.want[i] {
					t.Errorf("call %d: got %v, %v, want %v", i, got.CPU, err, test.want[i])
				}
				now = now.Add(10 * time.Second)
			}
		})
	}
}

func TestHostMeterBroken(t *testing.T) {
	for _, test := range []struct {
		name string
		root fs.FS
		want string
	}{
		{"nothing", fstest.MapFS{}, "/proc/loadavg: has no load average, or cannot be read"},
		{"empty load", tree("proc/loadavg", "\n"), "/proc/loadavg: has no load average, or cannot be read"},
		{"load below zero", tree("proc/loadavg", "-1 0 0\n"), "/proc/loadavg: has no load average, or cannot be read"},
		{"no number", tree("proc/loadavg", "NaN 0 0\n"), "/proc/loadavg: has no load average, or cannot be read"},
		{"no memory file", tree("proc/meminfo", ""), "/proc/meminfo: has no MemTotal, or cannot be read"},
		{"no memory", tree("proc/meminfo", "MemTotal: 0 kB\nMemAvailable: 0 kB\n"), "/proc/meminfo: has no MemTotal, or cannot be read"},
		{"memory cut short", tree("proc/meminfo", "MemTotal: 1000 kB\nMemFree: 10 kB\nBuff"),
			"/proc/meminfo: has neither MemAvailable nor MemFree, Buffers and Cached"},
		{"a folder", fstest.MapFS{"proc/loadavg/x": {}}, "/proc/loadavg: has no load average, or cannot be read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := (&hostMeter{root: test.root}).load(time.Now())
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, %v, want %s", got, err, test.want)
			}
		})
	}
	// Without its own count of CPUs the host has as many as this process sees.
	got, err := (&hostMeter{root: tree("proc/stat", "")}).load(time.Now())
	if want := round4(1 / float64(runtime.NumCPU())); err != nil || got.CPU != want {
		t.Errorf("got %v, %v, want %v", got.CPU, err, want)
	}
}

// The host that the test runs on makes sense.
func TestHostMeterHere(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the load of a host is measured on Linux only")
	}
	meter := &hostMeter{root: os.DirFS("/")}
	for range 2 {
		got, err := meter.load(time.Now())
		if err != nil || got.RAM <= 0 || got.RAM > 1 || got.CPU < 0 {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}

func FuzzHostMeter(f *testing.F) {
	add := func(root fstest.MapFS) {
		text := func(name string) string {
			if file := root[name]; file != nil {
				return string(file.Data)
			}
			return ""
		}
		f.Add(text("proc/loadavg"), text("proc/stat"), text("proc/meminfo"), text("proc/self/cgroup"), "200000 100000\n", "usage_usec 5\ninactive_file 6\n", "1000\n")
	}
	add(tree())
	add(tree("proc/self/cgroup", "0::/a/b\n"))
	add(tree("proc/self/cgroup", "4:memory:/a\n1:cpu,cpuacct:/a\n0::/../..\n"))
	add(tree("proc/meminfo", "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 50 kB\nCached: 250 kB\n"))
	f.Fuzz(func(t *testing.T, loadavg, stat, meminfo, cgroup, cpuMax, keyed, number string) {
		root := tree("proc/loadavg", loadavg, "proc/stat", stat, "proc/meminfo", meminfo, "proc/self/cgroup", cgroup)
		for name, path := range parseGroups(cgroup) {
			for _, mount := range []string{"sys/fs/cgroup", "sys/fs/cgroup/" + strings.ReplaceAll(name, "/", "")} {
				for _, dir := range levels(mount, path) {
					if !fs.ValidPath(dir) && !strings.ContainsAny(dir, "\x00") && strings.ToValidUTF8(dir, "") == dir {
						t.Errorf("%q leads to the folder %q", path, dir)
					}
				}
			}
		}
		for name, text := range map[string]string{
			"cpu.max": cpuMax, "cpu.stat": keyed, "memory.max": number, "memory.current": number, "memory.stat": keyed,
			"memory/memory.limit_in_bytes": number, "memory/memory.usage_in_bytes": number, "memory/memory.stat": keyed,
			"cpu/cpu.cfs_quota_us": number, "cpu/cpu.cfs_period_us": number, "cpuacct/cpuacct.usage": number,
		} {
			root["sys/fs/cgroup/"+name] = &fstest.MapFile{Data: []byte(text)}
		}
		meter := &hostMeter{root: root}
		now := time.Unix(0, 0)
		for range 2 {
			got, err := meter.load(now)
			for _, x := range []float64{got.CPU, got.RAM} {
				if !(x >= 0) || math.IsInf(x, 0) {
					t.Errorf("got %+v, %v", got, err)
				}
			}
			now = now.Add(time.Second)
		}
	})
}
