package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
)

// sshPacket wraps payload as RFC 4253, section 6, has it.
func sshPacket(payload string) string {
	padding := 8 - (5+len(payload))%8
	if padding < 4 {
		padding += 8
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))
	b = append(b, byte(padding))
	b = append(b, payload...)
	return string(append(b, make([]byte, padding)...))
}

func sshString(s string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func sshKex() string {
	return "\x14" + strings.Repeat("c", 16) + sshString("curve25519-sha256") + sshString("ssh-ed25519") +
		strings.Repeat(sshString("aes128-ctr"), 2) + strings.Repeat(sshString("hmac-sha2-256"), 2) +
		strings.Repeat(sshString("none"), 2) + strings.Repeat(sshString(""), 2) + "\x00" + "\x00\x00\x00\x00"
}

func TestPollSSH(t *testing.T) {
	t.Parallel()
	const id = "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"
	kex := sshPacket(sshKex())
	for _, tt := range []struct {
		name, says string
		status     status
		reason     string
	}{
		{"OpenSSH", id + kex, healthy, ""},
		{"line end without return", "SSH-2.0-x\n" + kex, healthy, ""},
		{"both versions", "SSH-1.99-x\r\n" + kex, healthy, ""},
		{"lines before", "hello\r\n\r\n" + id + kex, healthy, ""},
		{"ignored messages", id + sshPacket("\x02"+sshString("x")) + sshPacket("\x04\x00"+sshString("")+sshString("")) + kex, healthy, ""},
		{"longest line", "SSH-2.0-" + strings.Repeat("x", 245) + "\r\n" + kex, healthy, ""},
		{"line too long", "SSH-2.0-" + strings.Repeat("x", 246) + "\r\n" + kex, dead, "not an SSH server: line of over 255 bytes"},
		{"old version", "SSH-1.5-x\r\n", dead, `SSH version not supported: "SSH-1.5-x"`},
		{"web server", "HTTP/1.1 400 Bad Request\r\n\r\n", dead, `server says "HTTP/1.1 400 Bad Request" and closes the connection`},
		{"refused before", "Exceeded MaxStartups\r\n", dead, `server says "Exceeded MaxStartups" and closes the connection`},
		{"refused before, no line end", "Not allowed", dead, `not an SSH server: "Not allowed"`},
		{"endless lines", strings.Repeat("x\n", 1000), dead, `not an SSH server: "x"`},
		{"nothing", "", dead, "connection closed without an answer"},
		{"identification only", id, dead, "connection closed without an answer"},
		{"half a packet", id + kex[:40], dead, "connection closed in the middle of the answer"},
		{"half a head", id + kex[:3], dead, "connection closed in the middle of the answer"},
		{"disconnect", id + sshPacket("\x01\x00\x00\x00\x0c"+sshString("too many connections")+sshString("")), dead,
			`SSH server disconnects: "too many connections"`},
		{"disconnect without a word", id + sshPacket("\x01"), dead, "SSH server disconnects"},
		{"another message", id + sshPacket("\x15"), dead, "SSH message 21 in place of the key exchange"},
		{"packet too long", id + "\x00\x01\x00\x04\x04" + strings.Repeat("x", 70000), dead, "SSH packet with impossible length 65540, padding 4"},
		{"packet too short", id + "\x00\x00\x00\x04\x04xxx", dead, "SSH packet with impossible length 4, padding 4"},
		{"packet of odd length", id + "\x00\x00\x00\x0d\x04xxxxxxxxxxxx", dead, "SSH packet with impossible length 13, padding 4"},
		{"nothing but padding", id + "\x00\x00\x00\x0c\x0bxxxxxxxxxxx", dead, "SSH packet with impossible length 12, padding 11"},
		{"broken lists", id + sshPacket(strings.Replace(sshKex(), "\x00\x00\x00\x0b", "\x7f\xff\xff\xff", 1)), dead, "broken SSH key exchange packet"},
		{"short key exchange", id + sshPacket("\x14abc"), dead, "broken SSH key exchange packet"},
		{"long key exchange", id + sshPacket(sshKex()+"x"), dead, "broken SSH key exchange packet"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			heard := make(chan string, 1)
			addr := listening(t, func(conn net.Conn) {
				b := make([]byte, len("SSH-2.0-vigil\r\n"))
				n, _ := io.ReadFull(conn, b)
				heard <- string(b[:n])
				io.WriteString(conn, tt.says)
				conn.(*net.TCPConn).CloseWrite()
				silence(conn)
			})
			got := testPoller(t, pollMetrics()).check(t.Context(), pollReplica(t, "ssh://"+addr, Node{}))
			wantVerdict(t, got, tt.status, tt.reason)
			if h := <-heard; h != "SSH-2.0-vigil\r\n" {
				t.Errorf("the server heard %q", h)
			}
		})
	}
}

func FuzzSSHGreeting(f *testing.F) {
	f.Add([]byte("SSH-2.0-x\r\n" + sshPacket(sshKex())))
	f.Add([]byte("hello\r\nSSH-2.0-x\r\n" + sshPacket("\x01\x00\x00\x00\x0c"+sshString("bye"))))
	f.Add([]byte("SSH-2.0-x\r\n\x00\x00\x00\x0c\x0b"))
	f.Add([]byte("SSH-2.0-x\r\n" + sshPacket("\x14"+strings.Repeat("\xff", 40))))
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := readSSHGreeting(bytes.NewReader(b))
		// How the bytes are cut into reads makes no difference.
		split := readSSHGreeting(iotest.OneByteReader(bytes.NewReader(b)))
		if (whole == nil) != (split == nil) || whole != nil && whole.Error() != split.Error() {
			t.Errorf("%q: %v in one read, %v in many", b, whole, split)
		}
		if whole == nil && !bytes.Contains(b, []byte("SSH-")) {
			t.Errorf("%q was accepted", b)
		}
	})
}
