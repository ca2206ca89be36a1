package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// small measures the program's size, how soon it answers, and its memory with
// 100 replicas.
func (b *bench) small() error {
	info, err := os.Stat(b.vigil)
	if err != nil {
		return err
	}
	size := float64(info.Size()) / (1 << 20)
	b.add(row{measure: "small", what: "stripped static binary", figure: fmt.Sprintf("%.1f MiB", size), got: size, wanted: atMost(12.5)})

	farm, err := start("farm", nil)
	if err != nil {
		return err
	}
	defer farm.stop()
	config := "poll_interval = 2\n" + nodes(10, 10, 1, "poll", func(n int) string { return "tcp://" + host(n) + ":" + farm.ready.TCP })
	var first, bare, resident []float64
	for i := range b.count(7, 3) {
		begin := time.Now()
		limit, err := start("page", pageTask{Body: []byte("fine")})
		if err != nil {
			return err
		}
		err = untilServing(limit.ready.HTTP)
		bare = append(bare, time.Since(begin).Seconds()*1000)
		limit.stop()
		if err != nil {
			return err
		}

		p, err := b.run(config)
		if err != nil {
			return err
		}
		first = append(first, p.first.Seconds()*1000)
		if i == 0 {
			time.Sleep(b.length(12*time.Second, 6*time.Second)) // several checks of each
			rss, err := p.memory("VmRSS")
			if err != nil {
				p.stop()
				return err
			}
			resident = append(resident, rss)
		}
		p.stop()
	}
	b.add(row{measure: "small", what: "first page answered after exec", figure: fmt.Sprintf("%.0f ms", median(first)), limit: fmt.Sprintf("%.0f ms", median(bare)), got: median(first), wanted: atMost(100)})
	b.add(row{measure: "small", what: "memory with 100 replicas", figure: fmt.Sprintf("%.1f MiB", median(resident)), got: median(resident), wanted: atMost(20)})
	return nil
}

// config measures how long a config of 10,000 nodes takes to read, with the same
// terms for all and with their own.
func (b *bench) config() error {
	dir, err := os.MkdirTemp(b.dir, "config")
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "config.cfg")
	text := fmt.Sprintf(head, "127.0.0.1:8080") + nodes(1000, 10, 2, "poll", func(n int) string {
		return fmt.Sprintf("https://edge-%d.example.net/health?full=1", n)
	})
	var took [2][]float64
	for range b.count(7, 3) {
		for i, text := range [...]string{text, ownTerms(text)} {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				return err
			}
			begin := time.Now()
			if out, err := exec.Command(b.vigil, "check", "-c", file).CombinedOutput(); err != nil {
				return fmt.Errorf("check: %w: %.1000s", err, out)
			}
			took[i] = append(took[i], time.Since(begin).Seconds())
		}
	}
	one, own := median(took[0]), median(took[1])
	b.add(row{measure: "config", what: "config of 10,000 nodes read and checked", figure: fmt.Sprintf("%.2f s", one), got: one, wanted: atMost(1).but(5)})
	b.add(row{measure: "config", what: "... each with terms of its own", figure: fmt.Sprintf("%.2f s", own), got: own, wanted: atMost(1).but(5)})
	return nil
}
