package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// A journal that has outgrown both this size and half of the state file,
	// or is older than compactAge, is replaced by a new state. So a start never
	// reads much more than there is to know.
	compactSize = 1 << 20
	compactAge  = 24 * time.Hour

	// keepDamaged is how many damaged files are kept for people to look at.
	keepDamaged = 4
)

// A disk writes the store's files. It belongs to the goroutine that writes and
// may wait as long as the hardware does. Each of its steps leaves the folder
// in a state from which readFolder reads all that was written before.
type disk struct {
	dir        folder
	generation int             // of the journal that is written, or was last
	damaged    map[string]bool // to be set aside, once their content is safe

	journal folderFile // nil: a new one is to be started
	used    bool       // whether the one of this generation holds more than its head
	good    int64      // its size up to the last line that is sure to last
	grown   int64      // bytes of journals since the last state file
	state   int64      // the size of that; 0: there is none of this run
	began   time.Time  // when it was written
}

// A job is what is to be written.
type job struct {
	records []record
	whole   iter.Seq[record] // when not nil, all that is known, records included
}

// An outcome is what became of a job.
type outcome struct {
	err     error // the records are not sure to last
	dropped error // some records are none that can be written
	whole   error // the state was not written
	due     bool  // it is time for a new state
}

// do writes a job. Records are on the disk for good when it returns without an
// error.
func (d *disk) do(j job) (out outcome) {
	// A new state needs a new journal first: from then on, whether the state
	// gets written or not, what is read back is complete.
	if j.whole != nil {
		d.stop()
	}
	lines := newLineWriter()
	for i := range j.records {
		if err := lines.add(&j.records[i]); err != nil {
			out.dropped = err
		}
	}
	if out.err = d.append(lines.buf.Bytes()); out.err != nil || j.whole == nil {
		return out
	}
	out.whole = d.compact(j.whole)
	return out
}

// due reports whether it is time for a new state file.
func (d *disk) due(now time.Time) bool {
	return d.state == 0 || d.grown > max(compactSize, d.state/2) || now.Sub(d.began) > compactAge
}

// append writes lines to the journal. When that fails, the journal ends after
// the last good line, as far as the disk permits, and is not written any more:
// what a failed sync has left of it, nobody knows.
func (d *disk) append(lines []byte) error {
	if d.journal == nil {
		if err := d.start(); err != nil {
			return err
		}
	}
	_, err := d.journal.Write(lines)
	if err == nil {
		err = d.journal.Sync()
	}
	if err != nil {
		if d.journal.Truncate(d.good) == nil {
			_ = d.journal.Sync() // may fail like the last one, and does no harm
		}
		d.stop()
		return err
	}
	d.used = d.used || len(lines) > 0
	d.good += int64(len(lines))
	d.grown += int64(len(lines))
	return nil
}

// stop ends the journal.
func (d *disk) stop() {
	if d.journal != nil {
		_ = d.journal.Close() // all that matters is synced
		d.journal = nil
	}
}

// start starts the journal of the next generation. One that holds nothing yet
// is started anew, so that a disk that stays full does not gather files.
func (d *disk) start() error {
	generation := max(d.generation, 1)
	if d.used {
		generation = d.generation + 1
	}
	name := journalName(generation)
	f, err := d.dir.create(name)
	if err != nil {
		return err
	}
	head := newLineWriter()
	err = head.add(newHead("journal", generation))
	if err == nil {
		_, err = f.Write(head.buf.Bytes())
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = d.dir.sync()
	}
	if err != nil {
		_ = f.Close()
		_ = d.dir.remove(name)
		return err
	}
	d.journal, d.generation, d.used = f, generation, false
	d.good = int64(head.buf.Len())
	return nil
}

func newHead(file string, generation int) *record {
	return &record{Head: &headRecord{file, storeFormat, generation, time.Now().UTC().Truncate(time.Second)}}
}

// compact writes the state file of the journal that was just started, and
// then clears away what that one replaces.
func (d *disk) compact(whole iter.Seq[record]) error {
	name := stateName(d.generation)
	size, err := d.write(name+unfinishedMark, whole)
	if err == nil {
		err = d.dir.rename(name+unfinishedMark, name)
	} else {
		_ = d.dir.remove(name + unfinishedMark)
	}
	if err == nil {
		err = d.dir.sync()
	}
	if err != nil {
		return err
	}
	d.state, d.grown, d.began = size, 0, time.Now()
	return d.clear()
}

