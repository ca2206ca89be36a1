package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

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
