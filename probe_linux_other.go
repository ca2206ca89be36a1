//go:build !linux

package main

import (
	"net"

	"golang.org/x/net/icmp"
)

// adoptOrphans does nothing: orphans of scripts go to process 1.
func adoptOrphans() {}

// endRun kills what is left of the process group that pid led. The number of a
// group that still has members is not given to another process.
func endRun(pid int, _ string) { killGroup(pid) }

func reapOrphans() {}

// unmapProgram does nothing.
func unmapProgram() {}

// listenDatagramICMP opens a socket that needs no privileges, which macOS has.
func listenDatagramICMP(v6 bool) (net.PacketConn, error) {
	if v6 {
		return icmp.ListenPacket("udp6", "::")
	}
	return icmp.ListenPacket("udp4", "0.0.0.0")
}

// listenRawICMP opens a socket that gets every ICMP packet of the host.
func listenRawICMP(v6 bool) (net.PacketConn, error) {
	if v6 {
		return icmp.ListenPacket("ip6:ipv6-icmp", "::")
	}
	return icmp.ListenPacket("ip4:icmp", "0.0.0.0")
}
