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
)

// A disk writes the store's files. It belongs to the goroutine that writes and
// may wait as long as the hardware does. Each of its steps leaves the folder
// in a state from which readFolder reads all that was written before.
type disk struct {
	dir        folder
	generation int               // of the journal that is written, or was last
	aside      map[string]string // files to set aside once their content is safe, each with its mark

	urgent chan []record // of capacity 1: records to write while a step takes long

	journal folderFile // nil: a new one is to be started
	fresh   bool       // its name is not sure to last
	used    bool       // whether the one of this generation holds more than its head
	good    int64      // its size up to the last line that is sure to last
	size    int64      // its size
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

// work writes one job after the other, then gives the folder up.
func (d *disk) work(jobs <-chan job, results chan<- outcome) {
	defer close(results)
	for j := range jobs {
		out := d.do(j)
		out.due = d.due(time.Now())
		results <- out // of capacity 1, and there is one job at a time
	}
	d.stop()
	_ = d.dir.close()
}

// do writes a job. Records are on the disk for good when it returns without an
// error.
func (d *disk) do(j job) (out outcome) {
	// A new state needs a new journal first: from then on, whether the state
	// gets written or not, what is read back is complete.
	if j.whole != nil && d.used {
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
	out.whole = d.wait(func() error { return d.compact(j.whole) })
	return out
}

// due reports whether it is time for a new state file.
func (d *disk) due(now time.Time) bool {
	return d.state == 0 || d.grown > max(compactSize, d.state/2) || now.Sub(d.began) > compactAge
}

// append writes lines to the journal. When that fails, the journal is cut after
// the last good line, if the disk permits, and not written again: what a failed
// sync has written is unknown.
func (d *disk) append(lines []byte) error {
	if d.journal == nil {
		if err := d.start(); err != nil {
			return err
		}
	}
	_, err := d.journal.Write(lines)
	if err == nil {
		d.size += int64(len(lines))
		err = d.sync()
	}
	if err != nil {
		if d.journal != nil && d.journal.Truncate(d.good) == nil {
			_ = d.journal.Sync() // may fail like the last one, and does no harm
		}
		d.stop()
		return err
	}
	return nil
}

// sync makes what the journal holds last, and its name.
func (d *disk) sync() error {
	journal, fresh, size := d.journal, d.fresh, d.size
	err := d.wait(func() error {
		err := journal.Sync()
		if err == nil && fresh {
			err = d.dir.sync()
		}
		return err
	})
	if err == nil {
		d.fresh, d.used = false, d.used || size > d.good
		d.grown += size - d.good
		d.good = size
	}
	return err
}

// wait waits for a step that may take long. Urgent records that come meanwhile
// are written to the journal at once: then a kill does not lose them, however
// slow the disk is. A power cut loses them until they come again, with the next
// job.
func (d *disk) wait(step func() error) error {
	done := make(chan error, 1)
	go func() { done <- step() }()
	for {
		select {
		case err := <-done:
			return err
		case records := <-d.urgent:
			lines := newLineWriter()
			for i := range records {
				_ = lines.add(&records[i]) // one that cannot be written is reported with its job
			}
			if _, err := d.journal.Write(lines.buf.Bytes()); err == nil {
				d.size, d.used = d.size+int64(lines.buf.Len()), true
			} else if d.journal.Truncate(d.size) != nil { // it ends with half a line
				err = cmp.Or(<-done, err)
				d.stop()
				return err
			}
		}
	}
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
	f, err := d.dir.create(journalName(generation))
	for tries := 0; errors.Is(err, errOccupied) && tries < maxOccupied; tries++ {
		generation++
		f, err = d.dir.create(journalName(generation))
	}
	if err != nil {
		return err
	}
	name := journalName(generation)
	head := newLineWriter()
	err = head.add(d.newHead("journal", generation))
	if err == nil {
		_, err = f.Write(head.buf.Bytes())
	}
	if err != nil {
		_ = f.Close()
		_ = d.dir.remove(name)
		return err
	}
	d.journal, d.fresh, d.generation, d.used = f, true, generation, false
	d.size = int64(head.buf.Len())
	d.good = d.size
	return nil
}

func (d *disk) newHead(file string, generation int) *record {
	return &record{Head: &headRecord{file, storeFormat, generation, time.Now().UTC().Truncate(time.Second), d.dir.id()}}
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
	if err := put(d.newHead("state", d.generation)); err != nil {
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

// A folder is where the store keeps its files. The interface is all that the
// store asks of a file system, so that tests can make each of its calls fail.
type folder interface {
	id() string         // the folder's identity, "" when it has none yet
	identify(id string) // gives it one
	list() ([]string, error)
	open(name string) (io.ReadCloser, error)
	create(name string) (folderFile, error) // replaces a file; errOccupied where it cannot
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
// holds the number of that process and the identity of the folder.
const lockName = "lock"

// errLocked is the fault of a folder that another process works in,
// errOccupied that of a name that a folder has, which is left alone.
var (
	errLocked   = errors.New("in use")
	errOccupied = errors.New("there is a folder of that name")
)

// maxOccupied is how many names of journals may be taken by folders.
const maxOccupied = 100

// A diskFolder is a folder of the file system, locked against other processes.
// No access follows a link that leads out of it.
type diskFolder struct {
	path     string
	root     *os.Root
	lock     *os.File
	identity string
}

// openFolder makes the folder if there is none, and locks it.
func openFolder(path string) (*diskFolder, error) {
	if err := makeFolder(path); err != nil {
		return nil, err
	}
	name := filepath.Join(path, lockName)
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: remove it", name)
	}
	lock, err := lockFile(name)
	if errors.Is(err, errLocked) {
		pid := "another process"
		if b, err := os.ReadFile(name); err == nil {
			if number, _, _ := strings.Cut(string(b), "\n"); number != "" && len(number) < 20 {
				pid = "process " + number
			}
		}
		return nil, fmt.Errorf("%w by %s", errLocked, pid)
	}
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		lock.Close()
		return nil, err
	}
	f := &diskFolder{path: path, root: root, lock: lock}
	content := make([]byte, 128)
	n, _ := lock.ReadAt(content, 0)
	if lines := strings.Split(string(content[:n]), "\n"); len(lines) > 1 {
		f.identity = lines[1]
	}
	return f, nil
}

// makeFolder makes the folder, and those above it, so that they survive a
// power cut. What is in it names hosts and may hold tokens of their URLs:
// nobody else is to read it.
func makeFolder(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	var parents []string // of the folders that there are not yet
	for dir := path; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		parents = append(parents, filepath.Dir(dir))
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := syncFolder(parent); err != nil && !unwritable(err) { // which may not be readable
			return err
		}
	}
	return nil
}

// othersWrite returns a folder's permissions when other users may write there,
// else "".
func othersWrite(path string) string {
	info, err := os.Stat(path)
	if runtime.GOOS == "windows" || err != nil || info.Mode().Perm()&0o022 == 0 {
		return ""
	}
	return info.Mode().Perm().String()
}

func (f *diskFolder) id() string { return f.identity }

// identify also notes the number of the process. Both are lost on a full disk:
// then the files say which folder this is.
func (f *diskFolder) identify(id string) {
	f.identity = id
	if f.lock.Truncate(0) == nil {
		_, _ = f.lock.WriteAt(fmt.Appendf(nil, "%d\n%s\n", os.Getpid(), id), 0)
	}
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
	return f.root.Open(name)
}

// create makes a new file in any case, so that it never writes through a link.
func (f *diskFolder) create(name string) (folderFile, error) {
	if info, err := f.root.Lstat(name); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s: %w", name, errOccupied)
	}
	if err := f.remove(name); err != nil {
		return nil, err
	}
	// Appending, so that what follows a Truncate is written at the new end.
	return f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
}

func (f *diskFolder) rename(from, to string) error { return f.root.Rename(from, to) }

func (f *diskFolder) remove(name string) error {
	err := f.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (f *diskFolder) sync() error { return syncFolder(f.path) }

func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil // which has no such call and journals its directories itself
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil // a file system that has no such call either
}

// close releases the lock.
func (f *diskFolder) close() error { return errors.Join(f.root.Close(), f.lock.Close()) }

// unwritable reports whether the error is one of permissions or of another file
// in the way.
func unwritable(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) ||
		errors.Is(err, syscall.ENOTDIR) || errors.Is(err, fs.ErrExist)
}
