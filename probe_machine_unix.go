//go:build unix

package main

import "syscall"

// openFileLimit returns how many descriptors this process may have open, or 0
// where that is not known. Package os has raised the limit as far as it may.
func openFileLimit() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return uint64(l.Cur)
}
