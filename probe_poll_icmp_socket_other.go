//go:build !linux

package main

import (
	"net"

	"golang.org/x/net/icmp"
)

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
