//go:build unix

package main

import "syscall"

// maxFiles returns how many files the process may have open; 0 when that is
// not known.
func maxFiles() uint64 {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return 0
	}
	return uint64(files.Cur) // signed on some systems
}
