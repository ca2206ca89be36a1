package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Limits of RFC 4253: sections 4.2 (the identification string with its line
// end), 6.1 (a packet) and, for lines before the identification, our own.
const (
	maxSSHLine   = 255
	maxSSHLines  = 64
	maxSSHPacket = 35000
)

// Message numbers of RFC 4253, section 12.
const (
	sshDisconnect = 1
	sshIgnore     = 2
	sshDebug      = 4
	sshKexInit    = 20
)

// checkSSH connects and follows the protocol up to the server's first
// key-exchange packet, which shows that a process serves the connection and
// has its host keys. It stops there: nothing is negotiated.
func (p *poller) checkSSH(ctx context.Context, q *inquiry) error {
	conn, err := p.connect(ctx, q)
	if err != nil {
		return err
	}
	defer conn.Close()
	// Past deadlines end what waits on the connection, and so does ctx.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	// Both sides send theirs at once (RFC 4253, section 4.2).
	if _, err := io.WriteString(conn, "SSH-2.0-vigil\r\n"); err != nil {
		return err
	}
	return readSSHGreeting(conn)
}

// readSSHGreeting reads the identification string of a server, lines before it
// included, and its SSH_MSG_KEXINIT packet.
func readSSHGreeting(conn io.Reader) error {
	r := bufio.NewReaderSize(conn, 4096)
	if err := readSSHIdentification(r); err != nil {
		return err
	}
	for range maxSSHLines {
		payload, err := readSSHPacket(r)
		if err != nil {
			return err
		}
		switch payload[0] {
		case sshKexInit:
			return checkSSHKexInit(payload)
		case sshIgnore, sshDebug: // allowed at any time (section 11)
		case sshDisconnect:
			return sshDisconnectError(payload)
		default:
			return fmt.Errorf("SSH message %d in place of the key exchange", payload[0])
		}
	}
	return errors.New("no SSH key exchange")
}

// readSSHIdentification reads lines up to the one that starts with "SSH-" and
// checks its version. What a server says before it closes the connection
// instead is most often why: "Exceeded MaxStartups".
func readSSHIdentification(r *bufio.Reader) error {
	said := ""
	for range maxSSHLines {
		line, err := readSSHLine(r)
		if err != nil {
			if said != "" && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
				return fmt.Errorf("server says %q and closes the connection", said)
			}
			return err
		}
		if !strings.HasPrefix(line, "SSH-") {
			said = cmp.Or(said, line)
			continue
		}
		// 1.99 is a server of version 2 that knows the first too (section 5.1).
		if !strings.HasPrefix(line, "SSH-2.0-") && !strings.HasPrefix(line, "SSH-1.99-") {
			return fmt.Errorf("SSH version not supported: %q", line)
		}
		return nil
	}
	return fmt.Errorf("not an SSH server: %q", said)
}

// readSSHLine reads one line without its end.
func readSSHLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		c, err := r.ReadByte()
		if err != nil {
			if err == io.EOF && len(line) > 0 {
				err = fmt.Errorf("not an SSH server: %q", line)
			}
			return "", err
		}
		line = append(line, c)
		switch {
		case c == '\n':
			return strings.TrimRight(string(line), "\r\n"), nil
		case len(line) >= maxSSHLine:
			return "", fmt.Errorf("not an SSH server: line of over %d bytes", maxSSHLine)
		}
	}
}

// readSSHPacket reads one packet without encryption (RFC 4253, section 6) and
// returns its payload, of at least one byte.
func readSSHPacket(r io.Reader) ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	length, padding := binary.BigEndian.Uint32(head[:]), uint32(head[4])
	// The whole is at least 16 bytes and a multiple of 8; padding is at least 4
	// bytes, and a payload needs one.
	if length < 12 || length > maxSSHPacket || (length+4)%8 != 0 || padding < 4 || padding+2 > length {
		return nil, fmt.Errorf("SSH packet with impossible length %d, padding %d", length, padding)
	}
	packet := make([]byte, length-1)
	if _, err := io.ReadFull(r, packet); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return packet[:length-1-padding], nil
}

// checkSSHKexInit checks that a key-exchange payload is whole: a cookie of 16
// bytes, ten lists of names, a flag and a reserved number (section 7.1).
func checkSSHKexInit(payload []byte) error {
	broken := errors.New("broken SSH key exchange packet")
	if len(payload) < 1+16 {
		return broken
	}
	rest := payload[1+16:]
	for range 10 {
		if _, after, ok := cutSSHString(rest); ok {
			rest = after
		} else {
			return broken
		}
	}
	if len(rest) != 1+4 {
		return broken
	}
	return nil
}

// sshDisconnectError is the error of a disconnect payload: a code and a text
// (section 11.1).
func sshDisconnectError(payload []byte) error {
	if len(payload) > 5 {
		if text, _, ok := cutSSHString(payload[5:]); ok && len(text) > 0 {
			return fmt.Errorf("SSH server disconnects: %q", text)
		}
	}
	return errors.New("SSH server disconnects")
}

// cutSSHString cuts a string with its length (RFC 4251, section 5) off b.
func cutSSHString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if b = b[4:]; uint64(n) > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}
