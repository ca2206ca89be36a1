package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// begin measures how soon a program with a long past serves: 90 days of each
// node, as many incidents as are kept, and 90 daily logs.
func (b *bench) begin() error {
	farm, err := start("farm", nil)
	if err != nil {
		return err
	}
	defer farm.stop()
	for _, c := range []struct {
		services, each int
		most           float64 // seconds
	}{{100, 10, 0.15}, {1000, 10, 1}} {
		if err := b.beginWith(c.services, c.each, farm.ready.TCP, c.most); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) beginWith(services, each int, port string, most float64) error {
	p, err := b.lay("poll_interval = 300\n" + nodes(services, each, 1, "poll", func(n int) string { return "tcp://" + host(n) + ":" + port }))
	if err != nil {
		return err
	}
	if err := p.writePast(services, each, 90, time.Now()); err != nil {
		return err
	}
	count := services * each
	var took, cpu, resident, inUse []float64
	for range b.count(5, 2) {
		if err := p.start(); err != nil {
			return err
		}
		took = append(took, p.first.Seconds())
		used, err := p.cpu()
		if err != nil {
			p.stop()
			return err
		}
		cpu = append(cpu, used)
		var rss, heap float64
		if err = p.settled(count, time.Minute); err == nil {
			time.Sleep(3 * time.Second) // the state is written anew
			if rss, err = p.memory("VmRSS"); err == nil {
				heap, err = p.heap()
			}
		}
		resident, inUse = append(resident, rss), append(inUse, heap/(1<<20))
		p.stop()
		if err != nil {
			return err
		}
	}
	b.add(row{measure: "start", what: fmt.Sprintf("start of %d nodes after 90 days: first page", count), figure: fmt.Sprintf("%.2f s", median(took)),
		limit: fmt.Sprintf("%.2f s of processor", median(cpu)), got: median(took), wanted: atMost(most).but(10 * most)})
	if count > 1000 {
		b.add(row{measure: "start", what: "... memory, all checked once", figure: fmt.Sprintf("%.0f MiB", median(resident)),
			limit: fmt.Sprintf("%.0f MiB in use", median(inUse)), got: median(resident), wanted: atMost(150)})
	}
	return nil
}

// A journal writes a file of the storage folder: lines of JSON, each with the
// CRC-32C of the rest of it.
type journal struct {
	buf   bytes.Buffer
	lines int
}

func (j *journal) add(kind string, record any) error {
	body, err := json.Marshal(map[string]any{kind: record})
	if err == nil {
		fmt.Fprintf(&j.buf, "{\"sum\":\"%08x\",%s\n", crc32.Checksum(body[1:], crc32.MakeTable(crc32.Castagnoli)), body[1:])
		j.lines++
	}
	return err
}

// A journaled is a record of the storage folder, by its kind.
type journaled struct {
	kind   string
	record any
}

// writeState writes a whole state file.
func (p *program) writeState(now time.Time, records func(yield func(journaled) bool)) error {
	var j journal
	if err := j.add("vigil", map[string]any{"file": "state", "format": 1, "generation": 1, "written": now}); err != nil {
		return err
	}
	j.lines = 0
	for rec := range records {
		if err := j.add(rec.kind, rec.record); err != nil {
			return err
		}
	}
	if err := j.add("end", map[string]int{"lines": j.lines}); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, "data", "state-000001.jsonl"), j.buf.Bytes(), 0o600)
}

// writePast writes what nodes have gathered in 90 days, with as many outages as
// are kept in the last so many days.
func (p *program) writePast(services, each, outages int, now time.Time) error {
	const days, day, incidents = 90, 24 * 60 * 60 * 1000, 1000
	name := func(n int) (service, node string) { return fmt.Sprintf("s%d", n/each), fmt.Sprintf("n%d", n%each) }
	count := services * each
	today := now.UTC().Unix() / (24 * 60 * 60)
	packed := func(n, seed int) []byte { // median and worst latency of so many times, in 16 bits each
		b := make([]byte, 0, 4*n)
		for i := range n {
			median := 10_000 + uint16(seed*7919+i*i)%2000
			b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, median), 2*median)
		}
		return b
	}
	began := func(i int) time.Time {
		return now.Add(-time.Duration(outages) * 24 * time.Hour / (incidents + 1) * time.Duration(i+1))
	}
	err := p.writeState(now, func(yield func(journaled) bool) {
		ok := true
		keep := func(kind string, record any) { ok = ok && yield(journaled{kind, record}) }
		keep("alive", now)
		for n := range count {
			service, node := name(n)
			var past [days][5]int64
			for d := range past {
				past[d] = [5]int64{today - int64(days-1-d), day}
				if (d+n)%(days/6) == 0 { // six of them were bad
					past[d] = [5]int64{today - int64(days-1-d), day - 600_000 - int64(n), 300_000, 300_000 + int64(n)}
				}
			}
			past[days-1] = [5]int64{today, 1000}
			var months [][5]int64
			for m := range 4 {
				first := time.Date(now.Year(), now.Month()-time.Month(3-m), 1, 0, 0, 0, 0, time.UTC)
				months = append(months, [5]int64{first.Unix() / (24 * 60 * 60), 20 * day, 3_600_000, 3_600_000})
			}
			latency := map[string]any{"quarter": now.Unix() / (15 * 60), "quarters": packed(100, n), "day": today, "days": packed(days, n)}
			keep("past", map[string]any{"service": service, "node": node, "days": past, "months": months, "latency": latency, "status": "healthy", "since": now})
		}
		for i := range incidents {
			service, node := name(i * 7 % count)
			keep("incident", map[string]any{"id": fmt.Sprintf("00000000-0000-4000-8000-%012d", i), "service": service, "node": node,
				"start": began(i), "end": began(i).Add(5 * time.Minute), "reason": "no answer in 10 s"})
		}
	})
	if err != nil {
		return err
	}
	return p.writeLogs(services, each, days, now)
}

