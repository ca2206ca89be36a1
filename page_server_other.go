//go:build !unix

package main

// maxFiles returns how many files the process may have open; 0 is no limit
// that is known.
func maxFiles() uint64 { return 0 }
