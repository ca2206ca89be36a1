//go:build !unix

package main

import "os/exec"

// lead does nothing where there are no process groups: when the context of
// cmd ends, cmd alone is killed.
func lead(*exec.Cmd) {}

func killGroup(int) {}

// openFileLimit returns 0: the limit is not known.
func openFileLimit() uint64 { return 0 }
