package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
)

// A memFolder is a folder in memory that knows what a power cut would leave of
// it: files as they were at their last sync, names as they were at the
// folder's.
type memFolder struct {
	mu      sync.Mutex // guards what follows but is not held during a call
	ident   string
	files   map[string]*memFile
	durable map[string]*memFile // names that last

	calls int
	fault func(call int, op string) error // what goes wrong; may be nil
	block chan struct{}                   // when not nil, calls wait until it is closed
	hangs string                          // which calls wait then; "" is all
	log   []string
}

type memFile struct {
	dir    *memFolder
	name   string
	data   []byte
	synced []byte
}

func newMemFolder() *memFolder {
	return &memFolder{ident: "MEM", files: make(map[string]*memFile), durable: make(map[string]*memFile)}
}

// call notes a call and returns what is to go wrong with it.
func (d *memFolder) call(op, name string) error {
	d.mu.Lock()
	block, waits := d.block, d.hangs == "" || d.hangs == op
	d.mu.Unlock()
	if block != nil && waits {
		<-block
	}
	d.mu.Lock()
	fault, n := d.fault, d.calls
	d.calls++
	d.log = append(d.log, op+" "+name)
	d.mu.Unlock()
	if fault != nil {
		return fault(n, op)
	}
	return nil
}

// fail makes calls fail from now on as fault says; nil ends that.
func (d *memFolder) fail(fault func(call int, op string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = fault
}

// hang makes calls of that name, or all of them, wait until the function that
// it returns is called.
func (d *memFolder) hang(op string) (resume func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.block, d.hangs = make(chan struct{}), op
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		close(d.block)
		d.block = nil
	}
}

func (d *memFolder) id() string         { return d.ident }
func (d *memFolder) identify(id string) { d.ident = id }

func (d *memFolder) list() ([]string, error) {
	if err := d.call("list", ""); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(d.files)), nil
}

func (d *memFolder) open(name string) (io.ReadCloser, error) {
	f := d.files[name]
	if f == nil {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(f.data)), d.call("open", name)
}

func (d *memFolder) create(name string) (folderFile, error) {
	if err := d.call("create", name); err != nil {
		return nil, err
	}
	if f := d.files[name]; f != nil {
		f.data = nil
		return f, nil
	}
	f := &memFile{dir: d, name: name}
	d.files[name] = f
	return f, nil
}

func (d *memFolder) rename(from, to string) error {
	if err := d.call("rename", from+" "+to); err != nil {
		return err
	}
	f := d.files[from]
	if f == nil {
		return fs.ErrNotExist
	}
	delete(d.files, from)
	d.files[to] = f
	return nil
}

func (d *memFolder) remove(name string) error {
	if err := d.call("remove", name); err != nil {
		return err
	}
	delete(d.files, name)
	return nil
}

func (d *memFolder) sync() error {
	if err := d.call("syncdir", ""); err != nil {
		return err
	}
	d.durable = maps.Clone(d.files)
	return nil
}

func (d *memFolder) close() error { return nil }

// Write writes one half when it fails.
func (f *memFile) Write(p []byte) (int, error) {
	err := f.dir.call("write", f.name)
	if err != nil {
		p = p[:len(p)/2]
	}
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	f.data = append(f.data, p...)
	return len(p), err
}

func (f *memFile) Sync() error {
	if err := f.dir.call("sync", f.name); err != nil {
		return err
	}
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	f.synced = bytes.Clone(f.data)
	return nil
}

func (f *memFile) Truncate(size int64) error {
	if err := f.dir.call("truncate", f.name); err != nil {
		return err
	}
	if int64(len(f.data)) < size {
		return fmt.Errorf("%s has %d bytes, not %d", f.name, len(f.data), size)
	}
	f.data = f.data[:size]
	return nil
}

func (f *memFile) Close() error { return nil }

// killed is what a kill of the process leaves: all that was written.
func (d *memFolder) killed() *memFolder {
	left := newMemFolder()
	for name, f := range d.files {
		left.put(name, f.data)
	}
	return left
}

// cut is what a power cut leaves: what was synced, and of the rest that share
// which happened to be written, if any.
func (d *memFolder) cut(share float64) *memFolder {
	left := newMemFolder()
	names := d.durable
	if share > 0 {
		names = d.files
	}
	for name, f := range names {
		data := f.synced
		if share > 0 && bytes.HasPrefix(f.data, f.synced) {
			data = f.data[:len(f.synced)+int(share*float64(len(f.data)-len(f.synced)))]
		}
		left.put(name, data)
	}
	return left
}

func (d *memFolder) put(name string, data []byte) {
	f := &memFile{dir: d, name: name, data: bytes.Clone(data), synced: bytes.Clone(data)}
	d.files[name], d.durable[name] = f, f
}

var errFake = errors.New("fake fault")
