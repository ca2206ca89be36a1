package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Whatever is damaged, what could be read at the first start is there at the
// next two as well: a file that is set aside never is a new one.
func TestDamageThroughTwoStarts(t *testing.T) {
	journal := func(dir *memFolder, ids ...string) {
		d, _ := openDisk(t, dir)
		var recs []record
		for _, id := range ids {
			recs = append(recs, note(id))
		}
		if out := d.do(job{records: recs}); out.err != nil {
			t.Fatal(out.err)
		}
	}
	state := func(dir *memFolder, ids ...string) {
		d, _ := openDisk(t, dir)
		if out := d.do(job{whole: notes(ids...)}); out.err != nil || out.whole != nil {
			t.Fatal(out)
		}
	}
	cut := func(data []byte) []byte { return data[:len(data)-40] }
	flip := func(data []byte) []byte {
		data = bytes.Clone(data)
		data[len(data)/2] ^= 1
		return data
	}
	empty := func([]byte) []byte { return nil }
	damages := map[string]func([]byte) []byte{"cut": cut, "flipped": flip, "emptied": empty}
	folders := map[string]func(*memFolder){
		"a state file, no journal used":      func(d *memFolder) { state(d, "a", "b", "c") },
		"a state file and its journal":       func(d *memFolder) { state(d, "a", "b"); journal(d, "c") },
		"a journal alone":                    func(d *memFolder) { journal(d, "a", "b", "c") },
		"two journals":                       func(d *memFolder) { journal(d, "a"); journal(d, "b", "c") },
		"a state file and a journal started": func(d *memFolder) { state(d, "a", "b", "c"); journal(d) },
	}
	for what, fill := range folders {
		full := newMemFolder()
		fill(full)
		for name := range full.files {
			for how, damage := range damages {
				dir := full.killed()
				dir.put(name, damage(dir.files[name].data))
				_, im := openDisk(t, dir.killed())
				want := ids(im)
				for start := range 3 {
					d, im := openDisk(t, dir)
					if got := ids(im); !slices.Equal(got, want) {
						t.Errorf("%s, %s %s, start %d: %v, want %v", what, name, how, start, got, want)
					}
					if out := d.do(job{whole: notes(ids(im)...)}); out.err != nil || out.whole != nil {
						t.Fatal(out)
					}
				}
			}
		}
	}
}