// writeLogs writes the logs of so many days, each with 1,000 changes of nodes
// that are down for a minute.
func (p *program) writeLogs(services, each, days int, now time.Time) error {
	dir := filepath.Join(p.dir, "data", "events")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for d := range days {
		begin := now.UTC().AddDate(0, 0, -d).Truncate(24 * time.Hour)
		var lines bytes.Buffer
		zip := gzip.NewWriter(&lines)
		fmt.Fprintln(zip, `{"vigil_events":1}`)
		for i := range 1000 {
			n := (i/2 + 37*d) % (services * each)
			from, to := "healthy", "dead"
			if i%2 == 1 {
				from, to = to, from
			}
			fmt.Fprintf(zip, "{\"time\":%q,\"kind\":\"transition\",\"service\":\"s%d\",\"node\":\"n%d\",\"from\":%q,\"to\":%q,\"reason\":\"HTTP 503\"}\n",
				begin.Add(time.Duration(i)*time.Minute).Format(time.RFC3339), n/each, n%each, from, to)
		}
		if err := zip.Close(); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, begin.Format(time.DateOnly)+".ndjson.gz"), lines.Bytes(), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// replay measures how long another config takes with the log of a year.
func (b *bench) replay() error {
	const services, each, days = 10, 10, 365
	config := "[notify]\nreminder_interval = 600\n"
	for _, id := range []string{"all", "late", "some"} {
		config += fmt.Sprintf("[[notify.webhook]]\nid = %q\nhook_url = \"http://127.0.0.1:9/\"\n", id)
	}
	config += "[[notify.route]]\nto = [\"all\"]\n[[notify.route]]\nto = [\"late\"]\nafter = 30\n[[notify.route]]\nto = [\"some\"]\nmatch = [\"s1\", \"s2:n3\"]\n"
	p, err := b.lay(config + nodes(services, each, 1, "poll", func(n int) string { return "tcp://" + host(n) + ":9" }))
	if err != nil {
		return err
	}
	if err := p.writeLogs(services, each, days, time.Now()); err != nil {
		return err
	}
	var took []float64
	var then, now int
	for range b.count(3, 1) {
		begin := time.Now()
		cmd := exec.Command(p.vigil, "replay", "-c", "config.cfg", "-since", "365d")
		cmd.Dir = p.dir
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		took = append(took, time.Since(begin).Seconds())
		if _, err := fmt.Sscanf(string(out), "%d messages then, %d with this config.", &then, &now); err != nil || now < 1000*(days-2) {
			return fmt.Errorf("replay: %v in %.200q", err, out)
		}
	}
	b.add(row{measure: "replay", what: fmt.Sprintf("a year of 100 nodes replayed, 365,000 changes: %d messages", now), figure: fmt.Sprintf("%.1f s", median(took)), got: median(took), wanted: atMost(10)})
	return nil
}

// log measures, by the benchmark of that part, what the log of events takes of
// the aggregator.
func (b *bench) log() error {
	took := "2s"
	if b.short {
		took = "0.5s"
	}
	out, err := exec.Command("go", "test", "-run", "^$", "-bench", "^BenchmarkTransition$", "-benchtime", took, "vigil").Output()
	if err != nil {
		return fmt.Errorf("go test: %w: %s", err, out)
	}
	all := benchmarks(out)
	with, without := all["Transition ns/change-with-log"], all["Transition ns/change-without-log"]
	if without == 0 {
		return fmt.Errorf("no figures in %q", out)
	}
	const daily = 100_000
	extra := max(with-without, 0) * daily / 1e9
	b.add(row{measure: "log", what: "100,000 changes a day logged: time of the aggregator", figure: fmt.Sprintf("%.2f s a day", with*daily/1e9),
		limit: fmt.Sprintf("%.2f s without", without*daily/1e9), got: extra, wanted: atMost(1)})
	return nil
}
