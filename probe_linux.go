package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// A script may leave processes behind that are in no group of ours any more:
// by setsid, or by the job control of a shell. On Linux they are found all the
// same. The program is a child subreaper, so that orphans of scripts become its
// children, and each run puts a mark into the environment that its processes
// inherit.

const prSetChildSubreaper = 36 // prctl(2)

// adoptOrphans makes this process the parent of orphans among its descendants,
// as process 1 is anyway.
var adoptOrphans = sync.OnceFunc(func() {
	syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0)
})

// endRun kills what a run left behind and reaps it: what is left in the process
// group that pid led, and whatever has its mark.
func endRun(pid int, mark string) {
	for range 50 { // each killed process may leave more orphans
		again := false
		killGroup(pid)
		for {
			reaped, err := syscall.Wait4(-pid, nil, syscall.WNOHANG, nil)
			if err == syscall.EINTR {
				continue
			}
			if reaped <= 0 {
				again = err == nil // there are some that still have to die
				break
			}
		}
		for _, c := range childProcesses() {
			if c.marked(mark) {
				syscall.Kill(c.pid, syscall.SIGKILL)
				again = true
			}
		}
		reapOrphans()
		if !again {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// reapOrphans reaps processes that became children of this one and have ended.
// They are known by their session: what this program starts itself stays in its
// own.
func reapOrphans() {
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return
	}
	self, ok := parseStat(own)
	if !ok {
		return
	}
	for _, c := range childProcesses() {
		if c.state == 'Z' && c.session != self.session {
			syscall.Wait4(c.pid, nil, syscall.WNOHANG, nil)
		}
	}
}

// A process is one of which this one is the parent.
type process struct {
	pid     int
	state   byte // 'Z' is one that ended and is to be reaped
	session int
}

// childProcesses returns the children of this process.
func childProcesses() (all []process) {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		pids, _ := os.ReadFile(list)
		for _, pid := range strings.Fields(string(pids)) {
			if stat, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil {
				if c, ok := parseStat(stat); ok {
					all = append(all, c)
				}
			}
		}
	}
	return all
}

// parseStat reads what proc_pid_stat(5) has: the number, the command in
// parentheses, which may hold anything, the state, parent, group and session.
func parseStat(stat []byte) (process, bool) {
	end := bytes.LastIndexByte(stat, ')')
	pid, _, _ := bytes.Cut(stat, []byte(" "))
	if end < 0 {
		return process{}, false
	}
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) < 4 {
		return process{}, false
	}
	p := process{state: fields[0][0]}
	var err, err2 error
	p.pid, err = strconv.Atoi(string(pid))
	p.session, err2 = strconv.Atoi(fields[3])
	return p, err == nil && err2 == nil
}

// marked reports whether the process belongs to the run with a mark. One that
// ended has no environment any more.
func (p process) marked(mark string) bool {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/environ")
	return err == nil && bytes.Contains(env, []byte(mark))
}

// listenDatagramICMP opens a socket that needs no privileges where
// net.ipv4.ping_group_range, which rules both families, holds one of the
// process's groups. The kernel gives it the answers to its own requests only.
// It is made by hand as icmp.ListenPacket has no way to enlarge its buffer.
func listenDatagramICMP(v6 bool) (net.PacketConn, error) {
	family, protocol := syscall.AF_INET, syscall.IPPROTO_ICMP
	if v6 {
		family, protocol = syscall.AF_INET6, syscall.IPPROTO_ICMPV6
	}
	fd, err := syscall.Socket(family, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	enlarge(fd)
	file := os.NewFile(uintptr(fd), "icmp")
	defer file.Close() // conn is a duplicate
	return net.FilePacketConn(file)
}

// listenRawICMP opens a socket that gets every ICMP packet of the host, and has
// the kernel drop those that never concern a ping.
func listenRawICMP(v6 bool) (net.PacketConn, error) {
	network, addr := "ip4:icmp", "0.0.0.0"
	if v6 {
		network, addr = "ip6:ipv6-icmp", "::"
	}
	conn, err := net.ListenPacket(network, addr)
	if err != nil {
		return nil, err
	}
	if err := narrow(conn, v6); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func narrow(conn net.PacketConn, v6 bool) error {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	if err := raw.Control(func(fd uintptr) { enlarge(int(fd)) }); err != nil {
		return err
	}
	if v6 {
		var f ipv6.ICMPFilter
		f.SetAll(true)
		for _, t := range []ipv6.ICMPType{ipv6.ICMPTypeEchoReply, ipv6.ICMPTypeDestinationUnreachable, ipv6.ICMPTypeTimeExceeded} {
			f.Accept(t)
		}
		return ipv6.NewPacketConn(conn).SetICMPFilter(&f)
	}
	var f ipv4.ICMPFilter
	f.SetAll(true)
	for _, t := range []ipv4.ICMPType{ipv4.ICMPTypeEchoReply, ipv4.ICMPTypeDestinationUnreachable, ipv4.ICMPTypeTimeExceeded} {
		f.Accept(t)
	}
	return ipv4.NewPacketConn(conn).SetICMPFilter(&f)
}

// enlarge sets the buffers of a socket to echoBuffer, or to as much as
// net.core.rmem_max and wmem_max allow where it may not go beyond them.
func enlarge(fd int) {
	if syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, echoBuffer) != nil {
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, echoBuffer)
	}
	if syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUFFORCE, echoBuffer) != nil {
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, echoBuffer)
	}
}

// unmapProgram takes the pages of the program's own file out of its memory. They
// stay in the system's cache, and those still needed come back as they are used:
// a quarter of them served the start alone. Mappings with pages that were written
// to, as the loader does where addresses are not fixed, are left as they are.
func unmapProgram() {
	program, err := os.Readlink("/proc/self/exe")
	maps, err2 := os.ReadFile("/proc/self/smaps")
	if err != nil || err2 != nil {
		return // a system that shows neither
	}
	var from, to uint64 // of the mapping whose lines follow, if it is one of those
	for line := range strings.Lines(string(maps)) {
		// proc_pid_smaps(5): a line of proc_pid_maps(5), then "Anonymous: 0 kB" and others.
		switch fields := strings.Fields(line); {
		case len(fields) == 6 && fields[5] == program && fields[1][:2] == "r-":
			low, high, _ := strings.Cut(fields[0], "-")
			from, _ = strconv.ParseUint(low, 16, 64)
			to, _ = strconv.ParseUint(high, 16, 64)
		case !strings.HasSuffix(fields[0], ":"): // another mapping
			from, to = 0, 0
		case from < to && fields[0] == "Anonymous:" && fields[1] == "0":
			syscall.Syscall(syscall.SYS_MADVISE, uintptr(from), uintptr(to-from), syscall.MADV_DONTNEED)
		}
	}
}
