//go:build peer

package notify

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestProsodyPeer(t *testing.T) {
	t.Parallel()
	s := startServer(t, "prosody.sh", []string{"STARTTLS", "TLS"}, []string{"xmpp.test", "old.test"})
	testXMPPPeer(t, s, map[string]xmppCase{
		"SCRAM-SHA-256":      {port: "STARTTLS", domain: "xmpp.test"},
		"direct TLS":         {port: "TLS", direct: true, domain: "xmpp.test"},
		"SCRAM-SHA-1-PLUS":   {port: "STARTTLS", domain: "old.test", plus: true},
		"a domain not there": {port: "STARTTLS", domain: "none.test", err: "host-unknown"},
	})
}

func TestEjabberdPeer(t *testing.T) {
	t.Parallel()
	s := startServer(t, "ejabberd.sh", []string{"STARTTLS", "OLD", "TLS", "DIST"}, []string{"xmpp.test"})
	testXMPPPeer(t, s, map[string]xmppCase{
		"SCRAM-SHA-256":      {port: "STARTTLS", domain: "xmpp.test"},
		"direct TLS":         {port: "TLS", direct: true, domain: "xmpp.test"},
		"SCRAM-SHA-256-PLUS": {port: "OLD", domain: "xmpp.test", plus: true},
		"a domain not there": {port: "STARTTLS", domain: "none.test", err: "host-unknown"},
	})
}

// An xmppCase is one way to a server.
type xmppCase struct {
	port   string
	direct bool // TLS at once
	domain string
	plus   bool   // the login is bound to the TLS connection
	err    string // "" is a delivery
}

// notifier is vigil's account by that way.
func (c xmppCase) notifier(s *server) *xmppNotifier {
	n := newXMPPNotifier(&XMPP{From: "vigil@" + c.domain, To: "admin@" + c.domain, Password: "pass-vigil"}).(*xmppNotifier)
	n.dial, n.roots = s.dialPort(c.port), s.roots
	service := "_xmpp-client._tcp."
	if c.direct {
		service = "_xmpps-client._tcp."
	}
	n.lookup = fakeDNS(&net.SRV{Target: service + c.domain + " c2s.test.", Port: 1})
	return n
}

func testXMPPPeer(t *testing.T, s *server, cases map[string]xmppCase) {
	alert := mailAlert()
	alert.Dead[0].Reason = `<größe> & "so"]]> ☃`
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			alert.ID, alert.Time = name, time.Now()
			err := c.notifier(s).Notify(t.Context(), alert)
			if c.err != "" {
				if err == nil || !isPermanent(err) || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			reader := c.notifier(s)
			reader.cfg.From, reader.cfg.Password = reader.cfg.To, "pass-admin"
			got := receive(t, reader, c.plus)
			if want := deliveryID(alert, "admin@"+c.domain); got.attr("id") != want || !strings.HasPrefix(got.attr("from"), "vigil@"+c.domain+"/") {
				t.Errorf("message %q from %q, want %q", got.attr("id"), got.attr("from"), want)
			}
			if body, _ := got.child(nsClient, "body"); body.text != plainText(alert, alert.Time) {
				t.Errorf("body %q", body.text)
			}
		})
	}

	way := cases["SCRAM-SHA-256"]
	t.Run("wrong password", func(t *testing.T) {
		n := way.notifier(s)
		n.cfg.Password = "wrong"
		err := n.Notify(t.Context(), alert)
		if err == nil || !isPermanent(err) || !strings.Contains(err.Error(), "login: not-authorized") {
			t.Errorf("%v, want a permanent refusal", err)
		}
	})
	t.Run("no such recipient", func(t *testing.T) {
		n := way.notifier(s)
		n.cfg.To = "nobody@xmpp.test"
		err := n.Notify(t.Context(), alert)
		if err == nil || !isPermanent(err) || !strings.Contains(err.Error(), "message: service-unavailable") {
			t.Errorf("%v, want a permanent refusal", err)
		}
	})
	t.Run("a certificate nobody vouches for", func(t *testing.T) {
		n := way.notifier(s)
		n.roots = x509.NewCertPool()
		err := n.Notify(t.Context(), alert)
		if err == nil || !isPermanent(err) || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
			t.Errorf("%v, want a permanent error", err)
		}
	})
	t.Run("frozen", func(t *testing.T) { testFrozen(t, s, way.notifier(s), alert) })
}

// testFrozen stops the server just before the message goes out: the kernel
// still takes the bytes, but nobody has them.
func testFrozen(t *testing.T, s *server, n *xmppNotifier, alert Alert) {
	var asked atomic.Int32
	n.nonce = func() string {
		// Login, bind, ping.
		if asked.Add(1) == 3 {
			freeze(t, s.pid)
		}
		return rand.Text()
	}
	defer syscall.Kill(s.pid, syscall.SIGCONT)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := n.Notify(ctx, alert)
	if !isUnconfirmed(err) || !strings.HasSuffix(err.Error(), ": no answer in time") {
		t.Errorf("%v, want an unconfirmed delivery", err)
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("%d nonces, want 3: the server was not frozen at the right time", n)
	}
}

// freeze stops a process and waits until every thread of it has stopped.
func freeze(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Error(err)
		return
	}
	for range 1000 {
		states, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(states) == 0 {
			t.Errorf("no threads of process %d: %v", pid, err)
			return
		}
		if !slices.ContainsFunc(states, running) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("process %d does not stop", pid)
}

// running reads a thread's stat file: its name in parentheses, then its state
// (proc(5)).
func running(stat string) bool {
	text, err := os.ReadFile(stat)
	i := bytes.LastIndexByte(text, ')')
	return err == nil && !bytes.HasPrefix(text[i+1:], []byte(" T"))
}

// receive logs in, says that it is there, and returns the first message. plus
// is whether the login can be bound to the TLS connection.
func receive(t *testing.T, n *xmppNotifier, plus bool) element {
	t.Helper()
	from, _, err := n.addresses()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), dialogueTimeout)
	defer cancel()
	list, err := endpoints(ctx, n.lookup, from.domain)
	if err != nil {
		t.Fatal(err)
	}
	s, err := n.connect(ctx, list[0], from.domain)
	if err != nil {
		t.Fatal(err)
	}
	defer s.tcp.Close()
	defer interruptOn(ctx, s.tcp)()
	if _, _, bound := s.channelBinding(); bound != plus {
		t.Errorf("channel binding %v, want %v", bound, plus)
	}
	if err := s.login(from.local, string(n.cfg.Password), n.nonce()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.open(from.domain); err != nil {
		t.Fatal(err)
	}
	if err := s.send(`<iq type='set' id='b'><bind xmlns='` + nsBind + `'/></iq><presence/>`); err != nil {
		t.Fatal(err)
	}
	for {
		e, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		if e.is(nsClient, "message") {
			return e
		}
	}
}
