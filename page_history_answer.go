package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// historyEvery is for how long an answer of /status/history is good.
	historyEvery = 5 * time.Second

	// historyPlain is the size, in bytes, up to which an answer is kept as it
	// is, too. A larger one, which may have 65 MB for 10,000 nodes, is kept in
	// gzip alone and unpacked for those who do not take that, so many at a
	// time at most; each costs about 80 KB while it lasts.
	historyPlain     = 1 << 20
	historyUnpacking = 32

	// historyLevel makes little more of it than the best one, in much less time.
	historyLevel = 3
)

// A historyAnswer is a report that is ready to serve.
type historyAnswer struct {
	*reply
	stale time.Time // when it is to be made anew
}

// A historyCache keeps the answer for a while: it is large, and it is made
// only when somebody asks, by one of those who do.
type historyCache struct {
	answer    atomic.Pointer[historyAnswer]
	making    singleflight.Group
	unpacking atomic.Int32 // answers being unpacked
}

var historyFields = []field{
	newField("Content-Type", "application/json"),
	newField("Cache-Control", "public, max-age=5"),
	newField("X-Content-Type-Options", "nosniff"),
	newField("Access-Control-Allow-Origin", "*"),
}

func (p *page) serveHistory(w http.ResponseWriter, r *http.Request) {
	answer := p.history.answer.Load()
	if answer == nil || time.Now().After(answer.stale) {
		made, err, _ := p.history.making.Do("", p.makeHistory)
		if err != nil {
			p.log.Error("history not served", "err", err)
			http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
			return
		}
		answer = made.(*historyAnswer)
	}
	answer.serve(w, r)
}

// makeHistory returns a fresh *historyAnswer.
func (p *page) makeHistory() (any, error) {
	now := time.Now()
	r, err := p.history.newReply(p.board.load(), now)
	if err != nil {
		return nil, err
	}
	answer := &historyAnswer{r, now.Add(max(historyEvery, renderShare*time.Since(now)))}
	p.history.answer.Store(answer)
	return answer, nil
}

// newReply returns the past of s. While it is made, no more of it than the
// packed form is in memory.
func (c *historyCache) newReply(s *snapshot, now time.Time) (*reply, error) {
	var packed bytes.Buffer
	zw, err := gzip.NewWriterLevel(&packed, historyLevel)
	if err != nil {
		return nil, err
	}
	plain := &countWriter{out: zw}
	if err := writeHistory(plain, s, now); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	body := bytes.Clone(packed.Bytes()) // without what the buffer has to spare
	if plain.n <= historyPlain {
		text := bytes.NewBuffer(make([]byte, 0, plain.n))
		if err := gunzip(text, body); err != nil {
			return nil, err
		}
		return newReply(text.Bytes(), historyFields), nil
	}
	tag := tagOf(body)
	d := &reply{
		plain:  variant{nil, []string{`"` + tag + `"`}, []string{strconv.FormatInt(plain.n, 10)}},
		packed: newVariant(body, tag+".gz"),
		fields: historyFields,
		cache:  caching(historyFields),
	}
	d.unpack = func(w http.ResponseWriter) { c.unpack(w, body) }
	return d, nil
}

// unpack answers with the plain text of body, unless too many do already.
func (c *historyCache) unpack(w http.ResponseWriter, body []byte) {
	defer c.unpacking.Add(-1)
	if c.unpacking.Add(1) > historyUnpacking {
		h := w.Header()
		h.Del("Etag")
		h.Del("Cache-Control")
		h.Set("Retry-After", "5")
		http.Error(w, "too many ask for this without gzip, ask with it", http.StatusServiceUnavailable)
		return
	}
	_ = gunzip(w, body) // it ends early when the client has left
}

// gunzip writes the plain text of what is in gzip.
func gunzip(w io.Writer, packed []byte) error {
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("gunzip: %w", err)
	}
	_, err = io.Copy(w, zr)
	return err
}

// A countWriter counts what goes through it.
type countWriter struct {
	out io.Writer
	n   int64
}

func (w *countWriter) Write(p []byte) (int, error) {
	n, err := w.out.Write(p)
	w.n += int64(n)
	return n, err
}
