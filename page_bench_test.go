//go:build unix

package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkServe compares the page's requests a second with those of a bare
// handler that writes the same bytes, over 64 connections each and in turns,
// so that whatever else the machine does hits both. The contract wants a ratio
// of 0.90 at least.
func BenchmarkServe(b *testing.B) {
	p := newTestPage(b, crowdSample(100))
	h := p.handler(nil)
	for _, c := range [...]struct{ name, path, header string }{
		{"page", "/", ""},
		{"gzip", "/", "Accept-Encoding: gzip"},
		{"304", "/", "If-None-Match: " + p.now.Load().page.plain.etag[0]},
		{"status", "/status/text", ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			ours := serveTest(b, h)
			bare := serveBare(b, get(h, "GET", c.path, c.header))
			request := "GET " + c.path + " HTTP/1.1\r\nHost: localhost\r\n"
			if c.header != "" {
				request += c.header + "\r\n"
			}
			request += "\r\n"
			const rounds, round = 40, 50 * time.Millisecond
			var mine, theirs tally64
			for b.Loop() {
				for range rounds {
					mine.add(load64(b, ours, request, round))
					theirs.add(load64(b, bare, request, round))
				}
			}
			b.ReportMetric(mine.n/theirs.n, "ratio")
			b.ReportMetric(theirs.cpu/theirs.n*mine.n/mine.cpu, "cpu-ratio")
			b.ReportMetric(mine.n/float64(b.N)/(rounds*round.Seconds()), "req/s")
			b.ReportMetric(0, "ns/op")
			if mine.n < 0.9*theirs.n {
				b.Logf("%.2f of the bare handler's requests, want 0.90", mine.n/theirs.n)
			}
		})
	}
}

// serveBare runs the bare limit: net/http with nothing but the answer's bytes.
func serveBare(b *testing.B, res *http.Response) string {
	b.Helper()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	tag := res.Header.Get("ETag")
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range res.Header {
			w.Header()[name] = values
		}
		if tag != "" && r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Write(text)
	})}
	go srv.Serve(ln)
	b.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

// A tally64 is how many requests were answered and the processor time that they
// took, client and server together: a measure that other programs on the
// machine do not disturb as much.
type tally64 struct{ n, cpu float64 }

func (a *tally64) add(b tally64) { a.n, a.cpu = a.n+b.n, a.cpu+b.cpu }

// load64 sends requests over 64 connections for a while.
func load64(b *testing.B, addr, request string, d time.Duration) tally64 {
	before := cpuTime()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var done atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			br := bufio.NewReaderSize(c, 64<<10)
			for ctx.Err() == nil {
				io.WriteString(c, request)
				if err := skipAnswer(br); err != nil {
					b.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return tally64{float64(done.Load()), (cpuTime() - before).Seconds()}
}

// skipAnswer reads one answer with as little work as possible, so that the
// client is not what is measured.
func skipAnswer(br *bufio.Reader) error {
	length := 0
	for {
		line, err := br.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			_, err = br.Discard(length)
			return err
		}
		if field := "Content-Length: "; len(line) > len(field) && string(line[:len(field)]) == field {
			if length, err = strconv.Atoi(string(line[len(field) : len(line)-2])); err != nil {
				return err
			}
		}
	}
}

// BenchmarkRender measures one rendering: of a page whose every node changed, of
// one where a tenth did, as between two snapshots, and the compression after it.
// Rendering happens once a second at most; 25 ms for 1,000 nodes is fine.
func BenchmarkRender(b *testing.B) {
	for _, nodes := range []int{300, 1000} {
		s := crowdSample(nodes / 3)
		st := newTestPage(b, s).renderer.site
		for name, change := range map[string]int{"all": 1, "tenth": 10} {
			b.Run(strconv.Itoa(nodes)+"/"+name, func(b *testing.B) {
				r := newRenderer(st, st.lang)
				for b.Loop() {
					b.StopTimer()
					next := *s
					next.services = append([]*serviceView(nil), s.services...)
					for i := 0; i < len(next.services); i += change {
						sv := *next.services[i]
						sv.nodes = append([]*nodeView(nil), sv.nodes...)
						for j := range sv.nodes {
							nv := *sv.nodes[j]
							past := *nv.history
							nv.history = &past
							sv.nodes[j] = &nv
						}
						next.services[i] = &sv
					}
					b.StartTimer()
					if _, _, err := r.html(&next); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/page")
			})
		}
		b.Run(strconv.Itoa(nodes)+"/pack", func(b *testing.B) {
			r := newRenderer(st, st.lang)
			text, _, err := r.html(s)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				r.packer.reply(text, st.pageFields)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/page")
		})
	}
}