// write writes a state file.
func (d *disk) write(name string, whole iter.Seq[record]) (size int64, err error) {
	f, err := d.dir.create(name)
	if err != nil {
		return 0, err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	out := bufio.NewWriterSize(f, 256<<10)
	lines := newLineWriter()
	count := 0
	put := func(rec *record) error {
		lines.buf.Reset()
		if lines.add(rec) != nil {
			return nil // what cannot be written was reported when it came
		}
		count++
		size += int64(lines.buf.Len())
		_, err := out.Write(lines.buf.Bytes())
		return err
	}
	if err := put(newHead("state", d.generation)); err != nil {
		return 0, err
	}
	for rec := range whole {
		if err := put(&rec); err != nil {
			return 0, err
		}
	}
	if err := put(&record{End: &endRecord{count - 1}}); err != nil {
		return 0, err
	}
	if err := out.Flush(); err != nil {
		return 0, err
	}
	return size, f.Sync()
}

// clear removes the files that the newest state file replaces. Those that were
// found damaged it sets aside, and of these it removes the oldest.
func (d *disk) clear() error {
	names, err := d.dir.list()
	if err != nil {
		return err
	}
	stamp := time.Now().UTC().Format("20060102T150405Z")
	for _, f := range storedFiles(names) {
		switch {
		case d.damaged[f.name]:
			aside := f.name + damagedMark + stamp
			if err := d.dir.rename(f.name, aside); err != nil {
				return err
			}
			delete(d.damaged, f.name)
			names = append(names, aside)
		case f.generation < d.generation:
			if err := d.dir.remove(f.name); err != nil {
				return err
			}
		}
	}
	aside := slices.DeleteFunc(names, func(name string) bool { return !strings.Contains(name, damagedMark) })
	slices.SortFunc(aside, func(a, b string) int {
		return cmp.Compare(a[strings.Index(a, damagedMark):], b[strings.Index(b, damagedMark):])
	})
	for _, name := range aside[:max(0, len(aside)-keepDamaged)] {
		if err := d.dir.remove(name); err != nil {
			return err
		}
	}
	for _, name := range names {
		if stale, ok := strings.CutSuffix(name, unfinishedMark); ok && storeFile.MatchString(stale) {
			if err := d.dir.remove(name); err != nil {
				return err
			}
		}
	}
	return d.dir.sync()
}

// A folder is where the store keeps its files. The interface is all that the
// store asks of a file system, so that tests can make each of its calls fail.
type folder interface {
	list() ([]string, error)
	open(name string) (io.ReadCloser, error)
	create(name string) (folderFile, error) // empties one that exists
	rename(from, to string) error
	remove(name string) error
	sync() error // makes creations, renames and removals last
	close() error
}

// A folderFile is a file that is written from the start. After Truncate,
// writing goes on at the new end.
type folderFile interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

// lockName is the file whose lock says that a process works in the folder. It
// holds the number of that process.
const lockName = "lock"

// errLocked is the fault of a folder that another process works in.
var errLocked = errors.New("in use")

// A diskFolder is a folder of the file system, locked against other processes.
type diskFolder struct {
	path string
	lock *os.File
}

// openFolder makes the folder if there is none, and locks it.
func openFolder(path string) (*diskFolder, error) {
	// What is in it names hosts and may hold passwords of URLs: nobody else
	// is to read it.
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	name := filepath.Join(path, lockName)
	lock, err := lockFile(name)
	if errors.Is(err, errLocked) {
		pid := "another process"
		if b, err := os.ReadFile(name); err == nil && len(b) > 0 && len(b) < 20 {
			pid = "process " + strings.TrimSpace(string(b))
		}
		return nil, fmt.Errorf("%w by %s", errLocked, pid)
	}
	if err != nil {
		return nil, err
	}
	// The number is for people only, so a full disk does no harm here.
	if lock.Truncate(0) == nil {
		fmt.Fprintln(lock, os.Getpid())
	}
	return &diskFolder{path, lock}, nil
}

func (f *diskFolder) list() ([]string, error) {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (f *diskFolder) open(name string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(f.path, name))
}

func (f *diskFolder) create(name string) (folderFile, error) {
	// Appending, so that what follows a Truncate is written at the new end.
	return os.OpenFile(filepath.Join(f.path, name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
}

func (f *diskFolder) rename(from, to string) error {
	return os.Rename(filepath.Join(f.path, from), filepath.Join(f.path, to))
}

func (f *diskFolder) remove(name string) error {
	err := os.Remove(filepath.Join(f.path, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (f *diskFolder) sync() error {
	if runtime.GOOS == "windows" {
		return nil // which has no such call and journals its directories itself
	}
	d, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil // a file system that has no such call either
}

// close gives the lock up.
func (f *diskFolder) close() error { return f.lock.Close() }