// Files that were copied from another folder are reported and set aside, even
// when they look newer. A whole copy keeps its identity.
func TestForeignFilesAreNotPreferred(t *testing.T) {
	write := func(dir string, jobs int, id string) {
		f, err := openFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		d, _ := openDisk(t, f)
		for range jobs {
			if out := d.do(job{records: []record{note(id)}, whole: notes(id)}); out.err != nil || out.whole != nil {
				t.Fatal(out)
			}
		}
	}
	read := func(dir string) ([]string, string) {
		f, err := openFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		log := new(bytes.Buffer)
		im, err := readFolder(f, slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		d := &disk{dir: f, generation: im.generation, used: im.used, aside: im.aside}
		if out := d.do(job{whole: notes(ids(im.restored)...)}); out.err != nil || out.whole != nil {
			t.Fatal(out)
		}
		return ids(im.restored), log.String()
	}
	mine, other := t.TempDir(), t.TempDir()
	write(mine, 1, "mine")
	write(other, 5, "other")
	names, _ := filepath.Glob(filepath.Join(other, "*.jsonl"))
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(mine, filepath.Base(name)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, log := read(mine)
	if !slices.Equal(got, []string{"mine"}) || strings.Count(log, "file of another storage folder ignored") != len(names) {
		t.Errorf("read %v, logged %s", got, log)
	}
	if got, log := read(mine); !slices.Equal(got, []string{"mine"}) || log != "" {
		t.Errorf("at the next start: read %v, logged %s", got, log)
	}
	if aside, _ := filepath.Glob(filepath.Join(mine, "*"+foreignMark+"*")); len(aside) != len(names) {
		t.Errorf("%d files set aside, want %d", len(aside), len(names))
	}

	// Moved without its lock, a folder is still the same.
	if err := os.Remove(filepath.Join(other, lockName)); err != nil {
		t.Fatal(err)
	}
	if got, log := read(other); !slices.Equal(got, []string{"other"}) || log != "" {
		t.Errorf("moved: read %v, logged %s", got, log)
	}
}

// Links in the folder are not followed, whatever name they have, and folders
// of a journal's name do not keep anything from being saved.
func TestPlantedNames(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege there")
	}
	dir := t.TempDir()
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{journalName(1), journalName(2), stateName(1), stateName(3), stateName(4) + unfinishedMark} {
		if err := os.Symlink(victim, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{journalName(3), journalName(4)} {
		if err := os.MkdirAll(filepath.Join(dir, name, "full"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for range 6 {
		f, err := openFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		d, im := openDisk(t, f)
		if out := d.do(job{records: []record{note("more")}, whole: notes("all")}); out.err != nil || out.whole != nil {
			t.Fatalf("after %v: %+v", ids(im), out)
		}
		if err := f.close(); err != nil {
			t.Fatal(err)
		}
	}
	f, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, im := openDisk(t, f)
	f.close()
	if got := ids(im); !slices.Equal(got, []string{"all", "more"}) {
		t.Errorf("saved %v", got)
	}
	if err := os.Remove(filepath.Join(dir, lockName)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(dir, lockName)); err != nil {
		t.Fatal(err)
	}
	if f, err := openFolder(dir); err == nil {
		f.close()
		t.Error("took a link for the lock")
	}
	if data, err := os.ReadFile(victim); err != nil || string(data) != "precious" {
		t.Errorf("the victim is %q, %v", data, err)
	}
}

// A storage folder that cannot be used, or that others can write to, is logged
// with its whole path, and the first also at the highest log level.
func TestStorageIsTold(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	open := func(conf Storage, level slog.Level) (*store, string, error) {
		log := new(bytes.Buffer)
		s, _, err := openStore(conf, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})))
		if s != nil && s.disk != nil {
			t.Cleanup(func() { s.disk.dir.close() })
		}
		return s, log.String(), err
	}
	if err := os.WriteFile("data", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, log, err := open(Storage{Path: "./data/"}, slog.LevelError)
	if err != nil || !strings.Contains(log, filepath.Join(dir, "data")) || !s.meter.failing.Load() {
		t.Errorf("default folder: %v, failing %v, logged %s", err, s.meter.failing.Load(), log)
	}
	if _, _, err := open(Storage{Path: "data", Set: true}, slog.LevelError); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "data")) {
		t.Errorf("configured folder: %v", err)
	}
	if s, log, err := open(Storage{Path: "a/b/c"}, slog.LevelWarn); err != nil || log != "" || s.meter.failing.Load() {
		t.Errorf("new folder: %v, %s", err, log)
	}
	if info, err := os.Stat("a/b/c"); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("new folder: %v %v", info.Mode(), err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := errors.Join(os.Mkdir("open", 0o700), os.Chmod("open", 0o777)); err != nil {
		t.Fatal(err)
	}
	if _, log, err := open(Storage{Path: "open"}, slog.LevelWarn); err != nil || !strings.Contains(log, "other users can write to the storage folder") || !strings.Contains(log, filepath.Join(dir, "open")) {
		t.Errorf("open folder: %v, %s", err, log)
	}
}

// A folder that anything happened to can be used: the first start never fails and
// has every note whose line is still whole, and the next two have all of that and
// what was added meanwhile. Each five bytes of the damage do one thing to a file.
func FuzzDamagedFolder(f *testing.F) {
	healthy := newMemFolder()
	d, _ := openDisk(f, healthy)
	d.do(job{whole: notes("a", "b", "c")})
	d.do(job{records: []record{note("d"), note("e")}})
	d, _ = openDisk(f, healthy)
	d.do(job{records: []record{note("f"), note("g")}})
	names, err := healthy.list()
	if err != nil || len(names) != 3 {
		f.Fatal(names, err)
	}
	slices.Sort(names)
	all := []string{"a", "b", "c", "d", "e", "f", "g"}
	for kind := range byte(9) {
		for file := range byte(3) {
			f.Add([]byte{kind, file, 200, 40, 7}, kind%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, damage []byte, compact bool) {
		dir := healthy.killed()
		for ; len(damage) >= 5; damage = damage[5:] {
			name := names[int(damage[1])%len(names)]
			file := dir.files[name]
			if file == nil {
				continue
			}
			data := bytes.Clone(file.data)
			at := int(damage[2]) * (len(data) + 1) / 256
			n := min(int(damage[3]), len(data)-at)
			switch damage[0] % 9 {
			case 0: // a byte is another one
				if at < len(data) {
					data[at] ^= damage[4]
				}
			case 1: // a block of zeros, as after a power loss
				clear(data[at : at+n])
			case 2: // the end is missing
				data = data[:at]
			case 3: // a part is missing
				data = slices.Delete(data, at, at+n)
			case 4: // a part is there twice
				data = slices.Insert(data, at, data[at:at+n]...)
			case 5: // something is in between
				data = slices.Insert(data, at, damage[3], damage[4], '\n')
			case 6: // a part of another file is in between
				data = slices.Insert(data, at, dir.files[names[0]].data[:min(n, len(dir.files[names[0]].data))]...)
			case 7: // a file that nobody wrote
				name = []string{stateName(9), journalName(9), journalName(1), stateName(2) + unfinishedMark}[int(damage[4])%4]
				data = damage
			case 8: // nothing is left
				data = nil
			}
			dir.put(name, bytes.Clone(data))
		}
		var want []string
		for _, id := range all {
			w := newLineWriter()
			rec := note(id)
			if err := w.add(&rec); err != nil {
				t.Fatal(err)
			}
			for _, file := range dir.files {
				if bytes.Contains(append([]byte("\n"), file.data...), append([]byte("\n"), w.buf.Bytes()...)) {
					want = append(want, id)
					break
				}
			}
		}
		for start := range 3 {
			d, im := openDisk(t, dir)
			got := ids(im)
			for _, id := range want {
				if !slices.Contains(got, id) {
					t.Fatalf("start %d: %q is lost, got %v, want %v", start, id, got, want)
				}
			}
			more := fmt.Sprint("start", start)
			work := job{records: []record{note(more)}}
			if compact {
				work = job{whole: notes(append(got, more)...)}
			}
			if out := d.do(work); out.err != nil || out.whole != nil {
				t.Fatalf("start %d: %+v", start, out)
			}
			want = append(got, more)
		}
	})
}
