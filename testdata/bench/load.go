package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A load is requests over many connections, written and read with as little
// work as can be, so that the client is not what is measured.
type load struct {
	conns   int
	request func(n int) []byte    // the n-th of all
	pause   time.Duration         // between an answer and the next request, on average
	every   time.Duration         // between the beginnings of two requests, over all connections
	took    func(d time.Duration) // of each answer; may be nil; called from many goroutines
}

// run sends requests for a while and returns how many were answered. When
// total is not 0, it sends so many instead.
func (l load) run(address string, d time.Duration, total int) (int, error) {
	var next, done atomic.Int64
	var fault atomic.Pointer[error]
	begin := time.Now()
	end := begin.Add(d)
	var wg sync.WaitGroup
	for range l.conns {
		wg.Go(func() {
			if err := l.talk(address, begin, end, int64(total), &next, &done); err != nil {
				fault.Store(&err)
			}
		})
	}
	wg.Wait()
	if err := fault.Load(); err != nil {
		return 0, *err
	}
	return int(done.Load()), nil
}

// talk sends requests over one connection.
func (l load) talk(address string, begin, end time.Time, total int64, next, done *atomic.Int64) error {
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReaderSize(c, 16<<10)
	if l.pause > 0 { // not all at once
		time.Sleep(rand.N(l.pause))
	}
	for {
		n := next.Add(1) - 1
		if total > 0 && n >= total || total == 0 && time.Now().After(end) {
			return nil
		}
		if l.every > 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(n) * l.every)))
		}
		c.SetDeadline(time.Now().Add(30 * time.Second))
		sent := time.Now()
		if _, err := c.Write(l.request(int(n))); err != nil {
			return err
		}
		if err := skipAnswer(in); err != nil {
			return err
		}
		if l.took != nil {
			l.took(time.Since(sent))
		}
		done.Add(1)
		if l.pause > 0 {
			time.Sleep(l.pause/2 + rand.N(l.pause))
		}
	}
}

// skipAnswer reads one answer, which must be a good one.
func skipAnswer(in *bufio.Reader) error {
	length, status := 0, ""
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if status == "" {
			status = string(line)
			if !strings.HasPrefix(status, "HTTP/1.1 2") && !strings.HasPrefix(status, "HTTP/1.1 304") {
				return fmt.Errorf("answer %q", status)
			}
		}
		if len(line) <= 2 {
			_, err = in.Discard(length)
			return err
		}
		if field := "Content-Length: "; len(line) > len(field) && strings.EqualFold(string(line[:len(field)]), field) {
			if length, err = strconv.Atoi(string(line[len(field) : len(line)-2])); err != nil {
				return err
			}
		}
	}
}

// getRequest is a request for a path with some lines of header.
func getRequest(path string, header ...string) func(int) []byte {
	lines := append([]string{"GET " + path + " HTTP/1.1", "Host: localhost"}, header...)
	text := []byte(strings.Join(lines, "\r\n") + "\r\n\r\n")
	return func(int) []byte { return text }
}

// reportRequests are reports of so many replicas with that load, spread over
// the nodes that path names. They come every five minutes at least.
func reportRequests(replicas int, cpu float64, path func(n int) string) func(int) []byte {
	return reportsEvery(5*time.Minute, replicas, cpu, path)
}

// reportsEvery are reportRequests that promise the next report within a time.
func reportsEvery(interval time.Duration, replicas int, cpu float64, path func(n int) string) func(int) []byte {
	secret := base64.StdEncoding.EncodeToString([]byte(":" + token))
	all := make([][]byte, replicas)
	for n := range all {
		body := fmt.Sprintf(`{"replica":"host-%d.example.net","interval":%v,"load":{"cpu":%v,"ram":0.4}}`, n, interval.Seconds(), cpu)
		all[n] = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic %s\r\n"+
			"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path(n), secret, len(body), body)
	}
	return func(n int) []byte { return all[n%replicas] }
}

// beside runs the load on the program and on its limit by turns, so that
// whatever else the machine does hits both, and returns their medians of
// requests a second and that of the ratios.
func (l load) beside(program, limit string, turns int, turn time.Duration) (ours, bare, ratio float64, err error) {
	var all [3][]float64
	for i := range turns + 1 {
		theirs, err := l.run(limit, turn, 0)
		if err != nil {
			return 0, 0, 0, fmt.Errorf("limit: %w", err)
		}
		mine, err := l.run(program, turn, 0)
		if err != nil {
			return 0, 0, 0, err
		}
		if i == 0 {
			continue // to warm up
		}
		all[0] = append(all[0], float64(mine)/turn.Seconds())
		all[1] = append(all[1], float64(theirs)/turn.Seconds())
		all[2] = append(all[2], float64(mine)/float64(theirs))
	}
	return median(all[0]), median(all[1]), median(all[2]), nil
}

// drain reads requests without answering to them properly; it is for hooks.
func drain(r io.Reader) { io.Copy(io.Discard, io.LimitReader(r, 1<<20)) }
