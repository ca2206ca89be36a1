package main

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

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
