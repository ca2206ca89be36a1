package main

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
)

// A pingAPI serves /ping, where the jobs of heartbeat nodes show up. PROTOCOL.md
// describes it.
type pingAPI struct {
	board    *board
	events   chan<- event
	throttle *throttle
	index    atomic.Pointer[pingIndex]
}

func newPingAPI(b *board, events chan<- event, t *throttle) *pingAPI {
	return &pingAPI{board: b, events: events, throttle: t}
}

// A pingIndex finds the heartbeat nodes of one config by the hashes of their
// tokens, so that the time this takes says nothing of a token.
type pingIndex struct {
	conf  *Config
	nodes map[[sha256.Size]byte]*Node
}

// current returns the index of the current config.
func (p *pingAPI) current() *pingIndex {
	conf := p.board.load().conf
	ix := p.index.Load()
	if ix == nil || ix.conf != conf {
		ix = &pingIndex{conf, make(map[[sha256.Size]byte]*Node)}
		for _, s := range conf.Services {
			for _, n := range s.Nodes {
				if n.Heartbeat != nil {
					ix.nodes[sha256.Sum256([]byte(n.Heartbeat.Token))] = n
				}
			}
		}
		p.index.Store(ix)
	}
	return ix
}

func (p *pingAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if err := p.throttle.judge(r, p.serve(r)); err != nil {
		respond(w, nil, err)
		return
	}
	w.Header()["Content-Type"] = textType
	w.Header()["X-Content-Type-Options"] = nosniff
	io.WriteString(w, "ok\n")
}

// errUnknownPing is throttled like a wrong token, which it is.
var errUnknownPing = refuse(http.StatusNotFound, "no heartbeat node has this token")

// maxPingBody is how much of a ping's body is read.
const maxPingBody = 4 << 10

func (p *pingAPI) serve(r *http.Request) error {
	path, err := segments(r.URL)
	if err != nil {
		return err
	}
	if len(path) < 2 || len(path) > 3 {
		return errNoRoute
	}
	if err := allow(r, "GET, HEAD, POST"); err != nil {
		return err
	}
	node := p.current().nodes[sha256.Sum256([]byte(path[1].text))]
	if node == nil {
		return errUnknownPing
	}
	done := make(chan error, 1)
	ev := &ping{node: node, done: done}
	if len(path) == 3 {
		switch word := path[2].text; word {
		case "start":
			ev.start = true
		case "fail":
			ev.exit = failed
		default:
			exit, err := strconv.ParseUint(word, 10, 8)
			if err != nil {
				return refuse(http.StatusNotFound, "%q is not start, fail or an exit status from 0 to 255", word)
			}
			ev.exit = int(exit)
		}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxPingBody))
	if err != nil {
		return refuse(http.StatusBadRequest, "the body did not arrive whole")
	}
	ev.reason = pingReason(body)
	return ask(r.Context(), p.events, ev, done)
}

// pingReason returns the last line of a body that is not blank.
func pingReason(body []byte) string {
	body = bytes.TrimSpace(body)
	return oneLine(string(body[bytes.LastIndexByte(body, '\n')+1:]))
}
